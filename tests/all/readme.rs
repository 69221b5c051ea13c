//! The README names everything that users meet: every config key with its default, command, verdict, park code and
//! hold with its remedy, exit code and file to install. The lists come from the sources, so that none is forgotten.

use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The text between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to:?} after {from:?}")).0
}

/// The table row that begins with `cell` in the section under `heading`.
fn row(readme: &str, heading: &str, cell: &str) -> String {
    let section = readme.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let level = heading.split(' ').next().expect("hashes");
    let lines = section.lines().take_while(|line| !line.starts_with(&format!("{level} ")));
    let begin = format!("| `{cell}` |");
    let mut rows = lines.filter(|line| line.starts_with(&begin));
    rows.next().unwrap_or_else(|| panic!("{heading} has no row for `{cell}`")).to_owned()
}

/// Lines that a string literal continues with `\` are one.
fn model() -> String {
    let text = ["model", "park", "hold"].map(|name| file(&format!("src/core/{name}.rs"))).concat();
    let mut parts = text.split("\\\n");
    let first = parts.next().expect("a part").to_owned();
    parts.fold(first, |all, part| all + part.trim_start())
}

/// Name, stable text and remedy of every value of an enum of codes.
fn codes(name: &str) -> Vec<(String, String)> {
    let model = model();
    let values = between(&model, &format!("\n    {name} {{\n"), "\n    }");
    let remedies = between(&model, &format!("\nimpl {name} {{\n"), "\n}\n");
    let remedies = remedies.split_once("fn remedy").expect("remedies").1;
    let pairs = values.lines().filter_map(|line| line.trim().split_once(" = \""));
    let codes: Vec<(String, String)> = pairs
        .map(|(variant, text)| {
            let arm = remedies.split_once(&format!("Self::{variant} =>")).expect("an arm").1;
            let remedy = arm.split('"').nth(1).expect("a remedy");
            (text.trim_end_matches("\",").to_owned(), remedy.to_owned())
        })
        .collect();
    assert!(codes.len() >= 8, "{codes:?}");
    codes
}

#[test]
fn every_park_code_and_hold_has_its_remedy_word_for_word() {
    let readme = file("README.md");
    for (heading, name) in [("## Park codes", "ParkCode"), ("## Holds", "HoldCode")] {
        for (code, remedy) in codes(name) {
            let row = row(&readme, heading, &code);
            assert!(row.ends_with(&format!("| {remedy} |")), "{heading}, `{code}`: not the remedy {remedy:?} in {row}");
        }
    }
}

#[test]
fn every_reason_for_having_no_case_has_its_remedy_word_for_word() {
    let readme = file("README.md");
    let source = file("src/core/routing.rs");
    let listed = between(&source, "\nreasons! {\n", "\n}\n");
    let mut seen = 0;
    for line in listed.split(" = \"").skip(1) {
        let (code, rest) = line.split_once('"').expect("a code");
        let remedy = rest.split('"').nth(1).expect("a remedy");
        let row = row(&readme, "### Why a file has no case", code);
        assert!(row.ends_with(&format!("| {remedy} |")), "`{code}`: not the remedy {remedy:?} in {row}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn every_verdict_is_explained() {
    let readme = file("README.md");
    let model = model();
    let words: Vec<&str> = between(&model, "pub const WORDS: [&str; 9] =", ";").split('"').skip(1).step_by(2).collect();
    assert_eq!(words.len(), 9);
    for word in words {
        row(&readme, "## Verdicts", word);
    }
}

/// Keys and defaults as config.example.toml shows them, which is itself held to the program by a test.
#[test]
fn every_key_has_its_row_and_its_default() {
    let (readme, example) = (file("README.md"), file("config.example.toml"));
    let (mut heading, mut seen) = (String::new(), Vec::new());
    for line in example.lines() {
        if line.starts_with('[') {
            let once = if line.starts_with("[[") { ", once for each folder" } else { "" };
            heading = format!("### `{line}`{once}");
            continue;
        }
        let (default, text) = match line.strip_prefix("#? ") {
            Some(text) => (false, text),
            None => line.strip_prefix('#').map_or((false, line), |text| (true, text)),
        };
        let Some((key, value)) = text.split_once(" = ") else { continue };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            continue;
        }
        let row = row(&readme, &heading, key);
        assert!(
            !default || row.starts_with(&format!("| `{key}` | `{value}` |")),
            "the default of {key} is {value}: {row}"
        );
        seen.push(format!("{heading} {key}"));
    }
    assert!(seen.len() >= 30, "{seen:?}");
    let section = between(&readme, "\n## Configuration\n", "\n## ");
    let rows = section.lines().filter(|line| line.starts_with("| `")).count();
    seen.sort();
    seen.dedup();
    assert_eq!(rows, seen.len(), "a row for a key that config.example.toml does not have");
}

#[test]
fn every_command_is_there() {
    let readme = file("README.md");
    let section = between(&readme, "\n## Commands\n", "\n### Exit codes\n");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `casedrop "));
    let shown: Vec<&str> = rows.filter_map(|rest| rest.split([' ', '`']).next()).collect();
    let cli = file("src/cli/mod.rs");
    let variants = between(&cli, "\nenum Command {\n", "\n}\n");
    let names: Vec<String> = variants
        .lines()
        .filter_map(|line| {
            line.trim().split_once('(').filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphabetic()))
        })
        .map(|(name, _)| name.to_lowercase())
        .collect();
    assert!(names.len() >= 10, "{names:?}");
    assert_eq!(shown, names);
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let readme = file("README.md");
    let section = between(&readme, "\n### Exit codes\n", "\n## ");
    let codes: Vec<u8> = section.lines().filter_map(|line| line.split('|').nth(1)?.trim().parse().ok()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 75, 78]);
}

#[test]
fn the_files_it_names_exist() {
    let readme = file("README.md");
    let words = readme.split(|c: char| c.is_whitespace() || "()`,".contains(c));
    let named: Vec<&str> = words
        .filter(|word| word.starts_with("systemd/") || *word == "config.example.toml")
        .filter(|word| !word.ends_with('/'))
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    for path in named {
        file(path);
    }
    for link in readme.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        let slug = |line: &str| {
            let text = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            text.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
        };
        let found = readme.lines().any(|line| line.starts_with('#') && slug(line) == link);
        assert!(found, "no heading for #{link}");
    }
}
