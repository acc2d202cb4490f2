//! The look of a line. A backend looks the same in every plot, and lines can be distinguished
//! without colours.
//!
//! A family (the file log, SQLite, ...) has a colour and a mark; its variants have dashes. Each
//! colour has one tone for light pages and one for dark pages.

/// The look of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The index of its colour in [`PALETTE`].
    pub color: usize,
    /// Its dashes, in SVG syntax; empty for a solid line.
    pub dashes: &'static str,
}

/// The background on light and on dark pages.
const BACK: (&str, &str) = ("ffffff", "0d1117");

/// The colours of text and of axes, on light and on dark pages.
const TEXT: (&str, &str) = ("1f2328", "e6edf3");
const RULE: (&str, &str) = ("d0d7de", "30363d");

/// The colours on light and on dark pages. Neighbours in a plot differ in lightness as well as in
/// hue.
pub const PALETTE: [(&str, &str); 8] = [
    ("0072b2", "56b4e9"),
    ("c84a00", "ff8a4c"),
    ("00795a", "2fcfa0"),
    ("aa4499", "dd99cc"),
    ("8a6d00", "eecc66"),
    ("332288", "a59bf0"),
    ("882255", "ee88aa"),
    ("6b7280", "9ca3af"),
];

/// The families: a part of the name, and the index of the colour. The first match counts.
const FAMILIES: [(&str, usize); 8] = [
    ("openraft", 4),
    ("raft-engine", 5),
    ("etcd", 6),
    ("sqlite", 1),
    ("rocksdb", 2),
    ("memory", 3),
    ("file:", 0),
    ("file", 0),
];

/// The dashes of variants: a part of the name, and the dashes. The first match counts.
const VARIANTS: [(&str, &str); 7] = [
    ("plain ", "9 3 2 3"),
    (":thread", "7 4"),
    (":ring", "2 3"),
    ("2 workers", "7 4"),
    ("3 workers", "2 3"),
    ("prefilled", "7 4"),
    ("O_DIRECT", ""),
];

/// The dashes of lines that belong to no backend, in order.
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];

/// The dashes of the floors. The first floor has the longest ones, since it is in most plots.
const FLOOR_DASHES: [&str; 4] = ["12 3", "4 3", "12 3 4 3", "2 2"];

impl Style {
    /// The look of the line of this backend.
    pub fn of_backend(name: &str) -> Style {
        let find = |table: &[(&str, usize)]| {
            table.iter().find(|(part, _)| name.contains(part)).map(|(_, place)| *place)
        };
        let dashes = VARIANTS.iter().find(|(part, _)| name.contains(part));
        let color = find(&FAMILIES).unwrap_or(PALETTE.len() - 1);
        Style { color, dashes: dashes.map_or("", |(_, dashes)| dashes) }
    }

    /// The look of a floor's line. The place is its number among the floors of the plot.
    pub fn of_floor(place: usize) -> Style {
        Style { color: PALETTE.len() - 1, dashes: FLOOR_DASHES[place % FLOOR_DASHES.len()] }
    }

    /// The look of the line at this place in a plot of lines that belong to no backend. Neighbours
    /// differ in their dashes as well as in their colour.
    pub fn of_place(place: usize) -> Style {
        let dashes = DASHES[(place + place / PALETTE.len()) % DASHES.len()];
        Style { color: place % PALETTE.len(), dashes }
    }

    /// The name of its CSS class.
    pub fn class(self) -> String {
        format!("c{}", self.color)
    }
}

/// The CSS rules of all plots, for light and dark pages.
pub fn classes() -> String {
    let tone = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        let mut rules = format!(
            ".plot .back{{fill:#{}}}.plot text{{fill:#{}}}.plot .rule{{stroke:#{}}}",
            pick(&BACK),
            pick(&TEXT),
            pick(&RULE)
        );
        for (place, color) in PALETTE.iter().enumerate() {
            let color = pick(color);
            rules +=
                &format!(".plot .c{place}{{stroke:#{color}}}.plot .full.c{place}{{fill:#{color}}}");
        }
        rules
    };
    let (light, dark) = (tone(|pair| pair.0), tone(|pair| pair.1));
    format!(
        ".plot text{{font:14px sans-serif}}.plot .title{{font-size:17px}}\
         .plot .note{{font-size:12px}}\
         .plot .line{{fill:none;stroke-width:2}}.plot .hollow{{fill:none;stroke-width:1.5}}\
         {light}@media (prefers-color-scheme:dark){{{dark}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of a colour, as the Web Content Accessibility Guidelines define it.
    fn luminance(color: &str) -> f64 {
        let part = |at: usize| {
            let value = u8::from_str_radix(&color[at..at + 2], 16).expect("six digits");
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn lines_and_letters_can_be_read_on_light_and_on_dark_pages() {
        for (light, dark) in PALETTE {
            assert!(contrast(light, BACK.0) >= 4.0, "{light}: {}", contrast(light, BACK.0));
            assert!(contrast(dark, BACK.1) >= 4.0, "{dark}: {}", contrast(dark, BACK.1));
        }
        assert!(contrast(TEXT.0, BACK.0) >= 7.0 && contrast(TEXT.1, BACK.1) >= 7.0);
    }

    #[test]
    fn a_backend_looks_the_same_everywhere_and_its_variants_differ() {
        let names = [
            "file",
            "file:thread",
            "file:ring",
            "sqlite",
            "plain sqlite insert",
            "rocksdb",
            "plain rocksdb put",
            "memory",
            "raft-engine",
            "raft-engine, prefilled files",
            "openraft 0.10, current_thread",
            "openraft 0.10, 2 workers",
            "etcd 3.4.23",
        ];
        let mut seen: Vec<Style> = vec![Style::of_floor(0)];
        for name in names {
            let style = Style::of_backend(name);
            assert!(!seen.contains(&style), "{name} looks like another");
            seen.push(style);
        }
        assert_eq!(Style::of_backend("file").color, Style::of_backend("file:ring").color);
    }

    #[test]
    fn neighbours_in_a_plot_without_backends_differ_in_their_dashes() {
        let styles: Vec<Style> = (0..32).map(Style::of_place).collect();
        assert!(styles.windows(2).all(|pair| pair[0].dashes != pair[1].dashes), "{styles:?}");
        let is_new = |place: usize| !styles[..place].contains(&styles[place]);
        assert!((0..32).all(is_new), "{styles:?}");
    }
}
