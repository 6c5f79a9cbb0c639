//! How deep a verification looks, and what it therefore leaves unchecked.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How deep a verification looks. Each depth checks what the ones before it do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum VerifyDepth {
    /// kbk.json and snapshots, and the names and sizes that listings show.
    List,
    /// All of the index, and the footer of every segment against its row.
    Index,
    /// Every byte, by its checksum.
    #[default]
    Blocks,
    /// Every record: decoded, and compared with digests, statistics, gaps and rendered sizes.
    Records,
    /// The BLAKE3 hash of every segment.
    Hash,
}

/// What a verification may leave unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Whether the tables agree with each other, groups and ACLs, and what restores left.
    Index,
    /// What no snapshot names.
    UnnamedObjects,
    /// The footers of segments, against their rows.
    Footers,
    /// The bytes of segments, by their checksums.
    Bytes,
    /// What the bytes decode to, against digests and statistics.
    Records,
    /// The BLAKE3 hashes of segments, against their rows.
    Hash,
}

impl Check {
    /// Returns what is checked as words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Check::Index => "the rest of the index",
            Check::UnnamedObjects => "what no snapshot names",
            Check::Footers => "footers",
            Check::Bytes => "bytes of segments",
            Check::Records => "records",
            Check::Hash => "hashes of segments",
        }
    }
}

impl VerifyDepth {
    /// All depths, the shallowest first.
    pub const ALL: [VerifyDepth; 5] = [
        VerifyDepth::List,
        VerifyDepth::Index,
        VerifyDepth::Blocks,
        VerifyDepth::Records,
        VerifyDepth::Hash,
    ];

    /// Returns the name that options and JSON have.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            VerifyDepth::List => "list",
            VerifyDepth::Index => "index",
            VerifyDepth::Blocks => "blocks",
            VerifyDepth::Records => "records",
            VerifyDepth::Hash => "hash",
        }
    }

    /// Returns what is not checked.
    #[must_use]
    pub fn not_checked(self) -> &'static [Check] {
        match self {
            VerifyDepth::List => &[
                Check::Index,
                Check::UnnamedObjects,
                Check::Footers,
                Check::Bytes,
                Check::Records,
                Check::Hash,
            ],
            VerifyDepth::Index => &[Check::Bytes, Check::Records, Check::Hash],
            VerifyDepth::Blocks => &[Check::Records, Check::Hash],
            VerifyDepth::Records => &[Check::Hash],
            VerifyDepth::Hash => &[],
        }
    }

    /// Says what is as it should be where nothing was found.
    #[must_use]
    pub fn intact(self) -> &'static str {
        match self {
            VerifyDepth::List => "every listed size is as stated, and no segment was read",
            VerifyDepth::Index => "the index and every footer are intact, and no record was read",
            VerifyDepth::Blocks => "every byte is intact",
            VerifyDepth::Records => "every byte and every record is intact",
            VerifyDepth::Hash => "every byte, every record and every hash is intact",
        }
    }

    /// Returns whether every record is decoded.
    pub(super) fn decodes_records(self) -> bool {
        self >= VerifyDepth::Records
    }
}

/// A name that no depth has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a depth: expected list, index, blocks, records or hash")]
pub struct UnknownDepth(String);

impl FromStr for VerifyDepth {
    type Err = UnknownDepth;

    fn from_str(text: &str) -> Result<VerifyDepth, UnknownDepth> {
        let mut all = VerifyDepth::ALL.into_iter();
        all.find(|depth| depth.name() == text)
            .ok_or_else(|| UnknownDepth(text.to_owned()))
    }
}
