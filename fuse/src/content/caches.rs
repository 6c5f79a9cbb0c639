//! What is kept of a repository: a single-flight cache for each kind of value, all within one budget.

use std::sync::Arc;

use kbk_format::repo::{Key, PartitionId};

use crate::cache::budget::Budget;
use crate::cache::leased_bytes::LeasedBytes;
use crate::cache::single_flight::{SingleFlightCache, Value};
use crate::content::blocks::{BlockKey, OpenSegment, TextKey};
use crate::content::hours::{DecodedHours, Hours};
use crate::content::log::chunks::LogChunkKey;
use crate::content::log::layout::{Indexes, LogLayout};
use crate::content::pages::{PartitionIndex, SegmentTable};
use crate::content::snapshot::LoadedSnapshot;
use crate::content::snapshot_reader::TextNeeds;
use crate::content::stored_file::{Chunk, ChunkKey};
use crate::content::text_lengths::TextLengths;

impl<T: Send + Sync + 'static> Value for Arc<T> {}

/// A snapshot's sequence, and a partition's ordinal in it.
pub(crate) type PartitionKey = (u64, u64);

/// A partition, the snapshot that last changed its segments, and a page of these: other snapshots have the same.
pub(crate) type PageKey = (PartitionId, u64, usize, TextNeeds);

/// A partition of a snapshot, with the lengths of its text or without.
pub(crate) type IndexKey = (u64, u64, TextNeeds);

/// A segment of a partition's log: snapshot, partition, and its number.
pub(crate) type LogSegmentKey = (u64, u64, usize);

/// The caches.
///
/// Stored objects are keyed by their names, which contain topic, topic id and partition: ids and digests alone would show one
/// partition's records in another whose rows name the same segment.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) snapshots: Arc<SingleFlightCache<u64, Arc<LoadedSnapshot>>>,
    pub(crate) tables: Arc<SingleFlightCache<PageKey, Arc<SegmentTable>>>,
    pub(crate) indexes: Arc<SingleFlightCache<IndexKey, Arc<PartitionIndex>>>,
    pub(crate) hours: Arc<SingleFlightCache<PartitionKey, Arc<Hours>>>,
    pub(crate) decoded_hours: Arc<SingleFlightCache<BlockKey, Arc<DecodedHours>>>,
    pub(crate) segments: Arc<SingleFlightCache<Arc<Key>, Arc<OpenSegment>>>,
    pub(crate) texts: Arc<SingleFlightCache<TextKey, LeasedBytes>>,
    /// Not evicted.
    pub(crate) text_lengths: Arc<SingleFlightCache<Arc<Key>, Arc<TextLengths>>>,
    pub(crate) chunks: Arc<SingleFlightCache<ChunkKey, Chunk>>,
    pub(crate) log_layouts: Arc<SingleFlightCache<PartitionKey, Arc<LogLayout>>>,
    pub(crate) log_indexes: Arc<SingleFlightCache<LogSegmentKey, Arc<Indexes>>>,
    pub(crate) log_chunks: Arc<SingleFlightCache<LogChunkKey, LeasedBytes>>,
}

impl Caches {
    pub(crate) fn new(budget: &Arc<Budget>) -> Caches {
        Caches {
            snapshots: SingleFlightCache::new(budget),
            tables: SingleFlightCache::new(budget),
            indexes: SingleFlightCache::new(budget),
            hours: SingleFlightCache::new(budget),
            decoded_hours: SingleFlightCache::new(budget),
            segments: SingleFlightCache::new(budget),
            texts: SingleFlightCache::new(budget),
            text_lengths: SingleFlightCache::kept(budget),
            chunks: SingleFlightCache::new(budget),
            log_layouts: SingleFlightCache::new(budget),
            log_indexes: SingleFlightCache::new(budget),
            log_chunks: SingleFlightCache::new(budget),
        }
    }
}
