//! `mesh replay` from outside: real and generated histories, and files that are none.

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// The history of a public repository; git's own trees are its oracle.
const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/git-rust-crdt.jsonl.gz");

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn replay<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_mesh")).arg("replay").args(args).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    Ran { code: status.code().expect("it was not killed"), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// It refused the file with an error that says this, and printed nothing that could pass for a result.
    fn refused(&self, expected: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (2, ""), "{}", self.stderr);
        assert!(self.stderr.contains(expected), "{expected:?} is not in {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

fn generate(folder: &TempDir, seed: u64, events: u64, leaders: u64, more: &[&str]) -> PathBuf {
    let out = folder.path().join(format!("{seed}-{events}-{leaders}.jsonl.gz"));
    let numbers = [seed, events, leaders].map(|number| number.to_string());
    let [seed, events, leaders] = numbers.each_ref().map(String::as_str);
    let mut args = vec!["--generate", seed, "--events", events, "--leaders", leaders, "--out"];
    args.push(out.to_str().expect("the folder's name is text"));
    args.extend(more);
    let ran = replay(args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    out
}

fn lines(file: &Path) -> Vec<String> {
    let mut text = String::new();
    let zipped = fs::File::open(file).expect("the file is there");
    GzDecoder::new(zipped).read_to_string(&mut text).expect("valid gzip");
    text.lines().map(str::to_owned).collect()
}

fn zip(lines: &[String]) -> Vec<u8> {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
    for line in lines {
        writeln!(zipped, "{line}").expect("memory takes it");
    }
    zipped.finish().expect("memory takes it")
}

/// Replays these bytes.
fn replay_bytes(bytes: &[u8]) -> Ran {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), bytes).expect("it can be written");
    replay([file.path()])
}

#[test]
fn a_real_history_matches_at_every_event() {
    let ran = replay([REAL]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, "replayed 365 of 365 events: 365 match\n");
    assert!(ran.stderr.contains("365 of 365 events"), "progress is on stderr");

    // The same lines without gzip.
    let plain = lines(Path::new(REAL)).join("\n");
    assert_eq!(replay_bytes(plain.as_bytes()).last_line(), ran.last_line());
}

#[test]
fn timings_and_json_come_before_the_last_line() {
    let ran = replay([REAL, "--timings"]);
    let shown: Vec<&str> = ran.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(shown, ["parsing", "updates", "merges", "checking", "replayed"]);

    let ran = replay([REAL, "--timings", "--json"]);
    let (json, last) = ran.stdout.split_once('\n').expect("two lines");
    assert_eq!(last, "replayed 365 of 365 events: 365 match\n");
    let json: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!((&json["events"], &json["matching"]), (&365.into(), &365.into()));
    assert!(json["first_mismatch"].is_null());
    assert!(json["seconds"]["merges"].is_number());
}

#[test]
fn generated_histories_match_at_every_event() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (seed, events, leaders, paths) in
        [(1, 1, 1, "1"), (2, 300, 1, "5"), (3, 700, 12, "60"), (4, 400, 40, "900")]
    {
        let file = generate(&folder, seed, events, leaders, &["--paths", paths]);
        let ran = replay([&file]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.last_line(), format!("replayed {events} of {events} events: {events} match"));
    }
}

/// Beyond 5,000 events vectors are compared with a sample of others.
#[test]
fn a_long_history_matches_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = replay([generate(&folder, 9, 5_001, 4, &["--paths", "10"])]);
    assert_eq!(ran.last_line(), "replayed 5001 of 5001 events: 5001 match", "{}", ran.stderr);
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = fs::read(generate(&one, 5, 200, 6, &[])).expect("it was written");
    assert_eq!(first, fs::read(generate(&two, 5, 200, 6, &[])).expect("it was written"));
    assert_ne!(lines(&generate(&one, 5, 200, 6, &[])), lines(&generate(&one, 6, 200, 6, &[])));
}

/// Two models, word for word, over sets of ancestors found by search: what a set with these semantics holds.
mod models {
    use super::{BTreeSet, Value};

    pub(super) struct History {
        events: Vec<Value>,
        /// Of each event, itself included.
        ancestors: Vec<BTreeSet<usize>>,
    }

    impl History {
        pub(super) fn parse(lines: &[String]) -> Self {
            let events: Vec<Value> =
                lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let mut ancestors: Vec<BTreeSet<usize>> = Vec::new();
            for (c, event) in events.iter().enumerate() {
                let parents = event["p"].as_array().expect("a list").iter();
                let parents = parents.map(|p| usize::try_from(p.as_u64().expect("a number")).expect("small"));
                let mut all: BTreeSet<usize> = parents.flat_map(|p| ancestors[p].iter().copied()).collect();
                all.insert(c);
                ancestors.push(all);
            }
            History { events, ancestors }
        }

        fn touched(&self, event: usize, field: &str) -> impl Iterator<Item = &str> {
            self.events[event][field]
                .as_array()
                .expect("a list")
                .iter()
                .map(|path| path.as_str().expect("text"))
        }

        /// The events in the ancestry of `event` that have `path` in `field`.
        fn touches<'a>(
            &'a self,
            event: usize,
            field: &'a str,
            path: &'a str,
        ) -> impl Iterator<Item = usize> + 'a {
            let ancestors = self.ancestors[event].iter().copied();
            ancestors.filter(move |by| self.touched(*by, field).any(|touched| touched == path))
        }

        fn paths(&self, event: usize) -> BTreeSet<&str> {
            self.ancestors[event].iter().flat_map(|by| self.touched(*by, "add")).collect()
        }

        fn saw(&self, event: usize, earlier: usize) -> bool {
            event != earlier && self.ancestors[event].contains(&earlier)
        }

        /// Some add has been seen by no remove and no later add.
        pub(super) fn add_wins(&self, event: usize) -> BTreeSet<&str> {
            let mut paths = self.paths(event);
            paths.retain(|path| {
                self.touches(event, "add", path).any(|add| {
                    ["add", "rm"]
                        .iter()
                        .all(|field| !self.touches(event, field, path).any(|by| self.saw(by, add)))
                })
            });
            paths
        }

        /// Every remove has been seen by some add.
        pub(super) fn remove_wins(&self, event: usize) -> BTreeSet<&str> {
            let mut paths = self.paths(event);
            paths.retain(|path| {
                self.touches(event, "rm", path)
                    .all(|remove| self.touches(event, "add", path).any(|add| self.saw(add, remove)))
            });
            paths
        }

        /// How many events' oracles a model disagrees with: by `n`, or by `h`.
        pub(super) fn mismatches<'a>(
            &'a self,
            model: impl Fn(&'a Self, usize) -> BTreeSet<&'a str>,
        ) -> usize {
            let matches = |event: &usize| {
                let paths = model(self, *event);
                let facts = &self.events[*event];
                facts["n"] == paths.len() && facts["h"] == super::digest(paths)
            };
            (0..self.events.len()).filter(|event| !matches(event)).count()
        }
    }
}

fn digest(paths: BTreeSet<&str>) -> String {
    use sha2::{Digest, Sha256};
    let joined: Vec<&str> = paths.into_iter().collect();
    let hash = Sha256::digest(joined.join("\n"));
    let prefix = hash[..8].try_into().expect("8 bytes");
    format!("{:016x}", u64::from_be_bytes(prefix))
}

#[test]
fn generated_histories_tell_add_wins_from_remove_wins() {
    use models::History;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (seed, leaders) in [(1, 2), (2, 3), (3, 5), (4, 9), (5, 12)] {
        let history = History::parse(&lines(&generate(&folder, seed, 150, leaders, &[])));
        assert_eq!(history.mismatches(History::add_wins), 0, "seed {seed}");
        let wrong = history.mismatches(History::remove_wins);
        assert!(wrong > 15, "seed {seed}: a remove-wins set fails at only {wrong} of 150 events");
    }
}

/// Why generated histories are needed: nobody adds what another removes at the same time in a git repository.
#[test]
fn the_git_history_does_not_tell_them_apart() {
    use models::History;
    let history = History::parse(&lines(Path::new(REAL))[..120]);
    assert_eq!(history.mismatches(History::add_wins), 0);
    assert_eq!(history.mismatches(History::remove_wins), 0);
}

#[test]
fn what_does_not_match_is_counted_and_the_first_is_named() {
    let mut lines = lines(Path::new(REAL));
    for event in [40, 200] {
        let mut facts: Value = serde_json::from_str(&lines[event]).expect("JSON");
        facts["n"] = 12_345.into();
        lines[event] = facts.to_string();
    }
    let mut facts: Value = serde_json::from_str(&lines[30]).expect("JSON");
    let (count, digest) = (facts["n"].clone(), facts["h"].as_str().expect("text").to_owned());
    facts["h"] = "0123456789abcdef".into();
    lines[30] = facts.to_string();

    let ran = replay_bytes(&zip(&lines));
    assert_eq!(ran.code, 1);
    assert_eq!(ran.last_line(), "replayed 365 of 365 events: 362 match");
    let expected = format!(
        "first mismatch: event 30, or-set: expected {count} paths with digest 0123456789abcdef; found {count} paths \
         with digest {digest}\n"
    );
    assert!(ran.stderr.ends_with(&expected), "{}", ran.stderr);
}

#[test]
fn a_truncated_file_is_refused_with_its_line() {
    let whole = fs::read(REAL).expect("it is there");
    replay_bytes(&whole[..whole.len() / 2]).refused("the file ends in the middle");
    // Without its trailer too, which holds no event.
    replay_bytes(&whole[..whole.len() - 1]).refused("line 366: the file ends in the middle");
    for cut in (0..whole.len()).step_by(511) {
        replay_bytes(&whole[..cut]).refused("line ");
    }
    let plain = lines(Path::new(REAL)).join("\n");
    replay_bytes(&plain.as_bytes()[..plain.len() - 5]).refused("line 365: not an event");
}

#[test]
fn a_corrupt_file_is_refused_with_its_line() {
    let mut bytes = fs::read(REAL).expect("it is there");
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    replay_bytes(&bytes).refused("line 366: the compressed data is corrupt");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    replay_bytes(&bytes).refused("line ");

    let mut lines = lines(Path::new(REAL));
    lines[17].insert(3, '!');
    replay_bytes(&zip(&lines)).refused("line 18: not an event");
    replay_bytes(b"\xff\xfe\n").refused("line 1: not an event");
}

#[test]
fn an_out_of_order_file_is_refused_with_its_line() {
    let mut swapped = lines(Path::new(REAL));
    swapped.swap(99, 100);
    replay_bytes(&zip(&swapped)).refused("line 100: event 100 where event 99 belongs");
    let mut missing = lines(Path::new(REAL));
    missing.remove(7);
    replay_bytes(&zip(&missing)).refused("line 8: event 8 where event 7 belongs");
}

#[test]
fn wrong_arguments_are_refused() {
    replay::<&str>([]).refused("TRACE");
    replay(["no such file"]).refused("no such file");
    replay(["--generate", "1"]).refused("--out");
    replay([REAL, "--generate", "1", "--out", "x"]).refused("cannot be used with");
    replay([REAL, "--events", "5"]).refused("--generate");
    replay(["--generate", "1", "--out", "x", "--leaders", "0"]).refused("at least 1");
    replay(["--generate", "1", "--out", "/no such folder/x"]).refused("/no such folder/x");
}
