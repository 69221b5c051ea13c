//! The delete budget: how many attachments of a mirror may be deleted within one hour.
//!
//! `"50, 10%"` means the smaller of 50 files and 10 % of the files the mirror tracks, and at least 1, so that a
//! small mirror is not stuck. What goes beyond it stops all deletes of the mirror (hold `delete-budget`,
//! invariant 2).

use std::fmt;

/// A mirror's limit on deletes within one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteBudget {
    /// No limit.
    Off,
    /// The smaller of the two holds.
    Limit {
        /// Files, 1 to 1,000,000.
        files: u32,
        /// Share of the tracked files in hundredths of a per cent, 1 to 10,000.
        basis_points: u32,
    },
}

impl DeleteBudget {
    /// The budget of a mirror that names none.
    pub const DEFAULT: Self = Self::Limit { files: 50, basis_points: 1_000 };

    /// What may be written, for error texts.
    pub const ALLOWED: &'static str =
        "\"FILES, PERCENT%\" such as \"50, 10%\" (1 to 1000000 files, 0.01% to 100%), or \"off\"";

    /// Reads `"50, 10%"` or `"off"`.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "off" {
            return Ok(Self::Off);
        }
        let (files, percent) = text.split_once(',').ok_or("it takes two limits, a number of files and a percentage")?;
        let files: u32 = files.trim().parse().map_err(|_| "the part before the comma is no number of files")?;
        if files == 0 {
            return Err("0 files would still allow 1 an hour; write delete = \"keep\" to delete nothing".to_owned());
        }
        if files > 1_000_000 {
            return Err("more than 1000000 files is no limit; write \"off\" to lift it".to_owned());
        }
        let percent = percent.trim().strip_suffix('%').ok_or("the part after the comma needs a % sign")?;
        let basis_points =
            basis_points(percent.trim()).ok_or("the percentage must be a number with at most two decimals")?;
        if !(1..=10_000).contains(&basis_points) {
            return Err("the percentage must be from 0.01 to 100".to_owned());
        }
        Ok(Self::Limit { files, basis_points })
    }

    /// How many deletes are allowed within one hour in a mirror that tracks `tracked_files`; `None` = no limit.
    pub fn allowed(&self, tracked_files: u64) -> Option<u64> {
        match *self {
            Self::Off => None,
            Self::Limit { files, basis_points } => {
                let share = u128::from(tracked_files) * u128::from(basis_points) / 10_000;
                Some(u64::try_from(share).unwrap_or(u64::MAX).min(u64::from(files)).max(1))
            }
        }
    }
}

/// `"12.5"` as 1250; `None` for anything but digits with at most two decimals.
fn basis_points(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    let hundredths: u32 = format!("{decimals:0<2}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)
}

impl fmt::Display for DeleteBudget {
    /// The form that [`DeleteBudget::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Limit { files, basis_points } = *self else { return f.write_str("off") };
        let (whole, hundredths) = (basis_points / 100, basis_points % 100);
        match hundredths {
            0 => write!(f, "{files}, {whole}%"),
            h if h % 10 == 0 => write!(f, "{files}, {whole}.{}%", h / 10),
            h => write!(f, "{files}, {whole}.{h:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smaller_limit_holds_and_one_is_always_allowed() {
        let budget = DeleteBudget::parse("50, 10%").unwrap();
        assert_eq!(budget, DeleteBudget::DEFAULT);
        let table = [(0, 1), (5, 1), (10, 1), (19, 1), (20, 2), (499, 49), (500, 50), (501, 50), (u64::MAX, 50)];
        for (tracked, allowed) in table {
            assert_eq!(budget.allowed(tracked), Some(allowed), "{tracked} files");
        }
        assert_eq!(DeleteBudget::parse(" off ").unwrap().allowed(3), None);
    }

    #[test]
    fn what_is_no_budget_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "two limits"),
            ("50", "two limits"),
            ("ten, 10%", "no number of files"),
            ("-1, 10%", "no number of files"),
            ("0, 10%", "delete = \"keep\""),
            ("1000001, 10%", "\"off\""),
            ("50, 10", "% sign"),
            ("50, %", "at most two decimals"),
            ("50, 1.234%", "at most two decimals"),
            ("50, 1e1%", "at most two decimals"),
            ("50, 0%", "from 0.01 to 100"),
            ("50, 100.01%", "from 0.01 to 100"),
            ("50, 99999999999%", "at most two decimals"),
        ] {
            let error = DeleteBudget::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_budget_reads_back(files in 1_u32..=1_000_000, basis_points in 1_u32..=10_000) {
            let budget = DeleteBudget::Limit { files, basis_points };
            prop_assert_eq!(DeleteBudget::parse(&budget.to_string()), Ok(budget));
        }

        #[test]
        fn no_text_panics(text in ".*", tracked in any::<u64>()) {
            if let Ok(budget) = DeleteBudget::parse(&text) {
                budget.allowed(tracked);
            }
        }
    }
}
