//! Inode numbers: a position in a snapshot packed into 64 bits, so that nothing has to be remembered.
//!
//! ```text
//! bit 63   | 62 ... 40 | 39 ... 37 | 36 ... 0
//! 0        | sequence  | family    | place in the manifest's order
//! ```
//!
//! ```text
//! bit 63   | 62 ... 61 | 60 ... 0
//! 1        | family    | hash
//! ```
//!
//! | family | place | owned by |
//! |---|---|---|
//! | 0 | item of the snapshot | `snapshots` (0 to 2, 6), `groups` (3), `topics` (4), `by_date` (5) |
//! | 1 | group | `groups` |
//! | 2 | topic * 2 + item | `topics` |
//! | 3 | partition * 8 + item; partitions are counted across all topics | `partition`, `by_offset` (5), `by_time` (6), `segments` (7) |
//! | 4 | segment; segments are counted across all partitions | `by_offset` |
//! | 5 | segment, likewise | `segments` |
//! | 6 | partition * 2^16 + hour of `by-time` | `by_time` |
//! | 7 | partition * 2^16 + number | `log` (0, 2, 3, from 16 on), `by_key` (1) |
//!
//! Sequence 0 belongs to no snapshot:
//!
//! | family | place | owned by |
//! |---|---|---|
//! | 0 | item of the root, from 1 | `root` (1 to 3), `snapshots` (4), `follow` (5, 6), `by_date` (7) |
//!
//! Hashes number what is in no manifest:
//!
//! | family | hash | owned by |
//! |---|---|---|
//! | 0 | of a range of offsets that was looked up | `by_offset`, `ephemeral` |
//! | 1 | of a range of times that was looked up | `by_time`, `ephemeral` |
//! | 2 | of a followed topic or partition, * 8 + item | `follow`, `followed` |
//! | 3 | of a key that was looked up | `by_key`, `ephemeral` |
//!
//! So a file has the same number after a remount, and files of two
//! snapshots never share one. The limits of SPEC section 6 leave room: a manifest of 256 MiB names at most 2^21 partitions, 2^30
//! segments and 2^23 groups. Snapshots from 2^23 on are not shown.

/// The number of a file, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub u64);

impl Inode {
    /// The root folder.
    pub const ROOT: Inode = Inode(1);
}

/// The last snapshot that inode numbers have room for.
pub(crate) const LAST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;

const HASHED: u64 = 1 << 63;
const SEQUENCE_BITS: u32 = 23;
const FAMILY_BITS: u32 = 3;
const PLACE_BITS: u32 = 37;
const HASH_BITS: u32 = 61;

/// The bits of a hash that a number has room for.
pub(super) const HASH_MASK: u64 = (1 << HASH_BITS) - 1;

/// An inode number, taken apart. Every number has exactly one such form; which files exist is known to their family alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Of no snapshot.
    Root { family: u64, place: u64 },
    /// Of one snapshot.
    Snapshot {
        sequence: u64,
        family: u64,
        place: u64,
    },
    /// Of what is in no manifest. Its family knows which hashes there are.
    Hashed { family: u64, hash: u64 },
}

impl Number {
    pub(super) fn of(inode: Inode) -> Number {
        let number = inode.0;
        if number & HASHED != 0 {
            return Number::Hashed {
                family: (number & !HASHED) >> HASH_BITS,
                hash: number & HASH_MASK,
            };
        }
        let place = number & ((1 << PLACE_BITS) - 1);
        let family = number >> PLACE_BITS & ((1 << FAMILY_BITS) - 1);
        match number >> (PLACE_BITS + FAMILY_BITS) {
            0 => Number::Root { family, place },
            sequence => Number::Snapshot {
                sequence,
                family,
                place,
            },
        }
    }

    pub(super) fn inode(self) -> Inode {
        let (sequence, family, place) = match self {
            Number::Hashed { family, hash } => {
                return Inode(HASHED | family << HASH_BITS | hash);
            }
            Number::Root { family, place } => (0, family, place),
            Number::Snapshot {
                sequence,
                family,
                place,
            } => (sequence, family, place),
        };
        Inode(sequence << (PLACE_BITS + FAMILY_BITS) | family << PLACE_BITS | place)
    }
}

/// Declares an enum whose items are numbered from 0, and found by their number.
macro_rules! items {
    ($(#[$doc:meta])* $name:ident { $($item:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($item),+ }

        impl $name {
            const ALL: &[$name] = &[$($name::$item),+];

            fn of(number: u64) -> Option<$name> {
                Self::ALL.get(usize::try_from(number).ok()?).copied()
            }
        }
    };
}
pub(super) use items;
