//! What the index of a repository costs: a store in memory counts the calls and bytes of commits and of readers.
//!
//! 10,000 partitions get a segment each, and then 9,000 commits add ten segments each to partitions that differ from commit to commit:
//! 100,000 segments. Segments themselves are not written. `cargo bench -p kbk-format --bench repo` prints a table; with `KBK_BENCH_QUICK=1` there
//! are fewer commits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use kbk_format::TimestampType;
use kbk_format::repo::{
    Digested, Hex, Id, Identity, Key, PartitionId, Repository, SegmentEntry, SegmentHash, Snapshot,
    Store, TopicChange,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, ObjectMeta, ObjectStore, PutOptions, PutPayload, PutResult, Result,
};

#[path = "../tests/support/change.rs"]
mod change;
#[path = "../tests/support/delegate.rs"]
mod delegate;
use change::{change, partition_change, topic_change};
use delegate::delegate_to;

const TOPICS: u32 = 100;
const PARTITIONS: u32 = 100;
const SEGMENTS_PER_COMMIT: u32 = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some();
    let commits = if quick { 200 } else { 9_000 };
    let store = Counting::default();
    let repository = repository(&store).await;
    let mut world = World::default();
    let everything = (0..TOPICS * PARTITIONS).collect::<Vec<_>>();
    let mut newest = world.commit(&repository, None, &everything).await;
    store.take();

    let (mut own, mut merged, mut most) = (0, 0, 0);
    let mut last = Calls::default();
    let began = Instant::now();
    for commit in 0..commits {
        newest = world
            .commit(&repository, Some(newest), &chosen(commit))
            .await;
        last = store.take();
        // The table of the commit itself is the last that it writes.
        let tables = last.puts_in("index/");
        own += tables.last().copied().unwrap_or(0);
        merged += tables.iter().rev().skip(1).sum::<u64>();
        most = most.max(newest.runs.len());
    }
    let per_commit = began.elapsed().as_secs_f64() * 1e3 / f64::from(commits);
    println!(
        "{} partitions, {} segments, {commits} commits",
        world.ends.len(),
        newest.totals.segments
    );
    line(
        "the last commit writes objects",
        last.puts.len() as u64,
        "20,001 where it touches every partition",
    );
    line(
        "  of bytes",
        last.puts.iter().map(|(_, bytes)| bytes).sum(),
        "1.5 to 3 GB in the worst case",
    );
    line("own rows, bytes per commit", own / u64::from(commits), "");
    println!(
        "{:<44} {:>14.2}",
        "bytes of merges per byte of own rows",
        merged as f64 / own as f64
    );
    line(
        "snapshot, bytes",
        last.puts_in("snapshots/0")[0],
        "5 MB, 50 MB after a year of hourly runs",
    );
    line("runs, at most", most as u64, "");
    println!(
        "{:<44} {:>14.1}",
        "a commit takes ms, with all states read", per_commit
    );

    let fresh = self::repository(&store).await;
    store.take();
    let began = Instant::now();
    let snapshot = fresh.latest().await.expect("readable").expect("committed");
    report(&store, "all states", began);
    let began = Instant::now();
    let mut rows = fresh.segment_rows(&snapshot).await.expect("readable");
    let mut count = 0;
    while rows.next().await.expect("readable").is_some() {
        count += 1;
    }
    assert_eq!(count, snapshot.totals.segments);
    report(&store, "then all segments", began);

    one_partition_at_a_time(&store, &fresh, &snapshot).await;

    let began = Instant::now();
    let idle = world.commit(&repository, Some(newest), &[]).await;
    let calls = store.take();
    println!(
        "a commit of no change: {} objects, {} bytes, {:.1} ms; snapshot {}",
        calls.puts.len(),
        calls.puts.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        began.elapsed().as_secs_f64() * 1e3,
        idle.sequence
    );
}

/// Reads the segments of single partitions: all of them, and those of the last hour of the repository. Each time nothing is cached.
async fn one_partition_at_a_time(store: &Counting, fresh: &Repository, snapshot: &Snapshot) {
    let last = snapshot.totals.max_timestamp.expect("records");
    for (what, times) in [
        ("one partition, its states known", i64::MIN..=i64::MAX),
        ("  the last hour of it", last - 3_600_000..=last),
    ] {
        let mut costs = Vec::new();
        let partitions = snapshot.topics.iter().flat_map(|topic| {
            let states = topic.partitions.iter().step_by(7);
            states.map(|state| (topic.partition_id(state.partition), state))
        });
        let began = Instant::now();
        for (id, state) in partitions {
            let read = fresh.uncached();
            let found = read.segments_of_times(snapshot, &id, state, &times);
            let found = found.await.expect("readable").len() as u64;
            assert!(found == state.segments || times.start() > &i64::MIN);
            let gets = store.take().gets;
            let bytes: u64 = gets.iter().map(|(_, bytes)| bytes).sum();
            costs.push((gets.len(), bytes));
        }
        let ms = began.elapsed().as_secs_f64() * 1e3 / costs.len() as f64;
        costs.sort_unstable();
        let at = |share: usize| costs[(costs.len() - 1) * share / 100];
        let mean = costs
            .iter()
            .map(|(objects, _)| *objects as f64)
            .sum::<f64>()
            / costs.len() as f64;
        let most = costs
            .iter()
            .map(|(_, bytes)| bytes)
            .max()
            .expect("partitions");
        let (median, high, max) = (at(50).0, at(95).0, at(100).0);
        println!(
            "{what:<44} objects: mean {mean:.1}, median {median}, 95 % {high}, max {max}; at most {most} bytes; {ms:.1} ms"
        );
    }
}

fn line(what: &str, value: u64, before: &str) {
    let before = if before.is_empty() {
        String::new()
    } else {
        format!("  (pages: {before})")
    };
    println!("{what:<44} {value:>14}{before}");
}

fn report(store: &Counting, what: &str, began: Instant) {
    let elapsed = began.elapsed();
    let calls = store.take();
    let bytes: u64 = calls.gets.iter().map(|(_, bytes)| bytes).sum();
    let (objects, ms) = (calls.gets.len(), elapsed.as_secs_f64() * 1e3);
    println!("{what:<44} {objects:>6} objects {bytes:>12} bytes {ms:>9.1} ms");
}

/// Returns the partitions that a commit adds to: each one about as often as the others.
fn chosen(commit: u32) -> Vec<u32> {
    let all = u64::from(TOPICS * PARTITIONS);
    let choose = |at: u32| {
        let mixed =
            u64::from(commit * SEGMENTS_PER_COMMIT + at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        u32::try_from((mixed >> 20) % all).expect("below the number of partitions")
    };
    (0..SEGMENTS_PER_COMMIT)
        .map(choose)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

async fn repository(store: &Counting) -> Repository {
    let identity = Identity {
        repository_id: Hex([9; 16]),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let store = Store::new(Arc::new(store.clone()), "counting://");
    let opened = Repository::open_or_create(store, identity).await;
    opened.expect("a store that works")
}

/// The ends of the partitions of the cluster.
#[derive(Default)]
struct World {
    ends: BTreeMap<u32, i64>,
}

impl World {
    /// Adds a segment to each of these partitions, as a backup that looks at all topics.
    async fn commit(
        &mut self,
        repository: &Repository,
        base: Option<Digested<Snapshot>>,
        partitions: &[u32],
    ) -> Digested<Snapshot> {
        let mut topics: Vec<TopicChange> = (0..TOPICS).map(|topic| self.topic(topic)).collect();
        let minute = base.as_ref().map_or(0, |base| base.sequence);
        for number in partitions {
            let (topic, partition) = (number / PARTITIONS, number % PARTITIONS);
            let topic = &mut topics[topic as usize];
            let id = PartitionId {
                topic: topic.name.clone(),
                topic_id: topic.topic_id,
                partition: u16::try_from(partition).expect("few partitions").into(),
            };
            let end = self.ends.entry(*number).or_default();
            let change = &mut topic.partitions[partition as usize];
            change.segments.push(entry(&id, *end, minute));
            *end += 1_000;
            (change.high_watermark, change.last_stable_offset) = (*end, *end);
        }
        repository
            .commit(&change(base, topics))
            .await
            .expect("a store that works")
    }

    fn topic(&self, topic: u32) -> TopicChange {
        let partition = |partition: u32| {
            let end = self
                .ends
                .get(&(topic * PARTITIONS + partition))
                .copied()
                .unwrap_or(0);
            let partition = u16::try_from(partition).expect("few partitions");
            partition_change(partition.into(), end, Vec::new())
        };
        let name = format!("team-{}.orders-{topic:03}", topic % 7);
        let id = PartitionId {
            topic: name.parse().expect("a valid name"),
            topic_id: Hex([u8::try_from(topic).expect("few topics") + 1; 16]),
            partition: 0.into(),
        };
        let config = [("retention.ms".into(), "604800000".into())];
        TopicChange {
            replication_factor: 3,
            config: Some(BTreeMap::from(config)),
            ..topic_change(&id, (0..PARTITIONS).map(partition).collect())
        }
    }
}

/// A segment with the records of one minute.
fn entry(id: &PartitionId, base_offset: i64, minute: u64) -> SegmentEntry {
    let segment_id = Id::random();
    let (left, right) = (Id::random().0, Id::random().0);
    let mut blake3 = [0; 32];
    blake3[..16].copy_from_slice(&left);
    blake3[16..].copy_from_slice(&right);
    let time = 1_763_800_000_000 + i64::try_from(minute).expect("few commits") * 60_000;
    SegmentEntry {
        key: Key::segment(id, base_offset, &segment_id).to_string(),
        segment_id,
        size: 1_234_567 + base_offset as u64 % 7_919,
        footer_position: 1_200_000,
        blake3: SegmentHash(Hex(blake3)),
        base_offset,
        end_offset: base_offset + 1_000,
        min_timestamp: Some(time),
        max_timestamp: time + 59_999,
        min_known_timestamp: Some(time),
        records: 1_000,
        raw_bytes: 7_654_321 + base_offset as u64 % 104_729,
        timestamp_type: TimestampType::CreateTime,
        content_digest: Some(Id::random()),
        rendered: Some([9_000_000, 7_000_000, 500_000]),
        whole_lines: Some([true, true]),
        key_filter: false,
        batches: false,
    }
}

/// The calls of a store.
#[derive(Clone, Debug, Default)]
struct Calls {
    puts: Vec<(String, u64)>,
    gets: Vec<(String, u64)>,
}

impl Calls {
    fn puts_in(&self, prefix: &str) -> Vec<u64> {
        let puts = self.puts.iter().filter(|(key, _)| key.starts_with(prefix));
        puts.map(|(_, bytes)| *bytes).collect()
    }
}

/// A store in memory that counts. Clones share it.
#[derive(Clone, Debug, Default)]
struct Counting {
    inner: Arc<InMemory>,
    calls: Arc<Mutex<Calls>>,
}

impl Counting {
    fn take(&self) -> Calls {
        std::mem::take(&mut self.calls.lock().expect("no panic while it is held"))
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    delegate_to!([inner] put_multipart_opts, delete_stream, list, list_with_delimiter, copy_opts);

    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        self.calls
            .lock()
            .expect("no panic")
            .puts
            .push((path.to_string(), bytes));
        self.inner.put_opts(path, payload, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(path, options).await?;
        let bytes = found.range.end - found.range.start;
        self.calls
            .lock()
            .expect("no panic")
            .gets
            .push((path.to_string(), bytes));
        Ok(found)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }
}
