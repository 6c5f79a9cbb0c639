//! Searches in the text of a block of `records.jsonl`, by the fixed beginning of its lines (SPEC section 10).

use std::ops::Range;

use kbk_format::Renderer;

const TIMESTAMP: &[u8] = b",\"timestamp\":";

/// The text of consecutive records of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    /// What each line begins with, up to the digits of its offset.
    start: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a [u8], renderer: &'a Renderer) -> Lines<'a> {
        let start = renderer.line_start();
        Lines { text, start }
    }

    /// Where the first record at or after `offset` begins; the end of the text if there is none.
    pub(crate) fn start_of(self, offset: i64) -> usize {
        let mut range = 0..self.text.len();
        while !range.is_empty() {
            let middle = range.start + range.len() / 2;
            let line = self.line_around(&range, middle);
            let found = self.numbers(&line).map(|(offset, _)| offset);
            if found.is_some_and(|found| found < offset) {
                range.start = line.end;
            } else {
                range.end = line.start;
            }
        }
        range.start
    }

    /// The line of the record at `offset`, and its timestamp.
    pub(crate) fn of_offset(self, offset: i64) -> Option<(Range<usize>, Option<i64>)> {
        let start = self.start_of(offset);
        let line = self.line_around(&(start..self.text.len()), start);
        let (found, timestamp) = self.numbers(&line)?;
        (found == offset).then_some((line, timestamp))
    }

    /// The line that contains the byte at `at`; `range` begins and ends at line boundaries.
    fn line_around(self, range: &Range<usize>, at: usize) -> Range<usize> {
        let is_end = |byte: &u8| *byte == b'\n';
        let before = self.text[range.start..at].iter().rposition(is_end);
        let after = self.text[at..range.end].iter().position(is_end);
        let start = before.map_or(range.start, |before| range.start + before + 1);
        start..after.map_or(range.end, |after| at + after + 1)
    }

    /// The offset and the timestamp of a line.
    fn numbers(self, line: &Range<usize>) -> Option<(i64, Option<i64>)> {
        let (offset, after) = number(self.text[line.clone()].strip_prefix(self.start)?)?;
        let timestamp = after.strip_prefix(TIMESTAMP).and_then(number);
        Some((offset, timestamp.map(|(timestamp, _)| timestamp)))
    }
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
    use kbk_format::render::View;
    use kbk_format::{Headers, Record};

    use super::*;

    fn text(renderer: &Renderer, records: &[(i64, i64)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (offset, timestamp) in records {
            let record = Record {
                offset: *offset,
                timestamp: *timestamp,
                control: false,
                key: None,
                value: Some(b"x\n{\"topic\":\"orders\",\"partition\":3,\"offset\":7,"),
                headers: Headers::EMPTY,
            };
            renderer.render(View::Records, &record, &mut text);
        }
        text
    }

    #[test]
    fn records_are_found_by_offset() {
        let renderer = Renderer::new("orders", 3.into());
        let records = [(3, 5), (4, -7), (9, i64::MIN), (10, 8), (300, 9)];
        let whole = text(&renderer, &records);
        let lines = Lines::new(&whole, &renderer);
        let starts: Vec<usize> = (0..records.len())
            .map(|before| text(&renderer, &records[..before]).len())
            .collect();
        for offset in 0..302 {
            let at = records.iter().position(|(found, _)| *found >= offset);
            let expected = at.map_or(whole.len(), |at| starts[at]);
            assert_eq!(lines.start_of(offset), expected, "{offset}");
            let there = records.iter().any(|(found, _)| *found == offset);
            let found = lines.of_offset(offset);
            assert_eq!(
                found.map(|(line, time)| (line.start, time)),
                there.then(|| (expected, at.map(|at| records[at].1))),
                "{offset}"
            );
        }
        assert_eq!(Lines::new(b"", &renderer).of_offset(0), None);
    }
}
