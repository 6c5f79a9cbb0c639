//! `by-key/` of a partition: the records of any key that is looked up, where all segments have a key filter. Elsewhere each look-up is an error,
//! since whether the key is there is not known.
//!
//! Nothing is listed: which keys there are is known only to all blocks. Each file is remembered from its lookup until the kernel forgets it.

use std::sync::Arc;

use super::extended::Extended;
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::partition::{more_number, more_of};
use super::{Tree, names, stored_share};
use crate::attributes::{Attributes, Kind};
use crate::content::key_file::KeyFile;
use crate::content::snapshot::Partition;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByKeyNode {
    /// The folder `by-key`.
    Folder { sequence: u64, partition: u64 },
    /// A key that was looked up, by its number in [`EphemeralInodes`](super::ephemeral::EphemeralInodes).
    Ephemeral(u64),
}

/// A key that was looked up, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EphemeralKey {
    sequence: u64,
    /// The partition's ordinal among all partitions of the snapshot.
    partition: u64,
    key: Arc<[u8]>,
    attributes: Attributes,
}

/// The number of the folder within its partition.
const FOLDER: u64 = 1;
const HASH_FAMILY: u64 = 3;

impl Family for ByKeyNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Hashed {
                family: HASH_FAMILY,
                hash,
            } => Some(ByKeyNode::Ephemeral(hash)),
            _ => match more_of(number)? {
                (sequence, partition, FOLDER) => Some(ByKeyNode::Folder {
                    sequence,
                    partition,
                }),
                _ => None,
            },
        }
    }

    fn number(self) -> Number {
        match self {
            ByKeyNode::Folder {
                sequence,
                partition,
            } => more_number(sequence, partition, FOLDER),
            ByKeyNode::Ephemeral(hash) => Number::Hashed {
                family: HASH_FAMILY,
                hash,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            ByKeyNode::Folder { .. } => Kind::Folder,
            ByKeyNode::Ephemeral(_) => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        match self {
            ByKeyNode::Folder { .. } => Ok(self.partition(tree).await?.loaded.folder()),
            ByKeyNode::Ephemeral(number) => Ok(tree.keys.get(number)?.attributes),
        }
    }

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
        tree.extended_of_partition(&self.partition(tree).await?)
            .await
    }

    async fn children(self, _: &Tree, _: Window) -> Result<Vec<Child>, ViewError> {
        match self {
            ByKeyNode::Folder { .. } => Ok(Vec::new()),
            ByKeyNode::Ephemeral(_) => Err(ViewError::NotFolder),
        }
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let ByKeyNode::Folder {
            sequence,
            partition: ordinal,
        } = self
        else {
            return Err(ViewError::NotFolder);
        };
        let Some(key) = names::key(name) else {
            return Ok(None);
        };
        let (partition, key) = (self.partition(tree).await?, Arc::<[u8]>::from(key));
        let Some(file) = key_file(tree, &partition, &key).await? else {
            return Ok(None);
        };
        let index = tree.reader.partition_index(&partition).await?;
        let stored_bytes = stored_share(&partition, &index, file.texts.size());
        let found = EphemeralKey {
            sequence,
            partition: ordinal,
            attributes: partition
                .loaded
                .file(file.texts.size(), stored_bytes, Some(file.newest)),
            key,
        };
        let asked = (sequence, ordinal, Arc::clone(&found.key));
        Ok(Some(
            ByKeyNode::Ephemeral(tree.keys.looked_up(asked, found)).into(),
        ))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let ByKeyNode::Ephemeral(number) = self else {
            return Err(ViewError::IsFolder);
        };
        let partition = self.partition(tree).await?;
        let key = tree.keys.get(number)?.key;
        let file = key_file(tree, &partition, &key).await?;
        Ok(Body::Key(file.ok_or(ViewError::Stale)?.into()))
    }

    fn forget(self, tree: &Tree, lookups: u64) {
        if let ByKeyNode::Ephemeral(number) = self {
            tree.keys.forget(number, lookups);
        }
    }
}

impl ByKeyNode {
    pub(super) fn folder_of(sequence: u64, partition: u64) -> ByKeyNode {
        ByKeyNode::Folder {
            sequence,
            partition,
        }
    }

    async fn partition(self, tree: &Tree) -> Result<Partition, ViewError> {
        let (sequence, partition) = match self {
            ByKeyNode::Folder {
                sequence,
                partition,
            } => (sequence, partition),
            ByKeyNode::Ephemeral(number) => {
                let known = tree.keys.get(number)?;
                (known.sequence, known.partition)
            }
        };
        tree.partition(sequence, partition).await
    }
}

/// The records of a key, if there are any.
async fn key_file(
    tree: &Tree,
    partition: &Partition,
    key: &Arc<[u8]>,
) -> Result<Option<KeyFile>, ViewError> {
    let index = tree.reader.partition_index(partition).await?;
    // Without records, no key is there.
    match (index.times.is_some(), index.has_key_filters()) {
        (false, _) => Ok(None),
        (true, true) => tree.reader.key_file(partition, &index, key).await,
        (true, false) => Err(ViewError::NoKeyFilter {
            location: partition.location(),
        }),
    }
}
