//! What it costs a mesh under load that a new leader joins it: `docs/performance.md` shows its output.
//!
//! `cargo run --release -p mesh --example join`
//!
//! Two leaders, each a process with a store on disk, have a million keys and take writes and reads at a fixed rate. A
//! third one, with nothing, connects to both. Latencies are counted from the moment at which an operation was due, so
//! that a leader that stands still for a while is not asked less often. All run on one machine: the third one takes what the
//! others leave of its processors, which in a mesh of machines it would not share with them.

// Numbers of operations and bytes are far below 2^52.
#![allow(clippy::cast_precision_loss, reason = "what is printed is rounded anyway")]

mod leader;
mod report;

use clap::Parser;
use leader::{Answer, Ask, Measured, Start};
use report::{Phase, Report};
use std::{
    error::Error,
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Measures what joining a mesh under load costs.
#[derive(Parser)]
struct Options {
    /// How many keys there are: counters, registers of 100 bytes and sets of three elements in turn.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Writes a second, half of them at each of the two leaders.
    #[arg(long, default_value_t = 2_000)]
    writes: u64,
    /// Reads a second, half of them at each.
    #[arg(long, default_value_t = 2_000)]
    reads: u64,
    /// How many seconds are measured before the third leader starts, and after it has joined.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the third leader's store is: best on another disk than that for temporary files, as on another machine.
    #[arg(long, value_name = "DIRECTORY")]
    joiner: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// A process of this program's own: how to start it, as JSON.
    #[arg(long, hide = true)]
    leader: Option<String>,
}

fn main() -> Fallible<()> {
    let options = Options::parse();
    if let Some(start) = &options.leader {
        return leader::run(serde_json::from_str(start)?);
    }
    let report = measure(&options)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

fn measure(options: &Options) -> Fallible<Report> {
    let folder = tempfile::tempdir()?;
    let elsewhere = options.joiner.as_ref().map(tempfile::tempdir_in).transpose()?;
    let start = |name: &str, folder: &TempDir, peers: &[&Process], yields: bool| {
        let peers = peers.iter().map(|peer| (peer.name.clone(), peer.address.clone())).collect();
        Process::start(&Start { name: name.into(), folder: folder.path().join(name), peers, yields })
    };
    let Options { keys, writes, reads, seconds, .. } = *options;
    let span = Duration::from_secs(seconds);

    eprintln!("{keys} keys are written");
    let mut a = start("a", &folder, &[], false)?;
    a.ask(&Ask::Fill { keys })?;
    let mut b = start("b", &folder, &[&a], false)?;
    let token = a.status()?.token;
    b.ask(&Ask::WaitFor { token })?;
    let at_rest = a.status()?;

    eprintln!("{writes} writes and {reads} reads a second");
    for (process, seed) in [(&mut a, 1), (&mut b, 2)] {
        process.ask(&Ask::Load { keys, writes: writes / 2, reads: reads / 2, seed })?;
    }
    go_on(span / 2);
    both(&mut a, &mut b)?;
    go_on(span);
    let before = Phase::new(span, &both(&mut a, &mut b)?);

    eprintln!("a third leader joins");
    let token = a.status()?.token;
    let began = Instant::now();
    let mut c = start("c", elsewhere.as_ref().unwrap_or(&folder), &[&a, &b], true)?;
    c.ask(&Ask::WaitFor { token })?;
    let took = began.elapsed();
    let joined = c.status()?;
    let during = Phase::new(took, &both(&mut a, &mut b)?);
    let senders = [a.status()?, b.status()?];

    // How far it is behind a moment later, while the load goes on.
    go_on(span);
    let after = Phase::new(span, &both(&mut a, &mut b)?);
    let behind = a.status()?.behind;

    for process in [&mut a, &mut b] {
        process.ask(&Ask::Rest)?;
    }
    let mut prints = Vec::new();
    for token in [a.status()?.token, b.status()?.token] {
        for process in [&mut a, &mut b, &mut c] {
            process.ask(&Ask::WaitFor { token: token.clone() })?;
        }
    }
    for process in [&mut a, &mut b, &mut c] {
        prints.push(process.status()?.fingerprint);
    }
    if prints.iter().any(|print| *print != prints[0]) {
        return Err(format!("the leaders differ in the end: {prints:?}").into());
    }
    Ok(Report {
        keys: joined.keys,
        writes_per_second: writes,
        reads_per_second: reads,
        join_ms: u64::try_from(took.as_millis())?,
        received_bytes: joined.received,
        store_bytes: at_rest.disk,
        joiner_rss: joined.rss,
        joiner_peak: joined.peak,
        idle_rss: at_rest.rss,
        sender_peaks: senders.map(|status| status.peak),
        behind_after: behind,
        before,
        during,
        after,
    })
}

/// Lets the load go on for so long: nothing is waited for, time itself is what latencies are counted over.
fn go_on(time: Duration) {
    std::thread::sleep(time);
}

/// What both have measured since they were asked last; from now on their peak of memory counts anew.
fn both(a: &mut Process, b: &mut Process) -> Fallible<Measured> {
    let mut all = Measured::default();
    for process in [a, b] {
        let Answer::Measured(Measured { reads, writes, processor }) = process.ask(&Ask::Measured)? else {
            return Err("an answer to another question".into());
        };
        all.reads.add(&reads);
        all.writes.add(&writes);
        all.processor += processor;
    }
    Ok(all)
}

/// A leader in a process of its own; it ends with its input.
struct Process {
    name: String,
    address: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(start: &Start) -> Fallible<Self> {
        let name = start.name.clone();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--leader", &serde_json::to_string(start)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process without pipes".into());
        };
        let output = BufReader::new(output).lines();
        let mut process = Process { name, address: String::new(), child, input, output };
        let Answer::Started { address } = process.hear()? else {
            return Err("it says something before it has started".into());
        };
        process.address = address;
        Ok(process)
    }

    fn ask(&mut self, what: &Ask) -> Fallible<Answer> {
        writeln!(self.input, "{}", serde_json::to_string(what)?)?;
        self.hear()
    }

    fn hear(&mut self) -> Fallible<Answer> {
        let line = self.output.next().ok_or_else(|| format!("leader {} has ended", self.name))??;
        Ok(serde_json::from_str(&line)?)
    }

    fn status(&mut self) -> Fallible<leader::Status> {
        match self.ask(&Ask::Status)? {
            Answer::Status(status) => Ok(status),
            _ => Err("an answer to another question".into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whether it has ended already does not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
