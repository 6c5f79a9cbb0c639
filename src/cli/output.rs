//! Results on stdout: one JSON document or JSON lines with `--json`, else text for people.
//!
//! A reader that closes the pipe (`kbk cat ... | head`) is not an error, and does not change the outcome
//! of the command. A full disk is an error.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::error::CliError;

/// A result that can be written as JSON and for people.
pub trait Report: Serialize {
    /// Writes it for people.
    fn human(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Where results go.
pub struct Output {
    json: bool,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Output {
    /// Returns an output to stdout, as JSON or as text.
    pub fn stdout(json: bool) -> Self {
        Self::to(json, Box::new(io::stdout()))
    }

    /// Returns an output to any other writer.
    pub fn to(json: bool, out: Box<dyn Write + Send>) -> Self {
        Self {
            json,
            out: Mutex::new(out),
        }
    }

    /// Returns whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes the one result of a command.
    pub fn report(&self, report: &impl Report) -> Result<(), CliError> {
        let mut out = self.lock();
        let mut out = BufWriter::new(&mut out);
        let written = if self.json {
            json_document(report, &mut out)
        } else {
            report.human(&mut out)
        };
        // A closed pipe is ignored: the command is done, and its exit code is unchanged.
        listening(written.and_then(|()| out.flush())).map(|_| ())
    }

    /// Writes text that is the same with `--json`, such as a script or CSV.
    pub fn text(&self, text: &[u8]) -> Result<(), CliError> {
        let mut out = self.lock();
        listening(out.write_all(text).and_then(|()| out.flush())).map(|_| ())
    }

    /// Starts a stream of JSON lines, such as records. Nothing else is written meanwhile.
    pub fn lines(&self) -> Lines<'_> {
        Lines {
            out: BufWriter::with_capacity(64 << 10, self.lock()),
        }
    }

    fn lock(&self) -> Guard<'_> {
        Guard(self.out.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn json_document(report: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

/// A stream of JSON lines on stdout.
pub struct Lines<'a> {
    out: BufWriter<Guard<'a>>,
}

impl Lines<'_> {
    /// Writes one line. Returns [`ControlFlow::Break`] if the reader has closed the pipe: stop without an error.
    pub fn write(&mut self, value: &impl Serialize) -> Result<ControlFlow<()>, CliError> {
        let written = serde_json::to_writer(&mut self.out, value).map_err(io::Error::from);
        listening(written.and_then(|()| self.out.write_all(b"\n")))
    }

    /// Writes lines that are rendered already, the last one with its end. As [`write`](Self::write) otherwise.
    pub fn write_rendered(&mut self, lines: &[u8]) -> Result<ControlFlow<()>, CliError> {
        listening(self.out.write_all(lines))
    }

    /// Writes what is still buffered.
    pub fn finish(mut self) -> Result<(), CliError> {
        listening(self.out.flush()).map(|_| ())
    }
}

struct Guard<'a>(MutexGuard<'a, Box<dyn Write + Send>>);

impl Write for Guard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Distinguishes a closed pipe from a lost result.
fn listening(written: io::Result<()>) -> Result<ControlFlow<()>, CliError> {
    match written {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(CliError::new("cannot write the result to stdout")
            .caused_by(error)
            .hint("the command itself is done; only its result is incomplete")),
    }
}

/// A column of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Aligned left, for text.
    Left(&'static str),
    /// Aligned right, for numbers.
    Right(&'static str),
}

/// Rows in columns, without frames, so that `grep` and `awk` read them too.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The widest that a column becomes for one of its cells. A longer cell moves only the rest of its own line: a topic's name may
    /// have 249 characters.
    const WIDEST: usize = 60;

    /// Creates an empty table with these headings.
    pub fn new<const N: usize>(columns: [Column; N]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Writes the table.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let headings = self
            .columns
            .iter()
            .map(|column| column.heading().to_owned());
        let headings: Vec<String> = headings.collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let mut widths = vec![0; self.columns.len()];
        for (width, cell) in lines().flat_map(|line| widths_of(line)) {
            if cell <= Self::WIDEST {
                widths[width] = cell.max(widths[width]);
            }
        }
        for line in lines() {
            let cells = line.iter().zip(&self.columns).zip(&widths);
            let aligned = cells.map(|((cell, column), width)| column.align(cell, *width));
            writeln!(out, "{}", aligned.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Returns the index and the width of each cell of a line.
fn widths_of(line: &[String]) -> impl Iterator<Item = (usize, usize)> {
    line.iter().map(|cell| cell.width()).enumerate()
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Column::Left(heading) | Column::Right(heading) => heading,
        }
    }

    fn align(self, cell: &str, width: usize) -> String {
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        match self {
            Column::Left(_) => format!("{cell}{padding}"),
            Column::Right(_) => format!("{padding}{cell}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Serialize)]
    struct Count {
        records: u64,
    }

    impl Report for Count {
        fn human(&self, out: &mut dyn Write) -> io::Result<()> {
            writeln!(out, "{} records", self.records)
        }
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Fails every write in one way.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    fn text(json: bool, work: impl Fn(&Output)) -> String {
        let buffer = Buffer::default();
        work(&Output::to(json, Box::new(buffer.clone())));
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn one_document_with_json_and_text_without() {
        let report = |output: &Output| output.report(&Count { records: 3 }).unwrap();
        assert_eq!(text(false, report), "3 records\n");
        let value: serde_json::Value = serde_json::from_str(&text(true, report)).unwrap();
        assert_eq!(value["records"], 3);
    }

    #[test]
    fn streams_are_json_lines() {
        let lines = text(false, |output| {
            let mut lines = output.lines();
            for records in 0..2 {
                assert!(lines.write(&Count { records }).unwrap().is_continue());
            }
            lines.finish().unwrap();
        });
        assert_eq!(lines, "{\"records\":0}\n{\"records\":1}\n");
    }

    #[test]
    fn a_reader_that_has_gone_ends_a_stream_and_is_no_error() {
        let output = Output::to(true, Box::new(Broken(io::ErrorKind::BrokenPipe)));
        output.report(&Count { records: 1 }).unwrap();
        output.text(b"text").unwrap();
        let mut lines = output.lines();
        let ended = (0..100_000).any(|records| lines.write(&Count { records }).unwrap().is_break());
        assert!(ended);
        lines.finish().unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let output = Output::to(true, Box::new(Broken(io::ErrorKind::StorageFull)));
        let error = output.report(&Count { records: 1 }).unwrap_err();
        assert!(error.message().contains("stdout"), "{error}");
        let mut lines = output.lines();
        assert!(lines.write(&Count { records: 1 }).unwrap().is_continue());
        assert!(lines.finish().is_err());
    }

    #[test]
    fn tables_are_plain_with_numbers_to_the_right() {
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Right("RECORDS"),
            Column::Left("CODEC"),
        ]);
        table.row(["orders".to_owned(), "1,234".to_owned(), "zstd".to_owned()]);
        table.row(["a".to_owned(), "7".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "TOPIC   RECORDS  CODEC\norders    1,234  zstd\na             7\n"
        );
    }

    #[test]
    fn a_long_name_widens_only_its_own_line() {
        let mut table = Table::new([Column::Left("TOPIC"), Column::Right("RECORDS")]);
        let long = "x".repeat(249);
        for topic in ["orders", &long, "日本", "-dash"] {
            table.row([topic.to_owned(), "7".to_owned()]);
        }
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "TOPIC   RECORDS\norders        7\n{long}        7\n日本          7\n-dash         7\n"
            )
        );
    }
}
