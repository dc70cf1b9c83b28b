//! Protobuf's variable-length integers, tags and length-delimited fields.

/// Wire types.
pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LEN: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// The tag byte of a field numbered below 16.
pub(crate) const fn tag(field: u8, wire_type: u8) -> u8 {
    assert!(field < 16);
    field << 3 | wire_type
}

/// The length of `v` as a varint: 1 to 10 bytes.
#[inline]
pub(crate) const fn len(v: u64) -> usize {
    // 64 - leading zeros of v|1 bits, seven to a byte.
    ((64 - (v | 1).leading_zeros() as usize) * 9 + 64) / 64
}

/// Appends `v`.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Reads a varint from the front of `input`; `None` if it is cut short or longer than ten bytes.
#[inline]
pub(crate) fn take(input: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for (i, &byte) in input.iter().enumerate().take(10) {
        // Nine bytes have 63 bits, so the tenth has one.
        if i == 9 && byte > 1 {
            return None;
        }
        v |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *input = &input[i + 1..];
            return Some(v);
        }
    }
    None
}

/// Appends a length-delimited field with a one-byte tag.
#[inline(always)]
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..0x80 => out.extend_from_slice(&[tag, len as u8]),
        len @ 0x80..0x4000 => {
            out.extend_from_slice(&[tag, len as u8 | 0x80, (len >> 7) as u8]);
        }
        len => {
            out.push(tag);
            put(out, len as u64);
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_length_round_trips() {
        for shift in 0..64 {
            for v in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> (63 - shift)] {
                let mut out = Vec::new();
                put(&mut out, v);
                assert_eq!(out.len(), len(v), "{v:#x}");
                let mut input = &out[..];
                assert_eq!(take(&mut input), Some(v));
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn a_cut_or_overlong_varint_is_refused() {
        assert_eq!(take(&mut &[0x80][..]), None);
        assert_eq!(take(&mut &[][..]), None);
        assert_eq!(take(&mut &[0xff; 11][..]), None);
        let mut eleven = vec![0x80; 10];
        eleven.push(0);
        assert_eq!(take(&mut &eleven[..]), None);
    }
}
