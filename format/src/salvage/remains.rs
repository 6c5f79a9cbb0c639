//! What is left of a segment's file header, footer and trailer, wherever they are.

use std::ops::Range;

use crate::header::FileHeader;
use crate::key_filter::KeyFilter;
use crate::layout::{FILE_MAGIC, TRAILER_MAGIC, trailer as trailer_at};
use crate::scan::{IdentifiedBy, magics, remains_of_trailer};
use crate::segment::{Open, Segment};

use super::arrange::complement;

/// What is left around the blocks.
#[derive(Default)]
pub(super) struct Remains {
    /// The header at position 0, or the footer's copy, or one that was found elsewhere.
    pub(super) header: Option<FileHeader>,
    /// The footer: it states what belongs at positions that may not be those of the file.
    pub(super) footer: Option<Box<Segment>>,
    /// The number of blocks that a valid trailer states.
    pub(super) block_count: Option<u32>,
    /// Where they were found in the first copy.
    pub(super) ranges: Vec<Range<u64>>,
}

impl Remains {
    /// Looks outside of the intact blocks: what is inside them was written by whoever wrote the records.
    pub(super) fn find(
        copy: usize,
        bytes: &[u8],
        salt: Option<([u8; 8], IdentifiedBy)>,
        first: Option<FileHeader>,
        blocks: &[Range<u64>],
    ) -> Remains {
        let mut remains = Remains::default();
        let Some((salt, _)) = salt else {
            return remains;
        };
        let gaps = complement(blocks.to_vec(), bytes.len() as u64);
        remains.find_end(bytes, salt, first.as_ref(), &gaps);
        let length_of = |position: u64| {
            let start = usize::try_from(position).ok()?;
            let (header, length) = FileHeader::decode(bytes.get(start..)?).ok()?;
            (header.salt() == salt).then_some((header, length as u64))
        };
        let displaced = || {
            let headers = starts(bytes, &gaps, &FILE_MAGIC);
            headers
                .into_iter()
                .find_map(|at| Some((at, length_of(at)?.0)))
        };
        let repeated = remains.footer.as_deref().map(Segment::header);
        remains.header = first
            .map(|header| (0, header))
            .or_else(|| {
                let position = displaced().map(|(position, _)| position);
                Some((position.unwrap_or(u64::MAX), repeated?.clone()))
            })
            .or_else(displaced)
            .map(|(position, header)| {
                let range = length_of(position).map(|(_, length)| position..position + length);
                remains.ranges.extend(range);
                header
            });
        if copy > 0 {
            remains.ranges.clear();
        }
        remains
    }

    /// Adds what another copy has, where this one lacks it.
    pub(super) fn add(&mut self, other: Remains) {
        self.header = self.header.take().or(other.header);
        let is_other = |footer: &Segment| {
            let header = self.header.as_ref();
            header.is_some_and(|header| !is_same(header, footer.header()))
        };
        let footer = other.footer.filter(|footer| !is_other(footer));
        self.footer = self.footer.take().or(footer);
        self.block_count = self.block_count.or(other.block_count);
        self.ranges.extend(other.ranges);
    }

    /// Finds the last trailer with the salt, and the footer before it.
    fn find_end(
        &mut self,
        bytes: &[u8],
        salt: [u8; 8],
        first: Option<&FileHeader>,
        gaps: &[Range<u64>],
    ) {
        let magics = starts(bytes, gaps, &TRAILER_MAGIC);
        let trailers = magics.into_iter().rev().filter_map(|magic| {
            let start = usize::try_from(magic)
                .ok()?
                .checked_sub(trailer_at::MAGIC)?;
            let trailer = remains_of_trailer(bytes, start)?;
            (trailer.salt == salt).then_some((start, trailer))
        });
        for (start, trailer) in trailers {
            let end = start.saturating_add(trailer_at::LENGTH);
            let from = start.checked_sub(trailer.footer_length);
            let tail = from.and_then(|from| bytes.get(from..end));
            let footer = tail.and_then(|tail| match Segment::open(tail, trailer.file_length) {
                Ok(Open::Ready(footer)) => Some(footer),
                Ok(Open::Need(_)) | Err(_) => None,
            });
            // One that contradicts the file header is that of another segment of the same id.
            let is_other = |footer: &Segment| first.is_some_and(|it| !is_same(it, footer.header()));
            if footer.as_deref().is_some_and(is_other) {
                continue;
            }
            let from = from.filter(|_| footer.is_some()).unwrap_or(start);
            let filter = footer.as_ref().and_then(|it| it.key_filter());
            let from = filter.map_or(from, |filter| start_of_filter(filter, bytes, from));
            self.footer = footer;
            self.block_count = Some(trailer.block_count);
            self.ranges.push(from as u64..end as u64);
            return;
        }
    }
}

/// Returns where the key filter begins that ends before the footer at `footer`; `footer` where it is not there or damaged.
fn start_of_filter(filter: &KeyFilter, bytes: &[u8], footer: usize) -> usize {
    let range = filter.range();
    let start = usize::try_from(range.end - range.start)
        .ok()
        .and_then(|length| footer.checked_sub(length));
    let is_there = |start: &usize| {
        let bytes = bytes.get(*start..footer).unwrap_or_default();
        filter.check(0..filter.page_count(), bytes).is_ok()
    };
    start.filter(is_there).unwrap_or(footer)
}

/// Returns whether two headers are of one segment, whatever else they say.
fn is_same(a: &FileHeader, b: &FileHeader) -> bool {
    (&a.topic, a.topic_id, a.partition) == (&b.topic, b.topic_id, b.partition)
        && (a.base_offset, a.timestamp_type, a.segment_id)
            == (b.base_offset, b.timestamp_type, b.segment_id)
}

/// Returns the positions of a magic that begin in one of these ranges, ascending.
fn starts(bytes: &[u8], ranges: &[Range<u64>], magic: &[u8]) -> Vec<u64> {
    let of_range = |range: &Range<u64>| {
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end).unwrap_or(usize::MAX);
        let end = end.saturating_add(magic.len()).saturating_sub(1);
        let part = bytes.get(..end.min(bytes.len())).unwrap_or_default();
        magics(part, start, magic)
            .map(|position| position as u64)
            .collect::<Vec<u64>>()
    };
    ranges.iter().flat_map(of_range).collect()
}
