//! `groups/` of a snapshot: `GROUP.json` with the committed offsets of a consumer group.

use kbk_format::repo::GroupState;

use super::document::json;
use super::extended::{self, Extended};
use super::inode::Number;
use super::node::{Child, Family, Node, Window};
use super::{Tree, names, snapshots};
use crate::attributes::{Attributes, Kind};
use crate::content::snapshot::LoadedSnapshot;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupNode {
    /// The folder `groups`.
    Folder { sequence: u64 },
    /// The file of a group, by its position in the manifest.
    Group { sequence: u64, group: u64 },
}

const FAMILY: u64 = 1;
const FOLDER_PLACE: u64 = 3;

impl Family for GroupNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Snapshot {
                sequence,
                family: snapshots::FAMILY,
                place: FOLDER_PLACE,
            } => Some(GroupNode::Folder { sequence }),
            Number::Snapshot {
                sequence,
                family: FAMILY,
                place,
            } => Some(GroupNode::Group {
                sequence,
                group: place,
            }),
            _ => None,
        }
    }

    fn number(self) -> Number {
        let (sequence, family, place) = match self {
            GroupNode::Folder { sequence } => (sequence, snapshots::FAMILY, FOLDER_PLACE),
            GroupNode::Group { sequence, group } => (sequence, FAMILY, group),
        };
        Number::Snapshot {
            sequence,
            family,
            place,
        }
    }

    fn kind(self) -> Kind {
        match self {
            GroupNode::Folder { .. } => Kind::Folder,
            GroupNode::Group { .. } => Kind::File,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let loaded = tree.reader.snapshot(self.sequence()).await?;
        match self {
            GroupNode::Folder { .. } => Ok(loaded.folder()),
            GroupNode::Group { group, .. } => {
                let document = group_json(&loaded, group)?;
                Ok(loaded.file(document.len() as u64, 0, None))
            }
        }
    }

    async fn extended(self, _: &Tree) -> Result<Extended, ViewError> {
        Ok(vec![extended::snapshot(self.sequence())])
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        let GroupNode::Folder { sequence } = self else {
            return Err(ViewError::NotFolder);
        };
        let loaded = tree.reader.snapshot(sequence).await?;
        let groups = loaded.groups.iter();
        let groups = groups.flat_map(|groups| groups.groups.iter());
        let child = |(group, state): (u64, &GroupState)| {
            let node = GroupNode::Group { sequence, group };
            Child::new(group + 1, names::group(&state.group), node)
        };
        let rest = (0..).zip(groups).skip(window.start());
        Ok(rest.take(window.at_most).map(child).collect())
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let GroupNode::Folder { sequence } = self else {
            return Err(ViewError::NotFolder);
        };
        let loaded = tree.reader.snapshot(sequence).await?;
        let group = group_named(&loaded, name);
        Ok(group.map(|group| GroupNode::Group { sequence, group }.into()))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        let GroupNode::Group { sequence, group } = self else {
            return Err(ViewError::IsFolder);
        };
        let loaded = tree.reader.snapshot(sequence).await?;
        Ok(Body::Whole(group_json(&loaded, group)?.into()))
    }
}

impl GroupNode {
    fn sequence(self) -> u64 {
        match self {
            GroupNode::Folder { sequence } | GroupNode::Group { sequence, .. } => sequence,
        }
    }
}

/// The group whose file has this name.
fn group_named(loaded: &LoadedSnapshot, name: &str) -> Option<u64> {
    let prefix = names::group_prefix(name)?;
    let groups = &loaded.groups.as_ref()?.groups;
    let first = groups.partition_point(|group| group.group.as_bytes() < &prefix[..]);
    let candidates = groups.iter().enumerate().skip(first);
    let mut candidates =
        candidates.take_while(|(_, group)| group.group.as_bytes().starts_with(&prefix));
    let found = candidates.find(|(_, group)| names::group(&group.group) == name);
    found.map(|(group, _)| group as u64)
}

/// The group's committed offsets, and when they were read.
fn group_json(loaded: &LoadedSnapshot, group: u64) -> Result<Vec<u8>, ViewError> {
    let groups = loaded.groups.as_ref().ok_or(ViewError::Stale)?;
    let at = usize::try_from(group).unwrap_or(usize::MAX);
    let group = groups.groups.get(at).ok_or(ViewError::Stale)?;
    Ok(json(&GroupState {
        taken_at: group.taken_at.or(Some(groups.taken_at)),
        ..group.clone()
    }))
}
