//! What a leader does about what the other side of an exchange says.

use super::{
    Answering, Asking, Due, Exchange, Lost, MAX_ASKED, MAX_FAILED, MAX_NAMED, Phase, Staged, Step,
    records::Records,
};
use crate::{
    Engine, Event, HandleError, Key, Now, Repair, SessionId,
    codec::decode_whole,
    keyspace::{
        copy::Source,
        repair::{Checked, Places},
    },
    message::StepPart,
    relay::Relay,
};
use crdt_core::{Merge, ReplicaId, wire::Wire};
use reconcile::{Answer, AnswerError, Progress, Request, Wanted};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Engine {
    pub(crate) fn take_step(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        part: StepPart,
        now: Now,
    ) -> Result<(), HandleError> {
        let Some(bytes) = self.stage_step(at, part, now)? else { return Ok(()) };
        let step = decode_whole(&bytes).map_err(|why| malformed(&why))?;
        match step {
            Step::Ask { request, vector } => {
                let request = Request::from_bytes(&request).map_err(|why| malformed(&why))?;
                if self.answers(at, peer, &request, now) {
                    self.session(at).exchange.due.push_back(Due::Symbols { request, vector });
                }
                Ok(())
            }
            Step::Symbols { seed, answer } => {
                let answer = answer.map(|answer| Answer::from_bytes(&answer)).transpose();
                self.take_symbols(at, peer, seed, answer.map_err(|why| malformed(&why))?.as_ref());
                Ok(())
            }
            Step::Differ { seed, wanted, records } => {
                let wanted = wanted.map(|wanted| Wanted::from_bytes(&wanted)).transpose();
                self.take_differ(at, peer, seed, wanted.map_err(|why| malformed(&why))?, records)
            }
            Step::Found { seed, records, source } => {
                let exchange = &mut self.session(at).exchange;
                let is_asked = |asking: &mut Asking| {
                    asking.seed.get() == seed && matches!(asking.phase, Phase::Found { .. })
                };
                let Some(asking) = exchange.asking.take_if(is_asked) else { return Ok(()) };
                let Phase::Found { places, is_all } = asking.phase else { return Ok(()) };
                match (self.has_lost_metadata(), source) {
                    (true, Some(source)) => self.restore(peer, &places, records, source),
                    (false, None) => {
                        let checked = self.check_records(records)?;
                        let (repairs, deaths) = self.space.repair(checked);
                        // Of everything it is not known what differed.
                        let given = Some(&places).filter(|_| !is_all);
                        self.report(peer, repairs, given);
                        if !deaths.is_empty() {
                            let exchange = &mut self.session(at).exchange;
                            let phase = Phase::Found { places: Places::new(), is_all };
                            exchange.asking = Some(Asking { phase, ..asking });
                            exchange.due.push_back(Due::Ended(deaths));
                        }
                        Ok(())
                    }
                    _ => Err(malformed(&"it answers another question than was asked")),
                }
            }
            Step::Ended { seed, records } => {
                let is_due = |answering: &mut Answering| {
                    answering.seed.get() == seed && !answering.to_copy && !answering.is_differ_due
                };
                if self.session(at).exchange.answering.take_if(is_due).is_some() {
                    let checked = self.check_records(records)?;
                    let (repairs, _) = self.space.repair(checked);
                    self.report(peer, repairs, None);
                }
                Ok(())
            }
        }
    }

    /// Joins the parts of a step; gives the whole once it is complete. Where some are missing, the exchange ends with the
    /// time that it has.
    fn stage_step(
        &mut self,
        at: SessionId,
        part: StepPart,
        now: Now,
    ) -> Result<Option<Vec<u8>>, HandleError> {
        let StepPart { number, offset, last, bytes, .. } = part;
        let (limit, until) = (self.config.max_staged, now.mono + self.config.resend);
        let staged = self.sessions.values().filter_map(|session| session.exchange.staged.as_ref());
        let held: usize = staged.map(|staged| staged.bytes.len()).sum();
        let exchange = &mut self.session(at).exchange;
        exchange.prolong(until);
        if offset == 0 {
            exchange.staged = Some(Staged { number, bytes: Vec::new() });
        }
        let is_next = |staged: &&mut Staged| staged.number == number && staged.bytes.len() as u64 == offset;
        let Some(staged) = exchange.staged.as_mut().filter(is_next) else {
            exchange.staged = None;
            return Ok(None);
        };
        if held + bytes.len() > limit {
            exchange.staged = None;
            return Err(HandleError::TooLarge { limit });
        }
        staged.bytes.extend(bytes);
        Ok(if last { exchange.staged.take().map(|staged| staged.bytes) } else { None })
    }

    /// Whether a question is answered: each costs a pass over all items.
    fn answers(&mut self, at: SessionId, peer: ReplicaId, request: &Request, now: Now) -> bool {
        self.expire_exchanges(now);
        let is_differ_due = |exchange: &Exchange| {
            exchange.answering.as_ref().is_some_and(|answering| answering.is_differ_due)
        };
        let is_busy = self.sessions.iter().any(|(id, session)| *id != at && is_differ_due(&session.exchange));
        let exchange = &self.sessions[&at].exchange;
        if self.has_lost_metadata() || is_busy || exchange.asking.is_some() || !exchange.is_idle() {
            return false;
        }
        if let Some(answering) = exchange.answering.as_ref().filter(|it| it.seed == request.seed()) {
            return answering.is_differ_due && answering.asked < MAX_ASKED;
        }
        let heartbeat = self.config.heartbeat;
        let has_passed = |since: Option<u64>, ms: u64| since.is_none_or(|since| since + ms <= now.mono);
        let is_due = has_passed(self.reconciling.answered, heartbeat)
            && has_passed(self.peers[&peer].dealings.answered, 2 * heartbeat);
        if is_due {
            self.reconciling.answered = Some(now.mono);
            self.peer(peer).dealings.answered = Some(now.mono);
        }
        is_due
    }

    fn take_symbols(&mut self, at: SessionId, peer: ReplicaId, seed: u64, answer: Option<&Answer>) {
        let is_hopeless = self.peer(peer).dealings.asked > MAX_FAILED;
        let exchange = &mut self.session(at).exchange;
        let Some(asking) = exchange.asking.as_mut().filter(|asking| asking.seed.get() == seed) else {
            return;
        };
        let Phase::Symbols(reconciliation) = &mut asking.phase else { return };
        let difference = match answer.filter(|_| !is_hopeless).map(|answer| reconciliation.take(answer)) {
            Some(Ok(Progress::Done(difference))) => Some(difference),
            Some(Ok(Progress::More(request))) => {
                exchange.due.push_back(Due::More(request));
                return;
            }
            None | Some(Err(AnswerError::TooDifferent(_))) => None,
            // It came twice, or the other side has changed: again, later.
            Some(Err(_)) => {
                exchange.asking = None;
                return;
            }
        };
        asking.phase = Phase::Differ(difference);
        exchange.due.push_back(Due::Differ);
    }

    fn take_differ(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        seed: u64,
        wanted: Option<Wanted>,
        records: Records,
    ) -> Result<(), HandleError> {
        let exchange = &mut self.session(at).exchange;
        let Some(answering) = exchange.answering.as_mut() else { return Ok(()) };
        if answering.seed.get() != seed || !std::mem::take(&mut answering.is_differ_due) {
            return Ok(());
        }
        if answering.to_copy {
            exchange.due.push_back(Due::Copy { wanted });
            return Ok(());
        }
        let seed = answering.seed;
        let checked = self.check_records(records)?;
        // What is wanted is told by what it was before it takes in what the other side has.
        let places =
            self.space.find(|item| wanted.as_ref().is_none_or(|wanted| wanted.contains(seed.id(item))));
        let (repairs, deaths) = self.space.repair(checked);
        let given = wanted.as_ref().map(|_| &places);
        self.report(peer, repairs, given);
        self.session(at).exchange.due.push_back(Due::Found { places, deaths });
        Ok(())
    }

    fn check_records(&self, records: Records) -> Result<Vec<Checked>, HandleError> {
        let (version, me) = (self.space.version(), self.identity.replica);
        let checked = self.space.check_records(records.0, version, me, true);
        checked.map_err(|(key, why)| HandleError::BadPiece { key, why })
    }

    /// Names the keys that differed.
    fn report(&mut self, peer: ReplicaId, repairs: Vec<Repair>, given: Option<&Places>) {
        self.forget_deaths();
        let mut all: BTreeMap<Key, Repair> =
            repairs.into_iter().map(|repair| (repair.key.clone(), repair)).collect();
        for (id, dots) in given.into_iter().flatten() {
            let Some(key) = self.space.key(*id) else { continue };
            let repair = all.entry(key.clone()).or_insert_with(|| Repair::of(key.clone()));
            repair.given = dots.len().max(1);
        }
        all.retain(|_, repair| repair.taken + repair.ended + repair.given > 0 || repair.refused);
        if !all.is_empty() {
            let keys = all.len();
            let repairs = all.into_values().take(MAX_NAMED).collect();
            self.events.push_back(Event::Reconciled { peer, keys, repairs });
        }
    }

    /// Becomes a copy of a peer, and joins what this leader had written itself.
    fn restore(
        &mut self,
        peer: ReplicaId,
        dropped: &Places,
        records: Records,
        source: Source,
    ) -> Result<(), HandleError> {
        // Without metadata nothing that a peer says is heard but this, so this is what it greeted with.
        let mut vector = self.peers[&peer].known.clone();
        vector.merge(&source.news);
        self.check_vector(&vector)?;
        let me = self.identity.replica;
        let Some(lost) = &mut self.reconciling.lost else { return Ok(()) };
        let checked = lost.space.check_records(records.0, &vector, me, false);
        let checked = checked.map_err(|(key, why)| HandleError::BadPiece { key, why })?;
        let mut own = lost.space.cut_traces(&lost.former, &vector);
        let keys = dropped.keys().filter_map(|id| lost.space.key(*id));
        let keys: BTreeSet<&Key> = keys.chain(checked.iter().map(|record| &record.key)).collect();
        let keys = keys.len();
        if !lost.space.become_copy(dropped, checked, &vector, source) {
            return Ok(());
        }
        let unsent = own.iter().map(|batch| u128::from(batch.until - batch.since)).sum();
        let mut refused = Vec::new();
        loop {
            let batches: Vec<_> = own.drain(..).map(Arc::new).collect();
            let Err((key, _)) = lost.space.apply_batches(&batches, me) else { break };
            // Only a peer that counts up to the limit under this leader's old ids leads here.
            own = batches.into_iter().filter_map(Arc::into_inner).collect();
            for batch in &mut own {
                batch.pieces.retain(|piece| *piece.key != key);
            }
            refused.push(key);
        }
        let Some(Lost { space, .. }) = self.reconciling.lost.take() else { return Ok(()) };
        self.space = space;
        self.relay = Relay::new(self.space.version());
        self.reincarnate(me);
        self.events.push_back(Event::Restored { peer, keys, unsent, refused });
        Ok(())
    }
}

fn malformed(why: &dyn ToString) -> HandleError {
    HandleError::Encoding(why.to_string())
}
