//! The restores that a repository records. What each records is in files named after its objects (SPEC section 11.7); the offset of each
//! record is in [`offset_map`](super::offset_map).
//!
//! ```text
//! restores/<restore>/begun.json          restore_manifest    first, durable before anything is written to a cluster
//! restores/<restore>/targets.json        restore_targets     then: Kafka's ids of the topics, durable before the first record is written
//! restores/<restore>/map/<digest>.json   offset_map          each page durable before the records it names are committed
//! restores/<restore>/done.json           restore_done        last: names the final page of each partition
//! restores/<restore>/discarded.json      restore_discarded   instead of it
//! ```

use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;

use super::error::Result;
use super::keys::{Key, RESTORES};
use super::listing::Listed;
use super::repository::Repository;
use super::restore_discarded::RestoreDiscarded;
use super::restore_done::RestoreDone;
use super::restore_id::RestoreId;
use super::restore_manifest::RestoreManifest;

/// What the repository records of a restore, but for its offset map.
#[derive(Clone, Debug)]
pub struct RestoreRecord {
    /// What it was asked to do.
    pub manifest: RestoreManifest,
    /// How it ended; `None` where it runs, or can be resumed.
    pub end: Option<RestoreEnd>,
}

/// How a restore ended.
#[derive(Clone, Debug)]
pub enum RestoreEnd {
    /// It finished.
    Done(RestoreDone),
    /// It was discarded.
    Discarded(RestoreDiscarded),
}

impl RestoreEnd {
    /// Returns when it ended.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            RestoreEnd::Done(done) => done.finished_at,
            RestoreEnd::Discarded(discarded) => discarded.discarded_at,
        }
    }
}

impl Repository {
    /// Lists the names of all restores, ascending.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn restores(&self) -> Result<Vec<RestoreId>> {
        let found = self.store().list(RESTORES).await?;
        let begun = |object: Listed| match object.key {
            Key::RestoreBegun { restore } => Some(restore),
            _ => None,
        };
        Ok(found.into_iter().filter_map(begun).collect())
    }

    /// Reads what is recorded of a restore; `None` if none has this name.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Damaged`](super::RepoErrorKind::Damaged), or the error of the store.
    pub async fn restore_record(&self, restore: &RestoreId) -> Result<Option<RestoreRecord>> {
        let Some(manifest) = self.restore(restore).await? else {
            return Ok(None);
        };
        // One that finished while another process discarded it has finished.
        let end = match self.restore_done(restore).await? {
            Some(done) => Some(RestoreEnd::Done(done)),
            None => {
                let discarded = self.restore_discarded(restore).await?;
                discarded.map(RestoreEnd::Discarded)
            }
        };
        Ok(Some(RestoreRecord { manifest, end }))
    }

    /// Reads what is recorded of these restores, in their order, several at a time; `None` of one that does not exist.
    pub fn restore_records(
        &self,
        restores: Vec<RestoreId>,
    ) -> impl Stream<Item = (RestoreId, Result<Option<RestoreRecord>>)> {
        let reads = restores.into_iter().map(async |restore| {
            let record = self.restore_record(&restore).await;
            (restore, record)
        });
        stream::iter(reads).buffered(self.store().profile().parallel_requests)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::repo::id::Hex;
    use crate::repo::identity::Identity;
    use crate::repo::manifest::ParentRef;
    use crate::repo::store::Store;

    async fn begin(repository: &Repository, name: &str) -> RestoreId {
        let restore: RestoreId = name.parse().unwrap();
        let (ours, sha256) = (repository.identity().repository_id, Hex([1; 32]));
        let snapshot = ParentRef {
            sequence: 1,
            sha256,
        };
        let begun = RestoreManifest::of_everything(restore.clone(), ours, snapshot, Vec::new());
        repository.begin_restore(&begun).await.unwrap();
        restore
    }

    async fn finish(repository: &Repository, restore: &RestoreId, sequence: u64) {
        let done = RestoreDone {
            restore: restore.clone(),
            sequence,
            finished_at: Timestamp::UNIX_EPOCH,
            records: 0,
            partitions: Vec::new(),
        };
        repository.finish_restore(&done).await.unwrap();
    }

    async fn discard(repository: &Repository, restore: &RestoreId) {
        let discarded = RestoreDiscarded {
            restore: restore.clone(),
            discarded_at: Timestamp::UNIX_EPOCH,
        };
        repository.discard_restore(&discarded).await.unwrap();
    }

    #[tokio::test]
    async fn records_say_how_each_restore_ended_in_the_order_of_names() {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Store::new(Arc::clone(&objects), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        let names = ["both", "damaged", "discarded", "done", "unfinished"];
        for name in names {
            let restore = begin(&repository, name).await;
            match name {
                "both" => {
                    discard(&repository, &restore).await;
                    finish(&repository, &restore, 7).await;
                }
                "damaged" => {
                    let begun = Path::from("restores/damaged/begun.json");
                    objects.put(&begun, "{}".into()).await.unwrap();
                }
                "discarded" => discard(&repository, &restore).await,
                "done" => finish(&repository, &restore, 2).await,
                _ => {}
            }
        }
        let known = repository.restores().await.unwrap();
        let records = repository.restore_records(known).collect::<Vec<_>>().await;
        let found = records.iter().map(|(restore, record)| {
            let end = record.as_ref().map(|record| &record.as_ref().unwrap().end);
            let end = match end {
                Err(error) => {
                    assert!(error.kind().is_about_content(), "{error}");
                    "damaged"
                }
                Ok(Some(RestoreEnd::Done(done))) if done.sequence == 7 => "both",
                Ok(Some(RestoreEnd::Done(_))) => "done",
                Ok(Some(RestoreEnd::Discarded(_))) => "discarded",
                Ok(None) => "unfinished",
            };
            assert_eq!(restore.to_string(), end);
            end
        });
        assert_eq!(found.collect::<Vec<_>>(), names);
        assert_eq!(repository.next_restore_done().await.unwrap(), 8);
        let last = repository.last_restore_done().await.unwrap().unwrap();
        assert_eq!(last.restore.to_string(), "both");
    }
}
