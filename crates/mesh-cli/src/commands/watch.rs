//! `mesh watch`.

use super::{Leader, one_word, token};
use crate::client::with_query;
use anyhow::{Result, anyhow};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

/// Print what changes, as it becomes durable: a line each, of type, name and new value.
///
/// First what is there, or, with --since, what has changed since. Then it goes on until it is interrupted or the leader
/// stops; in that case it exits with 1 and says how to resume, and nothing is missed. Many changes of one key in quick
/// succession are one line. Values are written as in JSON, names too if they have spaces, quotes or control characters.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh watch
  mesh watch stock/                      # keys whose names begin so
  mesh watch --json | jq .changes        # the leader's lines, each with a token
  mesh watch --since 00000000000000a1:18")]
pub(crate) struct Args {
    /// What the names of the keys begin with
    prefix: Option<String>,

    /// What has changed since this token: a write's dot, or that of a line of `watch --json`
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    since: Option<String>,

    #[command(flatten)]
    leader: Leader,
}

#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    token: &'a RawValue,
    #[serde(borrow)]
    changes: Vec<Change<'a>>,
}

#[derive(Debug, Deserialize)]
struct Change<'a> {
    r#type: String,
    name: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut path = "/v1/watch".to_owned();
    if let Some(prefix) = &args.prefix {
        path = with_query(path, "prefix", prefix);
    }
    if let Some(since) = &args.since {
        path = with_query(path, "since", since);
    }
    let client = args.leader.client()?;
    let mut lines = client.stream(&path)?;
    let mut resume = args.since.clone();
    let mut text = String::new();
    let end = loop {
        text.clear();
        match lines.read_line(&mut text) {
            // A line that was cut off is sent again to whoever resumes.
            Ok(_) if !text.ends_with('\n') => break None,
            Ok(_) => {}
            Err(error) => break Some(error),
        }
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| client.not_a_leader(error))?;
        print(text, &line, args.leader.json)?;
        resume = Some(token(line.token.get()).map_err(|error| client.not_a_leader(error))?);
    };
    let why = end.map_or_else(|| "the leader ended it".to_owned(), |error| error.to_string());
    Err(match resume {
        Some(token) => anyhow!("the stream is over ({why}); go on where it ended with --since {token}"),
        None => anyhow!("the stream ended before its first line ({why}); is the leader still running?"),
    })
}

fn print(text: &str, line: &Line<'_>, json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        writeln!(stdout, "{text}")?;
    } else {
        for Change { r#type, name, value } in &line.changes {
            writeln!(stdout, "{type} {} {value}", one_word(name))?;
        }
    }
    // Whoever reads this through a pipe waits for it.
    stdout.flush()
}
