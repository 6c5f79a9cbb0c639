//! `kbk expire`: removes old records from the newest snapshot, by whole segments.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use kbk_format::repo::{RepoErrorKind, Repository, Upkeep};
use kbk_tools::retention::{self, Ages, ExpiryPlan, ExpiryRow, KeptBecause};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table, TopicArgs, time};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk expire -r /backup/kafka --older-than 90d --dry-run
  kbk expire -r /backup/kafka --older-than 1y --topic orders --yes
  kbk expire -r /backup/kafka --older-than 30d --topic 'orders*' --yes

Of each partition, the first segments go whose records are all older: a segment with one younger
record stays, and so do those after it. The largest timestamp of a segment counts. Topics with other
spans are expired by other runs. Topics that the cluster has deleted are included.
Compacted topics stay as they are without --compacted: of these, the last record of a key counts
however old it is.
The new snapshot says what was expired, and no command calls it lost. Backups continue where they
were, also one that runs meanwhile. Older snapshots still have the records: `kbk forget` them, then
`kbk prune`. What was expired cannot be had back after that.
Exit code 3: older records stay, and a later run will find the same: behind records with timestamps
more than a day in the future, or none at all, or since the last record of a partition, which the
next backup compares with the cluster, cannot be read.";

/// Plans that are made before other runs that change partitions are left alone.
const TRIES: u32 = 3;

/// The arguments of `kbk expire`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Expire records whose timestamps are older than this, for example 90d or 1y6mo
    #[arg(long, value_name = "SPAN", value_parser = time::parse_span)]
    pub older_than: Span,

    /// The topics of which records expire.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Expire records of compacted topics, too
    #[arg(long)]
    pub compacted: bool,

    /// Expire even where the last backup is older than --older-than, so that nothing of it remains
    #[arg(long)]
    pub allow_old_backup: bool,

    /// Only say what would be expired
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// What was expired, or would be.
#[derive(Debug, Serialize)]
struct Expiring {
    /// Whether nothing was changed.
    dry_run: bool,
    /// The options that say what is old, and of which topics.
    policy: String,
    /// Records with earlier timestamps are old.
    older_than: Timestamp,
    /// Number of segments that are expired.
    segments: u64,
    /// Number of their records.
    records: u64,
    /// Their bytes.
    bytes: u64,
    /// The snapshot that no longer has them; null where nothing was changed.
    snapshot: Option<u64>,
    /// Number of older snapshots, which may still have them.
    older_snapshots: u64,
    /// Compacted topics that were left out, since --compacted was not given.
    compacted_topics: Vec<String>,
    /// Number of partitions that keep older records, behind younger ones or in their segment.
    keep_older: u64,
    /// Number of those that keep them however old they get, which is a finding.
    keep_forever: u64,
    /// The partitions of which something is expired, or that keep older records.
    partitions: Vec<ExpiryRow>,
}

/// Expires what is old.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let now = Timestamp::now();
    let moments = Moments {
        now,
        older_than: args.moment(now)?,
    };
    let (mut plan, last_backup) = args.plan(&repository, moments).await?;
    let mut report = args.report(&plan, moments);
    report.older_snapshots = repository.sequences().await?.len() as u64;
    if let Some(last_backup) = last_backup.filter(|_| report.segments > 0) {
        args.check_clock(moments, last_backup)?;
    }
    if args.dry_run || report.segments == 0 {
        return context.conclude(&report, report.outcome());
    }
    if !args.yes {
        confirm(&report, context)?;
    }
    let upkeep = Upkeep {
        command: "expire".to_owned(),
        detail: report.policy.clone(),
        writer: super::writer(),
        now,
    };
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match repository.expire(&plan.partitions, &upkeep).await {
            Ok(snapshot) => {
                report = args.report(&plan, moments);
                report.snapshot = snapshot;
                break;
            }
            Err(error) if *error.kind() == RepoErrorKind::Outdated && tries > 0 => {}
            Err(error) => return Err(error.into()),
        }
        (plan, _) = args.plan(&repository, moments).await?;
    }
    let sequences = repository.sequences().await?.into_iter();
    let older = sequences.filter(|sequence| report.snapshot.is_none_or(|new| *sequence < new));
    report.older_snapshots = older.count() as u64;
    context.conclude(&report, report.outcome())
}

/// What is old, by the clock of this machine.
#[derive(Clone, Copy, Debug)]
struct Moments {
    now: Timestamp,
    /// Records with earlier timestamps are old.
    older_than: Timestamp,
}

/// Asks for confirmation, by the number of segments: that is not typed by habit.
fn confirm(report: &Expiring, context: &Context) -> Result<(), CliError> {
    context.output.step(report)?;
    let counted = human::counted(report.segments, "segment");
    let records = human::counted(report.records, "record");
    let question = format!("this expires {counted} with {records}");
    context.confirm(&question, &counted)
}

impl Args {
    /// Returns the moment before which records are old.
    fn moment(&self, now: Timestamp) -> Result<Timestamp, CliError> {
        let now = now.to_zoned_datetime(TimeZone::UTC);
        let moment = now.checked_sub(self.older_than);
        let moment = moment.map(|moment| moment.timestamp());
        moment.map_err(|error| {
            let span = self.older_than;
            CliError::usage(format!("{span:#} ago is before all dates")).caused_by(error)
        })
    }

    /// Returns the plan, and when the last backup was made.
    async fn plan(
        &self,
        repository: &Repository,
        moments: Moments,
    ) -> Result<(ExpiryPlan, Option<Timestamp>), CliError> {
        let Some(newest) = repository.latest_to_change().await? else {
            return Ok((ExpiryPlan::default(), None));
        };
        let selection = self.topics.selection();
        let chosen = selection.select_every(newest.topics.iter())?;
        let topics = newest
            .topics
            .iter()
            .filter(|topic| chosen.contains(&(topic.name.clone(), topic.topic_id)));
        let ages = Ages {
            older_than: moments.older_than.as_millisecond(),
            now: moments.now.as_millisecond(),
        };
        let plan = retention::plan_expiry(repository, &newest, topics, ages, self.compacted);
        Ok((plan.await?, Some(newest.created_at)))
    }

    /// Refuses to expire everything there was: more likely, the clock of this machine is wrong.
    fn check_clock(&self, moments: Moments, last_backup: Timestamp) -> Result<(), CliError> {
        let Moments { now, older_than } = moments;
        let (made, clock) = (human::moment(last_backup), human::moment(now));
        if last_backup > now {
            tracing::warn!(
                "the last backup is of {made}, and this machine's clock says {clock}: if it is behind, less expires than should"
            );
        }
        if self.allow_old_backup || last_backup >= older_than {
            return Ok(());
        }
        let span = self.older_than;
        let message = format!(
            "nothing was expired: by this machine's clock, which says {clock}, the last backup, of {made}, is older than {span:#} itself, so that \
             nothing of it would remain"
        );
        let hint = "check the clock; if all of it is to go, give --allow-old-backup";
        Err(CliError::new(message).hint(hint))
    }

    fn report(&self, plan: &ExpiryPlan, moments: Moments) -> Expiring {
        let sum = |of: fn(&ExpiryRow) -> u64| {
            let rows = plan.rows.iter().map(of);
            rows.fold(0, u64::saturating_add)
        };
        let kept = || plan.rows.iter().filter_map(|row| row.kept.as_ref());
        Expiring {
            dry_run: self.dry_run,
            policy: self.in_words(),
            older_than: moments.older_than,
            segments: sum(|row| row.segments),
            records: sum(|row| row.records),
            bytes: sum(|row| row.bytes),
            snapshot: None,
            older_snapshots: 0,
            compacted_topics: plan.compacted.clone(),
            keep_older: kept().count() as u64,
            keep_forever: kept().filter(|kept| kept.because.is_lasting()).count() as u64,
            partitions: plan.rows.clone(),
        }
    }

    /// Returns the options as they were given.
    fn in_words(&self) -> String {
        let mut words = vec![format!("--older-than {:#}", self.older_than)];
        let TopicArgs { topic, exclude } = &self.topics;
        words.extend(topic.iter().map(|pattern| format!("--topic {pattern}")));
        words.extend(exclude.iter().map(|pattern| format!("--exclude {pattern}")));
        words.extend(self.compacted.then(|| "--compacted".to_owned()));
        words.extend(
            self.allow_old_backup
                .then(|| "--allow-old-backup".to_owned()),
        );
        words.join(" ")
    }
}

/// Partitions whose older records are kept that are shown to people; JSON has all.
const MOST_KEPT: usize = 20;

impl Expiring {
    fn outcome(&self) -> Outcome {
        Outcome::clean_if(self.keep_forever == 0)
    }

    fn summary(&self) -> String {
        let moment = human::moment(self.older_than);
        let (segments, records, bytes) = (
            human::counted(self.segments, "segment"),
            human::counted(self.records, "record"),
            human::bytes(self.bytes),
        );
        let what = format!("{segments} with {records} from before {moment}, {bytes}");
        let done = match (self.dry_run, self.snapshot) {
            _ if self.segments == 0 => {
                format!(
                    "nothing to expire: no segment that can go has only records from before {moment}"
                )
            }
            (true, _) => format!("would expire {what}"),
            (false, Some(snapshot)) => format!("expired {what} (recorded in snapshot {snapshot})"),
            (false, None) => format!("to expire: {what}"),
        };
        let partitions = |number| human::counted(number, "partition");
        match (self.keep_forever, self.keep_older - self.keep_forever) {
            (0, 0) => done,
            (0, older) => format!("{done}; older ones in {} stay for now", partitions(older)),
            (forever, _) => format!(
                "{done}; older ones in {} will not expire",
                partitions(forever)
            ),
        }
    }

    /// Returns a row per topic of which something expires.
    fn topics(&self) -> Vec<[String; 8]> {
        let rows: Vec<&ExpiryRow> = self
            .partitions
            .iter()
            .filter(|it| it.segments > 0)
            .collect();
        let topics = rows.chunk_by(|a, b| (&a.topic, &a.topic_id) == (&b.topic, &b.topic_id));
        topics.map(topic_cells).collect()
    }
}

impl Report for Expiring {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Right("PARTITIONS"),
            Column::Right("SEGMENTS"),
            Column::Right("RECORDS"),
            Column::Right("STORED"),
            Column::Left("OLDEST"),
            Column::Left("NEWEST"),
            Column::Right("RECORDS LEFT"),
        ]);
        for row in self.topics() {
            table.row(row);
        }
        table.write(out)?;
        let kept: Vec<String> = self.partitions.iter().filter_map(kept_in_words).collect();
        for line in kept.iter().take(MOST_KEPT) {
            writeln!(out, "{line}")?;
        }
        if kept.len() > MOST_KEPT {
            let more = (kept.len() - MOST_KEPT) as u64;
            writeln!(
                out,
                "and {} more: --json lists them",
                human::counted(more, "partition")
            )?;
        }
        if self.keep_older > self.keep_forever {
            writeln!(
                out,
                "a segment stays until its newest record is old, and so does what follows it: --json says which"
            )?;
        }
        if !self.compacted_topics.is_empty() {
            let topics = human::some_of(&self.compacted_topics);
            writeln!(out, "left out, since they are compacted: {topics}")?;
        }
        if self.snapshot.is_some() && self.older_snapshots > 0 {
            let older = human::counted(self.older_snapshots, "older snapshot");
            writeln!(
                out,
                "{older} may still have the records: `kbk forget`, then `kbk prune`, deletes them"
            )?;
        }
        Ok(())
    }
}

/// Names the history of a topic that a partition is of.
fn history(row: &ExpiryRow) -> String {
    super::history_name(&row.topic, &row.topic_id, row.deleted)
}

/// Returns the cells of partitions of one topic.
fn topic_cells(rows: &[&ExpiryRow]) -> [String; 8] {
    let sum = |of: fn(&ExpiryRow) -> u64| {
        let rows = rows.iter().map(|row| of(row));
        rows.fold(0, u64::saturating_add)
    };
    let times = (
        // One that is not known makes the oldest of all unknown.
        rows.iter()
            .filter(|row| row.max_timestamp.is_some())
            .map(|row| row.min_timestamp)
            .min()
            .flatten(),
        rows.iter().filter_map(|row| row.max_timestamp).max(),
    );
    let [oldest, newest] = super::times(times);
    [
        rows.first().map_or_else(String::new, |row| history(row)),
        human::count(rows.len() as u64),
        human::count(sum(|row| row.segments)),
        human::count(sum(|row| row.records)),
        human::bytes(sum(|row| row.bytes)),
        oldest,
        newest,
        human::count(sum(|row| row.remaining_records)),
    ]
}

/// Says why a partition keeps older records that no later run will expire either; `None` where it does not.
fn kept_in_words(row: &ExpiryRow) -> Option<String> {
    let kept = row.kept.as_ref()?;
    let time = human::timestamp_ms(kept.max_timestamp);
    let because = match kept.because {
        // That is so of most partitions that are written to.
        KeptBecause::YoungerRecords => return None,
        KeptBecause::FutureRecords => {
            format!("their newest record is of {time}, which is in the future by this machine's clock")
        }
        KeptBecause::NoTimestamps => {
            "none of their records has a timestamp, so that nobody knows how old they are".to_owned()
        }
        KeptBecause::Unreadable => {
            "the last record cannot be read, and backups need it to continue the partition: `kbk verify` says what is damaged".to_owned()
        }
    };
    let (topic, partition) = (history(row), row.partition);
    let offsets = kept.offsets;
    Some(format!(
        "{topic}/{partition}: {offsets} stay, and what follows them: {because}"
    ))
}
