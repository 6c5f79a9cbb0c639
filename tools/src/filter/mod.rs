//! Selects records by what they hold: keys, headers, values, and members of values that are JSON.
//!
//! ```text
//! Conditions --> RecordFilter --> META, then KEYS, then HEADERS, then VALUES: each only while a record of the block may still be selected
//! ```
//!
//! A filter is asked stream by stream, so that whoever decodes a block decompresses only what decides. It knows nothing about where records are stored.
//!
//! | file | holds |
//! |---|---|
//! | `keys` | keys: exact ones, prefixes, patterns, null |
//! | `pattern` | regular expressions over bytes |
//! | `header` | a header's name, and its value |
//! | `json` | a member of a value that is JSON, by its pointer |
//! | `pointer` | JSON pointers (RFC 6901), and what they find in a text |
//! | `decimal` | numbers of JSON, compared exactly |

mod decimal;
mod header;
mod json;
mod keys;
mod pattern;
mod pointer;

use std::sync::Arc;

use kbk_format::{Columns, Record, StreamId};

pub use header::HeaderCondition;
pub use json::{JsonCondition, JsonConditionError};
pub use keys::KeySelection;
pub use pattern::{BytePattern, BytePatternError};

/// Conditions that a record must satisfy, all of them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter(Option<Arc<Conditions>>);

/// What a record must satisfy: everything that is given.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Its key is one of these.
    pub keys: Option<KeySelection>,
    /// Its value is null.
    pub tombstones: bool,
    /// It has each of these headers.
    pub headers: Vec<HeaderCondition>,
    /// Its value has a match of each of these patterns. Null has none.
    pub values: Vec<BytePattern>,
    /// Its value is JSON, and has or lacks each of these members.
    pub json: Vec<JsonCondition>,
    /// Whether exactly the other records are selected: those that do not satisfy all of it.
    pub invert: bool,
}

impl Conditions {
    /// Returns whether any condition is given.
    #[must_use]
    pub fn any(&self) -> bool {
        self.tombstones
            || self.keys.is_some()
            || !(self.headers.is_empty() && self.values.is_empty() && self.json.is_empty())
    }
}

/// The streams that conditions may need besides META, in the order in which they are asked for: the ones that are mostly smaller come first.
const ORDER: [StreamId; 3] = [StreamId::Keys, StreamId::Headers, StreamId::Values];

impl RecordFilter {
    /// Selects every record.
    #[must_use]
    pub fn all() -> RecordFilter {
        RecordFilter::default()
    }

    /// Selects the records that satisfy the conditions; without a condition every record, or none if they are inverted.
    #[must_use]
    pub fn new(conditions: Conditions) -> RecordFilter {
        RecordFilter((conditions.any() || conditions.invert).then(|| Arc::new(conditions)))
    }

    /// Returns whether it selects every record.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.0.is_none()
    }

    /// Returns whether it selects the records that do not satisfy the conditions.
    #[must_use]
    pub fn is_inverted(&self) -> bool {
        self.0.as_ref().is_some_and(|conditions| conditions.invert)
    }

    /// Returns the streams besides META that its conditions need, in the order in which they should be decoded.
    pub fn streams(&self) -> impl Iterator<Item = StreamId> {
        let needs = |id: &StreamId| {
            self.0.as_ref().is_some_and(|conditions| match id {
                StreamId::Meta | StreamId::Batches => false,
                StreamId::Keys => conditions.keys.as_ref().is_some_and(KeySelection::reads),
                StreamId::Headers => !conditions.headers.is_empty(),
                StreamId::Values => !(conditions.values.is_empty() && conditions.json.is_empty()),
            })
        };
        ORDER.into_iter().filter(needs)
    }

    /// Returns the keys of all records that it selects, null among them, if it selects only records with certain keys.
    #[must_use]
    pub fn exact_keys(&self) -> Option<impl Iterator<Item = Option<&[u8]>>> {
        let conditions = self.0.as_ref().filter(|conditions| !conditions.invert)?;
        conditions.keys.as_ref()?.exact()
    }

    /// Returns whether a record may satisfy the conditions, of which META alone is decoded.
    #[must_use]
    pub fn may_hold(&self, columns: &Columns, row: usize) -> bool {
        self.0
            .as_ref()
            .is_none_or(|conditions| conditions.may_hold(columns, row))
    }

    /// Returns whether a record satisfies the conditions that need the stream `id`, which is decoded.
    #[must_use]
    pub fn holds(&self, id: StreamId, record: &Record<'_>) -> bool {
        self.0
            .as_ref()
            .is_none_or(|conditions| conditions.holds(id, record))
    }

    /// Returns whether a record, of which everything is decoded, is selected.
    #[must_use]
    pub fn selects(&self, record: &Record<'_>) -> bool {
        let Some(conditions) = &self.0 else {
            return true;
        };
        let tombstone = !conditions.tombstones || record.value.is_none();
        let holds = tombstone && ORDER.iter().all(|id| conditions.holds(*id, record));
        holds != conditions.invert
    }
}

impl Conditions {
    fn may_hold(&self, columns: &Columns, row: usize) -> bool {
        let by_value = !(self.values.is_empty() && self.json.is_empty());
        let key = |keys: &KeySelection| match columns.has_key(row) {
            true => keys.reads(),
            false => keys.selects(None),
        };
        self.keys.as_ref().is_none_or(key)
            && !(self.tombstones && columns.has_value(row))
            && (!by_value || columns.has_value(row))
            && (self.headers.is_empty() || columns.has_headers(row))
    }

    fn holds(&self, id: StreamId, record: &Record<'_>) -> bool {
        match id {
            StreamId::Meta | StreamId::Batches => true,
            StreamId::Keys => self
                .keys
                .as_ref()
                .is_none_or(|keys| keys.selects(record.key)),
            StreamId::Headers => self.headers.iter().all(|header| header.holds(record)),
            StreamId::Values => {
                let has = |pattern: &BytePattern| record.value.is_some_and(|it| pattern.is_in(it));
                self.values.iter().all(has) && JsonCondition::all_hold(&self.json, record.value)
            }
        }
    }
}
