use super::{Check, Harness};
use crate::{Batch, Store, StoreError};
use std::collections::BTreeMap;

/// What a check found wrong, in a sentence.
pub(super) struct Mismatch(pub(super) String);

type Outcome = Result<(), Mismatch>;
type Named<H> = (Check, fn(&mut H) -> Outcome);
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl From<StoreError> for Mismatch {
    fn from(error: StoreError) -> Self {
        Mismatch(format!("the store reported: {error}"))
    }
}

/// Each check with its name. None relies on what an earlier one left behind.
pub(super) fn all<H: Harness>() -> [Named<H>; 18] {
    [
        (Check::EmptyAtFirst, empty_at_first),
        (Check::CommitIsVisible, commit_is_visible),
        (Check::CommitSurvivesRestart, commit_survives_restart),
        (Check::WholeBatch, whole_batch),
        (Check::Overwrite, overwrite),
        (Check::DeleteSticks, delete_sticks),
        (Check::LastWriteCounts, last_write_counts),
        (Check::EmptyBatch, empty_batch),
        (Check::EmptyKeyAndValue, empty_key_and_value),
        (Check::GetIsExact, get_is_exact),
        (Check::ScanInOrder, scan_in_order),
        (Check::ScanExactPrefix, scan_exact_prefix),
        (Check::LargeValue, large_value),
        (Check::ManyKeys, many_keys),
        (Check::DiskBytes, disk_bytes),
        (Check::FailedCommitIsAtomic, failed_commit_is_atomic),
        (Check::FailedCommitPoisons, failed_commit_poisons),
        (Check::RandomHistory, random_history),
    ]
}

fn empty_at_first<H: Harness>(harness: &mut H) -> Outcome {
    let store = harness.create()?;
    expect_rows(&store, &Rows::new())?;
    expect_get(&store, b"", None)?;
    expect_rows(&harness.restart(store)?, &Rows::new())
}

fn commit_is_visible<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&puts(&[("key", "value")]))?;
    expect_get(&store, b"key", Some(b"value"))?;
    store.commit(&puts(&[("other", "one")]))?;
    expect_rows(&store, &rows(&[("key", "value"), ("other", "one")]))
}

fn commit_survives_restart<H: Harness>(harness: &mut H) -> Outcome {
    // One to four commits before the restart: what is written behind is written behind at some rhythm.
    for commits in 1..=4_u8 {
        let mut store = harness.create()?;
        let mut expected = Rows::new();
        for round in 0..2_u8 {
            for number in 0..commits {
                let key = vec![round, number];
                let mut batch = Batch::new();
                batch.put(key.clone(), "value");
                store.commit(&batch)?;
                expected.insert(key, b"value".to_vec());
            }
            store = harness.restart(store)?;
            expect_rows(&store, &expected)?;
        }
    }
    Ok(())
}

fn whole_batch<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&puts(&[("first", "1"), ("second", "2"), ("third", "3")]))?;
    let expected = rows(&[("first", "1"), ("second", "2"), ("third", "3")]);
    expect_rows(&store, &expected)?;
    expect_rows(&harness.restart(store)?, &expected)
}

fn overwrite<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    for value in ["middling", "a value that is longer than the one before", "x"] {
        store.commit(&puts(&[("key", value)]))?;
        expect_rows(&store, &rows(&[("key", value)]))?;
    }
    expect_rows(&harness.restart(store)?, &rows(&[("key", "x")]))
}

fn delete_sticks<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&puts(&[("kept", "1"), ("deleted", "2"), ("deleted too", "3")]))?;
    store = harness.restart(store)?;
    let mut batch = Batch::new();
    batch.delete("deleted");
    batch.delete("deleted too");
    batch.delete("never there");
    store.commit(&batch)?;
    let expected = rows(&[("kept", "1")]);
    expect_get(&store, b"deleted", None)?;
    expect_rows(&store, &expected)?;
    store = harness.restart(store)?;
    expect_get(&store, b"deleted", None)?;
    expect_rows(&store, &expected)
}

fn last_write_counts<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&puts(&[("old, put, deleted", "old"), ("old, deleted, put", "old")]))?;
    let mut batch = Batch::new();
    batch.put("put, put", "early");
    batch.put("put, deleted", "early");
    batch.put("old, put, deleted", "early");
    batch.delete("deleted, put");
    batch.delete("old, deleted, put");
    batch.put("put, put", "late");
    batch.delete("put, deleted");
    batch.delete("old, put, deleted");
    batch.put("deleted, put", "late");
    batch.put("old, deleted, put", "late");
    store.commit(&batch)?;
    let expected = rows(&[("put, put", "late"), ("deleted, put", "late"), ("old, deleted, put", "late")]);
    expect_rows(&store, &expected)?;
    expect_rows(&harness.restart(store)?, &expected)
}

fn empty_batch<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&Batch::new())?;
    expect_rows(&store, &Rows::new())?;
    store.commit(&puts(&[("key", "value")]))?;
    store.commit(&Batch::new())?;
    expect_rows(&store, &rows(&[("key", "value")]))?;
    expect_rows(&harness.restart(store)?, &rows(&[("key", "value")]))
}

fn empty_key_and_value<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&puts(&[("", "value of the empty key"), ("key", "")]))?;
    store = harness.restart(store)?;
    expect_get(&store, b"key", Some(b""))?;
    expect_rows(&store, &rows(&[("", "value of the empty key"), ("key", "")]))?;
    store.commit(&puts(&[("", "")]))?;
    expect_get(&store, b"", Some(b""))?;
    let mut batch = Batch::new();
    batch.delete("");
    store.commit(&batch)?;
    expect_rows(&store, &rows(&[("key", "")]))
}

fn get_is_exact<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    store.commit(&puts(&[("ab", "short"), ("abcd", "long")]))?;
    for absent in ["", "a", "abc", "abcde", "AB", "ab\0", "\0ab"] {
        expect_get(&store, absent.as_bytes(), None)?;
    }
    expect_get(&store, b"ab", Some(b"short"))?;
    expect_get(&store, b"abcd", Some(b"long"))
}

/// Keys on which wrong orders and wrong ends of a range show: prefixes of one another, 0x00, 0x7f, 0x80 and 0xff.
const KEYS: [&[u8]; 18] = [
    b"\xff\xff\xff",
    b"\xff\xff\x00",
    b"\xff\xff",
    b"\xff",
    b"\xfe\xff",
    b"\x80",
    b"\x7f",
    b"b",
    b"a\xff\xff",
    b"a\xff",
    b"aa",
    b"a\x00\x00",
    b"a\x00",
    b"a",
    b"10",
    b"9",
    b"\x00",
    b"",
];

fn scan_in_order<H: Harness>(harness: &mut H) -> Outcome {
    let store = with_awkward_keys(harness)?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    store.scan(b"", &mut |key, _| found.push(key.to_vec()))?;
    let mut expected = KEYS.map(<[u8]>::to_vec);
    expected.sort();
    if found != expected {
        return Err(Mismatch(format!("scanned {found:?}, which should be {expected:?}")));
    }
    Ok(())
}

fn scan_exact_prefix<H: Harness>(harness: &mut H) -> Outcome {
    let store = with_awkward_keys(harness)?;
    for prefix in KEYS.into_iter().chain([&b"zz"[..], b"\xfe", b"a\xff\xff\xff", b"\xff\xff\xff\xff"]) {
        let mut found = Vec::new();
        store.scan(prefix, &mut |key, value| found.push((key.to_vec(), value.to_vec())))?;
        found.sort();
        let mut expected: Vec<_> =
            KEYS.into_iter().filter(|key| key.starts_with(prefix)).map(row_of_itself).collect();
        expected.sort();
        if found != expected {
            return Err(Mismatch(format!(
                "scanning {prefix:?} lent {found:?}, which should be {expected:?}"
            )));
        }
    }
    Ok(())
}

fn with_awkward_keys<H: Harness>(harness: &mut H) -> Result<H::Store, Mismatch> {
    let mut store = harness.create()?;
    for half in KEYS.chunks(KEYS.len() / 2) {
        let mut batch = Batch::new();
        for key in half {
            batch.put(*key, *key);
        }
        store.commit(&batch)?;
    }
    Ok(store)
}

fn row_of_itself(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (key.to_vec(), key.to_vec())
}

fn large_value<H: Harness>(harness: &mut H) -> Outcome {
    let mut random = Random(1);
    let value: Vec<u8> = (0..1 << 20).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut batch = Batch::new();
    batch.put("large", value.clone());
    batch.put("small", "beside it");
    let mut store = harness.create()?;
    store.commit(&batch)?;
    for _ in 0..2 {
        match store.get(b"large")? {
            Some(found) if found == value => {}
            Some(found) => {
                return Err(Mismatch(format!(
                    "a value of {} bytes came back as {} others",
                    value.len(),
                    found.len()
                )));
            }
            None => return Err(Mismatch(format!("a value of {} bytes is gone", value.len()))),
        }
        expect_get(&store, b"small", Some(b"beside it"))?;
        store = harness.restart(store)?;
    }
    Ok(())
}

fn many_keys<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    let mut expected = Rows::new();
    let mut random = Random(2);
    for _ in 0..10 {
        let mut batch = Batch::new();
        for _ in 0..1_000 {
            let (key, value) = (random.next().to_le_bytes(), random.next().to_string());
            batch.put(key, value.as_str());
            expected.insert(key.to_vec(), value.into_bytes());
        }
        store.commit(&batch)?;
    }
    expect_rows(&store, &expected)?;
    expect_rows(&harness.restart(store)?, &expected)
}

fn disk_bytes<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    let mut random = Random(3);
    let value: Vec<u8> = (0..1 << 15).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut batch = Batch::new();
    for key in 0..4_u8 {
        batch.put([key], value.clone());
    }
    store.commit(&batch)?;
    let (found, kept) = (store.disk_bytes()?, batch.bytes() as u64);
    if found < kept {
        return Err(Mismatch(format!("{found} bytes cannot hold the {kept} random ones that are kept")));
    }
    Ok(())
}

fn failed_commit_is_atomic<H: Harness>(harness: &mut H) -> Outcome {
    // Several sizes: a batch may be torn at one and not at another.
    for writes in [2, 3, 10, 300_u32] {
        let mut store = harness.create()?;
        let mut before = rows(&[("deleted by the batch", "old"), ("replaced by the batch", "old")]);
        store.commit(&batch_of(&before))?;
        store.commit(&puts(&[("kept", "old")]))?;
        before.insert(b"kept".to_vec(), b"old".to_vec());
        if !harness.fail_next_commit(&mut store) {
            return Ok(());
        }

        let mut batch = Batch::new();
        let mut after = before.clone();
        batch.delete("deleted by the batch");
        after.remove(&b"deleted by the batch"[..]);
        batch.put("replaced by the batch", "new");
        after.insert(b"replaced by the batch".to_vec(), b"new".to_vec());
        for number in 0..writes {
            batch.put(number.to_be_bytes(), "new");
            after.insert(number.to_be_bytes().to_vec(), b"new".to_vec());
        }
        if store.commit(&batch).is_ok() {
            return Err(Mismatch("a commit succeeded that was made to fail".into()));
        }
        let found = all_rows(&harness.restart(store)?)?;
        if found != before && found != after {
            return Err(Mismatch(format!(
                "a failed batch of {} writes left {found:?}, neither the state before it nor the one after it",
                batch.len()
            )));
        }
    }
    Ok(())
}

fn failed_commit_poisons<H: Harness>(harness: &mut H) -> Outcome {
    let mut store = harness.create()?;
    if !harness.fail_next_commit(&mut store) {
        return Ok(());
    }
    if store.commit(&puts(&[("key", "failed")])).is_ok() {
        return Err(Mismatch("a commit succeeded that was made to fail".into()));
    }
    let refusals = [
        ("commit", store.commit(&puts(&[("key", "later")])).err()),
        ("get", store.get(b"key").err()),
        ("scan", store.scan(b"", &mut |_, _| {}).err()),
        ("disk_bytes", store.disk_bytes().err()),
    ];
    for (call, refusal) in refusals {
        match refusal {
            Some(StoreError::Poisoned) => {}
            Some(other) => return Err(Mismatch(format!("`{call}` after a failed commit reported: {other}"))),
            None => return Err(Mismatch(format!("`{call}` after a failed commit succeeded"))),
        }
    }
    store = harness.restart(store)?;
    store.commit(&puts(&[("key", "after the restart")]))?;
    expect_rows(&store, &rows(&[("key", "after the restart")]))
}

fn random_history<H: Harness>(harness: &mut H) -> Outcome {
    for seed in 1..=4 {
        let mut random = Random(seed);
        let mut store = harness.create()?;
        let mut model = Rows::new();
        for _ in 0..30 {
            let mut batch = Batch::new();
            for _ in 0..random.below(20) {
                // Few and short keys, so that they meet again and are prefixes of one another.
                let key: Vec<u8> =
                    (0..random.below(4)).map(|_| [0x00, b'a', 0xff][random.below(3)]).collect();
                if random.below(3) == 0 {
                    batch.delete(key.clone());
                    model.remove(&key);
                } else {
                    let value = vec![b'v'; random.below(50)];
                    batch.put(key.clone(), value.clone());
                    model.insert(key, value);
                }
            }
            store.commit(&batch)?;
            expect_rows(&store, &model)?;
            if random.below(4) == 0 {
                store = harness.restart(store)?;
                expect_rows(&store, &model)?;
            }
        }
    }
    Ok(())
}

fn puts(pairs: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(*key, *value);
    }
    batch
}

fn rows(pairs: &[(&str, &str)]) -> Rows {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn batch_of(rows: &Rows) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in rows {
        batch.put(key.as_slice(), value.as_slice());
    }
    batch
}

fn all_rows(store: &impl Store) -> Result<Rows, Mismatch> {
    let mut found = Rows::new();
    store.scan(b"", &mut |key, value| drop(found.insert(key.to_vec(), value.to_vec())))?;
    Ok(found)
}

fn expect_get(store: &impl Store, key: &[u8], expected: Option<&[u8]>) -> Outcome {
    let found = store.get(key)?;
    if found.as_deref() == expected {
        return Ok(());
    }
    Err(Mismatch(format!("the key {key:?} has {found:?}, which should be {expected:?}")))
}

/// Every row and no other, by scanning and by getting.
fn expect_rows(store: &impl Store, expected: &Rows) -> Outcome {
    let found = all_rows(store)?;
    for (key, value) in expected {
        match found.get(key) {
            Some(same) if same == value => expect_get(store, key, Some(value))?,
            other => {
                return Err(Mismatch(format!(
                    "the key {key:?} scans as {other:?}, which should be {value:?}"
                )));
            }
        }
    }
    match found.keys().find(|key| !expected.contains_key(*key)) {
        Some(stray) => Err(Mismatch(format!("the key {stray:?} is there and should not be"))),
        None => Ok(()),
    }
}

/// Marsaglia's xorshift64 (2003): enough variety for keys, and the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        // The upper bits, because a small seed takes a while to reach the lower ones.
        usize::try_from(self.next() >> 33).unwrap_or(0) % end
    }
}
