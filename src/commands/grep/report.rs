//! What was found, and what could not be searched.

use std::collections::BTreeMap;
use std::io::{self, Write};

use kbk_format::{OffsetSpan, PartitionNumber, counted};
use kbk_tools::Order;
use kbk_tools::grep::Unsearched;
use kbk_tools::list::Completeness;
use serde::Serialize;

use super::targets::Targets;
use crate::cli::{Outcome, Report};

/// What a search has found.
#[derive(Debug, Serialize)]
pub(super) struct Searched {
    /// How many records were found and, where they are printed, printed; with `-l` alone, how many partitions or files have one.
    matched: u64,
    /// The partitions or files that have such records, in the order of printing: by topic and number, or as the files were given; with
    /// --reverse the other way round.
    partitions: Vec<Matching>,
    /// What could not be searched: it may have such records, too.
    unsearched: Vec<UnsearchedRow>,
    #[serde(flatten)]
    completeness: Completeness,
    #[serde(skip)]
    shows: Shows,
}

/// What is printed for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shows {
    /// The records.
    #[default]
    Records,
    /// The number of records.
    Count,
    /// The names of partitions or files.
    Names,
    /// The names with the numbers.
    Counts,
}

/// A partition or file with records that were found.
#[derive(Debug, Serialize)]
struct Matching {
    /// The partition as an argument of a command, or the path of a file.
    name: String,
    /// The topic.
    topic: String,
    /// Kafka's id of the topic; null for files.
    topic_id: Option<String>,
    /// The partition.
    partition: PartitionNumber,
    /// How many records of it were found; null with `-l` alone, which ends at the first one.
    matched: Option<u64>,
}

/// Offsets that could not be searched.
#[derive(Debug, Serialize)]
struct UnsearchedRow {
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

/// What could not be searched, and what the backup lacks.
pub(super) struct Gaps {
    rows: Vec<UnsearchedRow>,
    completeness: Completeness,
}

/// How many of the rows are named on stderr.
const NAMED: usize = 10;

impl Gaps {
    /// Begins with the files that could not be opened.
    pub(super) fn new(targets: &Targets<'_>) -> Gaps {
        let mut gaps = Gaps {
            rows: Vec::new(),
            completeness: Completeness::of_partitions(0, []),
        };
        for (name, reason) in targets.unopened() {
            gaps.add(UnsearchedRow {
                name: name.clone(),
                topic: None,
                partition: None,
                base_offset: None,
                end_offset: None,
                reason: reason.clone(),
            });
        }
        gaps
    }

    /// Notes offsets that could not be searched, and says so.
    pub(super) fn unsearched(&mut self, targets: &Targets<'_>, unsearched: &Unsearched) {
        let target = targets.get(unsearched.source);
        self.add(UnsearchedRow {
            name: target.name.clone(),
            topic: Some(target.topic.clone()),
            partition: Some(target.partition),
            base_offset: Some(unsearched.offsets.start),
            end_offset: Some(unsearched.offsets.end),
            reason: unsearched.error.to_string(),
        });
    }

    fn add(&mut self, row: UnsearchedRow) {
        let offsets = row.base_offset.zip(row.end_offset);
        let what = offsets.map_or(String::new(), |(base, end)| {
            format!(" {}", OffsetSpan::from(base..end))
        });
        match self.rows.len() {
            ..NAMED => tracing::warn!("not searched: {}{what}: {}", row.name, row.reason),
            NAMED => tracing::warn!("not searched: more, which `unsearched` of --json lists"),
            _ => {}
        }
        self.rows.push(row);
    }

    /// Sets what the backup lacks of what was searched.
    pub(super) fn lacks(&mut self, missing: Completeness) {
        self.completeness = missing;
    }

    /// Returns that everything was searched that there was, or that something was not.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::clean_if(self.rows.is_empty() && self.completeness.complete)
    }

    /// Says how much could not be searched; `None` if everything was.
    pub(super) fn statement(&self) -> Option<String> {
        let number = self.rows.len() as u64;
        (number > 0).then(|| {
            let parts = counted(number, "part");
            format!(
                "{parts} of what is selected could not be searched: there may be more such records"
            )
        })
    }
}

impl Searched {
    /// Returns the report. `found` has the number of records of each target that has any; they are listed in this order.
    pub(super) fn new(
        targets: &Targets<'_>,
        found: &BTreeMap<usize, u64>,
        order: Order,
        shows: Shows,
        gaps: Gaps,
    ) -> Searched {
        let counts = shows != Shows::Names;
        let found = found.iter().filter(|(_, matched)| **matched > 0);
        let mut partitions: Vec<_> = found
            .map(|(number, matched)| {
                let target = targets.get(*number);
                Matching {
                    name: target.name.clone(),
                    topic: target.topic.clone(),
                    topic_id: target.topic_id.clone(),
                    partition: target.partition,
                    matched: counts.then_some(*matched),
                }
            })
            .collect();
        if order == Order::Descending {
            partitions.reverse();
        }
        Searched {
            matched: match counts {
                true => partitions.iter().filter_map(|row| row.matched).sum(),
                false => partitions.len() as u64,
            },
            partitions,
            unsearched: gaps.rows,
            completeness: gaps.completeness,
            shows,
        }
    }
}

impl Report for Searched {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.shows {
            Shows::Records => {}
            Shows::Count => writeln!(out, "{}", self.matched)?,
            Shows::Names | Shows::Counts => {
                for Matching { name, matched, .. } in &self.partitions {
                    match matched {
                        Some(matched) => writeln!(out, "{name}:{matched}")?,
                        None => writeln!(out, "{name}")?,
                    }
                }
            }
        }
        Ok(())
    }
}
