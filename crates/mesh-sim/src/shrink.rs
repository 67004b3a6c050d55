//! Makes a failing schedule small: by delta debugging, then leader by leader, then value by value.

use crate::{Action, Link, Planted, Schedule, Violation, own::Own, suite::run_caught};
use mesh_proto::{Config, Op};
use std::sync::Arc;

/// How many runs shrinking may take.
const MOST_RUNS: u32 = 5_000;

struct Shrinker<'a> {
    own: &'a Arc<dyn Own>,
    planted: Option<Planted>,
    best: Schedule,
    violation: Violation,
    runs: u32,
}

/// A smaller schedule that breaks the same invariant as `schedule` does, with what it breaks. At most 5,000 runs.
///
/// See Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002, section 3.
pub(crate) fn shrink(
    schedule: &Schedule,
    violation: &Violation,
    own: &Arc<dyn Own>,
    planted: Option<Planted>,
) -> (Schedule, Violation) {
    let (best, violation) = (schedule.clone(), violation.clone());
    let mut shrinker = Shrinker { own, planted, best, violation, runs: 0 };
    shrinker.cut_tail();
    loop {
        let size = shrinker.size();
        shrinker.drop_steps();
        shrinker.drop_leaders();
        shrinker.simplify_setup();
        shrinker.simplify_steps();
        if shrinker.size() == size || shrinker.runs >= MOST_RUNS {
            return (shrinker.best, shrinker.violation);
        }
    }
}

impl Shrinker<'_> {
    fn size(&self) -> (usize, usize, usize) {
        (self.best.steps.len(), self.best.setup.leaders, self.best.setup.graph.len())
    }

    /// Takes `smaller` if it fails in the same way.
    fn try_one(&mut self, smaller: Schedule) -> bool {
        if self.runs >= MOST_RUNS || smaller == self.best {
            return false;
        }
        self.runs += 1;
        let found = run_caught(&smaller, self.own, self.planted).violation;
        let Some(found) = found.filter(|found| found.invariant == self.violation.invariant) else {
            return false;
        };
        (self.best, self.violation) = (smaller, found);
        true
    }

    /// Nothing after the violation matters, unless it is only seen in the end.
    fn cut_tail(&mut self) {
        let mut smaller = self.best.clone();
        smaller.steps.truncate(self.violation.step + 1);
        self.try_one(smaller);
    }

    fn drop_steps(&mut self) {
        let mut chunk = self.best.steps.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut smaller = self.best.clone();
                let end = (at + chunk).min(smaller.steps.len());
                smaller.steps.drain(at..end);
                if !self.try_one(smaller) {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
    }

    fn drop_leaders(&mut self) {
        let mut gone = self.best.setup.leaders;
        while gone > 0 {
            gone -= 1;
            if self.best.setup.leaders > 2 {
                let smaller = without_leader(&self.best, gone);
                self.try_one(smaller);
            }
        }
    }

    fn simplify_setup(&mut self) {
        let setup = &self.best.setup;
        let steady = Link::steady(1_000);
        let candidates = [
            crate::Setup { near: steady, far: steady, ..setup.clone() },
            crate::Setup { near: Link { loss: 0, duplication: 0, ..setup.near }, ..setup.clone() },
            crate::Setup { near: Link { spread: 0, jitter: 0, ..setup.near }, ..setup.clone() },
            crate::Setup { far: setup.near, ..setup.clone() },
            crate::Setup {
                config: Config { ordered: setup.config.ordered, ..Config::default() },
                ..setup.clone()
            },
            crate::Setup { disk: 1_000, turn: 0, wake: 50_000, ..setup.clone() },
        ];
        for setup in candidates {
            let smaller = Schedule { setup, ..self.best.clone() };
            self.try_one(smaller);
        }
        let mut link = self.best.setup.graph.len();
        while link > 0 {
            link -= 1;
            let mut smaller = self.best.clone();
            smaller.setup.graph.remove(link);
            self.try_one(smaller);
        }
    }

    fn simplify_steps(&mut self) {
        for index in 0..self.best.steps.len() {
            for simpler in simpler(&self.best.steps[index].action) {
                let mut smaller = self.best.clone();
                smaller.steps[index].action = simpler;
                if self.try_one(smaller) {
                    break;
                }
            }
        }
    }
}

fn without_leader(schedule: &Schedule, gone: usize) -> Schedule {
    let renumbered = |leader: usize| if leader > gone { leader - 1 } else { leader };
    let without = |graph: &[(usize, usize)]| -> Vec<(usize, usize)> {
        let kept = graph.iter().filter(|(a, b)| *a != gone && *b != gone);
        kept.map(|(a, b)| (renumbered(*a), renumbered(*b))).collect()
    };
    let mut smaller = schedule.clone();
    smaller.setup.leaders -= 1;
    smaller.setup.graph = without(&smaller.setup.graph);
    smaller.steps.retain_mut(|step| {
        if let Action::Graph(graph) = &mut step.action {
            *graph = without(graph);
        }
        let leaders = step.action.leaders_mut();
        let stays = leaders.iter().all(|leader| **leader != gone);
        for leader in leaders {
            *leader = renumbered(*leader);
        }
        stays
    });
    smaller
}

/// Simpler forms of a step, the simplest first.
fn simpler(action: &Action) -> Vec<Action> {
    let Action::Write { leader, number, op, once } = action else { return Vec::new() };
    let with = |op: Op, once| Action::Write { leader: *leader, number: *number, op, once };
    let mut forms = Vec::new();
    match op {
        Op::Grow(by) if *by != 1 => forms.push(with(Op::Grow(1), *once)),
        Op::Increment(by) if *by != 1 => forms.push(with(Op::Increment(1), *once)),
        Op::Decrement(by) if *by != 1 => forms.push(with(Op::Decrement(1), *once)),
        Op::Add(elements) if elements.len() > 1 => {
            forms.extend(elements.iter().map(|element| with(Op::Add(vec![element.clone()]), *once)));
        }
        Op::Remove(elements) if elements.len() > 1 => {
            forms.extend(elements.iter().map(|element| with(Op::Remove(vec![element.clone()]), *once)));
        }
        _ => {}
    }
    if once.is_some() {
        forms.push(with(op.clone(), None));
    }
    forms
}
