//! The results as the table of `benches/README.md`, and the median.

use std::fmt;

/// Rows in the order of measuring.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// One result: what, the aim, what was measured, and how far that is from the aim.
    pub fn row(&mut self, what: &str, aim: &str, measured: String, distance: String) {
        eprintln!("{what}: {measured} (aim: {aim}; {distance})");
        self.0.push([what.to_owned(), aim.to_owned(), measured, distance]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | aim | measured | how far off |\n| --- | --- | --- | --- |")?;
        for row in &self.0 {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

/// The middle value; of an even number the upper one. NaN of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 50)
}

/// The value that `percent` of all do not exceed. NaN of none.
pub fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// "met", or by which factor an upper limit is missed.
pub fn at_most(measured: f64, aim: f64) -> String {
    if measured <= aim { "met".to_owned() } else { format!("{:.2} x the aim", measured / aim) }
}
