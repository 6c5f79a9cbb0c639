//! A backup written without a cluster: more records, with more gaps, than a test has time to produce.

use std::io::Write as _;

use kbk_format::{Headers, Record};

use super::one_partition::OnePartition;
use super::repo::Repo;
use super::samples;

/// Creates a repository with one topic of one partition: a record of a few bytes at each of the offsets.
pub(crate) fn make(repo: &Repo, topic: &str, offsets: impl Iterator<Item = i64>, end_offset: i64) {
    let repository = OnePartition::create(&repo.path(), topic);
    let now = samples::now_ms();
    let mut value = Vec::new();
    let segment = repository.segment(0, |writer| {
        for offset in offsets {
            value.clear();
            write!(value, "{offset}").expect("a vector takes everything");
            let record = Record {
                offset,
                timestamp: now,
                control: false,
                key: None,
                value: Some(&value),
                headers: Headers::Slice(&[]),
            };
            writer.push(&record).expect("in order");
        }
        end_offset
    });
    repository.commit(vec![segment]);
}
