//! `log/` of a partition: the files that Kafka keeps of it on a broker's disk, as `kbk export --format kafka-log --compression stored` writes them.
//!
//! Which files there are, and their sizes, follows from META of all records, which the first look into the folder reads, and from the headers of blocks
//! of batches.

use kbk_format::kafka_log::{
    EPOCHS_FILE, LogFile as FileName, METADATA_FILE, encode_epochs, encode_metadata,
};

use super::Tree;
use super::extended::{self, Extended};
use super::inode::{Number, items};
use super::node::{Child, Family, Node, Window};
use super::partition::{more_number, more_of};
use crate::attributes::{Attributes, Kind};
use crate::content::log::file::LogFile;
use crate::content::log::layout::{LogLayout, LogSegment, MAX_SEGMENTS};
use crate::content::snapshot::Partition;
use crate::error::ViewError;
use crate::open_file::Body;

/// The folder `log` of a partition, or a file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogNode {
    sequence: u64,
    partition: u64,
    item: LogItem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogItem {
    Folder,
    /// `leader-epoch-checkpoint`.
    Epochs,
    /// `partition.metadata`.
    Metadata,
    /// A file of a segment; segments are counted through the log.
    Segment(u64, LogPart),
}

items!(
    /// The files of a segment.
    LogPart { Log, Index, TimeIndex }
);

/// Numbers of [`more_number`]: 1 is that of another folder.
const FOLDER: u64 = 0;
const EPOCHS: u64 = 2;
const METADATA: u64 = 3;
/// Those of the first segment begin here, and there are four per segment.
const SEGMENTS: u64 = 16;
const PART_BITS: u32 = 2;
const _: () = assert!(SEGMENTS + ((MAX_SEGMENTS as u64) << PART_BITS) <= 1 << 16);

impl LogItem {
    fn of(number: u64) -> Option<LogItem> {
        match number {
            FOLDER => Some(LogItem::Folder),
            EPOCHS => Some(LogItem::Epochs),
            METADATA => Some(LogItem::Metadata),
            _ => {
                let number = number.checked_sub(SEGMENTS)?;
                let part = LogPart::of(number & ((1 << PART_BITS) - 1))?;
                Some(LogItem::Segment(number >> PART_BITS, part))
            }
        }
    }

    fn number(self) -> u64 {
        match self {
            LogItem::Folder => FOLDER,
            LogItem::Epochs => EPOCHS,
            LogItem::Metadata => METADATA,
            LogItem::Segment(segment, part) => SEGMENTS + (segment << PART_BITS | part as u64),
        }
    }
}

impl LogPart {
    fn name(self, base_offset: i64) -> FileName {
        match self {
            LogPart::Log => FileName::Log(base_offset),
            LogPart::Index => FileName::Index(base_offset),
            LogPart::TimeIndex => FileName::TimeIndex(base_offset),
        }
    }

    fn size(self, segment: &LogSegment) -> u64 {
        match self {
            LogPart::Log => segment.log_bytes,
            LogPart::Index => segment.index_bytes,
            LogPart::TimeIndex => segment.time_index_bytes,
        }
    }
}

impl Family for LogNode {
    fn of(number: Number) -> Option<Self> {
        let (sequence, partition, number) = more_of(number)?;
        Some(LogNode {
            sequence,
            partition,
            item: LogItem::of(number)?,
        })
    }

    fn number(self) -> Number {
        more_number(self.sequence, self.partition, self.item.number())
    }

    fn kind(self) -> Kind {
        match self.item {
            LogItem::Folder => Kind::Folder,
            LogItem::Epochs | LogItem::Metadata | LogItem::Segment(..) => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let partition = self.partition(tree).await?;
        let (size, stored_bytes, newest) = match self.item {
            LogItem::Folder => return Ok(partition.loaded.folder()),
            LogItem::Epochs => (epochs(&partition).len() as u64, 0, None),
            LogItem::Metadata => {
                let metadata = metadata(&partition).ok_or(ViewError::Stale)?;
                (metadata.len() as u64, 0, None)
            }
            LogItem::Segment(number, part) => {
                let layout = tree.reader.log_layout(&partition).await?;
                let segment = segment(&layout, number)?;
                let size = part.size(segment);
                let stored_bytes = match part {
                    LogPart::Log => stored_share(&partition, &layout, size),
                    // They are computed, and stored nowhere. Of a file without a block, archives keep nothing.
                    LogPart::Index | LogPart::TimeIndex => size.min(1),
                };
                (size, stored_bytes, segment.newest)
            }
        };
        Ok(partition.loaded.file(size, stored_bytes, newest))
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        let partition = self.partition(tree).await?;
        let LogItem::Segment(number, _) = self.item else {
            return tree.extended_of_partition(&partition).await;
        };
        let layout = tree.reader.log_layout(&partition).await?;
        let segment = segment(&layout, number)?;
        Ok(extended::of_offsets(
            &partition,
            segment.base_offset,
            segment.end_offset,
        ))
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let partition = self.folder(tree).await?;
        let layout = tree.reader.log_layout(&partition).await?;
        let file = |item| LogNode { item, ..self };
        let parts = LogPart::ALL.len();
        let files = layout.segments().len() * parts;
        let mut children = Vec::new();
        for at in (window.start()..files).take(window.at_most) {
            let (number, part) = (at / parts, LogPart::ALL[at % parts]);
            let name = part.name(layout.segments()[number].base_offset);
            let node = file(LogItem::Segment(number as u64, part));
            children.push(Child::new(at as u64 + 1, name.to_string(), node));
        }
        let side_files = (files as u64 + 1..).zip(side_files(&partition));
        let rest = side_files.filter(|(cookie, _)| *cookie > window.after);
        for (cookie, (name, item)) in rest.take(window.at_most - children.len()) {
            children.push(Child::new(cookie, name.to_owned(), file(item)));
        }
        Ok(children)
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let partition = self.folder(tree).await?;
        let file = |item| Node::from(LogNode { item, ..self });
        let mut side_files = side_files(&partition);
        if let Some((_, item)) = side_files.find(|(known, _)| *known == name) {
            return Ok(Some(file(item)));
        }
        let (base_offset, part) = match FileName::parse(name) {
            Some(FileName::Log(base_offset)) => (base_offset, LogPart::Log),
            Some(FileName::Index(base_offset)) => (base_offset, LogPart::Index),
            Some(FileName::TimeIndex(base_offset)) => (base_offset, LogPart::TimeIndex),
            Some(FileName::TransactionIndex(_)) | None => return Ok(None),
        };
        if part.name(base_offset).to_string() != name {
            return Ok(None);
        }
        let layout = tree.reader.log_layout(&partition).await?;
        let found = layout.find(base_offset);
        Ok(found.map(|number| file(LogItem::Segment(number as u64, part))))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let partition = self.partition(tree).await?;
        let (number, part) = match self.item {
            LogItem::Folder => return Err(ViewError::IsFolder),
            LogItem::Epochs => return Ok(Body::Whole(epochs(&partition).into())),
            LogItem::Metadata => {
                let metadata = metadata(&partition).ok_or(ViewError::Stale)?;
                return Ok(Body::Whole(metadata.into()));
            }
            LogItem::Segment(number, part) => (number, part),
        };
        let layout = tree.reader.log_layout(&partition).await?;
        segment(&layout, number)?;
        // It is the number of a segment.
        let number = number as usize;
        if part == LogPart::Log {
            let file = LogFile {
                partition,
                layout,
                number,
            };
            return Ok(Body::Log(file.into()));
        }
        let (index, time_index) = tree.reader.log_indexes(&partition, &layout, number).await?;
        Ok(Body::Whole(match part {
            LogPart::Index => index.bytes,
            LogPart::TimeIndex | LogPart::Log => time_index.bytes,
        }))
    }
}

impl LogNode {
    pub(super) fn folder_of(sequence: u64, partition: u64) -> LogNode {
        LogNode {
            sequence,
            partition,
            item: LogItem::Folder,
        }
    }

    async fn partition(self, tree: &Tree) -> Result<Partition, ViewError> {
        tree.partition(self.sequence, self.partition).await
    }

    /// The partition, for what only the folder can do.
    async fn folder(self, tree: &Tree) -> Result<Partition, ViewError> {
        match self.item {
            LogItem::Folder => self.partition(tree).await,
            LogItem::Epochs | LogItem::Metadata | LogItem::Segment(..) => Err(ViewError::NotFolder),
        }
    }
}

fn segment(layout: &LogLayout, number: u64) -> Result<&LogSegment, ViewError> {
    let number = usize::try_from(number).ok();
    let segment = number.and_then(|number| layout.segments().get(number));
    segment.ok_or(ViewError::Stale)
}

/// The files beside those of segments.
fn side_files(partition: &Partition) -> impl Iterator<Item = (&'static str, LogItem)> {
    let metadata = metadata(partition).map(|_| (METADATA_FILE, LogItem::Metadata));
    [(EPOCHS_FILE, LogItem::Epochs)].into_iter().chain(metadata)
}

/// The leader's epoch that all batches have; an empty log has had no leader that appended.
fn epochs(partition: &Partition) -> String {
    let state = partition.state();
    match state.end_offset > state.base_offset {
        true => encode_epochs(&[(0, state.base_offset)]),
        false => encode_epochs(&[]),
    }
}

/// The topic's id in its cluster, if that had one.
fn metadata(partition: &Partition) -> Option<String> {
    let id = partition.topic().kafka_id?;
    Some(encode_metadata(id.0))
}

/// About how many stored bytes a file of batches shows, for `du`: its share of the partition's.
fn stored_share(partition: &Partition, layout: &LogLayout, size: u64) -> u64 {
    let whole = u128::from(layout.log_bytes().max(1));
    let stored = u128::from(partition.state().stored_bytes) * u128::from(size) / whole;
    u64::try_from(stored).unwrap_or(u64::MAX).max(size.min(1))
}
