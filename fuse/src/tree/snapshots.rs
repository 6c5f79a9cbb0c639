//! `snapshots/` and `snapshots/N/` with `snapshot.json`, `errors.jsonl` and, if it is partial, `INCOMPLETE.txt`.

use serde::Serialize;

use super::by_date::ByDateNode;
use super::document::json;
use super::extended::{self, Extended};
use super::groups::GroupNode;
use super::inode::{LAST_SEQUENCE, Number};
use super::node::{Child, Family, Node, Window};
use super::topics::TopicNode;
use super::{Tree, incomplete, names, root};
use crate::attributes::{Attributes, Kind, Lifetime};
use crate::content::snapshot::LoadedSnapshot;
use crate::error::ViewError;
use crate::open_file::Body;

/// A node of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotNode {
    /// The folder `snapshots`.
    All,
    /// A snapshot's folder, or a file in it.
    Of { sequence: u64, item: SnapshotItem },
}

/// A snapshot's folder, and its files. The places between them belong to other modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotItem {
    Folder = 0,
    Json = 1,
    Errors = 2,
    Incomplete = 6,
}

/// The family of a snapshot's items: those of this module, the folders `groups` and `topics`, and the link in `by-date`.
pub(super) const FAMILY: u64 = 0;
const ALL_PLACE: u64 = 4;

/// The last cookie of the folder `snapshots`, whose other cookies are the numbers of snapshots.
const BY_DATE_COOKIE: u64 = LAST_SEQUENCE + 1;
const BY_DATE: &str = "by-date";

impl Family for SnapshotNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Root {
                family: root::FAMILY,
                place: ALL_PLACE,
            } => Some(SnapshotNode::All),
            Number::Snapshot {
                sequence,
                family: FAMILY,
                place,
            } => Some(SnapshotNode::Of {
                sequence,
                item: SnapshotItem::of(place)?,
            }),
            _ => None,
        }
    }

    fn number(self) -> Number {
        match self {
            SnapshotNode::All => Number::Root {
                family: root::FAMILY,
                place: ALL_PLACE,
            },
            SnapshotNode::Of { sequence, item } => Number::Snapshot {
                sequence,
                family: FAMILY,
                place: item as u64,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            SnapshotNode::All => Kind::Folder,
            SnapshotNode::Of { item, .. } => match item {
                SnapshotItem::Folder => Kind::Folder,
                SnapshotItem::Json | SnapshotItem::Errors | SnapshotItem::Incomplete => Kind::File,
            },
        }
    }

    fn changes(self) -> bool {
        // Damage is listed as it is found.
        let errors = SnapshotItem::Errors;
        matches!(self, SnapshotNode::Of { item, .. } if item == errors)
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let SnapshotNode::Of { sequence, item } = self else {
            return Ok(tree.root_folder().await);
        };
        if item == SnapshotItem::Folder {
            return folder(tree, sequence);
        }
        let size = self.document(tree).await?.len() as u64;
        if item == SnapshotItem::Errors {
            // Without the snapshot, which may be what the errors are about.
            return Ok(Attributes {
                kind: Kind::File,
                size,
                ..folder(tree, sequence)?
            });
        }
        let loaded = tree.reader.snapshot(sequence).await?;
        Ok(loaded.file(size, 0, None))
    }

    async fn extended(self, _: &Tree) -> Result<Extended, ViewError> {
        Ok(match self {
            SnapshotNode::All => Vec::new(),
            SnapshotNode::Of { sequence, .. } => vec![extended::snapshot(sequence)],
        })
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        match self {
            SnapshotNode::All => {
                let snapshots = tree.catalogue.snapshots(&tree.reader).await;
                // A snapshot's cookie is its number: what is new comes last.
                let rest = snapshots.iter().map(|snapshot| snapshot.sequence);
                let rest = rest.filter(|sequence| *sequence > window.after);
                let child = |sequence: u64| {
                    Child::new(sequence, sequence.to_string(), Self::folder(sequence))
                };
                let by_date = Child::new(BY_DATE_COOKIE, BY_DATE.to_owned(), ByDateNode::Folder);
                let by_date = Some(by_date).filter(|child| child.cookie > window.after);
                let children = rest.map(child).chain(by_date);
                Ok(children.take(window.at_most).collect())
            }
            SnapshotNode::Of {
                sequence,
                item: SnapshotItem::Folder,
            } => {
                let loaded = tree.undamaged(sequence).await?;
                let snapshot = loaded.as_ref().map(|loaded| &loaded.snapshot);
                let has_groups = snapshot.is_some_and(|snapshot| snapshot.groups.is_some());
                let is_partial =
                    snapshot.is_some_and(|snapshot| incomplete::partitions(snapshot).count() > 0);
                let shown = |node| match node {
                    Node::Group(_) => has_groups,
                    _ if node == Self::incomplete(sequence) => is_partial,
                    // What is wrong with a damaged snapshot is all that is known of it.
                    _ => snapshot.is_some() || node == Self::errors(sequence),
                };
                Ok(window.of_fixed(&Self::names(sequence), shown))
            }
            SnapshotNode::Of { .. } => Err(ViewError::NotFolder),
        }
    }

    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        if let SnapshotNode::Of { sequence, .. } = self {
            let names = Self::names(sequence);
            let named = names.iter().find(|(known, _)| *known == name);
            return match named.filter(|_| self == Self::folder(sequence)) {
                Some((_, node)) if *node == Self::errors(sequence) => Ok(Some(*node)),
                // In a damaged snapshot, these are not absent but unreadable.
                Some(_) => {
                    tree.reader.snapshot(sequence).await?;
                    self.listed_child(tree, name).await
                }
                None => self.listed_child(tree, name).await,
            };
        }
        if name == BY_DATE {
            return Ok(Some(ByDateNode::Folder.into()));
        }
        let snapshots = tree.catalogue.snapshots(&tree.reader).await;
        let sequence = names::number(name).filter(|sequence| {
            snapshots
                .binary_search_by_key(sequence, |snapshot| snapshot.sequence)
                .is_ok()
        });
        Ok(sequence.map(|sequence| Self::folder(sequence).into()))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        Ok(Body::Whole(self.document(tree).await?.into()))
    }
}

impl SnapshotNode {
    /// The names in the folder of a snapshot, of which some may not be shown.
    fn names(sequence: u64) -> [(&'static str, Node); 5] {
        let json = SnapshotItem::Json;
        [
            (
                "snapshot.json",
                SnapshotNode::Of {
                    sequence,
                    item: json,
                }
                .into(),
            ),
            ("errors.jsonl", Self::errors(sequence)),
            ("INCOMPLETE.txt", Self::incomplete(sequence)),
            ("groups", GroupNode::Folder { sequence }.into()),
            ("topics", TopicNode::All { sequence }.into()),
        ]
    }

    fn errors(sequence: u64) -> Node {
        let item = SnapshotItem::Errors;
        SnapshotNode::Of { sequence, item }.into()
    }

    fn incomplete(sequence: u64) -> Node {
        let item = SnapshotItem::Incomplete;
        SnapshotNode::Of { sequence, item }.into()
    }

    fn folder(sequence: u64) -> SnapshotNode {
        SnapshotNode::Of {
            sequence,
            item: SnapshotItem::Folder,
        }
    }

    async fn document(self, tree: &Tree) -> Result<Vec<u8>, ViewError> {
        match self {
            SnapshotNode::Of {
                sequence,
                item: SnapshotItem::Json,
            } => Ok(snapshot_json(&*tree.reader.snapshot(sequence).await?)),
            SnapshotNode::Of {
                sequence,
                item: SnapshotItem::Errors,
            } => Ok(tree.reader.findings.lines(sequence)),
            SnapshotNode::Of {
                sequence,
                item: SnapshotItem::Incomplete,
            } => Ok(incomplete::text(
                &tree.reader.snapshot(sequence).await?.snapshot,
            )),
            _ => Err(ViewError::IsFolder),
        }
    }
}

/// A snapshot's folder, from the listing alone: listing all snapshots reads none of them. It has other names once damage was found.
pub(super) fn folder(tree: &Tree, sequence: u64) -> Result<Attributes, ViewError> {
    let known = tree.catalogue.known();
    let at = known.binary_search_by_key(&sequence, |snapshot| snapshot.sequence);
    let listed = at.ok().and_then(|at| known.get(at));
    let listed = listed.ok_or(ViewError::Stale)?;
    Ok(Attributes {
        kind: Kind::Folder,
        size: 0,
        stored_bytes: 0,
        modified_ms: u64::try_from(listed.created_ms()).unwrap_or(0),
        links: 1,
        lifetime: Lifetime::Growing,
    })
}

impl SnapshotItem {
    fn of(place: u64) -> Option<SnapshotItem> {
        let all = [
            SnapshotItem::Folder,
            SnapshotItem::Json,
            SnapshotItem::Errors,
            SnapshotItem::Incomplete,
        ];
        all.into_iter().find(|item| *item as u64 == place)
    }
}

#[derive(Serialize)]
struct SnapshotJson<'a> {
    sequence: u64,
    sha256: String,
    parent: Option<u64>,
    started_at: String,
    created_at: String,
    writer: &'a str,
    cluster_id: Option<&'a str>,
    topics: usize,
    partitions: usize,
    groups: Option<u64>,
    records: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    complete: bool,
    incomplete_partitions: usize,
}

fn snapshot_json(loaded: &LoadedSnapshot) -> Vec<u8> {
    let snapshot = &loaded.snapshot;
    let states = || snapshot.topics.iter().flat_map(|topic| &topic.partitions);
    let incomplete = incomplete::partitions(snapshot).count();
    json(&SnapshotJson {
        sequence: snapshot.sequence,
        sha256: snapshot.sha256.to_string(),
        parent: snapshot.parent.as_ref().map(|parent| parent.sequence),
        started_at: snapshot.started_at.to_string(),
        created_at: snapshot.created_at.to_string(),
        writer: &snapshot.writer,
        cluster_id: snapshot.cluster_id.as_deref(),
        topics: snapshot.topics.len(),
        partitions: states().count(),
        groups: snapshot.groups.as_ref().map(|groups| groups.groups),
        records: states().map(|state| state.records).sum(),
        stored_bytes: states().map(|state| state.stored_bytes).sum(),
        raw_bytes: states().map(|state| state.raw_bytes).sum(),
        complete: incomplete == 0,
        incomplete_partitions: incomplete,
    })
}
