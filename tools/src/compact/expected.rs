//! What new segments must hold, and whether they do.

use kbk_format::OffsetSpan;
use kbk_format::repo::SegmentEntry;

use super::key_range::KeyRange;
use super::latest::KeySum;
use super::merge::Read;
use super::prove::Held;

/// What new segments must hold.
pub(super) struct Expected {
    offsets: OffsetSpan,
    records: u64,
    content: u128,
    gaps: [u8; 32],
    /// Keys of the latest records, where others are removed.
    keys: Option<KeySum>,
}

impl Expected {
    pub(super) fn new(sources: &[SegmentEntry], keys: Option<&KeyRange>, read: &Read) -> Expected {
        let start = sources.first().map_or(0, |it| it.base_offset);
        let end = sources.last().map_or(start, |it| it.end_offset);
        let records = sources.iter().map(|it| it.records);
        let records = records.fold(0, u64::saturating_add);
        Expected {
            offsets: (start..end).into(),
            records: records.saturating_sub(read.removed_records),
            // Of the blocks as they were read, and compared with what the rows state, where they do.
            content: read.content.wrapping_sub(read.removed_content),
            gaps: read.gaps.clone().finish(),
            keys: keys.map(|keys| keys.latest_in(sources).without(read.removed_latest)),
        }
    }

    pub(super) fn compare(self, added: &[SegmentEntry], held: Held) -> Result<(), String> {
        let start = added.first().map_or(0, |it| it.base_offset);
        let end = added.last().map_or(0, |it| it.end_offset);
        let offsets = OffsetSpan::from(start..end);
        let differs = |what: &str, expected: String, found: String| {
            Err(format!("its {what} are {found}, expected {expected}"))
        };
        let records = added.iter().map(|it| it.records).sum::<u64>();
        let content = digest_of(added).ok_or("the digest of what was written is not stated")?;
        if offsets != self.offsets {
            return differs("offsets", self.offsets.to_string(), offsets.to_string());
        }
        if records != self.records {
            return differs("records", self.records.to_string(), records.to_string());
        }
        if content != self.content {
            let hex = |digest: u128| format!("{digest:032x}");
            return differs("contents, by digest,", hex(self.content), hex(content));
        }
        if held.gaps.finish() != self.gaps {
            return Err("the reasons of its gaps are others".to_owned());
        }
        if self.keys.is_some_and(|keys| keys != held.keys) {
            return Err("its records are not the latest of their keys".to_owned());
        }
        Ok(())
    }
}

fn digest_of(entries: &[SegmentEntry]) -> Option<u128> {
    let mut entries = entries.iter();
    entries.try_fold(0, |sum: u128, it| Some(sum.wrapping_add(it.content()?)))
}
