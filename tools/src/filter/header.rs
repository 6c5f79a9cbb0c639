//! Selects records by a header.

use std::convert::Infallible;
use std::str::FromStr;

use kbk_format::Record;

/// A header that a record must have: by its name, and perhaps by its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// The name, byte by byte.
    pub name: Vec<u8>,
    /// The value, byte by byte; `None` for any value, null included.
    pub value: Option<Vec<u8>>,
}

impl HeaderCondition {
    /// Returns whether one of the record's headers is such a one: a name may occur several times.
    pub(super) fn holds(&self, record: &Record<'_>) -> bool {
        record.headers.clone().any(|header| {
            let value = self.value.as_deref();
            header.name == self.name && (value.is_none() || header.value == value)
        })
    }
}

impl FromStr for HeaderCondition {
    type Err = Infallible;

    /// Reads `NAME` or `NAME=VALUE`: the first `=` ends the name.
    fn from_str(text: &str) -> Result<HeaderCondition, Infallible> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.as_bytes().to_vec())),
            None => (text, None),
        };
        Ok(HeaderCondition {
            name: name.as_bytes().to_vec(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::{Header, Headers};

    use super::*;

    #[test]
    fn any_of_several_headers_of_the_name_may_have_the_value() {
        let header = |name, value| Header { name, value };
        let headers = [
            header(b"a".as_slice(), Some(b"1".as_slice())),
            header(b"a", None),
            header(b"a", Some(b"x=y")),
            header(b"", Some(b"")),
        ];
        let record = Record {
            offset: 0,
            timestamp: 0,
            control: false,
            key: None,
            value: None,
            headers: Headers::Slice(&headers),
        };
        let holds = |text: &str| text.parse::<HeaderCondition>().unwrap().holds(&record);
        assert!(["a", "a=1", "a=x=y", "", "="].into_iter().all(holds));
        assert!(!["A", "a=2", "a=", "b"].into_iter().any(holds));
    }
}
