//! Columns under headings, without lines: the form of every table that `sluicectl` prints.

use std::fmt::Write;

/// Which edge of its column a cell touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table being filled.
#[derive(Debug)]
pub struct Columns {
    heads: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A heading that starts with `>` stands over numbers, which end together.
    pub fn new(heads: &[&'static str]) -> Self {
        let head = |text: &&'static str| match text.strip_prefix('>') {
            Some(text) => (text, Side::Right),
            None => (*text, Side::Left),
        };
        Columns {
            heads: heads.iter().map(head).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; an empty cell prints as `-`.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// The same, of as many cells as there are headings.
    pub fn cells(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.heads.len());
        let dash = |cell: String| if cell.is_empty() { "-".into() } else { cell };
        self.rows.push(cells.into_iter().map(dash).collect());
    }

    /// No row was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table's text, each line preceded by `indent`.
    pub fn render(&self, indent: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let head = self.heads[column].0.chars().count();
            cells
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
                .max(head)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let mut text = String::new();
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| (*head).into()).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::from(indent);
            for ((cell, width), (_, side)) in row.iter().zip(&widths).zip(&self.heads) {
                let written = match side {
                    Side::Left => write!(line, "{cell:<width$}  "),
                    Side::Right => write!(line, "{cell:>width$}  "),
                };
                debug_assert!(written.is_ok());
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A time span in its two largest units: `3d 4h`, `4m 59s`, `0.8s`.
pub fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (d, h, m, s) = (
        seconds / 86400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (d, h, m) {
        (0, 0, 0) if s < 10 => format!("{}.{}s", s, milliseconds / 100 % 10),
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m {s}s"),
        (0, _, _) => format!("{h}h {m}m"),
        _ => format!("{d}d {h}h"),
    }
}

/// A share in percent with one decimal; empty without a whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let per_mille = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_start_and_numbers_end_together() {
        let mut table = Columns::new(&["NAME", ">PACKETS", "STATE"]);
        table.row(["uplink0".into(), "5".into(), "up".into()]);
        table.row(["p".into(), "123456789".into(), String::new()]);
        assert_eq!(
            table.render(" "),
            " NAME       PACKETS  STATE\n uplink0          5  up\n p        123456789  -\n"
        );
    }

    #[test]
    fn spans_and_shares_are_short() {
        let spans = [850, 9_990, 59_000, 299_000, 3_600_000, 273_600_000].map(span);
        assert_eq!(spans, ["0.8s", "9.9s", "59s", "4m 59s", "1h 0m", "3d 4h"]);
        assert_eq!(percent(999, 1000), "99.9 %");
        assert_eq!(percent(0, 0), "");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
    }
}
