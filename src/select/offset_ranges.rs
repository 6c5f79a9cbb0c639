//! The `--offsets` file: offset ranges of partitions, one per line.
//!
//! ```text
//! # topic,partition,from,to
//! orders,0,1200,3400
//! orders,1,,500
//! orders@1a2b3c4d,0,,
//! ```
//!
//! A topic is given as everywhere: by its name, or with digits of its id where several topics had the name. `to` is exclusive. If `from` or `to` is empty, the range begins or ends where the backup does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kbk_format::repo::{Id, Snapshot};
use kbk_format::{PartitionNumber, counted};

use super::partitions::number;
use super::topic::TopicError;
use super::topic_ref::TopicRef;

/// An offset range for each of some partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetRanges {
    path: PathBuf,
    ranges: BTreeMap<TopicRef, BTreeMap<PartitionNumber, OffsetRange>>,
}

/// The offsets of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The line, from 1.
    pub line: usize,
    /// The first offset; `None` for the beginning of the backup.
    pub from: Option<i64>,
    /// One past the last offset; `None` for the end of the backup.
    pub to: Option<i64>,
}

/// Why a file of offsets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OffsetRangesError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line that does not parse.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// Every line is empty or a comment.
    #[error("{0} has no offsets; give lines of the form `topic,partition,from,to`")]
    Empty(PathBuf),
}

impl OffsetRanges {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, OffsetRangesError> {
        let text = fs::read_to_string(path).map_err(|source| OffsetRangesError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, text.strip_prefix('\u{feff}').unwrap_or(&text))
    }

    fn parse(path: &Path, text: &str) -> Result<Self, OffsetRangesError> {
        let mut ranges = OffsetRanges {
            path: path.to_owned(),
            ranges: BTreeMap::new(),
        };
        for (number, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (topic, partition, range) =
                line(number, text).map_err(|reason| ranges.wrong(number, reason))?;
            ranges.insert(topic, partition, range)?;
        }
        if ranges.ranges.is_empty() {
            return Err(OffsetRangesError::Empty(path.to_owned()));
        }
        Ok(ranges)
    }

    fn insert(
        &mut self,
        topic: TopicRef,
        partition: PartitionNumber,
        range: OffsetRange,
    ) -> Result<(), OffsetRangesError> {
        let name = format!("{topic}/{partition}");
        let partitions = self.ranges.entry(topic).or_default();
        let Some(other) = partitions.insert(partition, range) else {
            return Ok(());
        };
        let (first, second) = (other.line.min(range.line), other.line.max(range.line));
        Err(self.wrong(second, format!("{name} is already in line {first}")))
    }

    fn wrong(&self, line: usize, reason: String) -> OffsetRangesError {
        OffsetRangesError::Line {
            path: self.path.clone(),
            line,
            reason,
        }
    }

    /// Returns the same ranges with every topic of the snapshot given by its whole id, so that no line is about two topics of one name.
    ///
    /// # Errors
    ///
    /// Where two lines turn out to be about one partition.
    pub fn within(&self, snapshot: &Snapshot) -> Result<OffsetRanges, OffsetRangesError> {
        let mut whole = OffsetRanges {
            path: self.path.clone(),
            ranges: BTreeMap::new(),
        };
        for (topic, partitions) in &self.ranges {
            let found = topic.find(snapshot).map(TopicRef::with_id);
            let topic = found.unwrap_or_else(|| topic.clone());
            for (partition, range) in partitions {
                whole.insert(topic.clone(), *partition, *range)?;
            }
        }
        Ok(whole)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the topics in the file.
    pub fn topics(&self) -> impl Iterator<Item = &TopicRef> {
        self.ranges.keys()
    }

    /// Returns the partitions of a topic in the file.
    pub fn partitions(
        &self,
        name: &str,
        id: Id,
    ) -> impl Iterator<Item = (PartitionNumber, OffsetRange)> {
        let of_topic = self.ranges.iter();
        let of_topic = of_topic.filter(move |(topic, _)| topic.is(name, id));
        let partitions = of_topic.flat_map(|(_, partitions)| partitions);
        partitions.map(|(number, range)| (*number, *range))
    }

    /// Returns the range of a partition; `None` if the file does not have it.
    pub fn of(&self, name: &str, id: Id, partition: PartitionNumber) -> Option<OffsetRange> {
        let mut partitions = self.partitions(name, id);
        partitions.find_map(|(number, range)| (number == partition).then_some(range))
    }
}

fn line(line: usize, text: &str) -> Result<(TopicRef, PartitionNumber, OffsetRange), String> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [topic, partition, from, to] = fields[..] else {
        let count = fields.len();
        return Err(format!(
            "`{text}` has {}; expected four: `topic,partition,from,to`",
            counted(count, "field")
        ));
    };
    if topic.is_empty() {
        return Err("the topic is missing".to_owned());
    }
    let topic: TopicRef = topic
        .parse()
        .map_err(|error: TopicError| error.to_string())?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let partition = number(partition)
        .ok_or_else(|| format!("`{partition}` is not a partition; give a number from 0"))?;
    let offset = |text: &str| match text {
        "" => Ok(None),
        text => text
            .parse::<i64>()
            .ok()
            .filter(|_| digits(text))
            .map(Some)
            .ok_or_else(|| format!("`{text}` is not an offset; give a number from 0, or nothing")),
    };
    let (from, to) = (offset(from)?, offset(to)?);
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(format!("from {from} is greater than to {to}"));
    }
    let range = OffsetRange { line, from, to };
    Ok((topic, partition, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OffsetRanges, OffsetRangesError> {
        OffsetRanges::parse(Path::new("ranges.csv"), text)
    }

    #[test]
    fn lines_comments_and_open_ends() {
        let text = "# topic,partition,from,to\n\norders,0,12,34\r\n orders , 1 ,,5\nb,0,,\n";
        let ranges = parse(text).unwrap();
        let topics = ranges.topics().map(ToString::to_string);
        assert_eq!(topics.collect::<Vec<_>>(), ["b", "orders"]);
        let of = |topic, partition| {
            let range = ranges.of(topic, Id::ZERO, partition);
            range.map(|range| (range.line, range.from, range.to))
        };
        assert_eq!(of("orders", 0.into()), Some((3, Some(12), Some(34))));
        assert_eq!(of("orders", 1.into()), Some((4, None, Some(5))));
        assert_eq!(of("b", 0.into()), Some((5, None, None)));
        assert_eq!((of("orders", 2.into()), of("c", 0.into())), (None, None));
        assert_eq!(ranges.partitions("orders", Id::ZERO).count(), 2);
    }

    #[test]
    fn a_line_may_name_one_of_several_topics_of_a_name() {
        let id = |digit: char| digit.to_string().repeat(32).parse::<Id>().unwrap();
        let ranges = parse("orders@aaaaaaaa,0,1,2\norders@BBBBBBBB,0,3,4\n").unwrap();
        let of = |digit| ranges.of("orders", id(digit), 0.into());
        assert_eq!(of('a').map(|range| range.from), Some(Some(1)));
        assert_eq!(of('b').map(|range| range.from), Some(Some(3)));
        assert_eq!(of('c'), None);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (text, says) in [
            ("orders,0,1", "line 2: `orders,0,1` has 3 fields"),
            ("orders,0,1,2,3", "line 2: `orders,0,1,2,3` has 5 fields"),
            (",0,1,2", "line 2: the topic is missing"),
            ("or ders,0,1,2", "line 2: "),
            (
                "orders@1a2b,0,1,2",
                "line 2: `orders@1a2b` does not name a topic by its id",
            ),
            ("orders,x,1,2", "line 2: `x` is not a partition"),
            ("orders,-1,1,2", "line 2: `-1` is not a partition"),
            ("orders,,1,2", "line 2: `` is not a partition"),
            ("orders,0,+1,2", "line 2: `+1` is not an offset"),
            ("orders,0,1,end", "line 2: `end` is not an offset"),
            ("orders,0,3,2", "line 2: from 3 is greater than to 2"),
            (
                "orders,0,1,2\norders,0,3,4",
                "line 3: orders/0 is already in line 2",
            ),
        ] {
            let error = parse(&format!("# comment\n{text}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("ranges.csv, "), "{error}");
            assert!(error.contains(says), "{error}");
        }
        let error = parse("# nothing\n").unwrap_err().to_string();
        assert!(error.contains("has no offsets"), "{error}");
    }
}
