//! How batches are compressed on their way to a target.

use crate::kafka::{BatchCodec, ClientSettings};

/// How the batches of a target are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetCodec {
    /// The codec of batches that are built from records.
    pub(crate) codec: BatchCodec,
    /// Whether the user or the topic asks for it, so that batches of the backup with another codec are built again.
    pub(crate) is_asked: bool,
}

/// Returns the codec for a target with this `compression.type`, unless the user has set one: a broker compresses again what arrives in
/// another one.
///
/// Most topics leave the codec to their producers. Batches that are in the backup as they were keep theirs, and of records that are not, backups
/// do not store what it was. Those are then compressed cheaply: what was compressed in the source would need several times the space, and what
/// was not costs little. Where a record only fits compressed, the densest codec is the one to try.
pub(crate) fn for_target(
    kafka: &ClientSettings,
    compression_type: Option<&str>,
    must_shrink: bool,
) -> TargetCodec {
    let given = kafka.batch_codec();
    let asked = given.or_else(|| BatchCodec::named(compression_type?));
    TargetCodec {
        codec: asked.unwrap_or(match must_shrink {
            true => BatchCodec::Zstd,
            false => BatchCodec::Lz4,
        }),
        is_asked: asked.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(overrides: &[(&str, &str)]) -> ClientSettings {
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ClientSettings::new(Some("broker:9092"), None, &overrides).unwrap()
    }

    #[test]
    fn batches_are_compressed_as_their_target_asks() {
        let kafka = settings(&[]);
        for (compression_type, must_shrink, codec, is_asked) in [
            (Some("gzip"), false, BatchCodec::Gzip, true),
            (Some("snappy"), true, BatchCodec::Snappy, true),
            (Some("uncompressed"), true, BatchCodec::None, true),
            (Some("producer"), false, BatchCodec::Lz4, false),
            (Some("producer"), true, BatchCodec::Zstd, false),
            (None, false, BatchCodec::Lz4, false),
            (Some("a codec of Kafka 9"), false, BatchCodec::Lz4, false),
        ] {
            let found = for_target(&kafka, compression_type, must_shrink);
            let expected = TargetCodec { codec, is_asked };
            assert_eq!(found, expected, "{compression_type:?} {must_shrink}");
        }
    }

    #[test]
    fn the_users_codec_wins() {
        for key in ["compression.type", "compression.codec"] {
            let kafka = settings(&[(key, "zstd")]);
            let expected = TargetCodec {
                codec: BatchCodec::Zstd,
                is_asked: true,
            };
            assert_eq!(for_target(&kafka, Some("gzip"), false), expected, "{key}");
        }
    }
}
