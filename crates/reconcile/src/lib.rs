//! Set reconciliation: finding what two sets differ in, at the cost of the difference and not of the sets.
//!
//! Two sides hold sets of items, each a 64-bit hash, of a key and its content, say. One asks, the other answers with
//! **coded symbols** of its set, and from them and its own set the first finds which items only one of the two has.
//! No history is needed: neither vectors nor logs, and nothing is kept between one exchange and the next.
//!
//! ```
//! use reconcile::{AnswerError, Progress, Reconciliation, Seed, Snapshot};
//!
//! let ours = || 0..10_000_u64;
//! let theirs = || 3..10_002_u64;
//!
//! let seed = Seed::new(0x5eed); // drawn at random for each exchange
//! let mut asks = Reconciliation::new(seed, ours(), 1_000);
//! let mut request = asks.request();
//! let difference = loop {
//!     // Both messages have a binary form: see `Wire`.
//!     let answers = Snapshot::new(request.seed(), theirs());
//!     let answer = answers.answer(&request, 1_000).expect("they do not differ in so much");
//!     match asks.take(&answer)? {
//!         Progress::Done(difference) => break difference,
//!         Progress::More(more) => request = more,
//!     }
//! };
//! // What only we have is sent, and what only they have is asked for.
//! let missing_there: Vec<u64> = ours().filter(|item| difference.is_only_local(seed.id(*item))).collect();
//! assert_eq!(missing_there, [0, 1, 2]);
//! let wanted = difference.wanted();
//! let missing_here: Vec<u64> = theirs().filter(|item| wanted.contains(seed.id(*item))).collect();
//! assert_eq!(missing_here, [10_000, 10_001]);
//! # Ok::<(), AnswerError>(())
//! ```
//!
//! # How it works
//!
//! Symbol i of a set is the exclusive or of some of its items: of all in symbol 0, and of ever fewer, 1 in 1 + i/2,
//! further on. Which, each item says for itself, so what both sets have cancels out of the difference of their
//! symbols. What is left is peeled: a symbol with one item in it tells the item, which is then taken out of all its
//! other symbols. For d differences about 1.36 d symbols are enough, however large the sets are. The sequence has no
//! end, so if they were too few, more can follow, and none was in vain.
//!
//! Source: Yang, Gilad, Alizadeh, "Practical Rateless Set Reconciliation", SIGCOMM 2024. This is their code
//! with leaner symbols: 8 bytes in all, where they take 8 for the item, 8 for a checksum, and one or two for the count.
//!
//! - Within an exchange an item is represented by its [`Id`]: 52 bits that depend on a [`Seed`] drawn for the
//!   exchange.
//! - The check has 10 bits. It need not be longer, because an error is undone: an id that was peeled wrongly is left
//!   over in the symbols like one more difference, and is found. That costs a symbol or two for each 1,000 differences.
//! - The count has 2 bits. Of a symbol with one id it says on which side the id is, and there is no need of more.
//! - A digest of the whole set, 8 bytes in each answer, tells whether what was found is the difference.
//!
//! The first request carries an [`Estimator`], so that the first answer has enough symbols in more than 99 of 100
//! exchanges; it has 1.6 d + 3 √d + 16 of them for an estimate of d. The difference is thus known after **one round
//! trip**, and the items themselves are there after two.
//!
//! # Costs
//!
//! `cargo run --release -p reconcile --example sizes` prints these and more: request and answers of 200 exchanges
//! between sets that have a million items in common.
//!
//! | differences | symbols needed, median | bytes, median | bytes, p99 |
//! |---|---|---|---|
//! | 1 | 1 | 701 | 701 |
//! | 10 | 17 | 869 | 893 |
//! | 100 | 146 | 2,190 | 2,366 |
//! | 1,000 | 1,383 | 14,286 | 16,206 |
//! | 10,000 | 13,630 | 131,350 | 149,031 |
//!
//! Each side's own snapshot and symbols take about 100 ms for a million items, on one core of a busy machine;
//! decoding takes 0.4 ms for 1,000 differences and about 10 ms for 10,000.
//!
//! No code can take fewer bits than log₂ C(2⁵², d), since each set of d ids may be the answer: for 1,000 differences
//! 5,430 bytes. Who knew d would need 1.38 · 8 bytes for each, twice as much; the rest is for not knowing d. The
//! symbols are not kept up to date while a set changes, although a [`Sketch`] could be, at **O(log m)** a change: the
//! seed would have to be fixed in advance, and each write would pay for what hardly ever happens and then takes about
//! 100 ms for a million items.
//!
//! # What can go wrong, and how rarely
//!
//! Let the sets have n items and differ in d of them. Ids are values of a pseudorandom function of the items under a
//! key that is drawn afterwards, so two given items have the same one with a probability of 2⁻⁵². Then:
//!
//! - **Two of the d items have one id.** There are d(d−1)/2 pairs: at most d² / 2⁵³, or 10⁻¹⁰ for d = 1,000. If the
//!   two are on different sides they cancel out and are not found; if on the same, the symbols never come out even,
//!   and the exchange ends with [`AnswerError::TooDifferent`].
//! - **One of the d items has the id of one that both have.** At most d · n / 2⁵², or 2.3 · 10⁻⁷ for a thousand in a
//!   million. The id is found, and stands for both: [`Difference::is_only_local`], or on the other side
//!   [`Wanted::contains`], is true for one item too many, and none is missed.
//! - **Two items that both sides have have one id.** They cancel out on both sides; it does not matter.
//! - **The symbols are explained by a set that is not the difference.** Then some ids were peeled wrongly, and yet all
//!   symbols are empty at the end and the digest agrees. The digest is the sum of 64-bit hashes, of which the check
//!   uses 10 bits: a wrong set has the right digest with a probability of 2⁻⁵⁴ each time it is compared, which is once
//!   an answer.
//!
//! So the chance that an exchange of a thousand differences says `Done` and misses one is below 10⁻⁹, and that it
//! says anything wrong below 10⁻⁶. An exchange with a new seed fails independently of the last: compare the whole
//! sets afterwards, by a fingerprint that does not depend on the seed, and repeat if they still differ. What no seed
//! can tell apart are two contents with the same 64-bit item.
//!
//! Whoever answers may lie: a false answer of m symbols takes O(m log² m) time besides this side's own symbols and
//! O(m log m) memory, never panics, and at worst gives a false difference.
#![no_std]

extern crate alloc;

mod decoder;
mod estimate;
mod exchange;
mod id;
mod symbol;
mod walk;
mod wire;

pub use crdt_core::wire::{DecodeError, Wire};
pub use estimate::Estimator;
pub use exchange::{
    Answer, AnswerError, Difference, Progress, Reconciliation, Request, Snapshot, TooDifferent, Wanted,
};
pub use id::{Id, Seed};
pub use symbol::{MAX_SYMBOLS, Sketch};
