use quickcheck::{Arbitrary, Gen};

/// A history to be played: how many replicas start from bottom, and what happens then, in order.
///
/// Replicas and messages are named by numbers that are taken modulo how many there are, so every history is
/// playable and stays so while it shrinks.
#[derive(Clone, Debug)]
pub(crate) struct History<Op> {
    pub(crate) replicas: usize,
    pub(crate) steps: Vec<Step<Op>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step<Op> {
    /// An update, at a replica whose clock shows `now`.
    Update { at: u8, op: Op, now: u64 },
    /// The whole state, merged at once.
    Merge { from: u8, to: u8 },
    /// A delta since the receiver's version, applied at once.
    Pull { from: u8, to: u8 },
    /// A message put in flight: the whole state, or a delta since the version that replica `since` has now.
    Send { from: u8, since: Option<u8> },
    /// A message delivered: late, out of order, again, to anyone. What is never delivered was lost.
    Deliver { message: u8, to: u8 },
    /// A new replica from a copy.
    Fork { from: u8 },
    /// A restart from the durable state; after a crash, from what was durable when last shown.
    Restart { at: u8, crash: bool },
    /// Metadata dropped.
    Trim { at: u8 },
}

impl<Op: Arbitrary> Arbitrary for History<Op> {
    fn arbitrary(g: &mut Gen) -> Self {
        History { replicas: *g.choose(&[1, 2, 3, 3, 3, 4]).expect("not empty"), steps: Vec::arbitrary(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let fewer = (1..self.replicas).map({
            let steps = self.steps.clone();
            move |replicas| History { replicas, steps: steps.clone() }
        });
        let replicas = self.replicas;
        let shorter = self.steps.shrink().map(move |steps| History { replicas, steps });
        Box::new(shorter.chain(fewer))
    }
}

impl<Op: Arbitrary> Arbitrary for Step<Op> {
    fn arbitrary(g: &mut Gen) -> Self {
        let (a, b) = (below(g, 6), below(g, 6));
        match below(g, 100) {
            0..40 => Step::Update { at: a, op: Op::arbitrary(g), now: clock(g) },
            40..54 => Step::Merge { from: a, to: b },
            54..64 => Step::Pull { from: a, to: b },
            64..73 => {
                Step::Send { from: a, since: bool::arbitrary(g).then_some(b).or((a % 4 == 0).then_some(a)) }
            }
            73..84 => Step::Deliver { message: a, to: b },
            84..87 => Step::Fork { from: a },
            87..94 => Step::Restart { at: a, crash: bool::arbitrary(g) },
            _ => Step::Trim { at: a },
        }
    }

    /// Smaller numbers, simpler updates; a delta becomes a merge, and what only shows a state, a sending.
    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match self.clone() {
            Step::Update { at, op, now } => {
                let ops = op.shrink().map(move |op| Step::Update { at, op, now });
                let times = now.shrink().map({
                    let op = op.clone();
                    move |now| Step::Update { at, op: op.clone(), now }
                });
                let places = lower(at).map(move |at| Step::Update { at, op: op.clone(), now });
                Box::new(places.chain(ops).chain(times))
            }
            Step::Merge { from, to } => Box::new(
                std::iter::once(Step::Send { from, since: None })
                    .chain(lower_pair(from, to).map(|(from, to)| Step::Merge { from, to })),
            ),
            Step::Pull { from, to } => Box::new(
                [
                    Step::Send { from, since: None },
                    Step::Send { from: to, since: None },
                    Step::Merge { from, to },
                ]
                .into_iter()
                .chain(lower_pair(from, to).map(|(from, to)| Step::Pull { from, to })),
            ),
            Step::Send { from, since } => {
                Box::new(lower(from).map(move |from| Step::Send { from, since }).chain(
                    since.into_iter().flat_map(move |k| {
                        std::iter::once(None)
                            .chain(lower(k).map(Some))
                            .map(move |since| Step::Send { from, since })
                    }),
                ))
            }
            Step::Deliver { message, to } => {
                Box::new(lower_pair(message, to).map(|(message, to)| Step::Deliver { message, to }))
            }
            Step::Fork { from } => Box::new(lower(from).map(|from| Step::Fork { from })),
            Step::Restart { at, crash } => Box::new(
                crash
                    .then_some(Step::Restart { at, crash: false })
                    .into_iter()
                    .chain(lower(at).map(move |at| Step::Restart { at, crash })),
            ),
            Step::Trim { at } => Box::new(lower(at).map(|at| Step::Trim { at })),
        }
    }
}

/// A clock reading: mostly one of few, so that readings tie and run backwards; now and then far ahead.
fn clock(g: &mut Gen) -> u64 {
    match below(g, 40) {
        0 => u64::MAX,
        1 | 2 => 1 << 40,
        n => u64::from(n % 6),
    }
}

/// Evenly; quickcheck's integers favour the ends of their range.
fn below(g: &mut Gen, bound: u8) -> u8 {
    const NUMBERS: [u8; 100] = {
        let mut numbers = [0; 100];
        let mut n = 0;
        while n < 100 {
            numbers[n as usize] = n;
            n += 1;
        }
        numbers
    };
    *g.choose(&NUMBERS[..usize::from(bound)]).expect("bounds are above 0")
}

fn lower(n: u8) -> impl Iterator<Item = u8> {
    0..n
}

fn lower_pair(a: u8, b: u8) -> impl Iterator<Item = (u8, u8)> {
    lower(a).map(move |a| (a, b)).chain(lower(b).map(move |b| (a, b)))
}
