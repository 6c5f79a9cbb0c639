//! `kbk recover`: a new segment of everything that damaged ones still prove.

mod files;

use std::fs;
use std::path::{Path, PathBuf};

use kbk_format::PartitionNumber;
use kbk_format::repo::TopicName;
use serde::Serialize;

use crate::cli::{CliError, Context, Outcome};

const EXAMPLES: &str = "\
Examples:
  kbk recover damaged.kseg -o recovered.kseg
  kbk recover damaged.kseg another-copy.kseg -o recovered.kseg --report lost.json
  kbk recover headless.kseg -o recovered.kseg --as orders/3

Every block that still proves itself goes into the new segment: its header, its bytes, its records and
their digests agree. It does not matter where in the file it is: bytes may be missing or added in front or in
the middle, ranges be zeroed, pages be shuffled. What cannot be proved is not written, and the report names it.
The new segment names lost offsets as gaps with the reason damaged. The given files are not changed.
Exit code 3: records are lost, or may be.";

/// The arguments of `kbk recover`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Damaged segment files (.kseg): several are copies of one segment, each of which may have what the others lack
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The file of the new segment; it must not exist
    #[arg(short, long, value_name = "NEW.kseg")]
    pub output: PathBuf,

    /// The topic and the partition, where no copy of the header is left in the files: orders/3
    #[arg(long = "as", value_name = "TOPIC/PARTITION", value_parser = parse_partition)]
    pub partition: Option<(TopicName, PartitionNumber)>,

    /// Write what was recovered and what is lost to this file, too, as JSON
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,

    /// Only say what would be recovered
    #[arg(long)]
    pub dry_run: bool,
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
    files::run(args, context).await
}

/// Writes the report to a file.
fn save(report: &impl Serialize, file: &Path) -> Result<(), CliError> {
    let written = serde_json::to_vec_pretty(report)
        .map_err(std::io::Error::other)
        .and_then(|mut bytes| {
            bytes.push(b'\n');
            fs::write(file, bytes)
        });
    written.map_err(|error| {
        CliError::new(format!("cannot write the report {}", file.display())).caused_by(error)
    })
}
