//! `mesh keys`.

use super::{Leader, one_word};
use crate::client::with_query;
use anyhow::Result;
use serde::Deserialize;
use std::process::ExitCode;

/// List keys, one a line: the type, then the name.
///
/// A name with spaces, quotes or control characters is quoted as in JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh keys
  mesh keys stock/                       # those whose names begin so
  mesh keys | grep ^or-set")]
pub(crate) struct Args {
    /// What the names begin with
    prefix: Option<String>,
    #[command(flatten)]
    leader: Leader,
}

#[derive(Debug, Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Key {
    r#type: String,
    name: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut path = "/v1/keys".to_owned();
    if let Some(prefix) = &args.prefix {
        path = with_query(path, "prefix", prefix);
    }
    let reply = args.leader.client()?.get(&path)?;
    args.leader.print(&reply, |out, Keys { keys }| {
        keys.iter().try_for_each(|key| writeln!(out, "{} {}", key.r#type, one_word(&key.name)))
    })?;
    Ok(ExitCode::SUCCESS)
}
