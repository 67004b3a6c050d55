//! `mesh demo` from outside: its last line, and that nothing of it stays behind.

use serde_json::Value;
use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::tempdir;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(2);

/// The demo with its temporary folder in `folder`.
fn demo(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
    command.arg("demo").args(args).env("TMPDIR", folder).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is text")
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("the folder can be read").next().is_none()
}

/// The last line, and nothing after it.
#[track_caller]
fn fingerprint(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (_, last) = text(&output.stdout)
        .strip_suffix('\n')
        .and_then(|all| all.rsplit_once('\n'))
        .expect("there are lines");
    let fingerprint = last
        .strip_prefix("converged: 3 leaders, fingerprint ")
        .and_then(|rest| rest.strip_suffix(", 0 lost, 0 double-counted"))
        .unwrap_or_else(|| panic!("{last:?} is not the last line"));
    assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()), "{last}");
    fingerprint
}

#[test]
fn three_leaders_converge_after_a_cut_and_a_kill() {
    let folder = tempdir().expect("a folder");
    let output = demo(folder.path(), &["--copies", "1"]).output().expect("the binary runs");
    fingerprint(&output);
    let stdout = text(&output.stdout);
    for words in ["eu", "us", "ap", "164477", "75941", "was cut", "was killed"] {
        assert!(stdout.contains(words), "no {words:?} in {stdout}");
    }
    assert!(is_empty(folder.path()), "nothing stays behind");
}

#[test]
fn another_history_and_the_result_as_json() {
    let folder = tempdir().expect("a folder");
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/git-rust-crdt.jsonl.gz");
    let args = ["--copies", "3", "--seed", "17", "--keep", "--json", "--trace", trace];
    let output = demo(folder.path(), &args).output().expect("the binary runs");
    let fingerprint = fingerprint(&output);
    let report: Value =
        serde_json::from_str(text(&output.stdout).lines().next().expect("a line")).expect("a line of JSON");
    assert_eq!(
        (&report["fingerprint"], &report["seed"], &report["trace_events"]),
        (&fingerprint.into(), &17.into(), &365.into())
    );
    assert_eq!((&report["lost"], &report["double_counted"]), (&0.into(), &0.into()));
    let leaders = report["leaders"].as_array().expect("leaders");
    let sum =
        |field: &str| leaders.iter().map(|leader| leader[field].as_u64().expect("a number")).sum::<u64>();
    assert_eq!(sum("writes"), report["writes"].as_u64().expect("a number"));
    assert_eq!(sum("merged"), 2 * sum("events"), "each event is merged by the two others");
    assert!(leaders.iter().all(|leader| leader["bytes_sent"].as_u64() > Some(0)), "{report}");
    // One request at least got no reply when the leader was killed; otherwise the demo kills it again.
    let faults = &report["faults"];
    assert!(faults["in_flight"].as_u64() >= faults["unanswered"].as_u64(), "{faults}");
    assert!(faults["unanswered"].as_u64() >= Some(1), "{faults}");
    assert!(faults["recognised"].as_u64() >= Some(1), "{faults}");

    let kept = fs::read_dir(folder.path()).expect("the folder can be read").next().expect("it was kept");
    let kept = kept.expect("the folder can be read").path();
    for file in ["eu/leader.redb", "us/leader.redb", "ap/leader.redb", "eu.log"] {
        assert!(kept.join(file).is_file(), "{file}");
    }
}

#[test]
fn a_history_that_is_none_is_refused_before_anything_is_started() {
    let folder = tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    fs::write(&trace, "{}\n").expect("the file can be written");
    let output = demo(&folder.path().join("no-such-folder"), &["--trace"]).arg(&trace).output();
    let output = output.expect("the binary runs");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("line 1: not an event"), "{}", text(&output.stderr));
}

/// The processes that a process has started.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let parent_of = |stat: &str| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    fs::read_dir("/proc")
        .expect("/proc can be read")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            // It may have ended since.
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            parent_of(&stat) == Some(parent)
        })
        .collect()
}

/// Tries until `attempt` succeeds.
#[track_caller]
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A process that is killed if the test fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_ends_the_leaders_too_and_removes_their_data() {
    let folder = tempdir().expect("a folder");
    let mut command = demo(folder.path(), &["--copies", "50"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Process(child.expect("the binary runs"));
    let id = child.0.id();
    let leaders = until("three leaders", || Some(children(id)).filter(|children| children.len() == 3));
    let killed = Command::new("kill").args(["-INT", &id.to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let status = until("the end", || child.0.try_wait().expect("the process can be waited for"));
    assert_eq!(status.code(), Some(1));
    for leader in leaders {
        assert!(!Path::new(&format!("/proc/{leader}")).exists(), "leader {leader} still runs");
    }
    assert!(is_empty(folder.path()), "nothing stays behind");
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.0.stdout.take().expect("stdout is piped").read_to_string(&mut stdout).expect("stdout is text");
    child.0.stderr.take().expect("stderr is piped").read_to_string(&mut stderr).expect("stderr is text");
    assert_eq!(stdout, "", "no result");
    assert!(stderr.ends_with("mesh: interrupted, and the leaders with it\n"), "{stderr}");
}
