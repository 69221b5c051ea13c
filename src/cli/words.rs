//! Times, ages, columns and foreign text as people read them.

use std::time::Duration;

use crate::types::{ByteCount, UnixMillis};

/// `12s`, `3m 12s`, `5h 03m`, `2d 4h`: two units are enough.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A time and how far it is from now: `2026-01-02T03:04:05Z (3m 12s ago)`.
pub fn moment(at: UnixMillis, now: UnixMillis) -> String {
    if at > now { format!("{at} (in {})", span(at.since(now))) } else { format!("{at} ({} ago)", span(now.since(at))) }
}

/// `1 file`, `2 files`.
pub fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// `12 B`, `3.2 MiB (3355443 bytes)`: exact where rounding hides something.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 { ByteCount(bytes).to_string() } else { format!("{} ({bytes} bytes)", ByteCount(bytes)) }
}

/// Text from elsewhere on one line and without control characters, so that it cannot forge or colour one.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns that only ever grow wider, so that a stream of any length can be aligned page by page.
#[derive(Debug, Default)]
pub struct Columns {
    widths: Vec<usize>,
}

/// One long name does not push every other row off the screen.
const WIDEST: usize = 48;

impl Columns {
    /// Makes room for a row.
    pub fn fit(&mut self, row: &[String]) {
        self.widths.resize(self.widths.len().max(row.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count().min(WIDEST));
        }
    }

    /// The row, its cells padded and two spaces apart, nothing after the last one.
    pub fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = self.widths.get(at).copied().unwrap_or(0);
            line.push_str(&format!("{cell:<width$}  "));
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (192, "3m 12s"), (18_180, "5h 03m"), (187_200, "2d 4h"), (3_600, "1h 00m")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(moment(UnixMillis(0), UnixMillis(5_000)), "1970-01-01T00:00:00Z (5s ago)");
        assert_eq!(moment(UnixMillis(5_000), UnixMillis(0)), "1970-01-01T00:00:05Z (in 5s)");
    }

    #[test]
    fn sizes_are_exact() {
        assert_eq!(size(12), "12 B");
        assert_eq!(size(2_048), "2.0 KiB (2048 bytes)");
    }

    #[test]
    fn columns_grow_and_end_without_spaces() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let mut columns = Columns::default();
        columns.fit(&row(&["a", "bbb"]));
        columns.fit(&row(&["aaaa", "ü"]));
        assert_eq!(columns.line(&row(&["a", "b", "c"])), "a     b    c");
        assert_eq!(columns.line(&row(&["a", ""])), "a");
    }

    #[test]
    fn foreign_text_cannot_colour_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
