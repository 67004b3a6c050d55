use crate::{Batch, Store, StoreError};
use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The caller's keys and values.
const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
/// Facts about the file itself, apart from the rows so that the caller has all keys to itself.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
/// The row of [`ABOUT`] that says which format the file has.
const FORMAT: &str = "format";
/// The format that is written, and the latest that is understood.
const KNOWN_FORMAT: u64 = 1;
/// Memory for pages of the file. A leader reads its rows once, when it starts; redb's own default is 1 GiB.
const CACHE_BYTES: usize = 32 << 20;

/// A store in one file, kept by [redb](https://docs.rs/redb).
///
/// A commit is two-phase: the batch is written and synced, then the pointer to it is written and synced. With redb's
/// single phase a last commit that fails its checksums looks like one that was never finished, so that damage to the
/// disk would quietly bring back the state before it, without writes that had been acknowledged. Here it is an error.
/// (One bit of the file has no checksum: the one that says which of the last two commits is current.)
///
/// Beside the file `x` there is `x.lock`, which is locked while the store is open, and during the very first opening
/// `x.new`. Neither has any content worth keeping.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    database: Database,
    poisoned: bool,
    /// After the database in this list, so that it is released after the database is closed.
    _lock: Lock,
}

impl RedbStore {
    /// Opens the store in the file `path`, and creates it if there is no such file. The folder must exist.
    ///
    /// A file is created whole: it gets its name when it is a complete and durable store. So a file that is there and is
    /// empty, or incomplete, has lost something, and is refused.
    ///
    /// Reads the whole file and compares every checksum: O(size).
    ///
    /// # Errors
    ///
    /// - [`StoreError::InUse`] if it is open elsewhere;
    /// - [`StoreError::NotAStore`] and [`StoreError::Damaged`] if the file does not hold what a store wrote;
    /// - [`StoreError::NewerFormat`] if a later version of this crate wrote it;
    /// - [`StoreError::Full`] and [`StoreError::Io`] if the operating system refuses.
    ///
    /// What was stored is not changed by any of them.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        let lock = lock(&path)?;
        let is_there = path.try_exists().map_err(|error| of_io(&path, error))?;
        if !is_there {
            create(&path)?;
        }
        let database = open(&path)?;
        // Also if the file was there: whoever created it may have been killed before its name was durable.
        sync_folder(&path)?;
        Ok(RedbStore { path, database, poisoned: false, _lock: lock })
    }

    fn usable(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    fn apply(&self, batch: &Batch) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            for (key, value) in batch {
                match value {
                    Some(value) => drop(rows.insert(key, value)?),
                    None => drop(rows.remove(key)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let rows = self.database.begin_read()?.open_table(ROWS)?;
        Ok(rows.get(key)?.map(|value| value.value().to_vec()))
    }

    fn read_all(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), redb::Error> {
        let rows = self.database.begin_read()?.open_table(ROWS)?;
        for row in rows.range(prefix..)? {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            each(key.value(), value.value());
        }
        Ok(())
    }
}

impl Store for RedbStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.usable()?;
        self.apply(batch).map_err(|error| {
            self.poisoned = true;
            of_redb(&self.path, error)
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.usable()?;
        self.read(key).map_err(|error| of_redb(&self.path, error))
    }

    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.usable()?;
        self.read_all(prefix, each).map_err(|error| of_redb(&self.path, error))
    }

    /// The length of the file; costs O(1).
    fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.usable()?;
        let about = fs::metadata(&self.path).map_err(|error| of_io(&self.path, error))?;
        Ok(about.len())
    }
}

/// A locked file: held, never used. The operating system unlocks it when the process ends, however it ends.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Closing it would not do: a child that is just being started has it open too, until it becomes another program.
    fn drop(&mut self) {
        // If that fails, it is unlocked when the last copy is closed.
        let _ = self.0.unlock();
    }
}

/// Locks `path`'s lock file. redb locks the database as well, but only a lock that is apart from it can cover creating it.
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let lock_path = with_suffix(path, ".lock");
    let lock = File::options().create(true).write(true).truncate(false).open(&lock_path);
    let lock = lock.map_err(|error| of_io(&lock_path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(of_io(&lock_path, error)),
    }
}

/// Creates an empty store under another name and renames it: redb cannot open a file that it began and did not finish.
fn create(path: &Path) -> Result<(), StoreError> {
    let new_path = with_suffix(path, ".new");
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(of_io(&new_path, error)),
        _ => {}
    }
    initialise(&new_path).map_err(|error| of_redb(&new_path, error))?;
    fs::rename(&new_path, path).map_err(|error| of_io(&new_path, error))
}

fn initialise(path: &Path) -> Result<(), redb::Error> {
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(ROWS)?;
    transaction.open_table(ABOUT)?.insert(FORMAT, KNOWN_FORMAT)?;
    transaction.commit()?;
    Ok(database.close()?)
}

/// Opens a file that is there, and believes nothing in it before it has been checked.
fn open(path: &Path) -> Result<Database, StoreError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    let database = builder.open(path).map_err(|error| of_redb(path, error))?;
    match format(&database) {
        Ok(Some(KNOWN_FORMAT)) => Ok(database),
        Ok(Some(found)) if found > KNOWN_FORMAT => {
            Err(StoreError::NewerFormat { path: path.to_path_buf(), found, known: KNOWN_FORMAT })
        }
        Ok(_) | Err(redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
            let detail = "it is a redb database of some other program".into();
            Err(StoreError::NotAStore { path: path.to_path_buf(), detail })
        }
        Err(error) => Err(of_redb(path, error)),
    }
}

fn format(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    let format = transaction.open_table(ABOUT)?.get(FORMAT)?.map(|format| format.value());
    if format == Some(KNOWN_FORMAT) {
        transaction.open_table(ROWS)?;
    }
    Ok(format)
}

/// Makes the file's name durable. Windows has no such call for folders, and needs none.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| of_io(folder, error))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn of_redb(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let path = path.to_path_buf();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StoreError::InUse { path },
        redb::Error::Io(source) => of_io(&path, source),
        redb::Error::Corrupted(detail) => StoreError::Damaged { path, detail },
        error @ (redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted) => {
            StoreError::Damaged { path, detail: error.to_string() }
        }
        error => StoreError::Io { path, source: io::Error::other(error) },
    }
}

fn of_io(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_path_buf();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full { path, source }
        }
        ErrorKind::InvalidData => StoreError::NotAStore { path, detail: source.to_string() },
        ErrorKind::UnexpectedEof => StoreError::Damaged { path, detail: source.to_string() },
        _ => StoreError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_released_although_a_child_has_inherited_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("leader.redb");
        let held = lock(&path).expect("it is free");
        assert!(matches!(lock(&path), Err(StoreError::InUse { .. })));
        let inherited = held.0.try_clone().expect("a descriptor");
        drop(held);
        lock(&path).expect("it is free again");
        drop(inherited);
    }
}
