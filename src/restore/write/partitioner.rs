//! The partition of a record by its key, as Java's default partitioner computes it.

use kbk_format::PartitionNumber;

/// Distributes the records of one source partition over the partitions of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partitioner {
    partitions: usize,
    /// The partition of records without a key.
    keyless: usize,
}

impl Partitioner {
    /// Distributes partition `source` over `partitions`. Records without a key stay together, which keeps their order; a producer would
    /// scatter them.
    ///
    /// # Panics
    ///
    /// Over no partitions: a manifest that distributes by key has at least one target.
    pub(crate) fn new(source: PartitionNumber, partitions: usize) -> Partitioner {
        assert!(partitions > 0, "records need a partition to go to");
        Partitioner {
            partitions,
            keyless: source.index() % partitions,
        }
    }

    /// Returns the partition of a record with this key.
    pub(crate) fn partition(&self, key: Option<&[u8]>) -> usize {
        match key {
            // Kafka's Utils.toPositive clears the sign bit; it does not take the absolute value.
            Some(key) => (murmur2(key) & 0x7fff_ffff) as usize % self.partitions,
            None => self.keyless,
        }
    }
}

/// 32-bit MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // Kafka's lengths have 31 bits, so no key is longer.
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

    /// The values of Apache Kafka's own UtilsTest.
    #[test]
    fn hashes_equal_kafkas() {
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
    fn keys_decide_the_partition_and_null_keys_follow_their_source() {
        for partitions in 1..20 {
            for source in 0..40_u16 {
                let partitioner = Partitioner::new(source.into(), partitions);
                let expected = usize::from(source) % partitions;
                assert_eq!(partitioner.partition(None), expected);
                let key = source.to_be_bytes();
                let found = partitioner.partition(Some(&key));
                assert!((0..partitions).contains(&found));
                let other = Partitioner::new((source + 1).into(), partitions);
                assert_eq!(found, other.partition(Some(&key)));
            }
        }
        // An empty key is a key like any other.
        let empty = [1, 2, 3, 4]
            .map(|partitions| Partitioner::new(7.into(), partitions).partition(Some(b"")));
        assert_eq!(empty, [0, 1, 0, 1]);
    }
}
