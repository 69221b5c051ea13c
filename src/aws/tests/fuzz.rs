//! Answers that no service ever gave: cut off, of the wrong types, huge, of unknown words, HTML in place of JSON, with
//! headers full of nonsense. Each call of the real client ends in time with a value or a classified failure that can
//! be shown: nothing panics, hangs or repeats what it was sent. `PROPTEST_CASES=100000` makes the run longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::{Body, Client, Failure, Grant, Next, Op, Remote, StartRequest};
use super::{case, client, file};
use crate::core::model::MirrorId;
use crate::core::reference::{CaseRef, Reference, id_field, outcome};
use crate::host::time::Instant;
use crate::types::{CaseArn, ClientToken, PresignedUrl, UnixMillis};

/// Cases of each property in the normal run.
const CASES: u32 = 300;
/// A call whose peer has closed the connection ends at once; the slack is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);
/// In answers as they might come, and never in what is shown.
const SECRET: &str = "X-Amz-Signature=URLSECRET";

const DOMAIN: &str = "arn:aws:cases:eu-west-2:123456789012:domain/d-1";

/// Whole answers as Connect and Cases give them.
fn sound(op: Op) -> Value {
    let stamp = "2026-01-01T00:00:00Z";
    match op {
        Op::Start => json!({
            "FileId": "f-1", "FileArn": "arn:aws:connect:eu-west-2:1:instance/i-1/file/f-1", "FileStatus": "PROCESSING",
            "CreationTime": stamp, "CreatedBy": {"AWSIdentityArn": "arn:aws:sts::1:assumed-role/r/s"},
            "UploadUrlMetadata": {
                "Url": format!("https://b.example/k?{SECRET}"), "UrlExpiry": "2026-01-01T00:05:00Z",
                "HeadersToInclude": {"Content-Length": "5", "x-amz-acl": "bucket-owner-full-control"},
            },
        }),
        Op::BatchGet => json!({
            "Files": [{
                "FileId": "f-1", "FileName": "a.pdf", "FileStatus": "APPROVED", "FileSizeInBytes": 5,
                "CreationTime": stamp, "AssociatedResourceArn": "arn", "FileUseCaseType": "ATTACHMENT",
                "FileArn": "arn:x/file/f-1", "Tags": {"casedrop:attempt": "t", "casedrop:path": "a.pdf"},
                "CreatedBy": {"ConnectUserArn": "arn:u"},
            }],
            "Errors": [{"FileId": "f-2", "ErrorCode": "ResourceNotFoundException", "ErrorMessage": "gone"}],
        }),
        Op::Get => json!({
            "FileArn": "arn:x/file/f-1", "FileId": "f-1", "FileStatus": "APPROVED", "FileName": "a.pdf",
            "FileSizeInBytes": 5, "CreationTime": stamp, "Tags": {},
            "DownloadUrlMetadata": {"Url": format!("https://b.example/k?{SECRET}"), "UrlExpiry": stamp},
        }),
        Op::Describe => json!({
            "AttachedFilesConfiguration": {
                "AttachmentScope": "CASE", "InstanceId": "i-1", "MaximumSizeLimitInBytes": 20_971_520,
                "ExtensionConfiguration": {"AllowedExtensions": [{"Extension": "pdf"}]},
            },
        }),
        Op::SearchRelated => json!({
            "relatedItems": [{
                "relatedItemId": "r-1", "type": "File", "associationTime": stamp, "tags": {},
                "content": {"file": {"fileArn": "arn:aws:connect:eu-west-2:1:instance/i-1/file/f-1"}},
            }],
        }),
        Op::ListDomains => json!({
            "domains": [{"domainId": "d-1", "domainArn": "arn:aws:cases:eu-west-2:1:domain/d-1", "name": "n"}],
        }),
        Op::SearchCases => json!({
            "cases": [{"caseId": "c-1", "templateId": "t-1", "fields": case_fields()}],
            "totalCount": 1, "nextToken": "",
        }),
        Op::GetCase => json!({"templateId": "t-1", "fields": case_fields()}),
        Op::ListFields => json!({
            "fields": [
                {"fieldId": "reference_id", "fieldArn": "arn:f", "name": "n", "type": "Text", "namespace": "System"},
                {"fieldId": "colour", "fieldArn": "arn:g", "name": "n", "type": "Text", "namespace": "Custom"},
            ],
        }),
        // They answer with nothing, or with bytes.
        Op::Complete | Op::Delete | Op::Put | Op::Fetch => json!({}),
    }
}

/// What is told of a case whose reference is asked for.
fn case_fields() -> Value {
    let field = |(id, text): (&str, &str)| json!({"id": id, "value": {"stringValue": text}});
    let fields =
        [("reference_number", "12345678"), ("title", "a title"), ("status", "open"), ("reference_id", "CLM-1")];
    fields.map(field).into()
}

/// Values of every type, large and small.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        Just(json!(1e308)),
        Just(json!(-1)),
        ".{0,40}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "NEVER_HEARD_OF",
            "DELETED",
            "arn:",
            "/",
            "\u{0}",
            "2026-13-45T99:99:99Z",
            "-1",
            "1e999",
            "https://b.example/k?X-Amz-Signature=URLSECRET",
            "\u{202e}\u{1f468}\u{200d}",
        ])
        .prop_map(Value::from),
        (1_usize..200_000).prop_map(|n| Value::from("x".repeat(n))),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[{"a": [null]}]]]])),
        (1_usize..3_000).prop_map(|n| Value::Array(vec![json!({"FileId": "f-1"}); n])),
    ]
}

/// Puts `new` in the place of the `at`-th node, counted depth first, or takes that node away.
fn replace(node: &mut Value, at: &mut usize, new: &Option<Value>) {
    let children: Vec<&mut Value> = match node {
        Value::Object(fields) => fields.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        if *at == 0 {
            *child = new.clone().unwrap_or(Value::Null);
            *at = usize::MAX;
            return;
        }
        *at -= 1;
        replace(child, at, new);
        if *at == usize::MAX {
            return;
        }
    }
}

fn body(op: Op) -> impl Strategy<Value = Vec<u8>> {
    let altered = prop::collection::vec((0_usize..24, prop::option::of(value())), 0..4).prop_map(move |changes| {
        let mut answer = sound(op);
        for (mut at, new) in changes {
            replace(&mut answer, &mut at, &new);
        }
        answer.to_string().into_bytes()
    });
    let altered = altered.boxed();
    let cut = (altered.clone(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
        bytes.truncate(at.index(bytes.len() + 1));
        bytes
    });
    let flipped = (altered.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    let page = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let xml = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Reduce &amp; wait</Message></Error>";
    let error = r#"{"__type":"com.amazon#ThrottlingException","message":"Rate exceeded","Reason":"INVALID_FILE_SIZE"}"#;
    prop_oneof![
        4 => altered,
        2 => cut,
        2 => flipped,
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => value().prop_map(|v| v.to_string().into_bytes()),
        1 => prop::sample::select(vec![page, xml, error, "", "null", "[", "\u{feff}{}"]).prop_map(|t| t.as_bytes().to_vec()),
        1 => (1_usize..20_000).prop_map(|n| b"[".repeat(n)),
        1 => (1_usize..5_000).prop_map(|n| b"{\"a\":".repeat(n)),
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "content-type: text/html",
            "content-type: application/xml",
            "content-type: application/json",
            "retry-after: 5",
            "retry-after: -1",
            "retry-after: 1e300",
            "retry-after: NaN",
            "retry-after: inf",
            "retry-after: Thu, 01 Jan 2026 00:10:00 GMT",
            "retry-after: Fri, 32 Foo 99999 99:99:99 GMT",
            "retry-after: 99999999999999999999999",
            "date: Thu, 01 Jan 1970 00:00:00 GMT",
            "date: Fri, 31 Dec 9999 23:59:59 GMT",
            "date: nonsense",
            "x-amzn-errortype: ThrottlingException",
            "x-amzn-errortype: ResourceNotFoundException:http://x/y",
            "x-amzn-errortype: AccessDeniedException",
            "x-amzn-errortype: ",
            "x-amzn-errortype: Never#HeardOf",
            "x-amzn-requestid: r-1",
            "x-amzn-requestid: ",
            "content-encoding: gzip",
            "location: http://127.0.0.1:1/",
            "connection: upgrade",
        ])
        .prop_map(str::to_owned),
        "[a-z-]{1,20}: [ -~]{0,60}".prop_filter("of the test's own", |line| !line.starts_with("content-length")),
        (1_usize..3_000).prop_map(|n| format!("x-amzn-requestid: {}", "r".repeat(n))),
    ]
}

/// Bytes of an answer, shown as text.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0).chars().take(1_000).collect::<String>())
    }
}

/// A whole answer on the wire: a status, headers, a body and a length that may lie.
fn answer(op: Op) -> impl Strategy<Value = Raw> {
    let status = prop_oneof![
        4 => Just(200_u16),
        3 => prop::sample::select(vec![204_u16, 301, 400, 401, 402, 403, 404, 408, 409, 413, 429, 500, 502, 503, 504]),
        1 => 200_u16..1000,
    ];
    // Exact three times of four; else one that promises more or less than comes, or none at all.
    let length = prop_oneof![6 => Just(Some(0_i64)), 1 => (-50_i64..50).prop_map(Some), 1 => Just(None)];
    (status, prop::collection::vec(header(), 0..4), body(op), length).prop_map(|(status, headers, body, length)| {
        let mut answer = format!("HTTP/1.1 {status} X\r\n");
        if let Some(lie) = length {
            let length = i64::try_from(body.len()).unwrap().saturating_add(lie).max(0);
            answer.push_str(&format!("content-length: {length}\r\n"));
        }
        for line in headers {
            answer.push_str(&format!("{line}\r\n"));
        }
        Raw([format!("{answer}\r\n").as_bytes(), &body].concat())
    })
}

/// Reads each request to its end, says what it was told to say, and closes.
async fn responder(answer: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let head = loop {
                    if let Some(at) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                        break at + 4;
                    }
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        return;
                    }
                };
                let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
                let whole = head + length.map_or(0, |n| n.trim().parse().unwrap());
                while seen.len() < whole && stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {}
                let bytes = answer.lock().unwrap().clone();
                // The client may have had enough of it.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    url
}

/// One call of this kind; what came of it, in words that hold everything a caller may show.
async fn call(client: &Client, url: &str, op: Op) -> Result<String, Failure> {
    let (case, file) = (case(), file());
    Ok(match op {
        Op::Start => {
            let (token, tags) = (ClientToken::from_random([7; 16]), BTreeMap::new());
            let request =
                StartRequest { case: &case, name: "a.pdf", size: 5, token: &token, tags: &tags, created_by: None };
            format!("{:?}", client.start(&request).await?)
        }
        Op::Complete => format!("{:?}", client.complete(&case, &file).await?),
        Op::BatchGet => {
            let answers = client.statuses(&case, std::slice::from_ref(&file)).await?;
            assert!(answers.len() == 1 && answers[0].0 == file, "one answer for each question");
            format!("known: {}", matches!(answers[0].1, Remote::Known(_)))
        }
        Op::Get => format!("{:?}", client.download(&case, &file).await?),
        Op::Delete => format!("{:?}", client.delete(&case, &file).await?),
        Op::Describe => format!("{:?}", client.attached_files_configuration().await?.max_size),
        Op::SearchRelated => {
            format!("{} files", client.case_files(&case).await?.len())
        }
        Op::SearchCases => {
            let number = Reference::new("12345678").unwrap();
            let terms = number.terms(Some("reference_id"));
            let (hits, total) = client.search_cases("d-1", &terms, Some("reference_id")).await?;
            // What is made of it ends in the verdict of a file.
            let mut known = CaseRef::fresh(MirrorId(1), number.clone(), DOMAIN, UnixMillis(0));
            known.learn(outcome(&number, &hits, Some(total)), UnixMillis(1));
            match known.resolved() {
                Ok(case) => format!("found {case}"),
                Err(why) => format!("{}: {}", why.reason, why.note.unwrap_or_default()),
            }
        }
        Op::GetCase => client.case_state(&case).await?.to_string(),
        Op::ListFields => {
            let fields = client.case_fields("d-1").await?;
            format!("{:?}", id_field(fields.iter().map(|(id, system)| (id.as_str(), *system))))
        }
        Op::ListDomains => {
            let domain = client.domain_arn("d-1").await?;
            format!("a case there: {}", CaseArn::in_domain(&domain, "c-1").is_some())
        }
        Op::Put => {
            let disk = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut &disk, b"hello").unwrap();
            let expires = Instant::now() + Duration::from_secs(60);
            let url = PresignedUrl::new(format!("{url}/k?{SECRET}"));
            let grant = Grant { url, headers: Vec::new(), expires };
            format!("{:?}", client.put(&grant, Body::new(Arc::new(disk), 5)).await?)
        }
        Op::Fetch => {
            let mut sink = Vec::new();
            let bytes = client.fetch(&PresignedUrl::new(format!("{url}/k?{SECRET}")), &mut sink).await?;
            assert_eq!(bytes, sink.len() as u64);
            String::new()
        }
    })
}

/// The answers that are altered below are understood as they stand: what is behind the parser is reached.
#[tokio::test]
async fn a_sound_answer_of_each_operation_is_understood() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let url = responder(Arc::clone(&said)).await;
    let client = client(&url).await;
    for op in Op::ALL {
        let body = sound(op).to_string();
        let whole = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        *said.lock().unwrap() = whole.into_bytes();
        let told = call(&client, &url, op).await.unwrap_or_else(|failure| panic!("{op}: {failure}"));
        let expected = match op {
            Op::Start => "f-1",
            Op::Get => "Approved",
            Op::Describe => "Some(20971520)",
            Op::SearchCases => "found arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/c-1",
            Op::GetCase => "c-1 (open, \"a title\")",
            Op::ListFields => "Some(\"reference_id\")",
            Op::BatchGet => "known: true",
            Op::SearchRelated => "1 files",
            Op::ListDomains => "a case there: true",
            Op::Complete | Op::Delete | Op::Put | Op::Fetch => "",
        };
        assert!(told.contains(expected), "{op}: {told}");
    }
}

#[test]
fn no_answer_of_any_operation_does_harm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let url = runtime.block_on(responder(Arc::clone(&said)));
    let client = runtime.block_on(client(&url));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    for op in Op::ALL {
        let mut failures = BTreeMap::<String, usize>::new();
        let counted = Mutex::new(&mut failures);
        // Each call of the pager may need many answers; one that never ends has a bound of its own (LESSONS L32).
        let config = Config { cases, max_shrink_iters: 400, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let outcome = runner.run(&answer(op), |Raw(bytes)| {
            said.lock().unwrap().clone_from(&bytes);
            let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, call(&client, &url, op)).await });
            let Ok(ended) = ended else { return Err(TestCaseError::fail("the call does not end")) };
            let (word, shown) = match &ended {
                Ok(text) => ("ok".to_owned(), text.clone()),
                Err(failure) => {
                    prop_assert!(!failure.code.is_empty() && failure.op == op);
                    prop_assert!(failure.message.chars().count() <= 600 && failure.code.len() <= 2_500);
                    prop_assert!(!failure.message.contains('\n') && !failure.code.contains('\n'));
                    let success = failure.http.is_some_and(|http| (200..300).contains(&http));
                    prop_assert!(!success || !failure.certain || failure.next == Next::Gone, "{failure:?}");
                    (format!("{:?}", failure.next), format!("{failure} {failure:?}"))
                }
            };
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            prop_assert!(!shown.contains("URLSECRET") && !shown.contains("SECRETKEYTEST"), "{shown}");
            *counted.lock().unwrap().entry(word).or_default() += 1;
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{op}: {error}");
        }
        println!("{op}: {cases} answers: {failures:?}");
        assert!(failures.len() >= 3, "{op}: the answers are too much alike: {failures:?}");
    }
}
