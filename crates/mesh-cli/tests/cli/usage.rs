//! Wrong arguments, help and completions: what needs no leader.

use crate::common::{mesh, run};

/// Of each command: its words.
const COMMANDS: [&[&str]; 23] = [
    &["serve"],
    &["counter"],
    &["counter", "incr"],
    &["counter", "decr"],
    &["counter", "get"],
    &["set"],
    &["set", "add"],
    &["set", "remove"],
    &["set", "clear"],
    &["set", "members"],
    &["set", "contains"],
    &["register", "set"],
    &["register", "get"],
    &["keys"],
    &["watch"],
    &["status"],
    &["topology"],
    &["topology", "show"],
    &["topology", "set"],
    &["peer"],
    &["peer", "add"],
    &["peer", "remove"],
    &["verify"],
];

#[test]
fn wrong_arguments_exit_with_2_and_say_what_is_wrong() {
    let long = "k".repeat(1025);
    let api = ["--api", "127.0.0.1:1"];
    for (args, words) in [
        (&["frobnicate"][..], &["frobnicate"][..]),
        (&["counter", "incr"], &["KEY"]),
        (&["counter", "incr", "visits", "-5"], &["-5", "decr"]),
        (&["counter", "incr", "visits", "1.5"], &["1.5", "whole number"]),
        (&["counter", "incr", "visits", "18446744073709551616"], &["18446744073709551615"]),
        (&["counter", "decr", "--grow-only", "visits"], &["--grow-only"]),
        (&["counter", "get", ""], &["1 to 1024 bytes"]),
        (&["counter", "get", &long], &["1 to 1024 bytes"]),
        (&["counter", "get", "visits", "extra"], &["extra"]),
        (&["set", "add", "tags"], &["ELEMENT"]),
        (&["set", "contains", "tags"], &["ELEMENT"]),
        (&["register", "set", "title"], &["VALUE"]),
        (&["register", "set", "title", "x", "--idempotency-key", ""], &["1 to 255 bytes"]),
        (&["register", "set", "title", "x", "--idempotency-key", "a b"], &["visible ASCII"]),
        (&["watch", "--since", "17"], &["17", "token"]),
        (&["counter", "get", "visits", "--after", "17"], &["17", "is not a token"]),
        (&["counter", "get", "visits", "--after", "a:1", "--within", "soon"], &["soon", "500ms"]),
        (&["counter", "get", "visits", "--within", "1s"], &["--after"]),
        (&["topology", "set", "torus"], &["torus", "star:HUB"]),
        (&["topology", "set", "explicit:eu=eu"], &["itself"]),
        (&["peer", "add", "eu=7001"], &["HOST:PORT"]),
        (&["peer", "remove"], &["NAME"]),
        (&["verify", "--wait", "long"], &["long", "500ms"]),
        (&["completions", "tcsh"], &["tcsh", "bash"]),
        (&["status", "--log", "=="], &["--log"]),
    ] {
        let args = [args, &api].concat();
        let args = if args[0] == "completions" { &args[..2] } else { &args };
        run(args).failed(2, words);
    }
    run(&[]).failed(2, &["Usage"]);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for bad in [
        "localhost",
        "localhost:x",
        ":7101",
        "https://localhost:7101",
        "localhost:7101/v1",
        "localhost:99999",
    ] {
        run(&["status", "--api", bad]).failed(2, &["--api"]);
        let by_environment = mesh().env("MESH_API", bad).arg("status").output().expect("the binary runs");
        assert_eq!(by_environment.status.code(), Some(2));
    }
    run(&["status"]).failed(2, &["which leader?", "--api", "MESH_API"]);
    run(&["counter", "get", "visits"]).failed(2, &["which leader?", "--api", "MESH_API"]);
}

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        let help = run(&[command, &["--help"]].concat()).ok();
        let examples =
            help.lines().filter(|line| line.starts_with(&format!("  mesh {}", command.join(" ")))).count();
        assert!(examples > 0, "no examples in the help of {command:?}:\n{help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "a long line in the help of {command:?}: {line}");
        }
    }
    let help = run(&["--help"]).ok();
    for command in [
        "serve",
        "counter",
        "set",
        "register",
        "keys",
        "watch",
        "status",
        "topology",
        "peer",
        "verify",
        "replay",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "no {command} in\n{help}");
    }
    assert_eq!(run(&["--version"]).ok(), format!("mesh {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_of_each_shell_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell]).ok();
        for word in ["serve", "register", "idempotency-key", "clock-offset"] {
            assert!(script.contains(word), "no {word} in the completions of {shell}");
        }
    }
    let bash = run(&["completions", "bash"]).ok();
    let checked = std::process::Command::new("bash").args(["-n", "-c", &bash]).output().expect("bash runs");
    assert!(checked.status.success(), "{checked:?}");
}
