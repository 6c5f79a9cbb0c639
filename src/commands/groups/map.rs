//! `kbk groups map`: translates offsets by the offset map of a restore.

use std::collections::BTreeMap;
use std::io::{self, Write};

use kbk_format::PartitionNumber;
use kbk_format::repo::{Id, PartitionId, RestoreId, TopicName};
use kbk_tools::restores::{FinishedRestore, Landing, Translated};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::groups::{self, GroupsPlan, OffsetPlan};
use crate::human;
use crate::select::{NamePattern, TopicPartitions};

const EXAMPLES: &str = "\
Examples:
  kbk groups map -r /backup/kafka
  kbk groups map -r /backup/kafka orders/3 120045 120046
  kbk groups map -r /backup/kafka 'orders*/0-3,7' 120045
  kbk groups map -r /backup/kafka --group 'billing-*' --csv > offsets.csv
  kafka-consumer-groups --bootstrap-server broker:9092 --all-groups --reset-offsets --from-file offsets.csv --execute

A committed offset is the next record to read. It is translated to that record, or to the
first restored one after it, or else to the end. In a repartitioned topic, an offset is
translated to one in each partition that has records of its partition, and a group gets the
smallest of those of all partitions: no record is skipped, and some are read again.";

/// The arguments of `kbk groups map`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Topics of the backup, or partitions of them, as in orders/0-3,7, for the offsets that follow: a name, a glob, or /a regular
    /// expression/ for the whole name; also NAME@ID, with 8 digits of its id or more [default: the offsets of the saved groups]
    #[arg(value_name = "TOPIC[/PARTITIONS]", requires = "offsets")]
    pub source: Option<TopicPartitions>,

    /// Offsets of each of these partitions
    #[arg(value_name = "OFFSET", requires = "source", value_parser = clap::value_parser!(i64).range(0..))]
    pub offsets: Vec<i64>,

    /// The name of the restore [default: the last finished one]
    #[arg(long, value_name = "ID")]
    pub restore: Option<RestoreId>,

    /// Groups: a name, a glob, or /a regular expression/ for the whole name; repeatable [default: all]
    #[arg(long, value_name = "PATTERN", conflicts_with = "source")]
    pub group: Vec<NamePattern>,

    /// Print lines of group,topic,partition,offset for kafka-consumer-groups --from-file
    #[arg(long, conflicts_with_all = ["source", "json"])]
    pub csv: bool,
}

/// The translations of some offsets of partitions.
#[derive(Debug, Serialize)]
struct OfPartitions {
    /// The restore whose offset map was used.
    restore: RestoreId,
    /// The selected partitions.
    partitions: Vec<OfPartition>,
}

/// The translations of some offsets of one partition.
#[derive(Debug, Serialize)]
struct OfPartition {
    /// The topic in the backup.
    topic: String,
    /// Identifies this history of the topic.
    topic_id: Id,
    /// Its partition.
    partition: PartitionNumber,
    /// The offsets that were asked for.
    offsets: Vec<OfOffset>,
}

#[derive(Debug, Serialize)]
struct OfOffset {
    /// The offset in the backup.
    source_offset: i64,
    /// One for every partition of the cluster that may have records of the source partition.
    targets: Vec<Translated>,
}

/// The translations of the committed offsets of groups.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct OfGroups(GroupsPlan);

/// Lines for Kafka's own tool.
struct Csv<'a>(&'a GroupsPlan);

/// Translates, and prints the result.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let restore = FinishedRestore::open(&repository, args.restore.as_ref()).await?;
    if let Some(source) = &args.source {
        let mut translated = OfPartitions {
            restore: restore.restore.restore.clone(),
            partitions: Vec::new(),
        };
        for place in places(&restore, source)? {
            let offsets = restore.translate(&repository, place, &args.offsets).await?;
            translated.partitions.push(OfPartition {
                topic: place.topic.to_string(),
                topic_id: place.topic_id,
                partition: place.partition,
                offsets: of_offsets(&args.offsets, offsets.unwrap_or_default()),
            });
        }
        return context.conclude(&translated, Outcome::Clean);
    }
    let snapshot = groups::snapshot_of(&repository, &restore).await?;
    let plan = groups::translate(&repository, &snapshot, &restore, &args.group).await?;
    if args.csv {
        let mut lines = Vec::new();
        Csv(&plan).write(&mut lines)?;
        context.output.text(&lines)?;
        return Ok(Outcome::Clean);
    }
    context.conclude(&OfGroups(plan), Outcome::Clean)
}

/// Returns the partitions of the backup that are selected and were restored.
///
/// # Errors
///
/// If the restore has none of them, or lacks one of those that are given by number.
fn places<'a>(
    restore: &'a FinishedRestore,
    source: &TopicPartitions,
) -> Result<Vec<&'a PartitionId>, CliError> {
    let name = &restore.restore.restore;
    let not_restored = |what: String| {
        let topics = restore.restore.topics.iter().map(|topic| &*topic.topic);
        let topics: Vec<&str> = topics.collect();
        let restored = format!("it restored {}", human::some_of(&topics));
        CliError::new(format!("restore {name} did not restore {what}: {restored}")).hint(
            "--restore NAME reads the offset map of another restore, and `kbk restores` lists them",
        )
    };
    let topics = restore.partition_ids();
    let mut places: BTreeMap<(&TopicName, Id), Vec<&PartitionId>> = BTreeMap::new();
    for place in topics.filter(|place| source.matches(&place.topic, place.topic_id)) {
        let key = (&place.topic, place.topic_id);
        places.entry(key).or_default().push(place);
    }
    if places.is_empty() {
        return Err(not_restored(source.topics.to_string()));
    }
    if let Some(set) = &source.partitions {
        for ((topic, _), places) in &mut places {
            let restored = places.iter().map(|place| place.partition).collect();
            if let Some(missing) = set.first_missing(&restored) {
                return Err(not_restored(format!("{topic}/{missing}")));
            }
            places.retain(|place| set.contains(place.partition));
        }
    }
    Ok(places.into_values().flatten().collect())
}

fn of_offsets(offsets: &[i64], translated: Vec<Vec<Translated>>) -> Vec<OfOffset> {
    let offsets = offsets.iter().zip(translated);
    let offsets = offsets.map(|(source_offset, targets)| OfOffset {
        source_offset: *source_offset,
        targets,
    });
    offsets.collect()
}

impl Report for OfPartitions {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            Column::Left("TOPIC/PARTITION"),
            Column::Right("OFFSET"),
            Column::Left("TARGET"),
            Column::Right("NEXT OFFSET"),
            Column::Left("IS"),
        ]);
        for partition in &self.partitions {
            for OfOffset {
                source_offset,
                targets,
            } in &partition.offsets
            {
                for target in targets {
                    let is = match target.lands {
                        Landing::AtEnd if targets.len() > 1 => "after its records there".to_owned(),
                        lands => landing(lands),
                    };
                    table.row([
                        format!("{}/{}", partition.topic, partition.partition),
                        source_offset.to_string(),
                        format!("{}/{}", target.topic, target.partition),
                        target.offset.to_string(),
                        is,
                    ]);
                }
            }
        }
        table.write(out)
    }
}

pub(super) fn landing(lands: Landing) -> String {
    match lands {
        Landing::OnRecord => "its record".to_owned(),
        Landing::OnNext { source_offset } => format!("the next restored one, {source_offset}"),
        Landing::AtEnd => "the end".to_owned(),
    }
}

impl Report for OfGroups {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            Column::Left("GROUP"),
            Column::Left("TOPIC/PARTITION"),
            Column::Right("OFFSET"),
            Column::Left("TARGET"),
            Column::Right("NEXT OFFSET"),
            Column::Left("IS"),
        ]);
        for group in &self.0.groups {
            for offset in &group.offsets {
                table.row(row(&group.group, offset));
            }
        }
        table.write(out)?;
        for group in &self.0.groups {
            for expired in &group.expired {
                let (group, offsets) = (human::group_id(&group.group), expired.offsets);
                let (topic, partition) = (&expired.topic, expired.partition);
                writeln!(
                    out,
                    "group {group} had not read {offsets} of {topic}/{partition}, which have expired"
                )?;
            }
        }
        for group in &self.0.groups {
            if let Some(why) = &group.no_offsets {
                let group = human::group_id(&group.group);
                writeln!(out, "group {group} has no offset to translate: {why}")?;
            }
        }
        let left_out: Vec<&str> = self.0.topics_left_out().into_iter().collect();
        if left_out.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "left out: offsets in {}, which restore {} did not restore; --restore NAME reads the offset map of another one (`kbk restores`)",
            human::some_of(&left_out),
            self.0.restore,
        )
    }
}

fn row(group: &str, offset: &OffsetPlan) -> [String; 6] {
    let target = &offset.target;
    [
        human::group_id(group),
        format!("{}/{}", offset.source_topic, offset.source_partition),
        offset.source_offset.to_string(),
        format!("{}/{}", target.topic, target.partition),
        target.offset.to_string(),
        landing(target.lands),
    ]
}

impl Csv<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for group in &self.0.groups {
            for offset in &group.offsets {
                let target = &offset.target;
                let (topic, partition) = (&target.topic, target.partition);
                let group = quoted(&group.group);
                writeln!(out, "{group},{topic},{partition},{}", target.offset)?;
            }
        }
        Ok(())
    }
}

/// Returns a field of a CSV line (RFC 4180), in quotes if it needs them.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn only_fields_that_need_quotes_are_quoted() {
        assert_eq!(quoted("billing"), "billing");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
