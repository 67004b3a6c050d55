//! `mesh register`.

use super::{Blob, Leader, Once, key};
use crate::client::path;
use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use std::process::ExitCode;

/// Registers: one value each, of which the last write wins.
///
/// A write that has seen another always wins over it, whatever the leaders' clocks say; of writes that have not seen
/// each other, the one with the later time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh register set title 'A mesh of leaders'
  mesh register get title                # prints the value alone")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write a value, and print the write's dot once it is durable
    #[command(after_help = "\
Examples:
  mesh register set title 'A mesh of leaders'
  mesh register set title Mesh --json    # with the stamp that decides between writes")]
    Set {
        /// The register's key
        #[arg(value_parser = key)]
        key: String,
        /// The value, of at most 1 MiB
        value: String,
        #[command(flatten)]
        once: Once,
    },
    /// Print the value alone
    ///
    /// A value that is not UTF-8 is printed as the bytes it is. Exits with 1 if nobody has written the register.
    #[command(after_help = "\
Examples:
  mesh register get title
  mesh register get title --json         # with its stamp")]
    Get {
        /// The register's key
        #[arg(value_parser = key)]
        key: String,
    },
}

#[derive(Debug, Deserialize)]
struct Value {
    value: Blob,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let leader = &args.leader;
    let client = leader.client()?;
    match &args.action {
        Action::Set { key, value, once } => {
            leader.print_receipt(&client.put(
                &path(&["register", key]),
                &json!({ "value": value }),
                once.key(),
            )?)?;
        }
        Action::Get { key } => {
            let reply = client.get(&path(&["register", key]))?;
            leader.print(&reply, |out, Value { value }| {
                out.write_all(value.as_bytes())?;
                out.write_all(b"\n")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
