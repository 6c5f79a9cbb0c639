//! Which partition of a topic a record goes to by its key, as Java's default partitioner decides.

/// How the records of one partition of the backup are spread over the partitions of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partitioner {
    partitions: i32,
    /// Where records without a key go.
    keyless: i32,
}

impl Partitioner {
    /// Of partition `source`, over so many partitions, at least one. Records without a key stay together, so that their order
    /// stays too; a producer would scatter them.
    pub(crate) fn new(source: i32, partitions: i32) -> Partitioner {
        let partitions = partitions.max(1);
        Partitioner {
            partitions,
            keyless: source % partitions,
        }
    }

    /// Where a record with this key goes.
    pub(crate) fn partition(&self, key: Option<&[u8]>) -> i32 {
        match key {
            Some(key) => (murmur2(key) & 0x7fff_ffff).cast_signed() % self.partitions,
            None => self.keyless,
        }
    }
}

/// MurmurHash2 of 32 bits with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // Of the length Kafka knows 31 bits, and no key has more.
    let mut hash = SEED ^ (key.len() as u32);
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Apache Kafka's own UtilsTest expects.
    #[test]
    fn hashes_are_kafkas() {
        for (key, expected) in [
            (&b"21"[..], -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn every_key_has_a_partition_and_null_keeps_to_its_own() {
        for partitions in 1..20 {
            for source in 0..40 {
                let partitioner = Partitioner::new(source, partitions);
                assert_eq!(partitioner.partition(None), source % partitions);
                let key = source.to_be_bytes();
                let found = partitioner.partition(Some(&key));
                assert!((0..partitions).contains(&found));
                let elsewhere = Partitioner::new(source + 1, partitions);
                assert_eq!(found, elsewhere.partition(Some(&key)));
            }
        }
        // Empty is a key like any other.
        let empty =
            [1, 2, 3, 4].map(|partitions| Partitioner::new(7, partitions).partition(Some(b"")));
        assert_eq!(empty, [0, 1, 0, 1]);
    }
}
