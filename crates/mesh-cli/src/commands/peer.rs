//! `mesh peer`.

use super::Leader;
use crate::client::path;
use anyhow::Result;
use mesh::Member;
use serde_json::json;
use std::process::ExitCode;

/// The members of the mesh: add and remove them while it is running.
///
/// All leaders share the list, and each computes from it and the topology whom to connect to. A list that is changed at two
/// leaders at one time has both changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh peer add ap=127.0.0.1:7003
  mesh peer remove ap")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add members, or give them other addresses, and print the dot of each write once it is durable here
    ///
    /// Without a topology every leader connects to every member, besides the peers that it is configured with.
    #[command(after_help = "\
Examples:
  mesh peer add ap=ap.internal:7001
  mesh peer add eu-1=10.0.0.1:7001@eu eu-2=10.0.0.2:7001@eu")]
    Add {
        /// Its own name, the address of its peer port, and its region if it has one
        #[arg(value_name = "NAME=HOST:PORT[@REGION]", required = true)]
        members: Vec<Member>,
    },
    /// Remove members, and print the dot of each write once it is durable here
    ///
    /// The others connect to it no more. It is not shut out, and what it wrote stays.
    #[command(after_help = "\
Example:
  mesh peer remove ap")]
    Remove {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let leader = &args.leader;
    let client = leader.client()?;
    match &args.action {
        Action::Add { members } => {
            for Member { name, address, region } in members {
                let body = json!({ "address": address, "region": region });
                leader.print_receipt(&client.put(&path(&["members", name]), &body, None)?)?;
            }
        }
        Action::Remove { names } => {
            for name in names {
                leader.print_receipt(&client.delete(&path(&["members", name]))?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
