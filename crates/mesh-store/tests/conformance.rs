//! The suite on both stores of this crate, and on broken ones that it has to catch by name.

use mesh_store::conformance::{Check, Failure, Harness, check};
use mesh_store::{Batch, Fault, MemoryStore, RedbStore, Store, StoreError};
use std::sync::{Arc, Mutex};
use std::{collections::BTreeMap, io, path::PathBuf};
use tempfile::TempDir;

struct Memory(Fault);

impl Harness for Memory {
    type Store = MemoryStore;

    fn create(&mut self) -> Result<MemoryStore, StoreError> {
        Ok(MemoryStore::new())
    }

    fn restart(&mut self, store: MemoryStore) -> Result<MemoryStore, StoreError> {
        Ok(store.reopen())
    }

    fn fail_next_commit(&mut self, store: &mut MemoryStore) -> bool {
        store.fail_commit(1, self.0);
        true
    }
}

#[test]
fn memory_conforms() -> Result<(), Failure> {
    check(&mut Memory(Fault::Lost))?;
    check(&mut Memory(Fault::Kept))
}

/// The files of all stores made, each with its number; a restart drops the handle and opens the file.
struct Redb {
    folder: TempDir,
    made: u32,
}

impl Redb {
    fn open(&self) -> Result<RedbStore, StoreError> {
        RedbStore::open(self.folder.path().join(self.made.to_string()))
    }
}

impl Harness for Redb {
    type Store = RedbStore;

    fn create(&mut self) -> Result<RedbStore, StoreError> {
        self.made += 1;
        self.open()
    }

    fn restart(&mut self, store: RedbStore) -> Result<RedbStore, StoreError> {
        drop(store);
        self.open()
    }
}

#[test]
fn redb_conforms() -> Result<(), Failure> {
    check(&mut Redb { folder: tempfile::tempdir().expect("a temporary folder"), made: 0 })
}

/// What is wrong with a [`Broken`] store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// A new store has a row in it.
    HasARowOfItsOwn,
    /// Commits reach the medium, and the handle does not read them.
    ReadsStaleRows,
    /// Commits are confirmed at once and written with the next one.
    AcknowledgesEarly,
    /// The last write of a batch of several is left out.
    DropsLastWrite,
    /// A put of a key that is there is ignored.
    KeepsFirstValue,
    /// Deletes reach the handle and not the medium.
    ForgetsDeletes,
    /// All deletes of a batch are done before its puts.
    DeletesBeforePuts,
    /// An empty batch clears the store.
    EmptyBatchClears,
    /// An empty value deletes.
    EmptyIsAbsent,
    /// A missing key reads as the value of the next one that begins with it.
    GetsByPrefix,
    /// Scans go down.
    ScansBackwards,
    /// Scans compare bytes as signed numbers.
    ScansSigned,
    /// Scans go on to the end once they have begun.
    ScansPastThePrefix,
    /// The end of a scan is the prefix with its last byte plus one, and nothing comes before the 0x00 that 0xff becomes.
    ScansToAWrappedEnd,
    /// Values end at 1 MiB.
    CutsValues,
    /// Only 5,000 rows are kept.
    RunsOutOfRows,
    /// Its rows take no room, it says.
    WeighsNothing,
    /// A commit that fails has written the first half of its batch.
    TearsBatches,
    /// A handle goes on after a commit that failed, as if nothing had been.
    GoesOnAfterAFailure,
    /// Deleting a key, unless it is empty, takes the keys with it that begin with it.
    DeletesByPrefix,
}

const BUGS: [(Bug, Check); 20] = [
    (Bug::HasARowOfItsOwn, Check::EmptyAtFirst),
    (Bug::ReadsStaleRows, Check::CommitIsVisible),
    (Bug::AcknowledgesEarly, Check::CommitSurvivesRestart),
    (Bug::DropsLastWrite, Check::WholeBatch),
    (Bug::KeepsFirstValue, Check::Overwrite),
    (Bug::ForgetsDeletes, Check::DeleteSticks),
    (Bug::DeletesBeforePuts, Check::LastWriteCounts),
    (Bug::EmptyBatchClears, Check::EmptyBatch),
    (Bug::EmptyIsAbsent, Check::EmptyKeyAndValue),
    (Bug::GetsByPrefix, Check::GetIsExact),
    (Bug::ScansBackwards, Check::ScanInOrder),
    (Bug::ScansSigned, Check::ScanInOrder),
    (Bug::ScansPastThePrefix, Check::ScanExactPrefix),
    (Bug::ScansToAWrappedEnd, Check::ScanExactPrefix),
    (Bug::CutsValues, Check::LargeValue),
    (Bug::RunsOutOfRows, Check::ManyKeys),
    (Bug::WeighsNothing, Check::DiskBytes),
    (Bug::TearsBatches, Check::FailedCommitIsAtomic),
    (Bug::GoesOnAfterAFailure, Check::FailedCommitPoisons),
    (Bug::DeletesByPrefix, Check::RandomHistory),
];

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A store that is right except for one bug, or none.
struct Broken {
    bug: Option<Bug>,
    medium: Arc<Mutex<Rows>>,
    seen: Rows,
    behind: Writes,
    fails: bool,
    poisoned: bool,
}

impl Broken {
    fn open(bug: Option<Bug>, medium: Arc<Mutex<Rows>>) -> Self {
        let seen = medium.lock().unwrap().clone();
        Broken { bug, medium, seen, behind: Writes::new(), fails: false, poisoned: false }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn usable(&self) -> Result<(), StoreError> {
        if self.poisoned && !self.has(Bug::GoesOnAfterAFailure) { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    /// The batch as this store understands it.
    fn writes(&self, batch: &Batch) -> Writes {
        let mut writes: Writes =
            batch.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
        match self.bug {
            Some(Bug::DropsLastWrite) if writes.len() > 1 => drop(writes.pop()),
            Some(Bug::KeepsFirstValue) => {
                writes.retain(|(key, value)| value.is_none() || !self.seen.contains_key(key));
            }
            Some(Bug::DeletesBeforePuts) => writes.sort_by_key(|(_, value)| value.is_some()),
            Some(Bug::EmptyBatchClears) if writes.is_empty() => {
                writes.extend(self.seen.keys().map(|key| (key.clone(), None)));
            }
            Some(Bug::EmptyIsAbsent) => {
                for (_, value) in &mut writes {
                    *value = value.take().filter(|value| !value.is_empty());
                }
            }
            Some(Bug::CutsValues) => {
                writes
                    .iter_mut()
                    .filter_map(|(_, value)| value.as_mut())
                    .for_each(|value| value.truncate(1 << 20));
            }
            Some(Bug::RunsOutOfRows) if self.seen.len() >= 5_000 => writes.clear(),
            Some(Bug::DeletesByPrefix) => {
                let deleted: Vec<_> = writes
                    .iter()
                    .filter(|(key, value)| !key.is_empty() && value.is_none())
                    .cloned()
                    .collect();
                let taken =
                    self.seen.keys().filter(|key| deleted.iter().any(|(prefix, _)| key.starts_with(prefix)));
                writes.splice(..0, taken.map(|key| (key.clone(), None)));
            }
            _ => {}
        }
        writes
    }
}

fn apply(rows: &mut Rows, writes: &[(Vec<u8>, Option<Vec<u8>>)]) {
    for (key, value) in writes {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

impl Store for Broken {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.usable()?;
        let mut writes = self.writes(batch);
        if std::mem::take(&mut self.fails) {
            self.poisoned = true;
            if self.has(Bug::TearsBatches) {
                apply(&mut self.medium.lock().unwrap(), &writes[..writes.len() / 2]);
            }
            let source = io::Error::other("asked for");
            return Err(StoreError::Io { path: PathBuf::from("(broken)"), source });
        }
        if !self.has(Bug::ReadsStaleRows) {
            apply(&mut self.seen, &writes);
        }
        if self.has(Bug::AcknowledgesEarly) {
            std::mem::swap(&mut writes, &mut self.behind);
        }
        if self.has(Bug::ForgetsDeletes) {
            writes.retain(|(_, value)| value.is_some());
        }
        apply(&mut self.medium.lock().unwrap(), &writes);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.usable()?;
        if self.has(Bug::GetsByPrefix) {
            let next = self.seen.range(key.to_vec()..).next();
            return Ok(next.filter(|(found, _)| found.starts_with(key)).map(|(_, value)| value.clone()));
        }
        Ok(self.seen.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.usable()?;
        let mut end = prefix.to_vec();
        if let Some(last) = end.last_mut() {
            *last = last.wrapping_add(1);
        }
        let is_lent = |key: &[u8]| match self.bug {
            Some(Bug::ScansPastThePrefix) => key >= prefix,
            Some(Bug::ScansToAWrappedEnd) => prefix.is_empty() || (key >= prefix && key < end.as_slice()),
            _ => key.starts_with(prefix),
        };
        let mut rows: Vec<_> = self.seen.iter().filter(|(key, _)| is_lent(key)).collect();
        match self.bug {
            Some(Bug::ScansBackwards) => rows.reverse(),
            Some(Bug::ScansSigned) => {
                rows.sort_by_key(|(key, _)| key.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>());
            }
            _ => {}
        }
        for (key, value) in rows {
            each(key, value);
        }
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.usable()?;
        let bytes: usize = self.seen.iter().map(|(key, value)| key.len() + value.len()).sum();
        Ok(if self.has(Bug::WeighsNothing) { 0 } else { bytes as u64 })
    }
}

struct Stores(Option<Bug>);

impl Harness for Stores {
    type Store = Broken;

    fn create(&mut self) -> Result<Broken, StoreError> {
        let mut rows = Rows::new();
        if self.0 == Some(Bug::HasARowOfItsOwn) {
            rows.insert(b"format".to_vec(), b"1".to_vec());
        }
        Ok(Broken::open(self.0, Arc::new(Mutex::new(rows))))
    }

    fn restart(&mut self, store: Broken) -> Result<Broken, StoreError> {
        Ok(Broken::open(self.0, store.medium))
    }

    fn fail_next_commit(&mut self, store: &mut Broken) -> bool {
        store.fails = true;
        true
    }
}

#[test]
fn the_broken_store_without_a_bug_conforms() -> Result<(), Failure> {
    check(&mut Stores(None))
}

#[test]
fn every_bug_is_caught_by_name() {
    for (bug, expected) in BUGS {
        match check(&mut Stores(Some(bug))) {
            Err(failure) => assert_eq!(failure.check, expected, "{bug:?} is caught, but: {failure}"),
            Ok(()) => panic!("{bug:?} is not caught"),
        }
    }
}
