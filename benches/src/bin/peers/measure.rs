//! Thread CPU time, medians, and what the allocator was asked for.

use benches::thread_time;
pub(crate) use benches::{median, mix};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};
use std::{alloc::System, hint::black_box, sync::OnceLock};

/// How much time one cell of a table may take.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// One timed sample lasts at least so many nanoseconds, if the work can be repeated.
    sample: f64,
    /// Samples are taken until they add up to so many nanoseconds,
    total: f64,
    /// or are so many.
    samples: usize,
}

impl Effort {
    pub(crate) const QUICK: Effort = Effort { sample: 50e3, total: 0.5e6, samples: 31 };
    pub(crate) const FULL: Effort = Effort { sample: 100e3, total: 5e6, samples: 101 };

    /// For states that take longer to copy than to merge.
    pub(crate) const fn few(self) -> Effort {
        Effort { samples: 3, ..self }
    }

    fn enough(self, samples: &[f64], spent: f64) -> bool {
        samples.len() >= self.samples
            || spent >= self.total && samples.len() % 2 == 1
            || spent > 10.0 * self.total
    }
}

/// What measuring itself adds to a measurement, in nanoseconds; subtracted from every time.
#[derive(Clone, Copy)]
pub(crate) struct Overhead {
    /// Asking for the time: a system call, unlike the time of day.
    clock: f64,
    /// Counting one call of the allocator. It would otherwise favour whoever allocates less.
    pub(crate) count: f64,
}

pub(crate) fn overhead() -> Overhead {
    static OVERHEAD: OnceLock<Overhead> = OnceLock::new();
    *OVERHEAD.get_or_init(|| {
        const PAIRS: u64 = 10_000;
        let elapsed = |run: &dyn Fn()| {
            let before = thread_time();
            run();
            thread_time() - before
        };
        // One allocates as everyone here does, and is counted; the other from the same allocator underneath.
        let counted = || (0..PAIRS).for_each(|n| drop(black_box(Box::new(n))));
        let uncounted =
            || (0..PAIRS).for_each(|n| drop(black_box(allocator_api2::boxed::Box::new_in(n, System))));
        let mut clocks: Vec<f64> = (0..101).map(|_| elapsed(&|| ())).collect();
        let mut counts: Vec<f64> =
            (0..101).map(|_| (elapsed(&counted) - elapsed(&uncounted)) / (2 * PAIRS) as f64).collect();
        Overhead { clock: median(&mut clocks), count: median(&mut counts).max(0.0) }
    })
}

/// Runs once and says how many nanoseconds of CPU that took.
pub(crate) fn time<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let Overhead { clock, count } = overhead();
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    let before = thread_time();
    let result = black_box(run());
    let took = thread_time() - before;
    let calls = region.change();
    let calls = calls.allocations + calls.deallocations + calls.reallocations;
    ((took - clock - count * calls as f64).max(0.1), result)
}

/// The median time of `run`, each time on a state of its own that is made, and dropped, off the clock.
///
/// At most `most` states exist at a time. `check` sees the first state after its run: a result that is wrong panics
/// before any time is reported.
pub(crate) fn fresh<S>(
    effort: Effort,
    most: usize,
    mut prepare: impl FnMut() -> S,
    mut run: impl FnMut(&mut S),
    check: impl FnOnce(&S),
) -> f64 {
    let mut check = Some(check);
    let (mut batch, mut samples, mut spent) = (1, Vec::new(), 0.0);
    loop {
        let mut states: Vec<S> = (0..batch).map(|_| prepare()).collect();
        let (took, ()) = time(|| states.iter_mut().for_each(|state| run(black_box(state))));
        if let Some(check) = check.take() {
            check(&states[0]);
        }
        spent += took;
        if took < effort.sample && batch < most {
            batch = (batch * 4).min(most);
            continue;
        }
        samples.push(took / batch as f64);
        if effort.enough(&samples, spent) {
            return median(&mut samples);
        }
    }
}

/// The median time of something that can be repeated on the same state.
pub(crate) fn repeat<T>(effort: Effort, mut run: impl FnMut() -> T) -> f64 {
    let (mut batch, mut samples, mut spent) = (1_u32, Vec::new(), 0.0);
    loop {
        let (took, ()) = time(|| (0..batch).for_each(|_| drop(black_box(run()))));
        spent += took;
        if took < effort.sample {
            batch = batch.saturating_mul(4);
            continue;
        }
        samples.push(took / f64::from(batch));
        if effort.enough(&samples, spent) {
            return median(&mut samples);
        }
    }
}

/// Runs once and says how often the allocator was asked for memory, a reallocation included.
pub(crate) fn allocations<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    let result = black_box(run());
    let change = region.change();
    ((change.allocations + change.reallocations) as f64, result)
}

/// How many bytes, as asked for, are live after `make` that were not before.
pub(crate) fn live_bytes<T>(make: impl FnOnce() -> T) -> (f64, T) {
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    let result = black_box(make());
    let change = region.change();
    // Reallocations are counted in both sums already.
    let live = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    (live, result)
}

/// Evicts what the caches hold, if that is less than 128 MiB.
pub(crate) fn chill() {
    static JUNK: OnceLock<Vec<u64>> = OnceLock::new();
    let junk = JUNK.get_or_init(|| (0..16 << 20).collect());
    // One word of each line is enough.
    black_box(junk.iter().step_by(8).fold(0, |sum: u64, word| sum.wrapping_add(*word)));
}
