//! Deltas that are well formed and wrong. Each is refused and named, changes nothing, and the leader can be recovered from
//! its store: what passes the checks can be joined, stored and read back.

use crate::{
    BadPiece, Commit, Config, Engine, HandleError, Hello, HelloError, Identity, Key, Kind, Message, Now, Op,
    Part, Recovery, Registry, SessionId, Taken,
    batch::{Batch, BatchPiece, Births, Body, Written},
    codec::encode,
    frame::{Frame, Passed},
    keyspace::KeyPiece,
    lineage::Lineages,
    said::{Names, Said},
    stream::{End, Item},
};
use crdt_core::{Dot, ReplicaId, Rows, wire::Wire};
use g_counter::GCounter;
use lww_register::HybridTime;
use or_set::Kernel;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{collections::BTreeMap, sync::Arc};
use version_vector::VersionVector;

mod frames;

const ME: u64 = 1;
const PEER: u64 = 2;
const LINK: SessionId = SessionId(0);
const NOW: Now = Now { wall: 1_000, mono: 1_000 };

#[derive(Default)]
struct Disk(BTreeMap<Vec<u8>, Vec<u8>>);

impl Disk {
    fn write(&mut self, commit: Commit) {
        commit.deletes.iter().for_each(|key| drop(self.0.remove(key)));
        self.0.extend(commit.puts);
    }

    fn open(&self, n: u64, config: Config) -> Engine {
        let mut recovery = Recovery::new(Registry::new(), n);
        self.0.iter().for_each(|(key, value)| recovery.row(key, value));
        let identity = Identity { cluster: "c".into(), name: format!("n{n}"), replica: ReplicaId::new(n) };
        Engine::recover(config, identity, recovery).expect("the store can be read")
    }

    fn settle(&mut self, engine: &mut Engine) {
        if let Some(commit) = engine.take_commit() {
            self.write(commit);
            engine.committed(NOW);
        }
    }
}

fn vector<const N: usize>(rows: [(u64, u64); N]) -> VersionVector {
    rows.into_iter().collect()
}

fn rows<const N: usize>(rows: [(u64, u64); N]) -> Rows {
    rows.into_iter().collect()
}

fn piece<const N: usize>(kind: Kind, name: &str, newest: [(u64, u64); N], bytes: Vec<u8>) -> KeyPiece {
    KeyPiece { key: Key::new(kind, name), newest: vector(newest), bytes }
}

/// A delta that fits into one part.
struct Delta {
    since: VersionVector,
    until: VersionVector,
    floor: Option<VersionVector>,
    lineages: Lineages,
    pieces: Vec<KeyPiece>,
}

impl Delta {
    fn items(&self) -> Vec<Item> {
        let Delta { since, until, floor, lineages, pieces } = self;
        let end = End { until: until.clone(), floor: floor.clone(), lineages: lineages.clone() };
        let pieces = pieces.iter().cloned().map(Item::Piece);
        let begin = Item::Begin { since: since.clone() };
        [begin].into_iter().chain(pieces).chain([Item::End(end)]).collect()
    }
}

fn bytes_of(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        item.write(&mut bytes);
    }
    bytes
}

fn part(delta: u64, number: u64, bytes: &[u8]) -> Message {
    Message::Part(Part { delta, number, bytes: bytes.to_vec(), payload: 0 })
}

/// A leader with three writes of its own, connected to a peer that may say anything.
struct Victim {
    engine: Engine,
    disk: Disk,
    deltas: u64,
}

impl Victim {
    fn new() -> Self {
        let mut disk = Disk::default();
        let mut engine = disk.open(ME, Config::default());
        for op in [Op::Increment(1), Op::Increment(1), Op::Add(vec![b"x".to_vec()])] {
            engine.write(op.kind().as_str(), &op, None, NOW).unwrap();
        }
        disk.settle(&mut engine);
        let hello = Disk::default().open(PEER, Config::default()).hello();
        engine.connect(LINK, &engine.hello(), hello, NOW).unwrap();
        Victim { engine, disk, deltas: 0 }
    }

    fn hears(&mut self, delta: &Delta) -> Result<(), HandleError> {
        self.hears_items(&delta.items())
    }

    fn hears_items(&mut self, items: &[Item]) -> Result<(), HandleError> {
        self.deltas += 1;
        let heard = self.engine.handle(LINK, part(self.deltas, 0, &bytes_of(items)), NOW);
        let before = (self.engine.version().clone(), self.engine.fingerprint());
        self.disk.settle(&mut self.engine);
        if heard.is_err() {
            assert_eq!((self.engine.version().clone(), self.engine.fingerprint()), before);
        }
        let recovered = self.disk.open(ME, Config::default());
        assert_eq!(recovered.version(), self.engine.version());
        assert_eq!(recovered.fingerprint(), self.engine.fingerprint());
        heard
    }

    fn refuses(&mut self, delta: &Delta) -> BadPiece {
        match self.hears(delta) {
            Err(HandleError::BadPiece { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn delta<const N: usize>(until: [(u64, u64); N], pieces: Vec<KeyPiece>) -> Delta {
    let (since, lineages) = (VersionVector::new(), BTreeMap::new());
    Delta { since, until: vector(until), floor: None, lineages, pieces }
}

#[test]
fn a_row_that_nobody_wrote() {
    let counter = encode(&GCounter::from(rows([(PEER, 1)])));
    let bad = delta([(ME, 3), (PEER, 1)], vec![piece(Kind::GCounter, "g", [], counter.clone())]);
    assert_eq!(Victim::new().refuses(&bad), BadPiece::Unnamed(ReplicaId::new(PEER)));
    let good = delta([(ME, 3), (PEER, 1)], vec![piece(Kind::GCounter, "g", [(PEER, 1)], counter)]);
    assert_eq!(Victim::new().hears(&good), Ok(()));
}

#[test]
fn survivors_without_a_floor_and_a_floor_without_survivors() {
    let kernel = Kernel::<Vec<u8>>::new();
    let none_left = kernel.slice_since(&VersionVector::new(), true).to_bytes();
    let bad = delta([(ME, 3), (PEER, 1)], vec![piece(Kind::Set, "or-set", [(PEER, 1)], none_left)]);
    assert_eq!(Victim::new().refuses(&bad), BadPiece::Survivors);
    let nothing_said = kernel.slice_since(&VersionVector::new(), false).to_bytes();
    let mut bad = delta([(ME, 3), (PEER, 1)], vec![piece(Kind::Set, "or-set", [(PEER, 1)], nothing_said)]);
    bad.floor = Some(vector([(PEER, 1)]));
    assert_eq!(Victim::new().refuses(&bad), BadPiece::Survivors);
}

#[test]
fn two_deltas_that_together_overflow_a_counter() {
    let mut victim = Victim::new();
    let full = rows([(PEER, u64::MAX)]);
    let up = encode(&(full.clone(), Rows::new()));
    victim.hears(&delta([(ME, 3), (PEER, 1)], vec![piece(Kind::PnCounter, "n", [(PEER, 1)], up)])).unwrap();
    let down = encode(&(Rows::new(), full));
    let bad = delta([(ME, 3), (PEER, 2)], vec![piece(Kind::PnCounter, "n", [(PEER, 2)], down)]);
    assert_eq!(victim.refuses(&bad), BadPiece::Overflow(ReplicaId::new(PEER)));
}

#[test]
fn an_update_of_another_key() {
    let up = encode(&(rows([(PEER, 1)]), Rows::new()));
    let evil = piece(Kind::PnCounter, "evil", [(ME, 2), (PEER, 1)], up.clone());
    let taken = Victim::new().refuses(&delta([(ME, 3), (PEER, 1)], vec![evil]));
    assert_eq!(taken, BadPiece::Taken(Dot::new(ReplicaId::new(ME), 2)));
    let twins = ["n", "m"].map(|name| piece(Kind::PnCounter, name, [(PEER, 1)], up.clone()));
    let taken = Victim::new().refuses(&delta([(ME, 3), (PEER, 1)], twins.to_vec()));
    assert_eq!(taken, BadPiece::Taken(Dot::new(ReplicaId::new(PEER), 1)));
}

#[test]
fn a_later_piece_of_a_key_takes_the_place_of_an_earlier_one() {
    let up = |by: u64| piece(Kind::PnCounter, "n", [(PEER, by)], encode(&(rows([(PEER, by)]), Rows::new())));
    let mut victim = Victim::new();
    let born = Kernel::<Vec<u8>>::new().slice_since(&VersionVector::new(), false).to_bytes();
    let mut twice =
        delta([(ME, 3), (PEER, 2)], vec![up(1), piece(Kind::Set, "gone", [(PEER, 1)], born), up(2)]);
    twice.pieces.swap(0, 1);
    let mut items = twice.items();
    items.insert(2, Item::Gone(Key::new(Kind::Set, "gone")));
    assert_eq!(victim.hears_items(&items), Ok(()));
    assert_eq!(victim.engine.counter("n"), Some(2));
    assert_eq!(victim.engine.keys("gone").count(), 0);
}

#[test]
fn items_at_the_wrong_place() {
    let whole = delta([(ME, 3), (PEER, 1)], Vec::new()).items();
    let begin = || Item::Begin { since: VersionVector::new() };
    let end = || delta([(ME, 3), (PEER, 1)], Vec::new()).items().pop().unwrap();
    let mut without = delta([(ME, 3)], Vec::new()).items();
    without.remove(0);
    let wrong = [without, vec![begin(), begin()], vec![begin(), end(), end()], vec![begin(), end(), begin()]];
    for items in wrong {
        assert!(matches!(Victim::new().hears_items(&items), Err(HandleError::Encoding(_))), "{items:?}");
    }
    let mut bytes = bytes_of(&whole);
    bytes.push(0x80);
    let refused = Victim::new().engine.handle(LINK, part(1, 0, &bytes), NOW);
    assert!(matches!(refused, Err(HandleError::Encoding(_))), "half a length after the end: {refused:?}");
    let refused = Victim::new().engine.handle(LINK, part(1, 0, &[0xff; 20]), NOW);
    assert!(matches!(refused, Err(HandleError::Encoding(_))), "a length of 20 bytes: {refused:?}");
    assert_eq!(Victim::new().hears_items(&whole), Ok(()));
}

/// A delta of 50 keys in parts of a few bytes, in any order and some of them twice.
#[test]
fn parts_in_any_order_make_one_delta() {
    let up = |n: u64| {
        piece(Kind::GCounter, &format!("k{n}"), [(PEER, n)], encode(&GCounter::from(rows([(PEER, n)]))))
    };
    let bytes = bytes_of(&delta([(PEER, 50)], (1..=50).map(up).collect()).items());
    let parts: Vec<Message> =
        bytes.chunks(30).enumerate().map(|(n, bytes)| part(7, n as u64, bytes)).collect();
    assert!((30..60).contains(&parts.len()), "{} parts, fewer than may be under way", parts.len());
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..20 {
        let mut engine = Disk::default().open(ME, Config { ordered: false, ..Config::default() });
        Disk::default().settle(&mut engine);
        let hello = Disk::default().open(PEER, Config::default()).hello();
        engine.connect(LINK, &engine.hello(), hello, NOW).unwrap();
        let mut sent: Vec<&Message> = parts.iter().chain(&parts[..9]).collect();
        sent.shuffle(&mut rng);
        let mut told = None;
        for message in sent {
            assert!(engine.version().is_empty(), "nothing is visible before all is there");
            engine.handle(LINK, message.clone(), NOW).unwrap();
            if engine.is_durable() {
                while let Some(message) = engine.poll(LINK, NOW) {
                    told = if let Message::Taken(taken) = message { Some(taken) } else { told };
                }
            } else {
                break;
            }
        }
        assert!(told.is_some_and(|taken| taken.next < parts.len() as u64), "{told:?}");
        engine.take_commit().unwrap();
        engine.committed(NOW);
        assert_eq!(engine.version(), &vector([(PEER, 50)]));
        assert_eq!((engine.key_count(), engine.g_counter("k50")), (50, Some(50)));
        while let Some(message) = engine.poll(LINK, NOW) {
            told = if let Message::Taken(taken) = message { Some(taken) } else { told };
        }
        assert_eq!(told, Some(Taken::all(7)));
    }
}

/// Whoever was asked last is listened to; what another one has sent until then is dropped, and it is told so.
#[test]
fn one_delta_is_staged_at_a_time() {
    let mut engine = Disk::default().open(ME, Config::default());
    Disk::default().settle(&mut engine);
    for n in 0..2 {
        let hello = Disk::default().open(PEER + n, Config::default()).hello();
        engine.connect(SessionId(n), &engine.hello(), hello, NOW).unwrap();
    }
    let begin = bytes_of(&delta([], Vec::new()).items()[..1]);
    engine.handle(SessionId(0), part(3, 0, &begin), NOW).unwrap();
    engine.handle(SessionId(1), part(9, 0, &begin), NOW).unwrap();
    let says = |engine: &mut Engine, n| {
        let mut said = Vec::new();
        while let Some(message) = engine.poll(SessionId(n), NOW) {
            said.extend(if let Message::Taken(taken) = message { Some(taken) } else { None });
        }
        said
    };
    assert_eq!(says(&mut engine, 0), []);
    assert_eq!(says(&mut engine, 1), [Taken::all(9)], "it was not asked");
    engine.relay.pulling.as_mut().unwrap().session = SessionId(1);
    engine.handle(SessionId(1), part(10, 0, &begin), NOW).unwrap();
    assert_eq!(says(&mut engine, 0), [Taken::all(3)], "another one was asked since");
    assert_eq!(says(&mut engine, 1), []);
    assert_eq!(engine.handle(SessionId(0), part(3, 1, &begin), NOW), Ok(()), "what was under way is ignored");
}

#[test]
fn more_of_a_leaders_own_updates_than_it_made() {
    let forged = encode(&(rows([(ME, 100)]), Rows::new()));
    let bad = delta([(ME, 3), (PEER, 1)], vec![piece(Kind::PnCounter, "pn-counter", [(ME, 2)], forged)]);
    assert_eq!(Victim::new().refuses(&bad), BadPiece::Forged(ReplicaId::new(ME)));
}

#[test]
fn more_replicas_than_a_mesh_may_have_also_in_two_steps() {
    let crowd =
        |from: u64| -> VersionVector { (from..from + 16_000).map(|id| (ReplicaId::new(id), 1)).collect() };
    let mut victim = Victim::new();
    let mut step = Delta { until: crowd(100), ..delta([], Vec::new()) };
    assert_eq!(victim.hears(&step), Ok(()));
    step.until = crowd(100_000);
    assert!(matches!(victim.hears(&step), Err(HandleError::TooManyReplicas { .. })));
    let other = Disk::default().open(3, Config::default());
    let hello = victim.engine.hello();
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello.clone()));
    let mut other = other;
    let sent = other.hello();
    assert_eq!(other.connect(LINK, &sent, hello, NOW), Ok(()), "it can still talk to others");
}

#[test]
fn unfinished_deltas_share_one_bound() {
    let mut engine = Disk::default().open(ME, Config { max_staged: 1_000, ..Config::default() });
    for n in 0..3 {
        let hello = Disk::default().open(PEER + n, Config::default()).hello();
        engine.connect(SessionId(n), &engine.hello(), hello, NOW).unwrap();
    }
    // The beginning of a value of a megabyte.
    let mut begin = encode(&1_000_000_u64);
    begin.resize(400, 0);
    assert_eq!(engine.handle(SessionId(0), part(1, 0, &begin), NOW), Ok(()));
    assert_eq!(engine.handle(SessionId(0), part(1, 1, &[0; 600]), NOW), Ok(()));
    let refused = engine.handle(SessionId(0), part(1, 2, &[0]), NOW);
    assert_eq!(refused, Err(HandleError::TooLarge { limit: 1_000 }));
    assert_eq!(engine.handle(SessionId(2), part(1, 0, &begin), NOW), Ok(()), "there is room again");
}

#[test]
fn who_is_always_behind_has_to_wait() {
    let mut victim = Victim::new();
    // Nothing is kept to be passed on as it is.
    victim.engine.config.retain = 0;
    while victim.engine.poll(LINK, NOW).is_some() {}
    let mut cuts = 0;
    for ms in 0..1_000 {
        let now = Now { mono: NOW.mono + ms, ..NOW };
        let names = vec![ReplicaId::new(ME)];
        let pull = Frame { number: ms + 2, names, pulls: vec![(0, 0)], ..Frame::default() };
        victim.engine.handle(LINK, message_of(&pull), now).unwrap();
        while let Some(message) = victim.engine.poll(LINK, now) {
            cuts += usize::from(matches!(message, Message::Part(Part { number: 0, .. })));
        }
    }
    assert!((1..=3).contains(&cuts), "{cuts} deltas were cut in a second");
}

fn message_of(frame: &Frame) -> Message {
    let (bytes, payload) = frame.encode(&Names::default(), &mut Said::default());
    Message::Frame(crate::Frame { bytes, payload })
}

fn alone(origin: u64, since: u64, until: u64) -> Batch {
    let pieces = vec![BatchPiece {
        key: Key::new(Kind::GCounter, "g").into(),
        newest: until,
        body: Body::GCounter(until),
    }];
    Batch { origin: ReplicaId::new(origin), since, until, deps: Vec::new(), lineage: None, pieces }
}

fn counted(origin: u64, since: u64, until: u64) -> Arc<Batch> {
    Arc::new(alone(origin, since, until))
}

/// A frame that names its replicas anew.
fn frame_of(number: u64, batches: Vec<Arc<Batch>>) -> Message {
    let named = |batch: &Arc<Batch>| {
        let deps = batch.deps.iter().map(|dep| dep.replica);
        std::iter::once(batch.origin).chain(deps).collect::<Vec<_>>()
    };
    let names = Names::new(batches.iter().flat_map(named));
    let told = names.from(0).to_vec();
    let pass = |batch: Arc<Batch>| {
        let place = names.place(batch.origin).expect("all are named");
        Passed { place, batch, early: false, hops: 0 }
    };
    let batches = batches.into_iter().map(pass).collect();
    let frame = Frame { number, names: told, batches, ..Frame::default() };
    let (bytes, payload) = frame.encode(&names, &mut Said::default());
    Message::Frame(crate::Frame { bytes, payload })
}

#[test]
fn batches_of_this_leader_that_it_did_not_cut_show_that_it_has_lost_updates() {
    let mut victim = Victim::new();
    let refused = victim.engine.handle(LINK, frame_of(2, vec![counted(ME, 3, 9)]), NOW);
    assert_eq!(refused, Err(HandleError::LostUpdates));
    assert_eq!(victim.engine.poll_event(), None, "nobody has said which run made them");

    let mut victim = Victim::new();
    let batch = Batch { deps: vec![Dot::new(ReplicaId::new(ME), 9)], ..alone(PEER, 0, 1) };
    let refused = victim.engine.handle(LINK, frame_of(2, vec![Arc::new(batch)]), NOW);
    assert_eq!(refused, Err(HandleError::LostUpdates), "it depends on them");
}

#[test]
fn a_batch_that_gives_an_update_to_another_key_is_refused() {
    let mut victim = Victim::new();
    victim.engine.handle(LINK, frame_of(2, vec![counted(PEER, 0, 5)]), NOW).unwrap();
    victim.disk.settle(&mut victim.engine);
    let elsewhere =
        BatchPiece { key: Key::new(Kind::GCounter, "h").into(), newest: 5, body: Body::GCounter(5) };
    let batch = Batch { pieces: vec![elsewhere], ..alone(PEER, 4, 6) };
    let refused = victim.engine.handle(LINK, frame_of(3, vec![Arc::new(batch)]), NOW);
    let key = Key::new(Kind::GCounter, "h");
    let why = BadPiece::Taken(Dot::new(ReplicaId::new(PEER), 5));
    assert_eq!(refused, Err(HandleError::BadPiece { key, why }));
    assert_eq!(victim.engine.version().get(ReplicaId::new(PEER)), 5);
}

#[test]
fn early_batches_are_bounded() {
    let config = Config { max_early: 100 * counted(PEER, 1, 2).bytes(), ..Config::default() };
    let mut engine = Disk::default().open(ME, config);
    let hello = Disk::default().open(PEER, Config::default()).hello();
    engine.connect(LINK, &engine.hello(), hello, NOW).unwrap();
    for n in 1..=1_000 {
        engine.handle(LINK, frame_of(n + 1, vec![counted(PEER, 2 * n, 2 * n + 1)]), NOW).unwrap();
    }
    assert_eq!(engine.early_bytes(), 100 * counted(PEER, 1, 2).bytes());
    assert_eq!(engine.version(), &VersionVector::new());
}

/// Dependencies that are all alike take next to no bytes in a frame, and 16 each in memory.
#[test]
fn a_frame_that_unpacks_to_more_than_fits_in_one_is_refused() {
    let names = Names::new((1..=2_000).map(ReplicaId::new));
    let deps: Vec<Dot> = (2..=2_000).map(|id| Dot::new(ReplicaId::new(id), 1)).collect();
    let frame = |count: u64| {
        let batch = |n| Batch { deps: deps.clone(), pieces: Vec::new(), ..alone(1, n, n + 1) };
        let batches = (0..count)
            .map(|n| Passed { place: 0, batch: Arc::new(batch(n)), early: false, hops: 0 })
            .collect();
        let frame = Frame { number: 2, names: names.from(0).to_vec(), batches, ..Frame::default() };
        let (mut bytes, _) = frame.encode(&names, &mut Said::default());
        bytes.extend(vec![0; usize::try_from(count).unwrap()]);
        bytes
    };
    let read = |bytes: &[u8]| {
        let read = crate::frame::decode(bytes, 2, &mut Names::default(), &mut Said::default(), &|_| None);
        read.unwrap_err().to_string()
    };
    assert!(frame(100).len() < 22_000);
    assert!(read(&frame(100)).contains("more in a frame than fits"));
    assert!(!read(&frame(10)).contains("more in a frame"), "only that bytes are left over");
}

/// The batches of the first origin each wait for one of the second, which come behind them.
#[test]
fn a_frame_with_more_than_there_is_room_for_is_taken_by_and_by() {
    let config = Config { max_early: 10 * counted(PEER, 1, 2).bytes(), ..Config::default() };
    let mut engine = Disk::default().open(ME, config);
    let hello = Disk::default().open(PEER, Config::default()).hello();
    engine.connect(LINK, &engine.hello(), hello, NOW).unwrap();
    let (first, second) = (3, 4);
    let after =
        |n| Arc::new(Batch { deps: vec![Dot::new(ReplicaId::new(second), n)], ..alone(first, n - 1, n) });
    let batches = (1..=100).map(after).chain((1..=100).map(|n| counted(second, n - 1, n))).collect();
    engine.handle(LINK, frame_of(2, batches), NOW).unwrap();
    Disk::default().settle(&mut engine);
    assert_eq!(engine.version(), &vector([(first, 100), (second, 100)]));
    assert_eq!(engine.early_bytes(), 0);
}

/// Frames whose every byte was once another one: none panics, and whatever is taken can be stored and recovered.
#[test]
fn damaged_frames() {
    let dots = vec![(2, Dot::new(ReplicaId::new(ME), 3)), (5, Dot::new(ReplicaId::new(PEER), 1))];
    let set = Body::Set { births: vec![(1, b"x".to_vec()), (4, b"y".to_vec())].into(), deaths: dots };
    let written = Written { time: HybridTime::from_millis(7), counter: 3, value: b"v".to_vec() };
    let bodies = [
        ("r", Kind::Register, 3, Body::Register(Some(written))),
        ("s", Kind::Set, 5, set),
        ("n", Kind::PnCounter, 6, Body::PnCounter(3, 4)),
    ];
    let pieces = bodies.map(|(name, kind, newest, body)| BatchPiece {
        key: Key::new(kind, name).into(),
        newest,
        body,
    });
    let deps = vec![Dot::new(ReplicaId::new(ME), 2)];
    let batch = Batch { deps, pieces: pieces.into(), ..alone(PEER, 0, 7) };
    let names = Names::new([PEER, ME].into_iter().map(ReplicaId::new));
    let frame = Frame {
        number: 2,
        names: names.from(0).to_vec(),
        modes: vec![(0, false)],
        told: vec![(1, 3)],
        batches: vec![Passed { place: 0, batch: Arc::new(batch), early: true, hops: 3 }],
        ..Frame::default()
    };
    let (bytes, _) = frame.encode(&names, &mut Said::default());
    let read =
        |bytes: &[u8]| crate::frame::decode(bytes, 2, &mut Names::default(), &mut Said::default(), &|_| None);
    assert_eq!(read(&bytes), Ok(frame));
    damaged(&bytes, |bytes| Message::Frame(bytes.to_vec().into()));
    (0..bytes.len()).for_each(|at| assert!(read(&bytes[..at]).is_err(), "cut at {at}"));
}

/// Sends a message whose every byte was once every other one: what is stored is what is there, and some are taken.
fn damaged(bytes: &[u8], message: impl Fn(&[u8]) -> Message) {
    let mut taken = 0;
    for at in 0..bytes.len() {
        for other in 0..=255 {
            let mut bytes = bytes.to_vec();
            bytes[at] = other;
            let mut victim = Victim::new();
            let heard = victim.engine.handle(LINK, message(&bytes), NOW);
            victim.disk.settle(&mut victim.engine);
            let recovered = victim.disk.open(ME, Config::default());
            assert_eq!(recovered.fingerprint(), victim.engine.fingerprint());
            taken += usize::from(heard.is_ok());
        }
    }
    assert!(taken > 0);
}

/// Deltas whose every byte was once another one, or that end too early: as with frames.
#[test]
fn damaged_deltas() {
    let mut kernel = Kernel::new();
    kernel.add(Dot::new(ReplicaId::new(PEER), 1), b"x".to_vec(), &mut |_| ());
    kernel.remove(Dot::new(ReplicaId::new(PEER), 2), b"x".as_slice(), &mut |_| ());
    kernel.add(Dot::new(ReplicaId::new(PEER), 3), b"y".to_vec(), &mut |_| ());
    let set = kernel.slice_since(&VersionVector::new(), true).to_bytes();
    let up = encode(&(rows([(PEER, 4)]), Rows::new()));
    let pieces =
        vec![piece(Kind::Set, "or-set", [(PEER, 3)], set), piece(Kind::PnCounter, "n", [(PEER, 4)], up)];
    let whole = Delta { floor: Some(vector([(PEER, 2)])), ..delta([(ME, 3), (PEER, 4)], pieces) };
    let bytes = bytes_of(&whole.items());
    damaged(&bytes, |bytes| part(1, 0, bytes));
    for at in 0..bytes.len() {
        let mut victim = Victim::new();
        let before = victim.engine.fingerprint();
        assert_eq!(victim.engine.handle(LINK, part(1, 0, &bytes[..at]), NOW), Ok(()), "the rest may come");
        assert_eq!(victim.engine.fingerprint(), before);
    }
}

/// Whatever is said of a delta under way, or of none, is heard without harm.
#[test]
fn acknowledgements_of_anything() {
    let mut victim = Victim::new();
    victim.engine.config.retain = 0;
    let numbers = [0, 1, 2, 63, 64, 65, u64::MAX - 64, u64::MAX - 1, u64::MAX];
    for (delta, next, ahead) in
        numbers.iter().flat_map(|a| numbers.iter().flat_map(|b| numbers.map(|c| (*a, *b, c))))
    {
        let names = vec![ReplicaId::new(ME)];
        let pull = Frame { number: 2, names, pulls: vec![(0, 0)], ..Frame::default() };
        let hello = Disk::default().open(PEER, Config::default()).hello();
        victim.engine.connect(LINK, &victim.engine.hello(), hello, NOW).unwrap();
        victim.engine.handle(LINK, message_of(&pull), NOW).unwrap();
        while victim.engine.poll(LINK, NOW).is_some() {}
        let taken = Message::Taken(Taken { delta, next, ahead });
        assert_eq!(victim.engine.handle(LINK, taken, NOW), Ok(()));
        while victim.engine.poll(LINK, NOW).is_some() {}
    }
}

/// A sign of life that was overtaken says that the peer has what this leader has. It has told of more since, which what it
/// sends may depend on.
#[test]
fn an_old_sign_of_life_takes_nothing_back() {
    let mut victim = Victim::new();
    let said: Vec<Message> = std::iter::from_fn(|| victim.engine.poll(LINK, NOW)).collect();
    let alive = said.into_iter().find(|message| matches!(message, Message::Alive { .. }));
    let told = Frame { number: 2, names: vec![ReplicaId::new(PEER)], told: vec![(0, 5)], ..Frame::default() };
    victim.engine.handle(LINK, message_of(&told), NOW).unwrap();
    victim.engine.handle(LINK, alive.unwrap(), NOW).unwrap();
    assert_eq!(victim.engine.peers(NOW)[0].vector, vector([(ME, 3), (PEER, 5)]));
}

#[test]
fn names_that_would_spoil_a_report() {
    let hello = Disk::default().open(PEER, Config::default()).hello();
    for name in ["", "a\nb", "\u{1b}[31mred", &"x".repeat(256)] {
        let bad = Hello { name: name.into(), ..hello.clone() };
        assert_eq!(Hello::decode(&bad.encode()), Err(HelloError::BadName), "{name:?}");
    }
}
