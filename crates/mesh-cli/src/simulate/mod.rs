//! `mesh simulate`: meshes in virtual time.

mod chart;
mod progress;
mod what_if;

use crate::Usage;
use anyhow::Result;
use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use mesh_sim::{Faults, Planted, economy, leaders};
use progress::say;
use serde::Serialize;
use std::{
    fmt,
    io::{self, Write},
    num::NonZeroUsize,
    process::ExitCode,
    thread,
};

/// Simulate a mesh in virtual time, or run one of the suites.
///
/// The engine is the one that `mesh serve` runs; the network, the disks and the clocks are simulated, and everything that
/// happens by chance follows from the seed.
///
/// Without --suite, this is a what-if: writes come at random times to random leaders, under the conditions that are asked
/// for, and the mesh is watched until all leaders agree. Reported are the times until a write is durable and until others
/// show it, the bytes against the least that is possible, how far leaders fell behind, and how fast they caught up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run a suite instead of a what-if
    #[arg(long, value_enum)]
    suite: Option<Suite>,

    /// Exit with 1 if a goal of the suite falls short, an invariant is broken, or the what-if does not converge
    #[arg(long)]
    check: bool,

    /// A shorter suite, for a first look
    #[arg(long, requires = "suite")]
    quick: bool,

    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,

    /// What all chances follow from; of the suite `faults`, the first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many seeds of the suite `faults` are run [default: 200]
    #[arg(long, requires = "suite", value_parser = value_parser!(u64).range(1..))]
    seeds: Option<u64>,

    /// On how many threads the suite `faults` is run [default: one for each processor]
    #[arg(long, requires = "suite")]
    jobs: Option<NonZeroUsize>,

    /// A bug for the suite `faults` to find
    #[arg(long, requires = "suite", value_name = "BUG", value_parser = planted())]
    planted: Option<Planted>,

    #[command(flatten)]
    what_if: what_if::Args,
}

const EXAMPLES: &str = "\
Examples:
  mesh simulate --leaders 9 --topology ring --ops 50 --latency 20 --jitter 5
  mesh simulate --leaders 6 --partition 10..20:0,1 --svg pictures
  mesh simulate --loss 5 --transport datagrams --json
  mesh simulate --suite leaders --quick
  mesh simulate --suite economy --check
  mesh simulate --suite published --quick
  mesh simulate --suite faults --seeds 2000 --jobs 2 --check";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// What synchronising costs: the published protocols and this one, side by side
    Economy,
    /// The runs of Enes et al., ICDE 2019, beside what they come to in this simulator
    Published,
    /// Every invariant and convergence under loss, partitions, crashes and wrong clocks
    Faults,
    /// A single leader, or one in each region?
    Leaders,
}

fn planted() -> impl TypedValueParser<Value = Planted> {
    PossibleValuesParser::new(Planted::all().map(Planted::name)).map(|name| {
        Planted::all().find(|planted| planted.name() == name).expect("only these names are possible")
    })
}

/// Runs what the arguments ask for. Exit code 1 if `--check` finds something, or an invariant is broken.
///
/// # Errors
///
/// Wrong arguments, or output that cannot be written.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { suite, quick, seed, seeds, jobs, planted, .. } = *args;
    if suite != Some(Suite::Faults) && (seeds.is_some() || jobs.is_some() || planted.is_some()) {
        return Err(Usage("--seeds, --jobs and --planted are for --suite faults".into()).into());
    }
    match suite {
        None => {
            let report = what_if::run(&args.what_if, seed)?;
            args.finish(report.converged, &report, &report)
        }
        Some(Suite::Economy) => {
            let options = economy::suite::Options { seed, quick, live: Some(live), progress: say };
            let report = economy::economy(&options);
            args.finish(report.holds(), &report, economy::report::markdown(&report))
        }
        Some(Suite::Published) => {
            let report = economy::published::published(seed, quick, say);
            args.finish(report.holds(), &report, &report)
        }
        Some(Suite::Faults) => {
            let jobs = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
            let seeds = seeds.unwrap_or(mesh_sim::ENOUGH_SEEDS);
            if seed.checked_add(seeds).is_none() {
                return Err(Usage(format!("there are no {seeds} seeds from {seed} on")).into());
            }
            say(&format!("{seeds} seeds on {jobs} threads"));
            let report = Faults { seed, seeds, jobs, quick, planted }.run();
            let code = args.finish(report.holds(), &report, &report)?;
            Ok(if report.failure.is_some() { ExitCode::FAILURE } else { code })
        }
        Some(Suite::Leaders) => {
            let report = leaders::leaders(&leaders::Options { seed, quick, progress: &say });
            args.finish(report.holds(), &report, &report)
        }
    }
}

/// The live bytes of this process.
fn live() -> u64 {
    crate::ALLOCATOR.allocated() as u64
}

impl Args {
    fn finish(&self, holds: bool, json: &impl Serialize, text: impl fmt::Display) -> Result<ExitCode> {
        let mut stdout = io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", serde_json::to_string(json)?)?;
        } else {
            write!(stdout, "{text}")?;
        }
        stdout.flush()?;
        Ok(if self.check && !holds { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
