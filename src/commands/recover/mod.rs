//! `kbk recover`: everything that damaged segments still prove, as new segments: of files, or in a repository; and a new snapshot of the segments
//! alone.

mod files;
mod rebuild;
mod repository;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{Repository, TopicName};
use serde::Serialize;

use crate::cli::{
    CliError, Context, DonorArgs, FileKind, MetricsArgs, Outcome, OutputFile, TopicArgs,
};
use crate::commands;

/// The file of the report.
const REPORT: FileKind = FileKind {
    name: "the report",
    mark: "\"lost_offsets\": ",
};

const EXAMPLES: &str = "\
Examples:
  kbk recover -r /backup/kafka --dry-run
  kbk recover -r /backup/kafka --from /copy/kafka --report lost.json
  kbk recover -r /backup/kafka --rebuild --dry-run
  kbk recover damaged.kseg -o recovered.kseg
  kbk recover damaged.kseg another-copy.kseg -o recovered.kseg --report lost.json
  kbk recover headless.kseg -o recovered.kseg --as orders/3

Every block that still proves itself is kept: its header, its bytes, its records and their digests agree.
Of a damaged block of Kafka's own batches, those are kept of which the checksums of all batches prove the place;
of an intact one, those that can be decoded.
It does not matter where in the file it is: bytes may be missing or added in front or in the middle, ranges
be zeroed, pages be shuffled. What cannot be proved is not written, and the report names it.

In a repository: the newest snapshot is verified, as by `kbk verify --depth records`, and one new snapshot names new
segments in place of those that are damaged or missing. What is lost is named by the repository from then on:
its partitions stay incomplete, and restores, mounts and exports say so. --from takes from a copy, or from
another backup of the same topics, what it has of that. Backups may run meanwhile, and continue afterwards;
they do not read again what is lost, even if the cluster still has it: `kbk backup --refresh` does.
Damaged objects stay: older snapshots name them. To examine them later, copy them before `kbk prune` deletes
what only forgotten snapshots name.

Where index/, snapshots/ or kbk.json is damaged or gone: --rebuild reads every segment in data/ and adds a snapshot
of what they hold to the newest one that can still be read, if any. Of each object it says what became of it. What
only the index stated is not known then: configurations, replication factors, groups, ACLs, and what the topics had
after the last segment. Partitions are incomplete until the next backup has read them to their end. Records that
were expired or compacted, and topics that only forgotten snapshots had, come back if a prune has not deleted them
yet. Contradictory segments, as an unclean leader election leaves them, are not mixed: one history is used, and the
others are named. An object that cannot be read now, between others that can, ends it: what it has may come back.
--abandon-unread states that as lost.

Of files: the new segment names lost offsets as gaps with the reason damaged. The given files are not changed.

Exit code 3: records are lost, or may be, or something is damaged, contradictory or unreadable and stays so.";

/// The arguments of `kbk recover`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Damaged segment files (.kseg): several are copies of one segment, each of which may have what the others lack; without any, what is
    /// damaged in the repository is replaced
    #[arg(value_name = "FILE", requires = "output", conflicts_with_all = ["topic", "exclude", "yes", "rebuild"])]
    pub files: Vec<PathBuf>,

    /// The file of the new segment; it must not exist
    #[arg(short, long, value_name = "NEW.kseg", requires = "files")]
    pub output: Option<PathBuf>,

    /// The topic and the partition, where no copy of the header is left in the files: orders/3
    #[arg(long = "as", value_name = "TOPIC/PARTITION", value_parser = parse_partition, requires = "files")]
    pub partition: Option<(TopicName, PartitionNumber)>,

    /// Build a new snapshot of the segments alone, since index/, snapshots/ or kbk.json is damaged or gone
    #[arg(long, conflicts_with_all = ["files", "output", "partition", "topic", "exclude", "from"])]
    pub rebuild: bool,

    /// State as lost what only objects may have that cannot be read now, such as one in an archive, or of a later kbk: without this option,
    /// nothing is rebuilt then
    #[arg(long, requires = "rebuild")]
    pub abandon_unread: bool,

    /// The topics of the repository to recover.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Where else records may be.
    #[command(flatten)]
    pub donor: DonorArgs,

    /// Write what was recovered and what is lost to this file, too, as JSON. A file that is there is replaced if it is such a report
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,

    /// Only say what would be recovered
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask for confirmation before the repository states that offsets are lost, or that segments cannot be used
    #[arg(long)]
    pub yes: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

fn parse_partition(text: &str) -> Result<(TopicName, PartitionNumber), String> {
    let (topic, number) = text
        .rsplit_once('/')
        .ok_or("expected TOPIC/PARTITION, such as orders/3")?;
    let topic = topic
        .parse::<TopicName>()
        .map_err(|error| error.to_string())?;
    let number = number
        .parse()
        .ok()
        .and_then(PartitionNumber::new)
        .ok_or_else(|| format!("{number} is not the number of a partition"))?;
    Ok((topic, number))
}

/// Recovers, and reports what is lost.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let report = args.report.as_deref();
    let report = report.map(|file| OutputFile::create(file, REPORT));
    let report = report.transpose()?;
    match &args.output {
        Some(output) => files::run(args, output, report, context).await,
        None if args.rebuild => rebuild::run(args, report, context).await,
        None => repository::run(args, report, context).await,
    }
}

/// Refuses what cannot be read back, or replaced, under its name.
fn check_output(output: &Path) -> Result<(), CliError> {
    match output == Path::new("-") {
        true => Err(CliError::usage(
            "the new segment cannot go to the standard output: it is read back before it gets its name",
        )
        .hint("give -o the name of a new file")),
        false => Ok(()),
    }
}

/// A report about a repository, as a file has it: also where it is from.
#[derive(Serialize)]
struct Saved<'a, T> {
    repository: &'a str,
    writer: String,
    time: Timestamp,
    #[serde(flatten)]
    report: &'a T,
}

impl<'a, T: Serialize> Saved<'a, T> {
    fn new(repository: &'a Repository, time: Timestamp, report: &'a T) -> Saved<'a, T> {
        Saved {
            repository: repository.store().url(),
            writer: commands::writer(),
            time,
            report,
        }
    }

    fn save(&self, file: OutputFile) -> Result<(), CliError> {
        save(self, file)
    }
}

/// Writes the report to a file.
fn save(report: &impl Serialize, file: OutputFile) -> Result<(), CliError> {
    let mut bytes = serde_json::to_vec_pretty(report).map_err(|error| {
        CliError::new("cannot write the report").caused_by(std::io::Error::other(error))
    })?;
    bytes.push(b'\n');
    file.finish(&bytes)
}
