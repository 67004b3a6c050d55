use super::{Times, WhatIf};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// What a what-if came to. Its `Display` is a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was run.
    pub what_if: WhatIf,
    /// How many writes were made; each is one event.
    pub updates: u64,
    /// From a write to the moment at which it is durable at its own leader.
    pub write: Times,
    /// From a write to the moment at which it is visible at another leader, over all pairs of both.
    pub delivery: Times,
    /// The bytes by kind of link.
    pub classes: Vec<Class>,
    /// The same by link, in the order of the leaders.
    pub links: Vec<Between>,
    /// The bytes of each element, encoded, once to each other leader.
    pub optimum: u64,
    /// All payload as a multiple of that; `None` if nothing was written.
    pub payload_to_optimum: Option<f64>,
    /// Whether in the end all leaders had everything and equal fingerprints, and no engine complained.
    pub converged: bool,
    /// From the last write until every leader had everything; `None` if that never came.
    pub converged_after_ms: Option<f64>,
    /// How long catching up took after each partition.
    pub healed: Vec<Healed>,
    /// The most events that a leader has lacked of those that were durable somewhere.
    pub worst_lag: u64,
    /// How many inputs the engines had.
    pub inputs: u64,
    /// A hash of all that was sent, and when: the same for the same what-if and seed.
    #[serde(serialize_with = "hexadecimal")]
    pub trace: u64,
    /// What engines found wrong.
    pub trouble: Vec<String>,
    /// The state of things in regular intervals, and at the end.
    pub samples: Vec<Sample>,
}

/// As text: not every program that reads JSON has all 64 bits.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "so it is called")]
pub(crate) fn hexadecimal<S: serde::Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

/// What was sent on some links, in encoded frames; what TCP sent again included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Which links.
    pub name: String,
    /// How many of them were used.
    pub links: usize,
    /// How many frames.
    pub frames: u64,
    /// Bytes of encoded elements.
    pub payload: u64,
    /// All other bytes.
    pub metadata: u64,
}

/// What was sent between two leaders, as in [`Class`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Between {
    /// The two, the lesser one first.
    pub leaders: (usize, usize),
    /// How many frames.
    pub frames: u64,
    /// Bytes of encoded elements.
    pub payload: u64,
    /// All other bytes.
    pub metadata: u64,
}

/// What followed on the end of a partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Healed {
    /// Which partition, from 0.
    pub partition: usize,
    /// When it was healed, in seconds.
    pub at_s: f64,
    /// How long it took until every leader had all that had been written by then; `None` if that never came.
    pub after_ms: Option<f64>,
}

/// A moment of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// When.
    pub at_ms: f64,
    /// How many events each leader lacks.
    pub lag: Vec<u64>,
    /// All bytes sent so far, by kind of link.
    pub bytes: BTreeMap<String, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WhatIf { topology, leaders, ops, seconds, latency, jitter, loss, seed, .. } = &self.what_if;
        writeln!(f, "{leaders} leaders, {topology}; {ops} writes a second for {seconds} s; seed {seed}")?;
        writeln!(f, "{latency} ms one way, {jitter} ms jitter, {loss}% loss\n")?;
        writeln!(f, "{:<26}{:>10}{:>10}{:>10}{:>10}", "", "count", "p50 ms", "p99 ms", "max ms")?;
        for (name, times) in [("durable at its leader", self.write), ("visible at another", self.delivery)] {
            let Times { count, p50_ms, p99_ms, max_ms } = times;
            writeln!(f, "{name:<26}{count:>10}{p50_ms:>10.1}{p99_ms:>10.1}{max_ms:>10.1}")?;
        }
        writeln!(f, "\n{:<26}{:>10}{:>10}{:>10}{:>10}", "", "links", "frames", "payload", "metadata")?;
        for Class { name, links, frames, payload, metadata } in &self.classes {
            writeln!(f, "{name:<26}{links:>10}{frames:>10}{payload:>10}{metadata:>10}")?;
        }
        match self.payload_to_optimum {
            Some(ratio) => writeln!(f, "payload is {ratio:.3} of the optimum, {} bytes\n", self.optimum)?,
            None => writeln!(f)?,
        }
        writeln!(f, "at worst a leader was {} events behind", self.worst_lag)?;
        for Healed { partition, at_s, after_ms } in &self.healed {
            let leaders: Vec<_> =
                self.what_if.partitions[*partition].leaders.iter().map(ToString::to_string).collect();
            write!(f, "the partition of {} was healed at {at_s:.1} s: ", leaders.join(","))?;
            match after_ms {
                Some(after) => writeln!(f, "all had caught up after {after:.0} ms")?,
                None => writeln!(f, "not all caught up")?,
            }
        }
        for trouble in &self.trouble {
            writeln!(f, "trouble: {trouble}")?;
        }
        writeln!(f, "trace {:016x}", self.trace)?;
        match self.converged_after_ms {
            Some(after) if self.converged => writeln!(f, "converged: {after:.0} ms after the last write"),
            _ => writeln!(f, "not converged"),
        }
    }
}
