use crate::{
    decoder::Decoder,
    estimate::{Estimator, enough},
    id::{Id, Seed},
    symbol::{Holder, MAX_SYMBOLS, Sketch},
};
use alloc::vec::Vec;
use core::{fmt, ops::Range};

/// A set of items as one exchange sees it: their [`Id`]s. The side that answers needs no more.
///
/// Takes 8 bytes an item, and no part in what happens to the set afterwards: an exchange is about what was there when
/// it began.
#[derive(Clone, Debug)]
pub struct Snapshot {
    seed: Seed,
    ids: Vec<Id>,
    estimator: Estimator,
    digest: u64,
}

/// What one side asks of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(crate) seed: Seed,
    pub(crate) want: Want,
}

/// Which symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// From the first on, as many as will do.
    Enough(Estimator),
    /// These; not none.
    These(Range<u32>),
}

/// Coded symbols of the other side's set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(crate) seed: Seed,
    /// The sum of the ids' hashes.
    pub(crate) digest: u64,
    pub(crate) symbols: Sketch,
}

/// The side that asks: its set, and what it has found out so far.
///
/// ```text
/// asks                                              answers
/// Reconciliation::new(seed, items, limit)
/// request()                    -- Request -->       Snapshot::new(request.seed(), items)
/// take(answer)                 <-- Answer --        answer(&request, limit)
/// Progress::Done(difference)
/// ```
///
/// In fewer than one of a hundred exchanges it says [`Progress::More`] instead, and there is one more round trip.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    snapshot: Snapshot,
    decoder: Decoder,
    limit: u32,
    /// Of the other side's set, once there was an answer.
    digest: Option<u64>,
    /// Where the next answer ends; the first may have any length.
    asked: Option<u32>,
}

/// How far a [`Reconciliation`] has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is over.
    Done(Difference),
    /// The symbols were too few: ask for these too.
    More(Request),
}

/// What two sets differ in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What only the other side has, ascending.
    pub only_remote: Vec<Id>,
    /// What only this side has, ascending.
    pub only_local: Vec<Id>,
}

/// Ids that one side asks the other for, in four bytes each: their 32 leading bits.
///
/// Of n items that were not meant, n · w / 2³² are taken for one of w wanted ones: a quarter of one for a thousand of
/// a million. They do no harm where what is sent is merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(pub(crate) Vec<u32>);

/// The sets differ in more than the limit on symbols allows for; send the whole instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDifferent {
    /// How many symbols there may be.
    pub limit: u32,
}

/// Why an answer brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// It belongs to an exchange with another seed. Nothing was changed.
    OtherExchange,
    /// It is not what was asked for last: it came twice, or late. Nothing was changed.
    Unasked,
    /// The other side's set is not what it was when it gave the symbols that are here. Nothing was changed; begin
    /// anew.
    Changed,
    /// The limit is reached. Nothing more will be found.
    TooDifferent(TooDifferent),
}

impl Snapshot {
    /// Of these items, each of which comes once. **O(n)**.
    pub fn new(seed: Seed, items: impl IntoIterator<Item = u64>) -> Self {
        let ids: Vec<Id> = items.into_iter().map(|item| seed.id(item)).collect();
        let mut estimator = Estimator::new();
        estimator.extend(ids.iter().copied());
        let digest = ids.iter().fold(0, |sum: u64, id| sum.wrapping_add(id.hash()));
        Snapshot { seed, ids, estimator, digest }
    }

    /// The symbols in `range`. **O(n log m)** for n ids and symbols up to m.
    ///
    /// # Panics
    ///
    /// As [`Sketch::new`].
    pub fn symbols(&self, range: Range<u32>) -> Sketch {
        let mut sketch = Sketch::new(range);
        sketch.extend(self.ids.iter().copied());
        sketch
    }

    /// What to answer; if it is the first request, enough symbols with a probability above 0.99.
    /// **O(n log m)** for n ids and symbols up to m, and at most 8 · `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`TooDifferent`] if there would be symbols beyond the first `limit`.
    pub fn answer(&self, request: &Request, limit: u32) -> Result<Answer, TooDifferent> {
        let range = match &request.want {
            Want::Enough(theirs) => 0..enough(self.estimator.difference(theirs)),
            Want::These(range) => range.clone(),
        };
        let limit = limit.min(MAX_SYMBOLS);
        if range.end > limit {
            return Err(TooDifferent { limit });
        }
        Ok(Answer { seed: self.seed, digest: self.digest, symbols: self.symbols(range) })
    }
}

impl Request {
    /// For the symbols in `range`, whether or not they are enough.
    ///
    /// # Panics
    ///
    /// As [`Sketch::new`], and if the range is empty.
    pub fn symbols(seed: Seed, range: Range<u32>) -> Self {
        assert!(!range.is_empty() && range.end <= MAX_SYMBOLS, "{range:?} is no range of symbols");
        Request { seed, want: Want::These(range) }
    }

    /// The seed by which the other side takes its [`Snapshot`].
    pub fn seed(&self) -> Seed {
        self.seed
    }
}

impl Reconciliation {
    /// Begins an exchange about these items, each of which comes once. **O(n)**.
    ///
    /// `limit` is the most symbols to take from the other side, at 8 bytes each; about one and a half times as many as
    /// the greatest difference that is to be found. More than [`MAX_SYMBOLS`] are never taken.
    pub fn new(seed: Seed, items: impl IntoIterator<Item = u64>, limit: u32) -> Self {
        Reconciliation {
            snapshot: Snapshot::new(seed, items),
            decoder: Decoder::default(),
            limit: limit.min(MAX_SYMBOLS),
            digest: None,
            asked: None,
        }
    }

    /// What to ask first.
    pub fn request(&self) -> Request {
        Request { seed: self.snapshot.seed, want: Want::Enough(self.snapshot.estimator.clone()) }
    }

    /// Takes an answer. **O(n log m)** for n ids and symbols up to m; and O(m log² m) for decoding, whatever they are.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub fn take(&mut self, answer: &Answer) -> Result<Progress, AnswerError> {
        let range = answer.symbols.range();
        if answer.seed != self.snapshot.seed {
            return Err(AnswerError::OtherExchange);
        }
        // Each answer costs a pass over this side's ids, so there are not to be many short ones.
        if range.start != self.decoder.len() || self.asked.is_some_and(|end| end != range.end) {
            return Err(AnswerError::Unasked);
        }
        if self.digest.is_some_and(|digest| digest != answer.digest) {
            return Err(AnswerError::Changed);
        }
        let too_different = AnswerError::TooDifferent(TooDifferent { limit: self.limit });
        if range.end > self.limit {
            return Err(too_different);
        }
        self.digest = Some(answer.digest);
        self.decoder.extend(&answer.symbols, &self.snapshot.symbols(range));
        if self.decoder.is_done() && self.explains(answer.digest) {
            return Ok(Progress::Done(self.found()));
        }
        let have = self.decoder.len();
        let end = (have + have / 2 + 16).min(self.limit);
        if end == have {
            return Err(too_different);
        }
        self.asked = Some(end);
        Ok(Progress::More(Request { seed: self.snapshot.seed, want: Want::These(have..end) }))
    }

    /// Whether this side's set with what was found is a set of that digest.
    fn explains(&self, theirs: u64) -> bool {
        let after = self.decoder.found().fold(self.snapshot.digest, |digest, (id, holder)| match holder {
            Holder::Remote => digest.wrapping_add(id.hash()),
            Holder::Local => digest.wrapping_sub(id.hash()),
        });
        after == theirs
    }

    fn found(&self) -> Difference {
        let mut difference = Difference::default();
        for (id, holder) in self.decoder.found() {
            match holder {
                Holder::Remote => difference.only_remote.push(id),
                Holder::Local => difference.only_local.push(id),
            }
        }
        difference
    }
}

impl Difference {
    /// Whether an item of this side's set, of which this is the id, is not in the other's. **O(log d)**.
    pub fn is_only_local(&self, id: Id) -> bool {
        self.only_local.binary_search(&id).is_ok()
    }

    /// What to ask the other side for. **O(d)**.
    pub fn wanted(&self) -> Wanted {
        let mut wanted: Vec<u32> = self.only_remote.iter().map(|id| leading(*id)).collect();
        wanted.dedup();
        Wanted(wanted)
    }
}

impl Wanted {
    /// Whether an item with this id is to be sent. **O(log w)**.
    pub fn contains(&self, id: Id) -> bool {
        self.0.binary_search(&leading(id)).is_ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an id has 52 bits")]
fn leading(id: Id) -> u32 {
    (id.get() >> 20) as u32
}

impl fmt::Display for TooDifferent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to find what the sets differ in would take more than {} symbols", self.limit)
    }
}

impl core::error::Error for TooDifferent {}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::OtherExchange => f.write_str("the answer belongs to another exchange"),
            AnswerError::Unasked => f.write_str("the answer is not to the last request"),
            AnswerError::Changed => f.write_str("the other side's set has changed since its last answer"),
            AnswerError::TooDifferent(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for AnswerError {}
