//! The kit catches what it says it catches: small sound types, each with honest mistakes switched on one by one.
//!
//! Every mistake is caught within 1,000 histories and named by its law; the sound form of each type passes, so that
//! what is caught is the mistake.

mod counter;
mod log;
mod register;
mod set;

use crdt_laws::{Law, Subject, Suite, Violation};
use std::collections::HashMap;

/// Runs a suite that must find the given law broken.
#[track_caller]
fn caught<S: Subject>(suite: Suite<S>, law: Law) -> Violation {
    match suite.cases(1_000).run() {
        Ok(report) => panic!("nothing was found in {report}"),
        Err(violation) => {
            assert_eq!(violation.law(), law, "{violation}");
            assert!(violation.case() < 1_000);
            assert!(violation.steps() <= 8, "a person can read it: {violation}");
            no_step_is_idle(&violation.to_string());
            *violation
        }
    }
}

/// A merge or a pull stands in a counterexample because it changes something.
#[track_caller]
fn no_step_is_idle(text: &str) {
    let mut states = HashMap::new();
    let lines: Vec<&str> = text.lines().take_while(|line| line.trim() != "given").collect();
    for pair in lines.windows(2) {
        let [step, after] = pair else { unreachable!("windows of two") };
        let Some((replica, state)) = after.trim().split_once(" = ") else { continue };
        let idle = states.insert(replica, state) == Some(state);
        assert!(
            !idle || !(step.contains(" merges ") || step.contains(" pulls ")),
            "{step} is idle in\n{text}"
        );
    }
}

#[test]
fn the_same_seed_finds_the_same_counterexample() {
    let run = |seed| caught(register::suite::<{ register::TIE_KEPT_LOCAL }>().seed(seed), Law::Commutative);
    assert_eq!(run(5).to_string(), run(5).to_string());
}

#[test]
fn a_counterexample_reads_as_a_history() {
    let text = caught(register::suite::<{ register::TIE_KEPT_LOCAL }>(), Law::Commutative).to_string();
    for part in [
        "law broken: commutative (Law::Commutative): a ∨ b == b ∨ a",
        "   1. ",
        ": Set(",
        "given",
        " ∨ ",
        "these should be equal",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn a_law_can_be_left_out() {
    let without = register::suite::<{ register::AVERAGE }>();
    let first = without.run().unwrap_err();
    assert_eq!(first.law(), Law::Associative);
    let second = register::suite::<{ register::AVERAGE }>().without(Law::Associative).run().unwrap_err();
    assert_ne!(second.law(), Law::Associative);
}
