//! `mesh replay`: real and generated histories through all five CRDT crates, checked at every event.

mod ancestry;
mod check;
mod generate;
mod oracle;
mod progress;
pub(crate) mod rng;
mod states;
pub(crate) mod trace;

use anyhow::{Context, Result};
use check::{Check, Mismatch};
use generate::Shape;
use progress::Progress;
use serde::Serialize;
use states::States;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use trace::Trace;

/// Replay a concurrent history through all five CRDT crates and check every event, or generate one.
///
/// The state of an event is the join of its parents' states plus the event's own updates. Of each state these are
/// compared with what the history says: the set's elements, both counters, the register's value, and how the version
/// vector stands to those of other events (of all, up to 5000 events; of 64 chosen at random beyond).
///
/// The last line on stdout is `replayed P of N events: M match`. Exits with 0 if all match, 1 if one does not (stderr
/// names the first), 2 if the file is no valid history (stderr names the line).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The history: JSON lines, gzip or plain.
    #[arg(required_unless_present = "generate")]
    trace: Option<PathBuf>,

    /// Write a history made from this seed instead, with the paths that must result from it.
    #[arg(long, value_name = "SEED", requires = "out", conflicts_with = "trace")]
    generate: Option<u64>,

    /// How many events to generate.
    #[arg(long, requires = "generate", default_value_t = 4_000, value_parser = at_least_one)]
    events: usize,

    /// How many leaders write them.
    #[arg(long, requires = "generate", default_value_t = 12, value_parser = at_least_one)]
    leaders: usize,

    /// Over how many distinct paths, most of which are in the set at any time [default: a fifth of the events, at
    /// least 60].
    #[arg(long, requires = "generate", value_parser = at_least_one)]
    paths: Option<usize>,

    /// Where to write what is generated; gzip if the name ends in `.gz`.
    #[arg(long, value_name = "FILE", requires = "generate")]
    out: Option<PathBuf>,

    /// Also show the time spent on parsing, updates, merges and checking.
    #[arg(long, conflicts_with = "generate")]
    timings: bool,

    /// Print the result as one line of JSON too, before the last line.
    #[arg(long)]
    json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Does what the arguments ask for. Exit code 0 for success, 1 for a history of which an event does not match.
///
/// # Errors
///
/// A file that cannot be read or written, or is no valid history: named with its line.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Args { trace, generate, events, leaders, paths, out, timings, json } = args;
    match (trace, generate, out) {
        (Some(trace), ..) => replay(&trace, timings, json),
        (None, Some(seed), Some(out)) => {
            let paths = paths.unwrap_or_else(|| (events / 5).max(60));
            make(seed, Shape { events, leaders, paths }, &out, json)
        }
        _ => unreachable!("clap asks for a trace, or for a seed and a file"),
    }
}

fn make(seed: u64, shape: Shape, out: &Path, json: bool) -> Result<ExitCode> {
    let mut progress = Progress::start("generated", shape.events);
    let made = generate::write(out, seed, shape, |done| progress.at(done))
        .with_context(|| out.display().to_string())?;
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{}", serde_json::to_string(&made)?)?;
    } else {
        let generate::Made { events, merges, most_paths } = made;
        writeln!(
            stdout,
            "wrote {events} events, {merges} of them merges, with at most {most_paths} paths at a time, to {}",
            out.display()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the time went.
#[derive(Debug, Default)]
struct Timings {
    parsing: Duration,
    updates: Duration,
    /// Clones of states that are needed again included.
    merges: Duration,
    checking: Duration,
}

impl Timings {
    fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("parsing", self.parsing),
            ("updates", self.updates),
            ("merges", self.merges),
            ("checking", self.checking),
        ]
        .map(|(what, spent)| (what, spent.as_secs_f64()))
    }
}

/// Runs `work` and adds the time it takes to `spent`.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}

fn replay(file: &Path, show_timings: bool, json: bool) -> Result<ExitCode> {
    let mut timings = Timings::default();
    let trace = timed(&mut timings.parsing, || Trace::open(file))?;
    let check = check_all(&trace, &mut timings);

    let (events, matching) = (trace.events().len(), check.matching());
    let mut stdout = std::io::stdout().lock();
    if json {
        let outcome = Outcome {
            events,
            replayed: events,
            matching,
            first_mismatch: check.first(),
            seconds: show_timings.then(|| timings.named().into_iter().collect()),
        };
        writeln!(stdout, "{}", serde_json::to_string(&outcome)?)?;
    } else if show_timings {
        for (what, seconds) in timings.named() {
            writeln!(stdout, "{what:<9}{seconds:>9.3} s")?;
        }
    }
    writeln!(stdout, "replayed {events} of {events} events: {matching} match")?;
    Ok(match check.first() {
        None => ExitCode::SUCCESS,
        Some(mismatch) => {
            eprintln!("first mismatch: {mismatch}");
            ExitCode::FAILURE
        }
    })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    events: usize,
    replayed: usize,
    matching: usize,
    first_mismatch: Option<&'a Mismatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<std::collections::BTreeMap<&'static str, f64>>,
}

/// Makes the state of each event and checks it; then compares the vectors of all.
fn check_all<'t>(trace: &'t Trace, timings: &mut Timings) -> Check<'t> {
    let events = trace.events();
    let mut check = timed(&mut timings.checking, || Check::new(trace));
    let mut states = States::new(trace);
    let mut vectors = Vec::with_capacity(events.len());
    let mut progress = Progress::start("replayed", events.len());
    for (c, event) in events.iter().enumerate() {
        let mut state = timed(&mut timings.merges, || states.join(&event.parents));
        timed(&mut timings.updates, || {
            state.update(trace, c, |kind, error| {
                check.expect(c, kind, "an update that is accepted", error.to_string().as_str());
            });
        });
        timed(&mut timings.checking, || {
            check.state(c, &state);
            vectors.push(state.seen.clone());
        });
        states.keep(c, state);
        progress.at(c + 1);
    }
    let mut progress = Progress::start("vectors compared", events.len());
    timed(&mut timings.checking, || check.vectors(&vectors, |done| progress.at(done)));
    check
}
