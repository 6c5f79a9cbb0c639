//! How `kbk restore` prints what it did.

use std::io::{self, Write};
use std::time::Duration;

use crate::cli::Report;
use crate::human;
use crate::restore::{Finished, RestoreReport};

impl Report for Finished {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.report.human(out)?;
        if let Some(groups) = &self.groups {
            groups.human(out)?;
        }
        match &self.acls {
            Some(acls) => acls.human(out),
            None => Ok(()),
        }
    }
}

impl Report for RestoreReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
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
        if self.purged_records > 0 {
            let records = human::counted(self.purged_records, "record");
            writeln!(out, "about {records} were deleted from the targets first")?;
        }
        if !self.retention_off.is_empty() {
            let topics = self.retention_off.join(", ");
            writeln!(out, "retention stays off until it is set: {topics}")?;
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
