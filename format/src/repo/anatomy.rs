//! Objects of a repository by themselves, damaged ones too: for people who look for what is wrong with them.
//!
//! Everything else in this crate reads an object because another one names it, and refuses it as a whole.

use std::io::Read;

use super::claim::WriteClaim;
use super::groups_change::GroupsChange;
use super::identity::Identity;
use super::index::check_line;
use super::latest::Latest;
use super::manifest::Manifest;
use super::offset_map::MapPage;
use super::restore_discarded::RestoreDiscarded;
use super::restore_done::RestoreDone;
use super::restore_manifest::RestoreManifest;
use super::restore_targets::RestoreTargets;
use super::sealed::{Document, SealError, unseal};
use crate::layout::limits;

/// Checks a sealed object: its seal, and that its members are those of its format. The error says what is wrong.
///
/// # Errors
///
/// What is wrong, in words.
pub fn check_sealed(bytes: &[u8], format: &str) -> Result<(), String> {
    let check = match format {
        Identity::FORMAT => check::<Identity>,
        Manifest::FORMAT => check::<Manifest>,
        Latest::FORMAT => check::<Latest>,
        WriteClaim::FORMAT => check::<WriteClaim>,
        RestoreManifest::FORMAT => check::<RestoreManifest>,
        RestoreTargets::FORMAT => check::<RestoreTargets>,
        MapPage::FORMAT => check::<MapPage>,
        RestoreDone::FORMAT => check::<RestoreDone>,
        RestoreDiscarded::FORMAT => check::<RestoreDiscarded>,
        GroupsChange::FORMAT => check::<GroupsChange>,
        other => {
            return Err(format!(
                "no object of a repository has the format {other:?}"
            ));
        }
    };
    check(bytes)
}

fn check<T: Document>(bytes: &[u8]) -> Result<(), String> {
    unseal::<T>(bytes).map(drop).map_err(|error| words(&error))
}

/// Says why an object is refused.
fn words(error: &SealError) -> String {
    match error {
        SealError::Damaged(detail) => detail.clone(),
        SealError::OtherFormat(found) => format!("its format is {found:?}"),
        SealError::NewerVersion(version) => {
            format!("its version is {version}: a newer kbk wrote it")
        }
        SealError::OlderVersion(version) => {
            format!("its version is {version}, which nothing reads any more")
        }
        SealError::UnknownRow(kind) => {
            format!("a row is of the kind {kind:?}: a newer kbk wrote it")
        }
    }
}

/// What of a packed object can be decompressed.
#[derive(Clone, Debug, Default)]
pub struct Unpacked {
    /// The raw bytes up to the first that cannot be had.
    pub raw: Vec<u8>,
    /// Why there are not more, or what else is wrong with the frame.
    pub problem: Option<String>,
}

/// Decompresses as much of a packed object as can be.
#[must_use]
pub fn unpack_part(bytes: &[u8]) -> Unpacked {
    let mut unpacked = Unpacked::default();
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
    let mut decoder = match decoder {
        Ok(decoder) => decoder.single_frame(),
        Err(error) => {
            unpacked.problem = Some(error.to_string());
            return unpacked;
        }
    };
    let window = limits::ZSTD_WINDOW.trailing_zeros();
    unpacked.problem = decoder
        .window_log_max(window)
        .err()
        .map(|it| it.to_string());
    // What was read before an error is kept.
    let mut limited = decoder.take(limits::PACKED_RAW_BYTES);
    let mut part = vec![0; 1 << 16];
    loop {
        match limited.read(&mut part) {
            Ok(0) => break,
            Ok(read) => {
                let read = part.get(..read).unwrap_or_default();
                unpacked.raw.extend_from_slice(read);
            }
            Err(error) => {
                unpacked.problem = Some(format!("its zstd frame is damaged: {error}"));
                return unpacked;
            }
        }
    }
    let whole = zstd::zstd_safe::find_frame_compressed_size(bytes);
    if let Ok(whole) = whole
        && let Some(more) = bytes.len().checked_sub(whole).filter(|more| *more > 0)
    {
        unpacked.problem = Some(format!("{more} bytes follow its zstd frame"));
    }
    unpacked
}

/// Checks a line of a packed object of this format by itself.
///
/// # Errors
///
/// What is wrong, in words.
pub fn check_packed_line(format: &str, line: &[u8]) -> Result<(), String> {
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(line);
    json.map_err(|error| format!("it is not JSON: {error}"))?;
    match format {
        "kbk-table" => check_line(line).map_err(|error| words(&error)),
        _ => Ok(()),
    }
}
