//! Arithmetic on CRC-32C values: the checksum of a concatenation, or of changed bytes, without a pass over them.
//!
//! A CRC is the remainder of a polynomial over GF(2). Appending `n` bytes multiplies it by `x^(8n)`, so the CRC of a concatenation follows from
//! those of its parts, and a change in the middle of bytes changes their CRC by the CRC of the change, multiplied by `x^(8n)` for the `n` bytes
//! after it.
//!
//! The powers of `x` are precomputed for each byte of a 64-bit length, so a shift costs one multiplication for each byte of the length that
//! is not zero: 60 ns for a batch of 16 KiB, 120 ns for one of 1 MiB. The crate `crc32c` has a function of the same kind that squares matrices for each
//! bit of the length: 8 to 11 microseconds, which is more than a pass over the batch takes up to some 100 KiB.

use super::frame::RecordBatch;
use super::layout as at;

/// The Castagnoli polynomial, reflected: the highest bit is the coefficient of x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// x^8: one byte.
const BYTE: u32 = ONE >> 8;

/// Bytes of a length.
const DIGITS: usize = 8;

/// `POWERS[k][d]` is x^(8 * d * 256^k).
static POWERS: [[u32; 256]; DIGITS] = powers();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which checks it"
)]
const fn powers() -> [[u32; 256]; DIGITS] {
    let mut powers = [[ONE; 256]; DIGITS];
    let mut unit = BYTE;
    let mut k = 0;
    while k < DIGITS {
        let mut power = ONE;
        let mut d = 0;
        while d < 256 {
            powers[k][d] = power;
            power = multiply(power, unit);
            d += 1;
        }
        // x^(8 * 256 * 256^k): what the next digit counts.
        unit = power;
        k += 1;
    }
    powers
}

/// Multiplies two polynomials modulo the Castagnoli polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        // No branch depends on the values: they are as good as random.
        product ^= b & (a >> bit & 1).wrapping_neg();
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    product
}

/// Multiplies `crc` by x^(8 * `bytes`).
pub(super) fn shift(crc: u32, bytes: u64) -> u32 {
    let digits = bytes.to_le_bytes();
    let powers = POWERS.iter().zip(digits);
    powers
        .filter(|(_, digit)| *digit > 0)
        .filter_map(|(powers, digit)| powers.get(usize::from(digit)))
        .fold(crc, |crc, power| multiply(*power, crc))
}

/// Returns the CRC-32C of a concatenation: `first` is that of its first part, `second` that of its second part, which has `second_length` bytes.
#[must_use]
pub fn crc32c_combine(first: u32, second: u32, second_length: u64) -> u32 {
    shift(first, second_length) ^ second
}

/// The CRC-32C of batches that follow each other, by their own checksums: one pass over 21 bytes of each.
///
/// It states what the bytes must be, and not what they are: where a batch does not match its checksum, the bytes do not match this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchesCrc(u32);

impl BatchesCrc {
    /// No bytes.
    #[must_use]
    pub fn new() -> BatchesCrc {
        BatchesCrc::default()
    }

    /// Appends a batch of format v2; one of another format is read as a whole, since its checksum is another one.
    pub fn push(&mut self, batch: &RecordBatch<'_>) {
        match batch.header().magic {
            2 => self.push_stated(batch.bytes()),
            _ => self.0 = crc32c::crc32c_append(self.0, batch.bytes()),
        }
    }

    /// Appends a batch of format v2, of which only the first 21 bytes and the length are looked at.
    pub(crate) fn push_stated(&mut self, batch: &[u8]) {
        let stated = at::field(batch, at::CRC).map(u32::from_be_bytes);
        self.0 = match (stated, batch.split_at_checked(at::ATTRIBUTES)) {
            (Some(stated), Some((prefix, covered))) => {
                let before = crc32c::crc32c_append(self.0, prefix);
                crc32c_combine(before, stated, covered.len() as u64)
            }
            _ => crc32c::crc32c_append(self.0, batch),
        };
    }

    /// Returns the CRC-32C of all batches.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_combined_crc_is_that_of_the_concatenation(a: Vec<u8>, b in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let whole = crc32c::crc32c(&[&a[..], &b].concat());
            prop_assert_eq!(crc32c_combine(crc32c::crc32c(&a), crc32c::crc32c(&b), b.len() as u64), whole);
        }

        #[test]
        fn shifts_add_up(crc: u32, a: u64, b in 0..u64::MAX / 2) {
            let a = a / 2;
            prop_assert_eq!(shift(shift(crc, a), b), shift(crc, a + b));
        }

        #[test]
        fn it_is_what_the_crate_computes(a: u32, b: u32, length in 0..u64::from(u32::MAX)) {
            let expected = crc32c::crc32c_combine(a, b, length as usize);
            // The crate ignores the second value where it is that of no bytes.
            let b = if length == 0 { 0 } else { b };
            prop_assert_eq!(crc32c_combine(a, b, length), expected);
        }
    }
}
