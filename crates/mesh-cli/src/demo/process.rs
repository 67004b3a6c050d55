//! A leader in a process of its own.

use super::model::Id;
use crate::client::ApiAddr;
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a leader may take until it is ready.
const START: Duration = Duration::from_secs(30);

/// A running `mesh serve`; killed when dropped.
#[derive(Debug)]
pub(super) struct Leader {
    name: &'static str,
    folder: PathBuf,
    peers: Vec<(&'static str, SocketAddr)>,
    ready: Ready,
    child: Child,
}

/// What a leader says when it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) replica: Id,
    pub(super) listen: SocketAddr,
    pub(super) api: SocketAddr,
}

impl Leader {
    /// Starts a leader on free ports with its data in `folder/name`, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// The leader's own message if it ended.
    pub(super) fn start(
        folder: &Path,
        name: &'static str,
        peers: Vec<(&'static str, SocketAddr)>,
    ) -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, ready) = spawn(folder, name, &peers, any, any)?;
        Ok(Self { name, folder: folder.to_owned(), peers, ready, child })
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Where its API answers.
    pub(super) fn api(&self) -> Result<ApiAddr> {
        let api = self.ready.api.to_string().parse().map_err(Error::msg);
        api.with_context(|| format!("leader {} has an address that is of no use", self.name))
    }

    /// Ends the process with SIGKILL: it has no chance to finish anything.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("leader {} cannot be killed", self.name))
    }

    /// Starts it again after [`kill`](Leader::kill), on the same ports and data.
    ///
    /// # Errors
    ///
    /// The leader's own message if it ended; also if it comes back as somebody else.
    pub(super) fn restart(&mut self) -> Result<()> {
        let name = self.name;
        self.child.wait().with_context(|| format!("leader {name} cannot be waited for"))?;
        let Ready { listen, api, .. } = self.ready;
        let (child, ready) = spawn(&self.folder, name, &self.peers, listen, api)?;
        self.child = child;
        ensure!(
            ready == self.ready,
            "leader {name} is {ready:?} after its restart, and was {:?}",
            self.ready
        );
        Ok(())
    }

    /// A sentence if the process has ended, which it does only if something is wrong.
    pub(super) fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!(
            "leader {} has ended by itself ({status}): {}",
            self.name,
            last_words(&self.folder, self.name)
        ))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    folder: &Path,
    name: &str,
    peers: &[(&str, SocketAddr)],
    listen: SocketAddr,
    api: SocketAddr,
) -> Result<(Child, Ready)> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_of(folder, name))
        .with_context(|| format!("the log of leader {name} cannot be written"))?;
    let mut command = Command::new(program);
    command.args(["serve", "--name", name, "--cluster", "demo", "--data"]).arg(folder.join(name));
    command.args(["--listen", &listen.to_string(), "--api", &api.to_string()]);
    for (peer, address) in peers {
        command.args(["--peer", &format!("{peer}={address}")]);
    }
    // Ctrl-C in a terminal reaches all processes of a group: here only the demo, which then ends its leaders.
    command.process_group(0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
    let mut child = Kill(Some(child.with_context(|| format!("leader {name} cannot be started"))?));
    let ready = until_ready(child.0.as_mut().expect("it was not taken"), name)
        .with_context(|| format!("leader {name} did not start: {}", last_words(folder, name)))?;
    Ok((child.0.take().expect("it was not taken"), ready))
}

/// A process that is killed if it does not become ready.
struct Kill(Option<Child>);

impl Drop for Kill {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn until_ready(child: &mut Child, name: &str) -> Result<Ready> {
    let stdout = child.stdout.take().context("its stdout is not connected")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // Reads to the end, so that the leader can always write.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    match lines.recv_timeout(START) {
        Ok(line) => understood(&line, name).with_context(|| format!("it said `{line}`")),
        Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended"),
        Err(mpsc::RecvTimeoutError::Timeout) => bail!("it was not ready within {} s", START.as_secs()),
    }
}

/// `leader NAME (ID) ready: peers on ADDR, api on ADDR`
fn understood(line: &str, name: &str) -> Result<Ready> {
    let parts = line.strip_prefix("leader ").and_then(|rest| {
        let (replica, rest) =
            rest.strip_prefix(name)?.strip_prefix(" (")?.split_once(") ready: peers on ")?;
        let (listen, api) = rest.split_once(", api on ")?;
        Some((replica, listen, api))
    });
    let (replica, listen, api) =
        parts.ok_or_else(|| anyhow!("that is not how a leader says that it is ready"))?;
    Ok(Ready { replica: replica.parse()?, listen: listen.parse()?, api: api.parse()? })
}

fn log_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

/// The last line of a leader's log.
fn last_words(folder: &Path, name: &str) -> String {
    let log = fs::read_to_string(log_of(folder, name)).unwrap_or_default();
    log.trim_end().lines().next_back().unwrap_or("it wrote nothing to its log").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let line = "leader eu (00000000000000a1) ready: peers on 127.0.0.1:7001, api on 127.0.0.1:7101";
        let ready = understood(line, "eu").expect("it is the line");
        assert_eq!(ready.replica.to_string(), "00000000000000a1");
        assert_eq!((ready.listen.port(), ready.api.port()), (7001, 7101));
        assert!(understood(line, "us").is_err());
        assert!(
            understood("leader eu (a1) ready: peers on 127.0.0.1:7001, api on 127.0.0.1:7101", "eu").is_err()
        );
    }
}
