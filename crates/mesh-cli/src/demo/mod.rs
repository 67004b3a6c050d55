//! `mesh demo`: three leaders, a real history, a cut link and a killed process.

mod check;
mod link;
mod load;
mod model;
mod plan;
mod process;
mod progress;
mod report;
mod stage;
mod watch;

use crate::{
    client::{ApiAddr, Client},
    replay::trace::Trace,
};
use anyhow::{Context, Result, anyhow, bail};
use check::Values;
use load::Board;
use plan::{LEADERS, NAMES, Plan, Sums};
use progress::Progress;
use report::Report;
use stage::{Faults, Moments, Stage};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Instant,
};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use watch::Status;

/// The history of a public repository: 1,133 events of 5 leaders.
const TRACE: &[u8] = include_bytes!("git-corrosion.jsonl.gz");
/// How many requests are in flight at most, over all leaders: each gets as many clients as it has its share of the work,
/// so that all are busy until the end.
const CLIENTS: usize = 24;

/// See three leaders take writes, lose a link and a process, and converge.
///
/// Starts three `mesh serve` processes on this machine with their data in a temporary folder, and drives the updates of a
/// real history through their APIs, many requests at a time. On the way a link is cut, a leader is killed (SIGKILL) with
/// requests in flight, restarted, asked the same again under the same idempotency keys, and the link healed. Then
/// the leaders must have converged: the counters to the history's exact sums, the set and the register to what the
/// replies imply.
///
/// The last line on stdout is `converged: 3 leaders, fingerprint F, 0 lost, 0 double-counted`. Any other end is an error,
/// with exit code 1; then the folder with the leaders' data and logs is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh demo
  mesh demo --seed 7 --keep
  mesh demo --trace history.jsonl.gz --json")]
pub(crate) struct Args {
    /// Another history, as `mesh replay` takes it [default: one of 1133 events that is built in]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Chooses which leader is killed, which link is cut, and when [default: a random one]
    #[arg(long)]
    seed: Option<u64>,

    /// How many copies of the history are written at once, each to keys of its own; with a multiple of 3 all leaders get
    /// the same work
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    copies: u16,

    /// Keep the folder with the leaders' data and logs
    #[arg(long)]
    keep: bool,

    /// Print the result as one line of JSON before the last line
    #[arg(long)]
    json: bool,
}

/// Runs the demo.
///
/// # Errors
///
/// Why it did not end as it must.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let trace = match &args.trace {
        Some(file) => Trace::open(file)?,
        None => Trace::parse(TRACE).context("the built-in history")?,
    };
    let seed = args.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    let mut folder = TempDir::with_prefix("mesh-demo-").context("no temporary folder can be made")?;
    folder.disable_cleanup(args.keep);
    match perform(&trace, usize::from(args.copies), seed, start, folder.path()) {
        Ok(report) => {
            if args.keep {
                eprintln!("data and logs are kept in {}", folder.path().display());
            }
            report.print(&mut io::stdout().lock(), args.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            folder.disable_cleanup(true);
            Err(error.context(format!(
                "the demo failed (seed {seed}); data and logs are kept in {}",
                folder.path().display()
            )))
        }
    }
}

/// The demo was told to stop.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted, and the leaders with it")
    }
}

impl std::error::Error for Interrupted {}

fn perform(trace: &Trace, copies: usize, seed: u64, start: Instant, folder: &Path) -> Result<Report> {
    let Plan { writes, sums } = Plan::of(trace, copies);
    let board = Arc::new(Board::new(writes));
    let writes = board.state().lanes.each_ref().map(|lane| lane.total);
    let total = writes.iter().sum();
    let clients = writes.map(|writes| (CLIENTS * writes).div_ceil(total).max(2));
    // Before there are processes that somebody has to end.
    end_on_signals(&board)?;
    let mut stage = Stage::start(folder)?;
    let apis = stage.apis()?;
    let progress = Progress::new(total);
    progress.say(format_args!(
        "leaders {} on loopback, {} clients, {total} writes: {copies} times those of {} events; seed {seed}",
        NAMES.join(", "),
        clients.iter().sum::<usize>(),
        trace.events().len()
    ));

    let (course, worst) = thread::scope(|scope| {
        let board = &*board;
        let _guard = EndOnPanic(board);
        for (leader, clients) in clients.into_iter().enumerate() {
            for _ in 0..clients {
                scope.spawn(move || {
                    let _guard = EndOnPanic(board);
                    board.work(leader);
                });
            }
        }
        let observer = scope.spawn(|| {
            let _guard = EndOnPanic(board);
            watch::observe(board, &progress)
        });
        for (leader, api) in apis.iter().enumerate() {
            board.revive(leader, api);
        }
        let course = Course::run(board, &mut stage, &apis, Moments::of(seed, writes), &progress);
        board.end();
        if course.is_err() {
            // Nobody waits for replies any longer.
            stage.kill_all();
        }
        (course, observer.join())
    });
    let Course { faults, statuses, converged_after_ms } = course?;
    let worst = worst.map_err(|_| anyhow!("the thread that looks at the leaders has panicked"))?;
    progress.say(format_args!("converged {converged_after_ms} ms after the last reply"));

    let state = board.state();
    let written = state.lanes.each_ref().map(|lane| lane.written.as_slice());
    let values = (1..=copies).map(|copy| read(&apis, copy)).collect::<Result<Vec<_>>>()?;
    let findings = check::check(sums, written, &statuses[0].vector, &values);
    if !findings.wrong.is_empty() {
        bail!(
            "{} events lost, {} double-counted: {}",
            findings.lost,
            findings.double,
            findings.wrong.join("; ")
        );
    }
    Ok(Report {
        seed,
        trace_events: trace.events().len(),
        copies,
        writes: total,
        leaders: report::rows(&statuses, writes, stage.bytes_sent(), worst),
        checked: checked(sums, copies, &values, total),
        faults,
        converged_after_ms,
        fingerprint: statuses[0].fingerprint.clone(),
        lost: findings.lost,
        double_counted: findings.double,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// How it went.
struct Course {
    faults: Faults,
    statuses: [Status; LEADERS],
    converged_after_ms: u128,
}

impl Course {
    fn run(
        board: &Board,
        stage: &mut Stage,
        apis: &[ApiAddr; LEADERS],
        moments: Moments,
        progress: &Progress,
    ) -> Result<Self> {
        let course = stage::direct(board, stage, moments, progress).and_then(|faults| {
            let answered = Instant::now();
            let statuses = watch::converged(board, apis)?;
            Ok(Self { faults, statuses, converged_after_ms: answered.elapsed().as_millis() })
        });
        // A leader that is gone is why its clients fail.
        course.map_err(|error| match stage.end() {
            Some(end) if !error.is::<Interrupted>() => error.context(end),
            _ => error,
        })
    }
}

fn read(apis: &[ApiAddr; LEADERS], copy: usize) -> Result<[Values; LEADERS]> {
    let mut values = Vec::with_capacity(LEADERS);
    for (api, name) in apis.iter().zip(NAMES) {
        let read = Values::of(&Client::new(api.clone()), copy);
        values.push(read.with_context(|| format!("the values of {name} cannot be read"))?);
    }
    values.try_into().ok().context("there are values for each leader")
}

/// What [`check::check`] has found to be so, in sentences.
fn checked(sums: Sums, copies: usize, values: &[[Values; LEADERS]], total: usize) -> Vec<String> {
    let Sums { added, lines } = sums;
    let elements: usize = values.iter().map(|copy| copy[0].elements()).sum();
    vec![
        format!("g-counters ({copies}): each is the history's exact sum, {added}"),
        format!("pn-counters ({copies}): each is the history's exact sum, {lines}"),
        format!("or-sets ({copies}): the {elements} elements that the replies imply, and no other"),
        format!("registers ({copies}): each has the value with the greatest stamp of all replies"),
        format!("vector: every event that a reply named, and no other; {total} writes, each counted once"),
    ]
}

/// Ends all threads if one of them panics: the others would wait for what it had to do.
struct EndOnPanic<'a>(&'a Board);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(anyhow!("a thread of the demo has panicked"));
        }
    }
}

/// Lets SIGINT, SIGTERM and SIGHUP end the demo as an error does: with its processes and its folder.
fn end_on_signals(board: &Arc<Board>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listening = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(listening);
    let board = Arc::clone(board);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        board.fail(Interrupted.into());
    });
    Ok(())
}
