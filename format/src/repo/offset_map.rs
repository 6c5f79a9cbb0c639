//! Where a restore wrote its records: pages, each of which names the one before (SPEC section 11.7).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::error::{RepoErrorKind, Result};
use super::id::{Digest, Id};
use super::keys::{Key, PartitionId, RESTORES, TopicName};
use super::repository::Repository;
use super::restore_id::RestoreId;
use super::sealed::{Digested, Document, seal};
use crate::{OffsetSpan, PartitionNumber};

/// A page of the offset map with this many runs is full, and never written again.
pub const FULL_MAP_PAGE: usize = 4096;

/// Records of consecutive offsets that were written to consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "(i64, PartitionNumber, i64, u64)",
    into = "(i64, PartitionNumber, i64, u64)"
)]
pub struct MapRun {
    /// Offset of the first record in the backup; each further record has the next one.
    pub source_offset: i64,
    /// The partition of the target.
    pub target_partition: PartitionNumber,
    /// Offset of the first record in the target; each further record has the next one.
    pub target_offset: i64,
    /// Number of records, at least 1.
    pub records: u64,
}

impl MapRun {
    /// Returns one past the offset of the last record in the target.
    #[must_use]
    pub fn target_end(&self) -> i64 {
        self.target_offset.saturating_add_unsigned(self.records)
    }
}

impl From<(i64, PartitionNumber, i64, u64)> for MapRun {
    fn from(
        (source_offset, target_partition, target_offset, records): (i64, PartitionNumber, i64, u64),
    ) -> Self {
        MapRun {
            source_offset,
            target_partition,
            target_offset,
            records,
        }
    }
}

impl From<MapRun> for (i64, PartitionNumber, i64, u64) {
    fn from(run: MapRun) -> Self {
        let MapRun {
            source_offset,
            target_partition,
            target_offset,
            records,
        } = run;
        (source_offset, target_partition, target_offset, records)
    }
}

/// Where the records of one partition were written, for a range of its offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPage {
    /// The restore.
    pub restore: RestoreId,
    /// The topic's name in the backup.
    pub topic: TopicName,
    /// The topic's id in the backup.
    pub topic_id: Id,
    /// The partition in the backup.
    pub partition: PartitionNumber,
    /// The first offset that the page covers.
    pub base_offset: i64,
    /// The exclusive end of the offsets that the page covers. Covered offsets without a run were not restored.
    pub end_offset: i64,
    /// The page that ends where this one begins; null where the restore of the partition began.
    pub previous: Option<Digest>,
    /// Records of this page and of all before it.
    pub records: u64,
    /// In offset order.
    pub runs: Vec<MapRun>,
}

impl Document for MapPage {
    const FORMAT: &'static str = "kbk-offset-map";
}

impl MapPage {
    /// Returns the partition whose records it maps.
    #[must_use]
    pub fn partition_id(&self) -> PartitionId {
        PartitionId {
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            partition: self.partition,
        }
    }

    /// Returns the digest by which the next page and the target cluster refer to it.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        seal(self).1
    }

    /// Checks the rules of SPEC section 11.7; the error names the one that is violated.
    fn check(&self) -> std::result::Result<(), String> {
        if self.base_offset < 0 || self.base_offset > self.end_offset {
            return Err(format!(
                "it covers {} of partition {}",
                OffsetSpan::from(self.base_offset..self.end_offset),
                self.partition
            ));
        }
        if self.runs.len() > FULL_MAP_PAGE {
            let runs = self.runs.len();
            return Err(format!(
                "it has {runs} runs; at most {FULL_MAP_PAGE} are allowed"
            ));
        }
        let (mut at, mut records) = (self.base_offset, 0_u64);
        let mut target_ends = BTreeMap::new();
        for run in &self.runs {
            let end = i64::try_from(run.records)
                .ok()
                .filter(|count| *count > 0 && run.target_offset >= 0)
                .filter(|count| run.target_offset.checked_add(*count).is_some())
                .and_then(|count| run.source_offset.checked_add(count));
            match end {
                Some(end) if run.source_offset >= at && end <= self.end_offset => at = end,
                _ => {
                    return Err(format!(
                        "{run:?} is out of order, or outside the offsets that it covers"
                    ));
                }
            }
            let target_end = target_ends.entry(run.target_partition).or_insert(0);
            if run.target_offset < *target_end {
                return Err(format!(
                    "{run:?} is at a lower offset of the target than records before it, which end at {target_end}"
                ));
            }
            *target_end = run.target_end();
            records = records.saturating_add(run.records);
        }
        let first = self.previous.is_none();
        if records > self.records || (first && records != self.records) {
            return Err(format!(
                "it states {} records, and its runs have {records}",
                self.records
            ));
        }
        Ok(())
    }
}

impl Repository {
    /// Stores pages of an offset map, durable when this returns; returns their digests in the same order.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`], or the error of the store.
    pub async fn write_map_pages(&self, pages: &[MapPage]) -> Result<Vec<Digest>> {
        let writes: Vec<_> = pages.iter().map(|page| self.write_map_page(page)).collect();
        let written = stream::iter(writes).buffered(self.store().profile().parallel_requests);
        let (keys, digests): (Vec<_>, Vec<_>) =
            written.try_collect::<Vec<_>>().await?.into_iter().unzip();
        // One flush covers all pages: nothing names any of them before this returns.
        self.store().sync_folders(keys).await?;
        Ok(digests)
    }

    async fn write_map_page(&self, page: &MapPage) -> Result<(String, Digest)> {
        let (bytes, sha256) = seal(page);
        let key = Key::map_page(&page.restore, &sha256);
        let refused = |detail| self.store().refused(&key, detail);
        page.check().map_err(refused)?;
        self.store().put_content_named(&key, bytes).await?;
        Ok((key.to_string(), sha256))
    }

    /// Reads a page of the offset map of `partition` by its digest.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn map_page(
        &self,
        restore: &RestoreId,
        partition: &PartitionId,
        sha256: &Digest,
    ) -> Result<Digested<MapPage>> {
        let key = Key::map_page(restore, sha256);
        let page = self.listed_map_page(&key).await?;
        let damaged = |detail| Err(self.store().damaged(&key, detail));
        if page.sha256 != *sha256 {
            return damaged(format!("its digest is {}, not {sha256}", page.sha256));
        }
        if page.restore != *restore || page.partition_id() != *partition {
            let (theirs, found) = (&page.restore, page.partition_id());
            return damaged(format!(
                "it maps {found} for restore {theirs}, not {partition} for {restore}"
            ));
        }
        Ok(page)
    }

    /// Lists the keys of all pages of a restore, including those that nothing names.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn map_page_keys(&self, restore: &RestoreId) -> Result<BTreeSet<Key>> {
        let folder = format!("{RESTORES}/{restore}/map");
        let found = self.store().list(&folder).await?;
        Ok(found.into_iter().map(|object| object.key).collect())
    }

    /// Reads a page of which only the key is known.
    ///
    /// # Errors
    ///
    /// As [`map_page`](Self::map_page).
    pub async fn listed_map_page(&self, key: &Key) -> Result<Digested<MapPage>> {
        let Some(page) = self.store().read::<MapPage>(key).await? else {
            let named_by = "an offset map".to_owned();
            return Err(self.store().error(key, RepoErrorKind::Missing { named_by }));
        };
        let name = Key::map_page(&page.restore, &page.sha256);
        let checked = match page.check() {
            Ok(()) if name != *key => Err(format!("its bytes are those of {name}")),
            checked => checked,
        };
        checked.map_err(|detail| self.store().damaged(key, detail))?;
        Ok(page)
    }

    /// Removes all pages of a restore's offset maps except those in `kept`.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn keep_map_pages(&self, restore: &RestoreId, kept: &BTreeSet<Key>) -> Result<()> {
        let found = self.map_page_keys(restore).await?;
        let unneeded: Vec<Key> = found.difference(kept).cloned().collect();
        self.store().remove_all(&unneeded).await
    }

    /// Removes pages that nothing names any more. A page that is gone already is not an error.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn remove_map_pages(&self, restore: &RestoreId, pages: &[Digest]) -> Result<()> {
        let keys = pages.iter().map(|sha256| Key::map_page(restore, sha256));
        self.store().remove_all(&keys.collect::<Vec<_>>()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_in_a_target_must_ascend() {
        let run = |source_offset, target: u16, target_offset| MapRun {
            source_offset,
            target_partition: target.into(),
            target_offset,
            records: 10,
        };
        let page = |runs: &[MapRun]| MapPage {
            restore: "r".parse().unwrap(),
            topic: "orders".parse().unwrap(),
            topic_id: Id::ZERO,
            partition: 0.into(),
            base_offset: 0,
            end_offset: 100,
            previous: None,
            records: 10 * runs.len() as u64,
            runs: runs.to_vec(),
        };
        let ascending = [run(0, 0, 50), run(10, 1, 0), run(20, 0, 60), run(30, 1, 11)];
        assert_eq!(page(&ascending).check(), Ok(()));
        for target_offset in [0, 49, 59] {
            let restarted = [run(0, 0, 50), run(10, 1, 0), run(20, 0, target_offset)];
            let error = page(&restarted).check().unwrap_err();
            assert!(error.contains("which end at 60"), "{error}");
        }
    }
}
