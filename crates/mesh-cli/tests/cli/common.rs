//! Leaders in processes of their own, for tests of the `mesh` binary.

use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, without what the surroundings of the tests would tell it.
pub(crate) fn mesh() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
    command.env_remove("MESH_API").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Stdout of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Checks that the command failed with `code` and one message that has all `words`, and nothing on stdout.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Done {
    finish(mesh().args(args))
}

fn finish(command: &mut Command) -> Done {
    let output = command.output().expect("the binary runs");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Tries until `attempt` succeeds.
///
/// # Panics
///
/// After [`PATIENCE`].
#[track_caller]
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of a process's stdout, with a deadline for each.
#[derive(Debug)]
pub(crate) struct Lines(mpsc::Receiver<String>);

impl Lines {
    pub(crate) fn of(stdout: ChildStdout) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` at the end.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("gave up waiting for a line"),
        }
    }
}

/// A process that is killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the process ends", || self.0.try_wait().expect("the process can be waited for"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `mesh serve`.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) process: Process,
    pub(crate) id: String,
    pub(crate) peers: String,
    pub(crate) api: String,
    log: PathBuf,
}

impl Leader {
    /// Starts a leader with its data in `folder/name`, on free ports, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(folder: &Path, name: &str, more: &[&str]) -> Self {
        let mut command = mesh();
        command.args(["serve", "--name", name, "--api", "127.0.0.1:0", "--data"]).arg(folder.join(name));
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Self::spawn(command.args(more), folder, name)
    }

    /// Starts `command`, which runs the leader `name`, and waits until it is ready.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command, folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.log"));
        let stderr = File::options().create(true).append(true).open(&log).expect("a log can be written");
        let child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary runs");
        let mut process = Process(child);
        let lines = Lines::of(process.0.stdout.take().expect("stdout is piped"));
        let ready = lines.next().unwrap_or_else(|| panic!("{name} did not start: {}", read(&log)));
        let (id, peers, api) =
            understood(&ready, name).unwrap_or_else(|| panic!("not the ready line: {ready}"));
        Self { process, id: id.into(), peers: peers.into(), api: api.into(), log }
    }

    /// Runs a command against this leader's API.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        finish(mesh().env("MESH_API", &self.api).args(args))
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).expect("the status is JSON")
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    pub(crate) fn as_peer(&self, name: &str) -> String {
        format!("{name}={}", self.peers)
    }
}

/// `leader NAME (ID) ready: peers on ADDR, api on ADDR`
fn understood<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let rest = line.strip_prefix("leader ")?.strip_prefix(name)?.strip_prefix(" (")?;
    let (id, rest) = rest.split_once(") ready: peers on ")?;
    let (peers, api) = rest.split_once(", api on ")?;
    Some((id, peers, api))
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let file = fs::File::open(path);
    file.and_then(|mut file| file.read_to_string(&mut text)).expect("the log is readable");
    text
}

/// Waits until all have equal vectors, and then equal fingerprints.
#[track_caller]
pub(crate) fn converged(leaders: &[&Leader]) {
    until("equal vectors", || {
        let statuses: Vec<_> = leaders.iter().map(|leader| leader.status()).collect();
        let same = |field: &str| statuses.windows(2).all(|pair| pair[0][field] == pair[1][field]);
        same("vector")
            .then(|| assert!(same("fingerprint"), "equal vectors, unequal fingerprints: {statuses:#?}"))
    });
}
