//! Single cases: ids, idempotency keys, types of the user's own, what is refused, and the bytes on wire and disk.

mod common;

use common::{Disk, identity};
use crdt_core::{Dotted, Merge, ReplicaId, Rows, Tick, UpdateError};
use mesh_proto::{
    Config, Custom, Engine, Event, HandleError, Hello, HelloError, Kind, Message, Now, Op, RecoverError,
    Recovery, Registry, SessionId, Snapshot, VersionVector, WriteError,
};
use serde::{Deserialize, Serialize};

const NOW: Now = Now { wall: 1_700_000_000_000, mono: 1_000 };
const LINK: SessionId = SessionId(7);

fn fresh(n: u64) -> Engine {
    Disk::default().open(n, &Config::default())
}

fn settle(engine: &mut Engine) {
    if engine.take_commit().is_some() {
        engine.committed(NOW);
    }
}

/// All that `from` has to say goes to `to`.
fn exchange(from: &mut Engine, to: &mut Engine) -> Result<usize, HandleError> {
    settle(from);
    let mut said = 0;
    while let Some(message) = from.poll(LINK, NOW) {
        to.handle(LINK, message, NOW)?;
        said += 1;
    }
    settle(to);
    Ok(said)
}

/// Both say all they have to say, until there is nothing more.
fn sync(a: &mut Engine, b: &mut Engine, now: Now) -> Result<usize, HandleError> {
    let mut said = 0;
    loop {
        let before = said;
        for _ in 0..2 {
            settle(a);
            while let Some(message) = a.poll(LINK, now) {
                b.handle(LINK, message, now)?;
                said += 1;
            }
            settle(b);
            std::mem::swap(a, b);
        }
        if said == before {
            return Ok(said);
        }
    }
}

fn connect(a: &mut Engine, b: &mut Engine) {
    settle(a);
    settle(b);
    let (to_b, to_a) = (a.hello(), b.hello());
    a.connect(LINK, &to_b, to_a.clone(), NOW).unwrap();
    b.connect(LINK, &to_a, to_b, NOW).unwrap();
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let (mut a, mut b) = (fresh(1), fresh(2));
    connect(&mut a, &mut b);
    while a.poll(LINK, NOW).is_some() {}
    a.write("n", &Op::Increment(1), None, NOW).unwrap();
    assert_eq!(a.poll(LINK, NOW), None, "it is only in memory");
    a.take_commit().unwrap();
    assert_eq!(a.poll(LINK, NOW), None, "it is on its way to the disk");
    assert_eq!(a.version(), &VersionVector::new());
    assert!(!a.is_key_durable("n"));
    a.committed(NOW);
    assert!(a.is_key_durable("n"));
    // There is news to tell, but a delta cut now would also carry what is not durable.
    a.write("n", &Op::Increment(1), None, NOW).unwrap();
    assert_eq!(a.poll(LINK, NOW), None);
    assert!(!a.is_key_durable("m"), "who asks for a commit says which keys it stores");
    a.take_commit().unwrap();
    assert!(a.is_key_durable("m") && !a.is_key_durable("n"));
    a.committed(NOW);
    assert!(a.poll(LINK, NOW).is_some());
}

/// A vector that advances over a gap claims updates that it does not have.
#[test]
fn news_that_builds_on_what_is_not_there_waits_and_what_is_missing_is_asked_for() {
    let (mut a, mut b) = (fresh(1), fresh(2));
    let mut other = fresh(3);
    connect(&mut a, &mut other);
    a.write("n", &Op::Increment(1), None, NOW).unwrap();
    exchange(&mut a, &mut other).unwrap();
    a.disconnect(LINK);
    connect(&mut a, &mut b);
    a.write("n", &Op::Increment(1), None, NOW).unwrap();
    a.write("m", &Op::Increment(1), None, NOW).unwrap();
    // The batch of the latter two, without the first, which the greeting has told of.
    exchange(&mut a, &mut b).unwrap();
    assert_eq!((b.version(), b.key_count()), (&VersionVector::new(), 0));
    exchange(&mut b, &mut a).unwrap();
    exchange(&mut a, &mut b).unwrap();
    assert_eq!((b.counter("n"), b.counter("m")), (Some(2), Some(1)));
}

#[test]
fn a_write_of_nothing_makes_no_event_and_no_key() {
    let mut a = fresh(1);
    settle(&mut a);
    for op in [Op::Increment(0), Op::Remove(vec![b"x".to_vec()]), Op::Clear, Op::Add(Vec::new())] {
        let receipt = a.write("k", &op, None, NOW).unwrap();
        assert_eq!((receipt.events, receipt.last), (0, 0));
    }
    assert_eq!(a.key_count(), 0);
    assert_eq!(a.take_commit(), None);
    assert_eq!(a.fingerprint(), 0);
}

#[test]
fn a_name_has_one_type() {
    let mut a = fresh(1);
    a.write("k", &Op::Increment(1), None, NOW).unwrap();
    let refused = a.write("k", &Op::Add(vec![b"x".to_vec()]), None, NOW);
    let (held, wanted) = (Kind::PnCounter, Kind::Set);
    assert_eq!(refused, Err(WriteError::OtherType { name: "k".into(), held, wanted }));
    assert_eq!(a.other_kind("k", &Kind::Register), Some(Kind::PnCounter));
    assert_eq!(a.key_count(), 1);
}

#[test]
fn overflow_changes_nothing_and_uses_no_number() {
    let mut a = fresh(1);
    a.write("k", &Op::Grow(u64::MAX), None, NOW).unwrap();
    assert_eq!(a.write("k", &Op::Grow(1), None, NOW), Err(WriteError::Update(UpdateError::Overflow)));
    let receipt = a.write("l", &Op::Grow(1), None, NOW).unwrap();
    assert_eq!(receipt.last, 2);
    assert_eq!(a.g_counter("k"), Some(u128::from(u64::MAX)));
}

#[test]
fn a_repeated_write_counts_once_even_after_a_crash_until_it_expires() {
    let config = Config { idempotency_ttl: 1_000, ..Config::default() };
    let mut disk = Disk::default();
    let mut a = disk.open(1, &config);
    let first = a.write("n", &Op::Increment(5), Some("once"), NOW).unwrap();
    assert!(!first.repeated);
    disk.commit(a.take_commit().unwrap());
    let mut a = disk.open(1, &config);
    let again = a.write("n", &Op::Increment(5), Some("once"), NOW).unwrap();
    assert!(again.repeated);
    assert_eq!((again.last, again.token), (first.last, first.token));
    assert_eq!(a.counter("n"), Some(5));
    assert_eq!(a.write("n", &Op::Increment(6), Some("once"), NOW), Err(WriteError::KeyReused));
    assert_eq!(a.write("m", &Op::Increment(5), Some("once"), NOW), Err(WriteError::KeyReused));
    a.tick(Now { wall: NOW.wall + 1_001, ..NOW });
    disk.commit(a.take_commit().expect("the key is deleted from the store too"));
    let mut a = disk.open(1, &config);
    assert!(!a.write("n", &Op::Increment(5), Some("once"), NOW).unwrap().repeated);
}

#[test]
fn idempotency_keys_are_bounded() {
    let mut a = Disk::default().open(1, &Config { idempotency_max: 2, ..Config::default() });
    a.write("n", &Op::Increment(1), Some("1"), NOW).unwrap();
    a.write("n", &Op::Increment(1), Some("2"), NOW).unwrap();
    let refused = a.write("n", &Op::Increment(1), Some("3"), NOW);
    assert_eq!(refused, Err(WriteError::KeysExhausted { limit: 2 }));
    assert_eq!(a.counter("n"), Some(2));
}

#[test]
fn strangers_are_refused_by_name() {
    let (mut a, b) = (fresh(1), fresh(2));
    let hello = b.hello();
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello.clone()));
    let mut newer = hello.encode();
    newer[4] = 9;
    assert_eq!(Hello::decode(&newer), Err(HelloError::Version { theirs: 9 }));
    assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), Err(HelloError::NotALeader));
    assert_eq!(Hello::decode(&[]), Err(HelloError::NotALeader));
    let mut stranger = hello.clone();
    stranger.cluster = "prod".into();
    let (ours, theirs) = ("test".into(), "prod".into());
    assert_eq!(a.connect(LINK, &hello, stranger, NOW), Err(HelloError::Cluster { ours, theirs }));
    let same = a.hello();
    assert!(matches!(a.connect(LINK, &hello, same, NOW), Err(HelloError::SameReplica { .. })));
    assert!(a.peers(NOW).is_empty());
}

/// A restarted replica that lost its last updates would reuse their dots, and its new writes would vanish at those who
/// have the old ones.
#[test]
fn a_leader_set_back_takes_a_new_id_and_gets_its_updates_again() {
    let mut disk = Disk::default();
    let (mut a, mut b) = (disk.open(1, &Config::default()), fresh(2));
    disk.commit(a.take_commit().unwrap());
    a.committed(NOW);
    let backup = disk.clone();
    connect(&mut a, &mut b);
    a.write("s", &Op::Add(vec![b"x".to_vec(), b"y".to_vec()]), None, NOW).unwrap();
    exchange(&mut a, &mut b).unwrap();
    assert_eq!(b.members("s"), [b"x", b"y"]);

    let mut a = backup.open(1, &Config::default());
    connect(&mut a, &mut b);
    let beat = a.handle(LINK, Message::Alive { vector: 0, fingerprint: 0, wall: 0 }, NOW);
    assert_eq!(beat, Err(HandleError::LostUpdates));
    assert_eq!(a.poll_event(), None, "they may also be another run's");
    assert_eq!(exchange(&mut b, &mut a), Err(HandleError::LostUpdates));
    assert_eq!(a.poll_event(), Some(Event::LostUpdates { have: 0, peer_has: 2 }));
    assert_eq!(a.write("s", &Op::Clear, None, NOW), Err(WriteError::LostUpdates));
    a.reincarnate(ReplicaId::new(11));
    connect(&mut a, &mut b);
    a.write("s", &Op::Add(vec![b"z".to_vec()]), None, NOW).unwrap();
    sync(&mut a, &mut b, NOW).unwrap();
    for leader in [&a, &b] {
        assert_eq!(leader.members("s"), [b"x", b"y", b"z"]);
    }
    assert_eq!(a.fingerprint(), b.fingerprint());
}

/// A clone, or an old backup that was restored and written to before it met anybody: two histories under one id. Each is
/// found out at the first contact, named, and stopped; nothing of it is merged.
#[test]
fn a_copy_that_has_written_is_named_and_stopped() {
    let open = |disk: &Disk, run| {
        let recovery = disk.recovery_as(run, Registry::new());
        Engine::recover(Config::default(), identity(1), recovery).unwrap()
    };
    let write = |disk: &mut Disk, engine: &mut Engine, name: &str, times: usize| {
        (0..times).for_each(|_| drop(engine.write(name, &Op::Increment(1), None, NOW).unwrap()));
        disk.commit(engine.take_commit().unwrap());
        engine.committed(NOW);
    };
    let mut disk = Disk::default();
    let (mut a, mut b) = (open(&disk, 1), fresh(2));
    write(&mut disk, &mut a, "common", 3);
    let backup = disk.clone();
    write(&mut disk, &mut a, "lost", 10);
    connect(&mut a, &mut b);
    sync(&mut a, &mut b, NOW).unwrap();
    assert_eq!(b.counter("lost"), Some(10));

    for more in [4, 10, 30] {
        let mut copy = backup.clone();
        let mut restored = open(&copy, 2);
        write(&mut copy, &mut restored, "mine", more);
        let mut restored = open(&copy, 3);
        let (replica, from) = (ReplicaId::new(1), 4);
        let forked = HelloError::Forked { replica, from };
        let (to_restored, to_b) = (b.hello(), restored.hello());
        assert_eq!(b.connect(LINK, &to_restored, to_b.clone(), NOW), Err(forked), "{more} writes");
        restored.connect(LINK, &to_b, to_restored, NOW).unwrap();
        let refused = restored.handle(LINK, b.farewell(replica).unwrap(), NOW);
        assert_eq!(refused, Err(HandleError::Forked { replica, from }));
        assert_eq!(restored.poll_event(), Some(Event::Forked { from }));
        let refused = restored.write("mine", &Op::Increment(1), None, NOW);
        assert_eq!(refused, Err(WriteError::Forked { replica, from }));
        assert_eq!(restored.counter("mine"), Some(more as i128), "it can still be read");
    }

    // A clone that greets before either has written is found out by its first delta.
    let mut copy = disk.clone();
    let mut clone = open(&copy, 4);
    write(&mut disk, &mut a, "original", 1);
    let greeting = clone.hello();
    exchange(&mut a, &mut b).unwrap();
    b.connect(LINK, &b.hello(), greeting.clone(), NOW).unwrap();
    clone.connect(LINK, &greeting, fresh(2).hello(), NOW).unwrap();
    write(&mut copy, &mut clone, "cloned", 1);
    let refused = exchange(&mut clone, &mut b);
    assert_eq!(refused, Err(HandleError::Forked { replica: ReplicaId::new(1), from: 14 }));
    assert_eq!((b.counter("original"), b.counter("cloned")), (Some(1), None));
}

#[test]
fn a_large_delta_travels_in_parts_and_a_larger_one_is_refused() {
    let (mut a, mut b) = (fresh(1), fresh(2));
    connect(&mut a, &mut b);
    let elements = (0..30u8).map(|n| vec![n; 100_000]).collect();
    a.write("s", &Op::Add(elements), None, NOW).unwrap();
    // Too much for a batch: it is told of, and fetched.
    assert!(sync(&mut a, &mut b, NOW).unwrap() >= 4, "3 MB in messages of at most 1 MiB");
    assert_eq!(b.set_len("s"), 30);

    let mut small = Disk::default().open(3, &Config { max_staged: 2_000_000, ..Config::default() });
    connect(&mut a, &mut small);
    let refused = sync(&mut a, &mut small, NOW).err();
    assert_eq!(refused, Some(HandleError::TooLarge { limit: 2_000_000 }));
    assert_eq!(small.set_len("s"), 0);
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Votes(Rows);

impl Merge for Votes {
    fn merge(&mut self, other: &Self) -> bool {
        self.0.merge(&other.0)
    }
}

impl Dotted for Votes {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.0.get(replica)
    }
}

impl Custom for Votes {
    const TYPE: &'static str = "votes";
}

impl Votes {
    fn vote(&mut self, tick: Tick<'_>) -> Result<(), WriteError> {
        let dot = tick.follows(self)?.take()?;
        self.0.raise(dot.replica, dot.counter);
        Ok(())
    }
}

#[test]
fn a_type_of_ones_own_is_replicated_stored_and_recovered() {
    let open = |n| {
        let recovery = Recovery::new(Registry::new().with::<Votes>(), n);
        Engine::recover(Config::default(), identity(n), recovery).unwrap()
    };
    let (mut a, mut b, mut disk) = (open(1), open(2), Disk::default());
    connect(&mut a, &mut b);
    a.update("v", Votes::vote).unwrap();
    a.update("v", Votes::vote).unwrap();
    b.update("v", Votes::vote).unwrap();
    exchange(&mut a, &mut b).unwrap();
    exchange(&mut b, &mut a).unwrap();
    for leader in [&a, &b] {
        assert_eq!(leader.get::<Votes>("v").unwrap().0.sum(), 3);
    }
    assert_eq!(a.fingerprint(), b.fingerprint());
    let refused: Result<_, WriteError> = a.update("v", |_: &mut Votes, _| Err(WriteError::KeyReused));
    assert_eq!(refused, Err(WriteError::KeyReused));
    let receipt = a.update("v", Votes::vote).unwrap();
    assert_eq!(receipt.last, 3, "the failed update used no number");

    let mut c = open(3);
    c.update("v", Votes::vote).unwrap();
    disk.commit(c.take_commit().unwrap());
    let found =
        Engine::recover(Config::default(), identity(3), disk.recovery(Registry::new().with::<Votes>()))
            .unwrap();
    assert_eq!(found.get::<Votes>("v").unwrap().0.sum(), 1);
    let unknown = Engine::recover(Config::default(), identity(3), disk.recovery(Registry::new()));
    assert!(matches!(unknown, Err(RecoverError::UnknownType(_))));

    let mut plain = fresh(4);
    connect(&mut a, &mut plain);
    let refused = sync(&mut a, &mut plain, NOW).unwrap_err();
    assert!(refused.to_string().contains("no type of that name is registered"), "{refused}");
    assert_eq!(plain.key_count(), 0);
    let refused: Result<_, WriteError> = plain.update("v", Votes::vote);
    assert_eq!(refused, Err(WriteError::UnknownType(Kind::from("votes"))));
}

#[test]
fn the_change_stream_resumes_and_coalesces() {
    let mut a = fresh(1);
    a.write("p/n", &Op::Increment(1), None, NOW).unwrap();
    a.write("q", &Op::Increment(1), None, NOW).unwrap();
    settle(&mut a);
    let at = a.version().clone();
    a.write("p/n", &Op::Increment(1), None, NOW).unwrap();
    a.write("p/n", &Op::Increment(1), None, NOW).unwrap();
    settle(&mut a);
    let changes = a.changes_since(&at, "p/");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].value, Snapshot::PnCounter(3));
    assert_eq!(a.changes_since(&VersionVector::new(), "").len(), 2);
    assert!(a.changes_since(a.version(), "").is_empty());
}

#[test]
fn lag_is_exact() {
    let (mut a, mut b) = (fresh(1), fresh(2));
    connect(&mut a, &mut b);
    b.disconnect(LINK);
    a.disconnect(LINK);
    for n in 0..500 {
        a.write("n", &Op::Increment(1), None, NOW).unwrap();
        if a.take_commit().is_some() {
            a.committed(Now { mono: 2_000 + n, ..NOW });
        }
    }
    let status = &a.peers(Now { mono: 5_000, ..NOW })[0];
    assert_eq!((status.events_behind, status.events_ahead), (500, 0));
    assert_eq!(status.oldest_ms, 3_000);
    assert_eq!(status.last_contact_ms, 4_000);
    connect(&mut a, &mut b);
    sync(&mut a, &mut b, Now { mono: 4_000, ..NOW }).unwrap();
    // What is not urgent waits for something to go with.
    sync(&mut a, &mut b, Now { mono: 4_100, ..NOW }).unwrap();
    let status = &a.peers(Now { mono: 5_000, ..NOW })[0];
    assert_eq!((status.events_behind, status.oldest_ms), (0, 0));
}

/// Whoever joins is not to pay for what was removed before.
#[test]
fn what_a_new_leader_gets_does_not_depend_on_removals() {
    let element = |n: u64| format!("{n:020}").into_bytes();
    let bytes_for_a_new_leader = |pairs: u64| {
        let (mut a, mut b) = (fresh(1), fresh(2));
        a.write("s", &Op::Add((0..2_000).map(element).collect()), None, NOW).unwrap();
        for n in 0..pairs {
            // What lives is what was added at any time.
            let victim = element(n * 7_919 % (2_000 + n));
            if a.write("s", &Op::Remove(vec![victim]), None, NOW).unwrap().events == 1 {
                a.write("s", &Op::Add(vec![element(2_000 + n)]), None, NOW).unwrap();
            }
        }
        assert_eq!(a.set_len("s"), 2_000);
        connect(&mut a, &mut b);
        exchange(&mut b, &mut a).unwrap();
        let mut bytes = 0;
        while let Some(message) = a.poll(LINK, NOW) {
            bytes += message.encode().len();
            b.handle(LINK, message, NOW).unwrap();
        }
        assert_eq!(b.set_len("s"), 2_000);
        bytes
    };
    let (fresh, churned) = (bytes_for_a_new_leader(0), bytes_for_a_new_leader(20_000));
    assert!(churned * 100 <= fresh * 105, "{churned} bytes after removals, {fresh} before");
}

#[test]
fn in_step_a_beat_costs_a_few_bytes() {
    let (mut a, mut b) = (fresh(1), fresh(2));
    connect(&mut a, &mut b);
    for n in 0..1_000 {
        a.write(&format!("k{n}"), &Op::Increment(1), None, NOW).unwrap();
    }
    for _ in 0..3 {
        exchange(&mut a, &mut b).unwrap();
        exchange(&mut b, &mut a).unwrap();
    }
    let mut bytes = 0;
    for beat in 1..=10 {
        let now = Now { mono: NOW.mono + beat * 1_000, ..NOW };
        while let Some(message) = a.poll(LINK, now) {
            bytes += message.encode().len();
            b.handle(LINK, message, now).unwrap();
        }
    }
    assert!(bytes <= 10 * 32, "{bytes} bytes in ten beats");
    assert!(b.poll_event().is_some_and(|event| matches!(event, Event::Merged { events: 1_000, .. })));
    assert_eq!(b.poll_event(), None);
}

/// The bytes of the wire and store versions of today. If this fails, the version must change, and the old bytes must still
/// be refused (wire) or read (store) as documented.
#[test]
fn golden_bytes() {
    let recovery = Disk::default().recovery_as(0x7a6, Registry::new());
    let mut a = Engine::recover(Config::default(), identity(0xa1), recovery).unwrap();
    a.write("n", &Op::Increment(3), None, NOW).unwrap();
    a.write("s", &Op::Add(vec![b"x".to_vec()]), None, NOW).unwrap();
    a.write("s", &Op::Remove(vec![b"x".to_vec()]), None, NOW).unwrap();
    a.write("r", &Op::Assign(b"v".to_vec()), Some("once"), NOW).unwrap();
    let mut disk = Disk::default();
    disk.commit(a.take_commit().unwrap());
    a.committed(NOW);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let mut lines: Vec<String> =
        disk.0.iter().map(|(key, value)| format!("row {} {}", hex(key), hex(value))).collect();
    lines.push(format!("hello {}", hex(&a.hello().encode())));
    let talk = |a: &mut Engine, b: &mut Engine, lines: &mut Vec<String>| {
        for to_b in [true, false, true] {
            let (speaker, hearer) = if to_b { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            settle(speaker);
            let said: Vec<Message> = std::iter::from_fn(|| speaker.poll(LINK, NOW)).collect();
            for message in said {
                lines.push(format!("message {}", hex(&message.encode())));
                hearer.handle(LINK, message, NOW).unwrap();
            }
            settle(hearer);
        }
    };
    let mut b = fresh(0xb2);
    settle(&mut b);
    connect(&mut a, &mut b);
    // First what b asks for, then news.
    for _ in 0..2 {
        talk(&mut a, &mut b, &mut lines);
        a.write("n", &Op::Decrement(1), None, NOW).unwrap();
        a.write("s", &Op::Add(vec![b"y".to_vec(), b"z".to_vec()]), None, NOW).unwrap();
        a.write("r", &Op::Assign(b"w".to_vec()), None, NOW).unwrap();
    }
    // Merged state, where parts can be lost.
    let config = Config { retain: 0, part: 60, ordered: false, ..Config::default() };
    let (mut a, mut c) = (disk.open(0xa1, &config), Disk::default().open(0xc3, &config));
    settle(&mut c);
    connect(&mut a, &mut c);
    talk(&mut a, &mut c, &mut lines);
    talk(&mut a, &mut c, &mut lines);
    assert_eq!(c.counter("n"), Some(3));
    let found = lines.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
    if std::env::var_os("MESH_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap());
}
