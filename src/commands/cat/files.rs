//! Prints segment files, without their repository.

use std::path::Path;

use kbk_tools::{Order, PartitionReader, SegmentFile, Selection};
use tokio::runtime::Handle;

use super::super::record_args::{RecordArgs, file_failed, stored};
use super::printer::Printer;
use crate::cli::{CliError, OffsetRangeArg, Outcome};

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
    pub(super) fn of(args: &'a RecordArgs, selection: Selection) -> Result<Files<'a>, CliError> {
        Ok(Files {
            paths: args.readable_files()?,
            selection,
            offsets: args.offsets()?,
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
            let file = opened.map_err(file_failed)?;
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
