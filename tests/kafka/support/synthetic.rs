//! A backup written without a cluster: more records, with more gaps, than a test has time to produce.

use kbk_format::repo::SegmentUpload;
use kbk_format::{Headers, Record, SegmentWriter};

use super::one_partition::OnePartition;
use super::repo::Repo;
use super::samples;

/// Creates a repository with one topic of one partition: a record of a few bytes at each of the offsets.
pub(crate) fn make(repo: &Repo, topic: &str, offsets: impl Iterator<Item = i64>, end_offset: i64) {
    let repository = OnePartition::create(&repo.path(), topic);
    let now = samples::now_ms();
    let segment = repository.segment(0, |writer| {
        offsets.for_each(|offset| push(writer, offset, now));
        end_offset
    });
    repository.commit(vec![segment]);
}

/// Creates a repository with one topic of one partition, of this many segments with one record each.
pub(crate) fn make_segments(repo: &Repo, topic: &str, segments: i64) {
    let repository = OnePartition::create(&repo.path(), topic);
    let now = samples::now_ms();
    let segment = |offset| {
        repository.segment(offset, |writer| {
            push(writer, offset, now);
            offset + 1
        })
    };
    repository.commit((0..segments).map(segment).collect());
}

fn push(writer: &mut SegmentWriter<SegmentUpload>, offset: i64, now: i64) {
    let value = offset.to_string();
    let record = Record {
        offset,
        timestamp: now,
        control: false,
        key: None,
        value: Some(value.as_bytes()),
        headers: Headers::Slice(&[]),
    };
    writer.push(&record).expect("in order");
}
