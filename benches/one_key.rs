//! What it takes to find one key among many, with a key filter and without: bytes that are read, and time. Of records as columns, and of Kafka's own
//! batches.

use std::fs;
use std::time::{Duration, Instant};

use kbk_format::{KeyFilterBits, Streams};
use kbk_tools::filter::Conditions;
use kbk_tools::{KeySelection, RecordFilter};

use super::kafka_batches::batches;
use super::samples::{Payload, Row, endless_rows};
use super::{Case, Data, WriteSegment, columns};

/// The records of about 128 MiB of compressed bytes, where a backup begins another segment; there are at least four segments.
const SEGMENT_ROWS: usize = 500_000;

/// Searches unique keys of records like orders, of which each is in one block of one segment, and one that is not there.
pub(super) fn measure(megabytes: usize) {
    println!(
        "one key out of {megabytes} MB of records, by a key that is there and one that is not"
    );
    measure_segments("columns", columns, megabytes * 1_000);
    measure_segments("batches", batches, megabytes * 1_000);
    println!("with: under 2 % is wanted");
}

fn measure_segments(name: &str, write: WriteSegment, count: usize) {
    let plain = Data::write_segments(segments(count), write, None);
    let filtered = Data::write_segments(segments(count), write, Some(KeyFilterBits::default()));
    println!(
        "{name}: {:.0} MB are stored; a filter takes {:.2} % of the stored bytes, {:.2} bytes per key",
        plain.stored() as f64 / 1e6,
        100.0 * (filtered.stored() as f64 / plain.stored() as f64 - 1.0),
        (filtered.stored() - plain.stored()) as f64 / count as f64
    );
    for (what, key) in [
        ("there", format!("order-{}", count / 3)),
        ("not there", "nobody".to_owned()),
    ] {
        let case = by_key(&key);
        let (without, with) = (plain.cost(&case), filtered.cost(&case));
        println!(
            "{what:<10} without: {:>8.2} % of the bytes, {:>8.1} ms; with: {:>6.3} %, {:>6.1} ms; {:.0} times fewer bytes, {:.0} times faster",
            plain.percent(without.0),
            millis(without.1),
            filtered.percent(with.0),
            millis(with.1),
            without.0 as f64 / with.0 as f64,
            without.1.as_secs_f64() / with.1.as_secs_f64(),
        );
    }
}

/// Returns the records, a segment at a time: all of them take more memory than some machines have.
fn segments(count: usize) -> impl Iterator<Item = Vec<Row>> {
    let keyed = endless_rows(Payload::Json)
        .enumerate()
        .map(|(number, row)| Row {
            key: Some(format!("order-{number}").into_bytes()),
            ..row
        });
    let mut rest = keyed.take(count);
    std::iter::from_fn(move || {
        let segment: Vec<Row> = rest
            .by_ref()
            .take(SEGMENT_ROWS.min(count.div_ceil(4)))
            .collect();
        (!segment.is_empty()).then_some(segment)
    })
}

fn by_key(key: &str) -> Case {
    let keys = [key.as_bytes().to_vec()].into();
    Case {
        times: i64::MIN..=i64::MAX,
        filter: RecordFilter::new(Conditions {
            keys: Some(KeySelection::new(keys, false)),
            ..Conditions::default()
        }),
        streams: Streams::All,
        format: None,
    }
}

fn millis(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

impl Data {
    fn stored(&self) -> u64 {
        let files = self.files.iter();
        files.map(|file| file.segment().file_length()).sum()
    }

    fn percent(&self, bytes: u64) -> f64 {
        100.0 * bytes as f64 / self.stored() as f64
    }

    /// Returns what opening and searching all files reads, and how long it takes: the best of three rounds.
    fn cost(&self, case: &Case) -> (u64, Duration) {
        let rounds = (0..3).map(|_| {
            let (before, start) = (bytes_read(), Instant::now());
            let again = self.reopened();
            again.search(case, usize::MAX);
            (bytes_read() - before, start.elapsed())
        });
        rounds.min_by_key(|(_, time)| *time).expect("three rounds")
    }
}

/// Returns how many bytes this process has read from files.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("Linux counts it");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|number| number.parse().ok())
        .expect("a number of bytes")
}
