//! `--key-filter`: which segments have a key filter, and how selective it is.

use std::fmt;
use std::str::FromStr;

use kbk_format::KeyFilterBits;
use kbk_tools::compact::KeyFilters;

/// The value of `--key-filter`: nothing, a number of bits, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFilterArg(KeyFilters);

/// Text that is no such value.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither a number from 0 to {most} nor `none`; give a number of bits, as in `--key-filter=10`", most = KeyFilterBits::MOST)]
pub struct KeyFilterArgError(String);

impl KeyFilterArg {
    /// What it asks of segments.
    pub fn filters(self) -> KeyFilters {
        self.0
    }
}

impl FromStr for KeyFilterArg {
    type Err = KeyFilterArgError;

    fn from_str(text: &str) -> Result<KeyFilterArg, KeyFilterArgError> {
        let filters = match text {
            "" => KeyFilters::All(None),
            "none" => KeyFilters::Dropped,
            bits => {
                let bits = bits.parse().ok().and_then(KeyFilterBits::new);
                KeyFilters::All(Some(
                    bits.ok_or_else(|| KeyFilterArgError(text.to_owned()))?,
                ))
            }
        };
        Ok(KeyFilterArg(filters))
    }
}

impl fmt::Display for KeyFilterArg {
    /// Writes the option as it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            KeyFilters::All(Some(bits)) => write!(f, "--key-filter={bits}"),
            KeyFilters::Dropped => f.write_str("--key-filter=none"),
            KeyFilters::All(None) | KeyFilters::Kept => f.write_str("--key-filter"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_none_and_nothing_are_told_apart() {
        for (text, shown) in [
            ("", "--key-filter"),
            ("none", "--key-filter=none"),
            ("0", "--key-filter=0"),
            ("20", "--key-filter=20"),
        ] {
            assert_eq!(text.parse::<KeyFilterArg>().unwrap().to_string(), shown);
        }
        for text in ["21", "-1", "ten", "1.5", " 8"] {
            assert!(text.parse::<KeyFilterArg>().is_err(), "{text}");
        }
    }
}
