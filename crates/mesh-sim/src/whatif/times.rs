use serde::Serialize;

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// How often it was timed.
    pub count: usize,
    /// The time that half of them do not exceed.
    pub p50_ms: f64,
    /// The time that 99% of them do not exceed.
    pub p99_ms: f64,
    /// The greatest.
    pub max_ms: f64,
}

impl Times {
    /// Of these, in microseconds. **O(n)**.
    ///
    /// A percentile is the least time that so many do not exceed (the nearest rank); all are 0 if there are none.
    pub fn of(mut micros: Vec<u64>) -> Self {
        let count = micros.len();
        let mut percentile = |percent: usize| match (count * percent).div_ceil(100) {
            0 => 0.0,
            rank => milliseconds(*micros.select_nth_unstable(rank - 1).1),
        };
        let [p50_ms, p99_ms, max_ms] = [50, 99, 100].map(&mut percentile);
        Times { count, p50_ms, p99_ms, max_ms }
    }
}

/// Microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a simulation ends long before 2^52 microseconds")]
pub(crate) fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times = Times::of((1..=200).rev().map(|n| n * 1_000).collect());
        assert_eq!(times, Times { count: 200, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 });
        assert_eq!(Times::of(vec![7_500]), Times { count: 1, p50_ms: 7.5, p99_ms: 7.5, max_ms: 7.5 });
        assert_eq!(Times::of(Vec::new()), Times::default());
    }
}
