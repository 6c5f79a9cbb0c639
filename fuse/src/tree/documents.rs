//! Files that are made when they are asked for: what a snapshot says, as JSON.

use std::sync::Arc;

use kbk_format::render::View;
use kbk_format::repo::{GroupState, LostRange, TopicState};
use serde::Serialize;

use crate::content::pages::Extent;
use crate::content::snapshot::{Loaded, Partition};
use crate::tree::damage::DamageRow;

/// JSON that people read, too: indented, with a line feed at the end.
fn json(document: &impl Serialize) -> Vec<u8> {
    // Our own types: maps with string keys, which JSON has.
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
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
    groups: Option<usize>,
    records: u64,
    stored_bytes: u64,
    raw_bytes: u64,
}

/// `snapshot.json`.
pub(crate) fn snapshot(loaded: &Loaded) -> Vec<u8> {
    let snapshot = &loaded.snapshot;
    let states = || snapshot.topics.iter().flat_map(|topic| &topic.partitions);
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
        groups: snapshot.groups.as_ref().map(|groups| groups.groups.len()),
        records: states().map(|state| state.records).sum(),
        stored_bytes: states().map(|state| state.stored_bytes).sum(),
        raw_bytes: states().map(|state| state.raw_bytes).sum(),
    })
}

#[derive(Serialize)]
struct GroupJson<'a> {
    taken_at: String,
    #[serde(flatten)]
    group: &'a GroupState,
}

/// `groups/<group>.json`: where it stood, and when it was asked.
pub(crate) fn group(loaded: &Loaded, group: &GroupState) -> Vec<u8> {
    let taken_at = loaded
        .snapshot
        .groups
        .as_ref()
        .map(|groups| groups.taken_at.to_string());
    json(&GroupJson {
        taken_at: taken_at.unwrap_or_default(),
        group,
    })
}

#[derive(Serialize)]
struct ConfigJson<'a> {
    topic: &'a str,
    topic_id: String,
    deleted: bool,
    internal: bool,
    first_seen: u64,
    last_seen: u64,
    partitions: usize,
    replication_factor: i32,
    config: &'a Option<std::collections::BTreeMap<String, String>>,
}

/// `config.json` of a topic.
pub(crate) fn config(topic: &TopicState) -> Vec<u8> {
    json(&ConfigJson {
        topic: &topic.name,
        topic_id: topic.topic_id.to_string(),
        deleted: topic.deleted,
        internal: topic.internal,
        first_seen: topic.first_seen,
        last_seen: topic.last_seen,
        partitions: topic.partitions.len(),
        replication_factor: topic.replication_factor,
        config: &topic.config,
    })
}

#[derive(Serialize)]
struct MetaJson<'a> {
    topic: &'a str,
    topic_id: String,
    partition: i32,
    snapshot: u64,
    log_start_offset: i64,
    high_watermark: i64,
    last_stable_offset: i64,
    base_offset: i64,
    end_offset: i64,
    records: u64,
    gaps: GapsJson<'a>,
    min_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    segments: u64,
    stored_bytes: u64,
    raw_bytes: u64,
    rendered_bytes: Option<RenderedJson>,
    /// Whether each line of a view is a whole value or key: none is null, none holds a line feed.
    lossless: LosslessJson,
    content_digest: String,
    damage: Vec<Arc<DamageRow>>,
}

#[derive(Serialize)]
struct GapsJson<'a> {
    /// Offsets without a record, all in all.
    offsets: u64,
    by_reason: ReasonsJson,
    /// The end is exclusive.
    lost: &'a [LostRange],
}

#[derive(Serialize)]
struct ReasonsJson {
    /// Deleted in the cluster before they were read.
    lost: u64,
    /// Not shown by the cluster: compacted, a mark of a transaction, or of an aborted one. Where a segment's own gaps say more, they
    /// are in its footer.
    not_delivered: u64,
}

#[derive(Serialize)]
struct RenderedJson {
    #[serde(rename = "records.jsonl")]
    records: u64,
    values: u64,
    keys: u64,
}

#[derive(Serialize)]
struct LosslessJson {
    values: Option<bool>,
    keys: Option<bool>,
}

/// `meta.json` of a partition, with the damage that has been found so far.
pub(crate) fn meta(partition: &Partition, extent: &Extent, damage: Vec<Arc<DamageRow>>) -> Vec<u8> {
    let (topic, state) = (partition.topic(), partition.state());
    let coverage = state.end_offset.abs_diff(state.base_offset);
    let missing = coverage.saturating_sub(state.records);
    let lost = state
        .lost
        .iter()
        .map(|range| range.to.abs_diff(range.from))
        .sum();
    let rendered = RenderedJson {
        records: extent.size(View::Records),
        values: extent.size(View::Values),
        keys: extent.size(View::Keys),
    };
    json(&MetaJson {
        topic: &topic.name,
        topic_id: topic.topic_id.to_string(),
        partition: state.partition,
        snapshot: partition.sequence(),
        log_start_offset: state.log_start_offset,
        high_watermark: state.high_watermark,
        last_stable_offset: state.last_stable_offset,
        base_offset: state.base_offset,
        end_offset: state.end_offset,
        records: state.records,
        gaps: GapsJson {
            offsets: missing,
            by_reason: ReasonsJson {
                lost,
                not_delivered: missing.saturating_sub(lost),
            },
            lost: &state.lost,
        },
        min_timestamp: extent.times.map(|(min, _)| min),
        max_timestamp: extent.times.map(|(_, max)| max),
        segments: partition.segments(),
        stored_bytes: state.stored_bytes,
        raw_bytes: state.raw_bytes,
        rendered_bytes: extent.sized.then_some(rendered),
        lossless: LosslessJson {
            values: extent.whole_lines.map(|[values, _]| values),
            keys: extent.whole_lines.map(|[_, keys]| keys),
        },
        content_digest: format!("{:032x}", extent.content_digest),
        damage,
    })
}

/// `README.txt` of the root.
pub(crate) const README: &str = "\
A kbk repository of Kafka topics, as files that are read only. `latest` is the newest backup. The files under
`follow` are its records.jsonl, values and keys, and grow with each backup that comes: `tail -f` them.

snapshots/N/topics/TOPIC/PARTITION/ holds for each partition:
  records.jsonl          every record, one JSON object a line, in offset order
  values, keys           one a line, as they are; meta.json says whether each line is a whole one (`lossless`)
  by-offset/             a file for each segment; any 17.json and 17-99.jsonl opens too, both ends inclusive
  by-time/               the same records by the hour (UTC) that their newest timestamp so far has reached:
                         a record that came late stays where its offset is
  segments/              the stored bytes
  meta.json              offsets, gaps, counts, times, sizes, and the damage found so far
A topic that was deleted stands under TOPIC@ID. Where only meta.json and segments/ are there, the segments do not
state how long their text is: `kbk cat` shows their records. `du` of one file says what is stored of it.
";
