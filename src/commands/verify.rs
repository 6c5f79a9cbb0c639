//! `kbk verify`: checks that every byte and every offset is present; of segment files, what they prove by themselves.

mod files;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use kbk_format::repo::{Digested, Id, Repository, Snapshot, Store, TopicName};
use kbk_tools::claims::Running;
use kbk_tools::verify::{Orphan, VerifyEvents, VerifyOptions, VerifyReport, verify};
use serde::Serialize;

use crate::cli::{
    CliError, Context, MetricsArgs, Outcome, Report, SnapshotArg, SnapshotsArg, TopicArgs,
};
use crate::human;
use crate::run::{RunEvents, Totals};

const EXAMPLES: &str = "\
Examples:
  kbk verify -r /backup/kafka
  kbk verify -r /backup/kafka --snapshot all --full
  kbk verify -r /backup/kafka --topic 'orders*'
  kbk verify --full /backup/kafka/data/orders/*/0/*.kseg

Findings in history that was replaced are about a topic that was read again in full since: what the topic has
now is verified by itself, and --accept-replaced accepts the old damage. Restore an old history as NAME@ID.

A segment file proves that its own bytes are those that were written. Whether it is the one that a backup has
stored, and whether other offsets are missing, only its repository says.";

/// The arguments of `kbk verify`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Segment files (.kseg) to verify without their repository; without any, a snapshot of the repository is verified
    #[arg(value_name = "FILE", conflicts_with_all = ["snapshot", "topic", "exclude", "accept_lost", "accept_replaced"])]
    pub files: Vec<PathBuf>,

    /// Snapshot number, latest or all
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotsArg,

    /// The topics of the snapshot to verify.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Decompress every block too, and check the records against the content digests
    #[arg(long)]
    pub full: bool,

    /// Exit with 0 even if offsets were deleted in the cluster before a backup read them; they are still listed
    #[arg(long)]
    pub accept_lost: bool,

    /// Exit with 0 even if what is damaged or missing is in history that was replaced: a topic that was read again in full since, with
    /// `kbk backup --refresh` for example; it is still listed
    #[arg(long)]
    pub accept_replaced: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// What was verified, and where.
#[derive(Debug, Serialize)]
struct Verified {
    #[serde(skip)]
    repository: String,
    #[serde(flatten)]
    report: VerifyReport,
}

/// Verifies, and prints every finding.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    if !args.files.is_empty() {
        return files::run(args, context).await;
    }
    let store = Store::open_at(&context.location()?)?;
    let url = store.url().to_owned();
    let report = match Repository::open(store).await {
        Ok(repository) => verified(args, context, &repository).await?,
        Err(error) => VerifyReport::of_damaged_identity(&error).ok_or(error)?,
    };
    let outcome = Outcome::clean_if(report.is_intact());
    let verified = Verified {
        repository: url,
        report,
    };
    context.conclude(&verified, outcome)
}

async fn verified(
    args: &Args,
    context: &Context,
    repository: &Repository,
) -> Result<VerifyReport, CliError> {
    let snapshots = sequences(args, repository).await?;
    let readable = readable(repository, &snapshots).await;
    if readable.len() == snapshots.len() && !readable.iter().any(|it| it.has_backup()) {
        let (url, none) = (repository.store().url(), self::snapshots(&snapshots));
        let error = CliError::new(format!(
            "{url}: {none} has no backup, and nothing to verify"
        ));
        return Err(error.hint("`kbk backup` or `kbk copy` creates one"));
    }
    let options = VerifyOptions {
        topics: topics(args, &readable)?,
        snapshots,
        full: args.full,
        accept_lost: args.accept_lost,
        accept_replaced: args.accept_replaced,
    };
    let totals = Totals {
        records: None,
        bytes: expected_bytes(&options, &readable),
    };
    let run = Arc::new(RunEvents::start(context.events("verifying"), totals));
    let report = verify(repository, &options, Arc::new(Checked(Arc::clone(&run)))).await;
    // The progress leaves the screen before the result is written.
    drop(run);
    Ok(report)
}

/// Passes on what is checked.
struct Checked(Arc<RunEvents>);

impl VerifyEvents for Checked {
    fn bytes_checked(&self, bytes: u64) {
        self.0.received(0, bytes);
        self.0.advanced(0, bytes);
    }

    fn segment_checked(&self, key: &str, findings: usize) {
        let found = match findings {
            0 => "intact".to_owned(),
            findings => human::counted(findings as u64, "finding"),
        };
        tracing::debug!("checked {key}: {found}");
    }
}

async fn sequences(args: &Args, repository: &Repository) -> Result<Vec<u64>, CliError> {
    let existing = repository.sequences().await?;
    let none = || {
        let url = repository.store().url();
        CliError::new(format!("{url} has no snapshots yet")).hint("`kbk backup` creates one")
    };
    let latest = *existing.last().ok_or_else(none)?;
    match args.snapshot {
        SnapshotsArg::All => Ok(existing),
        SnapshotsArg::One(SnapshotArg::Latest) => Ok(vec![latest]),
        SnapshotsArg::One(SnapshotArg::Number(number)) if existing.contains(&number) => {
            Ok(vec![number])
        }
        SnapshotsArg::One(SnapshotArg::Number(number)) => {
            repository.check_kept(number).await?;
            let url = repository.store().url();
            Err(CliError::new(format!("{url} has no snapshot {number}"))
                .hint("`kbk snapshots` lists them"))
        }
    }
}

/// Returns the snapshots that can be read. The verification reports the others.
async fn readable(repository: &Repository, sequences: &[u64]) -> Vec<Digested<Snapshot>> {
    let mut readable = Vec::new();
    for sequence in sequences {
        readable.extend(repository.snapshot(*sequence).await.ok());
    }
    readable
}

/// Returns the topics that the patterns select; `None` for all of them, internal and deleted ones too, without a pattern.
fn topics(
    args: &Args,
    snapshots: &[Digested<Snapshot>],
) -> Result<Option<BTreeSet<(TopicName, Id)>>, CliError> {
    let unrestricted = args.topics.topic.is_empty() && args.topics.exclude.is_empty();
    if unrestricted || snapshots.is_empty() {
        return Ok(None);
    }
    let topics = snapshots.iter().flat_map(|snapshot| &snapshot.topics);
    let selection = args.topics.selection().internal_too();
    Ok(Some(selection.select_every(topics)?))
}

/// Returns the bytes to read; `None` for several snapshots, since what they share is read once.
fn expected_bytes(options: &VerifyOptions, snapshots: &[Digested<Snapshot>]) -> Option<u64> {
    let [snapshot] = snapshots else {
        return None;
    };
    let chosen = options.topics.as_ref();
    let topics = snapshot.topics.iter();
    let topics = topics.filter(|topic| {
        chosen.is_none_or(|chosen| chosen.contains(&(topic.name.clone(), topic.topic_id)))
    });
    let states = topics.flat_map(|topic| &topic.partitions);
    Some(states.map(|state| state.stored_bytes).sum())
}

impl Report for Verified {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if !report.partial_snapshots.is_empty() {
            writeln!(
                out,
                "{} partial: {} {} records that the cluster had, at least {}\n",
                partial(&report.partial_snapshots),
                human::counted(report.incomplete_partitions, "partition"),
                if report.incomplete_partitions == 1 {
                    "lacks"
                } else {
                    "lack"
                },
                human::counted(report.missing_offsets, "offset"),
            )?;
        }
        for finding in &report.findings {
            writeln!(out, "{finding}\n")?;
        }
        for claim in &report.claims {
            writeln!(out, "{claim}\n")?;
        }
        orphans(report, out)?;
        let how = if report.full {
            "every byte and every record"
        } else {
            "every byte"
        };
        let found = report.findings.len() as u64;
        let verdict = match (found, report.is_intact()) {
            (0, _) => format!("{how} is intact"),
            (_, true) => format!("{how} is intact; {}", accepted(report)),
            (_, false) if found == report.replaced_findings => format!(
                "{}, all in history that was replaced: what the topics have now is intact",
                human::counted(found, "finding")
            ),
            (_, false) => human::counted(found, "finding"),
        };
        writeln!(
            out,
            "{} of {}: {} in {} of {}, {}: {verdict}",
            snapshots(&report.snapshots),
            self.repository,
            human::counted(report.records, "record"),
            human::counted(report.segments, "segment"),
            human::counted(report.partitions, "partition"),
            human::bytes(report.bytes),
        )?;
        if report.expired_offsets > 0 {
            let expired = human::counted(report.expired_offsets, "offset");
            writeln!(
                out,
                "{expired} had expired: `kbk expire` removed them by their age"
            )?;
        }
        if report.compacted_records > 0 {
            let compacted = human::counted(report.compacted_records, "record");
            writeln!(
                out,
                "{compacted} had been removed by key: `kbk compact` kept the latest of each"
            )?;
        }
        Ok(())
    }
}

/// Says what is accepted.
fn accepted(report: &VerifyReport) -> String {
    let lost = (report.lost_offsets > 0).then(|| {
        let lost = human::counted(report.lost_offsets, "offset");
        format!("the loss of {lost}")
    });
    let replaced = (report.replaced_findings > 0).then(|| {
        let findings = human::counted(report.replaced_findings, "finding");
        format!("{findings} in history that was replaced")
    });
    let all: Vec<String> = lost.into_iter().chain(replaced).collect();
    let are = match (report.replaced_findings, all.len()) {
        (0 | 1, 1) => "is",
        _ => "are",
    };
    format!("{} {are} accepted", all.join(" and "))
}

/// Names what no snapshot names. Long lists are cut: JSON has all of it.
fn orphans(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    const SHOWN: usize = 10;
    let orphans = &report.orphans;
    let [command, next, unfinished] = match &report.origin {
        None => [
            "backup",
            "the next backup of their topics uses segments that are intact and new to it",
            "a backup removes them once they are a day old",
        ],
        Some(_) => [
            "`kbk copy`",
            "the next one uses segments that are intact and new to it",
            "they do no harm, and the next one writes them anew",
        ],
    };
    let mut writers = report
        .claims
        .iter()
        .filter(|claim| claim.running != Running::No);
    let left_by = match writers.next() {
        Some(writer) => format!(
            "left by an interrupted {command} or a forgotten snapshot, or being written by {}",
            writer.owner()
        ),
        None => format!("left by an interrupted {command} or a forgotten snapshot"),
    };
    if orphans.objects > 0 {
        writeln!(
            out,
            "no snapshot names {}, {}: {left_by}; {next}, and `kbk prune` deletes what is not needed",
            human::counted(orphans.objects, "object"),
            human::bytes(orphans.bytes),
        )?;
        for Orphan { key, bytes } in orphans.keys.iter().take(SHOWN) {
            writeln!(out, "  {key}  {}", human::bytes(*bytes))?;
        }
        if let Some(more) = orphans
            .keys
            .len()
            .checked_sub(SHOWN)
            .filter(|more| *more > 0)
        {
            writeln!(out, "  and {more} more")?;
        }
        for key in &orphans.unread {
            writeln!(out, "  {key} could not be read, and may name some of them")?;
        }
        writeln!(out)?;
    }
    if orphans.unfinished_files > 0 {
        writeln!(
            out,
            "{} of segments and pages that are not complete, {}: {left_by}; {unfinished}\n",
            human::counted(orphans.unfinished_files, "file"),
            human::bytes(orphans.unfinished_bytes),
        )?;
    }
    Ok(())
}

fn partial(sequences: &[u64]) -> String {
    match sequences {
        [one] => format!("snapshot {one} is"),
        several => format!("{} are", snapshots(several)),
    }
}

fn snapshots(sequences: &[u64]) -> String {
    match sequences {
        [] => "nothing".to_owned(),
        [one] => format!("snapshot {one}"),
        [first, .., last] => format!("{} snapshots from {first} to {last}", sequences.len()),
    }
}
