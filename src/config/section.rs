//! One table of the file, read key by key. Whatever is wrong goes to the [`Sink`]; the reader gets `None` and
//! goes on, so that all problems are found in one run.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use super::problem::Sink;
use super::units;

/// A table with the dotted key that leads to it.
pub(super) struct Section<'t> {
    /// Empty for the file itself.
    pub(super) name: String,
    /// `None` when the file does not have it.
    table: Option<&'t DeTable<'t>>,
    span: Option<Range<usize>>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Self { name: String::new(), table: Some(table), span: None }
    }

    /// The dotted name of one of its keys.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Where the table begins.
    pub(super) fn at(&self) -> Option<usize> {
        self.span.as_ref().map(|s| s.start)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        self.get(key).and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.is_empty())
    }

    /// The place of a key's value.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.get(key).map(Spanned::span)
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table?.get(key)
    }

    /// Reports the keys of `table` (a table's name in [`keys`]) that are not known or not supported yet.
    pub(super) fn check_keys(&self, sink: &mut Sink<'_>, table: &str) {
        for key in self.table.into_iter().flatten().map(|(key, _)| key) {
            if let Some(message) = keys::complaint(table, key.get_ref()) {
                sink.key(&self.key(key.get_ref()), Some(key.span().start), message);
            }
        }
    }

    /// A table below this one; an absent one reads as empty.
    pub(super) fn table(&self, sink: &mut Sink<'_>, key: &str) -> Section<'t> {
        let name = self.key(key);
        let mut section = Section { name, table: None, span: None };
        if let Some(value) = self.get(key) {
            match value.get_ref() {
                DeValue::Table(table) => {
                    section.table = Some(table);
                    section.span = Some(value.span());
                }
                DeValue::Array(_) => {
                    sink.key(&section.name, Some(value.span().start), format!("it is one table: write [{key}]"));
                }
                _ => sink.value(&section.name, value.span(), format!("it must be a table: write [{key}]")),
            }
        }
        section
    }

    /// The tables of a list; each is named `key[N]`, from 1.
    pub(super) fn tables(&self, sink: &mut Sink<'_>, key: &str) -> Vec<Section<'t>> {
        let wrong = format!("it must be a list of tables: write [[{key}]]");
        let list = match self.get(key).map(|value| (value, value.get_ref())) {
            None => return Vec::new(),
            Some((_, DeValue::Array(list))) => list,
            Some((value, DeValue::Table(_))) => {
                sink.key(key, Some(value.span().start), wrong);
                return Vec::new();
            }
            Some((value, _)) => {
                sink.value(key, value.span(), wrong);
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for (at, value) in list.iter().enumerate() {
            let name = format!("{}[{}]", self.key(key), at + 1);
            match value.get_ref() {
                DeValue::Table(table) => tables.push(Section { name, table: Some(table), span: Some(value.span()) }),
                _ => sink.value(&name, value.span(), wrong.clone()),
            }
        }
        tables
    }

    /// The key's value as `read` understands it.
    fn read<T>(
        &self,
        sink: &mut Sink<'_>,
        key: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        match read(value.get_ref()) {
            Ok(found) => Some(found),
            Err(message) => {
                sink.value(&self.key(key), value.span(), message);
                None
            }
        }
    }

    /// A text that `read` understands.
    pub(super) fn text<T>(
        &self,
        sink: &mut Sink<'_>,
        key: &str,
        read: impl FnOnce(&'t str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(sink, key, |value| read(as_text(value)?))
    }

    /// Like [`Section::text`]; the value is not shown, because it may hold a secret.
    pub(super) fn secret_text<T>(
        &self,
        sink: &mut Sink<'_>,
        key: &str,
        read: impl FnOnce(&'t str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        match as_text(value.get_ref()).and_then(read) {
            Ok(found) => Some(found),
            Err(message) => {
                sink.secret(&self.key(key), value.span(), message);
                None
            }
        }
    }

    pub(super) fn boolean(&self, sink: &mut Sink<'_>, key: &str) -> Option<bool> {
        self.read(sink, key, |value| value.as_bool().ok_or_else(|| "it must be true or false".to_owned()))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, sink: &mut Sink<'_>, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.read(sink, key, |value| {
            let found = value.as_str().and_then(|text| choices.iter().find(|(word, _)| *word == text));
            let words = || choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            found.map(|(_, choice)| *choice).ok_or_else(|| format!("it must be one of {}", words()))
        })
    }

    pub(super) fn integer<T>(&self, sink: &mut Sink<'_>, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.read(sink, key, |value| {
            let number = value.as_integer().and_then(|n| i128::from_str_radix(n.as_str(), n.radix()).ok());
            let number = number.and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
            number.ok_or_else(|| format!("it must be a whole number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn number(&self, sink: &mut Sink<'_>, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        self.read(sink, key, |value| {
            let text = match value {
                DeValue::Integer(n) if n.radix() == 10 => Some(n.as_str()),
                DeValue::Float(n) => Some(n.as_str()),
                _ => None,
            };
            let number = text.and_then(|t| t.parse::<f64>().ok()).filter(|n| range.contains(n));
            number.ok_or_else(|| format!("it must be a number from {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn duration(&self, sink: &mut Sink<'_>, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let allowed =
            || format!("allowed is {} to {}", units::show_duration(*range.start()), units::show_duration(*range.end()));
        self.read(sink, key, |value| {
            let Some(text) = value.as_str() else {
                return Err(format!("it must be a duration in quotes, such as \"5s\"; {}", allowed()));
            };
            let duration = units::parse_duration(text)?;
            if range.contains(&duration) { Ok(duration) } else { Err(allowed()) }
        })
    }

    /// A size in bytes.
    pub(super) fn size(&self, sink: &mut Sink<'_>, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.read(sink, key, |value| {
            let size = match value {
                DeValue::Integer(n) if n.radix() == 10 => units::parse_size(n.as_str())?,
                _ => units::parse_size(as_text(value)?)?,
            };
            let shown = || {
                let (low, high) = (units::show_size(*range.start()), units::show_size(*range.end()));
                format!("allowed is {low} to {high}")
            };
            if range.contains(&size) { Ok(size) } else { Err(shown()) }
        })
    }

    /// A duration, or `"off"` for none.
    pub(super) fn duration_or_off(
        &self,
        sink: &mut Sink<'_>,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        if self.get(key).is_some_and(|value| value.get_ref().as_str() == Some("off")) {
            return Some(None);
        }
        let (low, high) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
        let allowed = || format!("allowed is {low} to {high}, or \"off\"");
        self.read(sink, key, |value| {
            let text = value.as_str().ok_or_else(|| format!("it must be a duration in quotes; {}", allowed()))?;
            let duration = units::parse_duration(text)?;
            if range.contains(&duration) { Ok(Some(duration)) } else { Err(allowed()) }
        })
    }

    /// A size per second, or `"off"` for none.
    pub(super) fn size_or_off(
        &self,
        sink: &mut Sink<'_>,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Option<u64>> {
        self.read(sink, key, |value| {
            let size = match value {
                DeValue::Integer(n) if n.radix() == 10 => units::parse_size(n.as_str())?,
                _ if value.as_str() == Some("off") => return Ok(None),
                _ => {
                    let text = as_text(value)?.trim();
                    units::parse_size(text.strip_suffix("/s").unwrap_or(text))?
                }
            };
            let shown = || {
                let (low, high) = (units::show_size(*range.start()), units::show_size(*range.end()));
                format!("allowed is {low}/s to {high}/s, or \"off\"")
            };
            if range.contains(&size) { Ok(Some(size)) } else { Err(shown()) }
        })
    }

    /// A list of texts, each with its place in the list, from 1, and in the file.
    pub(super) fn texts(&self, sink: &mut Sink<'_>, key: &str) -> Vec<(usize, String, Range<usize>)> {
        let Some(list) = self.read(sink, key, |value| {
            value.as_array().ok_or_else(|| "it must be a list of texts, such as [\"*.pdf\"]".to_owned())
        }) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (at, value) in list.iter().enumerate() {
            match as_text(value.get_ref()) {
                Ok(text) => texts.push((at + 1, text.to_owned(), value.span())),
                Err(message) => sink.value(&format!("{}[{}]", self.key(key), at + 1), value.span(), message),
            }
        }
        texts
    }

    /// A table of texts; each pair goes through `check`.
    pub(super) fn text_map(
        &self,
        sink: &mut Sink<'_>,
        key: &str,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let wrong = || "it must be a table of texts, such as { team = \"claims\" }".to_owned();
        let table = self.read(sink, key, |value| value.as_table().ok_or_else(wrong));
        let mut map = BTreeMap::new();
        for (name, value) in table.into_iter().flatten() {
            let checked = as_text(value.get_ref()).and_then(|text| check(name.get_ref(), text).map(|()| text));
            match checked {
                Ok(text) => drop(map.insert(name.get_ref().to_string(), text.to_owned())),
                Err(message) => {
                    sink.value(&format!("{}.{}", self.key(key), name.get_ref()), value.span(), message);
                }
            }
        }
        map
    }

    /// Reports that a needed key is missing.
    pub(super) fn missing(&self, sink: &mut Sink<'_>, key: &str, what: &str) {
        sink.key(&self.key(key), self.at(), format!("it is required: {what}"));
    }
}

fn as_text<'t>(value: &'t DeValue<'t>) -> Result<&'t str, String> {
    value.as_str().ok_or_else(|| "it must be a text in quotes".to_owned())
}
