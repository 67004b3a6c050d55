//! `mesh topology`.

use super::{
    Leader, Receipt,
    status::{duration, or_dash, problems, table},
};
use crate::client::{ApiAddr, Client, Reply, Session, path};
use anyhow::{Result, anyhow};
use mesh::{LeaderReport, LinkReport, Source, Topology, TopologyReport};
use serde_json::json;
use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

/// How long each leader may take to hear of a new topology.
const TO_HEAR: Duration = Duration::from_secs(10);

/// How the leaders are connected: look at it, and change it while the mesh is running.
///
/// A topology is one of: all-to-all; ring; star:HUB[,STAND-IN]; gossip:K[,EVERY]; regions; explicit:A=B[,C=D]. It joins the
/// members of the mesh, which `mesh peer` adds and removes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh topology show
  mesh topology set ring
  mesh topology set star:eu,us --all")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show who is reached and over how many steps, the links of the leader that is asked, and what is wrong
    #[command(after_help = "\
Examples:
  mesh topology show
  mesh topology show --json | jq -r '.problems[].text'")]
    Show,
    /// Set the topology of the whole mesh, and print the write's dot once it is durable here
    ///
    /// All leaders share it: each takes it up when it hears of it, opens the links that are new and closes those that are
    /// no more, without a restart; and keeps it over restarts, whatever they are configured with.
    #[command(after_help = "\
Examples:
  mesh topology set all-to-all
  mesh topology set star:eu,us           # us stands in for eu
  mesh topology set gossip:3,2s          # 3 peers, drawn anew every 2 seconds
  mesh topology set explicit:eu=us,us=ap
  mesh topology set regions --all        # and ask every leader whether it knows")]
    Set {
        /// all-to-all, ring, star:HUB[,STAND-IN], gossip:K[,EVERY], regions, or explicit:A=B[,C=D]
        topology: Topology,

        /// Ask every leader in turn until it knows, for 10 seconds each; exit with 1 if one does not
        #[arg(long)]
        all: bool,
    },
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let leader = &args.leader;
    let client = leader.client()?;
    match &args.action {
        Action::Show => {
            let reply = client.get(&path(&["topology"]))?;
            leader.print(&reply, |out, report| print(out, report))?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Set { topology, all } => {
            let receipt: Reply<Receipt> =
                client.put(&path(&["topology"]), &json!({ "topology": topology }), None)?;
            leader.print_receipt(&receipt)?;
            if *all {
                ask_all(&client, receipt.value.dot.as_deref(), topology)
            } else {
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Asks each leader whether it has the topology that was written with `dot`.
fn ask_all(client: &Client, dot: Option<&str>, topology: &Topology) -> Result<ExitCode> {
    let report: TopologyReport = client.get(&path(&["topology"]))?.value;
    let mut code = ExitCode::SUCCESS;
    for leader in &report.leaders {
        let answer = ask(leader, dot);
        match answer {
            Ok(found) if found.topology.as_ref() == Some(topology) => {
                eprintln!("{}: {topology}", leader.name);
            }
            Ok(found) => {
                eprintln!("{}: another one was set since: {}", leader.name, or_dash(found.topology.as_ref()));
                code = ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("{}: {error:#}; it takes up what is set when it is back", leader.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn ask(leader: &LeaderReport, after: Option<&str>) -> Result<TopologyReport> {
    let session = Session { after: after.map(str::to_owned), within: Some(TO_HEAR) };
    Ok(Client::with(api_of(leader)?, session).get(&path(&["topology"]))?.value)
}

/// Where a leader's API answers, if it is known.
pub(super) fn api_of(leader: &LeaderReport) -> Result<ApiAddr> {
    match (&leader.api, leader.unreached_ms) {
        (_, Some(ms)) => Err(anyhow!("it has not been reached for {}", duration(ms))),
        (None, None) => Err(anyhow!("the address of its API is not known")),
        (Some(api), None) => api.parse().map_err(|why: String| anyhow!(why)),
    }
}

fn print(out: &mut dyn Write, report: &TopologyReport) -> io::Result<()> {
    let source = match report.source {
        Source::Peers => "as each leader is configured",
        Source::Configured => "configured",
        Source::Replicated => "set for the whole mesh",
        _ => "from elsewhere",
    };
    match &report.topology {
        Some(topology) => writeln!(out, "{topology}, {source}")?,
        None => writeln!(out, "no topology: connected {source}")?,
    }
    let head = ["leader", "region", "address", "api", "reached", "connected to"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(report.leaders.iter().map(leader_row));
    writeln!(out)?;
    table(out, &rows)?;
    if !report.links.is_empty() {
        let head = ["link to", "address", "state", "instead of"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(report.links.iter().map(link_row));
        writeln!(out)?;
        table(out, &rows)?;
    }
    if !report.problems.is_empty() {
        writeln!(out)?;
    }
    problems(out, report)
}

fn leader_row(leader: &LeaderReport) -> Vec<String> {
    let reached = match (leader.steps, leader.unreached_ms) {
        (Some(0), _) => "this one".to_owned(),
        (Some(1), _) => "directly".to_owned(),
        (Some(steps), _) => format!("over {steps} steps"),
        (None, ms) => format!("not for {}", duration(ms.unwrap_or(0))),
    };
    let region = Some(&leader.region).filter(|region| !region.is_empty());
    vec![
        leader.name.clone(),
        or_dash(region),
        or_dash(leader.address.as_ref()),
        or_dash(leader.api.as_ref()),
        reached,
        if leader.connected_to.is_empty() { "-".into() } else { leader.connected_to.join(" ") },
    ]
}

fn link_row(link: &LinkReport) -> Vec<String> {
    let state = match (&link.problem, link.connected) {
        (_, true) => "up",
        (Some(why), false) => why,
        (None, false) => "down",
    };
    vec![link.name.clone(), link.address.clone(), state.to_owned(), or_dash(link.instead_of.as_ref())]
}
