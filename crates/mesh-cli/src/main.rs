//! The mesh binary.

mod client;
mod commands;
mod config;
mod demo;
mod replay;
mod serve;
mod simulate;

use anyhow::{Error, Result};
use cap::Cap;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use commands::{counter, keys, peer, register, set, status, topology, verify, watch};
use mimalloc::MiMalloc;
use std::{
    fmt,
    io::{self, ErrorKind, IsTerminal},
    process::ExitCode,
};
use tracing_subscriber::EnvFilter;

/// One for many small values, with a count of the live bytes, one addition for each: simulations tell what a protocol holds.
/// No limit.
#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

/// Multi-leader replication with CRDTs.
///
/// `mesh serve` runs a leader: it takes writes at any time, keeps them durably and exchanges them with its peers, and
/// all leaders come to the same values. The other commands talk to a running leader's API, named with --api or `MESH_API`,
/// or work on files.
///
/// Exit codes: 0 success, 1 failure, 2 wrong usage, 3 what --after names was not there in time. Results are on stdout,
/// everything else on stderr.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, after_help = EXAMPLES)]
struct Cli {
    /// What to log on stderr: `error`, `warn`, `info`, `debug`, `trace`, or a list like `warn,mesh=debug`
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info", value_parser = filter, global = true)]
    log: String,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Two leaders, each in a terminal of its own:
  mesh serve --name eu --data eu --listen 127.0.0.1:7001 --api 127.0.0.1:7101
  mesh serve --name us --data us --listen 127.0.0.1:7002 --api 127.0.0.1:7102 \\
      --peer eu=127.0.0.1:7001

A write at one, a read at the other:
  mesh counter incr visits --api 127.0.0.1:7101
  mesh counter get visits --api 127.0.0.1:7102
  mesh status --api 127.0.0.1:7101";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(config::Args),
    Counter(counter::Args),
    Set(set::Args),
    Register(register::Args),
    Keys(keys::Args),
    Watch(watch::Args),
    Status(status::Args),
    Topology(topology::Args),
    Peer(peer::Args),
    Verify(verify::Args),
    Replay(replay::Args),
    Demo(demo::Args),
    Simulate(simulate::Args),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  mesh completions bash > ~/.local/share/bash-completion/completions/mesh
  mesh completions fish > ~/.config/fish/completions/mesh.fish
  mesh completions zsh > \"${fpath[1]}/_mesh\"")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// A mistake in how the program was called: exit code 2.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(error.to_string()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&cli.log))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let done = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Counter(args) => counter::run(&args),
        Command::Set(args) => set::run(&args),
        Command::Register(args) => register::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Topology(args) => topology::run(&args),
        Command::Peer(args) => peer::run(&args),
        Command::Verify(args) => verify::run(&args),
        // A file that is no valid history is wrong usage there; 1 says that the history does not match.
        Command::Replay(args) => replay::run(args).map_err(|error| Usage(format!("{error:#}")).into()),
        Command::Demo(args) => demo::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Completions { shell } => completions(shell),
    };
    done.unwrap_or_else(|error| failure(&error))
}

fn completions(shell: Shell) -> Result<ExitCode> {
    // Written in one piece: the generator itself panics on a pipe that is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mesh", &mut script);
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what went wrong, and makes the exit code of it.
fn failure(error: &Error) -> ExitCode {
    let is_broken_pipe = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(is_broken_pipe) {
        // Whoever read stdout, such as `head`, has seen enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("mesh: {error:#}");
    if error.is::<Usage>() {
        ExitCode::from(2)
    } else if error.is::<client::NotYet>() {
        ExitCode::from(3)
    } else {
        ExitCode::FAILURE
    }
}
