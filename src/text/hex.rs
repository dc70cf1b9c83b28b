//! Hexadecimal digits to bytes and back; lowercase, as in W3C headers and OTLP JSON.

/// The bytes of `text`, two lowercase digits each; `None` for any other text or length.
#[inline]
pub(crate) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    // A digit's value has four bits. Any other byte sets a higher bit, so one check after the loop
    // is enough.
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (digit(pair[0]), digit(pair[1]));
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

/// Writes two lowercase digits for each byte; `out` is twice as long.
#[inline]
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

const NO_DIGIT: u8 = 0x80;

#[inline]
fn digit(c: u8) -> u8 {
    VALUES[usize::from(c)]
}

static VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut i = 0;
    while i < DIGITS.len() {
        values[DIGITS[i] as usize] = i as u8;
        i += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_of_lowercase_digits_are_bytes_w3c_1() {
        assert_eq!(decode(b"00ff1a"), Some([0x00, 0xff, 0x1a]));
        for text in [
            "", "0", "00ff1", "00ff1a0", "00FF1A", "00ff1g", "00ff 1", "é0ff1",
        ] {
            assert_eq!(decode::<3>(text.as_bytes()), None, "{text}");
        }
        for byte in 0..=255u8 {
            let mut text = [0; 2];
            encode(&[byte], &mut text);
            assert_eq!(text, format!("{byte:02x}").as_bytes());
            assert_eq!(decode(&text), Some([byte]));
            let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert_eq!(decode::<1>(&[b'0', byte]).is_some(), is_digit);
        }
    }
}
