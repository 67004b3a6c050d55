use crate::{
    Invariant, Planted, Schedule, Seen, Sometimes, Topology, Violation, builtin,
    generate::{own_schedule, schedule},
    own::{Own, OwnType},
    shrink::shrink,
    world::{self, Outcome},
};
use mesh_proto::Custom;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// From how many seeds on a situation that was never reached fails the suite.
pub const ENOUGH_SEEDS: u64 = 200;

/// How many updates each seed has at least; a third of it in a quick run.
const UPDATES: usize = 500;
const QUICK_UPDATES: usize = 170;

/// What a run of the suite is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How many threads.
    pub jobs: usize,
    /// Shorter schedules, for a first look.
    pub quick: bool,
    /// A bug to be found.
    pub planted: Option<Planted>,
}

/// What a run of the suite came to; its `Display` is a table.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The first seed, and how many were run.
    pub seed: u64,
    /// How many seeds were run.
    pub seeds: u64,
    /// What was planted.
    pub planted: Option<Planted>,
    /// By topology, what was run.
    pub topologies: BTreeMap<Topology, Tally>,
    /// How often each situation was reached.
    pub seen: Seen,
    /// The situations that enough seeds should have reached and did not.
    pub missed: Vec<String>,
    /// The failure with the smallest seed, shrunk.
    pub failure: Option<Failure>,
    /// A hash of all that was said, over all seeds in their order.
    #[serde(serialize_with = "crate::whatif::hexadecimal")]
    pub trace: u64,
    /// The time that it took, in seconds, and what all threads together used of processors; without shrinking.
    pub seconds: f64,
    /// The time of processors.
    pub cpu_seconds: f64,
}

/// What was run of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// How many seeds.
    pub seeds: u64,
    /// How many writes that made events.
    pub updates: u64,
    /// The fewest of them in one seed.
    pub least: u64,
    /// How many inputs of engines.
    pub inputs: u64,
    /// The longest time from healing until all agreed, in virtual milliseconds.
    pub healed: u64,
    /// The greatest part of the allowed time that it took, in percent.
    pub patience: u64,
}

/// A schedule that breaks an invariant, shrunk. Its `Display` is the schedule, line by line, and how to repeat it.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is broken, by the shrunk schedule.
    pub violation: Violation,
    /// How many steps the schedule had.
    pub steps: usize,
    /// The shrunk schedule.
    #[serde(serialize_with = "as_text")]
    pub schedule: Schedule,
    /// How to repeat it.
    pub repeat: String,
    /// The updates of the user's own type in it, by what they are drawn from.
    draws: BTreeMap<u64, String>,
}

/// Runs `seeds` schedules on `jobs` threads: meshes of 3 to 16 leaders on all topologies, under all faults; each schedule
/// has at least 500 writes (170 if `quick`).
///
/// Stops at the first failure, which is shrunk.
pub fn faults(seeds: u64, jobs: usize, quick: bool) -> Report {
    Faults { seed: 0, seeds, jobs, quick, planted: None }.run()
}

impl Faults {
    /// Runs it.
    pub fn run(&self) -> Report {
        let updates = if self.quick { QUICK_UPDATES } else { UPDATES };
        let own = builtin::own(self.planted);
        let mut report = run(self.seed..self.seed + self.seeds, self.jobs, &own, self.planted, |seed| {
            schedule(seed, updates)
        });
        if self.seeds >= ENOUGH_SEEDS && report.failure.is_none() {
            report.missed = report.seen.never().into_iter().map(|what| what.to_string()).collect();
        }
        if let Some(failure) = &mut report.failure {
            let quick = if self.quick { " --quick" } else { "" };
            let planted = self.planted.map_or(String::new(), |planted| format!(" --planted {planted}"));
            failure.repeat =
                format!("mesh simulate --suite faults --seed {} --seeds 1{quick}{planted}", failure.seed);
        }
        report
    }
}

impl<T: Custom, U: fmt::Debug + 'static, V: PartialEq + fmt::Debug + 'static> OwnType<T, U, V> {
    /// Runs a mesh under all faults for each seed, with at least `updates` updates of this type.
    ///
    /// # Errors
    ///
    /// The failure of the smallest seed that was found to fail, shrunk to a small schedule.
    pub fn check(self, seeds: Range<u64>, updates: usize) -> Result<Report, Box<Failure>> {
        let own: Arc<dyn Own> = Arc::new(self);
        let mut report = run(seeds, 1, &own, None, |seed| own_schedule(seed, updates));
        match report.failure.take() {
            None => Ok(report),
            Some(mut failure) => {
                failure.repeat =
                    format!("OwnType::check({0}..{1}, {updates})", failure.seed, failure.seed + 1);
                Err(Box::new(failure))
            }
        }
    }
}

/// Runs a schedule; a panic of the code under test is a violation like any other.
pub(crate) fn run_caught(schedule: &Schedule, own: &Arc<dyn Own>, planted: Option<Planted>) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| world::run(schedule, own, planted))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let step = schedule.steps.len();
        let violation =
            Violation { invariant: Invariant::Panics, leader: None, key: None, step, at: 0, what };
        Outcome::failed(violation)
    })
}

fn run(
    seeds: Range<u64>,
    jobs: usize,
    own: &Arc<dyn Own>,
    planted: Option<Planted>,
    draw: impl Fn(u64) -> Schedule + Sync,
) -> Report {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let (outcomes, cpu) = (Mutex::new(BTreeMap::new()), Mutex::new(0.0));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                let began = thread_seconds();
                // Seeds are taken in order, so that all below a failing one have been run.
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let schedule = draw(seed);
                    let outcome = run_caught(&schedule, own, planted);
                    if outcome.violation.is_some() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    let topology = schedule.setup.topology;
                    outcomes.lock().expect("no thread panics with it").insert(seed, (topology, outcome));
                }
                *cpu.lock().expect("no thread panics with it") += thread_seconds() - began;
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let outcomes = outcomes.into_inner().expect("no thread panics with it");
    let mut report = Report {
        seed: seeds.start,
        seeds: outcomes.len() as u64,
        planted,
        topologies: BTreeMap::new(),
        seen: Seen::default(),
        missed: Vec::new(),
        failure: None,
        trace: 0,
        seconds,
        cpu_seconds: cpu.into_inner().expect("no thread panics with it"),
    };
    for (seed, (topology, outcome)) in outcomes {
        let tally = report.topologies.entry(topology).or_default();
        tally.seeds += 1;
        tally.least = if tally.seeds == 1 { outcome.updates } else { tally.least.min(outcome.updates) };
        tally.updates += outcome.updates;
        tally.inputs += outcome.inputs;
        tally.healed = tally.healed.max(outcome.healed);
        tally.patience = tally.patience.max(100 * outcome.healed / outcome.patience.max(1));
        report.seen.add(&outcome.seen);
        report.trace = report.trace.rotate_left(1) ^ outcome.trace;
        if let Some(violation) = outcome.violation.filter(|_| report.failure.is_none()) {
            report.failure = Some(failure(&draw(seed), &violation, own, planted));
        }
    }
    report
}

/// The time that this thread has used of a processor.
fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}

fn failure(
    schedule: &Schedule,
    violation: &Violation,
    own: &Arc<dyn Own>,
    planted: Option<Planted>,
) -> Failure {
    let (shrunk, violation) = shrink(schedule, violation, own, planted);
    let draws = shrunk.steps.iter().filter_map(|step| match step.action {
        crate::Action::Update { draw, .. } => Some((draw, own.describe(draw))),
        _ => None,
    });
    Failure {
        seed: schedule.seed,
        violation,
        steps: schedule.steps.len(),
        draws: draws.collect(),
        schedule: shrunk,
        repeat: String::new(),
    }
}

impl Report {
    /// Whether no invariant was broken and, with enough seeds, every situation reached.
    pub fn holds(&self) -> bool {
        self.failure.is_none() && self.missed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(planted) = self.planted {
            writeln!(f, "planted: {planted}: {}", planted.description())?;
        }
        writeln!(
            f,
            "{:<12}{:>8}{:>10}{:>10}{:>12}{:>12}{:>12}",
            "topology", "seeds", "updates", "at least", "inputs", "healed ms", "of limit"
        )?;
        let mut all = Tally { least: u64::MAX, ..Tally::default() };
        for (topology, tally) in &self.topologies {
            write_tally(f, &topology.to_string(), tally)?;
            all.seeds += tally.seeds;
            all.updates += tally.updates;
            all.least = all.least.min(tally.least);
            all.inputs += tally.inputs;
            all.healed = all.healed.max(tally.healed);
            all.patience = all.patience.max(tally.patience);
        }
        write_tally(f, "all", &all)?;
        writeln!(f)?;
        for what in Sometimes::ALL {
            writeln!(f, "{:>12}  {what}", self.seen.count(*what))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown in six digits")]
        let rate = all.inputs as f64 / self.cpu_seconds.max(1e-9);
        writeln!(
            f,
            "\n{:.1} s, {:.1} s of processors: {rate:.0} inputs a second and core",
            self.seconds, self.cpu_seconds
        )?;
        writeln!(f, "trace {:016x}", self.trace)?;
        for what in &self.missed {
            writeln!(f, "never reached: {what}")?;
        }
        match &self.failure {
            Some(failure) => write!(f, "\n{failure}"),
            None if self.missed.is_empty() => writeln!(f, "no invariant broken; all agreed in the end"),
            None => Ok(()),
        }
    }
}

fn write_tally(f: &mut fmt::Formatter<'_>, name: &str, tally: &Tally) -> fmt::Result {
    let Tally { seeds, updates, least, inputs, healed, patience } = tally;
    writeln!(f, "{name:<12}{seeds:>8}{updates:>10}{least:>10}{inputs:>12}{healed:>12}{patience:>11}%")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, violation, steps, schedule, repeat, draws } = self;
        writeln!(f, "{violation}\n")?;
        writeln!(f, "seed {seed}, shrunk from {steps} steps to {}:", schedule.steps.len())?;
        write!(f, "{}", schedule.setup)?;
        for step in &schedule.steps {
            match step.action {
                crate::Action::Update { draw, .. } if draws.contains_key(&draw) => {
                    writeln!(f, "{step}: {}", draws[&draw])?;
                }
                _ => writeln!(f, "{step}")?,
            }
        }
        writeln!(f, "then everything is made whole\n\nrepeat with: {repeat}")
    }
}

impl std::error::Error for Failure {}

fn as_text<S: serde::Serializer>(schedule: &Schedule, serializer: S) -> Result<S::Ok, S::Error> {
    let steps = schedule.steps.iter().map(ToString::to_string);
    serializer.collect_seq(schedule.setup.to_string().lines().map(str::to_owned).chain(steps))
}
