//! How much memory a source or a sink may use, and what else bounds its work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kbk_format::batch::BatchCodec;

/// How long a transaction may stay open before its coordinator aborts it, and so how long a restore that was killed and is not
/// resumed can hold back `read_committed` consumers of the target.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest timeout that a restore can work with.
pub(super) const SHORTEST_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds of a source.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Approximate memory for records that are fetched and not yet handled.
    pub memory_bytes: usize,
}

impl Default for SourceOptions {
    fn default() -> SourceOptions {
        SourceOptions {
            memory_bytes: 32 << 20,
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
    /// The codec of batches, by topic, unless the user has set one for all; batches of other topics are not compressed.
    pub codecs: BTreeMap<String, BatchCodec>,
    /// Which batches may be written as they are, by topic; to other topics, none.
    pub whole_batches: BTreeMap<String, WholeBatches>,
    /// Whether the caller wants to stop, which cuts waits for the cluster short.
    pub stop: StopRequest,
    /// How long a transaction may stay open before its coordinator aborts it.
    pub transaction_timeout: Duration,
    /// The id under which records are written in transactions, if they are; see [`Producer::init_transactions`](super::Producer::init_transactions).
    pub transactional_id: Option<String>,
}

impl Default for SinkOptions {
    fn default() -> SinkOptions {
        SinkOptions {
            queue_bytes: 32 << 20,
            batch_bytes: 1_000_000,
            codecs: BTreeMap::new(),
            whole_batches: BTreeMap::new(),
            stop: StopRequest::default(),
            transaction_timeout: TRANSACTION_TIMEOUT,
            transactional_id: None,
        }
    }
}

/// Which batches may be written to a topic as they are, unless something in them has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeBatches {
    /// The only codec that they may have; `None` for any.
    pub codec: Option<BatchCodec>,
    /// The size of the largest one that the topic takes.
    pub most_bytes: usize,
}

/// Answers whether the caller wants to stop; by default, never. Clones ask the same caller.
#[derive(Clone, Default)]
pub struct StopRequest(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl StopRequest {
    /// Asks `is_set`, from any thread and often.
    pub fn new(is_set: impl Fn() -> bool + Send + Sync + 'static) -> StopRequest {
        StopRequest(Some(Arc::new(is_set)))
    }

    /// Whether the caller wants to stop.
    pub(super) fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|is_set| is_set())
    }

    /// Shortens a limit once the caller wants to stop: a commit that is under way may end, but nobody waits for brokers to return.
    pub(super) fn shorten(&self, limit: Duration) -> Duration {
        const ONCE_STOPPING: Duration = Duration::from_secs(10);
        match self.is_set() {
            true => limit.min(ONCE_STOPPING),
            false => limit,
        }
    }
}

impl fmt::Debug for StopRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopRequest").field(&self.is_set()).finish()
    }
}
