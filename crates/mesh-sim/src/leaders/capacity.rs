//! How many writes so many leaders can take, by the CPU time of their engines.

use super::Options;
use crate::{
    economy::thread_nanos,
    whatif::mesh::{engine_time, fresh_engine},
};
use mesh_proto::{Config, Engine, Message, Now, Op, SessionId};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;

/// So many registers are written to,
const KEYS: u32 = 10_000;
/// with values of so many bytes,
const VALUE: usize = 20;
/// and so many of them by each leader between two commits: as many as it makes in a millisecond or two, in which a disk
/// flushes. All engines take turns on one core, and after so many writes a turn's first, cold accesses are few.
const BATCH: usize = 500;
/// Rounds that are not measured: links learn whose news they need not bring.
const WARM: usize = 4;

/// What some leaders can take, each on a core of its own, with each connected to each. The rows of each commit are made; that
/// a store writes them is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// How many leaders write at the same rate.
    pub leaders: usize,
    /// How many others only follow.
    pub followers: usize,
    /// How many writes were measured, in all.
    pub writes: u64,
    /// CPU time of a leader for a write of its own, with the commit, in microseconds.
    pub local_us: f64,
    /// CPU time of a leader for a write of another one, with its commit, in microseconds; 0 without another one.
    pub apply_us: f64,
    /// CPU time of a leader for all that it says, in microseconds for each write of its own.
    pub send_us: f64,
    /// How many writes a second all leaders together take, when the busiest of them has no time left.
    pub per_second: f64,
}

/// CPU times of one engine, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Spent {
    local: u64,
    apply: u64,
    send: u64,
}

impl Spent {
    fn sum(&self) -> u64 {
        self.local + self.apply + self.send
    }
}

/// 1, 2, 4, 8 leaders (and 16, unless in a hurry), and one with seven followers; each the median of three runs.
pub(super) fn measure(options: &Options<'_>) -> Vec<Capacity> {
    let (rounds, most) = if options.quick { (6, 8) } else { (16, 16) };
    let sizes = [(1, 0), (1, 7), (2, 0), (4, 0), (8, 0), (16, 0)];
    let mut rows: Vec<Vec<Capacity>> = vec![Vec::new(); sizes.len()];
    // They take turns, so that a slow moment of the machine does not hit one of them only.
    for repetition in 0..3 {
        for (&(leaders, followers), row) in sizes.iter().zip(&mut rows) {
            if leaders <= most {
                (options.progress)(&format!("CPU time: leaders {leaders}, followers {followers}"));
                row.push(Cluster::new(leaders, followers, options.seed + repetition).run(rounds));
            }
        }
    }
    let median = |mut row: Vec<Capacity>| {
        row.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        let middle = row.len() / 2;
        row.into_iter().nth(middle)
    };
    rows.into_iter().filter_map(median).collect()
}

struct Cluster {
    leaders: usize,
    engines: Vec<Engine>,
    spent: Vec<Spent>,
    inboxes: Vec<Vec<(usize, Vec<u8>)>>,
    rng: SmallRng,
    now: Now,
}

/// Does what is timed, and adds the thread's time to `spent`.
fn timed<T>(spent: &mut u64, work: impl FnOnce() -> T) -> T {
    let start = thread_nanos();
    let result = work();
    *spent += thread_nanos() - start;
    result
}

fn commit(engine: &mut Engine, now: Now) {
    if engine.take_commit().is_some() {
        engine.committed(now);
    }
}

fn session(peer: usize) -> SessionId {
    SessionId(peer as u64)
}

impl Cluster {
    fn new(leaders: usize, followers: usize, seed: u64) -> Self {
        let size = leaders + followers;
        let (config, now) = (Config::default(), engine_time(0));
        let mut engines: Vec<Engine> = (0..size).map(|n| fresh_engine(n, &config, now)).collect();
        let hellos: Vec<_> = engines.iter().map(Engine::hello).collect();
        for (me, engine) in engines.iter_mut().enumerate() {
            for peer in (0..size).filter(|peer| *peer != me) {
                let accepted = engine.connect(session(peer), &hellos[me], hellos[peer].clone(), now);
                accepted.expect("leaders of one mesh accept each other");
            }
        }
        let inboxes = vec![Vec::new(); size];
        let spent = vec![Spent::default(); size];
        Cluster { leaders, engines, spent, inboxes, rng: SmallRng::seed_from_u64(seed), now }
    }

    fn run(mut self, rounds: usize) -> Capacity {
        for round in 0..WARM + rounds {
            if round == WARM {
                self.spent.fill(Spent::default());
            }
            self.now = engine_time(10_000 * (round as u64 + 1));
            self.write();
            while self.talk() {
                self.listen();
            }
        }
        let agree = |engine: &Engine| engine.fingerprint() == self.engines[0].fingerprint();
        assert!(self.engines.iter().all(agree), "nothing is lost here");
        self.capacity(rounds)
    }

    fn write(&mut self) {
        for (engine, spent) in self.engines.iter_mut().zip(&mut self.spent).take(self.leaders) {
            let mut writes = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                let mut value = vec![0; VALUE];
                self.rng.fill_bytes(&mut value);
                writes.push((format!("key-{}", self.rng.random_range(0..KEYS)), Op::Assign(value)));
            }
            timed(&mut spent.local, || {
                for (name, op) in &writes {
                    engine.write(name, op, None, self.now).expect("a register takes it");
                }
                commit(engine, self.now);
            });
        }
    }

    /// Everyone says what there is to say; whether anyone did.
    fn talk(&mut self) -> bool {
        let size = self.engines.len();
        for me in 0..size {
            for peer in (0..size).filter(|peer| *peer != me) {
                let (engine, spent) = (&mut self.engines[me], &mut self.spent[me]);
                let said: Vec<_> = timed(&mut spent.send, || {
                    std::iter::from_fn(|| engine.poll(session(peer), self.now)).map(|m| m.encode()).collect()
                });
                self.inboxes[peer].extend(said.into_iter().map(|bytes| (me, bytes)));
            }
        }
        self.inboxes.iter().any(|inbox| !inbox.is_empty())
    }

    fn listen(&mut self) {
        for ((engine, spent), inbox) in self.engines.iter_mut().zip(&mut self.spent).zip(&mut self.inboxes) {
            let came = std::mem::take(inbox);
            timed(&mut spent.apply, || {
                for (from, bytes) in &came {
                    let message = Message::decode(bytes).expect("an engine made it");
                    engine.handle(session(*from), message, self.now).expect("an engine sent it");
                }
                commit(engine, self.now);
            });
            while engine.poll_event().is_some() {}
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of some seconds")]
    fn capacity(&self, rounds: usize) -> Capacity {
        let size = self.engines.len();
        let own = (rounds * BATCH) as f64;
        let leaders = self.leaders as f64;
        let mean = |part: fn(&Spent) -> u64| {
            self.spent[..self.leaders].iter().map(part).sum::<u64>() as f64 / 1e3 / leaders
        };
        // All that others write; a leader has none of its own to apply.
        let everyone: u64 = self.spent.iter().map(|spent| spent.apply).sum();
        let applied = own * (leaders * (leaders - 1.0) + (size - self.leaders) as f64 * leaders);
        let apply_us = if applied > 0.0 { everyone as f64 / 1e3 / applied } else { 0.0 };
        let busiest = self.spent.iter().map(Spent::sum).max().unwrap_or(0);
        Capacity {
            leaders: self.leaders,
            followers: size - self.leaders,
            writes: (rounds * BATCH * self.leaders) as u64,
            local_us: mean(|spent| spent.local) / own,
            apply_us,
            send_us: mean(|spent| spent.send) / own,
            per_second: own * leaders * 1e9 / busiest.max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leader_pays_for_its_own_writes_and_for_those_of_others() {
        let alone = Cluster::new(1, 0, 1).run(3);
        assert_eq!((alone.writes, alone.apply_us), (1_500, 0.0));
        let three = Cluster::new(3, 0, 1).run(3);
        assert_eq!(three.writes, 4_500);
        assert!(three.local_us > 0.0 && three.apply_us > 0.0 && three.send_us > 0.0, "{three:?}");
        // What one leader has time for, with two thirds of all writes those of others.
        let mean = 1e6 * 3.0 / (three.local_us + 2.0 * three.apply_us + three.send_us);
        assert!(three.per_second <= mean * 1.001, "the busiest decides: {three:?}, {mean}");
        let followed = Cluster::new(1, 2, 1).run(3);
        assert_eq!((followed.leaders, followed.followers, followed.writes), (1, 2, 1_500));
        assert!(followed.apply_us > 0.0);
    }
}
