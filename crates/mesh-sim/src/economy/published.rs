//! The runs of Enes et al., "Efficient Synchronization of State-based CRDTs", ICDE 2019, and what they come to here.
//!
//! What the authors count: elements are irreducible states. An entry of metadata is the sequence number of a delta or of its
//! acknowledgement (1), the dot of a delta that Scuttlebutt sends (1), or in a matrix each vector (1) and each entry of it
//! (1). Their figures of Scuttlebutt are elements and metadata together, on both sides of a ratio; those of the other
//! protocols are elements; those of Retwis are bytes. The numbers that are compared here are ratios to delta BP+RR in those
//! units. Bytes are here those of this crate's encoding, there those of Erlang's external terms.
//!
//! Scuttlebutt is the variant that lets go of what all have. Deltas are those of each object by itself, and are let go of as
//! in the authors' program: see [`Prune::AcknowledgedBySome`]. For every micro-benchmark this makes next to no difference;
//! with Retwis, where most objects are written once, it undoes most of BP.
//!
//! Retwis is drawn at random, there as here, and what it comes to grows with the followers that a few users happen to get.
//! It has a heavy tail: with a coefficient of 1, classic deltas of two seeds differ by a factor of two, since whether the
//! deltas of an object ever stop going in circles depends on how often it is written. What was published is one draw for
//! each protocol. So [`DRAWS`] of them are made here, the ratio is taken within each, and the middle one is compared; the
//! least and the greatest are told with it. A follow is known to all nodes at once, there when it has come.

use super::{
    Outcome, Overlay, Protocol, Scenario,
    delta::{Delta, Prune},
    run::{float, run, thread_nanos},
    workload::{Kind, Pace, Workload},
};
use crate::Link;
use serde::Serialize;
use std::fmt::{self, Write};

const DATA: &str = include_str!("../../data/icde19.txt");

/// One published run.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The name of the workload, with the coefficient as published.
    pub title: String,
    /// What the users did.
    pub kind: Kind,
    /// The name of the overlay.
    pub overlay: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// Entries of metadata sent.
    pub entries: u64,
    /// Elements sent.
    pub elements: u64,
    /// Bytes sent, in the authors' encoding.
    pub bytes: u64,
}

/// The published overlay of this name: `tree-15`, or `partialmesh-` with 15, 16, 32, 50 or 64.
///
/// # Panics
///
/// Never: the data is a part of the program.
pub fn overlay(name: &str) -> Option<Overlay> {
    let mut lines = DATA.lines().filter_map(|line| line.strip_prefix("overlay "));
    let neighbours = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    let node = |list: &str| list.split(',').map(|node| node.parse().expect("a number")).collect();
    Some(Overlay::new(neighbours.split(' ').map(node).collect()))
}

/// All published runs, 90 of them.
///
/// # Panics
///
/// Never: the data is a part of the program.
pub fn runs() -> Vec<Published> {
    DATA.lines().filter_map(|line| line.strip_prefix("run ")).map(parse).collect()
}

fn parse(line: &'static str) -> Published {
    let fields: Vec<&str> = line.split(' ').collect();
    let [workload, parameter, overlay, protocol, entries, elements, bytes] = fields[..] else {
        panic!("seven fields: {line}")
    };
    let number = |field: &str| -> u64 { field.parse().expect("a number") };
    let parameter = u32::try_from(number(parameter)).expect("few");
    let delta = |bp, rr| Protocol::Objects(Delta { bp, rr, prune: Prune::AcknowledgedBySome });
    Published {
        title: match workload {
            "gset" => "GSet".into(),
            "gcounter" => "GCounter".into(),
            "gmap" => format!("GMap {parameter}%"),
            _ => format!("Retwis, Zipf {}.{:02}", parameter / 100, parameter % 100),
        },
        kind: match workload {
            // The name of the node and the number of the event; only Retwis is compared by bytes.
            "gset" => Kind::GSet { bytes: 20 },
            "gcounter" => Kind::GCounter,
            "gmap" => Kind::GMap { percent: parameter },
            // The authors' program draws users with a coefficient that is rounded to one decimal: 0.25 becomes 0.3.
            "retwis" => Kind::Retwis { zipf: (parameter + 5) / 10 * 10 },
            other => panic!("{other} is no workload"),
        },
        overlay,
        protocol: match protocol {
            "state_based" => Protocol::FullState,
            "delta_based" => delta(false, false),
            "delta_based+bp" => delta(true, false),
            "delta_based+rr" => delta(false, true),
            "delta_based+bp+rr" => delta(true, true),
            "scuttlebutt" => Protocol::Scuttlebutt { deletes: true },
            other => panic!("{other} is no protocol"),
        },
        entries: number(entries),
        elements: number(elements),
        bytes: number(bytes),
    }
}

/// The amounts that the authors give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Irreducible states.
    pub elements: u64,
    /// Entries of metadata.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A published run beside the same run here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What the users did.
    pub workload: String,
    /// Where.
    pub overlay: String,
    /// With which protocol.
    pub protocol: String,
    /// What is compared.
    pub unit: &'static str,
    /// As published.
    pub published: Sent,
    /// As simulated; of several draws, the one with the middle ratio.
    pub simulated: Sent,
    /// The published ratio to delta BP+RR; `None` where that is the run itself.
    pub published_ratio: Option<f64>,
    /// The simulated one.
    pub simulated_ratio: Option<f64>,
    /// Of several draws, the least ratio and the greatest.
    pub draws: Option<[f64; 2]>,
    /// How far the simulated ratio, or where there is none the simulated amount, is from the published one: 0.1 is 10%.
    pub deviation: f64,
}

/// How far a ratio may be from the published one.
pub const TOLERANCE: f64 = 0.1;

/// How often Retwis is drawn: with the seed that is given, and the next ones.
pub const DRAWS: u64 = 3;

impl Row {
    /// Whether it is as published, within [`TOLERANCE`].
    pub fn holds(&self) -> bool {
        self.deviation.abs() <= TOLERANCE
    }
}

/// Runs it here: the same overlay, operations and pace, links of 1 to 5 ms, nodes that start at random moments.
///
/// # Panics
///
/// Never: the overlay is a published one.
pub fn simulate(published: &Published, seed: u64) -> Outcome {
    let overlay = overlay(published.overlay).expect("the overlay is published with the run");
    let interval = if matches!(published.kind, Kind::Retwis { .. }) { 500_000 } else { 1_000_000 };
    let pace = Pace { operations: 100, interval, tick: interval };
    let scenario = Scenario {
        name: published.title.clone(),
        workload: Workload::draw(published.kind, overlay.nodes(), pace, seed),
        overlay,
        link: Link { spread: 4_000, ..Link::steady(1_000) },
        tick: interval,
        seed,
    };
    run(&scenario, published.protocol, None)
}

/// The published runs that `chosen` says, beside what they come to here; those of BP+RR that the others are compared
/// with are run besides. `progress` is told of each before it is run.
///
/// # Panics
///
/// Never: all runs of BP+RR are there.
pub fn compare(seed: u64, chosen: impl Fn(&Published) -> bool, progress: impl Fn(&str)) -> Vec<Row> {
    let runs = runs();
    let is_base =
        |run: &Published| matches!(run.protocol, Protocol::Objects(Delta { bp: true, rr: true, .. }));
    let draws = |published: &Published| -> Vec<Sent> {
        let Published { title, overlay, protocol, .. } = published;
        progress(&format!("{title}, {overlay}: {}", protocol.name()));
        let draws = if matches!(published.kind, Kind::Retwis { .. }) { DRAWS } else { 1 };
        (seed..seed + draws).map(|seed| sent(&simulate(published, seed))).collect()
    };
    let mut bases: Vec<(&Published, Vec<Sent>)> = Vec::new();
    let mut rows = Vec::new();
    for published in runs.iter().filter(|run| chosen(run)) {
        let alike = |run: &Published| run.kind == published.kind && run.overlay == published.overlay;
        let at = bases.iter().position(|(base, _)| alike(base)).unwrap_or_else(|| {
            let base = runs.iter().find(|run| is_base(run) && alike(run));
            let base = base.expect("there is a run of BP+RR for every workload and overlay");
            bases.push((base, draws(base)));
            bases.len() - 1
        });
        let (base, simulated_base) = &bases[at];
        if *base == published {
            rows.push(base_row(published, simulated_base));
        } else {
            rows.push(row(published, &draws(published), base, simulated_base));
        }
    }
    rows
}

fn sent(outcome: &Outcome) -> Sent {
    Sent { elements: outcome.elements, entries: outcome.entries, bytes: outcome.bytes() }
}

fn as_published(run: &Published) -> Sent {
    Sent { elements: run.elements, entries: run.entries, bytes: run.bytes }
}

type Unit = (&'static str, fn(&Sent) -> u64);

fn unit(run: &Published) -> Unit {
    match (run.kind, run.protocol) {
        (Kind::Retwis { .. }, _) => ("bytes", |sent| sent.bytes),
        (_, Protocol::Scuttlebutt { .. }) => ("elements + metadata", |sent| sent.elements + sent.entries),
        _ => ("elements", |sent| sent.elements),
    }
}

/// The draw with the middle number, and the number.
fn middle(draws: &[Sent], number: impl Fn(usize) -> f64) -> (Sent, Vec<f64>) {
    let mut order: Vec<usize> = (0..draws.len()).collect();
    order.sort_by(|a, b| number(*a).total_cmp(&number(*b)));
    (draws[order[order.len() / 2]], order.into_iter().map(number).collect())
}

/// The run that others are compared with: bytes of different encodings are compared as ratios only, so here it is elements.
fn base_row(published: &Published, draws: &[Sent]) -> Row {
    let (simulated, numbers) = middle(draws, |draw| float(draws[draw].elements));
    Row {
        workload: published.title.clone(),
        overlay: published.overlay.into(),
        protocol: name(published),
        unit: "elements",
        published: as_published(published),
        simulated,
        published_ratio: None,
        simulated_ratio: None,
        draws: None,
        deviation: numbers[numbers.len() / 2] / float(published.elements) - 1.0,
    }
}

fn row(published: &Published, draws: &[Sent], base: &Published, simulated_base: &[Sent]) -> Row {
    let (unit, amount) = unit(published);
    let ratio = |sent: &Sent, base: &Sent| float(amount(sent)) / float(amount(base));
    let there = as_published(published);
    let published_ratio = ratio(&there, &as_published(base));
    let (simulated, ratios) = middle(draws, |draw| ratio(&draws[draw], &simulated_base[draw]));
    let simulated_ratio = ratios[ratios.len() / 2];
    Row {
        workload: published.title.clone(),
        overlay: published.overlay.into(),
        protocol: name(published),
        unit,
        published: there,
        simulated,
        published_ratio: Some(published_ratio),
        simulated_ratio: Some(simulated_ratio),
        draws: (ratios.len() > 1).then(|| [ratios[0], ratios[ratios.len() - 1]]),
        deviation: simulated_ratio / published_ratio - 1.0,
    }
}

fn name(published: &Published) -> String {
    published.protocol.name().trim_end_matches(", by object").into()
}

/// All published runs beside what they come to here.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The first seed.
    pub seed: u64,
    /// Whether only the runs that send little were compared.
    pub quick: bool,
    /// One for each run.
    pub rows: Vec<Row>,
    /// The CPU time that it took.
    pub cpu_seconds: f64,
}

impl Report {
    /// Whether all ratios are as published.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }
}

/// How much a run of a quick comparison sends at most, in elements and entries of metadata.
const LITTLE: u64 = 2_500_000;

/// Compares all 90 runs, or with `quick` those that send little.
pub fn published(seed: u64, quick: bool, progress: impl Fn(&str)) -> Report {
    let start = thread_nanos();
    let rows = compare(seed, |run| !quick || run.elements + run.entries <= LITTLE, progress);
    Report { seed, quick, rows, cpu_seconds: float(thread_nanos() - start) / 1e9 }
}

impl fmt::Display for Report {
    /// A table in Markdown, and a line of what it comes to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&markdown(&self.rows))?;
        let within = self.rows.iter().filter(|row| row.holds()).count();
        let (rows, percent) = (self.rows.len(), TOLERANCE * 100.0);
        let (first, last) = (self.seed, self.seed + DRAWS - 1);
        writeln!(
            f,
            "\n{within} of {rows} within {percent}%; Retwis with seeds {first} to {last}, all others with {first}."
        )?;
        writeln!(f, "{:.0} s of CPU", self.cpu_seconds)
    }
}

/// A table in Markdown.
///
/// # Panics
///
/// Never: a string takes everything.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| workload | overlay | protocol | unit | published | simulated | to BP+RR, published | simulated | of all draws | \
         deviation | within 10% |\n|---|---|---|---|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let amount = |sent: Sent| match row.unit {
            "bytes" => sent.bytes,
            "elements" => sent.elements,
            _ => sent.elements + sent.entries,
        };
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
        let draws = row.draws.map_or_else(String::new, |[least, most]| format!("{least:.3} to {most:.3}"));
        let Row { workload, overlay, protocol, unit, .. } = row;
        let (published, simulated) = (amount(row.published), amount(row.simulated));
        let (there, here) = (ratio(row.published_ratio), ratio(row.simulated_ratio));
        let (deviation, verdict) = (row.deviation * 100.0, if row.holds() { "yes" } else { "no" });
        writeln!(
            text,
            "| {workload} | {overlay} | {protocol} | {unit} | {published} | {simulated} | {there} | {here} | {draws} | \
             {deviation:+.1}% | {verdict} |"
        )
        .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_runs_are_there() {
        let runs = runs();
        assert_eq!(runs.len(), 90);
        assert!(runs.iter().all(|run| overlay(run.overlay).is_some()));
    }

    #[test]
    fn the_partial_meshes_are_circulant() {
        for nodes in [15, 16, 32, 50, 64] {
            let published = overlay(&format!("partialmesh-{nodes}"));
            assert_eq!(published, Some(Overlay::circulant(nodes, &[1, 4])));
        }
        assert_eq!(overlay("tree-15").map(|tree| tree.links().count()), Some(14));
    }
}
