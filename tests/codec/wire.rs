//! A notation for packets, so that tables of them can be read.
//!
//! `3F` is a byte, `'abc'` are the bytes of a text, `"abc"` is a text with its two bytes of length,
//! and `(…)` is what stands in it with its length before it as a Variable Byte Integer: the body
//! of a packet or a property block. `30 ("a/b" (01 01) 'hello')` is a PUBLISH of MQTT 5.0.

use std::iter::Peekable;
use std::str::Chars;

/// The bytes that `notation` stands for.
pub(crate) fn wire(notation: &str) -> Vec<u8> {
    let mut rest = notation.chars().peekable();
    let bytes = sequence(&mut rest);
    assert_eq!(rest.next(), None, "one ) too many in {notation}");
    bytes
}

fn sequence(rest: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(&next) = rest.peek() {
        match next {
            ')' => break,
            _ if next.is_whitespace() => {
                rest.next();
            }
            '(' => {
                rest.next();
                let inner = sequence(rest);
                assert_eq!(rest.next(), Some(')'), "a ( is not closed");
                out.extend(varint(inner.len()));
                out.extend(inner);
            }
            '"' => {
                let text = quoted(rest);
                out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
                out.extend(text);
            }
            '\'' => out.extend(quoted(rest)),
            _ => out.push(hex(rest)),
        }
    }
    out
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let quote = rest.next().unwrap();
    let text: String = rest.take_while(|&c| c != quote).collect();
    text.into_bytes()
}

fn hex(rest: &mut Peekable<Chars<'_>>) -> u8 {
    let digits: String = rest.take(2).collect();
    u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("{digits:?} is no byte"))
}

/// `length` as a Variable Byte Integer, written without help of the code under test.
pub(crate) fn varint(length: usize) -> Vec<u8> {
    let mut rest = length;
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        if rest == 0 {
            out.push(low);
            return out;
        }
        out.push(low + 128);
    }
}
