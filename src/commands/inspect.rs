//! `kbk inspect`: shows one object, of a repository or by itself, also where it is damaged.

mod parts;

use std::io::{self, Write};
use std::path::PathBuf;

use kbk_format::repo::{Key, Store};
use kbk_tools::inspect::{
    InspectedFooter, InspectedHeader, Inspection, ObjectKind, Problem, fetch, inspect,
};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk inspect orders.kseg --blocks
  kbk inspect damaged.kseg --layout
  kbk inspect kbk.json --hexdump
  kbk inspect -r s3://bucket/kafka snapshots/00000000000000000007.json

Every kind of object: segments, snapshots and the hint at the newest, tables and lists, groups and ACLs, claims,
what restores record, and kbk.json. What is behind damage is shown, too, and what is wrong is said where it is.
Exit code 3: something is wrong.";

/// The arguments of `kbk inspect`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file of an object, such as a segment (.kseg); with --repo, also the key of one of its objects
    #[arg(value_name = "FILE|KEY")]
    pub file: PathBuf,

    /// List every block of a segment
    #[arg(long)]
    pub blocks: bool,

    /// Show a segment part by part, in the order of its bytes, as other objects are shown: name, position, length and
    /// value of every field
    #[arg(long)]
    pub layout: bool,

    /// Show the bytes of every part, too; implies --layout
    #[arg(long)]
    pub hexdump: bool,
}

impl Args {
    /// Returns whether it names a file: whatever exists, and whatever is not the key of an object.
    pub fn is_file(&self) -> bool {
        let key = self.file.to_str().and_then(Key::parse);
        key.is_none() || self.file.exists()
    }
}

/// An inspection to report; without blocks unless --blocks is given.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    inspection: Inspection,
    /// The file whose bytes are shown.
    #[serde(skip)]
    hexdump: Option<PathBuf>,
}

/// Inspects the object. Damage is a finding.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    if args.hexdump && context.output.is_json() {
        return Err(CliError::usage(
            "--hexdump is for people: with --json, --layout states where each field is",
        ));
    }
    if args.file.is_dir() {
        let message = format!("cannot inspect {}: it is a folder", args.file.display());
        let hint = "give the path of a file in it; of a repository, `kbk ls --segments` lists them, and `kbk verify` looks at all";
        return Err(CliError::new(message).hint(hint));
    }
    let (file, fetched) = match args.is_file() {
        true => (args.file.clone(), None),
        false => {
            let store = Store::open_at(&context.location()?)?;
            let fetched = fetch(&store, &args.file.to_string_lossy()).await?;
            (fetched.path().to_owned(), Some(fetched))
        }
    };
    let name = args.file.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let parts = args.layout || args.hexdump;
    let local = file.clone();
    let inspected = tokio::task::spawn_blocking(move || inspect(&local, &name, parts)).await?;
    let mut inspection = inspected.map_err(|error| {
        CliError::from(error).hint(
            "give the path of a .kseg file or of another object; `kbk ls --segments` lists those of a repository",
        )
    })?;
    inspection.file.clone_from(&args.file);
    if !args.blocks {
        inspection.blocks.clear();
    }
    let outcome = Outcome::clean_if(inspection.problems.is_empty());
    let shown = Shown {
        inspection,
        hexdump: Some(file).filter(|_| args.hexdump),
    };
    let concluded = context.conclude(&shown, outcome);
    // The bytes that are shown are those of the file.
    drop(fetched);
    concluded
}

impl Report for Shown {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let inspection = &self.inspection;
        let size = human::bytes(inspection.size);
        line(
            out,
            "file",
            &format!("{}, {size}", inspection.file.display()),
        )?;
        if inspection.kind != ObjectKind::Segment {
            let kind = match inspection.kind {
                ObjectKind::Packed => "packed",
                _ => "sealed JSON",
            };
            let format = inspection.format.as_deref().unwrap_or("format unknown");
            line(out, "object", &format!("{format}, {kind}"))?;
            let hexdump = self.hexdump.as_deref();
            parts::show(&inspection.parts, hexdump, out)?;
            return show_problems(&inspection.problems, out);
        }
        if let Some(header) = &inspection.header {
            show_header(header, out)?;
        }
        if let Some(footer) = &inspection.footer {
            show_footer(footer, out)?;
        }
        let totals = inspection.totals;
        let ratio = ratio(totals.raw_bytes, totals.stored_bytes);
        line(
            out,
            "blocks",
            &format!(
                "{} with {}: {} stored as {}{ratio}",
                human::count(totals.blocks),
                human::counted(totals.records, "record"),
                human::bytes(totals.raw_bytes),
                human::bytes(totals.stored_bytes),
            ),
        )?;
        if !inspection.streams.is_empty() {
            writeln!(out)?;
            streams_table(inspection).write(out)?;
        }
        if !inspection.blocks.is_empty() {
            writeln!(out)?;
            blocks_table(inspection).write(out)?;
        }
        parts::show(&inspection.parts, self.hexdump.as_deref(), out)?;
        show_problems(&inspection.problems, out)?;
        if !inspection.problems.is_empty() {
            writeln!(
                out,
                "\n`kbk recover` writes a new segment of everything that still proves itself"
            )?;
        }
        Ok(())
    }
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<12}{value}")
}

/// Formats the compression ratio as `, ratio 6.13`; nothing for an empty file.
fn ratio(raw: u64, stored: u64) -> String {
    if stored == 0 {
        return String::new();
    }
    format!(", ratio {:.2}", raw as f64 / stored as f64)
}

fn show_header(header: &InspectedHeader, out: &mut dyn Write) -> io::Result<()> {
    line(out, "segment", &header.segment_id.to_string())?;
    line(
        out,
        "topic",
        &format!("{}/{}", header.topic, header.partition),
    )?;
    line(out, "topic id", &header.topic_id.to_string())?;
    line(out, "timestamps", &format!("{:?}", header.timestamp_type))?;
    if let Some(cluster) = &header.cluster_id {
        line(out, "cluster", cluster)?;
    }
    let written = [
        header.writer.clone().map(|writer| format!("by {writer}")),
        header.created_at.map(|at| format!("at {at:.3}")),
    ];
    let written: Vec<_> = written.into_iter().flatten().collect();
    if !written.is_empty() {
        line(out, "written", &written.join(" "))?;
    }
    line(out, "from offset", &header.base_offset.to_string())
}

fn show_footer(footer: &InspectedFooter, out: &mut dyn Write) -> io::Result<()> {
    line(out, "end offset", &footer.end_offset.to_string())?;
    let counts = [
        (footer.tombstone_count, "tombstone"),
        (footer.null_key_count, "null key"),
        (footer.header_count, "header"),
        (Some(footer.control_count), "control record"),
    ];
    let counts = counts.into_iter();
    let counts = counts.filter_map(|(count, noun)| Some(human::counted(count?, noun)));
    let counts: Vec<String> = counts.collect();
    line(
        out,
        "records",
        &format!(
            "{}: {}",
            human::count(footer.record_count),
            counts.join(", ")
        ),
    )?;
    if !footer.computed {
        line(out, "not computed", NOT_COMPUTED)?;
    }
    if footer.record_count > 0 {
        let times = (footer.min_timestamp, Some(footer.max_timestamp));
        let [first, last] = super::times(times);
        let times = match (footer.min_timestamp, footer.max_lateness_ms) {
            (None, _) | (_, None) => format!("none above {last}"),
            (_, Some(0)) => format!("{first} to {last}, in order"),
            (_, Some(late)) => format!("{first} to {last}, out of order by up to {late} ms"),
        };
        line(out, "times", &times)?;
    }
    if footer.missing_count > 0 {
        let missing = human::counted(footer.missing_count, "offset");
        line(out, "gaps", &format!("{missing} without a record"))?;
    }
    if let Some(filter) = &footer.key_filter {
        let entries = human::count(filter.entries);
        let pages = human::counted(filter.pages, "page");
        let bytes = human::bytes(filter.stored_bytes);
        let aim = human::count(1 << filter.target_bits.min(63));
        let vain = format!("one block in {aim} read in vain");
        let shown = format!("entries {entries}, in {pages} of {bytes}, {vain}");
        line(out, "key filter", &shown)?;
    }
    match &footer.content_digest {
        Some(digest) => line(out, "digest", digest),
        None => Ok(()),
    }
}

/// What is said of a segment whose writer did not decode the records.
const NOT_COMPUTED: &str =
    "tombstones, null keys, headers, smallest timestamp, digest and sizes of text";

fn streams_table(inspection: &Inspection) -> Table {
    let mut table = Table::new([
        Column::Left("STREAM"),
        Column::Left("CODEC"),
        Column::Right("BLOCKS"),
        Column::Right("RAW"),
        Column::Right("STORED"),
        Column::Right("RATIO"),
    ]);
    for stream in &inspection.streams {
        table.row([
            stream.stream.to_owned(),
            stream.codec.to_owned(),
            human::count(stream.blocks),
            human::bytes(stream.raw_bytes),
            human::bytes(stream.stored_bytes),
            format!(
                "{:.2}",
                stream.raw_bytes as f64 / stream.stored_bytes.max(1) as f64
            ),
        ]);
    }
    table
}

fn blocks_table(inspection: &Inspection) -> Table {
    let mut table = Table::new([
        Column::Right("POSITION"),
        Column::Right("FROM"),
        Column::Right("END"),
        Column::Right("RECORDS"),
        Column::Right("RAW"),
        Column::Right("STORED"),
        Column::Left("FIRST TIME"),
        Column::Left("LAST TIME"),
        Column::Left("STATE"),
    ]);
    for block in &inspection.blocks {
        let [first, last] = super::times((block.min_timestamp, block.max_timestamp));
        let state = if block.intact { "" } else { "damaged" };
        table.row([
            block.position.to_string(),
            block.base_offset.to_string(),
            block.end_offset.to_string(),
            human::count(block.records.into()),
            human::bytes(block.raw_bytes.into()),
            human::bytes(block.stored_bytes),
            first,
            last,
            state.to_owned(),
        ]);
    }
    table
}

fn show_problems(problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        write!(
            out,
            "\n{}: {} at position {}",
            problem.class, problem.what, problem.position
        )?;
        if let Some(offsets) = problem.offsets {
            write!(out, ", {}", offsets)?;
        }
        writeln!(out, "\n  {}", problem.detail)?;
    }
    Ok(())
}
