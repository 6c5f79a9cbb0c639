//! How much memory a source or a sink may use, and how long it waits for the cluster.

use std::time::Duration;

use super::transaction::TRANSACTION_TIMEOUT;

/// Bounds of a source.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Approximate memory for records that are fetched and not yet handled.
    pub memory_bytes: usize,
    /// How long all brokers may be unreachable before the read fails. A cluster that is reachable and sends nothing gets five
    /// times as long.
    pub patience: Duration,
}

impl Default for SourceOptions {
    fn default() -> SourceOptions {
        SourceOptions {
            memory_bytes: 32 << 20,
            patience: Duration::from_secs(60),
        }
    }
}

/// Bounds of a sink.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// Memory for records that are not acknowledged yet; at least the size of the largest record.
    pub queue_bytes: usize,
    /// Largest batch; at most the smallest `max.message.bytes` of the targets. librdkafka does not split a batch that a broker
    /// rejects as too large, even if each of its records is small.
    pub batch_bytes: usize,
    /// The codec of batches, as in `compression.type` of a producer; by default, records are not compressed.
    pub compression: Option<String>,
    /// How long all brokers may be unreachable before a write fails.
    pub patience: Duration,
    /// How long a group coordinator may take to answer. The default exceeds the transaction timeout, after which an answer is
    /// useless: the transaction has been aborted by then.
    pub coordinator_patience: Duration,
    /// The id under which records are written in transactions, if they are; see [`Producer::init_transactions`](super::Producer::init_transactions).
    pub transactional_id: Option<String>,
}

impl Default for SinkOptions {
    fn default() -> SinkOptions {
        SinkOptions {
            queue_bytes: 32 << 20,
            batch_bytes: 1_000_000,
            compression: None,
            patience: Duration::from_secs(60),
            coordinator_patience: TRANSACTION_TIMEOUT + Duration::from_secs(15),
            transactional_id: None,
        }
    }
}
