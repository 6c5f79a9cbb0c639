//! The parts of sealed JSON and of packed objects, also of damaged ones.

use std::ops::Range;

use kbk_format::repo::{Digest, Hex, check_packed_line, check_sealed, unpack_part};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::part::Part;

/// The first bytes of a zstd frame.
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Characters of a value that are shown.
const SHOWN: usize = 400;

/// What an object is by its own words, and its parts.
pub(super) struct JsonObject {
    /// Its member `format`.
    pub(super) format: Option<String>,
    pub(super) parts: Vec<Part>,
    /// What is wrong with it, and where.
    pub(super) problems: Vec<(u64, String)>,
}

/// Shows sealed JSON: one part per member.
pub(super) fn sealed(bytes: &[u8]) -> JsonObject {
    let (members, cut) = members(bytes);
    let value = |name: &str| {
        let found = members.iter().find(|member| member.name == name);
        let text = found.and_then(|member| bytes.get(member.value.clone()))?;
        serde_json::from_slice::<String>(text).ok()
    };
    let format = value("format");
    let checked = check_sealed(bytes, format.as_deref().unwrap_or_default());
    let mut problems: Vec<(u64, String)> = checked.err().map(|it| (0, it)).into_iter().collect();
    problems.extend(cut.map(|at| (at as u64, "its JSON is damaged from here on".to_owned())));
    let shown = members.iter().map(|member| {
        let end = member.value.end;
        let mut part = Part::new(
            member.name.clone(),
            member.start,
            end.saturating_sub(member.start),
        );
        let stored = bytes.get(member.value.clone()).unwrap_or_default();
        part.field(
            "value",
            member.value.start,
            stored.len(),
            Some(text(stored)),
        );
        part
    });
    let mut parts: Vec<Part> = shown.collect();
    if let Some(at) = cut {
        let part = Part::new(
            "bytes that are no member",
            at,
            bytes.len().saturating_sub(at),
        );
        parts.push(part.problem(Some("its JSON is damaged from here on".to_owned())));
    }
    JsonObject {
        format,
        parts,
        problems,
    }
}

/// Shows a packed object: the frame, and one part per line of its raw bytes. `name` is the digest that its key states.
pub(super) fn packed(bytes: &[u8], name: Option<Digest>) -> JsonObject {
    let mut problems = Vec::new();
    let found: Digest = Hex(Sha256::digest(bytes).into());
    let named = name
        .filter(|name| *name != found)
        .map(|name| format!("its name states the SHA-256 {name}, its bytes have {found}"));
    problems.extend(named.clone().map(|it| (0, it)));
    let unpacked = unpack_part(bytes);
    let mut frame = Part::new("zstd frame", 0, bytes.len());
    frame.field("sha256", 0, bytes.len(), Some(found.to_string()));
    frame.field(
        "raw bytes",
        0,
        bytes.len(),
        Some(unpacked.raw.len().to_string()),
    );
    problems.extend(unpacked.problem.clone().map(|it| (0, it)));
    let mut parts = vec![frame.problem(named.or(unpacked.problem))];
    let raw = &unpacked.raw;
    let header = lines(raw).next().and_then(|line| raw.get(line));
    let header: Option<Value> = header.and_then(|line| serde_json::from_slice(line).ok());
    let member = |name: &str| header.as_ref().and_then(|header| header.get(name).cloned());
    let format = member("format").and_then(|it| it.as_str().map(str::to_owned));
    let mut count: u64 = 0;
    for (number, line) in lines(raw).enumerate() {
        let stored = raw.get(line.clone()).unwrap_or_default();
        let (name, checked) = match number {
            0 => (
                "header".to_owned(),
                format
                    .as_ref()
                    .map(drop)
                    .ok_or_else(|| "it is not a header".to_owned()),
            ),
            _ => {
                count = count.saturating_add(1);
                let format = format.as_deref().unwrap_or_default();
                (format!("line {number}"), check_packed_line(format, stored))
            }
        };
        let mut part = Part::new(name, line.start, stored.len());
        part.raw = true;
        part.field("line", line.start, stored.len(), Some(text(stored)));
        let problem = checked.err();
        problems.extend(problem.clone().map(|it| (line.start as u64, it)));
        parts.push(part.problem(problem));
    }
    let stated = member("lines").and_then(|it| it.as_u64());
    if let Some(stated) = stated.filter(|stated| *stated != count) {
        problems.push((
            0,
            format!("its header states {stated} lines, and it has {count}"),
        ));
    }
    JsonObject {
        format,
        parts,
        problems,
    }
}

/// Returns where the lines of raw bytes are, without their line feeds.
fn lines(raw: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at: usize = 0;
    raw.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let start = at;
        at = start.saturating_add(line.len());
        let feed = usize::from(line.ends_with(b"\n"));
        start..at.saturating_sub(feed)
    })
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!(
            "{}… ({} bytes)",
            text.get(..end).unwrap_or_default(),
            bytes.len()
        ),
        None => text.into_owned(),
    }
}

/// A member of a JSON object.
struct Member {
    name: String,
    /// Where its name begins.
    start: usize,
    value: Range<usize>,
}

/// Returns the members of the object that bytes begin with, and where they stop to be one.
fn members(bytes: &[u8]) -> (Vec<Member>, Option<usize>) {
    let mut members = Vec::new();
    if bytes.first() != Some(&b'{') {
        return (members, Some(0));
    }
    let mut at = 1;
    loop {
        match member(bytes, at) {
            Some(found) => {
                at = found.value.end;
                members.push(found);
            }
            None => return (members, Some(at)),
        }
        match bytes.get(at) {
            Some(b',') => at = at.saturating_add(1),
            Some(b'}') if bytes.get(at.saturating_add(1)..) == Some(b"\n") => {
                return (members, None);
            }
            _ => return (members, Some(at)),
        }
    }
}

fn member(bytes: &[u8], start: usize) -> Option<Member> {
    let name_end = value_end(bytes, start)?;
    let name = serde_json::from_slice(bytes.get(start..name_end)?).ok()?;
    if bytes.get(name_end) != Some(&b':') {
        return None;
    }
    let from = name_end.checked_add(1)?;
    let to = value_end(bytes, from)?;
    let value = bytes.get(from..to)?;
    serde_json::from_slice::<serde::de::IgnoredAny>(value).ok()?;
    Some(Member {
        name,
        start,
        value: from..to,
    })
}

/// Returns where the value at `start` ends.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return at.checked_add(1);
                }
            }
            _ if in_string => {}
            b'{' | b'[' => depth = depth.checked_add(1)?,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at.checked_add(1);
                }
            }
            b',' | b'}' | b']' if depth == 0 => return (at > start).then_some(at),
            _ => {}
        }
    }
    None
}
