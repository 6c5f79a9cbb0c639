//! Sealed JSON: one JSON object that ends in its own SHA-256 (SPEC section 11.2).
//!
//! ```text
//! { ... ,"sha256":"<hex>"}\n
//! ```
//!
//! The digest is over every byte before its comma, and the rest has only one valid form, so that no
//! byte can change undetected. The digest also names the object wherever another refers to it.

use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::id::{Digest, Hex};
use crate::layout::limits;

/// The largest sealed object that is read or written (SPEC section 6).
pub const MAX_SEALED_BYTES: u64 = limits::JSON_BYTES;

const BEFORE_DIGEST: &[u8] = br#","sha256":""#;
const AFTER_DIGEST: &[u8] = b"\"}\n";
const SEAL_BYTES: usize = BEFORE_DIGEST.len() + 64 + AFTER_DIGEST.len();

/// A kind of sealed object. Each has the members `format` and `version`, which are written and
/// checked here.
pub(super) trait Document: Serialize + DeserializeOwned {
    const FORMAT: &'static str;
    const VERSION: u32 = 1;
}

/// The content of a sealed object, with the digest that names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Digested<T> {
    /// The content.
    pub value: T,
    /// The digest by which other objects refer to it.
    pub sha256: Digest,
}

impl<T> Deref for Digested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Why bytes are not the expected sealed object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SealError {
    /// The bytes are not those that were written.
    Damaged(String),
    /// Intact, and another kind of object: its `format`.
    OtherFormat(String),
    /// Intact, and of this later version.
    NewerVersion(u32),
    /// Intact, and of this earlier version, which nothing reads any more.
    OlderVersion(u32),
    /// Intact, with a row of this kind of a later version.
    UnknownRow(String),
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    format: &'static str,
    version: u32,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
    /// The seal as a JSON member: serde refuses a second one of this name.
    #[serde(rename = "sha256")]
    _sha256: Digest,
}

/// Returns the bytes of `body` as a sealed object, and its digest.
#[expect(
    clippy::expect_used,
    reason = "documents are our own types, whose maps have string keys only, so JSON can represent them"
)]
pub(super) fn seal<T: Document>(body: &T) -> (Vec<u8>, Digest) {
    let envelope = Envelope {
        format: T::FORMAT,
        version: T::VERSION,
        body,
    };
    let mut bytes = serde_json::to_vec(&envelope).expect("documents have string keys only");
    assert_eq!(bytes.pop(), Some(b'}'), "a document is an object");
    let sha256 = digest(&bytes);
    bytes.extend_from_slice(BEFORE_DIGEST);
    bytes.extend_from_slice(sha256.to_string().as_bytes());
    bytes.extend_from_slice(AFTER_DIGEST);
    (bytes, sha256)
}

/// Checks the seal, then reads what it covers.
pub(super) fn unseal<T: Document>(bytes: &[u8]) -> Result<Digested<T>, SealError> {
    let sha256 = check_seal(bytes).map_err(SealError::Damaged)?;
    let json = |error: serde_json::Error| {
        SealError::Damaged(format!("its seal is valid and its JSON is not: {error}"))
    };
    let head: Head = serde_json::from_slice(bytes).map_err(json)?;
    if head.format != T::FORMAT {
        return Err(SealError::OtherFormat(head.format));
    }
    if head.version > u64::from(T::VERSION) {
        let found = u32::try_from(head.version).unwrap_or(u32::MAX);
        return Err(SealError::NewerVersion(found));
    }
    if head.version < u64::from(T::VERSION) {
        let found = u32::try_from(head.version).unwrap_or(0);
        return Err(match found {
            0 => SealError::Damaged("its version is 0, and the first is 1".to_owned()),
            _ => SealError::OlderVersion(found),
        });
    }
    let value = serde_json::from_slice(bytes).map_err(json)?;
    Ok(Digested { value, sha256 })
}

fn check_seal(bytes: &[u8]) -> Result<Digest, String> {
    let stated = bytes
        .split_last_chunk::<SEAL_BYTES>()
        .and_then(|(body, seal)| Some((body, read_seal(seal)?)));
    let Some((body, stated)) = stated else {
        let length = bytes.len();
        return Err(format!(
            "its {length} bytes do not end in a \"sha256\" member"
        ));
    };
    let found = digest(body);
    if found != stated {
        return Err(format!(
            "it states the SHA-256 {stated}, its bytes have {found}"
        ));
    }
    Ok(stated)
}

fn read_seal(seal: &[u8]) -> Option<Digest> {
    let hex = seal
        .strip_prefix(BEFORE_DIGEST)?
        .strip_suffix(AFTER_DIGEST)?;
    str::from_utf8(hex).ok()?.parse().ok()
}

fn digest(bytes: &[u8]) -> Digest {
    Hex(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        number: i64,
    }

    impl Document for Note {
        const FORMAT: &'static str = "kbk-note";
    }

    fn note() -> Note {
        Note {
            text: "a \"quoted\" line\n, and a } brace".into(),
            number: i64::MIN,
        }
    }

    fn resealed(json: &str) -> Vec<u8> {
        let body = json.strip_suffix('}').unwrap();
        let digest = digest(body.as_bytes());
        format!("{body},\"sha256\":\"{digest}\"}}\n").into_bytes()
    }

    #[test]
    fn the_form_matches_the_specification() {
        let (bytes, sha256) = seal(&note());
        let expected = r#"{"format":"kbk-note","version":1,"text":"a \"quoted\" line\n, and a } brace","number":-9223372036854775808"#;
        let text = format!("{expected},\"sha256\":\"{sha256}\"}}\n");
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(SEAL_BYTES, 78, "77 bytes and a line feed");
        assert_eq!(
            unseal(&bytes),
            Ok(Digested {
                value: note(),
                sha256
            })
        );
    }

    #[test]
    fn every_flipped_bit_and_every_missing_or_added_byte_is_detected() {
        let (bytes, _) = seal(&note());
        let damaged = |bytes: &[u8]| matches!(unseal::<Note>(bytes), Err(SealError::Damaged(_)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(damaged(&flipped), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(damaged(&bytes[..length]), "cut to {length}");
        }
        for byte in [b'\n', b' ', 0] {
            assert!(damaged(&[&bytes[..], &[byte]].concat()));
            assert!(damaged(&[&[byte], &bytes[..]].concat()));
        }
    }

    #[test]
    fn unknown_members_are_ignored_and_other_documents_are_refused() {
        let json = r#"{"format":"kbk-note","version":1,"new":[1],"text":"x","number":2}"#;
        assert_eq!(unseal::<Note>(&resealed(json)).unwrap().number, 2);

        let refused = |json: &str| unseal::<Note>(&resealed(json)).unwrap_err();
        let later = json.replace("\"version\":1", "\"version\":2");
        assert_eq!(refused(&later), SealError::NewerVersion(2));
        let latest = json.replace("\"version\":1", "\"version\":18446744073709551615");
        assert_eq!(refused(&latest), SealError::NewerVersion(u32::MAX));
        let large = json.replace("\"number\":2", "\"number\":9007199254740993");
        assert_eq!(
            unseal::<Note>(&resealed(&large)).unwrap().number,
            9_007_199_254_740_993,
            "2^53 + 1"
        );
        let other = json.replace("kbk-note", "kbk-page");
        assert_eq!(refused(&other), SealError::OtherFormat("kbk-page".into()));
        for wrong in [
            json.replace("\"version\":1", "\"version\":0"),
            json.replace("\"number\":2", "\"number\":\"2\""),
            json.replace(",\"number\":2", ""),
            json.replace("\"number\":2", "\"number\":2.0"),
            json.replace("\"number\":2", "\"number\":2e0"),
            json.replace("\"number\":2", "\"number\":-0"),
            json.replace("\"number\":2", "\"number\":9223372036854775808"),
            json.replace("\"new\":[1]", "\"sha256\":\"\""),
            json.replace("\"version\":1", "\"version\":-1"),
            json.replace("\"number\":2", "\"number\":2,\"number\":3"),
            "{\"format\"}".into(),
        ] {
            assert!(matches!(refused(&wrong), SealError::Damaged(_)), "{wrong}");
        }
    }
}
