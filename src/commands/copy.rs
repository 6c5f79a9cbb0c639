//! `kbk copy`: copies snapshots from one repository to another.

use std::io::{self, Write};
use std::sync::Arc;

use kbk_format::repo::{
    Digested, RepoError, RepoErrorKind, Repository, Snapshot, Store, UnfinishedFiles,
};
use kbk_tools::claims::ClaimEvent;
use kbk_tools::copy::{
    self, Accounted, CopiedSnapshot, CopyEvents, CopyFindingKind, CopyOptions, CopyReport,
    CopySelection, SelectTopics,
};
use serde::Serialize;

use super::run_progress::RunProgress;
use crate::cli::{
    CliError, Context, FromArgs, MetricsArgs, Outcome, Report, SnapshotArg, SnapshotRange,
    TopicArgs,
};
use crate::human;
use crate::run::{Committed, Totals};
use crate::select::TopicSelection;

const EXAMPLES: &str = "\
Examples:
  kbk copy --from /backup/kafka -r s3://bucket/kafka
  kbk copy --from /backup/kafka -r s3://bucket/kafka --topic 'orders*' --dry-run

`kbk init` creates the repository to copy to.
Copies all snapshots that are newer than the last one that was copied, the oldest first, with the
segments that the copy does not have yet. A snapshot has the same number in both repositories where
that is possible. What was interrupted continues when the same command runs again.
The copy is a repository of its own: `kbk forget`, `kbk expire` and `kbk prune` of either change
nothing in the other, and `kbk restore`, `kbk mount` and `kbk verify` work on it as on any other.
Segments that the copy has lost, or has with another size, are sent again while the original has
them. `kbk verify --full` on the copy reads every byte of it.
Once the original is lost, `kbk backup` continues the copy; after that it cannot be copied to.
What is damaged in the original ends the copy of its partition there, and the exit code is 3;
--accept-replaced accepts damage in what was replaced by a topic that was read again in full.
A snapshot that the original forgets meanwhile is named, exit code 3, and the next is copied.";

/// The arguments of `kbk copy`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository to copy from.
    #[command(flatten)]
    pub from: FromArgs,

    /// The snapshots to copy: the number of one, the first and the last of several as in 3-7, or `latest` for the newest alone. Older
    /// ones cannot be added later [default: all that are newer than the last one that was copied]
    #[arg(long, value_name = "SNAPSHOT", value_parser = parse_selection)]
    pub snapshot: Option<CopySelection>,

    /// The topics to copy.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Do not read again what was written: it is trusted that the store has what was sent
    #[arg(long)]
    pub no_read_back: bool,

    /// Exit with 0 although something is damaged in a history of a topic that was replaced, since a backup has read the topic again in
    /// full. The copy lacks these records, and stays partial
    #[arg(long)]
    pub accept_replaced: bool,

    /// Only say what would be copied
    #[arg(long)]
    pub dry_run: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

fn parse_selection(text: &str) -> Result<CopySelection, String> {
    if let Ok(SnapshotArg::Latest) = text.parse() {
        return Ok(CopySelection::Latest);
    }
    let range = text.parse::<SnapshotRange>();
    let range = range.map_err(|error| error.to_string())?.0;
    Ok(CopySelection::Range(*range.start(), *range.end()))
}

/// What was copied, and from where.
#[derive(Debug, Serialize)]
struct Copying {
    /// The repository that was copied from.
    from: String,
    #[serde(skip)]
    to: String,
    /// Whether nothing was changed.
    dry_run: bool,
    /// Number of files in a local copy that interrupted writes had left a day or more before its newest snapshot, and that were removed.
    removed_files: u64,
    /// Their bytes.
    removed_bytes: u64,
    #[serde(flatten)]
    report: CopyReport,
}

/// Copies, and prints what was copied.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let from = Store::open_at(&args.from.location()?).map_err(of_from)?;
    let from = Repository::open(from).await?;
    let to = super::repository(context).await?;
    let selection = args.topics.selection().internal_too();
    check_topics(&selection, &from, args).await?;
    let options = CopyOptions {
        snapshots: args.snapshot.unwrap_or(CopySelection::New),
        topics: topics(selection),
        read_back: !args.no_read_back,
        accept_replaced: args.accept_replaced,
        dry_run: args.dry_run,
        writer: super::writer(),
    };
    let progress = Arc::new(RunProgress::start(context, "copying", Totals::default()));
    let events: Arc<dyn CopyEvents> = Arc::clone(&progress) as _;
    let stop = context.cancel.cancelled();
    let report = copy::copy(&from, &to, &options, stop, events, Arc::new(log)).await;
    // The progress leaves the screen before the result is written.
    drop(progress);
    let report = report?;
    let removed = match args.dry_run || report.interrupted {
        true => UnfinishedFiles::default(),
        false => remove_unfinished(&to).await,
    };
    let copying = Copying {
        from: from.store().url().to_owned(),
        to: to.store().url().to_owned(),
        dry_run: args.dry_run,
        removed_files: removed.files,
        removed_bytes: removed.bytes,
        report,
    };
    let outcome = match copying.report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(copying.report.is_whole()),
    };
    context.conclude(&copying, outcome)
}

/// Removes what interrupted runs left in the copy. Everything is committed, so a failure is no reason to fail.
async fn remove_unfinished(copy: &Repository) -> UnfinishedFiles {
    let removed = async {
        match copy.latest().await? {
            Some(newest) => copy.remove_unfinished(&newest).await,
            None => Ok(UnfinishedFiles::default()),
        }
    };
    removed.await.unwrap_or_else(|error: RepoError| {
        tracing::warn!("files that interrupted runs left were not removed: {error}");
        UnfinishedFiles::default()
    })
}

/// Names the option that the repository to copy from is reached with.
fn of_from(error: RepoError) -> CliError {
    match error.kind() {
        RepoErrorKind::InvalidLocation { .. } => CliError::from(error).hint(
            "options of the repository to copy from are given as --from-store-option allow-http=true",
        ),
        _ => error.into(),
    }
}

fn topics(selection: TopicSelection) -> SelectTopics {
    // A topic that the newest snapshot has may not be in an older one yet.
    Arc::new(move |snapshot| {
        let chosen = selection.select_every(snapshot.topics.iter());
        chosen.unwrap_or_default()
    })
}

/// Fails if no topic of the newest snapshot is selected, though some were asked for.
async fn check_topics(
    selection: &TopicSelection,
    from: &Repository,
    args: &Args,
) -> Result<(), CliError> {
    if args.topics.topic.is_empty() && args.topics.exclude.is_empty() {
        return Ok(());
    }
    let newest: Option<Digested<Snapshot>> = match from.latest().await {
        Ok(newest) => newest,
        // The copy reports it.
        Err(error) if error.kind().is_about_content() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if let Some(newest) = newest {
        selection.select_every(newest.topics.iter())?;
    }
    Ok(())
}

fn log(event: &ClaimEvent) {
    if event.is_warning() {
        tracing::warn!("{event}");
    } else {
        tracing::info!("{event}");
    }
}

/// Passes on what is copied.
impl CopyEvents for RunProgress {
    fn planned(&self, origin: u64, segments: u64, bytes: u64) {
        if segments == 0 {
            return;
        }
        tracing::info!(
            "snapshot {origin}: {}, {}",
            human::counted(segments, "new segment"),
            human::bytes(bytes)
        );
    }

    fn received(&self, bytes: u64) {
        RunProgress::received(self, bytes);
    }

    fn stored(&self, records: u64, bytes: u64) {
        self.advanced(records, bytes);
        self.sealed(bytes);
    }

    fn committed(&self, copied: &CopiedSnapshot) {
        RunProgress::committed(
            self,
            Committed {
                snapshot: copied.snapshot,
                at_ms: copied.created_at.as_millisecond(),
                complete: copied.complete,
            },
        );
    }

    fn is_stopped(&self) -> bool {
        RunProgress::is_stopped(self)
    }
}

impl Copying {
    fn summary(&self) -> String {
        let report = &self.report;
        let (from, to) = (&self.from, &self.to);
        if report.snapshots.is_empty() {
            let has_all = report.is_whole() && !report.interrupted;
            let has_all = has_all && !(self.dry_run && report.repaired_segments > 0);
            return match has_all {
                true => format!("nothing new to copy from {from} to {to}"),
                false => format!("no snapshot was copied from {from} to {to}"),
            };
        }
        let sequences = sequences(&report.snapshots);
        let segments: u64 = report.snapshots.iter().map(|copied| copied.segments).sum();
        let bytes: u64 = report.snapshots.iter().map(|copied| copied.bytes).sum();
        let new = human::counted(segments, "new segment");
        let new = format!("{new}, {}", human::bytes(bytes));
        match self.dry_run {
            true => format!("would copy {sequences} of {from} to {to}: {new}"),
            false => format!("copied {sequences} of {from} to {to}: {new}"),
        }
    }

    /// Says what is missing, where something is.
    fn missing(&self) -> Option<String> {
        let report = &self.report;
        let findings = report.findings.iter().filter(|it| !it.accepted);
        let found = human::counted(findings.count() as u64, "finding");
        match (report.interrupted, report.is_whole()) {
            (_, false) => Some(format!(
                "partial: part of what is selected is not in the copy: {found}"
            )),
            (true, true) => Some(
                "interrupted: what is durable is used by the next run of the same command"
                    .to_owned(),
            ),
            (false, true) => None,
        }
    }

    /// Says what was sent, and how it was checked.
    fn sent(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if let Some(sequence) = report.unfinished_snapshot {
            writeln!(
                out,
                "snapshot {sequence} is unfinished and not in the copy yet: the next run of the same command uses the segments that were \
                 sent of it"
            )?;
        }
        if report.segments > 0 {
            let segments = human::counted(report.segments, "segment");
            let bytes = human::bytes(report.bytes);
            let how = match report.read_back {
                true => {
                    "every byte was compared with its hash as it was read, and again as the copy returns it"
                }
                false => {
                    "every byte was compared with its hash as it was read; --no-read-back: not as the copy returns it"
                }
            };
            writeln!(out, "sent {segments}, {bytes}: {how}")?;
        }
        if report.adopted_segments > 0 {
            let adopted = human::counted(report.adopted_segments, "segment");
            writeln!(
                out,
                "{adopted} of an interrupted copy were there, and are intact"
            )?;
        }
        Ok(())
    }

    /// Says what was lost of what had been copied before, and is there again.
    fn repaired(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if report.repaired_segments == 0 {
            return Ok(());
        }
        let segments = human::counted(report.repaired_segments, "segment");
        let bytes = human::bytes(report.repaired_bytes);
        let (to, from) = (&self.to, &self.from);
        let what = "missing, or had another size than the index states";
        match self.dry_run {
            true => writeln!(
                out,
                "{to} has lost {segments}, {bytes}: they are {what}; they would be sent again from {from}"
            ),
            false => writeln!(
                out,
                "{to} had lost {segments}, {bytes}: they were {what}; they were sent again from {from}"
            ),
        }
    }

    /// Says what was compared, and what was not.
    fn accounted(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.dry_run && !self.report.snapshots.is_empty() {
            writeln!(
                out,
                "nothing that would be copied was read: whether it is intact, `kbk verify` of {} says before, and a copy as it reads it",
                self.from
            )?;
        }
        if let Some(accounted) = &self.report.accounted {
            let of_copy = format!("snapshot {} of {}", accounted.snapshot, self.to);
            let of_origin = format!("snapshot {} of {}", accounted.origin, self.from);
            writeln!(out, "{of_copy} {}", has(accounted, &of_origin))?;
        }
        if self.report.checked_segments > 0 {
            let segments = human::counted(self.report.checked_segments, "segment");
            let counts = match self.report.accounted {
                Some(_) => "the offsets and counts of both indexes, and ",
                None => "",
            };
            writeln!(
                out,
                "compared: {counts}the sizes of {segments} in the copy; `kbk verify --full` reads their bytes"
            )?;
        }
        Ok(())
    }
}

/// Says what the copy has of its origin.
fn has(accounted: &Accounted, of_origin: &str) -> String {
    let partitions = human::counted(accounted.partitions, "partition");
    let but = match accounted.expired_in_copy {
        0 => String::new(),
        expired => {
            let of = human::counted(expired, "partition");
            format!(", but for what expired in the copy of {of}")
        }
    };
    if accounted.whole_partitions < accounted.partitions {
        let differing = human::count(accounted.partitions - accounted.whole_partitions);
        return format!(
            "differs from {of_origin} in {differing} of {partitions}; of the others it has every offset{but}"
        );
    }
    let mut text = format!("has every offset that {of_origin} has{but}: {partitions}");
    let (records, original) = (accounted.records, accounted.origin_records);
    match records == original {
        true => text += &format!(", {}", human::counted(records, "record")),
        false => {
            let records = human::counted(records, "record");
            text += &format!(
                ", {records} in the copy and {} in the original",
                human::count(original)
            );
        }
    }
    if accounted.expired_in_origin > 0 {
        let of = human::counted(accounted.expired_in_origin, "partition");
        text += &format!("; of {of} it also has older offsets, which expired in the original");
    }
    text
}

fn sequences(copied: &[CopiedSnapshot]) -> String {
    match copied {
        [] => "nothing".to_owned(),
        [one] => format!("snapshot {}", one.origin),
        [first, .., last] => format!(
            "{} snapshots from {} to {}",
            copied.len(),
            first.origin,
            last.origin
        ),
    }
}

impl Report for Copying {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if let Some(missing) = self.missing() {
            writeln!(out, "{missing}")?;
        }
        for finding in &report.findings {
            let (of, message) = (&finding.repository, &finding.message);
            let accepted = match (finding.accepted, finding.replaced_later) {
                (true, true) => {
                    "accepted: a later snapshot, which was copied, has what a recovery left of it: "
                }
                (true, false) => {
                    "accepted: the topic has another history, which was read again in full: "
                }
                (false, _) => "",
            };
            match finding.kind {
                CopyFindingKind::Differs | CopyFindingKind::DamagedCopy => {
                    writeln!(out, "{accepted}in the copy {of}: {message}")?;
                }
                _ => {
                    let snapshot = finding.origin;
                    writeln!(
                        out,
                        "{accepted}in the original {of}: snapshot {snapshot}: {message}"
                    )?;
                }
            }
            if !finding.replaced_later {
                writeln!(out, "  hint: {}", finding.hint)?;
            }
        }
        writeln!(out, "{}", self.summary())?;
        let renumbered = report.snapshots.iter();
        for copied in renumbered.filter(|copied| copied.origin != copied.snapshot) {
            let CopiedSnapshot {
                origin, snapshot, ..
            } = copied;
            writeln!(out, "snapshot {origin} is snapshot {snapshot} of the copy")?;
        }
        if !report.older_snapshots.is_empty() {
            let older: Vec<String> = report.older_snapshots.iter().map(u64::to_string).collect();
            writeln!(
                out,
                "left out, since newer ones were copied before, and copies go forward: {}",
                older.join(", ")
            )?;
        }
        if !self.dry_run {
            self.sent(out)?;
        }
        self.repaired(out)?;
        if self.removed_files > 0 {
            writeln!(
                out,
                "removed {} ({}) that interrupted runs had left unfinished in {}",
                human::counted(self.removed_files, "file"),
                human::bytes(self.removed_bytes),
                self.to
            )?;
        }
        self.accounted(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_copy_that_was_looked_through_has_everything() {
        let summary = |report| {
            let copying = Copying {
                from: "a".to_owned(),
                to: "b".to_owned(),
                dry_run: false,
                removed_files: 0,
                removed_bytes: 0,
                report,
            };
            let mut text = Vec::new();
            copying.human(&mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let done = summary(CopyReport::default());
        assert_eq!(done, "nothing new to copy from a to b\n");
        let interrupted = summary(CopyReport {
            interrupted: true,
            segments: 3,
            unfinished_snapshot: Some(7),
            ..CopyReport::default()
        });
        let lines: Vec<&str> = interrupted.lines().collect();
        assert!(lines[0].starts_with("interrupted: "), "{interrupted}");
        assert_eq!(lines[1], "no snapshot was copied from a to b");
        assert!(
            lines[2].starts_with("snapshot 7 is unfinished "),
            "{interrupted}"
        );
        assert!(lines[3].starts_with("sent 3 segments, "), "{interrupted}");
    }

    #[test]
    fn only_a_copy_that_has_every_offset_is_said_to_have_it() {
        let all = Accounted {
            snapshot: 2,
            origin: 2,
            partitions: 3,
            whole_partitions: 3,
            records: 1_450,
            origin_records: 1_450,
            expired_in_origin: 0,
            expired_in_copy: 0,
        };
        let has = |accounted| has(&accounted, "snapshot 2 of o");
        assert_eq!(
            has(all),
            "has every offset that snapshot 2 of o has: 3 partitions, 1,450 records"
        );
        let expired = has(Accounted {
            expired_in_origin: 1,
            origin_records: 1_250,
            ..all
        });
        assert_eq!(
            expired,
            "has every offset that snapshot 2 of o has: 3 partitions, 1,450 records in the copy and 1,250 in the original; of 1 \
             partition it also has older offsets, which expired in the original"
        );
        let expired = has(Accounted {
            expired_in_copy: 2,
            ..all
        });
        assert!(
            expired.contains("but for what expired in the copy of 2 partitions"),
            "{expired}"
        );
        let differing = has(Accounted {
            whole_partitions: 2,
            ..all
        });
        assert_eq!(
            differing,
            "differs from snapshot 2 of o in 1 of 3 partitions; of the others it has every offset"
        );
    }
}
