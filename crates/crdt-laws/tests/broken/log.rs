//! Updates kept by their dots, in a map: what the kit says of refusals, trimming, invariants, bytes and panics.

use crate::caught;
use crdt_core::{
    Dot, Dotted, Merge, Replica, ReplicaId, Rows,
    wire::{DecodeError, Reader, Wire},
};
use crdt_laws::{Law, Outcome, Subject, Suite};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

const SOUND: u8 = 0;
/// Every update is refused.
const REFUSES_ALL: u8 = 1;
/// All updates are refused but those that a clock far ahead lets through.
const REFUSES_NEARLY_ALL: u8 = 2;
/// Trimming drops what it should keep.
const TRIM_LOSES: u8 = 3;
/// Merging keeps a count that it does not add up.
const COUNT_BEHIND: u8 = 4;
/// JSON has no pairs as keys.
const PAIRS_AS_KEYS: u8 = 5;
/// A merge asserts what merging cannot keep.
const MERGE_ASSERTS: u8 = 6;
/// What trimming drops is in the bytes.
const TRIMMED_IN_BYTES: u8 = 7;
/// A step that is not an update panics.
const TRIM_PANICS: u8 = 8;
/// The binary form has no place for what a line says.
const SILENT_IN_BINARY: u8 = 9;
/// The binary form goes on to the end of the bytes, wherever that is.
const ENDLESS_IN_BINARY: u8 = 10;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Log<const BUG: u8> {
    #[serde(with = "lines")]
    lines: Lines<BUG>,
    count: usize,
    trimmed: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Lines<const BUG: u8>(BTreeMap<Dot, u8>);

/// A dot has a string form in JSON, so a map by dots needs nothing; a pair has none.
mod lines {
    use super::{BTreeMap, Deserialize, Deserializer, Dot, Lines, PAIRS_AS_KEYS, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, const BUG: u8>(
        lines: &Lines<BUG>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        if BUG == PAIRS_AS_KEYS {
            let pairs = lines.0.iter().map(|(dot, line)| ((dot.replica, dot.counter), line));
            return pairs.collect::<BTreeMap<_, _>>().serialize(to);
        }
        lines.0.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const BUG: u8>(
        from: D,
    ) -> Result<Lines<BUG>, D::Error> {
        BTreeMap::<Dot, u8>::deserialize(from).map(Lines)
    }
}

impl<const BUG: u8> PartialEq for Log<BUG> {
    fn eq(&self, other: &Self) -> bool {
        self.lines == other.lines
    }
}

impl<const BUG: u8> Merge for Log<BUG> {
    fn merge(&mut self, other: &Self) -> bool {
        let before = self.lines.0.len();
        assert!(BUG != MERGE_ASSERTS || before.max(other.lines.0.len()) < 2, "a log of two lines");
        self.lines.0.extend(&other.lines.0);
        if BUG != COUNT_BEHIND {
            self.count = self.lines.0.len();
        }
        self.lines.0.len() > before
    }
}

impl<const BUG: u8> Dotted for Log<BUG> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.lines.0.keys().filter(|dot| dot.replica == replica).map(|dot| dot.counter).max().unwrap_or(0)
    }
}

impl<const BUG: u8> Wire for Log<BUG> {
    fn encode(&self, out: &mut Vec<u8>) {
        let said = |line: u8| if BUG == SILENT_IN_BINARY { 0 } else { line };
        let lines: Vec<(Dot, u8)> = self.lines.0.iter().map(|(dot, line)| (*dot, said(*line))).collect();
        if BUG == TRIMMED_IN_BYTES {
            self.trimmed.encode(out);
        }
        if BUG == ENDLESS_IN_BINARY {
            return lines.iter().for_each(|line| line.encode(out));
        }
        lines.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let trimmed = if BUG == TRIMMED_IN_BYTES { u64::decode(reader)? } else { 0 };
        let mut lines = Vec::new();
        if BUG == ENDLESS_IN_BINARY {
            while !reader.rest().is_empty() {
                lines.push(<(Dot, u8)>::decode(reader)?);
            }
        } else {
            lines = Vec::decode(reader)?;
        }
        let lines = BTreeMap::from_iter(lines);
        Ok(Log { count: lines.len(), lines: Lines(lines), trimmed })
    }
}

struct Driver<const BUG: u8>;

impl<const BUG: u8> Subject for Driver<BUG> {
    type State = Log<BUG>;
    type Op = bool;

    fn update(replica: &mut Replica<Log<BUG>>, &line: &bool, now: u64) -> Outcome {
        if BUG == REFUSES_ALL || (BUG == REFUSES_NEARLY_ALL && (now < u64::MAX || line)) {
            return Err("the log is closed".into());
        }
        replica.update(|log, tick| {
            let dot = tick.follows(log)?.take()?;
            log.lines.0.insert(dot, line.into());
            log.count += 1;
            Ok(())
        })
    }

    fn trim(state: &mut Log<BUG>, _stable: &Rows) {
        match BUG {
            TRIM_LOSES => _ = state.lines.0.pop_last(),
            TRIMMED_IN_BYTES => state.trimmed += 1,
            TRIM_PANICS => assert!(state.count == 0, "a log that cannot be trimmed"),
            _ => (),
        }
    }

    fn invariant(state: &Log<BUG>) -> Result<(), String> {
        let lines = state.lines.0.len();
        if state.count == lines || BUG == TRIM_LOSES {
            return Ok(());
        }
        Err(format!("it counts {} lines and has {lines}", state.count))
    }
}

fn suite<const BUG: u8>() -> Suite<Driver<BUG>> {
    Suite::new()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn sound() {
    let report =
        suite::<SOUND>().serde().binary().cases(300).run().unwrap_or_else(|violation| panic!("{violation}"));
    assert!(report.accepted() > 500 && report.refused() == 0, "{report}");
    let of_bytes = [Law::SerdeRoundTrip, Law::WireRoundTrip, Law::WireExtent, Law::CanonicalBytes];
    for law in [Law::Panics, Law::Invariant, Law::Trimming].into_iter().chain(of_bytes) {
        assert!(report.checks(law) > 100, "{report}");
    }
    assert_eq!(report.checks(Law::Effect), report.accepted());
    contains(
        &report.to_string(),
        &["300 histories; ", " updates accepted, 0 refused", "(Law::DeltaGap): a delta"],
    );
}

#[test]
fn all_updates_are_refused() {
    let text = caught(suite::<REFUSES_ALL>(), Law::Effect).to_string();
    contains(
        &text,
        &["effect (Law::Effect)", "too few updates were accepted", "0 accepted", "the log is closed"],
    );
    assert!(!text.contains("should be equal"), "{text}");
}

#[test]
fn nearly_all_updates_are_refused() {
    let suite = suite::<REFUSES_NEARLY_ALL>;
    let report = suite().without(Law::Effect).run().unwrap_or_else(|violation| panic!("{violation}"));
    assert!(report.accepted() > 0 && report.refused() > 0, "{report}");
    assert!(report.accepted() * 50 < report.refused(), "{report}");
    assert_eq!(report.checks(Law::Effect), 0);
}

#[test]
fn a_trim_that_loses_state() {
    let text = caught(suite::<TRIM_LOSES>(), Law::Trimming).to_string();
    contains(&text, &["Law::Trimming): trimming changes nothing", "A after trimming", "A before"]);
}

#[test]
fn metadata_that_is_trimmed_and_serialised() {
    caught(suite::<TRIMMED_IN_BYTES>().serde(), Law::CanonicalBytes);
    suite::<TRIMMED_IN_BYTES>().serde().without(Law::CanonicalBytes).cases(100).check();
    caught(suite::<TRIMMED_IN_BYTES>().binary(), Law::CanonicalBytes);
}

#[test]
fn a_count_that_merging_leaves_behind() {
    let text = caught(suite::<COUNT_BEHIND>(), Law::Invariant).to_string();
    contains(&text, &["  found\n", "breaks its invariant", "it counts 0 lines and has 1"]);
}

#[test]
fn keys_that_json_does_not_take() {
    let text = caught(suite::<PAIRS_AS_KEYS>().serde(), Law::SerdeRoundTrip).to_string();
    contains(&text, &["key must be a string", "list of pairs"]);
}

#[test]
fn a_binary_form_that_forgets() {
    let text = caught(suite::<SILENT_IN_BINARY>().binary(), Law::WireRoundTrip).to_string();
    contains(&text, &["A after [1, 1, ", "{a:1: 0}", "{a:1: 1}"]);
}

#[test]
fn a_binary_form_without_an_end() {
    let text = caught(suite::<ENDLESS_IN_BINARY>().binary(), Law::WireExtent).to_string();
    contains(&text, &["  found\n", "[1] is read as", "the bytes of A"]);
}

#[test]
fn a_panic_in_a_check_names_the_operands() {
    let text = caught(suite::<MERGE_ASSERTS>(), Law::Panics).to_string();
    contains(
        &text,
        &[
            "(A before the update).merge(A) panics",
            "\"a log of two lines\", at ",
            "log.rs:",
            "given\n      (A before the update) = Log",
        ],
    );
    assert_eq!(text.matches("\n     2. ").count(), 1, "each step stands there once:\n{text}");
}

#[test]
fn a_panic_in_a_step_names_the_step() {
    let text = caught(suite::<TRIM_PANICS>(), Law::Panics).to_string();
    contains(
        &text,
        &["     2. trimming A, panics", "trimming A panics", "given\n      A = Log { lines: Lines({a:1: 0})"],
    );
    assert_eq!(text.matches("\n     2. ").count(), 1, "each step stands there once:\n{text}");
}
