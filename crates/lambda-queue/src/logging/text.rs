//! JSON strings, escaped and capped as they are written.

use std::fmt;

/// Most bytes of a value, as it stands in the line.
pub(super) const VALUE_MAX: usize = 8 * 1024;
/// Follows a value that was longer.
pub(super) const CUT: &str = "...[cut]";

/// What a character is written as, where it is not itself. Beside what JSON asks for: what a terminal or a viewer would
/// act on (DEL, C1 controls, line and paragraph separators, bidirectional overrides).
fn escape(ch: char) -> Option<[u8; 6]> {
    let short = |letter: u8| Some([b'\\', letter, 0, 0, 0, 0]);
    match ch {
        '"' => short(b'"'),
        '\\' => short(b'\\'),
        '\n' => short(b'n'),
        '\r' => short(b'r'),
        '\t' => short(b't'),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => {
            let digit = |shift: u32| {
                let nibble = u8::try_from((u32::from(ch) >> shift) & 0xf).unwrap_or_default();
                if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
            };
            Some([b'\\', b'u', digit(12), digit(8), digit(4), digit(0)])
        }
        _ => None,
    }
}

/// The inside of a JSON string on its way into a line. It takes at most so many bytes, and then refuses, which also
/// stops the `Debug` that is writing.
pub(super) struct Text<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
    cut: bool,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain_from = 0;
        for (at, ch) in text.char_indices() {
            let escaped = escape(ch);
            let width = match escaped {
                None => ch.len_utf8(),
                Some([_, b'u', ..]) => 6,
                Some(_) => 2,
            };
            if width > self.left {
                self.out.extend_from_slice(text.get(plain_from..at).unwrap_or_default().as_bytes());
                self.left = 0;
                self.cut = true;
                return Err(fmt::Error);
            }
            self.left -= width;
            if let Some(escaped) = escaped {
                self.out.extend_from_slice(text.get(plain_from..at).unwrap_or_default().as_bytes());
                self.out.extend(escaped.iter().take(width));
                plain_from = at + ch.len_utf8();
            }
        }
        self.out.extend_from_slice(text.get(plain_from..).unwrap_or_default().as_bytes());
        Ok(())
    }
}

/// Writes a JSON string, quotes and mark included.
pub(super) fn string(out: &mut Vec<u8>, write: impl FnOnce(&mut Text<'_>) -> fmt::Result) {
    out.push(b'"');
    let mut text = Text { out, left: VALUE_MAX, cut: false };
    // An `Err` says that the value was cut, or that a `Debug` gave up: what there is of it is printed either way.
    write(&mut text).ok();
    let cut = text.cut;
    if cut {
        out.extend_from_slice(CUT.as_bytes());
    }
    out.push(b'"');
}
