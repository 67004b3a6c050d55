use super::*;
extern crate std;
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

fn rows<const N: usize>(pairs: [(u64, u64); N]) -> Rows {
    pairs.into_iter().collect()
}

/// The definition: a map without zeros.
type Model = BTreeMap<u64, u64>;

fn of(model: &Model) -> Rows {
    model.iter().map(|(id, value)| (*id, *value)).collect()
}

fn value(model: &Model, id: u64) -> u64 {
    model.get(&id).copied().unwrap_or(0)
}

/// That `rows` are the model's, whichever way they are read, and laid out as they must be.
fn agrees(rows: &Rows, model: &Model) {
    let blocks = rows.columns.blocks();
    assert_eq!(blocks.len(), model.len().div_ceil(LANES).max(1));
    let lanes = || blocks.iter().flat_map(|block| zip(block.ids, block.values));
    assert!(lanes().skip(model.len()).all(|row| row == (0, 0)), "zeros past the last row");
    assert!(lanes().zip(model).all(|(row, (id, value))| row == (*id, *value)));

    assert_eq!((rows.len(), rows.is_empty()), (model.len(), model.is_empty()));
    let pairs = || rows.iter().map(|(id, value)| (id.get(), value));
    assert!(pairs().eq(model.iter().map(|(id, value)| (*id, *value))));
    assert!(pairs().rev().eq(model.iter().rev().map(|(id, value)| (*id, *value))));
    assert_eq!(rows.sum(), model.values().copied().map(u128::from).sum());
    for id in model.keys().flat_map(|id| [id - 1, *id, id + 1]).filter(|id| *id > 0) {
        assert_eq!(rows.get(ReplicaId::new(id)), value(model, id));
    }
}

/// That everything two rows can do with each other is what the definition says.
fn pair_agrees(a: &Model, b: &Model) {
    let (left, right) = (of(a), of(b));
    let all: Vec<(ReplicaId, u64, u64)> = {
        let mut ids: Vec<u64> = a.keys().chain(b.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| (ReplicaId::new(id), value(a, id), value(b, id))).collect()
    };
    let join: Model = all.iter().map(|(id, mine, theirs)| (id.get(), *mine.max(theirs))).collect();
    let grows = join != *a;

    let mut merged = left.clone();
    assert_eq!(merged.merge(&right), grows);
    agrees(&merged, &join);
    let mut moved = left.clone();
    assert_eq!(moved.merge_owned(right.clone()), grows);
    agrees(&moved, &join);
    assert_eq!(moved, merged);
    let mut copied = left.clone();
    copied.clone_from(&right);
    agrees(&copied, b);

    assert!(left.zip(&right).eq(all.iter().copied()));
    assert!(left.above(&right).eq(all.iter().copied().filter(|(_, mine, theirs)| mine > theirs)));
    let (less, more) = (all.iter().any(|row| row.1 < row.2), all.iter().any(|row| row.1 > row.2));
    let expected = match (less, more) {
        (false, false) => Causality::Equal,
        (true, false) => Causality::Before,
        (false, true) => Causality::After,
        (true, true) => Causality::Concurrent,
    };
    assert_eq!(left.compare(&right), expected);
    assert_eq!(left == right, a == b);
    let gap = all.iter().find(|row| row.1 < row.2);
    let gap = gap.map(|(replica, have, since)| Gap { replica: *replica, have: *have, since: *since });
    assert_eq!(left.covers(&right).err(), gap);

    let delta = left.delta_since(&right);
    let ahead = all.iter().filter(|row| row.1 > row.2).map(|row| (row.0.get(), row.1)).collect();
    agrees(&delta, &ahead);
    let mut updated = right.clone();
    assert_eq!(updated.apply(&delta), Ok(join != *b));
    assert_eq!(updated, merged);
}

/// All rows over three replicas with numbers 0 to 2, beside so many that both sides have: every case of every pair, at
/// every place in a block, inline and not.
#[test]
fn every_small_pair_agrees_with_the_definition() {
    let all: Vec<[u64; 3]> = (0..27).map(|n| [n % 3, n / 3 % 3, n / 9]).collect();
    for common in 0..=7 {
        let make = |values: &[u64; 3]| -> Model {
            // The common ones lie between, and beyond, the three.
            let common = (0..common).map(|n| (2 * n + 1, 7));
            let small = zip([2, 4, 6], *values).filter(|row| row.1 > 0);
            common.chain(small).collect()
        };
        for a in &all {
            for b in &all {
                pair_agrees(&make(a), &make(b));
            }
        }
    }
}

/// What looks random, and is the same each time (xorshift64).
fn draws(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn larger_rows_agree_with_the_definition() {
    const SIZES: [u64; 14] = [0, 1, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 40, 300];
    let mut draw = draws(0x9e37_79b9_7f4a_7c15);
    for left in SIZES {
        for right in SIZES {
            // From nearly all in common to nearly none; ids as large as they get.
            for span in [left.max(right) + 1, 2 * (left + right) + 1, 1 << 40] {
                let mut make = |size| -> Model {
                    let mut model = Model::new();
                    while (model.len() as u64) < size {
                        // Also what would be negative if it had a sign.
                        let value = [1, 2, 1 << 63, u64::MAX][usize::try_from(draw(4)).unwrap()];
                        model.insert(u64::MAX - 1 - draw(span), value);
                    }
                    model
                };
                let (a, mut b) = (make(left), make(right));
                pair_agrees(&a, &b);
                // What `a` is below, and a few more or less.
                b.extend(a.iter().map(|(id, value)| (*id, value.saturating_add(draw(2)))));
                pair_agrees(&a, &b);
                pair_agrees(&b, &a);
                b.retain(|_, _| draw(8) > 0);
                pair_agrees(&a, &b);
            }
        }
    }
}

#[test]
fn raising_one_by_one_agrees_with_the_definition() {
    for seed in 1..=20 {
        let mut draw = draws(seed << 32 | 0xdead_beef);
        let (mut rows, mut model) = (Rows::new(), Model::new());
        for _ in 0..150 {
            let (id, value) = (1 + draw(60), draw(4));
            let held = model.get(&id).copied().unwrap_or(0);
            let replica = ReplicaId::new(id);
            let mut asked = None;
            let refused = rows.raise_with(replica, |last| {
                asked = Some(last);
                Err(value)
            });
            assert_eq!((refused, asked), (Err(value), Some(held)));
            agrees(&rows, &model);
            if draw(2) == 0 {
                assert_eq!(rows.raise(replica, value), value > held);
            } else {
                assert_eq!(rows.raise_with(replica, |_| Ok::<_, ()>(value)), Ok(()));
            }
            if value > held {
                model.insert(id, value);
            }
            agrees(&rows, &model);
        }
    }
}

/// The same rows, come by in many ways.
#[test]
fn equal_rows_are_equal_however_they_came_about() {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    for n in 0..=20 {
        let model: Model = (1..=n).map(|id| (3 * id, id)).collect();
        let pairs = || model.iter().map(|(id, value)| (ReplicaId::new(*id), *value));
        let collected = of(&model);
        let sorted = Rows::from_sorted(pairs()).unwrap();
        let (mut ascending, mut descending, mut merged) = (Rows::new(), Rows::new(), Rows::new());
        pairs().for_each(|(id, value)| _ = ascending.raise(id, value));
        pairs().rev().for_each(|(id, value)| _ = descending.raise(id, value));
        pairs().for_each(|row| _ = merged.merge(&Rows::from_iter([row])));
        let mut over_more: Rows = (1..=50).map(|id| (id, 9)).collect();
        over_more.clone_from(&collected);
        for other in [sorted, ascending, descending, merged, over_more] {
            agrees(&other, &model);
            assert_eq!(other, collected);
            assert_eq!(hasher.hash_one(&other), hasher.hash_one(&collected));
            assert_eq!(other.compare(&collected), Causality::Equal);
            #[cfg(feature = "serde")]
            assert_eq!(postcard::to_allocvec(&other), postcard::to_allocvec(&collected));
        }
        if n > 0 {
            let mut more = collected.clone();
            more.raise(ReplicaId::new(3 * n), n + 1);
            assert_ne!(more, collected);
        }
    }
}

/// What is consumed gives its buffer where that saves an allocation.
#[test]
fn a_merge_by_value_takes_the_larger_buffer() {
    let small = rows([(1, 5)]);
    let large: Rows = (1..=30).map(|id| (id, 2)).collect();
    let address = large.columns.blocks().as_ptr();
    let mut merged = small;
    assert!(merged.merge_owned(large));
    assert_eq!(merged.columns.blocks().as_ptr(), address);
    assert_eq!((merged.len(), merged.get(ReplicaId::new(1))), (30, 5));
}

#[test]
fn few_rows_lie_inline() {
    const BOTTOM: Rows = Rows::new();
    assert!(size_of::<Rows>() <= 80);
    let mut few = BOTTOM;
    for id in 1..=4 {
        few.raise(ReplicaId::new(id), 1);
    }
    assert!(few.columns.both_inline(&BOTTOM.columns).is_some());
    few.raise(ReplicaId::new(5), 1);
    assert!(few.columns.both_inline(&BOTTOM.columns).is_none());
}

#[test]
fn canonical_form_is_checked() {
    let id = ReplicaId::new;
    assert_eq!(Rows::from_sorted([(id(1), 0)]), Err(InvalidRows::Zero(id(1))));
    assert_eq!(Rows::from_sorted([(id(2), 1), (id(1), 1)]), Err(InvalidRows::Unsorted(id(1))));
    assert_eq!(Rows::from_sorted([(id(2), 1), (id(2), 1)]), Err(InvalidRows::Unsorted(id(2))));
    assert_eq!(rows([(2, 1), (1, 5), (2, 3), (4, 0)]), rows([(1, 5), (2, 3)]));
}

#[cfg(feature = "serde")]
#[test]
fn bytes_are_canonical_and_validated() {
    let value = rows([(1, 5), (0xab, 300)]);
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(json, r#"{"0000000000000001":5,"00000000000000ab":300}"#);
    assert_eq!(serde_json::from_str::<Rows>(&json).unwrap(), value);
    let bytes = postcard::to_allocvec(&value).unwrap();
    assert_eq!(bytes, [2, 1, 5, 0xab, 1, 0xac, 2]);
    assert_eq!(postcard::from_bytes::<Rows>(&bytes).unwrap(), value);
    for bad in [r#"{"1":0}"#, r#"{"0":1}"#, r#"{"2":1,"1":1}"#, r#"{"1":1,"1":2}"#, r#"{"g":1}"#] {
        assert!(serde_json::from_str::<Rows>(bad).is_err(), "{bad}");
    }
    // A claimed length of 2^63 entries is refused when the bytes end, not allocated.
    assert!(postcard::from_bytes::<Rows>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
}
