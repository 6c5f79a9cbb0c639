//! How much a batch decompresses to at most, by the frames of its codec, without decompressing it.

use super::codec::BatchCodec;
use super::frame::{RecordBatch, RecordBatches};
use super::{lz4_frame, snappy_frame};
use crate::layout::limits;
use crate::wire::length;

impl RecordBatch<'_> {
    /// Returns how many bytes its records take at most once they are decompressed; `None` where only decompressing them tells, or where the
    /// frames of the codec are malformed. Of a batch of format v2.
    ///
    /// What a codec states of the whole is never believed: the bound is that of its parts, none of which can decompress to more.
    #[must_use]
    pub fn decoded_bound(&self) -> Option<u64> {
        let stored = self.after(super::HEADER_LENGTH);
        match self.header().attributes.codec()? {
            BatchCodec::None => Some(stored.len() as u64),
            // Deflate has no parts that state a length.
            BatchCodec::Gzip => None,
            BatchCodec::Snappy => snappy_frame::bound(stored),
            BatchCodec::Lz4 => lz4_frame::bound(stored),
            BatchCodec::Zstd => zstd(stored),
        }
    }

    /// Returns about how many bytes its records take once they are decompressed: the bound, or what gzip states, which nothing proves. `None` where the
    /// batch is malformed.
    fn decoded_estimate(&self) -> Option<u64> {
        let stored = self.after(super::HEADER_LENGTH);
        match self.header().attributes.codec()? {
            // The size modulo 2^32 ends a member (RFC 1952, 2.3.1), and producers write one.
            BatchCodec::Gzip => stored
                .last_chunk()
                .map(|size| u64::from(u32::from_le_bytes(*size)).max(stored.len() as u64)),
            _ => self.decoded_bound(),
        }
    }
}

/// Returns about how many bytes the records of batches that follow each other take once they are decompressed, at most as many as a block may have.
/// Nothing is checked.
pub(crate) fn decoded_bytes(batches: &[u8]) -> usize {
    let most = limits::BLOCK_DECODED_BYTES as u64;
    let mut sum = 0_u64;
    for batch in RecordBatches::new(batches, 0) {
        // What is malformed may decompress to anything before that shows.
        let estimate = batch.ok().and_then(|batch| batch.decoded_estimate());
        sum = sum.saturating_add(estimate.unwrap_or(most));
    }
    length(u32::try_from(sum.min(most)).unwrap_or(u32::MAX))
}

const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// Of frames that are skipped, but for the lowest four bits.
const SKIPPABLE: u32 = 0x184D_2A50;
/// The most that a block of Zstandard decompresses to (RFC 8878, 3.1.1.2.4).
const ZSTD_BLOCK: u64 = 128 << 10;

/// Adds up the blocks of Zstandard frames.
fn zstd(mut bytes: &[u8]) -> Option<u64> {
    let mut bound = 0_u64;
    while !bytes.is_empty() {
        let magic = u32::from_le_bytes(take(&mut bytes)?);
        if magic & !0xF == SKIPPABLE {
            let length = usize::try_from(u32::from_le_bytes(take(&mut bytes)?)).ok()?;
            bytes = bytes.get(length..)?;
            continue;
        }
        if magic != ZSTD_MAGIC {
            return None;
        }
        let [descriptor] = take(&mut bytes)?;
        let is_single_segment = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3))?;
        let size = match descriptor >> 6 {
            0 => usize::from(is_single_segment),
            code => 1 << code,
        };
        let window = usize::from(!is_single_segment);
        bytes = bytes.get(window + dictionary + size..)?;
        let has_checksum = descriptor & 4 != 0;
        loop {
            let [low, middle, high] = take(&mut bytes)?;
            let header = u32::from_le_bytes([low, middle, high, 0]);
            let size = u64::from(header >> 3);
            let (stored, most) = match header >> 1 & 3 {
                0 => (size, size),
                // One byte, repeated.
                1 => (1, size),
                2 => (size, ZSTD_BLOCK),
                _ => return None,
            };
            bytes = bytes.get(usize::try_from(stored).ok()?..)?;
            bound = bound.saturating_add(most);
            if header & 1 != 0 {
                break;
            }
        }
        if has_checksum {
            bytes = bytes.get(4..)?;
        }
    }
    Some(bound)
}

/// Takes the first bytes, if there are enough.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BatchBuilder, BatchDecoder, BatchOptions};
    use super::*;
    use crate::record::{Headers, Record};

    fn batch_of(codec: BatchCodec, values: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec,
            ..BatchOptions::default()
        });
        for (offset, value) in (0..).zip(values) {
            let record = Record {
                offset,
                timestamp: 0,
                control: false,
                key: None,
                value: Some(value),
                headers: Headers::EMPTY,
            };
            builder.push(&record).unwrap();
        }
        let mut bytes = Vec::new();
        builder.finish(values.len() as i64 - 1, &mut bytes).unwrap();
        bytes
    }

    fn decoded(batch: &RecordBatch<'_>) -> u64 {
        let mut decoder = BatchDecoder::new();
        decoder.visit(batch, usize::MAX >> 2, |_| Ok(())).unwrap() as u64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_bound_is_never_below_what_comes_out_and_close_to_it(
            values in prop::collection::vec((any::<u8>(), 0_usize..200_000, any::<bool>()), 1..6),
        ) {
            let noise = |seed: u8, length: usize| {
                let mut state = u64::from(seed) + 1;
                let mut step = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); (state >> 33) as u8 };
                (0..length).map(|_| step()).collect::<Vec<u8>>()
            };
            let values: Vec<Vec<u8>> = values.into_iter().map(|(byte, length, random)| match random {
                true => noise(byte, length),
                false => vec![byte; length],
            }).collect();
            for codec in [BatchCodec::None, BatchCodec::Snappy, BatchCodec::Lz4, BatchCodec::Zstd, BatchCodec::Gzip] {
                let bytes = batch_of(codec, &values);
                let batch = RecordBatch::parse(&bytes, 0).unwrap();
                let found = decoded(&batch);
                let estimate = batch.decoded_estimate().unwrap();
                prop_assert!(estimate >= found, "{codec:?} {estimate} {found}");
                match batch.decoded_bound() {
                    None => prop_assert_eq!(codec, BatchCodec::Gzip),
                    Some(bound) => {
                        prop_assert!(bound >= found, "{codec:?} {bound} {found}");
                        // Zstandard may cut what compresses unevenly into smaller blocks.
                        let most = if codec == BatchCodec::Zstd { 8 * (found + ZSTD_BLOCK) } else { found + ZSTD_BLOCK };
                        prop_assert!(bound <= most, "{codec:?} {bound} {found}");
                    }
                }
            }
        }

        #[test]
        fn any_bytes_have_a_bound_that_holds_or_none(
            codec in 1_u8..5, edits in prop::collection::vec((61_usize..400, any::<u8>()), 0..4), cut in 0_usize..64,
        ) {
            let codecs = [BatchCodec::Gzip, BatchCodec::Snappy, BatchCodec::Lz4, BatchCodec::Zstd];
            let mut bytes = batch_of(codecs[usize::from(codec) - 1], &[b"value ".repeat(90), b"other".repeat(3)]);
            let length = bytes.len();
            for (at, byte) in edits {
                if at < length { bytes[at] = byte; }
            }
            bytes.truncate(length.saturating_sub(cut).max(62));
            let shorter = (bytes.len() as i32 - 12).to_be_bytes();
            bytes[8..12].copy_from_slice(&shorter);
            let batch = RecordBatch::parse(&bytes, 0).unwrap();
            let Some(bound) = batch.decoded_bound() else { return Ok(()); };
            let mut decoder = BatchDecoder::new();
            if let Ok(found) = decoder.visit(&batch, usize::MAX >> 2, |_| Ok(())) {
                prop_assert!(bound >= found as u64, "{bound} {found}");
            }
        }
    }
}
