//! Decompression of what batches hold, within a bound.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::{self, DCtx, InBuffer, OutBuffer, ResetDirective};

use super::codec::BatchCodec;
use super::{lz4_frame, snappy_frame};
use crate::error::ErrorClass;

/// The most that one batch may decompress to. Kafka has no limit of its own for this.
pub const DECODED_BYTES: usize = 1 << 30;

/// The buffer grows by at least this much.
const CHUNK: usize = 64 << 10;

/// A defect of compressed bytes: its class and detail.
pub(super) type Fault = (ErrorClass, String);

pub(super) fn inconsistent(codec: BatchCodec, detail: impl std::fmt::Display) -> Fault {
    let detail = format!("{}: {detail}", codec.name());
    (ErrorClass::Inconsistent, detail)
}

pub(super) fn too_large(limit: usize) -> Fault {
    let detail = format!("decompresses to more than {limit} bytes");
    (ErrorClass::Limit, detail)
}

/// Decompresses, with contexts that are reused.
pub(super) struct Inflater {
    zstd: Option<DCtx<'static>>,
    snappy: snap::raw::Decoder,
}

impl Inflater {
    pub(super) fn new() -> Inflater {
        Inflater {
            zstd: None,
            snappy: snap::raw::Decoder::new(),
        }
    }

    /// Fills `raw`, at most `limit` bytes, with what `stored` decompresses to. `magic` is the format of the batch.
    pub(super) fn inflate(
        &mut self,
        codec: BatchCodec,
        magic: u8,
        stored: &[u8],
        limit: usize,
        raw: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        raw.clear();
        match codec {
            BatchCodec::None => {
                raw.extend_from_slice(stored);
                Ok(())
            }
            BatchCodec::Gzip => gzip(stored, limit, raw),
            BatchCodec::Snappy => snappy_frame::inflate(&mut self.snappy, stored, limit, raw),
            // The checksum of v0's frame headers covers the magic, too (KAFKA-3160): no client checks it.
            BatchCodec::Lz4 => lz4_frame::inflate(stored, magic > 0, limit, raw),
            BatchCodec::Zstd => {
                let context = self.zstd.get_or_insert_with(DCtx::create);
                zstd(context, stored, limit, raw)
            }
        }
    }
}

fn gzip(stored: &[u8], limit: usize, raw: &mut Vec<u8>) -> Result<(), Fault> {
    let mut decoder = MultiGzDecoder::new(stored).take(limit as u64 + 1);
    decoder
        .read_to_end(raw)
        .map_err(|error| inconsistent(BatchCodec::Gzip, error))?;
    match raw.len() > limit {
        true => Err(too_large(limit)),
        false => Ok(()),
    }
}

/// Decompresses frames that follow each other, whether or not they state their content's size.
fn zstd(
    context: &mut DCtx<'static>,
    stored: &[u8],
    limit: usize,
    raw: &mut Vec<u8>,
) -> Result<(), Fault> {
    let fault = |detail: &str| inconsistent(BatchCodec::Zstd, detail);
    let name = |code| match zstd_safe::get_error_name(code) {
        // Of a window above 128 MiB, zstd's own limit.
        name if name.contains("too much memory") => (ErrorClass::Limit, format!("zstd: {name}")),
        name => fault(name),
    };
    context.reset(ResetDirective::SessionOnly).map_err(name)?;
    let mut input = InBuffer::around(stored);
    loop {
        if raw.len() == raw.capacity() {
            // No more than may come out, and one byte that shows that more would.
            let most = limit.saturating_add(1).saturating_sub(raw.len());
            raw.reserve_exact(raw.len().max(CHUNK).min(most));
        }
        let filled = raw.len();
        let room = raw.capacity() - filled;
        let mut output = OutBuffer::around_pos(raw, filled);
        let left = context
            .decompress_stream(&mut output, &mut input)
            .map_err(name)?;
        let produced = raw.len() - filled;
        if raw.len() > limit {
            return Err(too_large(limit));
        }
        if input.pos() == stored.len() {
            match left {
                0 => return Ok(()),
                // It had room for more, and no bytes to make it of.
                _ if produced < room => return Err(fault("the frame is cut off")),
                _ => {}
            }
        }
    }
}
