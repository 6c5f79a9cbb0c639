//! What was found, and what could not be searched.

use std::collections::BTreeMap;
use std::io::{self, Write};

use kbk_format::PartitionNumber;
use kbk_tools::grep::Unsearched;
use kbk_tools::list::Completeness;
use kbk_tools::{Order, UnreadRange};
use serde::Serialize;

use super::super::unread::{Done, UnreadRow, UnreadRows};
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
    unsearched: Vec<UnreadRow>,
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

/// What could not be searched, and what the backup lacks.
pub(super) struct Gaps {
    unread: UnreadRows,
    completeness: Completeness,
}

impl Gaps {
    /// Begins with the files that could not be opened.
    pub(super) fn new(targets: &Targets<'_>) -> Gaps {
        let mut unread = UnreadRows::new(Done::Searched);
        for (name, reason) in targets.unopened() {
            unread.add_file(name, reason);
        }
        Gaps {
            unread,
            completeness: Completeness::of_partitions(0, []),
        }
    }

    /// Notes offsets that could not be searched, and says so.
    pub(super) fn unsearched(&mut self, targets: &Targets<'_>, unsearched: &Unsearched) {
        let target = targets.get(unsearched.source);
        let range = UnreadRange::new(unsearched.offsets.clone(), &unsearched.error);
        let partition = (&*target.topic, target.partition);
        self.unread.add(&target.name, partition, range);
    }

    /// Sets what the backup lacks of what was searched.
    pub(super) fn lacks(&mut self, missing: Completeness) {
        self.completeness = missing;
    }

    /// Returns that everything was searched that there was, or that something was not.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::clean_if(self.unread.is_empty() && self.completeness.complete)
    }

    /// Says how much could not be searched; `None` if everything was.
    pub(super) fn statement(&mut self) -> Option<String> {
        self.unread.statement()
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
            unsearched: gaps.unread.into_rows(),
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
