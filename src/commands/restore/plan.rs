//! How `kbk restore` prints a plan.

use std::io::{self, Write};

use kbk_format::counted;
use kbk_format::repo::RestoredPartition;

use super::report::{created_with_defaults, expired, lost};
use crate::cli::{Column, Report, Table};
use crate::groups::GroupWithoutOffsets;
use crate::human;
use crate::restore::{PartitionPlan, RestorePlan, TopicPlan, describe_rate};

impl Report for RestorePlan {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(partial) = self.saved.statement() {
            writeln!(out, "{partial}")?;
        }
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Left("TARGET"),
            Column::Right("PARTITION"),
            Column::Right("FROM"),
            Column::Right("END"),
            Column::Right("RECORDS"),
            Column::Right("SEGMENTS"),
            Column::Right("STORED"),
            Column::Right("BLOCKS"),
            Column::Right("READ"),
        ]);
        for topic in self.topics() {
            for partition in topic.partitions() {
                let PartitionPlan { restored, reading } = partition;
                let about = if reading.records_exact {
                    ""
                } else {
                    "at most "
                };
                table.row([
                    topic.restored.topic.to_string(),
                    target(topic),
                    route(restored),
                    restored.base_offset.to_string(),
                    restored.end_offset.to_string(),
                    format!("{about}{}", human::count(reading.records)),
                    human::count(reading.segments as u64),
                    human::bytes(reading.stored_bytes),
                    human::count(reading.blocks),
                    human::bytes(reading.read_bytes),
                ]);
            }
        }
        table.write(out)?;
        let records: u64 = self
            .topics()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.reading.records)
            .sum();
        if self.lost_offsets > 0 {
            writeln!(out, "{}", lost(self.lost_offsets))?;
        }
        if self.expired_offsets > 0 {
            writeln!(out, "{}", expired(self.expired_offsets))?;
        }
        let missing = self.topics().filter(TopicPlan::config_missing);
        let missing: Vec<&str> = missing.map(|topic| topic.target()).collect();
        if !missing.is_empty() {
            let topics = human::some_of(&missing);
            writeln!(out, "{}", created_with_defaults(&topics, "would be"))?;
        }
        for topic in self.topics().filter(TopicPlan::retention_stays_off) {
            let (target, saved) = (topic.target(), saved_retention(topic));
            writeln!(
                out,
                "retention would stay off in {target}: {saved} may delete restored records; --restore-retention sets it at once"
            )?;
        }
        for tight in self.topics().filter_map(only_compressed_in_words) {
            writeln!(out, "{tight}")?;
        }
        for purged in self.purged() {
            writeln!(
                out,
                "existing records would be deleted: {}",
                purge_in_words(purged)
            )?;
        }
        for topic in self.topics() {
            if let Some(count) = topic.restored.repartitioned() {
                let (from, target) = (topic.source_partitions(), topic.target());
                writeln!(
                    out,
                    "{target} would have {} where the backup has {from}: the key of each record decides",
                    counted(count, "partition")
                )?;
            }
        }
        for GroupWithoutOffsets { group, why } in &self.groups_without_offsets {
            let group = human::group_id(group);
            writeln!(out, "no offset would be committed of group {group}: {why}")?;
        }
        if !self.manifest.drop_headers.is_empty() {
            let names = self.manifest.drop_headers.join(", ");
            writeln!(out, "headers that would be left out: {names}")?;
        }
        let selection = self.selection.to_string();
        writeln!(
            out,
            "{} of snapshot {} would be written{}{selection}",
            human::counted(records, "record"),
            self.manifest.snapshot.sequence,
            if selection.is_empty() { "" } else { ": " },
        )?;
        if records > 0 {
            writeln!(
                out,
                "whether they are intact was not checked: a restore stops at what is damaged; `kbk verify` finds it before"
            )?;
        }
        match describe_rate(self.rate_limit) {
            limit if limit.is_empty() => Ok(()),
            limit => writeln!(out, "no faster than {limit}"),
        }
    }
}

fn target(topic: TopicPlan<'_>) -> String {
    let target = topic.target();
    let Some(create) = topic.create() else {
        return target.to_owned();
    };
    let partitions = create.partitions;
    if usize::try_from(partitions) == Ok(topic.source_partitions()) {
        format!("{target} (new)")
    } else {
        format!("{target} (new, {})", counted(partitions, "partition"))
    }
}

/// Describes the saved retention that a topic does not get back.
fn saved_retention(topic: TopicPlan<'_>) -> String {
    let saved = topic
        .retention_off()
        .iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => format!("the cluster's {key}"),
        });
    saved.collect::<Vec<_>>().join(" and ")
}

/// Names a partition, and where its records go if they do not keep its number.
fn route(restored: &RestoredPartition) -> String {
    let partition = restored.partition;
    match restored.target_partition {
        Some(target) if target == partition => partition.to_string(),
        Some(target) => format!("{partition} -> {target}"),
        None => format!("{partition} by key"),
    }
}

/// Says that a record may be too large, where compression decides.
pub(super) fn only_compressed_in_words(topic: TopicPlan<'_>) -> Option<String> {
    let (bytes, limit) = topic.fits_only_compressed()?;
    let (target, codec) = (topic.target(), topic.codec().name());
    Some(format!(
        "{target} accepts batches of at most {limit} bytes, and the backup has a record of {bytes} bytes: it is tried with {codec}, and \
         the restore stops there if the cluster refuses it"
    ))
}

/// Names a target and at most how many records it loses.
pub(super) fn purge_in_words((topic, records): (TopicPlan<'_>, u64)) -> String {
    let records = human::counted(records, "record");
    format!("{} (at most {records})", topic.target())
}
