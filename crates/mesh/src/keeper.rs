//! Keeps up the links that the plan wants: the task that opens those that are new and closes those that are no more.

use crate::{
    core::{Core, Link, View as EngineView},
    topology::{Found, RESERVED, Topology, View, look},
    transport,
};
use mesh_proto::VersionVector;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// The pause between two looks for a new plan while other things are written.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Keeper {
    core: Arc<Core>,
    found: Found,
    /// What the data had at the last look.
    seen: VersionVector,
    /// Since when those that are dialled have not been connected.
    absent: BTreeMap<String, Instant>,
    /// Since when no gateway before this leader has had a link into a region.
    unserved: BTreeMap<String, Instant>,
    /// Draws the rounds of gossip.
    seed: u64,
    started: Instant,
    /// What was logged last.
    problems: BTreeSet<String>,
}

impl Keeper {
    /// Opens the first links, by the plan that was found in the data.
    pub(crate) fn new(core: Arc<Core>, found: Found) -> Self {
        let mut keeper = Keeper {
            core,
            found,
            seen: VersionVector::new(),
            absent: BTreeMap::new(),
            unserved: BTreeMap::new(),
            seed: rand::random(),
            started: Instant::now(),
            problems: BTreeSet::new(),
        };
        keeper.reconcile(keeper.started);
        keeper
    }

    /// Runs until the leader stops.
    pub(crate) async fn run(mut self) {
        let core = Arc::clone(&self.core);
        let (mut version, mut connected, mut graph) =
            (core.version.clone(), core.connected.clone(), core.graph.clone());
        // At once, and then when something was written.
        let mut look_at = Some(Instant::now());
        loop {
            let now = Instant::now();
            if look_at.is_some_and(|at| at <= now) {
                version.mark_unchanged();
                if self.look().await.is_none() {
                    return;
                }
                look_at = None;
            }
            let looked = Instant::now();
            connected.mark_unchanged();
            graph.mark_unchanged();
            let timer = self.reconcile(looked);
            let until = look_at.into_iter().chain(timer).min();
            // Each fails only when the engine has ended.
            let lives = tokio::select! {
                () = core.disconnect.cancelled() => false,
                changed = version.changed(), if look_at.is_none() => {
                    look_at = Some(looked + LOOK);
                    changed.is_ok()
                }
                changed = connected.changed() => changed.is_ok(),
                changed = graph.changed() => changed.is_ok(),
                () = sleep_until(until.unwrap_or(looked)), if until.is_some() => true,
            };
            if !lives {
                return;
            }
        }
    }

    /// Takes up a new plan, if there is one; `None` if the leader has stopped.
    async fn look(&mut self) -> Option<()> {
        let (core, seen) = (Arc::clone(&self.core), self.seen.clone());
        let look = move |EngineView { engine, .. }: EngineView<'_>| {
            let changed = !engine.changes_since(&seen, RESERVED).is_empty();
            (engine.version().clone(), changed.then(|| look(&core.config, engine)))
        };
        let (seen, found) = self.core.view(look).await.ok()?;
        self.seen = seen;
        if let Some(found) = found.filter(|found| *found != self.found) {
            let topology = found.plan.topology.as_ref().map(ToString::to_string);
            let leader = &self.core.config.name;
            info!(leader, topology, members = found.plan.members.len(), source = ?found.source, "a new plan of the mesh");
            self.found = found;
            (self.absent, self.unserved) = (BTreeMap::new(), BTreeMap::new());
        }
        Some(())
    }

    /// Opens and closes links; gives the time at which to look again without further cause.
    fn reconcile(&mut self, now: Instant) -> Option<Instant> {
        let core = Arc::clone(&self.core);
        let down_after = core.config.limits.down_after.max(Duration::from_millis(1));
        let mut timers = Vec::new();
        let view = self.view(now, down_after, &mut timers);
        let me = &core.config.name;
        let mut wanted: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
        let Found { plan, .. } = &self.found;
        if plan.topology.is_none() || !plan.members.contains_key(me) {
            let peers = core.config.peers.iter();
            wanted.extend(peers.map(|peer| (peer.name.clone(), (peer.address.clone(), None))));
        }
        for link in plan.links(me, &view) {
            let instead_of = link.instead_of.map(str::to_owned);
            wanted.insert(link.member.name.clone(), (link.member.address.clone(), instead_of));
        }

        let mut links = core.links();
        links.retain(|link| {
            let stays = wanted.get(&link.peer.name).is_some_and(|(address, _)| *address == link.peer.address);
            if !stays {
                link.close.cancel();
            }
            stays
        });
        for (name, (address, instead_of)) in wanted {
            let known = links.iter().find(|link| link.peer.name == name).cloned();
            let link = known.unwrap_or_else(|| {
                let link = Arc::new(Link::new(name.clone(), address, core.disconnect.child_token()));
                core.tasks.spawn(transport::keep_up(Arc::clone(&core), Arc::clone(&link)));
                links.push(Arc::clone(&link));
                link
            });
            link.state().instead_of = instead_of;
            if link.is_connected(&core.connected.borrow()) {
                self.absent.remove(&name);
            } else {
                let since = *self.absent.entry(name).or_insert(now);
                timers.extend(Some(since + down_after).filter(|at| *at > now));
            }
        }
        links.sort_by(|a, b| a.peer.name.cmp(&b.peer.name));
        self.absent.retain(|name, _| links.iter().any(|link| link.peer.name == *name));
        drop(links);
        self.log(now, down_after, &mut timers);
        timers.into_iter().min()
    }

    fn view(&mut self, now: Instant, down_after: Duration, timers: &mut Vec<Instant>) -> View {
        let core = &self.core;
        let connected = core.connected.borrow().clone();
        let is_down = |(name, since): (&String, &Instant)| {
            let here = connected.values().any(|other| other == name);
            (!here && *since + down_after <= now).then(|| name.clone())
        };
        let down = self.absent.iter().filter_map(is_down).collect();
        let (mut draw, mut given_up) = (self.seed, BTreeMap::new());
        match &self.found.plan.topology {
            Some(Topology::Gossip { every_ms, .. }) => {
                let every = Duration::from_millis(*every_ms);
                let round = (now - self.started).as_nanos() / every.as_nanos().max(1);
                let round = u32::try_from(round).unwrap_or(u32::MAX);
                draw = draw.wrapping_add(u64::from(round));
                timers.push(self.started + every.saturating_mul(round.saturating_add(1)));
            }
            Some(Topology::Regions) => {
                let graph = core.graph.borrow();
                let waits = self.found.plan.waits(&core.config.name, &graph);
                self.unserved.retain(|region, _| waits.contains_key(region.as_str()));
                for (region, most) in waits {
                    let since = *self.unserved.entry(region.to_owned()).or_insert(now);
                    let passed = (now - since).as_nanos() / down_after.as_nanos();
                    let passed = usize::try_from(passed).unwrap_or(usize::MAX).min(most);
                    if passed < most {
                        let next = u32::try_from(passed + 1).unwrap_or(u32::MAX);
                        timers.push(since + down_after.saturating_mul(next));
                    }
                    given_up.insert(region.to_owned(), passed);
                }
            }
            _ => {}
        }
        View { down, given_up, draw }
    }

    /// Logs what is wrong, once it has been for some time, and that it is over.
    fn log(&mut self, now: Instant, down_after: Duration, timers: &mut Vec<Instant>) {
        // Whoever starts has not reached anybody yet.
        let settled = self.started + down_after;
        if now < settled {
            timers.push(settled);
            return;
        }
        let report = self.core.topology(&self.found);
        let leader = &self.core.config.name;
        let mut problems = BTreeSet::new();
        for problem in report.problems {
            let key = format!("{} {}", problem.code, problem.leaders.join(" "));
            if !self.problems.contains(&key) {
                warn!(leader, code = problem.code, "{}", problem.text);
            }
            problems.insert(key);
        }
        if problems.is_empty() && !self.problems.is_empty() {
            info!(leader, "the mesh is connected as it should be");
        }
        self.problems = problems;
    }
}
