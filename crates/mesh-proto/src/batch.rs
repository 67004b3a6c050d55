//! What one leader wrote, cut by itself and passed on unchanged.

use crate::{
    BadPiece, Kind, Registry,
    key::Interned,
    lineage::Lineage,
    planted::{self, Bug},
    value::{Blob, Interval, Piece, Value},
};
use crdt_core::{Dot, ReplicaId, Rows};
use g_counter::GCounter;
use lww_register::{HybridTime, LwwRegister, Stamp};
use or_set::Slice;
use pn_counter::PnCounter;
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use version_vector::VersionVector;

/// The updates of one leader with the counters `(since, until]`, as pieces of state.
///
/// Only the origin can cut one: in the merged state of anybody else a value of the origin may be overwritten by a third
/// leader, and then the piece would lack it. At the origin whatever has overwritten it is among what the batch depends
/// on.
///
/// It depends on the origin's updates up to `since` and on `deps`, and on what these depend on: together all that was
/// visible at the origin when it made the last of them. The pieces are as that update left them.
///
/// # Invariant
///
/// `since < until`, and every counter in the pieces lies in between. The dots that sets have lost are anybody's. `deps`
/// ascend, one for each replica, and none is of the origin. The pieces ascend by their newest updates.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) origin: ReplicaId,
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) deps: Vec<Dot>,
    /// The origin's runs, if one began in here.
    pub(crate) lineage: Option<Lineage>,
    pub(crate) pieces: Vec<BatchPiece>,
}

/// One key's part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchPiece {
    pub(crate) key: Interned,
    /// The counter of the origin's newest update in the value.
    pub(crate) newest: u64,
    pub(crate) body: Body,
}

/// What the origin did to one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// The origin's total.
    GCounter(u64),
    /// The origin's totals up and down.
    PnCounter(u64, u64),
    /// What the origin wrote last, unless somebody else's write has overwritten it there.
    Register(Option<Written>),
    Set {
        /// Counters of adds that live, ascending, with the elements.
        births: Births,
        /// What the origin's events have ended, ascending.
        deaths: Vec<(u64, Dot)>,
    },
    /// The whole value, encoded.
    Custom(Blob),
}

/// Mostly there is one.
pub(crate) type Births = SmallVec<[(u64, Blob); 1]>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) time: HybridTime,
    pub(crate) counter: u64,
    pub(crate) value: Blob,
}

impl Body {
    /// The replicas that are named in it besides the origin.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = ReplicaId> + Clone {
        let deaths = if let Body::Set { deaths, .. } = self { deaths.as_slice() } else { &[] };
        deaths.iter().map(|(_, killed)| killed.replica)
    }

    /// About how much memory it takes beside what is counted for the piece.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Body::GCounter(_) | Body::PnCounter(..) | Body::Register(None) => 0,
            Body::Register(Some(written)) => written.value.len(),
            Body::Set { births, deaths } => {
                let births = births.iter().map(|(_, element)| size::BIRTH + element.len());
                births.sum::<usize>() + size::DEATH * deaths.len()
            }
            Body::Custom(bytes) => bytes.len(),
        }
    }
}

/// About how much memory each takes, beside names and values. Whoever reads batches counts so too.
pub(crate) mod size {
    pub(crate) const BATCH: usize = 128;
    pub(crate) const DEP: usize = 16;
    pub(crate) const PIECE: usize = 128;
    pub(crate) const BIRTH: usize = 32;
    pub(crate) const DEATH: usize = 24;
}

impl Batch {
    /// About how much memory it takes, and at least how many bytes it is encoded in.
    pub(crate) fn bytes(&self) -> usize {
        let piece = |piece: &BatchPiece| size::PIECE + piece.key.name.len() + piece.body.bytes();
        size::BATCH + size::DEP * self.deps.len() + self.pieces.iter().map(piece).sum::<usize>()
    }
}

/// A piece of a batch that was found to be good: that of a set as it is, any other decoded.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    origin: ReplicaId,
    pub(crate) piece: &'a BatchPiece,
    decoded: Option<Box<Piece>>,
}

impl BatchPiece {
    /// The dot of the origin's newest update in the value.
    pub(crate) fn newest(&self, origin: ReplicaId) -> Dot {
        Dot::new(origin, self.newest)
    }

    /// Checks it against what it claims and against the value that `me` has, `mine`; what passes can be applied.
    pub(crate) fn check(
        &self,
        origin: ReplicaId,
        at: &Interval<'_>,
        me: ReplicaId,
        mine: Option<&Value>,
        registry: &Registry,
    ) -> Result<Checked<'_>, BadPiece> {
        let decoded = if let Body::Set { births, deaths } = &self.body {
            check_set(origin, births, deaths, at)?;
            None
        } else {
            let decoded = self.body.to_piece(&self.key.kind, origin, registry)?;
            decoded.check(at, &[(origin, self.newest)], me, mine)?;
            Some(Box::new(decoded))
        };
        Ok(Checked { origin, piece: self, decoded })
    }
}

/// Both ascend, and all is within what the sender has.
fn check_set(
    origin: ReplicaId,
    births: &[(u64, Blob)],
    deaths: &[(u64, Dot)],
    at: &Interval<'_>,
) -> Result<(), BadPiece> {
    let is_sorted = births.is_sorted_by(|a, b| a.0 < b.0) && deaths.is_sorted_by(|a, b| a < b);
    let first = births.first().map(|birth| birth.0).into_iter().chain(deaths.first().map(|death| death.0));
    let killed = deaths.iter().map(|(_, killed)| *killed);
    if !is_sorted || first.chain(killed.clone().map(|dot| dot.counter)).any(|counter| counter == 0) {
        return Err(BadPiece::Encoding("its dots are out of order".into()));
    }
    let last = births.last().map(|birth| birth.0).into_iter().chain(deaths.last().map(|death| death.0));
    let mut dots = last.map(|counter| Dot::new(origin, counter)).chain(killed);
    dots.find(|dot| !at.until.contains(*dot)).map_or(Ok(()), |dot| Err(BadPiece::OutsideInterval(dot)))
}

impl Checked<'_> {
    /// Joins it to a value, as [`Value::apply`] does.
    pub(crate) fn apply(self, value: &mut Value, at: &Interval<'_>, seed: u64, hash: &mut u64) -> bool {
        let (births, deaths) = match (self.decoded, &self.piece.body) {
            (Some(decoded), _) => return value.apply(*decoded, at, seed, hash),
            (None, Body::Set { births, deaths }) => (births, deaths),
            (None, _) => unreachable!("only sets are not decoded"),
        };
        let has_before = births.first().is_some_and(|birth| birth.0 > 1);
        let off = u64::from(planted::is(Bug::WrongDot) && has_before);
        let births = births.iter().map(|(at, element)| (Dot::new(self.origin, at - off), element));
        if deaths.is_empty() {
            return value.apply_births(births, at, seed, hash);
        }
        let births = births.map(|(dot, element)| (dot, element.clone()));
        let deaths = deaths.iter().map(|(at, killed)| (Dot::new(self.origin, *at), *killed));
        let slice = Slice::from_parts(births.collect(), deaths.collect());
        value.apply(Piece::Set(slice.expect("the order is checked")), at, seed, hash)
    }
}

impl Body {
    /// Of anything but a set, as a piece of a delta.
    fn to_piece(&self, kind: &Kind, origin: ReplicaId, registry: &Registry) -> Result<Piece, BadPiece> {
        let row = |total: u64| -> Rows { (total > 0).then_some((origin, total)).into_iter().collect() };
        let bad = |why: String| BadPiece::Encoding(why);
        Ok(match self {
            Body::GCounter(total) => Piece::GCounter(GCounter::from(row(*total))),
            Body::PnCounter(up, down) => Piece::PnCounter(
                PnCounter::from_rows(row(*up), row(*down)).map_err(|why| bad(why.to_string()))?,
            ),
            Body::Register(written) => {
                let mut register = LwwRegister::new();
                if let Some(Written { time, counter, value }) = written {
                    register.set_at(Stamp::new(*time, Dot::new(origin, *counter)), value.clone());
                }
                Piece::Register(register)
            }
            Body::Custom(bytes) => Piece::decode(kind, bytes, registry)?,
            Body::Set { .. } => unreachable!("a set is applied as it is"),
        })
    }
}

/// The latest batches, to be passed on: bounded in bytes, the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    batches: BTreeMap<ReplicaId, VecDeque<Logged>>,
    /// The origins in the order of arrival: for each time one is here, its oldest batch goes.
    order: VecDeque<ReplicaId>,
    /// What nobody will ask for.
    known: VersionVector,
    bytes: usize,
}

/// So many batches are freed at a time while nothing comes.
const FEW: usize = 64;

/// A batch, where it begins and ends, and its size: what is looked for is found without looking into batches.
#[derive(Debug)]
struct Logged {
    since: u64,
    until: u64,
    bytes: usize,
    batch: Arc<Batch>,
}

/// The first of an origin's batches that ends after `since`: nearly always one of the last two.
fn first_after(of_origin: &VecDeque<Logged>, since: u64) -> usize {
    let len = of_origin.len();
    let ends_before = |at: usize| of_origin[at].until <= since;
    match len {
        1.. if ends_before(len - 1) => len,
        2.. if ends_before(len - 2) => len - 1,
        _ => of_origin.partition_point(|logged| logged.until <= since),
    }
}

impl Log {
    pub(crate) fn push(&mut self, batch: Arc<Batch>, limit: usize) {
        let Batch { origin, since, until, .. } = *batch;
        let of_origin = self.batches.entry(origin).or_default();
        let at = first_after(of_origin, until - 1);
        if of_origin.get(at).is_some_and(|other| other.until == until || other.since < until) {
            return;
        }
        let bytes = batch.bytes();
        self.bytes += bytes;
        self.order.push_back(origin);
        of_origin.insert(at, Logged { since, until, bytes, batch });
        while self.bytes > limit {
            let Some(origin) = self.order.pop_front() else { break };
            let oldest = self.batches.get_mut(&origin).and_then(VecDeque::pop_front);
            self.bytes -= oldest.map_or(0, |oldest| oldest.bytes);
        }
        self.forget_some(2);
    }

    /// The origins of which there are batches.
    pub(crate) fn origins(&self) -> impl Iterator<Item = ReplicaId> {
        self.batches.iter().filter(|(_, of_origin)| !of_origin.is_empty()).map(|(id, _)| *id)
    }

    /// From now on nobody will ask for batches that end at or before what `known` has of their origin: they go, some now and
    /// the others as more come, so that nobody waits for a whole log to be freed.
    pub(crate) fn forget_known(&mut self, known: VersionVector) {
        self.known = known;
        self.forget_some(FEW);
    }

    /// Drops up to `most` of the oldest batches, as long as they are known everywhere.
    fn forget_some(&mut self, most: usize) {
        for _ in 0..most {
            let Some(origin) = self.order.front().copied() else { break };
            // One that has none any more is as good as gone.
            if let Some(of_origin) = self.batches.get_mut(&origin).filter(|all| !all.is_empty()) {
                let known = self.known.get(origin);
                let Some(oldest) = of_origin.pop_front_if(|oldest| oldest.until <= known) else { break };
                self.bytes -= oldest.bytes;
            }
            self.order.pop_front();
        }
    }

    /// Drops the batches of `origin` that reach beyond `since`.
    pub(crate) fn forget(&mut self, origin: ReplicaId, since: u64) {
        let Some(of_origin) = self.batches.get_mut(&origin) else { return };
        while let Some(last) = of_origin.pop_back_if(|last| last.until > since) {
            self.bytes -= last.bytes;
        }
    }

    /// The batches of `origin` that lead from `since` on, without a gap. **O(log n)**, and O(1) where they are few.
    pub(crate) fn after(&self, origin: ReplicaId, since: u64) -> impl Iterator<Item = &Arc<Batch>> {
        let of_origin = self.batches.get(&origin);
        let first = of_origin.map_or(0, |all| first_after(all, since));
        let mut reached = since;
        let from = of_origin.into_iter().flat_map(move |all| all.range(first..));
        from.take_while(move |logged| {
            let follows = logged.since <= reached;
            reached = logged.until;
            follows
        })
        .map(|logged| &logged.batch)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn batch(since: u64, until: u64) -> Arc<Batch> {
        let (origin, key) = (ReplicaId::new(1), Key::new(Kind::GCounter, "n"));
        let pieces = vec![BatchPiece { key: key.into(), newest: until, body: Body::GCounter(until) }];
        Arc::new(Batch { origin, since, until, deps: Vec::new(), lineage: None, pieces })
    }

    #[test]
    fn a_log_gives_what_follows_without_a_gap_and_forgets_the_oldest() {
        let mut log = Log::default();
        let one = batch(0, 3).bytes();
        for (since, until) in [(0, 3), (5, 9), (3, 5), (2, 4), (11, 12)] {
            log.push(batch(since, until), 10 * one);
        }
        let untils = |log: &Log, since| -> Vec<u64> {
            log.after(ReplicaId::new(1), since).map(|batch| batch.until).collect()
        };
        assert_eq!(untils(&log, 0), [3, 5, 9], "what comes late, again, and after a gap");
        assert_eq!(untils(&log, 4), [5, 9]);
        assert_eq!(untils(&log, 9), [0; 0]);
        assert_eq!(untils(&log, 11), [12]);
        log.push(batch(12, 13), 2 * one);
        assert_eq!((untils(&log, 3), untils(&log, 11)), (vec![], vec![12, 13]));
        assert_eq!(log.bytes(), 2 * one);
        assert_eq!(log.after(ReplicaId::new(2), 0).count(), 0);
    }

    #[test]
    fn what_is_known_everywhere_is_forgotten_little_by_little_and_the_rest_stays_bounded() {
        let mut log = Log::default();
        let (one, known) =
            (batch(0, 1).bytes(), |until: u64| [(ReplicaId::new(1), until)].into_iter().collect());
        let held = |log: &Log| (log.bytes() / one, log.order.len(), log.batches[&ReplicaId::new(1)].len());
        for until in 1..=200 {
            log.push(batch(until - 1, until), 200 * one);
        }
        log.forget_known(known(10));
        assert_eq!(held(&log), (190, 190, 190));
        log.forget_known(known(150));
        assert_eq!(held(&log), (126, 126, 126), "some at a time");
        for until in 201..=276 {
            log.push(batch(until - 1, until), 200 * one);
        }
        assert_eq!(held(&log), (126, 126, 126), "all up to 150, as others came");
        assert_eq!(log.after(ReplicaId::new(1), 150).count(), 126);
        for until in 277..=400 {
            log.push(batch(until - 1, until), 200 * one);
        }
        assert_eq!(held(&log), (200, 200, 200), "nobody has what came since");
        log.forget(ReplicaId::new(1), 210);
        log.forget_known(known(210));
        assert_eq!(held(&log), (0, 136, 0));
        (0..3).for_each(|_| log.forget_known(known(210)));
        assert_eq!(log.order.len(), 0, "also of what went otherwise");
    }

    #[test]
    fn one_goes_for_one_that_comes_in_whatever_order() {
        let mut log = Log::default();
        let one = batch(0, 1).bytes();
        let untils = [20].into_iter().chain(1..20).chain(21..=40);
        for (count, until) in (1..).zip(untils) {
            log.push(batch(until - 1, until), 20 * one);
            assert_eq!((log.bytes() / one, log.order.len()), (count.min(20), count.min(20)));
        }
    }
}
