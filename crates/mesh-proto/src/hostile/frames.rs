//! Frames that are well formed and meant to harm: those who hear them, or those to whom what is in them is passed on.

use super::*;

/// A leader that is connected to a peer that may say anything, and to an honest one.
struct Between {
    victim: Victim,
    honest: Engine,
    disk: Disk,
}

const HONEST: u64 = 3;
const OTHER: SessionId = SessionId(1);

impl Between {
    fn new() -> Self {
        let mut victim = Victim::new();
        let mut disk = Disk::default();
        let mut honest = disk.open(HONEST, Config::default());
        disk.settle(&mut honest);
        let (theirs, ours) = (honest.hello(), victim.engine.hello());
        victim.engine.connect(OTHER, &ours, theirs.clone(), NOW).unwrap();
        honest.connect(OTHER, &theirs, ours, NOW).unwrap();
        Between { victim, honest, disk }
    }

    /// Lets the two honest ones talk until they have nothing to say.
    fn talk(&mut self, now: Now) -> Result<(), HandleError> {
        loop {
            self.victim.disk.settle(&mut self.victim.engine);
            self.disk.settle(&mut self.honest);
            let to_honest = self.victim.engine.poll(OTHER, now);
            let to_victim = self.honest.poll(OTHER, now);
            if to_honest.is_none() && to_victim.is_none() {
                return Ok(());
            }
            to_honest.map_or(Ok(()), |message| self.honest.handle(OTHER, message, now))?;
            to_victim.map_or(Ok(()), |message| self.victim.engine.handle(OTHER, message, now))?;
        }
    }
}

#[test]
fn a_way_as_long_as_a_number_can_say_is_passed_on() {
    let mut between = Between::new();
    let names = Names::new([ReplicaId::new(PEER)].into_iter());
    let passed = Passed { place: 0, batch: counted(PEER, 0, 1), early: false, hops: u64::MAX - 1 };
    let frame = Frame { number: 2, names: names.from(0).to_vec(), batches: vec![passed], ..Frame::default() };
    let (bytes, _) = frame.encode(&names, &mut Said::default());
    between.victim.engine.handle(LINK, Message::Frame(bytes.into()), NOW).unwrap();
    between.talk(NOW).unwrap();
    assert_eq!(between.honest.version().get(ReplicaId::new(PEER)), 1);
}

/// A batch that waits for an update that nobody made, passed on by an honest leader to the one that should have made it.
#[test]
fn who_passes_on_what_waits_for_a_leader_is_not_refused_by_it() {
    let mut between = Between::new();
    let waits = Batch { deps: vec![Dot::new(ReplicaId::new(HONEST), 9)], ..alone(PEER, 0, 1) };
    between.victim.engine.handle(LINK, frame_of(2, vec![Arc::new(waits)]), NOW).unwrap();
    assert_eq!(between.talk(NOW), Ok(()));
    between.honest.write("n", &Op::Increment(1), None, NOW).unwrap();
    assert_eq!(between.talk(NOW), Ok(()));
    assert_eq!(between.victim.engine.version(), &vector([(ME, 3), (HONEST, 1)]));
}

/// A batch that cannot be shown, and waits for an update of an honest leader.
#[test]
fn what_waits_and_is_bad_is_not_the_fault_of_who_brings_what_it_waits_for() {
    let mut between = Between::new();
    let never_made = vec![(1, Dot::new(ReplicaId::new(PEER), 50))];
    let body = Body::Set { births: Births::new(), deaths: never_made };
    let pieces = vec![BatchPiece { key: Key::new(Kind::Set, "s").into(), newest: 1, body }];
    let bad = Batch { deps: vec![Dot::new(ReplicaId::new(HONEST), 1)], pieces, ..alone(PEER, 0, 1) };
    let after_it = Batch { deps: vec![Dot::new(ReplicaId::new(PEER), 1)], ..alone(4, 0, 1) };
    let frame = frame_of(2, vec![Arc::new(bad), Arc::new(after_it)]);
    between.victim.engine.handle(LINK, frame, NOW).unwrap();
    between.honest.write("n", &Op::Increment(1), None, NOW).unwrap();
    between.disk.settle(&mut between.honest);
    while let Some(message) = between.honest.poll(OTHER, NOW) {
        assert_eq!(between.victim.engine.handle(OTHER, message, NOW), Ok(()));
    }
    between.victim.disk.settle(&mut between.victim.engine);
    assert_eq!(between.victim.engine.version(), &vector([(ME, 3), (HONEST, 1)]));
    assert_eq!(
        between.victim.engine.early_bytes(),
        counted(4, 0, 1).bytes() + 16,
        "it may still come to that"
    );
}

/// Each is less than what fits into a frame, and both together are more: nobody could pass them on in one.
#[test]
fn a_batch_that_is_larger_than_any_that_is_passed_on_is_refused() {
    let of_size = |since: u64, elements: u64| {
        let births: Vec<_> = (1..=elements).map(|n| (since + n, vec![7; 3_968])).collect();
        let newest = since + elements;
        let body = Body::Set { births: births.into(), deaths: Vec::new() };
        let pieces = vec![BatchPiece { key: Key::new(Kind::Set, "s").into(), newest, body }];
        Arc::new(Batch { pieces, ..alone(PEER, since, newest) })
    };
    let mut between = Between::new();
    let (small, fits) = (of_size(0, 30), of_size(30, 60));
    between.victim.engine.handle(LINK, frame_of(2, vec![small]), NOW).unwrap();
    between.victim.engine.handle(LINK, frame_of(3, vec![fits]), NOW).unwrap();
    let refused = between.victim.engine.handle(LINK, frame_of(4, vec![of_size(90, 90)]), NOW);
    assert!(matches!(refused, Err(HandleError::Encoding(_))), "{refused:?}");
    assert_eq!(between.talk(NOW), Ok(()));
    assert_eq!(between.honest.version().get(ReplicaId::new(PEER)), 90);
}

/// Batches that wait for crowds of replicas that nobody else knows of, more than may be named on one connection.
#[test]
fn what_is_passed_on_names_no_more_replicas_than_a_mesh_may_have() {
    let mut between = Between::new();
    for (session, origin) in [(2, PEER), (3, 4)] {
        let crowd = (1..=12_000).map(|n| Dot::new(ReplicaId::new(100_000 * origin + n), 1)).collect();
        let waits = Batch { deps: crowd, ..alone(origin, 0, 1) };
        let hello = Disk::default().open(origin + 10, Config::default()).hello();
        let sent = between.victim.engine.hello();
        between.victim.engine.connect(SessionId(session), &sent, hello, NOW).unwrap();
        let frame = frame_of(2, vec![Arc::new(waits)]);
        assert_eq!(between.victim.engine.handle(SessionId(session), frame, NOW), Ok(()));
        assert_eq!(between.talk(NOW), Ok(()));
    }
    between.victim.engine.write("n", &Op::Increment(1), None, NOW).unwrap();
    assert_eq!(between.talk(NOW), Ok(()));
    assert_eq!(between.honest.version().get(ReplicaId::new(ME)), 4);
}

/// A peer that greets again and again, each time with other updates that nobody has.
#[test]
fn what_only_a_peer_that_is_gone_told_of_is_not_waited_for() {
    let mut victim = Victim::new();
    for n in 1..=3 {
        let mut hello = Disk::default().open(PEER, Config::default()).hello();
        hello.vector = (1..=10_000).map(|id| (ReplicaId::new(100_000 * n + id), 1)).collect();
        let sent = victim.engine.hello();
        victim.engine.connect(SessionId(n), &sent, hello, NOW).unwrap();
        assert_eq!(victim.engine.relay.overdue.len(), 10_000, "of the connection before nothing is left");
    }
    victim.engine.disconnect(SessionId(3));
    assert_eq!((victim.engine.relay.overdue.len(), victim.engine.wake_at()), (0, u64::MAX));
}

/// The connections that are closed with the old id brought something.
#[test]
fn a_leader_with_a_new_id_takes_batches_by_better_ways_than_it_had() {
    let mut victim = Victim::new();
    let names = Names::new([ReplicaId::new(9)].into_iter());
    let frame = |hops| {
        let batches = vec![Passed { place: 0, batch: counted(9, 0, 1), early: false, hops }];
        let frame = Frame { number: 2, names: names.from(0).to_vec(), batches, ..Frame::default() };
        Message::Frame(frame.encode(&names, &mut Said::default()).0.into())
    };
    assert_eq!(victim.engine.handle(LINK, frame(5), NOW), Ok(()));
    victim.engine.reincarnate(ReplicaId::new(50));
    victim.disk.settle(&mut victim.engine);
    let (sent, hello) = (victim.engine.hello(), Disk::default().open(HONEST, Config::default()).hello());
    victim.engine.connect(OTHER, &sent, hello, NOW).unwrap();
    assert_eq!(victim.engine.handle(OTHER, frame(1), NOW), Ok(()));
}

/// A peer that has everything and never makes it durable.
#[test]
fn what_is_remembered_of_frames_is_bounded() {
    let mut victim = Victim::new();
    let mut says = |durable: u64, missing| {
        victim.engine.write("n", &Op::Increment(1), None, NOW).unwrap();
        victim.disk.settle(&mut victim.engine);
        while victim.engine.poll(LINK, NOW).is_some() {}
        let last = victim.engine.sessions[&LINK].out.last;
        let received = crate::frame::Received { last, missing, durable };
        let heard = victim.engine.handle(LINK, message_of(&Frame { received, ..Frame::default() }), NOW);
        (heard, victim.engine.sessions[&LINK].out.remembered())
    };
    for _ in 0..2_000 {
        let (heard, (frames, rows)) = says(0, 0);
        assert!(heard.is_ok() && frames <= 256 && rows < 600, "{heard:?}: {rows} in {frames}");
    }
    let (heard, _) = says(0, 1);
    assert!(matches!(heard, Err(HandleError::Encoding(_))), "it misses a frame for ever: {heard:?}");
}

/// A peer that says it has what another one has too, and answers no question, however soon it is polled.
#[test]
fn who_does_not_answer_keeps_nobody_from_asking_others() {
    let mut victim = Victim::new();
    let mut disk = Disk::default();
    // What it wrote has to be fetched as merged state.
    let mut honest = disk.open(HONEST, Config { retain: 0, ..Config::default() });
    honest.write("n", &Op::Increment(1), None, NOW).unwrap();
    disk.settle(&mut honest);
    let silent = Hello { vector: honest.version().clone(), ..victim.engine.hello() };
    let silent = Hello { replica: ReplicaId::new(PEER), name: "silent".into(), ..silent };
    let (theirs, ours) = (honest.hello(), victim.engine.hello());
    victim.engine.connect(LINK, &ours, silent, NOW).unwrap();
    victim.engine.connect(OTHER, &ours, theirs.clone(), NOW).unwrap();
    honest.connect(OTHER, &theirs, ours, NOW).unwrap();
    let mut between = Between { victim, honest, disk };
    for ms in (0..=1_000).step_by(50) {
        let now = Now { mono: NOW.mono + ms, ..NOW };
        while between.victim.engine.poll(LINK, now).is_some() {}
        between.talk(now).unwrap();
    }
    assert_eq!(between.victim.engine.version().get(ReplicaId::new(HONEST)), 1);
}

/// Nobody counts as far, and anybody may say so.
#[test]
fn the_last_update_that_can_be_numbered_is_passed_on_as_merged_state() {
    let mut between = Between::new();
    between.victim.engine.handle(LINK, frame_of(2, vec![counted(PEER, 0, u64::MAX)]), NOW).unwrap();
    assert_eq!(between.talk(NOW), Ok(()));
    between.victim.engine.config.retain = 0;
    between.victim.engine.disconnect(OTHER);
    between.honest.disconnect(OTHER);
    between.victim.engine.write("n", &Op::Increment(1), None, NOW).unwrap();
    between.victim.disk.settle(&mut between.victim.engine);
    let (theirs, ours) = (between.honest.hello(), between.victim.engine.hello());
    between.victim.engine.connect(OTHER, &ours, theirs.clone(), NOW).unwrap();
    between.honest.connect(OTHER, &theirs, ours, NOW).unwrap();
    assert_eq!(between.talk(NOW), Ok(()));
    assert_eq!(between.honest.version(), &vector([(ME, 4), (PEER, u64::MAX)]));
}

/// Batches that depend on a bad one in the same frame pass for ready, and wait within the bound all the same.
#[test]
fn what_depends_on_a_bad_batch_of_its_frame_waits_within_the_bound() {
    let limit = 10 * counted(PEER, 1, 2).bytes();
    let mut engine = Disk::default().open(ME, Config { max_early: limit, ..Config::default() });
    let never_made = vec![(1, Dot::new(ReplicaId::new(9), 50))];
    let body = Body::Set { births: Births::new(), deaths: never_made };
    let pieces = vec![BatchPiece { key: Key::new(Kind::Set, "s").into(), newest: 1, body }];
    let bad = Arc::new(Batch { pieces, ..alone(9, 0, 1) });
    for n in 0..5 {
        let hello = Disk::default().open(PEER, Config::default()).hello();
        engine.connect(SessionId(n), &engine.hello(), hello, NOW).unwrap();
        let deps = || vec![Dot::new(ReplicaId::new(9), 1)];
        let after = |k: u64| Arc::new(Batch { deps: deps(), ..alone(1_000 + 100 * n + k, 0, 1) });
        let batches = [bad.clone()].into_iter().chain((0..100).map(after)).collect();
        let heard = engine.handle(SessionId(n), frame_of(2, batches), NOW);
        assert!(matches!(heard, Err(HandleError::BadPiece { .. })), "{heard:?}");
        engine.disconnect(SessionId(n));
        assert!((1..=limit).contains(&engine.early_bytes()), "{} bytes wait", engine.early_bytes());
    }
}

/// A frame ends with an error after a batch that was ready; then a delta brings that one and more, up to one that waits.
#[test]
fn what_was_ready_when_a_frame_failed_hides_nothing_that_comes_otherwise() {
    let named = |number: u64, batches: Vec<Arc<Batch>>| {
        let names = Names::new([9, PEER].into_iter().map(ReplicaId::new));
        let place = |batch: &Batch| names.place(batch.origin).unwrap();
        let pass = |batch: Arc<Batch>| Passed { place: place(&batch), batch, early: false, hops: 0 };
        let batches = batches.into_iter().map(pass).collect();
        let frame = Frame { number, names: names.from(0).to_vec(), batches, ..Frame::default() };
        Message::Frame(frame.encode(&names, &mut Said::default()).0.into())
    };
    let run = |tag| {
        let mut lineage = crate::lineage::Lineage::default();
        lineage.begin(1, tag);
        Some(lineage)
    };
    let mut victim = Victim::new();
    let (sent, hello) = (victim.engine.hello(), Disk::default().open(HONEST, Config::default()).hello());
    victim.engine.connect(OTHER, &sent, hello, NOW).unwrap();
    let first = Arc::new(Batch { lineage: run(7), ..alone(PEER, 0, 1) });
    assert_eq!(victim.engine.handle(LINK, named(2, vec![first]), NOW), Ok(()));
    let forked = Arc::new(Batch { lineage: run(8), ..alone(PEER, 1, 2) });
    let refused = named(3, vec![counted(9, 0, 1), counted(9, 5, 6), forked]);
    let refused = victim.engine.handle(LINK, refused, NOW);
    assert!(matches!(refused, Err(HandleError::Forked { .. })), "{refused:?}");
    victim.engine.disconnect(LINK);
    let counter = encode(&GCounter::from(rows([(9, 5)])));
    let good = delta([(9, 5)], vec![piece(Kind::GCounter, "g", [(9, 5)], counter)]);
    assert_eq!(victim.engine.handle(OTHER, part(1, 0, &bytes_of(&good.items())), NOW), Ok(()));
    victim.disk.settle(&mut victim.engine);
    assert_eq!(victim.engine.version().get(ReplicaId::new(9)), 6);
}

/// Thousands of dependencies that are likely take a few bytes: of each origin only as many are remembered as were meant.
#[test]
fn what_is_remembered_of_dependencies_takes_no_more_room_than_it_needs() {
    const DEPS: u64 = 8_000;
    let names = Names::new((1..=DEPS + 20).map(ReplicaId::new));
    let (mut out, mut inn, mut heard) = (Said::default(), Said::default(), Names::default());
    for n in 0..20 {
        let deps = (1..=DEPS).map(|id| Dot::new(ReplicaId::new(id), 1)).collect();
        let batch = Batch { deps, ..alone(DEPS + 1 + n, 0, 1) };
        let place = names.place(batch.origin).unwrap();
        let batches = vec![Passed { place, batch: Arc::new(batch), early: true, hops: 0 }];
        let told = if n == 0 { names.from(0).to_vec() } else { Vec::new() };
        let frame = Frame { number: n + 2, relative: true, names: told, batches, ..Frame::default() };
        let (bytes, _) = frame.encode(&names, &mut out);
        crate::frame::decode(&bytes, n + 2, &mut heard, &mut inn, &|_| None).expect("it was just encoded");
        for said in [&mut out, &mut inn] {
            let room = said.rows.take_deps(place).capacity();
            assert!(room <= 100, "room for {room}");
        }
    }
}
