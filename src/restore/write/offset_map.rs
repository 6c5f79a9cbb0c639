//! The offset map of one partition while it grows: runs from delivery reports become pages, each of which names its predecessor.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{Digest, FULL_MAP_PAGE, MapPage, MapRun, PartitionId, RestoreId};

/// The offset map of a partition: its last page, which names the one before.
#[derive(Clone, Debug)]
pub(crate) struct OffsetMap {
    restore: RestoreId,
    partition_id: PartitionId,
    last: Option<(Digest, MapPage)>,
    /// By target partition, one past the last mapped offset, as far as the last page and this run tell.
    ends: BTreeMap<PartitionNumber, i64>,
}

/// A record that has a lower offset in its target than the records before it: the log did not only grow meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descent {
    pub(crate) target_partition: PartitionNumber,
    /// The lowest offset that the record can have in a log that only grows.
    pub(crate) expected: i64,
    pub(crate) found: i64,
}

/// An offset map extended by one transaction.
#[derive(Debug)]
pub(crate) struct Extended {
    pub(crate) map: OffsetMap,
    /// Pages that must be durable before the transaction is committed.
    pub(crate) pages: Vec<MapPage>,
    /// The page that no map names any more after the commit.
    pub(crate) replaced: Option<Digest>,
}

impl OffsetMap {
    /// Creates the map of a partition without restored records.
    pub(crate) fn empty(restore: RestoreId, partition_id: PartitionId) -> OffsetMap {
        OffsetMap {
            restore,
            partition_id,
            last: None,
            ends: BTreeMap::new(),
        }
    }

    /// Returns the map that ends with this page.
    pub(crate) fn continued(self, sha256: Digest, page: MapPage) -> OffsetMap {
        let ends = page.runs.iter();
        OffsetMap {
            ends: ends
                .map(|run| (run.target_partition, run.target_end()))
                .collect(),
            last: Some((sha256, page)),
            ..self
        }
    }

    /// Returns one past the last mapped offset in each target partition, as far as it is known.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (PartitionNumber, i64)> {
        self.ends.iter().map(|(partition, end)| (*partition, *end))
    }

    /// Returns the digest of the last page.
    pub(crate) fn page(&self) -> Option<Digest> {
        self.last.as_ref().map(|(sha256, _)| *sha256)
    }

    /// Returns the number of mapped records.
    pub(crate) fn records(&self) -> u64 {
        self.last.as_ref().map_or(0, |(_, page)| page.records)
    }

    /// Adds the runs of records from source offsets up to `end_offset`, exclusive, in ascending order. `base_offset` is where the restore of
    /// the partition began.
    ///
    /// # Errors
    ///
    /// The first record whose offset in its target is not above those of the records before it.
    pub(crate) fn extend(
        &self,
        base_offset: i64,
        end_offset: i64,
        runs: &[MapRun],
    ) -> Result<Extended, Descent> {
        let ends = self.ends_with(runs)?;
        let (mut page, replaced) = self.open_page(base_offset);
        let mut pages = Vec::new();
        for &run in runs {
            let joined = page.runs.last_mut().is_some_and(|last| join(last, &run));
            if !joined {
                if page.runs.len() == FULL_MAP_PAGE {
                    page.end_offset = run.source_offset;
                    let next = self.next_page(&page);
                    pages.push(std::mem::replace(&mut page, next));
                }
                page.runs.push(run);
            }
            page.records += run.records;
        }
        page.end_offset = end_offset;
        pages.push(page.clone());
        let sha256 = page.sha256();
        Ok(Extended {
            map: OffsetMap {
                last: Some((sha256, page)),
                ends,
                ..self.clone_empty()
            },
            pages,
            // Without new runs the page, and so its digest, is the same: it is still needed.
            replaced: replaced.filter(|replaced| *replaced != sha256),
        })
    }

    fn ends_with(&self, runs: &[MapRun]) -> Result<BTreeMap<PartitionNumber, i64>, Descent> {
        let mut ends = self.ends.clone();
        for run in runs {
            let end = ends.entry(run.target_partition).or_insert(0);
            if run.target_offset < *end {
                return Err(Descent {
                    target_partition: run.target_partition,
                    expected: *end,
                    found: run.target_offset,
                });
            }
            *end = run.target_end();
        }
        Ok(ends)
    }

    /// Returns the last page if it has room, to be replaced by a longer one; otherwise a new one.
    fn open_page(&self, base_offset: i64) -> (MapPage, Option<Digest>) {
        match &self.last {
            Some((sha256, page)) if page.runs.len() < FULL_MAP_PAGE => {
                (page.clone(), Some(*sha256))
            }
            Some((_, page)) => (self.next_page(page), None),
            None => {
                let page = MapPage {
                    restore: self.restore.clone(),
                    topic: self.partition_id.topic.clone(),
                    topic_id: self.partition_id.topic_id,
                    partition: self.partition_id.partition,
                    base_offset,
                    end_offset: base_offset,
                    previous: None,
                    records: 0,
                    runs: Vec::new(),
                };
                (page, None)
            }
        }
    }

    fn next_page(&self, page: &MapPage) -> MapPage {
        MapPage {
            base_offset: page.end_offset,
            previous: Some(page.sha256()),
            runs: Vec::new(),
            ..page.clone()
        }
    }

    fn clone_empty(&self) -> OffsetMap {
        OffsetMap::empty(self.restore.clone(), self.partition_id.clone())
    }
}

/// Appends `next` to `last` if it continues it.
fn join(last: &mut MapRun, next: &MapRun) -> bool {
    let records = last.records.cast_signed();
    let follows = last.target_partition == next.target_partition
        && last.source_offset + records == next.source_offset
        && last.target_offset + records == next.target_offset;
    if follows {
        last.records += next.records;
    }
    follows
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::Id;

    use super::*;

    fn empty() -> OffsetMap {
        let partition_id = PartitionId {
            topic: "orders".parse().unwrap(),
            topic_id: Id::ZERO,
            partition: 3.into(),
        };
        OffsetMap::empty("r".parse().unwrap(), partition_id)
    }

    fn run(source_offset: i64, target_offset: i64, records: u64) -> MapRun {
        MapRun {
            source_offset,
            target_partition: 3.into(),
            target_offset,
            records,
        }
    }

    fn runs(page: &MapPage) -> Vec<(i64, i64, u64)> {
        let run = |run: &MapRun| (run.source_offset, run.target_offset, run.records);
        page.runs.iter().map(run).collect()
    }

    #[test]
    fn a_dense_partition_is_one_run_however_often_it_is_extended() {
        let mut map = empty();
        let mut replaced = Vec::new();
        for at in (100..1_000).step_by(100) {
            let extended = map
                .extend(100, at + 100, &[run(at, at - 100, 100)])
                .unwrap();
            assert_eq!(extended.pages.len(), 1);
            replaced.push(extended.replaced);
            let before = std::mem::replace(&mut map, extended.map);
            assert_eq!(
                replaced.last(),
                Some(&before.page()),
                "the previous page is not needed"
            );
        }
        let (sha256, page) = map.last.unwrap();
        assert_eq!(runs(&page), [(100, 0, 900)]);
        assert_eq!(
            (page.base_offset, page.end_offset, page.records),
            (100, 1_000, 900)
        );
        assert_eq!(sha256, page.sha256());
    }

    #[test]
    fn a_page_that_stays_the_same_is_not_replaced() {
        let first = empty().extend(0, 10, &[run(0, 0, 10)]).unwrap();
        let again = first.map.extend(0, 10, &[]).unwrap();
        assert_eq!(again.map.page(), first.map.page());
        assert_eq!(again.replaced, None);
    }

    #[test]
    fn a_record_in_another_partition_begins_a_new_run() {
        let elsewhere = MapRun {
            target_partition: 4.into(),
            ..run(10, 10, 10)
        };
        let runs = [run(0, 0, 10), elsewhere, run(20, 10, 10)];
        let extended = empty().extend(0, 30, &runs).unwrap();
        let runs = [(0, 0, 10), (10, 10, 10), (20, 10, 10)];
        assert_eq!(self::runs(&extended.pages[0]), runs);
    }

    #[test]
    fn the_marker_after_a_transaction_begins_a_new_run() {
        let first = empty().extend(0, 10, &[run(0, 0, 10)]).unwrap();
        let second = first.map.extend(0, 20, &[run(10, 11, 10)]).unwrap();
        assert_eq!(runs(&second.pages[0]), [(0, 0, 10), (10, 11, 10)]);
    }

    #[test]
    fn a_target_whose_offsets_begin_again_is_found_in_and_across_transactions_and_runs() {
        let first = empty().extend(0, 10, &[run(0, 50, 10)]).unwrap().map;
        let (sha256, page) = first.last.clone().unwrap();
        let resumed = empty().continued(sha256, page);
        for map in [first, resumed] {
            for offset in [0, 59] {
                let descent = map.extend(0, 20, &[run(10, offset, 10)]).unwrap_err();
                assert_eq!((descent.expected, descent.found), (60, offset));
            }
            assert!(map.extend(0, 20, &[run(10, 60, 10)]).is_ok());
        }
        let restarted = [run(0, 50, 10), run(10, 0, 10)];
        assert!(empty().extend(0, 20, &restarted).is_err());
    }

    #[test]
    fn full_pages_stay_and_name_one_another() {
        let gaps: Vec<MapRun> = (0..10_000).map(|n| run(n * 10, n * 9, 9)).collect();
        let extended = empty().extend(0, 100_000, &gaps).unwrap();
        let [first, second, third] = extended.pages.as_slice() else {
            panic!("{} pages", extended.pages.len());
        };
        assert_eq!(first.previous, None);
        assert_eq!(second.previous, Some(first.sha256()));
        assert_eq!(third.previous, Some(second.sha256()));
        assert_eq!(
            (first.base_offset, first.end_offset),
            (0, second.base_offset)
        );
        assert_eq!(third.end_offset, 100_000);
        assert_eq!(first.runs.len(), FULL_MAP_PAGE);
        assert_eq!(third.records, 90_000);
        assert_eq!(first.records, 9 * FULL_MAP_PAGE as u64);

        let more = extended.map.extend(0, 100_010, &[run(100_000, 90_000, 9)]);
        let more = more.unwrap();
        assert_eq!(more.replaced, Some(third.sha256()));
        assert_eq!(more.pages[0].previous, Some(second.sha256()));
    }
}
