//! Real JSON that exists on every machine that has built kbk: cargo's cached copy of the crates.io index.

use std::fs;
use std::path::{Path, PathBuf};

use crate::samples::Row;

/// One record per release of each crate, keyed by the crate's name. `None` if cargo has no copy of the index.
pub(crate) fn crates() -> Option<Vec<Row>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let mut files = Vec::new();
    for index in fs::read_dir(home.join("registry/index")).ok()?.flatten() {
        files_below(&index.path().join(".cache"), &mut files);
    }
    files.sort();
    let rows: Vec<Row> = files.iter().flat_map(|file| releases(file)).collect();
    (!rows.is_empty()).then_some(rows)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Reads a file of cargo's cache: a header, then versions and JSON in turn, each terminated by a NUL.
fn releases(file: &Path) -> Vec<Row> {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    let bytes = fs::read(file).unwrap_or_default();
    let parts = bytes.split(|byte| *byte == 0);
    let json = parts.filter(|part| part.starts_with(b"{") && part.ends_with(b"}"));
    json.zip(0..)
        .map(|(json, second)| Row {
            timestamp: 1_000 * second,
            key: Some(name.to_vec()),
            value: json.to_vec(),
            headers: Vec::new(),
        })
        .collect()
}
