//! The wire client's sink, as the engine uses it.

use std::time::Duration;

use bytes::Bytes;
use kbk_format::batch::RecordBatch;
use kbk_format::record::Record;

use crate::kafka::wire::WireSink;
use crate::records::{
    BatchCodec, Delivered, KafkaError, Positions, RecordSink, TopicPartition, TransactionError,
};

impl RecordSink for WireSink {
    fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        WireSink::set_targets(self, targets)
    }

    #[inline]
    fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError> {
        WireSink::send(self, target, record)
    }

    #[inline]
    fn send_as(
        &mut self,
        target: usize,
        record: &Record<'_>,
        codec: Option<BatchCodec>,
    ) -> Result<(), KafkaError> {
        WireSink::send_as(self, target, record, codec)
    }

    fn send_batch(
        &mut self,
        target: usize,
        batch: &RecordBatch<'_>,
        bytes: impl FnOnce() -> Bytes,
    ) -> Result<bool, KafkaError> {
        WireSink::send_batch(self, target, batch, bytes)
    }

    fn flush(&mut self) -> Result<(), KafkaError> {
        WireSink::flush(self)
    }

    fn take_delivered(&mut self, target: usize) -> Vec<Delivered> {
        WireSink::take_delivered(self, target)
    }

    fn transaction_timeout(&self) -> Duration {
        WireSink::transaction_timeout(self)
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        WireSink::begin(self)
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), TransactionError> {
        WireSink::commit(self, positions)
    }

    fn try_commit(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        WireSink::try_commit(self, positions)
    }

    fn abort(&mut self) -> Result<(), KafkaError> {
        WireSink::abort(self)
    }

    fn judge(&self, error: KafkaError) -> TransactionError {
        WireSink::judge(self, error)
    }
}
