//! Reads the batches of a block, with all checks of what its header and theirs state.

use super::append;
use crate::batch::{Attributes, BatchDecoder, RecordBatch, frame_length};
use crate::batch_bounds::BatchBounds;
use crate::block::decode::stream_error;
use crate::block::header::{BlockHeader, StreamId};
use crate::columns::{Columns, RecordSize};
use crate::error::{ErrorClass, FormatError, Result};
use crate::layout::{limits, record_batch as at};
use crate::record::TimestampType;

/// Decodes the batches of a block into `columns`, which are empty; after an error they may not be. Returns what their headers say together.
pub(in crate::block) fn decode(
    decoder: &mut BatchDecoder,
    raw: &[u8],
    header: &BlockHeader,
    timestamp_type: Option<TimestampType>,
    columns: &mut Columns,
) -> Result<BatchBounds> {
    let mut room = limits::BLOCK_DECODED_BYTES;
    let mut size = RecordSize::default();
    walk(raw, header, timestamp_type, |batch| {
        let decoded = append(decoder, batch, (room, &mut size), columns)?;
        room = room.saturating_sub(decoded);
        Ok(())
    })
}

/// Passes every batch to `visit`, after the checks of what its header states and of its checksum. `timestamp_type` is that of the segment,
/// where it is known. Returns what the headers say together.
pub(in crate::block) fn walk<'a>(
    raw: &'a [u8],
    header: &BlockHeader,
    timestamp_type: Option<TimestampType>,
    mut visit: impl FnMut(&RecordBatch<'a>) -> Result<()>,
) -> Result<BatchBounds> {
    let fault = |class, detail| stream_error(header, StreamId::Batches, class, detail);
    let (mut rest, mut expected) = (raw, timestamp_type);
    let (mut next_offset, mut records) = (header.base_offset, 0_u32);
    let (mut max_timestamp, mut bounds) = (i64::MIN, BatchBounds::NONE);
    while !rest.is_empty() {
        let position = raw.len().saturating_sub(rest.len()) as u64;
        let batch = take(&mut rest, position).map_err(|error| of_block(error, header))?;
        let found = batch.header();
        let (base, last) = (found.base_offset, found.last_offset);
        if base < next_offset || last >= header.end_offset {
            let end = header.end_offset;
            let detail = format!(
                "a batch has the offsets {base} to {last}, after {next_offset} and below {end}"
            );
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        next_offset = last.saturating_add(1);
        max_timestamp = max_timestamp.max(found.max_timestamp);
        let count = found.record_count.unwrap_or_default();
        records = records.saturating_add(count);
        if count == 0 || records > header.record_count {
            let detail = format!(
                "the batch at offset {base} has {count} of the block's {} records",
                header.record_count
            );
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        if found.attributes.is_control() {
            let detail = format!("the batch at offset {base} is a control batch");
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        let of_batch = found.attributes.timestamp_type();
        if *expected.get_or_insert(of_batch) != of_batch {
            let detail = format!("the batch at offset {base} has the timestamp type {of_batch:?}");
            return Err(fault(ErrorClass::Inconsistent, detail));
        }
        visit(&batch).map_err(|error| of_block(error, header))?;
        bounds.add(&batch);
    }
    if header.control_count != 0 {
        let detail = format!("its header counts {} control records", header.control_count);
        return Err(fault(ErrorClass::Inconsistent, detail));
    }
    if header.computed.is_none() && max_timestamp != header.max_timestamp {
        let detail = format!(
            "max_timestamp is {}, that of its batches {max_timestamp}",
            header.max_timestamp
        );
        return Err(fault(ErrorClass::Inconsistent, detail));
    }
    if records != header.record_count {
        let detail = format!(
            "its batches have {records} of the block's {} records",
            header.record_count
        );
        return Err(fault(ErrorClass::Inconsistent, detail));
    }
    Ok(bounds)
}

/// Takes the batch at the front of `rest`: magic and length, checksum, codec and relations, in this order.
fn take<'a>(rest: &mut &'a [u8], position: u64) -> Result<RecordBatch<'a>> {
    let bytes = *rest;
    let error = |class, detail| Err(FormatError::new(class, "record batch", position, detail));
    if bytes.len() < at::LENGTH {
        let detail = format!("its header has {} bytes, found {}", at::LENGTH, bytes.len());
        return error(ErrorClass::Inconsistent, detail);
    }
    match bytes.get(at::MAGIC) {
        Some(2) => {}
        magic => {
            let detail = format!("magic {}, expected 2", magic.copied().unwrap_or_default());
            return error(ErrorClass::Unsupported, detail);
        }
    }
    let whole = frame_length(bytes, position)?.and_then(|length| bytes.split_at_checked(length));
    let Some((batch, after)) = whole else {
        let detail = format!("it is longer than the {} bytes that are left", bytes.len());
        return error(ErrorClass::Inconsistent, detail);
    };
    RecordBatch::check_crc_of(batch, position)?;
    let low = batch.get(at::ATTRIBUTES + 1).copied().unwrap_or_default();
    if Attributes(i16::from(low)).codec().is_none() {
        let detail = format!("codec {}; Kafka has 0 to 4", low & 7);
        return error(ErrorClass::Unsupported, detail);
    }
    let batch = RecordBatch::parse(batch, position)?;
    *rest = after;
    Ok(batch)
}

/// Returns an error about a batch as one about the block that has it.
fn of_block(error: FormatError, header: &BlockHeader) -> FormatError {
    let class = match error.class {
        // The stream's checksum covers the batch, so no byte of it is missing: its writer was faulty.
        ErrorClass::Truncated => ErrorClass::Inconsistent,
        class => class,
    };
    let detail = format!("the batch at its byte {}: {}", error.position, error.detail);
    stream_error(header, StreamId::Batches, class, detail)
}
