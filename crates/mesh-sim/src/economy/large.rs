//! Two leaders with large states: what healing, idling, joining and losing the causal metadata cost.

use super::{
    leader::{engine_time, fresh_engine, recover_without_metadata},
    run::{float, thread_nanos},
    workload::ids,
};
use mesh_proto::{Config, Engine, Event, HandleError, Message, Now, Op, ReplicaId, SessionId};
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// The rows of the second one, if they are kept.
    disk: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
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
        Pair { leaders: [leader(a), leader(b)], now: 0, cpu: [0; 2], disk: None }
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
        self.commit(leader);
    }

    /// Makes durable what a leader did.
    fn commit(&mut self, leader: usize) {
        let now = self.time();
        let engine = &mut self.leaders[leader];
        let Some(commit) = engine.take_commit() else { return };
        if let Some(disk) = self.disk.as_mut().filter(|_| leader == 1) {
            commit.deletes.iter().for_each(|key| drop(disk.remove(key)));
            disk.extend(commit.puts);
        }
        engine.committed(now);
    }

    /// From now on the second leader, which has nothing yet, keeps its rows.
    pub fn keep(&mut self) {
        self.leaders[1] = fresh_engine(self.leaders[1].identity().replica, Config::default());
        self.disk = Some(BTreeMap::new());
        self.commit(1);
    }

    /// Changes `changes` of `keys`, half of them on each side, each under its own id: twice as many items differ then.
    pub fn change_own(&mut self, keys: usize, changes: usize) {
        for side in [0, 1] {
            let changed = changes * side / 2..changes * (side + 1) / 2;
            self.assign(side, changed.map(|change| change * (keys / changes)), 1);
        }
    }

    /// The second leader is started anew from its rows, of which that with the causal metadata is lost, and gets back
    /// what it lacks: what that took, up to the commit with the result.
    ///
    /// # Panics
    ///
    /// If its rows were not kept, or it does not get there.
    pub fn restore(&mut self) -> Exchange {
        let identity = self.leaders[1].identity().clone();
        let id = ReplicaId::new(identity.replica.get() ^ 1);
        let disk = self.disk.as_mut().expect("the rows are kept");
        assert!(disk.remove(b"history".as_slice()).is_some(), "there was a version vector");
        self.leaders[1] = recover_without_metadata(identity, id, disk);
        let mut exchange = self.open();
        let is_lost = |pair: &Pair| pair.leaders[1].has_lost_metadata();
        self.talk(&mut exchange, is_lost);
        exchange
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
        for leader in [0, 1] {
            self.commit(leader);
            while let Some(event) = self.leaders[leader].poll_event() {
                let expected =
                    matches!(event, Event::Merged { .. } | Event::Close(_) | Event::Restored { .. });
                assert!(expected, "{event:?}");
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
        let mut exchange = self.open();
        self.talk(&mut exchange, |pair| !pair.is_converged());
        exchange
    }

    fn open(&mut self) -> Exchange {
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
        exchange
    }

    /// Lets them talk for as long as that is needed.
    fn talk(&mut self, exchange: &mut Exchange, is_needed: impl Fn(&Pair) -> bool) {
        // In half round trips.
        let (mut trips, mut finding_out) = (1, 0);
        while is_needed(self) {
            assert!(trips < 1_000_000, "they do not come together");
            self.exchange(exchange);
            finding_out = if exchange.payload == 0 { trips + 1 } else { finding_out };
            trips += 1;
        }
        exchange.round_trips = float(finding_out.max(1)) / 2.0;
        exchange.cpu_ms = float(self.cpu[0].max(self.cpu[1])) / 1e6;
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
                match engine.handle(SESSION, message, now) {
                    // Who has its metadata back greets anew.
                    Ok(()) | Err(HandleError::NoSession) => {}
                    Err(error) => panic!("nothing is lost or late: {error}"),
                }
            });
            let start = thread_nanos();
            self.commit(leader);
            self.cpu[leader] += thread_nanos() - start;
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
        let mut write = |op: Op| {
            pair.leaders[0].write("set", &op, None, now).expect("a set takes it");
            pair.commit(0);
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
    fn a_leader_without_metadata_gets_back_what_it_lacks_and_has_what_it_wrote() {
        let mut pair = Pair::with_keys(5_000, 8);
        pair.keep();
        pair.meet();
        pair.part();
        pair.change_own(5_000, 100);
        let restored = pair.restore();
        assert!((100 * 16..100 * 64).contains(&restored.payload), "{restored:?}");
        assert!(
            restored.finding_out + restored.around < 8_000 && restored.round_trips <= 2.0,
            "{restored:?}"
        );
        assert!(!pair.is_converged());
        pair.part();
        let sent = pair.meet();
        assert!((50 * 16..50 * 100).contains(&sent.payload), "{sent:?}");
        assert!(pair.is_converged());
    }

    #[test]
    fn a_set_has_what_was_not_removed() {
        let mut pair = Pair::with_set(2_500, 1_500);
        pair.meet();
        assert_eq!(pair.leaders[1].set_len("set"), 2_500);
    }
}
