//! Packed objects: lines of JSON in one zstd frame, named by the SHA-256 of their bytes (SPEC section 11.2).
//!
//! ```text
//! zstd( {"format":..,"version":1,"repository_id":..,"nonce":..,"lines":N}\n  line\n ... line\n )
//! ```
//!
//! Whatever names such an object states its digest, so its bytes are checked before they are decompressed. A random nonce
//! makes each object its writer's own: no name is ever used twice, which is what makes deleting objects safe (SPEC section 11.10).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::id::{Digest, Hex, Id};
use super::sealed::SealError;
use crate::codec::{Codec, Decompressor};
use crate::layout::limits;

/// The version of all packed objects.
const VERSION: u32 = 1;

/// The level at which they are compressed: its windows are within SPEC's limit.
const LEVEL: i32 = 3;

/// What names a packed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackedRef {
    /// SHA-256 of the object as stored.
    pub sha256: Digest,
    /// Its length.
    pub size: u64,
    /// Its length once decompressed.
    pub raw_size: u64,
}

/// The kinds of packed objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackedFormat {
    Table,
    TableList,
    Groups,
    Acls,
    PruneList,
}

impl PackedFormat {
    /// Returns the name in the header.
    fn name(self) -> &'static str {
        match self {
            PackedFormat::Table => "kbk-table",
            PackedFormat::TableList => "kbk-table-list",
            PackedFormat::Groups => "kbk-groups",
            PackedFormat::Acls => "kbk-acls",
            PackedFormat::PruneList => "kbk-prune-list",
        }
    }

    fn max_raw_bytes(self) -> u64 {
        match self {
            PackedFormat::Table | PackedFormat::TableList => limits::TABLE_RAW_BYTES,
            PackedFormat::Groups | PackedFormat::Acls | PackedFormat::PruneList => {
                limits::PACKED_RAW_BYTES
            }
        }
    }
}

/// A packed object, ready to be stored.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) named: PackedRef,
}

/// The lines of a packed object after its header, each without its line feed.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    raw: Bytes,
    /// Where the next line begins.
    at: usize,
    /// The number of lines that follow.
    left: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
    repository_id: Id,
    nonce: Id,
    lines: u64,
}

/// Packs `count` lines, each of which ends with a line feed.
///
/// # Errors
///
/// The rule that the object would violate: a reader would refuse it.
#[expect(
    clippy::expect_used,
    reason = "the header has string keys only, and compression fails only without memory"
)]
pub(super) fn pack(
    format: PackedFormat,
    repository_id: Id,
    lines: &[u8],
    count: u64,
) -> Result<Packed, String> {
    let header = Header {
        format: format.name().to_owned(),
        version: u64::from(VERSION),
        repository_id,
        nonce: Id::random(),
        lines: count,
    };
    let mut raw = serde_json::to_vec(&header).expect("a header has string keys only");
    raw.push(b'\n');
    raw.extend_from_slice(lines);
    let bytes = zstd::bulk::compress(&raw, LEVEL).expect("zstd compresses any bytes");
    let named = PackedRef {
        sha256: Hex(Sha256::digest(&bytes).into()),
        size: bytes.len() as u64,
        raw_size: raw.len() as u64,
    };
    check_limits(format, &named)?;
    Ok(Packed { bytes, named })
}

/// Checks the lengths that a reference states, before anything is read or allocated.
pub(super) fn check_limits(format: PackedFormat, named: &PackedRef) -> Result<(), String> {
    let limit = |what: &str, found: u64, limit: u64| match found <= limit {
        true => Ok(()),
        false => Err(format!("it has {found} {what}, and the limit is {limit}")),
    };
    limit("bytes", named.size, limits::PACKED_BYTES)?;
    limit("raw bytes", named.raw_size, format.max_raw_bytes())
}

/// Checks that `bytes` are those of the object that `named` names, and returns its lines.
pub(super) fn unpack(
    format: PackedFormat,
    repository_id: Id,
    named: &PackedRef,
    bytes: &[u8],
) -> Result<Lines, SealError> {
    let raw = decompress(format, named, bytes).map_err(SealError::Damaged)?;
    let mut lines = Lines {
        raw: raw.into(),
        at: 0,
        left: 1,
    };
    let header = lines.next().unwrap_or_default();
    let json = |error| SealError::Damaged(format!("its first line is not a header: {error}"));
    let header: Header = serde_json::from_slice(&header).map_err(json)?;
    if header.format != format.name() {
        return Err(SealError::OtherFormat(header.format));
    }
    if header.version > u64::from(VERSION) {
        let found = u32::try_from(header.version).unwrap_or(u32::MAX);
        return Err(SealError::NewerVersion(found));
    }
    lines
        .check(&header, repository_id)
        .map_err(SealError::Damaged)?;
    lines.left = header.lines;
    Ok(lines)
}

fn decompress(format: PackedFormat, named: &PackedRef, bytes: &[u8]) -> Result<Vec<u8>, String> {
    check_limits(format, named)?;
    let (found, expected) = (bytes.len() as u64, named.size);
    if found != expected {
        return Err(format!("it has {found} bytes, not {expected}"));
    }
    let (found, expected) = (Hex(Sha256::digest(bytes).into()), named.sha256);
    if found != expected {
        return Err(format!("its SHA-256 is {found}, not {expected}"));
    }
    let raw_size = usize::try_from(named.raw_size).unwrap_or(usize::MAX);
    let mut raw = Vec::new();
    let mut decompressor = Decompressor::new();
    let decompressed = decompressor.decompress(Codec::Zstd, bytes, raw_size, &mut raw);
    decompressed.map_err(|(_, detail)| detail)?;
    Ok(raw)
}

impl Lines {
    /// Returns how many lines follow.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn check(&self, header: &Header, repository_id: Id) -> Result<(), String> {
        if header.version != u64::from(VERSION) {
            return Err(format!("its version is {}, not {VERSION}", header.version));
        }
        if header.repository_id != repository_id {
            let theirs = header.repository_id;
            return Err(format!(
                "it is of repository {theirs}, and kbk.json states {repository_id}"
            ));
        }
        let rest = self.raw.get(self.at..).unwrap_or_default();
        if !self.raw.ends_with(b"\n") {
            return Err("its last line does not end".to_owned());
        }
        let found = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        match found == header.lines {
            true => Ok(()),
            false => Err(format!("it has {found} lines, not {}", header.lines)),
        }
    }
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        let rest = self.raw.get(self.at..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.raw.slice(self.at..self.at + length);
        self.at += length + 1;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: Id = Hex([7; 16]);

    fn packed() -> Packed {
        pack(PackedFormat::Table, REPOSITORY, b"{\"a\":1}\n{}\n", 2).unwrap()
    }

    fn read(named: &PackedRef, bytes: &[u8]) -> Result<Vec<Bytes>, SealError> {
        unpack(PackedFormat::Table, REPOSITORY, named, bytes).map(Iterator::collect)
    }

    /// Packs other raw bytes, as a faulty writer might.
    fn forged(raw: &[u8]) -> Packed {
        let bytes = zstd::bulk::compress(raw, LEVEL).unwrap();
        let named = PackedRef {
            sha256: Hex(Sha256::digest(&bytes).into()),
            size: bytes.len() as u64,
            raw_size: raw.len() as u64,
        };
        Packed { bytes, named }
    }

    #[test]
    fn lines_come_back_and_two_objects_never_have_one_name() {
        let first = packed();
        assert_eq!(
            read(&first.named, &first.bytes).unwrap(),
            ["{\"a\":1}", "{}"]
        );
        assert_ne!(first.named.sha256, packed().named.sha256);
        let empty = pack(PackedFormat::Groups, REPOSITORY, b"", 0).unwrap();
        let lines = unpack(PackedFormat::Groups, REPOSITORY, &empty.named, &empty.bytes);
        assert_eq!(lines.unwrap().count(), 0);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_or_added_byte_is_detected() {
        let Packed { bytes, named } = packed();
        let damaged = |bytes: &[u8]| matches!(read(&named, bytes), Err(SealError::Damaged(_)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(damaged(&flipped), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(damaged(&bytes[..length]), "cut to {length}");
        }
        assert!(damaged(&[&bytes[..], b"\0"].concat()));
    }

    #[test]
    fn references_that_state_other_sizes_are_refused() {
        let Packed { bytes, named } = packed();
        let wrongs: [fn(&mut PackedRef); 5] = [
            |named| named.raw_size += 1,
            |named| named.raw_size -= 1,
            |named| named.raw_size = limits::TABLE_RAW_BYTES + 1,
            |named| named.size += 1,
            |named| named.size = limits::PACKED_BYTES + 1,
        ];
        for (at, wrong) in wrongs.iter().enumerate() {
            let mut named = named;
            wrong(&mut named);
            let read = read(&named, &bytes);
            assert!(matches!(read, Err(SealError::Damaged(_))), "rule {at}");
        }
    }

    #[test]
    fn headers_that_break_a_rule_are_refused() {
        let id = REPOSITORY;
        let header = format!(
            r#"{{"format":"kbk-table","version":1,"repository_id":"{id}","nonce":"{id}","lines":1}}"#
        );
        let refused = |header: &str, lines: &str| {
            let Packed { bytes, named } = forged(format!("{header}{lines}").as_bytes());
            read(&named, &bytes).unwrap_err()
        };
        let later = header.replace("\"version\":1", "\"version\":2");
        assert_eq!(refused(&later, "\n{}\n"), SealError::NewerVersion(2));
        let other = header.replace("kbk-table", "kbk-groups");
        let other_format = SealError::OtherFormat("kbk-groups".into());
        assert_eq!(refused(&other, "\n{}\n"), other_format);
        for (header, lines) in [
            (header.as_str(), "\n"),
            (&header, "\n{}\n{}\n"),
            (&header, "\n{}"),
            (&header, ""),
            (&header.replace("07", "08"), "\n{}\n"),
            (&header.replace("\"version\":1", "\"version\":0"), "\n{}\n"),
            (&header.replace(",\"lines\":1", ""), "\n{}\n"),
            (
                &header.replace("\"lines\":1", "\"lines\":1,\"lines\":1"),
                "\n{}\n",
            ),
            ("", "\n{}\n"),
        ] {
            let error = refused(header, lines);
            assert!(matches!(error, SealError::Damaged(_)), "{header}{lines}");
        }
    }

    #[test]
    fn other_frames_are_refused() {
        let Packed { bytes, .. } = packed();
        let twice = [&bytes[..], &bytes[..]].concat();
        let named = PackedRef {
            sha256: Hex(Sha256::digest(&twice).into()),
            size: twice.len() as u64,
            raw_size: packed().named.raw_size * 2,
        };
        assert!(matches!(read(&named, &twice), Err(SealError::Damaged(_))));
    }
}
