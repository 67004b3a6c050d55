//! What can be set.

/// What can be set; the defaults suit leaders on different continents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For how long updates gather before they are sent, in ms (default 0, at once). A leader that gathers sends at fixed
    /// moments so far apart: many updates of one key cost one transfer, and many leaders' updates share a frame. Each hop
    /// takes half as long more on average.
    pub gather: u64,
    /// For how long acknowledgements, and word of updates that travel by other connections, wait for a frame to go with
    /// before they have one of their own, in ms (default 100).
    pub tell: u64,
    /// For how long, besides twice the time for which updates gather, an update that a peer has told of is waited for before
    /// it is fetched from that peer, in ms (default 150). It mostly comes by itself, from whoever brings its origin's news;
    /// where that one is gone, or has lost it, it comes that much later. What is here and depends on what is not is waited
    /// with four times as long.
    pub patience: u64,
    /// How many bytes of the latest updates that some peer is not known to have are kept in the form in which they are
    /// passed on (default 4 MiB). Who lacks others is brought up to date with merged state.
    pub retain: usize,
    /// Whether a connection delivers what is sent on it in order, or breaks (default true). Otherwise messages may be lost,
    /// repeated and overtaken, and each says more, so as not to rely on others.
    pub ordered: bool,
    /// The most bytes of updates that are held because something that they depend on has not come yet (default 16 MiB).
    /// They are passed on meanwhile. Others are dropped, and fetched later.
    pub max_early: usize,
    /// After how long a connection on which nothing is said carries a sign of life, in ms (default 1,000); one on which
    /// there is always something to say, after ten times as long.
    pub heartbeat: u64,
    /// How many bytes of a delta one message carries at most (default 64 KiB, and at most 64 less than
    /// [`MAX_MESSAGE`](crate::MAX_MESSAGE)). It is also about what is cut in one step.
    pub part: usize,
    /// How long an answer is waited for before a message is sent again, in ms (default 10,000). Matters where messages
    /// can be lost without the connection breaking; then a few round trips are right.
    pub resend: u64,
    /// The most bytes of unfinished deltas that are held undecoded, of all peers together (default 1 GiB): parts that came
    /// before others, and the beginning of a value. No encoded value may be larger; a keyspace may. What is decoded is
    /// kept apart until the delta is complete, of one delta at a time, and takes no more memory than it will then.
    pub max_staged: usize,
    /// How long the reply of a write with an idempotency key is kept, in ms (default 24 h).
    pub idempotency_ttl: u64,
    /// How many such replies are kept at most (default 1,000,000).
    pub idempotency_max: usize,
    /// How many removals are remembered at least (default 100,000). More are forgotten, which costs bytes when a peer
    /// returns that has not seen them, never correctness.
    pub min_deaths: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            gather: 0,
            tell: 100,
            patience: 150,
            retain: 4 << 20,
            ordered: true,
            max_early: 16 << 20,
            heartbeat: 1_000,
            part: 64 << 10,
            resend: 10_000,
            max_staged: 1 << 30,
            idempotency_ttl: 24 * 60 * 60 * 1_000,
            idempotency_max: 1_000_000,
            min_deaths: 100_000,
        }
    }
}
