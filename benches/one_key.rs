//! What it takes to find one key among many, with a key filter and without: bytes that are read, and time.

use std::fs;
use std::time::{Duration, Instant};

use kbk_format::{KeyFilterBits, Streams};
use kbk_tools::filter::Conditions;
use kbk_tools::{KeySelection, RecordFilter};

use super::samples::{Payload, rows};
use super::{Case, Data};

/// Searches unique keys of records like orders, of which each is in one block of one segment, and one that is not there.
pub(super) fn measure(megabytes: usize) {
    let mut sample = rows(Payload::Json, megabytes * 1_000);
    for (number, row) in sample.iter_mut().enumerate() {
        row.key = Some(format!("order-{number}").into_bytes());
    }
    println!(
        "one key out of {megabytes} MB of records, by a key that is there and one that is not"
    );
    let plain = Data::write(&sample, None);
    let filtered = Data::write(&sample, Some(KeyFilterBits::default()));
    println!(
        "a filter takes {:.2} % of the stored bytes, {:.2} bytes per key",
        100.0 * (filtered.stored() as f64 / plain.stored() as f64 - 1.0),
        (filtered.stored() - plain.stored()) as f64 / sample.len() as f64
    );
    for (what, key) in [
        ("there", format!("order-{}", sample.len() / 3)),
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
    println!("with: under 2 % is wanted");
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
