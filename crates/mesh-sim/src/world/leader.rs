use crate::model::{Fact, Shadow};
use mesh_proto::{Commit, Config, Engine, Hello, Identity, RecoverError, Recovery, Registry, ReplicaId};
use std::collections::{BTreeMap, VecDeque};

pub(super) type ConnectionId = usize;

/// One leader: its engine while it is up, its disk, and what it must show.
pub(super) struct Leader {
    pub(super) engine: Option<Engine>,
    pub(super) disk: Disk,
    /// What the disk makes visible, and the replies on it.
    pub(super) shadow: Shadow,
    pub(super) kept: BTreeMap<u32, u64>,
    pub(super) backup: Option<Saved>,
    /// The state before the last commit, for a disk that forgets.
    pub(super) previous: Option<Saved>,
    /// The id that the engine writes under, and the last update made under it, durable or not.
    pub(super) id: ReplicaId,
    pub(super) issued: u64,
    /// Writes since the last commit.
    pub(super) pending: Pending,
    pub(super) committing: Option<Committing>,
    /// Inputs that wait for the disk.
    pub(super) inbox: VecDeque<Input>,
    pub(super) sessions: Vec<(ConnectionId, usize)>,
    /// The id under which a restored leader may lack updates: it takes no writes under it.
    pub(super) suspect: Option<ReplicaId>,
    /// The disk was once set back; only the suspicion above keeps the numbering right.
    pub(super) is_set_back: bool,
    /// A new id that is not durable yet: nobody is greeted under it.
    pub(super) renaming: bool,
    /// Counts the starts, so that what was scheduled for an earlier life finds nobody.
    pub(super) life: u32,
    pub(super) names: u64,
    /// How far the wall clock is off, in milliseconds, and whether it stepped back since the last write of a register.
    pub(super) offset: i64,
    pub(super) stepped_back: bool,
    /// How long a commit takes, in microseconds.
    pub(super) latency: u64,
    pub(super) commits: u64,
    pub(super) wakes: u64,
    /// Keys written under in an earlier life, and those whose write was lost with it.
    pub(super) crashed_since: BTreeMap<u32, Fate>,
}

/// What became of a write with an idempotency key when its leader crashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Durable,
    Lost,
}

/// What was written since a commit.
#[derive(Default)]
pub(super) struct Pending {
    /// The number of the first event.
    pub(super) first: u64,
    pub(super) facts: Vec<Fact>,
    /// Idempotency keys and the last event of each write.
    pub(super) replies: Vec<(u32, u64)>,
}

/// A commit on its way to the disk.
pub(super) struct Committing {
    pub(super) commit: Commit,
    pub(super) written: Pending,
    pub(super) id: ReplicaId,
    /// When it is durable, though nobody knows yet.
    pub(super) durable_at: u64,
}

pub(super) enum Input {
    /// A write of the schedule's step.
    Step(usize),
    /// Bytes, and whether they bring values.
    Message(ConnectionId, Box<[u8]>, bool),
    /// What this end has said, and what the other end has.
    Connect(ConnectionId, usize, Box<[Hello; 2]>),
    Disconnect(ConnectionId),
}

/// A disk with what it makes visible and the replies on it.
pub(super) type Saved = (Disk, Shadow, BTreeMap<u32, u64>);

/// Rows as a store keeps them.
#[derive(Clone, Default)]
pub(super) struct Disk {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) bytes: usize,
}

impl Disk {
    pub(super) fn apply(&mut self, commit: Commit) {
        for key in commit.deletes {
            if let Some(value) = self.rows.remove(&key) {
                self.bytes -= key.len() + value.len();
            }
        }
        for (key, value) in commit.puts {
            self.bytes += key.len() + value.len();
            let len = key.len();
            if let Some(old) = self.rows.insert(key, value) {
                self.bytes -= len + old.len();
            }
        }
    }

    pub(super) fn open(
        &self,
        leader: usize,
        id: ReplicaId,
        run: u64,
        config: &Config,
        registry: Registry,
    ) -> Result<Engine, RecoverError> {
        let mut recovery = Recovery::new(registry, run);
        for (key, value) in &self.rows {
            recovery.row(key, value);
        }
        let identity = Identity { cluster: "sim".into(), name: format!("leader-{leader}"), replica: id };
        Engine::recover(config.clone(), identity, recovery)
    }
}
