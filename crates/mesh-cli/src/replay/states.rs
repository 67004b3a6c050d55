//! The states of a history: for each event the join of its parents' states plus its own updates.

use super::{
    check::{G_COUNTER, OR_SET, PN_COUNTER, VERSION_VECTOR},
    trace::{Event, Path, Trace},
};
use crdt_core::{Dotted, Merge, Replica, ReplicaId, UpdateError};
use g_counter::GCounter;
use lww_register::{HybridTime, LwwRegister, Stamp};
use or_set::OrSet;
use pn_counter::PnCounter;
use std::mem;
use version_vector::VersionVector;

/// One value of each type.
#[derive(Clone, Debug, Default)]
pub(super) struct State<'t> {
    pub(super) paths: OrSet<Path<'t>>,
    pub(super) plus: GCounter,
    pub(super) net: PnCounter,
    pub(super) last: LwwRegister<u64>,
    pub(super) seen: VersionVector,
}

/// The states that later events still need.
#[derive(Debug)]
pub(super) struct States<'t> {
    /// For each event, how many later events will ask for its state.
    needed: Vec<usize>,
    kept: Vec<Option<Box<State<'t>>>>,
}

impl<'t> States<'t> {
    pub(super) fn new(trace: &'t Trace) -> Self {
        let mut needed = vec![0; trace.events().len()];
        for parent in trace.events().iter().flat_map(|event| &event.parents) {
            needed[*parent] += 1;
        }
        States { kept: needed.iter().map(|_| None).collect(), needed }
    }

    /// The join of the parents' states. A state asked for the last time is consumed; one is cloned only where no
    /// parent can be.
    pub(super) fn join(&mut self, parents: &[usize]) -> Box<State<'t>> {
        let mut joined: Option<Box<State<'t>>> = None;
        // Spent states first (`false` sorts before `true`): the first of them is what the others are merged into.
        let mut order = parents.to_vec();
        order.sort_by_key(|parent| self.needed[*parent] > 1);
        for parent in order {
            self.needed[parent] -= 1;
            let spent = self.needed[parent] == 0;
            joined = Some(match (joined, spent) {
                (None, true) => self.take(parent),
                (None, false) => Box::new(self.get(parent).clone()),
                (Some(mut joined), true) => {
                    joined.merge_owned(*self.take(parent));
                    joined
                }
                (Some(mut joined), false) => {
                    joined.merge(self.get(parent));
                    joined
                }
            });
        }
        joined.unwrap_or_default()
    }

    /// Keeps the state of `event` if a later one needs it, and frees it otherwise.
    pub(super) fn keep(&mut self, event: usize, state: Box<State<'t>>) {
        if self.needed[event] > 0 {
            self.kept[event] = Some(state);
        }
    }

    fn get(&self, event: usize) -> &State<'t> {
        self.kept[event].as_deref().expect("kept for as long as it is needed")
    }

    fn take(&mut self, event: usize) -> Box<State<'t>> {
        self.kept[event].take().expect("kept for as long as it is needed")
    }
}

impl<'t> State<'t> {
    fn merge(&mut self, other: &Self) {
        self.paths.merge(&other.paths);
        self.plus.merge(&other.plus);
        self.net.merge(&other.net);
        self.last.merge(&other.last);
        self.seen.merge(&other.seen);
    }

    /// As [`merge`](State::merge), for a state that nobody else needs.
    fn merge_owned(&mut self, other: Self) {
        self.paths.merge_owned(other.paths);
        self.plus.merge_owned(other.plus);
        self.net.merge_owned(other.net);
        self.last.merge_owned(other.last);
        self.seen.merge_owned(other.seen);
    }

    /// Makes the updates of event `c`, as its leader; calls `refused` with what is refused, which nothing should be.
    pub(super) fn update(
        &mut self,
        trace: &'t Trace,
        c: usize,
        mut refused: impl FnMut(&'static str, UpdateError),
    ) {
        let event = &trace.events()[c];
        let id = trace.replica(event.leader);
        let mut note = |kind, result: Result<(), UpdateError>| {
            if let Err(error) = result {
                refused(kind, error);
            }
        };
        note(OR_SET, write(&mut self.paths, id, |paths| update_paths(paths, trace, event)));
        note(
            G_COUNTER,
            write(&mut self.plus, id, |plus| plus.update(|plus, tick| plus.increment(tick, event.plus))),
        );
        note(
            PN_COUNTER,
            write(&mut self.net, id, |net| {
                net.update(|net, tick| net.increment(tick, event.plus))?;
                net.update(|net, tick| net.decrement(tick, event.minus))
            }),
        );
        let stamp = Stamp {
            time: HybridTime::from_bits(event.time),
            replica: id,
            // Counters start at 1 and events at 0; the order is the same.
            counter: c as u64 + 1,
        };
        self.last.set_at(stamp, c as u64);
        note(
            VERSION_VECTOR,
            write(&mut self.seen, id, |seen| seen.update(VersionVector::increment).map(drop)),
        );
    }
}

/// Lends `state` to the writer `id` for a while.
fn write<S: Dotted + Default, T>(
    state: &mut S,
    id: ReplicaId,
    update: impl FnOnce(&mut Replica<S>) -> T,
) -> T {
    let mut replica = Replica::new(id, mem::take(state));
    let result = update(&mut replica);
    *state = replica.into_state();
    result
}

/// One path is added by itself, several in bulk: both ways in are on trial.
fn update_paths<'t>(
    paths: &mut Replica<OrSet<Path<'t>>>,
    trace: &'t Trace,
    event: &Event,
) -> Result<(), UpdateError> {
    if let [path] = event.add[..] {
        paths.update(|paths, tick| paths.add(tick, trace.path(path)))?;
    } else {
        let added = event.add.iter().map(|path| trace.path(*path));
        paths.update(|paths, tick| paths.extend(tick, added))?;
    }
    for path in &event.remove {
        paths.update(|paths, tick| paths.remove(tick, &trace.path(*path)))?;
    }
    Ok(())
}
