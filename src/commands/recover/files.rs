//! `kbk recover FILE`: segment files without their repository.

use std::io::{self, Write};
use std::path::Path;

use kbk_format::salvage::Loss;
use kbk_format::scan::IdentifiedBy;
use kbk_tools::FileBytesError;
use kbk_tools::recover::{FileOptions, FileRecovery, RecoverError, recover_files};

use super::Args;
use crate::cli::{CliError, Column, Context, Outcome, OutputFile, Report, Table};
use crate::human;
use crate::run::{RunEvents, Totals};

/// Losses that the text lists; JSON has all of them.
const SHOWN: usize = 20;

/// Recovers what the files prove.
pub(super) async fn run(
    args: &Args,
    output: &Path,
    report_file: Option<OutputFile>,
    context: &Context,
) -> Result<Outcome, CliError> {
    super::check_output(output)?;
    let options = FileOptions {
        files: args.files.clone(),
        output: output.to_owned(),
        partition: args.partition.clone(),
        writer: crate::commands::writer(),
        dry_run: args.dry_run,
    };
    let run = RunEvents::start(context.events("recovering"), Totals::default());
    let recovered = tokio::task::spawn_blocking(move || recover_files(&options)).await;
    // The progress leaves the screen before the result is written.
    drop(run);
    let report = recovered?.map_err(failed)?;
    if let Some(file) = report_file {
        super::save(&report, file)?;
    }
    context.conclude(&report, Outcome::clean_if(report.complete))
}

fn failed(error: RecoverError) -> CliError {
    let hint = match &error {
        // It says what to do.
        RecoverError::Read(FileBytesError::Copy { .. }) => return error.into(),
        RecoverError::Read(_) => "give the paths of .kseg files",
        RecoverError::NotASegment { .. } => {
            "if it is part of a larger image, cut out the part that holds the segment"
        }
        RecoverError::Unidentified { .. } => {
            "name them with --as TOPIC/PARTITION: the path of the file in its repository says both"
        }
        RecoverError::OtherPartition { .. } => "leave out --as: the header counts",
        RecoverError::Exists { .. } => "choose another name for the new segment",
        RecoverError::Write { .. } => {
            "check that there is room, and that the folder may be written to"
        }
        RecoverError::Unproved { .. } => "check the disk, then recover again to another one",
    };
    CliError::from(error).hint(hint)
}

impl Report for FileRecovery {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", verdict(self))?;
        unreadable(self, out)?;
        if self.identified_by > IdentifiedBy::Trailer {
            writeln!(
                out,
                "which segment it is follows from its blocks alone: neither its header nor its end is where it belongs{}",
                match self.unused.is_empty() {
                    true => "",
                    false => "; the bytes that hold nothing proved may have been of another one",
                }
            )?;
        }
        beyond(self, out)?;
        if !self.losses.is_empty() {
            losses(&self.losses, out)?;
        }
        others(self, out)?;
        if let Some(segment) = self.segment.as_ref().filter(|it| it.partition_unproved) {
            let (topic, partition) = (&segment.topic, segment.partition);
            writeln!(
                out,
                "that it is of {topic}/{partition} is what --as says: no copy of the header is left that proves it"
            )?;
        }
        match (&self.segment, &self.output) {
            (Some(segment), Some(output)) => writeln!(
                out,
                "{}: {}/{}, {}, {}; it was read back, and every record compared by digest",
                output.display(),
                segment.topic,
                segment.partition,
                segment.offsets,
                taken(self),
            ),
            (Some(segment), None) => writeln!(
                out,
                "would write {}/{}, {}",
                segment.topic, segment.partition, segment.offsets
            ),
            (None, _) => writeln!(out, "nothing was written"),
        }
    }
}

/// Says what the records were in.
fn taken(report: &FileRecovery) -> String {
    let blocks = human::counted(report.blocks, "intact block");
    match report.partial_blocks {
        0 => blocks,
        partial => {
            let damaged = human::counted(partial, "damaged block");
            format!("{blocks}, and the intact batches of {damaged}")
        }
    }
}

/// Says how much is lost.
fn verdict(report: &FileRecovery) -> String {
    let done = match report.dry_run {
        true => "would recover",
        false => "recovered",
    };
    let records = human::counted(report.records, "record");
    if report.complete {
        return format!("{done} all {records}: nothing is lost");
    }
    if report.losses.is_empty() {
        return format!(
            "{done} all {records} of the blocks that were found: whether these are all is not proved"
        );
    }
    let ranges = human::counted(report.losses.len() as u64, "range");
    let offsets = human::counted(report.lost_offsets, "offset");
    match report.lost_records {
        Some(lost) => {
            let all = human::count(report.records.saturating_add(lost));
            let lost = human::counted(lost, "record");
            format!("{done} {records} of {all}: {lost} lost, in {ranges} of {offsets} together")
        }
        None => format!(
            "{done} {records}: {offsets} in {ranges} are lost at least, and how many records these had is not known"
        ),
    }
}

/// Says what the disks do not return.
fn unreadable(report: &FileRecovery, out: &mut dyn Write) -> io::Result<()> {
    for source in &report.files {
        let file = source.file.display();
        for unread in source.unreadable.iter().take(SHOWN) {
            let end = unread.position.saturating_add(unread.bytes);
            writeln!(
                out,
                "cannot read {file} from position {} to {end}, and what was there is lost unless another copy has it: {}",
                unread.position, unread.reason
            )?;
        }
        if let Some(more) = source
            .unreadable
            .len()
            .checked_sub(SHOWN)
            .filter(|it| *it > 0)
        {
            writeln!(out, "and {more} more: --json or --report lists all")?;
        }
    }
    Ok(())
}

/// Says whether there may have been more.
fn beyond(report: &FileRecovery, out: &mut dyn Write) -> io::Result<()> {
    if report.segment.is_none() && !report.base.is_proved && !report.end.is_proved {
        return Ok(());
    }
    let blocks = |count: Option<u32>| match count {
        Some(count) => format!("{} lost there", human::counted(u64::from(count), "block")),
        None => "more may be lost there".to_owned(),
    };
    if !report.base.is_proved {
        let lost = blocks(report.base.lost_blocks);
        writeln!(
            out,
            "where it began is not known: before offset {}: {lost}",
            report.base.offset
        )?;
    }
    if !report.end.is_proved {
        let lost = blocks(report.end.lost_blocks);
        writeln!(
            out,
            "where it ended is not known: from offset {} on: {lost}",
            report.end.offset
        )?;
    }
    Ok(())
}

fn losses(losses: &[Loss], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        Column::Right("FROM"),
        Column::Right("END"),
        Column::Right("RECORDS"),
        Column::Right("POSITION"),
        Column::Right("BYTES"),
        Column::Left("WHY"),
    ]);
    let or_unknown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), human::count);
    for loss in losses.iter().take(SHOWN) {
        table.row([
            loss.offsets.base_offset.to_string(),
            loss.offsets.end_offset.to_string(),
            or_unknown(loss.records),
            or_unknown(loss.position),
            or_unknown(loss.bytes),
            loss.reason.words().to_owned(),
        ]);
    }
    writeln!(out)?;
    table.write(out)?;
    if let Some(more) = losses.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(out, "and {more} more: --json or --report lists all")?;
    }
    writeln!(out)
}

/// Says what else was found.
fn others(report: &FileRecovery, out: &mut dyn Write) -> io::Result<()> {
    let unused: u64 = report.unused.iter().map(|unused| unused.bytes).sum();
    if unused > 0 {
        let ranges = human::counted(report.unused.len() as u64, "range");
        let file = report.files.first().map(|it| it.file.display().to_string());
        let file = file.unwrap_or_default();
        writeln!(
            out,
            "{} of {file} in {ranges} hold nothing that is proved",
            human::counted(unused, "byte")
        )?;
    }
    if report.foreign_blocks > 0 {
        let blocks = human::counted(report.foreign_blocks, "block");
        writeln!(out, "{blocks} of other segments left out")?;
    }
    if report.damaged_offsets > 0 {
        let offsets = human::counted(report.damaged_offsets, "offset");
        writeln!(
            out,
            "{offsets} had lost their records before: the segment was recovered itself, and names them as damaged"
        )?;
    }
    for source in &report.files {
        if let Some(id) = &source.other_segment {
            writeln!(
                out,
                "{} is of another segment, {id}..., and nothing was taken from it: recover it on its own",
                source.file.display()
            )?;
        }
    }
    if report.files.len() > 1 {
        for source in &report.files {
            let blocks = human::counted(source.blocks, "block");
            writeln!(out, "{blocks} from {}", source.file.display())?;
        }
    }
    Ok(())
}
