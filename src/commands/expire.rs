//! `kbk expire`: removes old records from the newest snapshot, by whole segments.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use kbk_format::repo::{RepoErrorKind, Repository, Upkeep};
use kbk_tools::retention::{self, ExpiryPlan, ExpiryRow, KeptBecause};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table, TopicArgs, time};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk expire -r /backup/kafka --older-than 90d --dry-run
  kbk expire -r /backup/kafka --older-than 1y --topic orders --yes

Of each partition, the first segments go whose records are all older: a segment with one younger
record stays, and so do those after it. The largest timestamp of a segment counts; a segment in
which no record has a timestamp stays. Topics that the cluster has deleted are included.
Compacted topics stay as they are without --compacted: of these, the last record of a key counts
however old it is.
The new snapshot says what was expired, and no command calls it lost. Backups continue where they
were. Older snapshots still have the records: `kbk forget` them, then `kbk prune`.
What was expired cannot be had back after that.";

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
    /// The partitions of which something is expired, or that keep older records.
    partitions: Vec<ExpiryRow>,
}

/// Expires what is old.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let older_than = args.moment(Timestamp::now())?;
    let mut plan = args.plan(&repository, older_than).await?;
    let mut report = args.report(&plan, older_than);
    report.older_snapshots = repository.sequences().await?.len() as u64;
    if args.dry_run || report.segments == 0 {
        return context.conclude(&report, Outcome::Clean);
    }
    if !args.yes {
        confirm(&report, context)?;
    }
    let upkeep = Upkeep {
        command: "expire".to_owned(),
        detail: report.policy.clone(),
        writer: super::writer(),
        now: Timestamp::now(),
    };
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match repository.expire(&plan.partitions, &upkeep).await {
            Ok(snapshot) => {
                report = args.report(&plan, older_than);
                report.snapshot = snapshot;
                break;
            }
            Err(error) if *error.kind() == RepoErrorKind::Outdated && tries > 0 => {}
            Err(error) => return Err(error.into()),
        }
        plan = args.plan(&repository, older_than).await?;
    }
    let sequences = repository.sequences().await?.into_iter();
    let older = sequences.filter(|sequence| report.snapshot.is_none_or(|new| *sequence < new));
    report.older_snapshots = older.count() as u64;
    context.conclude(&report, Outcome::Clean)
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

    async fn plan(
        &self,
        repository: &Repository,
        older_than: Timestamp,
    ) -> Result<ExpiryPlan, CliError> {
        let Some(newest) = repository.latest().await? else {
            return Ok(ExpiryPlan::default());
        };
        let selection = self.topics.selection();
        let chosen = selection.select_every(newest.topics.iter())?;
        let topics = newest
            .topics
            .iter()
            .filter(|topic| chosen.contains(&(topic.name.clone(), topic.topic_id)));
        let older_than = older_than.as_millisecond();
        let plan =
            retention::plan_expiry(repository, &newest, topics, older_than, self.compacted).await?;
        Ok(plan)
    }

    fn report(&self, plan: &ExpiryPlan, older_than: Timestamp) -> Expiring {
        let sum = |of: fn(&ExpiryRow) -> u64| {
            let rows = plan.rows.iter().map(of);
            rows.fold(0, u64::saturating_add)
        };
        Expiring {
            dry_run: self.dry_run,
            policy: self.in_words(),
            older_than,
            segments: sum(|row| row.segments),
            records: sum(|row| row.records),
            bytes: sum(|row| row.bytes),
            snapshot: None,
            older_snapshots: 0,
            compacted_topics: plan.compacted.clone(),
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
        words.join(" ")
    }
}

impl Expiring {
    fn summary(&self) -> String {
        let moment = human::moment(self.older_than);
        if self.segments == 0 {
            return format!("nothing to expire: no segment has only records from before {moment}");
        }
        let (segments, records, bytes) = (
            human::counted(self.segments, "segment"),
            human::counted(self.records, "record"),
            human::bytes(self.bytes),
        );
        let what = format!("{segments} with {records} from before {moment}, {bytes}");
        match (self.dry_run, self.snapshot) {
            (true, _) => format!("would expire {what}"),
            (false, Some(snapshot)) => format!("expired {what}, as snapshot {snapshot} records"),
            (false, None) => format!("to expire: {what}"),
        }
    }
}

impl Report for Expiring {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let mut table = Table::new([
            Column::Left("TOPIC/PARTITION"),
            Column::Left("OFFSETS"),
            Column::Right("SEGMENTS"),
            Column::Right("RECORDS"),
            Column::Right("STORED"),
            Column::Right("RECORDS LEFT"),
            Column::Left("OLDER ONES ARE KEPT, SINCE"),
        ]);
        for row in &self.partitions {
            table.row(cells(row));
        }
        table.write(out)?;
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

fn cells(row: &ExpiryRow) -> [String; 7] {
    let kept = match row.kept {
        None => "",
        Some(KeptBecause::YoungerRecords) => "younger records are in their segment or before it",
        Some(KeptBecause::NoTimestamps) => "a segment has no timestamps",
    };
    [
        format!("{}/{}", row.topic, row.partition),
        row.offsets.map_or_else(String::new, |offsets| {
            format!("{} to {}", offsets.base_offset, offsets.end_offset - 1)
        }),
        human::count(row.segments),
        human::count(row.records),
        human::bytes(row.bytes),
        human::count(row.remaining_records),
        kept.to_owned(),
    ]
}
