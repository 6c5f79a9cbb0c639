//! What it costs a bucket to look whether all segments are there: requests of 1,000 keys, for few topics and for many.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use kbk_format::TimestampType;
use kbk_format::repo::{
    Adoptable, Digested, Hex, Id, Identity, Key, PartitionId, Repository, SegmentEntry,
    SegmentHash, Snapshot, Store,
};
use kbk_tools::verify::{FindingKind, check_sizes};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, Result};

use crate::support::change::{change, partition_change, topic_change};
use crate::support::delegate::delegate_to;

const KEYS_PER_REQUEST: usize = 1_000;
const SEGMENT_BYTES: usize = 16;

/// A store that counts the requests that listings of segments take.
#[derive(Debug, Default)]
struct Paged {
    inner: InMemory,
    requests: Arc<AtomicUsize>,
}

impl fmt::Display for Paged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("paged")
    }
}

impl Paged {
    /// Passes on a listing; each page of it counts as soon as its first key, or its end, is needed.
    fn count(
        &self,
        prefix: Option<&Path>,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if !prefix.is_some_and(|prefix| prefix.as_ref().starts_with("data")) {
            return listed;
        }
        let requests = Arc::clone(&self.requests);
        let first = Arc::clone(&self.requests);
        let counted = listed.enumerate().map(move |(number, object)| {
            if number > 0 && number % KEYS_PER_REQUEST == 0 {
                requests.fetch_add(1, Ordering::Relaxed);
            }
            object
        });
        let begin = stream::once(async move {
            first.fetch_add(1, Ordering::Relaxed);
        });
        begin.flat_map(|()| stream::empty()).chain(counted).boxed()
    }

    fn take(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

impl ObjectStore for Paged {
    delegate_to!([inner] put_opts, put_multipart_opts, get_opts, delete_stream, list_with_delimiter, copy_opts);

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count(prefix, self.inner.list_with_offset(prefix, offset))
    }
}

/// A repository with topics of two partitions, each with a segment.
struct World {
    store: Arc<Paged>,
    repository: Repository,
    ids: Vec<PartitionId>,
    snapshot: Digested<Snapshot>,
}

impl World {
    async fn new(topics: u16, segments: i64) -> World {
        let store = Arc::new(Paged::default());
        let opened = Store::new(store.clone(), "paged");
        let repository = Repository::create(opened, Identity::fresh());
        let repository = repository.await.unwrap();
        let mut ids = Vec::new();
        let mut changes = Vec::new();
        for topic in 0..topics {
            let id = |partition: u16| PartitionId {
                topic: format!("topic-{topic}").parse().unwrap(),
                topic_id: Hex([7; 16]),
                partition: partition.into(),
            };
            let of_topic = [id(0), id(1)];
            let mut partitions = Vec::new();
            for id in &of_topic {
                let mut stored = Vec::new();
                for number in 0..segments {
                    let entry = segment(id, number * 10);
                    put(&store, &entry.key, SEGMENT_BYTES).await;
                    stored.push(entry);
                }
                partitions.push(partition_change(id.partition, segments * 10, stored));
            }
            changes.push(topic_change(&of_topic[0], partitions));
            ids.extend(of_topic);
        }
        let snapshot = repository.commit(&change(None, changes)).await.unwrap();
        store.take();
        World {
            store,
            repository,
            ids,
            snapshot,
        }
    }

    /// Returns the findings, and the requests that they took.
    async fn check(&self) -> (Vec<FindingKind>, usize) {
        let check = check_sizes(&self.repository, &self.snapshot, |_| true).await;
        let check = check.unwrap();
        assert_eq!(check.segments, self.snapshot.totals.segments);
        let kinds = check.findings.iter().map(|finding| finding.kind);
        (kinds.collect(), self.store.take())
    }

    /// Looks for segments that no snapshot names, folder by folder; returns their number and the requests that it took.
    async fn unnamed_by_folder(&self) -> (usize, usize) {
        let mut found = 0;
        for (id, end) in self.ends() {
            let all = Adoptable::all();
            let unnamed = self.repository.unnamed_segments(&id, end, &all);
            found += unnamed.await.unwrap().len();
        }
        (found, self.store.take())
    }

    /// The same as a backup does it: at once, or `None`.
    async fn unnamed_at_once(&self) -> (Option<usize>, usize) {
        let (ends, all) = (self.ends(), Adoptable::all());
        let found = self
            .repository
            .all_unnamed_segments(Some(&self.snapshot), &ends, &all);
        let found = found.await.unwrap();
        let found = found.map(|found| found.values().map(Vec::len).sum());
        (found, self.store.take())
    }

    fn ends(&self) -> HashMap<PartitionId, i64> {
        let end = |id: &PartitionId| self.snapshot.partition(id).unwrap().end_offset;
        self.ids.iter().map(|id| (id.clone(), end(id))).collect()
    }
}

async fn put(store: &Paged, key: &str, bytes: usize) {
    let path = Path::from(key);
    let put = store.inner.put(&path, vec![0; bytes].into());
    put.await.unwrap();
}

fn segment(id: &PartitionId, base_offset: i64) -> SegmentEntry {
    let segment_id = Id::random();
    SegmentEntry {
        key: Key::segment(id, base_offset, &segment_id).to_string(),
        segment_id,
        size: SEGMENT_BYTES as u64,
        footer_position: 1,
        blake3: SegmentHash(Hex([3; 32])),
        base_offset,
        end_offset: base_offset + 10,
        min_timestamp: Some(5),
        max_timestamp: 5,
        min_known_timestamp: Some(5),
        records: 1,
        raw_bytes: 100,
        timestamp_type: TimestampType::CreateTime,
        content_digest: Some(Id::ZERO),
        rendered: None,
        whole_lines: None,
        key_filter: false,
        batches: false,
    }
}

#[tokio::test]
async fn the_segments_of_many_topics_are_listed_at_once() {
    // Topics; requests of a check of the sizes, which were one for each topic; those of a backup that looks for unnamed segments of
    // all partitions, which were one for each partition.
    for (topics, sizes, unnamed) in [(1, 1, 1), (100, 1, 1), (2_000, 4, 4)] {
        let world = World::new(topics, 1).await;
        assert_eq!(world.check().await, (vec![], sizes), "{topics} topics");
        let by_folder = world.unnamed_by_folder().await;
        assert_eq!(by_folder, (0, 2 * usize::from(topics)), "{topics} topics");
        let at_once = world.unnamed_at_once().await;
        assert_eq!(at_once, (Some(0), unnamed), "{topics} topics");
    }
}

#[tokio::test]
async fn what_is_missing_or_left_over_is_found_either_way() {
    for topics in [1, 300] {
        let world = World::new(topics, 2).await;
        let rows = world.repository.segments(
            &world.snapshot,
            &world.ids[1],
            world.snapshot.partition(&world.ids[1]).unwrap(),
        );
        let rows = rows.await.unwrap();
        let path = |row: &SegmentEntry| Path::from(row.key.as_str());
        world.store.inner.delete(&path(&rows[0])).await.unwrap();
        put(&world.store, &rows[1].key, SEGMENT_BYTES + 1).await;
        // After the end: of an interrupted run.
        let left = segment(&world.ids[0], 20);
        put(&world.store, &left.key, SEGMENT_BYTES).await;
        let (findings, _) = world.check().await;
        let expected = [FindingKind::MissingSegment, FindingKind::WrongSize];
        assert_eq!(findings, expected, "{topics} topics");
        assert_eq!(world.unnamed_by_folder().await.0, 1);
        let (found, _) = world.unnamed_at_once().await;
        assert_eq!(found, Some(1), "{topics} topics");
    }
}

#[tokio::test]
async fn many_segments_of_few_topics_are_listed_by_folder() {
    let world = World::new(2, 600).await;
    // 2,400 segments are 3 requests, and those of the topics are 4.
    assert_eq!(world.check().await, (vec![], 4));
    assert_eq!(world.unnamed_at_once().await, (None, 0));
    // Only what is after the end is listed, however much is before it.
    assert_eq!(world.unnamed_by_folder().await, (0, 4));
}

#[tokio::test]
async fn a_listing_that_turns_out_long_is_ended() {
    let world = World::new(6, 1).await;
    // What an interrupted run left of other topics.
    let other = PartitionId {
        topic: "another".parse().unwrap(),
        ..world.ids[0].clone()
    };
    for number in 0..20_000 {
        put(&world.store, &segment(&other, number).key, 1).await;
    }
    let (found, requests) = world.unnamed_at_once().await;
    assert_eq!(found, None);
    assert!(requests <= world.ids.len() + 1, "{requests}");
    let (findings, requests) = world.check().await;
    assert_eq!(findings, []);
    assert!(requests <= 2 * 6 + 1, "{requests}");
}
