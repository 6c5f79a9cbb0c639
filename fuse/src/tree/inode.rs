//! Numbers of files: a place in a snapshot packed into 64 bits, so that nothing has to be remembered.
//!
//! ```text
//! bit 63   | 62 ... 40 | 39 ... 37 | 36 ... 0
//! 0        | sequence  | family    | place in the manifest's order
//! 1        | number of a name that only a lookup gives
//! ```
//!
//! | family | place |
//! |---|---|
//! | 0 | an item of the snapshot |
//! | 1 | group |
//! | 2 | topic * 2 + item |
//! | 3 | partition * 8 + item; partitions are counted through all topics |
//! | 4, 5 | segment, as records and as stored bytes; segments are counted through all partitions |
//! | 6, 7 | partition * 2^16 + part of `by-time`, its folder and its file |
//!
//! Sequence 0 is of no snapshot:
//!
//! | family | place |
//! |---|---|
//! | 0 | an item of the root |
//! | 1 | topic that is followed, by the number it was given when it was first seen |
//! | 2 | partition that is followed * 4 + item; numbered likewise |
//!
//! All but what is followed comes from the manifest, so a file has the same number after a remount, and files of two snapshots
//! never share one. The limits of SPEC section 6 leave room: a manifest of 256 MiB names at most 2^21 partitions, 2^30 segments and 2^23
//! groups. Snapshots from 2^23 on are not shown.

/// The number of a file, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u64);

impl Inode {
    /// The root folder.
    pub const ROOT: Inode = Inode(1);
}

/// The last snapshot that numbers have room for.
pub(crate) const LAST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
/// `by-time` has at most so many parts; the last one goes on to the end.
pub(crate) const MAX_PARTS: usize = 1 << PART_BITS;

const NAMED: u64 = 1 << 63;
const SEQUENCE_BITS: u32 = 23;
const PLACE_BITS: u32 = 37;
const PART_BITS: u32 = 16;

/// What a number stands for. Whether there is such a file, only the snapshot tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Root(RootItem),
    Snapshot(u64, SnapshotItem),
    Group {
        sequence: u64,
        group: u64,
    },
    Topic {
        sequence: u64,
        topic: u64,
        item: TopicItem,
    },
    Partition {
        sequence: u64,
        partition: u64,
        item: PartitionItem,
    },
    /// The records of one segment.
    ByOffset {
        sequence: u64,
        segment: u64,
    },
    /// The bytes of one segment.
    Stored {
        sequence: u64,
        segment: u64,
    },
    /// A folder of `by-time`.
    Part {
        sequence: u64,
        partition: u64,
        part: u64,
    },
    /// The file in it.
    PartRecords {
        sequence: u64,
        partition: u64,
        part: u64,
    },
    /// A range of offsets that somebody named, without [`NAMED`].
    Named(u64),
    /// A topic whose partitions are followed.
    FollowedTopic(u64),
    /// A partition that is followed from snapshot to snapshot.
    Followed {
        number: u64,
        item: FollowedItem,
    },
}

/// Declares an enum whose items are numbered, and found by their number.
macro_rules! items {
    ($(#[$doc:meta])* $name:ident { $($item:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($item),+ }

        impl $name {
            pub(crate) const ALL: &[$name] = &[$($name::$item),+];

            fn of(number: u64) -> Option<$name> {
                Self::ALL.get(usize::try_from(number).ok()?).copied()
            }
        }
    };
}

items!(
    /// What stands in the root; the first is the root itself.
    RootItem { Folder, Readme, Latest, Snapshots, Follow, FollowedTopics }
);
items!(
    /// What stands in a snapshot; the first is its folder.
    SnapshotItem { Folder, Json, Errors, Groups, Topics }
);
items!(
    /// What stands in a topic beside its partitions; the first is its folder.
    TopicItem { Folder, Config }
);
items!(
    /// What stands in a partition; the first is its folder.
    PartitionItem { Folder, Meta, Records, Values, Keys, ByOffset, ByTime, Segments }
);
items!(
    /// What stands in a partition that is followed; the first is its folder.
    FollowedItem { Folder, Records, Values, Keys }
);

impl Node {
    pub(crate) fn inode(self) -> Inode {
        let (sequence, family, place) = match self {
            // From 1 on: the root's number is 1.
            Node::Root(item) => (0, 0, 1 + item as u64),
            Node::Snapshot(sequence, item) => (sequence, 0, item as u64),
            Node::Group { sequence, group } => (sequence, 1, group),
            Node::Topic {
                sequence,
                topic,
                item,
            } => (sequence, 2, topic << 1 | item as u64),
            Node::Partition {
                sequence,
                partition,
                item,
            } => (sequence, 3, partition << 3 | item as u64),
            Node::ByOffset { sequence, segment } => (sequence, 4, segment),
            Node::Stored { sequence, segment } => (sequence, 5, segment),
            Node::Part {
                sequence,
                partition,
                part,
            } => (sequence, 6, partition << PART_BITS | part),
            Node::PartRecords {
                sequence,
                partition,
                part,
            } => (sequence, 7, partition << PART_BITS | part),
            Node::Named(number) => return Inode(NAMED | number),
            Node::FollowedTopic(number) => (0, 1, number),
            Node::Followed { number, item } => (0, 2, number << 2 | item as u64),
        };
        Inode(sequence << (PLACE_BITS + 3) | family << PLACE_BITS | place)
    }

    /// Whether the file may say something else a moment later.
    pub(crate) fn changes(self) -> bool {
        matches!(
            self,
            Node::Followed { .. }
                | Node::Snapshot(_, SnapshotItem::Errors)
                | Node::Partition {
                    item: PartitionItem::Meta,
                    ..
                }
        )
    }

    pub(crate) fn of(inode: Inode) -> Option<Node> {
        let number = inode.0;
        if number & NAMED != 0 {
            return Some(Node::Named(number & !NAMED));
        }
        let sequence = number >> (PLACE_BITS + 3);
        let place = number & ((1 << PLACE_BITS) - 1);
        let (partition, part) = (place >> PART_BITS, place & ((1 << PART_BITS) - 1));
        let family = number >> PLACE_BITS & 7;
        if sequence == 0 {
            return match family {
                0 => place.checked_sub(1).and_then(RootItem::of).map(Node::Root),
                1 => Some(Node::FollowedTopic(place)),
                2 => Some(Node::Followed {
                    number: place >> 2,
                    item: FollowedItem::of(place & 3)?,
                }),
                _ => None,
            };
        }
        Some(match family {
            0 => Node::Snapshot(sequence, SnapshotItem::of(place)?),
            1 => Node::Group {
                sequence,
                group: place,
            },
            2 => Node::Topic {
                sequence,
                topic: place >> 1,
                item: TopicItem::of(place & 1)?,
            },
            3 => Node::Partition {
                sequence,
                partition: place >> 3,
                item: PartitionItem::of(place & 7)?,
            },
            4 => Node::ByOffset {
                sequence,
                segment: place,
            },
            5 => Node::Stored {
                sequence,
                segment: place,
            },
            6 => Node::Part {
                sequence,
                partition,
                part,
            },
            _ => Node::PartRecords {
                sequence,
                partition,
                part,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_root_is_number_one() {
        assert_eq!(Node::Root(RootItem::Folder).inode(), Inode::ROOT);
    }

    proptest! {
        #[test]
        fn a_number_leads_back_to_its_place_and_no_two_places_share_one(number: u64) {
            if let Some(node) = Node::of(Inode(number)) {
                prop_assert_eq!(node.inode(), Inode(number));
            }
        }

        #[test]
        fn every_place_within_the_limits_has_a_number(
            sequence in 1..=LAST_SEQUENCE, partition in 0u64..1 << 21, segment in 0u64..1 << 30,
            part in 0..MAX_PARTS as u64, group in 0u64..1 << 23, item in 0usize..8,
        ) {
            let item = PartitionItem::ALL[item];
            for node in [
                Node::Group { sequence, group },
                Node::Topic { sequence, topic: partition, item: TopicItem::Config },
                Node::Partition { sequence, partition, item },
                Node::ByOffset { sequence, segment },
                Node::Stored { sequence, segment },
                Node::Part { sequence, partition, part },
                Node::PartRecords { sequence, partition, part },
                Node::FollowedTopic(segment),
                Node::Followed { number: segment, item: FollowedItem::Keys },
            ] {
                prop_assert_eq!(Node::of(node.inode()), Some(node));
            }
        }
    }
}
