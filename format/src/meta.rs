//! The META stream (SPEC 2.4): offsets, times, attributes and lengths of a block's records.

use crate::columns::{Columns, HeaderEntry};
use crate::error::{ErrorClass, FormatError, Result};
use crate::layout::{ATTRIBUTE_CONTROL, COLUMN_CONSTANT, COLUMN_PLAIN, limits};
use crate::varint;

/// Appends the META stream of `columns`, whose block covers offsets from `base_offset`.
pub(crate) fn encode(columns: &Columns, base_offset: i64, out: &mut Vec<u8>) {
    let (min_timestamp, _) = columns.time_bounds();
    put_column(
        out,
        deltas(&columns.offsets, base_offset.wrapping_sub(1)).map(|d| (d as u64).wrapping_sub(1)),
    );
    put_column(
        out,
        deltas(&columns.timestamps, min_timestamp).map(varint::zigzag),
    );
    put_column(
        out,
        columns
            .controls
            .iter()
            .map(|c| u64::from(*c) * ATTRIBUTE_CONTROL),
    );
    put_column(out, columns.keys.codes.iter().map(|c| u64::from(*c)));
    put_column(out, columns.values.codes.iter().map(|c| u64::from(*c)));
    let header_ends = &columns.headers.ends;
    put_column(out, unsigned_deltas(header_ends));
    let entries = &columns.headers.entries;
    put_column(out, entries.iter().map(|e| u64::from(e.name_length)));
    put_column(out, entries.iter().map(|e| u64::from(e.value_code)));
}

/// Iterates over the differences of consecutive values, modulo 2^64.
fn deltas(values: &[i64], before: i64) -> impl Iterator<Item = i64> + Clone {
    values.iter().scan(before, |previous, value| {
        let delta = value.wrapping_sub(*previous);
        *previous = *value;
        Some(delta)
    })
}

fn unsigned_deltas(ends: &[u32]) -> impl Iterator<Item = u64> + Clone {
    ends.iter().scan(0, |previous, end| {
        let delta = end - *previous;
        *previous = *end;
        Some(u64::from(delta))
    })
}

fn put_column(out: &mut Vec<u8>, entries: impl Iterator<Item = u64> + Clone) {
    let mut rest = entries.clone();
    if let Some(first) = rest.next()
        && rest.all(|entry| entry == first)
    {
        out.push(COLUMN_CONSTANT);
        varint::put(out, first);
        return;
    }
    out.push(COLUMN_PLAIN);
    for entry in entries {
        varint::put(out, entry);
    }
}

/// Lengths of the other streams, as META states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamLengths {
    pub(crate) keys: usize,
    pub(crate) headers: usize,
    pub(crate) values: usize,
}

/// What the block header states and META must agree with.
pub(crate) struct Expected {
    pub(crate) base_offset: i64,
    pub(crate) end_offset: i64,
    pub(crate) min_timestamp: i64,
    pub(crate) record_count: usize,
}

/// Fills all of `columns` except the bytes of keys, headers and values; `columns` must be empty.
pub(crate) fn decode(
    meta: &[u8],
    expected: &Expected,
    position: u64,
    columns: &mut Columns,
) -> Result<StreamLengths> {
    let mut reader = MetaReader {
        rest: meta,
        position,
    };
    let n = expected.record_count;
    decode_offsets(&mut reader, expected, &mut columns.offsets)?;
    decode_timestamps(&mut reader, expected, &mut columns.timestamps)?;
    reader.column("attributes", n, |attributes| {
        columns.controls.push(attributes & ATTRIBUTE_CONTROL != 0);
        match attributes & !ATTRIBUTE_CONTROL {
            0 => Ok(()),
            unknown => Err((
                ErrorClass::Unsupported,
                format!("unknown attribute bits {unknown:#x}"),
            )),
        }
    })?;
    let keys = decode_lengths(
        &mut reader,
        "key",
        n,
        &mut columns.keys.codes,
        &mut columns.keys.ends,
    )?;
    let values = decode_lengths(
        &mut reader,
        "value",
        n,
        &mut columns.values.codes,
        &mut columns.values.ends,
    )?;
    let headers = decode_headers(&mut reader, n, columns)?;
    if !reader.rest.is_empty() {
        let detail = format!("{} bytes after the last column", reader.rest.len());
        return Err(reader.error(ErrorClass::Inconsistent, detail));
    }
    Ok(StreamLengths {
        keys,
        headers,
        values,
    })
}

fn decode_offsets(
    meta: &mut MetaReader<'_>,
    expected: &Expected,
    offsets: &mut Vec<i64>,
) -> Result<()> {
    let mut next = expected.base_offset;
    let end = expected.end_offset;
    meta.column("skipped", expected.record_count, |skipped| {
        // Below `end`, so neither addition overflows: `next` never exceeds `end`.
        let offset = i64::try_from(skipped)
            .ok()
            .and_then(|skipped| next.checked_add(skipped))
            .filter(|offset| *offset < end)
            .ok_or_else(|| {
                let detail = format!("a record {skipped} offsets after {next} is outside the coverage, which ends at {end}");
                (ErrorClass::Inconsistent, detail)
            })?;
        offsets.push(offset);
        next = offset + 1;
        Ok(())
    })
}

fn decode_timestamps(
    meta: &mut MetaReader<'_>,
    expected: &Expected,
    timestamps: &mut Vec<i64>,
) -> Result<()> {
    let mut timestamp = expected.min_timestamp;
    meta.column("time", expected.record_count, |delta| {
        timestamp = timestamp.wrapping_add(varint::unzigzag(delta));
        timestamps.push(timestamp);
        Ok(())
    })
}

/// Decodes a column of lengths + 1 into codes and ends; returns the sum of the lengths.
fn decode_lengths(
    meta: &mut MetaReader<'_>,
    name: &'static str,
    count: usize,
    codes: &mut Vec<u32>,
    ends: &mut Vec<u32>,
) -> Result<usize> {
    let mut end = 0u32;
    meta.column(name, count, |code| {
        let code = stream_length(code)?;
        end = add_length(end, code.saturating_sub(1))?;
        codes.push(code);
        ends.push(end);
        Ok(())
    })?;
    Ok(end as usize)
}

fn decode_headers(meta: &mut MetaReader<'_>, n: usize, columns: &mut Columns) -> Result<usize> {
    let ends = &mut columns.headers.ends;
    let mut total = 0u32;
    meta.column("headers", n, |count| {
        total = u32::try_from(count)
            .ok()
            .and_then(|count| total.checked_add(count))
            .filter(|total| *total as usize <= limits::BLOCK_HEADERS)
            .ok_or_else(|| {
                (
                    ErrorClass::Limit,
                    format!("more than {} headers", limits::BLOCK_HEADERS),
                )
            })?;
        ends.push(total);
        Ok(())
    })?;
    let total = total as usize;
    let entries = &mut columns.headers.entries;
    meta.column("header_name", total, |length| {
        entries.push(HeaderEntry {
            start: 0,
            name_length: stream_length(length)?,
            value_code: 0,
        });
        Ok(())
    })?;
    // The column of values has one entry per name, so both iterators end together.
    let mut unfilled = entries.iter_mut();
    let mut end = 0u32;
    meta.column("header_value", total, |code| {
        let code = stream_length(code)?;
        if let Some(entry) = unfilled.next() {
            entry.start = end;
            entry.value_code = code;
            end = add_length(add_length(end, entry.name_length)?, entry.value_length())?;
        }
        Ok(())
    })?;
    Ok(end as usize)
}

type Fault = (ErrorClass, String);

fn stream_length(value: u64) -> std::result::Result<u32, Fault> {
    u32::try_from(value)
        .ok()
        .filter(|length| *length as usize <= limits::BLOCK_RAW_BYTES)
        .ok_or_else(|| (ErrorClass::Limit, format!("a length of {value}")))
}

fn add_length(sum: u32, length: u32) -> std::result::Result<u32, Fault> {
    // Both are at most 2^28, so the sum fits.
    stream_length(u64::from(sum) + u64::from(length))
}

/// The columns that have not been read yet.
struct MetaReader<'a> {
    rest: &'a [u8],
    position: u64,
}

impl MetaReader<'_> {
    fn error(&self, class: ErrorClass, detail: String) -> FormatError {
        FormatError::new(class, "stream META of the block", self.position, detail)
    }

    /// Passes the `count` entries of the next column to `take`.
    fn column(
        &mut self,
        name: &str,
        count: usize,
        take: impl FnMut(u64) -> std::result::Result<(), Fault>,
    ) -> Result<()> {
        self.entries(count, take)
            .map_err(|(class, detail)| self.error(class, format!("column {name}: {detail}")))
    }

    fn entries(
        &mut self,
        count: usize,
        mut take: impl FnMut(u64) -> std::result::Result<(), Fault>,
    ) -> std::result::Result<(), Fault> {
        let cut = || {
            (
                ErrorClass::Inconsistent,
                "cut off, or not a varint".to_owned(),
            )
        };
        let (encoding, rest) = self.rest.split_first().ok_or_else(cut)?;
        self.rest = rest;
        match *encoding {
            COLUMN_CONSTANT if count == 0 => Err((
                ErrorClass::Inconsistent,
                "constant, but without entries".to_owned(),
            )),
            COLUMN_CONSTANT => {
                let value = varint::take(&mut self.rest).ok_or_else(cut)?;
                (0..count).try_for_each(|_| take(value))
            }
            COLUMN_PLAIN => {
                // Each entry takes at least one byte, so a count that META cannot hold fails when its bytes run out.
                (0..count).try_for_each(|_| take(varint::take(&mut self.rest).ok_or_else(cut)?))
            }
            unknown => Err((
                ErrorClass::Unsupported,
                format!("unknown encoding {unknown}"),
            )),
        }
    }
}
