//! What was measured, and how it is printed.

use crate::{
    contest::{Case, Work},
    measure::median,
};
use serde_json::{Value, json};
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Calls,
}

struct Cell {
    work: Work,
    case: Case,
    side: &'static str,
    samples: Vec<f64>,
}

#[derive(Default)]
pub(crate) struct Results {
    cells: Vec<Cell>,
}

/// Who is this close to the best is as good: less is noise.
const NOISE: f64 = 1.05;

impl Results {
    pub(crate) fn add(&mut self, work: Work, case: Case, side: &'static str, sample: f64) {
        let is_it = |cell: &&mut Cell| cell.work == work && cell.case == case && cell.side == side;
        match self.cells.iter_mut().find(is_it) {
            Some(cell) => cell.samples.push(sample),
            None => self.cells.push(Cell { work, case, side, samples: vec![sample] }),
        }
    }

    fn sides(&self) -> Vec<&'static str> {
        distinct(self.cells.iter().map(|cell| cell.side))
    }

    fn cases(&self, work: Work) -> Vec<Case> {
        distinct(self.cells.iter().filter(|cell| cell.work == work).map(|cell| cell.case))
    }

    /// The medians by side.
    fn row(&self, work: Work, case: Case) -> Vec<f64> {
        let of = |side| {
            let found = |cell: &&Cell| cell.work == work && cell.case == case && cell.side == side;
            self.cells.iter().find(found).map_or(f64::NAN, |cell| median(&mut cell.samples.clone()))
        };
        self.sides().into_iter().map(of).collect()
    }

    /// How many times the best of its row each side needs: the geometric mean over the cases.
    fn ratios(&self, work: Work) -> Vec<f64> {
        let cases = self.cases(work);
        let mut logarithms = vec![0.0; self.sides().len()];
        for case in &cases {
            let row = self.row(work, *case);
            let best = best(&row);
            for (sum, value) in logarithms.iter_mut().zip(row) {
                *sum += (value / best).ln();
            }
        }
        logarithms.into_iter().map(|sum| (sum / cases.len() as f64).exp()).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let sides = self.sides();
        let mut text = String::from("### Times the best of its row, geometric mean of the cases\n\n");
        let head = |text: &mut String, name: &str| {
            _ = writeln!(text, "| {name} | {} |", sides.join(" | "));
            _ = writeln!(text, "|---|{}", "--:|".repeat(sides.len()));
        };
        head(&mut text, "");
        for work in Work::ALL {
            line(&mut text, work.name(), &self.ratios(work), |value| format!("{}x", digits(value)));
        }
        for work in Work::ALL {
            _ = writeln!(text, "\n### {}\n", work.name());
            head(&mut text, "n");
            for case in self.cases(work) {
                line(&mut text, &case.label(), &self.row(work, case), |value| show(work.unit(), value));
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let sides = self.sides();
        let rows = Work::ALL.into_iter().flat_map(|work| {
            let sides = &sides;
            self.cases(work).into_iter().map(move |case| {
                let row = self.row(work, case);
                let medians: serde_json::Map<String, Value> =
                    sides.iter().zip(row).map(|(side, value)| ((*side).into(), json!(value))).collect();
                json!({
                    "work": work.name(),
                    "n": case.n,
                    "replicas": case.replicas,
                    "sparse": case.is_sparse,
                    "strings": case.is_text,
                    "independent": case.is_independent,
                    "unit": work.unit().name(),
                    "medians": medians,
                })
            })
        });
        Value::Array(rows.collect())
    }
}

impl Case {
    /// What sets it apart from three replicas with numbers that follow each other, and a clone on the other side.
    fn label(self) -> String {
        let mut label = String::from("10");
        let powers = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
        label.push(powers[self.n.ilog10() as usize]);
        if self.replicas != 3 {
            _ = write!(label, ", {} replicas", self.replicas);
        }
        for (applies, name) in
            [(self.is_sparse, "sparse"), (self.is_text, "strings"), (self.is_independent, "independent")]
        {
            if applies {
                _ = write!(label, ", {name}");
            }
        }
        label
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

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut all, item| {
        if !all.contains(&item) {
            all.push(item);
        }
        all
    })
}

fn best(row: &[f64]) -> f64 {
    row.iter().copied().fold(f64::INFINITY, f64::min)
}

/// A line of a table, its best in bold.
fn line(text: &mut String, label: &str, row: &[f64], show: impl Fn(f64) -> String) {
    let best = best(row);
    _ = write!(text, "| {label} |");
    for value in row {
        let shown = show(*value);
        _ = if *value <= best * NOISE { write!(text, " **{shown}** |") } else { write!(text, " {shown} |") };
    }
    text.push('\n');
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn show(unit: Unit, value: f64) -> String {
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
