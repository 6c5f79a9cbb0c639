//! What a compaction costs: how fast it reads small segments, compresses them anew, writes large ones, and proves them, against zstd alone at the
//! same level on the same raw bytes.
//!
//! Ratios compare passes of the same run, each the best of three. `cargo bench -p kbk-tools --bench compact` prints a table; with
//! `KBK_BENCH_QUICK=1` there is less data.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kbk_format::repo::{
    Change, Hex, Id, Identity, PartitionId, Repository, SegmentEntry, SegmentHash, Store, Uploaded,
};
use kbk_format::{Compression, FileHeader, GapReason, SegmentWriter, WriterOptions};
use kbk_tools::compact::{CompactOptions, KeyFilters, compact};
use kbk_tools::maintenance::MaintenanceOptions;

#[path = "../tests/support/change.rs"]
mod change;
#[expect(dead_code, reason = "shared with benches that need more of it")]
mod samples;
use change::{partition_change, topic_change};
use samples::{Payload, Row, header, rows};

const ROUNDS: usize = 3;
/// Records of each small segment.
const PER_SEGMENT: usize = 4_000;

#[tokio::main]
async fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some();
    let rows = rows(Payload::Json, if quick { 40_000 } else { 200_000 });
    let raw: u64 = rows.iter().map(Row::bytes).sum();
    println!(
        "{:.0} MB of JSON records in small segments",
        raw as f64 / 1e6
    );
    println!(
        "{:>7} {:>12} {:>12} {:>7} {:>9} {:>9}",
        "level", "zstd MB/s", "kbk MB/s", "ratio", "zstd MB", "kbk MB"
    );
    for level in [3, 12] {
        let (mut alone, mut whole) = (f64::MAX, f64::MAX);
        let (mut alone_bytes, mut bytes) = (0, 0);
        for _ in 0..ROUNDS {
            let (seconds, size) = zstd_alone(&rows, level);
            alone = alone.min(seconds);
            alone_bytes = size;
            let (seconds, size) = compaction(&rows, level).await;
            whole = whole.min(seconds);
            bytes = size;
        }
        let rate = |seconds: f64| raw as f64 / 1e6 / seconds;
        println!(
            "{level:>7} {:>12.1} {:>12.1} {:>7.2} {:>9.1} {:>9.1}",
            rate(alone),
            rate(whole),
            alone / whole,
            alone_bytes as f64 / 1e6,
            bytes as f64 / 1e6,
        );
    }
    println!("ratio: at least 0.8 is wanted at level 12");
}

/// Compresses all keys, values and headers as one stream, on one thread as the command does, into nothing.
fn zstd_alone(rows: &[Row], level: i32) -> (f64, u64) {
    let began = Instant::now();
    let mut encoder = zstd::Encoder::new(Counted(0), level).expect("an encoder");
    for row in rows {
        let headers = row.headers.iter();
        let headers = headers.flat_map(|(name, value)| [name.as_bytes(), value.as_slice()]);
        let parts = row.key.as_deref().into_iter().chain([&row.value[..]]);
        for part in parts.chain(headers) {
            encoder.write_all(part).expect("an endless sink");
        }
    }
    let counted = encoder.finish().expect("an endless sink");
    (began.elapsed().as_secs_f64(), counted.0)
}

struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Compacts a repository in a folder that has these records in small segments, as a backup writes them.
async fn compaction(rows: &[Row], level: i32) -> (f64, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let location = folder.path().join("repository");
    let store = Store::open_or_create(location.to_str().expect("UTF-8")).expect("a store");
    let repository = Repository::create(store, Identity::fresh()).await;
    let repository = repository.expect("a repository");
    let mut end = 0;
    let segments: Vec<SegmentEntry> = rows
        .chunks(PER_SEGMENT)
        .map(|rows| {
            let entry = segment(&location, rows, end);
            end = entry.end_offset;
            entry
        })
        .collect();
    let snapshot = repository
        .commit(&change(segments))
        .await
        .expect("a commit");
    let options = CompactOptions {
        segment_bytes: 128 << 20,
        block_bytes: WriterOptions::DEFAULT_BLOCK_BYTES,
        compression: Some(Compression::Zstd(level)),
        key_filters: KeyFilters::Kept,
        older_than: None,
        keep: None,
        key_memory: 0,
        run: MaintenanceOptions {
            dry_run: false,
            writer: "bench".to_owned(),
            policy: String::new(),
            now: Timestamp::UNIX_EPOCH,
        },
    };
    let topics = snapshot.topics.iter();
    let topics = topics.map(|it| (it.name.clone(), it.topic_id)).collect();
    let began = Instant::now();
    let report = compact(&repository, &snapshot, &topics, &options, Arc::new(())).await;
    let seconds = began.elapsed().as_secs_f64();
    let report = report.expect("a compaction");
    assert_eq!(report.records, rows.len() as u64);
    (seconds, report.new_bytes.expect("it is no dry run"))
}

fn id() -> PartitionId {
    PartitionId {
        topic: "measured".parse().expect("a name"),
        topic_id: Hex([0; 16]),
        partition: 0.into(),
    }
}

fn segment(location: &std::path::Path, rows: &[Row], base_offset: i64) -> SegmentEntry {
    let header = FileHeader {
        segment_id: Id::random().0,
        base_offset,
        ..header()
    };
    let options = WriterOptions::default();
    let mut writer = SegmentWriter::new(Vec::new(), header, options).expect("a header");
    let mut end = base_offset;
    for row in rows {
        row.with(end, |record| writer.push(record))
            .expect("records in order");
        end += 1;
    }
    let sealed = writer.seal(end, GapReason::NotDelivered);
    let (bytes, sealed) = sealed.expect("it fits");
    let uploaded = Uploaded {
        blake3: SegmentHash::of(&bytes),
        size: bytes.len() as u64,
    };
    let entry = SegmentEntry::new(&id(), &sealed, uploaded);
    let path = location.join(&entry.key);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
    entry
}

fn change(segments: Vec<SegmentEntry>) -> Change {
    let end = segments.last().map_or(0, |last| last.end_offset);
    let partition = partition_change(0.into(), end, segments);
    change::change(None, vec![topic_change(&id(), vec![partition])])
}
