//! The parts of an object, in the order of their bytes: each field by name, position, length and value.

use kbk_format::layout::Field;
use serde::Serialize;

/// A part of an object, such as a block or a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// Position of its first byte; in the raw bytes of a packed object, where `raw` is true.
    pub position: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Whether positions are those of the decompressed bytes.
    pub raw: bool,
    /// Its fields, in the order of their bytes.
    pub fields: Vec<PartField>,
    /// What is wrong with it; null where nothing is.
    pub problem: Option<String>,
}

/// A field of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartField {
    /// Its name in SPEC.
    pub name: String,
    /// Position of its first byte.
    pub position: u64,
    /// Its length in bytes.
    pub length: u64,
    /// What its bytes state; null where they are only bytes.
    pub value: Option<String>,
}

impl Part {
    pub(super) fn new(name: impl Into<String>, position: usize, length: usize) -> Part {
        Part {
            name: name.into(),
            position: position as u64,
            length: length as u64,
            raw: false,
            fields: Vec::new(),
            problem: None,
        }
    }

    pub(super) fn problem(mut self, problem: Option<String>) -> Part {
        self.problem = problem;
        self
    }

    /// Adds the fields of a structure at `start` of the file, as far as its bytes are there.
    pub(super) fn structure(&mut self, fields: &[Field], bytes: &[u8], start: usize) {
        for field in fields {
            let at = start.saturating_add(field.at);
            let stored = at
                .checked_add(field.size)
                .and_then(|end| bytes.get(at..end));
            let Some(stored) = stored else {
                return;
            };
            self.field(field.name, at, field.size, value(field.name, stored));
        }
    }

    pub(super) fn field(
        &mut self,
        name: impl Into<String>,
        position: usize,
        length: usize,
        value: Option<String>,
    ) {
        self.fields.push(PartField {
            name: name.into(),
            position: position as u64,
            length: length as u64,
            value,
        });
    }
}

/// Returns what the bytes of a field state: numbers as numbers, ids and digests as hex digits.
fn value(name: &str, bytes: &[u8]) -> Option<String> {
    if name == "reserved" || name == "magic" {
        return None;
    }
    let is_signed = name.ends_with("_offset")
        || name.ends_with("_timestamp")
        || ["partition", "hour"].contains(&name);
    let unsigned = match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => {
            let bytes = [a, b, c, d];
            if is_signed {
                return Some(i32::from_le_bytes(bytes).to_string());
            }
            u64::from(u32::from_le_bytes(bytes))
        }
        [a, b, c, d, e, f, g, h] if name != "salt" => {
            let bytes = [a, b, c, d, e, f, g, h];
            if is_signed {
                return Some(i64::from_le_bytes(bytes).to_string());
            }
            u64::from_le_bytes(bytes)
        }
        _ => return Some(hex(name, bytes)),
    };
    Some(match name {
        _ if name.ends_with("crc") => format!("{unsigned:#010x}"),
        _ if name.ends_with("_features") || name == "flags" => format!("{unsigned:#x}"),
        "stream" => named(
            unsigned,
            &["", "META", "KEYS", "HEADERS", "VALUES", "BATCHES"],
        ),
        "codec" => named(unsigned, &["none", "zstd", "lz4"]),
        "timestamp_type" => named(unsigned, &["CreateTime", "LogAppendTime"]),
        "isolation_level" => named(unsigned, &["read_uncommitted", "read_committed"]),
        "reason" | "default_reason" => named(
            unsigned,
            &[
                "not_delivered",
                "compacted",
                "transaction",
                "lost",
                "unknown",
                "damaged",
            ],
        ),
        _ => unsigned.to_string(),
    })
}

/// Digests are numbers, and shown with the most significant digit first, as everywhere else.
fn hex(name: &str, bytes: &[u8]) -> String {
    let digit = |byte: &u8| format!("{byte:02x}");
    match name.ends_with("_digest") {
        true => bytes.iter().rev().map(digit).collect(),
        false => bytes.iter().map(digit).collect(),
    }
}

fn named(number: u64, names: &[&str]) -> String {
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{number} {name}"),
        None => format!("{number} (unknown)"),
    }
}
