//! Prints segment files, without their repository.

use std::path::Path;

use kbk_tools::{Order, Selection};

use super::super::record_args::{FileOpener, RecordArgs, stored};
use super::origin::Origin;
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
    /// Returns the files, if no option selects what a file does not have.
    pub(super) fn of(args: &'a RecordArgs, selection: Selection) -> Result<Files<'a>, CliError> {
        Ok(Files {
            paths: args.segment_files()?,
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
        let mut opener = FileOpener::default();
        for number in self.order.of(0..self.paths.len()) {
            let opened = opener.open(self.paths[number]).await?;
            for (name, reason) in opener.left_out() {
                printer.leave_out(&name, &reason);
            }
            let Some(file) = opened else {
                continue;
            };
            let coverage = file.segment().coverage();
            let records = file.segment().statistics().record_count;
            let name = file.path().display().to_string();
            found.push(stored(&name, records, coverage.clone()));
            let selection = Selection {
                offsets: self.offsets.resolve(coverage.start, coverage.end),
                ..self.selection.clone()
            };
            let origin = Origin::of_file(file, selection);
            let reader = origin.read(printer.options(true)).await;
            if printer.print(origin, reader).await?.is_break() {
                break;
            }
        }
        opener.end()?;
        Ok(Outcome::Clean)
    }
}
