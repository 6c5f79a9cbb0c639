//! Nodes: what each family of files must answer, and the register of the families.

use super::Tree;
use super::by_date::ByDateNode;
use super::by_key::ByKeyNode;
use super::by_offset::ByOffsetNode;
use super::by_time::ByTimeNode;
use super::extended::Extended;
use super::follow::FollowNode;
use super::groups::GroupNode;
use super::inode::{Inode, Number};
use super::log::LogNode;
use super::partition::PartitionNode;
use super::root::RootNode;
use super::segments::SegmentNode;
use super::snapshots::SnapshotNode;
use super::topics::TopicNode;
use crate::attributes::{Attributes, Kind};
use crate::error::ViewError;
use crate::open_file::Body;

/// A family of nodes: files and folders that one module names, describes and opens. A value is one of them; whether it exists
/// is known only to the snapshot.
pub(super) trait Family: Copy {
    /// The node of a number, if the number belongs to this family.
    fn of(number: Number) -> Option<Self>;

    fn number(self) -> Number;

    fn kind(self) -> Kind;

    /// Whether the file may have other contents a moment later.
    fn changes(self) -> bool {
        false
    }

    async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError>;

    async fn extended(self, tree: &Tree) -> Result<Extended, ViewError>;

    /// The names in a folder, in the order of their cookies.
    async fn children(self, _tree: &Tree, _window: Window) -> Result<Vec<Child>, ViewError> {
        Err(ViewError::NotFolder)
    }

    /// The node of a name in a folder. By default from the listing, which suits folders of few names.
    async fn child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        self.listed_child(tree, name).await
    }

    /// The node of a name in a folder, by listing the folder.
    async fn listed_child(self, tree: &Tree, name: &str) -> Result<Option<Node>, ViewError> {
        let children = self.children(tree, Window::ALL).await?;
        let found = children.into_iter().find(|child| child.name == name);
        Ok(found.map(|child| child.node))
    }

    /// The contents of a file.
    async fn open(self, _tree: &Tree) -> Result<Body, ViewError> {
        Err(ViewError::IsFolder)
    }

    /// The target of a link.
    async fn link_target(self, _tree: &Tree) -> Result<String, ViewError> {
        Err(ViewError::NotLink)
    }

    /// The kernel dropped this many lookups of the node.
    fn forget(self, _tree: &Tree, _lookups: u64) {}
}

/// A name in a folder.
#[derive(Clone, Debug)]
pub(super) struct Child {
    /// Where a listing resumes after it; from 1.
    pub(super) cookie: u64,
    pub(super) name: String,
    pub(super) node: Node,
}

impl Child {
    pub(super) fn new(cookie: u64, name: String, node: impl Into<Node>) -> Child {
        Child {
            cookie,
            name,
            node: node.into(),
        }
    }
}

/// The part of a folder that a listing asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The cookie of the last child that the caller has seen; 0 at the start.
    pub(super) after: u64,
    pub(super) at_most: usize,
}

impl Window {
    const ALL: Window = Window {
        after: 0,
        at_most: usize::MAX,
    };

    /// [`after`](Self::after) as an index: folders whose cookies are positions from 1 resume there.
    pub(super) fn start(self) -> usize {
        usize::try_from(self.after).unwrap_or(usize::MAX)
    }

    /// The children of a folder that always has the same names, except those that are not `shown`. A hidden name keeps its
    /// cookie, so that a listing in progress skips nothing when it appears.
    pub(super) fn of_fixed<N: Into<Node> + Copy>(
        self,
        names: &[(&str, N)],
        shown: impl Fn(N) -> bool,
    ) -> Vec<Child> {
        let numbered = (1..).zip(names);
        let rest = numbered.filter(|(cookie, (_, node))| *cookie > self.after && shown(*node));
        rest.take(self.at_most)
            .map(|(cookie, (name, node))| Child::new(cookie, (*name).to_owned(), *node))
            .collect()
    }
}

/// Declares [`Node`], which hands every call to the family of the node.
macro_rules! families {
    ($($family:ident($node:ty)),+ $(,)?) => {
        /// A file or folder of the tree.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Node { $($family($node)),+ }

        $(impl From<$node> for Node {
            fn from(node: $node) -> Node {
                Node::$family(node)
            }
        })+

        impl Node {
            /// The node of an inode number, if any family has it.
            pub(crate) fn of(inode: Inode) -> Option<Node> {
                let number = Number::of(inode);
                $(if let Some(node) = <$node as Family>::of(number) {
                    return Some(node.into());
                })+
                None
            }

            pub(crate) fn inode(self) -> Inode {
                match self { $(Node::$family(node) => node.number().inode()),+ }
            }

            pub(crate) fn kind(self) -> Kind {
                match self { $(Node::$family(node) => node.kind()),+ }
            }

            pub(crate) fn changes(self) -> bool {
                match self { $(Node::$family(node) => node.changes()),+ }
            }

            pub(crate) async fn attributes(self, tree: &Tree) -> Result<Attributes, ViewError> {
                match self { $(Node::$family(node) => node.attributes(tree).await),+ }
            }

            pub(crate) async fn extended(self, tree: &Tree) -> Result<Extended, ViewError> {
                match self { $(Node::$family(node) => node.extended(tree).await),+ }
            }

            pub(super) async fn children(
                self,
                tree: &Tree,
                window: Window,
            ) -> Result<Vec<Child>, ViewError> {
                match self { $(Node::$family(node) => node.children(tree, window).await),+ }
            }

            pub(super) async fn child(
                self,
                tree: &Tree,
                name: &str,
            ) -> Result<Option<Node>, ViewError> {
                match self { $(Node::$family(node) => node.child(tree, name).await),+ }
            }

            pub(crate) async fn open(self, tree: &Tree) -> Result<Body, ViewError> {
                match self { $(Node::$family(node) => node.open(tree).await),+ }
            }

            pub(crate) async fn link_target(self, tree: &Tree) -> Result<String, ViewError> {
                match self { $(Node::$family(node) => node.link_target(tree).await),+ }
            }

            pub(crate) fn forget(self, tree: &Tree, lookups: u64) {
                match self { $(Node::$family(node) => node.forget(tree, lookups)),+ }
            }

            /// How many families claim a number: at most one may.
            #[cfg(test)]
            fn claims(number: Number) -> usize {
                [$(<$node as Family>::of(number).is_some()),+]
                    .into_iter()
                    .filter(|claimed| *claimed)
                    .count()
            }
        }
    };
}

families! {
    Root(RootNode),
    Snapshot(SnapshotNode),
    ByDate(ByDateNode),
    Group(GroupNode),
    Topic(TopicNode),
    Partition(PartitionNode),
    ByOffset(ByOffsetNode),
    ByTime(ByTimeNode),
    Segment(SegmentNode),
    Log(LogNode),
    ByKey(ByKeyNode),
    Follow(FollowNode),
}

#[cfg(test)]
mod tests {
    use super::super::segment_item::SegmentItem;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_root_is_number_one() {
        assert_eq!(Node::from(RootNode::Folder).inode(), Inode::ROOT);
    }

    /// Any bits, and numbers with the low bits that items use.
    fn inode() -> impl Strategy<Value = Inode> {
        let small = (0u64..4, 0u64..8, 0u64..64);
        let small = small.prop_map(|(sequence, family, place)| match sequence {
            0 => Number::Root { family, place }.inode(),
            sequence => Number::Snapshot {
                sequence,
                family,
                place,
            }
            .inode(),
        });
        prop_oneof![any::<u64>().prop_map(Inode), small]
    }

    proptest! {
        #[test]
        fn a_number_leads_back_to_its_node_and_belongs_to_one_family(inode in inode()) {
            prop_assert_eq!(Number::of(inode).inode(), inode);
            prop_assert!(Node::claims(Number::of(inode)) <= 1);
            if let Some(node) = Node::of(inode) {
                prop_assert_eq!(node.inode(), inode);
            }
        }

        #[test]
        fn every_node_within_the_limits_has_a_number(
            sequence in 1..=super::super::inode::LAST_SEQUENCE, partition in 0u64..1 << 21,
            segment in 0u64..1 << 30, hour in 0..crate::content::hours::MAX_HOURS as u64,
            group in 0u64..1 << 23, topic in 0u64..1 << 21,
        ) {
            let nodes: [Node; 10] = [
                GroupNode::Group { sequence, group }.into(),
                TopicNode::Config { sequence, topic }.into(),
                PartitionNode::folder(sequence, partition).into(),
                ByOffsetNode::Item(SegmentItem::Segment { sequence, segment }).into(),
                SegmentNode(SegmentItem::Segment { sequence, segment }).into(),
                ByTimeNode::Hour { sequence, partition, hour }.into(),
                LogNode::folder_of(sequence, partition).into(),
                ByKeyNode::folder_of(sequence, partition).into(),
                FollowNode::Topic(segment).into(),
                FollowNode::partition_folder(segment).into(),
            ];
            for node in nodes {
                prop_assert_eq!(Node::of(node.inode()), Some(node));
            }
        }
    }
}
