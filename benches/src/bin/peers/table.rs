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

struct Cell {
    row: Row,
    side: &'static str,
    samples: Vec<f64>,
}

/// All cells, in the order in which they were first measured.
#[derive(Default)]
pub(crate) struct Results {
    cells: Vec<Cell>,
}

/// The column of this workspace's own type.
pub(crate) const OURS: &str = "ours";
/// Columns that are no CRDTs, but the least that the work can cost: they win no row.
pub(crate) const LIMITS: [&str; 3] = ["hashbrown", "std", "lattices 2P"];
/// The order of the columns.
const SIDES: [&str; 10] =
    [OURS, "crdts", "dson", "lattices", "crdt-kit", "atomr", "abyo", "lattices 2P", "hashbrown", "std"];
/// How much faster a peer must be to win a row: less is noise.
pub(crate) const NOISE: f64 = 1.05;

impl Results {
    /// Adds a sample to a cell.
    pub(crate) fn add(&mut self, row: Row, side: &'static str, sample: f64) {
        match self.cells.iter_mut().find(|cell| cell.row == row && cell.side == side) {
            Some(cell) => cell.samples.push(sample),
            None => self.cells.push(Cell { row, side, samples: vec![sample] }),
        }
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

    /// The peers that beat us in a row, with how many times less they needed.
    pub(crate) fn winners(&self, row: Row) -> Vec<(&'static str, f64)> {
        let Some(ours) = self.get(row.kind, row.work, row.n, OURS) else { return Vec::new() };
        let mut winners: Vec<_> = self
            .row(row)
            .into_iter()
            .filter(|(side, theirs)| !LIMITS.contains(side) && *side != OURS && ours > theirs * NOISE)
            .map(|(side, theirs)| (side, ours / theirs))
            .collect();
        winners.sort_by(|a, b| b.1.total_cmp(&a.1));
        winners
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
            let contested = self.row(row).iter().filter(|(side, _)| !LIMITS.contains(side)).count() > 1;
            let verdict = match self.winners(row).first() {
                Some((side, times)) if times.is_finite() => format!("**{side}, {times:.2}x**"),
                Some((side, _)) => format!("**{side}**"),
                None if contested => OURS.into(),
                None => String::new(),
            };
            _ = writeln!(text, " {verdict} |");
        }
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
                "faster_peers": self.winners(row).iter().map(|(side, _)| *side).collect::<Vec<_>>(),
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
