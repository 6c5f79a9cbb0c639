//! Codecs of streams: none, zstd, lz4 (SPEC 2.3), with contexts and buffers that are reused.

use std::fmt;
use std::str::FromStr;

use lz4_flex::block::{self as lz4, CompressTable};
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use crate::error::ErrorClass;
use crate::layout::limits;

/// How a stream is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// Uncompressed.
    None = 0,
    /// One Zstandard frame.
    Zstd = 1,
    /// One LZ4 block.
    Lz4 = 2,
}

impl Codec {
    pub(crate) fn from_code(code: u8) -> Option<Codec> {
        match code {
            0 => Some(Codec::None),
            1 => Some(Codec::Zstd),
            2 => Some(Codec::Lz4),
            _ => None,
        }
    }

    /// Returns the most raw bytes that one stored byte can represent: a bound for what is allocated before decoding.
    fn max_raw_bytes_per_byte(self) -> usize {
        match self {
            Codec::None => 1,
            // A block of 128 KiB that repeats one byte takes four (RFC 8878, 3.1.1.2).
            Codec::Zstd => 128 * 1024 / 4,
            // A match grows by 255 bytes with each byte of its length.
            Codec::Lz4 => 255,
        }
    }
}

/// The compression that a writer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    None,
    /// LZ4: fast.
    Lz4,
    /// Zstandard at this level, 1 to 19.
    Zstd(i32),
}

impl Compression {
    /// The levels that [`Compression::Zstd`] accepts.
    pub const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd(3)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Lz4 => f.write_str("lz4"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// Text that does not name a compression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a compression; give `zstd`, `zstd:LEVEL` with a level of 1 to 19, `lz4` or `none`"
)]
pub struct ParseCompressionError(String);

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, ParseCompressionError> {
        let level = |level: &str| {
            let level = level.parse().ok()?;
            Self::ZSTD_LEVELS.contains(&level).then_some(level)
        };
        let compression = match text.split_once(':') {
            None if text == "none" => Some(Compression::None),
            None if text == "lz4" => Some(Compression::Lz4),
            None if text == "zstd" => Some(Compression::default()),
            Some(("zstd", text)) => level(text).map(Compression::Zstd),
            _ => None,
        };
        compression.ok_or_else(|| ParseCompressionError(text.to_owned()))
    }
}

/// Compresses streams with one setting.
pub(crate) struct Compressor {
    engine: Engine,
}

enum Engine {
    None,
    Lz4 {
        table: CompressTable,
        /// Room for the worst case, filled with zeros once instead of for every stream.
        worst_case: Vec<u8>,
    },
    Zstd(CCtx<'static>),
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Compressor {
        let engine = match compression {
            Compression::None => Engine::None,
            Compression::Lz4 => Engine::Lz4 {
                table: CompressTable::large(),
                worst_case: Vec::new(),
            },
            Compression::Zstd(level) => Engine::Zstd(zstd_context(level)),
        };
        Compressor { engine }
    }

    /// Compresses `raw` into `stored` and returns the codec; with [`Codec::None`] the caller stores `raw` itself.
    pub(crate) fn compress(&mut self, raw: &[u8], stored: &mut Vec<u8>) -> Codec {
        stored.clear();
        let codec = match &mut self.engine {
            Engine::None => return Codec::None,
            Engine::Lz4 { table, worst_case } => {
                let bound = lz4::get_maximum_output_size(raw.len());
                if worst_case.len() < bound {
                    worst_case.resize(bound, 0);
                }
                let compressed = lz4::compress_into_with_table(raw, worst_case, table)
                    .ok()
                    .and_then(|length| worst_case.get(..length));
                let Some(compressed) = compressed else {
                    return Codec::None;
                };
                stored.extend_from_slice(compressed);
                Codec::Lz4
            }
            Engine::Zstd(context) => {
                stored.reserve(zstd_safe::compress_bound(raw.len()));
                // The only possible failure is a lack of memory; the stream is then stored raw.
                if context.compress2(stored, raw).is_err() {
                    return Codec::None;
                }
                Codec::Zstd
            }
        };
        if pays(raw.len(), stored.len()) {
            codec
        } else {
            Codec::None
        }
    }
}

/// Returns whether compression saved at least 5 % (SPEC section 3, rule 6).
fn pays(raw: usize, stored: usize) -> bool {
    stored <= raw - raw.div_ceil(20)
}

fn zstd_context(level: i32) -> CCtx<'static> {
    let mut context = CCtx::create();
    // Cannot fail: zstd bounds the level. Up to 19 its windows are at most 8 MiB, SPEC's limit.
    let _ = context.set_parameter(CParameter::CompressionLevel(level));
    context
}

/// Decompresses streams.
pub(crate) struct Decompressor {
    zstd: DCtx<'static>,
}

impl Decompressor {
    pub(crate) fn new() -> Decompressor {
        Decompressor {
            zstd: DCtx::create(),
        }
    }

    /// Decompresses `stored` into `raw`, which must be exactly `raw_length` bytes long.
    ///
    /// The caller has bounded `raw_length` and checked the CRC of `stored`.
    pub(crate) fn decompress(
        &mut self,
        codec: Codec,
        stored: &[u8],
        raw_length: usize,
        raw: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        raw.clear();
        let most = stored.len().saturating_mul(codec.max_raw_bytes_per_byte());
        if raw_length > most {
            let detail = format!("{} bytes cannot decode to {raw_length}", stored.len());
            return Err(inconsistent(detail));
        }
        let found = match codec {
            Codec::None => {
                if stored.len() == raw_length {
                    raw.extend_from_slice(stored);
                }
                stored.len()
            }
            Codec::Zstd => self.decompress_zstd(stored, raw_length, raw)?,
            Codec::Lz4 => {
                raw.resize(raw_length, 0);
                lz4::decompress_into(stored, raw).map_err(|e| inconsistent(format!("lz4: {e}")))?
            }
        };
        if found == raw_length {
            Ok(())
        } else {
            let detail = format!("decodes to {found} bytes, expected {raw_length}");
            Err(inconsistent(detail))
        }
    }

    fn decompress_zstd(
        &mut self,
        stored: &[u8],
        raw_length: usize,
        raw: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        let name = |code| inconsistent(format!("zstd: {}", zstd_safe::get_error_name(code)));
        // The library would decode several frames as one.
        let frame = zstd_safe::find_frame_compressed_size(stored).map_err(name)?;
        if frame != stored.len() {
            let after = stored.len() - frame;
            return Err(inconsistent(format!("zstd: {after} bytes after the frame")));
        }
        match zstd_safe::get_frame_content_size(stored) {
            Ok(Some(size)) if size == raw_length as u64 => {}
            Ok(Some(size)) => {
                let detail = format!("the zstd frame states {size} bytes, expected {raw_length}");
                return Err(inconsistent(detail));
            }
            _ => {
                let detail = "the zstd frame does not state its content size";
                return Err(inconsistent(detail.to_owned()));
            }
        }
        let window = zstd_window(stored).unwrap_or(raw_length as u64);
        if window > limits::ZSTD_WINDOW {
            let detail = format!(
                "a zstd window of {window} bytes; the limit is {}",
                limits::ZSTD_WINDOW
            );
            return Err((ErrorClass::Limit, detail));
        }
        raw.reserve(raw_length);
        self.zstd.decompress(raw, stored).map_err(name)
    }
}

/// A defect of stored bytes: its class and detail.
type Fault = (ErrorClass, String);

fn inconsistent(detail: String) -> Fault {
    (ErrorClass::Inconsistent, detail)
}

/// Returns the window that a zstd frame requires (RFC 8878, 3.1.1.1.2); `None` where it is the content itself.
fn zstd_window(frame: &[u8]) -> Option<u64> {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let descriptor = frame.get(4)?;
    if descriptor & SINGLE_SEGMENT != 0 {
        return None;
    }
    let window = frame.get(5)?;
    let base = 1u64 << (10 + (window >> 3));
    Some(base + base / 8 * u64::from(window & 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_formatted_as_they_are_parsed() {
        for text in ["none", "lz4", "zstd:1", "zstd:19"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("zstd".parse(), Ok(Compression::Zstd(3)));
        for text in [
            "", "gzip", "ZSTD", "zstd:", "zstd:0", "zstd:20", "zstd:x", "lz4:1", "none:",
        ] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
