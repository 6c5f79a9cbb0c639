//! What rows state, and their JSON (SPEC section 11.4).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::{RowKey, RowKind};
use super::line::{LineHead, REMOVED};
use crate::PartitionNumber;
use crate::layout::{FEATURE_BATCHES, FEATURE_KEY_FILTER, FEATURE_NOT_COMPUTED};
use crate::record::TimestampType;
use crate::render::ViewSizes;
use crate::repo::changes::Changes;
use crate::repo::compacted::Compacted;
use crate::repo::expired::Expired;
use crate::repo::found_damaged::DamagedIn;
use crate::repo::id::Id;
use crate::repo::incomplete::Incomplete;
use crate::repo::keys::{Key, PartitionId, TopicName};
use crate::repo::members;
use crate::repo::sealed::SealError;
use crate::repo::segment_entry::SegmentEntry;
use crate::repo::segment_hash::SegmentHash;
use crate::repo::states::{LostCause, LostRange, PartitionState};

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Topic(TopicLine),
    Partition(PartitionRow),
    Lost(PartitionId, LostRange),
    Segment(PartitionId, Box<SegmentEntry>),
    /// There is no row of this key any more.
    Removed(RowKey),
}

/// A history of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicLine {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: Id,
    pub(crate) kafka_id: Option<Id>,
    pub(crate) first_seen: u64,
    pub(crate) last_seen: Option<u64>,
    pub(crate) sighting: Option<u64>,
    pub(crate) deleted: bool,
    pub(crate) internal: bool,
    pub(crate) replication_factor: i32,
    #[serde(default, deserialize_with = "members::unique_or_null")]
    pub(crate) config: Option<BTreeMap<String, String>>,
    pub(crate) partitions: u32,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRow {
    pub(crate) id: PartitionId,
    /// Without its lost ranges, which have rows of their own.
    pub(crate) state: PartitionState,
}

#[derive(Serialize, Deserialize)]
struct PartitionLine {
    topic: TopicName,
    topic_id: Id,
    partition: PartitionNumber,
    log_start_offset: i64,
    high_watermark: i64,
    last_stable_offset: i64,
    incomplete: Option<Incomplete>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<Box<Expired>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compacted: Option<Box<Compacted>>,
    base_offset: i64,
    end_offset: i64,
    segments: u64,
    records: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    min_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    changes: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    appended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged_in: Option<DamagedIn>,
}

#[derive(Serialize, Deserialize)]
struct LostLine {
    topic: TopicName,
    topic_id: Id,
    partition: PartitionNumber,
    base_offset: i64,
    end_offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<LostCause>,
}

#[derive(Serialize, Deserialize)]
struct SegmentLine {
    topic: TopicName,
    topic_id: Id,
    partition: PartitionNumber,
    segment_id: Id,
    size: u64,
    footer_position: u64,
    blake3: SegmentHash,
    base_offset: i64,
    end_offset: i64,
    min_timestamp: Option<i64>,
    max_timestamp: i64,
    min_known_timestamp: Option<i64>,
    records: u64,
    raw_bytes: u64,
    timestamp_type: TimestampType,
    content_digest: Option<Id>,
    rendered: Option<ViewSizes>,
    whole_lines: Option<[bool; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<u64>,
}

#[derive(Serialize)]
struct RemovedLine<'a> {
    of: &'static str,
    topic: &'a TopicName,
    topic_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<PartitionNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_offset: Option<i64>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    row: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

impl Row {
    /// Returns the row's key.
    pub(crate) fn key(&self) -> RowKey {
        match self {
            Row::Topic(row) => RowKey::topic(row.topic.clone(), row.topic_id),
            Row::Partition(row) => RowKey::partition(row.id.clone()),
            Row::Lost(id, lost) => RowKey::lost(id.clone(), lost.from),
            Row::Segment(id, entry) => RowKey::segment(id.clone(), entry.base_offset),
            Row::Removed(key) => key.clone(),
        }
    }

    /// Returns what [`LineHead::read`] reads of the row's line.
    pub(crate) fn head(&self) -> LineHead {
        LineHead {
            key: self.key(),
            removed: matches!(self, Row::Removed(_)),
            times: match self {
                Row::Segment(_, entry) => entry.time_bounds(),
                _ => None,
            },
        }
    }

    /// Returns the row as a line of a table, without its line feed.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        match self {
            Row::Topic(row) => line(RowKind::Topic.word(), row),
            Row::Partition(row) => line(RowKind::Partition.word(), &PartitionLine::from(row)),
            Row::Lost(id, lost) => line(RowKind::Lost.word(), &LostLine::new(id, lost)),
            Row::Segment(id, entry) => line(RowKind::Segment.word(), &SegmentLine::new(id, entry)),
            Row::Removed(key) => line(
                REMOVED,
                &RemovedLine {
                    of: key.kind().word(),
                    topic: key.topic_name(),
                    topic_id: key.topic_id(),
                    partition: key.partition_number(),
                    base_offset: key.base_offset(),
                },
            ),
        }
    }

    /// Reads a line whose head was read, and checks the rules of its kind.
    pub(crate) fn read(head: &LineHead, line: &[u8]) -> Result<Row, SealError> {
        if head.removed {
            return Ok(Row::Removed(head.key.clone()));
        }
        let read = match head.key.kind() {
            RowKind::Topic => parse(line).map(Row::Topic),
            RowKind::Partition => parse(line).map(|line| Row::Partition(PartitionLine::into(line))),
            RowKind::Lost => parse(line).map(LostLine::row),
            RowKind::Segment => parse(line).and_then(SegmentLine::row),
        };
        let row = read.and_then(|row| row.check().map(|()| row));
        row.map_err(|detail| SealError::Damaged(format!("{}: {detail}", head.key)))
    }

    /// Checks what one row alone must satisfy.
    fn check(&self) -> Result<(), String> {
        match self {
            Row::Topic(row) => row.check(),
            Row::Partition(row) => row.state.check(),
            Row::Lost(_, LostRange { from, to, .. }) => match from < to {
                true => Ok(()),
                false => Err(format!("it ends at offset {to}")),
            },
            // Whether bit 0 of the features agrees with the members was checked when the line was read.
            Row::Segment(_, entry) => entry.check(),
            Row::Removed(_) => Ok(()),
        }
    }
}

impl TopicLine {
    fn check(&self) -> Result<(), String> {
        if self.first_seen == 0 {
            return Err("it was first seen in snapshot 0".to_owned());
        }
        if self.last_seen.is_some() == self.sighting.is_some() {
            let (last, sighting) = (self.last_seen, self.sighting);
            return Err(format!(
                "its last_seen is {last:?}, its sighting {sighting:?}"
            ));
        }
        Ok(())
    }
}

impl From<&PartitionRow> for PartitionLine {
    fn from(PartitionRow { id, state }: &PartitionRow) -> PartitionLine {
        PartitionLine {
            topic: id.topic.clone(),
            topic_id: id.topic_id,
            partition: id.partition,
            log_start_offset: state.log_start_offset,
            high_watermark: state.high_watermark,
            last_stable_offset: state.last_stable_offset,
            incomplete: state.incomplete.clone(),
            expired: state.expired.clone(),
            compacted: state.compacted.clone(),
            base_offset: state.base_offset,
            end_offset: state.end_offset,
            segments: state.segments,
            records: state.records,
            stored_bytes: state.stored_bytes,
            raw_bytes: state.raw_bytes,
            min_timestamp: state.min_timestamp,
            max_timestamp: state.max_timestamp,
            changes: state.changes.clone(),
            appended: (state.appended > 0).then_some(state.appended),
            damaged_in: (!state.damaged_in.is_empty()).then(|| state.damaged_in.clone()),
        }
    }
}

impl From<PartitionLine> for PartitionRow {
    fn from(line: PartitionLine) -> PartitionRow {
        PartitionRow {
            id: PartitionId {
                topic: line.topic,
                topic_id: line.topic_id,
                partition: line.partition,
            },
            state: PartitionState {
                partition: line.partition,
                log_start_offset: line.log_start_offset,
                high_watermark: line.high_watermark,
                last_stable_offset: line.last_stable_offset,
                incomplete: line.incomplete,
                expired: line.expired,
                compacted: line.compacted,
                base_offset: line.base_offset,
                end_offset: line.end_offset,
                segments: line.segments,
                records: line.records,
                stored_bytes: line.stored_bytes,
                raw_bytes: line.raw_bytes,
                min_timestamp: line.min_timestamp,
                max_timestamp: line.max_timestamp,
                changes: line.changes,
                appended: line.appended.unwrap_or(0),
                damaged_in: line.damaged_in.unwrap_or_default(),
                lost: Vec::new(),
                found_damaged: None,
            },
        }
    }
}

impl LostLine {
    fn new(id: &PartitionId, lost: &LostRange) -> LostLine {
        LostLine {
            topic: id.topic.clone(),
            topic_id: id.topic_id,
            partition: id.partition,
            base_offset: lost.from,
            end_offset: lost.to,
            cause: lost.cause,
        }
    }

    fn row(self) -> Row {
        let id = PartitionId {
            topic: self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
        };
        let lost = LostRange {
            from: self.base_offset,
            to: self.end_offset,
            cause: self.cause,
        };
        Row::Lost(id, lost)
    }
}

impl SegmentLine {
    fn new(id: &PartitionId, entry: &SegmentEntry) -> SegmentLine {
        SegmentLine {
            topic: id.topic.clone(),
            topic_id: id.topic_id,
            partition: id.partition,
            segment_id: entry.segment_id,
            size: entry.size,
            footer_position: entry.footer_position,
            blake3: entry.blake3,
            base_offset: entry.base_offset,
            end_offset: entry.end_offset,
            min_timestamp: entry.min_timestamp,
            max_timestamp: entry.max_timestamp,
            min_known_timestamp: entry.min_known_timestamp,
            records: entry.records,
            raw_bytes: entry.raw_bytes,
            timestamp_type: entry.timestamp_type,
            content_digest: entry.content_digest,
            rendered: entry.rendered,
            whole_lines: entry.whole_lines,
            features: features(entry),
        }
    }

    fn row(self) -> Result<Row, String> {
        let id = PartitionId {
            topic: self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
        };
        let features = self.features.unwrap_or(0);
        if (features & FEATURE_NOT_COMPUTED != 0) != self.content_digest.is_none() {
            let digest = match self.content_digest {
                Some(_) => "there is one",
                None => "there is none",
            };
            return Err(format!(
                "its features are {features:#x}, and of the content digest {digest}"
            ));
        }
        let entry = SegmentEntry {
            key: Key::segment(&id, self.base_offset, &self.segment_id).to_string(),
            segment_id: self.segment_id,
            size: self.size,
            footer_position: self.footer_position,
            blake3: self.blake3,
            base_offset: self.base_offset,
            end_offset: self.end_offset,
            min_timestamp: self.min_timestamp,
            max_timestamp: self.max_timestamp,
            min_known_timestamp: self.min_known_timestamp,
            records: self.records,
            raw_bytes: self.raw_bytes,
            timestamp_type: self.timestamp_type,
            content_digest: self.content_digest,
            rendered: self.rendered,
            whole_lines: self.whole_lines,
            key_filter: features & FEATURE_KEY_FILTER != 0,
            batches: features & FEATURE_BATCHES != 0,
        };
        Ok(Row::Segment(id, Box::new(entry)))
    }
}

/// Returns the incompatible features of a segment; `None` where it has none.
fn features(entry: &SegmentEntry) -> Option<u64> {
    let bits = [
        (!entry.is_computed(), FEATURE_NOT_COMPUTED),
        (entry.key_filter, FEATURE_KEY_FILTER),
        (entry.batches, FEATURE_BATCHES),
    ];
    let features = bits
        .iter()
        .filter(|(has, _)| *has)
        .map(|(_, bit)| bit)
        .sum();
    (features != 0).then_some(features)
}

#[expect(
    clippy::expect_used,
    reason = "rows are our own types, whose maps have string keys only, so JSON can represent them"
)]
fn line<T: Serialize>(row: &'static str, body: &T) -> Vec<u8> {
    serde_json::to_vec(&Line { row, body }).expect("rows have string keys only")
}

/// Checks the line of a row by itself.
pub(in crate::repo) fn check_line(line: &[u8]) -> Result<(), SealError> {
    let head = LineHead::read(line)?;
    Row::read(&head, line).map(drop)
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::key::tests::{partition_id, topic};
    use super::*;
    use crate::repo::id::Hex;

    pub(crate) fn segment(id: &PartitionId, from: i64, to: i64) -> Row {
        let segment_id = Hex([5; 16]);
        let entry = SegmentEntry {
            key: Key::segment(id, from, &segment_id).to_string(),
            segment_id,
            size: 100,
            footer_position: 60,
            blake3: SegmentHash(Hex([3; 32])),
            base_offset: from,
            end_offset: to,
            min_timestamp: Some(from),
            max_timestamp: to,
            min_known_timestamp: Some(from),
            records: to.abs_diff(from),
            raw_bytes: 9,
            timestamp_type: TimestampType::CreateTime,
            content_digest: Some(Id::ZERO),
            rendered: Some([1, 2, 3]),
            whole_lines: None,
            key_filter: false,
            batches: false,
        };
        Row::Segment(id.clone(), Box::new(entry))
    }

    /// A segment that is not computed.
    fn not_computed(id: &PartitionId) -> Row {
        let Row::Segment(id, mut entry) = segment(id, 4, 9) else {
            unreachable!("it makes a row of a segment");
        };
        entry.batches = true;
        entry.min_timestamp = None;
        entry.min_known_timestamp = None;
        entry.content_digest = None;
        entry.rendered = None;
        entry.whole_lines = None;
        Row::Segment(id, entry)
    }

    #[test]
    fn the_bounds_of_a_row_that_is_not_computed_rule_out_only_later_times() {
        let row = not_computed(&partition_id("a", 1, 3));
        let line = row.to_line();
        let head = LineHead::read(&line).unwrap();
        assert_eq!((head.times, &head), (Some((i64::MIN, 9)), &row.head()));
        let Row::Segment(_, entry) = Row::read(&head, &line).unwrap() else {
            unreachable!("it is the row of a segment");
        };
        assert!(!entry.is_computed());
        assert!(entry.may_hold_times(i64::MIN, i64::MIN) && entry.may_hold_times(9, 10));
        assert!(!entry.may_hold_times(10, i64::MAX));
    }

    pub(crate) fn topic_row(name: &str, id: u8) -> TopicLine {
        TopicLine {
            topic: name.parse().unwrap(),
            topic_id: Hex([id; 16]),
            kafka_id: None,
            first_seen: 1,
            last_seen: Some(2),
            sighting: None,
            deleted: false,
            internal: false,
            replication_factor: 3,
            config: Some(BTreeMap::from([("a\nb".into(), "\"".into())])),
            partitions: 1,
        }
    }

    fn partition_row() -> PartitionRow {
        PartitionRow {
            id: partition_id("a", 1, 3),
            state: PartitionState {
                base_offset: 4,
                end_offset: 9,
                segments: 1,
                records: 5,
                min_timestamp: Some(-1),
                max_timestamp: Some(i64::MAX),
                changes: serde_json::from_str("[7,3]").unwrap(),
                ..PartitionState::empty(3.into(), 4)
            },
        }
    }

    fn expired_row() -> PartitionRow {
        let mut row = partition_row();
        row.state.expired = Some(Box::new(Expired {
            base_offset: 0,
            segments: 2,
            records: 4,
            snapshot: 7,
            at: jiff::Timestamp::UNIX_EPOCH,
            policy: "--older-than \"1y\"".into(),
            last_record: None,
        }));
        row
    }

    fn read(line: &[u8]) -> Result<Row, SealError> {
        Row::read(&LineHead::read(line)?, line)
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let id = partition_id("a", 1, 3);
        let rows = [
            Row::Topic(topic_row("a", 1)),
            Row::Partition(partition_row()),
            Row::Partition(expired_row()),
            Row::Lost(id.clone(), LostRange::deleted(4, 5)),
            Row::Lost(id.clone(), LostRange::damaged(4, 5)),
            segment(&id, 4, 9),
            not_computed(&id),
            Row::Removed(topic("a", 1)),
            Row::Removed(RowKey::partition(id.clone())),
            Row::Removed(RowKey::lost(id.clone(), 4)),
            Row::Removed(RowKey::segment(id, 4)),
        ];
        for row in rows {
            let line = row.to_line();
            assert!(!line.contains(&b'\n'));
            assert_eq!(LineHead::read(&line).unwrap(), row.head());
            assert_eq!(read(&line).unwrap(), row);
        }
    }

    #[test]
    fn the_form_matches_the_specification() {
        let id = "01".repeat(16);
        let text = |row: Row| String::from_utf8(row.to_line()).unwrap();
        let lost = Row::Lost(partition_id("a", 1, 3), LostRange::deleted(4, 5));
        assert_eq!(
            text(lost),
            format!(
                r#"{{"row":"lost","topic":"a","topic_id":"{id}","partition":3,"base_offset":4,"end_offset":5}}"#
            )
        );
        let damaged = Row::Lost(partition_id("a", 1, 3), LostRange::damaged(4, 5));
        assert_eq!(
            text(damaged),
            format!(
                r#"{{"row":"lost","topic":"a","topic_id":"{id}","partition":3,"base_offset":4,"end_offset":5,"cause":"damaged"}}"#
            )
        );
        let removed = Row::Removed(RowKey::segment(partition_id("a", 1, 3), 4));
        assert_eq!(
            text(removed),
            format!(
                r#"{{"row":"removed","of":"segment","topic":"a","topic_id":"{id}","partition":3,"base_offset":4}}"#
            )
        );
    }

    #[test]
    fn rows_that_break_a_rule_are_refused() {
        let edited = |row: &Row, from: &str, to: &str| {
            let text = String::from_utf8(row.to_line()).unwrap();
            assert!(text.contains(from), "{from} is not in {text}");
            let edited = text.replacen(from, to, 1);
            let error = read(edited.as_bytes()).unwrap_err();
            assert!(
                matches!(error, SealError::Damaged(_)),
                "{edited}: {error:?}"
            );
        };
        let row = Row::Topic(topic_row("a", 1));
        for (from, to) in [
            ("\"topic\":\"a\"", "\"topic\":\"..\""),
            ("\"first_seen\":1", "\"first_seen\":0"),
            ("\"last_seen\":2", "\"last_seen\":null"),
            ("\"sighting\":null", "\"sighting\":1"),
            ("\"partitions\":1", "\"partitions\":-1"),
            ("\"partitions\":1", "\"partitions\":1,\"partitions\":1"),
            ("\"config\":{", "\"config\":{\"a\\nb\":\"\","),
            (",\"deleted\":false", ""),
        ] {
            edited(&row, from, to);
        }
        let row = Row::Partition(partition_row());
        for (from, to) in [
            ("\"partition\":3", "\"partition\":-3"),
            (",\"partition\":3", ""),
            ("\"base_offset\":4", "\"base_offset\":-4"),
            ("\"base_offset\":4", "\"base_offset\":10"),
            ("\"segments\":1", "\"segments\":0"),
            ("\"changes\":[7,3]", "\"changes\":[3,7]"),
            (
                "\"max_timestamp\":9223372036854775807",
                "\"max_timestamp\":null",
            ),
            (
                "\"min_timestamp\":-1,\"max_timestamp\":9223372036854775807",
                "\"min_timestamp\":8,\"max_timestamp\":7",
            ),
            (
                "\"incomplete\":null",
                "\"incomplete\":{\"reason\":\"A\",\"detail\":\"\"}",
            ),
            ("\"records\":5", "\"records\":5.0"),
        ] {
            edited(&row, from, to);
        }
        let row = segment(&partition_id("a", 1, 3), 4, 9);
        for (from, to) in [
            ("\"base_offset\":4", "\"base_offset\":-4"),
            ("\"base_offset\":4", "\"base_offset\":9"),
            ("\"footer_position\":60", "\"footer_position\":100"),
            (
                "\"timestamp_type\":\"CreateTime\"",
                "\"timestamp_type\":\"Create\"",
            ),
            ("\"segment_id\":\"05", "\"segment_id\":\"5"),
            ("\"min_timestamp\":4,", "\"min_timestamp\":null,"),
            (
                &*format!("\"content_digest\":\"{}\"", Id::ZERO),
                "\"content_digest\":null",
            ),
            ("\"size\"", "\"features\":9,\"size\""),
        ] {
            edited(&row, from, to);
        }
        let row = not_computed(&partition_id("a", 1, 3));
        let digest = format!("\"content_digest\":\"{}\"", Id::ZERO);
        for (from, to) in [
            ("\"features\":9", "\"features\":8"),
            ("\"features\":9", "\"features\":1"),
            ("\"features\":9", "\"features\":13"),
            ("\"content_digest\":null", &*digest),
            ("\"min_timestamp\":null", "\"min_timestamp\":4"),
            ("\"min_known_timestamp\":null", "\"min_known_timestamp\":4"),
            ("\"rendered\":null", "\"rendered\":[1,2,3]"),
            ("\"whole_lines\":null", "\"whole_lines\":[true,true]"),
        ] {
            edited(&row, from, to);
        }
        let row = Row::Lost(partition_id("a", 1, 3), LostRange::damaged(4, 5));
        edited(&row, "\"end_offset\":5", "\"end_offset\":4");
        edited(&row, "\"cause\":\"damaged\"", "\"cause\":\"other\"");
        let row = Row::Removed(topic("a", 1));
        edited(&row, "\"of\":\"topic\",", "");
    }

    #[test]
    fn unknown_members_are_ignored_and_unknown_kinds_refused_by_name() {
        let line = segment(&partition_id("a", 1, 3), 4, 9).to_line();
        let text = String::from_utf8(line).unwrap();
        let more = text.replacen("\"size\"", "\"later\":[1],\"size\"", 1);
        assert!(read(more.as_bytes()).is_ok());
        let features = text.replacen("\"size\"", "\"features\":2,\"size\"", 1);
        let unknown = SealError::UnknownRow("segment with the features 0x2".into());
        assert_eq!(read(features.as_bytes()), Err(unknown));
        let unknown = text.replacen("\"size\"", "\"features\":6,\"size\"", 1);
        let only = SealError::UnknownRow("segment with the features 0x2".into());
        assert_eq!(read(unknown.as_bytes()), Err(only));
        let filter = text.replacen("\"size\"", "\"features\":4,\"size\"", 1);
        let read_back = read(filter.as_bytes()).unwrap();
        assert!(matches!(&read_back, Row::Segment(_, entry) if entry.key_filter));
        let again = read_back.to_line();
        assert!(String::from_utf8(again).unwrap().contains("\"features\":4"));
        let none = text.replacen("\"size\"", "\"features\":0,\"size\"", 1);
        assert!(read(none.as_bytes()).is_ok());
        let other = text.replacen("\"segment\"", "\"filter\"", 1);
        let unknown = Err(SealError::UnknownRow("filter".into()));
        assert_eq!(read(other.as_bytes()), unknown);
    }
}
