//! How many entries one read returns (P10).

/// The limit of one read in bytes of payload. The first entry always fits, so that a read of a
/// range that is not empty makes progress.
#[derive(Clone, Copy, Debug)]
pub struct ReadBudget {
    max_bytes: u64,
    taken_bytes: u64,
    has_first: bool,
}

impl ReadBudget {
    /// The limit that a caller of [`LogReader::read`](super::LogReader::read) gives.
    pub fn new(max_bytes: u64) -> ReadBudget {
        ReadBudget { max_bytes, taken_bytes: 0, has_first: false }
    }

    /// Whether the next entry, with so many bytes of payload, is returned, too. After the first
    /// `false` the read ends.
    pub fn takes(&mut self, payload_bytes: u64) -> bool {
        self.taken_bytes = self.taken_bytes.saturating_add(payload_bytes);
        let is_taken = !self.has_first || self.taken_bytes <= self.max_bytes;
        self.has_first = true;
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(max_bytes: u64, sizes: &[u64]) -> usize {
        let mut budget = ReadBudget::new(max_bytes);
        sizes.iter().take_while(|size| budget.takes(**size)).count()
    }

    #[test]
    fn a_read_takes_what_fits_and_at_least_one_entry() {
        assert_eq!(taken(10, &[4, 6, 1]), 2, "exactly full");
        assert_eq!(taken(9, &[4, 6, 1]), 1);
        assert_eq!(taken(0, &[4, 6]), 1, "the first one always");
        assert_eq!(taken(3, &[4, 0]), 1, "nothing fits once the limit is exceeded");
        assert_eq!(taken(0, &[0, 0, 0, 1]), 3, "empty payloads cost nothing");
        assert_eq!(taken(u64::MAX, &[u64::MAX, u64::MAX, 1]), 3);
        assert_eq!(taken(5, &[]), 0);
    }
}
