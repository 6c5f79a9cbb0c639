//! The tree: which files there are, what their attributes are, and what they contain.
//!
//! | path | family |
//! |---|---|
//! | `README.txt`, `latest` | `root` |
//! | `snapshots/N/`, with `snapshot.json`, `errors.jsonl` and `INCOMPLETE.txt` | `snapshots`, `incomplete` |
//! | `snapshots/by-date/` | `by_date` |
//! | `groups/GROUP.json` | `groups` |
//! | `topics/TOPIC/config.json` | `topics` |
//! | `PARTITION/`, with `meta.json`, `records.jsonl`, `values` and `keys` | `partition`, `meta` |
//! | `by-offset/` | `by_offset`, `segment_item`, `ephemeral` |
//! | `by-time/` | `by_time`, `ephemeral` |
//! | `segments/` | `segments`, `segment_item` |
//! | `log/` | `log` |
//! | `by-key/` | `by_key`, `ephemeral` |
//! | `follow/` | `follow`, `followed` |
//!
//! A family is one type that implements [`node::Family`] in one module. To add one, write the module and name it in the register
//! of `node`; `inode` lists the numbers that are taken. `names` turns manifest data into file names and back for all of them.

mod by_date;
mod by_key;
mod by_offset;
mod by_time;
pub(crate) mod catalogue;
mod document;
pub(crate) mod ephemeral;
mod extended;
pub(crate) mod follow;
pub(crate) mod followed;
mod groups;
mod incomplete;
pub(crate) mod inode;
mod log;
mod meta;
mod names;
pub(crate) mod node;
pub(crate) mod part;
mod partition;
mod root;
mod segment_item;
mod segments;
mod snapshots;
mod topics;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kbk_format::render::View as TextView;
use kbk_format::repo::{SegmentEntry, TopicState};

use self::by_key::EphemeralKey;
use self::by_offset::EphemeralRange;
use self::by_time::EphemeralSpan;
use self::catalogue::Catalogue;
use self::ephemeral::EphemeralInodes;
use self::followed::FollowedInodes;
use self::inode::Inode;
use self::node::{Child, Node, Window};
use self::part::Part;
use crate::attributes::{Entry, Listed};
use crate::content::pages::{PartitionIndex, SegmentLocation, SegmentTable};
use crate::content::snapshot::{LoadedSnapshot, Partition};
use crate::content::snapshot_reader::SnapshotReader;
use crate::content::text_file::TextFile;
use crate::error::ViewError;
use crate::open_file::Body;

/// Selects topics.
pub type TopicFilter = Arc<dyn Fn(&TopicState) -> bool + Send + Sync>;

/// Everything that is shown.
pub(crate) struct Tree {
    pub(crate) reader: Arc<SnapshotReader>,
    pub(crate) catalogue: Catalogue,
    pub(crate) topics: Option<TopicFilter>,
    /// What the folder of a partition lists; the rest of it is found by name.
    pub(crate) listed: Vec<Part>,
    /// The partition whose folder was listed last, by its ordinal.
    pub(crate) last_listed: AtomicU64,
    /// The largest readahead window of an open file.
    pub(crate) prefetch_bytes: u64,
    /// Ranges of offsets that were looked up.
    pub(crate) offsets: EphemeralInodes<EphemeralRange>,
    /// Ranges of times that were looked up.
    pub(crate) times: EphemeralInodes<EphemeralSpan>,
    /// Keys that were looked up.
    pub(crate) keys: EphemeralInodes<EphemeralKey>,
    pub(crate) followed: FollowedInodes,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// A segment of a snapshot, and the page that lists it.
pub(super) struct LocatedSegment {
    partition: Partition,
    index: Arc<PartitionIndex>,
    table: Arc<SegmentTable>,
    /// In the text of the records.
    location: SegmentLocation,
}

impl LocatedSegment {
    fn entry(&self) -> &SegmentEntry {
        // `location` was found in this very table.
        &self.table.segments[self.location.segment]
    }

    /// The largest timestamp of its records, if it has any.
    fn newest(&self) -> Option<i64> {
        let entry = self.entry();
        (entry.records > 0).then_some(entry.max_timestamp)
    }

    /// Where its records are in the partition's text, if that is shown.
    fn text_range(&self) -> Option<Range<u64>> {
        let sizes = self.table.text(self.location.segment);
        let sizes = sizes.filter(|_| self.index.sized)?;
        let start = self.location.text_start;
        Some(start..start.saturating_add(sizes[TextView::Records as usize]))
    }
}

impl Tree {
    /// The node of an inode number.
    pub(crate) fn node(inode: Inode) -> Result<Node, ViewError> {
        Node::of(inode).ok_or(ViewError::Stale)
    }

    pub(crate) async fn lookup(&self, parent: Node, name: &[u8]) -> Result<Entry, ViewError> {
        // All names of the tree are UTF-8.
        let Ok(name) = str::from_utf8(name) else {
            return Err(ViewError::NotFound);
        };
        let node = parent.child(self, name).await?.ok_or(ViewError::NotFound)?;
        Ok(Entry {
            inode: node.inode(),
            attributes: node.attributes(self).await?,
        })
    }

    pub(crate) async fn list(
        &self,
        parent: Node,
        after: u64,
        at_most: usize,
    ) -> Result<Vec<Listed>, ViewError> {
        let mut listed = Vec::new();
        for child in parent.children(self, Window { after, at_most }).await? {
            let Child { cookie, name, node } = child;
            listed.push(Listed {
                cookie,
                name,
                inode: node.inode(),
                kind: node.kind(),
                attributes: node.attributes(self).await,
            });
        }
        Ok(listed)
    }

    /// The newest snapshot that is not damaged, if there is any.
    pub(crate) async fn newest(&self) -> Result<Option<Arc<LoadedSnapshot>>, ViewError> {
        let snapshots = self.catalogue.snapshots(&self.reader).await;
        for listed in snapshots.iter().rev() {
            if let Some(loaded) = self.undamaged(listed.sequence).await? {
                return Ok(Some(loaded));
            }
        }
        Ok(None)
    }

    /// A snapshot, unless it is damaged, which is noted.
    pub(crate) async fn undamaged(
        &self,
        sequence: u64,
    ) -> Result<Option<Arc<LoadedSnapshot>>, ViewError> {
        match self.reader.snapshot(sequence).await {
            Err(error @ ViewError::Damaged { .. }) => {
                self.reader.findings.note(&error);
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    fn lists(&self, part: Part) -> bool {
        self.listed.contains(&part)
    }

    fn shows(&self, topic: &TopicState) -> bool {
        self.topics.as_ref().is_none_or(|shows| shows(topic))
    }

    /// A partition by its ordinal among all partitions of the snapshot.
    async fn partition(&self, sequence: u64, ordinal: u64) -> Result<Partition, ViewError> {
        let loaded = self.reader.snapshot(sequence).await?;
        loaded.partition(ordinal).ok_or(ViewError::Stale)
    }

    /// A segment by its ordinal among all segments of the snapshot.
    async fn segment(&self, sequence: u64, ordinal: u64) -> Result<LocatedSegment, ViewError> {
        let loaded = self.reader.snapshot(sequence).await?;
        let (partition, segment) = loaded.segment(ordinal).ok_or(ViewError::Stale)?;
        self.segment_of(partition, segment).await
    }

    async fn segment_of(
        &self,
        partition: Partition,
        segment: u64,
    ) -> Result<LocatedSegment, ViewError> {
        let index = self.reader.partition_index(&partition).await?;
        let (page, into) = index.page_of(segment).ok_or(ViewError::Stale)?;
        let table = self.reader.segment_table(&partition, page).await?;
        let location = index.location(page, &table, into, TextView::Records);
        Ok(LocatedSegment {
            partition,
            index,
            table,
            location,
        })
    }

    /// A child for each segment of a partition. `child` is given the cookie, and the segment's ordinal in the snapshot.
    async fn segment_children(
        &self,
        partition: &Partition,
        window: Window,
        child: impl Fn(u64, u64, &SegmentEntry) -> Child,
    ) -> Result<Vec<Child>, ViewError> {
        let index = self.reader.partition_index(partition).await?;
        let before = partition.segments_before();
        let mut children = Vec::new();
        let mut at = window.after;
        while children.len() < window.at_most
            && let Some((page, into)) = index.page_of(at)
        {
            let table = self.reader.segment_table(partition, page).await?;
            let rest = table.segments.iter().skip(into);
            for entry in rest.take(window.at_most - children.len()) {
                children.push(child(at + 1, before + at, entry));
                at += 1;
            }
        }
        Ok(children)
    }

    /// The contents of a file with a part of the records of a partition.
    async fn open_records(
        &self,
        partition: Partition,
        text: Range<u64>,
    ) -> Result<Body, ViewError> {
        let index = self.reader.partition_index(&partition).await?;
        let file = TextFile::records(partition, index, text);
        Ok(Body::Text(file.into()))
    }
}

/// About how many bytes are stored for this much text of a partition, for `du`: its share of the partition's bytes.
fn stored_share(partition: &Partition, index: &PartitionIndex, size: u64) -> u64 {
    let whole = u128::from(index.size(TextView::Records).max(1));
    let stored = u128::from(partition.state().stored_bytes) * u128::from(size) / whole;
    u64::try_from(stored).unwrap_or(u64::MAX).max(size.min(1))
}
