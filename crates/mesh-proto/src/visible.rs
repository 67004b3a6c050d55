//! Making visible what has all that it depends on.

use crate::{Engine, Event, HandleError, Now, batch::Batch, frame::Passed, sync::MAX_REPLICAS};
use crdt_core::{Dot, ReplicaId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Engine {
    /// Makes visible, in one step, what has all that it depends on; says whether there was anything. `brought` came with the
    /// message at hand: if it is bad, that is an error. What waited is not this peer's fault.
    pub(crate) fn progress(
        &mut self,
        peer: ReplicaId,
        brought: &[Passed],
        now: Now,
    ) -> Result<bool, HandleError> {
        if self.relay.early.is_empty() {
            return Ok(false);
        }
        let ready = self.relay.early.take(self.space.version());
        if ready.is_empty() {
            return Ok(false);
        }
        let before = self.space.version().clone();
        let (batches, refused) = match self.show(&ready) {
            Ok(()) => (ready, BTreeMap::new()),
            Err(_) => self.show_one_by_one(ready, now),
        };
        self.forget_deaths();
        if !batches.is_empty() {
            let events = self.space.version().ahead_of(&before);
            self.events.push_back(Event::Merged { peer, events });
        }
        for batch in &batches {
            self.relay.shown(batch, self.writer.last());
        }
        let origins: BTreeSet<ReplicaId> = batches.iter().map(|batch| batch.origin).collect();
        for origin in origins {
            self.came_nearer(origin, now);
        }
        for origin in refused.keys() {
            self.relay.overdue.insert(*origin, now.mono + self.patience());
        }
        let is_brought = |origin: &ReplicaId| brought.iter().any(|passed| passed.batch.origin == *origin);
        match refused.into_iter().find(|(origin, _)| is_brought(origin)) {
            Some((_, why)) => Err(why),
            None => Ok(!batches.is_empty()),
        }
    }

    fn show(&mut self, batches: &[Arc<Batch>]) -> Result<(), HandleError> {
        let mut until = self.space.version().clone();
        until.extend(batches.iter().map(|batch| Dot::new(batch.origin, batch.until)));
        if until.len() > MAX_REPLICAS {
            return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
        }
        let shown = self.space.apply_batches(batches, self.identity.replica);
        shown.map_err(|(key, why)| HandleError::BadPiece { key, why })
    }

    /// Shows those that are good, and drops what there is of the origins of the others. What depended on these waits again.
    fn show_one_by_one(
        &mut self,
        batches: Vec<Arc<Batch>>,
        now: Now,
    ) -> (Vec<Arc<Batch>>, BTreeMap<ReplicaId, HandleError>) {
        let (mut shown, mut refused) = (Vec::new(), BTreeMap::new());
        for batch in batches {
            let origin = batch.origin;
            if refused.contains_key(&origin) {
                continue;
            }
            if !self.relay.early.is_ready(&batch, self.space.version()) {
                let from = self.space.version().get(origin);
                if self.relay.early.push(&batch, from, self.config.max_early) {
                    self.note_news(&[origin], now);
                } else {
                    self.relay.overdue.insert(origin, now.mono + self.patience());
                }
                continue;
            }
            match self.show(std::slice::from_ref(&batch)) {
                Ok(()) => shown.push(batch),
                Err(why) => {
                    self.relay.early.clear(origin);
                    self.relay.log.forget(origin, self.space.version().get(origin));
                    refused.insert(origin, why);
                }
            }
        }
        (shown, refused)
    }

    /// More of an origin's updates are here: if some are still missing, they are waited for anew.
    pub(crate) fn came_nearer(&mut self, origin: ReplicaId, now: Now) {
        self.relay.answered(origin);
        let have = self.space.version().get(origin);
        let connected = self.peers.values().filter(|peer| peer.session.is_some());
        let told = connected.map(|peer| peer.known.get(origin)).max().unwrap_or(0);
        if told > have {
            let due = self.due(origin, told, now);
            self.relay.overdue.insert(origin, due);
        } else {
            self.relay.overdue.remove(&origin);
        }
    }
}
