//! What was measured, as a table or for programs.

use crate::leader::{Latencies, Measured};
use serde::Serialize;
use std::{fmt, time::Duration};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) keys: usize,
    pub(crate) writes_per_second: u64,
    pub(crate) reads_per_second: u64,
    /// From the start of the third leader's process until it showed all that one of the others had at that moment.
    pub(crate) join_ms: u64,
    pub(crate) received_bytes: u64,
    pub(crate) store_bytes: u64,
    /// Memory of the third leader after it has joined, and the most until then.
    pub(crate) joiner_rss: u64,
    pub(crate) joiner_peak: u64,
    /// Memory of a leader before the load, and the most that the two took while the third one joined.
    pub(crate) idle_rss: u64,
    pub(crate) sender_peaks: [u64; 2],
    /// How many events the third leader lacked some seconds later, under load.
    pub(crate) behind_after: u64,
    pub(crate) before: Phase,
    pub(crate) during: Phase,
    pub(crate) after: Phase,
}

/// What the two leaders measured in a span of time.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    seconds: f64,
    /// How much of one processor both took together.
    processors: f64,
    reads: Row,
    writes: Row,
}

/// In ms.
#[derive(Debug, Serialize)]
struct Row {
    count: usize,
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Phase {
    pub(crate) fn new(span: Duration, measured: &Measured) -> Self {
        let seconds = span.as_secs_f64();
        let processors = measured.processor.as_secs_f64() / seconds;
        Phase { seconds, processors, reads: Row::of(&measured.reads), writes: Row::of(&measured.writes) }
    }
}

impl Row {
    fn of(all: &Latencies) -> Self {
        let [p50, p99, p999, max] = [500, 990, 999, 1_000].map(|thousandths| all.quantile(thousandths));
        Row { count: all.len(), p50, p99, p999, max }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Report { keys, writes_per_second, reads_per_second, .. } = self;
        writeln!(f, "{keys} keys, {writes_per_second} writes and {reads_per_second} reads a second\n")?;
        writeln!(f, "| a third leader joins | |")?;
        writeln!(f, "|---|---|")?;
        writeln!(f, "| time until it shows everything | {:.1} s |", self.join_ms as f64 / 1e3)?;
        let share = self.received_bytes as f64 / self.store_bytes as f64;
        let (received, store) = (mib(self.received_bytes), mib(self.store_bytes));
        writeln!(f, "| bytes it received | {received:.0} MiB, {share:.2} of a store of {store:.0} MiB |")?;
        let (peak, rss) = (mib(self.joiner_peak), mib(self.joiner_rss));
        writeln!(f, "| its memory | at most {peak:.0} MiB, {rss:.0} MiB in the end |")?;
        let ([a, b], idle) = (self.sender_peaks.map(mib), mib(self.idle_rss));
        writeln!(
            f,
            "| memory of the others | at most {a:.0} and {b:.0} MiB, {idle:.0} MiB before the load |"
        )?;
        writeln!(f, "| updates that it lacks a while later | {} |\n", self.behind_after)?;
        writeln!(
            f,
            "| at the two other leaders | seconds | processors | count | p50 ms | p99 ms | p99.9 ms | max ms |"
        )?;
        write!(f, "|---|---|---|---|---|---|---|---|")?;
        for (when, phase) in [("before", &self.before), ("during", &self.during), ("after", &self.after)] {
            for (what, row) in [("reads", &phase.reads), ("writes, durable", &phase.writes)] {
                let Row { count, p50, p99, p999, max } = row;
                let (seconds, processors) = (phase.seconds, phase.processors);
                let times = format!("{p50:.2} | {p99:.2} | {p999:.1} | {max:.1}");
                write!(f, "\n| {what}, {when} | {seconds:.1} | {processors:.2} | {count} | {times} |")?;
            }
        }
        Ok(())
    }
}
