//! That a restore is finished (SPEC section 11.7): `restores/<restore>/done.json`, last, names the final page of each partition.

use std::pin::pin;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{RepoErrorKind, Result};
use super::id::{Digest, Id};
use super::keys::{Key, PartitionId, TopicName};
use super::repository::Repository;
use super::restore_id::RestoreId;
use super::sealed::{Document, seal};
use super::store::Put;
use crate::PartitionNumber;

/// States that a restore is finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreDone {
    /// The restore.
    pub restore: RestoreId,
    /// Its place in the order in which the repository's restores finished, from 1: clocks cannot tell.
    pub sequence: u64,
    /// When it finished.
    pub finished_at: Timestamp,
    /// Records that were written.
    pub records: u64,
    /// Every partition of the restore, in its order.
    pub partitions: Vec<DonePartition>,
}

/// The result of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DonePartition {
    /// The topic's name in the backup.
    pub topic: TopicName,
    /// The topic's id in the backup.
    pub topic_id: Id,
    /// The partition in the backup.
    pub partition: PartitionNumber,
    /// Records that were written.
    pub records: u64,
    /// The last page of its offset map; null where nothing was written.
    pub page: Option<Digest>,
}

impl RestoreDone {
    /// Returns whether both state the same result; when they were recorded may differ.
    fn has_result_of(&self, other: &RestoreDone) -> bool {
        (&self.restore, self.records, &self.partitions)
            == (&other.restore, other.records, &other.partitions)
    }
}

impl DonePartition {
    /// Returns the partition in the backup.
    #[must_use]
    pub fn partition_id(&self) -> PartitionId {
        PartitionId {
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            partition: self.partition,
        }
    }
}

impl Document for RestoreDone {
    const FORMAT: &'static str = "kbk-restore-done";
}

impl Repository {
    /// Reads the result of a restore; `None` if it has not finished.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn restore_done(&self, restore: &RestoreId) -> Result<Option<RestoreDone>> {
        let key = Key::RestoreDone {
            restore: restore.clone(),
        };
        let Some(found) = self.store().read::<RestoreDone>(&key).await? else {
            return Ok(None);
        };
        if found.restore != *restore || found.sequence == 0 {
            let (restore, sequence) = (&found.restore, found.sequence);
            let detail = format!("it is of restore {restore}, the number {sequence} to finish");
            return Err(self.store().damaged(&key, detail));
        }
        Ok(Some(found.value))
    }

    /// Reads the results of all restores, several at a time; `None` of one that has not finished.
    async fn restores_done(&self) -> Result<impl Stream<Item = Result<Option<RestoreDone>>>> {
        let reads = self.restores().await?.into_iter();
        let reads = reads.map(async |restore| self.restore_done(&restore).await);
        Ok(stream::iter(reads).buffer_unordered(self.store().profile().parallel_requests))
    }

    /// Returns the `sequence` of a restore that finishes now.
    ///
    /// # Errors
    ///
    /// The error of the store. A damaged result of another restore is no reason not to finish this one.
    pub async fn next_restore_done(&self) -> Result<u64> {
        let mut last = 0;
        let mut results = pin!(self.restores_done().await?);
        while let Some(result) = results.next().await {
            match result {
                Ok(done) => last = last.max(done.map_or(0, |done| done.sequence)),
                Err(error) if matches!(error.kind(), RepoErrorKind::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(last.saturating_add(1))
    }

    /// Returns the result of the restore that finished last; `None` if none has finished.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn last_restore_done(&self) -> Result<Option<RestoreDone>> {
        let mut last: Option<RestoreDone> = None;
        let mut results = pin!(self.restores_done().await?);
        while let Some(done) = results.try_next().await? {
            let of = |done: &RestoreDone| (done.sequence, done.restore.clone());
            last = last.into_iter().chain(done).max_by_key(of);
        }
        Ok(last)
    }

    /// Records that a restore has finished, whose pages are already durable. If another process has recorded the same
    /// result at another time, its record is kept.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`] where another result was recorded, or the error of the store.
    pub async fn finish_restore(&self, done: &RestoreDone) -> Result<()> {
        let key = Key::RestoreDone {
            restore: done.restore.clone(),
        };
        // The name does not depend on the content: overwriting would make the pages unreachable that the first record names.
        if let Put::Exists = self.store().put_if_absent(&key, seal(done).0).await? {
            let recorded = self.restore_done(&done.restore).await?;
            if !recorded.is_some_and(|recorded| recorded.has_result_of(done)) {
                let detail = "another result of this restore was recorded".to_owned();
                return Err(self.store().refused(&key, detail));
            }
        }
        self.store().sync_folders([key.to_string()]).await
    }
}
