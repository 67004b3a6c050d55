//! Starting and stopping `mesh serve`: flags, the TOML file, signals, and what keeps it from starting.

use crate::common::{Done, Leader, Lines, Process, converged, mesh, run};
use std::{fs, path::Path, process::Stdio};
use tempfile::tempdir;

/// `mesh serve` that is expected to end by itself.
fn serve(folder: &Path, name: &str, more: &[&str]) -> Done {
    let data = folder.join(name);
    let data = data.to_str().expect("the folder's name is UTF-8");
    let defaults =
        [("--listen", "127.0.0.1:0"), ("--api", "127.0.0.1:0"), ("--data", data), ("--name", name)];
    let mut args = vec!["serve"];
    for (flag, value) in defaults {
        if !more.contains(&flag) {
            args.extend([flag, value]);
        }
    }
    args.extend(more);
    run(&args)
}

#[test]
fn signals_end_it_cleanly_and_the_data_is_there_again() {
    let folder = tempdir().expect("a folder");
    let mut writes = 0;
    for signal in ["-TERM", "-INT"] {
        let mut eu = Leader::start(folder.path(), "eu", &[]);
        eu.ok(&["counter", "incr", "visits"]);
        writes += 1;
        assert_eq!(eu.ok(&["counter", "get", "visits"]), format!("{writes}\n"));
        eu.process.signal(signal);
        assert_eq!(eu.process.ended().code(), Some(0), "{}", eu.log());
    }
}

#[test]
fn the_id_stays_and_a_watcher_does_not_keep_it_from_stopping() {
    let folder = tempdir().expect("a folder");
    let mut eu = Leader::start(folder.path(), "eu", &[]);
    let mut command = mesh();
    command.args(["watch", "--api", &eu.api]).stdout(Stdio::piped()).stderr(Stdio::null());
    let watch = command.spawn();
    let mut watch = Process(watch.expect("the binary runs"));
    eu.ok(&["counter", "incr", "visits"]);
    let lines = Lines::of(watch.0.stdout.take().expect("stdout is piped"));
    assert_eq!(lines.next().as_deref(), Some("pn-counter visits 1"));
    eu.process.signal("-TERM");
    assert_eq!(eu.process.ended().code(), Some(0), "{}", eu.log());
    assert_eq!(watch.ended().code(), Some(1));
    assert_eq!(Leader::start(folder.path(), "eu", &[]).id, eu.id);
}

#[test]
fn a_toml_file_says_the_same_as_flags_and_flags_win() {
    let folder = tempdir().expect("a folder");
    let us = Leader::start(folder.path(), "us", &["--cluster", "blue"]);
    let file = folder.path().join("eu.toml");
    let text = format!(
        "name = \"eu\"\ndata = \"data/eu\"\nlisten = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\ncluster = \"blue\"\n\
         clock_offset_ms = -250\n\n[peers]\nus = \"{}\"\nap = \"127.0.0.1:1\"\n",
        us.peers
    );
    fs::write(&file, text).expect("the file can be written");
    let mut eu = Leader::spawn(mesh().args(["serve", "--config"]).arg(&file), folder.path(), "eu");
    eu.ok(&["counter", "incr", "visits"]);
    converged(&[&eu, &us]);
    assert!(folder.path().join("data/eu/leader.redb").is_file(), "`data` is relative to the file's folder");
    let status = eu.status();
    assert_eq!((&status["name"], &status["cluster"]), (&"eu".into(), &"blue".into()));
    assert_eq!(status["peers"].as_array().expect("an array").len(), 2, "{status:#}");
    eu.process.signal("-TERM");
    assert_eq!(eu.process.ended().code(), Some(0));

    let other = folder.path().join("other");
    let mut flags = mesh();
    flags
        .args(["serve", "--name", "other", "--cluster", "green", "--peer", "ap=127.0.0.1:2", "--data"])
        .arg(&other);
    let other = Leader::spawn(flags.arg("--config").arg(&file), folder.path(), "other");
    let status = other.status();
    assert_eq!((&status["name"], &status["cluster"]), (&"other".into(), &"green".into()));
    let ap = status["peers"].as_array().expect("an array").iter().find(|peer| peer["name"] == "ap");
    assert_eq!(ap.expect("the peer is there")["address"], "127.0.0.1:2");
}

#[test]
fn mistakes_in_the_file_are_named_with_their_line() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("eu.toml");
    let path = file.to_str().expect("the folder's name is UTF-8");
    let good = "name = \"eu\"\nlisten = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\n";
    for (more, words) in [
        ("dat = \"eu\"\n", &["eu.toml", "line 4", "unknown field `dat`"][..]),
        ("data = 17\n", &["line 4", "data = 17"]),
        ("clock_offset_ms = \"soon\"\n", &["line 4", "clock_offset_ms"]),
        ("cluster = \"a b\"\n", &["line 4", "is not a name"]),
        ("name = \"us\"\n", &["line 4", "duplicate key"]),
        ("[peers]\nus = \"7002\"\n", &["line 5", "HOST:PORT"]),
        ("[peers]\n\"\" = \"127.0.0.1:7002\"\n", &["line 5", "is not a name"]),
        ("[peers\n", &["line 4"]),
        ("", &["no data folder", "--data", "`data` in", "eu.toml"]),
        ("data = \"eu\"\n[peers]\neu = \"127.0.0.1:7002\"\n", &["`eu` is given as a peer of itself"]),
    ] {
        fs::write(&file, format!("{good}{more}")).expect("the file can be written");
        run(&["serve", "--config", path]).failed(2, words);
    }
    run(&["serve", "--config", "no-such-file.toml"]).failed(2, &["no-such-file.toml", "cannot be read"]);
    assert!(!folder.path().join("eu").exists(), "nothing was made");
}

#[test]
fn mistakes_in_flags_are_refused() {
    let folder = tempdir().expect("a folder");
    for (more, words) in [
        (&["--peer", "127.0.0.1:7002"][..], &["--peer", "NAME=HOST:PORT"][..]),
        (&["--peer", "us=7002"], &["--peer", "HOST:PORT"]),
        (&["--peer", "us=127.0.0.1:1", "--peer", "us=127.0.0.1:2"], &["`us` twice"]),
        (&["--peer", "eu=127.0.0.1:1"], &["`eu` is given as a peer of itself"]),
        (&["--name", ""], &["--name"]),
        (&["--listen", "7001"], &["--listen", "HOST:PORT"]),
        (&["--clock-offset", "soon"], &["--clock-offset"]),
    ] {
        serve(folder.path(), "eu", more).failed(2, words);
    }
    run(&["serve", "--name", "eu"]).failed(2, &["no data folder", "--data", "--config"]);
    assert!(!folder.path().join("eu").exists(), "nothing was made");
}

#[test]
fn a_port_in_use_is_said_and_harms_nobody() {
    let folder = tempdir().expect("a folder");
    let us = Leader::start(folder.path(), "us", &[]);
    for flag in ["--listen", "--api"] {
        for port in [&us.peers, &us.api] {
            let refused = serve(folder.path(), "eu", &[flag, port]);
            refused.failed(1, &["mesh: ", port, "in use"]);
            assert!(!refused.stderr.contains("os error"), "said twice: {refused:?}");
        }
    }
    us.ok(&["counter", "incr", "visits"]);
    // An address that is not this machine's.
    serve(folder.path(), "eu", &["--api", "192.0.2.1:0"]).failed(1, &["mesh: ", "192.0.2.1:0"]);
}

#[test]
fn the_folder_of_another_leader_is_refused_and_unharmed() {
    let folder = tempdir().expect("a folder");
    let mut eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits"]);
    let data = folder.path().join("eu");
    let data = data.to_str().expect("the folder's name is UTF-8");

    // While the leader runs nobody else may have its folder, not even under its name.
    serve(folder.path(), "eu", &["--data", data])
        .failed(1, &["mesh: ", "leader.redb", "open in another process"]);
    eu.process.signal("-TERM");
    assert_eq!(eu.process.ended().code(), Some(0));

    serve(folder.path(), "us", &["--data", data])
        .failed(1, &["mesh: ", "belongs to leader \"eu\"", "leader \"us\""]);
    serve(folder.path(), "eu", &["--cluster", "blue"])
        .failed(1, &["mesh: ", "cluster \"default\"", "\"blue\""]);
    let eu = Leader::start(folder.path(), "eu", &[]);
    assert_eq!(eu.ok(&["counter", "get", "visits"]), "1\n");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("a-file");
    fs::write(&file, "in the way").expect("the file can be written");
    let inside = file.join("eu");
    serve(folder.path(), "eu", &["--data", inside.to_str().expect("UTF-8")])
        .failed(1, &["mesh: ", "a-file", "data folder"]);
}

#[test]
fn a_corrupt_store_is_said_and_left_as_it_is() {
    let folder = tempdir().expect("a folder");
    let mut eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits"]);
    eu.process.signal("-TERM");
    assert_eq!(eu.process.ended().code(), Some(0));
    let store = folder.path().join("eu/leader.redb");
    let whole = fs::read(&store).expect("the store can be read");

    let mut overwritten = whole.clone();
    overwritten[..512].fill(0xa5);
    let mut holed = whole.clone();
    holed[4096..].fill(0);
    let not_a_store = b"name,visits\neu,1\n".repeat(1_000);
    for (what, damaged) in [
        ("overwritten at its beginning", overwritten),
        ("cut to a half", whole[..whole.len() / 2].to_vec()),
        ("cut in its first page", whole[..100].to_vec()),
        ("full of holes", holed),
        ("something else", not_a_store),
    ] {
        fs::write(&store, &damaged).expect("the store can be written");
        let refused = serve(folder.path(), "eu", &[]);
        assert_eq!(refused.stderr.matches("mesh: ").count(), 1, "{what}: {refused:?}");
        refused.failed(1, &["leader.redb", "backup"]);
    }
    fs::write(&store, &whole).expect("the store can be written");
    assert_eq!(Leader::start(folder.path(), "eu", &[]).ok(&["counter", "get", "visits"]), "1\n");
}
