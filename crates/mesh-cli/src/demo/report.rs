//! The result on stdout.

use super::{
    model::Id,
    plan::{LEADERS, NAMES},
    stage::Faults,
    watch::{Lag, Status},
};
use serde::Serialize;
use std::io::{self, Write};

/// One leader's row.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    leader: &'static str,
    replica: Id,
    writes: usize,
    events: u64,
    merged: u64,
    bytes_sent: u64,
    worst_lag_events: u64,
    worst_lag_ms: u64,
    lag_events: u64,
}

/// What was done and checked.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) trace_events: usize,
    pub(super) copies: usize,
    pub(super) writes: usize,
    pub(super) leaders: Vec<Row>,
    pub(super) faults: Faults,
    pub(super) converged_after_ms: u128,
    pub(super) seconds: f64,
    pub(super) fingerprint: String,
    pub(super) lost: u64,
    pub(super) double_counted: u64,
    /// What was compared and found as it must be.
    pub(super) checked: Vec<String>,
}

/// A row for each leader.
pub(super) fn rows(
    statuses: &[Status; LEADERS],
    writes: [usize; LEADERS],
    sent: [u64; LEADERS],
    worst: [Lag; LEADERS],
) -> Vec<Row> {
    let row = |leader: usize| {
        let status = &statuses[leader];
        let (events, merged) = status.written_and_merged();
        Row {
            leader: NAMES[leader],
            replica: status.replica,
            writes: writes[leader],
            events,
            merged,
            bytes_sent: sent[leader],
            worst_lag_events: worst[leader].events,
            worst_lag_ms: worst[leader].ms,
            lag_events: status.lag().events,
        }
    };
    (0..LEADERS).map(row).collect()
}

impl Report {
    /// Prints it; what follows it is always [`last_line`](Report::last_line).
    pub(super) fn print(&self, out: &mut dyn Write, json: bool) -> io::Result<()> {
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
        } else {
            self.table(out)?;
        }
        writeln!(out, "{}", self.last_line())
    }

    fn last_line(&self) -> String {
        let Self { leaders, fingerprint, lost, double_counted, .. } = self;
        format!(
            "converged: {} leaders, fingerprint {fingerprint}, {lost} lost, {double_counted} double-counted",
            leaders.len()
        )
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        let head =
            ["leader", "writes", "events", "merged", "sent", "worst lag", "lag now"].map(str::to_owned);
        let cells = self.leaders.iter().map(|row| {
            [
                row.leader.to_owned(),
                row.writes.to_string(),
                row.events.to_string(),
                row.merged.to_string(),
                format!("{} KiB", row.bytes_sent.div_ceil(1024)),
                format!("{} events, {} ms", row.worst_lag_events, row.worst_lag_ms),
                format!("{} events", row.lag_events),
            ]
        });
        let rows: Vec<_> = std::iter::once(head).chain(cells).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        for row in &rows {
            let cells: Vec<_> =
                row.iter().enumerate().map(|(column, cell)| format!("{cell:>0$}", width(column))).collect();
            writeln!(out, "{}", cells.join("  "))?;
        }
        writeln!(out, "\nwhat went wrong:")?;
        for sentence in self.faults.sentences() {
            writeln!(out, "  {sentence}")?;
        }
        writeln!(out, "\nchecked on all {} leaders:", self.leaders.len())?;
        for checked in &self.checked {
            writeln!(out, "  {checked}")?;
        }
        writeln!(out)
    }
}
