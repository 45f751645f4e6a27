//! Pieces that several encoders share.

/// What of `text` is written: strings of ours are far below the bound of 65,535 bytes and those of
/// others were bounded when they came in; a longer one is cut at a character.
#[inline]
pub(crate) fn cut(text: &str) -> &str {
    let length = text.floor_char_boundary(text.len().min(usize::from(u16::MAX)));
    text.get(..length).unwrap_or_default()
}

/// Appends a string with its length.
#[inline]
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    binary(out, cut(text).as_bytes());
}

/// Appends binary data with its length, at most 65,535 bytes of it.
#[inline]
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or_default());
}

pub(crate) fn text_property(out: &mut Vec<u8>, property: u8, value: &str) {
    out.push(property);
    text(out, value);
}
