//! Latencies and what is computed from them.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that can be distinguished from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

/// The points of a distribution that are stored, as fractions.
const CDF_POINTS: [f64; 24] = [
    0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975,
    0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999, 1.0,
];

/// Latencies with a precision of three digits.
#[derive(Clone, Debug)]
pub struct Samples {
    nanos: Histogram<u64>,
}

impl Samples {
    /// An empty set.
    pub fn new() -> Samples {
        let nanos = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3);
        Samples { nanos: nanos.expect("bounds and digits that the histogram takes") }
    }

    /// Adds one latency for `count` clients.
    pub fn record(&mut self, latency: Duration, count: u64) {
        self.nanos.saturating_record_n((latency.as_nanos() as u64).max(1), count);
    }

    /// Adds all latencies of another set.
    pub fn add(&mut self, other: &Samples) {
        self.nanos.add(&other.nanos).expect("the same bounds");
    }

    /// Whether there are no latencies.
    pub fn is_empty(&self) -> bool {
        self.nanos.is_empty()
    }

    /// The number of latencies.
    pub fn len(&self) -> u64 {
        self.nanos.len()
    }

    /// The latency in microseconds that this fraction of all does not exceed.
    pub fn quantile_us(&self, fraction: f64) -> f64 {
        self.nanos.value_at_quantile(fraction) as f64 / 1000.0
    }

    /// The longest latency, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.nanos.max() as f64 / 1000.0
    }

    /// The distribution: microseconds, and the fraction that took at most this long.
    pub fn cdf(&self) -> Vec<(f64, f64)> {
        CDF_POINTS.iter().map(|&fraction| (self.quantile_us(fraction), fraction)).collect()
    }
}

impl Default for Samples {
    fn default() -> Samples {
        Samples::new()
    }
}

/// The median: of an even number of values the upper of the two in the middle, of no values `None`.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_in_microseconds() {
        let mut samples = Samples::new();
        samples.record(Duration::from_micros(100), 99);
        samples.record(Duration::from_millis(2), 1);
        assert!((samples.quantile_us(0.5) - 100.0).abs() < 0.2);
        assert!((samples.quantile_us(1.0) - 2000.0).abs() < 2.0);
        assert_eq!(samples.len(), 100);
        let cdf = samples.cdf();
        assert!(cdf.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{cdf:?}");
    }

    #[test]
    fn a_latency_beyond_the_longest_counts_as_that() {
        let mut samples = Samples::new();
        samples.record(LONGEST * 10, 1);
        assert!(samples.quantile_us(0.5) >= LONGEST.as_micros() as f64);
    }

    #[test]
    fn the_median_of_rounds_is_one_of_them() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
    }
}
