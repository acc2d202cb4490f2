//! Figures as text.

/// Microseconds with a sensible number of digits.
pub fn micros(micros: f64) -> String {
    match micros {
        0.0..10.0 => format!("{micros:.2}"),
        10.0..100.0 => format!("{micros:.1}"),
        _ => format!("{micros:.0}"),
    }
}

/// A count with a sensible number of digits.
pub fn count(count: f64) -> String {
    match count {
        0.0..10_000.0 => format!("{count:.0}"),
        10_000.0..1_000_000.0 => format!("{:.1} k", count / 1000.0),
        _ => format!("{:.2} M", count / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_a_sensible_number_of_digits() {
        assert_eq!([micros(0.344), micros(85.24), micros(1234.5)], ["0.34", "85.2", "1234"]);
        assert_eq!([count(950.2), count(12_345.0), count(6.5e6)], ["950", "12.3 k", "6.50 M"]);
    }
}
