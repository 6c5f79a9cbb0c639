//! How a batch is compressed.

/// A codec of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BatchCodec {
    /// Batches are not compressed.
    #[default]
    None,
    /// Deflate.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl BatchCodec {
    /// Returns the codec that `compression.type` of a topic, or of a producer, names. A topic that leaves it to its producers names none.
    #[must_use]
    pub fn named(name: &str) -> Option<BatchCodec> {
        match name {
            "none" | "uncompressed" => Some(BatchCodec::None),
            "gzip" => Some(BatchCodec::Gzip),
            "snappy" => Some(BatchCodec::Snappy),
            "lz4" => Some(BatchCodec::Lz4),
            "zstd" => Some(BatchCodec::Zstd),
            _ => None,
        }
    }

    /// Returns its name in `compression.type` of a producer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BatchCodec::None => "none",
            BatchCodec::Gzip => "gzip",
            BatchCodec::Snappy => "snappy",
            BatchCodec::Lz4 => "lz4",
            BatchCodec::Zstd => "zstd",
        }
    }

    /// Returns how many bytes its format can express in one byte at most, whatever they are: a batch that exceeds a limit by more cannot
    /// fit.
    #[must_use]
    pub fn highest_ratio(self) -> u64 {
        match self {
            BatchCodec::None => 1,
            // Two bits for 258 bytes (RFC 1951).
            BatchCodec::Gzip => 1032,
            // Three bytes, or two, for 64 (format_description.txt of snappy), rounded up.
            BatchCodec::Snappy => 32,
            // A length grows by 255 with each byte (lz4_Block_format.md).
            BatchCodec::Lz4 => 255,
            // Four bytes for a block of 128 KiB of the same byte (RFC 8878).
            BatchCodec::Zstd => 32_768,
        }
    }

    /// Returns the codec with this number in a batch's attributes.
    pub(super) fn from_code(code: i16) -> Option<BatchCodec> {
        match code {
            0 => Some(BatchCodec::None),
            1 => Some(BatchCodec::Gzip),
            2 => Some(BatchCodec::Snappy),
            3 => Some(BatchCodec::Lz4),
            4 => Some(BatchCodec::Zstd),
            _ => None,
        }
    }

    /// Returns its number in a batch's attributes.
    pub(crate) fn code(self) -> i16 {
        match self {
            BatchCodec::None => 0,
            BatchCodec::Gzip => 1,
            BatchCodec::Snappy => 2,
            BatchCodec::Lz4 => 3,
            BatchCodec::Zstd => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_leaves_it_to_producers_names_no_codec() {
        assert_eq!(BatchCodec::named("producer"), None);
        assert_eq!(BatchCodec::named("uncompressed"), Some(BatchCodec::None));
    }

    #[test]
    fn names_and_numbers_round_trip() {
        for (code, name) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
            let codec = BatchCodec::named(name).unwrap();
            assert_eq!((codec.name(), codec.code()), (name, code));
            assert_eq!(BatchCodec::from_code(code), Some(codec));
        }
    }
}
