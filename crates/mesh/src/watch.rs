use crate::{Leader, LeaderError, core::View, topology::is_reserved};
use mesh_proto::{ChangedKey, Engine, Merge, VersionVector};
use tokio::sync::watch;

/// The changes of a leader as they become durable; see [`Leader::watch`].
///
/// It holds no changes, only the vector of what it has given: however slow its reader is, it costs O(leaders) memory,
/// and many changes of one key between two calls are one.
#[derive(Debug)]
pub struct Watch {
    leader: Leader,
    version: watch::Receiver<VersionVector>,
    prefix: String,
    seen: VersionVector,
    begun: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Where to resume: everything up to here has been given.
    pub token: VersionVector,
    /// Each key that changed, with its value of now.
    pub keys: Vec<ChangedKey>,
}

impl Watch {
    pub(crate) fn new(leader: Leader, prefix: String, since: VersionVector) -> Self {
        let version = leader.core.version.clone();
        Watch { leader, version, prefix, seen: since, begun: false }
    }

    /// Waits for changes. The first call does not wait: it gives what changed since the token that the watch began
    /// with, which may be nothing.
    ///
    /// Costs O(changes) when something changed, and nothing while it waits. Safe to cancel: what was not returned
    /// comes with the next call.
    ///
    /// # Errors
    ///
    /// [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`]: there will be no further changes.
    pub async fn next(&mut self) -> Result<Changes, LeaderError> {
        loop {
            self.leader.core.check_metadata()?;
            self.version.mark_unchanged();
            let (prefix, seen) = (self.prefix.clone(), self.seen.clone());
            let changes = move |View { engine, .. }: View<'_>| Changes {
                keys: changes(engine, &seen, &prefix),
                token: engine.version().clone(),
            };
            let Changes { mut token, keys } = self.leader.core.view(changes).await?;
            // The token may come from a leader that had more.
            token.merge(&self.seen);
            self.seen.clone_from(&token);
            if !std::mem::replace(&mut self.begun, true) || !keys.is_empty() {
                return Ok(Changes { token, keys });
            }
            if self.version.changed().await.is_err() {
                return Err(self.leader.core.stop_error(false).await);
            }
        }
    }
}

/// What changed, without the mesh's own keys, unless they are asked for.
fn changes(engine: &Engine, seen: &VersionVector, prefix: &str) -> Vec<ChangedKey> {
    let mut keys = engine.changes_since(seen, prefix);
    if !is_reserved(prefix) {
        keys.retain(|changed| !is_reserved(&changed.key.name));
    }
    keys
}
