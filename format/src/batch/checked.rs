//! Batches whose checksums match: the type is the proof, so that nobody computes a checksum twice to be sure.
//!
//! The proof is of the moment at which it was made. What is stored of such a batch is checksummed by what the batch states
//! ([`BatchesCrc`](super::BatchesCrc)), so that a bit that changes in memory afterwards is still found by whoever reads it.

use std::ops::Deref;

use bytes::Bytes;

use super::frame::{RecordBatch, RecordBatches};
use crate::error::{FormatError, Result};

/// A batch whose checksum was compared, and matches.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBatch<'a>(RecordBatch<'a>);

impl<'a> RecordBatch<'a> {
    /// Compares the checksum, as [`check_crc`](Self::check_crc) does, and returns the batch with the proof.
    ///
    /// # Errors
    ///
    /// *checksum*.
    pub fn check(self) -> Result<CheckedBatch<'a>> {
        self.check_crc()?;
        Ok(CheckedBatch(self))
    }
}

impl<'a> Deref for CheckedBatch<'a> {
    type Target = RecordBatch<'a>;

    fn deref(&self) -> &RecordBatch<'a> {
        &self.0
    }
}

/// Whole batches that follow each other, of which every checksum matches.
#[derive(Clone, Debug, Default)]
pub struct CheckedBatches(Bytes);

impl CheckedBatches {
    /// Compares the checksum of each batch in `bytes`. Keeps those before the first that does not match or cannot be parsed, and returns what is
    /// wrong with that one.
    #[must_use]
    pub fn check(mut bytes: Bytes) -> (CheckedBatches, Option<FormatError>) {
        let mut intact_bytes = 0;
        let mut damage = None;
        for batch in RecordBatches::new(&bytes, 0) {
            match batch.and_then(RecordBatch::check) {
                Ok(batch) => intact_bytes += batch.bytes().len(),
                Err(error) => {
                    damage = Some(error);
                    break;
                }
            }
        }
        bytes.truncate(intact_bytes);
        (CheckedBatches(bytes), damage)
    }

    /// Returns the bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the batches.
    pub fn iter(&self) -> impl Iterator<Item = CheckedBatch<'_>> {
        // They were parsed before, and shared bytes do not change.
        let batches = RecordBatches::new(&self.0, 0).map_while(Result::ok);
        batches.map(CheckedBatch)
    }
}
