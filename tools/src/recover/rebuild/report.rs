//! What a rebuild found and did, in the shape of the JSON of `kbk recover --rebuild`.

use kbk_format::repo::{ListedObject, PartitionId};
use kbk_format::{OffsetSpan, PartitionNumber};
use serde::Serialize;

use super::base::DamagedSnapshot;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The newest readable snapshot names it, and so does the new one. It was read only where other objects have the same offsets.
    Kept,
    /// The new snapshot names it as it is.
    Adopted,
    /// It is intact, and some of its records are in a new segment: others have the rest of its offsets.
    Cut,
    /// It is damaged, and what is left of it is in a new segment, or in others.
    Salvaged,
    /// Other segments have all of its offsets, with the same records or more.
    Superseded,
    /// Its offsets were expired in the newest readable snapshot.
    Expired,
    /// Its offsets are before the first one that the newest readable snapshot has of the partition.
    Outside,
    /// A prune that is in progress deletes it.
    Pruned,
    /// It has other records than those that are used, or may belong to a history that has: nothing proves that it does not.
    Contradictory,
    /// It has the name of another segment, and what nothing else has of it is in new segments of the partition that its header states.
    Moved,
    /// It is a segment of another name, and its header or its blocks do not prove which one.
    Misplaced,
    /// It covers no offsets.
    Empty,
    /// A later version of kbk wrote it.
    Unsupported,
    /// The store does not return it, although it returns others: what it holds is not known.
    Inaccessible,
    /// Nothing of it proves itself.
    Unreadable,
}

impl Fate {
    /// Returns the fate as words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Fate::Kept => "kept",
            Fate::Adopted => "adopted",
            Fate::Cut => "cut",
            Fate::Salvaged => "salvaged",
            Fate::Superseded => "superseded",
            Fate::Expired => "expired",
            Fate::Outside => "outside",
            Fate::Pruned => "pruned",
            Fate::Contradictory => "contradictory",
            Fate::Moved => "moved",
            Fate::Misplaced => "misplaced",
            Fate::Empty => "empty",
            Fate::Unsupported => "unsupported",
            Fate::Inaccessible => "inaccessible",
            Fate::Unreadable => "unreadable",
        }
    }

    /// Returns whether the object may be whole, and may be used another time: it cannot be read now.
    #[must_use]
    pub fn may_come_back(self) -> bool {
        matches!(self, Fate::Unsupported | Fate::Inaccessible)
    }

    /// Returns whether records that the object holds, or held, may be missing in the new snapshot.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Fate::Outside
                | Fate::Contradictory
                | Fate::Misplaced
                | Fate::Unsupported
                | Fate::Inaccessible
                | Fate::Unreadable
        )
    }
}

/// An object of `data`, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectRow {
    /// The object.
    pub key: String,
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// Its length.
    pub bytes: u64,
    /// What became of it.
    pub fate: Fate,
    /// The offsets that it covers, as far as they are known; null where they are not.
    pub offsets: Option<OffsetSpan>,
    /// Number of the records that are intact in it; null where it was not read.
    pub records: Option<u64>,
    /// Number of offsets between its first and the last one that is known of it of which it proves nothing.
    pub damaged_offsets: u64,
    /// Of these, those that nothing else has; null where they are not known: where the object ended is not, or what it held.
    pub lost_offsets: Option<u64>,
    /// What is wrong with it, or why it is not used, for people; null where there is nothing to say.
    pub detail: Option<String>,
}

impl ObjectRow {
    /// Returns whether records of it may be missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.fate.is_loss() || self.lost_offsets != Some(0) || self.is_not_compared()
    }

    /// Returns whether it is of the newest readable snapshot, and could not be read to compare it with others.
    fn is_not_compared(&self) -> bool {
        self.fate == Fate::Kept && self.detail.is_some()
    }

    pub(super) fn new(id: &PartitionId, object: &ListedObject, fate: Fate) -> ObjectRow {
        ObjectRow {
            key: object.key.to_string(),
            topic: id.topic.to_string(),
            topic_id: id.topic_id.to_string(),
            partition: id.partition,
            bytes: object.bytes,
            fate,
            offsets: None,
            records: None,
            damaged_offsets: 0,
            lost_offsets: Some(0),
            detail: None,
        }
    }
}

/// A partition of which the new snapshot has something that the newest readable one does not have, or of which something is unusable.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionRebuild {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// The partition's number.
    pub partition: PartitionNumber,
    /// The offsets that are added; null where none are.
    pub offsets: Option<OffsetSpan>,
    /// Number of records that are added.
    pub records: u64,
    /// Number of segments that are named as they are.
    pub adopted_segments: u64,
    /// Number of segments that are written anew.
    pub new_segments: u64,
    /// Number of the added offsets of which nothing is left.
    pub lost_offsets: u64,
    /// These offsets.
    pub lost_spans: Vec<OffsetSpan>,
    /// Number of the added offsets that nothing has which can be read now, and that an object may have which cannot be.
    pub unread_offsets: u64,
    /// These offsets.
    pub unread_spans: Vec<OffsetSpan>,
    /// Number of the added records that another segment, which is used, too, states as removed by key.
    pub returned_records: u64,
    /// Whether these may be of keys that were deleted or written again since, by records of which no segment is left.
    pub may_be_stale: bool,
    /// From which offset on there are two histories of the partition, of which one is used; null where there is one.
    pub diverges_at: Option<i64>,
    /// From which offset on there may be two histories, since records are gone that would tell, as compactions remove them; null where nothing is
    /// doubtful, or two histories are known.
    pub may_diverge_at: Option<i64>,
}

/// `kbk.json`, where it was missing or damaged.
#[derive(Clone, Debug, Serialize)]
pub struct IdentityRebuild {
    /// What is wrong with it, for people; null where it is missing.
    pub damage: Option<String>,
    /// The id that it gets.
    pub repository_id: String,
    /// An object that states this id; null where nothing does, and it is a new one.
    pub stated_by: Option<String>,
}

/// A file in `data` whose name no segment has.
#[derive(Clone, Debug, Serialize)]
pub struct OtherFile {
    /// Where it is.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it begins as a segment does.
    pub is_segment: bool,
    /// The name that its header states; null where it has none that can be read.
    pub stated_key: Option<String>,
}

/// A topic of the new snapshot of which there is no segment, as the newest snapshot states it of which the topics can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmptyTopic {
    /// The topic's name.
    pub topic: String,
    /// Identifies the history of the topic.
    pub topic_id: String,
    /// Number of its partitions.
    pub partitions: u64,
    /// Whether it was deleted, or another history of the name replaced it.
    pub deleted: bool,
    /// Number of the records that the snapshot states of it: all of them are missing.
    pub stated_records: u64,
}

/// A cluster that segments state.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterRow {
    /// Kafka's id of the cluster.
    pub cluster_id: String,
    /// Number of the segments that are used, in whole or in part, and state it; 0 where only the newest readable snapshot does.
    pub segments: u64,
}

/// How much of what a damaged snapshot states was not found. Records that came back, as expired ones do, may hide that more is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MissingTotals {
    /// The newest snapshot of which the totals can be read, although its rows cannot be.
    pub snapshot: u64,
    /// Number of the topics that it has, deleted ones too, less those that were found.
    pub topics: u64,
    /// The same of partitions.
    pub partitions: u64,
    /// Number of its segments, less all objects in `data`.
    pub segments: u64,
    /// Number of its records, less those of the new snapshot.
    pub records: u64,
}

impl MissingTotals {
    pub(super) fn is_nothing(&self) -> bool {
        (self.topics, self.partitions, self.segments, self.records) == (0, 0, 0, 0)
    }
}

/// What a rebuild did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RebuildReport {
    /// The new snapshot; null where none was committed.
    pub snapshot: Option<u64>,
    /// The newest snapshot of which every row can be read, whose rows stay; null where there is none.
    pub base_snapshot: Option<u64>,
    /// The newer snapshots that cannot be used, the newest first. They stay as they are.
    pub damaged_snapshots: Vec<DamagedSnapshot>,
    /// What is wrong with groups and ACLs that damaged snapshots, or the base, name, for people: the new snapshot has those of the newest snapshot of
    /// which they can be read, or none.
    pub unread: Vec<String>,
    /// Files in `data` whose names no segment has: they are not used.
    pub other_files: Vec<OtherFile>,
    /// Where the totals of a damaged snapshot can be read, and less was found; null otherwise.
    pub missing_totals: Option<MissingTotals>,
    /// The clusters that segments and the base state, where there are several.
    pub clusters: Vec<ClusterRow>,
    /// `kbk.json`, where it is written again; null where it is intact.
    pub kbk_json: Option<IdentityRebuild>,
    /// Whether a prune is in progress, and what it deletes cannot be read.
    pub prune_unknown: bool,
    /// Number of topics in the new snapshot that the base does not have.
    pub new_topics: u64,
    /// Those of them without a segment, which are empty in the new snapshot.
    pub empty_topics: Vec<EmptyTopic>,
    /// The partitions that change, or of which something is unusable.
    pub rebuilt: Vec<PartitionRebuild>,
    /// Number of segments that the base names and that are not there.
    pub missing_segments: u64,
    /// Number of records that are added.
    pub records: u64,
    /// Number of offsets that are added and that nothing has: the new snapshot states them as lost.
    pub stated_lost_offsets: u64,
    /// Of these, those that objects may have which cannot be read now, since the store does not return them or a later kbk wrote them: unless they
    /// are abandoned, no snapshot is committed.
    pub unread_offsets: u64,
    /// The same number, where that is all that is lost of the objects; null where it is not known what one of them held.
    pub lost_offsets: Option<u64>,
    /// Every object of `data`, and what became of it.
    pub data_objects: Vec<ObjectRow>,
    /// Whether a signal ended it: nothing was committed.
    pub interrupted: bool,
}

impl RebuildReport {
    /// Returns the number of objects that had this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> u64 {
        let objects = self.data_objects.iter();
        objects.filter(|object| object.fate == fate).count() as u64
    }

    /// Returns the number of objects of which records may be missing.
    #[must_use]
    pub fn unusable(&self) -> u64 {
        let objects = self.data_objects.iter();
        objects.filter(|object| object.fate.is_loss()).count() as u64
    }

    /// Returns whether every object is accounted for without a loss. What no object has is not known.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.stated_lost_offsets == 0
            && self.missing_segments == 0
            && self.unread.is_empty()
            && self.missing_totals.is_none()
            && self.clusters.is_empty()
            && !self.other_files.iter().any(|it| it.is_segment)
            && !self.rebuilt.iter().any(|it| it.may_be_stale)
            && !self.empty_topics.iter().any(|it| it.stated_records > 0)
            && !self.interrupted
            && !self.data_objects.iter().any(ObjectRow::is_damaged)
    }

    pub(super) fn add(&mut self, row: PartitionRebuild) {
        self.records = self.records.saturating_add(row.records);
        self.unread_offsets = self.unread_offsets.saturating_add(row.unread_offsets);
        let stated = row.lost_offsets.saturating_add(row.unread_offsets);
        self.stated_lost_offsets = self.stated_lost_offsets.saturating_add(stated);
        self.rebuilt.push(row);
    }

    /// States whether what is lost is all known, once every object was judged.
    pub(super) fn sum_up(&mut self) {
        let mut objects = self.data_objects.iter();
        let is_known = objects.all(|object| object.lost_offsets.is_some());
        self.lost_offsets = is_known.then_some(self.stated_lost_offsets);
    }
}
