//! A store whose commits end when they are told to.

use super::PATIENCE;
use mesh::{Batch, MemoryStore, Store, StoreError};
use std::sync::mpsc as blocking;
use tokio::{sync::mpsc, time::timeout};

pub(crate) struct Gated {
    store: MemoryStore,
    entered: mpsc::UnboundedSender<()>,
    go: blocking::Receiver<()>,
}

/// What a test has of it. When it is dropped, commits end by themselves.
pub(crate) struct Gate {
    entered: mpsc::UnboundedReceiver<()>,
    go: blocking::Sender<()>,
}

pub(crate) fn gated(store: MemoryStore) -> (Gated, Gate) {
    let ((entered, enters), (go, goes)) = (mpsc::unbounded_channel(), blocking::channel());
    (Gated { store, entered, go: goes }, Gate { entered: enters, go })
}

impl Gate {
    /// Waits until the next commit is under way.
    pub(crate) async fn is_under_way(&mut self) {
        let entered = timeout(PATIENCE, self.entered.recv()).await;
        entered.expect("there is a commit").expect("the store is in use");
    }

    /// Lets a commit end, the one under way or the next.
    pub(crate) fn let_go(&self) {
        self.go.send(()).expect("the store is in use");
    }
}

impl Store for Gated {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // A test that is over neither watches nor tells.
        let _ = self.entered.send(());
        let _ = self.go.recv();
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
