//! Writing records: to targets by number, with delivery reports, and in transactions where the transport has them.

use std::time::Duration;

use bytes::Bytes;
use kbk_format::batch::RecordBatch;
use kbk_format::record::Record;

use super::{BatchCodec, Delivered, KafkaError, Positions, TopicPartition, TransactionError};

/// Writes records to partitions; see [`Transport::open_sink`](super::Transport::open_sink).
///
/// Records of one target are written in the order of the calls. The first failure is kept and returned by every later call, until
/// [`abort`](RecordSink::abort).
///
/// The methods about transactions have defaults for a transport without them. Those fail, so that records are never
/// written outside a transaction that the caller believes to be open.
pub trait RecordSink: Send {
    /// Sets the targets, once. Their topics must exist.
    fn set_targets(&mut self, targets: Vec<TopicPartition>) -> Result<(), KafkaError>;

    /// Enqueues a copy of the record for the target with this index; blocks while the sink's memory is full.
    fn send(&mut self, target: usize, record: &Record<'_>) -> Result<(), KafkaError>;

    /// Enqueues a copy of a record that was in a batch with this codec: a sink that builds batches itself uses the same one, unless another
    /// one is asked for.
    fn send_as(
        &mut self,
        target: usize,
        record: &Record<'_>,
        _codec: Option<BatchCodec>,
    ) -> Result<(), KafkaError> {
        self.send(target, record)
    }

    /// Enqueues a whole batch for the target with this index, as it is or as a part of a larger one; `bytes` returns its bytes in memory that
    /// is shared. Blocks while the sink's memory is full. Returns `false`, and does nothing, where its records have to be sent one by one.
    fn send_batch(
        &mut self,
        _target: usize,
        _batch: &RecordBatch<'_>,
        _bytes: impl FnOnce() -> Bytes,
    ) -> Result<bool, KafkaError> {
        Ok(false)
    }

    /// Waits until every record sent is acknowledged by all replicas. Fails if none is for too long.
    fn flush(&mut self) -> Result<(), KafkaError>;

    /// Returns what was acknowledged for a target since the last call, in the order of sending.
    fn take_delivered(&mut self, target: usize) -> Vec<Delivered>;

    /// How long a transaction may stay open before the cluster aborts it.
    fn transaction_timeout(&self) -> Duration {
        Duration::MAX
    }

    /// Begins a transaction, to which all records belong until [`commit`](RecordSink::commit) or [`abort`](RecordSink::abort).
    fn begin(&mut self) -> Result<(), TransactionError> {
        Err(unsupported("begin a transaction").into())
    }

    /// Commits the records sent since [`begin`](RecordSink::begin) together with the positions.
    fn commit(&mut self, _positions: &Positions) -> Result<(), TransactionError> {
        Err(unsupported("commit a transaction").into())
    }

    /// Checks that these positions could be committed, without committing them.
    fn try_commit(&mut self, _positions: &Positions) -> Result<(), KafkaError> {
        Err(unsupported("commit positions in a transaction"))
    }

    /// Discards the records sent since [`begin`](RecordSink::begin), and the failure that was kept.
    fn abort(&mut self) -> Result<(), KafkaError> {
        Err(unsupported("abort a transaction"))
    }

    /// Decides whether a transaction in which `send` or `flush` failed can be retried. By default it cannot.
    fn judge(&self, error: KafkaError) -> TransactionError {
        TransactionError::Failed(error)
    }
}

fn unsupported(doing: &str) -> KafkaError {
    KafkaError::Other {
        doing: doing.to_owned(),
        cause: "this client has no transactions".to_owned(),
    }
}
