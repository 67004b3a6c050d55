//! `mesh set`.

use super::{Blob, Leader, Once, key};
use crate::client::{path, with_query};
use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use std::process::ExitCode;

/// Sets: add, remove, ask.
///
/// A removal removes what its leader has seen: an element that another leader adds at the same time stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh set add tags rust crdt
  mesh set members tags                  # one a line, sorted
  mesh set contains tags rust && echo yes
  mesh set remove tags rust")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add elements, and print the dot of the last one once all are durable
    #[command(after_help = "\
Examples:
  mesh set add tags rust crdt
  mesh set add tags -- -starts-with-a-dash")]
    Add(Change),
    /// Remove elements, and print the write's dot once it is durable
    ///
    /// Prints no dot if none of them is there: then there is nothing to do.
    #[command(after_help = "\
Examples:
  mesh set remove tags rust
  mesh set remove tags rust crdt --idempotency-key edit-9")]
    Remove(Change),
    /// Remove all elements that this leader has seen
    #[command(after_help = "\
Example:
  mesh set clear tags")]
    Clear {
        /// The set's key
        #[arg(value_parser = key)]
        key: String,
        #[command(flatten)]
        once: Once,
    },
    /// Print the elements, one a line, in ascending order of their bytes
    ///
    /// Elements that are not UTF-8 are printed as the bytes they are. An element that contains a line break takes more
    /// than one line; --json tells such elements apart.
    #[command(after_help = "\
Examples:
  mesh set members tags
  mesh set members tags --json           # {\"members\":[\"crdt\",\"rust\"]}")]
    Members {
        /// The set's key
        #[arg(value_parser = key)]
        key: String,
    },
    /// Print `true` and exit with 0 if the element is there, else `false` and 1
    #[command(after_help = "\
Example:
  mesh set contains tags rust && echo yes")]
    Contains {
        /// The set's key
        #[arg(value_parser = key)]
        key: String,
        /// The element
        element: String,
    },
}

#[derive(Debug, clap::Args)]
struct Change {
    /// The set's key
    #[arg(value_parser = key)]
    key: String,
    /// The elements, of at most 1 MiB each
    #[arg(value_name = "ELEMENT", required = true)]
    elements: Vec<String>,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Deserialize)]
struct Members {
    members: Vec<Blob>,
}

#[derive(Debug, Deserialize)]
struct Contains {
    contains: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let leader = &args.leader;
    let client = leader.client()?;
    let change = |action: &str, Change { key, elements, once }: &Change| {
        leader.print_receipt(&client.post(
            &path(&["set", key, action]),
            &json!({ "elements": elements }),
            once.key(),
        )?)
    };
    match &args.action {
        Action::Add(elements) => change("add", elements)?,
        Action::Remove(elements) => change("remove", elements)?,
        Action::Clear { key, once } => {
            leader.print_receipt(&client.post(&path(&["set", key, "clear"]), &json!({}), once.key())?)?;
        }
        Action::Members { key } => {
            let reply = client.get(&path(&["set", key]))?;
            leader.print(&reply, |out, Members { members }| {
                members.iter().try_for_each(|member| {
                    out.write_all(member.as_bytes())?;
                    out.write_all(b"\n")
                })
            })?;
        }
        Action::Contains { key, element } => {
            let reply = client.get(&with_query(path(&["set", key, "contains"]), "element", element))?;
            leader.print(&reply, |out, Contains { contains }| writeln!(out, "{contains}"))?;
            if !reply.value.contains {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
