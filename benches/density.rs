//! Density of the segment format: the ratio of raw to stored bytes, for columns and for the same records row by row.
//!
//! Rows use Kafka's own record encoding (record batch v2) at the same level as the columns: in batches of 16 KiB, which is the
//! `batch.size` of a producer that nobody has configured, and of 1 MiB, the most that a topic takes by default. Columns are in blocks of
//! 1 MiB. Gains are the sizes of rows in units of that of the columns. `cargo bench -p kbk-format --bench density` prints a table;
//! nothing is timed.

use kbk_format::{Compression, GapReason, Record, SegmentWriter, WriterOptions};

mod captured;
mod samples;
use samples::{Payload, Row, header, rows};

const BLOCK_BYTES: usize = WriterOptions::DEFAULT_BLOCK_BYTES;
/// The bytes of the batches of rows.
const BATCHES: [usize; 2] = [16 << 10, 1 << 20];

fn main() {
    println!(
        "{:<10} {:>5} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "records", "zstd", "raw MB", "rows 16K", "rows 1M", "columns", "gain 16K", "gain 1M"
    );
    for (name, payload, count) in [
        ("orders", Payload::Json, 32_000),
        ("commits", Payload::Commits, 64_000),
        ("telemetry", Payload::Telemetry, 600_000),
    ] {
        print_line(name, &rows(payload, count));
    }
    match captured::crates() {
        Some(rows) => print_line("crates", &rows),
        None => println!("crates     skipped: cargo has no copy of the crates.io index here"),
    }
}

fn print_line(name: &str, rows: &[Row]) {
    let raw: u64 = rows.iter().map(Row::bytes).sum();
    for level in [1, 3, 12] {
        let by_column = column_bytes(rows, level);
        let [small, large] = BATCHES.map(|batch_bytes| row_bytes(rows, level, batch_bytes));
        let ratio = |stored: u64| raw as f64 / stored as f64;
        let gain = |by_row: u64| by_row as f64 / by_column as f64;
        println!(
            "{name:<10} {level:>5} {:>9.1} {:>9.2} {:>9.2} {:>9.2} {:>8.2} {:>8.2}",
            raw as f64 / 1e6,
            ratio(small),
            ratio(large),
            ratio(by_column),
            gain(small),
            gain(large)
        );
    }
}

/// Returns the size of the whole segment in bytes.
fn column_bytes(rows: &[Row], level: i32) -> u64 {
    let options = WriterOptions {
        compression: Compression::Zstd(level),
        block_bytes: BLOCK_BYTES,
        key_filter: None,
    };
    let mut writer = SegmentWriter::new(std::io::sink(), header(), options).expect("a header");
    for (offset, row) in rows.iter().enumerate() {
        row.with(offset as i64, |record| writer.push(record))
            .expect("records in order");
    }
    let (_, sealed) = writer
        .seal(rows.len() as i64, GapReason::NotDelivered)
        .expect("an endless sink");
    sealed.file_length
}

/// Returns the size of the same records in Kafka's record encoding, without batch headers.
fn row_bytes(rows: &[Row], level: i32, batch_bytes: usize) -> u64 {
    let mut stored = 0;
    let mut batch = Batch::default();
    for (offset, row) in rows.iter().enumerate() {
        row.with(offset as i64, |record| batch.push(record));
        if batch.bytes.len() >= batch_bytes {
            stored += batch.compressed_length(level);
        }
    }
    stored + batch.compressed_length(level)
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    record: Vec<u8>,
    /// Offset and timestamp of the first record.
    base: Option<(i64, i64)>,
}

impl Batch {
    fn push(&mut self, record: &Record<'_>) {
        let (offset, timestamp) = *self.base.get_or_insert((record.offset, record.timestamp));
        let body = &mut self.record;
        body.clear();
        body.push(0); // attributes
        put_varint(body, record.timestamp - timestamp);
        put_varint(body, record.offset - offset);
        put_bytes(body, record.key);
        put_bytes(body, record.value);
        put_varint(body, record.headers.clone().count() as i64);
        for header in record.headers.clone() {
            put_bytes(body, Some(header.name));
            put_bytes(body, header.value);
        }
        put_varint(&mut self.bytes, body.len() as i64);
        self.bytes.extend_from_slice(body);
    }

    /// Returns the compressed length of the batch and clears it.
    fn compressed_length(&mut self, level: i32) -> u64 {
        let mut stored = Vec::with_capacity(zstd::zstd_safe::compress_bound(self.bytes.len()));
        let length = zstd::zstd_safe::compress(&mut stored, &self.bytes, level)
            .expect("room for the worst case");
        self.bytes.clear();
        self.base = None;
        length as u64
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Appends a zigzag varint, Kafka's encoding of all lengths and deltas.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
