//! What opening says to files that are not what they should be, and what a full disk does.

use mesh_store::{Batch, RedbStore, Store, StoreError};
use redb::{Database, TableDefinition};
use std::{error::Error, fs, path::Path};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Fills a store with so many commits, the last of which says so.
fn fill(file: &Path, commits: u32) -> Outcome<RedbStore> {
    let mut store = RedbStore::open(file)?;
    for number in 0..commits {
        let mut batch = Batch::new();
        for row in 0..20 {
            batch.put(((number * 7 + row) % 100).to_be_bytes(), vec![number.to_be_bytes()[3]; 60]);
        }
        batch.put("last", number.to_be_bytes());
        store.commit(&batch)?;
    }
    Ok(store)
}

fn rows(store: &RedbStore) -> Result<Rows, StoreError> {
    let mut rows = Rows::new();
    store.scan(b"", &mut |key, value| rows.push((key.to_vec(), value.to_vec())))?;
    Ok(rows)
}

/// What opening a file with these bytes reports; the file must not be touched by it.
fn refusal(bytes: &[u8]) -> Outcome<StoreError> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("leader.redb");
    fs::write(&file, bytes)?;
    let error = RedbStore::open(&file).err().ok_or("it was opened")?;
    assert_eq!(fs::read(&file)?, bytes, "a file that is refused was written to");
    assert!(error.to_string().contains("leader.redb"), "which file? {error}");
    Ok(error)
}

#[test]
fn other_files_are_refused() -> Outcome {
    let kilobyte: Vec<u8> = (0..1024_u32).map(|i| (i * 167).to_le_bytes()[0]).collect();
    for bytes in [&b""[..], b"r", b"redb", b"hello\n", &kilobyte, &vec![0; 100_000], &kilobyte.repeat(200)] {
        let error = refusal(bytes)?;
        assert!(matches!(error, StoreError::NotAStore { .. }), "{} bytes: {error}", bytes.len());
    }
    Ok(())
}

#[test]
fn every_truncation_is_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    drop(fill(&file, 10)?);
    let whole = fs::read(&file)?;
    for length in (1..=64).chain((65..whole.len()).step_by(997)).chain([whole.len() - 1]) {
        let folder = tempfile::tempdir()?;
        let cut = folder.path().join("leader.redb");
        fs::write(&cut, &whole[..length])?;
        match RedbStore::open(&cut) {
            Err(StoreError::NotAStore { .. } | StoreError::Damaged { .. }) => {}
            other => panic!("cut to {length} of {} bytes: {other:?}", whole.len()),
        }
    }
    Ok(())
}

/// The one place that no checksum covers: the bit of redb's tenth byte that says which of two commits is the current one.
const WHICH_COMMIT: (usize, u8) = (9, 0x01);

/// Changes single bytes of a store and opens it: that finds all that was committed or says that something is wrong. It
/// never panics, and never finds an older state, which for a leader would mean to write under dots that it has used.
fn damage(whole: &[u8], expected: &Rows) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("leader.redb");
    // Every bit where redb says which commit is current, then a bit of each byte of the header, then a sample of the pages with
    // a step that is prime to their size.
    let names = (0..16).flat_map(|at| (0..8).map(move |bit| (at, 1_u8 << bit)));
    let header = (16..320).map(|at| (at, 1_u8 << (at % 8)));
    let pages = (320..whole.len()).step_by(997).map(|at| (at, 0xff));
    let mut refused = 0;
    for (at, mask) in names.chain(header).chain(pages).filter(|change| *change != WHICH_COMMIT) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= mask;
        fs::write(&file, &bytes)?;
        match RedbStore::open(&file) {
            Ok(store) => {
                assert!(rows(&store)? == *expected, "byte {at} changed by {mask:#x}: other rows are found");
            }
            Err(StoreError::NotAStore { .. } | StoreError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("byte {at} changed by {mask:#x}: {other:?}"),
        }
    }
    assert!(refused > 100, "only {refused} changes were noticed");
    Ok(())
}

#[test]
fn damage_to_a_closed_store_is_noticed_or_harmless() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    let store = fill(&file, 40)?;
    let expected = rows(&store)?;
    drop(store);
    damage(&fs::read(&file)?, &expected)
}

#[test]
fn damage_to_the_store_of_a_killed_process_is_noticed_or_harmless() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    let store = fill(&file, 40)?;
    // While it is open: just what a killed process leaves.
    let whole = fs::read(&file)?;
    damage(&whole, &rows(&store)?)
}

#[test]
fn a_newer_format_and_foreign_databases_are_refused() -> Outcome {
    const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
    const NAMESAKE: TableDefinition<&str, &str> = TableDefinition::new("about");
    let folder = tempfile::tempdir()?;

    let newer = folder.path().join("newer");
    drop(fill(&newer, 1)?);
    let database = Database::open(&newer)?;
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert("format", 2)?;
    transaction.commit()?;
    drop(database);
    let error = RedbStore::open(&newer).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 2, known: 1, .. }), "{error}");

    let empty = folder.path().join("empty");
    drop(Database::create(&empty)?);
    let namesake = folder.path().join("namesake");
    let database = Database::create(&namesake)?;
    let transaction = database.begin_write()?;
    transaction.open_table(NAMESAKE)?.insert("format", "mine")?;
    transaction.commit()?;
    drop(database);
    for foreign in [empty, namesake] {
        let error = RedbStore::open(&foreign).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    }
    Ok(())
}

#[test]
fn a_store_is_open_once() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    let store = RedbStore::open(&file)?;
    let error = RedbStore::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(store);

    // A program that uses redb itself, without the lock file.
    let database = Database::open(&file)?;
    let error = RedbStore::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(database);
    RedbStore::open(&file)?;
    Ok(())
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    fs::write(folder.path().join("store.new"), [0; 4096])?;
    drop(fill(&file, 1)?);
    assert!(!fs::exists(folder.path().join("store.new"))?);
    assert_eq!(RedbStore::open(&file)?.get(b"last")?, Some(vec![0; 4]));
    Ok(())
}

#[test]
fn the_folder_is_the_callers() -> Outcome {
    let folder = tempfile::tempdir()?;
    let error = RedbStore::open(folder.path().join("absent/store")).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("absent"), "{error}");
    assert!(RedbStore::open(folder.path()).is_err(), "a folder is not a store");
    Ok(())
}

/// A limit on the size of a file stands in for a small disk: it needs no privileges, and fails the same calls.
#[cfg(unix)]
mod full {
    use super::Outcome;
    use mesh_store::{Batch, RedbStore, Store, StoreError};
    use std::{env, path::Path, process::Command};

    const FILE: &str = "MESH_STORE_FULL_TEST_FILE";

    #[test]
    fn a_full_disk_is_said_and_loses_nothing() -> Outcome {
        if let Some(file) = env::var_os(FILE) {
            return fill_up(Path::new(&file));
        }
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("store");
        // Without the trap, the signal that comes with the error would end the process.
        let status = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" --exact full::a_full_disk_is_said_and_loses_nothing"])
            .arg(env::current_exe()?)
            .env(FILE, &file)
            .status()?;
        assert!(status.success());
        Ok(())
    }

    fn fill_up(file: &Path) -> Outcome {
        let mut store = RedbStore::open(file)?;
        let mut acknowledged = 0_u32;
        let error = loop {
            let mut batch = Batch::new();
            batch.put((acknowledged + 1).to_be_bytes(), vec![1; 100_000]);
            batch.put("count", (acknowledged + 1).to_be_bytes());
            match store.commit(&batch) {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(matches!(store.commit(&Batch::new()), Err(StoreError::Poisoned)));
        assert!(acknowledged > 5, "full after {acknowledged} commits: too soon to have tested anything");
        drop(store);

        let store = RedbStore::open(file)?;
        let count = store.get(b"count")?.ok_or("the count is gone")?;
        let count = u32::from_be_bytes(count.as_slice().try_into()?);
        assert!(
            count == acknowledged || count == acknowledged + 1,
            "{acknowledged} acknowledged, {count} stored"
        );
        for number in 1..=count {
            assert_eq!(store.get(&number.to_be_bytes())?.map(|value| value.len()), Some(100_000));
        }
        assert_eq!(store.get(&(count + 1).to_be_bytes())?, None);
        Ok(())
    }
}
