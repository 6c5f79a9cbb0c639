//! `kbk recover` in a repository: damaged segments are replaced by what is left of them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    Id, IncompleteReason, RepoError, RepoErrorKind, Repository, Snapshot, Store, TopicName,
};
use kbk_tools::list::Completeness;
use kbk_tools::maintenance::{MaintenanceError, MaintenanceEvents, MaintenanceOptions};
use kbk_tools::recover::{self, Donor, LostRow, RecoverEvents, RecoveredRow, Recovery};
use kbk_tools::verify::VerifyEvents;
use serde::Serialize;

use super::Args;
use crate::backup;
use crate::cli::{CliError, Column, Context, Outcome, OutputFile, Report, Table, TopicArgs};
use crate::commands;
use crate::commands::history_names::HistoryNames;
use crate::human;
use crate::run::{Cancel, Committed, Done, Events, Totals};

/// Segments, losses and findings that the text lists; JSON has all of them.
pub(super) const SHOWN: usize = 20;

/// What was recovered in a repository, or would be.
#[derive(Debug, Serialize)]
struct Recovering {
    /// Whether nothing was changed.
    dry_run: bool,
    /// The options that say what is recovered.
    policy: String,
    /// The repository that records were taken from; null where there was none.
    from: Option<String>,
    /// Number of older snapshots, which still name the damaged segments.
    older_snapshots: u64,
    /// The snapshot that was verified: the newest one.
    verified_snapshot: u64,
    #[serde(flatten)]
    recovery: Recovery,
    /// What the new snapshot states of the selected topics as lost to damage, by this recovery and earlier ones; where nothing was changed,
    /// what the verified one states.
    lost_ranges: Vec<LostRow>,
    #[serde(flatten)]
    completeness: Completeness,
}

/// Recovers, and prints what was done.
pub(super) async fn run(
    args: &Args,
    report_file: Option<OutputFile>,
    context: &Context,
) -> Result<Outcome, CliError> {
    let repository = commands::repository(context).await?;
    let donor = args.donor(&repository).await?;
    let Some(newest) = repository.latest_to_change().await.map_err(of_newest)? else {
        return Err(CliError::new(format!(
            "{} has no snapshot to recover",
            repository.store().url()
        ))
        .hint("`kbk backup` makes the first one"));
    };
    let selection = args.topics.selection().internal_too();
    let topics = match newest.topics.is_empty() {
        true => Default::default(),
        false => selection.select_every(newest.topics.iter())?,
    };
    let progress = Arc::new(Progress::start(context, "verifying", newest.is_complete()));
    let events: Arc<dyn RecoverEvents> = Arc::clone(&progress) as _;
    let plan = recover::plan(&repository, &newest, &topics, donor.is_some(), &events).await;
    drop((events, progress));
    let plan = plan.map_err(of_newest)?;
    let mut options = MaintenanceOptions {
        dry_run: true,
        writer: commands::writer(),
        policy: args.in_words(),
        now: Timestamp::now(),
    };
    let of = |recovery: Recovery, state: &Snapshot, options: &MaintenanceOptions| Recovering {
        dry_run: options.dry_run,
        policy: options.policy.clone(),
        from: donor.as_ref().map(|donor| donor.url().to_owned()),
        older_snapshots: 0,
        verified_snapshot: newest.sequence,
        lost_ranges: LostRow::all(state, &topics),
        completeness: completeness(state, &topics, &recovery, options.dry_run),
        recovery,
    };
    let apply = async |options: &MaintenanceOptions| {
        let title = if options.dry_run {
            "searching"
        } else {
            "recovering"
        };
        let progress = Arc::new(Progress::start(context, title, newest.is_complete()));
        let events: Arc<dyn RecoverEvents> = Arc::clone(&progress) as _;
        let donor = donor.as_ref();
        let done = recover::recover(&repository, &newest, &plan, donor, options, events).await;
        // The progress leaves the screen before the result is written.
        drop(progress);
        done.map_err(failed)
    };
    if !args.dry_run && !args.yes && plan.segments() > 0 {
        let planned = of(apply(&options).await?, &newest, &options);
        let lost = planned.recovery.lost_offsets;
        if lost > 0 && !planned.recovery.interrupted {
            context.output.step(&planned)?;
            let counted = human::counted(lost, "offset");
            context.confirm(&format!("this states that {counted} are lost"), &counted)?;
        }
    }
    options.dry_run = args.dry_run;
    options.now = Timestamp::now();
    let recovery = apply(&options).await?;
    let committed = match recovery.snapshot {
        Some(sequence) => Some(repository.snapshot(sequence).await?),
        None => None,
    };
    if let (Some(metrics), Some(snapshot)) = (context.metrics(), &committed) {
        // It may lack what the newest one before did not: what is lost is stated only now.
        metrics.committed(backup::committed(snapshot));
    }
    let state = committed.as_ref().unwrap_or(&newest);
    let mut done = of(recovery, state, &options);
    let sequences = repository.sequences().await?.into_iter();
    let named = done.recovery.snapshot;
    let older = sequences.filter(|sequence| named.is_none_or(|new| *sequence < new));
    done.older_snapshots = older.count() as u64;
    if let Some(file) = report_file {
        super::Saved::new(&repository, options.now, &done).save(file)?;
    }
    let outcome = match done.recovery.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(done.completeness.complete),
    };
    context.conclude(&done, outcome)
}

/// Returns what these topics of a snapshot lack: for whatever reason, and what is damaged and was not replaced.
fn completeness(
    state: &Snapshot,
    topics: &BTreeSet<(TopicName, Id)>,
    recovery: &Recovery,
    dry_run: bool,
) -> Completeness {
    let judged = state.judged();
    let judged = judged.filter(|(topic, _)| topics.contains(&(topic.name.clone(), topic.topic_id)));
    let mut found = Completeness::of_partitions(state.sequence, judged);
    if dry_run && recovery.damaged_offsets == 0 {
        // All that is lost would be there again.
        let rows = &mut found.incomplete;
        rows.retain(|row| row.reason != IncompleteReason::Damaged);
    }
    found.complete = found.incomplete.is_empty() && recovery.is_whole();
    found
}

fn failed(error: MaintenanceError) -> CliError {
    match error {
        MaintenanceError::Repo(error) => of_newest(error),
        error => CliError::new(error.to_string()),
    }
}

impl Args {
    /// Opens the repository to take records from.
    async fn donor(&self, repository: &Repository) -> Result<Option<Donor>, CliError> {
        let Some(location) = self.donor.location()? else {
            return Ok(None);
        };
        let opened = Repository::open(Store::open_at(&location).map_err(of_from)?).await?;
        if opened.store().url() == repository.store().url() {
            let message = "--from names the repository itself";
            return Err(CliError::usage(message).hint("name a copy of it, or another backup"));
        }
        let url = opened.store().url().to_owned();
        let donor = Donor::open(opened).await?;
        let none = || CliError::new(format!("{url} has no snapshot to take records from"));
        Ok(Some(donor.ok_or_else(none)?))
    }

    /// Returns the options as they were given.
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        let TopicArgs { topic, exclude } = &self.topics;
        words.extend(topic.iter().map(|pattern| format!("--topic {pattern}")));
        words.extend(exclude.iter().map(|pattern| format!("--exclude {pattern}")));
        words.extend(
            self.donor
                .from
                .as_ref()
                .map(|from| format!("--from {from}")),
        );
        words.join(" ")
    }
}

/// Names the option that the repository to take records from is reached with.
fn of_from(error: RepoError) -> CliError {
    match error.kind() {
        RepoErrorKind::InvalidLocation { .. } => CliError::from(error).hint(
            "options of the repository to take records from are given as --from-store-option allow-http=true",
        ),
        _ => error.into(),
    }
}

/// Says what can be done where the newest snapshot or its index is damaged: an older one cannot be recovered instead.
fn of_newest(error: RepoError) -> CliError {
    if !error.kind().is_about_content() {
        return error.into();
    }
    let found = CliError::from(error);
    CliError::new(found.message()).hint(
        "restore this object from an intact copy: a recovery needs the newest snapshot and its index; without them, `kbk recover \
         --rebuild` uses what its segments prove, and `kbk backup --ignore-damaged-snapshot` continues from an older one",
    )
}

/// Passes on what is read and written.
pub(super) struct Progress {
    events: Arc<dyn Events>,
    cancel: Cancel,
    complete: bool,
}

impl Progress {
    pub(super) fn start(context: &Context, title: &'static str, complete: bool) -> Progress {
        let events = context.events(title);
        events.run_started(Totals::default());
        Progress {
            events,
            cancel: context.cancel.clone(),
            complete,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.events.run_finished();
    }
}

impl VerifyEvents for Progress {
    fn bytes_checked(&self, bytes: u64) {
        self.events.received(None, Done { records: 0, bytes });
        self.events.advanced(None, Done { records: 0, bytes });
    }
}

impl RecoverEvents for Progress {
    fn searched(&self, bytes: u64) {
        self.bytes_checked(bytes);
    }
}

impl MaintenanceEvents for Progress {
    fn sealed(&self, bytes: u64) {
        self.events.segment_sealed(bytes);
    }

    fn committed(&self, snapshot: u64) {
        self.events.committed(Committed {
            snapshot,
            at_ms: Timestamp::now().as_millisecond(),
            complete: self.complete,
        });
    }

    fn is_stopped(&self) -> bool {
        self.cancel.is_set()
    }
}

impl Recovering {
    /// Says what was done, and that the snapshot is partial where it is for another reason than damage.
    fn summary(&self) -> String {
        let done = self.done();
        let mut rows = self.completeness.incomplete.iter();
        let is_other = rows.any(|row| row.reason != IncompleteReason::Damaged);
        match self.completeness.statement().filter(|_| is_other) {
            Some(partial) => {
                format!("{done}, but {partial} (`kbk verify` names all that is missing)")
            }
            None => done,
        }
    }

    /// Returns how many offsets an earlier recovery had lost that are lost still.
    fn lost_earlier(&self) -> u64 {
        let recovery = &self.recovery;
        recovery
            .damaged_offsets
            .saturating_sub(recovery.lost_offsets)
    }

    fn done(&self) -> String {
        let recovery = &self.recovery;
        if recovery.interrupted {
            return "interrupted: nothing was changed".to_owned();
        }
        let verified = human::counted(recovery.segments, "segment");
        let still = match self.lost_earlier() {
            0 => String::new(),
            earlier => format!(
                "; {} that an earlier recovery had lost are lost still",
                human::counted(earlier, "offset")
            ),
        };
        if recovery.recovered.is_empty() {
            return match (recovery.findings.is_empty(), recovery.outdated_segments) {
                (true, 0) => {
                    format!("nothing to recover: {verified} verified, none is damaged{still}")
                }
                (true, _) => format!("nothing was recovered{still}"),
                (false, _) => {
                    format!("nothing was recovered, and what is damaged stays as it is{still}")
                }
            };
        }
        let done = match self.dry_run {
            true => "would recover",
            false => "recovered",
        };
        let segments = human::counted(recovery.recovered.len() as u64, "segment");
        let records = human::counted(recovery.records, "record");
        let lost = match (recovery.lost_offsets, recovery.lost_records) {
            (0, _) => "nothing new is lost".to_owned(),
            (offsets, Some(lost)) => format!(
                "{} lost, at {}",
                human::counted(lost, "record"),
                human::counted(offsets, "offset")
            ),
            (offsets, None) => format!("{} lost", human::counted(offsets, "offset")),
        };
        let snapshot = match recovery.snapshot {
            Some(snapshot) => format!(" (recorded in snapshot {snapshot})"),
            None => String::new(),
        };
        let lead = match recovery.findings.is_empty() {
            true => "",
            false => "some of what is damaged stays as it is: ",
        };
        format!("{lead}{done} {records} of {segments}{snapshot}: {lost}{still}")
    }

    fn names(&self) -> HistoryNames {
        let recovered = self.recovery.recovered.iter();
        let recovered = recovered.map(|row| (&row.topic, &row.topic_id));
        let lost = self.lost_ranges.iter();
        HistoryNames::of(recovered.chain(lost.map(|row| (&row.topic, &row.topic_id))))
    }

    fn rows(&self) -> Table {
        let names = self.names();
        let mut table = Table::new([
            Column::Left("TOPIC/PARTITION"),
            Column::Right("FROM"),
            Column::Right("END"),
            Column::Right("RECORDS"),
            Column::Right("LOST RECORDS"),
            Column::Right("LOST OFFSETS"),
            Column::Left("DAMAGE"),
        ]);
        for row in self.recovery.recovered.iter().take(SHOWN) {
            table.row([
                format!(
                    "{}/{}",
                    names.name(&row.topic, &row.topic_id),
                    row.partition
                ),
                row.offsets.base_offset.to_string(),
                row.offsets.end_offset.to_string(),
                human::count(row.records),
                row.lost_records
                    .map_or_else(|| "?".to_owned(), human::count),
                human::count(row.lost_offsets),
                damage(row),
            ]);
        }
        table
    }

    fn write_losses(&self, out: &mut dyn Write) -> io::Result<()> {
        let names = self.names();
        let rows = self.recovery.recovered.iter();
        let losses = rows.flat_map(|row| row.losses.iter().map(move |loss| (row, loss)));
        for (row, loss) in losses.clone().take(SHOWN) {
            let (topic, partition) = (names.name(&row.topic, &row.topic_id), row.partition);
            let why = loss.reason.words();
            writeln!(out, "{topic}/{partition}: {} are lost: {why}", loss.offsets)?;
        }
        more(losses.count(), out)?;
        if self.lost_earlier() == 0 {
            return Ok(());
        }
        for row in self.lost_ranges.iter().take(SHOWN) {
            let LostRow {
                partition, offsets, ..
            } = row;
            let topic = names.name(&row.topic, &row.topic_id);
            writeln!(
                out,
                "{topic}/{partition}: {offsets} are stated as lost in the snapshot"
            )?;
        }
        more(self.lost_ranges.len(), out)
    }

    /// Names the segments that were under the names of others.
    fn write_displaced(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.recovery.recovered.iter();
        let displaced = rows.flat_map(|row| {
            let sources = row.sources.iter();
            let sources = sources.filter(|it| it.repository.is_none() && it.key != row.key);
            sources.map(move |source| (&row.key, source))
        });
        for (key, source) in displaced.clone().take(SHOWN) {
            let blocks = human::counted(source.blocks, "block");
            let found = &source.key;
            writeln!(
                out,
                "{blocks} of {key} from {found}, which has the name of another segment"
            )?;
        }
        more(displaced.count(), out)
    }

    fn write_sources(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(from) = &self.from else {
            return Ok(());
        };
        let sources = self.recovery.recovered.iter().flat_map(|row| &row.sources);
        let taken: u64 = sources
            .filter(|source| source.repository.is_some())
            .map(|source| source.blocks)
            .sum();
        writeln!(out, "{} from {from}", human::counted(taken, "block"))?;
        for message in &self.recovery.not_taken {
            writeln!(out, "{message}")?;
        }
        let refused = self.recovery.recovered.iter().flat_map(|row| &row.refused);
        for message in refused {
            writeln!(out, "{message}")?;
        }
        Ok(())
    }

    fn write_findings(&self, out: &mut dyn Write) -> io::Result<()> {
        let findings = &self.recovery.findings;
        for finding in findings.iter().take(SHOWN) {
            writeln!(out, "{finding}\n")?;
        }
        more(findings.len(), out)
    }
}

pub(super) fn more(count: usize, out: &mut dyn Write) -> io::Result<()> {
    match count.checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => writeln!(out, "and {more} more: --json or --report lists all"),
        None => Ok(()),
    }
}

/// Says in a few words what is wrong with a segment.
fn damage(row: &RecoveredRow) -> String {
    match (row.missing, row.damage.as_slice()) {
        (true, _) => "missing".to_owned(),
        (false, []) => "lost before".to_owned(),
        (false, [one]) => one.clone(),
        (false, [first, rest @ ..]) => format!("{first}; {} more", rest.len()),
    }
}

impl Report for Recovering {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let recovery = &self.recovery;
        if !recovery.recovered.is_empty() {
            self.rows().write(out)?;
            more(recovery.recovered.len(), out)?;
        }
        self.write_losses(out)?;
        self.write_displaced(out)?;
        self.write_sources(out)?;
        self.write_findings(out)?;
        if recovery.outdated_segments > 0 {
            let segments = human::counted(recovery.outdated_segments, "segment");
            writeln!(
                out,
                "{segments} were expired or replaced by another run meanwhile, and left to it"
            )?;
        }
        let mut rows = recovery.recovered.iter();
        let is_left = rows.any(|row| !row.missing && !row.damage.is_empty());
        if recovery.snapshot.is_some() && is_left {
            let older = human::counted(self.older_snapshots, "older snapshot");
            writeln!(
                out,
                "the damaged objects are still there, for {older}: copy them to examine them later; `kbk forget`, then `kbk prune`, deletes them"
            )?;
        }
        if recovery.damaged_offsets > 0 && !self.dry_run {
            writeln!(
                out,
                "what is lost stays lost in later backups: `kbk recover --from` takes it from another repository, `kbk backup --refresh --topic` \
                 stores a topic again as the cluster has it now"
            )?;
        }
        Ok(())
    }
}
