//! Compression of what batches hold.

use std::io::Write;

use lz4_flex::block::CompressTable;
use zstd::zstd_safe::{self, CCtx, CParameter};

use super::codec::BatchCodec;
use super::inflate::{Fault, inconsistent};
use super::{lz4_frame, snappy_frame};

/// Compresses with one codec at its usual level, which is that of Kafka's clients.
pub(super) struct Deflater {
    engine: Engine,
}

enum Engine {
    None,
    Gzip,
    Snappy(Box<snap::raw::Encoder>),
    Lz4(CompressTable),
    Zstd(CCtx<'static>),
}

impl Deflater {
    pub(super) fn new(codec: BatchCodec) -> Deflater {
        const ZSTD_LEVEL: i32 = 3;
        let engine = match codec {
            BatchCodec::None => Engine::None,
            BatchCodec::Gzip => Engine::Gzip,
            BatchCodec::Snappy => Engine::Snappy(Box::new(snap::raw::Encoder::new())),
            BatchCodec::Lz4 => Engine::Lz4(CompressTable::large()),
            BatchCodec::Zstd => {
                let mut context = CCtx::create();
                // Cannot fail: the level is one of zstd's.
                let _ = context.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL));
                Engine::Zstd(context)
            }
        };
        Deflater { engine }
    }

    /// Appends `raw`, compressed.
    pub(super) fn deflate(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match &mut self.engine {
            Engine::None => out.extend_from_slice(raw),
            Engine::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(&mut *out, level);
                let written = encoder.write_all(raw).and_then(|()| encoder.try_finish());
                written.map_err(|error| inconsistent(BatchCodec::Gzip, error))?;
            }
            Engine::Snappy(encoder) => snappy_frame::deflate(encoder, raw, out)?,
            Engine::Lz4(table) => lz4_frame::deflate(raw, table, out),
            Engine::Zstd(context) => {
                out.reserve(zstd_safe::compress_bound(raw.len()));
                let filled = out.len();
                let mut room = zstd_safe::OutBuffer::around_pos(out, filled);
                let mut input = zstd_safe::InBuffer::around(raw);
                let end = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end;
                // One call completes the frame: there is room for the worst case.
                let left = context
                    .compress_stream2(&mut room, &mut input, end)
                    .map_err(|code| {
                        inconsistent(BatchCodec::Zstd, zstd_safe::get_error_name(code))
                    })?;
                debug_assert_eq!(left, 0, "the frame is complete");
            }
        }
        Ok(())
    }
}
