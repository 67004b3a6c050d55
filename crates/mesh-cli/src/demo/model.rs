//! What the values must be, told from the replies alone: naively, quadratically, and with no CRDT crate.
//!
//! A reply's `dot` names what its write did, its `token` what the write's leader had seen, its `stamp` the place of a
//! register's write. That decides everything: who wins does not depend on what reached whom, or when.

use anyhow::{Context, Error, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// Per replica the highest counter seen.
pub(super) type Vector = BTreeMap<Id, u64>;

/// A replica's id: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Id(u64);

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(hex, "`{text}` is not a replica's id, which has 16 hexadecimal digits");
        Ok(Self(u64::from_str_radix(text, 16)?))
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of one event, written `id:counter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Dot {
    pub(super) replica: Id,
    pub(super) counter: u64,
}

impl Dot {
    fn is_in(self, seen: &Vector) -> bool {
        seen.get(&self.replica).is_some_and(|&counter| counter >= self.counter)
    }
}

impl TryFrom<String> for Dot {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let (replica, counter) = text.split_once(':').with_context(|| format!("`{text}` is not a dot"))?;
        Ok(Self { replica: replica.parse()?, counter: counter.parse()? })
    }
}

/// Where a register's write stands among all its writes: the order of the fields is the order of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Stamp {
    pub(super) time: u64,
    pub(super) replica: Id,
    pub(super) counter: u64,
}

/// The reply of a write.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Receipt {
    /// Its last event.
    pub(super) dot: Option<Dot>,
    /// How many events it made, with consecutive counters.
    pub(super) events: u64,
    /// What its leader had right after it.
    pub(super) token: Vector,
    pub(super) stamp: Option<Stamp>,
    pub(super) repeated: bool,
}

impl Receipt {
    /// Its events in their order.
    pub(super) fn dots(&self) -> impl Iterator<Item = Dot> {
        self.dot.into_iter().flat_map(|Dot { replica, counter }| {
            (counter - self.events + 1..=counter).map(move |counter| Dot { replica, counter })
        })
    }

    /// Whether both are replies of one write: all but `repeated` is the same.
    pub(super) fn is_of_the_write_of(&self, other: &Self) -> bool {
        let essence = |receipt: &Self| (receipt.dot, receipt.events, receipt.stamp);
        essence(self) == essence(other) && self.token == other.token
    }
}

/// What a write does. There is one value of each type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Sets the register.
    Assign(String),
    /// Adds to the PN-counter.
    Increment(u64),
    /// Subtracts from the PN-counter.
    Decrement(u64),
    /// Adds to the G-counter.
    Grow(u64),
    /// Adds elements to the set, no element twice.
    Add(Vec<String>),
    /// Removes elements from the set.
    Remove(Vec<String>),
}

/// Checks what the API promises of the reply to `op`.
///
/// # Errors
///
/// Says what is not as promised.
pub(super) fn check_receipt(op: &Op, receipt: &Receipt) -> Result<()> {
    let Receipt { dot, events, token, stamp, .. } = receipt;
    let promised = match op {
        Op::Add(elements) => elements.len()..=elements.len(),
        Op::Remove(elements) => 0..=elements.len(),
        _ => 1..=1,
    };
    let as_promised = usize::try_from(*events).is_ok_and(|events| promised.contains(&events));
    ensure!(as_promised, "{op:?} made {events} events");
    ensure!(dot.is_some() == (*events > 0), "{op:?} made {events} events, and its dot is {dot:?}");
    if let Some(Dot { replica, counter }) = dot {
        ensure!(counter >= events, "{op:?} made {events} events, the last of them number {counter}");
        ensure!(
            token.get(replica) == Some(counter),
            "the token {token:?} is not what the leader had right after {dot:?}"
        );
    }
    ensure!(stamp.is_some() == matches!(op, Op::Assign(_)), "{op:?} got the stamp {stamp:?}");
    Ok(())
}

/// The elements that must be in the set: those with an add that no remove and no other add of the element has seen.
pub(super) fn members<'a>(writes: impl Iterator<Item = (&'a Op, &'a Receipt)>) -> BTreeSet<&'a str> {
    // Of each element its adds, and what each of its writes has seen: an add its own dot too, which it does not end.
    let mut adds: BTreeMap<&str, Vec<Dot>> = BTreeMap::new();
    let mut ends: BTreeMap<&str, Vec<(Option<Dot>, &Vector)>> = BTreeMap::new();
    for (op, receipt) in writes {
        match op {
            Op::Add(elements) => {
                for (element, dot) in elements.iter().zip(receipt.dots()) {
                    adds.entry(element).or_default().push(dot);
                    ends.entry(element).or_default().push((Some(dot), &receipt.token));
                }
            }
            Op::Remove(elements) => {
                for element in elements {
                    ends.entry(element).or_default().push((None, &receipt.token));
                }
            }
            _ => {}
        }
    }
    let lives = |element: &str, dot: Dot| {
        let ended = |(own, seen): &(Option<Dot>, &Vector)| *own != Some(dot) && dot.is_in(seen);
        !ends[element].iter().any(ended)
    };
    adds.into_iter()
        .filter(|(element, dots)| dots.iter().any(|dot| lives(element, *dot)))
        .map(|(element, _)| element)
        .collect()
}

/// What the register must hold: the value with the greatest stamp; `None` if nobody has written it.
pub(super) fn register<'a>(writes: impl Iterator<Item = (&'a Op, &'a Receipt)>) -> Option<(Stamp, &'a str)> {
    let assigned = writes.filter_map(|(op, receipt)| match op {
        Op::Assign(value) => Some((receipt.stamp?, value.as_str())),
        _ => None,
    });
    assigned.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply as the API writes it, with the dot `replica:last`.
    fn receipt(replica: u64, last: u64, events: u64, token: &[(u64, u64)]) -> Receipt {
        let token: BTreeMap<String, u64> =
            token.iter().map(|(id, counter)| (format!("{id:016x}"), *counter)).collect();
        let dot = (events > 0).then(|| format!("{replica:016x}:{last}"));
        let json = serde_json::json!({ "dot": dot, "events": events, "token": token, "repeated": false });
        serde_json::from_value(json).expect("a receipt")
    }

    fn add(elements: &[&str], receipt: Receipt) -> (Op, Receipt) {
        (Op::Add(elements.iter().map(ToString::to_string).collect()), receipt)
    }

    fn remove(elements: &[&str], receipt: Receipt) -> (Op, Receipt) {
        (Op::Remove(elements.iter().map(ToString::to_string).collect()), receipt)
    }

    #[track_caller]
    fn expect(writes: &[(Op, Receipt)], expected: &[&str]) {
        for (op, receipt) in writes {
            check_receipt(op, receipt).expect("the case is possible");
        }
        let forwards = members(writes.iter().map(|(op, receipt)| (op, receipt)));
        let backwards = members(writes.iter().rev().map(|(op, receipt)| (op, receipt)));
        assert_eq!(forwards, expected.iter().copied().collect());
        assert_eq!(forwards, backwards, "the order of the replies is of no account");
    }

    #[test]
    fn an_add_ends_with_a_remove_that_has_seen_it() {
        let added = add(&["a"], receipt(1, 1, 1, &[(1, 1)]));
        expect(std::slice::from_ref(&added), &["a"]);
        expect(&[added.clone(), remove(&["a"], receipt(1, 2, 1, &[(1, 2)]))], &[]);
        expect(&[added.clone(), remove(&["a"], receipt(2, 1, 1, &[(1, 1), (2, 1)]))], &[]);
        expect(&[added.clone(), remove(&["b"], receipt(1, 1, 0, &[(1, 1)]))], &["a"]);
        // Concurrent: the remove found nothing, or an earlier add.
        expect(&[added, remove(&["a"], receipt(2, 1, 0, &[(2, 1)]))], &["a"]);
    }

    #[test]
    fn of_an_element_added_again_the_first_add_has_ended_too() {
        let first = add(&["a"], receipt(1, 1, 1, &[(1, 1)]));
        let again = add(&["a"], receipt(2, 1, 1, &[(1, 1), (2, 1)]));
        // Leader 3 has seen only the second add: the first one must not come back.
        let removed = remove(&["a"], receipt(3, 1, 1, &[(2, 1), (3, 1)]));
        expect(&[first.clone(), again.clone(), removed], &[]);
        // It has seen only the first one: the second one stays.
        let removed = remove(&["a"], receipt(3, 1, 1, &[(1, 1), (3, 1)]));
        expect(&[first, again, removed], &["a"]);
    }

    #[test]
    fn elements_of_one_add_have_dots_of_their_own() {
        let added = add(&["a", "b", "c"], receipt(1, 5, 3, &[(1, 5)]));
        // A token in the middle of the add names "a" and "b" only.
        let removed = remove(&["a", "b", "c"], receipt(2, 2, 2, &[(1, 4), (2, 2)]));
        expect(&[added, removed], &["c"]);
    }

    #[test]
    fn the_register_has_the_value_of_the_greatest_stamp() {
        let stamped = |value: &str, time, replica, counter| {
            let mut receipt = receipt(replica, counter, 1, &[(replica, counter)]);
            receipt.stamp = Some(Stamp { time, replica: Id(replica), counter });
            (Op::Assign(value.into()), receipt)
        };
        let held = |writes: &[(Op, Receipt)]| {
            let writes = writes.iter().map(|(op, receipt)| (op, receipt));
            register(writes).map(|(_, value)| value.to_owned())
        };
        assert_eq!(held(&[]), None);
        let (early, late) = (stamped("early", 10, 2, 9), stamped("late", 11, 1, 1));
        assert_eq!(held(&[late.clone(), early.clone()]).as_deref(), Some("late"));
        let (same_time, same_writer) = (stamped("replica", 11, 2, 1), stamped("counter", 11, 2, 2));
        assert_eq!(held(&[same_time.clone(), late.clone()]).as_deref(), Some("replica"));
        assert_eq!(held(&[same_writer, same_time, late, early]).as_deref(), Some("counter"));
    }

    #[test]
    fn replies_that_break_a_promise_are_refused() {
        let one = || vec!["a".to_owned()];
        for (op, receipt, word) in [
            (Op::Grow(1), receipt(1, 1, 0, &[(1, 1)]), "made 0 events"),
            (Op::Grow(1), receipt(1, 2, 2, &[(1, 2)]), "made 2 events"),
            (Op::Add(one()), receipt(1, 2, 2, &[(1, 2)]), "made 2 events"),
            (Op::Remove(one()), receipt(1, 2, 2, &[(1, 2)]), "made 2 events"),
            (Op::Add(vec!["a".into(), "b".into()]), receipt(1, 1, 2, &[(1, 1)]), "number 1"),
            (Op::Grow(1), receipt(1, 2, 1, &[(1, 1)]), "right after"),
            (Op::Assign("a".into()), receipt(1, 1, 1, &[(1, 1)]), "got the stamp None"),
        ] {
            let error = check_receipt(&op, &receipt).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
