//! Searches in the text of a block of `records.jsonl`, by the fixed beginning of its lines (SPEC section 10).

use std::ops::Range;

const OFFSET: &[u8] = b"{\"offset\":";
const TIMESTAMP: &[u8] = b",\"timestamp\":";

/// Where the first record at or after `offset` begins; the end of the text if there is none.
pub(crate) fn from_offset(text: &[u8], offset: i64) -> usize {
    let mut range = 0..text.len();
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        let line = line_around(text, &range, middle);
        if offset_of(&text[line.clone()]).is_some_and(|found| found < offset) {
            range.start = line.end;
        } else {
            range.end = line.start;
        }
    }
    range.start
}

/// The line of the record at `offset`, and its timestamp.
pub(crate) fn of_offset(text: &[u8], offset: i64) -> Option<(Range<usize>, Option<i64>)> {
    let start = from_offset(text, offset);
    let line = line_around(text, &(start..text.len()), start);
    let found = &text[line.clone()];
    (offset_of(found) == Some(offset)).then(|| (line, timestamp_of(found)))
}

/// The line that contains the byte at `at`; `range` begins and ends at line boundaries.
fn line_around(text: &[u8], range: &Range<usize>, at: usize) -> Range<usize> {
    let is_end = |byte: &u8| *byte == b'\n';
    let before = text[range.start..at].iter().rposition(is_end);
    let after = text[at..range.end].iter().position(is_end);
    let start = before.map_or(range.start, |before| range.start + before + 1);
    start..after.map_or(range.end, |after| at + after + 1)
}

fn offset_of(line: &[u8]) -> Option<i64> {
    number(line.strip_prefix(OFFSET)?).map(|(offset, _)| offset)
}

fn timestamp_of(line: &[u8]) -> Option<i64> {
    let (_, after) = number(line.strip_prefix(OFFSET)?)?;
    number(after.strip_prefix(TIMESTAMP)?).map(|(timestamp, _)| timestamp)
}

/// The number at the beginning of `text`, and the text after it.
fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let end = text
        .iter()
        .position(|byte| *byte != b'-' && !byte.is_ascii_digit())?;
    let (digits, after) = text.split_at(end);
    Some((str::from_utf8(digits).ok()?.parse().ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(records: &[(i64, i64)]) -> Vec<u8> {
        let line = |(offset, time): &(i64, i64)| {
            format!(
                "{{\"offset\":{offset},\"timestamp\":{time},\"key\":null,\"value\":\"x\\n\",\"headers\":[]}}\n"
            )
        };
        records.iter().map(line).collect::<String>().into()
    }

    #[test]
    fn records_are_found_by_offset() {
        let records = [(3, 5), (4, -7), (9, i64::MIN), (10, 8), (300, 9)];
        let text = text(&records);
        let starts: Vec<usize> = (0..records.len())
            .map(|before| self::text(&records[..before]).len())
            .collect();
        for offset in 0..302 {
            let at = records.iter().position(|(found, _)| *found >= offset);
            let expected = at.map_or(text.len(), |at| starts[at]);
            assert_eq!(from_offset(&text, offset), expected, "{offset}");
            let there = records.iter().any(|(found, _)| *found == offset);
            assert_eq!(
                of_offset(&text, offset).map(|(line, time)| (line.start, time)),
                there.then(|| (expected, at.map(|at| records[at].1))),
                "{offset}"
            );
        }
        assert_eq!(of_offset(b"", 0), None);
    }
}
