//! `--key`: a record's key as text, in hex or in base64.

use std::ffi::OsString;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

/// The bytes of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey(pub Vec<u8>);

/// Text that is not a key.
#[derive(Debug, thiserror::Error)]
pub enum RecordKeyError {
    /// Not hex.
    #[error(
        "`{0}` is not hex; give two digits per byte, such as `0a1b`, or nothing for the empty key"
    )]
    Hex(String),
    /// Not base64.
    #[error("`{0}` is not base64; give what `key_base64` is in the output, with its padding")]
    Base64(String),
}

impl RecordKey {
    /// Returns the key whose bytes are those of the argument.
    pub fn text(text: OsString) -> RecordKey {
        RecordKey(text.as_encoded_bytes().to_vec())
    }

    /// Reads a key in hex.
    pub fn hex(text: &str) -> Result<RecordKey, RecordKeyError> {
        let decoded = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let decoded = decoded.map_err(|_| RecordKeyError::Hex(text.to_owned()));
        decoded.map(RecordKey)
    }

    /// Reads a key in base64, as records are printed.
    pub fn base64(text: &str) -> Result<RecordKey, RecordKeyError> {
        let decoded = BASE64.decode(text.as_bytes());
        let decoded = decoded.map_err(|_| RecordKeyError::Base64(text.to_owned()));
        decoded.map(RecordKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_bytes_in_any_form() {
        assert_eq!(RecordKey::text("ä".into()).0, "ä".as_bytes());
        assert_eq!(RecordKey::hex("00fF").unwrap().0, [0, 0xff]);
        assert_eq!(RecordKey::hex("").unwrap().0, b"");
        assert_eq!(RecordKey::base64("/wA=").unwrap().0, [0xff, 0]);
        assert_eq!(RecordKey::base64("").unwrap().0, b"");
    }

    #[test]
    fn what_is_not_a_key_is_refused_with_the_form() {
        for text in ["0", "0g", " 00", "0x00"] {
            let error = RecordKey::hex(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}` is not hex")), "{error}");
        }
        for text in ["/wA", "a", "-_==", "/wB="] {
            let error = RecordKey::base64(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{text}` is not base64")),
                "{error}"
            );
        }
    }
}
