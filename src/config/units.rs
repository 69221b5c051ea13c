//! Durations (`"1h30m"`) and sizes (`"20 MiB"`), read and shown.

use std::time::Duration;

/// Units of time, largest first, with their milliseconds.
const TIME: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size with their bytes, in lower case.
const SIZE: [(&str, u64); 9] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads `"5s"`, `"300ms"`, `"1h30m"`: whole numbers with the units d, h, m, s, ms, larger units first.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "a duration is written like \"5s\", \"300ms\", \"5m\", \"1h30m\" or \"7d\"";
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    if rest.is_empty() {
        return Err(FORM.to_owned());
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or(FORM)?;
        let (_, millis) = TIME.iter().find(|(name, _)| *name == unit).ok_or_else(|| match unit {
            "" => format!("the unit is missing; {FORM}"),
            _ => FORM.to_owned(),
        })?;
        if *millis >= smallest {
            return Err(format!("larger units go first, each once; {FORM}"));
        }
        smallest = *millis;
        let part = number.checked_mul(*millis).and_then(|part| total.checked_add(part));
        total = part.ok_or("the duration is too large")?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Reads `"20 MiB"`, `"20MB"` or plain bytes.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const FORM: &str = "a size is written like \"20 MiB\", \"20MB\", \"512KiB\" or as a number of bytes";
    let (number, unit, after) = number_and_unit(text.trim()).ok_or(FORM)?;
    let unit = unit.to_ascii_lowercase();
    if !after.is_empty() {
        return Err(FORM.to_owned());
    }
    if matches!(unit.as_str(), "k" | "m" | "g" | "t") {
        return Err(format!("`{unit}` may mean 1000 or 1024; {FORM}"));
    }
    let name = if unit.is_empty() { "b" } else { unit.as_str() };
    let (_, bytes) = SIZE.iter().find(|(known, _)| *known == name).ok_or(FORM)?;
    number.checked_mul(*bytes).ok_or_else(|| "the size is too large".to_owned())
}

/// Digits, letters and what follows, white space between them skipped. `None` when there are no digits, or too many.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, after.trim_start()))
}

/// The form that [`parse_duration`] reads; anything below a millisecond is dropped.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut shown = String::new();
    for (unit, millis) in TIME {
        if left >= millis {
            shown.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    shown
}

/// The form that [`parse_size`] reads, in the largest binary unit that keeps it exact.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("0s", 0),
            ("300ms", 300),
            ("5s", 5_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            (" 1h 30 m ", 5_400_000),
            ("7d", 604_800_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, reason) in [
            ("", "written like"),
            ("5", "unit is missing"),
            ("s", "written like"),
            ("-5s", "written like"),
            ("1.5h", "written like"),
            ("5 sec", "written like"),
            ("5S", "written like"),
            ("30m1h", "larger units go first"),
            ("5s5s", "larger units go first"),
            ("18446744073709551615d", "too large"),
            ("99999999999999999999s", "written like"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("20 MiB", 20 << 20),
            ("20MB", 20_000_000),
            ("512KiB", 512 << 10),
            ("7 b", 7),
            ("1gib", 1 << 30),
            ("2tb", 2_000_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, reason) in [
            ("", "written like"),
            ("20M", "1000 or 1024"),
            ("1.5 MiB", "written like"),
            ("-1", "written like"),
            ("20 MiB/s", "written like"),
            ("99999999 TiB", "too large"),
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(n in any::<u64>()) {
            prop_assert_eq!(parse_size(&show_size(n)), Ok(n));
            let duration = Duration::from_millis(n);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9dhmskib /.]{0,12}|.*") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
