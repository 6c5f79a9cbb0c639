//! What could not be read of what is selected: said on stderr as it is found, and in the JSON.

use kbk_format::{OffsetSpan, PartitionNumber, counted};
use kbk_tools::UnreadRange;
use serde::Serialize;

/// Offsets that could not be read.
#[derive(Debug, Serialize)]
pub(super) struct UnreadRow {
    /// The partition as an argument of a command, or the path of a file.
    name: String,
    /// The topic; null where the file does not say it any more.
    topic: Option<String>,
    /// The partition; null where the file does not say it any more.
    partition: Option<PartitionNumber>,
    /// The first offset; null where the file does not say it any more.
    base_offset: Option<i64>,
    /// One past the last offset; null where the file does not say it any more.
    end_offset: Option<i64>,
    /// Why.
    reason: String,
}

/// What could not be read, and what is done with records that are read.
#[derive(Debug)]
pub(super) struct UnreadRows {
    done: Done,
    rows: Vec<UnreadRow>,
    /// What was found last: what follows may belong to it.
    last: Option<Last>,
}

/// Offsets of a partition, or of a file that is of one.
#[derive(Debug)]
struct Last {
    name: String,
    topic: String,
    partition: PartitionNumber,
    range: UnreadRange,
}

/// What is done with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// They are printed.
    Printed,
    /// They are searched.
    Searched,
    /// The segments that have them are listed.
    Listed,
}

impl Done {
    fn word(self) -> &'static str {
        match self {
            Done::Printed => "printed",
            Done::Searched => "searched",
            Done::Listed => "listed",
        }
    }
}

/// How many of the rows are named on stderr.
const NAMED: usize = 10;

impl UnreadRow {
    fn offsets(&self) -> Option<OffsetSpan> {
        let (base, end) = self.base_offset.zip(self.end_offset)?;
        Some((base..end).into())
    }
}

impl UnreadRows {
    pub(super) fn new(done: Done) -> UnreadRows {
        UnreadRows {
            done,
            rows: Vec::new(),
            last: None,
        }
    }

    /// Adds offsets of a partition, or of a file that is of one. Neighbours with the same cause become one row.
    pub(super) fn add(
        &mut self,
        name: &str,
        (topic, partition): (&str, PartitionNumber),
        range: UnreadRange,
    ) {
        let range = match &mut self.last {
            Some(last) if last.name == name => last.range.join(range),
            _ => Some(range),
        };
        if let Some(range) = range {
            self.end_last();
            self.last = Some(Last {
                name: name.to_owned(),
                topic: topic.to_owned(),
                partition,
                range,
            });
        }
    }

    /// Adds a file of which nothing can be read.
    pub(super) fn add_file(&mut self, name: &str, reason: &str) {
        self.end_last();
        self.push(UnreadRow {
            name: name.to_owned(),
            topic: None,
            partition: None,
            base_offset: None,
            end_offset: None,
            reason: reason.to_owned(),
        });
    }

    fn end_last(&mut self) {
        if let Some(last) = self.last.take() {
            let offsets = last.range.offsets();
            self.push(UnreadRow {
                name: last.name,
                topic: Some(last.topic),
                partition: Some(last.partition),
                base_offset: Some(offsets.start),
                end_offset: Some(offsets.end),
                reason: last.range.reason(),
            });
        }
    }

    /// Adds a row, and says so.
    fn push(&mut self, row: UnreadRow) {
        let offsets = row.offsets();
        let what = offsets.map_or(String::new(), |offsets| format!(" {offsets}"));
        let (name, reason) = (&row.name, &row.reason);
        match (self.rows.len(), self.done) {
            (..NAMED, done) => tracing::warn!("not {}: {name}{what}: {reason}", done.word()),
            (NAMED, done) => {
                let word = done.word();
                tracing::warn!("not {word}: more, which `un{word}` of --json lists");
            }
            _ => {}
        }
        self.rows.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.last.is_none()
    }

    /// Says how much could not be read; `None` if everything was.
    pub(super) fn statement(&mut self) -> Option<String> {
        self.end_last();
        let parts = match self.rows.len() as u64 {
            0 => return None,
            number => counted(number, "part"),
        };
        Some(match self.done {
            Done::Printed => format!(
                "{parts} of what is selected could not be printed: the records of these offsets are missing in the output"
            ),
            Done::Searched => format!(
                "{parts} of what is selected could not be searched: there may be more such records"
            ),
            Done::Listed => {
                format!("{parts} of what is selected could not be listed: there are more segments")
            }
        })
    }

    /// Returns the rows, for the JSON.
    pub(super) fn into_rows(mut self) -> Vec<UnreadRow> {
        self.end_last();
        self.rows
    }
}
