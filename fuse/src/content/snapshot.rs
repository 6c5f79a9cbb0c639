//! A snapshot in memory, whose partitions and segments are numbered consecutively.

use std::sync::Arc;

use kbk_format::repo::{Digested, Groups, PartitionId, PartitionState, Snapshot, TopicState};

use crate::attributes::{Attributes, Kind, Lifetime};
use crate::cache::budget::Lease;
use crate::error::Location;

/// A snapshot, and the lease on its memory.
#[derive(Debug)]
pub(crate) struct LoadedSnapshot {
    pub(crate) snapshot: Digested<Snapshot>,
    /// The consumer groups, if the snapshot has them.
    pub(crate) groups: Option<Groups>,
    /// The number of partitions before each topic; one more entry for their sum.
    partitions_before: Vec<u64>,
    /// The number of segments before each partition; one more entry for their sum.
    segments_before: Vec<u64>,
    _lease: Lease,
}

/// One partition of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) loaded: Arc<LoadedSnapshot>,
    topic: usize,
    number: usize,
}

impl LoadedSnapshot {
    pub(crate) fn new(
        snapshot: Digested<Snapshot>,
        groups: Option<Groups>,
        lease: Lease,
    ) -> LoadedSnapshot {
        let (mut partitions_before, mut segments_before) = (Vec::new(), Vec::new());
        let (mut partitions, mut segments) = (0, 0);
        for topic in &snapshot.topics {
            partitions_before.push(partitions);
            partitions += topic.partitions.len() as u64;
            for state in &topic.partitions {
                segments_before.push(segments);
                segments += state.segments;
            }
        }
        partitions_before.push(partitions);
        segments_before.push(segments);
        LoadedSnapshot {
            snapshot,
            groups,
            partitions_before,
            segments_before,
            _lease: lease,
        }
    }

    /// The approximate size of a snapshot in memory, in bytes.
    pub(crate) fn weight(snapshot: &Snapshot, groups: Option<&Groups>) -> u64 {
        let topics = snapshot.topics.iter().map(|topic| {
            let config = topic.config.iter().flatten();
            let config: usize = config
                .map(|(name, value)| 100 + name.len() + value.len())
                .sum();
            let partitions = topic.partitions.iter();
            let partitions: usize = partitions.map(|p| 220 + p.lost.len() * 16).sum();
            200 + topic.name.len() + config + partitions
        });
        let groups = groups.into_iter().flat_map(|groups| groups.groups.iter());
        let groups = groups.map(|group| {
            let offsets = group.topics.iter().flat_map(|topic| &topic.partitions);
            let offsets: usize = offsets.map(|offset| 48 + offset.metadata.len()).sum();
            150 + group.group.len() + group.topics.len() * 100 + offsets
        });
        (1024 + topics.sum::<usize>() + groups.sum::<usize>()) as u64
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.snapshot.sequence
    }

    /// When the backup ended, in milliseconds since the epoch.
    pub(crate) fn created_ms(&self) -> u64 {
        u64::try_from(self.snapshot.created_at.as_millisecond()).unwrap_or(0)
    }

    /// A timestamp, clamped to between the epoch and the backup; the time of the backup if there is none.
    pub(crate) fn clamped_ms(&self, timestamp: Option<i64>) -> u64 {
        let backup = self.created_ms();
        timestamp.map_or(backup, |timestamp| {
            u64::try_from(timestamp).unwrap_or(0).min(backup)
        })
    }

    pub(crate) fn location(&self) -> Location {
        Location {
            snapshot: Some(self.sequence()),
            ..Location::default()
        }
    }

    pub(crate) fn topic(&self, topic: u64) -> Option<&TopicState> {
        self.snapshot.topics.get(usize::try_from(topic).ok()?)
    }

    /// Partition `number` of the topic at index `topic`.
    pub(crate) fn partition_of(self: &Arc<Self>, topic: usize, number: usize) -> Option<Partition> {
        let state = self.snapshot.topics.get(topic)?;
        state.partitions.get(number)?;
        Some(Partition {
            loaded: Arc::clone(self),
            topic,
            number,
        })
    }

    /// A partition by its ordinal among all partitions of the snapshot.
    pub(crate) fn partition(self: &Arc<Self>, ordinal: u64) -> Option<Partition> {
        let (topic, number) = locate(&self.partitions_before, ordinal)?;
        self.partition_of(topic, number)
    }

    /// A segment by its ordinal among all segments of the snapshot: its partition, and its ordinal in that.
    pub(crate) fn segment(self: &Arc<Self>, ordinal: u64) -> Option<(Partition, u64)> {
        let (partition, segment) = locate(&self.segments_before, ordinal)?;
        Some((self.partition(partition as u64)?, segment as u64))
    }

    /// The attributes of a folder of this snapshot.
    pub(crate) fn folder(&self) -> Attributes {
        Attributes {
            kind: Kind::Folder,
            ..self.file(0, 0, None)
        }
    }

    /// The attributes of a file of this snapshot whose newest record has a timestamp.
    pub(crate) fn file(&self, size: u64, stored_bytes: u64, newest: Option<i64>) -> Attributes {
        Attributes {
            kind: Kind::File,
            size,
            stored_bytes,
            modified_ms: self.clamped_ms(newest),
            links: 1,
            lifetime: Lifetime::Sealed,
        }
    }
}

/// The range that contains `ordinal`, of ranges that begin at `before`, and the distance from its beginning.
fn locate(before: &[u64], ordinal: u64) -> Option<(usize, usize)> {
    let range = before
        .partition_point(|start| *start <= ordinal)
        .checked_sub(1)?;
    before.get(range + 1)?;
    let into = ordinal - before.get(range)?;
    Some((range, usize::try_from(into).ok()?))
}

impl Partition {
    pub(crate) fn topic(&self) -> &TopicState {
        // Both indexes were checked when the `Partition` was made.
        &self.loaded.snapshot.topics[self.topic]
    }

    pub(crate) fn state(&self) -> &PartitionState {
        &self.topic().partitions[self.number]
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.topic().partition_id(self.state().partition)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.loaded.sequence()
    }

    /// Its ordinal among all partitions of the snapshot.
    pub(crate) fn ordinal(&self) -> u64 {
        self.loaded.partitions_before[self.topic] + self.number as u64
    }

    /// The number of segments of the snapshot before its first.
    pub(crate) fn segments_before(&self) -> u64 {
        let ordinal = usize::try_from(self.ordinal()).unwrap_or(usize::MAX);
        self.loaded
            .segments_before
            .get(ordinal)
            .copied()
            .unwrap_or_default()
    }

    /// The number of its segments.
    pub(crate) fn segments(&self) -> u64 {
        self.state().segments
    }

    pub(crate) fn location(&self) -> Location {
        let (topic, partition) = (self.topic(), self.state().partition);
        Location {
            topic: Some((*topic.name).into()),
            topic_id: Some(topic.topic_id),
            partition: Some(partition),
            ..self.loaded.location()
        }
    }
}
