//! A day at a drop folder, in one scene: a thousand files over forty cases named by reference, some of which cannot be
//! delivered. At the end archive, quarantine, the folder that is left, the sandbox and the report account for every
//! file exactly once.

use std::collections::BTreeMap;
use std::fs;

use casedrop_sandbox::{FileStatus, Limits, NewCase, Op, Scan, Verdict};
use serde_json::Value;

use crate::common::{sha256, text};
use crate::ingest::{archive, quarantine, reported, stage_with, tree};

const FILES: usize = 1_000;
const UNKNOWN: usize = 30;
const AMBIGUOUS: usize = 12;
const OF_A_REFUSED_TYPE: usize = 20;
const OVER_SIZE: usize = 5;
const REJECTED: usize = 9;
/// Files for the case that takes [`PER_CASE`].
const FOR_THE_FULL_CASE: usize = 45;
const PER_CASE: usize = 40;
const LARGEST: u64 = 100_000;

#[test]
fn a_thousand_files_over_forty_cases_are_accounted_for_exactly_once() {
    let mut stage = stage_with("archive", "file_name = \"base\"\nreceipts = true\n", |settings| {
        settings.limits = Limits { files_per_case: PER_CASE, max_file_bytes: LARGEST, ..Limits::default() };
        settings.scan = Scan::default().rule(regex::Regex::new("virus").unwrap(), Verdict::Rejected);
    });
    stage.case = "case_from = '^(?<reference>[^/]+)/'".to_owned();
    let case = |number: usize| {
        let title = format!("Case {number}");
        stage.sandbox.add_case(NewCase { reference_number: Some(number.to_string()), ..NewCase::titled(title) }).case_id
    };
    let full = case(40_000_000);
    (40_000_001..40_000_040).for_each(|number| drop(case(number)));
    (0..2).for_each(|_| drop(case(41_000_000)));

    let mut dropped = BTreeMap::new();
    let mut put = |folder: usize, name: String, content: Vec<u8>| {
        let path = format!("{folder}/{name}");
        stage.write(&path, &content);
        dropped.insert(path, sha256(&content));
    };
    let one_of_the_others = |n: usize| 40_000_001 + n % 39;
    (0..UNKNOWN).for_each(|n| put(49_999_999, format!("stray {n}.pdf"), format!("stray {n}").into()));
    (0..AMBIGUOUS).for_each(|n| put(41_000_000, format!("twin {n}.pdf"), format!("twin {n}").into()));
    (0..OF_A_REFUSED_TYPE).for_each(|n| put(one_of_the_others(n), format!("{n}.exe"), format!("MZ {n}").into()));
    (0..OVER_SIZE).for_each(|n| put(one_of_the_others(n), format!("large {n}.pdf"), vec![b'l'; 100_001 + n]));
    (0..REJECTED).for_each(|n| put(one_of_the_others(n), format!("virus {n}.pdf"), format!("virus {n}").into()));
    (0..FOR_THE_FULL_CASE).for_each(|n| put(40_000_000, format!("full {n}.pdf"), format!("full {n}").into()));
    let rest = FILES - UNKNOWN - AMBIGUOUS - OF_A_REFUSED_TYPE - OVER_SIZE - REJECTED - FOR_THE_FULL_CASE;
    (0..rest).for_each(|n| put(one_of_the_others(n), format!("fax {n}.pdf"), format!("fax {n}").into()));
    assert_eq!(dropped.len(), FILES);

    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));

    // Every file is in one of three places, as it was dropped.
    let of = |mut files: BTreeMap<String, String>| {
        files.retain(|name, _| !name.ends_with(".receipt.json") && !name.ends_with(".reason.txt"));
        files
    };
    let (archived, refused, left) = (of(tree(&archive(&stage))), of(tree(&quarantine(&stage))), of(tree(&stage.drop)));
    let over_full = FOR_THE_FULL_CASE - PER_CASE;
    let delivered = rest + PER_CASE;
    assert_eq!(refused.len(), OF_A_REFUSED_TYPE + OVER_SIZE + REJECTED);
    assert_eq!(left.len(), UNKNOWN + AMBIGUOUS + over_full);
    assert_eq!(archived.len(), delivered);
    let mut found = archived.clone();
    found.extend(refused);
    found.extend(left);
    assert_eq!(found, dropped);
    let receipts = tree(&archive(&stage)).into_keys().filter(|name| name.ends_with(".receipt.json"));
    assert_eq!(receipts.count(), delivered);
    let receipt = fs::read(archive(&stage).join("40000001/fax 0.pdf.receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["reference"], "40000001");

    // What agents see is what is in the archive.
    let mut seen: Vec<String> = stage
        .ours()
        .into_iter()
        .filter(|file| file.status == FileStatus::Approved)
        .map(|file| file.sha256.unwrap_or_default())
        .collect();
    let mut kept: Vec<String> = archived.into_values().collect();
    seen.sort();
    kept.sort();
    assert_eq!(seen, kept);
    let on_full = stage.ours().into_iter().filter(|file| file.case_id == full && file.status == FileStatus::Approved);
    assert_eq!(on_full.count(), PER_CASE);

    // No call for what is known to be in vain: a refused type and a size cost none.
    assert!(stage.count(Op::StartAttachedFileUpload) < delivered + REJECTED + FOR_THE_FULL_CASE);

    // The report adds up.
    let report = reported(&stage, &["--day", "today", "--json"]);
    assert!(report.status.success(), "{}", text(&report));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let total = |end: &str| usize::try_from(report["totals"][end].as_u64().unwrap()).unwrap();
    assert_eq!(report["arrived"], FILES);
    assert_eq!(
        (total("archived"), total("quarantined"), total("parked"), total("unrouted")),
        (delivered, OF_A_REFUSED_TYPE + OVER_SIZE + REJECTED, over_full, UNKNOWN + AMBIGUOUS)
    );

    // Another pass finds nothing to deliver, and nothing is delivered twice.
    let before = stage.count(Op::CompleteAttachedFileUpload);
    stage.run(&["sync"]);
    assert_eq!(stage.count(Op::CompleteAttachedFileUpload), before);
    fs::metadata(stage.path("49999999/stray 0.pdf")).unwrap();
}
