//! What is written where: the updates of a trace, its leaders dealt to the processes.

use super::model::Op;
use crate::replay::trace::{Event, Trace};
use std::{array, cmp::Reverse, collections::VecDeque};

/// The leaders' names.
pub(super) const NAMES: [&str; LEADERS] = ["eu", "us", "ap"];
/// How many leaders there are.
pub(super) const LEADERS: usize = 3;

/// The writes for each leader, and what the counters must come to.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) writes: [VecDeque<Write>; LEADERS],
    /// The same for each copy of the trace.
    pub(super) sums: Sums,
}

/// A write with the key that it is repeated under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) idempotency_key: String,
    /// Which copy of the trace it belongs to, from 1.
    pub(super) copy: usize,
    pub(super) op: Op,
}

/// The keys that a copy of the trace writes, one of each type. Slashes and spaces are there to be encoded.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) counter: String,
    pub(super) g_counter: String,
    pub(super) register: String,
    pub(super) set: String,
}

impl Keys {
    pub(super) fn of(copy: usize) -> Self {
        let key = |what| format!("demo/{copy}/{what}");
        Self {
            counter: key("lines of code"),
            g_counter: key("lines added"),
            register: key("last event"),
            set: key("paths"),
        }
    }
}

/// The exact values of the counters when everything was counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// The G-counter: all lines added.
    pub(super) added: u128,
    /// The PN-counter: lines added minus lines removed.
    pub(super) lines: i128,
}

impl Plan {
    /// All updates of so many copies of a trace, all at the same time.
    pub(super) fn of(trace: &Trace, copies: usize) -> Self {
        let process = deal(trace);
        let mut updates: [Vec<Op>; LEADERS] = Default::default();
        let mut sums = Sums::default();
        for (number, event) in trace.events().iter().enumerate() {
            updates[process[event.leader]].extend(updates_of(trace, number, event));
            sums.added += u128::from(event.plus);
            sums.lines += i128::from(event.plus) - i128::from(event.minus);
        }
        Self { writes: array::from_fn(|leader| writes_of(&updates, copies, leader)), sums }
    }
}

/// What one leader writes: of each copy of the trace another part, so that three copies are the same work for all. Each
/// part in its order, and evenly mixed, so that each copy is written from beginning to end by all leaders at once.
fn writes_of(updates: &[Vec<Op>; LEADERS], copies: usize, leader: usize) -> VecDeque<Write> {
    let parts = (1..=copies).map(|copy| (copy, &updates[(leader + copy - 1) % LEADERS]));
    let mut mixed: Vec<_> = parts
        .flat_map(|(copy, part)| {
            let place = |number| (number as u128 * u128::from(u64::MAX)) / part.len() as u128;
            part.iter().enumerate().map(move |(number, op)| (place(number), copy, op))
        })
        .collect();
    mixed.sort_by_key(|&(place, copy, _)| (place, copy));
    let numbered = mixed.into_iter().enumerate();
    let write = |(number, (_, copy, op)): (usize, (u128, usize, &Op))| Write {
        idempotency_key: format!("{}-{number}", NAMES[leader]),
        copy,
        op: op.clone(),
    };
    numbered.map(write).collect()
}

/// For each leader of the trace a process: the busiest first, each to the process with the least to do.
fn deal(trace: &Trace) -> Vec<usize> {
    let mut busy: Vec<(usize, usize)> = (0..trace.leaders()).map(|leader| (0, leader)).collect();
    for event in trace.events() {
        busy[event.leader].0 += 1;
    }
    busy.sort_unstable_by_key(|&(events, leader)| (Reverse(events), leader));
    let mut load = [0; LEADERS];
    let mut process = vec![0; busy.len()];
    for (events, leader) in busy {
        let least = (0..LEADERS).min_by_key(|&process| load[process]).expect("there are processes");
        load[least] += events;
        process[leader] = least;
    }
    process
}

fn updates_of(trace: &Trace, number: usize, event: &Event) -> Vec<Op> {
    let names =
        |ranks: &[u32]| ranks.iter().map(|&rank| trace.path(rank).name.to_owned()).collect::<Vec<_>>();
    let counts =
        [(event.plus, Op::Increment as fn(u64) -> Op), (event.plus, Op::Grow), (event.minus, Op::Decrement)];
    let sets = [(names(&event.remove), Op::Remove as fn(Vec<String>) -> Op), (names(&event.add), Op::Add)];
    let mut updates = vec![Op::Assign(number.to_string())];
    updates.extend(counts.into_iter().filter(|&(by, _)| by > 0).map(|(by, op)| op(by)));
    updates.extend(sets.into_iter().filter(|(paths, _)| !paths.is_empty()).map(|(paths, op)| op(paths)));
    updates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_of_an_event_becomes_its_updates_at_one_leader() {
        let line = |c: usize, parents: &str, r: u64, rest: &str| {
            format!(r#"{{"c":{c},"p":[{parents}],"r":{r},"t":1,{rest},"n":0,"h":"0123456789abcdef"}}"#)
        };
        let trace = [
            line(0, "", 0, r#""add":["b","a"],"rm":[],"plus":5,"minus":0"#),
            line(1, "0", 0, r#""add":[],"rm":["b"],"plus":0,"minus":7"#),
            line(2, "0", 1, r#""add":[],"rm":[],"plus":0,"minus":0"#),
            line(3, "0", 2, r#""add":[],"rm":[],"plus":1,"minus":0"#),
            line(4, "0", 3, r#""add":[],"rm":[],"plus":0,"minus":0"#),
        ];
        let trace = Trace::parse(trace.join("\n").as_bytes()).expect("a trace");
        let assign = |number: &str| Op::Assign(number.into());
        let first = vec![
            assign("0"),
            Op::Increment(5),
            Op::Grow(5),
            Op::Add(vec!["b".into(), "a".into()]),
            assign("1"),
            Op::Decrement(7),
            Op::Remove(vec!["b".into()]),
        ];
        let second = vec![assign("2"), assign("4")];
        let third = vec![assign("3"), Op::Increment(1), Op::Grow(1)];
        let parts = [first, second, third];

        let plan = Plan::of(&trace, 4);
        for (leader, writes) in plan.writes.iter().enumerate() {
            for copy in 1..=4 {
                let of_copy = writes.iter().filter(|write| write.copy == copy).map(|write| &write.op);
                assert!(
                    of_copy.eq(&parts[(leader + copy - 1) % LEADERS]),
                    "copy {copy} at {leader}: {writes:?}"
                );
            }
        }
        assert_eq!(plan.writes.each_ref().map(VecDeque::len), [7 + 12, 2 + 12, 3 + 12]);
        assert_eq!(plan.sums, Sums { added: 6, lines: -1 });
        // Evenly mixed: copy 2 has two writes at the first leader, one at the beginning and one in the middle.
        let copies: Vec<_> = Plan::of(&trace, 2).writes[0].iter().map(|write| write.copy).collect();
        assert_eq!(copies, [1, 2, 1, 1, 1, 2, 1, 1, 1]);
        let mut keys: Vec<_> = plan.writes.iter().flatten().map(|write| &write.idempotency_key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 48, "each write has a key of its own");
    }
}
