//! Random numbers that a seed repeats: SplitMix64, with one stream for each part of a test.
//!
//! `crash-disk` has its own copy of such a generator, in thirty lines: this crate depends on
//! `crash-disk` on Linux only, while the simulator runs everywhere, and a crate for other projects
//! should not offer a random number generator.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

/// The unit of rates: a rate is a number of cases out of a million.
pub(crate) const MILLION: u64 = 1_000_000;

impl Rng {
    /// The stream of one part of a test, from a seed and the part's name and number.
    pub fn stream(seed: u64, part: &str, number: u64) -> Rng {
        let mut rng = Rng { state: seed };
        let mut state = rng.draw();
        for byte in part.bytes() {
            rng.state = state ^ u64::from(byte);
            state = rng.draw();
        }
        rng.state = state ^ number;
        Rng { state: rng.draw() }
    }

    /// The next number (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Draws `true` in `rate` of a million cases. Draws no number if the rate is zero.
    pub fn happens(&mut self, rate: u64) -> bool {
        rate > 0 && self.below(MILLION) < rate
    }

    /// Draws `true` in half of the cases.
    pub fn coin(&mut self) -> bool {
        self.draw() & 1 == 1
    }

    /// Draws one of these choices.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Draws a duration around `typical` with a heavy tail: each doubling is half as likely as the
    /// one before.
    pub fn heavy(&mut self, typical: u64) -> u64 {
        let mut time = self.between(typical / 2, typical);
        while self.coin() {
            time = time.saturating_mul(2);
        }
        time.min(typical.saturating_mul(256))
    }

    /// Draws a number between two bounds on a logarithmic scale, so that small and large magnitudes
    /// are equally likely.
    pub fn scale(&mut self, least: u64, most: u64) -> u64 {
        let low = least.max(1).ilog2();
        let high = most.max(1).ilog2();
        let exponent = self.between(u64::from(low), u64::from(high));
        self.between(1 << exponent, (2 << exponent) - 1).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_are_repeatable() {
        let first = |part, number| Rng::stream(7, part, number).draw();
        assert_eq!(first("disk", 1), first("disk", 1));
        assert_ne!(first("disk", 1), first("disk", 2));
        assert_ne!(first("disk", 1), first("clock", 1));
        assert_ne!(first("disk", 1), Rng::stream(8, "disk", 1).draw());
    }

    #[test]
    fn numbers_stay_in_bounds() {
        let mut rng = Rng::stream(1, "bounds", 0);
        for _ in 0..10_000 {
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!((2..=4096).contains(&rng.scale(2, 4096)));
            assert!(rng.heavy(100) <= 25_600);
        }
    }
}
