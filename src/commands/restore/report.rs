//! How `kbk restore` prints what it did.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use crate::cli::Report;
use crate::commands::groups::restore::left_alone;
use crate::human;
use crate::restore::{Finished, RestoreReport};

impl Report for Finished {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(left_alone) = self.groups.as_ref().and_then(|it| left_alone(&it.plan)) {
            writeln!(out, "{left_alone}")?;
        }
        self.report.human(out)?;
        if let Some(groups) = &self.groups {
            groups.write_changed(out)?;
        }
        match &self.acls {
            Some(acls) => acls.human(out),
            None => Ok(()),
        }
    }
}

impl Report for RestoreReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.interrupted {
            let next = match self.transactions && self.offset_map {
                true => format!("`kbk restore --resume {}` continues it", self.restore),
                false => "it cannot be resumed".to_owned(),
            };
            writeln!(out, "a signal stopped the restore before its end: {next}")?;
        }
        if let Some(partial) = self.saved.statement() {
            writeln!(out, "{partial}")?;
        }
        writeln!(
            out,
            "restored {} of snapshot {} into {} ({} created) in {} ({}){}",
            human::counted(self.records, "record"),
            self.snapshot,
            human::counted(self.topics as u64, "topic"),
            self.topics_created,
            human::counted(self.partitions as u64, "partition"),
            human::duration(Duration::from_secs_f64(self.seconds)),
            if self.resumed {
                ", including those of earlier runs"
            } else {
                ""
            },
        )?;
        if self.lost_offsets > 0 {
            writeln!(out, "{}", lost(self.lost_offsets))?;
        }
        if self.expired_offsets > 0 {
            writeln!(out, "{}", expired(self.expired_offsets))?;
        }
        if self.purged_records > 0 {
            let records = human::counted(self.purged_records, "record");
            writeln!(
                out,
                "at most {records} were deleted from the targets first, by their offsets"
            )?;
        }
        if self.dropped_headers > 0 {
            let headers = human::counted(self.dropped_headers, "header");
            writeln!(out, "{headers} were left out, as --drop-header asks")?;
        }
        if !self.config_missing.is_empty() {
            let topics = human::some_of(&self.config_missing);
            writeln!(out, "{}", created_with_defaults(&topics, "were"))?;
        }
        for (topic, saved) in &self.retention_saved {
            writeln!(
                out,
                "retention stays off in {topic} until it is set, which may delete restored records:\n  {}",
                set_retention(&self.bootstrap_servers, topic, saved)
            )?;
        }
        if self.offset_map && !self.interrupted {
            writeln!(
                out,
                "restore {}: the repository keeps its offset map",
                self.restore
            )?;
        }
        let more: u64 = self
            .unexpected
            .iter()
            .map(|target| target.found - target.expected)
            .sum();
        if more > 0 {
            writeln!(
                out,
                "{} that this restore did not write are in {} of the targets",
                human::counted(more, "record"),
                human::counted(self.unexpected.len() as u64, "partition"),
            )?;
        }
        let Some(proof) = &self.proof else {
            return Ok(());
        };
        let records = proof.iter().map(|partition| partition.found).sum();
        let compared = human::counted(records, "record");
        match self.different().count() {
            0 if self.saved.complete => {
                writeln!(out, "read back {compared}: all equal to the backup")
            }
            0 => writeln!(
                out,
                "read back {compared}: all equal to the backup, which lacks records that the cluster had"
            ),
            some => writeln!(
                out,
                "read back {compared}: {some} of {} differ",
                human::counted(proof.len() as u64, "partition")
            ),
        }
    }
}

/// Says that the backup cannot have everything.
pub(super) fn lost(offsets: u64) -> String {
    format!(
        "{} of the selection are in no backup: the cluster had deleted them before they were read",
        human::counted(offsets, "offset")
    )
}

/// Says that the snapshot no longer has everything.
pub(super) fn expired(offsets: u64) -> String {
    format!(
        "{} before those of the selection had expired: `kbk expire` removed them by their age",
        human::counted(offsets, "offset")
    )
}

/// Says that topics have no saved configuration.
pub(super) fn created_with_defaults(topics: &str, verb: &str) -> String {
    format!(
        "the snapshot has no configuration of {topics}, which {verb} created with the cluster's defaults; set \
         cleanup.policy and retention as they have to be"
    )
}

/// Returns the command that gives a topic its saved retention; null stands for the cluster's value.
fn set_retention(
    bootstrap_servers: &str,
    topic: &str,
    saved: &BTreeMap<String, Option<String>>,
) -> String {
    let set = saved
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)));
    let set: Vec<String> = set.collect();
    let unset = saved.iter().filter(|(_, value)| value.is_none());
    let unset: Vec<&str> = unset.map(|(key, _)| key.as_str()).collect();
    let mut command = format!(
        "kafka-configs.sh --bootstrap-server {bootstrap_servers} --alter --entity-type topics --entity-name {topic}"
    );
    for (option, entries) in [
        ("--add-config", set.join(",")),
        ("--delete-config", unset.join(",")),
    ] {
        if !entries.is_empty() {
            command.push_str(&format!(" {option} {entries}"));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_sets_what_was_saved_and_removes_the_rest() {
        let saved = BTreeMap::from([
            ("retention.bytes".to_owned(), None),
            ("retention.ms".to_owned(), Some("1000".to_owned())),
        ]);
        assert_eq!(
            set_retention("broker:9092", "orders", &saved),
            "kafka-configs.sh --bootstrap-server broker:9092 --alter --entity-type topics --entity-name orders \
             --add-config retention.ms=1000 --delete-config retention.bytes"
        );
    }
}
