//! Prints records in the chosen format, up to a number of them, past what cannot be read.

use std::ops::ControlFlow;

use kbk_format::repo::RepoError;
use kbk_format::{Record, TextFormat, TextRenderer};
use kbk_tools::{Order, PartitionReader, ReadOptions, UnreadRange};
use serde::Serialize;

use super::super::record_args::{Doubles, RecordArgs};
use super::super::unread::{Done, UnreadRow, UnreadRows};
use super::origin::Origin;
use crate::cli::{CliError, Context, Outcome, Records};
use crate::human;

/// Text is rendered into a buffer of this size before it is written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why printing ended early.
enum PrintError {
    /// The records cannot be read.
    Read(RepoError),
    /// They cannot be written to stdout.
    Write(CliError),
}

/// What the document with `--json` says beside the records.
#[derive(Serialize)]
struct Printed {
    /// What could not be printed: the records of these offsets are missing.
    unprinted: Vec<UnreadRow>,
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
    unread: UnreadRows,
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
            unread: UnreadRows::new(Done::Printed),
        })
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

    /// Returns that everything was printed that was to be, or that something could not be read.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::clean_if(self.unread.is_empty())
    }

    /// Names a file of which nothing can be printed.
    pub(super) fn leave_out(&mut self, name: &str, reason: &str) {
        self.unread.add_file(name, reason);
    }

    /// Prints what `reader` returns, and what follows the offsets that cannot be read. Breaks when enough records are printed, or the program that
    /// reads them has closed the pipe.
    pub(super) async fn print(
        &mut self,
        mut origin: Origin<'_>,
        reader: Result<PartitionReader, RepoError>,
    ) -> Result<ControlFlow<()>, CliError> {
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        let (topic, partition) = origin.partition();
        let renderer = TextRenderer::new(self.format, topic, partition, self.null);
        let mut reader = reader;
        loop {
            let printed = match &mut reader {
                Ok(reader) => self.print_from(reader, &renderer).await,
                Err(_) => Ok(ControlFlow::Continue(())),
            };
            let error = match (printed, reader) {
                (Err(PrintError::Write(error)), _) => return Err(error),
                (Err(PrintError::Read(error)), _) | (Ok(_), Err(error)) => {
                    origin.judged(error).await
                }
                (Ok(ended), Ok(_)) => return Ok(ended),
            };
            let Some(offsets) = origin.pass(&error, self.order) else {
                return Err(error.into());
            };
            let (name, partition) = (origin.name(), origin.partition());
            let unread = UnreadRange::new(offsets, &error);
            self.unread.add(name, partition, unread);
            reader = origin.read(self.options(false)).await;
        }
    }

    async fn print_from(
        &mut self,
        reader: &mut PartitionReader,
        renderer: &TextRenderer,
    ) -> Result<ControlFlow<()>, PrintError> {
        while let Some(batch) = reader.next().await.map_err(PrintError::Read)? {
            let mut rows = batch.rows();
            while let Some(row) = self.order.next(&mut rows) {
                let Some(record) = batch.record(row) else {
                    continue;
                };
                let printed = self.record(renderer, &record);
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

    /// Writes what is left, also before an error: what was read before it is printed. `found` states which offsets there were to select from.
    pub(super) fn finish(
        mut self,
        ended: Result<Outcome, &CliError>,
        found: &[String],
    ) -> Result<(), CliError> {
        let has_printed_nothing = self.left == self.most && self.most > 0;
        match self.unread.statement() {
            Some(statement) => tracing::warn!("{statement}"),
            None if ended.is_ok() && has_printed_nothing => {
                tracing::warn!("no record is selected: {}", human::some_of(found));
            }
            None => {}
        }
        let _ = self.write()?;
        let unprinted = self.unread.into_rows();
        self.records.finish(&Printed { unprinted }, ended)
    }
}
