//! How a producer compresses the batches of a topic.

/// A codec of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchCodec {
    /// Batches are not compressed.
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
    fn names_round_trip() {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            assert_eq!(BatchCodec::named(codec).map(BatchCodec::name), Some(codec));
        }
    }
}
