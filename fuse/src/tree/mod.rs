//! The tree: which names stand in a folder, and what each is.

pub(crate) mod catalogue;
pub(crate) mod damage;
mod documents;
mod extended;
pub(crate) mod follow;
pub(crate) mod inode;
mod list;
mod lookup;
pub(crate) mod named;
pub(crate) mod names;
mod open;
mod stat;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use kbk_format::render::View as TextView;
use kbk_format::repo::{SegmentEntry, TopicState};

use self::catalogue::Catalogue;
use self::damage::Damage;
use self::follow::Followed;
use self::inode::{Inode, Node};
use self::named::Named;
use crate::content::library::Library;
use crate::content::pages::{Extent, Spot, Table};
use crate::content::snapshot::Partition;
use crate::error::ViewError;

/// Which topics are shown, by their names.
pub type TopicFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Everything that is shown.
pub(crate) struct Tree {
    pub(crate) library: Arc<Library>,
    pub(crate) catalogue: Catalogue,
    pub(crate) topics: Option<TopicFilter>,
    pub(crate) damage: Damage,
    /// The largest window of an open file.
    pub(crate) prefetch_bytes: u64,
    pub(crate) named: Named,
    pub(crate) followed: Followed,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// A segment of a snapshot, and the page that names it.
pub(crate) struct NamedSegment {
    pub(crate) partition: Partition,
    pub(crate) extent: Arc<Extent>,
    pub(crate) table: Arc<Table>,
    /// In the text of the records.
    pub(crate) spot: Spot,
}

impl NamedSegment {
    pub(crate) fn entry(&self) -> &SegmentEntry {
        // It was found there.
        &self.table.page.segments[self.spot.segment]
    }

    /// Where its records stand in the partition's text, if that is shown.
    pub(crate) fn text_range(&self) -> Option<Range<u64>> {
        let sizes = self.entry().rendered.filter(|_| self.extent.sized)?;
        let start = self.spot.text_start;
        Some(start..start.saturating_add(sizes[TextView::Records as usize]))
    }
}

impl Tree {
    pub(crate) fn node(inode: Inode) -> Result<Node, ViewError> {
        Node::of(inode).ok_or(ViewError::Stale)
    }

    pub(super) fn shows(&self, topic: &TopicState) -> bool {
        self.topics.as_ref().is_none_or(|shows| shows(&topic.name))
    }

    pub(super) async fn partition(
        &self,
        sequence: u64,
        place: u64,
    ) -> Result<Partition, ViewError> {
        let loaded = self.library.snapshot(sequence).await?;
        loaded.partition(place).ok_or(ViewError::Stale)
    }

    /// The segment that is counted as number `place` through the snapshot.
    pub(crate) async fn segment(
        &self,
        sequence: u64,
        place: u64,
    ) -> Result<NamedSegment, ViewError> {
        let loaded = self.library.snapshot(sequence).await?;
        let (partition, segment) = loaded.segment(place).ok_or(ViewError::Stale)?;
        self.segment_of(partition, segment).await
    }

    async fn segment_of(
        &self,
        partition: Partition,
        segment: u64,
    ) -> Result<NamedSegment, ViewError> {
        let extent = self.library.extent(&partition).await?;
        let (page, into) = extent.page_of(segment).ok_or(ViewError::Stale)?;
        let table = self.library.table(&partition, page).await?;
        let spot = extent.spot(page, &table, into, TextView::Records);
        Ok(NamedSegment {
            partition,
            extent,
            table,
            spot,
        })
    }
}

/// How many bytes are stored of so much text of a partition, about.
pub(super) fn share(partition: &Partition, extent: &Extent, size: u64) -> u64 {
    let whole = u128::from(extent.size(TextView::Records).max(1));
    let stored = u128::from(partition.state().stored_bytes) * u128::from(size) / whole;
    u64::try_from(stored).unwrap_or(u64::MAX).max(size.min(1))
}
