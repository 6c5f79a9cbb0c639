//! Prints segment files, without their repository.

use std::io;
use std::path::Path;

use kbk_tools::{Order, PartitionReader, SegmentFile, SegmentFileError, Selection};
use tokio::runtime::Handle;

use super::operand::RULE;
use super::printer::Printer;
use super::{Args, stored};
use crate::cli::{CliError, OffsetRangeArg, Outcome, SnapshotArg};

/// Files to print.
pub(super) struct Files<'a> {
    /// In the order in which they were given.
    paths: Vec<&'a Path>,
    /// What is selected of each, but for offsets.
    selection: Selection,
    offsets: OffsetRangeArg,
    order: Order,
}

impl<'a> Files<'a> {
    /// Returns the files, if every one can be read and no option selects what a file does not have.
    pub(super) fn of(
        args: &'a Args,
        selection: Selection,
        offsets: OffsetRangeArg,
    ) -> Result<Files<'a>, CliError> {
        if !args.partition.is_empty() {
            return Err(CliError::usage(
                "--partition selects from topics, and a segment file has one partition; name the files of that partition instead",
            ));
        }
        if args.snapshot != SnapshotArg::Latest {
            return Err(CliError::usage(
                "--snapshot selects from a repository, and segment files are read without one",
            ));
        }
        let paths: Vec<&Path> = args.files().collect();
        for path in &paths {
            SegmentFile::check_readable(path).map_err(failed)?;
        }
        Ok(Files {
            paths,
            selection,
            offsets,
            order: args.order(),
        })
    }

    /// Prints file after file, and adds to `found` which offsets they have.
    pub(super) async fn print(
        &self,
        printer: &mut Printer<'_>,
        found: &mut Vec<String>,
    ) -> Result<Outcome, CliError> {
        for number in self.order.of(0..self.paths.len()) {
            let path = self.paths[number].to_owned();
            let opened = tokio::task::spawn_blocking(move || SegmentFile::open(&path)).await?;
            let file = opened.map_err(failed)?;
            let (header, coverage) = (file.segment().header().clone(), file.segment().coverage());
            let records = file.segment().statistics().record_count;
            let name = file.path().display().to_string();
            found.push(stored(&name, records, coverage.clone()));
            let selection = Selection {
                offsets: self.offsets.resolve(coverage.start, coverage.end),
                ..self.selection.clone()
            };
            let reader = PartitionReader::of_file(
                file,
                selection,
                printer.options(true),
                &Handle::current(),
            );
            let printed = printer.print(reader, &header.topic, header.partition);
            let printed = printed
                .await
                .map_err(|error| error.failed(&name, self.order));
            if printed?.is_break() {
                break;
            }
        }
        Ok(Outcome::Clean)
    }
}

fn failed(error: SegmentFileError) -> CliError {
    let hint = match &error {
        SegmentFileError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
            // A path with a folder is hardly a topic.
            let alone = path.parent() == Some(Path::new(""));
            alone.then(|| RULE.to_owned())
        }
        SegmentFileError::Io { .. } => None,
        SegmentFileError::NotAFile { .. } => Some("save it to a file first".to_owned()),
        SegmentFileError::NotASegment { .. } => Some(
            "give the path of a .kseg file; `kbk ls --segments` lists those of a repository"
                .to_owned(),
        ),
        SegmentFileError::Damaged { path, .. } => Some(format!(
            "`kbk inspect {}` shows what is left of it",
            path.display()
        )),
    };
    let failed = CliError::from(error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
