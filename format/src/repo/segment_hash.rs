//! The hash of a segment: BLAKE3 over all its bytes (SPEC section 11.4).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::Hex;

/// The BLAKE3 hash of all bytes of a segment, which its row states and `b3sum` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentHash(pub Hex<32>);

impl SegmentHash {
    /// Returns the hash of a segment with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> SegmentHash {
        SegmentHash(Hex(blake3::hash(bytes).into()))
    }
}

impl fmt::Display for SegmentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Hashes the bytes of a segment as they pass by.
#[derive(Clone, Debug, Default)]
pub struct SegmentHasher(blake3::Hasher);

impl SegmentHasher {
    /// Creates a hasher that has seen no byte.
    #[must_use]
    pub fn new() -> SegmentHasher {
        SegmentHasher::default()
    }

    /// Hashes the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash of the bytes so far.
    #[must_use]
    pub fn hash(&self) -> SegmentHash {
        SegmentHash(Hex(self.0.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the official test vectors: the input is the bytes 0, 1, ... 250, repeated.
    #[test]
    fn it_is_blake3_however_the_bytes_arrive() {
        let input: Vec<u8> = (0..102_400_u32).map(|at| (at % 251) as u8).collect();
        for (length, expected) in [
            (
                0,
                "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            ),
            (
                1,
                "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
            ),
            (
                102_400,
                "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
            ),
        ] {
            let bytes = &input[..length];
            assert_eq!(SegmentHash::of(bytes).to_string(), expected);
            for part in [1, 1_000, 16_384, 65_537] {
                let mut hasher = SegmentHasher::new();
                bytes.chunks(part).for_each(|part| hasher.update(part));
                assert_eq!(hasher.hash().to_string(), expected, "parts of {part}");
            }
        }
    }
}
