//! Rewrites the index of a snapshot on a local disk, with digests, sizes and seals that are right: what a faulty writer might have written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A snapshot of a repository in a folder.
pub struct ForgedIndex {
    folder: PathBuf,
    key: String,
    /// The JSON of the snapshot.
    pub snapshot: Value,
    /// All rows that count, in order.
    pub rows: Vec<Value>,
}

impl ForgedIndex {
    /// Reads a snapshot. Its runs have no lists.
    pub fn read(folder: &Path, sequence: u64) -> ForgedIndex {
        let key = format!("snapshots/{sequence:020}.json");
        let snapshot: Value =
            serde_json::from_slice(&fs::read(folder.join(&key)).unwrap()).unwrap();
        let mut rows = BTreeMap::new();
        for run in snapshot["runs"].as_array().unwrap().iter().rev() {
            for table in run["tables"].as_array().unwrap() {
                let name = format!("index/{}.idx", table["sha256"].as_str().unwrap());
                let bytes = fs::read(folder.join(name)).unwrap();
                let raw = zstd::decode_all(&bytes[..]).unwrap();
                let lines = raw.split(|byte| *byte == b'\n').skip(1);
                for line in lines.filter(|line| !line.is_empty()) {
                    let row: Value = serde_json::from_slice(line).unwrap();
                    rows.insert(order(&row), row);
                }
            }
        }
        ForgedIndex {
            folder: folder.to_owned(),
            key,
            snapshot,
            rows: rows.into_values().collect(),
        }
    }

    /// Returns the rows of one kind of a partition.
    pub fn rows_of<'a>(
        &'a mut self,
        kind: &'static str,
        topic: &'a str,
        partition: u16,
    ) -> impl Iterator<Item = &'a mut Value> {
        self.rows.iter_mut().filter(move |row| {
            row["row"] == kind && row["topic"] == topic && row["partition"] == partition
        })
    }

    /// Adds a row.
    pub fn insert(&mut self, row: Value) {
        let at = self
            .rows
            .partition_point(|other| order(other) < order(&row));
        self.rows.insert(at, row);
    }

    /// Writes the rows as one table, and the snapshot in its place, with the totals of the rows.
    pub fn write(mut self) {
        let table = self.table(&self.rows);
        self.write_snapshot(&[table]);
    }

    /// Writes two tables, of which the second has the segments alone, as in a repository with many, from those of the first topic on or of a later one;
    /// returns its key.
    pub fn write_segments_apart(mut self, from_topic: Option<&str>) -> String {
        let from = from_topic.unwrap_or_default();
        let is_before = |row: &Value| row["row"] != "segment" || row["topic"].as_str() < Some(from);
        let (others, segments) = self.rows.split_at(self.rows.partition_point(is_before));
        let tables = [self.table(others), self.table(segments)];
        self.write_snapshot(&tables);
        format!("index/{}.idx", tables[1]["sha256"].as_str().unwrap())
    }

    /// Writes a table with some of the rows; returns the reference to it.
    fn table(&self, rows: &[Value]) -> Value {
        let raw = self.raw(rows);
        let bytes = zstd::bulk::compress(&raw, 3).unwrap();
        let sha256 = hex(&Sha256::digest(&bytes));
        let file = self.folder.join(format!("index/{sha256}.idx"));
        fs::write(file, &bytes).unwrap();
        let with_records = || {
            rows.iter()
                .filter(|row| row["row"] == "segment" && row["records"] != 0)
        };
        // A smallest timestamp that is not computed bounds nothing.
        let time = |row: &Value, member: &str| row[member].as_i64().unwrap_or(i64::MIN);
        let min = with_records().map(|row| time(row, "min_timestamp")).min();
        let max = with_records().map(|row| time(row, "max_timestamp")).max();
        json!({
            "sha256": sha256,
            "size": bytes.len(),
            "raw_size": raw.len(),
            "rows": rows.len(),
            "first": key(&rows[0]),
            "last": key(&rows[rows.len() - 1]),
            "min_timestamp": min,
            "max_timestamp": max,
            "hides": false,
        })
    }

    fn write_snapshot(&mut self, tables: &[Value]) {
        self.add_up();
        let sequence = self.snapshot["sequence"].clone();
        self.snapshot["runs"] = json!([
            {"level": 1, "from": 1, "to": sequence, "tables": tables, "list": null}
        ]);
        fs::write(self.folder.join(&self.key), sealed(self.snapshot.take())).unwrap();
    }

    fn add_up(&mut self) {
        let deleted = self
            .rows
            .iter()
            .filter(|row| row["row"] == "topic" && row["deleted"] == true);
        let deleted: Vec<Value> = deleted.map(|row| row["topic_id"].clone()).collect();
        let partitions = || self.rows.iter().filter(|row| row["row"] == "partition");
        let mut totals = self.snapshot["totals"].clone();
        for member in ["segments", "records", "stored_bytes", "raw_bytes"] {
            let numbers = partitions().map(|row| row[member].as_u64().unwrap());
            let sum = numbers.fold(0, u64::saturating_add);
            totals[member] = json!(sum);
        }
        let mut incomplete: BTreeMap<String, u64> = BTreeMap::new();
        let is_copy = !self.snapshot["origin"].is_null();
        for row in partitions() {
            let counts = |reason: &&str| {
                !deleted.contains(&row["topic_id"]) || (is_copy && *reason == "not_copied")
            };
            if let Some(reason) = row["incomplete"]["reason"].as_str().filter(counts) {
                *incomplete.entry(reason.to_owned()).or_default() += 1;
            }
        }
        totals["incomplete"] = json!(incomplete);
        self.snapshot["totals"] = totals;
    }

    fn raw(&self, rows: &[Value]) -> Vec<u8> {
        let header = json!({
            "format": "kbk-table",
            "version": 1,
            "repository_id": self.snapshot["repository_id"],
            "nonce": "0".repeat(32),
            "lines": rows.len(),
        });
        let lines = [header].into_iter().chain(rows.iter().cloned());
        lines
            .flat_map(|line| format!("{line}\n").into_bytes())
            .collect()
    }
}

/// Returns the key of a row as an array.
fn key(row: &Value) -> Value {
    let mut key = vec![
        row["row"].clone(),
        row["topic"].clone(),
        row["topic_id"].clone(),
    ];
    if row["row"] != "topic" {
        key.push(row["partition"].clone());
    }
    if row["row"] == "segment" || row["row"] == "lost" {
        key.push(row["base_offset"].clone());
    }
    key.into()
}

fn order(row: &Value) -> (bool, String, String, Option<i64>, Option<i64>) {
    let text = |member: &str| row[member].as_str().unwrap().to_owned();
    let offset = (row["row"] != "partition")
        .then(|| row["base_offset"].as_i64())
        .flatten();
    let segment = row["row"] == "segment";
    (
        segment,
        text("topic"),
        text("topic_id"),
        row["partition"].as_i64(),
        offset,
    )
}

/// Returns the bytes of `value` as a sealed object.
fn sealed(mut value: Value) -> String {
    value.as_object_mut().unwrap().remove("sha256");
    let text = value.to_string();
    let body = text.strip_suffix('}').unwrap();
    let digest = hex(&Sha256::digest(body));
    format!("{body},\"sha256\":\"{digest}\"}}\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
