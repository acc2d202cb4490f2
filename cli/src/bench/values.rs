//! Parsers for option values that are more than a number.

use std::time::Duration;

use benches::{MAX_SIZE, RATES, check_time};

/// The duration of a measurement, or of a part of it, in seconds.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let no_time = || "give a number of seconds, as in 25".to_owned();
    let seconds: f64 = text.parse().map_err(|_| no_time())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| no_time())?;
    check_time(time).map_err(|error| format!("{error}; {}", error.advice()))?;
    Ok(time)
}

/// The arrivals per second.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| "give the batches that arrive per second, from 1 to 1000000".to_owned())
}

/// A number of bytes, with an optional unit.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        _ => return Err("write bytes, or a number with k or m, as in 64k".to_owned()),
    };
    let number: usize = digits.parse().map_err(|_| "this is not a number of bytes".to_owned())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes <= MAX_SIZE);
    bytes.ok_or_else(|| "an entry has at most 8 MiB, as in 8m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_have_a_unit() {
        assert_eq!([parse_size("256"), parse_size("64k")], [Ok(256), Ok(65_536)]);
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert!(parse_size("").is_err() && parse_size("99999999999999999999m").is_err());
    }
}
