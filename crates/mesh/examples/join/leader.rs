//! One leader in a process of its own, which is told what to do line by line.

use crate::Fallible;
use mesh::{Leader, LeaderConfig, LeaderError, Op, Peer, Storage, VersionVector};
use rustix::{
    process::nice,
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// So many writes are under way while keys are written.
const FILLERS: u64 = 1_000;

#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// Names and addresses.
    pub(crate) peers: Vec<(String, String)>,
    /// Whether it leaves the processors to the others, which would have their own.
    pub(crate) yields: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Write each key once.
    Fill {
        keys: u64,
    },
    /// From now on write and read at these rates.
    Load {
        keys: u64,
        writes: u64,
        reads: u64,
        seed: u64,
    },
    /// No more of that: answered when all that was begun has ended.
    Rest,
    /// Answer when everything in this vector is here.
    WaitFor {
        token: VersionVector,
    },
    /// What was measured since this was asked last.
    Measured,
    Status,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Started { address: String },
    Done,
    Measured(Measured),
    Status(Status),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) token: VersionVector,
    pub(crate) fingerprint: String,
    pub(crate) keys: usize,
    /// The bytes of the store.
    pub(crate) disk: u64,
    /// The bytes received from all peers.
    pub(crate) received: u64,
    /// How many events the peer that is furthest behind lacks.
    pub(crate) behind: u64,
    /// Memory now, and the most since what was measured was asked last, in bytes; 0 where the system does not say.
    pub(crate) rss: u64,
    pub(crate) peak: u64,
}

/// What a leader has measured.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) reads: Latencies,
    pub(crate) writes: Latencies,
    /// The time for which its process ran on a processor.
    pub(crate) processor: Duration,
}

/// In microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.extend(&other.0);
        self.0.sort_unstable();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least that so many thousandths do not exceed, in ms.
    pub(crate) fn quantile(&self, thousandths: usize) -> f64 {
        let at = (self.0.len() * thousandths).div_ceil(1_000).saturating_sub(1);
        f64::from(self.0.get(at).copied().unwrap_or(0)) / 1e3
    }
}

/// What is measured, by all that measure.
type Gathered = Arc<Mutex<Vec<u32>>>;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(start: Start) -> Fallible<()> {
    let Start { name, folder, peers, yields } = start;
    if yields {
        // Before it has further threads: they take after this one.
        nice(19)?;
    }
    let leader = Leader::start(LeaderConfig {
        listen: Some("127.0.0.1:0".into()),
        peers: peers.into_iter().map(|(name, address)| Peer::new(name, address)).collect(),
        ..LeaderConfig::new(name, Storage::Dir(folder))
    })
    .await?;
    let address = leader.listen_addr().ok_or("it does not listen")?.to_string();
    say(&Answer::Started { address })?;
    let (reads, writes) = (Gathered::default(), Gathered::default());
    let (mut load, rest): (Vec<JoinHandle<()>>, _) = (Vec::new(), CancellationToken::new());
    let mut used_before = processor_time();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str(&line)? {
            Ask::Fill { keys } => {
                fill(&leader, keys).await?;
                Answer::Done
            }
            Ask::Load { keys, writes: a, reads: b, seed } => {
                for (rate, measured, is_write) in [(a, &writes, true), (b, &reads, false)] {
                    let seed = seed * 2 + u64::from(is_write);
                    load.push(tokio::spawn(offer(
                        leader.clone(),
                        (rate, keys),
                        is_write,
                        seed,
                        (Arc::clone(measured), rest.clone()),
                    )));
                }
                Answer::Done
            }
            Ask::Rest => {
                rest.cancel();
                for task in load.drain(..) {
                    task.await?;
                }
                Answer::Done
            }
            Ask::WaitFor { token } => {
                leader.wait_for(&token, Instant::now() + PATIENCE).await?;
                Answer::Done
            }
            Ask::Measured => {
                // The peak is counted anew from here on, where the system can do that.
                let _ = fs::write("/proc/self/clear_refs", "5");
                let used = processor_time();
                let processor = used.saturating_sub(std::mem::replace(&mut used_before, used));
                Answer::Measured(Measured { reads: taken(&reads), writes: taken(&writes), processor })
            }
            Ask::Status => Answer::Status(status(&leader).await?),
        };
        say(&answer)?;
    }
    leader.shutdown().await;
    Ok(())
}

fn say(answer: &Answer) -> Fallible<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn taken(measured: &Gathered) -> Latencies {
    let mut all = Latencies::default();
    all.add(&Latencies(std::mem::take(&mut *measured.lock().unwrap_or_else(PoisonError::into_inner))));
    all
}

async fn status(leader: &Leader) -> Fallible<Status> {
    let status = leader.status().await?;
    let behind = status.peers.iter().map(|peer| peer.events_behind).max().unwrap_or(0);
    Ok(Status {
        received: status.peers.iter().map(|peer| peer.bytes_in).sum(),
        behind: u64::try_from(behind)?,
        token: status.vector,
        fingerprint: status.fingerprint,
        keys: status.keys,
        disk: status.disk_bytes,
        rss: memory("VmRSS"),
        peak: memory("VmHWM"),
    })
}

/// A line of what Linux says of this process, in bytes.
fn memory(line: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = text.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|row| row.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Sebastiano Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What is written to a key: what it is follows from its number.
fn op(key: u64, random: &mut Random) -> Op {
    match key % 3 {
        0 => Op::Increment(1 + random.below(9)),
        1 => Op::Assign((0..100).map(|_| b'a' + random.below(26).to_le_bytes()[0]).collect()),
        _ => {
            let element = |random: &mut Random| format!("element {}", random.below(16)).into_bytes();
            if random.below(3) == 0 {
                Op::Remove(vec![element(random)])
            } else {
                Op::Add(vec![element(random)])
            }
        }
    }
}

fn name(key: u64) -> String {
    format!("key-{key:08}")
}

async fn fill(leader: &Leader, keys: u64) -> Fallible<()> {
    let mut fillers = JoinSet::new();
    for first in 0..FILLERS.min(keys) {
        let leader = leader.clone();
        fillers.spawn(async move {
            let mut random = Random(first);
            for key in (first..keys).step_by(usize::try_from(FILLERS).unwrap_or(usize::MAX)) {
                let op = match op(key, &mut random) {
                    Op::Add(_) | Op::Remove(_) => {
                        Op::Add((0..3).map(|n| format!("element {n}").into_bytes()).collect())
                    }
                    op => op,
                };
                leader.write(name(key), op, None).await?;
            }
            Ok::<_, LeaderError>(())
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled??;
    }
    Ok(())
}

/// Offers operations at a rate, whether earlier ones have ended or not, until it is to rest.
async fn offer(
    leader: Leader,
    (rate, keys): (u64, u64),
    is_write: bool,
    seed: u64,
    (measured, rest): (Gathered, CancellationToken),
) {
    if rate == 0 {
        return;
    }
    let mut random = Random(seed);
    let mut ticks = interval(Duration::from_nanos(1_000_000_000 / rate));
    // What is late is made up for, and counts as late.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    while let Some(due) = rest.run_until_cancelled(ticks.tick()).await {
        while under_way.try_join_next().is_some() {}
        let (leader, key) = (leader.clone(), random.below(keys));
        let op = is_write.then(|| op(key, &mut random));
        let measured = Arc::clone(&measured);
        under_way.spawn(async move {
            let done = match (op, key % 3) {
                (Some(op), _) => leader.write(name(key), op, None).await.map(drop),
                (None, 0) => leader.counter(name(key)).await.map(drop),
                (None, 1) => leader.register(name(key)).await.map(drop),
                (None, _) => leader.members(name(key)).await.map(drop),
            };
            done.expect("the leader runs, and the operation is valid");
            let took = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
            measured.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        });
    }
    while under_way.join_next().await.is_some() {}
}
