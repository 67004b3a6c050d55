//! Deltas that are cut while their sender goes on: whatever happens between two parts, what the receiver shows in the end
//! is exactly what the events in its vector make, in one step.

mod common;

use common::{Disk, Mesh, all_to_all};
use mesh_proto::{Config, Engine, Message, Now, Op, SessionId, VersionVector};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: usize = 8;

/// Writes something to one of many keys. Sets are filled, emptied and so made to vanish.
fn write(mesh: &mut Mesh, n: usize) {
    let (k, element) = (mesh.rng.random_range(0..KEYS), vec![mesh.rng.random_range(b'a'..b'd')]);
    let op = match mesh.rng.random_range(0..8) {
        0 => Op::Grow(1),
        1 => Op::Decrement(2),
        2 => Op::Assign(element),
        3..=5 => Op::Add(vec![element]),
        6 => Op::Remove(vec![element]),
        _ => Op::Clear,
    };
    let name = format!("{}-{k}", op.kind());
    mesh.write(n, &name, op);
}

/// Every key of a leader against the model.
fn check(mesh: &mut Mesh, n: usize) {
    mesh.commit(n);
    let (engine, model) = (&mesh.leaders[n].engine, &mesh.model);
    let vector = engine.version();
    for k in 0..KEYS {
        let name = |kind: &str| format!("{kind}-{k}");
        let members: BTreeSet<&[u8]> = engine.members(&name("or-set")).into_iter().collect();
        assert_eq!(members, model.members(vector, &name("or-set")), "set {k} of leader {n} at {vector:?}");
        let sum = engine.counter(&name("pn-counter")).unwrap_or(0);
        assert_eq!(sum, model.sum(vector, &name("pn-counter")), "counter {k} of leader {n}");
        let sum = i128::try_from(engine.g_counter(&name("g-counter")).unwrap_or(0)).unwrap();
        assert_eq!(sum, model.sum(vector, &name("g-counter")), "grow-only counter {k} of leader {n}");
        let value = engine.register(&name("lww-register")).map(|found| found.0);
        assert_eq!(value, model.register(vector, &name("lww-register")), "register {k} of leader {n}");
    }
}

/// What came about in many histories.
#[derive(Default)]
struct Seen {
    /// Deltas of more than ten parts, between the first and last of which the sender wrote.
    overtaken: usize,
    /// Sets that vanished at the sender while it sent a delta.
    vanished: usize,
    /// Deltas that began anew before they were complete.
    anew: usize,
}

/// Leader 0 has a history, leader 1 has some of it or nothing, and takes a delta, while 0 writes and hears from 2.
fn run(seed: u64, seen: &mut Seen) {
    let loss = [0, 0, 20][(seed % 3) as usize];
    let min_deaths = [0, 0, 50, 100_000][(seed / 3 % 4) as usize];
    let config = Config {
        ordered: loss == 0,
        part: [40, 200][(seed / 12 % 2) as usize],
        retain: 0,
        patience: 20,
        heartbeat: 50,
        resend: 100,
        min_deaths,
        // Batches that come while a delta is under way wait for it, or are fetched after it.
        max_early: [0, 1_000, 16 << 20][(seed / 48 % 3) as usize],
        ..Config::default()
    };
    let mut mesh = Mesh::new(seed, 3, all_to_all(3), config);
    let knows_some = mesh.rng.random_bool(0.5);
    for step in 0..160 {
        let n = if mesh.rng.random_bool(0.6) { 0 } else { 2 };
        write(&mut mesh, n);
        // Some of what is known everywhere, or at 0 and 2.
        if step == 60 || step == 110 {
            let others = if step == 110 && knows_some { 1..3 } else { 2..3 };
            others.for_each(|other| mesh.connect(0, other));
            for _ in 0..30 {
                mesh.pass(30);
                (0..3).for_each(|n| mesh.flush(n));
                (0..3).for_each(|n| while mesh.deliver(n) {});
            }
            (1..3).for_each(|other| mesh.disconnect(0, other));
        }
    }
    (0..3).for_each(|n| mesh.commit(n));
    (mesh.loss, mesh.lossy) = (loss, loss > 0);
    mesh.connect(0, 1);
    let keys = |mesh: &Mesh| mesh.leaders[0].engine.keys("or-set").cloned().collect::<BTreeSet<_>>();
    // The delta under way, how many parts of it were said, and what the two had when it began.
    let (mut delta, mut parts, mut began) = (None, 0, (VersionVector::new(), VersionVector::new()));
    let mut sets = keys(&mesh);
    let joins_at = mesh.rng.random_range(5..60);
    for step in 0..300 {
        if mesh.rng.random_range(0..100) < [5, 60][(seed / 24 % 2) as usize] {
            write(&mut mesh, 0);
        }
        if step == joins_at {
            mesh.connect(0, 2);
        }
        mesh.commit(0);
        let now = keys(&mesh);
        seen.vanished += usize::from(parts > 0) * sets.difference(&now).count();
        sets = now;
        if let Some(message @ Message::Part(_)) = mesh.say(0, 1) {
            let versions = [0, 1].map(|n| mesh.leaders[n].engine.version().clone());
            // Deltas are numbered in what comes first in a message, after its kind.
            let number = message.encode()[1];
            if delta.replace(number) != Some(number) {
                seen.anew += usize::from(parts > 0 && began.1 == versions[1]);
                (parts, began) = (0, versions.into());
            } else if parts == 10 && began.0 != versions[0] {
                seen.overtaken += 1;
            }
            parts += 1;
        }
        for n in [1, 2, 0] {
            mesh.deliver(n);
        }
        check(&mut mesh, 1);
        mesh.flush(1);
        mesh.flush(2);
        mesh.pass(5);
    }
    mesh.converge();
    (0..3).for_each(|n| check(&mut mesh, n));
}

#[test]
fn a_delta_that_is_cut_while_its_sender_goes_on_is_one_state() {
    let seeds: usize =
        std::env::var("MESH_SEEDS").map_or(144, |n| n.parse().expect("MESH_SEEDS is a number"));
    let mut seen = Seen::default();
    for seed in 0..seeds as u64 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut seen)));
        assert!(outcome.is_ok(), "the history of seed {seed} fails");
    }
    let Seen { overtaken, vanished, anew } = seen;
    for (what, times) in [("overtaken", overtaken), ("vanished", vanished), ("anew", anew)] {
        assert!(times * 10 > seeds, "{what}: {times} times in {seeds} histories");
    }
}

/// An element dies at the sender by comparison, which no event tells, after the piece of its set was sent.
#[test]
fn what_dies_by_comparison_while_a_delta_is_sent_is_not_in_it() {
    let config =
        Config { part: 40, retain: 0, patience: 20, heartbeat: 50, min_deaths: 0, ..Config::default() };
    let mut mesh = Mesh::new(1, 4, all_to_all(4), config);
    mesh.write(0, "or-set-0", Op::Add(vec![b"x".to_vec()]));
    for k in 0..60 {
        mesh.write(0, &format!("pn-counter-{k}"), Op::Increment(1));
    }
    let talk = |mesh: &mut Mesh| {
        mesh.connect(0, 2);
        for _ in 0..10 {
            mesh.pass(30);
            for (n, other) in [(0, 2), (2, 0)] {
                mesh.commit(n);
                while mesh.say(n, other).is_some() {}
                while mesh.deliver(other) {}
            }
        }
        mesh.disconnect(0, 2);
    };
    talk(&mut mesh);
    // Removals are forgotten once they have been sent to somebody.
    mesh.connect(2, 3);
    mesh.write(2, "or-set-0", Op::Clear);
    for n in 0..200u8 {
        mesh.write(2, "or-set-1", Op::Add(vec![vec![n]]));
        mesh.write(2, "or-set-1", Op::Clear);
        mesh.flush(2);
    }
    assert_eq!(mesh.leaders[2].engine.keys("or-set-0").count(), 0, "it has vanished");

    mesh.connect(0, 1);
    let mut parts = 0;
    while parts < 10 {
        mesh.flush(1);
        mesh.deliver(0);
        parts += usize::from(matches!(mesh.say(0, 1), Some(Message::Part(_))));
        while mesh.deliver(1) {}
        mesh.pass(1);
    }
    let before = mesh.leaders[0].engine.version().clone();
    talk(&mut mesh);
    assert_ne!(*mesh.leaders[0].engine.version(), before);
    assert_eq!(mesh.leaders[0].engine.set_len("or-set-0"), 0);
    assert!(mesh.leaders[1].engine.version().is_empty());
    mesh.converge();
    assert_eq!(mesh.leaders[1].engine.set_len("or-set-0"), 0);
}

/// A mesh of two that have nothing in common, until they do: how many parts were said.
fn parts_with(loss: u32) -> usize {
    let config = Config {
        part: 100,
        retain: 0,
        ordered: false,
        patience: 20,
        heartbeat: 200,
        resend: 300,
        ..Config::default()
    };
    let mut mesh = Mesh::new(11, 2, all_to_all(2), config);
    for k in 0..400 {
        mesh.write(0, &format!("lww-register-{k}"), Op::Assign(vec![1; 80]));
    }
    (mesh.loss, mesh.lossy) = (loss, true);
    mesh.connect(0, 1);
    let mut parts = 0;
    for _ in 0..5_000 {
        (0..2).for_each(|n| mesh.commit(n));
        while let Some(message) = mesh.say(0, 1) {
            parts += usize::from(matches!(message, Message::Part(_)));
        }
        while mesh.say(1, 0).is_some() {}
        (0..2).for_each(|n| while mesh.deliver(n) {});
        mesh.pass(10);
        if mesh.leaders[0].engine.version() == mesh.leaders[1].engine.version() {
            mesh.converge();
            return parts;
        }
    }
    panic!("nothing has come of {parts} parts");
}

#[test]
fn only_what_is_lost_is_sent_again() {
    let (none, some) = (parts_with(0), parts_with(20));
    assert!((400..800).contains(&none), "{none} parts for 400 values of 80 bytes");
    // 20% are lost, and in this mesh a quarter are overtaken by others, of which some are taken for lost.
    assert!(some > none && some < none * 2, "{none} parts without loss, {some} with");
}

/// What is decoded is what the leader will hold anyway: the bound is for what is not.
#[test]
fn a_keyspace_may_be_larger_than_what_may_be_held_undecoded() {
    let config = Config { part: 5_000, max_staged: 20_000, ..Config::default() };
    let mut mesh = Mesh::new(12, 2, all_to_all(2), config);
    for k in 0..1_000 {
        mesh.write(0, &format!("lww-register-{k}"), Op::Assign(vec![1; 1_000]));
    }
    mesh.converge();
    assert_eq!(mesh.leaders[1].engine.key_count(), 1_000);
}

/// The leader that a new one takes a delta from goes away in the middle: what it sent is dropped, and the next leader is
/// asked.
#[test]
fn who_loses_the_sender_in_the_middle_asks_the_next_one() {
    for seed in 0..20 {
        let config = Config { part: 60, retain: 0, patience: 20, heartbeat: 100, ..Config::default() };
        let mut mesh = Mesh::new(seed, 3, all_to_all(3), config);
        mesh.connect(0, 1);
        for _ in 0..100 {
            write(&mut mesh, 0);
            write(&mut mesh, 1);
        }
        for _ in 0..20 {
            mesh.pass(30);
            (0..2).for_each(|n| mesh.flush(n));
            (0..2).for_each(|n| while mesh.deliver(n) {});
        }
        (0..2).for_each(|n| mesh.connect(n, 2));
        let (mut sender, mut parts) = (None, 0);
        while parts < 5 {
            mesh.flush(2);
            for n in 0..2 {
                while mesh.deliver(n) {}
                if let Some(Message::Part(_)) = mesh.say(n, 2) {
                    assert!(sender.is_none_or(|sender| sender == n), "two leaders send at a time");
                    (sender, parts) = (Some(n), parts + 1);
                }
            }
            while mesh.deliver(2) {}
            mesh.pass(1);
        }
        let sender = sender.unwrap();
        mesh.disconnect(sender, 2);
        mesh.disconnect(0, 1);
        mesh.commit(2);
        assert!(mesh.leaders[2].engine.version().is_empty());
        // Whoever is gone is dead, and the other one goes on.
        let other = 1 - sender;
        for _ in 0..400 {
            write(&mut mesh, other);
            mesh.flush(2);
            mesh.deliver(other);
            mesh.commit(other);
            mesh.say(other, 2);
            mesh.deliver(2);
            check(&mut mesh, 2);
            mesh.pass(5);
        }
        assert!(!mesh.leaders[2].engine.version().is_empty(), "it gets there while the other one writes");
        mesh.converge();
        (0..3).for_each(|n| check(&mut mesh, n));
    }
}

/// What a leader says of keys that it heard of in batches, before it had them, costs no more than what it says of others.
#[test]
fn a_leader_that_joined_among_writes_names_each_key_once() {
    const NAMES: u64 = 900;
    let config = Config { part: 300, patience: 20, ..Config::default() };
    let mut leaders: Vec<Engine> = (1..=4).map(|n| Disk::default().open(n, &config)).collect();
    let mut now = Now { wall: 1_700_000_000_000, mono: 0 };
    let commit = |leader: &mut Engine, now: Now| {
        if leader.take_commit().is_some() {
            leader.committed(now);
        }
    };
    let connect = |leaders: &mut [Engine], a: usize, b: usize, now: Now| {
        for n in [a, b] {
            commit(&mut leaders[n], now);
        }
        let (link, to_b, to_a) = (SessionId((a + b) as u64), leaders[a].hello(), leaders[b].hello());
        leaders[a].connect(link, &to_b, to_a.clone(), now).unwrap();
        leaders[b].connect(link, &to_a, to_b, now).unwrap();
    };
    let write = |leaders: &mut [Engine], user: u64, now: Now| {
        let element = now.mono.to_le_bytes().to_vec();
        let (name, op) = (format!("user/{user:04}/followers-of-this-one"), Op::Add(vec![element]));
        leaders[(now.mono % 2) as usize].write(&name, &op, None, now).unwrap();
    };
    // How many bytes the third says to the fourth; `most` messages go from one to another at a time.
    let talk = |leaders: &mut [Engine], links: &[(usize, usize)], most: usize, now: Now| {
        let mut said = 0;
        for (from, to) in links.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]) {
            commit(&mut leaders[from], now);
            let link = SessionId((from + to) as u64);
            for _ in 0..most {
                let Some(message) = leaders[from].poll(link, now) else { break };
                said += if to == 3 { message.encode().len() } else { 0 };
                leaders[to].handle(link, message, now).unwrap();
            }
        }
        said
    };
    let links = [(0, 1), (0, 2), (1, 2), (2, 3)];
    connect(&mut leaders, 0, 1, now);
    for user in 0..NAMES {
        now.mono += 1;
        write(&mut leaders, user, now);
        talk(&mut leaders, &links[..1], usize::MAX, now);
    }
    links[1..].iter().for_each(|(a, b)| connect(&mut leaders, *a, *b, now));
    let mut said = BTreeMap::new();
    for step in 0..12_000_u64 {
        now.mono += 1;
        write(&mut leaders, (step / 2 * 7_919 + step % 2 * 451) % NAMES, now);
        // A delta is slow.
        let is_turn = !leaders[2].version().is_empty() || step % 5 == 0;
        *said.entry(step / 3_000).or_insert(0) +=
            talk(&mut leaders, &links, if is_turn { 2 } else { 0 }, now);
    }
    assert_eq!(leaders[3].keys("user").count() as u64, NAMES);
    assert!(said[&3] < 3_000 * 18, "{said:?} bytes for 3,000 writes of 8 each");
}
