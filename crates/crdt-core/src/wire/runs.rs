use super::{
    bits::{BitReader, BitWriter},
    reader::{DecodeError, Reader},
    rice::{Rice, best},
};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Pairs of a skip and a run in one block: enough that its parameters cost little, and few enough to follow changes.
const BLOCK: usize = 256;

/// Appends ascending counters, given as runs, in about as many bits as their gaps have entropy.
///
/// See the [module](super#counters-that-live) for the form. **O(r)** for r runs, however long they are.
///
/// # Panics
///
/// If a run is empty, begins at 0, or does not begin at least 2 above the end of the one before it.
///
/// ```
/// use crdt_core::wire::{Reader, decode_runs, encode_runs};
///
/// // A million counters of which three do not live.
/// let runs = [1..=499_999, 500_001..=600_000, 600_003..=1_000_000];
/// let mut bytes = Vec::new();
/// encode_runs(runs.clone(), &mut bytes);
/// assert_eq!(bytes.len(), 11);
///
/// let mut read = Vec::new();
/// decode_runs(&mut Reader::new(&bytes), |run| {
///     read.push(run);
///     Ok(())
/// })?;
/// assert_eq!(read, runs);
/// # Ok::<(), crdt_core::wire::DecodeError>(())
/// ```
pub fn encode_runs(runs: impl IntoIterator<Item = RangeInclusive<u64>>, out: &mut Vec<u8>) {
    let mut runs = runs.into_iter();
    let mut bits = BitWriter::new(out);
    let mut block = Block::default();
    // The counter after the last run: 0 does not live.
    let mut next = Some(0_u64);
    loop {
        block.clear();
        for run in runs.by_ref().take(BLOCK) {
            let (first, last) = run.into_inner();
            let skip = next.and_then(|next| first.checked_sub(next)?.checked_sub(1));
            let len = last.checked_sub(first).expect("a run is not empty");
            block.push(skip.expect("runs ascend from 1 and do not touch"), len);
            next = last.checked_add(1);
        }
        let filled = block.skips.len();
        let full = filled == BLOCK;
        bits.push(u64::from(full), 1);
        if !full {
            bits.push(filled as u64, 8);
        }
        if filled > 0 {
            bits = block.write(bits);
        }
        if !full {
            return bits.finish();
        }
    }
}

/// Reads what [`encode_runs`] wrote, and gives each run to `each`.
///
/// **O(n)** for the bytes read, however long the runs: a few bytes may stand for 2⁶⁴ counters, so `each` is to bound
/// them before it lists them. What it returns as an error ends the reading. Runs begin to arrive before all are
/// checked.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are not what `encode_runs` would have written.
pub fn decode_runs(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(RangeInclusive<u64>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut bits = BitReader::new(reader.rest());
    let mut block = Block::default();
    // As above, but wide: it may be 2⁶⁴.
    let mut next = 0_u128;
    loop {
        let full = bits.read(1) == 1;
        let count = if full { BLOCK } else { bits.read(8) as usize };
        if count > 0 {
            let from = next;
            let read = block.read(count, &mut bits, &mut next);
            if bits.overrun() {
                return Err(reader.ended());
            }
            read.map_err(|what| reader.invalid(what))?;
            // Cannot overflow: the block was checked to end within the counters.
            let mut next = from as u64;
            for (skip, len) in block.pairs() {
                let first = next + skip + 1;
                let last = first + len;
                each(first..=last)?;
                next = last.wrapping_add(1);
            }
        }
        if !full {
            let (bytes, zeros) = bits.finish();
            reader.take(bytes)?;
            return if zeros { Ok(()) } else { Err(reader.invalid("runs end with bits that mean nothing")) };
        }
    }
}

/// Up to 256 pairs; each number is one less than the skip, or the run, that it stands for. Most blocks hold a pair or two.
#[derive(Default)]
struct Block {
    skips: Vec<u64>,
    lens: Vec<u64>,
}

/// How a block is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pairs { skips: Rice, lens: Rice },
    LiveGaps(Rice),
    DeadGaps(Rice),
}

impl Block {
    fn clear(&mut self) {
        self.skips.clear();
        self.lens.clear();
    }

    #[inline]
    fn push(&mut self, skip: u64, len: u64) {
        self.skips.push(skip);
        self.lens.push(len);
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.skips.iter().copied().zip(self.lens.iter().copied())
    }

    /// The form that the format prescribes.
    fn form(&self) -> Form {
        let (skips_size, skips) = best(&self.skips);
        let (lens_size, lens) = best(&self.lens);
        // What the numbers of one kind take as gaps: all but the last of a run are 0, and the last is one more.
        let as_gaps = |numbers: &[u64], by: Rice| {
            let zeros: u64 = numbers.iter().sum();
            zeros
                .saturating_mul(u64::from(by.parameter()) + 1)
                .saturating_add(numbers.len() as u64 >> by.parameter())
        };
        let pairs = skips_size + lens_size;
        let live_gaps = skips_size.saturating_add(as_gaps(&self.lens, skips));
        let dead_gaps = lens_size.saturating_add(as_gaps(&self.skips, lens));
        if pairs <= live_gaps && pairs <= dead_gaps {
            Form::Pairs { skips, lens }
        } else if live_gaps <= dead_gaps {
            Form::LiveGaps(skips)
        } else {
            Form::DeadGaps(lens)
        }
    }

    // By value, here and in `read`: then the loops keep it in registers.
    fn write<'a>(&self, mut to: BitWriter<'a>) -> BitWriter<'a> {
        let bits = &mut to;
        let form = self.form();
        form.write(bits);
        match form {
            Form::Pairs { skips, lens } => {
                for (skip, len) in self.pairs() {
                    skips.write(skip, bits);
                    lens.write(len, bits);
                }
            }
            Form::LiveGaps(rice) => {
                for (skip, len) in self.pairs() {
                    rice.write_zeros(len, bits);
                    rice.write(skip + 1, bits);
                }
            }
            Form::DeadGaps(rice) => {
                for (skip, len) in self.pairs() {
                    rice.write_zeros(skip, bits);
                    rice.write(len + 1, bits);
                }
            }
        }
        to
    }

    /// Reads a block of `count` pairs that begins at the counter `next`, and moves that on.
    fn read(&mut self, count: usize, bits: &mut BitReader<'_>, next: &mut u128) -> Result<(), &'static str> {
        let form = Form::read(bits)?;
        self.skips.resize(count, 0);
        self.lens.resize(count, 0);
        let (skips, lens) = (&mut self.skips[..], &mut self.lens[..]);
        let mut from = *bits;
        let read = match form {
            Form::Pairs { skips: by_skips, lens: by_lens } => {
                skips.iter_mut().zip(lens).try_for_each(|(skip, len)| {
                    (*skip, *len) = Rice::read_pair([by_skips, by_lens], &mut from)?;
                    Some(())
                })
            }
            Form::LiveGaps(rice) => read_gaps(rice, skips, lens, &mut from),
            Form::DeadGaps(rice) => read_gaps(rice, lens, skips, &mut from),
        };
        *bits = from;
        read.ok_or("a number is not written by its Rice parameter")?;
        let counters: u128 = self.pairs().map(|(skip, len)| u128::from(skip) + u128::from(len) + 2).sum();
        *next += counters;
        if *next > 1 << 64 {
            return Err("a counter is beyond 2^64 - 1");
        }
        if self.form() == form { Ok(()) } else { Err("a block of runs is not in its shortest form") }
    }
}

/// Zeros, as many as `zeros` is to say, and then a number above 0.
#[inline]
fn read_gaps(rice: Rice, gaps: &mut [u64], zeros: &mut [u64], bits: &mut BitReader<'_>) -> Option<()> {
    for (gap, zeros) in gaps.iter_mut().zip(zeros) {
        *zeros = 0;
        *gap = loop {
            // Behind the end there are no codes of 0: this ends with the bits.
            match rice.read(bits)? {
                0 => *zeros += 1,
                above => break above - 1,
            }
        };
    }
    Some(())
}

impl Form {
    fn write(self, bits: &mut BitWriter<'_>) {
        let (number, parameters) = match self {
            Form::Pairs { skips, lens } => (0, [Some(skips), Some(lens)]),
            Form::LiveGaps(rice) => (1, [Some(rice), None]),
            Form::DeadGaps(rice) => (2, [Some(rice), None]),
        };
        bits.push(number, 2);
        for rice in parameters.into_iter().flatten() {
            rice.write_parameter(bits);
        }
    }

    fn read(bits: &mut BitReader<'_>) -> Result<Self, &'static str> {
        match bits.read(2) {
            0 => Ok(Form::Pairs { skips: Rice::read_parameter(bits), lens: Rice::read_parameter(bits) }),
            1 => Ok(Form::LiveGaps(Rice::read_parameter(bits))),
            2 => Ok(Form::DeadGaps(Rice::read_parameter(bits))),
            _ => Err("runs are coded in a form that is not known"),
        }
    }
}
