use core::fmt;

/// A point in hybrid time: 48 bits of milliseconds, then 16 bits that order what falls into one millisecond.
///
/// Milliseconds count from an epoch that all replicas share, as a rule the Unix epoch; 48 bits last until the year
/// 10889. Ordered as the number it is; where the 16 bits are used up, counting on carries into the milliseconds, which
/// keeps the order and puts the time one millisecond ahead.
///
/// Source: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical physical clocks", OPODIS 2014, whose timestamps (l, c)
/// share 64 bits in this way; there the upper 48 are cut from NTP's format, here they are milliseconds.
///
/// ```
/// use lww_register::HybridTime;
///
/// let time = HybridTime::from_millis(1_700_000_000_000);
/// let next = time.next().unwrap();
/// assert!(time < next && next < HybridTime::from_millis(1_700_000_000_001));
/// assert_eq!((next.millis(), next.logical()), (1_700_000_000_000, 1));
/// assert_eq!(next.to_string(), "1700000000000+1");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct HybridTime(u64);

const LOGICAL_BITS: u32 = 16;

impl HybridTime {
    /// The least time, where clocks start.
    pub const MIN: Self = HybridTime(0);

    /// The greatest time, after which nothing can be stamped.
    pub const MAX: Self = HybridTime(u64::MAX);

    /// The start of this millisecond; from 2⁴⁸ on, of the last one there is.
    pub const fn from_millis(millis: u64) -> Self {
        let last = u64::MAX >> LOGICAL_BITS;
        let millis = if millis > last { last } else { millis };
        HybridTime(millis << LOGICAL_BITS)
    }

    /// The time with these bits; every number is one.
    pub const fn from_bits(bits: u64) -> Self {
        HybridTime(bits)
    }

    /// The milliseconds in the upper 48 bits, the logical part in the lower 16.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The milliseconds, below 2⁴⁸.
    pub const fn millis(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The place within the millisecond.
    pub const fn logical(self) -> u16 {
        let [.., high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The least time after this one; `None` after [`MAX`](Self::MAX).
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(bits) => Some(HybridTime(bits)),
            None => None,
        }
    }
}

impl fmt::Display for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.millis(), self.logical())
    }
}

impl fmt::Debug for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_come_back() {
        let time = HybridTime::from_bits(0x0123_4567_89ab_cdef);
        assert_eq!((time.millis(), time.logical()), (0x0123_4567_89ab, 0xcdef));
        assert_eq!(time.to_bits(), 0x0123_4567_89ab_cdef);
        assert_eq!(HybridTime::from_millis(7).to_bits(), 7 << 16);
    }

    #[test]
    fn a_full_millisecond_carries_into_the_next() {
        let last = HybridTime::from_bits((5 << 16) | 0xffff);
        assert_eq!(last.next(), Some(HybridTime::from_millis(6)));
    }

    #[test]
    fn the_end_of_time_is_not_passed() {
        let last = (1 << 48) - 1;
        assert_eq!(HybridTime::from_millis(last).millis(), last);
        for millis in [last + 1, u64::MAX] {
            assert_eq!(HybridTime::from_millis(millis), HybridTime::from_millis(last));
        }
        assert_eq!(HybridTime::MAX.next(), None);
        assert_eq!(HybridTime::MAX.millis(), last);
    }
}
