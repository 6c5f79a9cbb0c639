//! What every line of a table states: the key of its row, whether it removes one, and the times of a segment.
//!
//! Reading that much is enough to check, search and merge tables. A merge copies lines as they are, so that members of later
//! writers survive it.

use std::borrow::Cow;

use serde::Deserialize;

use super::key::{RowKey, RowKind};
use crate::PartitionNumber;
use crate::layout::{KNOWN_FEATURES, limits};
use crate::repo::id::Id;
use crate::repo::keys::TopicName;
use crate::repo::sealed::SealError;

/// The word of a row that removes another.
pub(super) const REMOVED: &str = "removed";

/// The beginning of what a line states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineHead {
    pub(crate) key: RowKey,
    /// Whether the row states that there is no row of this key any more.
    pub(crate) removed: bool,
    /// Timestamps that no record of a segment with records is below and above.
    pub(crate) times: Option<(i64, i64)>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    row: Cow<'a, str>,
    #[serde(borrow)]
    of: Option<Cow<'a, str>>,
    topic: TopicName,
    topic_id: Id,
    partition: Option<PartitionNumber>,
    base_offset: Option<i64>,
    features: Option<u64>,
    records: Option<u64>,
    min_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
}

impl LineHead {
    /// Reads a line, without its line feed.
    pub(crate) fn read(line: &[u8]) -> Result<LineHead, SealError> {
        if line.len() > limits::ROW_BYTES {
            let (found, limit) = (line.len(), limits::ROW_BYTES);
            let detail = format!("a row has {found} bytes, and the limit is {limit}");
            return Err(SealError::Damaged(detail));
        }
        let members: Members = serde_json::from_slice(line)
            .map_err(|error| SealError::Damaged(format!("a row is not valid: {error}")))?;
        let removed = members.row == REMOVED;
        let word = match (&members.of, removed) {
            (Some(of), true) => of,
            (None, true) => return Err(SealError::Damaged("a row removes nothing".to_owned())),
            (_, false) => &members.row,
        };
        let Some(kind) = RowKind::parse(word) else {
            return Err(SealError::UnknownRow(word.clone().into_owned()));
        };
        let features = members.features.unwrap_or(0) & !KNOWN_FEATURES;
        if features != 0 && kind == RowKind::Segment && !removed {
            let kind = format!("segment with the features {features:#x}");
            return Err(SealError::UnknownRow(kind));
        }
        let times = match (
            members.records,
            members.min_timestamp,
            members.max_timestamp,
        ) {
            // A smallest timestamp that was not computed bounds nothing.
            (Some(1..), min, Some(max)) if kind == RowKind::Segment && !removed => {
                Some((min.unwrap_or(i64::MIN), max))
            }
            _ => None,
        };
        let (topic, topic_id) = (members.topic, members.topic_id);
        let (partition, base_offset) = (members.partition, members.base_offset);
        let key = RowKey::from_members(kind, topic, topic_id, partition, base_offset);
        let key = key.map_err(|detail| SealError::Damaged(format!("in a row, {detail}")))?;
        Ok(LineHead {
            key,
            removed,
            times,
        })
    }
}

/// Returns the range of times that covers both.
pub(super) fn cover(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some((min, max)), Some((low, high))) => Some((min.min(low), max.max(high))),
        (one, None) | (None, one) => one,
    }
}
