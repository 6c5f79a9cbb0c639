//! `by-time/` of a partition: `HOUR/records.jsonl`.

use std::ops::Range;

use super::extended::Extended;
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::partition::{item_number, item_of};
use super::{Tree, stored_share};
use crate::attributes::{Attributes, Kind};
use crate::content::hours::MAX_HOURS;
use crate::content::snapshot::Partition;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family. Hours are counted through the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByTimeNode {
    /// The folder `by-time`.
    Folder { sequence: u64, partition: u64 },
    /// The folder of an hour.
    Hour {
        sequence: u64,
        partition: u64,
        hour: u64,
    },
    /// The file in it.
    Records {
        sequence: u64,
        partition: u64,
        hour: u64,
    },
}

const FOLDER_ITEM: u64 = 6;
const HOUR_FAMILY: u64 = 6;
const RECORDS_FAMILY: u64 = 7;
const HOUR_BITS: u32 = 16;
const _: () = assert!(MAX_HOURS <= 1 << HOUR_BITS);

impl Family for ByTimeNode {
    fn of(number: Number) -> Option<Self> {
        let hour = |place: u64| (place >> HOUR_BITS, place & ((1 << HOUR_BITS) - 1));
        match number {
            Number::Snapshot {
                sequence,
                family: HOUR_FAMILY,
                place,
            } => {
                let (partition, hour) = hour(place);
                Some(ByTimeNode::Hour {
                    sequence,
                    partition,
                    hour,
                })
            }
            Number::Snapshot {
                sequence,
                family: RECORDS_FAMILY,
                place,
            } => {
                let (partition, hour) = hour(place);
                Some(ByTimeNode::Records {
                    sequence,
                    partition,
                    hour,
                })
            }
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
            ByTimeNode::Records {
                sequence,
                partition,
                hour,
            } => Number::Snapshot {
                sequence,
                family: RECORDS_FAMILY,
                place: partition << HOUR_BITS | hour,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            ByTimeNode::Folder { .. } | ByTimeNode::Hour { .. } => Kind::Folder,
            ByTimeNode::Records { .. } => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let partition = self.partition(tree).await?;
        let ByTimeNode::Records { hour, .. } = self else {
            return Ok(partition.loaded.folder());
        };
        let (range, newest) = text_of_hour(tree, &partition, hour).await?;
        let index = tree.reader.partition_index(&partition).await?;
        let size = range.end - range.start;
        let stored_bytes = stored_share(&partition, &index, size);
        Ok(partition.loaded.file(size, stored_bytes, newest))
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        tree.extended_of_partition(&self.partition(tree).await?)
            .await
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        match self {
            ByTimeNode::Folder {
                sequence,
                partition,
            } => {
                let hours = tree.reader.hours(&self.partition(tree).await?).await?;
                let rest = (window.start()..hours.len()).take(window.at_most);
                let children = rest.filter_map(|number| {
                    let node = ByTimeNode::Hour {
                        sequence,
                        partition,
                        hour: number as u64,
                    };
                    Some(Child::new(number as u64 + 1, hours.name(number)?, node))
                });
                Ok(children.collect())
            }
            ByTimeNode::Hour {
                sequence,
                partition,
                hour,
            } => {
                let records = ByTimeNode::Records {
                    sequence,
                    partition,
                    hour,
                };
                Ok(window.of_fixed(&[("records.jsonl", records)], |_| true))
            }
            ByTimeNode::Records { .. } => Err(ViewError::NotFolder),
        }
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let ByTimeNode::Folder {
            sequence,
            partition,
        } = self
        else {
            return self.listed_child(tree, name).await;
        };
        let hours = tree.reader.hours(&self.partition(tree).await?).await?;
        Ok(hours.named(name).map(|hour| {
            let hour = hour as u64;
            let node = ByTimeNode::Hour {
                sequence,
                partition,
                hour,
            };
            node.into()
        }))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let ByTimeNode::Records { hour, .. } = self else {
            return Err(ViewError::IsFolder);
        };
        let partition = self.partition(tree).await?;
        let (range, _) = text_of_hour(tree, &partition, hour).await?;
        tree.open_records(partition, range).await
    }
}

impl ByTimeNode {
    async fn partition(self, tree: &Tree) -> Result<Partition, ViewError> {
        let (ByTimeNode::Folder {
            sequence,
            partition,
        }
        | ByTimeNode::Hour {
            sequence,
            partition,
            ..
        }
        | ByTimeNode::Records {
            sequence,
            partition,
            ..
        }) = self;
        tree.partition(sequence, partition).await
    }
}

/// Where the records of an hour are in the partition's text, and the largest timestamp up to their end.
async fn text_of_hour(
    tree: &Tree,
    partition: &Partition,
    hour: u64,
) -> Result<(Range<u64>, Option<i64>), ViewError> {
    let reader = &tree.reader;
    let index = reader.partition_index(partition).await?;
    let hours = reader.hours(partition).await?;
    let hour = usize::try_from(hour).ok();
    let hour = hour
        .filter(|hour| *hour < hours.len())
        .ok_or(ViewError::Stale)?;
    let start = reader.hour_start(partition, &index, &hours, hour).await?;
    let end = reader
        .hour_start(partition, &index, &hours, hour + 1)
        .await?;
    // Around damage both may be the front of the same block.
    let range = start.position..end.position.max(start.position);
    Ok((range, end.before))
}
