//! Two leaders with large states: what healing, idling and joining cost.

use super::{
    leader::{commit, engine_time, fresh_engine},
    run::{float, thread_nanos},
    workload::ids,
};
use mesh_proto::{Config, Engine, Event, Message, Now, Op, ReplicaId, SessionId};
use serde::Serialize;

/// The only connection of each of the two.
const SESSION: SessionId = SessionId(0);

/// What an exchange between two leaders came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Exchange {
    /// Bytes of greetings and of messages without values: what it takes to find out what differs, and to acknowledge.
    pub finding_out: u64,
    /// Bytes of values in the others,
    pub payload: u64,
    /// and of what surrounds them.
    pub around: u64,
    /// How long messages were under way before values were: in round trips, of which the greetings take the first half.
    pub round_trips: f64,
    /// The CPU time of the busier of the two, in milliseconds.
    pub cpu_ms: f64,
}

impl Exchange {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.finding_out + self.payload + self.around
    }
}

/// Two leaders and the time that both go by.
#[derive(Debug)]
pub struct Pair {
    leaders: [Engine; 2],
    /// In microseconds.
    now: u64,
    cpu: [u64; 2],
}

impl Pair {
    /// Two leaders of which the first has `keys` registers of 16 bytes, written under `origins` ids, and the second nothing.
    pub fn with_keys(keys: usize, origins: usize) -> Self {
        let ids = ids(origins + 1);
        // The second one has an id under which nobody has written: an own update that it lacks would be a lost one.
        let mut pair = Pair::fresh(ids[0], ids[origins]);
        for (n, id) in ids[..origins].iter().enumerate() {
            // The work of many leaders, done by one: a new id goes on where the last one stopped.
            pair.leaders[0].reincarnate(*id);
            let keys = keys * n / origins..keys * (n + 1) / origins;
            pair.assign(0, keys, 0);
        }
        pair.leaders[0].reincarnate(ids[0]);
        pair.settle();
        pair
    }

    fn fresh(a: ReplicaId, b: ReplicaId) -> Self {
        let leader = |id| fresh_engine(id, Config::default());
        Pair { leaders: [leader(a), leader(b)], now: 0, cpu: [0; 2] }
    }

    fn time(&self) -> Now {
        engine_time(self.now)
    }

    fn assign(&mut self, leader: usize, keys: impl Iterator<Item = usize>, version: u64) {
        let now = self.time();
        for key in keys {
            let value = [key as u64, version].map(u64::to_le_bytes).concat();
            let written = self.leaders[leader].write(&format!("key-{key:07}"), &Op::Assign(value), None, now);
            assert_eq!(written.map(|receipt| receipt.events), Ok(1));
        }
        commit(&mut self.leaders[leader], now);
    }

    /// Changes `changes` keys of `keys`, under all of `origins` ids, half of them on each side.
    pub fn change(&mut self, keys: usize, changes: usize, origins: usize) {
        let ids = ids(origins);
        for (n, id) in ids.iter().enumerate() {
            let side = n * 2 / origins;
            self.leaders[side].reincarnate(*id);
            let changed = changes * n / origins..changes * (n + 1) / origins;
            self.assign(side, changed.map(|change| change * (keys / changes)), 1);
        }
        self.leaders[0].reincarnate(ids[0]);
        self.leaders[1].reincarnate(ids[origins - 1]);
        self.settle();
    }

    fn settle(&mut self) {
        let now = self.time();
        for engine in &mut self.leaders {
            commit(engine, now);
            while let Some(event) = engine.poll_event() {
                assert!(matches!(event, Event::Merged { .. } | Event::Close(_)), "{event:?}");
            }
        }
    }

    fn timed<T>(&mut self, leader: usize, act: impl FnOnce(&mut Engine) -> T) -> T {
        let start = thread_nanos();
        let result = act(&mut self.leaders[leader]);
        self.cpu[leader] += thread_nanos() - start;
        result
    }

    /// Whether both have the same.
    pub fn is_converged(&self) -> bool {
        let [a, b] = &self.leaders;
        a.version() == b.version() && a.fingerprint() == b.fingerprint()
    }

    /// Connects the two, and lets them talk until both have everything.
    ///
    /// # Panics
    ///
    /// If they do not get there.
    pub fn meet(&mut self) -> Exchange {
        self.cpu = [0; 2];
        let mut exchange = Exchange::default();
        let hellos = [0, 1].map(|leader| self.timed(leader, |engine| engine.hello()));
        let now = self.time();
        for leader in [0, 1] {
            let (sent, got) = (&hellos[leader], hellos[1 - leader].clone());
            exchange.finding_out += sent.encode().len() as u64;
            let opened = self.timed(leader, |engine| engine.connect(SESSION, sent, got, now));
            opened.expect("leaders of one mesh accept each other");
        }
        // In half round trips.
        let (mut trips, mut finding_out) = (1, 0);
        while !self.is_converged() {
            assert!(trips < 1_000_000, "they do not come together");
            self.exchange(&mut exchange);
            finding_out = if exchange.payload == 0 { trips + 1 } else { finding_out };
            trips += 1;
        }
        exchange.round_trips = float(finding_out.max(1)) / 2.0;
        exchange.cpu_ms = float(self.cpu[0].max(self.cpu[1])) / 1e6;
        exchange
    }

    /// Ends the connection.
    pub fn part(&mut self) {
        self.leaders.iter_mut().for_each(|engine| engine.disconnect(SESSION));
        self.settle();
    }

    /// Both say what they have to say, and hear it a millisecond later.
    fn exchange(&mut self, exchange: &mut Exchange) {
        let now = self.time();
        let mut under_way = Vec::new();
        for leader in [0, 1] {
            while let Some(message) = self.timed(leader, |engine| engine.poll(SESSION, now)) {
                let payload = message.payload() as u64;
                let bytes = self.timed(leader, |_| message.encode());
                if payload == 0 {
                    exchange.finding_out += bytes.len() as u64;
                } else {
                    exchange.payload += payload;
                    exchange.around += bytes.len() as u64 - payload;
                }
                under_way.push((1 - leader, bytes));
            }
        }
        self.now += 1_000;
        let now = self.time();
        for (leader, bytes) in under_way {
            self.timed(leader, |engine| {
                let message = Message::decode(&bytes).expect("a leader sent it");
                engine.handle(SESSION, message, now).expect("nothing is lost or late");
                commit(engine, now);
            });
        }
        self.settle();
    }

    /// Lets the two be connected for so many seconds in which nobody writes: bytes a second, both directions together, and
    /// the CPU time of the busier one a second, in microseconds.
    pub fn idle(&mut self, seconds: u64) -> (f64, f64) {
        let mut exchange = Exchange::default();
        // What the meeting has left to say is said.
        for _ in 0..3_000 {
            self.exchange(&mut exchange);
        }
        (exchange, self.cpu) = (Exchange::default(), [0; 2]);
        for _ in 0..seconds * 20 {
            self.exchange(&mut exchange);
            self.now += 49_000;
        }
        let cpu = float(self.cpu[0].max(self.cpu[1])) / 1e3;
        (float(exchange.bytes()) / float(seconds), cpu / float(seconds))
    }

    /// Two leaders of which the first has a set of `live` elements of 20 bytes, after adding and removing `removed` others
    /// before.
    ///
    /// # Panics
    ///
    /// Never: a set takes such elements.
    pub fn with_set(live: usize, removed: usize) -> Self {
        const BATCH: usize = 1_000;
        let ids = ids(2);
        let mut pair = Pair::fresh(ids[0], ids[1]);
        let element = |n: usize| {
            let mut element = vec![0; 20];
            element[..8].copy_from_slice(&(n as u64).to_le_bytes());
            element[8..16].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            element
        };
        let now = pair.time();
        let engine = &mut pair.leaders[0];
        let mut write = |op: Op| {
            engine.write("set", &op, None, now).expect("a set takes it");
            commit(engine, now);
        };
        for first in (0..live).step_by(BATCH) {
            write(Op::Add((first..live.min(first + BATCH)).map(element).collect()));
        }
        for first in (0..removed).step_by(BATCH) {
            let others = || (first..removed.min(first + BATCH)).map(|n| element(live + n)).collect();
            write(Op::Add(others()));
            write(Op::Remove(others()));
        }
        pair.settle();
        pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_heals_and_the_values_dominate_a_large_difference() {
        let mut pair = Pair::with_keys(500, 8);
        let joining = pair.meet();
        assert!(joining.payload > 500 * 16 && joining.round_trips >= 0.5, "{joining:?}");
        pair.part();
        pair.change(500, 40, 8);
        assert!(!pair.is_converged());
        let healing = pair.meet();
        assert!((40 * 16..100 * 16).contains(&healing.payload), "{healing:?}");
        assert_eq!(pair.leaders[0].key_count(), 500);
        let (bytes, _) = pair.idle(10);
        assert!(bytes > 0.0);
    }

    #[test]
    fn a_set_has_what_was_not_removed() {
        let mut pair = Pair::with_set(2_500, 1_500);
        pair.meet();
        assert_eq!(pair.leaders[1].set_len("set"), 2_500);
    }
}
