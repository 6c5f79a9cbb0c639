//! What reading ahead gains of a store that answers late: how long it takes to read a topic from memory, where each request waits for some
//! milliseconds, with and without it.
//!
//! Ratios compare passes of the same run. One data set is compressible and one is not; each is stored in a few large segments, and in many small ones. `cargo bench -p kbk-tools --bench
//! distant` prints a table; with `KBK_BENCH_QUICK=1` there is less data.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use kbk_format::repo::{
    Change, Hex, Id, Identity, PartitionChange, PartitionId, ReadaheadLimits, Repository,
    SegmentEntry, Store, StoreProfile, TopicChange, Uploaded,
};
use kbk_format::{Compression, GapReason, SegmentWriter, Streams, WriterOptions};
use kbk_tools::verify::{VerifyOptions, verify};
use kbk_tools::{ReadPlan, Selection};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

#[expect(dead_code, reason = "shared with benches that need more of it")]
mod samples;
use samples::{Payload, Row, header, rows};

const DELAYS: [u64; 2] = [5, 30];

#[tokio::main]
async fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some();
    let megabytes = if quick { 64 } else { 512 };
    println!(
        "{megabytes} MB of records per topic; MB/s of records, alone -> reading ahead, and the ratio"
    );
    for (name, payload, row_bytes) in [
        ("orders (JSON)", Payload::Json, 1_000),
        ("telemetry", Payload::Telemetry, 50),
    ] {
        let sample = rows(payload, megabytes * 1_000_000 / row_bytes);
        for (shape, segments) in [("4 segments", 4), ("400 segments", 400)] {
            let objects = Arc::new(InMemory::new());
            fill(&objects, &sample, segments).await;
            for delay in DELAYS {
                measure(&format!("{name}, {shape}"), &objects, &sample, delay).await;
            }
        }
    }
}

async fn measure(name: &str, objects: &Arc<InMemory>, sample: &[Row], delay: u64) {
    let bytes: u64 = sample.iter().map(Row::bytes).sum();
    let mut none = StoreProfile::remote();
    none.readahead = ReadaheadLimits::NONE;
    let local = rate(bytes, read(&open(objects, 0, none).await)).await;
    for (what, verifies) in [("read", false), ("verify", true)] {
        let mut rates = Vec::new();
        for profile in [none, StoreProfile::remote()] {
            let repository = open(objects, delay, profile).await;
            rates.push(match verifies {
                true => rate(bytes, check(&repository)).await,
                false => rate(bytes, read(&repository)).await,
            });
        }
        let (alone, ahead) = (rates[0], rates[1]);
        let of_local = match verifies {
            true => String::new(),
            false => format!("; {:.2} of without delay", ahead / local),
        };
        println!(
            "{name:<30} {delay:>3} ms {what:<7} {alone:>8.1} -> {ahead:>8.1}  {:>5.1}x{of_local}",
            ahead / alone
        );
    }
}

async fn rate(bytes: u64, work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// Reads every record, as a restore does with one partition.
async fn read(repository: &Repository) {
    let snapshot = repository.latest().await.expect("readable");
    let snapshot = snapshot.expect("committed");
    let place = place();
    let state = snapshot.partition(&place).expect("committed");
    let selection = Selection::all();
    let plan = ReadPlan::new(repository, &snapshot, place.clone(), state, selection);
    let plan = plan.await.expect("readable");
    let mut reader = plan.read(Streams::All, &Handle::current());
    let mut records = 0;
    while let Some(batch) = reader.next().await.expect("readable") {
        records += batch.records().count() as u64;
    }
    assert_eq!(records, state.records);
}

async fn check(repository: &Repository) {
    let options = VerifyOptions {
        snapshots: vec![1],
        topics: None,
        full: false,
        accept_lost: false,
        accept_replaced: false,
    };
    let report = verify(repository, &options, Arc::new(|_: u64| {})).await;
    assert!(report.findings.is_empty());
}

async fn open(objects: &Arc<InMemory>, delay: u64, profile: StoreProfile) -> Repository {
    let store = Late {
        inner: Arc::clone(objects),
        delay: Duration::from_millis(delay),
    };
    let store = Store::new(Arc::new(store), "late").with_profile(profile);
    Repository::open(store).await.expect("created")
}

fn place() -> PartitionId {
    PartitionId {
        topic: header().topic.parse().expect("a valid name"),
        topic_id: Hex(header().topic_id),
        partition: header().partition,
    }
}

/// Commits the records in this many segments.
async fn fill(objects: &Arc<InMemory>, sample: &[Row], segments: usize) {
    let store = Store::new(objects.clone(), "filled");
    let repository = Repository::create(store, Identity::fresh());
    let repository = repository.await.expect("a store that works");
    let place = place();
    let mut entries = Vec::new();
    let mut offset = 0;
    for rows in sample.chunks(sample.len().div_ceil(segments)) {
        let mut header = header();
        header.segment_id = Id::random().0;
        header.base_offset = offset;
        let options = WriterOptions {
            compression: Compression::Zstd(3),
            ..WriterOptions::default()
        };
        let mut writer = SegmentWriter::new(Vec::new(), header, options).expect("in memory");
        for row in rows {
            let pushed = row.with(offset, |record| writer.push(record));
            pushed.expect("in memory");
            offset += 1;
        }
        let (bytes, sealed) = writer
            .seal(offset, GapReason::NotDelivered)
            .expect("in memory");
        let uploaded = Uploaded {
            sha256: Hex(Sha256::digest(&bytes).into()),
            size: bytes.len() as u64,
        };
        let entry = SegmentEntry::new(&place, &sealed, uploaded);
        let path = Path::from(entry.key.as_str());
        let put = objects.put(&path, bytes.into()).await;
        put.expect("in memory");
        entries.push(entry);
    }
    let partition = PartitionChange {
        partition: place.partition,
        log_start_offset: 0,
        high_watermark: offset,
        last_stable_offset: offset,
        incomplete: None,
        segments: entries,
        lost: Vec::new(),
    };
    let topic = TopicChange {
        name: place.topic,
        topic_id: place.topic_id,
        kafka_id: Some(place.topic_id),
        internal: false,
        replication_factor: 1,
        config: None,
        partitions: vec![partition],
    };
    let change = Change {
        base: None,
        read_after: 0,
        ignored: BTreeSet::new(),
        nonce: Id::random(),
        started_at: Timestamp::now(),
        created_at: Timestamp::now(),
        writer: "bench".into(),
        cluster_id: None,
        topics: vec![topic],
        gone: Vec::new(),
        unseen: Vec::new(),
        groups: None,
        acls: None,
    };
    let committed = repository.commit(&change).await;
    committed.expect("a store that works");
}

/// A store in memory whose answers are late.
#[derive(Debug)]
struct Late {
    inner: Arc<InMemory>,
    delay: Duration,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("late")
    }
}

#[async_trait]
impl ObjectStore for Late {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
