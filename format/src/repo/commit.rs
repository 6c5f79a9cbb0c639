//! The commit protocol (SPEC section 11.6).
//!
//! Each step is durable before the next begins; on a local disk that includes the folders on the way
//! to the new objects.
//!
//! 1. segments, written by [`SegmentUpload`](super::upload::SegmentUpload) before any of this;
//! 2. groups and ACLs, the tables of merged runs, and the table of the rows that change;
//! 3. the snapshot, put under the number after the highest one, if nothing has that name;
//! 4. a look whether that number had been used before, by a snapshot that was forgotten; where it is not the one after the parent's,
//!    also whether another writer, to which the reservation is unreadable, has committed in between;
//! 5. the hint.
//!
//! A crash before 3 is done leaves the previous snapshot, and objects that nothing names. When 3
//! fails, or the name is taken, the object of that name is read: if its bytes, which the nonce makes
//! unique, are ours, the commit is done and only the response was lost. Otherwise another writer was first, and
//! the change is applied to its snapshot and tried again under the next number.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::acls::{AclBinding, check_acls};
use super::change::{Applied, Change, StoredAnswers};
use super::error::{RepoError, RepoErrorKind, Result};
use super::groups::{GroupState, check_groups};
use super::id::Digest;
use super::index::{Row, RowKey};
use super::index_writer::IndexWriter;
use super::keys::{Key, PartitionId};
use super::latest::Latest;
use super::manifest::{Manifest, Totals};
use super::packed::{PackedFormat, PackedRef, pack};
use super::partition_edit::{PartitionEdit, edit_partitions};
use super::repository::Repository;
use super::retention::Upkeep;
use super::sealed::{Digested, MAX_SEALED_BYTES, seal};
use super::segment_entry::SegmentEntry;
use super::snapshot::Snapshot;
use super::state_rows::{changed_rows, check_states};
use super::store::Put;

/// Changes of the rows of segments, besides those of states.
#[derive(Debug, Default)]
pub(super) struct SegmentChange {
    /// Rows that are removed.
    pub(super) removed: Vec<RowKey>,
    /// Rows that are added, or take the place of one with the same key.
    pub(super) added: Vec<(PartitionId, SegmentEntry)>,
    /// The sequence of the newest snapshot before any of these segments was written.
    pub(super) read_after: u64,
}

impl SegmentChange {
    /// Returns the rows in the order of their keys.
    fn rows(&self) -> Vec<Row> {
        let added = self.added.iter();
        let added = added.map(|(id, entry)| Row::Segment(id.clone(), Box::new(entry.clone())));
        let removed = self.removed.iter().cloned().map(Row::Removed);
        let mut rows: Vec<Row> = added.chain(removed).collect();
        rows.sort_by_cached_key(Row::key);
        rows
    }
}

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
        // Segments before the tables that name them, tables before the snapshot: a crash in between leaves objects that nothing
        // names, never a name without its object.
        self.store().sync_folders(segments).await?;
        let passed_over = self.passed_over(&change.ignored).await?;
        let passed_over = passed_over.as_ref();
        let mut newest = self.newest_for(change).await?;
        let mut written = self.write_answers(change, newest.as_ref()).await?;
        for _ in 0..MAX_TRIES {
            if newest.as_ref().map_or(0, |newest| newest.pruned) != written.pruned {
                // A prune that began since may delete what was written before: it is written again, under other names.
                written = self.write_answers(change, newest.as_ref()).await?;
            }
            let Written { answers, index, .. } = &mut written;
            let id = self.identity().repository_id;
            let applied = change.apply(id, newest.as_ref(), passed_over, answers);
            let Applied { mut snapshot, rows } =
                applied.map_err(|kind| self.store().error_of_whole(kind))?;
            let (runs, sequence) = (
                std::mem::take(&mut snapshot.manifest.runs),
                snapshot.sequence,
            );
            snapshot.manifest.runs = index.write(runs, sequence, &rows).await?;
            let segments = change.stored().flat_map(|(_, segments)| segments);
            let before = newest.as_ref().map(|newest| &newest.manifest);
            let before = match passed_over {
                Some(passed_over) => passed_over.newest(before),
                None => before,
            };
            let checked = self.check_prunes(segments, change.read_after, before);
            if let Err(error) = checked.await {
                // The list of a prune is gone once its snapshots were forgotten; then there is a newer one.
                if !error.kind().is_about_content() || self.newest_sequence().await? < sequence {
                    return Err(error);
                }
                newest = Some(self.newest_from(sequence).await?);
                continue;
            }
            self.store()
                .sync_folders(index.written().map(|key| key.to_string()))
                .await?;
            let totals = snapshot.check_totals();
            let put = self.put_snapshot(&snapshot.manifest, &change.ignored, totals);
            match put.await? {
                Published::Ours(sha256) => {
                    return Ok(Digested {
                        value: snapshot,
                        sha256,
                    });
                }
                Published::Taken => newest = Some(self.newest_from(sequence).await?),
                Published::Overtaken => newest = self.latest_but(&change.ignored).await?,
            }
        }
        Err(self.contended())
    }

    /// Commits what `edit` makes of the newest snapshot for a purpose other than a backup: no row changes.
    ///
    /// # Errors
    ///
    /// What `edit` returns for the newest snapshot, or why that cannot be read or followed by another one.
    pub(super) async fn commit_maintenance(
        &self,
        upkeep: &Upkeep,
        edit: impl Fn(&Digested<Manifest>, &mut Manifest) -> std::result::Result<(), RepoErrorKind>,
    ) -> Result<Digested<Manifest>> {
        for _ in 0..MAX_TRIES {
            let Some(newest) = self.latest_manifest().await? else {
                return Err(self.store().error_of_whole(RepoErrorKind::Outdated));
            };
            let mut next = upkeep.follow(&newest);
            let edited = edit(&newest, &mut next);
            edited.map_err(|kind| self.store().error_of_whole(kind))?;
            let none = BTreeSet::new();
            if let Published::Ours(sha256) = self.put_snapshot(&next, &none, Ok(())).await? {
                return Ok(Digested {
                    value: next,
                    sha256,
                });
            }
        }
        Err(self.contended())
    }

    /// Commits what was planned for partitions of the newest snapshot, and these changes of rows of segments, for a purpose other than a
    /// backup. Returns the sequence of the new snapshot.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] where the newest snapshot lacks one of the partitions; what an edit returns for it; or why that snapshot
    /// cannot be read or followed by another one.
    pub(super) async fn commit_states(
        &self,
        upkeep: &Upkeep,
        segments: &SegmentChange,
        planned: &HashMap<PartitionId, impl PartitionEdit>,
    ) -> Result<u64> {
        // Segments before the tables that name them, tables before the snapshot.
        let keys = segments.added.iter().map(|(_, entry)| entry.key.clone());
        self.store().sync_folders(keys.collect::<Vec<_>>()).await?;
        let mut index = IndexWriter::new(self.clone());
        let mut pruned = None;
        for _ in 0..MAX_TRIES {
            let Some(newest) = self.latest().await? else {
                return Err(self.store().error_of_whole(RepoErrorKind::Outdated));
            };
            if pruned
                .replace(newest.pruned)
                .is_some_and(|it| it != newest.pruned)
            {
                // A prune that began since may delete what was written before.
                index = IndexWriter::new(self.clone());
            }
            let mut next = upkeep.follow(&Digested {
                value: newest.manifest.clone(),
                sha256: newest.sha256,
            });
            let mut topics = newest.topics.clone();
            let edited = edit_partitions(planned, &mut topics, next.sequence, upkeep);
            edited.map_err(|kind| self.store().error_of_whole(kind))?;
            let checked = check_states(&topics).map_err(|detail| RepoErrorKind::Refused { detail });
            checked.map_err(|kind| self.store().error_of_whole(kind))?;
            let mut rows = changed_rows(&newest.topics, &topics);
            rows.append(&mut segments.rows());
            next.totals = Totals::of(&topics, next.origin.as_ref());
            next.runs = index
                .write_replacing(std::mem::take(&mut next.runs), next.sequence, &rows)
                .await?;
            let added = segments.added.iter().map(|(_, entry)| entry);
            self.check_prunes(added, segments.read_after, Some(&newest.manifest))
                .await?;
            let written = index.written().map(|key| key.to_string());
            self.store().sync_folders(written).await?;
            let none = BTreeSet::new();
            if let Published::Ours(_) = self.put_snapshot(&next, &none, Ok(())).await? {
                return Ok(next.sequence);
            }
        }
        Err(self.contended())
    }

    fn contended(&self) -> RepoError {
        let tries = MAX_TRIES;
        self.store()
            .error_of_whole(RepoErrorKind::Contended { tries })
    }

    async fn write_answers(
        &self,
        change: &Change,
        newest: Option<&Digested<Snapshot>>,
    ) -> Result<Written> {
        let before = newest.map(|newest| &newest.manifest);
        Ok(Written {
            pruned: before.map_or(0, |before| before.pruned),
            answers: self
                .store_answers(
                    change.groups.as_ref().map(|found| &*found.groups),
                    change.acls.as_ref().map(|found| &*found.acls),
                    before,
                )
                .await?,
            index: IndexWriter::new(self.clone()),
        })
    }

    /// Returns the newest snapshot: in most cases it is the base, which need not be read again.
    async fn newest_for(&self, change: &Change) -> Result<Option<Digested<Snapshot>>> {
        match self.latest_sequence_but(&change.ignored).await? {
            None => Ok(None),
            Some(sequence) => match &change.base {
                Some(base) if base.sequence == sequence => Ok(Some(base.clone())),
                _ => self.latest_but(&change.ignored).await,
            },
        }
    }

    /// Stores the groups and ACLs that the run read, unless the newest snapshot names the same already.
    pub(super) async fn store_answers(
        &self,
        groups: Option<&[GroupState]>,
        acls: Option<&[AclBinding]>,
        before: Option<&Manifest>,
    ) -> Result<StoredAnswers> {
        let mut stored = StoredAnswers::default();
        if let Some(found) = groups {
            let rules = check_groups(found);
            rules.map_err(|detail| self.store().refused_at("cluster", detail))?;
            let known = before.and_then(|before| before.groups.as_ref());
            let known = known.map(|groups| &groups.object);
            stored.groups = Some(self.store_lines(PackedFormat::Groups, found, known).await?);
        }
        if let Some(found) = acls {
            let rules = check_acls(found);
            rules.map_err(|detail| self.store().refused_at("cluster", detail))?;
            let known = before.and_then(|before| before.acls.as_ref());
            let known = known.map(|acls| &acls.object);
            stored.acls = Some(self.store_lines(PackedFormat::Acls, found, known).await?);
        }
        let new = [stored.groups, stored.acls].into_iter().flatten();
        let keys = new.map(|named| {
            Key::Cluster {
                sha256: named.sha256,
            }
            .to_string()
        });
        self.store().sync_folders(keys.collect::<Vec<_>>()).await?;
        Ok(stored)
    }

    async fn store_lines<T: Serialize>(
        &self,
        format: PackedFormat,
        values: &[T],
        known: Option<&PackedRef>,
    ) -> Result<PackedRef> {
        let mut lines = Vec::new();
        for value in values {
            // Cannot fail: the values have string keys only.
            let written = serde_json::to_writer(&mut lines, value);
            written.map_err(|error| self.store().refused_at("cluster", error.to_string()))?;
            lines.push(b'\n');
        }
        let packed = pack(
            format,
            self.identity().repository_id,
            &lines,
            values.len() as u64,
        );
        let packed = packed.map_err(|detail| self.store().refused_at("cluster", detail))?;
        // Headers of objects with as many lines have the same length, so equal content has an equal size.
        if let Some(known) = known.filter(|known| known.raw_size == packed.named.raw_size)
            && let sha256 = known.sha256
            && let Ok(old) = self
                .packed_lines(&Key::Cluster { sha256 }, format, known)
                .await
            && old.eq(lines.split(|byte| *byte == b'\n').take(values.len()))
        {
            return Ok(*known);
        }
        let sha256 = packed.named.sha256;
        let key = Key::Cluster { sha256 };
        self.store().put_content_named(&key, packed.bytes).await?;
        Ok(packed.named)
    }

    /// Puts a snapshot under its number, and finds out whether it is the one of that number. `passed_over` are the damaged snapshots
    /// between it and its parent.
    pub(super) async fn put_snapshot(
        &self,
        manifest: &Manifest,
        passed_over: &BTreeSet<u64>,
        rules: std::result::Result<(), String>,
    ) -> Result<Published> {
        // A snapshot of this number, or of a later one, has been there: to win the number would hide that it is gone.
        if self.hint().await? >= Some(manifest.sequence) {
            self.check_newest().await?;
        }
        // Looked for again once it is put: between the two, this process may be suspended.
        match self.committed_before(manifest, passed_over).await? {
            None => self.publish(manifest, passed_over, rules).await,
            Some(_) => Ok(Published::Overtaken),
        }
    }

    /// Returns a snapshot between this one and its parent that nobody knew of when this one was planned: another writer passed over the
    /// parent, which it could not read, and so did not know which number follows it.
    async fn committed_before(
        &self,
        manifest: &Manifest,
        passed_over: &BTreeSet<u64>,
    ) -> Result<Option<u64>> {
        let parent = manifest.parent.as_ref();
        let first = parent.map_or(1, |parent| parent.sequence.saturating_add(1));
        if first >= manifest.sequence {
            return Ok(None);
        }
        let found = self.sequences_from(first).await?;
        let mut between = found.into_iter().filter(|it| *it < manifest.sequence);
        Ok(between.find(|sequence| !passed_over.contains(sequence)))
    }

    async fn publish(
        &self,
        manifest: &Manifest,
        passed_over: &BTreeSet<u64>,
        rules: std::result::Result<(), String>,
    ) -> Result<Published> {
        let (bytes, sha256) = seal(manifest);
        let sequence = manifest.sequence;
        let key = Key::Snapshot { sequence };
        self.check(&key, manifest.check().and(rules), &bytes)?;
        // The nonce makes the bytes of each writer's snapshot unique, so an object with these bytes is this commit.
        match self.store().put_if_absent(&key, bytes).await? {
            Put::Done => {}
            Put::Exists => return Ok(Published::Taken),
        }
        self.store().sync_folders([key.to_string()]).await?;
        if self.was_forgotten(sequence).await? {
            // The number was used before, so readers see the snapshots that followed it, and not this one.
            self.store().remove(&key).await?;
            return Ok(Published::Taken);
        }
        if let Some(hidden) = self.committed_before(manifest, passed_over).await? {
            let later = self.sequences_from(sequence.saturating_add(1)).await?;
            if !later.is_empty() {
                let kind = RepoErrorKind::Hides { sequence, hidden };
                return Err(self.store().error_of_whole(kind));
            }
            self.store().remove(&key).await?;
            return Ok(Published::Overtaken);
        }
        let latest = Latest {
            repository_id: self.identity().repository_id,
            sequence,
        };
        let (bytes, _) = seal(&latest);
        // The commit is done; without the hint, readers list more.
        let _ = self.store().replace(&Key::LatestSnapshot, bytes).await;
        Ok(Published::Ours(sha256))
    }

    /// Reads the newest snapshot, since another writer has committed `sequence`.
    async fn newest_from(&self, sequence: u64) -> Result<Digested<Snapshot>> {
        for _ in 0..MAX_TRIES {
            let newest = self.sequences_from(sequence).await?.last().copied();
            match self.read_snapshot(newest.unwrap_or(sequence)).await {
                // Others have committed and forgotten meanwhile.
                Err(error) if matches!(error.kind(), RepoErrorKind::Forgotten { .. }) => {}
                read => return read,
            }
        }
        Err(self.contended())
    }

    /// Returns whether the newest snapshot, if it is a later one, says that `sequence` was forgotten.
    async fn was_forgotten(&self, sequence: u64) -> Result<bool> {
        for _ in 0..MAX_TRIES {
            let later = self.sequences_from(sequence.saturating_add(1)).await?;
            let Some(newest) = later.last() else {
                return Ok(false);
            };
            match self.manifest(*newest).await {
                Ok(newest) => return Ok(newest.has_forgotten(sequence)),
                // Forgotten since it was listed, so there is a newer one.
                Err(error) if matches!(error.kind(), RepoErrorKind::NoSuchSnapshot { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.contended())
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

/// What became of a snapshot that was put.
pub(super) enum Published {
    /// It is the one of its number, with this digest.
    Ours(Digest),
    /// Another one has had its number.
    Taken,
    /// Another one has been committed under a lower number, and does not follow from the parent of this one.
    Overtaken,
}

/// What a commit has written before its snapshot, which no other snapshot names yet.
struct Written {
    /// Sequence of the last prune before it was written.
    pruned: u64,
    answers: StoredAnswers,
    index: IndexWriter,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use object_store::memory::InMemory;

    use super::*;
    use crate::repo::id::Id;
    use crate::repo::identity::Identity;
    use crate::repo::manifest::ParentRef;
    use crate::repo::store::Store;
    use crate::repo::testing::change::change;

    fn idle(base: Option<Digested<Snapshot>>) -> Change {
        change(base, Vec::new())
    }

    /// A repository with the snapshots 2 and 3, of which 3 has forgotten 1, and what a writer that stalled was about to commit as 1.
    async fn forgotten() -> (Repository, Snapshot) {
        let store = Store::new(Arc::new(InMemory::new()), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        let first = repository.commit(&idle(None)).await.unwrap();
        let second = repository.commit(&idle(Some(first.clone()))).await.unwrap();
        let mut third = second.value.manifest;
        third.sequence = 3;
        third.nonce = Id::random();
        third.forgotten = vec![(1, 1)];
        third.parent = Some(ParentRef {
            sequence: 2,
            sha256: second.sha256,
        });
        let none = BTreeSet::new();
        repository
            .put_snapshot(&third, &none, Ok(()))
            .await
            .unwrap();
        repository
            .store()
            .remove(&Key::Snapshot { sequence: 1 })
            .await
            .unwrap();
        let mut stalled = first.value.clone();
        stalled.manifest.nonce = Id::random();
        (repository, stalled)
    }

    #[tokio::test]
    async fn a_number_that_was_forgotten_is_never_won_again() {
        let (repository, stalled) = forgotten().await;
        let none = BTreeSet::new();
        let published = repository.put_snapshot(&stalled.manifest, &none, Ok(()));
        let published = published.await;
        assert!(matches!(published, Ok(Published::Taken)));
        let newest = repository.newest_from(1).await.unwrap();
        assert_eq!(newest.sequence, 3);
        assert!(
            !repository
                .store()
                .exists("snapshots/00000000000000000001.json")
                .await
                .unwrap()
        );
        assert_eq!(repository.latest().await.unwrap(), Some(newest));
    }

    /// A repository with snapshot 1 and the reservation 2, which is damaged, and what a copy that stalled was about to commit as 6 after
    /// it.
    async fn reserved() -> (Repository, Manifest) {
        let store = Store::new(Arc::new(InMemory::new()), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        repository.commit(&idle(None)).await.unwrap();
        let upkeep = Upkeep {
            command: "copy".into(),
            detail: String::new(),
            writer: "test".into(),
            now: Timestamp::UNIX_EPOCH,
        };
        let reserving = repository.commit_maintenance(&upkeep, |_, next| {
            next.next = Some(6);
            Ok(())
        });
        let stalled = upkeep.follow(&reserving.await.unwrap());
        assert_eq!((stalled.sequence, &*stalled.forgotten), (6, &[(3, 5)][..]));
        let key = Key::Snapshot { sequence: 2 };
        let damaged = repository.store().replace(&key, b"{}".to_vec());
        damaged.await.unwrap();
        (repository, stalled)
    }

    /// Backs up past the damaged reservation.
    async fn ignoring(repository: &Repository) -> Result<Digested<Snapshot>> {
        let ignored: BTreeSet<u64> = [2].into();
        let base = repository.latest_but(&ignored).await?;
        repository
            .commit(&Change {
                ignored,
                ..idle(base)
            })
            .await
    }

    #[tokio::test]
    async fn whoever_could_not_read_a_reservation_is_not_hidden_by_what_it_was_made_for() {
        let (repository, stalled) = reserved().await;
        let third = ignoring(&repository).await.unwrap();
        assert_eq!(third.sequence, 3);
        let none = BTreeSet::new();
        // It was suspended before it looked, or between that and the put.
        let looked = repository.put_snapshot(&stalled, &none, Ok(())).await;
        assert!(matches!(looked, Ok(Published::Overtaken)));
        let put = repository.publish(&stalled, &none, Ok(())).await;
        assert!(matches!(put, Ok(Published::Overtaken)));
        assert_eq!(
            repository.latest_but(&[2].into()).await.unwrap(),
            Some(third)
        );
        assert_eq!(repository.sequences_from(1).await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_a_reservation_was_made_for_is_not_hidden_by_whoever_could_not_read_it() {
        let (repository, stalled) = reserved().await;
        let base = repository.latest_but(&[2].into()).await.unwrap();
        let mut third = base.as_ref().unwrap().manifest.clone();
        third.sequence = 3;
        third.nonce = Id::random();
        let none = BTreeSet::new();
        let put = repository.publish(&stalled, &none, Ok(())).await;
        assert!(matches!(put, Ok(Published::Ours(_))));
        let put = repository.publish(&third, &[2].into(), Ok(())).await;
        assert!(matches!(put, Ok(Published::Taken)));
        // Its change is committed on top.
        let seventh = ignoring(&repository).await.unwrap();
        assert_eq!((seventh.sequence, &*seventh.forgotten), (7, &[(3, 5)][..]));
    }

    #[tokio::test]
    async fn a_commit_that_is_hidden_all_the_same_is_named() {
        let (repository, stalled) = reserved().await;
        ignoring(&repository).await.unwrap();
        // The copy was suspended twice, and another run has committed on what it put.
        for sequence in [6, 7] {
            let manifest = Manifest {
                sequence,
                ..stalled.clone()
            };
            let key = Key::Snapshot { sequence };
            let put = repository.store().put_if_absent(&key, seal(&manifest).0);
            assert!(matches!(put.await, Ok(Put::Done)));
        }
        let none = BTreeSet::new();
        let error = repository.publish(&stalled, &none, Ok(())).await;
        let kind = error.err().map(|error| error.kind().clone());
        let (sequence, hidden) = (6, 3);
        assert_eq!(kind, Some(RepoErrorKind::Hides { sequence, hidden }));
    }

    #[tokio::test]
    async fn a_forgotten_snapshot_does_not_exist_although_its_object_does() {
        let (repository, stalled) = forgotten().await;
        // Its writer was killed before it could look.
        let key = Key::Snapshot { sequence: 1 };
        let put = repository
            .store()
            .put_if_absent(&key, seal(&stalled.manifest).0)
            .await;
        assert!(matches!(put, Ok(Put::Done)));
        assert_eq!(repository.sequences().await.unwrap(), [2, 3]);
        let listed = repository.listed_snapshots().await.unwrap();
        assert_eq!(listed.len(), 2);
        let fourth = repository.commit(&idle(None)).await.unwrap();
        assert_eq!((fourth.sequence, &*fourth.forgotten), (4, &[(1, 1)][..]));
    }

    #[tokio::test]
    async fn the_newest_snapshot_is_found_whatever_the_hint_says() {
        let (repository, _) = forgotten().await;
        let hint = async |repository_id, sequence| {
            let latest = Latest {
                repository_id,
                sequence,
            };
            let bytes = seal(&latest).0;
            repository
                .store()
                .replace(&Key::LatestSnapshot, bytes)
                .await
                .unwrap();
            repository.newest_sequence().await.unwrap()
        };
        let ours = repository.identity().repository_id;
        for sequence in [0, 1, 2, 3, 4, u64::MAX] {
            assert_eq!(hint(ours, sequence).await, 3, "{sequence}");
        }
        assert_eq!(hint(Id::ZERO, 2).await, 3);
        let damaged = repository
            .store()
            .replace(&Key::LatestSnapshot, b"{}".to_vec());
        damaged.await.unwrap();
        assert_eq!(repository.newest_sequence().await.unwrap(), 3);
        repository
            .store()
            .remove(&Key::LatestSnapshot)
            .await
            .unwrap();
        assert_eq!(repository.newest_sequence().await.unwrap(), 3);
    }
}
