//! Histories as files: one JSON object a line, plain or gzip, parents first.
//!
//! | field | meaning |
//! |---|---|
//! | `c` | index of the event, from 0 |
//! | `p` | indexes of its parents: none for a root, several for a merge |
//! | `r` | the leader that wrote it: replica id `r + 1`; its earlier events are all ancestors |
//! | `t` | wall-clock second by the writer's own clock |
//! | `add`, `rm` | paths added to and removed from the set after joining the parents' states; no path is in both |
//! | `plus`, `minus` | what is added to and taken from the counters |
//! | `n`, `h` | oracle: how many paths there are after the event, and their [`digest`] as 16 hexadecimal digits |

use super::ancestry::{Ancestry, Forked};
use anyhow::{Context, Result, bail, ensure};
use crdt_core::ReplicaId;
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fs::File,
    hash::{Hash, Hasher},
    io::{self, BufRead, BufReader, Read},
    path::Path as FilePath,
};

/// No line of a sensible trace is longer; more than this is not read into memory.
const LONGEST_LINE: u64 = 64 << 20;

/// A line as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    pub(super) c: usize,
    pub(super) p: Vec<usize>,
    pub(super) r: u64,
    pub(super) t: u64,
    pub(super) add: Vec<Cow<'a, str>>,
    pub(super) rm: Vec<Cow<'a, str>>,
    pub(super) plus: u64,
    pub(super) minus: u64,
    pub(super) n: usize,
    pub(super) h: Cow<'a, str>,
}

/// A valid history.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    events: Vec<Event>,
    ancestry: Ancestry,
    leaders: Vec<Leader>,
    /// All paths, sorted by code point.
    paths: Vec<String>,
}

/// One event of a [`Trace`].
#[derive(Debug)]
pub(crate) struct Event {
    /// Indexes of earlier events, each once.
    pub(super) parents: Vec<usize>,
    /// Index of its leader; see [`Trace::replica`].
    pub(crate) leader: usize,
    pub(super) time: u64,
    /// Ranks of the paths added; see [`Trace::path`].
    pub(crate) add: Vec<u32>,
    pub(crate) remove: Vec<u32>,
    pub(crate) plus: u64,
    pub(crate) minus: u64,
    /// How many paths there are afterwards.
    pub(super) count: usize,
    pub(super) digest: u64,
}

#[derive(Debug)]
struct Leader {
    replica: ReplicaId,
    plus: u64,
    minus: u64,
}

/// A path of a trace, as an element of a set: equal and hashed as its name; the rank makes sorting cheap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'t> {
    /// Its place among all paths of the trace in the order of code points.
    pub(super) rank: u32,
    pub(crate) name: &'t str,
}

impl PartialEq for Path<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Path<'_> {}

impl Hash for Path<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Trace {
    /// Reads a file, gzip or plain, as its first bytes tell.
    ///
    /// # Errors
    ///
    /// Names the line that cannot be read, is no event, or breaks a rule of the format.
    pub(crate) fn open(file: &FilePath) -> Result<Self> {
        let named = || file.display().to_string();
        Trace::parse(BufReader::new(File::open(file).with_context(named)?)).with_context(named)
    }

    /// Reads a history, gzip or plain, as its first bytes tell.
    ///
    /// # Errors
    ///
    /// As [`open`](Trace::open).
    pub(crate) fn parse(mut reader: impl BufRead) -> Result<Self> {
        if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            Trace::read(BufReader::new(MultiGzDecoder::new(reader)))
        } else {
            Trace::read(reader)
        }
    }

    fn read(mut reader: impl BufRead) -> Result<Self> {
        let mut builder = Builder::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let named = || format!("line {number}");
            reader
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)
                .map_err(explain)
                .with_context(named)?;
            if line.is_empty() {
                break;
            }
            let whole = (line.len() as u64) < LONGEST_LINE || line.ends_with(b"\n");
            ensure!(whole, "line {number}: longer than {} MiB", LONGEST_LINE >> 20);
            // `from_slice` names its own "line 1": only the column says anything here.
            let event = serde_json::from_slice(&line)
                .map_err(|error| {
                    let text = error.to_string();
                    let reason = text.split(" at line ").next().unwrap_or(&text);
                    anyhow::anyhow!("not an event: {reason} (column {})", error.column())
                })
                .with_context(named)?;
            builder.push(event).with_context(named)?;
        }
        ensure!(!builder.trace.events.is_empty(), "line 1: there is none, the trace is empty");
        Ok(builder.finish())
    }

    /// The events, parents before children.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(super) fn ancestry(&self) -> &Ancestry {
        &self.ancestry
    }

    /// How many leaders wrote it.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// The replica id of a leader.
    pub(super) fn replica(&self, leader: usize) -> ReplicaId {
        self.leaders[leader].replica
    }

    /// The path with this rank.
    pub(crate) fn path(&self, rank: u32) -> Path<'_> {
        Path { rank, name: &self.paths[rank as usize] }
    }
}

/// What a reader of the trace should know of an IO error in the middle of it.
fn explain(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => anyhow::anyhow!("the file ends in the middle: it is truncated"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            anyhow::anyhow!("the compressed data is corrupt: {error}")
        }
        _ => error.into(),
    }
}

/// A trace in the making; paths are numbered as they are met.
#[derive(Default)]
struct Builder {
    trace: Trace,
    leaders: HashMap<u64, usize>,
    paths: HashMap<String, u32>,
}

impl Builder {
    fn push(&mut self, line: Line<'_>) -> Result<()> {
        let expected = self.trace.events.len();
        ensure!(line.c == expected, "event {} where event {expected} belongs", line.c);
        let mut parents = HashSet::new();
        for &parent in &line.p {
            ensure!(parent < line.c, "parent {parent} of event {} is not an earlier event", line.c);
            ensure!(parents.insert(parent), "parent {parent} is there twice");
        }
        let mut paths = HashSet::new();
        for path in line.add.iter().chain(&line.rm) {
            ensure!(paths.insert(path), "path {path:?} is there twice in `add` and `rm`");
        }
        let leader = self.leader(line.r, line.plus, line.minus)?;
        if let Err(Forked { earlier }) = self.trace.ancestry.push(leader, &line.p) {
            bail!("leader {} wrote event {earlier} too, and it is no ancestor of event {}", line.r, line.c);
        }
        let digest = parse_digest(&line.h)
            .with_context(|| format!("`h` is {:?}, not 16 hexadecimal digits", line.h))?;
        let event = Event {
            parents: line.p,
            leader,
            time: line.t,
            add: self.number(line.add)?,
            remove: self.number(line.rm)?,
            plus: line.plus,
            minus: line.minus,
            count: line.n,
            digest,
        };
        self.trace.events.push(event);
        Ok(())
    }

    /// The index of leader `r`, with what its event counts added to its totals: a counter's row is a `u64`.
    fn leader(&mut self, r: u64, plus: u64, minus: u64) -> Result<usize> {
        let replica = r.checked_add(1).context("`r` is too large: replica ids end at 2^64 - 1")?;
        let index = *self.leaders.entry(r).or_insert_with(|| {
            self.trace.leaders.push(Leader { replica: ReplicaId::new(replica), plus: 0, minus: 0 });
            self.trace.leaders.len() - 1
        });
        let leader = &mut self.trace.leaders[index];
        for (total, more, field) in [(&mut leader.plus, plus, "plus"), (&mut leader.minus, minus, "minus")] {
            *total = total
                .checked_add(more)
                .with_context(|| format!("the sum of `{field}` of leader {r} passes 2^64"))?;
        }
        Ok(index)
    }

    fn number(&mut self, paths: Vec<Cow<'_, str>>) -> Result<Vec<u32>> {
        let mut numbers = Vec::with_capacity(paths.len());
        for path in paths {
            let next = u32::try_from(self.paths.len()).context("more than 2^32 distinct paths")?;
            numbers.push(*self.paths.entry(path.into_owned()).or_insert(next));
        }
        Ok(numbers)
    }

    /// Sorts the paths, so that from here on a path's number is its rank.
    fn finish(self) -> Trace {
        let Builder { mut trace, paths, .. } = self;
        let mut sorted: Vec<(String, u32)> = paths.into_iter().collect();
        sorted.sort_unstable();
        let mut ranks = vec![0; sorted.len()];
        for (rank, (_, number)) in (0..).zip(&sorted) {
            ranks[*number as usize] = rank;
        }
        for event in &mut trace.events {
            for number in event.add.iter_mut().chain(&mut event.remove) {
                *number = ranks[*number as usize];
            }
        }
        trace.paths = sorted.into_iter().map(|(path, _)| path).collect();
        trace
    }
}

fn parse_digest(text: &str) -> Option<u64> {
    let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The first 8 bytes of the SHA-256 of the names, sorted by code point by the caller, joined by line feeds, as UTF-8.
pub(super) fn digest<'a>(sorted: impl Iterator<Item = &'a str>) -> u64 {
    let mut joined = String::new();
    for name in sorted {
        joined.push_str(name);
        joined.push('\n');
    }
    joined.pop();
    let hash = Sha256::digest(joined.as_bytes());
    hash.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Trace> {
        Trace::read(lines.join("\n").as_bytes())
    }

    const ROOT: &str = r#"{"c":0,"p":[],"r":0,"t":9,"add":["b","a"],"rm":[],"plus":1,"minus":0,"n":2,"h":"0123456789abcdef"}"#;
    const NEXT: &str = r#"{"c":1,"p":[0],"r":7,"t":3,"add":["0"],"rm":["a"],"plus":0,"minus":2,"n":1,"h":"0123456789abcdef"}"#;

    #[test]
    fn a_trace_is_read_with_paths_by_rank() {
        let trace = read(&[ROOT, NEXT]).unwrap();
        assert_eq!(trace.events().len(), 2);
        assert_eq!(trace.leaders(), 2);
        let [root, next] = trace.events() else { panic!() };
        assert_eq!(
            (root.add.as_slice(), next.add.as_slice(), next.remove.as_slice()),
            (&[2, 1][..], &[0][..], &[1][..])
        );
        assert_eq!(trace.path(2).name, "b");
        assert_eq!(trace.replica(next.leader), ReplicaId::new(8));
        assert_eq!(root.digest, 0x0123_4567_89ab_cdef);
    }

    #[test]
    fn each_broken_rule_is_named_with_its_line() {
        let cases = [
            (NEXT.replace("\"c\":1", "\"c\":2"), "event 2 where event 1 belongs"),
            (NEXT.replace("[0]", "[1]"), "parent 1 of event 1 is not an earlier event"),
            (NEXT.replace("[0]", "[0,0]"), "parent 0 is there twice"),
            (NEXT.replace("[\"0\"]", "[\"a\"]"), "path \"a\" is there twice"),
            (NEXT.replace("[0],\"r\":7", "[],\"r\":0"), "leader 0 wrote event 0 too"),
            (NEXT.replace("\"r\":7", "\"r\":18446744073709551615"), "`r` is too large"),
            (NEXT.replace("abcdef", "abcde"), "not 16 hexadecimal digits"),
            (NEXT.replace("\"n\"", "\"m\""), "unknown field `m`"),
            (NEXT.replace("\"n\":1,", ""), "missing field `n`"),
            (NEXT.replace("\"t\":3", "\"t\":-3"), "not an event"),
            (NEXT[..40].to_owned(), "not an event"),
            (String::new() + "\n", "not an event"),
        ];
        for (line, expected) in cases {
            let error = format!("{:#}", read(&[ROOT, &line]).unwrap_err());
            assert!(error.starts_with("line 2: ") && error.contains(expected), "{error}");
        }
        let error = format!("{:#}", read(&[]).unwrap_err());
        assert_eq!(error, "line 1: there is none, the trace is empty");
    }

    #[test]
    fn totals_that_pass_a_row_are_refused() {
        let most = ROOT.replace("\"plus\":1", "\"plus\":18446744073709551615");
        let more = NEXT.replace("\"r\":7", "\"r\":0").replace("\"plus\":0", "\"plus\":1");
        let error = format!("{:#}", read(&[&most, &more]).unwrap_err());
        assert_eq!(error, "line 2: the sum of `plus` of leader 0 passes 2^64");
    }

    #[test]
    fn digests_are_those_of_the_format() {
        // `printf '' | sha256sum`, `printf 'a\nb' | sha256sum`.
        assert_eq!(digest([].into_iter()), 0xe3b0_c442_98fc_1c14);
        assert_eq!(format!("{:016x}", digest(["a", "b"].into_iter())), "7e18f737311b2dc3");
    }
}
