//! Whether what the leaders hold is what they must hold.

use super::{
    load::Written,
    model::{self, Dot, Stamp, Vector},
    plan::{Keys, LEADERS, NAMES, Sums},
};
use crate::client::{Client, path};
use anyhow::Result;
use serde::Deserialize;
use std::{collections::BTreeSet, fmt::Display};

/// The values of one copy of the trace that one leader holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    counter: i128,
    g_counter: u128,
    register: Held,
    members: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Held {
    value: String,
    stamp: Stamp,
}

impl Values {
    /// How many elements the set has.
    pub(super) fn elements(&self) -> usize {
        self.members.len()
    }

    /// Reads them from a leader.
    pub(super) fn of(client: &Client, copy: usize) -> Result<Self> {
        #[derive(Deserialize)]
        struct Value<T> {
            value: T,
        }
        #[derive(Deserialize)]
        struct Members {
            members: Vec<String>,
        }
        let keys = Keys::of(copy);
        let counter: Value<i128> = client.get(&path(&["counter", &keys.counter]))?.value;
        let g_counter: Value<u128> = client.get(&path(&["g-counter", &keys.g_counter]))?.value;
        let Members { members } = client.get(&path(&["set", &keys.set]))?.value;
        Ok(Self {
            counter: counter.value,
            g_counter: g_counter.value,
            register: client.get(&path(&["register", &keys.register]))?.value,
            members,
        })
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Events that a reply named and that no leader has.
    pub(super) lost: u64,
    /// Events that leaders have and that no write's reply named, or two did: something was counted twice.
    pub(super) double: u64,
    /// Whatever is not as it must be, as sentences.
    pub(super) wrong: Vec<String>,
}

/// Compares what all leaders hold with what the trace says and the replies imply. `vector` is what all of them have;
/// `values` are those of each copy of the trace.
pub(super) fn check(
    sums: Sums,
    written: [&[Written]; LEADERS],
    vector: &Vector,
    values: &[[Values; LEADERS]],
) -> Findings {
    let mut findings = Findings::default();
    for (leader, written) in written.into_iter().enumerate() {
        findings.events(NAMES[leader], written, vector);
    }
    for (copy, values) in (1..).zip(values) {
        let keys = Keys::of(copy);
        let of_copy = |written: &&Written| written.write.copy == copy;
        let writes = || {
            written.into_iter().flatten().filter(of_copy).map(|written| (&written.write.op, &written.receipt))
        };
        let (register, members) = (model::register(writes()), model::members(writes()));
        for (leader, values) in NAMES.into_iter().zip(values) {
            let guesses = ("counted twice", "lost");
            findings.sum(leader, &keys.g_counter, &values.g_counter, &sums.added, guesses);
            let guesses = (
                "an increment counted twice or a decrement lost",
                "an increment lost or a decrement counted twice",
            );
            findings.sum(leader, &keys.counter, &values.counter, &sums.lines, guesses);
            findings.register(leader, &keys.register, &values.register, register);
            findings.set(leader, &keys.set, &values.members, &members);
        }
    }
    findings
}

impl Findings {
    /// The events that a leader's replies named must be all that there are of it, each once.
    fn events(&mut self, leader: &str, written: &[Written], vector: &Vector) {
        let mut named = BTreeSet::new();
        let mut twice = 0;
        let mut replicas = BTreeSet::new();
        for Dot { replica, counter } in written.iter().flat_map(|written| written.receipt.dots()) {
            replicas.insert(replica);
            twice += u64::from(!named.insert(counter));
        }
        let Some(replica) = replicas.pop_first() else { return };
        if !replicas.is_empty() {
            self.wrong.push(format!("{leader} has written under more than one id"));
        }
        let there = vector.get(&replica).copied().unwrap_or(0);
        let lost = named.range(there + 1..).count() as u64;
        let unnamed = there - named.range(..=there).count() as u64;
        if lost > 0 {
            self.wrong
                .push(format!("{lost} events that {leader} acknowledged are not there: they were lost"));
        }
        if unnamed > 0 {
            self.wrong.push(format!(
                "{leader} has {unnamed} events that are of no acknowledged write: something was counted twice"
            ));
        }
        if twice > 0 {
            self.wrong.push(format!("{leader} gave {twice} dots to two writes each"));
        }
        self.lost += lost;
        self.double += unnamed + twice;
    }

    /// `guesses` are what it means to find more, and less.
    fn sum<T: PartialOrd + Display>(
        &mut self,
        leader: &str,
        key: &str,
        found: &T,
        expected: &T,
        guesses: (&str, &str),
    ) {
        if found != expected {
            let guess = if found > expected { guesses.0 } else { guesses.1 };
            self.wrong
                .push(format!("{key:?} is {found} at {leader}, and the trace's sum is {expected}: {guess}"));
        }
    }

    fn register(&mut self, leader: &str, key: &str, held: &Held, expected: Option<(Stamp, &str)>) {
        if expected != Some((held.stamp, held.value.as_str())) {
            self.wrong.push(format!("{key:?} is {held:?} at {leader}, and must be {expected:?}"));
        }
    }

    fn set(&mut self, leader: &str, key: &str, members: &[String], expected: &BTreeSet<&str>) {
        let found: BTreeSet<&str> = members.iter().map(String::as_str).collect();
        let mut list = |elements: Vec<&&str>, what: &str| {
            if let Some(first) = elements.first() {
                let count = elements.len();
                self.wrong.push(format!("{key:?} {what} {count} elements at {leader}, {first:?} for one"));
            }
        };
        list(expected.difference(&found).collect(), "lacks");
        list(found.difference(expected).collect(), "has besides what it must have");
        if found.len() != members.len() {
            self.wrong.push(format!("{key:?} lists an element twice at {leader}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{model::Op, plan::Write};

    fn write(leader: usize, number: u64, op: Op, first: u64, last: u64) -> Written {
        let id = format!("{:016x}", leader + 1);
        let mut json = serde_json::json!({
            "dot": format!("{id}:{last}"), "events": last + 1 - first, "token": { id.as_str(): last }, "repeated": false
        });
        if matches!(op, Op::Assign(_)) {
            json["stamp"] = serde_json::json!({ "time": 7, "replica": id, "counter": last });
        }
        let receipt = serde_json::from_value(json).expect("a receipt");
        let idempotency_key = format!("{}-{number}", NAMES[leader]);
        Written { write: Write { idempotency_key, copy: 1, op }, receipt }
    }

    /// A course without any fault, and what the leaders hold after it.
    #[derive(Clone)]
    struct Course {
        sums: Sums,
        written: [Vec<Written>; LEADERS],
        vector: Vector,
        values: [Values; LEADERS],
    }

    impl Course {
        fn new() -> Self {
            let elements = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            let written = [
                vec![
                    write(0, 0, Op::Grow(5), 1, 1),
                    write(0, 1, Op::Increment(5), 2, 2),
                    write(0, 2, Op::Add(elements(&["a", "b"])), 3, 4),
                ],
                vec![write(1, 0, Op::Decrement(7), 1, 1), write(1, 1, Op::Assign("late".into()), 2, 2)],
                vec![write(2, 0, Op::Grow(1), 1, 1), write(2, 1, Op::Increment(1), 2, 2)],
            ];
            let id = |leader: u64| format!("{leader:016x}").parse().expect("an id");
            let stamp = Stamp { time: 7, replica: id(2), counter: 2 };
            let values = Values {
                counter: -1,
                g_counter: 6,
                register: Held { value: "late".into(), stamp },
                members: elements(&["a", "b"]),
            };
            Self {
                sums: Sums { added: 6, lines: -1 },
                written,
                vector: [(id(1), 4), (id(2), 2), (id(3), 2)].into(),
                values: [values.clone(), values.clone(), values],
            }
        }

        fn check(&self) -> Findings {
            check(
                self.sums,
                self.written.each_ref().map(Vec::as_slice),
                &self.vector,
                std::slice::from_ref(&self.values),
            )
        }

        /// Checks that `falsify` is noticed, with these words.
        #[track_caller]
        fn finds(falsify: impl FnOnce(&mut Self), lost: u64, double: u64, words: &str) {
            let mut course = Self::new();
            falsify(&mut course);
            let findings = course.check();
            assert_eq!((findings.lost, findings.double), (lost, double), "{findings:?}");
            assert!(findings.wrong.iter().any(|wrong| wrong.contains(words)), "no {words:?} in {findings:?}");
        }

        fn counter_of(&mut self, leader: usize) -> &mut u64 {
            self.vector.values_mut().nth(leader).expect("the leader is there")
        }
    }

    #[test]
    fn a_course_without_a_fault_has_nothing_wrong() {
        assert_eq!(Course::new().check(), Findings::default());
    }

    #[test]
    fn lost_increments_are_noticed() {
        // At one leader only, at all of them, of either counter; and as events that are not there.
        Course::finds(
            |course| course.values[1].g_counter -= 1,
            0,
            0,
            "5 at us, and the trace's sum is 6: lost",
        );
        Course::finds(
            |course| course.values[2].counter -= 1,
            0,
            0,
            "-2 at ap, and the trace's sum is -1: an increment lost",
        );
        Course::finds(
            |course| *course.counter_of(2) -= 1,
            1,
            0,
            "1 events that ap acknowledged are not there",
        );
        Course::finds(
            |course| *course.counter_of(0) = 0,
            4,
            0,
            "4 events that eu acknowledged are not there",
        );
    }

    #[test]
    fn increments_counted_twice_are_noticed() {
        Course::finds(
            |course| course.values[0].g_counter += 5,
            0,
            0,
            "11 at eu, and the trace's sum is 6: counted twice",
        );
        Course::finds(|course| course.values[0].counter += 5, 0, 0, "an increment counted twice");
        // A request without a reply was counted, and again when it was repeated: its first dot is in no reply.
        Course::finds(
            |course| *course.counter_of(0) += 1,
            0,
            1,
            "eu has 1 events that are of no acknowledged write",
        );
        let repeat = |course: &mut Course| {
            let again = course.written[0][1].clone();
            course.written[0].push(again);
        };
        Course::finds(repeat, 0, 1, "eu gave 1 dots to two writes");
    }

    #[test]
    fn wrong_elements_and_values_are_noticed() {
        Course::finds(|course| course.values[1].members.truncate(1), 0, 0, "lacks 1 elements at us, \"b\"");
        Course::finds(|course| course.values[1].members.push("c".into()), 0, 0, "has besides");
        Course::finds(|course| course.values[1].members.push("b".into()), 0, 0, "an element twice at us");
        Course::finds(|course| course.values[2].register.value = "early".into(), 0, 0, "\"early\"");
        Course::finds(|course| course.values[2].register.stamp.time += 1, 0, 0, "at ap, and must be");
    }
}
