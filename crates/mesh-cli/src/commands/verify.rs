//! `mesh verify`.

use super::{Leader, one_word, topology::api_of};
use crate::client::{ApiAddr, Client, NotYet, Session, path, with_query};
use anyhow::{Result, anyhow};
use mesh::{Merge, Status, Token, TopologyReport, VersionVector};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

/// How many differing keys are named.
const NAMED: usize = 10;

/// Ask all leaders whether they hold the same, and name what differs.
///
/// Waits until all have the same updates; then equal fingerprints say that they hold the same values, and unequal ones are
/// traced to the keys that differ, by comparing hashes of ranges of keys.
///
/// Exit codes: 0 all are equal, 1 they differ or did not come to the same updates in time, 2 not all could be asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mesh verify
  mesh verify --wait 60s --json | jq .keys
  mesh verify --at 127.0.0.1:8002 --at 127.0.0.1:8003")]
pub(crate) struct Args {
    #[command(flatten)]
    leader: Leader,

    /// The API of another leader to ask; once for each [default: all leaders that the first one knows of]
    #[arg(long = "at", value_name = "ADDR")]
    others: Vec<ApiAddr>,

    /// How long the leaders may take to come to the same updates, as in 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = mesh::parse_duration)]
    wait: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Verdict {
    result: &'static str,
    leaders: Vec<Held>,
    /// Keys that are not the same everywhere, if the leaders have the same updates; not more than a few.
    keys: Vec<Differing>,
    unasked: Vec<Unasked>,
}

/// What a leader holds.
#[derive(Debug, Serialize)]
struct Held {
    name: String,
    fingerprint: String,
    keys: usize,
    /// How many of the updates that others have it lacks.
    behind: u128,
}

#[derive(Debug, Serialize)]
struct Differing {
    #[serde(flatten)]
    key: Key,
    /// The hash of the key at each of two leaders that differ; null where it is missing.
    hashes: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Serialize)]
struct Unasked {
    /// Or its address, if nobody gave a name.
    name: String,
    why: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let first = args.leader.client()?;
    let deadline = Instant::now() + args.wait;
    let mut unasked = Vec::new();
    let mut leaders = Vec::new();
    for (name, api) in places(&first, args)? {
        let known_as = name.clone().or(api.as_ref().ok().map(ToString::to_string)).unwrap_or_default();
        match api.and_then(|api| Asked::new(name.as_deref(), api)) {
            Ok(asked) => leaders.push(asked),
            Err(error) => unasked.push(Unasked { name: known_as, why: format!("{error:#}") }),
        }
    }
    let all = |leaders: &[Asked]| {
        leaders.iter().fold(VersionVector::new(), |mut all, leader| {
            all.merge(&leader.status.vector);
            all
        })
    };
    while !equal(&leaders, |status| &status.vector) && Instant::now() < deadline {
        let seen = all(&leaders);
        leaders.iter_mut().try_for_each(|leader| leader.catch_up(&seen, deadline))?;
    }
    let same_updates = equal(&leaders, |status| &status.vector);
    let same_values = equal(&leaders, |status| &status.fingerprint);
    let keys = if same_updates && !same_values { compare(&leaders)? } else { Vec::new() };
    let result = match (same_updates && same_values, unasked.is_empty()) {
        (false, _) => "different",
        (true, false) => "unasked",
        (true, true) => "equal",
    };
    let seen = all(&leaders);
    let held = leaders.iter().map(|Asked { status, .. }| Held {
        name: status.name.clone(),
        fingerprint: status.fingerprint.clone(),
        keys: status.keys,
        behind: seen.ahead_of(&status.vector),
    });
    let verdict = Verdict { result, leaders: held.collect(), keys, unasked };
    print(&verdict, args.leader.json)?;
    Ok(ExitCode::from(match result {
        "equal" => 0,
        "different" => 1,
        _ => 2,
    }))
}

fn equal<T: PartialEq>(leaders: &[Asked], what: impl Fn(&Status) -> &T) -> bool {
    leaders.windows(2).all(|pair| what(&pair[0].status) == what(&pair[1].status))
}

type Place = (Option<String>, Result<ApiAddr>);

/// Whom to ask.
fn places(first: &Client, args: &Args) -> Result<Vec<Place>> {
    let unanswered = |error| crate::Usage(format!("{error:#}"));
    if !args.others.is_empty() {
        let others = args.others.iter().cloned();
        return Ok(others.chain([first.api().clone()]).map(|api| (None, Ok(api))).collect());
    }
    let report: TopologyReport = first.get(&path(&["topology"])).map_err(unanswered)?.value;
    let place = |leader: &mesh::LeaderReport| {
        let api = if leader.steps == Some(0) { Ok(first.api().clone()) } else { api_of(leader) };
        (Some(leader.name.clone()), api)
    };
    // Who is neither a member nor there has left; without a list of members nobody can tell.
    let any = report.leaders.iter().any(|leader| leader.member);
    let counts = |leader: &&mesh::LeaderReport| leader.member || leader.steps.is_some() || !any;
    Ok(report.leaders.iter().filter(counts).map(place).collect())
}

/// A leader that has answered.
struct Asked {
    api: ApiAddr,
    status: Status,
}

impl Asked {
    fn new(name: Option<&str>, api: ApiAddr) -> Result<Self> {
        let status: Status = Client::new(api.clone()).get(&path(&["status"]))?.value;
        match name {
            Some(name) if name != status.name => Err(anyhow!(
                "at {api} answers {}, not {name}: give the right addresses with --at",
                status.name
            )),
            _ => Ok(Asked { api, status }),
        }
    }

    /// Waits until it has `seen`, or the deadline has passed.
    fn catch_up(&mut self, seen: &VersionVector, deadline: Instant) -> Result<()> {
        let within = deadline.saturating_duration_since(Instant::now());
        let session = Session { after: Some(Token::from(seen.clone()).to_string()), within: Some(within) };
        let now = match Client::with(self.api.clone(), session).get(&path(&["status"])) {
            Err(error) if error.is::<NotYet>() => Client::new(self.api.clone()).get(&path(&["status"])),
            other => other,
        };
        self.status = now.map_err(|error| crate::Usage(format!("{}: {error:#}", self.status.name)))?.value;
        Ok(())
    }

    fn range(&self, after: Option<&Value>, until: Option<&Value>) -> Result<Range> {
        let mut query = path(&["hashes"]);
        for (name, key) in [("after_key", after), ("until_key", until)] {
            if let Some(key) = key {
                query = with_query(query, name, &key.to_string());
            }
        }
        let range: Range = Client::new(self.api.clone()).get(&query)?.value;
        if range.vector != self.status.vector {
            return Err(anyhow!(
                "{} was written to while it was being compared: try again",
                self.status.name
            ));
        }
        Ok(range)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    r#type: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    vector: VersionVector,
    hash: String,
    middle: Option<Value>,
    entries: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    hash: String,
}

/// The keys in which leaders with the same updates differ: those of one leader of each fingerprint against one of the most
/// common.
fn compare(leaders: &[Asked]) -> Result<Vec<Differing>> {
    let mut groups: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
    for leader in leaders {
        groups.entry(&leader.status.fingerprint).or_default().push(leader);
    }
    let Some(most) = groups.values().max_by_key(|group| group.len()).map(|group| group[0]) else {
        return Ok(Vec::new());
    };
    let mut differing = Vec::new();
    for group in groups.values().filter(|group| group[0].status.fingerprint != most.status.fingerprint) {
        bisect(most, group[0], &mut differing)?;
    }
    Ok(differing)
}

/// Halves the range of all keys until what is left differs. **O(d log n)** requests for *d* differing keys of *n*.
fn bisect(a: &Asked, b: &Asked, differing: &mut Vec<Differing>) -> Result<()> {
    let mut ranges: Vec<(Option<Value>, Option<Value>)> = vec![(None, None)];
    while let Some((after, until)) = ranges.pop() {
        if differing.len() >= NAMED {
            break;
        }
        let [of_a, of_b] = [a, b].map(|leader| leader.range(after.as_ref(), until.as_ref()));
        let (of_a, of_b) = (of_a?, of_b?);
        if of_a.hash == of_b.hash {
            continue;
        }
        if let Some(middle) = of_a.middle.or(of_b.middle) {
            ranges.push((Some(middle.clone()), until));
            ranges.push((after, Some(middle)));
            continue;
        }
        let [of_a, of_b] = [of_a.entries, of_b.entries].map(|entries| -> BTreeMap<Key, String> {
            entries.into_iter().flatten().map(|Entry { key, hash }| (key, hash)).collect()
        });
        let keys: BTreeSet<&Key> = of_a.keys().chain(of_b.keys()).collect();
        for key in keys.into_iter().filter(|key| of_a.get(key) != of_b.get(key)) {
            let hashes = [(a, &of_a), (b, &of_b)];
            let hashes = hashes.map(|(leader, of)| (leader.status.name.clone(), of.get(key).cloned()));
            differing.push(Differing { key: key.clone(), hashes: hashes.into() });
        }
    }
    differing.truncate(NAMED);
    Ok(())
}

fn of_keys(count: usize) -> String {
    if count == 1 { "1 key".into() } else { format!("{count} keys") }
}

fn print(verdict: &Verdict, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(verdict)?)?;
        return out.flush();
    }
    let Verdict { result, leaders, keys, unasked } = verdict;
    match leaders.first() {
        Some(any) if *result != "different" => {
            let names: Vec<_> = leaders.iter().map(|leader| leader.name.as_str()).collect();
            let (count, names) = (leaders.len(), names.join(", "));
            writeln!(
                out,
                "equal: {count} leaders ({names}), {}, fingerprint {}",
                of_keys(any.keys),
                any.fingerprint
            )?;
        }
        _ => {
            for Held { name, fingerprint, keys, behind } in leaders {
                let keys = of_keys(*keys);
                writeln!(out, "{name}: {behind} updates behind, {keys}, fingerprint {fingerprint}")?;
            }
        }
    }
    for Differing { key, hashes } in keys {
        let hash = |(name, hash): (&String, &Option<String>)| {
            format!("{name} {}", hash.as_deref().unwrap_or("does not have it"))
        };
        let hashes: Vec<_> = hashes.iter().map(hash).collect();
        writeln!(out, "different: {} {}: {}", key.r#type, one_word(&key.name), hashes.join(", "))?;
    }
    out.flush()?;
    for Unasked { name, why } in unasked {
        eprintln!("mesh: not asked: {name}: {why}");
    }
    Ok(())
}
