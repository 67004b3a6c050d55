use rand::{Rng, RngExt};

/// How one direction of a connection treats messages. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The least time that a message takes.
    pub latency: u64,
    /// What is added to it is drawn evenly from 0 up to this,
    pub spread: u64,
    /// and exponentially with this mean. Messages overtake each other unless the link is `ordered`.
    pub jitter: u64,
    /// Of a thousand messages so many are lost.
    pub loss: u32,
    /// Of a thousand messages so many arrive twice.
    pub duplication: u32,
    /// Whether messages arrive in the order in which they were sent, as over TCP.
    pub ordered: bool,
}

impl Link {
    /// A link that takes `latency` microseconds, always.
    pub const fn steady(latency: u64) -> Self {
        Link { latency, spread: 0, jitter: 0, loss: 0, duplication: 0, ordered: true }
    }

    /// What becomes of a message that is sent now.
    pub fn fate(&self, rng: &mut impl Rng) -> Fate {
        let hits =
            |rng: &mut _, per_mille: u32| per_mille > 0 && RngExt::random_range(rng, 0..1000) < per_mille;
        if hits(rng, self.loss) {
            return Fate { first: None, second: None };
        }
        let first = Some(self.delay(rng));
        let second = hits(rng, self.duplication).then(|| self.delay(rng));
        Fate { first, second }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "delays are far below 2⁵² microseconds, and not negative"
    )]
    fn delay(&self, rng: &mut impl Rng) -> u64 {
        let spread = if self.spread == 0 { 0 } else { rng.random_range(0..=self.spread) };
        let jitter = if self.jitter == 0 {
            0.0
        } else {
            // The inverse of the distribution function, of a number in (0, 1].
            -(1.0 - rng.random::<f64>()).ln() * self.jitter as f64
        };
        self.latency + spread + jitter as u64
    }
}

/// How long the copies of a message take, in microseconds; `None` for a copy that does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The message itself.
    pub first: Option<u64>,
    /// A duplicate of it.
    pub second: Option<u64>,
}
