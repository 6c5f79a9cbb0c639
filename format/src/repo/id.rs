//! Ids and digests: byte strings of a fixed length, written as lower-case hex.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `N` bytes, written as 2 * `N` lower-case hex digits; no other spelling is accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// The id of a repository, topic or segment, or the nonce of a commit.
pub type Id = Hex<16>;

/// A SHA-256.
pub type Digest = Hex<32>;

impl<const N: usize> Hex<N> {
    /// Zeros: the topic id where the cluster gave none.
    pub const ZERO: Self = Hex([0; N]);

    /// The largest value.
    pub(super) const MAX: Self = Hex([u8::MAX; N]);

    /// Returns the first `M` bytes, which appear in object names.
    pub(super) fn prefix<const M: usize>(&self) -> Hex<M> {
        const { assert!(M <= N, "a prefix is no longer than the whole") };
        let mut prefix = [0; M];
        prefix.copy_from_slice(self.0.split_at(M).0);
        Hex(prefix)
    }
}

impl Id {
    /// Creates a random id.
    ///
    /// # Panics
    ///
    /// If the operating system provides no random bytes; the standard library's maps do the same.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "without random bytes no id is safe to use"
    )]
    pub fn random() -> Self {
        #[cfg(test)]
        if let Some(id) = seeded::next() {
            return id;
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
        Hex(bytes)
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not the expected number of lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hex digits")]
pub struct ParseHexError {
    digits: usize,
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, ParseHexError> {
        let error = ParseHexError { digits: 2 * N };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(error);
        };
        if pairs.len() != N {
            return Err(error);
        }
        let mut bytes = [0; N];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high).ok_or(error)? << 4 | digit(*low).ok_or(error)?;
        }
        Ok(Hex(bytes))
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Ids that are the same in every run, for simulations.
#[cfg(test)]
pub(super) mod seeded {
    use std::cell::Cell;

    use super::{Hex, Id};

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on, random ids of this thread follow from `seed`.
    pub(in crate::repo) fn seed(seed: u64) {
        STATE.set(Some(seed));
    }

    /// Returns whether this thread simulates.
    pub(in crate::repo) fn is_on() -> bool {
        STATE.get().is_some()
    }

    pub(super) fn next() -> Option<Id> {
        let state = STATE.get()?.wrapping_add(1);
        STATE.set(Some(state));
        let mixed = u128::from(state).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Some(Hex(mixed.to_be_bytes()))
    }
}
