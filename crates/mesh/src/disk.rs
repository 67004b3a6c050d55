//! The store, and the thread that commits to it: a wait for the disk is nobody's wait but that of who needs what is on
//! its way there.

use mesh_proto::Commit;
use mesh_store::{Batch, Store, StoreError};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// A store that commits in the background, one commit at a time.
///
/// The store itself goes to and fro: while a commit is under way, its thread has it.
pub(crate) struct Disk {
    store: Option<Box<dyn Store>>,
    commits: mpsc::Sender<(Box<dyn Store>, Commit)>,
    ends: mpsc::Receiver<End>,
}

/// What became of a commit: how long the store took, why it failed, or the panic in it.
pub(crate) type Outcome = thread::Result<Result<Duration, StoreError>>;

struct End {
    store: Box<dyn Store>,
    outcome: Outcome,
}

impl Disk {
    /// Takes up `store`, for the leader `leader`.
    pub(crate) fn new(leader: &str, store: Box<dyn Store>) -> io::Result<Self> {
        let (commits, mut to_do) = mpsc::channel::<(Box<dyn Store>, Commit)>(1);
        let (end, ends) = mpsc::channel(1);
        thread::Builder::new().name(format!("store {leader}")).spawn(move || {
            while let Some((mut store, commit)) = to_do.blocking_recv() {
                // The store stays whole if it panics: it is only dropped afterwards.
                let outcome = catch_unwind(AssertUnwindSafe(|| write(&mut *store, commit)));
                if end.blocking_send(End { store, outcome }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Disk { store: Some(store), commits, ends })
    }

    /// How many bytes the store takes; 0 if it cannot say, which it is not asked during a commit.
    pub(crate) fn bytes(&self) -> u64 {
        // A store that cannot say how large it is will fail its next commit, and say why.
        self.store.as_ref().and_then(|store| store.disk_bytes().ok()).unwrap_or(0)
    }

    /// Begins a commit. The one before has ended.
    pub(crate) fn begin(&mut self, commit: Commit) {
        let store = self.store.take().expect("commits come one at a time");
        let sent = self.commits.try_send((store, commit));
        assert!(sent.is_ok(), "the thread waits for commits as long as there is a disk");
    }

    /// Waits for the end of the commit under way. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> Outcome {
        let End { store, outcome } = self.ends.recv().await.expect("a commit that was begun ends");
        self.store = Some(store);
        outcome
    }
}

impl Drop for Disk {
    /// Waits for the commit under way: what comes next may open the store again.
    fn drop(&mut self) {
        if self.store.is_none() {
            self.store = self.ends.blocking_recv().map(|end| end.store);
        }
    }
}

/// Makes a commit durable, and says how long the store took.
pub(crate) fn write(store: &mut dyn Store, commit: Commit) -> Result<Duration, StoreError> {
    let mut batch = Batch::new();
    commit.deletes.into_iter().for_each(|key| batch.delete(key));
    commit.puts.into_iter().for_each(|(key, value)| batch.put(key, value));
    let began = Instant::now();
    store.commit(&batch)?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_store::MemoryStore;
    use std::sync::mpsc as blocking;

    /// Its commits end when they are told to.
    struct Slow {
        store: MemoryStore,
        go: blocking::Receiver<()>,
    }

    impl Store for Slow {
        fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
            self.go.recv().expect("somebody lets it go");
            self.store.commit(batch)
        }

        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.store.get(key)
        }

        fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
            self.store.scan(prefix, each)
        }

        fn disk_bytes(&self) -> Result<u64, StoreError> {
            self.store.disk_bytes()
        }
    }

    #[test]
    fn a_store_is_free_when_its_disk_is_dropped_also_during_a_commit() {
        let (store, (go, goes)) = (MemoryStore::new(), blocking::channel());
        let mut disk = Disk::new("a", Box::new(Slow { store: store.reopen(), go: goes })).expect("a thread");
        disk.begin(Commit { puts: vec![(b"k".to_vec(), b"v".to_vec())], deletes: Vec::new() });
        assert_eq!(disk.bytes(), 0, "it is not asked now");
        let lets_go = thread::spawn(move || go.send(()));
        drop(disk);
        assert_eq!(store.reopen().get(b"k").expect("it can be read"), Some(b"v".to_vec()));
        lets_go.join().expect("no panic").expect("the store was there");
    }
}
