//! The tree: which names stand in a folder, and what each is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kbk_format::render::View as TextView;
use kbk_format::repo::{SegmentEntry, TopicState};

use crate::attributes::{Attributes, Entry, Kind, Lifetime, Listed};
use crate::catalogue::Catalogue;
use crate::damage::Damage;
use crate::documents;
use crate::error::ViewError;
use crate::inode::{Inode, Node, PartitionItem, RootItem, SnapshotItem, TopicItem};
use crate::library::Library;
use crate::named::{Named, NamedRange};
use crate::names::{self, Asked};
use crate::open_file::Body;
use crate::pages::{Extent, Spot, Table};
use crate::snapshot::{Loaded, Partition};
use crate::stored::StoredFile;
use crate::text::TextFile;

/// Which topics are shown, by their names.
pub type TopicFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Everything that is shown.
pub(crate) struct Tree {
    pub(crate) library: Arc<Library>,
    pub(crate) catalogue: Catalogue,
    pub(crate) topics: Option<TopicFilter>,
    pub(crate) damage: Damage,
    pub(crate) named: Named,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// A name in a folder, where a listing goes on behind it, and what it names.
type Child = (u64, String, Node);

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

    /// Where its records stand in the partition's text, if it states their size.
    pub(crate) fn text_range(&self) -> Option<Range<u64>> {
        let sizes = self.entry().rendered?;
        let start = self.spot.text_start;
        Some(start..start.saturating_add(sizes[TextView::Records as usize]))
    }
}

impl Tree {
    pub(crate) fn node(inode: Inode) -> Result<Node, ViewError> {
        Node::of(inode).ok_or(ViewError::Stale)
    }

    fn shows(&self, topic: &TopicState) -> bool {
        self.topics.as_ref().is_none_or(|shows| shows(&topic.name))
    }

    async fn partition(&self, sequence: u64, place: u64) -> Result<Partition, ViewError> {
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

    // What is said of a file.

    pub(crate) async fn attributes(&self, node: Node) -> Result<Attributes, ViewError> {
        match node {
            Node::Root(item) => self.root_attributes(item).await,
            Node::Snapshot(sequence, SnapshotItem::Folder) => self.snapshot_folder(sequence),
            Node::Snapshot(sequence, item) => self.snapshot_attributes(sequence, item).await,
            Node::Group { sequence, .. } => {
                let loaded = self.library.snapshot(sequence).await?;
                Ok(loaded.file(self.document(node).await?.len() as u64, 0, None))
            }
            Node::Topic { sequence, item, .. } => {
                let loaded = self.library.snapshot(sequence).await?;
                match item {
                    TopicItem::Folder => Ok(loaded.folder()),
                    TopicItem::Config => {
                        Ok(loaded.file(self.document(node).await?.len() as u64, 0, None))
                    }
                }
            }
            Node::Partition {
                sequence,
                partition,
                item,
            } => {
                let partition = self.partition(sequence, partition).await?;
                self.partition_attributes(node, &partition, item).await
            }
            Node::ByOffset { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let text = segment.text_range().ok_or(ViewError::NotFound)?;
                let entry = segment.entry();
                let newest = (entry.records > 0).then_some(entry.max_timestamp);
                Ok(segment
                    .partition
                    .loaded
                    .file(text.end - text.start, entry.size, newest))
            }
            Node::Stored { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let entry = segment.entry();
                let newest = (entry.records > 0).then_some(entry.max_timestamp);
                Ok(segment
                    .partition
                    .loaded
                    .file(entry.size, entry.size, newest))
            }
            Node::Part {
                sequence,
                partition,
                ..
            } => Ok(self.partition(sequence, partition).await?.loaded.folder()),
            Node::PartRecords {
                sequence,
                partition,
                part,
            } => {
                let partition = self.partition(sequence, partition).await?;
                self.part_attributes(&partition, part).await
            }
            Node::Named(number) => Ok(self.named.get(number)?.attributes),
        }
    }

    async fn root_attributes(&self, item: RootItem) -> Result<Attributes, ViewError> {
        let growing = if self.catalogue.is_growing() {
            Lifetime::Growing
        } else {
            Lifetime::Sealed
        };
        let snapshots = self.catalogue.snapshots(&self.library).await?;
        let newest = snapshots.last().map_or(0, |newest| newest.written_ms);
        let mut attributes = Attributes {
            kind: Kind::Folder,
            size: 0,
            stored_bytes: 0,
            modified_ms: u64::try_from(newest).unwrap_or(0),
            links: 1,
            lifetime: growing,
        };
        match item {
            RootItem::Folder | RootItem::Snapshots => {}
            RootItem::Readme => {
                attributes.kind = Kind::File;
                attributes.size = documents::README.len() as u64;
                attributes.lifetime = Lifetime::Sealed;
            }
            RootItem::Latest => {
                attributes.kind = Kind::Link;
                attributes.size = self.latest().await?.len() as u64;
            }
        }
        Ok(attributes)
    }

    /// Where `latest` leads to.
    pub(crate) async fn latest(&self) -> Result<String, ViewError> {
        let snapshots = self.catalogue.snapshots(&self.library).await?;
        let newest = snapshots.last().filter(|_| self.catalogue.has_latest());
        newest
            .map(|newest| format!("snapshots/{}", newest.sequence))
            .ok_or(ViewError::NotFound)
    }

    /// By what the listing says: no snapshot has to be read to list them all.
    fn snapshot_folder(&self, sequence: u64) -> Result<Attributes, ViewError> {
        let known = self.catalogue.known();
        let at = known.binary_search_by_key(&sequence, |snapshot| snapshot.sequence);
        let listed = at
            .ok()
            .and_then(|at| known.get(at))
            .ok_or(ViewError::Stale)?;
        Ok(Attributes {
            kind: Kind::Folder,
            size: 0,
            stored_bytes: 0,
            modified_ms: u64::try_from(listed.written_ms).unwrap_or(0),
            links: 1,
            lifetime: Lifetime::Sealed,
        })
    }

    async fn snapshot_attributes(
        &self,
        sequence: u64,
        item: SnapshotItem,
    ) -> Result<Attributes, ViewError> {
        let loaded = self.library.snapshot(sequence).await?;
        let node = Node::Snapshot(sequence, item);
        match item {
            SnapshotItem::Folder | SnapshotItem::Groups | SnapshotItem::Topics => {
                Ok(loaded.folder())
            }
            SnapshotItem::Json => Ok(loaded.file(self.document(node).await?.len() as u64, 0, None)),
            SnapshotItem::Errors => {
                let size = self.document(node).await?.len() as u64;
                Ok(Attributes {
                    lifetime: Lifetime::Growing,
                    ..loaded.file(size, 0, None)
                })
            }
        }
    }

    async fn partition_attributes(
        &self,
        node: Node,
        partition: &Partition,
        item: PartitionItem,
    ) -> Result<Attributes, ViewError> {
        let loaded = &partition.loaded;
        let view = match item {
            PartitionItem::Folder
            | PartitionItem::ByOffset
            | PartitionItem::ByTime
            | PartitionItem::Segments => {
                return Ok(loaded.folder());
            }
            PartitionItem::Meta => {
                let size = self.document(node).await?.len() as u64;
                return Ok(Attributes {
                    lifetime: Lifetime::Growing,
                    ..loaded.file(size, 0, None)
                });
            }
            PartitionItem::Records => TextView::Records,
            PartitionItem::Values => TextView::Values,
            PartitionItem::Keys => TextView::Keys,
        };
        let extent = self.library.extent(partition).await?;
        if !extent.sized {
            return Err(ViewError::NotFound);
        }
        let newest = extent.times.map(|(_, max)| max);
        Ok(loaded.file(extent.size(view), partition.state().stored_bytes, newest))
    }

    async fn part_attributes(
        &self,
        partition: &Partition,
        part: u64,
    ) -> Result<Attributes, ViewError> {
        let (range, newest) = self.part(partition, part).await?;
        let extent = self.library.extent(partition).await?;
        let size = range.end - range.start;
        Ok(partition
            .loaded
            .file(size, share(partition, &extent, size), newest))
    }

    /// Where a part of `by-time` stands in the partition's text, and its largest timestamp.
    async fn part(
        &self,
        partition: &Partition,
        part: u64,
    ) -> Result<(Range<u64>, Option<i64>), ViewError> {
        let library = &self.library;
        let (extent, times) = (
            library.extent(partition).await?,
            library.times(partition).await?,
        );
        let part = usize::try_from(part)
            .ok()
            .filter(|part| *part < times.len())
            .ok_or(ViewError::Stale)?;
        let start = library.part_start(partition, &extent, &times, part).await?;
        let end = library
            .part_start(partition, &extent, &times, part + 1)
            .await?;
        Ok((start.position..end.position, end.before))
    }

    // Which names stand in a folder.

    pub(crate) async fn lookup(&self, parent: Node, name: &[u8]) -> Result<Entry, ViewError> {
        let Ok(name) = str::from_utf8(name) else {
            return Err(ViewError::NotFound);
        };
        let node = self.child(parent, name).await?.ok_or(ViewError::NotFound)?;
        Ok(Entry {
            inode: node.inode(),
            attributes: self.attributes(node).await?,
        })
    }

    /// What `name` names in a folder.
    async fn child(&self, parent: Node, name: &str) -> Result<Option<Node>, ViewError> {
        match parent {
            Node::Root(RootItem::Snapshots) => {
                let snapshots = self.catalogue.snapshots(&self.library).await?;
                let sequence = names::number(name).filter(|sequence| {
                    snapshots
                        .binary_search_by_key(sequence, |snapshot| snapshot.sequence)
                        .is_ok()
                });
                Ok(sequence.map(|sequence| Node::Snapshot(sequence, SnapshotItem::Folder)))
            }
            Node::Snapshot(sequence, SnapshotItem::Groups) => {
                let loaded = self.library.snapshot(sequence).await?;
                Ok(group_named(&loaded, name).map(|group| Node::Group { sequence, group }))
            }
            Node::Snapshot(sequence, SnapshotItem::Topics) => {
                let loaded = self.library.snapshot(sequence).await?;
                let topic = self.topic_named(&loaded, name);
                Ok(topic.map(|topic| Node::Topic {
                    sequence,
                    topic,
                    item: TopicItem::Folder,
                }))
            }
            Node::Topic {
                sequence,
                topic,
                item: TopicItem::Folder,
            } if name != CONFIG => {
                let loaded = self.library.snapshot(sequence).await?;
                let number = names::number(name);
                let at = usize::try_from(topic).ok().zip(number);
                let partition = at.and_then(|(topic, number)| loaded.partition_of(topic, number));
                Ok(partition.map(|partition| folder_of(&partition)))
            }
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::ByTime,
            } => {
                let of = self.partition(sequence, partition).await?;
                let part = self.library.times(&of).await?.named(name);
                Ok(part.map(|part| Node::Part {
                    sequence,
                    partition,
                    part: part as u64,
                }))
            }
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::ByOffset,
            } => self.by_offset_child(sequence, partition, name).await,
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::Segments,
            } => {
                let partition = self.partition(sequence, partition).await?;
                let Some(base) = names::stored_base(name) else {
                    return Ok(None);
                };
                let found = self.library.segment_at(&partition, base).await?;
                let named = found.filter(|(_, entry)| names::stored(entry) == name);
                Ok(named.map(|(segment, _)| Node::Stored {
                    sequence,
                    segment: partition.segments_before() + segment,
                }))
            }
            // What is left are folders with few names.
            _ => {
                let children = self.children(parent, 0, usize::MAX).await?;
                let named = children.into_iter().find(|(_, found, _)| found == name);
                Ok(named.map(|(_, _, node)| node))
            }
        }
    }

    async fn by_offset_child(
        &self,
        sequence: u64,
        place: u64,
        name: &str,
    ) -> Result<Option<Node>, ViewError> {
        let partition = self.partition(sequence, place).await?;
        let extent = self.library.extent(&partition).await?;
        let Some(asked) = names::asked(name) else {
            return Ok(None);
        };
        if let Asked::Range(first, last) = asked
            && let Some((segment, entry)) = self.library.segment_at(&partition, first).await?
            && (entry.base_offset, entry.end_offset.saturating_sub(1)) == (first, last)
            && entry.rendered.is_some()
        {
            let segment = partition.segments_before() + segment;
            return Ok(Some(Node::ByOffset { sequence, segment }));
        }
        if !extent.sized {
            return Ok(None);
        }
        let Some(text) = self.library.asked(&partition, &extent, asked).await? else {
            return Ok(None);
        };
        let size = text.end - text.start;
        let newest = extent.times.map(|(_, max)| max);
        let attributes = partition
            .loaded
            .file(size, share(&partition, &extent, size), newest);
        let range = NamedRange {
            sequence,
            partition: place,
            asked,
            text,
            attributes,
        };
        Ok(Some(Node::Named(self.named.looked_up(range))))
    }

    /// The topic that stands under `name` in `topics`.
    fn topic_named(&self, loaded: &Loaded, name: &str) -> Option<u64> {
        let begins = name.split(['@', '~']).next().unwrap_or_default();
        let topics = &loaded.snapshot.topics;
        let first = topics.partition_point(|topic| &*topic.name < begins);
        let candidates = topics.iter().enumerate().skip(first);
        let mut candidates = candidates.take_while(|(_, topic)| topic.name.starts_with(begins));
        let found = candidates.find(|(_, topic)| names::topic(topic) == name);
        found
            .filter(|(_, topic)| self.shows(topic))
            .map(|(topic, _)| topic as u64)
    }

    pub(crate) async fn list(
        &self,
        parent: Node,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Listed>, ViewError> {
        let mut listed = Vec::new();
        for (cookie, name, node) in self.children(parent, from, at_most).await? {
            let attributes = self.attributes(node).await;
            listed.push(Listed {
                cookie,
                name,
                inode: node.inode(),
                kind: kind(node),
                attributes,
            });
        }
        Ok(listed)
    }

    /// Names of a folder behind the cookie `from`.
    async fn children(
        &self,
        parent: Node,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        match parent {
            Node::Root(RootItem::Folder) => Ok(self.root_children(from, at_most).await?),
            Node::Root(RootItem::Snapshots) => {
                let snapshots = self.catalogue.snapshots(&self.library).await?;
                let behind = snapshots
                    .iter()
                    .map(|snapshot| snapshot.sequence)
                    .filter(|sequence| *sequence > from);
                let child = |sequence: u64| {
                    (
                        sequence,
                        sequence.to_string(),
                        Node::Snapshot(sequence, SnapshotItem::Folder),
                    )
                };
                Ok(behind.take(at_most).map(child).collect())
            }
            Node::Snapshot(sequence, SnapshotItem::Folder) => {
                let loaded = self.library.snapshot(sequence).await?;
                let has_groups = loaded.snapshot.groups.is_some();
                let named = [
                    ("snapshot.json", SnapshotItem::Json),
                    ("errors.jsonl", SnapshotItem::Errors),
                    ("groups", SnapshotItem::Groups),
                    ("topics", SnapshotItem::Topics),
                ];
                let named = named.map(|(name, item)| (name, Node::Snapshot(sequence, item)));
                let shown = |node: Node| {
                    has_groups || node != Node::Snapshot(sequence, SnapshotItem::Groups)
                };
                Ok(fixed(&named, shown, from, at_most))
            }
            Node::Snapshot(sequence, SnapshotItem::Groups) => {
                let loaded = self.library.snapshot(sequence).await?;
                let groups = loaded
                    .snapshot
                    .groups
                    .iter()
                    .flat_map(|groups| groups.groups.iter());
                let child = |(group, state): (u64, &kbk_format::repo::GroupState)| {
                    (
                        group + 1,
                        names::group(&state.group),
                        Node::Group { sequence, group },
                    )
                };
                let skipped = usize::try_from(from).unwrap_or(usize::MAX);
                Ok((0..)
                    .zip(groups)
                    .skip(skipped)
                    .take(at_most)
                    .map(child)
                    .collect())
            }
            Node::Snapshot(sequence, SnapshotItem::Topics) => {
                let loaded = self.library.snapshot(sequence).await?;
                let topics = (0..).zip(&loaded.snapshot.topics);
                let shown = topics.filter(|(topic, state)| *topic >= from && self.shows(state));
                let child = |(topic, state): (u64, &TopicState)| {
                    (
                        topic + 1,
                        names::topic(state),
                        Node::Topic {
                            sequence,
                            topic,
                            item: TopicItem::Folder,
                        },
                    )
                };
                Ok(shown.take(at_most).map(child).collect())
            }
            Node::Topic {
                sequence,
                topic,
                item: TopicItem::Folder,
            } => {
                let loaded = self.library.snapshot(sequence).await?;
                topic_children(&loaded, topic, from, at_most)
            }
            Node::Partition {
                sequence,
                partition,
                item,
            } => {
                let partition = self.partition(sequence, partition).await?;
                self.partition_children(&partition, item, from, at_most)
                    .await
            }
            Node::Part {
                sequence,
                partition,
                part,
            } => {
                let records = Node::PartRecords {
                    sequence,
                    partition,
                    part,
                };
                Ok(fixed(
                    &[("records.jsonl", records)],
                    |_| true,
                    from,
                    at_most,
                ))
            }
            _ => Err(ViewError::NotFolder),
        }
    }

    async fn root_children(&self, from: u64, at_most: usize) -> Result<Vec<Child>, ViewError> {
        let has_latest = self.latest().await.is_ok();
        let named = [
            ("README.txt", Node::Root(RootItem::Readme)),
            ("latest", Node::Root(RootItem::Latest)),
            ("snapshots", Node::Root(RootItem::Snapshots)),
        ];
        let shown = |node: Node| has_latest || node != Node::Root(RootItem::Latest);
        Ok(fixed(&named, shown, from, at_most))
    }

    async fn partition_children(
        &self,
        partition: &Partition,
        item: PartitionItem,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        match item {
            PartitionItem::Folder => {
                let extent = self.library.extent(partition).await?;
                let (sequence, place) = (partition.sequence(), partition.ordinal());
                let named = PARTITION_NAMES.map(|(name, item)| {
                    (
                        name,
                        Node::Partition {
                            sequence,
                            partition: place,
                            item,
                        },
                    )
                });
                let shown = |node: Node| {
                    let Node::Partition { item, .. } = node else {
                        return false;
                    };
                    extent.sized || matches!(item, PartitionItem::Meta | PartitionItem::Segments)
                };
                Ok(fixed(&named, shown, from, at_most))
            }
            PartitionItem::ByOffset | PartitionItem::Segments => {
                self.segment_children(partition, item, from, at_most).await
            }
            PartitionItem::ByTime => {
                let times = self.library.times(partition).await?;
                let (sequence, place) = (partition.sequence(), partition.ordinal());
                let first = usize::try_from(from).unwrap_or(usize::MAX);
                let children = (first..times.len()).take(at_most).filter_map(|part| {
                    let node = Node::Part {
                        sequence,
                        partition: place,
                        part: part as u64,
                    };
                    Some((part as u64 + 1, times.name(part)?, node))
                });
                Ok(children.collect())
            }
            PartitionItem::Meta
            | PartitionItem::Records
            | PartitionItem::Values
            | PartitionItem::Keys => Err(ViewError::NotFolder),
        }
    }

    async fn segment_children(
        &self,
        partition: &Partition,
        item: PartitionItem,
        from: u64,
        at_most: usize,
    ) -> Result<Vec<Child>, ViewError> {
        let extent = self.library.extent(partition).await?;
        let (sequence, before) = (partition.sequence(), partition.segments_before());
        let mut children = Vec::new();
        let mut at = from;
        while children.len() < at_most
            && let Some((page, into)) = extent.page_of(at)
        {
            let table = self.library.table(partition, page).await?;
            for entry in table
                .page
                .segments
                .iter()
                .skip(into)
                .take(at_most - children.len())
            {
                let segment = before + at;
                at += 1;
                let (name, node) = match item {
                    PartitionItem::ByOffset => (
                        names::by_offset(entry),
                        Node::ByOffset { sequence, segment },
                    ),
                    _ => (
                        names::stored(entry).to_owned(),
                        Node::Stored { sequence, segment },
                    ),
                };
                children.push((at, name, node));
            }
        }
        Ok(children)
    }

    // What is in a file.

    /// The bytes of a file that is made when it is asked for.
    async fn document(&self, node: Node) -> Result<Vec<u8>, ViewError> {
        match node {
            Node::Root(RootItem::Readme) => Ok(documents::README.into()),
            Node::Snapshot(sequence, SnapshotItem::Json) => Ok(documents::snapshot(
                &*self.library.snapshot(sequence).await?,
            )),
            Node::Snapshot(sequence, SnapshotItem::Errors) => Ok(self.damage.lines(sequence)),
            Node::Group { sequence, group } => {
                let loaded = self.library.snapshot(sequence).await?;
                let groups = loaded.snapshot.groups.as_ref();
                let at = usize::try_from(group).unwrap_or(usize::MAX);
                let state = groups
                    .and_then(|groups| groups.groups.get(at))
                    .ok_or(ViewError::Stale)?;
                Ok(documents::group(&loaded, state))
            }
            Node::Topic {
                sequence,
                topic,
                item: TopicItem::Config,
            } => {
                let loaded = self.library.snapshot(sequence).await?;
                loaded
                    .topic(topic)
                    .map(documents::config)
                    .ok_or(ViewError::Stale)
            }
            Node::Partition {
                sequence,
                partition,
                item: PartitionItem::Meta,
            } => {
                let partition = self.partition(sequence, partition).await?;
                let extent = self.library.extent(&partition).await?;
                let (topic, number) = (&partition.topic().name, partition.state().partition);
                let damage = self.damage.of_partition(sequence, topic, number);
                Ok(documents::meta(&partition, &extent, damage))
            }
            _ => Err(ViewError::IsFolder),
        }
    }

    pub(crate) async fn body(&self, node: Node) -> Result<Body, ViewError> {
        match node {
            Node::Partition {
                sequence,
                partition,
                item,
            } => {
                let view = match item {
                    PartitionItem::Records => TextView::Records,
                    PartitionItem::Values => TextView::Values,
                    PartitionItem::Keys => TextView::Keys,
                    _ => {
                        return self
                            .document(node)
                            .await
                            .map(|bytes| Body::Whole(bytes.into()));
                    }
                };
                let partition = self.partition(sequence, partition).await?;
                let extent = self.library.extent(&partition).await?;
                if !extent.sized {
                    return Err(ViewError::NotFound);
                }
                Ok(Body::Text(TextFile::whole(partition, extent, view)))
            }
            Node::ByOffset { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let range = segment.text_range().ok_or(ViewError::NotFound)?;
                let NamedSegment {
                    partition, extent, ..
                } = segment;
                Ok(Body::Text(TextFile {
                    partition,
                    extent,
                    view: TextView::Records,
                    range,
                }))
            }
            Node::PartRecords {
                sequence,
                partition,
                part,
            } => {
                let partition = self.partition(sequence, partition).await?;
                let (range, _) = self.part(&partition, part).await?;
                self.records_at(partition, range).await
            }
            Node::Named(number) => {
                let named = self.named.get(number)?;
                let partition = self.partition(named.sequence, named.partition).await?;
                self.records_at(partition, named.text).await
            }
            Node::Stored { sequence, segment } => {
                let segment = self.segment(sequence, segment).await?;
                let entry = segment.entry().clone();
                Ok(Body::Stored(StoredFile::new(segment.partition, entry)))
            }
            _ => self
                .document(node)
                .await
                .map(|bytes| Body::Whole(Bytes::from(bytes))),
        }
    }

    async fn records_at(&self, partition: Partition, range: Range<u64>) -> Result<Body, ViewError> {
        let extent = self.library.extent(&partition).await?;
        Ok(Body::Text(TextFile {
            range,
            ..TextFile::whole(partition, extent, TextView::Records)
        }))
    }
}

const CONFIG: &str = "config.json";

const PARTITION_NAMES: [(&str, PartitionItem); 7] = [
    ("meta.json", PartitionItem::Meta),
    ("records.jsonl", PartitionItem::Records),
    ("values", PartitionItem::Values),
    ("keys", PartitionItem::Keys),
    ("by-offset", PartitionItem::ByOffset),
    ("by-time", PartitionItem::ByTime),
    ("segments", PartitionItem::Segments),
];

pub(crate) fn kind(node: Node) -> Kind {
    match node {
        Node::Root(RootItem::Latest) => Kind::Link,
        Node::Root(RootItem::Folder | RootItem::Snapshots)
        | Node::Snapshot(_, SnapshotItem::Folder | SnapshotItem::Groups | SnapshotItem::Topics)
        | Node::Topic {
            item: TopicItem::Folder,
            ..
        }
        | Node::Part { .. } => Kind::Folder,
        Node::Partition { item, .. } => match item {
            PartitionItem::Folder
            | PartitionItem::ByOffset
            | PartitionItem::ByTime
            | PartitionItem::Segments => Kind::Folder,
            PartitionItem::Meta
            | PartitionItem::Records
            | PartitionItem::Values
            | PartitionItem::Keys => Kind::File,
        },
        _ => Kind::File,
    }
}

/// How many bytes are stored of so much text of a partition, about.
fn share(partition: &Partition, extent: &Extent, size: u64) -> u64 {
    let whole = u128::from(extent.size(TextView::Records).max(1));
    let stored = u128::from(partition.state().stored_bytes) * u128::from(size) / whole;
    u64::try_from(stored).unwrap_or(u64::MAX).max(size.min(1))
}

fn folder_of(partition: &Partition) -> Node {
    Node::Partition {
        sequence: partition.sequence(),
        partition: partition.ordinal(),
        item: PartitionItem::Folder,
    }
}

/// Names that every folder of a kind has, but for those that are not `shown`.
fn fixed(
    named: &[(&str, Node)],
    shown: impl Fn(Node) -> bool,
    from: u64,
    at_most: usize,
) -> Vec<Child> {
    let counted = (1..)
        .zip(named)
        .filter(|(cookie, (_, node))| *cookie > from && shown(*node));
    counted
        .take(at_most)
        .map(|(cookie, (name, node))| (cookie, (*name).to_owned(), *node))
        .collect()
}

fn topic_children(
    loaded: &Arc<Loaded>,
    topic: u64,
    from: u64,
    at_most: usize,
) -> Result<Vec<Child>, ViewError> {
    let state = loaded.topic(topic).ok_or(ViewError::Stale)?;
    let config = Node::Topic {
        sequence: loaded.sequence(),
        topic,
        item: TopicItem::Config,
    };
    let mut children = fixed(&[(CONFIG, config)], |_| true, from, at_most);
    let first = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
    let topic = usize::try_from(topic).unwrap_or(usize::MAX);
    let numbers = first..state.partitions.len();
    for number in numbers.take(at_most - children.len()) {
        let partition = loaded.partition_of(topic, number).ok_or(ViewError::Stale)?;
        children.push((number as u64 + 2, number.to_string(), folder_of(&partition)));
    }
    Ok(children)
}

/// The group that stands under `name` in `groups`.
fn group_named(loaded: &Loaded, name: &str) -> Option<u64> {
    let prefix = names::group_prefix(name)?;
    let groups = &loaded.snapshot.groups.as_ref()?.groups;
    let first = groups.partition_point(|group| group.group.as_bytes() < &prefix[..]);
    let candidates = groups.iter().enumerate().skip(first);
    let mut candidates =
        candidates.take_while(|(_, group)| group.group.as_bytes().starts_with(&prefix));
    let found = candidates.find(|(_, group)| names::group(&group.group) == name);
    found.map(|(group, _)| group as u64)
}
