//! LEB128 varints and zigzag (SPEC section 1).

/// The largest number of bytes that one varint takes.
pub(crate) const MAX_LENGTH: usize = 10;

/// Appends `value` in its shortest form.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes one varint from the front of `bytes`; `None` if it is cut off, above 2^64 - 1, or longer than its value needs.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(MAX_LENGTH).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * i as u32;
        // The tenth byte has room for one bit.
        if i == MAX_LENGTH - 1 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            // Only a varint of one byte ends in zero: a longer one has a shorter form (SPEC section 1).
            if *byte == 0 {
                return None;
            }
            *bytes = bytes.get(i + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Maps a signed value to an unsigned one that is small where the absolute value is small.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(value: u64, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert!(bytes.len() <= MAX_LENGTH);
            bytes.extend(&tail);
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert_eq!(rest, &tail[..]);
            prop_assert_eq!(unzigzag(zigzag(value as i64)), value as i64);
        }
    }

    #[test]
    fn refuses_bytes_that_are_not_a_varint() {
        for bytes in [&[][..], &[0x80], &[0xff; 9], &[0xff; 11], &[0x80, 0]] {
            assert_eq!(take(&mut &*bytes), None, "{bytes:?}");
        }
        let mut above = [0xff; 10];
        above[9] = 0x02;
        assert_eq!(take(&mut &above[..]), None, "2^64");
        above[9] = 0x01;
        assert_eq!(take(&mut &above[..]), Some(u64::MAX));
    }
}
