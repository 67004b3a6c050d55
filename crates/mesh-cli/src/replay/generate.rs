//! Histories made from a seed, thick with concurrent adds and removes of one path.

use super::{
    oracle::{Joined, Oracle},
    rng::Rng,
    trace::{Line, digest},
};
use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use std::{
    borrow::Cow,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Paths that many leaders fight over.
const CONTESTED: usize = 16;

/// The size of a history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) events: usize,
    pub(super) leaders: usize,
    /// Distinct paths that may appear.
    pub(super) paths: usize,
}

/// What was made.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Made {
    pub(super) events: usize,
    pub(super) merges: usize,
    /// The most paths present after any one event.
    pub(super) most_paths: usize,
}

/// Writes the history of this seed to a file, gzip if its name ends in `.gz`. The same seed and shape give the same
/// lines for all time.
pub(super) fn write(file: &Path, seed: u64, shape: Shape, mut progress: impl FnMut(usize)) -> Result<Made> {
    let out = BufWriter::new(File::create(file)?);
    let history = History::new(seed, shape);
    if file.extension().is_some_and(|extension| extension == "gz") {
        let mut zipped = GzEncoder::new(out, Compression::default());
        let made = history.write(&mut zipped, &mut progress)?;
        zipped.finish()?.flush()?;
        Ok(made)
    } else {
        let mut out = out;
        let made = history.write(&mut out, &mut progress)?;
        out.flush()?;
        Ok(made)
    }
}

/// A history in the making.
struct History {
    shape: Shape,
    rng: Rng,
    oracle: Oracle,
    names: Vec<String>,
    leaders: Vec<Leader>,
}

#[derive(Clone)]
struct Leader {
    head: Option<usize>,
    /// Seconds that its clock is off.
    skew: u64,
}

impl History {
    fn new(seed: u64, shape: Shape) -> Self {
        let mut rng = Rng::new(seed);
        let mut names: Vec<String> = (0..shape.paths).map(name).collect();
        names.sort_unstable();
        let leaders = (0..shape.leaders).map(|_| Leader { head: None, skew: rng.next() % 7200 }).collect();
        History { shape, rng, oracle: Oracle::new(shape.paths), names, leaders }
    }

    fn write(mut self, out: &mut impl Write, progress: &mut impl FnMut(usize)) -> Result<Made> {
        let mut made = Made::default();
        for c in 0..self.shape.events {
            let line = self.event(c);
            made.events += 1;
            made.merges += usize::from(line.p.len() > 1);
            made.most_paths = made.most_paths.max(line.n);
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
            progress(c + 1);
        }
        Ok(made)
    }

    fn event(&mut self, c: usize) -> Line<'_> {
        let leader = self.rng.below(self.shape.leaders);
        let parents = self.parents(leader);
        let joined = self.oracle.join(parents.clone());
        let (add, remove) = self.updates(&joined);
        let (t, plus, minus) = (self.time(c, leader), self.rng.next() % 50, self.rng.next() % 50);
        self.leaders[leader].head = Some(c);
        let present = self.oracle.push(leader, joined, &add, &remove);
        let name = |path: usize| self.names[path].as_str();
        let names = |paths: &[usize]| paths.iter().map(|path| Cow::from(name(*path))).collect();
        Line {
            c,
            p: parents,
            r: leader as u64,
            t,
            add: names(&add),
            rm: names(&remove),
            plus,
            minus,
            n: present.len(),
            h: format!("{:016x}", digest(present.iter().map(name))).into(),
        }
    }

    /// The leader's own last event and, now and then, those of others; none that another one includes.
    fn parents(&mut self, leader: usize) -> Vec<usize> {
        let mut heads: Vec<usize> = self.leaders[leader].head.into_iter().collect();
        let starts_alone = heads.is_empty() && self.rng.chance(1, 3);
        let mut wanted = usize::from(heads.is_empty() && !starts_alone);
        if !starts_alone {
            wanted += usize::from(self.rng.chance(2, 5)) + usize::from(self.rng.chance(1, 10));
        }
        for _ in 0..wanted {
            let other = self.rng.below(self.shape.leaders);
            heads.extend(self.leaders[other].head);
        }
        heads.sort_unstable();
        heads.dedup();
        let included = |head: usize| heads.iter().any(|by| self.oracle.ancestry().is_ancestor(head, *by));
        heads.iter().copied().filter(|head| !included(*head)).collect()
    }

    /// What the event adds and removes, each sorted, with no path in both.
    fn updates(&mut self, joined: &Joined) -> (Vec<usize>, Vec<usize>) {
        let paths = self.shape.paths;
        let mut touched = Vec::new();
        // A contested path is touched whatever it is like: half of those present are removed, the others added again.
        let contested = CONTESTED.min(paths);
        for _ in 0..self.rng.below(3) {
            let path = self.rng.below(contested) * (paths / contested);
            let adds = !joined.present.contains(path) || self.rng.chance(1, 2);
            touched.push((path, adds));
        }
        // The others are added in runs, as a new folder is, and seldom go.
        if self.rng.chance(1, 2) {
            let first = self.rng.below(paths);
            let run = 1 + self.rng.below(1 + paths / 400);
            let adds = !joined.present.contains(first) || self.rng.chance(2, 3);
            let run = if adds { run } else { 1 };
            touched.extend((first..paths.min(first + run)).map(|path| (path, adds)));
        }
        touched.sort_unstable();
        touched.dedup_by_key(|(path, _)| *path);
        let (add, remove): (Vec<_>, Vec<_>) = touched.into_iter().partition(|(_, adds)| *adds);
        let paths = |touched: Vec<(usize, bool)>| touched.into_iter().map(|(path, _)| path).collect();
        (paths(add), paths(remove))
    }

    /// By a clock that is off, stands still for a while, and is set back now and then.
    fn time(&mut self, c: usize, leader: usize) -> u64 {
        if self.rng.chance(1, 50) {
            self.leaders[leader].skew = self.rng.next() % 7200;
        }
        1_700_000_000 + c as u64 / 4 + self.leaders[leader].skew
    }
}

/// Distinct names, some of which sort differently by UTF-16 units than by code point.
fn name(number: usize) -> String {
    match number % 16 {
        5 => format!("\u{ff50}/{number}"),
        11 => format!("\u{1d429}/{number}"),
        _ => format!("p/{number}"),
    }
}
