use crate::{Batch, StoreError};

/// A durable, ordered map from byte keys to byte values, written in atomic batches by one owner.
///
/// # Laws
///
/// - **Durable**: once [`commit`](Store::commit) has returned `Ok`, every later opening of the store sees the batch,
///   whatever happens to the process or, as far as the medium keeps what it has confirmed, to the machine.
/// - **Atomic**: an opening sees all of a batch or none of it, also when its commit failed or never returned.
/// - **In order**: an opening that sees a batch sees every batch that was committed before it.
/// - **Honest failure**: after an error from `commit` the outcome of that batch is unknown, so this handle can no longer
///   say what is stored: every later call fails with [`StoreError::Poisoned`]. Opening the store again tells.
///
/// [`conformance::check`](crate::conformance::check) checks an implementation.
///
/// # Example: a store of one's own
///
/// ```
/// use mesh_store::{Batch, Store, StoreError, conformance};
/// use std::{cell::RefCell, collections::BTreeMap, rc::Rc};
/// use std::sync::{Arc, Mutex};
///
/// /// As durable as this process.
/// struct Shared(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);
///
/// impl Store for Shared {
///     fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
///         let mut rows = self.0.lock().unwrap();
///         for (key, value) in batch {
///             match value {
///                 Some(value) => rows.insert(key.to_vec(), value.to_vec()),
///                 None => rows.remove(key),
///             };
///         }
///         Ok(())
///     }
///     fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///     fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
///         let rows = self.0.lock().unwrap().clone(); // `each` may read the store
///         rows.iter().filter(|(key, _)| key.starts_with(prefix)).for_each(|(key, value)| each(key, value));
///         Ok(())
///     }
///     fn disk_bytes(&self) -> Result<u64, StoreError> {
///         Ok(self.0.lock().unwrap().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
///     }
/// }
///
/// struct Stores;
///
/// impl conformance::Harness for Stores {
///     type Store = Shared;
///     fn create(&mut self) -> Result<Shared, StoreError> {
///         Ok(Shared(Arc::default()))
///     }
///     fn restart(&mut self, store: Shared) -> Result<Shared, StoreError> {
///         Ok(store) // there is nothing that a restart would forget
///     }
/// }
///
/// conformance::check(&mut Stores).unwrap();
/// ```
pub trait Store: Send + 'static {
    /// Applies a batch wholly, and returns when it is durable. Within a batch the last write of a key counts.
    ///
    /// Costs one wait for the medium (for a disk, an fsync or two), whatever the size of the batch, and O(log n) for each
    /// write in it. An empty batch changes nothing, and is as good as a commit of one that does: when it returns, all
    /// before it is durable.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]. The batch is then stored wholly or not at all, nobody knows which, and the store refuses
    /// every later call until it is opened again.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// The value of a key, if it has one. Costs O(log n).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; nothing is changed.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Lends every key that starts with `prefix`, and its value, in ascending order of the keys' bytes. An empty prefix
    /// lends everything.
    ///
    /// What is lent is one state: no commit falls between two rows. `each` may read the store. Costs O(log n) and
    /// O(1) for each row.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`], possibly after some rows have been lent; nothing is changed.
    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError>;

    /// How many bytes of its medium the store takes, free space within it included.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; nothing is changed.
    fn disk_bytes(&self) -> Result<u64, StoreError>;
}
