//! Results on stdout: one JSON document with `--json`, else text for people, or JSON lines of records.
//!
//! Every document begins with the same members: `schema_version`, `command`, `repository` and `verdict`. A command that fails before it
//! has a result writes one with `error` instead.
//!
//! A reader that closes the pipe (`kbk cat ... | head`) is not an error, and does not change the outcome
//! of the command. A full disk is an error.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::error::CliError;
use super::exit::{Exit, Outcome};
use crate::human;

/// A result that can be written as JSON and for people.
pub trait Report: Serialize {
    /// Writes it for people.
    fn human(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// The version of the documents: any change but an added member raises it.
const SCHEMA_VERSION: u32 = 1;

/// What documents say of the command that writes them.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The command and its subcommand, such as `groups list`.
    pub command: String,
    /// The repository, where one was given.
    pub repository: Option<String>,
}

/// How a command ended, as a word for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is done; nothing is damaged, lost or different.
    Ok,
    /// Everything is done, but something is damaged, lost or different.
    Findings,
    /// A signal stopped it.
    Interrupted,
    /// It failed.
    Failed,
}

impl Verdict {
    /// Returns the word of documents.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Findings => "findings",
            Verdict::Interrupted => "interrupted",
            Verdict::Failed => "failed",
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Verdict::Ok,
            Outcome::Findings => Verdict::Findings,
            Outcome::Interrupted => Verdict::Interrupted,
        }
    }
}

impl From<Exit> for Verdict {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Verdict::Ok,
            Exit::Findings => Verdict::Findings,
            Exit::Interrupted | Exit::Terminated => Verdict::Interrupted,
            Exit::Failed | Exit::Usage => Verdict::Failed,
        }
    }
}

/// One document.
#[derive(Serialize)]
struct Document<'a, T> {
    schema_version: u32,
    command: &'a str,
    repository: Option<&'a str>,
    verdict: Verdict,
    #[serde(flatten)]
    result: &'a T,
}

/// Why a command failed.
#[derive(Serialize)]
struct Failure {
    error: ErrorJson,
}

#[derive(Serialize)]
struct ErrorJson {
    exit_code: u8,
    message: String,
    causes: Vec<String>,
    next_step: Option<String>,
}

impl From<&CliError> for ErrorJson {
    fn from(error: &CliError) -> Self {
        ErrorJson {
            exit_code: error.exit().code(),
            message: error.message(),
            causes: error.causes(),
            next_step: error.next_step(),
        }
    }
}

/// The help that clap writes.
#[derive(Serialize)]
struct Help<'a> {
    help: &'a str,
}

/// Where results go.
pub struct Output {
    json: bool,
    head: Head,
    /// Whether the result was written, or begun.
    concluded: AtomicBool,
    /// Whether a signal asks a stream to end.
    stops: AtomicBool,
    /// Whether one ended before its last record for that reason.
    stopped: AtomicBool,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Output {
    /// Returns an output to stdout, as JSON or as text.
    pub fn stdout(json: bool, head: Head) -> Self {
        Self::to(json, head, Box::new(io::stdout()))
    }

    /// Returns an output to any other writer.
    pub fn to(json: bool, head: Head, out: Box<dyn Write + Send>) -> Self {
        Self {
            json,
            head,
            concluded: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            out: Mutex::new(out),
        }
    }

    /// Returns whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes the one result of a command.
    pub fn report(&self, report: &impl Report, verdict: Verdict) -> Result<(), CliError> {
        if self.json {
            return self.document(report, verdict);
        }
        self.step(report)
    }

    /// Writes a part of the result for people, before the result.
    pub fn step(&self, report: &impl Report) -> Result<(), CliError> {
        let mut out = self.lock();
        let mut out = Printable(BufWriter::new(&mut out));
        let written = report.human(&mut out);
        // A closed pipe is ignored: the command is done, and its exit code is unchanged.
        listening(written.and_then(|()| out.flush())).map(|_| ())
    }

    /// Writes text that is the same with `--json`, such as a script or CSV.
    pub fn text(&self, text: &[u8]) -> Result<(), CliError> {
        let mut out = self.lock();
        listening(out.write_all(text).and_then(|()| out.flush())).map(|_| ())
    }

    /// Writes, with `--json`, why a command failed that has written no result.
    pub fn failed(&self, error: &CliError) -> Result<(), CliError> {
        if !self.json || self.concluded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let failure = Failure {
            error: ErrorJson::from(error),
        };
        self.document(&failure, error.exit().into())
    }

    /// Writes help as a document.
    pub fn help(&self, text: &str) -> Result<(), CliError> {
        self.document(&Help { help: text }, Verdict::Ok)
    }

    /// Writes that a signal ends the process, unless the result was written before. A stream of records ends with its current one, and
    /// says so. Returns whether the process has to end.
    pub fn interrupted(&self, exit: Exit) -> bool {
        self.stops.store(true, Ordering::Relaxed);
        // Whoever writes meanwhile is waited for.
        drop(self.lock());
        if !self.concluded.load(Ordering::Relaxed) {
            let error = CliError::new("a signal stopped the command").with_exit(exit);
            // There is nowhere left to report that this cannot be written.
            let _ = self.failed(&error);
            return true;
        }
        self.stopped.load(Ordering::Relaxed)
    }

    fn document(&self, result: &impl Serialize, verdict: Verdict) -> Result<(), CliError> {
        self.concluded.store(true, Ordering::Relaxed);
        let document = Document {
            schema_version: SCHEMA_VERSION,
            command: &self.head.command,
            repository: self.head.repository.as_deref(),
            verdict,
            result,
        };
        let mut out = self.lock();
        let mut out = BufWriter::new(&mut out);
        let written = json_document(&document, &mut out);
        listening(written.and_then(|()| out.flush())).map(|_| ())
    }

    /// Starts a stream of records: JSON lines, or with `--json` one document that has them all. Nothing else is written meanwhile.
    pub fn records(&self) -> Result<Records<'_>, CliError> {
        self.concluded.store(true, Ordering::Relaxed);
        let mut records = Records {
            output: self,
            out: BufWriter::with_capacity(64 << 10, self.lock()),
            in_document: self.json,
            separator: b"",
        };
        if self.json {
            let start = DocumentStart {
                schema_version: SCHEMA_VERSION,
                command: &self.head.command,
                repository: self.head.repository.as_deref(),
            };
            let mut start = serde_json::to_vec(&start).map_err(io::Error::from)?;
            // The verdict is known once all records are written.
            start.pop();
            start.extend_from_slice(b",\"records\":[\n");
            // A closed pipe is noticed again at the first record.
            let _ = listening(records.out.write_all(&start))?;
        }
        Ok(records)
    }

    fn lock(&self) -> Guard<'_> {
        Guard(self.out.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn json_document(report: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

/// What a document begins with that is streamed.
#[derive(Serialize)]
struct DocumentStart<'a> {
    schema_version: u32,
    command: &'a str,
    repository: Option<&'a str>,
}

/// A stream of records on stdout.
pub struct Records<'a> {
    output: &'a Output,
    out: BufWriter<Guard<'a>>,
    /// Whether they are the elements of an array in a document.
    in_document: bool,
    /// What separates the next element from those before it.
    separator: &'static [u8],
}

impl Records<'_> {
    /// Writes records that are rendered as lines, the last one with its end. Returns [`ControlFlow::Break`] if the reader has closed the
    /// pipe: stop without an error.
    pub fn write(&mut self, lines: &[u8]) -> Result<ControlFlow<()>, CliError> {
        if !self.in_document {
            return listening(self.out.write_all(lines));
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if self.output.stops.load(Ordering::Relaxed) {
                self.output.stopped.store(true, Ordering::Relaxed);
                return Ok(ControlFlow::Break(()));
            }
            let element = line.strip_suffix(b"\n").unwrap_or(line);
            let written = self.out.write_all(self.separator);
            self.separator = b",\n";
            let written = listening(written.and_then(|()| self.out.write_all(element)))?;
            if written.is_break() {
                return Ok(written);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Writes what is still buffered, and the end of the document: members about the records, how the command ended, and why it failed.
    pub fn finish(
        mut self,
        result: &impl Serialize,
        ended: Result<Outcome, &CliError>,
    ) -> Result<(), CliError> {
        if self.in_document {
            let verdict = match self.output.stopped.load(Ordering::Relaxed) {
                true => Verdict::Interrupted,
                false => ended.map_or(Verdict::Failed, Verdict::from),
            };
            let end = DocumentEnd {
                result,
                verdict,
                error: ended.err().map(ErrorJson::from),
            };
            let end = serde_json::to_vec(&end).map_err(io::Error::from)?;
            let mut closed = b"\n],".to_vec();
            closed.extend_from_slice(end.get(1..).unwrap_or_default());
            closed.push(b'\n');
            let _ = listening(self.out.write_all(&closed))?;
        }
        listening(self.out.flush()).map(|_| ())
    }
}

/// What a document ends with that is streamed.
#[derive(Serialize)]
struct DocumentEnd<'a, T> {
    #[serde(flatten)]
    result: &'a T,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson>,
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

/// Writes text for people. What a damaged or forged repository says must not command their terminal.
struct Printable<W>(W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(human::printable_lines(&text).as_bytes())?;
        Ok(bytes.len())
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
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
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
        work(&Output::to(json, Head::default(), Box::new(buffer.clone())));
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn one_document_with_json_and_text_without() {
        let report = |output: &Output| output.report(&Count { records: 3 }, Verdict::Ok).unwrap();
        assert_eq!(text(false, report), "3 records\n");
        let value: serde_json::Value = serde_json::from_str(&text(true, report)).unwrap();
        assert_eq!(value["records"], 3);
    }

    #[test]
    fn records_are_lines_and_with_json_the_elements_of_one_document() {
        let stream = |output: &Output| {
            let mut records = output.records().unwrap();
            for lines in ["{\"offset\":0}\n{\"offset\":1}\n", "{\"offset\":2}\n"] {
                assert!(records.write(lines.as_bytes()).unwrap().is_continue());
            }
            records
                .finish(&serde_json::json!({}), Ok(Outcome::Findings))
                .unwrap();
        };
        let lines = "{\"offset\":0}\n{\"offset\":1}\n{\"offset\":2}\n";
        assert_eq!(text(false, stream), lines);
        let document: serde_json::Value = serde_json::from_str(&text(true, stream)).unwrap();
        assert_eq!(document["records"][2]["offset"], 2);
        assert_eq!(document["verdict"], "findings");
        assert_eq!(document["schema_version"], 1);

        let failed = |output: &Output| {
            let records = output.records().unwrap();
            let error = CliError::new("damaged");
            records.finish(&serde_json::json!({}), Err(&error)).unwrap();
            output.failed(&error).unwrap();
        };
        assert_eq!(text(false, failed), "");
        let document: serde_json::Value = serde_json::from_str(&text(true, failed)).unwrap();
        assert_eq!(document["error"]["message"], "damaged");
        assert_eq!(
            (&document["verdict"], &document["records"]),
            (&"failed".into(), &serde_json::json!([]))
        );
    }

    #[test]
    fn a_failure_is_one_document_unless_there_is_a_result() {
        let error = || CliError::usage("wrong").hint("right");
        let failed = |output: &Output| output.failed(&error()).unwrap();
        assert_eq!(text(false, failed), "");
        let document: serde_json::Value = serde_json::from_str(&text(true, failed)).unwrap();
        assert_eq!(document["verdict"], "failed");
        assert_eq!(document["error"]["exit_code"], 2);
        assert_eq!(document["error"]["next_step"], "right");
        let reported = |output: &Output| {
            output
                .report(&Count { records: 3 }, Verdict::Failed)
                .unwrap();
            output.failed(&error()).unwrap();
        };
        let document: serde_json::Value = serde_json::from_str(&text(true, reported)).unwrap();
        assert_eq!(
            (&document["verdict"], &document["records"]),
            (&"failed".into(), &3.into())
        );
    }

    #[test]
    fn a_signal_is_a_verdict_unless_there_is_a_result() {
        let signalled = |output: &Output| assert!(output.interrupted(Exit::Interrupted));
        let document: serde_json::Value = serde_json::from_str(&text(true, signalled)).unwrap();
        assert_eq!(document["verdict"], "interrupted");
        assert_eq!(document["error"]["exit_code"], 130);

        let streamed = |output: &Output| {
            let mut records = output.records().unwrap();
            assert!(records.write(b"{\"offset\":0}\n").unwrap().is_continue());
            output.stops.store(true, Ordering::Relaxed);
            assert!(records.write(b"{\"offset\":1}\n").unwrap().is_break());
            records
                .finish(&serde_json::json!({}), Ok(Outcome::Clean))
                .unwrap();
            assert!(output.interrupted(Exit::Terminated));
        };
        let document: serde_json::Value = serde_json::from_str(&text(true, streamed)).unwrap();
        assert_eq!(document["verdict"], "interrupted");
        assert_eq!(document["records"].as_array().unwrap().len(), 1);

        let reported = |output: &Output| {
            output.report(&Count { records: 3 }, Verdict::Ok).unwrap();
            assert!(!output.interrupted(Exit::Interrupted), "it ends by itself");
        };
        let document: serde_json::Value = serde_json::from_str(&text(true, reported)).unwrap();
        assert_eq!(document["verdict"], "ok");
    }

    #[test]
    fn a_reader_that_has_gone_ends_a_stream_and_is_no_error() {
        let broken = Broken(io::ErrorKind::BrokenPipe);
        let output = Output::to(false, Head::default(), Box::new(broken));
        output.report(&Count { records: 1 }, Verdict::Ok).unwrap();
        output.text(b"text").unwrap();
        let mut records = output.records().unwrap();
        assert!((0..100_000).any(|_| records.write(b"{}\n").unwrap().is_break()));
        records
            .finish(&serde_json::json!({}), Ok(Outcome::Clean))
            .unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let output = Output::to(
            true,
            Head::default(),
            Box::new(Broken(io::ErrorKind::StorageFull)),
        );
        let error = output
            .report(&Count { records: 1 }, Verdict::Ok)
            .unwrap_err();
        assert!(error.message().contains("stdout"), "{error}");
        let mut records = output.records().unwrap();
        assert!(records.write(b"{}\n").unwrap().is_continue());
        assert!(
            records
                .finish(&serde_json::json!({}), Ok(Outcome::Clean))
                .is_err()
        );
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
