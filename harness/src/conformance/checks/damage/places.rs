//! Where and how files are damaged: offsets, bits, noise and names.

use std::path::{Path, PathBuf};

use crate::conformance::settings::setting;

/// The lengths that are zeroed or restored at once.
pub(super) const SECTORS: [usize; 2] = [512, 4096];

/// The offsets of all bytes of a file, except that only a few are taken from blocks of zeros.
pub(super) fn worth_a_flip(bytes: &[u8]) -> Vec<usize> {
    let mut worth = Vec::new();
    for (number, block) in bytes.chunks(SECTORS[0]).enumerate() {
        let start = number * SECTORS[0];
        if block.iter().any(|byte| *byte != 0) {
            worth.extend(start..start + block.len());
        } else if number % 64 == 0 {
            worth.push(start + number / 64 % block.len());
        }
    }
    worth
}

/// `places` of the numbers below `length`, spread evenly.
pub(super) fn spread(length: usize, places: u64) -> impl Iterator<Item = usize> {
    let places = places.max(1) as usize;
    let step = length.div_ceil(places).max(1);
    let seed = setting("KONTIKI_SEED").unwrap_or(0) as usize;
    let shift = move |start: usize| (start / step * 7 + seed * 13) % step;
    (0..length).step_by(step).map(move |start| start + shift(start)).filter(move |at| *at < length)
}

/// The bits to flip: one bit or several.
pub(super) fn mask(number: usize) -> u8 {
    match number % 6 {
        0 => 0xff,
        1 => 0x80,
        _ => 1 << (number % 8),
    }
}

pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Names like this one, except for the last letter or digit before the extension.
pub(super) fn names_beside(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default().len();
    let Some(last) = name[..stem].chars().last().filter(char::is_ascii_alphanumeric) else {
        return Vec::new();
    };
    let others = match last {
        '0'..='8' => [(last as u8 + 1) as char, '9'],
        _ => ['0', '1'],
    };
    let beside =
        |other: char| file.with_file_name(format!("{}{other}{}", &name[..stem - 1], &name[stem..]));
    others.into_iter().map(beside).collect()
}
