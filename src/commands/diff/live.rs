//! `kbk diff --live`: compares a cluster with a snapshot, record by record.

use std::io::{self, Write};

use kbk_format::counted;
use kbk_format::repo::RateLimit;
use kbk_tools::list::Completeness;
use serde::Serialize;
use tokio::runtime::Handle;

use super::Args;
use crate::blocking::blocking;
use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::commands;
use crate::compare::PartitionComparison;
use crate::human;
use crate::restore::{
    self, Obstacle, PartitionMapping, Purpose, RestoreOptions, RestorePlan, RetentionChoice,
};
use crate::select::DropHeaders;

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct DiffReport {
    /// The snapshot that was compared.
    snapshot: u64,
    /// Whether the snapshot has every selected record that the cluster had when it was made.
    saved: Completeness,
    /// Offsets before those that were compared that have expired: `kbk expire` removed them by the age of their records.
    expired_offsets: u64,
    /// Deleted topics that were not compared.
    left_out: Vec<String>,
    partitions: Vec<PartitionComparison>,
}

/// Compares, and prints the result.
pub(super) async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let mut choice = commands::choice(&args.topics, &args.choice)?;
    let repository = commands::repository(context).await?;
    let snapshot = commands::snapshot(&repository, args.snapshot.unwrap_or_default()).await?;
    let chosen = commands::chosen(&args.topics, &mut choice, &snapshot)?;
    commands::warn_left_out(&chosen.left_out);
    let options = RestoreOptions {
        kafka: args.kafka.settings_for(args.client)?,
        targets: args.names.targets(&chosen.topics)?,
        selection: choice,
        mapping: args
            .partition_map
            .clone()
            .map_or(PartitionMapping::Kept, PartitionMapping::Mapped),
        append: true,
        purge: false,
        verify: true,
        client: args.client,
        transactions: false,
        group_patterns: Vec::new(),
        groups: Vec::new(),
        acls: false,
        offset_map: true,
        replication_factor: None,
        retention: RetentionChoice::default(),
        rate_limit: RateLimit::default(),
        allow_partial: true,
        drop_headers: DropHeaders::new(args.drop_header.iter().cloned()),
        purpose: Purpose::Compare,
    };
    let plan = restore::plan(&repository, &snapshot, &options).await;
    let plan = plan.map_err(commands::plan_failed)?;
    refuse(&plan)?;
    let (saved, expired_offsets) = (plan.saved.clone(), plan.expired_offsets);
    let (kafka, cancel, runtime) = (options.kafka, context.cancel.clone(), Handle::current());
    let partitions =
        blocking(move || restore::compare_live(&plan, &repository, &kafka, &cancel, &runtime))
            .await;
    let partitions = partitions.map_err(commands::compare_failed)?;
    let report = DiffReport {
        snapshot: snapshot.sequence,
        saved,
        expired_offsets,
        left_out: chosen.left_out.iter().map(ToString::to_string).collect(),
        partitions,
    };
    let equal = report.partitions.iter().all(PartitionComparison::is_equal);
    // A partial snapshot lacks records that the cluster may have.
    context.conclude(&report, Outcome::clean_if(equal && report.saved.complete))
}

/// Fails if the cluster lacks something to compare, before anything is read.
fn refuse(plan: &RestorePlan) -> Result<(), CliError> {
    let rights = plan
        .obstacles
        .iter()
        .filter(|obstacle| matches!(obstacle, Obstacle::MissingRight { .. }))
        .map(ToString::to_string);
    let rights: Vec<String> = rights.collect();
    if !rights.is_empty() {
        return Err(CliError::new(rights.join("\n  and ")));
    }
    let missing = plan.topics().find(|topic| topic.create().is_some());
    if let Some(topic) = missing {
        let message = format!("the cluster has no topic {}", topic.target());
        return Err(CliError::new(message)
            .hint("--map SOURCE=TARGET gives its name in the cluster; --topic and --exclude select other topics"));
    }
    let partitions = plan.obstacles.iter().find_map(|obstacle| match obstacle {
        Obstacle::PartitionCount {
            topic,
            saved,
            found,
        } => Some(format!(
            "{topic} has {} and the backup has {saved}: they cannot be compared partition by partition \
             (where --repartition wrote them, `kbk restore --verify` does)",
            counted(*found, "partition")
        )),
        missing @ Obstacle::NoTargetPartition { .. } => Some(missing.to_string()),
        _ => None,
    });
    partitions.map_or(Ok(()), |message| Err(CliError::new(message)))
}

impl Report for DiffReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(partial) = self.saved.statement() {
            writeln!(out, "{partial}")?;
        }
        let differ = self.partitions.iter().filter(|one| !one.is_equal()).count();
        let snapshot = self.snapshot;
        match differ {
            0 => writeln!(out, "{}", self.equal())?,
            some => writeln!(
                out,
                "{some} of {} differ from snapshot {snapshot}",
                human::counted(self.partitions.len() as u64, "partition")
            )?,
        }
        let not_compared = self.not_compared();
        if !not_compared.is_empty() {
            writeln!(out, "not compared: {}", not_compared.join(", "))?;
        }
        let mut table = Table::new([
            Column::Left("TARGET"),
            Column::Right("EXPECTED"),
            Column::Right("FOUND"),
            Column::Right("DIFFERENCES"),
            Column::Right("TRIMMED"),
            Column::Right("COMPACTED"),
            Column::Right("REMOVED"),
            Column::Right("LOST"),
            Column::Right("AFTER END"),
            Column::Left("FIRST"),
        ]);
        for compared in &self.partitions {
            let first = compared.first.as_ref();
            table.row([
                format!("{}/{}", compared.topic, compared.partition),
                human::count(compared.expected),
                human::count(compared.found),
                human::count(compared.differences),
                human::count(compared.trimmed),
                human::count(compared.compacted),
                human::count(compared.removed_records),
                human::count(compared.damaged_records),
                human::count(compared.newer_offsets),
                first.map_or_else(String::new, ToString::to_string),
            ]);
        }
        table.write(out)
    }
}

impl DiffReport {
    fn total(&self, of: impl Fn(&PartitionComparison) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }

    /// Says what is equal: every record, or those that both sides hold.
    fn equal(&self) -> String {
        let snapshot = self.snapshot;
        let found = self.total(|one| one.found);
        let absent = self.total(|one| one.trimmed + one.compacted);
        match (found, absent) {
            (_, 0) => format!("equal: every record of snapshot {snapshot}"),
            (0, _) => format!(
                "nothing to compare: the cluster no longer has a record of snapshot {snapshot}"
            ),
            _ => format!(
                "equal: {} that both the cluster and snapshot {snapshot} hold",
                human::counted(found, "record")
            ),
        }
    }

    fn not_compared(&self) -> Vec<String> {
        let [trimmed, compacted, removed, damaged, newer] = [
            self.total(|one| one.trimmed),
            self.total(|one| one.compacted),
            self.total(|one| one.removed_records),
            self.total(|one| one.damaged_records),
            self.total(|one| one.newer_offsets),
        ];
        let parts = [
            (trimmed, "record", "below the start of the cluster's log"),
            (compacted, "record", "removed by compaction"),
            (
                removed,
                "record",
                "that `kbk compact` removed from the backup",
            ),
            (
                damaged,
                "record",
                "that the backup lost since segments were damaged",
            ),
            (newer, "offset", "after the end of the snapshot"),
            (
                self.expired_offsets,
                "offset",
                "that expired in the repository",
            ),
        ];
        let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
        parts
            .map(|(count, noun, what)| format!("{} {what}", human::counted(count, noun)))
            .collect()
    }
}
