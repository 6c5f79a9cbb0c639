//! Two repositories, what the first has ever held, and what a copy must hold.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;
use kbk_format::repo::{
    AclBinding, Change, Digested, FoundGroups, GroupState, Id, Identity, IncompleteReason,
    LostRange, PartitionChange, PartitionId, Repository, SegmentEntry, SegmentHash, Snapshot,
    Store, StoreProfile, TopicChange, TopicName, TopicState, Upkeep, Uploaded,
};
use kbk_format::{
    FileHeader, GapReason, Headers, IsolationLevel, Record, SegmentWriter, TimestampType,
    WriterOptions,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use crate::copy::{
    CopyError, CopyEvents, CopyFindingKind, CopyOptions, CopyReport, CopySelection, copy,
};
use crate::testing::change::{change, partition_change, topic_change};
use crate::testing::faulty::{Faults, FaultyStore, Meanwhile, Withheld};
use crate::testing::random::Random;

pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

/// One of the two repositories.
pub(super) struct Side {
    pub(super) objects: Arc<InMemory>,
    url: &'static str,
    /// What others do while the next process reads segments.
    meanwhile: Mutex<Meanwhile>,
    /// What the store does not return.
    pub(super) withheld: Mutex<Withheld>,
}

impl Side {
    pub(super) async fn create(url: &'static str, identity: Identity) -> Side {
        let side = Side {
            objects: Arc::new(InMemory::new()),
            url,
            meanwhile: Mutex::default(),
            withheld: Mutex::default(),
        };
        let created = Repository::create(side.store(0, None, Random::new(1)), identity);
        created.await.unwrap();
        side
    }

    fn store(&self, percent: u64, calls: Option<u64>, random: Random) -> Store {
        let faults = Faults::new(random, percent, calls);
        let withheld = self.withheld.lock().unwrap().clone();
        faults.lock().unwrap().withhold(withheld);
        let objects = FaultyStore {
            objects: Arc::clone(&self.objects),
            faults,
            meanwhile: Arc::new(take(&mut *self.meanwhile.lock().unwrap())),
        };
        // Small, so that segments have several ranges, and some of them parts.
        let mut profile = StoreProfile::remote();
        profile.range_bytes = 400;
        profile.upload.whole_below = 900;
        profile.upload.part_bytes = 400;
        Store::new(Arc::new(objects), self.url).with_profile(profile)
    }

    /// Opens it as a new process does.
    pub(super) async fn open(&self) -> Repository {
        let store = self.store(0, None, Random::new(1));
        Repository::open(store).await.unwrap()
    }

    /// Opens it so that calls fail; `None` where that fails.
    pub(super) async fn open_faulty(
        &self,
        percent: u64,
        calls: Option<u64>,
        random: Random,
    ) -> Option<Repository> {
        Repository::open(self.store(percent, calls, random))
            .await
            .ok()
    }

    /// Does something before the process that opens it next reads its first segment.
    pub(super) fn meanwhile<F: Future<Output = ()>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) {
        let process = || Runtime::new().unwrap().block_on(work());
        let work = move || thread::spawn(process).join().unwrap();
        *self.meanwhile.lock().unwrap() = Meanwhile::new(work);
    }

    pub(super) async fn object(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.objects.get(&Path::from(key)).await.ok()?;
        Some(object.bytes().await.unwrap().to_vec())
    }

    /// Removes the claims of processes that have crashed: they are of this process, which lives.
    pub(super) async fn remove_claims(&self) {
        use futures_util::StreamExt;
        let claims = Path::from("claims");
        let listed: Vec<_> = self.objects.list(Some(&claims)).collect().await;
        for claim in listed {
            self.objects.delete(&claim.unwrap().location).await.unwrap();
        }
    }
}

pub(super) struct World {
    pub(super) from: Side,
    pub(super) to: Side,
    pub(super) random: Random,
    /// Every segment that the first repository has ever had.
    history: BTreeMap<PartitionId, Vec<SegmentEntry>>,
    /// Its snapshots as they were committed.
    pub(super) snapshots: BTreeMap<u64, Digested<Snapshot>>,
    ids: BTreeMap<&'static str, Id>,
    clock: i64,
    /// Where partitions begin.
    start: i64,
    /// Whether no topic is deleted and created again.
    keeps_ids: bool,
    pub(super) accept_replaced: bool,
    /// Changes what the row of the next segment states.
    pub(super) forge: Option<fn(&mut SegmentEntry)>,
}

impl World {
    pub(super) async fn new(seed: u64) -> World {
        World {
            from: Side::create("from", Identity::fresh()).await,
            to: Side::create("to", Identity::fresh()).await,
            random: Random::new(seed),
            history: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            ids: BTreeMap::new(),
            clock: 0,
            start: 5,
            keeps_ids: false,
            accept_replaced: false,
            forge: None,
        }
    }

    /// Makes what was the copy the one to copy from, to a new one.
    pub(super) async fn copy_the_copy(&mut self) {
        let third = Side::create("third", Identity::fresh()).await;
        self.from = std::mem::replace(&mut self.to, third);
    }

    /// Backs up one topic as a run does that reads it again in full.
    pub(super) async fn replace_history(&mut self, old: &TopicState) {
        let topic_id = Id::random();
        let id = PartitionId {
            topic: old.name.clone(),
            topic_id,
            partition: 0.into(),
        };
        let segment = self.segment(&id, 5).await;
        let repository = self.from.open().await;
        let newest = repository.latest().await.unwrap().unwrap();
        let now = Timestamp::from_second(self.clock).unwrap();
        let partition = partition_change(0.into(), segment.end_offset, vec![segment]);
        let topic = TopicChange {
            kafka_id: old.kafka_id,
            ..topic_change(&id, vec![partition])
        };
        let change = Change {
            started_at: now,
            created_at: now,
            ..change(Some(newest), vec![topic])
        };
        let committed = repository.commit(&change).await.unwrap();
        self.snapshots.insert(committed.sequence, committed);
    }

    /// Puts another repository with the same id in place of the first one: its topics begin later, and its first snapshots were forgotten.
    pub(super) async fn replace_origin(&mut self) {
        let identity = self.from.open().await.identity().clone();
        self.from = Side::create("from", identity).await;
        self.snapshots.clear();
        self.history.clear();
        self.start = 10_000;
        self.keeps_ids = true;
        while self.snapshots.len() < 12 {
            self.back_up().await;
        }
        let repository = self.from.open().await;
        let plan = repository.plan_forget((1..=4).collect()).await.unwrap();
        let upkeep = self.upkeep("forget");
        repository.forget(&plan, &upkeep).await.unwrap();
        self.note_snapshots(&repository).await;
    }

    /// Writes a segment whose records are random.
    async fn segment(&mut self, id: &PartitionId, base_offset: i64) -> SegmentEntry {
        self.clock += 1;
        let segment_id = Id::random();
        let offsets = 1 + self.random.below(9) as i64;
        let records = self.random.below(offsets as u64 + 1) as i64;
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: id.topic_id.0,
            topic: id.topic.to_string(),
            partition: id.partition,
            timestamp_type: TimestampType::CreateTime,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        };
        let options = WriterOptions::default();
        let mut writer = SegmentWriter::new(Vec::new(), header, options).unwrap();
        for offset in base_offset..base_offset + records {
            let length = self.random.below(60);
            let value: Vec<u8> = (0..length).map(|_| self.random.below(256) as u8).collect();
            let record = Record {
                offset,
                timestamp: self.clock,
                control: false,
                key: None,
                value: Some(&value),
                headers: Headers::EMPTY,
            };
            writer.push(&record).unwrap();
        }
        let sealed = writer.seal(base_offset + offsets, GapReason::NotDelivered);
        let (bytes, summary) = sealed.unwrap();
        let uploaded = Uploaded {
            blake3: SegmentHash::of(&bytes),
            size: bytes.len() as u64,
        };
        let mut entry = SegmentEntry::new(id, &summary, uploaded);
        let path = Path::from(entry.key.as_str());
        let put = self.from.objects.put(&path, bytes.into()).await;
        put.unwrap();
        if let Some(forge) = self.forge.take() {
            forge(&mut entry);
        }
        self.history
            .entry(id.clone())
            .or_default()
            .push(entry.clone());
        entry
    }

    /// Backs up some topics, as a run that reads a cluster does.
    pub(super) async fn back_up(&mut self) {
        let repository = self.from.open().await;
        let newest = repository.latest().await.unwrap();
        let mut topics = Vec::new();
        for name in NAMES {
            if self.random.one_in(3) {
                continue;
            }
            let is_created_again = !self.keeps_ids && self.random.one_in(8);
            if is_created_again || !self.ids.contains_key(name) {
                self.ids.insert(name, Id::random());
            }
            let (name, topic_id): (TopicName, Id) = (name.parse().unwrap(), self.ids[name]);
            let mut partitions = Vec::new();
            for number in 0..2_u16 {
                let partition = number.into();
                let id = PartitionId {
                    topic: name.clone(),
                    topic_id,
                    partition,
                };
                let stored = newest.as_ref().and_then(|newest| newest.partition(&id));
                let start = stored.map_or(self.start, |state| state.end_offset);
                let (mut end, mut segments, mut lost) = (start, Vec::new(), Vec::new());
                for _ in 0..self.random.below(3) {
                    let segment = self.segment(&id, end).await;
                    if self.random.one_in(4) {
                        lost.push(LostRange::deleted(end, end + 1));
                    }
                    end = segment.end_offset;
                    segments.push(segment);
                }
                partitions.push(PartitionChange {
                    lost,
                    ..partition_change(partition, end, segments)
                });
            }
            topics.push(TopicChange {
                name,
                topic_id,
                kafka_id: Some(topic_id),
                internal: false,
                replication_factor: 1,
                config: Some([("k".to_owned(), self.random.below(2).to_string())].into()),
                partitions,
            });
        }
        let groups = (0..self.random.below(3)).map(|at| GroupState {
            group: format!("g{at}"),
            r#type: None,
            state: None,
            taken_at: None,
            topics: Vec::new(),
        });
        let groups: Vec<GroupState> = groups.collect();
        let now = Timestamp::from_second(self.clock).unwrap();
        let change = Change {
            started_at: now,
            created_at: now,
            groups: Some(FoundGroups {
                taken_at: now,
                groups: groups.into(),
            }),
            acls: Some(kbk_format::repo::FoundAcls {
                taken_at: now,
                authorizer: true,
                left_out: 0,
                acls: Vec::<AclBinding>::new().into(),
            }),
            ..change(newest, topics)
        };
        let committed = repository.commit(&change).await.unwrap();
        self.snapshots.insert(committed.sequence, committed);
    }

    pub(super) fn upkeep(&self, command: &str) -> Upkeep {
        Upkeep {
            command: command.to_owned(),
            detail: "test".to_owned(),
            writer: "test".to_owned(),
            now: Timestamp::from_second(self.clock).unwrap(),
        }
    }

    /// Expires part of one of the repositories.
    pub(super) async fn expire(&mut self, of_copy: bool) {
        let side = if of_copy { &self.to } else { &self.from };
        let repository = side.open().await;
        let Some(newest) = repository.latest().await.unwrap() else {
            return;
        };
        let older_than = self.random.below(self.clock.max(1) as u64 + 1) as i64;
        let mut plan = Vec::new();
        for topic in &newest.topics {
            for state in &topic.partitions {
                let id = topic.partition_id(state.partition);
                let planned = repository.plan_expiry(&newest, id, state, older_than).await;
                plan.push(planned.unwrap());
            }
        }
        let upkeep = self.upkeep("expire");
        if repository.expire(&plan, &upkeep).await.unwrap().is_some() && !of_copy {
            let newest = repository.latest().await.unwrap().unwrap();
            self.snapshots.insert(newest.sequence, newest);
        }
    }

    /// Forgets some snapshots of one of the repositories, and prunes it.
    pub(super) async fn forget_and_prune(&mut self, of_copy: bool) {
        let side = if of_copy { &self.to } else { &self.from };
        let repository = side.open().await;
        let all = repository.sequences().await.unwrap();
        let Some((_, older)) = all.split_last() else {
            return;
        };
        let gone: BTreeSet<u64> = older
            .iter()
            .copied()
            .filter(|_| self.random.one_in(2))
            .collect();
        let plan = repository.plan_forget(gone).await.unwrap();
        repository
            .forget(&plan, &self.upkeep("forget"))
            .await
            .unwrap();
        let options = kbk_format::repo::PruneOptions {
            grace: std::time::Duration::ZERO,
            now: Timestamp::now(),
            claims: Vec::new(),
        };
        let plan = repository.plan_prune(&options).await.unwrap();
        repository.prune(plan, &self.upkeep("prune")).await.unwrap();
        if !of_copy {
            self.note_snapshots(&repository).await;
        }
    }

    /// Notes what snapshots hold that no backup committed.
    pub(super) async fn note_snapshots(&mut self, repository: &Repository) {
        for sequence in repository.sequences().await.unwrap() {
            if let Entry::Vacant(unknown) = self.snapshots.entry(sequence) {
                unknown.insert(repository.snapshot(sequence).await.unwrap());
            }
        }
    }

    /// Copies, once.
    pub(super) async fn copy(
        &mut self,
        snapshots: CopySelection,
        topics: Vec<&'static str>,
        faults: Option<(u64, Option<u64>)>,
    ) -> Option<Result<CopyReport, CopyError>> {
        let (from, to) = match faults {
            None => (self.from.open().await, self.to.open().await),
            Some((percent, calls)) => {
                let (a, b) = (self.random.split(), self.random.split());
                (
                    self.from.open_faulty(percent, calls, a).await?,
                    self.to.open_faulty(percent, calls, b).await?,
                )
            }
        };
        let options = CopyOptions {
            snapshots,
            topics: Arc::new(move |snapshot| {
                let chosen = snapshot.topics.iter();
                chosen
                    .filter(|topic| topics.contains(&&*topic.name))
                    .map(|topic| (topic.name.clone(), topic.topic_id))
                    .collect()
            }),
            read_back: true,
            accept_replaced: self.accept_replaced,
            dry_run: false,
            writer: "test".to_owned(),
        };
        let events: Arc<dyn CopyEvents> = Arc::new(());
        let stop = std::future::pending();
        let copied = copy(&from, &to, &options, stop, events, Arc::new(|_: &_| {})).await;
        // A upload that is being aborted in the background would otherwise outlive its process.
        self.to.remove_claims().await;
        Some(copied)
    }

    /// Checks every snapshot of the copy against what its origin held when it was committed.
    pub(super) async fn check(&self, selected: &[&str]) {
        let copy = self.to.open().await;
        let mut last = 0;
        for sequence in copy.sequences().await.unwrap() {
            let snapshot = copy.snapshot(sequence).await.unwrap();
            let Some(origin) = &snapshot.origin else {
                assert_eq!(snapshot.backup(), 0, "a reservation of an empty repository");
                continue;
            };
            assert!(origin.sequence <= sequence && origin.sequence >= last);
            last = origin.sequence;
            for topic in &snapshot.topics {
                for state in &topic.partitions {
                    let id = topic.partition_id(state.partition);
                    self.check_partition(&copy, &snapshot, &id).await;
                }
            }
            let model = &self.snapshots[&last];
            for topic in model
                .topics
                .iter()
                .filter(|it| selected.contains(&&*it.name))
            {
                let Some(copied) = snapshot.topic(&topic.name, topic.topic_id) else {
                    continue;
                };
                for (expected, found) in topic.partitions.iter().zip(&copied.partitions) {
                    let cut = found.incomplete.as_ref();
                    let cut = cut.is_some_and(|it| it.reason == IncompleteReason::NotCopied);
                    assert!(
                        cut || copied.last_seen != topic.last_seen
                            || found.end_offset == expected.end_offset,
                        "{sequence}: {}/{}",
                        topic.name,
                        found.partition
                    );
                }
            }
        }
    }

    /// Checks that a partition holds what was ever written of its offsets, byte by byte.
    async fn check_partition(&self, copy: &Repository, snapshot: &Snapshot, id: &PartitionId) {
        let state = snapshot.partition(id).unwrap();
        let found = copy.segments(snapshot, id, state).await.unwrap();
        let all = self.history.get(id).cloned().unwrap_or_default();
        let within = all.into_iter().filter(|segment| {
            segment.base_offset >= state.base_offset && segment.end_offset <= state.end_offset
        });
        assert_eq!(
            found,
            within.collect::<Vec<_>>(),
            "{id} in {}",
            snapshot.sequence
        );
        for segment in &found {
            let bytes = self.to.object(&segment.key).await;
            let bytes = bytes.unwrap_or_else(|| panic!("{} is missing", segment.key));
            assert_eq!(SegmentHash::of(&bytes), segment.blake3);
        }
    }
}

/// Returns whether all findings are of partitions that the origin expired before they were copied.
pub(super) fn only_not_joined(report: &CopyReport) -> bool {
    let mut findings = report.findings.iter();
    findings.all(|finding| finding.kind == CopyFindingKind::NotJoined)
}
