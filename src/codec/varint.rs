//! Variable Byte Integers (MQTT 5.0 section 1.5.5).

use super::error::MalformedKind;

/// The largest value four bytes can hold.
pub const MAX: u32 = 268_435_455;

/// Reads one from the front of `bytes`: value and bytes used; `None` if it goes on beyond them.
///
/// # Errors
/// More than four bytes, or more bytes than the value needs.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, MalformedKind> {
    let mut value: u32 = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        // At most 7 bits four times: fits without overflow.
        value |= u32::from(byte & 0x7F) << (7_usize.wrapping_mul(index));
        if byte & 0x80 == 0 {
            if index > 0 && byte == 0 {
                return Err(MalformedKind::LengthEncoding);
            }
            return Ok(Some((value, index.wrapping_add(1))));
        }
    }
    if bytes.len() >= 4 {
        return Err(MalformedKind::LengthEncoding);
    }
    Ok(None)
}

/// Bytes that `value` takes.
#[inline]
pub(crate) fn encoded_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends `value`, which is at most [`MAX`]: whoever makes a packet has bounded it.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, value: usize) {
    let mut rest = value.min(MAX as usize);
    loop {
        // Seven bits: the cast keeps all of them.
        let byte = u8::try_from(rest & 0x7F).unwrap_or(0);
        rest >>= 7;
        if rest == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_borders_of_each_length_are_written_and_read() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            write(&mut out, value as usize);
            assert_eq!(out, bytes);
            assert_eq!(encoded_len(value as usize), bytes.len());
            assert_eq!(read(bytes), Ok(Some((value, bytes.len()))));
        }
    }

    #[test]
    fn mqtt_1_5_5_1_longer_forms_than_needed_are_malformed() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xFF, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x01],
            &[0xFF, 0xFF, 0xFF, 0xFF],
        ] {
            assert_eq!(read(bytes), Err(MalformedKind::LengthEncoding), "{bytes:02X?}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[0x80, 0x80]), Ok(None));
    }
}
