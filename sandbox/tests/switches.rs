//! Each switch in each position (SERVICE.md 8), and the plain life of a file under every one of them.

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

use std::time::Duration;

use casedrop_sandbox::*;
use common::Bench;
use serde_json::json;

const EXPIRED: Duration = Duration::from_secs(302);

async fn with(change: impl FnOnce(&mut Switches)) -> Bench {
    Bench::new(|settings| change(&mut settings.switches)).await
}

#[tokio::test]
async fn the_plain_life_of_a_file_works_under_every_switch() {
    let bench = Bench::new(|_| {}).await;
    for (name, switches) in Switches::ALL {
        bench.sandbox.set_switches(switches);
        let upload = bench.whole(&format!("{name}.txt"), name);
        assert_eq!(bench.status(&upload.file_id), "APPROVED", "{name}");
        bench.delete(&upload.file_id).ok();
    }
    assert!(bench.sandbox.ledger().is_empty());
}

#[tokio::test]
async fn row_1_same_token_same_parameters() {
    let urls = |bench: &Bench, wait: Duration| {
        let one = bench.start("a.txt", 5, "t");
        bench.sandbox.advance_clock(wait);
        let two = bench.start("a.txt", 5, "t");
        (one.file_id == two.file_id, one.url == two.url)
    };
    let short = Duration::from_secs(10);
    for (replay, wait, wanted) in [
        (TokenReplay::SameUrl, short, (true, true)),
        (TokenReplay::SameUrl, EXPIRED, (true, false)),
        (TokenReplay::FreshUrl, short, (true, false)),
        (TokenReplay::NewFile, short, (false, false)),
        (TokenReplay::DeadUrl, short, (true, true)),
        (TokenReplay::DeadUrl, EXPIRED, (true, true)),
    ] {
        let bench = with(|s| s.token_replay = replay).await;
        assert_eq!(urls(&bench, wait), wanted, "{replay:?} after {wait:?}");
    }
    let bench = with(|s| s.token_replay = TokenReplay::FreshUrl).await;
    bench.start("a.txt", 5, "t");
    bench.sandbox.advance_clock(EXPIRED);
    let fresh = bench.start("a.txt", 5, "t");
    assert_eq!(bench.put(&fresh, b"hello").status, 200);
}

#[tokio::test]
async fn row_1_token_of_a_deleted_file() {
    for (kind, same) in [(TokenOfDeleted::NewFile, false), (TokenOfDeleted::DeadFile, true)] {
        let bench = with(|s| s.token_of_deleted = kind).await;
        let one = bench.whole("a.txt", "t");
        bench.delete(&one.file_id).ok();
        let two = bench.start("a.txt", 5, "t");
        assert_eq!(one.file_id == two.file_id, same, "{kind:?}");
        assert_eq!(bench.complete(&two.file_id).status, if same { 404 } else { 400 });
    }
}

#[tokio::test]
async fn row_2_same_token_other_parameters() {
    for (mismatch, kind) in [
        (TokenMismatch::ResourceConflict, "ResourceConflictException"),
        (TokenMismatch::InvalidRequest, "InvalidRequestException"),
        (TokenMismatch::Ignored, "ok"),
    ] {
        let bench = with(|s| s.token_mismatch = mismatch).await;
        let one = bench.start("a.txt", 5, "t");
        for (name, size) in [("b.txt", 5), ("a.txt", 6)] {
            let two = bench.try_start(name, size, "t");
            assert_eq!(two.kind(), kind, "{mismatch:?}");
            assert!(kind != "ok" || two.json()["FileId"] == json!(one.file_id));
        }
        assert_eq!(bench.sandbox.ledger().len(), 1);
    }
}

#[tokio::test]
async fn row_3_status_after_start_and_after_expiry() {
    for (switch, word) in [
        (StatusAfterStart::Processing, "PROCESSING"),
        (StatusAfterStart::Drafting, "DRAFTING"),
        (StatusAfterStart::PendingUpload, "PENDING_UPLOAD"),
    ] {
        let bench = with(|s| s.status_after_start = switch).await;
        let upload = bench.start("a.txt", 5, "t");
        assert_eq!(upload.answer["FileStatus"], word);
        bench.put(&upload, b"hello");
        assert_eq!(bench.status(&upload.file_id), word);
    }
    for (switch, word) in [
        (AfterUrlExpiry::Unchanged, "PROCESSING"),
        (AfterUrlExpiry::Failed, "FAILED"),
        (AfterUrlExpiry::UploadExpired, "UPLOAD_EXPIRED"),
        (AfterUrlExpiry::Gone, "absent"),
    ] {
        let bench = with(|s| s.after_url_expiry = switch).await;
        let idle = bench.start("idle.txt", 5, "idle");
        let stored = bench.start("stored.txt", 5, "stored");
        bench.put(&stored, b"hello");
        assert_eq!(bench.status(&idle.file_id), "PROCESSING");
        bench.sandbox.advance_clock(EXPIRED);
        assert_eq!(bench.status(&idle.file_id), word);
        assert_eq!(bench.status(&stored.file_id), "PROCESSING", "what has its bytes does not expire");
        let listed = bench.items(&json!({})).ok()["relatedItems"].as_array().map(Vec::len);
        assert_eq!(listed, Some(if switch == AfterUrlExpiry::Gone { 1 } else { 2 }));
        bench.complete(&stored.file_id).ok();
        let folder = bench.state.path().join(format!("cases/{DEMO_REFERENCE}_{DEMO_CASE_ID}/idle.txt"));
        common::until("the disk agrees", || {
            let text = std::fs::read_to_string(folder.join(&idle.file_id).join("metadata.json"));
            if switch == AfterUrlExpiry::Gone { !folder.exists() } else { text.is_ok_and(|text| text.contains(word)) }
        });
    }
}

#[tokio::test]
async fn row_4_what_counts() {
    for (counts, status) in [(true, 402), (false, 200)] {
        let bench = Bench::new(|settings| {
            settings.switches.unfinished_count = counts;
            settings.limits.files_per_case = 2;
        })
        .await;
        bench.start("a.txt", 5, "a");
        bench.whole("b.txt", "b");
        assert_eq!(bench.try_start("c.txt", 5, "c").status, status);
        bench.sandbox.set_limits(Limits { files_per_case: 1, ..Limits::default() });
        assert_eq!(bench.try_start("d.txt", 5, "d").status, 402);
    }
}

#[tokio::test]
async fn row_5_odd_completes() {
    for (switch, status, after) in [
        (CompleteWithoutPut::InvalidRequest, 400, "PROCESSING"),
        (CompleteWithoutPut::AcceptedThenFailed, 200, "FAILED"),
    ] {
        let bench = with(|s| s.complete_without_put = switch).await;
        let upload = bench.start("a.txt", 5, "t");
        assert_eq!(bench.complete(&upload.file_id).status, status);
        assert_eq!(bench.status(&upload.file_id), after);
    }
    for (switch, status) in [(Leniency::Ok, 200), (Leniency::InvalidRequest, 400)] {
        let bench = with(|s| s.complete_twice = switch).await;
        let upload = bench.whole("a.txt", "t");
        assert_eq!(bench.complete(&upload.file_id).status, status);
        assert_eq!(bench.status(&upload.file_id), "APPROVED");
    }
}

#[tokio::test]
async fn row_8_unknown_ids() {
    for (switch, status, errors) in
        [(UnknownIds::InErrors, 200, 1), (UnknownIds::Absent, 200, 0), (UnknownIds::WholeCallNotFound, 404, 0)]
    {
        let bench = with(|s| s.unknown_ids = switch).await;
        let upload = bench.start("a.txt", 5, "t");
        let answer = bench.batch(&[&upload.file_id, "made-up"]);
        assert_eq!(answer.status, status);
        if status == 200 {
            let seen = answer.ok();
            assert_eq!(seen["Files"].as_array().map(Vec::len), Some(1));
            assert_eq!(seen["Errors"].as_array().map(Vec::len), Some(errors));
        }
    }
}

#[tokio::test]
async fn rows_9_and_10_names_and_unapproved() {
    for (switch, status) in [(DuplicateName::Allowed, 200), (DuplicateName::ResourceConflict, 409)] {
        let bench = with(|s| s.duplicate_name = switch).await;
        let upload = bench.start("a.txt", 5, "a");
        assert_eq!(bench.try_start("a.txt", 5, "b").status, status);
        assert_eq!(bench.try_start("a.txt", 5, "a").status, 200, "a replay is no second name");
        if status == 409 {
            bench.delete(&upload.file_id).ok();
            bench.start("a.txt", 5, "b");
        }
    }
    for (switch, status) in [(GetUnapproved::NoUrl, 200), (GetUnapproved::InvalidRequest, 400)] {
        let bench = with(|s| s.get_unapproved = switch).await;
        assert_eq!(bench.get(&bench.start("a.txt", 5, "t").file_id).status, status);
        assert_eq!(bench.get(&bench.whole("b.txt", "u").file_id).status, 200);
    }
}

#[tokio::test]
async fn row_11_deletes() {
    for (switch, status) in [(Leniency::Ok, 200), (Leniency::InvalidRequest, 400)] {
        let bench = Bench::new(|settings| {
            settings.switches.delete_during_scan = switch;
            settings.scan = Scan::after(Duration::from_secs(30));
        })
        .await;
        assert_eq!(bench.delete(&bench.start("a.txt", 5, "a").file_id).status, 200, "before Complete");
        let upload = bench.whole("b.txt", "b");
        assert_eq!(bench.delete(&upload.file_id).status, status);
        bench.sandbox.advance_clock(Duration::from_secs(31));
        assert_eq!(bench.delete(&upload.file_id).status, if status == 200 { 404 } else { 200 });
    }
    let bench = with(|s| s.delete_twice = DeleteTwice::Ok).await;
    let upload = bench.whole("a.txt", "t");
    assert_eq!([bench.delete(&upload.file_id).status, bench.delete(&upload.file_id).status], [200, 200]);
    assert_eq!(bench.delete("never-was").status, 404);
    assert_eq!(bench.sandbox.deleted().len(), 1);
}

#[tokio::test]
async fn row_15_closed_and_deleted_cases() {
    for (switch, status) in [(Leniency::Ok, 200), (Leniency::InvalidRequest, 400)] {
        let bench = with(|s| s.start_on_closed_case = switch).await;
        assert!(bench.sandbox.close_case(DEMO_CASE_ID));
        assert_eq!(bench.try_start("a.txt", 5, "t").status, status);
        assert!(bench.sandbox.reopen_case(DEMO_CASE_ID));
        assert_eq!(bench.try_start("a.txt", 5, "t").status, 200);
    }
    for (switch, status) in [(StartOnDeletedCase::ResourceNotFound, 404), (StartOnDeletedCase::AccessDenied, 403)] {
        let bench = with(|s| s.start_on_deleted_case = switch).await;
        let upload = bench.whole("a.txt", "t");
        assert!(bench.sandbox.remove_case(DEMO_CASE_ID));
        assert_eq!(bench.try_start("b.txt", 5, "u").status, status);
        assert_eq!(bench.get(&upload.file_id).status, 404);
        assert!(bench.sandbox.ledger().is_empty());
        let left = std::fs::read_dir(bench.state.path().join("cases")).unwrap().count();
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn rows_16_and_17_buckets_and_visibility() {
    for (shared, status) in [(false, 400), (true, 429)] {
        let bench = Bench::new(|settings| {
            settings.switches.start_and_complete_share_bucket = shared;
            settings.throttle = Throttle::every(0.001, 1);
        })
        .await;
        let upload = bench.start("a.txt", 5, "t");
        assert_eq!(bench.complete(&upload.file_id).status, status);
    }
    let bench = with(|s| s.related_items_delay = Duration::from_secs(20)).await;
    let upload = bench.start("a.txt", 5, "t");
    let listed = || bench.items(&json!({})).ok()["relatedItems"].as_array().map(Vec::len);
    assert_eq!(listed(), Some(0));
    assert_eq!(bench.status(&upload.file_id), "PROCESSING", "only the listing lags");
    bench.sandbox.advance_clock(Duration::from_secs(21));
    assert_eq!(listed(), Some(1));
}
