//! What the demo did, and the results: step by step for people, and at the end as one JSON document.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use kbk_tools::verify;
use serde::Serialize;

use crate::backup::{BackupNotice, BackupReport};
use crate::cli::Report;
use crate::human;
use crate::restore::RestoreReport;

/// One step of the demo.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum DemoStep {
    /// A broker is running, and the folder is ready.
    Started {
        /// The repository's folder.
        repository: String,
        /// Whether it replaced that of an earlier demo.
        replaced: bool,
    },
    /// Records were written to the broker.
    Produced {
        /// The number of all records.
        records: u64,
        /// The number of records of each topic.
        records_per_topic: BTreeMap<String, u64>,
        /// Records without a value.
        tombstones: u64,
        /// Records that are older than an earlier one in their partition.
        late: u64,
    },
    /// A snapshot was made, as `kbk backup` does.
    BackedUp(BackupReport),
    /// All snapshots were verified, as `kbk verify --full` does.
    Verified(Box<verify::VerifyReport>),
    /// The topics were restored to new ones, as `kbk restore` does.
    Restored(RestoreReport),
    /// The topics and their copies were read back.
    Compared {
        /// Records of the originals.
        records: u64,
        /// Differences, at most one per partition.
        differences: Vec<String>,
    },
    /// A restore up to a moment was planned, as `kbk restore --until --dry-run` does.
    PlannedUntil {
        /// The moment.
        until: Timestamp,
        /// Records that the plan counts.
        planned: u64,
        /// Records that were produced with such a timestamp.
        expected: u64,
        /// Those of them that come after a newer record in their partition.
        behind_newer: u64,
    },
}

impl DemoStep {
    /// Returns what is wrong; nothing if the step succeeded.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        match self {
            // The embedded broker does not return topic configurations or all groups.
            DemoStep::BackedUp(report) => {
                let findings = report.findings.iter().filter(|finding| {
                    !matches!(
                        finding,
                        BackupNotice::ConfigUnknown { .. } | BackupNotice::GroupsUnknown { .. }
                    )
                });
                findings.map(BackupNotice::to_string).collect()
            }
            DemoStep::Verified(report) => report.findings.iter().map(ToString::to_string).collect(),
            DemoStep::Compared { differences, .. } => differences.clone(),
            DemoStep::PlannedUntil {
                until,
                planned,
                expected,
                ..
            } if planned != expected => {
                vec![format!(
                    "up to {until} the plan counts {planned} records, and {expected} were produced"
                )]
            }
            DemoStep::Started { .. }
            | DemoStep::Produced { .. }
            | DemoStep::Restored(_)
            | DemoStep::PlannedUntil { .. } => Vec::new(),
        }
    }
}

/// The whole demo.
#[derive(Debug, Serialize)]
pub struct DemoReport {
    /// The folder with the repository.
    #[serde(skip)]
    pub repository: String,
    /// The steps.
    pub steps: Vec<DemoStep>,
    /// Everything that is wrong; empty if the demo succeeded.
    pub wrong: Vec<String>,
    /// Whether a signal stopped the demo.
    pub interrupted: bool,
    /// Commands to try on the repository.
    pub next: Vec<String>,
    /// The command for the user's own cluster.
    #[serde(skip)]
    pub next_cluster: String,
    /// Wall time.
    pub seconds: f64,
}

/// Writes `verb` in its column, and `text` after it.
fn line(out: &mut dyn Write, verb: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{verb:<11}{text}")
}

impl Report for DemoStep {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let wrong = self.wrong();
        if !wrong.is_empty() {
            return wrong.iter().try_for_each(|wrong| line(out, "WRONG", wrong));
        }
        match self {
            DemoStep::Started {
                repository,
                replaced,
            } => {
                let replaced = if *replaced {
                    ", in place of the last demo's"
                } else {
                    ""
                };
                line(
                    out,
                    "started",
                    &format!(
                        "a Kafka broker inside this process; the repository goes to {repository}{replaced}"
                    ),
                )
            }
            DemoStep::Produced {
                records,
                records_per_topic,
                tombstones,
                late,
            } => {
                let topics = records_per_topic
                    .iter()
                    .map(|(topic, records)| format!("{} to {topic}", human::count(*records)));
                let topics = topics.collect::<Vec<_>>().join(", ");
                line(
                    out,
                    "produced",
                    &format!("{}: {topics}", human::counted(*records, "record")),
                )?;
                let (tombstones, late) = (
                    human::counted(*tombstones, "tombstone"),
                    human::count(*late),
                );
                line(
                    out,
                    "",
                    &format!(
                        "among them {tombstones}, and {late} that came late: with an older timestamp than a record before them"
                    ),
                )
            }
            DemoStep::BackedUp(report) => {
                let new = if report.snapshot > 1 {
                    ", only what is new"
                } else {
                    ""
                };
                let (raw, stored) = (
                    human::bytes(report.raw_bytes),
                    human::bytes(report.stored_bytes),
                );
                let ratio = report.raw_bytes as f64 / report.stored_bytes.max(1) as f64;
                let (records, took) = (
                    human::counted(report.records, "record"),
                    took(report.seconds),
                );
                let snapshot = report.snapshot;
                line(
                    out,
                    "backed up",
                    &format!(
                        "snapshot {snapshot}{new}: {records}, {raw} as {stored} (ratio {ratio:.1}) {took}"
                    ),
                )
            }
            DemoStep::Verified(report) => {
                let records = human::counted(report.records, "record");
                let segments = human::counted(report.segments, "segment");
                line(
                    out,
                    "verified",
                    &format!(
                        "{records} in {segments}: every byte is intact, every offset is present"
                    ),
                )
            }
            DemoStep::Restored(report) => {
                let (records, took) = (
                    human::counted(report.records, "record"),
                    took(report.seconds),
                );
                line(
                    out,
                    "restored",
                    &format!(
                        "{records} to {} new topics named *-restored {took}",
                        report.topics
                    ),
                )
            }
            DemoStep::Compared { records, .. } => {
                let records = human::counted(*records, "record");
                line(
                    out,
                    "compared",
                    &format!(
                        "{records} with their originals: the same order, keys, values, headers, times"
                    ),
                )
            }
            DemoStep::PlannedUntil {
                until,
                planned,
                behind_newer,
                ..
            } => {
                let (planned, behind) = (
                    human::counted(*planned, "record"),
                    human::count(*behind_newer),
                );
                line(
                    out,
                    "planned",
                    &format!(
                        "restore --until {until}: {planned}, exactly as many as were produced"
                    ),
                )?;
                line(
                    out,
                    "",
                    &format!("{behind} of them came late, after newer ones: none is missing"),
                )
            }
        }
    }
}

/// Formats a duration in milliseconds if it is short: the demo has few records.
fn took(seconds: f64) -> String {
    let duration = Duration::from_secs_f64(seconds);
    match duration.as_millis() {
        ms @ 0..1000 => format!("in {ms} ms"),
        _ => format!("in {}", human::duration(duration)),
    }
}

impl Report for DemoReport {
    /// Writes what follows the steps, which were written one by one.
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.interrupted {
            return Ok(());
        }
        if self.wrong.is_empty() {
            let took = human::duration(Duration::from_secs_f64(self.seconds));
            writeln!(
                out,
                "\nEverything was restored exactly, in {took} in all. The broker is gone; try the repository:\n"
            )?;
        } else {
            writeln!(
                out,
                "\nThe demo found errors. The repository is left for you to inspect:\n"
            )?;
        }
        self.next
            .iter()
            .try_for_each(|command| writeln!(out, "  {command}"))?;
        writeln!(
            out,
            "\nWith a cluster of your own:\n\n  {}",
            self.next_cluster
        )
    }
}
