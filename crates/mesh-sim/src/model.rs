//! What must be visible to whoever has a given vector, from the replies to writes alone.
//!
//! The model is naive in what it says: an add lives unless a removal, a clear or another add of its element has seen it;
//! the register with the highest stamp wins; counts add up. It is kept up to date event by event for each leader's
//! vector, so that a check costs what has changed.

use crate::{
    keys::{self, KEYS, KeyIx, OWN},
    own::{Past, State},
    violation::{Finding, Invariant},
};
use mesh_proto::{Dot, Engine, Key, Op, Receipt, ReplicaId, Stamp, VersionVector};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// One event, as the reply to its write described it.
#[derive(Clone)]
pub(crate) struct Fact {
    pub(crate) key: KeyIx,
    pub(crate) what: What,
    pub(crate) token: Arc<VersionVector>,
}

#[derive(Clone)]
pub(crate) enum What {
    Count(i64),
    Assign(Stamp, Vec<u8>),
    Add(Vec<u8>),
    Remove(Vec<Vec<u8>>),
    Clear,
    Own(u64, State),
    /// One of several events of a write, told with its last one.
    Part,
}

impl Fact {
    /// The events of a write, in order; `None` if the reply contradicts the write.
    pub(crate) fn of(op: &Op, number: usize, receipt: &Receipt) -> Option<Vec<Fact>> {
        let key = keys::index(&op.kind(), number);
        let token = Arc::new(receipt.token.clone());
        let fact = |what| Fact { key, what, token: token.clone() };
        let last = match op {
            _ if receipt.events == 0 => return Some(Vec::new()),
            Op::Add(elements) => {
                let adds = elements.iter().map(|element| fact(What::Add(element.clone())));
                return (receipt.events == elements.len() as u64).then(|| adds.collect());
            }
            Op::Grow(by) | Op::Increment(by) => What::Count(i64::try_from(*by).ok()?),
            Op::Decrement(by) => What::Count(-i64::try_from(*by).ok()?),
            Op::Assign(value) => What::Assign(receipt.stamp?, value.clone()),
            Op::Remove(elements) => What::Remove(elements.clone()),
            Op::Clear => What::Clear,
        };
        let events = usize::try_from(receipt.events).ok()?;
        let most = if let Op::Remove(elements) = op { elements.len() } else { 1 };
        if events > most {
            return None;
        }
        let mut facts = vec![fact(What::Part); events - 1];
        facts.push(fact(last));
        Some(facts)
    }

    /// Whether this event, made as `dot`, had seen `other`.
    pub(crate) fn saw(&self, dot: Dot, other: Dot) -> bool {
        if dot.replica == other.replica { other.counter < dot.counter } else { self.token.contains(other) }
    }
}

/// Everything that is durable at its origin.
#[derive(Default)]
pub(crate) struct History {
    origins: BTreeMap<ReplicaId, Origin>,
    /// The updates of the user's own type, causes before effects.
    own: Vec<(KeyIx, Dot)>,
}

pub(crate) struct Origin {
    pub(crate) leader: usize,
    pub(crate) facts: Vec<Fact>,
    /// From which event on some may be lost for good, with a disk that was set back: the last one that is surely there.
    pub(crate) sure: u64,
}

impl History {
    pub(crate) fn begin(&mut self, id: ReplicaId, leader: usize) {
        self.origins.entry(id).or_insert(Origin { leader, facts: Vec::new(), sure: 0 });
    }

    pub(crate) fn origins(&self) -> impl Iterator<Item = (&ReplicaId, &Origin)> {
        self.origins.iter()
    }

    pub(crate) fn origins_mut(&mut self) -> impl Iterator<Item = (&ReplicaId, &mut Origin)> {
        self.origins.iter_mut()
    }

    /// How many events of `id` are durable.
    pub(crate) fn durable(&self, id: ReplicaId) -> u64 {
        self.origins.get(&id).map_or(0, |origin| origin.facts.len() as u64)
    }

    pub(crate) fn leader(&self, id: ReplicaId) -> Option<usize> {
        self.origins.get(&id).map(|origin| origin.leader)
    }

    pub(crate) fn fact(&self, dot: Dot) -> Option<&Fact> {
        self.origins.get(&dot.replica)?.facts.get(usize::try_from(dot.counter - 1).ok()?)
    }

    /// Events `first` and following of `id` are durable.
    pub(crate) fn note(&mut self, id: ReplicaId, first: u64, facts: Vec<Fact>) -> Result<(), Finding> {
        let origin = self.origins.get_mut(&id).expect("a leader begins before it writes");
        let next = origin.facts.len() as u64 + 1;
        if first != next {
            let what = format!("it made update {first} of {id}, though {} were durable before", next - 1);
            return Err(Finding::new(Invariant::OwnCounters, what));
        }
        for (counter, fact) in (first..).zip(&facts) {
            if let What::Own(..) = fact.what {
                self.own.push((fact.key, Dot::new(id, counter)));
            }
        }
        origin.facts.extend(facts);
        origin.sure = origin.facts.len() as u64;
        Ok(())
    }

    fn own_facts<'a>(
        &'a self,
        key: KeyIx,
        vector: &'a VersionVector,
    ) -> impl Iterator<Item = (Dot, &'a Fact, u64, &'a State)> {
        let mine = self.own.iter().filter(move |(of, dot)| *of == key && vector.contains(*dot));
        mine.filter_map(|(_, dot)| {
            let fact = self.fact(*dot)?;
            let What::Own(draw, state) = &fact.what else { return None };
            Some((*dot, fact, *draw, state))
        })
    }

    /// The updates of one key of the user's own type that a vector has.
    pub(crate) fn own_past<'a>(&'a self, key: KeyIx, vector: &'a VersionVector) -> Vec<Past<'a>> {
        let past = self.own_facts(key, vector);
        past.map(|(dot, fact, draw, _)| Past { draw, dot, token: &fact.token }).collect()
    }

    /// The states of the user's own type right after each of these updates.
    pub(crate) fn own_states<'a>(&'a self, key: KeyIx, vector: &'a VersionVector) -> Vec<&'a State> {
        self.own_facts(key, vector).map(|found| found.3).collect()
    }
}

/// What a leader with a given vector must show.
#[derive(Clone)]
pub(crate) struct Shadow {
    pub(crate) version: VersionVector,
    /// Of the vector, so that equal vectors are found without comparing them.
    pub(crate) hash: u64,
    values: Vec<Value>,
}

#[derive(Clone)]
enum Value {
    Count(i128),
    Register(Option<(Stamp, Vec<u8>)>),
    /// The adds of each element that live.
    Set(BTreeMap<Vec<u8>, Vec<Dot>>),
    Own,
}

/// What a leader has taken up in one step.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) events: u64,
    /// The keys concerned, a bit for each.
    pub(crate) keys: u64,
    /// The leaders that made the events, a bit for each.
    pub(crate) from: u64,
}

const _: () = assert!(KEYS <= 64, "the keys concerned fit a mask");

impl Shadow {
    pub(crate) fn new() -> Self {
        let value = |key: KeyIx| match key / keys::NUMBERS {
            0 | 1 => Value::Count(0),
            2 => Value::Register(None),
            3 => Value::Set(BTreeMap::new()),
            _ => Value::Own,
        };
        Shadow { version: VersionVector::new(), hash: 0, values: (0..KEYS).map(value).collect() }
    }

    /// Goes on to the vector `to`: **O(events)**.
    pub(crate) fn advance(&mut self, to: &VersionVector, history: &History) -> Result<Taken, Finding> {
        if let Err(gap) = to.covers(&self.version) {
            return Err(Finding::new(Invariant::Progress, format!("its vector went back: {gap}")));
        }
        let mut taken = Taken::default();
        let news: Vec<_> = to.difference(&self.version).collect();
        for (id, range) in &news {
            let durable = history.durable(*id);
            if *range.end() > durable {
                let what = format!("it has update {} of {id}, of which {durable} are durable", range.end());
                return Err(Finding::new(Invariant::Durability, what));
            }
            // Later events of one leader build on all that earlier ones build on.
            let last = history.fact(Dot::new(*id, *range.end())).expect("it is durable");
            if let Err(gap) = to.covers(&last.token) {
                let what = format!("it has update {} of {id} without what that one saw: {gap}", range.end());
                return Err(Finding::new(Invariant::Causality, what));
            }
            let facts = range.clone().filter_map(|counter| history.fact(Dot::new(*id, counter)));
            for (counter, fact) in range.clone().zip(facts) {
                self.take(Dot::new(*id, counter), fact);
                taken.keys |= 1 << fact.key;
            }
            taken.from |= history.leader(*id).map_or(0, |leader| 1 << (leader % 64));
            taken.events += range.end() - range.start() + 1;
            self.hash = self
                .hash
                .wrapping_sub(entry_hash(*id, range.start() - 1))
                .wrapping_add(entry_hash(*id, *range.end()));
        }
        // All that these have seen is there by now.
        for (id, range) in &news {
            for counter in range.clone() {
                let dot = Dot::new(*id, counter);
                self.end(dot, history.fact(dot).expect("it is durable"));
            }
        }
        self.version.clone_from(to);
        Ok(taken)
    }

    fn take(&mut self, dot: Dot, fact: &Fact) {
        match (&mut self.values[fact.key], &fact.what) {
            (Value::Count(sum), What::Count(by)) => *sum += i128::from(*by),
            (Value::Register(newest), What::Assign(stamp, value))
                if newest.as_ref().is_none_or(|(held, _)| held < stamp) =>
            {
                *newest = Some((*stamp, value.clone()));
            }
            (Value::Set(set), What::Add(element)) => set.entry(element.clone()).or_default().push(dot),
            _ => {}
        }
    }

    /// Ends the adds that an event has seen and undone, or done again.
    fn end(&mut self, dot: Dot, fact: &Fact) {
        let Value::Set(set) = &mut self.values[fact.key] else { return };
        let mut end = |element: &Vec<u8>| {
            if let Some(adds) = set.get_mut(element) {
                adds.retain(|add| !fact.saw(dot, *add));
                if adds.is_empty() {
                    set.remove(element);
                }
            }
        };
        match &fact.what {
            What::Add(element) => end(element),
            What::Remove(elements) => elements.iter().for_each(end),
            What::Clear => set.retain(|_, adds| {
                adds.retain(|add| !fact.saw(dot, *add));
                !adds.is_empty()
            }),
            _ => {}
        }
    }

    /// Compares the value of one key of a built-in type with what `engine` shows.
    pub(crate) fn check(&self, key: KeyIx, name: &Key, engine: &Engine) -> Result<(), Finding> {
        let differs = |shown: &dyn fmt::Debug, expected: &dyn fmt::Debug| {
            let what = format!("it shows {shown:?}, what it has makes {expected:?}");
            Err(Finding::of_key(Invariant::Shows, &*name.name, what))
        };
        match &self.values[key] {
            Value::Count(sum) => {
                let shown = if key < keys::NUMBERS {
                    engine.g_counter(&name.name).and_then(|value| i128::try_from(value).ok())
                } else {
                    engine.counter(&name.name)
                };
                let shown = shown.unwrap_or(0);
                if shown == *sum { Ok(()) } else { differs(&shown, sum) }
            }
            Value::Register(newest) => {
                let shown = engine.register(&name.name);
                let expected = newest.as_ref().map(|(stamp, value)| (value.as_slice(), *stamp));
                if shown == expected { Ok(()) } else { differs(&shown, &expected) }
            }
            Value::Set(set) => {
                let same = engine.set_len(&name.name) == set.len()
                    && set.keys().all(|element| engine.contains(&name.name, element));
                if same {
                    Ok(())
                } else {
                    differs(&engine.members(&name.name), &set.keys().collect::<Vec<_>>())
                }
            }
            Value::Own => Ok(()),
        }
    }

    /// How many elements all sets have.
    pub(crate) fn elements(&self) -> usize {
        self.values.iter().map(|value| if let Value::Set(set) = value { set.len() } else { 0 }).sum()
    }
}

pub(crate) fn is_own(key: KeyIx) -> bool {
    key >= OWN
}

/// A well-mixed hash of two numbers (the finaliser of `SplitMix64`, twice).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let stir = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    stir(stir(a.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn entry_hash(id: ReplicaId, counter: u64) -> u64 {
    if counter == 0 { 0 } else { mix(id.get(), counter) }
}
