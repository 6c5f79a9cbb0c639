//! Reads the index: states, and the segments of partitions, from the runs that a snapshot names (SPEC section 11.4).
//!
//! Tables and lists are checked once and kept in memory for a while, since many partitions share one.

use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::acls::{AclBinding, Acls, check_acls};
use super::error::{RepoError, RepoErrorKind, Result};
use super::groups::{GroupState, Groups, check_groups};
use super::id::Digest;
use super::index::{
    KeyRange, MergedRows, Row, RowFilter, Run, RunTables, Step, Table, TableRef, TableRow,
    read_list,
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

/// The segments of all partitions of a snapshot, in the order of keys: by topic name, topic id and partition. However many there are, a
/// few tables of each run are in memory at a time.
#[derive(Debug)]
pub struct SegmentRows {
    repository: Repository,
    sequence: u64,
    merged: MergedRows,
}

impl SegmentRows {
    /// Returns the next segment.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store.
    pub async fn next(&mut self) -> Result<Option<(PartitionId, SegmentEntry)>> {
        let next = self.repository.next_row(&mut self.merged).await;
        let Some((row, table)) = self.repository.explained(self.sequence, next).await? else {
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
        let states = KeyRange::States.at_any_time();
        let mut rows = self.merged_rows(&manifest.runs, states).await?;
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
    /// [`RepoErrorKind::Forgotten`], [`RepoErrorKind::Missing`], [`RepoErrorKind::Damaged`], or the error of the store; also where the entries do not fill the partition's
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
        let wanted = KeyRange::SegmentsOf(partition.clone()).at_any_time();
        let (segments, unread) = self.wanted_segments(snapshot, state, wanted).await?;
        match (state.difference(&segments), unread) {
            (None, _) => Ok(segments),
            (Some(_), Some(unread)) => Err(self.explain(snapshot.sequence, unread).await),
            (Some(damage), None) => Err(self
                .store()
                .error(partition, RepoErrorKind::Damaged(damage))),
        }
    }

    /// Reads the entries of the segments of a partition that have records of these times, in offset order.
    ///
    /// Tables of other times are not read, so that what is found can be compared with the partition's row only in part. Where a table is damaged, all that
    /// can hold a segment are read.
    ///
    /// # Errors
    ///
    /// As [`segments`](Self::segments).
    pub async fn segments_of_times(
        &self,
        snapshot: &Snapshot,
        partition: &PartitionId,
        state: &PartitionState,
        times: &RangeInclusive<i64>,
    ) -> Result<Vec<SegmentEntry>> {
        let has = |entry: &SegmentEntry| entry.may_hold_times(*times.start(), *times.end());
        let Some((min, max)) = state.time_bounds() else {
            return Ok(Vec::new());
        };
        if min > *times.end() || *times.start() > max {
            return Ok(Vec::new());
        }
        if !times.contains(&min) || !times.contains(&max) {
            let wanted = RowFilter {
                range: KeyRange::SegmentsOf(partition.clone()),
                times: Some((*times.start(), *times.end())),
            };
            let (mut segments, unread) = self.wanted_segments(snapshot, state, wanted).await?;
            if unread.is_none() && state.can_have(&segments) {
                segments.retain(has);
                return Ok(segments);
            }
        }
        let mut segments = self.segments(snapshot, partition, state).await?;
        segments.retain(has);
        Ok(segments)
    }

    /// Reads the entries of segments of a partition from the runs that can have them, and the error of the first table that cannot be read.
    async fn wanted_segments(
        &self,
        snapshot: &Snapshot,
        state: &PartitionState,
        wanted: RowFilter,
    ) -> Result<(Vec<SegmentEntry>, Option<RepoError>)> {
        let (mut segments, mut unread) = (Vec::new(), None);
        let runs = snapshot.runs.iter();
        let mut tables = Vec::new();
        for run in runs.filter(|run| state.changes.may_be_in(run.from, run.to)) {
            match self.run_tables(run, &wanted).await {
                Ok(found) => tables.push(found),
                Err(error) if error.kind().is_about_content() => {
                    unread.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let mut merged = self.merge(tables, wanted, false).await;
        loop {
            match merged.step() {
                Step::End => return Ok((segments, unread)),
                Step::Row(row, table) => {
                    let key = Key::Table { sha256: table };
                    if let Row::Segment(_, entry) = row
                        .read()
                        .map_err(|error| self.refused_object(&key, error))?
                    {
                        segments.push(*entry);
                    }
                }
                Step::Read { source, tables } => {
                    match self.supply(&mut merged, source, &tables).await {
                        Ok(()) => {}
                        Err(error) if error.kind().is_about_content() => {
                            unread.get_or_insert(error);
                            merged.skip(source);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
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
    pub async fn segment_rows(&self, snapshot: &Manifest) -> Result<SegmentRows> {
        let sequence = snapshot.sequence;
        let segments = KeyRange::Segments.at_any_time();
        let merged = self.merged_rows(&snapshot.runs, segments).await;
        let merged = self.explained(sequence, merged).await?;
        Ok(SegmentRows {
            repository: self.clone(),
            sequence,
            merged,
        })
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
        let lines = self.cluster_lines(PackedFormat::Groups, &named.object, named.groups);
        let groups: Vec<GroupState> = self.explained(manifest.sequence, lines.await).await?;
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
        let lines = self.cluster_lines(PackedFormat::Acls, &named.object, named.acls);
        let acls: Vec<AclBinding> = self.explained(manifest.sequence, lines.await).await?;
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

    /// Begins to merge the wanted rows of these runs, and reads their first tables.
    pub(super) async fn merged_rows(&self, runs: &[Run], wanted: RowFilter) -> Result<MergedRows> {
        let mut tables = Vec::with_capacity(runs.len());
        for run in runs {
            tables.push(self.run_tables(run, &wanted).await?);
        }
        Ok(self.merge(tables, wanted, false).await)
    }

    /// Begins to merge the wanted rows of these tables of runs, and reads the first table of each.
    pub(super) async fn merge(
        &self,
        runs: Vec<Vec<TableRef>>,
        wanted: RowFilter,
        keeps_removed: bool,
    ) -> MergedRows {
        let merged = MergedRows::new(runs, wanted, keeps_removed);
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
        merged
    }

    /// Returns the tables of a run; none where its list shows that it has no row that is wanted.
    pub(super) async fn run_tables(&self, run: &Run, wanted: &RowFilter) -> Result<Vec<TableRef>> {
        match run.tables() {
            RunTables::Named(tables) => Ok(tables.to_vec()),
            RunTables::InList(list) if list.may_hold(wanted) => {
                Ok(self.list(list).await?.as_ref().clone())
            }
            RunTables::InList(_) => Ok(Vec::new()),
        }
    }

    /// Reads the first of these tables, and others while it waits.
    ///
    /// # Errors
    ///
    /// Why the first one cannot be read; the others are then not supplied either.
    pub(super) async fn supply(
        &self,
        merged: &mut MergedRows,
        source: usize,
        tables: &[TableRef],
    ) -> Result<()> {
        let reads: Vec<_> = tables.iter().map(|table| self.table(table)).collect();
        let parallel = self.store().profile().parallel_requests;
        let mut reads = stream::iter(reads).buffered(parallel);
        let mut is_first = true;
        while let Some(read) = reads.next().await {
            match read {
                Ok(table) => merged.supply(source, table),
                Err(error) if is_first => return Err(error),
                // It is read again when it is needed.
                Err(_) => return Ok(()),
            }
            is_first = false;
        }
        Ok(())
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
                Step::Read { source, tables } => self.supply(merged, source, &tables).await?,
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
