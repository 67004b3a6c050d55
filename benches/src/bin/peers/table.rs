//! What was measured, and how it is printed.

use crate::measure::median;
use serde_json::{Value, json};
use std::fmt::Write;

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Calls,
}

/// A line of a table: the work, how the other side is passed, and how large the states are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which table.
    pub(crate) kind: &'static str,
    pub(crate) work: &'static str,
    pub(crate) n: u64,
    pub(crate) unit: Unit,
}

/// Where a number stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    pub(crate) work: &'static str,
    pub(crate) n: u64,
    pub(crate) side: &'static str,
}

struct Cell {
    row: Row,
    side: &'static str,
    samples: Vec<f64>,
}

/// All cells, in the order in which they were first measured.
#[derive(Default)]
pub(crate) struct Results {
    cells: Vec<Cell>,
    /// If these are to be measured again, and nothing else.
    focus: Option<Vec<Place>>,
}

/// The column of this workspace's own type.
pub(crate) const OURS: &str = "ours";
/// The same type in the encoding that everyone can use.
pub(crate) const OURS_SERDE: &str = "ours, postcard";
/// Columns that are no CRDTs, but the least that the work can cost: they win no row.
pub(crate) const LIMITS: [&str; 3] = ["hashbrown", "std", "lattices 2P"];
/// The order of the columns.
pub(crate) const SIDES: [&str; 11] = [
    OURS,
    OURS_SERDE,
    "crdts",
    "dson",
    "lattices",
    "crdt-kit",
    "atomr",
    "abyo",
    "lattices 2P",
    "hashbrown",
    "std",
];

/// Whether a column is another CRDT.
pub(crate) fn is_peer(side: &str) -> bool {
    ![OURS, OURS_SERDE].contains(&side) && !LIMITS.contains(&side)
}

/// Medians of times that differ by less are a tie: this machine can not tell them apart.
const NOISE: f64 = 1.03;
/// What stands below each table.
const LEGEND: &str = "Medians of samples taken in turns. Times that differ by less than 3% are a tie; what is close \
                      to a bound was measured more often.";

/// How a row went.
enum Verdict {
    /// Nobody to compare with.
    Alone,
    Ours,
    Tie,
    /// The best of the peers, and how many times less it needed.
    Lost(&'static str, f64),
}

impl Results {
    /// From now on, measures nothing but these again.
    pub(crate) fn focus(&mut self, places: Vec<Place>) {
        self.focus = Some(places);
    }

    /// Whether most is not to be measured again.
    pub(crate) fn is_focused(&self) -> bool {
        self.focus.is_some()
    }

    /// Whether a cell is still to be measured.
    pub(crate) fn wants(&self, row: Row, side: &str) -> bool {
        let is_it = |place: &Place| {
            (place.kind, place.work, place.n, place.side) == (row.kind, row.work, row.n, side)
        };
        self.focus.as_ref().is_none_or(|focus| focus.iter().any(is_it))
    }

    /// Whether any cell of this side is still to be measured at this size.
    pub(crate) fn wants_some(&self, kind: &str, n: u64, side: &str) -> bool {
        let is_it = |place: &Place| (place.kind, place.n, place.side) == (kind, n, side);
        self.focus.as_ref().is_none_or(|focus| focus.iter().any(is_it))
    }

    /// Adds a sample to a cell, if it is wanted.
    pub(crate) fn add(&mut self, row: Row, side: &'static str, sample: f64) {
        if !self.wants(row, side) {
            return;
        }
        match self.cells.iter_mut().find(|cell| cell.row == row && cell.side == side) {
            Some(cell) => cell.samples.push(sample),
            None => self.cells.push(Cell { row, side, samples: vec![sample] }),
        }
    }

    pub(crate) fn at(&self, place: Place) -> Option<f64> {
        self.get(place.kind, place.work, place.n, place.side)
    }

    /// The median of a cell.
    pub(crate) fn get(&self, kind: &str, work: &str, n: u64, side: &str) -> Option<f64> {
        self.cells
            .iter()
            .find(|cell| {
                (cell.row.kind, cell.row.work, cell.row.n, cell.side) == (kind, work, n, side)
                    && !cell.samples.is_empty()
            })
            .map(|cell| median(&mut cell.samples.clone()))
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        for cell in &self.cells {
            if !kinds.contains(&cell.row.kind) {
                kinds.push(cell.row.kind);
            }
        }
        kinds
    }

    /// The rows of one table, those of the same work together.
    pub(crate) fn rows(&self, kind: &str) -> Vec<Row> {
        let mut works: Vec<&str> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for Cell { row, .. } in self.cells.iter().filter(|cell| cell.row.kind == kind) {
            if !works.contains(&row.work) {
                works.push(row.work);
            }
            if !rows.contains(row) {
                rows.push(*row);
            }
        }
        rows.sort_by_key(|row| (works.iter().position(|work| *work == row.work), row.n));
        rows
    }

    /// The medians of one row by column.
    pub(crate) fn row(&self, row: Row) -> Vec<(&'static str, f64)> {
        SIDES.iter().filter_map(|side| Some((*side, self.get(row.kind, row.work, row.n, side)?))).collect()
    }

    /// The peers of a row, each with how many times less it needed than we did; the best first.
    pub(crate) fn rivals(&self, row: Row) -> Vec<(&'static str, f64)> {
        let Some(ours) = self.get(row.kind, row.work, row.n, OURS) else { return Vec::new() };
        let mut rivals: Vec<_> = self
            .row(row)
            .into_iter()
            .filter(|(side, _)| is_peer(side))
            // Nothing is as good as nothing.
            .map(|(side, theirs)| (side, ours / theirs))
            .map(|(side, ratio)| (side, if ratio.is_nan() { 1.0 } else { ratio }))
            .collect();
        rivals.sort_by(|a, b| b.1.total_cmp(&a.1));
        rivals
    }

    fn verdict(&self, row: Row) -> Verdict {
        // Only times are noisy.
        let noise = if row.unit == Unit::Nanoseconds { NOISE } else { 1.0 };
        match self.rivals(row).first() {
            None => Verdict::Alone,
            Some((side, ratio)) if *ratio > noise => Verdict::Lost(side, *ratio),
            Some((_, ratio)) if *ratio >= 1.0 / noise => Verdict::Tie,
            Some(_) => Verdict::Ours,
        }
    }

    /// The peer that beats us in a row, with how many times less it needed.
    pub(crate) fn winner(&self, row: Row) -> Option<(&'static str, f64)> {
        match self.verdict(row) {
            Verdict::Lost(side, ratio) => Some((side, ratio)),
            _ => None,
        }
    }

    /// The times of a table that may be won or lost by noise: ours, and those of the peers that are about as fast.
    pub(crate) fn contested(&self, kind: &str) -> Vec<Place> {
        let mut places = Vec::new();
        for Row { kind, work, n, .. } in self.timed(kind) {
            let row = Row { kind, work, n, unit: Unit::Nanoseconds };
            let close: Vec<_> =
                self.rivals(row).into_iter().filter(|rival| is_close(NOISE / rival.1)).collect();
            if !close.is_empty() {
                let sides = close.into_iter().map(|rival| rival.0).chain([OURS]);
                places.extend(sides.map(|side| Place { kind, work, n, side }));
            }
        }
        places
    }

    /// Whether that is a time.
    pub(crate) fn is_time(&self, place: Place) -> bool {
        self.timed(place.kind).iter().any(|row| (row.work, row.n) == (place.work, place.n))
    }

    /// The rows of one table that are times.
    pub(crate) fn timed(&self, kind: &str) -> Vec<Row> {
        self.rows(kind).into_iter().filter(|row| row.unit == Unit::Nanoseconds).collect()
    }

    /// One table in Markdown.
    pub(crate) fn markdown(&self, kind: &str) -> String {
        let rows = self.rows(kind);
        let used = |side: &&&str| rows.iter().any(|row| self.get(kind, row.work, row.n, side).is_some());
        let sides: Vec<&str> = SIDES.iter().filter(used).copied().collect();
        let mut text = format!("## {kind}\n\n| | n | {} | best CRDT |\n", sides.join(" | "));
        _ = writeln!(text, "|---|--:|{}---|", "--:|".repeat(sides.len()));
        for row in rows {
            _ = write!(text, "| {} | {} |", row.work, row.n);
            for side in &sides {
                let cell = self.get(kind, row.work, row.n, side);
                _ = write!(text, " {} |", cell.map_or_else(|| "-".into(), |value| show(row.unit, value)));
            }
            let verdict = match self.verdict(row) {
                Verdict::Alone => String::new(),
                Verdict::Ours => OURS.into(),
                Verdict::Tie => "tie".into(),
                Verdict::Lost(side, ratio) if ratio.is_finite() => format!("**{side}, {ratio:.2}x**"),
                Verdict::Lost(side, _) => format!("**{side}**"),
            };
            _ = writeln!(text, " {verdict} |");
        }
        _ = writeln!(text, "\n{LEGEND}");
        text
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.kinds().into_iter().flat_map(|kind| self.rows(kind)).map(|row| {
            let medians: serde_json::Map<String, Value> =
                self.row(row).into_iter().map(|(side, value)| (side.into(), json!(value))).collect();
            json!({
                "type": row.kind,
                "work": row.work,
                "n": row.n,
                "unit": row.unit.name(),
                "medians": medians,
                "best_peer": self.rivals(row).first().map(|(side, _)| *side),
                "lost": self.winner(row).is_some(),
            })
        });
        Value::Array(rows.collect())
    }
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "bytes",
            Unit::Calls => "allocator calls",
        }
    }
}

/// Whether a figure that is so many times better than its bound may be so by noise, or may fail by noise.
pub(crate) fn is_close(margin: f64) -> bool {
    (0.5..1.15).contains(&margin)
}

/// A number in its unit, with three significant digits.
pub(crate) fn show(unit: Unit, value: f64) -> String {
    let digits = |value: f64| match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    };
    match unit {
        Unit::Nanoseconds => match value {
            value if value < 1e3 => format!("{} ns", digits(value)),
            value if value < 1e6 => format!("{} us", digits(value / 1e3)),
            value if value < 1e9 => format!("{} ms", digits(value / 1e6)),
            value => format!("{} s", digits(value / 1e9)),
        },
        Unit::Bytes => format!("{} B", digits(value)),
        Unit::Calls => format!("{value:.0}"),
    }
}
