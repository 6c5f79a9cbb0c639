//! Whether each line of a rendered view is a whole value or key: the whole-lines section of the footer (SPEC 2.5).

use crate::columns::Columns;
use crate::error::{ErrorClass, Result};
use crate::layout::whole_lines as at;
use crate::record::Record;
use crate::render::RENDERING_VERSION;
use crate::wire::FieldReader;

const VALUES: u32 = 1;
const KEYS: u32 = 2;

/// Which views can be split back into what they were rendered from: nothing is null, and nothing holds a line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeLines {
    /// Each line of *values* is a value.
    pub values: bool,
    /// Each line of *keys* is a key.
    pub keys: bool,
}

impl WholeLines {
    /// The flags of no records.
    pub const ALL: WholeLines = WholeLines {
        values: true,
        keys: true,
    };

    /// Returns the flags of the records in `columns`.
    #[must_use]
    pub fn of(columns: &Columns) -> WholeLines {
        if columns.controls.contains(&true) {
            let rendered = || columns.iter().filter(|record| !record.control);
            return WholeLines {
                values: rendered().all(|record: Record<'_>| is_line(record.value)),
                keys: rendered().all(|record: Record<'_>| is_line(record.key)),
            };
        }
        let (values, keys) = (&columns.values, &columns.keys);
        WholeLines {
            values: !values.codes.contains(&0) && is_line(Some(&values.bytes)),
            keys: !keys.codes.contains(&0) && is_line(Some(&keys.bytes)),
        }
    }

    /// Combines the flags of two sets of records.
    #[must_use]
    pub fn and(self, other: WholeLines) -> WholeLines {
        WholeLines {
            values: self.values && other.values,
            keys: self.keys && other.keys,
        }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let flags = u32::from(self.values) * VALUES + u32::from(self.keys) * KEYS;
        [RENDERING_VERSION.to_le_bytes(), flags.to_le_bytes()].concat()
    }

    /// Returns `None` for another rendering version: the section is not critical.
    pub(crate) fn decode(payload: &[u8], position: u64) -> Result<Option<WholeLines>> {
        let view = FieldReader::new("section whole_lines", position, payload, payload.len())?;
        view.holds(at::LENGTH)?;
        if view.u32(at::RENDERING_VERSION)? != RENDERING_VERSION {
            return Ok(None);
        }
        view.ensure(
            payload.len() == at::LENGTH,
            ErrorClass::Inconsistent,
            || format!("{} bytes", payload.len()),
        )?;
        let flags = view.u32(at::FLAGS)?;
        Ok(Some(WholeLines {
            values: flags & VALUES != 0,
            keys: flags & KEYS != 0,
        }))
    }
}

fn is_line(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|bytes| memchr::memchr(b'\n', bytes).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Headers;

    /// Key, value, and whether it is a control record.
    type Row<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, bool);

    fn of(records: &[Row<'_>]) -> (bool, bool) {
        let mut columns = Columns::new();
        for (offset, (key, value, control)) in (0..).zip(records) {
            columns
                .push(&Record {
                    offset,
                    timestamp: 0,
                    control: *control,
                    key: *key,
                    value: *value,
                    headers: Headers::EMPTY,
                })
                .unwrap();
        }
        let lines = WholeLines::of(&columns);
        (lines.values, lines.keys)
    }

    #[test]
    fn nulls_and_line_feeds_clear_a_flag_and_control_records_do_not_count() {
        let (line, empty, two): (&[u8], &[u8], &[u8]) = (b"a", b"", b"a\nb");
        assert_eq!(of(&[]), (true, true));
        assert_eq!(of(&[(Some(empty), Some(line), false)]), (true, true));
        assert_eq!(of(&[(None, Some(line), false)]), (true, false));
        assert_eq!(of(&[(Some(line), None, false)]), (false, true));
        assert_eq!(of(&[(Some(two), Some(line), false)]), (true, false));
        assert_eq!(of(&[(Some(line), Some(two), false)]), (false, true));
        assert_eq!(of(&[(None, Some(two), true)]), (true, true));
        assert_eq!(
            of(&[(None, None, true), (Some(line), None, false)]),
            (false, true)
        );
    }
}
