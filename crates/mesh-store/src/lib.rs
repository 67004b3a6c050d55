//! Durable storage for a leader: atomic batches of bytes, in memory or in redb.
//!
//! A leader may not show or send a write before it is durable, and after a crash it must find exactly what it had
//! acknowledged. What it needs for that is small, and is all that is here: an ordered map of bytes, changed by
//! [`Batch`]es that are applied wholly or not at all. Nothing in this crate knows what the bytes mean.
//!
//! - [`Store`], the trait;
//! - [`RedbStore`], one file, for leaders;
//! - [`MemoryStore`], for tests and simulations, with restarts and faults;
//! - [`conformance`], one suite of checks for these two stores and for anybody's own.
//!
//! # Group commit
//!
//! [`Store::commit`] returns when the batch is on the disk, and waiting for the disk is nearly all that it costs: a batch
//! of a thousand small writes takes little longer than a batch of one. So gather the writes that arrive while a commit
//! is under way, with [`Batch::append`] if they come as batches, commit them together, and acknowledge them together.
//!
//! # Example
//!
//! ```
//! use mesh_store::{Batch, RedbStore, Store, StoreError};
//!
//! # fn main() -> Result<(), StoreError> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let path = folder.path().join("leader.redb");
//! let mut store = RedbStore::open(&path)?;
//! let mut batch = Batch::new();
//! batch.put("vector/1", "41");
//! batch.put("vector/2", "7");
//! batch.put("value/likes", "3");
//! batch.delete("pending/9");
//! store.commit(&batch)?; // one wait for the disk, and all four are safe
//! drop(store);
//!
//! let store = RedbStore::open(&path)?;
//! assert_eq!(store.get(b"value/likes")?, Some(b"3".to_vec()));
//! let mut vector = Vec::new();
//! store.scan(b"vector/", &mut |key, value| vector.push((key.to_vec(), value.to_vec())))?;
//! assert_eq!(vector.len(), 2);
//! # Ok(())
//! # }
//! ```

pub mod conformance;

mod batch;
mod error;
mod memory;
mod redb_store;
mod store;

pub use batch::Batch;
pub use error::StoreError;
pub use memory::{Fault, MemoryStore};
pub use redb_store::RedbStore;
pub use store::Store;
