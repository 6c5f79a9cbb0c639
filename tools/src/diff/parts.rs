//! In which parts two records differ.

use kbk_format::Record;

/// Returns the names of the parts in which two records differ: `key`, `value`, `headers`, `timestamp`. Offsets are not compared.
#[must_use]
pub fn differing_parts(one: &Record<'_>, other: &Record<'_>) -> Vec<&'static str> {
    let headers = || one.headers.clone().eq(other.headers.clone());
    let parts = [
        ("key", one.key == other.key),
        ("value", one.value == other.value),
        ("headers", headers()),
        ("timestamp", one.timestamp == other.timestamp),
    ];
    let different = parts.into_iter().filter(|(_, same)| !same);
    different.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use kbk_format::{Header, Headers};

    use super::*;

    fn record<'a>(
        timestamp: i64,
        value: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
    ) -> Record<'a> {
        Record {
            offset: 7,
            timestamp,
            control: false,
            key: None,
            value,
            headers: Headers::Slice(headers),
        }
    }

    #[test]
    fn null_and_empty_differ_and_offsets_are_ignored() {
        let header = |value| [Header { name: b"h", value }];
        let (null, empty) = (header(None), header(Some(&b""[..])));
        let expected = record(1, None, &null);
        let mut elsewhere = expected.clone();
        elsewhere.offset = 100;
        assert!(differing_parts(&expected, &elsewhere).is_empty());
        assert_eq!(
            differing_parts(&expected, &record(1, Some(b""), &null)),
            ["value"]
        );
        assert_eq!(
            differing_parts(&expected, &record(1, None, &empty)),
            ["headers"]
        );
        assert_eq!(
            differing_parts(&expected, &record(2, None, &[])),
            ["headers", "timestamp"]
        );
    }
}
