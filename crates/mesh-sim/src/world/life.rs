//! What happens to one leader: it starts, writes, commits, crashes.

use super::{
    Found, Happening, World,
    leader::{Committing, Fate, Input, Pending},
    replica,
};
use crate::{
    Action, Invariant, Planted, Sometimes, keys, model::Fact, model::What, model::mix, violation::Finding,
};
use mesh_proto::{Commit, Op, Receipt, WriteError};

/// How many waiting inputs make a disk slow.
const BEHIND: usize = 32;

impl World<'_> {
    /// Starts a leader that is down from its disk.
    pub(super) fn start(&mut self, n: usize) -> Found {
        let (run, config) = (
            mix(self.schedule.seed ^ n as u64, u64::from(self.leaders[n].life)),
            &self.schedule.setup.config,
        );
        let leader = &mut self.leaders[n];
        let engine = match leader.disk.open(n, leader.id, run, config, self.own.registry()) {
            Ok(engine) => engine,
            Err(error) => return self.broken(n, Invariant::Recovery, error.to_string()),
        };
        leader.id = engine.identity().replica;
        leader.issued = engine.version().get(leader.id);
        leader.engine = Some(engine);
        leader.renaming = false;
        let (id, issued, life) = (leader.id, leader.issued, leader.life);
        let acknowledged = self.acknowledged.get(&id).copied().unwrap_or(0);
        if self.leaders[n].suspect != Some(id) && !self.leaders[n].is_set_back {
            if issued < acknowledged {
                let what =
                    format!("it acknowledged its update {acknowledged} of {id}, and starts with {issued}");
                return self.broken(n, Invariant::Acknowledged, what);
            }
            let durable = self.history.durable(id);
            if issued != durable {
                let what =
                    format!("{durable} of its updates of {id} were durable, and it starts with {issued}");
                return self.broken(n, Invariant::Recovery, what);
            }
        }
        self.inputs += 1;
        // Leaders do not wake in step.
        let first = self.queue.now() + mix(run, 1) % self.schedule.setup.wake.max(1);
        self.queue.schedule(first, Happening::Wake { leader: n, life });
        self.observe(n)?;
        self.settle(n)
    }

    pub(super) fn restart(&mut self, n: usize) -> Found {
        if self.leaders[n].engine.is_some() { Ok(()) } else { self.start(n) }
    }

    pub(super) fn crash(&mut self, n: usize) {
        let now = self.queue.now();
        let leader = &mut self.leaders[n];
        if leader.engine.take().is_none() {
            return;
        }
        leader.life += 1;
        leader.inbox.clear();
        let (pending, committing) = (std::mem::take(&mut leader.pending), leader.committing.take());
        let mut lost = pending.replies;
        let mut before_durable = !pending.facts.is_empty();
        if let Some(committing) = committing {
            if now >= committing.durable_at {
                if !committing.written.facts.is_empty() {
                    self.seen.note(Sometimes::CrashBetweenDurableAndSent);
                }
                // Nobody else can have written under this id.
                let noted = self.make_durable(n, committing);
                debug_assert!(noted.is_ok(), "the numbering was checked when it was written");
            } else {
                before_durable |= !committing.written.facts.is_empty();
                lost.extend(committing.written.replies);
                if self.planted == Some(Planted::TornCommit) {
                    self.leaders[n].disk.apply(torn(committing.commit));
                }
            }
        }
        if before_durable {
            self.seen.note(Sometimes::CrashBeforeDurable);
        }
        let leader = &mut self.leaders[n];
        if self.planted == Some(Planted::ForgetfulDisk)
            && let Some((disk, shadow, kept)) = leader.previous.take()
        {
            (leader.disk, leader.shadow, leader.kept) = (disk, shadow, kept);
        }
        leader.crashed_since.extend(leader.kept.keys().map(|once| (*once, Fate::Durable)));
        leader.crashed_since.extend(lost.into_iter().map(|(once, _)| (once, Fate::Lost)));
        leader.sessions.clear();
        self.shown[n].fill(None);
        self.close_all(n);
    }

    /// The leader goes on from the copy of its disk.
    pub(super) fn restore(&mut self, n: usize) -> Found {
        if self.leaders[n].backup.is_none() {
            return Ok(());
        }
        self.crash(n);
        let leader = &mut self.leaders[n];
        if let Some((disk, shadow, kept)) = leader.backup.take() {
            (leader.disk, leader.shadow, leader.kept) = (disk, shadow, kept);
        }
        leader.crashed_since.clear();
        self.seen.note(Sometimes::RestoredFromBackup);
        // What was durable here only is lost.
        let leaders = &self.leaders;
        for (id, origin) in self.history.origins_mut() {
            let held = leaders.iter().map(|leader| leader.shadow.version.get(*id)).max().unwrap_or(0);
            origin.sure = origin.sure.min(held);
        }
        // Whoever has planted the bug does not tell the leader.
        self.leaders[n].is_set_back = true;
        if self.planted != Some(Planted::OldIdAfterRestore) {
            self.leaders[n].suspect = self.identity_on_disk(n);
        }
        self.start(n)
    }

    /// The leader takes a new id, because it may lack updates of the old one.
    pub(super) fn rename(&mut self, n: usize) {
        self.seen.note(Sometimes::LostUpdatesNoticed);
        let leader = &mut self.leaders[n];
        leader.names += 1;
        let id = replica(self.schedule.seed, n, leader.names);
        let Some(engine) = &mut leader.engine else { return };
        engine.reincarnate(id);
        (leader.id, leader.issued, leader.renaming) = (id, 0, true);
        leader.sessions.clear();
        self.history.begin(id, n);
        self.close_all(n);
    }

    /// Something comes in. The leader takes it with all else that comes until its next turn, or until the commit that is
    /// under way is durable.
    pub(super) fn input(&mut self, n: usize, input: Input) {
        let leader = &mut self.leaders[n];
        if leader.engine.is_none() {
            if let Input::Step(_) = input {
                self.seen.note(Sometimes::AskedWhileDown);
            }
            return;
        }
        if leader.committing.is_some() {
            leader.inbox.push_back(input);
            if leader.inbox.len() == BEHIND {
                self.seen.note(Sometimes::DiskBehind);
            }
            return;
        }
        leader.inbox.push_back(input);
        if leader.inbox.len() == 1 {
            let life = leader.life;
            self.queue
                .schedule(self.queue.now() + self.schedule.setup.turn, Happening::Turn { leader: n, life });
        }
    }

    /// Takes what has come in, then commits or talks.
    pub(super) fn turn(&mut self, n: usize) -> Found {
        if self.leaders[n].committing.is_some() {
            return Ok(());
        }
        while let Some(input) = self.leaders[n].inbox.pop_front() {
            self.feed(n, input)?;
        }
        self.settle(n)
    }

    fn feed(&mut self, n: usize, input: Input) -> Found {
        self.inputs += 1;
        match input {
            Input::Step(index) => self.write(n, index),
            Input::Message(connection, bytes, news) => self.receive(n, connection, &bytes, news),
            Input::Connect(connection, peer, greetings) => self.greeted(n, connection, peer, *greetings),
            Input::Disconnect(connection) => {
                self.forget_session(n, connection);
                Ok(())
            }
        }
    }

    /// All inputs are in: commits what changed, or, if nothing did, says what there is to say.
    pub(super) fn settle(&mut self, n: usize) -> Found {
        loop {
            self.events(n)?;
            self.probe(n)?;
            let now = self.now(n);
            let leader = &mut self.leaders[n];
            let Some(engine) = &mut leader.engine else { return Ok(()) };
            let Some(commit) = engine.take_commit() else {
                if self.talk(n)? {
                    continue;
                }
                return Ok(());
            };
            leader.commits += 1;
            let (at, latency) = (self.queue.now(), leader.latency);
            let written = std::mem::take(&mut leader.pending);
            leader.committing = Some(Committing { commit, written, id: leader.id, durable_at: at + latency });
            // The word that it is durable takes its time as well.
            let done = at + latency + latency / 2 + 10;
            let life = leader.life;
            self.queue.schedule(done, Happening::Committed { leader: n, life });
            if self.planted == Some(Planted::SentBeforeDurable) {
                engine.committed(now);
                self.talk(n)?;
            }
            return Ok(());
        }
    }

    pub(super) fn committed(&mut self, n: usize) -> Found {
        let now = self.now(n);
        let Some(committing) = self.leaders[n].committing.take() else { return Ok(()) };
        self.inputs += 1;
        let id = committing.id;
        self.make_durable(n, committing).map_err(|found| self.violation(Some(n), found))?;
        let leader = &mut self.leaders[n];
        if let Some(engine) =
            leader.engine.as_mut().filter(|_| self.planted != Some(Planted::SentBeforeDurable))
        {
            engine.committed(now);
        }
        leader.renaming = false;
        self.acknowledged.insert(id, leader.issued);
        self.observe(n)?;
        self.turn(n)
    }

    fn make_durable(&mut self, n: usize, committing: Committing) -> Result<(), Finding> {
        let Committing { commit, written, id, .. } = committing;
        let Pending { first, facts, replies } = written;
        let leader = &mut self.leaders[n];
        if self.planted == Some(Planted::ForgetfulDisk) {
            leader.previous = Some((leader.disk.clone(), leader.shadow.clone(), leader.kept.clone()));
        }
        leader.disk.apply(commit);
        leader.kept.extend(replies);
        if facts.is_empty() {
            return Ok(());
        }
        self.concurrency.note(id, first, &facts, n, &self.net, &self.history, &mut self.seen);
        self.history.note(id, first, facts)
    }

    pub(super) fn wake(&mut self, n: usize) -> Found {
        let (now, life) = (self.now(n), self.leaders[n].life);
        let next = self.queue.now() + self.schedule.setup.wake;
        self.queue.schedule(next, Happening::Wake { leader: n, life });
        let leader = &mut self.leaders[n];
        if leader.committing.is_some() {
            return Ok(());
        }
        leader.wakes += 1;
        let Some(engine) = &mut leader.engine else { return Ok(()) };
        if leader.wakes.is_multiple_of((1_000_000 / self.schedule.setup.wake.max(1)).max(1)) {
            engine.tick(now);
            self.inputs += 1;
        } else if engine.wake_at() > now.mono && leader.inbox.is_empty() {
            return Ok(());
        }
        self.turn(n)
    }

    // ---- writes ----

    fn write(&mut self, n: usize, index: usize) -> Found {
        if self.leaders[n].suspect == Some(self.leaders[n].id) {
            return Ok(());
        }
        match &self.schedule.steps[index].action {
            Action::Write { number, op, once, .. } => self.write_built_in(n, *number, op, *once),
            Action::Update { number, draw, .. } => self.update_own(n, *number, *draw),
            _ => Ok(()),
        }
    }

    fn write_built_in(&mut self, n: usize, number: usize, op: &Op, once: Option<u32>) -> Found {
        let now = self.now(n);
        let key = keys::index(&op.kind(), number);
        let name = self.names[key].name.clone();
        let leader = &mut self.leaders[n];
        let Some(engine) = &mut leader.engine else { return Ok(()) };
        let stamp_before = engine.register(&name).map(|found| found.1);
        let text = once.map(|once| format!("write-{once}"));
        let receipt = match engine.write(&name, op, text.as_deref(), now) {
            Ok(receipt) => receipt,
            Err(error) => return self.refused(n, &error),
        };
        if let Some(once) = once {
            let kept = leader.kept.get(&once).copied();
            let pending = leader.pending.replies.iter().find(|reply| reply.0 == once).map(|reply| reply.1);
            let expected = kept.or(pending);
            let answered = receipt.repeated.then_some(receipt.last);
            if expected != answered {
                let what = format!(
                    "of the write under key {once}, event {expected:?} is known, and the repetition is answered with {answered:?}"
                );
                return self.broken(n, Invariant::Idempotency, what);
            }
            let fate = leader.crashed_since.get(&once);
            if receipt.repeated {
                self.seen.note(Sometimes::Repeated);
                if fate == Some(&Fate::Durable) {
                    self.seen.note(Sometimes::RepeatedAfterCrash);
                }
                return Ok(());
            }
            if fate == Some(&Fate::Lost) {
                self.seen.note(Sometimes::RepeatedLostWrite);
            }
        }
        if let Some(stamp) = receipt.stamp {
            if stamp_before.is_some_and(|before| before >= stamp) {
                let what = format!("it stamps {stamp:?} on {stamp_before:?}");
                return Err(self.violation(Some(n), Finding::of_key(Invariant::Stamp, &*name, what)));
            }
            if stamp_before
                .is_some_and(|before| before.replica != stamp.replica && before.time.millis() > now.wall)
            {
                self.seen.note(Sometimes::SlowClockOverwrites);
            }
            if std::mem::take(&mut self.leaders[n].stepped_back) {
                self.seen.note(Sometimes::ClockSteppedBack);
            }
        }
        self.check_written(n, &name, op)?;
        let Some(facts) = Fact::of(op, number, &receipt) else {
            let what = format!("the reply {receipt:?} does not fit the write {op:?}");
            return Err(self.violation(Some(n), Finding::of_key(Invariant::OwnCounters, &*name, what)));
        };
        self.wrote(n, &receipt, facts, once)
    }

    fn update_own(&mut self, n: usize, number: usize, draw: u64) -> Found {
        let key = keys::OWN + number % keys::NUMBERS;
        let name = self.names[key].name.clone();
        let Some(engine) = &mut self.leaders[n].engine else { return Ok(()) };
        let receipt = match self.own.update(engine, &name, draw) {
            Ok(receipt) => receipt,
            // The user's type may refuse what its state does not allow.
            Err(WriteError::Update(_)) => return Ok(()),
            Err(error) => return self.refused(n, &error),
        };
        let state = self.own.state(engine, &name);
        let token = std::sync::Arc::new(receipt.token.clone());
        let facts: Vec<Fact> = state
            .into_iter()
            .map(|state| Fact { key, what: What::Own(draw, state), token: token.clone() })
            .collect();
        self.wrote(n, &receipt, facts, None)
    }

    fn refused(&self, n: usize, error: &WriteError) -> Found {
        self.broken(n, Invariant::Acceptance, format!("it refuses a write: {error}"))
    }

    /// The reply to a write: its events are the next ones of the leader.
    fn wrote(&mut self, n: usize, receipt: &Receipt, facts: Vec<Fact>, once: Option<u32>) -> Found {
        let leader = &mut self.leaders[n];
        let count = facts.len() as u64;
        let right = receipt.replica == leader.id
            && receipt.events == count
            && (count == 0 || receipt.last == leader.issued + count)
            && receipt.token.get(leader.id) == leader.issued + count;
        if !right || receipt.token.covers(&leader.shadow.version).is_err() {
            let what = format!(
                "after its update {} of {}, {count} more are answered with {receipt:?}",
                leader.issued, leader.id
            );
            return self.broken(n, Invariant::OwnCounters, what);
        }
        self.updates += u64::from(count > 0);
        if leader.pending.facts.is_empty() {
            leader.pending.first = leader.issued + 1;
        }
        leader.issued += count;
        leader.pending.facts.extend(facts);
        leader.pending.replies.extend(once.map(|once| (once, receipt.last)));
        if self.planted == Some(Planted::AcknowledgedBeforeDurable) {
            let (id, issued) = (leader.id, leader.issued);
            self.acknowledged.insert(id, issued);
        }
        Ok(())
    }

    fn identity_on_disk(&self, n: usize) -> Option<mesh_proto::ReplicaId> {
        let leader = &self.leaders[n];
        let engine = leader.disk.open(n, leader.id, 0, &self.schedule.setup.config, self.own.registry());
        engine.ok().map(|engine| engine.identity().replica)
    }
}

/// The header of a commit without what it speaks of: the last row is written, those before are not.
fn torn(mut commit: Commit) -> Commit {
    let last = commit.puts.pop();
    Commit { puts: last.into_iter().collect(), deletes: Vec::new() }
}
