//! What a leader writes itself, as batches.

use super::{KeyId, Keyspace};
use crate::{
    batch::{Batch, BatchPiece},
    planted::{self, Bug},
};
use crdt_core::{Dot, ReplicaId};
use std::{collections::BTreeMap, ops::Bound};
use version_vector::VersionVector;

/// What the leader has written and is yet to be cut into a batch.
///
/// A batch is cut when it is sent, but as its last update left things: what others have changed since is not in it, and
/// not among what it depends on. So whoever has the last update has all that others may rely on having come with it, also a
/// leader that goes on from a copy of its disk.
#[derive(Debug, Default)]
pub(super) struct Uncut {
    /// Who writes here, and up to which of its updates batches are cut.
    writer: Option<(ReplicaId, u64)>,
    /// The update that the pieces are as of.
    last: u64,
    /// Of keys that others have changed since that update.
    pieces: Kept,
}

type Kept = BTreeMap<KeyId, BatchPiece>;

impl Keyspace {
    /// From now on `writer` writes here. What it wrote before is merged state, not to be cut.
    pub(crate) fn begin_writing(&mut self, writer: ReplicaId) {
        self.uncut = Uncut { writer: Some((writer, self.version.get(writer))), ..Uncut::default() };
    }

    /// Up to which of the leader's own updates batches are cut.
    pub(crate) fn cut_until(&self) -> u64 {
        self.uncut.writer.map_or(0, |(_, cut)| cut)
    }

    /// Cuts what the leader wrote since it did so last, which depends on `deps`: at the cost of what changed.
    pub(crate) fn cut_own(&mut self, deps: Vec<Dot>) -> Batch {
        let (writer, since) = self.uncut.writer.expect("whoever writes here has begun to");
        let mut kept = std::mem::take(&mut self.uncut.pieces);
        if self.uncut.last != self.version.get(writer) {
            kept.clear();
        }
        let batch = self.cut_batch(writer, since, deps, kept);
        self.uncut.writer = Some((writer, batch.until));
        batch
    }

    /// Cuts what `origin` wrote after `since`: in these keys as it was `kept`, in others with what others have changed of it.
    pub(super) fn cut_batch(&self, origin: ReplicaId, since: u64, deps: Vec<Dot>, mut kept: Kept) -> Batch {
        let before = self.before(origin, since);
        let after = (Bound::Excluded(since), Bound::Unbounded);
        let changed = self.index.get(&origin).into_iter().flat_map(|index| index.range(after));
        let cut = |id: &KeyId| kept.remove(id).unwrap_or_else(|| self.cut_piece(*id, origin, since, &before));
        let pieces = changed.map(|(_, id)| id).map(cut).collect();
        let lineage = self.lineages().get(&origin).filter(|lineage| lineage.begins_after(since)).cloned();
        Batch { origin, since, until: self.version.get(origin), deps, lineage, pieces }
    }

    fn cut_piece(&self, id: KeyId, origin: ReplicaId, since: u64, before: &VersionVector) -> BatchPiece {
        let entry = &self.entries[id];
        let body = entry.value.cut_own(origin, since, before);
        BatchPiece { key: entry.key.clone(), newest: entry.newest.get(origin), body }
    }

    /// All that is here but what `origin` wrote after `since`.
    fn before(&self, origin: ReplicaId, since: u64) -> VersionVector {
        self.version.iter().map(|(id, counter)| (id, if id == origin { since } else { counter })).collect()
    }

    /// Others are about to change these keys: what the leader wrote to them is cut as it is now.
    pub(super) fn keep_own(&mut self, ids: impl FnOnce(&Self) -> Vec<KeyId>) {
        let Some((writer, since)) = self.uncut.writer else { return };
        let last = self.version.get(writer);
        if last <= since || planted::is(Bug::LaterChangesCut) {
            return;
        }
        if self.uncut.last != last {
            self.uncut.last = last;
            self.uncut.pieces.clear();
        }
        let mut before = None;
        for id in ids(self) {
            let is_uncut = |id| self.entries.get(id).is_some_and(|entry| entry.newest.get(writer) > since);
            if is_uncut(id) && !self.uncut.pieces.contains_key(&id) {
                let before = before.get_or_insert_with(|| self.before(writer, since));
                let piece = self.cut_piece(id, writer, since, before);
                self.uncut.pieces.insert(id, piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::{
        Config, Engine, Identity, Now, Op, Recovery, Registry, SessionId,
        batch::{Batch, Body},
    };
    use crdt_core::{Dot, ReplicaId};
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    use std::sync::Arc;

    const LINK: SessionId = SessionId(0);

    fn open(n: u64, config: Config) -> Engine {
        let identity = Identity { cluster: "c".into(), name: format!("n{n}"), replica: ReplicaId::new(n) };
        Engine::recover(config, identity, Recovery::new(Registry::new(), n)).unwrap()
    }

    /// Two leaders with a connection between them.
    fn pair(config: Config) -> (Engine, Engine) {
        let (mut ann, mut bob) = (open(1, config), open(2, Config::default()));
        let (from_ann, from_bob) = (ann.hello(), bob.hello());
        let now = Now { wall: 1, mono: 1 };
        ann.connect(LINK, &from_ann, from_bob.clone(), now).unwrap();
        bob.connect(LINK, &from_bob, from_ann, now).unwrap();
        (ann, bob)
    }

    /// Writes to registers and commits.
    fn assign(engine: &mut Engine, names: &[&str], at: u64) {
        let now = Now { wall: at, mono: at };
        for name in names {
            engine.write(name, &Op::Assign(b"by now".to_vec()), None, now).unwrap();
        }
        commit(engine, at);
    }

    fn commit(engine: &mut Engine, at: u64) {
        if engine.take_commit().is_some() {
            engine.committed(Now { wall: at, mono: at });
        }
    }

    /// `from` says all that it has to say, and what it says is shown.
    fn tell(from: &mut Engine, to: &mut Engine, at: u64) {
        let now = Now { wall: at, mono: at };
        while let Some(message) = from.poll(LINK, now) {
            to.handle(LINK, message, now).unwrap();
        }
        commit(to, at);
    }

    /// The batches that `engine` has cut, after `since`.
    fn cut(engine: &mut Engine, since: u64) -> Vec<Arc<Batch>> {
        engine.cut_own();
        engine.relay.log.after(engine.identity.replica, since).cloned().collect()
    }

    fn is_written(batch: &Batch) -> Vec<bool> {
        batch.pieces.iter().map(|piece| matches!(piece.body, Body::Register(Some(_)))).collect()
    }

    #[test]
    fn what_others_do_after_an_update_is_neither_in_its_batch_nor_depended_on() {
        let (mut ann, mut bob) = pair(Config::default());
        assign(&mut ann, &["a", "b", "c"], 10);
        assign(&mut bob, &["b", "c", "d"], 20);
        tell(&mut bob, &mut ann, 20);
        assert_eq!(ann.register("b").unwrap().1.replica, ReplicaId::new(2), "it is later");
        let first = cut(&mut ann, 0);
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].until, first[0].deps.as_slice()), (3, [].as_slice()));
        assert_eq!(first[0].pieces.iter().map(|piece| piece.newest).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(is_written(&first[0]), [true; 3], "as it was before the other's");

        assign(&mut ann, &["e"], 30);
        assign(&mut bob, &["e"], 40);
        tell(&mut bob, &mut ann, 40);
        assign(&mut ann, &["f"], 50);
        assign(&mut bob, &["f", "g"], 60);
        tell(&mut bob, &mut ann, 60);
        let second = cut(&mut ann, 3);
        assert_eq!(second.len(), 1);
        let dep = Dot::new(ReplicaId::new(2), 4);
        assert_eq!(
            (second[0].until, second[0].deps.as_slice()),
            (5, [dep].as_slice()),
            "up to the write of f"
        );
        assert_eq!(is_written(&second[0]), [false, true], "e was overwritten by what it depends on");

        assign(&mut ann, &["h"], 70);
        let third = cut(&mut ann, 5);
        assert_eq!(third[0].deps, [Dot::new(ReplicaId::new(2), 6)], "what came after the second");
    }

    fn some_op(rng: &mut StdRng) -> Op {
        let element = |rng: &mut StdRng| vec![rng.random_range(0..3u8)];
        match rng.random_range(0..6) {
            0 => Op::Increment(1),
            1 | 2 => Op::Assign(element(rng)),
            3 => Op::Add(vec![element(rng), b"x".to_vec()]),
            4 => Op::Remove(vec![element(rng)]),
            _ => Op::Clear,
        }
    }

    /// Against a batch that is cut with each update and thrown away when the next is made.
    #[test]
    fn a_batch_is_what_it_was_with_its_last_update_whatever_came_since() {
        let mut kept = 0;
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut ann, mut bob) = pair(Config { min_deaths: 0, ..Config::default() });
            let me = ann.identity.replica;
            let mut expected = Vec::new();
            for at in 2..120 {
                let now = Now { wall: at, mono: at };
                let write = |engine: &mut Engine, rng: &mut StdRng| {
                    let (op, name) = (some_op(rng), rng.random_range(0..2));
                    engine.write(&format!("{} {name}", op.kind()), &op, None, now).unwrap().events > 0
                };
                let as_of_now = |ann: &Engine| {
                    ann.space.cut_batch(me, ann.space.cut_until(), Vec::new(), Kept::new()).pieces
                };
                match rng.random_range(0..10) {
                    0..3 => {
                        if write(&mut ann, &mut rng) {
                            expected = as_of_now(&ann);
                        }
                    }
                    3..8 => {
                        write(&mut bob, &mut rng);
                        commit(&mut bob, at);
                        tell(&mut bob, &mut ann, at);
                    }
                    _ => {
                        commit(&mut ann, at);
                        let since = ann.space.cut_until();
                        let now = as_of_now(&ann);
                        if let [batch] = &cut(&mut ann, since)[..] {
                            assert_eq!(batch.pieces, expected, "seed {seed}, at {at}");
                            kept += usize::from(now != expected);
                        }
                        tell(&mut ann, &mut bob, at);
                    }
                }
            }
        }
        assert!(kept > 200, "{kept} would have been others if they had been cut late");
    }
}
