//! Where consumed records go: the callbacks of a read, and how it can end early.

use kbk_format::batch::CheckedBatch;
use kbk_format::record::{Record, TimestampType};

use super::error::KafkaError;

/// Receives the records that a source reads, in offset order per partition.
///
/// `slot` is the index into the ranges that the source was opened with. An error from any method ends the read. A method that
/// blocks slows the source down: its queue fills up to its bound and fetching pauses.
pub trait RecordHandler {
    /// Why the handler ended the read.
    type Error;

    /// Handles the next record. Its bytes belong to the source and are valid only for the duration of the call.
    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), Self::Error>;

    /// Offers a whole batch, of which every record is wanted, in place of its records. Returns whether it was taken; if
    /// not, its records follow one by one. Sources that do not see batches do not offer any.
    fn batch(&mut self, _slot: usize, _batch: &CheckedBatch<'_>) -> Result<bool, Self::Error> {
        Ok(false)
    }

    /// Notes that offsets `[from, to)` can no longer be read: retention or a deletion overtook the source.
    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), Self::Error>;

    /// Notes that offsets `[from, to)` hold markers or aborted records of transactions, which nobody is shown. A source that cannot tell
    /// leaves these offsets out without a word.
    fn hidden(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Notes that the position has reached the end of the range; no more calls follow for this slot.
    fn finished(&mut self, slot: usize) -> Result<(), Self::Error>;

    /// Handles a partition that cannot be read any further, for a reason that concerns no other partition. If this returns `Ok`, the
    /// others are read on, and no more calls follow for this slot. By default, the error ends the read.
    fn unreadable(
        &mut self,
        _slot: usize,
        error: KafkaError,
    ) -> Result<(), SourceError<Self::Error>> {
        Err(error.into())
    }

    /// Called between batches, at least ten times per second: the place to flush and to check for cancellation.
    fn idle(&mut self) -> Result<(), Self::Error>;
}

/// Why a read ended early.
#[derive(Debug, thiserror::Error)]
pub enum SourceError<E> {
    /// The Kafka side failed.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The handler failed, or was cancelled.
    #[error(transparent)]
    Handler(E),
}
