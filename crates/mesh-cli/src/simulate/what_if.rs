//! A mesh of the user's own making.

use super::{chart, progress::Seconds};
use crate::Usage;
use anyhow::{Context, Result};
use clap::ValueEnum;
use mesh_sim::{
    Topology,
    whatif::{Partition, Report, Transport, WhatIf},
};
use std::{fs, path::PathBuf};

#[derive(Debug, clap::Args)]
#[group(id = "what-if", multiple = true, conflicts_with = "suite")]
pub(super) struct Args {
    /// Which leaders are connected
    #[arg(long, value_enum, default_value = "all-to-all")]
    topology: Shape,

    /// How many leaders, 2 to 64
    #[arg(long, default_value_t = 5)]
    leaders: usize,

    /// Writes a second, of all leaders together, up to 1,000,000
    #[arg(long, value_name = "PER_SECOND", default_value_t = 100.0)]
    ops: f64,

    /// For how long there are writes, in virtual seconds, 1 to 86,400
    #[arg(long, default_value_t = 30)]
    seconds: u64,

    /// The size of what a write adds, 8 to 65,536
    #[arg(long, default_value_t = 20)]
    bytes: usize,

    /// How many percent of the messages are lost, 0 to 90
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,

    /// How long a message takes one way, up to 10,000
    #[arg(long, value_name = "MS", default_value_t = 20.0)]
    latency: f64,

    /// How long it takes within a region, with --topology regions, up to 10,000
    #[arg(long, value_name = "MS", default_value_t = 1.0)]
    local_latency: f64,

    /// What is added to that on average, by chance, up to 10,000
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    jitter: f64,

    /// How long a commit takes, up to 100
    #[arg(long, value_name = "MS", default_value_t = 1.0)]
    commit: f64,

    /// For how long news gathers before it is sent, up to 60,000
    #[arg(long, value_name = "MS", default_value_t = 0)]
    gather: u64,

    /// What carries the messages
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Carrier,

    /// Cut leaders off from all others, from one second to another: `10..20:0,1` (repeatable)
    #[arg(long = "partition", value_name = "FROM..TO:LEADERS", value_parser = partition)]
    partitions: Vec<Partition>,

    /// Draw each leader's lag and the links' bytes over time: `lag.svg` and `bytes.svg` in this folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// Each with each
    AllToAll,
    /// Each with the next
    Ring,
    /// The first with each
    Star,
    /// Each with peers drawn at random, every second anew
    Gossip,
    /// Three regions: each with each in it, and two links between each two, so that one may fail
    Regions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Carrier {
    /// What is lost comes later, and what follows waits for it
    Tcp,
    /// What is lost is lost, and messages overtake each other
    Datagrams,
}

fn partition(text: &str) -> Result<Partition, String> {
    let parse = || {
        let (times, leaders) = text.split_once(':')?;
        let (from, to) = times.split_once("..")?;
        let leaders = leaders.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Partition { from: from.parse().ok()?, to: to.parse().ok()?, leaders })
    };
    parse().ok_or_else(|| "a partition is FROM..TO:LEADERS, in seconds, as in 10..20:0,1".to_owned())
}

impl Args {
    fn what_if(&self, seed: u64) -> WhatIf {
        let topology = match self.topology {
            Shape::AllToAll => Topology::AllToAll,
            Shape::Ring => Topology::Ring,
            Shape::Star => Topology::Star,
            Shape::Gossip => Topology::Gossip,
            Shape::Regions => Topology::Regions,
        };
        let transport = match self.transport {
            Carrier::Tcp => Transport::Tcp,
            Carrier::Datagrams => Transport::Datagrams,
        };
        let Args {
            leaders, ops, seconds, bytes, latency, local_latency, jitter, loss, commit, gather, ..
        } = *self;
        WhatIf {
            topology,
            leaders,
            ops,
            seconds,
            bytes,
            latency,
            local_latency,
            jitter,
            loss,
            commit,
            gather,
            transport,
            partitions: self.partitions.clone(),
            seed,
        }
    }
}

/// Runs it, and draws the pictures if they are asked for.
///
/// # Errors
///
/// [`Usage`] if it makes no sense; pictures that cannot be written.
pub(super) fn run(args: &Args, seed: u64) -> Result<Report> {
    let progress = Seconds::new(args.seconds);
    let report =
        args.what_if(seed).run_with(&mut |at| progress.at(at)).map_err(|error| Usage(error.to_string()))?;
    drop(progress);
    if let Some(folder) = &args.svg {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let pictures = [
            ("lag.svg", chart::lag(&report)?),
            ("bytes.svg", chart::bytes(&report)?),
            ("links.svg", chart::links(&report)?),
        ];
        for (name, picture) in pictures {
            let file = folder.join(name);
            fs::write(&file, picture).with_context(|| file.display().to_string())?;
            eprintln!("{}", file.display());
        }
    }
    Ok(report)
}
