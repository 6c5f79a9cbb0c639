//! `by-time/` of a partition: `HOUR.jsonl` for each hour that has records, and any day, hour and minute that is looked up.
//!
//! A file has the records whose own timestamps are in its time, in offset order. Days, minutes, and hours without the suffix are in
//! no listing; each is remembered from its lookup until the kernel forgets it.

use super::extended::Extended;
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::partition::{item_number, item_of};
use super::{Tree, stored_share};
use crate::attributes::{Attributes, Kind};
use crate::content::hours::MAX_HOURS;
use crate::content::pages::PartitionIndex;
use crate::content::snapshot::Partition;
use crate::content::span::Span;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByTimeNode {
    /// The folder `by-time`.
    Folder { sequence: u64, partition: u64 },
    /// The file of an hour; hours are counted through the partition.
    Hour {
        sequence: u64,
        partition: u64,
        hour: u64,
    },
    /// A range of time that was looked up, by its number in [`EphemeralInodes`](super::ephemeral::EphemeralInodes).
    Ephemeral(u64),
}

/// A range of time that was looked up, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EphemeralSpan {
    sequence: u64,
    /// Its ordinal among all partitions of the snapshot.
    partition: u64,
    span: Span,
    attributes: Attributes,
}

const FOLDER_ITEM: u64 = 6;
const HOUR_FAMILY: u64 = 6;
const HASH_FAMILY: u64 = 1;
const HOUR_BITS: u32 = 16;
const _: () = assert!(MAX_HOURS <= 1 << HOUR_BITS);

const SUFFIX: &str = ".jsonl";

impl Family for ByTimeNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Hashed {
                family: HASH_FAMILY,
                hash,
            } => Some(ByTimeNode::Ephemeral(hash)),
            Number::Snapshot {
                sequence,
                family: HOUR_FAMILY,
                place,
            } => Some(ByTimeNode::Hour {
                sequence,
                partition: place >> HOUR_BITS,
                hour: place & ((1 << HOUR_BITS) - 1),
            }),
            _ => match item_of(number)? {
                (sequence, partition, FOLDER_ITEM) => Some(ByTimeNode::Folder {
                    sequence,
                    partition,
                }),
                _ => None,
            },
        }
    }

    fn number(self) -> Number {
        match self {
            ByTimeNode::Folder {
                sequence,
                partition,
            } => item_number(sequence, partition, FOLDER_ITEM),
            ByTimeNode::Hour {
                sequence,
                partition,
                hour,
            } => Number::Snapshot {
                sequence,
                family: HOUR_FAMILY,
                place: partition << HOUR_BITS | hour,
            },
            ByTimeNode::Ephemeral(hash) => Number::Hashed {
                family: HASH_FAMILY,
                hash,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            ByTimeNode::Folder { .. } => Kind::Folder,
            ByTimeNode::Hour { .. } | ByTimeNode::Ephemeral(_) => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        match self {
            ByTimeNode::Folder { .. } => Ok(self.partition(tree).await?.loaded.folder()),
            ByTimeNode::Hour { hour, .. } => {
                let partition = self.partition(tree).await?;
                let index = tree.reader.partition_index(&partition).await?;
                let (span, bytes) = hour_of(tree, &partition, hour).await?;
                Ok(attributes(&partition, &index, span, bytes))
            }
            ByTimeNode::Ephemeral(number) => Ok(tree.times.get(number)?.attributes),
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        tree.extended_of_partition(&self.partition(tree).await?)
            .await
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let ByTimeNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let hours = tree.reader.hours(&self.partition(tree).await?).await?;
        let rest = (window.start()..hours.len()).take(window.at_most);
        let children = rest.filter_map(|number| {
            let hour = number as u64;
            let node = ByTimeNode::Hour {
                sequence,
                partition,
                hour,
            };
            let (span, _) = hours.get(number)?;
            Some(Child::new(hour + 1, span.name() + SUFFIX, node))
        });
        Ok(children.collect())
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let ByTimeNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let listed = name.strip_suffix(SUFFIX);
        let Some(span) = Span::parse(listed.unwrap_or(name)) else {
            return Ok(None);
        };
        let of = self.partition(tree).await?;
        // If an object is damaged, the hours are unknown. Those that it does not affect can be looked up nevertheless.
        if listed.is_some()
            && let Ok(hours) = tree.reader.hours(&of).await
            && let Some(hour) = hours.find(span)
        {
            let node = ByTimeNode::Hour {
                sequence,
                partition,
                hour: hour as u64,
            };
            return Ok(Some(node.into()));
        }
        let found = look_up(tree, &of, span).await?;
        Ok(found.map(|found| {
            let asked = (found.sequence, found.partition, found.span);
            ByTimeNode::Ephemeral(tree.times.looked_up(asked, found)).into()
        }))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let partition = self.partition(tree).await?;
        let span = match self {
            ByTimeNode::Folder { .. } => return Err(ViewError::IsFolder),
            ByTimeNode::Hour { hour, .. } => hour_of(tree, &partition, hour).await?.0,
            ByTimeNode::Ephemeral(number) => tree.times.get(number)?.span,
        };
        let index = tree.reader.partition_index(&partition).await?;
        let file = tree.reader.time_file(&partition, &index, span).await?;
        Ok(Body::Times(file.into()))
    }

    fn forget(self, tree: &Tree, lookups: u64) {
        if let ByTimeNode::Ephemeral(number) = self {
            tree.times.forget(number, lookups);
        }
    }
}

impl ByTimeNode {
    async fn partition(self, tree: &Tree) -> Result<Partition, ViewError> {
        let (sequence, partition) = match self {
            ByTimeNode::Folder {
                sequence,
                partition,
            }
            | ByTimeNode::Hour {
                sequence,
                partition,
                ..
            } => (sequence, partition),
            ByTimeNode::Ephemeral(number) => {
                let known = tree.times.get(number)?;
                (known.sequence, known.partition)
            }
        };
        tree.partition(sequence, partition).await
    }
}

/// The times of an hour, and the bytes of its text.
async fn hour_of(tree: &Tree, partition: &Partition, hour: u64) -> Result<(Span, u64), ViewError> {
    let hours = tree.reader.hours(partition).await?;
    let hour = usize::try_from(hour).ok();
    hour.and_then(|hour| hours.get(hour))
        .ok_or(ViewError::Stale)
}

/// The time of the file is its last millisecond, unless the newest record of the partition is older.
fn attributes(partition: &Partition, index: &PartitionIndex, span: Span, bytes: u64) -> Attributes {
    let newest = index.times.map(|(_, max)| max.min(span.last()));
    let stored_bytes = stored_share(partition, index, bytes);
    partition.loaded.file(bytes, stored_bytes, newest)
}

/// The records of a range of time, if there are any.
async fn look_up(
    tree: &Tree,
    partition: &Partition,
    span: Span,
) -> Result<Option<EphemeralSpan>, ViewError> {
    let index = tree.reader.partition_index(partition).await?;
    if !index.sized {
        return Ok(None);
    }
    let file = tree.reader.time_file(partition, &index, span).await?;
    Ok((file.texts.size() > 0).then(|| EphemeralSpan {
        sequence: partition.sequence(),
        partition: partition.ordinal(),
        span,
        attributes: attributes(partition, &index, span, file.texts.size()),
    }))
}
