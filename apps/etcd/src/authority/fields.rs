//! Header fields: finds the text of the authority, and overwrites the characters that make it a
//! URL.

use std::ops::Range;

/// The flags that say that a frame has padding or a priority before its header fields (RFC 9113,
/// 6.2).
pub(super) const PADDED: u8 = 0x08;
pub(super) const PRIORITY: u8 = 0x20;
/// `:authority` in the table of well-known header fields (RFC 7541, appendix A).
const AUTHORITY: usize = 1;

/// Turns a URL into an authority, in the payload of a frame of header fields with these flags.
pub(super) fn soften(flags: u8, payload: &mut [u8]) {
    let padding = usize::from(flags & PADDED != 0);
    let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
    let Some(fields) = payload.get_mut(padding + priority..) else { return };
    let Some((is_huffman, place)) = (Fields { bytes: fields, at: 0 }).authority() else { return };
    if is_huffman { soften_huffman(&mut fields[place]) } else { soften_plain(&mut fields[place]) }
}

/// Skips header fields in HPACK (RFC 7541, sections 5 and 6).
struct Fields<'f> {
    bytes: &'f [u8],
    at: usize,
}

impl Fields<'_> {
    /// The place of the text of `:authority`, and whether it is in Huffman code.
    fn authority(&mut self) -> Option<(bool, Range<usize>)> {
        loop {
            let index = match self.bytes.get(self.at)? {
                0x80.. => {
                    self.integer(7)?; // a whole field that was sent before
                    continue;
                }
                0x40.. => self.integer(6)?,
                0x20.. => {
                    self.integer(5)?; // a new size of the table
                    continue;
                }
                _ => self.integer(4)?,
            };
            if index == 0 {
                self.string()?; // the field's name
            }
            let value = self.string()?;
            if index == AUTHORITY {
                return Some(value);
            }
        }
    }

    fn integer(&mut self, prefix_bits: u32) -> Option<usize> {
        let prefix = (1 << prefix_bits) - 1;
        let mut number = usize::from(self.next()?) & prefix;
        if number < prefix {
            return Some(number);
        }
        for shift in [0, 7, 14] {
            let byte = usize::from(self.next()?);
            number += (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None // longer than any frame
    }

    fn string(&mut self) -> Option<(bool, Range<usize>)> {
        let is_huffman = *self.bytes.get(self.at)? >= 0x80;
        let length = self.integer(7)?;
        let place = self.at..self.at + length;
        self.at = place.end;
        self.bytes.get(place.clone()).map(|_| (is_huffman, place))
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

/// `http://host:1` becomes `httpz--host:1`.
fn soften_plain(text: &mut [u8]) {
    for place in 0..text.len() {
        match text[place] {
            b':' if text.get(place + 1) == Some(&b'/') => text[place] = b'z',
            b'/' => text[place] = b'-',
            _ => {}
        }
    }
}

/// One letter in the Huffman code of HPACK (RFC 7541, appendix B).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) code: u16,
    pub(super) bits: usize,
}

pub(super) const SLASH: Letter = Letter { code: 0b01_1000, bits: 6 };
pub(super) const DASH: Letter = Letter { code: 0b01_0110, bits: 6 };
pub(super) const COLON: Letter = Letter { code: 0b101_1100, bits: 7 };
pub(super) const SMALL_Z: Letter = Letter { code: 0b111_1011, bits: 7 };

/// The greatest code of each short length. All codes of a length follow each other, after those of
/// shorter lengths, so these values show where a letter ends. Names and addresses have no longer
/// codes.
const GREATEST_CODES: [Letter; 4] = [
    Letter { code: 0b0_1001, bits: 5 },
    Letter { code: 0b10_1101, bits: 6 },
    SMALL_Z,
    Letter { code: 0b1111_1101, bits: 8 },
];

/// The same in Huffman code. It stops at a letter with a long code, because no URL has one.
fn soften_huffman(text: &mut [u8]) {
    let mut at = 0;
    let mut colon = None;
    while let Some(letter) = letter_at(text, at) {
        if letter == SLASH {
            write_bits(text, at, DASH);
            if let Some(colon) = colon {
                write_bits(text, colon, SMALL_Z);
            }
        }
        colon = (letter == COLON).then_some(at);
        at += letter.bits;
    }
}

fn letter_at(text: &[u8], at: usize) -> Option<Letter> {
    let mut letters = GREATEST_CODES.iter().map_while(|greatest| {
        let code = read_bits(text, at, greatest.bits)?;
        Some((Letter { code, bits: greatest.bits }, greatest.code))
    });
    letters.find(|(letter, greatest)| letter.code <= *greatest).map(|(letter, _)| letter)
}

fn read_bits(text: &[u8], at: usize, bits: usize) -> Option<u16> {
    if at + bits > text.len() * 8 {
        return None;
    }
    let bit = |place: usize| u16::from(text[place / 8] >> (7 - place % 8) & 1);
    Some((at..at + bits).fold(0, |code, place| code << 1 | bit(place)))
}

pub(super) fn write_bits(text: &mut [u8], at: usize, letter: Letter) {
    for place in 0..letter.bits {
        let mask = 0x80 >> ((at + place) % 8);
        let byte = &mut text[(at + place) / 8];
        if letter.code >> (letter.bits - 1 - place) & 1 == 1 {
            *byte |= mask
        } else {
            *byte &= !mask
        }
    }
}
