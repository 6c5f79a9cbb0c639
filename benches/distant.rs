//! What reading ahead gains of a store that answers late: how long it takes to read a topic from memory, where each request waits for some
//! milliseconds, with and without it.
//!
//! Ratios compare passes of the same run, each the median of three. One data set is compressible and one is not; each is stored in a few large segments, and in many small ones. To open
//! the snapshot takes a few round trips in any case, so a small data set shows them more than the reading: the default is large enough to show the
//! latter. `cargo bench -p kbk-tools --bench distant` prints a table; with `KBK_BENCH_QUICK=1` there is less data.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kbk_format::repo::{
    Hex, Id, Identity, PartitionId, ReadaheadLimits, Repository, SegmentEntry, SegmentHash, Store,
    StoreProfile, Uploaded,
};
use kbk_format::{Compression, GapReason, SegmentWriter, Streams, WriterOptions};
use kbk_tools::verify::{VerifyDepth, VerifyOptions, verify};
use kbk_tools::{ReadPlan, Selection};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, Result};
use tokio::runtime::Handle;

#[path = "../tests/support/change.rs"]
mod change;
#[path = "../tests/support/delegate.rs"]
mod delegate;
#[expect(dead_code, reason = "shared with benches that need more of it")]
mod samples;
use change::{change, partition_change, topic_change};
use delegate::delegate_to;
use samples::{Payload, Row, header, rows};

const DELAYS: [u64; 2] = [5, 30];

#[tokio::main]
async fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some();
    let megabytes = if quick { 64 } else { 256 };
    println!(
        "{megabytes} MB of records per topic; MB/s of records, a range at a time -> reading ahead, and the ratio; what reading ahead asks for"
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
    // What suits a reader that makes one request after the other.
    none.range_bytes *= 2;
    let local = pass(bytes, objects, 0, StoreProfile::local(), false).await;
    for (what, verifies) in [("read", false), ("verify", true)] {
        let alone = pass(bytes, objects, delay, none, verifies).await;
        let ahead = pass(bytes, objects, delay, StoreProfile::remote(), verifies).await;
        let of_local = match verifies {
            true => String::new(),
            false => format!("; {:.2} of without delay", ahead.rate / local.rate),
        };
        println!(
            "{name:<30} {delay:>3} ms {what:<7} {:>8.1} -> {:>8.1}  {:>5.1}x{of_local}; {} -> {} requests, {} at a time with {:.1} MB, \
             {:.0} % of a core",
            alone.rate,
            ahead.rate,
            ahead.rate / alone.rate,
            alone.asked.requests,
            ahead.asked.requests,
            ahead.asked.most_at_a_time,
            ahead.asked.most_bytes as f64 / 1e6,
            100.0 * ahead.cpu
        );
    }
}

/// What a pass over a topic took.
#[derive(Clone, Copy)]
struct Pass {
    /// MB/s of records.
    rate: f64,
    asked: Requests,
    /// Seconds of all cores per second.
    cpu: f64,
}

/// Returns the median of three passes.
async fn pass(
    bytes: u64,
    objects: &Arc<InMemory>,
    delay: u64,
    profile: StoreProfile,
    verifies: bool,
) -> Pass {
    let mut passes = Vec::new();
    for _ in 0..3 {
        let (repository, asked) = open(objects, delay, profile).await;
        *asked.lock().expect("no panic") = Requests::default();
        let (began, cpu) = (Instant::now(), cpu_seconds());
        match verifies {
            true => check(&repository).await,
            false => read(&repository).await,
        }
        let seconds = began.elapsed().as_secs_f64();
        passes.push(Pass {
            rate: bytes as f64 / 1e6 / seconds,
            asked: *asked.lock().expect("no panic"),
            cpu: (cpu_seconds() - cpu) / seconds,
        });
    }
    passes.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    passes[1]
}

/// Returns the processor time of this process so far.
fn cpu_seconds() -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    // utime and stime.
    (ticks(11) + ticks(12)) / TICKS
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
        depth: VerifyDepth::Blocks,
        ..VerifyOptions::default()
    };
    let report = verify(repository, &options, Arc::new(|_: u64| {})).await;
    assert!(report.findings.is_empty());
}

async fn open(
    objects: &Arc<InMemory>,
    delay: u64,
    profile: StoreProfile,
) -> (Repository, Arc<Mutex<Requests>>) {
    let asked = Arc::<Mutex<Requests>>::default();
    let store = Late {
        inner: Arc::clone(objects),
        delay: Duration::from_millis(delay),
        asked: Arc::clone(&asked),
    };
    let store = Store::new(Arc::new(store), "late").with_profile(profile);
    let repository = Repository::open(store).await.expect("created");
    (repository, asked)
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
            blake3: SegmentHash::of(&bytes),
            size: bytes.len() as u64,
        };
        let entry = SegmentEntry::new(&place, &sealed, uploaded);
        let path = Path::from(entry.key.as_str());
        let put = objects.put(&path, bytes.into()).await;
        put.expect("in memory");
        entries.push(entry);
    }
    let partition = partition_change(place.partition, offset, entries);
    let change = change(None, vec![topic_change(&place, vec![partition])]);
    let committed = repository.commit(&change).await;
    committed.expect("a store that works");
}

/// What a store was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    requests: usize,
    at_a_time: usize,
    most_at_a_time: usize,
    bytes: u64,
    most_bytes: u64,
}

/// A store in memory whose answers are late.
#[derive(Debug)]
struct Late {
    inner: Arc<InMemory>,
    delay: Duration,
    asked: Arc<Mutex<Requests>>,
}

impl Late {
    /// Counts a request for this many bytes, until its answer is counted.
    fn count(&self, bytes: u64, is_answer: bool) {
        let mut asked = self.asked.lock().expect("no panic");
        if is_answer {
            asked.at_a_time = asked.at_a_time.saturating_sub(1);
            asked.bytes = asked.bytes.saturating_sub(bytes);
            return;
        }
        asked.requests += 1;
        asked.at_a_time += 1;
        asked.bytes += bytes;
        asked.most_at_a_time = asked.most_at_a_time.max(asked.at_a_time);
        asked.most_bytes = asked.most_bytes.max(asked.bytes);
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("late")
    }
}

#[async_trait]
impl ObjectStore for Late {
    delegate_to!([inner] put_opts, put_multipart_opts, delete_stream, list, list_with_delimiter, copy_opts);

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let bytes = match &options.range {
            Some(GetRange::Bounded(range)) => range.end - range.start,
            _ => 0,
        };
        self.count(bytes, false);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let answer = self.inner.get_opts(path, options).await;
        self.count(bytes, true);
        answer
    }
}
