//! Kafka's varints: zigzag LEB128 of 32 or 64 bits (`ByteUtils`). Unlike those of segments, they may be longer than they need to be.

use crate::varint::{put, unzigzag, zigzag};

/// Takes a varint of at most 32 bits.
#[inline]
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let value = u32::try_from(take(bytes, 5)?).ok()?;
    i32::try_from(unzigzag(u64::from(value))).ok()
}

/// Takes a varint of at most 64 bits.
#[inline]
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes, 10).map(unzigzag)
}

#[inline]
fn take(bytes: &mut &[u8], longest: usize) -> Option<u64> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(longest).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if i == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(i + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Appends a varint.
#[inline]
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// Returns the bytes that [`put_i64`] appends.
#[inline]
pub(super) fn length(value: i64) -> u64 {
    let bits = 64 - zigzag(value).leading_zeros();
    u64::from(bits.max(1).div_ceil(7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(value: i64, shift in 0..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_i64(&mut bytes, value);
            prop_assert_eq!(bytes.len() as u64, length(value));
            prop_assert_eq!(take_i64(&mut &bytes[..]), Some(value));
            prop_assert_eq!(take_i32(&mut &bytes[..]), i32::try_from(value).ok());
        }
    }

    #[test]
    fn longer_forms_are_read_and_endless_ones_refused() {
        assert_eq!(take_i32(&mut &[0x82, 0x00][..]), Some(1));
        assert_eq!(take_i64(&mut &[0x82, 0x80, 0x00][..]), Some(1));
        for bytes in [&[][..], &[0x80], &[0xff; 5], &[0xff; 11]] {
            assert_eq!(take_i32(&mut &*bytes), None, "{bytes:?}");
        }
        assert_eq!(take_i64(&mut &[0xff; 11][..]), None);
    }
}
