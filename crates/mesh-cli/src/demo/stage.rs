//! The leaders and the links between them, and what happens to these while the load goes on.

use super::{
    link::Link,
    load::{Board, Lane, State},
    plan::{LEADERS, NAMES},
    process::Leader,
    progress::Progress,
};
use crate::{
    client::{ApiAddr, Client},
    replay::rng::Rng,
};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How many of the answered writes are repeated at a leader after its restart.
const REPEATED: usize = 32;

/// Three leaders, and a link between each two.
#[derive(Debug)]
pub(super) struct Stage {
    leaders: [Leader; LEADERS],
    /// By the leader that has no part in it.
    links: [Link; LEADERS],
}

/// The leaders that a link connects: the first one connects to the second.
const fn ends(link: usize) -> (usize, usize) {
    match link {
        0 => (1, 2),
        1 => (0, 2),
        _ => (0, 1),
    }
}

fn name_of(link: usize) -> String {
    let (from, to) = ends(link);
    format!("{}-{}", NAMES[from], NAMES[to])
}

impl Stage {
    /// Starts three leaders with their data in `folder`.
    ///
    /// # Errors
    ///
    /// Why one could not start.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let links = [Link::new()?, Link::new()?, Link::new()?];
        let start = |leader: usize| {
            let from_here = (0..LEADERS).filter(|&link| ends(link).0 == leader);
            let peers = from_here.map(|link| (NAMES[ends(link).1], links[link].address())).collect();
            let started = Leader::start(folder, NAMES[leader], peers)?;
            for link in (0..LEADERS).filter(|&link| ends(link).1 == leader) {
                links[link].lead_to(started.ready().listen);
            }
            anyhow::Ok(started)
        };
        // Whoever is connected to starts first.
        let (ap, us, eu) = (start(2)?, start(1)?, start(0)?);
        Ok(Self { leaders: [eu, us, ap], links })
    }

    pub(super) fn apis(&self) -> Result<[ApiAddr; LEADERS]> {
        let mut apis = Vec::with_capacity(LEADERS);
        for leader in &self.leaders {
            apis.push(leader.api()?);
        }
        apis.try_into().ok().context("there is an address for each leader")
    }

    /// How many bytes each leader has sent to its peers, in all lives of its process.
    pub(super) fn bytes_sent(&self) -> [u64; LEADERS] {
        let mut sent = [0; LEADERS];
        for (link, relay) in self.links.iter().enumerate() {
            let ((from, to), (forth, back)) = (ends(link), relay.bytes());
            sent[from] += forth;
            sent[to] += back;
        }
        sent
    }

    /// A sentence if a leader has ended by itself. To be called after something else failed: a process's connections break
    /// a moment before its end can be seen, and this waits for that moment.
    pub(super) fn end(&mut self) -> Option<String> {
        let deadline = Instant::now() + Duration::from_millis(500);
        loop {
            let end = self.leaders.iter_mut().find_map(Leader::end);
            if end.is_some() || Instant::now() >= deadline {
                return end;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn kill_all(&mut self) {
        for leader in &mut self.leaders {
            // It may have ended already.
            let _ = leader.kill();
        }
    }
}

/// When what goes wrong. Counted in answered writes: in real time nothing is certain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// The leader that is killed, one with at least a twentieth of the writes. The link that is cut is the one between the others: then nobody relays.
    victim: usize,
    /// The percentage of all writes at which the link is cut, and healed.
    cut: usize,
    heal: usize,
    /// The percentage of the victim's own writes at which it is killed.
    kill: usize,
    /// And so much later: right after a reply, which is what is waited for, a commit has always just begun.
    later: Duration,
}

impl Moments {
    /// Chooses, given how many writes each leader gets.
    pub(super) fn of(seed: u64, writes: [usize; LEADERS]) -> Self {
        let mut rng = Rng::new(seed);
        let all: usize = writes.iter().sum();
        let busy: Vec<usize> = (0..LEADERS).filter(|&leader| writes[leader] * 20 >= all).collect();
        let victim = busy[rng.below(busy.len())];
        let mut between = |from: usize, to: usize| from + rng.below(to - from);
        Self {
            victim,
            cut: between(15, 30),
            kill: between(40, 55),
            heal: between(70, 85),
            later: Duration::from_micros(between(0, 10_000) as u64),
        }
    }
}

/// What went wrong, as it was planned.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Faults {
    /// The link that was cut, and for how long.
    cut: String,
    cut_ms: u128,
    /// The leader that was killed, and how long it was down.
    killed: &'static str,
    down_ms: u128,
    /// Its requests in flight at that moment; those that got no reply; those of them that were durable nevertheless.
    in_flight: usize,
    unanswered: usize,
    had_been_durable: usize,
    /// How many answered writes were repeated after the restart, and recognised.
    recognised: usize,
}

impl Faults {
    /// What went wrong, in sentences.
    pub(super) fn sentences(&self) -> [String; 3] {
        let Self { cut, cut_ms, killed, down_ms, in_flight, unanswered, had_been_durable, recognised } = self;
        [
            format!("the link {cut} was cut for {cut_ms} ms"),
            format!("{killed} was killed with {in_flight} requests in flight, and down for {down_ms} ms"),
            format!(
                "{unanswered} requests without a reply were repeated: {had_been_durable} had been durable and were \
                 recognised, as were {recognised} that had been answered"
            ),
        ]
    }
}

/// Cuts, kills, restarts and heals while the load goes on, until all of it is answered.
///
/// # Errors
///
/// What failed; also if the leader had not one request in flight whenever it was killed.
pub(super) fn direct(
    board: &Board,
    stage: &mut Stage,
    moments: Moments,
    progress: &Progress,
) -> Result<Faults> {
    let Moments { victim, cut, heal, kill, later } = moments;
    let name = NAMES[victim];
    let api = stage.leaders[victim].api()?;
    let (total, own) = {
        let state = board.state();
        (state.total(), state.lanes[victim].total)
    };
    let at = |percentage: usize| total * percentage / 100;

    board.wait("for writes before the cut", |state| (state.answered() >= at(cut)).then_some(()))?;
    let link = &stage.links[victim];
    let cut_at = Instant::now();
    link.cut();
    progress.say(format_args!("the link {} is cut", name_of(victim)));

    let mut due = own * kill / 100;
    let (down_at, in_flight) = loop {
        let answered = board.wait("for requests in flight", |state| {
            let lane = &state.lanes[victim];
            let caught = lane.written.len() >= due && lane.in_flight > 0;
            (caught || !lane.has_work()).then_some(lane.written.len())
        })?;
        if answered == own {
            bail!("{name} had no request in flight when it was killed: give a longer trace");
        }
        drop(board.pause(later));
        let leader = &mut stage.leaders[victim];
        let down_at = Instant::now();
        let in_flight = board.kill(victim, || leader.kill())?;
        let unanswered = board.wait("for what was in flight", |state| {
            let lane = &state.lanes[victim];
            (lane.in_flight == 0).then_some(lane.unanswered)
        })?;
        if unanswered > 0 {
            progress.say(format_args!(
                "{name} is killed (SIGKILL) with {in_flight} requests in flight: {unanswered} get no reply"
            ));
            break (down_at, in_flight);
        }
        // All replies were on their way already.
        leader.restart()?;
        board.revive(victim, &api);
        due = answered + 1;
    };

    let others = |state: &State| {
        let lanes =
            || state.lanes.iter().enumerate().filter(|&(lane, _)| lane != victim).map(|(_, lane)| lane);
        (lanes().map(|lane| lane.written.len()).sum::<usize>(), lanes().any(Lane::has_work))
    };
    let before = others(&board.state()).0;
    board.wait("for writes at the other leaders", |state| {
        let (answered, more) = others(state);
        (answered >= before + at(5) || !more).then_some(())
    })?;
    let leader = &mut stage.leaders[victim];
    leader.restart()?;
    let recognised = repeat_answered(board, victim, &api)?;
    board.revive(victim, &api);
    let down_ms = down_at.elapsed().as_millis();
    progress.say(format_args!(
        "{name} is back after {down_ms} ms: it recognises its last {recognised} replies, and what got none is sent again"
    ));

    board.wait("for writes before the link heals", |state| (state.answered() >= at(heal)).then_some(()))?;
    stage.links[victim].heal();
    let cut_ms = cut_at.elapsed().as_millis();
    progress.say(format_args!("the link {} is healed after {cut_ms} ms", name_of(victim)));

    board.wait("for the last writes", |state| (state.answered() == total).then_some(()))?;
    let state = board.state();
    let lane = &state.lanes[victim];
    let (unanswered, had_been_durable) = (lane.unanswered, lane.had_been_durable);
    drop(state);
    progress.say(format_args!(
        "all writes are answered; of the {unanswered} sent again {had_been_durable} had been durable, and are not counted \
         again"
    ));
    Ok(Faults {
        cut: name_of(victim),
        cut_ms,
        killed: name,
        down_ms,
        in_flight,
        unanswered,
        had_been_durable,
        recognised,
    })
}

/// Sends the last writes that a leader has answered before its restart again, as if the replies had got lost. How many.
fn repeat_answered(board: &Board, leader: usize, api: &ApiAddr) -> Result<usize> {
    let answered = {
        let written = &board.state().lanes[leader].written;
        written[written.len().saturating_sub(REPEATED)..].to_vec()
    };
    let client = Client::new(api.clone());
    for written in &answered {
        let receipt = written.write.send(&client)?;
        ensure!(
            receipt.repeated && receipt.is_of_the_write_of(&written.receipt),
            "{} was restarted, and its reply to the write {} is now {receipt:?}, and was {:?}",
            NAMES[leader],
            written.write.idempotency_key,
            written.receipt
        );
    }
    Ok(answered.len())
}
