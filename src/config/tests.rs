//! Whole files: the example, the bad samples, arbitrary text.

use std::path::Path;

use proptest::prelude::*;

use super::keys::SUPPORTED;
use super::*;

const MINIMAL: &str = "[connect]\ninstance_id = \"11111111-2222-4333-8444-555555555555\"\n\
    [[mirror]]\nname = \"m\"\npath = \"/srv/m\"\ncase = \"arn:aws:cases:eu-west-2:123456789012:domain/d/case/c\"\n";

fn home(name: &str) -> Option<OsString> {
    (name == "HOME").then(|| OsString::from("/home/u"))
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, Path::new("c.toml"), &home).map_err(|list| list.iter().map(ToString::to_string).collect())
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The example's `(table, key, value as written, has a default)`, commented out or not.
fn example_keys(text: &str) -> Vec<(String, String, String, bool)> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
            continue;
        }
        let (pair, default) = match (line.strip_prefix("#? "), line.strip_prefix('#')) {
            (Some(pair), _) => (pair, false),
            (None, Some(pair)) if pair.starts_with(|c: char| c.is_ascii_lowercase()) => (pair, true),
            (None, Some(_)) => continue,
            (None, None) => (line, false),
        };
        if let Some((key, value)) = pair.split_once(" = ") {
            keys.push((table.clone(), key.to_owned(), value.to_owned(), default));
        }
    }
    keys
}

#[test]
fn the_example_is_valid_as_it_stands_and_with_every_default_written_out() {
    let text = file("config.example.toml");
    let plain = parse(&text).unwrap();
    let written: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(pair) if pair.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{pair}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(text, written);
    assert_eq!(parse(&written).unwrap().effective(), plain.effective());
}

#[test]
fn the_example_names_every_key_and_the_programs_defaults() {
    let keys = example_keys(&file("config.example.toml"));
    for (table, names) in SUPPORTED.iter().filter(|(table, _)| !table.is_empty()) {
        for name in *names {
            assert_eq!(keys.iter().filter(|(t, k, ..)| t == table && k == name).count(), 1, "[{table}] {name}");
        }
    }
    let program: toml::Table = parse(MINIMAL).unwrap().effective().parse().unwrap();
    let mut compared = 0;
    for (table, key, value, _) in keys.iter().filter(|(.., default)| *default) {
        let section = match program.get(table).unwrap() {
            toml::Value::Array(list) => &list[0],
            section => section,
        };
        let example: toml::Table = format!("v = {value}").parse().unwrap();
        let (example, own) = (&example["v"], &section[key.as_str()]);
        let seconds = |v: &toml::Value| v.as_str().and_then(|s| units::parse_duration(s).ok());
        assert!(example == own || seconds(example).is_some_and(|s| Some(s) == seconds(own)), "{table}.{key}: {own}");
        compared += 1;
    }
    assert_eq!(compared, 5 + 3 + 1 + 14, "every key of [limits], [log], [hooks] and [[mirror]] that has a default");
}

#[test]
fn the_commented_examples_are_valid_too() {
    let text = file("config.example.toml");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("case_from"))
        // The examples of ingestion need their mode.
        .map(|line| if line == "#mode = \"mirror\"" { "mode = \"ingest\"" } else { line })
        .map(|line| format!("{}\n", line.strip_prefix("#? ").unwrap_or(line)))
        .collect();
    let config = parse(&text).unwrap();
    assert_eq!(config.connect.profile.as_deref(), Some("casedrop"));
    assert_eq!(config.journal_path, Path::new("/var/lib/casedrop/journal.db"));
}

/// Each `tests/configs/bad/*.toml` ends with its expected problems, one a line after `#! `.
#[test]
fn bad_samples_give_exactly_their_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/bad");
    let mut samples: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    samples.sort();
    assert!(samples.len() >= 10, "{samples:?}");
    let mut wrong = String::new();
    for sample in samples {
        let text = std::fs::read_to_string(&sample).unwrap();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
        let problems = parse(&text).err().unwrap_or_default();
        if problems != expected || expected.is_empty() {
            wrong.push_str(&format!("{}:\n", sample.file_name().unwrap().display()));
            problems.iter().for_each(|p| wrong.push_str(&format!("#! {p}\n")));
        }
    }
    assert!(wrong.is_empty(), "these samples give other problems than they say:\n{wrong}");
}

#[test]
fn the_effective_configuration_reads_back() {
    for text in [MINIMAL.to_owned(), file("config.example.toml"), file("tests/configs/full.toml")] {
        let effective = parse(&text).unwrap().effective();
        let again = parse(&effective).unwrap_or_else(|problems| panic!("{problems:#?}\n{effective}"));
        assert_eq!(again.effective(), effective);
        assert_eq!(again.mirrors, parse(&text).unwrap().mirrors);
        assert_eq!(again.hooks, parse(&text).unwrap().hooks);
    }
}

#[test]
fn the_journal_has_a_place_by_default() {
    let place = |vars: &[(&str, &str)]| {
        let env = |name: &str| vars.iter().find(|(k, _)| *k == name).map(|(_, v)| OsString::from(v));
        Config::parse(MINIMAL, Path::new("c.toml"), &env).map(|c| c.journal_path).map_err(|p| p[0].to_string())
    };
    let all = [("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/home/u")];
    assert_eq!(place(&all), Ok("/var/lib/a/journal.db".into()));
    assert_eq!(place(&all[1..]), Ok("/x/casedrop/journal.db".into()));
    assert_eq!(place(&all[2..]), Ok("/home/u/.local/state/casedrop/journal.db".into()));
    assert_eq!(place(&[("XDG_STATE_HOME", "relative"), all[2]]), Ok("/home/u/.local/state/casedrop/journal.db".into()));
    assert!(place(&[]).unwrap_err().starts_with("c.toml: journal.path: it is required"));
}

#[test]
fn the_domains_arn_comes_from_the_instances() {
    let with = |instance: &str, domain: &str| {
        let more = format!("instance_id = \"{instance}\"\ncases_domain = \"{domain}\"");
        let text = MINIMAL.replace("instance_id = \"11111111-2222-4333-8444-555555555555\"", &more);
        parse(&text).unwrap().connect
    };
    let (id, domain) = ("11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-000000000000");
    let arn = format!("arn:aws-us-gov:connect:us-gov-west-1:123456789012:instance/{id}");
    let domain_arn = format!("arn:aws-us-gov:cases:us-gov-west-1:123456789012:domain/{domain}");
    let connect = with(&arn, domain);
    assert_eq!(connect.instance_id(), id);
    assert_eq!(connect.region(), Some("us-gov-west-1"));
    assert_eq!(connect.domain_arn().as_deref(), Some(domain_arn.as_str()));
    assert_eq!(with(id, &domain_arn).domain_arn().as_deref(), Some(domain_arn.as_str()));
    assert_eq!(with(id, &domain_arn).domain_id(), Some(domain));
    assert_eq!((with(id, domain).domain_arn(), with(id, domain).region()), (None, None));
}

#[test]
fn a_url_with_a_password_is_not_repeated() {
    let text =
        MINIMAL.replace("[[mirror]]", "endpoint_url = \"https://user:hunter2@h.example/?k=hunter2\"\n[[mirror]]");
    let problems = parse(&text).unwrap_err().concat();
    assert!(
        problems.contains("connect.endpoint_url: it must have no user") && !problems.contains("hunter2"),
        "{problems}"
    );
}

#[test]
fn a_root_loses_its_trailing_slash() {
    let config = parse(&MINIMAL.replace("/srv/m", "//srv/./m//")).unwrap();
    assert_eq!(config.mirrors[0].path.as_os_str(), "/srv/m");
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\[{1,2}(connect|mirror|log|limits)\\]{1,2}\n|[a-z_]{1,8} = [0-9\"'a-z{}\\[\\],. ]{0,9}\n|.{0,9}\n){0,8}") {
        for problem in parse(&text).err().unwrap_or_default() {
            prop_assert!(!problem.contains('\n'), "{problem}");
        }
    }

    /// A file is bytes: any at all, and the example with some of them altered, left out or doubled.
    #[test]
    fn no_bytes_panic(
        anything in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 0..6),
    ) {
        let mut altered = file("tests/configs/full.toml").into_bytes();
        for (at, byte, kind) in changes {
            let at = at.index(altered.len());
            match kind {
                0 => altered[at] = byte,
                1 => altered.truncate(at.max(1)),
                2 => altered.insert(at, byte),
                _ => altered.extend_from_within(at / 2..at),
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for bytes in [anything, altered] {
            let path = folder.path().join("c.toml");
            std::fs::write(&path, bytes).unwrap();
            if let Err(ConfigError::Invalid(problems)) = Config::load(Some(&path), &home) {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(!problem.to_string().contains('\n'), "{problem}");
                }
            }
        }
    }

    #[test]
    fn no_value_panics(at in 0_usize..40, value in "[-0-9a-z\"'{}\\[\\],.:/ ]{0,12}|\"\\PC{0,12}\"") {
        let keys: Vec<_> = SUPPORTED.iter().flat_map(|(t, keys)| keys.iter().map(move |k| (*t, *k))).collect();
        let (table, key) = keys[at % keys.len()];
        let text = match table {
            "mirror" => format!("{MINIMAL}{key} = {value}\n"),
            table => format!("[{table}]\n{key} = {value}\n"),
        };
        for problem in parse(&text).err().unwrap_or_default() {
            prop_assert!(!problem.contains('\n'), "{problem}");
        }
    }
}
