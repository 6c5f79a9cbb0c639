//! How fast records are searched, as ratios of passes of the same run over the same segments: what it gains to decode only the streams that a search
//! needs, and to use all cores.
//!
//! And what it takes to find one key, with a key filter and without.
//!
//! Two data sets: orders as JSON, and telemetry, which is small and hardly compresses. The segments are files in a temporary folder, in the page cache; each
//! figure is the best of three rounds. `cargo bench -p kbk-tools --bench grep` prints a table; with `KBK_BENCH_QUICK=1` there is less data, and with
//! `KBK_BENCH_LARGE=1` the key is searched in 10 GB.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use kbk_format::{
    Compression, FileHeader, GapReason, KeyFilterBits, SegmentWriter, Streams, TextFormat,
    TextRenderer, WriterOptions,
};
use kbk_tools::filter::{Conditions, JsonCondition};
use kbk_tools::grep::{Found, Search, SearchOptions, SearchSource};
use kbk_tools::{KeySelection, Order, RecordFilter, SegmentFile};
use tempfile::TempDir;
use tokio::runtime::Runtime;

mod kafka_batches;
mod one_key;
#[expect(dead_code, reason = "shared with benches that need more of it")]
mod samples;
use samples::{Payload, Row, header, rows};

const SEGMENTS: usize = 4;

fn main() {
    let quick = std::env::var_os("KBK_BENCH_QUICK").is_some();
    let megabytes = if quick { 64 } else { 512 };
    println!(
        "{megabytes} MB of records per topic, zstd:3; MB/s of records, and the ratio to a full decode"
    );
    for (name, payload, row_bytes) in [
        ("orders (JSON)", Payload::Json, 1_000),
        ("telemetry", Payload::Telemetry, 50),
    ] {
        let sample = rows(payload, megabytes * 1_000_000 / row_bytes);
        let data = Data::write(&sample);
        data.measure(name, &sample);
    }
    let large = std::env::var_os("KBK_BENCH_LARGE").is_some();
    one_key::measure(if large { 10_000 } else { megabytes });
}

/// A data set in files.
struct Data {
    folder: Arc<TempDir>,
    files: Vec<SegmentFile>,
    bytes: u64,
}

/// Returns a segment of records from this offset on.
type WriteSegment = fn(i64, &[Row], Option<KeyFilterBits>) -> Vec<u8>;

fn columns(base_offset: i64, rows: &[Row], key_filter: Option<KeyFilterBits>) -> Vec<u8> {
    let options = WriterOptions {
        compression: Compression::Zstd(3),
        key_filter,
        ..WriterOptions::default()
    };
    let header = FileHeader {
        base_offset,
        ..header()
    };
    let mut writer = SegmentWriter::new(Vec::new(), header, options).expect("a header");
    let mut offset = base_offset;
    for row in rows {
        row.with(offset, |record| writer.push(record))
            .expect("a record");
        offset += 1;
    }
    let sealed = writer.seal(offset, GapReason::NotDelivered);
    sealed.expect("a segment").0
}

/// What is searched for.
struct Case {
    times: RangeInclusive<i64>,
    filter: RecordFilter,
    streams: Streams,
    format: Option<TextFormat>,
}

impl Data {
    fn write(sample: &[Row]) -> Data {
        let each = sample.len().div_ceil(SEGMENTS);
        Self::write_segments(sample.chunks(each), columns, None)
    }

    /// Writes a segment of each of these runs of records.
    fn write_segments<Rows: AsRef<[Row]>>(
        segments: impl Iterator<Item = Rows>,
        write: WriteSegment,
        key_filter: Option<KeyFilterBits>,
    ) -> Data {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut files = Vec::new();
        let (mut offset, mut total) = (0, 0);
        for rows in segments {
            let rows = rows.as_ref();
            total += rows.iter().map(Row::bytes).sum::<u64>();
            let bytes = write(offset, rows, key_filter);
            offset += rows.len() as i64;
            let path = folder.path().join(format!("{offset}.kseg"));
            fs::write(&path, bytes).expect("a file");
            files.push(SegmentFile::open(&path).expect("a segment"));
        }
        Data {
            folder: Arc::new(folder),
            files,
            bytes: total,
        }
    }

    /// Opens all files again.
    fn reopened(&self) -> Data {
        let files = self.files.iter().map(SegmentFile::path);
        Data {
            folder: Arc::clone(&self.folder),
            files: files
                .map(|path| SegmentFile::open(path).expect("a segment"))
                .collect(),
            bytes: self.bytes,
        }
    }

    fn measure(&self, name: &str, sample: &[Row]) {
        let always = i64::MIN..=i64::MAX;
        let mut times: Vec<i64> = sample.iter().map(|row| row.timestamp).collect();
        times.sort_unstable();
        // Every block has records before it and in it, or after it and in it: none is counted or left out by its index.
        let middle = times[times.len() / 4]..=times[times.len() * 3 / 4];
        let key = sample[sample.len() / 2].key.clone();
        let by_key = RecordFilter::new(Conditions {
            keys: Some(KeySelection::new(key.into_iter().collect(), false)),
            ..Conditions::default()
        });
        let by_value = RecordFilter::new(Conditions {
            values: vec!["(?-u)qz[0-9]x".parse().expect("a pattern")],
            ..Conditions::default()
        });
        let by_member = RecordFilter::new(Conditions {
            json: vec![
                "/customer/id=42"
                    .parse::<JsonCondition>()
                    .expect("a condition"),
            ],
            ..Conditions::default()
        });
        let case = |filter: &RecordFilter, streams| Case {
            times: always.clone(),
            filter: filter.clone(),
            streams,
            format: None,
        };
        let all = RecordFilter::all();
        let decode = case(&all, Streams::All);
        let by_time = Case {
            times: middle,
            ..case(&all, Streams::Meta)
        };
        let printed = Case {
            format: Some(TextFormat::JsonLines),
            ..case(&all, Streams::All)
        };
        let full = self.rate(&decode, usize::MAX);
        for (what, case) in [
            ("a full decode", &decode),
            ("--count by time, from META", &by_time),
            ("--count --key, from KEYS", &case(&by_key, Streams::Meta)),
            ("--count -e, from VALUES", &case(&by_value, Streams::Meta)),
            (
                "--count --where, from VALUES",
                &case(&by_member, Streams::Meta),
            ),
            ("everything as JSON lines", &printed),
        ] {
            let rate = self.rate(case, usize::MAX);
            println!(
                "{name:<15} {what:<30} {rate:>9.0} MB/s {:>7.2}",
                rate / full
            );
        }
        let one = self.rate(&decode, 1);
        println!(
            "{name:<15} a full decode on one core       {one:>9.0} MB/s {:>7.2}",
            one / full
        );
    }

    /// Returns the rate of the best of three rounds.
    fn rate(&self, case: &Case, cores: usize) -> f64 {
        let rounds = (0..3).map(|_| {
            let start = Instant::now();
            self.search(case, cores);
            self.bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
        });
        rounds.fold(0.0, f64::max)
    }

    fn search(&self, case: &Case, cores: usize) {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(cores);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime: Runtime = runtime
            .worker_threads(1)
            .max_blocking_threads(threads)
            .enable_all()
            .build()
            .expect("a runtime");
        let sources = self.files.iter().map(|file| SearchSource::File {
            file: file.clone(),
            offsets: 0..i64::MAX,
        });
        let format = case.format.iter();
        let renderers = format.flat_map(|format| {
            let renderer = TextRenderer::new(format, "measured", 0.into(), None);
            vec![renderer; SEGMENTS]
        });
        let options = SearchOptions {
            times: case.times.clone(),
            filter: case.filter.clone(),
            streams: case.streams,
            order: Order::Ascending,
            stops_early: false,
            renderers: renderers.collect(),
        };
        runtime.block_on(async {
            let mut search = Search::new(sources.collect(), options);
            while let Some(found) = search.next().await.expect("files are readable") {
                let Found::Matches(_) = found else {
                    panic!("{found:?}");
                };
            }
        });
    }
}
