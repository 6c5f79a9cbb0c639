//! The root: `README.txt`, `latest`, and the folders `snapshots` and `follow`.

use super::Tree;
use super::extended::Extended;
use super::follow::FollowNode;
use super::inode::{Number, items};
use super::node::{Child, Family, Node, Window};
use super::snapshots::SnapshotNode;
use crate::attributes::{Attributes, Kind, Lifetime};
use crate::error::ViewError;
use crate::open_file::Body;

items!(
    /// The root folder, and what only it holds.
    RootNode { Folder, Readme, Latest }
);

/// The family of everything that belongs to no snapshot and always exists; its place 0 is unused, because the root's number is 1.
pub(super) const FAMILY: u64 = 0;

/// What the README of a mount of all snapshots begins with.
const ALL: &str = "\
A kbk repository of Kafka topics, as read-only files. `latest` is the newest backup. The files under `follow` are its
records.jsonl, values and keys, and grow with each backup: `tail -f` them.

";

/// What the README of a mount of one snapshot begins with.
const ONE: &str = "\
One snapshot of a kbk repository of Kafka topics, as read-only files. It stays as it is: backups that are made later are
in a mount without --snapshot.

";

/// What each README continues with.
const README: &str = "\
snapshots/N/topics/TOPIC/PARTITION/ contains for each partition:
  records.jsonl          every record, one JSON object per line, in offset order
  values, keys           one per line, unescaped; meta.json says whether each line is a whole one (`lossless`)
  by-offset/             a file per segment; any 17.json and 17-99.jsonl can be opened, too, both ends inclusive,
                         and 17.value, the bytes of one value
  by-time/               a file per hour (UTC) with the records whose timestamps are in it, in offset order; any day,
                         hour and minute can be opened, too: by-time/2026-11-22, by-time/2026-11-22T14:05
  by-key/KEY             the records of a key, where all segments have a key filter (lists nothing)
  segments/              the stored bytes
  log/                   Kafka's own log, as a broker keeps it on its disk: for kafka-dump-log and the like
  meta.json              offsets, gaps, counts, times, sizes, and the damage found so far
All of these but meta.json show the same records. A listing has those of `kbk mount --show`, only records.jsonl by
default, so that `grep -r`, `cp -r` and `du` find each record once; the others can be opened and entered all the same.
A snapshot that lacks records which the cluster had contains INCOMPLETE.txt, which names them.
snapshots/by-date/ has a link to each snapshot, by the time (UTC) when it was made. Deleted topics are under TOPIC@ID.
If a partition has no records.jsonl, its segments do not state the length of their text: use `kbk cat` to see the
records. Where text is damaged and its length is not known, a range that cannot be read has its place; meta.json lists
it (`unreadable_text`). `du` of a file shows its stored bytes.
";

/// Describes the tree as it is mounted: one snapshot has neither `latest` nor `follow`.
fn readme(tree: &Tree) -> String {
    let begin = match tree.catalogue.has_latest() {
        true => ALL,
        false => ONE,
    };
    [begin, README].concat()
}

impl Family for RootNode {
    fn of(number: Number) -> Option<Self> {
        match number {
            Number::Root {
                family: FAMILY,
                place,
            } => RootNode::of(place.checked_sub(1)?),
            _ => None,
        }
    }

    fn number(self) -> Number {
        Number::Root {
            family: FAMILY,
            place: 1 + self as u64,
        }
    }

    fn kind(self) -> Kind {
        match self {
            RootNode::Folder => Kind::Folder,
            RootNode::Readme => Kind::File,
            RootNode::Latest => Kind::Link,
        }
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
        let folder = tree.root_folder().await;
        Ok(match self {
            RootNode::Folder => folder,
            RootNode::Readme => Attributes {
                kind: Kind::File,
                size: readme(tree).len() as u64,
                lifetime: Lifetime::Sealed,
                ..folder
            },
            RootNode::Latest => Attributes {
                kind: Kind::Link,
                size: self.link_target(tree).await?.len() as u64,
                ..folder
            },
        })
    }

    async fn extended(self, _: &Tree) -> Result<Extended, ViewError> {
        Ok(Vec::new())
    }

    async fn children(self, tree: &Tree, window: Window) -> Result<Vec<Child>, ViewError> {
        if self != RootNode::Folder {
            return Err(ViewError::NotFolder);
        }
        let has_latest = RootNode::Latest.link_target(tree).await.is_ok();
        let names: [(&str, Node); 4] = [
            ("README.txt", RootNode::Readme.into()),
            ("latest", RootNode::Latest.into()),
            ("snapshots", SnapshotNode::All.into()),
            ("follow", FollowNode::Folder.into()),
        ];
        let shown = |node| match node {
            Node::Root(RootNode::Latest) => has_latest,
            Node::Follow(_) => tree.catalogue.is_growing(),
            _ => true,
        };
        Ok(window.of_fixed(&names, shown))
    }

    async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
        match self {
            RootNode::Readme => Ok(Body::Whole(readme(tree).into())),
            RootNode::Folder | RootNode::Latest => Err(ViewError::IsFolder),
        }
    }

    async fn link_target(self, tree: &Tree) -> Result<String, ViewError> {
        if self != RootNode::Latest {
            return Err(ViewError::NotLink);
        }
        let snapshots = tree.catalogue.snapshots(&tree.reader).await;
        let newest = snapshots.last().filter(|_| tree.catalogue.has_latest());
        newest
            .map(|newest| format!("snapshots/{}", newest.sequence))
            .ok_or(ViewError::NotFound)
    }
}

impl Tree {
    /// The attributes of a folder that belongs to no snapshot.
    pub(super) async fn root_folder(&self) -> Attributes {
        let snapshots = self.catalogue.snapshots(&self.reader).await;
        let newest = snapshots.last().map_or(0, |newest| newest.created_ms());
        Attributes {
            kind: Kind::Folder,
            size: 0,
            stored_bytes: 0,
            modified_ms: u64::try_from(newest).unwrap_or(0),
            links: 1,
            lifetime: if self.catalogue.is_growing() {
                Lifetime::Growing
            } else {
                Lifetime::Sealed
            },
        }
    }
}
