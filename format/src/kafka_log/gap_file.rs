//! Why offsets have no record, beside a log: Kafka's files do not say, and brokers ignore files of other names.
//!
//! ```text
//! kbk-gaps 1 BASE_OFFSET
//! FROM_OFFSET TO_OFFSET REASON        each gap, in order; the end is exclusive
//! end END_OFFSET GAPS CRC32C          of all bytes before it, in hex
//! ```

use std::io::{self, BufRead, Read, Write};

use crate::gaps::{Gap, GapReason};

/// The name of the file, in the folder of the partition.
pub const GAPS_FILE: &str = "kbk-gaps";

const FIRST: &str = "kbk-gaps 1";
const LAST: &str = "end";
/// No line has as many bytes.
const LONGEST: u64 = 128;

const REASONS: [(GapReason, &str); 6] = [
    (GapReason::NotDelivered, "not_delivered"),
    (GapReason::Compacted, "compacted"),
    (GapReason::Transaction, "transaction"),
    (GapReason::Lost, "lost"),
    (GapReason::Unknown, "unknown"),
    (GapReason::Damaged, "damaged"),
];

/// Writes the file.
pub struct GapFileWriter<W> {
    out: W,
    crc: u32,
    gaps: u64,
    /// The last gap, which the next one may continue.
    open: Option<Gap>,
    bytes: u64,
}

impl<W: Write> GapFileWriter<W> {
    /// Begins the file of a log that begins at `base_offset`.
    ///
    /// # Errors
    ///
    /// Those of `out`, as of all methods.
    pub fn new(out: W, base_offset: i64) -> io::Result<GapFileWriter<W>> {
        let mut file = GapFileWriter {
            out,
            crc: 0,
            gaps: 0,
            open: None,
            bytes: 0,
        };
        file.line(&format!("{FIRST} {base_offset}\n"))?;
        Ok(file)
    }

    /// Appends a gap, which is not empty and behind those before it.
    pub fn push(&mut self, gap: Gap) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.to_offset == gap.from_offset && open.reason == gap.reason => {
                open.to_offset = gap.to_offset;
                Ok(())
            }
            open => {
                let before = open.replace(gap);
                self.put(before)
            }
        }
    }

    /// Ends the file of a log that ends at `end_offset`, and returns what it was written to, and its length.
    pub fn finish(mut self, end_offset: i64) -> io::Result<(W, u64)> {
        let last = self.open.take();
        self.put(last)?;
        self.line(&format!("{LAST} {end_offset} {} ", self.gaps))?;
        self.line(&format!("{:08x}\n", self.crc))?;
        Ok((self.out, self.bytes))
    }

    fn put(&mut self, gap: Option<Gap>) -> io::Result<()> {
        let Some(gap) = gap else {
            return Ok(());
        };
        let reasons = REASONS.iter().find(|(reason, _)| *reason == gap.reason);
        let word = reasons.map_or("unknown", |(_, word)| word);
        self.gaps += 1;
        self.line(&format!("{} {} {word}\n", gap.from_offset, gap.to_offset))
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, line.as_bytes());
        self.bytes += line.len() as u64;
        self.out.write_all(line.as_bytes())
    }
}

/// Reads the file, gap by gap.
pub struct GapFileReader<R> {
    input: R,
    crc: u32,
    gaps: u64,
    base_offset: i64,
    /// The end of the last gap.
    at: i64,
}

impl<R: BufRead> GapFileReader<R> {
    /// Begins to read; `None` where it is not such a file, or one of a later version.
    ///
    /// # Errors
    ///
    /// Those of `input`, as of all methods.
    pub fn new(input: R) -> io::Result<Option<GapFileReader<R>>> {
        let mut file = GapFileReader {
            input,
            crc: 0,
            gaps: 0,
            base_offset: 0,
            at: 0,
        };
        let first = file.next_line()?;
        let base_offset = first
            .as_deref()
            .and_then(|line| line.strip_prefix(FIRST)?.strip_prefix(' ')?.parse().ok());
        Ok(base_offset.map(|base_offset| GapFileReader {
            base_offset,
            at: base_offset,
            ..file
        }))
    }

    /// Returns the first offset of the log.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Returns the next gap, or how the file ends.
    pub fn next_gap(&mut self) -> io::Result<NextGap> {
        let (before, gaps) = (self.crc, self.gaps);
        let Some(line) = self.next_line()? else {
            return Ok(NextGap::Damaged);
        };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [LAST, end, count, stated] => {
                let end: Option<i64> = end.parse().ok().filter(|end| *end >= self.at);
                let covered = line.strip_suffix(stated).unwrap_or_default();
                let crc = crc32c::crc32c_append(before, covered.as_bytes());
                let is_whole = count == gaps.to_string() && stated == format!("{crc:08x}");
                let is_last = self.input.fill_buf()?.is_empty();
                Ok(match end.filter(|_| is_whole && is_last) {
                    Some(end_offset) => NextGap::End { end_offset },
                    None => NextGap::Damaged,
                })
            }
            [from, to, word] => {
                let reasons = REASONS.iter().find(|(_, known)| *known == word);
                let (Ok(from_offset), Ok(to_offset)) = (from.parse(), to.parse()) else {
                    return Ok(NextGap::Damaged);
                };
                if from_offset < self.at || to_offset <= from_offset {
                    return Ok(NextGap::Damaged);
                }
                self.at = to_offset;
                self.gaps += 1;
                Ok(NextGap::Gap(Gap {
                    from_offset,
                    to_offset,
                    reason: reasons.map_or(GapReason::Unknown, |(reason, _)| *reason),
                }))
            }
            _ => Ok(NextGap::Damaged),
        }
    }

    /// Returns the next line; `None` at the end, and where it is not one of these.
    fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        self.input
            .by_ref()
            .take(LONGEST)
            .read_until(b'\n', &mut bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        let Some((b'\n', line)) = bytes.split_last() else {
            return Ok(None);
        };
        Ok(std::str::from_utf8(line).ok().map(str::to_owned))
    }
}

/// What follows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextGap {
    /// A gap.
    Gap(Gap),
    /// The file ends, and is whole.
    End {
        /// One past the last offset of the log.
        end_offset: i64,
    },
    /// It is cut off or damaged.
    Damaged,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from_offset: i64, to_offset: i64, reason: GapReason) -> Gap {
        Gap {
            from_offset,
            to_offset,
            reason,
        }
    }

    fn write(gaps: &[Gap]) -> Vec<u8> {
        let mut file = GapFileWriter::new(Vec::new(), 3).unwrap();
        for gap in gaps {
            file.push(*gap).unwrap();
        }
        let (bytes, length) = file.finish(1000).unwrap();
        assert_eq!(length, bytes.len() as u64);
        bytes
    }

    /// Returns the gaps and the end; `None` of a file that is damaged.
    fn read(bytes: &[u8]) -> Option<(i64, Vec<Gap>, i64)> {
        let mut file = GapFileReader::new(bytes).unwrap()?;
        let mut gaps = Vec::new();
        loop {
            match file.next_gap().unwrap() {
                NextGap::Gap(gap) => gaps.push(gap),
                NextGap::End { end_offset } => return Some((file.base_offset(), gaps, end_offset)),
                NextGap::Damaged => return None,
            }
        }
    }

    #[test]
    fn gaps_are_read_as_they_were_written_and_neighbours_are_joined() {
        let all: Vec<Gap> = (0..)
            .zip(REASONS)
            .map(|(n, (reason, _))| gap(10 * n + 3, 10 * n + 5, reason))
            .collect();
        assert_eq!(read(&write(&all)), Some((3, all, 1000)));
        assert_eq!(read(&write(&[])), Some((3, vec![], 1000)));
        let halves = [
            gap(4, 6, GapReason::Damaged),
            gap(6, 9, GapReason::Damaged),
            gap(9, 10, GapReason::Lost),
        ];
        let joined = vec![gap(4, 9, GapReason::Damaged), gap(9, 10, GapReason::Lost)];
        assert_eq!(read(&write(&halves)), Some((3, joined, 1000)));
    }

    #[test]
    fn no_damage_is_taken_for_gaps() {
        let whole = write(&[
            gap(4, 6, GapReason::Damaged),
            gap(7, 90, GapReason::Compacted),
        ]);
        for at in 0..whole.len() {
            assert_eq!(read(&whole[..at]), None, "cut off at {at}");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(read(&flipped), None, "bit {bit} of byte {at}");
            }
        }
        let more = [&whole[..], b"x"].concat();
        assert_eq!(read(&more), None);
    }
}
