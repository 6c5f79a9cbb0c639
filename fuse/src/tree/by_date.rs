//! `snapshots/by-date/`: a link `TIME` to each snapshot, by the second in which it was created.

use std::collections::HashSet;

use jiff::Timestamp;

use super::catalogue::ShownSnapshot;
use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::{Tree, root, snapshots};
use crate::attributes::{Attributes, Kind};
use crate::error::ViewError;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByDateNode {
    /// The folder `by-date`.
    Folder,
    /// The link to a snapshot.
    Link { sequence: u64 },
}

const FOLDER_PLACE: u64 = 7;
const LINK_PLACE: u64 = 5;

impl Family for ByDateNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Root {
                family: root::FAMILY,
                place: FOLDER_PLACE,
            } => Some(ByDateNode::Folder),
            Number::Snapshot {
                sequence,
                family: snapshots::FAMILY,
                place: LINK_PLACE,
            } => Some(ByDateNode::Link { sequence }),
            _ => None,
        }
    }

    fn number(self) -> Number {
        match self {
            ByDateNode::Folder => Number::Root {
                family: root::FAMILY,
                place: FOLDER_PLACE,
            },
            ByDateNode::Link { sequence } => Number::Snapshot {
                sequence,
                family: snapshots::FAMILY,
                place: LINK_PLACE,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            ByDateNode::Folder => Kind::Folder,
            ByDateNode::Link { .. } => Kind::Link,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let ByDateNode::Link { sequence } = self else {
            return Ok(tree.root_folder().await);
        };
        Ok(Attributes {
            kind: Kind::Link,
            size: self.link_target(tree).await?.len() as u64,
            ..snapshots::folder(tree, sequence)?
        })
    }

    async fn extended(self, _: &Tree) -> Result<Extended, ViewError> {
        Ok(match self {
            ByDateNode::Folder => Vec::new(),
            ByDateNode::Link { sequence } => vec![extended::snapshot(sequence)],
        })
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        if self != ByDateNode::Folder {
            return Err(ViewError::NotFolder);
        }
        let snapshots = tree.catalogue.snapshots(&tree.reader).await;
        // A snapshot's cookie is its number, as in the folder above.
        let rest = named(&snapshots).filter(|(sequence, _)| *sequence > window.after);
        let child = |(sequence, name)| Child::new(sequence, name, ByDateNode::Link { sequence });
        Ok(rest.take(window.at_most).map(child).collect())
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        if self != ByDateNode::Folder {
            return Err(ViewError::NotFolder);
        }
        let snapshots = tree.catalogue.snapshots(&tree.reader).await;
        let mut found = named(&snapshots).filter(|(_, known)| known == name);
        Ok(found
            .next()
            .map(|(sequence, _)| ByDateNode::Link { sequence }.into()))
    }

    async fn link_target(self, _: &Tree) -> Result<String, ViewError> {
        match self {
            ByDateNode::Folder => Err(ViewError::NotLink),
            ByDateNode::Link { sequence } => Ok(format!("../{sequence}")),
        }
    }
}

/// The name of each snapshot: the second in which it was created, and its number after it unless it is the first one of that second.
fn named(snapshots: &[ShownSnapshot]) -> impl Iterator<Item = (u64, String)> {
    let mut taken = HashSet::new();
    snapshots.iter().filter_map(move |snapshot| {
        let second = snapshot.created_ms().div_euclid(1000);
        let name = Timestamp::from_second(second).ok()?.to_string();
        let name = match taken.insert(second) {
            true => name,
            false => format!("{name}~{}", snapshot.sequence),
        };
        Some((snapshot.sequence, name))
    })
}
