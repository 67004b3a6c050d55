//! Kills a process that commits, again and again, and looks at what it leaves.
//!
//! The test starts itself: with `FILE` in the environment it is the process that commits.
#![cfg(unix)]

use mesh_store::{Batch, RedbStore, Store};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::{env, error::Error, path::Path};

const FILE: &str = "MESH_STORE_KILL_TEST_FILE";
const CYCLES: u32 = 20;
const SIGKILL: i32 = 9;
/// Every batch writes its number under so many keys, so that a torn one shows.
const ROWS: u8 = 40;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[test]
fn nothing_acknowledged_is_lost_and_no_batch_is_torn() -> Outcome {
    if let Some(file) = env::var_os(FILE) {
        return commit_for_ever(Path::new(&file));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    let mut stored = 0;
    for cycle in 0..CYCLES {
        // From no line at all, where the kill meets the opening, to some tens of commits.
        let acknowledged = commit_and_kill(&file, (cycle * 13) % 37)?;
        stored = check(&file, stored.max(acknowledged.unwrap_or(0)))?;
    }
    assert!(
        stored >= u64::from(CYCLES),
        "only {stored} commits in {CYCLES} cycles: the test has hardly tested"
    );
    Ok(())
}

/// Goes on after the last number that is stored. The only way out is to be killed.
fn commit_for_ever(file: &Path) -> Outcome {
    let mut store = RedbStore::open(file)?;
    let mut number = last(&store)?;
    let mut stdout = std::io::stdout().lock();
    loop {
        number += 1;
        let mut batch = Batch::new();
        for row in 0..ROWS {
            batch.put([b'r', row], number.to_be_bytes());
        }
        // Pages come and go: a value of varying size, and the one before last deleted.
        batch.put(log_key(number), vec![b'x'; usize::try_from(number % 7)? * 1_000]);
        if number > 2 {
            batch.delete(log_key(number - 2));
        }
        store.commit(&batch)?;
        writeln!(stdout, "committed {number}")?;
        stdout.flush()?;
    }
}

/// Kills a process after it has acknowledged so many commits; returns the last number that it acknowledged, the ones
/// between the decision and the kill included.
fn commit_and_kill(file: &Path, after: u32) -> Outcome<Option<u64>> {
    let mut child = Command::new(env::current_exe()?)
        .args(["--exact", "nothing_acknowledged_is_lost_and_no_batch_is_torn", "--nocapture", "--quiet"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    // The test harness of the child prints lines of its own.
    let mut numbers =
        lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    let mut acknowledged = None;
    for _ in 0..after {
        acknowledged = Some(numbers.next().ok_or("the process ended by itself")?);
    }
    child.kill()?;
    let last = numbers.last().or(acknowledged);
    assert_eq!(
        child.wait()?.signal(),
        Some(SIGKILL),
        "the process is to end by being killed and in no other way"
    );
    Ok(last)
}

/// Checks that the store holds exactly the state after one batch, and that it is not before `acknowledged`.
fn check(file: &Path, acknowledged: u64) -> Outcome<u64> {
    let store = RedbStore::open(file)?;
    let stored = last(&store)?;
    // One commit at most was under way.
    assert!(
        stored == acknowledged || stored == acknowledged + 1,
        "{acknowledged} was acknowledged and {stored} is stored"
    );
    let mut rows = Vec::new();
    store.scan(b"r", &mut |_, value| rows.push(value.to_vec()))?;
    let expected = if stored == 0 { 0 } else { usize::from(ROWS) };
    assert_eq!(rows, vec![stored.to_be_bytes().to_vec(); expected], "a torn batch");
    let mut log = Vec::new();
    store.scan(b"log", &mut |key, value| log.push((key.to_vec(), value.len())))?;
    let kept =
        (stored.saturating_sub(1).max(1)..=stored).map(|number| (log_key(number), (number % 7) * 1_000));
    let kept: Vec<_> =
        kept.map(|(key, length)| (key, usize::try_from(length).unwrap_or(usize::MAX))).collect();
    assert_eq!(log, kept, "a torn batch");
    Ok(stored)
}

fn last(store: &RedbStore) -> Outcome<u64> {
    Ok(match store.get(&[b'r', 0])? {
        Some(number) => u64::from_be_bytes(number.as_slice().try_into()?),
        None => 0,
    })
}

fn log_key(number: u64) -> Vec<u8> {
    [&b"log"[..], &number.to_be_bytes()].concat()
}
