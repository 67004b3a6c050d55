//! What the engine is to cost at most, and whether it does.

use super::{
    Outcome, Protocol,
    run::float,
    suite::{
        BP_RR, BP_RR_BY_OBJECT, CHANGES, Comparison, Large, MESH, MESH_AT_ONCE, MESH_RETWIS, NXN, names,
    },
};
use serde::Serialize;

/// One number with its bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// The number of the goal, and a letter for each part of it.
    pub id: String,
    /// What is measured, where.
    pub what: String,
    /// In what.
    pub unit: String,
    /// What it may be at most.
    pub required: f64,
    /// What it is; `None` if it could not be measured.
    pub measured: Option<f64>,
    /// Whether it is within the bound.
    pub holds: bool,
}

/// Collects the goals and numbers them.
#[derive(Default)]
struct Goals {
    all: Vec<Goal>,
    number: u32,
    letter: u8,
}

impl Goals {
    fn next(&mut self) {
        (self.number, self.letter) = (self.number + 1, b'a');
    }

    fn add(&mut self, what: String, unit: &str, required: f64, measured: Option<f64>) {
        let id = format!("{}{}", self.number, char::from(self.letter));
        self.letter += 1;
        let holds = measured.is_some_and(|measured| measured <= required);
        self.all.push(Goal { id, what, unit: unit.into(), required, measured, holds });
    }
}

/// A protocol's run that came to its end, with all changes everywhere; another one has no bytes or times to speak of.
fn complete(comparison: &Comparison, protocol: Protocol) -> Option<&Outcome> {
    comparison.of(protocol).filter(|outcome| outcome.converged && outcome.undelivered == 0)
}

fn payload_to_optimum(comparison: &Comparison, protocol: Protocol) -> Option<f64> {
    Some(float(complete(comparison, protocol)?.payload) / float(comparison.optimum))
}

fn ratio(
    comparison: &Comparison,
    protocol: Protocol,
    base: Protocol,
    number: impl Fn(&Outcome) -> f64,
) -> Option<f64> {
    Some(number(complete(comparison, protocol)?) / number(complete(comparison, base)?))
}

fn bytes(outcome: &Outcome) -> f64 {
    float(outcome.bytes())
}

/// The goals, of what was compared.
pub fn goals(comparisons: &[Comparison], large: &Large) -> Vec<Goal> {
    let of = |name: String| comparisons.iter().find(move |comparison| comparison.workload == name);
    let mut goals = Goals::default();

    goals.next();
    for nodes in [15, 32, 64] {
        let name = names::mesh(nodes, 1);
        let measured = of(name.clone()).and_then(|found| payload_to_optimum(found, MESH));
        goals.add(format!("payload: {name}"), "of the optimum", 1.05, measured);
    }
    for nodes in [15, 32, 64] {
        let name = names::mesh(nodes, 1);
        let measured = of(name.clone()).and_then(|found| ratio(found, MESH, BP_RR, |o| o.p99_ms));
        goals.add(format!("p99 delivery: {name}"), "of BP+RR", 1.05, measured);
    }
    for nodes in [15, 32, 64] {
        let name = names::jitter(nodes);
        let measured = of(name.clone()).and_then(|found| payload_to_optimum(found, MESH_AT_ONCE));
        goals.add(format!("payload: {name}"), "of the optimum", 1.10, measured);
    }
    for nodes in [15, 32, 64] {
        let name = names::jitter(nodes);
        let flooding = |found| ratio(found, MESH_AT_ONCE, Protocol::Flooding, |o| o.p99_ms);
        goals.add(format!("p99 delivery: {name}"), "of flooding", 1.6, of(name.clone()).and_then(flooding));
    }

    goals.next();
    for rate in [1, 20] {
        for nodes in [15, 32, 64] {
            let name = names::mesh(nodes, rate);
            let measured = of(name.clone()).and_then(|found| ratio(found, MESH, BP_RR, bytes));
            goals.add(format!("bytes: {name}"), "of BP+RR", 0.40, measured);
        }
    }
    for (rate, required) in [(1, 0.01), (20, 0.2)] {
        let name = names::mesh(64, rate);
        let measured = of(name.clone()).and_then(|found| ratio(found, MESH, NXN, bytes));
        goals.add(format!("bytes: {name}"), "of Scuttlebutt, NxN", required, measured);
    }

    goals.next();
    for (percent, required) in [(5, 1.3), (20, 2.5)] {
        for name in [15, 32, 64].map(|nodes| names::loss(nodes, percent)) {
            let Some(found) = of(name.clone()) else { continue };
            goals.add(
                format!("payload: {name}"),
                "of the optimum",
                required,
                payload_to_optimum(found, MESH),
            );
            let p99 = ratio(found, MESH, BP_RR, |o| o.p99_ms);
            goals.add(format!("p99 delivery: {name}"), "of BP+RR", 1.5, p99);
        }
    }

    goals.next();
    for name in [100, 125, 150].map(names::retwis) {
        let found = of(name.clone());
        let measured = found.and_then(|found| ratio(found, MESH_RETWIS, BP_RR, bytes));
        goals.add(format!("bytes: {name}"), "of BP+RR", 0.40, measured);
        // What is written down is beside the comparison: BP+RR writes nothing down. In short runs, which are about how
        // protocols begin, its published form is left out.
        if let Some(found) = found.filter(|found| found.of(BP_RR_BY_OBJECT).is_some()) {
            let measured = ratio(found, MESH_RETWIS, BP_RR_BY_OBJECT, Outcome::protocol_ms);
            goals.add(format!("CPU without the store: {name}"), "of BP+RR, by object", 1.0, measured);
        }
    }

    large_goals(&mut goals, large);
    goals.all
}

fn large_goals(goals: &mut Goals, large: &Large) {
    let size = large.size;
    goals.next();
    let heal = format!("heal, {size} keys, {CHANGES} changed by 64 leaders");
    let Large { heal: healed, heal_small, .. } = large;
    goals.add(format!("{heal}: to find out"), "bytes", 2_048.0, Some(float(healed.finding_out)));
    goals.add(format!("{heal}: before values are sent"), "round trips", 1.0, Some(healed.round_trips));
    goals.add(format!("{heal}: CPU"), "ms", 5.0, Some(healed.cpu_ms));
    // A scan would take a hundred times as long; the cache misses of a large state some times as long.
    let growth = Some(healed.cpu_ms / heal_small.cpu_ms);
    goals.add(format!("{heal}: CPU"), "of that with a hundredth of the keys", 10.0, growth);

    goals.next();
    let idle = format!("idle, {size} keys");
    let ((bytes, cpu), (_, cpu_small)) = (large.idle, large.idle_small);
    goals.add(format!("{idle}: a link a second"), "bytes", 64.0, Some(bytes));
    let growth = Some(cpu / cpu_small);
    goals.add(format!("{idle}: CPU"), "of that with a hundredth of the keys", 3.0, growth);

    goals.next();
    let ratio = float(large.churned.bytes()) / float(large.fresh.bytes());
    let churn = format!("full state of a set of {} after {} removals", large.elements, large.removed);
    goals.add(churn, "of that after none", 1.05, Some(ratio));

    goals.next();
    let (items, restored) = (2 * large.changed, large.restored);
    let lost = format!(
        "causal metadata lost, {size} keys, {} changed: symmetric difference of {items} items",
        large.changed
    );
    // Greetings, signs of life and all; a key that is told with its value is part of what differs, as its value is.
    let besides = float(restored.finding_out + restored.around);
    goals.add(format!("{lost}: besides keys and values"), "bytes", 20_000.0, Some(besides));
    goals.add(format!("{lost}: before values are sent"), "round trips", 2.0, Some(restored.round_trips));
}
