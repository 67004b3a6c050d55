//! `mesh counter`.

use super::{Leader, Once, Receipt, key};
use crate::client::{Client, Reply, path};
use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use std::process::ExitCode;

/// Counters: add, subtract, read.
///
/// Additions and subtractions at different leaders all count, once each. A counter that nobody has written is 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh counter incr visits               # one more
  mesh counter incr visits 10            # ten more
  mesh counter decr stock/7 --idempotency-key order-17
  mesh counter get visits                # prints the integer alone")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add to a counter, and print the write's dot once it is durable
    #[command(after_help = "\
Examples:
  mesh counter incr visits
  mesh counter incr visits 10
  mesh counter incr --grow-only requests   # of a type that only grows")]
    Incr {
        #[command(flatten)]
        counter: Counter,
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        once: Once,
    },
    /// Subtract from a counter, and print the write's dot once it is durable
    #[command(after_help = "\
Examples:
  mesh counter decr stock/7
  mesh counter decr stock/7 3 --idempotency-key order-17")]
    Decr {
        /// The counter's key
        #[arg(value_parser = key)]
        key: String,
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        once: Once,
    },
    /// Print a counter's value: the integer alone
    #[command(after_help = "\
Examples:
  mesh counter get visits
  mesh counter get visits --json           # {\"value\":11}")]
    Get {
        #[command(flatten)]
        counter: Counter,
    },
}

#[derive(Debug, clap::Args)]
struct Counter {
    /// The counter's key
    #[arg(value_parser = key)]
    key: String,

    /// A g-counter, which can't be subtracted from, rather than a pn-counter; a key is of one type only
    #[arg(long)]
    grow_only: bool,
}

impl Counter {
    fn kind(&self) -> &'static str {
        if self.grow_only { "g-counter" } else { "counter" }
    }
}

#[derive(Debug, clap::Args)]
struct Amount {
    /// How much
    #[arg(value_name = "N", default_value_t = 1, value_parser = amount, allow_negative_numbers = true)]
    by: u64,
}

fn amount(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(by) => Ok(by),
        Err(_) if text.starts_with('-') => {
            Err("an amount isn't negative: `incr` adds and `decr` subtracts it".into())
        }
        Err(_) => Err(format!("an amount is a whole number up to {}", u64::MAX)),
    }
}

/// Wide enough for both types: a counter is the sum of 64-bit totals, at most two for each replica.
#[derive(Debug, Deserialize)]
struct Value {
    value: i128,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let leader = &args.leader;
    let client = leader.client()?;
    match &args.action {
        Action::Incr { counter, amount, once } => {
            leader.print_receipt(&write(&client, [counter.kind(), &counter.key, "incr"], amount, once)?)?;
        }
        Action::Decr { key, amount, once } => {
            leader.print_receipt(&write(&client, ["counter", key, "decr"], amount, once)?)?;
        }
        Action::Get { counter } => {
            let reply = client.get(&path(&[counter.kind(), &counter.key]))?;
            leader.print(&reply, |out, Value { value }| writeln!(out, "{value}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(client: &Client, route: [&str; 3], amount: &Amount, once: &Once) -> Result<Reply<Receipt>> {
    client.post(&path(&route), &json!({ "by": amount.by }), once.key())
}
