//! A shuffle that needs no memory.

/// A permutation of `0..n`, chosen by a key: a balanced Feistel network on the next power of four, walked until it
/// lands below `n` ("cycle walking", Black and Rogaway 2002, <https://doi.org/10.1007/3-540-45760-7_9>).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    key: u64,
}

const ROUNDS: u64 = 6;

impl Permutation {
    pub(crate) fn new(n: u64, key: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self { n, half_bits: bits.div_ceil(2).max(1), key }
    }

    /// Where `index`, which is below `n`, goes. Fewer than four steps are taken on average.
    pub(crate) fn apply(&self, index: u64) -> u64 {
        debug_assert!(index < self.n);
        let mut i = self.encrypt(index);
        while i >= self.n {
            i = self.encrypt(i);
        }
        i
    }

    /// A permutation of all numbers of `2 * half_bits` bits.
    fn encrypt(&self, index: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (index >> self.half_bits, index & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ mix(self.key, right << 3 | round) & mask);
        }
        left << self.half_bits | right
    }
}

/// Two numbers to one that looks random: `SplitMix64` (Steele, Lea and Flood 2014) over both.
pub(crate) fn mix(key: u64, value: u64) -> u64 {
    scramble(scramble(key).wrapping_add(value))
}

fn scramble(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_once(n in 1u64..3000, key: u64) {
            let permutation = Permutation::new(n, key);
            let mut seen: Vec<u64> = (0..n).map(|i| permutation.apply(i)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_give_different_orders_and_large_ranges_work() {
        let order = |key| (0..100).map(|i| Permutation::new(100, key).apply(i)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        let n = (1 << 62) + 12345;
        assert!(Permutation::new(n, 7).apply(n - 1) < n);
        // Neighbours do not stay neighbours: the mean distance of a random order is n / 3.
        let order: Vec<i64> = (0..10_000).map(|i| Permutation::new(10_000, 3).apply(i) as i64).collect();
        let mean = order.windows(2).map(|w| (w[0] - w[1]).abs()).sum::<i64>() / 9_999;
        assert!((3_000..3_700).contains(&mean), "{mean}");
    }
}
