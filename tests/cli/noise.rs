//! Content for records that hardly compresses, the same in every run.

/// Returns bytes that hardly compress, others for each offset.
pub(crate) fn noise(offset: i64, length: usize) -> Vec<u8> {
    let mut state = offset.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 % 64 + 32
    });
    step.take(length).collect()
}
