use crate::{Batch, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, path::PathBuf};

/// A store in memory, for tests and simulations: what is committed outlives the handle, as on a disk.
///
/// [`reopen`](MemoryStore::reopen) plays a process that was killed and started again, and
/// [`fail_commit`](MemoryStore::fail_commit) a disk that fails.
///
/// ```
/// use mesh_store::{Batch, Fault, MemoryStore, Store, StoreError};
///
/// let mut before = MemoryStore::new();
/// let mut batch = Batch::new();
/// batch.put("key", "value");
/// before.commit(&batch)?;
///
/// let mut after = before.reopen();
/// assert_eq!(after.get(b"key")?, Some(b"value".to_vec()));
/// assert!(matches!(before.commit(&batch), Err(StoreError::Poisoned)), "a killed process writes no more");
///
/// after.fail_commit(1, Fault::Lost);
/// batch.put("key", "newer");
/// assert!(after.commit(&batch).is_err());
/// assert_eq!(after.reopen().get(b"key")?, Some(b"value".to_vec()));
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    medium: Arc<Mutex<Medium>>,
    opening: u64,
    poisoned: bool,
    fault: Option<(u64, Fault)>,
}

/// What becomes of a batch whose commit fails. A caller must be right in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of the batch is stored.
    Lost,
    /// The whole batch is stored; only the confirmation got lost.
    Kept,
}

/// What outlives a handle.
#[derive(Debug, Default)]
struct Medium {
    /// Shared with the scans under way, which therefore need not hold the lock while they call out.
    rows: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    bytes: u64,
    /// The number of the handle that may use the medium: the last to be opened.
    opening: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Opens again what is committed, as a process does that was killed and started again.
    ///
    /// This handle is poisoned by it. Faults are not inherited.
    pub fn reopen(&self) -> Self {
        let mut medium = self.lock();
        medium.opening += 1;
        MemoryStore {
            medium: Arc::clone(&self.medium),
            opening: medium.opening,
            poisoned: false,
            fault: None,
        }
    }

    /// Makes the `nth` commit from now fail, the next one being the first; 0 calls off the fault that is set.
    pub fn fail_commit(&mut self, nth: u64, fault: Fault) {
        self.fault = (nth > 0).then_some((nth, fault));
    }

    /// The medium's lock. A panic while it is held is one of the allocator's, and every change of the rows is a single
    /// swap at its end, so a poisoned lock guards nothing broken.
    fn lock(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The medium, if this handle may still use it.
    fn medium(&self) -> Result<MutexGuard<'_, Medium>, StoreError> {
        let medium = self.lock();
        if self.poisoned || medium.opening != self.opening {
            return Err(StoreError::Poisoned);
        }
        Ok(medium)
    }

    /// Counts this commit towards the fault that is set, and returns the fault if it strikes now.
    fn strike(&mut self) -> Option<Fault> {
        let (countdown, fault) = self.fault.as_mut()?;
        *countdown -= 1;
        let fault = *fault;
        self.fault.take_if(|(countdown, _)| *countdown == 0).map(|_| fault)
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        drop(self.medium()?);
        let fault = self.strike();
        if fault != Some(Fault::Lost) {
            self.medium()?.apply(batch);
        }
        if fault.is_some() {
            self.poisoned = true;
            let source = io::Error::other("a fault that was asked for");
            return Err(StoreError::Io { path: PathBuf::from("(memory)"), source });
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.medium()?.rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let rows = Arc::clone(&self.medium()?.rows);
        let from = rows.range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        for (key, value) in from.take_while(|(key, _)| key.starts_with(prefix)) {
            each(key, value);
        }
        Ok(())
    }

    /// The bytes of all keys and values; costs O(1).
    fn disk_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.medium()?.bytes)
    }
}

impl Medium {
    fn apply(&mut self, batch: &Batch) {
        let rows = Arc::make_mut(&mut self.rows);
        for (key, value) in batch {
            if let Some(old) = rows.remove(key) {
                self.bytes -= (key.len() + old.len()) as u64;
            }
            if let Some(value) = value {
                self.bytes += (key.len() + value.len()) as u64;
                rows.insert(key.to_vec(), value.to_vec());
            }
        }
    }
}
