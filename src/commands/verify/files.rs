//! `kbk verify FILE...`: segment files without their repository.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use kbk_tools::SegmentFileError;
use kbk_tools::verify::{FilesOptions, FilesReport, FindingKind, VerifyDepth, verify_files};

use super::Args;
use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::human;
use crate::run::{RunEvents, Totals};

/// What a segment cannot prove.
const NOT_VERIFIED: &str = "without a repository it is not known whether they are the segments that a backup has stored, and which other offsets there \
     should be; `kbk verify --repo FOLDER` checks that";

/// Verifies the files, and prints every finding.
pub(super) async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    // Which hash a file should have, only its repository knows: the deepest look at a file decodes every record.
    let full = args.depth() >= VerifyDepth::Records;
    if args.depth() < VerifyDepth::Blocks {
        let error = CliError::usage(format!(
            "--depth {} looks at listings and the index of a repository, and not at files",
            args.depth().name()
        ));
        return Err(error.hint("use --depth blocks or --depth records"));
    }
    let sizes = args.files.iter().filter_map(|file| file.metadata().ok());
    let totals = Totals {
        records: None,
        bytes: Some(sizes.map(|metadata| metadata.len()).sum()),
    };
    let run = Arc::new(RunEvents::start(context.events("verifying"), totals));
    let verified = {
        let (files, run) = (args.files.clone(), Arc::clone(&run));
        let checked = move |bytes: u64| {
            run.received(0, bytes);
            run.advanced(0, bytes);
        };
        let options = FilesOptions {
            full,
            accept_lost: args.accept_lost,
        };
        tokio::task::spawn_blocking(move || verify_files(&files, options, &checked)).await?
    };
    // The progress leaves the screen before the result is written.
    drop(run);
    let mut report = verified.map_err(failed)?;
    for finding in &mut report.findings {
        *finding = finding.clone().mended_in_file();
    }
    let outcome = Outcome::clean_if(report.is_intact());
    context.conclude(&report, outcome)
}

fn failed(error: SegmentFileError) -> CliError {
    let hint = match &error {
        SegmentFileError::NotAFile { .. } => {
            "save it to a file first; a whole repository is verified with --repo"
        }
        _ => "give the paths of .kseg files; without any, the repository of --repo is verified",
    };
    CliError::from(error).hint(hint)
}

impl Report for FilesReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let not_computed = self.files.iter().filter(|it| it.computed == Some(false));
        let not_computed = not_computed.count() as u64;
        let unchecked = match (self.full, not_computed) {
            (true, 0) => "what only a repository knows".to_owned(),
            (true, segments) => {
                let digests = super::without_digests(segments);
                format!("{digests}, and what only a repository knows")
            }
            (false, _) => "records, and what only a repository knows".to_owned(),
        };
        let depth = if self.full { "records" } else { "blocks" };
        writeln!(out, "depth {depth}: not checked: {unchecked}\n")?;
        for finding in &self.findings {
            writeln!(out, "{finding}\n")?;
        }
        table(self).write(out)?;
        let how = if self.full {
            "every byte and every record"
        } else {
            "every byte"
        };
        let verdict = match (self.findings.len() as u64, self.is_intact()) {
            (0, _) => format!("{how} is intact"),
            (found, true) => {
                let accepted = human::counted(found, "accepted finding");
                format!("{how} is intact; {accepted}")
            }
            (found, false) => human::counted(found, "finding"),
        };
        writeln!(
            out,
            "\n{} in {}, {}: {verdict}\nnot verified: {NOT_VERIFIED}",
            human::counted(self.records, "record"),
            human::counted(self.files.len() as u64, "file"),
            human::bytes(self.bytes),
        )
    }
}

/// Returns whether a segment states by itself that it lacks records.
fn is_loss(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::DeletedBeforeRead | FindingKind::LostToDamage
    )
}

fn table(report: &FilesReport) -> Table {
    let files_with = |is_such: fn(FindingKind) -> bool| -> HashSet<PathBuf> {
        let findings = report.findings.iter();
        let such = findings.filter(|finding| is_such(finding.kind));
        such.filter_map(|finding| finding.key.as_ref().map(PathBuf::from))
            .collect()
    };
    let unreadable = files_with(|kind| kind == FindingKind::Unreadable);
    let lacking = files_with(is_loss);
    let damaged = files_with(|kind| !is_loss(kind));
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Right("PARTITION"),
        Column::Right("FROM"),
        Column::Right("END"),
        Column::Right("RECORDS"),
        Column::Right("SIZE"),
        Column::Left("STATE"),
        Column::Left("FILE"),
    ]);
    for file in &report.files {
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
        let name = &file.file;
        let state = match (unreadable.contains(name), damaged.contains(name)) {
            (true, _) => "not read",
            (_, true) => "damaged",
            _ if lacking.contains(name) => "lacks records",
            _ => "intact",
        };
        table.row([
            or_unknown(file.topic.clone()),
            or_unknown(file.partition.map(|partition| partition.to_string())),
            or_unknown(file.base_offset.map(|offset| offset.to_string())),
            or_unknown(file.end_offset.map(|offset| offset.to_string())),
            or_unknown(file.records.map(human::count)),
            human::bytes(file.size),
            state.to_owned(),
            file.file.display().to_string(),
        ]);
    }
    table
}
