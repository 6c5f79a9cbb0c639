//! Headers to leave out of every record, by name.

use std::collections::BTreeSet;

use kbk_format::{Header, Headers, Record};

/// The names of headers that a restore leaves out, such as those that another replicator added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropHeaders(BTreeSet<String>);

impl DropHeaders {
    /// Leaves out headers of these names.
    pub fn new(names: impl IntoIterator<Item = String>) -> DropHeaders {
        DropHeaders(names.into_iter().collect())
    }

    /// Returns whether every header stays.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names, ordered and each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Calls `then` with the record without these headers, and with their number. All else is as in `record`.
    pub(crate) fn apply<T>(
        &self,
        record: &Record<'_>,
        then: impl FnOnce(&Record<'_>, u64) -> T,
    ) -> T {
        let stays = |header: &Header<'_>| !self.has(header.name);
        if self.is_empty() || record.headers.clone().all(|header| stays(&header)) {
            return then(record, 0);
        }
        let kept: Vec<Header<'_>> = record.headers.clone().filter(stays).collect();
        let dropped = Headers::count(&record.headers) - kept.len();
        let record = Record {
            headers: Headers::Slice(&kept),
            ..record.clone()
        };
        then(&record, dropped as u64)
    }

    /// A name that is not UTF-8 is none of these.
    fn has(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.0.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_other_names_keep_their_order_repetition_and_nulls() {
        let header = |name, value| Header { name, value };
        let headers = [
            header(&b"a"[..], Some(&b"1"[..])),
            header(b"trace", None),
            header(b"\xff", Some(b"")),
            header(b"trace", Some(b"2")),
            header(b"a", None),
            header(b"", Some(b"empty name")),
        ];
        let record = Record {
            offset: 7,
            timestamp: -1,
            control: false,
            key: None,
            value: Some(b""),
            headers: Headers::Slice(&headers),
        };
        let without = |names: &[&str]| {
            let drop = DropHeaders::new(names.iter().map(|name| (*name).to_owned()));
            drop.apply(&record, |record, dropped| {
                assert_eq!((record.key, record.value), (None, Some(&b""[..])));
                let kept: Vec<Header<'_>> = record.headers.clone().collect();
                let kept = kept.iter().map(|kept| {
                    let same = |one: &&Header<'_>| *one == kept;
                    headers.iter().position(|one| same(&one)).unwrap()
                });
                (kept.collect::<Vec<_>>(), dropped)
            })
        };
        assert_eq!(without(&[]), (vec![0, 1, 2, 3, 4, 5], 0));
        assert_eq!(without(&["absent"]), (vec![0, 1, 2, 3, 4, 5], 0));
        assert_eq!(without(&["trace"]), (vec![0, 2, 4, 5], 2));
        assert_eq!(without(&["", "a"]), (vec![1, 2, 3], 3));
    }
}
