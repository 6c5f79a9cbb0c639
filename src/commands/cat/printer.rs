//! Prints records in the chosen format, up to a number of them.

use std::ops::ControlFlow;

use kbk_format::repo::RepoError;
use kbk_format::{PartitionNumber, Record, TextFormat, TextRenderer};
use kbk_tools::{Order, PartitionReader, ReadOptions};

use super::super::record_args::{Doubles, RecordArgs};
use crate::cli::{CliError, Context, Outcome, Records};

/// Text is rendered into a buffer of this size before it is written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why printing ended early.
pub(super) enum PrintError {
    /// The records cannot be read.
    Read(RepoError),
    /// They cannot be written to stdout.
    Write(CliError),
}

impl From<RepoError> for PrintError {
    fn from(error: RepoError) -> Self {
        PrintError::Read(error)
    }
}

impl PrintError {
    /// Says how to print what follows the damage in `source`, a partition or a file, in this order.
    pub(super) fn failed(self, source: &str, order: Order) -> CliError {
        let error = match self {
            PrintError::Read(error) => error,
            PrintError::Write(error) => return error,
        };
        let offsets = error.records().map(|(_, offsets)| offsets);
        let failed = CliError::from(error);
        let Some(offsets) = offsets else {
            return failed;
        };
        let behind = match order {
            Order::Ascending => format!("--from-offset {}", offsets.end_offset),
            Order::Descending => format!("--reverse --to-offset {}", offsets.base_offset),
        };
        failed.hint(format!(
            "{offsets} of {source} cannot be printed; `kbk cat {source} {behind}` prints what follows them"
        ))
    }
}

/// Prints the records of one partition or file after the other.
pub(super) struct Printer<'a> {
    records: Records<'a>,
    format: &'a TextFormat,
    /// What null is printed as.
    null: Option<&'a str>,
    order: Order,
    buffer: Vec<u8>,
    /// How many more records to print, of how many.
    left: u64,
    most: u64,
    doubles: Doubles,
}

impl<'a> Printer<'a> {
    pub(super) fn new(args: &'a RecordArgs, context: &'a Context) -> Result<Self, CliError> {
        let format = args.format(context.output.is_json());
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        buffer.extend_from_slice(format.head());
        Ok(Self {
            records: context.output.records()?,
            format,
            null: args.null_as.as_deref(),
            order: args.order(),
            buffer,
            left: args.max_count.unwrap_or(u64::MAX),
            most: args.max_count.unwrap_or(u64::MAX),
            doubles: Doubles::default(),
        })
    }

    /// Returns whether no record was printed although some were asked for.
    pub(super) fn has_printed_nothing(&self) -> bool {
        self.left == self.most && self.most > 0
    }

    /// Returns how to read what is printed next.
    pub(super) fn options(&self, stops_early: bool) -> ReadOptions {
        ReadOptions {
            streams: self.format.streams(),
            order: self.order,
            limit: Some(self.left),
            stops_early,
        }
    }

    /// Prints what the reader returns. Breaks when enough records are printed, or the program that reads them has closed the pipe.
    pub(super) async fn print(
        &mut self,
        mut reader: PartitionReader,
        topic: &str,
        partition: PartitionNumber,
    ) -> Result<ControlFlow<()>, PrintError> {
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        let renderer = TextRenderer::new(self.format, topic, partition, self.null);
        while let Some(batch) = reader.next().await? {
            let mut rows = batch.rows();
            while let Some(row) = self.order.next(&mut rows) {
                let Some(record) = batch.record(row) else {
                    continue;
                };
                let printed = self.record(&renderer, &record);
                if printed.map_err(PrintError::Write)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn record(
        &mut self,
        renderer: &TextRenderer,
        record: &Record<'_>,
    ) -> Result<ControlFlow<()>, CliError> {
        if *self.format == TextFormat::JsonLines {
            self.doubles.see(record.offset, record.timestamp);
        }
        renderer.render(record, &mut self.buffer);
        self.left -= 1;
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        if self.buffer.len() >= BUFFER_BYTES {
            return self.write();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn write(&mut self) -> Result<ControlFlow<()>, CliError> {
        let written = self.records.write(&self.buffer);
        self.buffer.clear();
        written
    }

    /// Writes what is left, also before an error: what was read before damage is printed.
    pub(super) fn finish(mut self, ended: Result<Outcome, &CliError>) -> Result<(), CliError> {
        let _ = self.write()?;
        self.records.finish(ended)
    }
}
