//! In which order equal elements stand after a sort: in that of etcd's server.
//!
//! etcd sorts an answer with the unstable sort of the Go library it was built with (1.19), so
//! where keys share a version or a value, their order is whatever that algorithm leaves, and with
//! a limit it even decides which keys are answered. To give the same answers we take the same
//! steps: the pattern-defeating quicksort of Orson Peters, with the parameters of that library. Up
//! to [`INSERTION_MAX`] elements it is an insertion sort, hence stable.

/// The longest slice that is sorted by insertion.
const INSERTION_MAX: usize = 12;
/// From this length on, a pivot is the median of three medians.
const NINTHER_MIN: usize = 50;
/// From this length on, a nearly sorted slice is mended by a few insertions.
const MEND_MIN: usize = 50;
/// How many misplaced pairs are mended before the attempt is given up.
const MEND_MAX: usize = 5;
/// As many exchanges while choosing a pivot mean that the slice descends.
const DESCENDING_SWAPS: usize = 12;

/// Sorts `items` by `less`.
pub(crate) fn sort<T>(items: &mut [T], less: &mut impl FnMut(&T, &T) -> bool) {
    let end = items.len();
    let bad_splits_allowed = usize::BITS - end.leading_zeros();
    Sorter { items, less }.sort(0, end, bad_splits_allowed);
}

struct Sorter<'i, T, L> {
    items: &'i mut [T],
    less: &'i mut L,
}

/// What choosing a pivot says of the slice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    Ascending,
    Descending,
    Unknown,
}

impl<T, L: FnMut(&T, &T) -> bool> Sorter<'_, T, L> {
    fn is_less(&mut self, left: usize, right: usize) -> bool {
        (self.less)(&self.items[left], &self.items[right])
    }

    /// Sorts from `start` up to `end`, the shorter half of each split by recursion.
    fn sort(&mut self, mut start: usize, mut end: usize, mut bad_splits_allowed: u32) {
        let mut was_balanced = true;
        let mut was_partitioned = true;
        loop {
            let length = end - start;
            if length <= INSERTION_MAX {
                return self.sort_by_insertion(start, end);
            }
            if bad_splits_allowed == 0 {
                return self.sort_by_heap(start, end);
            }
            if !was_balanced {
                self.scatter(start, end);
                bad_splits_allowed -= 1;
            }
            let (mut pivot, mut hint) = self.choose_pivot(start, end);
            if hint == Hint::Descending {
                self.items[start..end].reverse();
                pivot = (end - 1) - (pivot - start);
                hint = Hint::Ascending;
            }
            let looks_sorted = was_balanced && was_partitioned && hint == Hint::Ascending;
            if looks_sorted && self.mend(start, end) {
                return;
            }
            if start > 0 && !self.is_less(start - 1, pivot) {
                start = self.split_off_equals(start, end, pivot);
                continue;
            }
            let (middle, was_split) = self.partition(start, end, pivot);
            was_partitioned = was_split;
            let (left, right) = (middle - start, end - middle);
            was_balanced = left.min(right) >= length / 8;
            if left < right {
                self.sort(start, middle, bad_splits_allowed);
                start = middle + 1;
            } else {
                self.sort(middle + 1, end, bad_splits_allowed);
                end = middle;
            }
        }
    }

    fn sort_by_insertion(&mut self, start: usize, end: usize) {
        for next in start + 1..end {
            self.sink(next, start);
        }
    }

    /// Moves the element at `from` down, past greater ones, to `floor` at most.
    fn sink(&mut self, from: usize, floor: usize) {
        let mut place = from;
        while place > floor && self.is_less(place, place - 1) {
            self.items.swap(place, place - 1);
            place -= 1;
        }
    }

    fn sort_by_heap(&mut self, start: usize, end: usize) {
        let length = end - start;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(root, length, start);
        }
        for last in (0..length).rev() {
            self.items.swap(start, start + last);
            self.sift_down(0, last, start);
        }
    }

    fn sift_down(&mut self, mut root: usize, end: usize, start: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.is_less(start + child, start + child + 1) {
                child += 1;
            }
            if !self.is_less(start + root, start + child) {
                return;
            }
            self.items.swap(start + root, start + child);
            root = child;
        }
    }

    /// Exchanges three elements around the middle with others, chosen by a generator whose seed is
    /// the length, so that an unlucky pattern does not stay.
    fn scatter(&mut self, start: usize, end: usize) {
        let length = end - start;
        let mut random = length as u64;
        let mask = (1 << (usize::BITS - length.leading_zeros())) - 1;
        let middle = start + length / 4 * 2;
        for place in middle - 1..=middle + 1 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let mut other = random as usize & mask;
            if other >= length {
                other -= length;
            }
            self.items.swap(place, start + other);
        }
    }

    fn choose_pivot(&mut self, start: usize, end: usize) -> (usize, Hint) {
        let length = end - start;
        let quarter = length / 4;
        let mut places = [start + quarter, start + quarter * 2, start + quarter * 3];
        let mut swaps = 0;
        if length >= NINTHER_MIN {
            for place in &mut places {
                *place = self.median([*place - 1, *place, *place + 1], &mut swaps);
            }
        }
        let pivot = self.median(places, &mut swaps);
        let hint = match swaps {
            0 => Hint::Ascending,
            DESCENDING_SWAPS => Hint::Descending,
            _ => Hint::Unknown,
        };
        (pivot, hint)
    }

    /// The place among three that holds the median; counts how often two stood in wrong order.
    fn median(&mut self, mut places: [usize; 3], swaps: &mut usize) -> usize {
        for (left, right) in [(0, 1), (1, 2), (0, 1)] {
            if self.is_less(places[right], places[left]) {
                places.swap(left, right);
                *swaps += 1;
            }
        }
        places[1]
    }

    /// Tries to finish a slice that is almost sorted; says whether it is sorted now.
    fn mend(&mut self, start: usize, end: usize) -> bool {
        let mut place = start + 1;
        for _ in 0..MEND_MAX {
            while place < end && !self.is_less(place, place - 1) {
                place += 1;
            }
            if place == end {
                return true;
            }
            if end - start < MEND_MIN {
                return false;
            }
            self.items.swap(place, place - 1);
            if place - start >= 2 {
                self.sink(place - 1, 0);
            }
            if end - place >= 2 {
                self.rise(place + 1, end);
            }
        }
        false
    }

    /// Moves the element before `from` up, past smaller ones.
    fn rise(&mut self, from: usize, end: usize) {
        for place in from..end {
            if !self.is_less(place, place - 1) {
                return;
            }
            self.items.swap(place, place - 1);
        }
    }

    /// Given that nothing is below the pivot: moves what equals it to the front, and says where the
    /// rest begins.
    fn split_off_equals(&mut self, start: usize, end: usize, pivot: usize) -> usize {
        self.items.swap(start, pivot);
        let (mut left, mut right) = (start + 1, end);
        loop {
            while left < right && !self.is_less(start, left) {
                left += 1;
            }
            while left < right && self.is_less(start, right - 1) {
                right -= 1;
            }
            if left >= right {
                return left;
            }
            self.items.swap(left, right - 1);
            left += 1;
            right -= 1;
        }
    }

    /// Moves what is below the pivot to its left and the rest to its right. Says where the pivot
    /// stands then, and whether everything stood right before.
    fn partition(&mut self, start: usize, end: usize, pivot: usize) -> (usize, bool) {
        self.items.swap(start, pivot);
        let (mut left, mut right) = (start + 1, end);
        let mut was_split = true;
        loop {
            while left < right && self.is_less(left, start) {
                left += 1;
            }
            while left < right && !self.is_less(right - 1, start) {
                right -= 1;
            }
            if left >= right {
                break;
            }
            was_split = false;
            self.items.swap(left, right - 1);
            left += 1;
            right -= 1;
        }
        self.items.swap(right - 1, start);
        (right - 1, was_split)
    }
}

#[cfg(test)]
mod tests {
    use super::sort;

    fn numbers(count: u64, distinct: u64) -> Vec<(u64, u64)> {
        let mut state = count * 31 + distinct;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % distinct
        };
        (0..count).map(|place| (next(), place)).collect()
    }

    #[test]
    fn every_length_and_density_of_ties_comes_out_sorted() {
        for count in 0..400 {
            for distinct in [1, 2, 7, 1000] {
                let mut sorted = numbers(count, distinct);
                let mut expected = sorted.clone();
                sort(&mut sorted, &mut |left, right| left.0 < right.0);
                assert!(sorted.is_sorted_by_key(|item| item.0), "{count} of {distinct}");
                sorted.sort_unstable();
                expected.sort_unstable();
                assert_eq!(sorted, expected);
            }
        }
    }

    #[test]
    fn a_short_slice_keeps_the_order_of_ties() {
        let mut items = numbers(12, 3);
        let mut expected = items.clone();
        expected.sort_by_key(|item| item.0);
        sort(&mut items, &mut |left, right| left.0 < right.0);
        assert_eq!(items, expected);
    }
}
