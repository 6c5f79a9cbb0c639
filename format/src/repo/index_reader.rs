//! Reads the index: states, and the segments of partitions, from the runs that a snapshot names (SPEC section 11.4).
//!
//! Tables and lists are checked once and kept in memory for a while, since many partitions share one.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::acls::{AclBinding, Acls, check_acls};
use super::error::{RepoError, RepoErrorKind, Result};
use super::groups::{GroupState, Groups, check_groups};
use super::id::Digest;
use super::index::{
    KeyRange, MergedRows, Row, Run, RunTables, Step, Table, TableRef, TableRow, read_list,
};
use super::keys::{Key, PartitionId};
use super::manifest::Manifest;
use super::packed::{Lines, PackedFormat, PackedRef, unpack};
use super::repository::Repository;
use super::sealed::SealError;
use super::segment_entry::SegmentEntry;
use super::snapshot::Snapshot;
use super::state_rows::StateReader;
use super::states::{PartitionState, TopicState};
use crate::layout::limits;

/// The segments of all partitions of a snapshot, in the order of keys: by topic name, topic id and partition. However many there are, one
/// table of each run is in memory at a time.
#[derive(Debug)]
pub struct SegmentRows {
    repository: Repository,
    merged: MergedRows,
}

impl SegmentRows {
    /// Returns the next segment.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn next(&mut self) -> Result<Option<(PartitionId, SegmentEntry)>> {
        let Some((row, table)) = self.repository.next_row(&mut self.merged).await? else {
            return Ok(None);
        };
        match row.read() {
            Ok(Row::Segment(id, entry)) => Ok(Some((id, *entry))),
            Ok(_) => Ok(None),
            Err(error) => Err(self
                .repository
                .refused_object(&Key::Table { sha256: table }, error)),
        }
    }
}

impl Repository {
    /// Reads the states of all topics of a snapshot.
    pub(super) async fn states(&self, manifest: &Manifest) -> Result<Vec<TopicState>> {
        let mut rows = self
            .merged_rows(&manifest.runs, KeyRange::States, false)
            .await?;
        let mut states = StateReader::new(manifest.sequence, &manifest.sightings);
        while let Some((row, table)) = self.next_row(&mut rows).await? {
            let key = Key::Table { sha256: table };
            let row = row
                .read()
                .map_err(|error| self.refused_object(&key, error))?;
            states
                .push(row)
                .map_err(|detail| self.store().damaged(&key, detail))?;
        }
        let sequence = manifest.sequence;
        let finished = states.finish();
        finished.map_err(|detail| self.store().damaged(&Key::Snapshot { sequence }, detail))
    }

    /// Reads the entries of all segments of a partition in a snapshot, in offset order.
    ///
    /// A table that cannot be read does no harm where the others have all segments of the partition.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store; also where the entries do not fill the partition's
    /// coverage, or do not add up to what its row states.
    pub async fn segments(
        &self,
        snapshot: &Snapshot,
        partition: &PartitionId,
        state: &PartitionState,
    ) -> Result<Vec<SegmentEntry>> {
        if state.segments == 0 {
            return Ok(Vec::new());
        }
        let (mut segments, mut unread) = (Vec::new(), None);
        let range = KeyRange::SegmentsOf(partition.clone());
        let mut merged = self.merged_rows(&snapshot.runs, range, false).await?;
        loop {
            match merged.step() {
                Step::End => break,
                Step::Row(row, table) => {
                    let key = Key::Table { sha256: table };
                    if let Row::Segment(_, entry) = row
                        .read()
                        .map_err(|error| self.refused_object(&key, error))?
                    {
                        segments.push(*entry);
                    }
                }
                Step::Read { source, table } => match self.table(&table).await {
                    Ok(table) => merged.supply(source, table),
                    Err(error) if error.kind().is_about_content() => {
                        unread.get_or_insert(error);
                        merged.skip(source);
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        match (state.difference(&segments), unread) {
            (None, _) => Ok(segments),
            (Some(_), Some(unread)) => Err(unread),
            (Some(damage), None) => Err(self
                .store()
                .error(partition, RepoErrorKind::Damaged(damage))),
        }
    }

    /// Returns the references to all tables that a snapshot names, and the errors of lists of tables that cannot be read.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn tables(&self, manifest: &Manifest) -> Result<(Vec<TableRef>, Vec<RepoError>)> {
        let (mut tables, mut unread) = (Vec::new(), Vec::new());
        for run in &manifest.runs {
            match run.tables() {
                RunTables::Named(named) => tables.extend_from_slice(named),
                RunTables::InList(list) => match self.list(list).await {
                    Ok(list) => tables.extend_from_slice(&list),
                    Err(error) if error.kind().is_about_content() => unread.push(error),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok((tables, unread))
    }

    /// Reads the segments of which a table has rows, whether these count or not, and checks all its rows.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn table_segments(
        &self,
        named: &TableRef,
    ) -> Result<Vec<(PartitionId, SegmentEntry)>> {
        let sha256 = named.sha256;
        let key = Key::Table { sha256 };
        let mut segments = Vec::new();
        for row in &self.table(named).await?.rows {
            let row = row
                .read()
                .map_err(|error| self.refused_object(&key, error))?;
            if let Row::Segment(id, entry) = row {
                segments.push((id, *entry));
            }
        }
        Ok(segments)
    }

    /// Reads the segments of all partitions, one after the other. They are not compared with the partitions' rows.
    ///
    /// # Errors
    ///
    /// As [`SegmentRows::next`].
    pub async fn segment_rows(&self, snapshot: &Snapshot) -> Result<SegmentRows> {
        let merged = self
            .merged_rows(&snapshot.runs, KeyRange::Segments, false)
            .await?;
        let repository = self.clone();
        Ok(SegmentRows { repository, merged })
    }

    /// Reads the consumer groups that a snapshot names; `None` where no backup has read them.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn groups(&self, manifest: &Manifest) -> Result<Option<Groups>> {
        let Some(named) = &manifest.groups else {
            return Ok(None);
        };
        let groups: Vec<GroupState> = self
            .cluster_lines(PackedFormat::Groups, &named.object, named.groups)
            .await?;
        let sha256 = named.object.sha256;
        let damaged = |detail| self.store().damaged(&Key::Cluster { sha256 }, detail);
        check_groups(&groups).map_err(damaged)?;
        Ok(Some(Groups {
            seen: named.seen,
            read_after: named.read_after,
            taken_at: named.taken_at,
            groups: groups.into(),
        }))
    }

    /// Reads the ACLs that a snapshot names; `None` where no backup has read them.
    ///
    /// # Errors
    ///
    /// As [`groups`](Self::groups).
    pub async fn acls(&self, manifest: &Manifest) -> Result<Option<Acls>> {
        let Some(named) = &manifest.acls else {
            return Ok(None);
        };
        let acls: Vec<AclBinding> = self
            .cluster_lines(PackedFormat::Acls, &named.object, named.acls)
            .await?;
        let sha256 = named.object.sha256;
        let damaged = |detail| self.store().damaged(&Key::Cluster { sha256 }, detail);
        check_acls(&acls).map_err(damaged)?;
        Ok(Some(Acls {
            seen: named.seen,
            read_after: named.read_after,
            taken_at: named.taken_at,
            authorizer: named.authorizer,
            left_out: named.left_out,
            acls: acls.into(),
        }))
    }

    async fn cluster_lines<T: serde::de::DeserializeOwned>(
        &self,
        format: PackedFormat,
        named: &PackedRef,
        count: u64,
    ) -> Result<Vec<T>> {
        let key = Key::Cluster {
            sha256: named.sha256,
        };
        let lines = self.packed_lines(&key, format, named).await?;
        let found = lines.left();
        if found != count {
            let detail = format!("it has {found} lines, and the snapshot states {count}");
            return Err(self.store().damaged(&key, detail));
        }
        let parsed = lines.map(|line| serde_json::from_slice(&line));
        let parsed: std::result::Result<Vec<T>, _> = parsed.collect();
        parsed.map_err(|error| {
            self.store()
                .damaged(&key, format!("a line is not valid: {error}"))
        })
    }

    /// Reads the lines of a packed object.
    pub(super) async fn packed_lines(
        &self,
        key: &Key,
        format: PackedFormat,
        named: &PackedRef,
    ) -> Result<Lines> {
        let bytes = self.named_object(key).await?;
        let lines = unpack(format, self.identity().repository_id, named, &bytes);
        lines.map_err(|error| self.refused_object(key, error))
    }

    /// Begins to merge the rows of these runs, and reads their first tables.
    pub(super) async fn merged_rows(
        &self,
        runs: &[Run],
        range: KeyRange,
        keeps_removed: bool,
    ) -> Result<MergedRows> {
        let mut tables = Vec::with_capacity(runs.len());
        for run in runs {
            tables.push(match run.tables() {
                RunTables::Named(tables) => tables.to_vec(),
                RunTables::InList(list) if list.overlaps(&range) => {
                    self.list(list).await?.as_ref().clone()
                }
                RunTables::InList(_) => Vec::new(),
            });
        }
        let merged = MergedRows::new(tables, range, keeps_removed);
        let first: Vec<_> = merged
            .first_tables()
            .map(|table| self.table(table))
            .collect();
        let parallel = self.store().profile().parallel_requests;
        // Those that fail are read again, and then it matters whether they are needed.
        stream::iter(first)
            .buffer_unordered(parallel)
            .for_each(async |_| ())
            .await;
        Ok(merged)
    }

    /// Returns the next row, and the digest of its table.
    pub(super) async fn next_row(
        &self,
        merged: &mut MergedRows,
    ) -> Result<Option<(TableRow, Digest)>> {
        loop {
            match merged.step() {
                Step::Row(row, table) => return Ok(Some((row, table))),
                Step::End => return Ok(None),
                Step::Read { source, table } => {
                    let table = self.table(&table).await?;
                    merged.supply(source, table);
                }
            }
        }
    }

    async fn table(&self, named: &TableRef) -> Result<Arc<Table>> {
        let read = async || {
            let sha256 = named.sha256;
            let key = Key::Table { sha256 };
            let bytes = self.named_object(&key).await?;
            let table = Table::read(named, self.identity().repository_id, &bytes);
            table.map_err(|error| self.refused_object(&key, error))
        };
        self.caches()
            .tables
            .get(named.sha256, named.raw_size, read)
            .await
    }

    async fn list(&self, named: &TableRef) -> Result<Arc<Vec<TableRef>>> {
        let read = async || {
            let sha256 = named.sha256;
            let key = Key::Table { sha256 };
            let bytes = self.named_object(&key).await?;
            let list = read_list(named, self.identity().repository_id, &bytes);
            list.map_err(|error| self.refused_object(&key, error))
        };
        self.caches()
            .lists
            .get(named.sha256, named.raw_size, read)
            .await
    }

    /// Reads an object that a snapshot names.
    async fn named_object(&self, key: &Key) -> Result<bytes::Bytes> {
        let bytes = self.store().read_at_most(key, limits::PACKED_BYTES).await?;
        bytes.ok_or_else(|| {
            let named_by = "the snapshot".to_owned();
            self.store().error(key, RepoErrorKind::Missing { named_by })
        })
    }

    /// Creates the error of a packed object that is not what names it.
    pub(super) fn refused_object(&self, key: &Key, error: SealError) -> RepoError {
        self.store()
            .refused_object(key, error, "the one that belongs there", 1)
    }
}
