//! A small generator of pseudo-random numbers.
//!
//! `SplitMix64` (Steele, Lea and Flood, 2014) in a dozen lines rather than a crate: the committed corpus must come out
//! byte-equal for as long as this project lives, whatever a dependency changes about its streams.

/// A stream of pseudo-random numbers that depends on nothing but the numbers it was made from.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of one item: `seed` belongs to the corpus, `stream` to the file, `index` to the line or tale.
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        let mut rng = Self(seed);
        for part in [stream, index] {
            rng.0 = rng.next_u64() ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        rng
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; `n` must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no answer");
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items, all equally likely.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Puts the items into a random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
