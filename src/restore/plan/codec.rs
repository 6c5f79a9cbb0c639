//! How batches are compressed on their way to a target.

use crate::kafka::{BatchCodec, ClientSettings};

/// Returns the codec for a target with this `compression.type`, unless the user has set one: a broker compresses again what arrives in
/// another one.
///
/// Most topics leave the codec to their producers, and backups do not store what those chose. Records are then compressed cheaply: what was
/// compressed in the source would need several times the space, and what was not costs little. Where a record only fits compressed, the
/// densest codec is the one to try.
pub(crate) fn for_target(
    kafka: &ClientSettings,
    compression_type: Option<&str>,
    must_shrink: bool,
) -> BatchCodec {
    let given = kafka.batch_codec();
    let asked = || BatchCodec::named(compression_type?);
    given.or_else(asked).unwrap_or(match must_shrink {
        true => BatchCodec::Zstd,
        false => BatchCodec::Lz4,
    })
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
        for (compression_type, must_shrink, codec) in [
            (Some("gzip"), false, BatchCodec::Gzip),
            (Some("snappy"), true, BatchCodec::Snappy),
            (Some("uncompressed"), true, BatchCodec::None),
            (Some("producer"), false, BatchCodec::Lz4),
            (Some("producer"), true, BatchCodec::Zstd),
            (None, false, BatchCodec::Lz4),
            (Some("a codec of Kafka 9"), false, BatchCodec::Lz4),
        ] {
            let found = for_target(&kafka, compression_type, must_shrink);
            assert_eq!(found, codec, "{compression_type:?} {must_shrink}");
        }
    }

    #[test]
    fn the_users_codec_wins() {
        for key in ["compression.type", "compression.codec"] {
            let kafka = settings(&[(key, "zstd")]);
            assert_eq!(
                for_target(&kafka, Some("gzip"), false),
                BatchCodec::Zstd,
                "{key}"
            );
        }
    }
}
