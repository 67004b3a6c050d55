//! What would a mesh of my own do? The real engine, on links and under partitions that the user chooses.
//!
//! ```
//! use mesh_sim::whatif::WhatIf;
//!
//! let report = WhatIf { leaders: 3, ops: 20.0, seconds: 5, ..WhatIf::default() }.run()?;
//! assert!(report.converged);
//! // 20 ms each way, and a commit of 1 ms at both ends; some waited for a commit that was under way.
//! assert!((22.0..24.0).contains(&report.delivery.p50_ms), "{:?}", report.delivery);
//! # Ok::<(), mesh_sim::whatif::Invalid>(())
//! ```

pub(crate) mod mesh;
mod report;
mod run;
mod times;

pub(crate) use report::hexadecimal;
pub use report::{Between, Class, Healed, Report, Sample};
pub use times::Times;
pub(crate) use times::milliseconds;

use crate::Topology;
use serde::Serialize;
use std::fmt;

/// A mesh, and what happens to it. Times are in milliseconds, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhatIf {
    /// Which leaders are connected. Those of [`Topology::Gossip`] change every second.
    pub topology: Topology,
    /// How many leaders: 2 to 64.
    pub leaders: usize,
    /// Writes a second, of all leaders together; each is made at a leader drawn at random, at a random time.
    pub ops: f64,
    /// For how many seconds there are writes. Afterwards the mesh is watched until all leaders agree.
    pub seconds: u64,
    /// The size of what a write adds to a set, in bytes: 8 to 65,536.
    pub bytes: usize,
    /// How long a message takes one way at least.
    pub latency: f64,
    /// The same within a region, where there are [regions](Topology::Regions).
    pub local_latency: f64,
    /// The mean of what is added to each, exponentially distributed.
    pub jitter: f64,
    /// How many percent of all messages are lost.
    pub loss: f64,
    /// How long a commit takes.
    pub commit: f64,
    /// For how long news gathers on a link before it is sent.
    pub gather: u64,
    /// What carries the messages.
    pub transport: Transport,
    /// When who is cut off from the rest.
    pub partitions: Vec<Partition>,
    /// Of all chances.
    pub seed: u64,
}

impl Default for WhatIf {
    /// Five leaders, each connected with each, 20 ms apart.
    fn default() -> Self {
        WhatIf {
            topology: Topology::AllToAll,
            leaders: 5,
            ops: 100.0,
            seconds: 30,
            bytes: 20,
            latency: 20.0,
            local_latency: 1.0,
            jitter: 0.0,
            loss: 0.0,
            commit: 1.0,
            gather: 0,
            transport: Transport::Tcp,
            partitions: Vec::new(),
            seed: 1,
        }
    }
}

/// What carries the messages between leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// What is lost is sent again after 200 ms or two round trips, then after twice that, and so on; what follows it waits.
    /// This is what the `mesh` binary speaks.
    Tcp,
    /// What is lost is lost, and messages overtake each other; the engine says again what was not acknowledged.
    Datagrams,
}

/// For a while some leaders are cut off from all others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Partition {
    /// When it begins, in seconds.
    pub from: f64,
    /// When it is healed, in seconds.
    pub to: f64,
    /// Who is cut off; among themselves they are connected as before.
    pub leaders: Vec<usize>,
}

/// Why a what-if cannot be run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Invalid {
    /// A number is out of its range.
    Range {
        /// Which.
        what: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// There is no such leader to be cut off.
    NoLeader {
        /// Its number.
        leader: usize,
        /// How many there are; they are numbered from 0.
        leaders: usize,
    },
    /// A partition does not end after it begins.
    Partition,
    /// It would need more memory than is sensible.
    TooMuch {
        /// How many deliveries it would time: writes, times the leaders that they go to.
        deliveries: f64,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Range { what, must } => write!(f, "{what} must be {must}"),
            Invalid::NoLeader { leader, leaders } => {
                write!(f, "there is no leader {leader} to cut off: {leaders} leaders are numbered from 0")
            }
            Invalid::Partition => f.write_str("a partition must end after it begins, within a day"),
            Invalid::TooMuch { deliveries } => write!(
                f,
                "that makes {deliveries:.0} deliveries, and at most {MAX_DELIVERIES:.0} are timed: choose fewer writes, \
                 seconds or leaders"
            ),
        }
    }
}

impl std::error::Error for Invalid {}

const MAX_DELIVERIES: f64 = 1e8;
const DAY: f64 = 86_400.0;

impl WhatIf {
    /// Runs it. The same what-if gives the same report.
    ///
    /// # Errors
    ///
    /// [`Invalid`], before anything is run.
    pub fn run(&self) -> Result<Report, Invalid> {
        self.run_with(&mut |_| {})
    }

    /// Runs it, and tells now and then at which virtual second it is.
    ///
    /// # Errors
    ///
    /// [`Invalid`], before anything is run.
    pub fn run_with(&self, progress: &mut dyn FnMut(f64)) -> Result<Report, Invalid> {
        self.check()?;
        Ok(run::run(self, progress))
    }

    fn check(&self) -> Result<(), Invalid> {
        let range = |is_within: bool, what, must| {
            if is_within { Ok(()) } else { Err(Invalid::Range { what, must }) }
        };
        range((2..=64).contains(&self.leaders), "the number of leaders", "2 to 64")?;
        range(
            self.ops > 0.0 && self.ops <= 1e6,
            "the number of writes a second",
            "above 0, and 1,000,000 at most",
        )?;
        range((1..=86_400).contains(&self.seconds), "the number of seconds", "1 to 86,400")?;
        range((8..=65_536).contains(&self.bytes), "the size of a write", "8 to 65,536 bytes")?;
        range((0.0..=100.0).contains(&self.commit), "the time of a commit", "0 to 100 ms")?;
        range((0..=60_000).contains(&self.gather), "the time to gather", "0 to 60,000 ms")?;
        range((0.0..=90.0).contains(&self.loss), "the loss", "0 to 90 percent")?;
        for time in [self.latency, self.local_latency, self.jitter] {
            range((0.0..=10_000.0).contains(&time), "a latency or jitter", "0 to 10,000 ms")?;
        }
        for Partition { from, to, leaders } in &self.partitions {
            if !(*from >= 0.0 && to > from && *to <= DAY) {
                return Err(Invalid::Partition);
            }
            if let Some(leader) = leaders.iter().find(|leader| **leader >= self.leaders) {
                return Err(Invalid::NoLeader { leader: *leader, leaders: self.leaders });
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let deliveries = self.ops * self.seconds as f64 * self.leaders as f64;
        if deliveries > MAX_DELIVERIES { Err(Invalid::TooMuch { deliveries }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
