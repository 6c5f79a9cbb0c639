//! What runs with `--subset` remember: which segments they have read, and when.
//!
//! ```json
//! {"format":"kbk-verify-state","version":2,"repository_id":"...","location":"/backup/kafka","depths":{"blocks":{"cycle":2,"runs":[
//!   {"at":"2026-11-29T13:00:00Z","cycle":2,"segments":"0123456789abcdef..."}],"found":""}}}
//! ```
//!
//! It is about one copy of a repository: what was read of a mirror says nothing of this one, although both have the same id.
//!
//! A segment is 16 hex digits, the first half of its random id: 16 MB for a million of them. A run is listed with the segments that no later one
//! has read. `found` are those in which the last run that read them found something: each run reads them again. Depths are remembered apart, since
//! what was read at `blocks` was not decoded.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use jiff::Timestamp;
use kbk_format::repo::Id;
use serde::{Deserialize, Serialize};

use super::VerifyDepth;

const FORMAT: &str = "kbk-verify-state";
const VERSION: u32 = 2;

/// A segment: the first half of its id.
pub(super) type SegmentTag = u64;

/// Returns what a segment is remembered by.
pub(super) fn tag(segment_id: Id) -> SegmentTag {
    let mut first = [0; 8];
    first.copy_from_slice(segment_id.0.first_chunk::<8>().unwrap_or(&[0; 8]));
    u64::from_be_bytes(first)
}

/// What the runs of one copy of a repository remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    format: String,
    version: u32,
    repository_id: Id,
    location: String,
    depths: BTreeMap<VerifyDepth, DepthMemory>,
}

/// What is remembered of one depth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DepthMemory {
    /// The number of the cycle that is under way: each covers every segment once.
    pub(super) cycle: u64,
    /// Runs, the oldest first.
    runs: Vec<RunMemory>,
    /// Segments in which something was found.
    found: Tags,
}

/// The segments that a run has read, and no later one has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunMemory {
    at: Timestamp,
    cycle: u64,
    segments: Tags,
}

/// Segments, written as one string of 16 hex digits for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Tags(BTreeSet<SegmentTag>);

impl From<Tags> for String {
    fn from(tags: Tags) -> String {
        let mut text = String::with_capacity(16 * tags.0.len());
        for tag in tags.0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{tag:016x}");
        }
        text
    }
}

impl TryFrom<String> for Tags {
    type Error = MemoryError;

    fn try_from(text: String) -> Result<Tags, MemoryError> {
        let digits = text.as_bytes();
        let mut tags = BTreeSet::new();
        for tag in digits.chunks(16) {
            let is_whole = tag.len() == 16 && tag.iter().all(u8::is_ascii_hexdigit);
            let tag = std::str::from_utf8(tag).ok().filter(|_| is_whole);
            let tag = tag.and_then(|tag| u64::from_str_radix(tag, 16).ok());
            tags.insert(tag.ok_or(MemoryError::Segments)?);
        }
        Ok(Tags(tags))
    }
}

/// Whose state it is, in all versions.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It is not JSON, or lacks members.
    #[error("it is not a state of kbk verify: {0}")]
    Json(#[from] serde_json::Error),
    /// Segments are not 16 hex digits each.
    #[error("a list of segments is not made of 16 hex digits each")]
    Segments,
    /// Another program, or a later version, wrote it.
    #[error(
        "it has the format {format:?} in version {version}, and {FORMAT:?} in version {VERSION} is expected"
    )]
    Format {
        /// The format that it names.
        format: String,
        /// Its version.
        version: u32,
    },
    /// It is about another repository.
    #[error("it is about repository {found}, and this is {expected}")]
    OtherRepository {
        /// The repository that is verified.
        expected: Id,
        /// The one that it is about.
        found: Id,
    },
    /// It is about another copy of the repository.
    #[error("it is about the copy of the repository at {found}, and this one is at {expected}")]
    OtherLocation {
        /// Where the copy is that is verified.
        expected: String,
        /// Where the one is that it is about.
        found: String,
    },
}

impl Memory {
    /// Returns the memory of a repository at this location that no run has read there.
    #[must_use]
    pub fn empty(repository_id: Id, location: &str) -> Memory {
        Memory {
            format: FORMAT.to_owned(),
            version: VERSION,
            repository_id,
            location: location.to_owned(),
            depths: BTreeMap::new(),
        }
    }

    /// Reads what [`bytes`](Self::bytes) wrote.
    ///
    /// # Errors
    ///
    /// If the bytes are something else, or about another repository, or another copy of it.
    pub fn parse(bytes: &[u8], repository_id: Id, location: &str) -> Result<Memory, MemoryError> {
        let Head { format, version } = serde_json::from_slice(bytes)?;
        if format != FORMAT || version != VERSION {
            return Err(MemoryError::Format { format, version });
        }
        let memory: Memory = serde_json::from_slice(bytes)?;
        if memory.repository_id != repository_id {
            return Err(MemoryError::OtherRepository {
                expected: repository_id,
                found: memory.repository_id,
            });
        }
        if memory.location != location {
            return Err(MemoryError::OtherLocation {
                expected: location.to_owned(),
                found: memory.location,
            });
        }
        Ok(memory)
    }

    /// Returns the bytes of the state file.
    ///
    /// # Errors
    ///
    /// Never in practice: all members can be written as JSON.
    pub fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(super) fn depth(&mut self, depth: VerifyDepth) -> &mut DepthMemory {
        self.depths.entry(depth).or_default()
    }
}

/// When a segment was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRead {
    pub(super) at: Timestamp,
    pub(super) cycle: u64,
}

impl DepthMemory {
    /// Returns when each segment was read last.
    pub(super) fn last_read(&self) -> HashMap<SegmentTag, LastRead> {
        let mut last = HashMap::new();
        for RunMemory {
            at,
            cycle,
            segments,
        } in &self.runs
        {
            let read = LastRead {
                at: *at,
                cycle: *cycle,
            };
            last.extend(segments.0.iter().map(|tag| (*tag, read)));
        }
        last
    }

    /// Returns whether something was found in a segment when it was read last.
    pub(super) fn has_found(&self, tag: SegmentTag) -> bool {
        self.found.0.contains(&tag)
    }

    /// Remembers a run: what it has read and is intact, and what is not. A segment in which something was found counts as not read.
    pub(super) fn remember(
        &mut self,
        at: Timestamp,
        intact: BTreeSet<SegmentTag>,
        found: &HashSet<SegmentTag>,
    ) {
        for run in &mut self.runs {
            run.segments
                .0
                .retain(|tag| !intact.contains(tag) && !found.contains(tag));
        }
        self.found.0.retain(|tag| !intact.contains(tag));
        self.found.0.extend(found);
        let cycle = self.cycle;
        self.runs.push(RunMemory {
            at,
            cycle,
            segments: Tags(intact),
        });
        self.runs.retain(|run| !run.segments.0.is_empty());
    }

    /// Forgets segments that do not exist any more.
    pub(super) fn forget_all_but(&mut self, exists: impl Fn(SegmentTag) -> bool) {
        let runs = self.runs.iter_mut().map(|run| &mut run.segments);
        for tags in runs.chain([&mut self.found]) {
            tags.0.retain(|tag| exists(*tag));
        }
    }
}
