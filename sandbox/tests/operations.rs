//! Every operation and every limit (SERVICE.md 1 and 2).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use casedrop_sandbox::{DEMO_CASE_ID, DEMO_REFERENCE, NewCase, Scan, Throttle, Verdict};
use common::{Bench, encode, sha256};
use regex::Regex;
use serde_json::{Value, json};

#[tokio::test]
async fn a_file_goes_through_its_life() {
    let bench = Bench::new(|settings| settings.scan = Scan::after(Duration::from_secs(30))).await;
    let mut body = Bench::start_body("Größe \"x\".PDF", 5, "t1");
    body["Tags"] = json!({ "casedrop:path": "a/b.pdf" });
    let upload = Bench::upload(bench.start_with(&bench.case_arn(), &body).ok());
    let headers: BTreeMap<_, _> = upload.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(headers["Content-Length"], "5");
    assert_eq!(headers["Content-Type"], "application/pdf");
    assert_eq!(headers["Content-Disposition"], "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%22x%22.PDF");
    assert_eq!(headers["x-amz-acl"], "bucket-owner-full-control");
    assert_eq!(headers["x-amz-meta-account_id"], "000000000000");
    assert_eq!(headers["x-amz-meta-organization_id"], bench.sandbox.instance_id());
    assert_eq!(bench.status(&upload.file_id), "PROCESSING");

    assert_eq!(bench.put(&upload, b"hello").status, 200);
    assert_eq!(bench.put(&upload, b"HELLO").status, 200, "a second PUT overwrites");
    bench.complete(&upload.file_id).ok();
    assert_eq!(bench.status(&upload.file_id), "PROCESSING");
    assert!(bench.get(&upload.file_id).ok().get("DownloadUrlMetadata").is_none());
    assert_eq!(bench.put(&upload, b"later").status, 200, "staging takes it, the file does not change");
    bench.sandbox.advance_clock(Duration::from_secs(31));

    let got = bench.get(&upload.file_id).ok();
    assert_eq!(got["FileStatus"], "APPROVED");
    assert_eq!(got["FileName"], "Größe \"x\".PDF");
    assert_eq!(got["Tags"], json!({ "casedrop:path": "a/b.pdf" }));
    assert_eq!(got["AssociatedResourceArn"], bench.case_arn());
    let content = bench.get_url(got["DownloadUrlMetadata"]["Url"].as_str().unwrap());
    assert_eq!((content.status, content.text().as_str()), (200, "HELLO"));
    let ledger = bench.sandbox.ledger();
    assert_eq!(ledger[0].sha256, Some(sha256(b"HELLO")));
    assert!(ledger[0].put_done && ledger[0].completed && !ledger[0].foreign);
    assert_eq!(ledger[0].client_token, "t1");

    bench.delete(&upload.file_id).ok();
    assert_eq!(bench.delete(&upload.file_id).kind(), "ResourceNotFoundException");
    assert_eq!(bench.complete(&upload.file_id).kind(), "ResourceNotFoundException");
    assert!(bench.sandbox.ledger().is_empty());
    assert_eq!(bench.sandbox.deleted()[0].file_id, upload.file_id);
}

#[tokio::test]
async fn what_start_refuses() {
    let bench = Bench::new(|_| {}).await;
    let reason = |answer: common::Answer| {
        let body = answer.json();
        let reason = &body["Reason"]["AttachedFileInvalidRequestExceptionReason"];
        format!("{} {} {}", answer.status, answer.kind(), reason.as_str().unwrap_or("-"))
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = Bench::start_body("a.txt", 5, "t");
        change(&mut body);
        reason(bench.start_with(&bench.case_arn(), &body))
    };
    let file = |what: &str| format!("400 InvalidRequestException {what}");
    for name in ["", &format!("{}.txt", "x".repeat(253)), "a\u{200d}b.txt", "a\nb.txt", "a\u{feff}.txt"] {
        assert_eq!(with(&|body| body["FileName"] = json!(name)), file("INVALID_FILE_NAME"), "{name:?}");
    }
    for name in ["a.exe", "noextension", "a.txt."] {
        assert_eq!(with(&|body| body["FileName"] = json!(name)), file("INVALID_FILE_TYPE"), "{name:?}");
    }
    for size in [0, -1, 20 * 1024 * 1024 + 1] {
        assert_eq!(with(&|body| body["FileSizeInBytes"] = json!(size)), file("INVALID_FILE_SIZE"), "{size}");
    }
    let many: BTreeMap<String, String> = (0..51).map(|n| (format!("k{n}"), String::new())).collect();
    let plain: [(&str, Value); 12] = [
        ("ClientToken", json!("x".repeat(501))),
        ("UrlExpiryInSeconds", json!(4)),
        ("UrlExpiryInSeconds", json!(301)),
        ("FileUseCaseType", json!("ATTACHMENTS")),
        ("FileUseCaseType", Value::Null),
        ("FileName", Value::Null),
        ("FileSizeInBytes", Value::Null),
        ("Tags", json!(many)),
        ("Tags", json!({ "aws:x": "1" })),
        ("Tags", json!({ "a?": "1" })),
        ("Tags", json!({ "a": "x".repeat(257) })),
        ("CreatedBy", json!({ "AWSIdentityArn": "arn:x" })),
    ];
    for (member, value) in plain {
        assert_eq!(with(&|body| body[member] = value.clone()), file("-"), "{member} {value}");
    }
    assert_eq!(with(&|body| body["FileSizeInBytes"] = json!("5")), "400 SerializationException -");
    // What just passes.
    let name = format!("{}.TXT", "ä".repeat(252));
    bench.start_with(&bench.case_arn(), &Bench::start_body(&name, 20 * 1024 * 1024, &"t".repeat(500))).ok();

    let arn = bench.case_arn();
    for (arn, kind) in [
        (arn.replace(DEMO_CASE_ID, "nope"), "ResourceNotFoundException"),
        (arn.replace("000000000000", "123456789012"), "AccessDeniedException"),
        ("x".to_owned(), "InvalidRequestException"),
    ] {
        assert_eq!(bench.start_with(&arn, &Bench::start_body("a.txt", 1, "u")).kind(), kind, "{arn}");
    }
    let target = format!("/attached-files/other?associatedResourceArn={}", encode(&arn));
    let answer = bench.call("connect", "PUT", &target, &Bench::start_body("a.txt", 1, "u"));
    assert_eq!(answer.kind(), "ResourceNotFoundException");
}

#[tokio::test]
async fn quotas_of_a_case() {
    let bench = Bench::new(|settings| {
        settings.limits.files_per_case = 3;
        settings.limits.bytes_per_case = Some(100);
    })
    .await;
    let reason = |answer: common::Answer| {
        assert_eq!((answer.status, answer.kind()), (402, "ServiceQuotaExceededException"));
        answer.json()["Reason"]["AttachedFileServiceQuotaExceededExceptionReason"].clone()
    };
    let first = bench.start("a.txt", 60, "1");
    assert_eq!(reason(bench.try_start("b.txt", 60, "2")), "TOTAL_FILE_SIZE_EXCEEDED");
    bench.start("b.txt", 20, "2");
    bench.start("c.txt", 20, "3");
    assert_eq!(reason(bench.try_start("d.txt", 1, "4")), "TOTAL_FILE_COUNT_EXCEEDED");
    bench.delete(&first.file_id).ok();
    bench.start("d.txt", 1, "4");
    bench.sandbox.set_limits(Default::default());
    assert!(bench.sandbox.seed_comments(DEMO_CASE_ID, 197));
    assert_eq!(reason(bench.try_start("e.txt", 1, "5")), Value::Null);
}

#[tokio::test]
async fn batch_get_and_related_items() {
    let bench = Bench::new(|_| {}).await;
    let other = bench.sandbox.add_case(NewCase::titled("Other"));
    let elsewhere = bench.start_with(&other.arn, &Bench::start_body("o.txt", 1, "o")).ok();
    let ids: Vec<String> = (0..30).map(|n| bench.start(&format!("{n}.txt"), 1, &format!("t{n}")).file_id).collect();
    let foreign = bench.sandbox.seed_foreign_file(DEMO_CASE_ID, "agent.pdf", b"x").unwrap();
    let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
    let got = bench.batch(&refs).ok();
    assert_eq!(got["Files"].as_array().map(Vec::len), Some(30));
    let mixed = bench.batch(&[refs[0], elsewhere["FileId"].as_str().unwrap(), &foreign]).ok();
    assert_eq!(mixed["Files"].as_array().map(Vec::len), Some(2));
    assert_eq!(mixed["Errors"][0]["FileId"], elsewhere["FileId"]);
    assert!(mixed["Files"][1]["CreatedBy"]["ConnectUserArn"].is_string());
    assert!(mixed["Files"][1].get("Tags").is_none());
    assert_eq!(bench.batch(&[]).kind(), "InvalidRequestException");
    assert_eq!(bench.batch(&vec!["x"; 101]).kind(), "InvalidRequestException");
    assert_eq!(bench.batch(&["x"; 100]).status, 200);

    assert!(bench.sandbox.seed_comments(DEMO_CASE_ID, 2));
    let (mut seen, mut token, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut body = json!({ "filters": [{ "file": {} }] });
        if token.is_string() {
            body["nextToken"] = token;
        }
        let page = bench.items(&body).ok();
        for item in page["relatedItems"].as_array().unwrap() {
            assert_eq!(item["type"], "File");
            let arn = item["content"]["file"]["fileArn"].as_str().unwrap();
            assert!(arn.starts_with(&format!("{}/file/", bench.sandbox.instance_arn())));
            seen.push(arn.rsplit('/').next().unwrap().to_owned());
        }
        pages += 1;
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(pages, 2);
    assert_eq!(seen, [ids.as_slice(), &[foreign]].concat());
    assert_eq!(bench.items(&json!({ "maxResults": 26 })).kind(), "ValidationException");
    assert_eq!(bench.items(&json!({ "nextToken": "made up" })).kind(), "ValidationException");
    let comments = bench.items(&json!({ "filters": [{ "comment": {} }] })).ok();
    assert_eq!(comments["relatedItems"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn cases_are_found_and_read() {
    let bench = Bench::new(|_| {}).await;
    for _ in 0..2 {
        bench.sandbox.add_case(NewCase { reference_number: Some("12345678".into()), ..NewCase::titled("Twin") });
    }
    let by = |id: &str, text: &str| json!({ "field": { "equalTo": { "id": id, "value": { "stringValue": text } } } });
    let search =
        |filter: Value| bench.cases("/cases-search", &json!({ "filter": filter, "fields": [{ "id": "title" }] }));
    assert_eq!(search(by("reference_number", "12345678")).ok()["totalCount"], 2);
    let both = json!({ "orAll": [by("reference_number", DEMO_REFERENCE), by("reference_number", "12345678")] });
    assert_eq!(search(both).ok()["totalCount"], 3);
    let none = json!({ "andAll": [by("reference_number", DEMO_REFERENCE), { "not": by("status", "open") }] });
    assert_eq!(search(none).ok()["totalCount"], 0);
    let page = bench.cases("/cases-search", &json!({ "maxResults": 2 })).ok();
    assert_eq!(page["cases"].as_array().map(Vec::len), Some(2));
    let rest = bench.cases("/cases-search", &json!({ "nextToken": page["nextToken"] })).ok();
    assert_eq!(rest["cases"].as_array().map(Vec::len), Some(1));
    for bad in [json!({}), json!({ "x": 1 }), json!({ "field": {} }), json!({ "andAll": vec![by("a", "b"); 11] })] {
        assert_eq!(search(bad.clone()).kind(), "ValidationException", "{bad}");
    }
    let mut deep = by("title", "x");
    for _ in 0..20 {
        deep = json!({ "not": deep });
    }
    assert_eq!(search(deep).kind(), "ValidationException");

    let fields = json!({ "fields": [{ "id": "status" }] });
    let read = |id: &str| bench.cases(&format!("/cases/{id}"), &fields);
    assert_eq!(read(DEMO_CASE_ID).ok()["fields"][0]["value"]["stringValue"], "open");
    assert!(bench.sandbox.close_case(DEMO_CASE_ID));
    assert_eq!(read(DEMO_CASE_ID).ok()["fields"][0]["value"]["stringValue"], "closed");
    let unknown = "5a5d0000-0000-4000-8000-00000000beef";
    assert_eq!(read(unknown).json()["resourceId"], unknown);
    bench.sandbox.accept_any_case(true);
    assert_eq!(read(unknown).status, 200);
    assert_eq!(read("no-uuid").status, 404);
    assert!(bench.sandbox.remove_case(unknown));
    assert_eq!(read(unknown).kind(), "ResourceNotFoundException");

    let domains = bench.call("cases", "POST", "/domains-list?maxResults=1", &Value::Null).ok();
    assert_eq!(domains["domains"][0]["domainArn"], bench.sandbox.domain_arn());
    assert_eq!(bench.call("cases", "POST", "/domains-list?maxResults=11", &Value::Null).kind(), "ValidationException");
    let fields = bench.cases("/fields-list", &Value::Null).ok();
    assert!(fields["fields"].as_array().unwrap().iter().any(|f| f["fieldId"] == "reference_number"));
    let target = format!("/attached-files-configurations/{}/CASE", bench.sandbox.instance_id());
    let settings = bench.call("connect", "GET", &target, &Value::Null).ok();
    assert_eq!(settings["AttachedFilesConfiguration"]["MaximumSizeLimitInBytes"], 20_971_520);
    let wrong = bench.call("connect", "GET", &target.replace("CASE", "FAX"), &Value::Null);
    assert_eq!(wrong.kind(), "InvalidParameterException");
}

#[tokio::test]
async fn verdicts_follow_the_file_name() {
    let scan = Scan::after(Duration::from_secs(2))
        .rule(Regex::new("virus").unwrap(), Verdict::Rejected)
        .rule(Regex::new("broken").unwrap(), Verdict::Failed)
        .rule(Regex::new("endless").unwrap(), Verdict::Never);
    let bench = Bench::new(|settings| settings.scan = scan).await;
    let names = ["virus.txt", "broken.txt", "endless.txt", "plain.txt"];
    let ids = names.map(|name| bench.whole(name, name).file_id);
    bench.sandbox.advance_clock(Duration::from_secs(3));
    let seen = ids.clone().map(|id| bench.status(&id));
    assert_eq!(seen, ["REJECTED", "FAILED", "PROCESSING", "APPROVED"]);
    let folder = |name: &str, id: &str| {
        let label = format!("{DEMO_REFERENCE}_{DEMO_CASE_ID}");
        bench.state.path().join("cases").join(label).join(name).join(id)
    };
    common::until("the rejected bytes are removed", || {
        let text = std::fs::read_to_string(folder("virus.txt", &ids[0]).join("metadata.json")).unwrap_or_default();
        text.contains("REJECTED") && !folder("virus.txt", &ids[0]).join("content").exists()
    });
    assert!(folder("plain.txt", &ids[3]).join("content").exists());
}

#[tokio::test]
async fn throttling_is_per_operation() {
    let bench = Bench::new(|settings| settings.throttle = Throttle::every(0.001, 2)).await;
    bench.start("a.txt", 1, "a");
    bench.start("b.txt", 1, "b");
    let third = bench.try_start("c.txt", 1, "c");
    assert_eq!((third.status, third.kind()), (429, "ThrottlingException"));
    assert_eq!(bench.items(&json!({})).status, 200);
    bench.sandbox.set_throttle(Throttle::off());
    bench.start("c.txt", 1, "c");
}
