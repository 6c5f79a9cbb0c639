//! The commit protocol (SPEC section 11.6).
//!
//! Each step is durable before the next begins; on a local disk that includes the folders on the way
//! to the new objects.
//!
//! 1. segments, written by [`SegmentUpload`](super::upload::SegmentUpload) before any of this;
//! 2. pages: for each partition with new segments, a copy of the last page with these appended if it
//!    was not full, and new ones;
//! 3. the snapshot, put under the number after the highest one, if nothing has that name.
//!
//! A crash before 3 is done leaves the previous snapshot, and objects that nothing names. When 3
//! fails, or the name is taken, the object of that name is read: if its bytes, which the nonce makes
//! unique, are ours, the commit is done and only the response was lost. Otherwise another writer was first, and
//! the change is applied to its snapshot and tried again under the next number.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::change::{Change, ChangedPages};
use super::error::{RepoErrorKind, Result};
use super::keys::{Key, PartitionId};
use super::page::{FULL_PAGE, Page, SegmentEntry};
use super::repository::Repository;
use super::sealed::{Digested, MAX_SEALED_BYTES, seal};
use super::snapshot::{PageRef, Snapshot};
use super::store::Put;

/// A try fails only because another writer's succeeded; this many in a row mean that too many writers compete.
const MAX_TRIES: u32 = 64;

impl Repository {
    /// Commits `change`, whose segments are already durable, as the next snapshot.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Conflict`] where another writer changed the same partitions since the base of
    /// the change. After any error the previous snapshot is still the newest, and the run can be repeated. Only
    /// if the store could not be read either, the commit may have taken effect all the same.
    pub async fn commit(&self, change: &Change) -> Result<Digested<Snapshot>> {
        let segments = change.stored().flat_map(|(_, segments)| segments);
        let segments: Vec<_> = segments.map(|segment| segment.key.clone()).collect();
        // Segments before the pages that name them, pages before the snapshot: a crash in between leaves objects that nothing
        // names, never a name without its object.
        self.store().sync_folders(segments).await?;
        let pages = self.write_pages(change).await?;
        let names = pages.values().flatten().map(|page| page.key.clone());
        self.store().sync_folders(names).await?;
        self.publish(change, &pages).await
    }

    async fn write_pages(&self, change: &Change) -> Result<ChangedPages> {
        let partitions: Vec<_> = change
            .stored()
            .map(|(partition, segments)| self.extend_pages(change, partition, segments))
            .collect();
        let parallel = self.store().profile().parallel_requests;
        let pages = stream::iter(partitions).buffer_unordered(parallel);
        pages.try_collect().await
    }

    /// Returns all pages of a partition after the change. The full pages of the base are kept.
    async fn extend_pages(
        &self,
        change: &Change,
        partition: PartitionId,
        segments: &[SegmentEntry],
    ) -> Result<(PartitionId, Vec<PageRef>)> {
        let base = change
            .base
            .as_ref()
            .and_then(|base| base.partition(&partition));
        let mut refs = base.map_or_else(Vec::new, |state| state.pages.clone());
        let mut entries = Vec::new();
        // Older snapshots still name the last page, so it is replaced by a new object instead of being changed.
        if let Some(last) = refs.pop_if(|last| last.segments < FULL_PAGE) {
            entries = self.page(&partition, &last).await?.segments;
        }
        entries.extend_from_slice(segments);
        for page in Page::cut(&partition, &entries) {
            refs.push(self.write_page(page).await?);
        }
        Ok((partition, refs))
    }

    async fn write_page(&self, page: Page) -> Result<PageRef> {
        let (bytes, sha256) = seal(&page);
        let (base_offset, end_offset) = page.coverage().unwrap_or_default();
        let key = Key::page(&page.partition_id(), base_offset, &sha256);
        self.check(&key, page.check(), &bytes)?;
        self.store().put_content_named(&key, bytes).await?;
        Ok(PageRef {
            key: key.to_string(),
            sha256,
            base_offset,
            end_offset,
            segments: page.segments.len(),
        })
    }

    async fn publish(&self, change: &Change, pages: &ChangedPages) -> Result<Digested<Snapshot>> {
        let mut newest = self.latest_but(&change.ignored).await?;
        for _ in 0..MAX_TRIES {
            let next = change.apply(self.identity().repository_id, newest.as_ref(), pages);
            let next = next.map_err(|kind| self.store().error_of_whole(kind))?;
            match self.put_snapshot(next).await? {
                Published::Ours(snapshot) => return Ok(snapshot),
                Published::Others(snapshot) => newest = Some(snapshot),
            }
        }
        let tries = MAX_TRIES;
        Err(self
            .store()
            .error_of_whole(RepoErrorKind::Contended { tries }))
    }

    async fn put_snapshot(&self, snapshot: Snapshot) -> Result<Published> {
        let (bytes, sha256) = seal(&snapshot);
        let sequence = snapshot.sequence;
        let key = Key::Snapshot { sequence };
        self.check(&key, snapshot.check(), &bytes)?;
        // The nonce makes the bytes of each writer's snapshot unique, so an object with these bytes is this commit.
        match self.store().put_if_absent(&key, bytes).await? {
            Put::Done => {}
            Put::Exists => return Ok(Published::Others(self.snapshot(sequence).await?)),
        }
        self.store().sync_folders([key.to_string()]).await?;
        Ok(Published::Ours(Digested {
            value: snapshot,
            sha256,
        }))
    }

    /// Refuses to write what a reader would refuse to read.
    fn check(&self, key: &Key, rules: std::result::Result<(), String>, bytes: &[u8]) -> Result<()> {
        let size = bytes.len() as u64;
        let limit = if size > MAX_SEALED_BYTES {
            Err(format!(
                "it has {size} bytes, and the limit is {MAX_SEALED_BYTES}"
            ))
        } else {
            Ok(())
        };
        let refused = |detail| self.store().refused(key, detail);
        rules.and(limit).map_err(refused)
    }
}

enum Published {
    Ours(Digested<Snapshot>),
    Others(Digested<Snapshot>),
}
