use core::fmt;

/// The bits of an [`Id`]; the rest of a coded symbol's word is for the check and the count.
pub(crate) const ID_BITS: u32 = 52;

/// The key of one exchange: what turns items into [`Id`]s.
///
/// Draw it at random for each exchange, after the sets are what they are: whoever chooses contents then cannot prepare
/// items whose ids collide, or that fall into the same symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

/// What stands for an item within one exchange: 52 bits that depend on the item and the [`Seed`].
///
/// See the [crate](crate) for what happens, and how rarely, when two items have one id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Seed {
    /// Of a number that was drawn at random.
    pub const fn new(seed: u64) -> Self {
        Seed(seed)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id of `item` in the exchange of this seed. **O(1)**.
    #[inline]
    pub fn id(self, item: u64) -> Id {
        Id(siphash(self.0, item) >> (u64::BITS - ID_BITS))
    }
}

impl Id {
    /// `None` if the number has more than 52 bits.
    pub const fn new(id: u64) -> Option<Self> {
        if id >> ID_BITS == 0 { Some(Id(id)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number in the low bits of `word`.
    #[inline]
    pub(crate) const fn low_bits_of(word: u64) -> Self {
        Id(word & ((1 << ID_BITS) - 1))
    }

    /// All that is computed from an id comes from this hash. It needs no key: ids are as good as random already.
    #[inline]
    pub(crate) const fn hash(self) -> u64 {
        mix(self.0.wrapping_add(GOLDEN))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({:013x})", self.0)
    }
}

/// 2⁶⁴ divided by the golden ratio: the increment of `SplitMix64`.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of `SplitMix64`: each bit of the input changes each bit of the output with probability one
/// half.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
/// Stafford's variant 13.
#[inline]
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// `SipHash-1-3` of the eight bytes of `word` (little-endian) under the key `(seed, 0)`.
///
/// A keyed pseudorandom function, so that ids tell nothing to those who do not know the seed. Source: Aumasson,
/// Bernstein, "`SipHash`: a fast short-input PRF", INDOCRYPT 2012, section 2.
#[inline]
fn siphash(seed: u64, word: u64) -> u64 {
    const LENGTH: u64 = 8 << 56;
    let mut v = [
        seed ^ 0x736f_6d65_7073_6575,
        0x646f_7261_6e64_6f6d,
        seed ^ 0x6c79_6765_6e65_7261,
        0x7465_6462_7974_6573,
    ];
    for block in [word, LENGTH] {
        v[3] ^= block;
        sip_round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..3 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline]
fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: a change here is a change of the format.
    #[test]
    fn hashes_are_the_same_everywhere() {
        // Under the key 0 as the standard library's hasher at the time of writing.
        assert_eq!(siphash(0, 0), 0xbd60_acb6_58c7_9e45);
        assert_eq!(siphash(0, u64::MAX), 0x2f20_5be2_fec8_e38d);
        assert_eq!(siphash(7, u64::MAX), 0x6767_b329_ca74_4be4);
        assert_eq!(Seed::new(7).id(u64::MAX).get(), siphash(7, u64::MAX) >> 12);
        // The third output of SplitMix64 from seed 0.
        assert_eq!(mix(GOLDEN.wrapping_mul(3)), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn an_id_has_52_bits() {
        assert_eq!(Id::new((1 << 52) - 1).map(Id::get), Some((1 << 52) - 1));
        assert_eq!(Id::new(1 << 52), None);
    }
}
