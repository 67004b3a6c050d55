//! Counters that live: against a naive writer that follows the documented form literally, and against their entropy.
// Small numbers, cut out of random ones or counted.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use crdt_core::wire::{DecodeError, Reader, decode_runs, encode_runs};
use std::ops::RangeInclusive;

type Runs = Vec<RangeInclusive<u64>>;

fn encode(runs: &[RangeInclusive<u64>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_runs(runs.iter().cloned(), &mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<Runs, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut runs = Vec::new();
    decode_runs(&mut reader, |run| {
        runs.push(run);
        Ok(())
    })?;
    reader.finish()?;
    Ok(runs)
}

/// The form of the documentation, with bits as text and every size found by writing it.
mod naive {
    use super::Runs;

    fn low(value: u64, count: u32) -> String {
        (0..count).map(|bit| if value >> bit & 1 == 1 { '1' } else { '0' }).collect()
    }

    fn by(k: u32, value: u64) -> String {
        let quotient = value >> k;
        if quotient < 16 {
            return "0".repeat(quotient as usize) + "1" + &low(value, k);
        }
        let length = 64 - value.leading_zeros();
        "0".repeat(16) + &low(u64::from(length - 1), 6) + &low(value, length - 1)
    }

    /// The least size, and the least parameter that gives it.
    fn best(numbers: &[u64]) -> (u128, u32) {
        (0..64).map(|k| (numbers.iter().map(|v| by(k, *v).len() as u128).sum(), k)).min().unwrap()
    }

    fn block(pairs: &[(u64, u64)]) -> String {
        let (skips, lens): (Vec<u64>, Vec<u64>) = pairs.iter().copied().unzip();
        let ((size_a, a), (size_b, b)) = (best(&skips), best(&lens));
        let sum = |numbers: &[u64]| numbers.iter().map(|v| u128::from(*v)).sum::<u128>();
        let n = pairs.len() as u128;
        let sizes = [
            size_a + size_b,
            size_a + u128::from(a + 1) * sum(&lens) + (n >> a),
            size_b + u128::from(b + 1) * sum(&skips) + (n >> b),
        ];
        let form = (0..3).min_by_key(|form| sizes[*form]).unwrap();
        let mut bits = low(form as u64, 2);
        match form {
            0 => bits += &(low(a.into(), 6) + &low(b.into(), 6)),
            1 => bits += &low(a.into(), 6),
            _ => bits += &low(b.into(), 6),
        }
        for (s, l) in pairs {
            match form {
                0 => bits += &(by(a, *s) + &by(b, *l)),
                1 => bits += &(by(a, 0).repeat(*l as usize) + &by(a, s + 1)),
                _ => bits += &(by(b, 0).repeat(*s as usize) + &by(b, l + 1)),
            }
        }
        bits
    }

    pub(super) fn encode(runs: &Runs) -> Vec<u8> {
        let mut next = 0_u128;
        let mut pairs = Vec::new();
        for run in runs {
            pairs.push(((u128::from(*run.start()) - next - 1) as u64, run.end() - run.start()));
            next = u128::from(*run.end()) + 1;
        }
        let mut bits = String::new();
        let mut blocks = pairs.chunks_exact(256);
        for full in blocks.by_ref() {
            bits += &("1".to_owned() + &block(full));
        }
        bits += &("0".to_owned() + &low(blocks.remainder().len() as u64, 8));
        if !blocks.remainder().is_empty() {
            bits += &block(blocks.remainder());
        }
        bits += &"0".repeat(bits.len().next_multiple_of(8) - bits.len());
        let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        bits.as_bytes().chunks(8).map(byte).collect()
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Of all lengths about equally often.
    fn of_any_length(&mut self, longest: u64) -> u64 {
        let length = self.below(longest + 1) as u32;
        self.next().checked_shr(64 - length).unwrap_or(0)
    }
}

/// Which of these counters live, as runs.
fn runs(live: impl IntoIterator<Item = u64>) -> Runs {
    let mut runs: Runs = Vec::new();
    for counter in live {
        match runs.last_mut() {
            Some(run) if run.end() + 1 == counter => *run = *run.start()..=counter,
            _ => runs.push(counter..=counter),
        }
    }
    runs
}

fn agree(runs: &Runs) {
    let bytes = encode(runs);
    assert_eq!(bytes, naive::encode(runs), "{runs:?}");
    assert_eq!(decode(&bytes).as_ref(), Ok(runs), "{bytes:x?}");
}

#[test]
fn every_subset_of_ten_counters() {
    for set in 0..1_u64 << 10 {
        agree(&runs((1..=10).filter(|counter| set >> (counter - 1) & 1 == 1)));
    }
}

#[test]
fn rows_of_every_kind() {
    let mut random = Random(1);
    for case in 0..140 {
        // Skips and runs of at most so many bits, mostly short or of any length.
        let (skip, len) = (random.below(50), random.below(if case % 2 == 0 { 12 } else { 40 }));
        let outliers = random.below(40) + 1;
        let mut row = Runs::new();
        let mut next = 0_u64;
        for _ in 0..[1, 3, 255, 256, 257, 512, 700][case % 7] {
            let skip = if random.below(outliers) == 0 { random.of_any_length(skip) } else { random.below(3) };
            let len = if random.below(outliers) == 0 { random.of_any_length(len) } else { random.below(3) };
            let run = next.checked_add(skip + 1).and_then(|first| Some(first..=first.checked_add(len)?));
            let Some(run) = run.filter(|run| *run.end() < u64::MAX) else { break };
            next = run.end() + 1;
            row.push(run);
        }
        agree(&row);
    }
}

#[test]
fn counters_at_the_end() {
    let max = u64::MAX;
    for row in [
        vec![1..=max],
        vec![max..=max],
        vec![1..=max - 2, max..=max],
        vec![1..=1, max - 1..=max],
        vec![1 << 60..=1 << 60, 1 << 61..=(1 << 61) + 5, 1 << 63..=max],
    ] {
        agree(&row);
    }
}

/// Each case is Bernoulli: the entropy of a counter that lives with probability p is known.
#[test]
fn what_lives_at_random_takes_about_its_entropy() {
    let mut random = Random(2);
    for (live_of_1000, most) in [
        (1, 1.05),
        (10, 1.05),
        (50, 1.05),
        (100, 1.05),
        (200, 1.10),
        (300, 1.10),
        (500, 1.05),
        (700, 1.10),
        (800, 1.10),
        (900, 1.05),
        (950, 1.05),
        (990, 1.05),
        (999, 1.05),
    ] {
        let row = runs((1..=1_000_000).filter(|_| random.below(1000) < live_of_1000));
        let bytes = encode(&row);
        assert_eq!(decode(&bytes).as_ref(), Ok(&row));
        let p = live_of_1000 as f64 / 1000.0;
        let entropy = -p * p.log2() - (1.0 - p) * (1.0 - p).log2();
        let found = bytes.len() as f64 * 8.0 / 1e6 / entropy;
        assert!(found < most, "{live_of_1000} of 1000 live: {found:.3} of the entropy");
        println!("{live_of_1000} of 1000 live: {found:.3}");
    }
}

/// The sizes that the goals name, and those of what sets are really like; exact, so that a change is seen.
#[test]
fn rows_of_sets_are_small() {
    let mut random = Random(3);
    let dense = encode(&[1..=1_000_000]).len();
    assert_eq!(dense, 5, "a million in a row");

    // A key of a mesh: one of a thousand that share a numbering.
    let mut counter = 0;
    let shared: Vec<u64> = (0..10_000)
        .map(|_| {
            counter += 1 + random.below(1999);
            counter
        })
        .collect();
    let size = encode(&runs(shared)).len() as f64 * 8.0 / 10_000.0;
    assert!(size < 12.4, "{size} bits for gaps of 11 bits");

    // The old part thinned out to one of 50, the last tenth whole.
    let row = runs((1..=100_000).filter(|counter| *counter > 90_000 || random.below(50) == 0));
    let old = row.len() as f64;
    let size = encode(&row).len() as f64 * 8.0;
    assert!(size < 1.1 * 7.07 * old, "{size} bits for {old} gaps of 7.07 bits");

    // Batches of 100, of which some were removed whole.
    let row = runs(
        (0..1_000).filter(|_| random.below(2) == 0).flat_map(|batch| batch * 100 + 1..=batch * 100 + 100),
    );
    let size = encode(&row).len() * 8;
    assert!(size < 19 * row.len(), "{size} bits for {} bursts", row.len());

    // One gap out of line does not spoil its block.
    let mut row = runs((1..=1_000).filter(|_| random.below(2) == 0));
    let before = encode(&row).len();
    row.push(1 << 60..=1 << 60);
    let after = encode(&row).len();
    assert!(after <= before + 12, "{before} to {after} bytes");
}

/// Whatever is accepted is what would be written; and nothing is accepted but the one form.
#[test]
fn accepted_bytes_are_canonical() {
    let mut random = Random(4);
    let mut accepted = 0;
    for case in 0..200_000 {
        let row = runs((1..=1 + random.below(40)).filter(|_| random.below(4) > 0));
        let mut bytes = encode(&row);
        match case % 4 {
            0 => bytes = (0..random.below(8)).map(|_| random.next() as u8).collect(),
            1 => {
                bytes.pop();
            }
            2 => bytes.push(0),
            _ => {
                let bit = random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        if let Ok(row) = decode(&bytes) {
            assert_eq!(encode(&row), bytes, "{row:?}");
            accepted += 1;
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn other_forms_are_refused() {
    let row = vec![1..=10, 12..=30, 33..=40];
    let bytes = encode(&row);
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    assert_eq!(refused(&[]), "the bytes end within a value, at byte 0");
    assert_eq!(
        refused(&bytes[..bytes.len() - 1]),
        format!("the bytes end within a value, at byte {}", bytes.len() - 1)
    );
    // Another parameter for the skips: bits 11 to 16, after the count and the form.
    let mut other = bytes.clone();
    other[1] ^= 1 << 3;
    assert!(decode(&other).is_err());
    // A form that does not exist: bits 9 and 10.
    let mut other = bytes.clone();
    other[1] |= 3 << 1;
    assert_eq!(refused(&other), "runs are coded in a form that is not known, in the bytes before byte 0");
    // No runs, and bits after them.
    assert_eq!(encode(&[]), [0, 0]);
    assert_eq!(refused(&[0, 2]), "runs end with bits that mean nothing, in the bytes before byte 2");
}

/// Two counters of 2^64 take few bytes to write, and no time to read.
#[test]
fn claims_are_not_believed() {
    let bytes = encode(&[1..=u64::MAX]);
    assert!(bytes.len() < 16);
    let stop = Reader::new(&bytes).invalid("enough");
    let mut calls = 0;
    let refused = decode_runs(&mut Reader::new(&bytes), |_| {
        calls += 1;
        Err(stop)
    });
    assert_eq!((refused, calls), (Err(stop), 1));
    // Nothing but zeros, and nothing but ones.
    for byte in [0x00, 0xff, 0x55, 0xaa] {
        assert!(decode(&[byte; 1 << 14]).is_err());
    }
}

#[test]
#[should_panic(expected = "runs ascend from 1 and do not touch")]
fn runs_that_touch_are_a_mistake() {
    encode(&[1..=3, 4..=5]);
}

#[test]
#[should_panic(expected = "runs ascend from 1 and do not touch")]
fn nothing_follows_the_last_counter() {
    encode(&[u64::MAX..=u64::MAX, 1..=1]);
}
