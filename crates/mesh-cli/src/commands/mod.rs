//! The commands that drive a running leader through its API.

pub(crate) mod counter;
pub(crate) mod keys;
pub(crate) mod peer;
pub(crate) mod register;
pub(crate) mod set;
pub(crate) mod status;
pub(crate) mod topology;
pub(crate) mod verify;
pub(crate) mod watch;

use crate::{
    Usage,
    client::{ApiAddr, Client, Reply, Session, idempotency_key},
};
use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

/// Which leader, and how to print what it says.
#[derive(Debug, clap::Args)]
pub(crate) struct Leader {
    /// The leader's API: HOST:PORT, or `http://HOST:PORT`
    #[arg(long, value_name = "ADDR", env = "MESH_API", global = true)]
    api: Option<ApiAddr>,

    /// Print the leader's reply as it is, in JSON
    #[arg(long, global = true)]
    json: bool,

    /// Answer only when the leader has what this token names: a write's dot, or what --print-token printed
    #[arg(long, value_name = "TOKEN", value_parser = token, global = true)]
    after: Option<String>,

    /// How long the leader may take to get there, as in 500ms or 2s; then exit with 3 [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = mesh::parse_duration, requires = "after", global = true)]
    within: Option<Duration>,

    /// Print the token of what was seen on stderr, for --after at another leader
    #[arg(long, global = true)]
    print_token: bool,
}

/// A token: dots, or a version vector in JSON.
fn token(text: &str) -> Result<String, String> {
    text.parse::<mesh::Token>().map(|token| token.to_string()).map_err(|error| error.to_string())
}

impl Leader {
    fn client(&self) -> Result<Client> {
        match &self.api {
            Some(api) => {
                let session = Session { after: self.after.clone(), within: self.within };
                Ok(Client::with(api.clone(), session))
            }
            None => Err(Usage(
                "which leader? Give --api HOST:PORT, or set MESH_API: the address that follows `api on` in the line that \
                 `mesh serve` prints"
                    .into(),
            )
            .into()),
        }
    }

    /// Prints the reply, or what `plain` makes of it.
    fn print<T>(
        &self,
        reply: &Reply<T>,
        plain: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            writeln!(stdout, "{}", reply.text.trim_end())?;
        } else {
            plain(&mut stdout, &reply.value)?;
        }
        stdout.flush()?;
        if let (true, Some(token)) = (self.print_token, &reply.token) {
            eprintln!("token: {token}");
        }
        Ok(())
    }

    fn print_receipt(&self, receipt: &Reply<Receipt>) -> Result<()> {
        self.print(receipt, |out, receipt| {
            if receipt.repeated {
                eprintln!("mesh: repeated: this write had been counted before, and is not counted again");
            }
            if let Some(dot) = &receipt.dot {
                writeln!(out, "{dot}")
            } else {
                eprintln!("mesh: nothing to do");
                Ok(())
            }
        })
    }
}

/// What a write may carry.
#[derive(Debug, clap::Args)]
pub(crate) struct Once {
    /// A name for this write, kept for 24 hours: repeated under it at the same leader, the write counts once
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
}

impl Once {
    fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }
}

/// The part of a write's reply that is printed.
#[derive(Debug, Deserialize)]
struct Receipt {
    dot: Option<String>,
    repeated: bool,
}

/// A register's value or a set's element, as the API writes it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Blob {
    Text(String),
    Bytes { base64: Base64 },
}

impl Blob {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Blob::Text(text) => text.as_bytes(),
            Blob::Bytes { base64: Base64(bytes) } => bytes,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Base64(Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}

/// A key: 1 to 1,024 bytes. An empty one would make another path of the API.
fn key(text: &str) -> Result<String, String> {
    match text.len() {
        1..=1024 => Ok(text.into()),
        length => Err(format!("a key has 1 to 1024 bytes, this one {length}")),
    }
}

/// A key's name on one line: as it is, or quoted as in JSON if it has spaces, quotes or control characters.
fn one_word(name: &str) -> Cow<'_, str> {
    if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
        Cow::Owned(serde_json::Value::from(name).to_string())
    } else {
        Cow::Borrowed(name)
    }
}
