//! The parts of a segment, also of a damaged one: what is between its valid parts is shown, too.

use std::ops::Range;

use kbk_format::batch::{BatchCodec, BatchHeader, Producer};
use kbk_format::layout::{
    self, BLOCK_MAGIC, FILE_MAGIC, TRAILER_MAGIC, batch_bounds, block_header, file_header,
    gap_entry, gaps, hour_entry, hours, index_entry, key_filter, key_page, rendered_sizes, section,
    statistics, stream_entry, tlv, trailer, whole_lines,
};
use kbk_format::salvage::damaged_batches;
use kbk_format::scan::{Found, FoundBlock};
use kbk_format::{
    BlockDecoder, BlockHeader, Codec, FileHeader, FormatError, KeyFilter, Scanner, Segment,
    StreamId,
};

use super::part::Part;

/// Returns all parts of a segment, in the order of its bytes.
pub(super) fn parts(bytes: &[u8]) -> Vec<Part> {
    let opened = Segment::open_whole(bytes);
    let mut parts = Vec::new();
    let mut at = 0;
    if bytes.starts_with(&FILE_MAGIC) {
        let part = header_part(bytes, 0, "file header");
        at = end_of(&part);
        parts.push(part);
    }
    let end = End::find(bytes, &opened);
    blocks(bytes, at, &end, &opened, &mut parts);
    if let Some(filter) = opened.as_ref().ok().and_then(Segment::key_filter) {
        parts.push(key_filter_part(bytes, filter));
    }
    if let Some(footer) = end.footer.clone() {
        sections(bytes, footer, &mut parts);
    }
    if let Some(start) = end.trailer {
        let mut part = Part::new("trailer", start, bytes.len().saturating_sub(start));
        part.structure(trailer::FIELDS, bytes, start);
        parts.push(part.problem(opened.err().map(in_words)));
    }
    parts
}

fn in_words(error: FormatError) -> String {
    format!("{error}")
}

fn end_of(part: &Part) -> usize {
    usize::try_from(part.position.saturating_add(part.length)).unwrap_or(usize::MAX)
}

/// Where the footer and the trailer are.
struct End {
    footer: Option<Range<usize>>,
    trailer: Option<usize>,
    /// Where the blocks end.
    blocks: usize,
}

impl End {
    fn find(bytes: &[u8], opened: &Result<Segment, FormatError>) -> End {
        let length = bytes.len();
        let start = length.checked_sub(trailer::LENGTH);
        let trailer = start.filter(|_| bytes.ends_with(&TRAILER_MAGIC));
        let stated = trailer.and_then(|start| {
            let at = start.checked_add(trailer::FOOTER_LENGTH)?;
            let footer_length = u32_at(bytes, at)?;
            start.checked_sub(usize::try_from(footer_length).ok()?)
        });
        let opened = opened.as_ref().ok();
        let known = opened.and_then(|it| usize::try_from(it.footer_position()).ok());
        let filter = opened.and_then(Segment::key_filter);
        let filter = filter.and_then(|it| usize::try_from(it.range().start).ok());
        let footer = known.or(stated).zip(trailer);
        let footer = footer
            .map(|(from, to)| from..to)
            .filter(|it| !it.is_empty());
        End {
            blocks: filter.unwrap_or(
                footer
                    .as_ref()
                    .map_or(trailer.unwrap_or(length), |footer| footer.start),
            ),
            footer,
            trailer,
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let stored = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_le_bytes(stored))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let stored = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(u64::from_le_bytes(stored))
}

/// Shows a file header, as far as it goes.
fn header_part(bytes: &[u8], start: usize, name: &str) -> Part {
    let rest = bytes.get(start..).unwrap_or_default();
    let decoded = FileHeader::decode(rest);
    let stated = u32_at(rest, file_header::HEADER_LENGTH).map_or(0, |it| it as usize);
    let least = file_header::LENGTH.min(rest.len());
    let length = match stated <= layout::limits::FILE_HEADER_LENGTH {
        true => stated.clamp(least, rest.len()),
        false => least,
    };
    let mut part = Part::new(name, start, length);
    part.structure(file_header::FIELDS, bytes, start);
    let tlv_length = u32_at(rest, file_header::TLV_LENGTH).map_or(0, |it| it as usize);
    let tlvs_end = file_header::LENGTH.saturating_add(tlv_length);
    let crc_at = length.saturating_sub(4);
    let mut at = file_header::LENGTH;
    while at.saturating_add(tlv::LENGTH) <= tlvs_end.min(crc_at) {
        let kind = rest.get(at..at.saturating_add(2)).unwrap_or_default();
        let kind = kind.try_into().map_or(0, u16::from_le_bytes);
        part.structure(tlv::FIELDS, bytes, start.saturating_add(at));
        let value_at = at.saturating_add(tlv::LENGTH);
        let stated = u32_at(rest, at.saturating_add(tlv::VALUE_LENGTH));
        let stated = stated.map_or(0, |it| it as usize);
        let value_end = value_at.saturating_add(stated).min(crc_at);
        let stored = rest.get(value_at..value_end).unwrap_or_default();
        let (name, value) = tlv_value(kind, stored);
        let name = format!("value ({name})");
        part.field(name, start.saturating_add(value_at), stored.len(), value);
        at = value_end.next_multiple_of(layout::TLV_ALIGNMENT);
    }
    if decoded.is_ok() {
        let crc = u32_at(rest, crc_at).map(|crc| format!("{crc:#010x}"));
        part.field("header_crc", start.saturating_add(crc_at), 4, crc);
    }
    part.problem(decoded.err().map(in_words))
}

fn tlv_value(kind: u16, bytes: &[u8]) -> (String, Option<String>) {
    let text = || Some(format!("{:?}", String::from_utf8_lossy(bytes)));
    let name = match kind {
        layout::TLV_TOPIC => "topic",
        layout::TLV_CLUSTER_ID => "cluster_id",
        layout::TLV_WRITER => "writer",
        layout::TLV_COMPRESSION => "compression",
        layout::TLV_CREATED_AT => {
            let number = bytes.try_into().map(i64::from_le_bytes);
            return (
                "created_at".to_owned(),
                number.ok().map(|it| it.to_string()),
            );
        }
        other => return (format!("of the unknown type {other}"), None),
    };
    (name.to_owned(), text())
}

/// Shows the blocks, and what is between them.
fn blocks(
    bytes: &[u8],
    first: usize,
    end: &End,
    opened: &Result<Segment, FormatError>,
    parts: &mut Vec<Part>,
) {
    let area = bytes.get(..end.blocks).unwrap_or(bytes);
    let salt = opened.as_ref().ok().map(|it| it.header().salt());
    let salt = salt.or_else(|| Scanner::new(bytes).salt().map(|(salt, _)| salt));
    let header = opened.as_ref().ok().map(Segment::header);
    let timestamp_type = header.map(|header| header.timestamp_type);
    let mut at = first;
    let mut number = 0;
    for found in Scanner::of(area, salt) {
        let (position, part) = match &found {
            Found::Block(block) => (block.position, block_part(bytes, block, number)),
            Found::Damaged {
                position,
                header,
                error,
            } => {
                let start = usize::try_from(*position).unwrap_or(usize::MAX);
                let name = format!("block {number}, damaged");
                let part = raw_block(bytes, start, header, &name);
                let mut problem = error.to_string();
                let block = bytes.get(start..).unwrap_or_default();
                let block = block.get(..header.block_length()).unwrap_or(block);
                for lost in damaged_batches(block, timestamp_type) {
                    problem = format!("{problem}; of its batches, {} are damaged", lost.offsets);
                }
                (*position, part.problem(Some(problem)))
            }
            Found::Foreign { position, header } => {
                let start = usize::try_from(*position).unwrap_or(usize::MAX);
                let part = raw_block(bytes, start, header, "block of another segment");
                let problem = "its salt is that of another segment";
                (*position, part.problem(Some(problem.to_owned())))
            }
            Found::Skipped(_) => continue,
        };
        number += u32::from(!matches!(found, Found::Foreign { .. }));
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        unknown(area, at..position, salt, parts);
        at = at.max(end_of(&part));
        parts.push(part);
    }
    unknown(area, at..area.len(), salt, parts);
}

/// Shows bytes in which no valid block begins: the fields of a damaged header, where one seems to be there.
fn unknown(bytes: &[u8], range: Range<usize>, salt: Option<[u8; 8]>, parts: &mut Vec<Part>) {
    if range.is_empty() {
        return;
    }
    let rest = bytes.get(range.start..).unwrap_or_default();
    let salt_at = block_header::SALT;
    let own = rest.get(salt_at..salt_at.saturating_add(8));
    let seems_one =
        rest.starts_with(&BLOCK_MAGIC) || (own.is_some() && own == salt.as_ref().map(|it| &it[..]));
    let length = range.len();
    if !seems_one {
        let is_zero = rest.iter().take(length).all(|byte| *byte == 0);
        let name = match is_zero {
            true => "zeros",
            false => "bytes in which no valid block begins",
        };
        let part = Part::new(name, range.start, length);
        parts.push(part.problem(Some("no part of a segment is here".to_owned())));
        return;
    }
    let error = BlockHeader::decode(
        rest,
        u64_at(rest, block_header::POSITION).unwrap_or(range.start as u64),
        salt.unwrap_or_default(),
    );
    let mut part = Part::new("block with a damaged header", range.start, length);
    part.structure(block_header::FIELDS, bytes, range.start);
    parts.push(part.problem(error.err().map(in_words)));
}

fn block_part(bytes: &[u8], block: &FoundBlock<'_>, number: u32) -> Part {
    let start = usize::try_from(block.position).unwrap_or(usize::MAX);
    let part = raw_block(bytes, start, &block.header, &format!("block {number}"));
    let moved = block.position != block.header.position;
    let problem = moved.then(|| {
        format!(
            "it was written at position {}, and is intact",
            block.header.position
        )
    });
    let problem = problem.or_else(|| part.problem.clone());
    part.problem(problem)
}

/// Shows a block with a valid header.
fn raw_block(bytes: &[u8], start: usize, header: &BlockHeader, name: &str) -> Part {
    let left = bytes.len().saturating_sub(start);
    let is_whole = header.block_length() <= left;
    // The next block may begin before the stated end of one that is damaged.
    let header_only = name.ends_with("damaged") || name.ends_with("segment");
    let length = match header_only {
        true => header.header_length().min(left),
        false => header.block_length().min(left),
    };
    let mut part = Part::new(name, start, length);
    part.structure(block_header::FIELDS, bytes, start);
    let mut entry_at = start.saturating_add(block_header::LENGTH);
    for _ in header.directory.iter() {
        part.structure(stream_entry::FIELDS, bytes, entry_at);
        entry_at = entry_at.saturating_add(stream_entry::LENGTH);
    }
    let mut at = start.saturating_add(header.header_length());
    for entry in header.directory.iter().filter(|_| is_whole && !header_only) {
        let stored = entry.stored_length as usize;
        let intact = bytes
            .get(at..at.saturating_add(stored))
            .is_some_and(|stored| entry.matches(stored));
        let state = if intact { "intact" } else { "damaged" };
        let name = format!("stream {}", entry.id.name());
        let end = at.saturating_add(stored);
        // The bytes of batches that are stored uncompressed are shown with each of them.
        let has_fields = entry.id == StreamId::Batches && intact;
        let length = match has_fields && entry.codec == Codec::None {
            true => 0,
            false => stored,
        };
        part.field(name, at, length, Some(state.to_owned()));
        if has_fields {
            let block = bytes.get(start..).unwrap_or_default();
            batches(header, block, at..end, entry.codec, &mut part);
        }
        at = end;
    }
    part
}

/// Shows the batches of a block, one field each. Where the stream is compressed they have no bytes of their own.
fn batches(
    header: &BlockHeader,
    block: &[u8],
    stream: Range<usize>,
    codec: Codec,
    part: &mut Part,
) {
    let mut decoder = BlockDecoder::new();
    let batches = match decoder.batches(header, block, None) {
        Ok(batches) => batches,
        Err(error) => {
            let bytes = match codec {
                Codec::None => stream,
                _ => stream.end..stream.end,
            };
            part.field("batches", bytes.start, bytes.len(), None);
            part.problem = Some(in_words(error));
            return;
        }
    };
    let batches = batches.into_iter().flatten().filter_map(Result::ok);
    for (number, batch) in batches.enumerate() {
        let position = usize::try_from(batch.position()).unwrap_or(usize::MAX);
        let (position, length) = match codec {
            Codec::None => (stream.start.saturating_add(position), batch.bytes().len()),
            _ => (stream.end, 0),
        };
        let name = format!("batch {number}");
        part.field(name, position, length, Some(in_one_line(batch.header())));
    }
}

fn in_one_line(batch: &BatchHeader) -> String {
    let records = batch.record_count.unwrap_or_default();
    let codec = batch.attributes.codec().map_or("unknown", BatchCodec::name);
    let transactional = match batch.attributes.is_transactional() {
        true => ", transactional",
        false => "",
    };
    let Producer {
        id,
        epoch,
        base_sequence,
    } = batch.producer;
    format!(
        "offsets {} to {}, records {records}, codec {codec}, producer {id} epoch {epoch} sequence {base_sequence}{transactional}, leader epoch {}, crc {:#010x}",
        batch.base_offset, batch.last_offset, batch.leader_epoch, batch.crc
    )
}

/// Shows the pages of the key filter.
fn key_filter_part(bytes: &[u8], filter: &KeyFilter) -> Part {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let at = |range: Range<u64>| place(range.start)..place(range.end);
    let whole = at(filter.range());
    let mut part = Part::new("key filter", whole.start, whole.len());
    let mut problem = None;
    for page in 0..filter.page_count() {
        let range = at(filter.range_of(page..page.saturating_add(1)));
        let stored = bytes.get(range.clone()).unwrap_or_default();
        let checked = filter.check(page..page.saturating_add(1), stored);
        let state = if checked.is_ok() { "intact" } else { "damaged" };
        let name = format!("page {page}");
        part.field(name, range.start, range.len(), Some(state.to_owned()));
        problem = problem.or(checked.err().map(in_words));
    }
    part.problem(problem)
}

/// Shows the sections of the footer.
fn sections(bytes: &[u8], footer: Range<usize>, parts: &mut Vec<Part>) {
    let mut at = footer.start;
    while at.saturating_add(section::LENGTH) <= footer.end {
        let kind = u32_at(bytes, at).unwrap_or(0);
        if kind == 0 {
            break;
        }
        let stated = u64_at(bytes, at.saturating_add(section::PAYLOAD_LENGTH)).unwrap_or(0);
        let payload = at.saturating_add(section::LENGTH);
        let left = footer.end.saturating_sub(payload);
        let length = usize::try_from(stated).unwrap_or(usize::MAX);
        let is_cut = length > left;
        let length = length.min(left);
        let name = format!("footer, section {}", section_name(kind));
        let end = payload
            .saturating_add(length)
            .next_multiple_of(layout::SECTION_ALIGNMENT)
            .min(footer.end);
        let mut part = Part::new(name, at, end.saturating_sub(at));
        part.structure(section::FIELDS, bytes, at);
        section_fields(
            kind,
            bytes,
            payload..payload.saturating_add(length),
            &mut part,
        );
        let problem = "its length goes beyond the footer".to_owned();
        parts.push(part.problem(Some(problem).filter(|_| is_cut)));
        at = end;
    }
    if at < footer.end {
        let is_zero = bytes
            .get(at..footer.end)
            .is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
        let part = Part::new("footer, padding", at, footer.end.saturating_sub(at));
        let problem = "it is not zero".to_owned();
        parts.push(part.problem(Some(problem).filter(|_| !is_zero)));
    }
}

fn section_name(kind: u32) -> String {
    let name = match kind {
        layout::SECTION_HEADER_COPY => "header_copy",
        layout::SECTION_BLOCK_INDEX => "block_index",
        layout::SECTION_STATISTICS => "statistics",
        layout::SECTION_GAPS => "gaps",
        layout::SECTION_RENDERED_SIZES => "rendered_sizes",
        layout::SECTION_WHOLE_LINES => "whole_lines",
        layout::SECTION_HOURS => "hours",
        layout::SECTION_BATCH_BOUNDS => "batch_bounds",
        layout::SECTION_KEY_FILTER => "key_filter",
        other => return format!("of the unknown type {other}"),
    };
    name.to_owned()
}

fn section_fields(kind: u32, bytes: &[u8], payload: Range<usize>, part: &mut Part) {
    let bytes = bytes.get(..payload.end).unwrap_or(bytes);
    let start = payload.start;
    match kind {
        layout::SECTION_HEADER_COPY => {
            let copy = header_part(bytes, start, "header_copy");
            part.fields.extend(copy.fields);
        }
        layout::SECTION_BLOCK_INDEX => {
            entries(part, index_entry::FIELDS, index_entry::LENGTH, bytes, start);
        }
        layout::SECTION_STATISTICS => part.structure(statistics::FIELDS, bytes, start),
        layout::SECTION_GAPS => {
            part.structure(gaps::FIELDS, bytes, start);
            let at = start.saturating_add(gaps::LENGTH);
            entries(part, gap_entry::FIELDS, gap_entry::LENGTH, bytes, at);
        }
        layout::SECTION_RENDERED_SIZES => {
            part.structure(rendered_sizes::FIELDS, bytes, start);
            let at = start.saturating_add(rendered_sizes::LENGTH);
            numbers(part, "end", bytes, at, 8);
        }
        layout::SECTION_WHOLE_LINES => part.structure(whole_lines::FIELDS, bytes, start),
        layout::SECTION_HOURS => {
            part.structure(hours::FIELDS, bytes, start);
            let count = u32_at(bytes, start.saturating_add(hours::ENTRY_COUNT));
            let of_entries = count
                .map_or(0, |it| it as usize)
                .saturating_mul(hour_entry::LENGTH);
            let at = payload
                .end
                .saturating_sub(of_entries)
                .max(start.saturating_add(hours::LENGTH));
            let before = bytes.get(..at).unwrap_or_default();
            numbers(part, "end", before, start.saturating_add(hours::LENGTH), 4);
            entries(part, hour_entry::FIELDS, hour_entry::LENGTH, bytes, at);
        }
        layout::SECTION_BATCH_BOUNDS => {
            entries(
                part,
                batch_bounds::FIELDS,
                batch_bounds::LENGTH,
                bytes,
                start,
            );
        }
        layout::SECTION_KEY_FILTER => {
            part.structure(key_filter::FIELDS, bytes, start);
            let at = start.saturating_add(key_filter::LENGTH);
            entries(part, key_page::FIELDS, key_page::LENGTH, bytes, at);
        }
        _ => part.field("payload", start, payload.len(), None),
    }
}

/// Shows structures that follow each other to the end of the bytes.
fn entries(part: &mut Part, fields: &[layout::Field], length: usize, bytes: &[u8], start: usize) {
    let count = bytes.len().saturating_sub(start).checked_div(length);
    for at in 0..count.unwrap_or(0) {
        part.structure(
            fields,
            bytes,
            start.saturating_add(at.saturating_mul(length)),
        );
    }
}

fn numbers(part: &mut Part, name: &'static str, bytes: &[u8], start: usize, size: usize) {
    let fields = [layout::Field { name, at: 0, size }];
    entries(part, &fields, size, bytes, start);
}
