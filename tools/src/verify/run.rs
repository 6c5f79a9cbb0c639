//! Verifies snapshots one after the other, and the segments that they name on all cores.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use kbk_format::repo::{
    Digest, Digested, Id, Key, Manifest, PartitionId, PartitionState, RepoError, Repository,
    SegmentEntry, Snapshot, TableRef, TopicName, TopicState,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::finding::{Finding, FindingKind};
use super::listed::{self, Listed};
use super::memory::{SegmentTag, tag};
use super::missing::Missing;
use super::orphans::OrphanSearch;
use super::portion::Chosen;
use super::segment_job::SegmentJob;
use super::{VerifyDepth, VerifyEvents, VerifyOptions, VerifyReport};
use crate::task::joined;

/// What became of a history of a topic, according to the snapshot that is verified. The greater matters more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// This snapshot read the topic again in full: one of the original, if the verified snapshot is a copy.
    Replaced { sequence: u64, is_copy: bool },
    /// The cluster deleted the topic: no other copy is left.
    Deleted,
    /// Its logs were imported: no backup can read the topic again.
    Imported,
    /// It has the current records of the topic.
    Counts,
}

impl Standing {
    fn of(snapshot: &Snapshot, topic: &TopicState) -> Standing {
        match snapshot.replaced_in(topic) {
            Some(sequence) => Standing::Replaced {
                sequence,
                is_copy: snapshot.origin.is_some(),
            },
            None if topic.deleted => Standing::Deleted,
            None if topic.is_imported() => Standing::Imported,
            None => Standing::Counts,
        }
    }

    /// Completes a finding about such a history.
    fn judge(self, finding: Finding, topic: &TopicName, accept_replaced: bool) -> Finding {
        match self {
            Standing::Replaced { sequence, is_copy } => {
                finding.of_replaced_history(sequence, is_copy, accept_replaced)
            }
            Standing::Deleted => finding,
            Standing::Imported => finding.of_imported_topic(),
            Standing::Counts => finding.repaired_by_refresh(topic),
        }
    }
}

/// A verification in progress.
pub(super) struct Run<'a> {
    repository: Repository,
    options: &'a VerifyOptions,
    events: Arc<dyn VerifyEvents>,
    /// The cores that check segments.
    cores: Arc<Semaphore>,
    /// Segments that are being read or checked at a time, and the bytes of those of them that do not have a core each.
    in_flight: Range<usize>,
    in_flight_bytes: u64,
    running_bytes: u64,
    report: VerifyReport,
    partitions: HashSet<PartitionId>,
    /// Tables, lists, groups and ACLs that have been read.
    objects: HashSet<Digest>,
    /// Keyed hashes of the partitions whose segments have been read, with their states: most snapshots state what the one before did.
    states: HashSet<u64>,
    /// Keyed hashes of the entries whose segments have been checked: a repository may have millions, and an entry is large.
    segments: HashSet<u64>,
    hasher: RandomState,
    missing: Missing,
    /// What was found at the depth `list`.
    listed: Listed,
    /// Tables without which segments of partitions are not known, by key: what became of the histories that need them.
    needed_tables: HashMap<String, Standing>,
    /// The histories that are not what their topics have now.
    former: HashSet<(String, String)>,
    orphans: OrphanSearch,
    /// The segments that are read.
    chosen: Chosen,
    /// Each with the bytes that it counted for.
    running: JoinSet<(SegmentTag, Vec<Finding>, u64)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        options: &'a VerifyOptions,
        events: Arc<dyn VerifyEvents>,
        orphans: OrphanSearch,
        chosen: Chosen,
    ) -> Run<'a> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let limits = repository.store().profile().readahead;
        Run {
            repository: repository.uncached(),
            options,
            events,
            cores: Arc::new(Semaphore::new(cores)),
            in_flight: cores..cores.max(limits.shared_requests),
            in_flight_bytes: limits.shared_bytes,
            running_bytes: 0,
            report: VerifyReport {
                snapshots: options.snapshots.clone(),
                depth: options.depth,
                full: options.depth.decodes_records(),
                not_checked: options.depth.not_checked().to_vec(),
                ..VerifyReport::default()
            },
            partitions: HashSet::new(),
            objects: HashSet::new(),
            states: HashSet::new(),
            segments: HashSet::new(),
            hasher: RandomState::new(),
            missing: Missing::default(),
            listed: Listed::default(),
            needed_tables: HashMap::new(),
            former: HashSet::new(),
            orphans,
            chosen,
            running: JoinSet::new(),
        }
    }

    /// Waits for the segments that are still being checked.
    pub(super) async fn finish(mut self) -> (VerifyReport, OrphanSearch) {
        self.wait(0).await;
        self.judge_tables();
        self.name_former_histories();
        if self.options.depth == VerifyDepth::List {
            let listed = self.listed.sum();
            self.report.segments = listed.segments;
            self.report.records = listed.records;
            self.report.bytes = listed.bytes;
        }
        self.report.read = self.chosen.read();
        let (portion, memory) = self.chosen.finish(self.options);
        self.report.portion = portion;
        self.report.memory = memory;
        (self.report, self.orphans)
    }

    /// Has findings in histories that are not what their topics have now name these as listings do.
    fn name_former_histories(&mut self) {
        for finding in &mut self.report.findings {
            let history = finding.topic.clone().zip(finding.topic_id.clone());
            finding.is_former_history = history.is_some_and(|it| self.former.contains(&it));
        }
    }

    fn see_histories(&mut self, snapshot: &Snapshot) {
        let former = snapshot.topics.iter().filter(|topic| topic.deleted);
        let former = former.map(|topic| (topic.name.to_string(), topic.topic_id.to_string()));
        self.former.extend(former);
    }

    /// Says of each table that cannot be read whether only histories that were replaced need it.
    fn judge_tables(&mut self) {
        let accept = self.options.accept_replaced;
        let is_of_table = |finding: &Finding| {
            let kinds = [FindingKind::MissingTable, FindingKind::DamagedTable];
            finding.topic.is_none() && kinds.contains(&finding.kind)
        };
        for finding in self.report.findings.iter_mut().filter(|it| is_of_table(it)) {
            let key = finding.key.as_deref().unwrap_or_default();
            match self.needed_tables.get(key) {
                Some(Standing::Replaced { sequence, is_copy }) => {
                    let found = finding.clone();
                    *finding = found.of_replaced_history(*sequence, *is_copy, accept);
                }
                Some(Standing::Counts) => {
                    finding.hint += "; or `kbk backup --refresh --topic TOPIC` stores again what the cluster still has of a topic that it has rows of";
                }
                Some(Standing::Imported) => {
                    let found = finding.clone();
                    *finding = found.of_imported_topic();
                }
                Some(Standing::Deleted) | None => {}
            }
        }
    }

    /// Verifies one snapshot, and what it names that no earlier one did.
    pub(super) async fn snapshot(&mut self, sequence: u64) {
        let manifest = match self.repository.manifest(sequence).await {
            Ok(manifest) => manifest,
            Err(error) => {
                let error = self.repository.explain(sequence, error).await;
                let damaged = FindingKind::DamagedSnapshot;
                let finding = Finding::of_error(&error, damaged, damaged);
                self.report.findings.push(finding.snapshot(sequence));
                return;
            }
        };
        self.parent(&manifest).await;
        self.report.digests.insert(sequence, manifest.sha256);
        if self.options.depth == VerifyDepth::List {
            match self.repository.snapshot(sequence).await {
                Ok(snapshot) => self.listed_topics(&snapshot).await,
                Err(error) => self.states_unread(sequence, &error),
            }
            return;
        }
        self.orphans.snapshot_read(sequence);
        self.answers(&manifest).await;
        let tables = self.tables(&manifest).await;
        match self.repository.snapshot(sequence).await {
            Ok(snapshot) => self.topics(&snapshot, &tables).await,
            Err(error) => {
                self.states_unread(sequence, &error);
                // Which of them count is not known, but each is stored.
                for table in tables {
                    self.all_segments(sequence, &table).await;
                }
            }
        }
    }

    /// Verifies the partitions of a snapshot by what listings show.
    async fn listed_topics(&mut self, snapshot: &Snapshot) {
        self.see_histories(snapshot);
        for topic in &snapshot.topics {
            if !self.is_selected(&topic.name, topic.topic_id) {
                continue;
            }
            for state in &topic.partitions {
                self.stated(snapshot, topic, state, Standing::of(snapshot, topic));
                let partition = topic.partition_id(state.partition);
                self.listed.count(partition.clone(), state);
                if self.partitions.insert(partition) {
                    self.report.partitions += 1;
                }
            }
        }
        let selected = self.options.topics.as_ref();
        let checked = self
            .listed
            .check(&self.repository, snapshot, |name, topic_id| {
                selected.is_none_or(|selected| selected.contains(&(name.clone(), topic_id)))
            });
        let findings = checked.await.unwrap_or_else(|error| {
            let kind = FindingKind::Unreadable;
            vec![Finding::of_error(&error, kind, kind)]
        });
        for finding in findings {
            let mut topics = snapshot.topics.iter();
            let topic = topics.find(|topic| listed::is_of(&finding, topic));
            let finding = match topic.map(|topic| Standing::of(snapshot, topic)) {
                Some(Standing::Replaced { sequence, is_copy }) => {
                    let accept = self.options.accept_replaced;
                    finding.of_replaced_history(sequence, is_copy, accept)
                }
                // What stores it again is named already.
                Some(Standing::Deleted | Standing::Imported | Standing::Counts) | None => finding,
            };
            self.report
                .findings
                .push(finding.snapshot(snapshot.sequence));
        }
    }

    /// Reports what the snapshot states of a partition that is missing.
    fn stated(
        &mut self,
        snapshot: &Snapshot,
        topic: &TopicState,
        state: &PartitionState,
        standing: Standing,
    ) {
        let known = self.report.findings.len();
        let replaced = matches!(standing, Standing::Replaced { .. });
        let accept_lost = self.options.accept_lost;
        let stated = (topic, state);
        self.missing
            .partition(snapshot, stated, replaced, accept_lost, &mut self.report);
        // What makes the snapshot partial was not read with a history that replaced this one.
        let partial = snapshot.lacks(topic, state).is_some();
        let new = self.report.findings.iter_mut().skip(known);
        for finding in new.filter(|it| !(partial && it.kind == FindingKind::Incomplete)) {
            *finding = standing.judge(finding.clone(), &topic.name, self.options.accept_replaced);
        }
    }

    /// Verifies the partitions of a snapshot.
    async fn topics(&mut self, snapshot: &Snapshot, tables: &[TableRef]) {
        self.see_histories(snapshot);
        for topic in &snapshot.topics {
            if !self.is_selected(&topic.name, topic.topic_id) {
                continue;
            }
            let standing = Standing::of(snapshot, topic);
            for state in &topic.partitions {
                self.stated(snapshot, topic, state, standing);
                let partition = topic.partition_id(state.partition);
                self.partition((snapshot, tables), &partition, state, standing)
                    .await;
            }
        }
    }

    fn is_selected(&self, name: &TopicName, topic_id: Id) -> bool {
        let selected = self.options.topics.as_ref();
        selected.is_none_or(|selected| selected.contains(&(name.clone(), topic_id)))
    }

    /// Reports that the states of a snapshot cannot be read, unless that is because of a table that was reported already.
    fn states_unread(&mut self, sequence: u64, error: &RepoError) {
        let reported = self.report.findings.iter();
        let mut reported = reported.filter(|finding| finding.key.is_some());
        if reported.any(|finding| finding.key.as_deref() == error.key()) {
            return;
        }
        // Deeper, what is wrong with a table itself was reported when all of them were read: what is left are contradictions.
        let is_table = error.key().is_some_and(|key| key.starts_with("index/"));
        let damaged = match is_table && self.options.depth == VerifyDepth::List {
            true => FindingKind::DamagedTable,
            false => FindingKind::DamagedSnapshot,
        };
        let finding = Finding::of_error(error, damaged, FindingKind::MissingTable);
        self.report.findings.push(finding.snapshot(sequence));
    }

    /// Reads the groups and ACLs of a snapshot.
    async fn answers(&mut self, manifest: &Manifest) {
        if let Some(named) = &manifest.groups
            && self.is_new(named.object.sha256, |sha256| Key::Cluster { sha256 })
        {
            let read = self.repository.groups(manifest).await.map(drop);
            self.read(manifest.sequence, read, None);
        }
        if let Some(named) = &manifest.acls
            && self.is_new(named.object.sha256, |sha256| Key::Cluster { sha256 })
        {
            let read = self.repository.acls(manifest).await.map(drop);
            self.read(manifest.sequence, read, None);
        }
        if let Some(pruning) = &manifest.pruning
            && self.is_new(pruning.sha256, |sha256| Key::Table { sha256 })
        {
            let read = self.repository.doomed(pruning).await.map(drop);
            self.read(manifest.sequence, read, None);
        }
    }

    /// Reads the lists and tables of a snapshot, all of their rows, and returns the references to its tables.
    async fn tables(&mut self, manifest: &Manifest) -> Vec<TableRef> {
        for list in manifest.runs.iter().filter_map(|run| run.list.as_ref()) {
            self.orphans.named(&list.key().to_string());
        }
        let (tables, unread) = match self.repository.tables(manifest).await {
            Ok(found) => found,
            Err(error) => (Vec::new(), vec![error]),
        };
        for error in unread {
            self.read(manifest.sequence, Err(error), None);
        }
        for table in &tables {
            if self.is_new(table.sha256, |sha256| Key::Table { sha256 }) {
                let read = self.repository.table_segments(table).await;
                for (_, entry) in read.iter().flatten() {
                    self.orphans.named(&entry.key);
                }
                self.read(manifest.sequence, read.map(drop), Some(table));
            }
        }
        tables
    }

    /// Verifies the segments of a table.
    async fn all_segments(&mut self, sequence: u64, table: &TableRef) {
        for (partition, entry) in self
            .repository
            .table_segments(table)
            .await
            .unwrap_or_default()
        {
            if self.is_selected(&partition.topic, partition.topic_id) {
                self.partitions.insert(partition.clone());
                // Whether its history counts is not known.
                self.segment(sequence, &partition, entry, Standing::Counts)
                    .await;
            }
        }
    }

    /// Returns whether an object has not been read yet.
    fn is_new(&mut self, sha256: Digest, key: impl Fn(Digest) -> Key) -> bool {
        self.orphans.named(&key(sha256).to_string());
        self.objects.insert(sha256)
    }

    /// Reports an object that cannot be read.
    fn read(&mut self, sequence: u64, read: Result<(), RepoError>, table: Option<&TableRef>) {
        let Err(error) = read else {
            return;
        };
        let (damaged, missing) = (FindingKind::DamagedTable, FindingKind::MissingTable);
        let mut finding = Finding::of_error(&error, damaged, missing);
        if let Some(table) = table {
            let (first, last) = (&table.first, &table.last);
            finding.message += &format!("; it has the rows from {first} to {last}");
        }
        if let Some(key) = error.key() {
            self.orphans.unread(key);
        }
        self.report.findings.push(finding.snapshot(sequence));
    }

    /// Checks that the parent, unless it has been removed since, is the snapshot that this one was made from.
    async fn parent(&mut self, snapshot: &Digested<Manifest>) {
        let Some(parent) = &snapshot.parent else {
            return;
        };
        let found = match self.report.digests.get(&parent.sequence) {
            Some(digest) => *digest,
            None => match self.repository.manifest(parent.sequence).await {
                Ok(parent) => parent.sha256,
                // A damaged parent is a finding of its own if it is verified, and does not harm this snapshot.
                Err(_) => return,
            },
        };
        if found != parent.sha256 {
            let message = format!(
                "it was made from snapshot {} with the digest {}, which now has the digest {found}",
                parent.sequence, parent.sha256
            );
            let finding = Finding::new(FindingKind::OtherParent, message);
            self.report
                .findings
                .push(finding.snapshot(snapshot.sequence));
        }
    }

    async fn partition(
        &mut self,
        (snapshot, tables): (&Snapshot, &[TableRef]),
        partition: &PartitionId,
        state: &PartitionState,
        standing: Standing,
    ) {
        if self.partitions.insert(partition.clone()) {
            self.report.partitions += 1;
        }
        // The same state, and the same tables that can have its segments: nothing that was not read before.
        let tables = tables
            .iter()
            .filter(|table| table.may_hold_segments_of(partition));
        let tables: Vec<Digest> = tables.map(|table| table.sha256).collect();
        let sums = (
            state.segments,
            state.records,
            state.stored_bytes,
            state.raw_bytes,
        );
        let stated = (partition, state.base_offset, state.end_offset, sums, tables);
        if !self.states.insert(self.hasher.hash_one(stated)) {
            return;
        }
        match self.repository.segments(snapshot, partition, state).await {
            Ok(segments) => {
                for entry in segments {
                    self.segment(snapshot.sequence, partition, entry, standing)
                        .await;
                }
            }
            Err(error) => {
                let (wrong, missing) = (FindingKind::WrongSums, FindingKind::MissingTable);
                let is_table = error.key().is_some_and(|key| key.starts_with("index/"));
                let damaged = if is_table {
                    FindingKind::DamagedTable
                } else {
                    wrong
                };
                let finding = Finding::of_error(&error, damaged, missing).partition(partition);
                if let Some(key) = error.key().filter(|_| is_table) {
                    let needed = self.needed_tables.entry(key.to_owned()).or_insert(standing);
                    *needed = (*needed).max(standing);
                }
                // Where it is about no object, it is about the partition.
                let key = finding.key.clone().filter(|key| Key::parse(key).is_some());
                let finding = Finding { key, ..finding };
                let finding = match finding.offsets {
                    Some(_) => finding,
                    None => finding.offsets(state.base_offset, state.end_offset),
                };
                let finding =
                    standing.judge(finding, &partition.topic, self.options.accept_replaced);
                self.report
                    .findings
                    .push(finding.snapshot(snapshot.sequence));
            }
        }
    }

    /// Waits until few enough segments are in flight, then begins to read the segment, and to check it once a core is free.
    async fn segment(
        &mut self,
        sequence: u64,
        partition: &PartitionId,
        entry: SegmentEntry,
        standing: Standing,
    ) {
        if !self.segments.insert(self.hasher.hash_one(&entry)) {
            return;
        }
        self.report.segments += 1;
        self.report.not_computed_segments += u64::from(!entry.is_computed());
        // Rows of damaged snapshots may state anything.
        self.report.records = self.report.records.saturating_add(entry.records);
        self.report.bytes = self.report.bytes.saturating_add(entry.size);
        if !self.chosen.reads(&entry) {
            let finding = self.orphans.size_finding(&entry);
            self.report.findings.extend(finding.map(|finding| {
                let finding = finding.segment(&entry).partition(partition);
                let accept = self.options.accept_replaced;
                let finding = standing.judge(finding, &partition.topic, accept);
                finding.snapshot(sequence)
            }));
            return;
        }
        let bytes = self.wait_for_room(&entry).await;
        let tag = tag(entry.segment_id);
        let job = SegmentJob {
            repository: self.repository.clone(),
            partition: partition.clone(),
            entry,
            depth: self.options.depth,
            events: Arc::clone(&self.events),
            runtime: Handle::current(),
        };
        let accept_replaced = self.options.accept_replaced;
        let cores = Arc::clone(&self.cores);
        self.running.spawn(async move {
            let opened = job.open().await;
            // The semaphore is never closed.
            let core = cores.acquire_owned().await.ok();
            let checked = tokio::task::spawn_blocking(move || {
                let _core = core;
                let findings = job.run(opened);
                job.events.segment_checked(&job.entry.key, findings.len());
                let located = findings.into_iter().map(|finding| {
                    let finding = finding.segment(&job.entry).partition(&job.partition);
                    let topic = &job.partition.topic;
                    let finding = standing.judge(finding, topic, accept_replaced);
                    finding.snapshot(sequence)
                });
                located.collect()
            });
            // As below.
            (tag, joined(checked.await).unwrap_or_default(), bytes)
        });
    }

    /// Waits until there is room for a segment, and returns how many bytes it counts for: all of a small one is in memory, and of a large one a
    /// range or more.
    async fn wait_for_room(&mut self, entry: &SegmentEntry) -> u64 {
        let bytes = entry
            .size
            .min(self.repository.store().profile().range_bytes);
        let Range { start, end } = self.in_flight;
        while self.running.len() >= end
            || (self.running.len() >= start && self.running_bytes + bytes > self.in_flight_bytes)
        {
            self.wait(self.running.len() - 1).await;
        }
        self.running_bytes += bytes;
        bytes
    }

    /// Waits until at most `remaining` segments are being checked.
    async fn wait(&mut self, remaining: usize) {
        while self.running.len() > remaining
            && let Some(ended) = self.running.join_next().await
        {
            // Tasks are cancelled only by a runtime that is shutting down, and then nobody waits for the report.
            if let Ok((tag, findings, bytes)) = joined(ended) {
                if !findings.is_empty() {
                    self.chosen.found(tag);
                }
                self.report.findings.extend(findings);
                self.running_bytes -= bytes;
            }
        }
    }
}
