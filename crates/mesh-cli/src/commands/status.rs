//! `mesh status`.

use super::Leader;
use anyhow::Result;
use mesh::{PeerReport, Status, TopologyReport};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Show how a leader is: what it has, and how far each peer is behind it.
///
/// `behind` is exact: how many events this leader has that the peer has not acknowledged as durable; `oldest` is how long
/// the oldest of them has been here. `ahead` is how many the peer is known to have that this leader lacks. Two leaders with the
/// same fingerprint hold the same values.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh status --api 127.0.0.1:7101
  mesh status --json | jq -r .fingerprint
  mesh status --json | jq '.peers[] | {name, events_behind, problem}'")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let reply = args.leader.client()?.get("/v1/status")?;
    args.leader.print(&reply, |out, status| print(out, status))?;
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let vector: Vec<_> =
        status.vector.iter().map(|(replica, counter)| format!("{replica}:{counter}")).collect();
    let about = [
        ("leader", format!("{} ({}) of cluster {}", status.name, status.replica, status.cluster)),
        ("up for", duration(status.uptime_ms)),
        ("fingerprint", status.fingerprint.clone()),
        ("vector", if vector.is_empty() { "empty".into() } else { vector.join(" ") }),
        ("keys", status.keys.to_string()),
        ("disk", size(status.disk_bytes)),
        ("since start", format!("{} writes taken, {} events merged", status.writes, status.merged_events)),
    ];
    table(out, &about.map(|(what, value)| vec![what.to_owned(), value]))?;
    if status.peers.is_empty() {
        writeln!(out, "\nno peers")?;
        return problems(out, &status.topology);
    }
    let head = ["peer", "address", "replica", "link", "behind", "oldest", "ahead", "contact", "in", "out"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.peers.iter().map(row));
    writeln!(out)?;
    table(out, &rows)?;
    for peer in &status.peers {
        if let Some(problem) = &peer.problem {
            writeln!(out, "{}: {problem}", peer.name)?;
        }
    }
    problems(out, &status.topology)
}

/// What is wrong with the mesh's connections, a line each.
pub(super) fn problems(out: &mut dyn Write, topology: &TopologyReport) -> io::Result<()> {
    topology.problems.iter().try_for_each(|problem| writeln!(out, "{}: {}", problem.code, problem.text))
}

fn row(peer: &PeerReport) -> Vec<String> {
    let link = match (peer.diverged, peer.connected) {
        (true, _) => "diverged",
        (_, true) => "up",
        (_, false) => "down",
    };
    vec![
        peer.name.clone(),
        or_dash(peer.address.as_ref()),
        or_dash(peer.replica.as_ref()),
        link.to_owned(),
        peer.events_behind.to_string(),
        duration(peer.oldest_ms),
        peer.events_ahead.to_string(),
        or_dash(peer.last_contact_ms.map(|ms| format!("{} ago", duration(ms))).as_ref()),
        size(peer.bytes_in),
        size(peer.bytes_out),
    ]
}

pub(super) fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".into(), ToString::to_string)
}

/// Prints rows in columns as wide as their widest cell, two spaces apart.
pub(super) fn table(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let line: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short() {
        let durations = [0, 999, 1_000, 59_999, 61_500, 7_320_000, 180_000_000].map(duration);
        assert_eq!(durations, ["0 ms", "999 ms", "1.0 s", "59.9 s", "1 min 1 s", "2 h 2 min", "2 d 2 h"]);
        let sizes = [0, 1_023, 1_024, 1_589_248, 3 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 GiB"]);
    }

    #[test]
    fn the_status_in_the_apis_description_is_understood_and_aligned() {
        let text = include_str!("../../../../docs/api.md");
        let (_, rest) = text.split_once("`GET /v1/status`:").expect("the status has an example");
        let json =
            rest.split("```").nth(1).and_then(|block| block.strip_prefix("json")).expect("a block of JSON");
        let status = serde_json::from_str(json).expect("the example parses");
        let mut out = Vec::new();
        print(&mut out, &status).expect("memory can be written");
        let expected = "\
leader       eu (00000000000000a1) of cluster default
up for       1 min 1 s
fingerprint  5f1c0e9a77b3d2e4
vector       00000000000000a1:17
keys         3
disk         1.5 MiB
since start  17 writes taken, 4 events merged

peer  address         replica           link  behind  oldest  ahead  contact   in       out
us    127.0.0.1:7002  00000000000000b2  up    5       31 ms   0      4 ms ago  1.7 KiB  2.1 KiB
ring-broken: the ring is broken at ap; us and eu are connected instead
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
