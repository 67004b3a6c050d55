//! Single cases of what differs, and peers that say what they should not.

#[path = "../../tests/common/mod.rs"]
mod common;
mod histories;

use super::*;
use crate::{
    Blob, Config, HandleError, Key, Kind, Op, Registry, Repair, Stamp,
    codec::decode_whole,
    keyspace::{KeyPiece, damage::Seen},
};
use common::{Disk, Mesh, all_to_all};
use crdt_core::Dot;
use lww_register::HybridTime;
use or_set::Slice;
use rand::RngExt;
use std::collections::BTreeMap;

const LINK: SessionId = SessionId(0);

/// Two leaders, and what they say in exchanges.
struct Two {
    leaders: [Engine; 2],
    disks: [Disk; 2],
    now: Now,
    steps: Vec<(usize, Step)>,
    events: [Vec<Event>; 2],
}

impl Two {
    fn new() -> Self {
        let config = Config { heartbeat: 100, resend: 1_000, ..Config::default() };
        let disks = [Disk::default(), Disk::default()];
        let leaders = [0, 1].map(|n| disks[n].open(n as u64 + 1, &config));
        let now = Now { wall: 1_700_000_000_000, mono: 1_000 };
        let mut two = Two { leaders, disks, now, steps: Vec::new(), events: [Vec::new(), Vec::new()] };
        for (n, of) in [(0, b'0'), (1, b'1')] {
            two.write(n, "c", &Op::Grow(4 + n as u64));
            two.write(n, &format!("r{n}"), &Op::Assign(b"value".to_vec()));
            two.write(n, &format!("n{n}"), &Op::Increment(7));
            let elements = (0..50_u8).map(|element| vec![element, of]);
            two.write(n, "s", &Op::Add(elements.collect()));
        }
        two.write(0, "s", &Op::Remove((0..20_u8).map(|element| vec![element, b'0']).collect()));
        two.connect();
        two.pass(10);
        assert!(two.agree() && two.steps.is_empty());
        two
    }

    fn write(&mut self, n: usize, name: &str, op: &Op) {
        self.leaders[n].write(name, op, None, self.now).unwrap();
    }

    fn settle(&mut self) {
        for (n, leader) in self.leaders.iter_mut().enumerate() {
            if let Some(commit) = leader.take_commit() {
                self.disks[n].commit(commit);
                leader.committed(self.now);
            }
            self.events[n].extend(std::iter::from_fn(|| leader.poll_event()));
        }
    }

    fn connect(&mut self) {
        self.settle();
        let hellos = [self.leaders[0].hello(), self.leaders[1].hello()];
        for n in [0, 1] {
            self.leaders[n].connect(LINK, &hellos[n], hellos[1 - n].clone(), self.now).unwrap();
        }
    }

    /// So many heartbeats pass. Whatever is said is heard at once, as bytes.
    fn pass(&mut self, beats: usize) {
        for _ in 0..beats {
            self.now.mono += 100;
            loop {
                self.settle();
                let said: Vec<_> = [0, 1]
                    .into_iter()
                    .filter_map(|n| Some((n, self.leaders[n].poll(LINK, self.now)?)))
                    .collect();
                if said.is_empty() {
                    break;
                }
                for (n, message) in said {
                    let heard = Message::decode(&message.encode()).unwrap();
                    if let Message::Reconcile(part) = message {
                        self.steps.push((n, decode_whole(&part.bytes).unwrap()));
                    }
                    self.leaders[1 - n].handle(LINK, heard, self.now).unwrap();
                }
            }
        }
    }

    fn agree(&self) -> bool {
        let [a, b] = &self.leaders;
        a.version() == b.version() && a.fingerprint() == b.fingerprint()
    }

    fn id(&self, n: usize, kind: Kind, name: &str) -> usize {
        let (space, key) = (&self.leaders[n].space, Key::new(kind, name));
        space.ids().into_iter().find(|id| space.key(*id) == Some(&key)).unwrap()
    }

    /// Leader 0 loses a birth of leader 1's, and leader 1 a value of leader 0's and some of its counts.
    fn damage(&mut self) {
        let set = self.id(0, Kind::Set, "s");
        let mut live = self.leaders[0].space.seen(set).unwrap().live;
        let gone = live.iter().find(|birth| birth.0.replica == ReplicaId::new(2)).cloned().unwrap();
        live.remove(&gone);
        let deaths = self.leaders[0].space.deaths_in(set);
        self.leaders[0].space.damage_set(set, live, deaths);
        let (register, counter) = (self.id(1, Kind::Register, "r0"), self.id(1, Kind::GCounter, "c"));
        let space = &mut self.leaders[1].space;
        assert!(space.damage_register(register, b"other".to_vec(), |stamp| stamp));
        assert!(space.damage_counter(counter, |id, total| if id == ReplicaId::new(1) { 1 } else { total }));
        self.settle();
        assert!(!self.agree());
    }

    fn reconciled(&self, n: usize) -> Vec<&Vec<Repair>> {
        let of = self.events[n].iter().map(|event| match event {
            Event::Reconciled { repairs, .. } => Some(repairs),
            _ => None,
        });
        of.flatten().collect()
    }
}

#[test]
fn what_differs_is_found_repaired_named_and_stored_on_both_sides() {
    let mut two = Two::new();
    two.damage();
    two.pass(3);
    assert!(two.agree());
    let names = two.steps.iter().map(|(n, step)| match step {
        Step::Ask { .. } => (*n, "ask"),
        Step::Symbols { .. } => (*n, "symbols"),
        Step::Differ { .. } => (*n, "differ"),
        Step::Found { .. } => (*n, "found"),
        Step::Ended { .. } => (*n, "ended"),
    });
    assert!(names.eq([(0, "ask"), (1, "symbols"), (0, "differ"), (1, "found")]), "{:?}", two.steps);
    let repair = |kind, name, taken, given| Repair { taken, given, ..Repair::of(Key::new(kind, name)) };
    let mut expected =
        [repair(Kind::GCounter, "c", 0, 1), repair(Kind::Register, "r0", 0, 1), repair(Kind::Set, "s", 1, 0)];
    assert_eq!(two.reconciled(0), [&expected.to_vec()]);
    for (repair, (taken, given)) in expected.iter_mut().zip([(1, 1), (1, 1), (0, 1)]) {
        (repair.taken, repair.given) = (taken, given);
    }
    assert_eq!(two.reconciled(1), [&expected.to_vec()]);
    assert!(two.leaders.iter().all(|leader| leader.register("r0").unwrap().0 == b"value"));
    for n in [0, 1] {
        let recovered = two.disks[n].open(n as u64 + 1, &Config::default());
        assert_eq!(recovered.fingerprint(), two.leaders[0].fingerprint());
    }
    two.pass(50);
    assert_eq!(two.steps.len(), 4, "there is nothing more to say");
}

#[test]
fn a_removal_that_one_side_remembers_is_a_removal_on_both() {
    for forgets in [0, 1] {
        let mut two = Two::new();
        let set = two.id(forgets, Kind::Set, "s");
        let space = &mut two.leaders[forgets].space;
        let (mut live, mut deaths) = (space.seen(set).unwrap().live, space.deaths_in(set));
        let (_, killed) = deaths.remove(3);
        live.insert((killed, vec![3, b'0']));
        space.damage_set(set, live, deaths);
        two.settle();
        two.pass(3);
        assert!(two.agree());
        assert!(!two.leaders[0].members("s").contains(&[3, b'0'].as_slice()));
        let repair = Repair { ended: 1, given: 1, ..Repair::of(Key::new(Kind::Set, "s")) };
        let ended: usize = two.reconciled(forgets).into_iter().flatten().map(|repair| repair.ended).sum();
        assert_eq!(ended, repair.ended, "{:?}", two.events);
    }
}

#[test]
fn nobody_counts_under_this_leaders_id_and_a_peer_that_says_so_is_asked_ever_less() {
    for n in [0, 1] {
        let mut two = Two::new();
        let (counter, me) = (two.id(n, Kind::GCounter, "c"), ReplicaId::new(n as u64 + 1));
        let space = &mut two.leaders[n].space;
        assert!(space.damage_counter(counter, |id, total| if id == me { 2 } else { total }));
        let version = space.version().clone();
        two.settle();
        two.pass(400);
        assert_eq!(two.leaders[n].g_counter("c"), Some(if n == 0 { 2 + 5 } else { 2 + 4 }));
        assert_eq!(two.leaders[n].version(), &version);
        assert!(two.reconciled(n).into_iter().flatten().all(|repair| repair.refused));
        let asked = two.steps.iter().filter(|(_, step)| matches!(step, Step::Ask { .. })).count();
        assert!((4..10).contains(&asked), "asked {asked} times");
        let all = |(_, step): &(usize, Step)| matches!(step, Step::Differ { wanted: None, .. });
        assert!(two.steps.iter().any(all), "in the end they tell each other everything");
        // Under a new id its old counts are anybody's.
        two.leaders[n].reincarnate(ReplicaId::new(9));
        two.connect();
        two.now.mono += 1_000_000;
        two.pass(5);
        assert!(two.agree() && two.leaders[n].g_counter("c") == Some(9));
    }
}

#[test]
fn a_leader_without_metadata_shows_nothing_and_takes_no_writes_until_it_has_it_back() {
    let mut two = Two::new();
    two.write(1, "s", &Op::Add(vec![b"own".to_vec()]));
    two.write(1, "c", &Op::Grow(100));
    two.settle();
    let rows = std::mem::take(&mut two.disks[1].0);
    two.disks[1].0 = rows.into_iter().filter(|row| row.0 != b"history").collect();
    let recovery = |id: Option<u64>| {
        let recovery = crate::Recovery::new(Registry::new(), 77);
        let recovery = id.into_iter().fold(recovery, |it, id| it.without_metadata(ReplicaId::new(id)));
        let recovery = two.disks[1].read_into(recovery);
        Engine::recover(two.leaders[1].config.clone(), common::identity(2), recovery)
    };
    assert_eq!(recovery(None).err(), Some(crate::RecoverError::NoMetadata));
    for used in [1, 2] {
        let refused = recovery(Some(used)).err();
        assert_eq!(refused, Some(crate::RecoverError::UsedReplica(ReplicaId::new(used))));
    }
    let lost = recovery(Some(3)).unwrap();
    two.leaders[0].disconnect(LINK);
    two.leaders[1] = lost;
    assert!(two.leaders[1].has_lost_metadata() && two.leaders[1].key_count() == 0);
    let refused = two.leaders[1].write("s", &Op::Clear, None, two.now);
    assert_eq!(refused, Err(crate::WriteError::LostMetadata));
    assert_eq!(two.leaders[1].take_commit(), None, "what is there stays there");
    two.connect();
    let before = two.leaders[0].fingerprint();
    while two.leaders[1].has_lost_metadata() {
        two.leaders[1].poll(LINK, two.now).into_iter().for_each(|message| {
            two.leaders[0].handle(LINK, message, two.now).unwrap();
        });
        two.leaders[0].poll(LINK, two.now).into_iter().for_each(|message| {
            two.leaders[1].handle(LINK, message, two.now).unwrap();
        });
    }
    assert_eq!(two.leaders[0].fingerprint(), before, "who helps is not changed by it");
    two.settle();
    let restored = two.events[1].iter().find(|event| matches!(event, Event::Restored { .. }));
    let expected = Event::Restored { peer: ReplicaId::new(1), keys: 2, unsent: 2, refused: Vec::new() };
    assert_eq!(restored, Some(&expected));
    two.leaders[0].disconnect(LINK);
    two.write(1, "c", &Op::Grow(1_000));
    two.connect();
    two.pass(5);
    assert!(two.agree());
    assert_eq!(two.leaders[0].g_counter("c"), Some(4 + 5 + 100 + 1_000));
    assert!(two.leaders[0].members("s").contains(&b"own".as_slice()));
    assert_eq!(two.disks[1].open(2, &Config::default()).identity().replica, ReplicaId::new(3));
}

/// Lets leader `n` hear, instead of the `nth` step that the other says, what `change` makes of it.
fn hears_instead(
    two: &mut Two,
    n: usize,
    nth: usize,
    change: &dyn Fn(Step) -> Vec<u8>,
) -> Result<(), HandleError> {
    let mut count = 0;
    for _ in 0..40 {
        two.now.mono += 25;
        two.settle();
        for speaker in [0, 1] {
            while let Some(message) = two.leaders[speaker].poll(LINK, two.now) {
                let message = match message {
                    Message::Reconcile(part) if speaker != n => {
                        count += 1;
                        let step: Step = decode_whole(&part.bytes).unwrap();
                        let bytes = if count == nth { change(step) } else { part.bytes };
                        Message::Reconcile(StepPart { bytes, ..part })
                    }
                    other => other,
                };
                two.leaders[1 - speaker].handle(LINK, message, two.now)?;
                two.settle();
            }
        }
    }
    Ok(())
}

/// Every byte of every step was once another one: nobody panics, and whatever is taken can be stored and recovered.
#[test]
fn damaged_steps() {
    let (mut refused, mut heard) = (0, 0);
    for (n, nth) in [(1, 1), (1, 2), (0, 1), (0, 2)] {
        let length = {
            let (mut two, length) = (Two::new(), std::cell::Cell::new(0));
            two.damage();
            let keep = |step: Step| {
                length.set(encode(&step).len());
                encode(&step)
            };
            hears_instead(&mut two, n, nth, &keep).unwrap();
            assert!(two.agree());
            length.get()
        };
        for at in (0..length).step_by(1 + length / 200) {
            for by in [1, 0x80, 0xff] {
                let mut two = Two::new();
                two.damage();
                let version = two.leaders[n].version().clone();
                let change = |step: Step| {
                    let mut bytes = encode(&step);
                    bytes[at] ^= by;
                    bytes
                };
                match hears_instead(&mut two, n, nth, &change) {
                    Ok(()) => heard += 1,
                    Err(_) => refused += 1,
                }
                two.settle();
                let leader = &two.leaders[n];
                assert_eq!(leader.version(), &version);
                let recovered = two.disks[n].open(n as u64 + 1, &Config::default());
                assert_eq!(recovered.fingerprint(), leader.fingerprint());
            }
        }
    }
    assert!(refused > 50 && heard > 50, "{refused} refused, {heard} heard");
}

/// If the first symbols are too few, more follow; if they would never be enough, everything does.
#[test]
fn symbols_that_are_not_enough() {
    for too_different in [false, true] {
        let mut two = Two::new();
        two.damage();
        let items: Vec<u64> = two.leaders[1].space.items().collect();
        let change = |step: Step| {
            let Step::Symbols { seed, .. } = step else { panic!("{step:?}") };
            let snapshot = Snapshot::new(Seed::new(seed), items.iter().copied());
            let few = snapshot.answer(&Request::symbols(Seed::new(seed), 0..2), 2).unwrap().to_bytes();
            encode(&Step::Symbols { seed, answer: Some(few).filter(|_| !too_different) })
        };
        hears_instead(&mut two, 0, 1, &change).unwrap();
        two.settle();
        assert!(two.agree());
        let attempts = two.leaders[0].peers[&ReplicaId::new(2)].dealings.asked;
        assert!(attempts <= 1, "the first attempt was good");
        let named: Vec<_> = two.reconciled(1).into_iter().flatten().map(|repair| &*repair.key.name).collect();
        assert_eq!(named, if too_different { vec!["c", "r0"] } else { vec!["c", "r0", "s"] });
    }
}

/// Well formed, and wrong.
#[test]
fn records_that_are_refused() {
    let set = |births: Vec<(Dot, Blob)>, deaths| Slice::from_parts(births, deaths).unwrap().to_bytes();
    let dot = |replica, counter| Dot::new(ReplicaId::new(replica), counter);
    let piece =
        |kind, name: &str, bytes| KeyPiece { key: Key::new(kind, name), newest: VersionVector::new(), bytes };
    let beyond = 1_000;
    let refused = [
        (piece(Kind::Set, "s", set(vec![(dot(2, beyond), b"x".to_vec())], vec![])), "lies outside"),
        (piece(Kind::Set, "s", set(vec![], vec![(dot(2, beyond), dot(2, 5))])), "lies outside"),
        (piece(Kind::Set, "s", set(vec![], vec![(dot(2, 5), dot(2, beyond))])), "lies outside"),
        (piece(Kind::Set, "t", set(vec![(dot(2, 2), b"x".to_vec())], vec![])), "belongs to another key"),
        (piece(Kind::from("own"), "t", vec![]), "no type of that name"),
        (piece(Kind::Set, "", set(vec![], vec![(dot(2, 5), dot(2, 6))])), "a name of 0 bytes"),
    ];
    for (record, expected) in refused {
        let mut two = Two::new();
        two.damage();
        let before = two.leaders[0].fingerprint();
        let change = |step: Step| match step {
            Step::Found { seed, source, .. } => {
                encode(&Step::Found { seed, records: Records(vec![record.clone()]), source })
            }
            other => encode(&other),
        };
        let why = hears_instead(&mut two, 0, 2, &change).unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
        assert_eq!(two.leaders[0].fingerprint(), before);
    }
}

#[test]
fn questions_are_answered_now_and_then_only() {
    let mut two = Two::new();
    let digest = digest(two.leaders[1].version());
    let mut answers = 0;
    for ms in 0..1_000 {
        two.now.mono += 1;
        let question = Reconciliation::new(Seed::new(ms), 0..10, 100).request().to_bytes();
        let step = encode(&Step::Ask { request: question, vector: Some(digest) });
        two.leaders[1].handle(LINK, Message::Reconcile(step.into()), two.now).unwrap();
        while let Some(message) = two.leaders[1].poll(LINK, two.now) {
            answers += usize::from(matches!(message, Message::Reconcile(_)));
        }
    }
    assert!((2..=6).contains(&answers), "{answers} answers in ten heartbeats");
}

/// The bytes of each step. If this fails, the wire version must change.
#[test]
fn golden_steps() {
    let mut two = Two::new();
    two.damage();
    two.pass(3);
    let set = Slice::<Blob>::from_parts(
        vec![],
        vec![(Dot::new(ReplicaId::new(2), 5), Dot::new(ReplicaId::new(1), 4))],
    );
    let bytes = set.unwrap().to_bytes();
    let record = KeyPiece { key: Key::new(Kind::Set, "s"), newest: VersionVector::new(), bytes };
    two.steps.push((0, Step::Ended { seed: 7, records: Records(vec![record]) }));
    let source = two.leaders[0].space.source(&VersionVector::new());
    two.steps.push((0, Step::Found { seed: 7, records: Records::default(), source: Some(source) }));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let lines =
        two.steps.iter().map(|(_, step)| hex(&Message::Reconcile(encode(step).into()).encode()) + "\n");
    let found = lines.collect::<String>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_reconcile.txt");
    if std::env::var_os("MESH_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap());
}
