//! `mesh simulate` from outside: what-ifs, their pictures, and wrong arguments.

use serde_json::Value;
use std::{
    fs,
    process::{Command, Output},
};

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn simulate(args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .arg("simulate")
        .args(args)
        .output()
        .expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    Ran { code: status.code().expect("it was not killed"), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("one line of JSON")
    }
}

/// Small enough for a moment, and with everything in it.
const SMALL: [&str; 10] =
    ["--leaders", "4", "--topology", "ring", "--ops", "30", "--seconds", "6", "--partition", "2..4:1"];

#[test]
fn a_what_if_says_in_json_what_happened_and_the_same_for_the_same_seed() {
    let json = |seed: &str| simulate(&[&SMALL[..], &["--json", "--check", "--seed", seed]].concat()).json();
    let report = json("7");
    assert_eq!(report["converged"], true);
    assert_eq!((&report["what_if"]["topology"], &report["what_if"]["seed"]), (&"ring".into(), &7.into()));
    let updates = report["updates"].as_u64().expect("a number");
    assert!((100..300).contains(&updates), "about 180: {updates}");
    // Each went to three others, and on a ring of four the furthest is two hops of 20 ms away, with a commit at each end of both.
    assert_eq!(report["delivery"]["count"], 3 * updates);
    assert!((22.0..50.0).contains(&report["delivery"]["p50_ms"].as_f64().expect("a number")));
    assert!(report["delivery"]["max_ms"].as_f64() > Some(1_000.0), "the partition held something back");
    assert_eq!(report["optimum"], 3 * 21 * updates);
    assert!(report["payload_to_optimum"].as_f64() < Some(2.0));
    assert_eq!(report["healed"][0]["at_s"], 4.0);
    assert!(report["healed"][0]["after_ms"].as_f64() < Some(6_000.0));
    assert_eq!(report, json("7"));
    assert_ne!(report["samples"], json("8")["samples"]);
}

#[test]
fn a_what_if_is_a_table_and_two_pictures() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inside = folder.path().join("new");
    let svg = ["--svg", inside.to_str().expect("the folder's name is text")];
    let ran = simulate(&[&SMALL[..], &svg].concat());
    assert!(ran.stderr.contains("lag.svg"), "{}", ran.stderr);
    let text = ran.ok();
    for words in ["4 leaders, ring", "visible at another", "of the optimum", "events behind", "converged: "] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    for (picture, words) in [("lag.svg", "leader 3"), ("bytes.svg", "all links")] {
        let picture = fs::read_to_string(inside.join(picture)).expect("it was written");
        assert!(picture.starts_with("<svg") && picture.contains(words));
    }
}

#[test]
fn a_few_seeds_of_faults_break_nothing_and_a_planted_bug_is_found() {
    let suite = ["--suite", "faults", "--quick", "--jobs", "1", "--json", "--check"];
    let report = simulate(&[&suite[..], &["--seeds", "3"]].concat()).json();
    assert_eq!((&report["seeds"], &report["failure"]), (&3.into(), &Value::Null));
    let planted = simulate(&[&suite[..], &["--seeds", "50", "--planted", "sent-before-durable"]].concat());
    assert_eq!(planted.code, 1, "{}", planted.stderr);
    let report: Value = serde_json::from_str(&planted.stdout).expect("one line of JSON");
    assert_eq!(report["planted"], "sent-before-durable");
    assert!(report["failure"]["violation"].is_object());
}

#[test]
fn wrong_arguments_exit_with_2_and_say_what_is_wrong() {
    for (args, words) in [
        (&["--suite", "speed"][..], &["speed", "economy", "faults", "leaders"][..]),
        (&["--suite", "leaders", "--ops", "5"], &["--ops", "--suite"]),
        (&["--suite", "leaders", "--seeds", "5"], &["--seeds", "faults"]),
        (&["--suite", "faults", "--seed", "18446744073709551615", "--seeds", "3"], &["no 3 seeds from 1844"]),
        (&["--seeds", "5"], &["--suite"]),
        (&["--suite", "faults", "--seeds", "0"], &["--seeds"]),
        (&["--suite", "faults", "--jobs", "0"], &["--jobs"]),
        (&["--suite", "faults", "--planted", "luck"], &["luck", "torn-commit"]),
        (&["--topology", "cube"], &["cube", "all-to-all"]),
        (&["--leaders", "1"], &["leaders", "2 to 64"]),
        (&["--leaders", "three"], &["three"]),
        (&["--ops", "0"], &["writes a second"]),
        (&["--loss", "95"], &["loss", "90 percent"]),
        (&["--latency", "NaN"], &["latency"]),
        (&["--partition", "10-20:0"], &["FROM..TO:LEADERS"]),
        (&["--partition", "10..20"], &["FROM..TO:LEADERS"]),
        (&["--partition", "20..10:0"], &["end after it begins"]),
        (&["--partition", "10..20:5"], &["no leader 5", "5 leaders"]),
        (&["--ops", "1000000", "--seconds", "86400"], &["fewer"]),
    ] {
        let ran = simulate(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}: {}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "no {word:?} for {args:?} in {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn help_has_examples() {
    let help = simulate(&["--help"]).ok();
    assert!(help.lines().filter(|line| line.starts_with("  mesh simulate ")).count() >= 5, "{help}");
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "a long line: {line}");
    }
}
