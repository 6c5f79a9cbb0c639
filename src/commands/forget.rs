//! `kbk forget`: forgets snapshots, by a policy or by number.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::ArgGroup;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use kbk_format::repo::Upkeep;
use kbk_tools::retention::{self, Policy, RetentionPlan, RetentionRow};
use serde::Serialize;

use super::prune::{self, PruneReport};
use crate::cli::{CliError, Column, Context, Outcome, Report, SnapshotArg, Table, time};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk forget -r /backup/kafka --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  kbk forget -r /backup/kafka --keep-within 30d --keep-last 3 --yes
  kbk forget -r /backup/kafka --keep-daily 14 --time-zone Europe/Berlin --prune --yes
  kbk forget 3 4 -r /backup/kafka --dry-run

A snapshot that any --keep option keeps is kept. --keep-daily 7 keeps the last snapshot of each of
the last 7 days that have one, in the time zone of this machine or of --time-zone; while the
count is not used up, the oldest snapshot as well. Always kept are the newest snapshot and the
newest complete one; of one day (or hour, or week) a complete one is kept rather than a later
partial one. Kept as well are snapshots that cannot be read, and those that an unfinished
restore reads.
Records of the newest snapshot are never affected: it has those of all older ones, but for what
`kbk expire` removed. What an expiry leaves of a backup takes its place in a period.
A forgotten snapshot cannot be had back. What only it needs stays until `kbk prune` deletes it.";

/// The arguments of `kbk forget`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args([
    "snapshots", "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within",
]))]
pub struct Args {
    /// Forget these snapshots
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = [
        "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within", "time_zone",
    ])]
    pub snapshots: Vec<SnapshotArg>,

    /// Keep the last N snapshots
    #[arg(long, value_name = "N", value_parser = count())]
    pub keep_last: Option<u64>,

    /// Keep the last snapshot of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = count())]
    pub keep_hourly: Option<u64>,

    /// Keep the last snapshot of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = count())]
    pub keep_daily: Option<u64>,

    /// Keep the last snapshot of each of the last N weeks that have one; they begin on Monday
    #[arg(long, value_name = "N", value_parser = count())]
    pub keep_weekly: Option<u64>,

    /// Keep the last snapshot of each of the last N months that have one
    #[arg(long, value_name = "N", value_parser = count())]
    pub keep_monthly: Option<u64>,

    /// Keep the last snapshot of each of the last N years that have one
    #[arg(long, value_name = "N", value_parser = count())]
    pub keep_yearly: Option<u64>,

    /// Keep every snapshot that is not older than the newest by more than this, for example 30d or 1y6mo
    #[arg(long, value_name = "SPAN", value_parser = time::parse_span)]
    pub keep_within: Option<Span>,

    /// Where hours, days, weeks, months and years begin, for example Europe/Berlin; the time zone of this machine is the default
    #[arg(long, value_name = "NAME", value_parser = time::parse_zone)]
    pub time_zone: Option<TimeZone>,

    /// Only say what would be forgotten
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,

    /// Prune afterwards, as `kbk prune` does
    #[arg(long)]
    pub prune: bool,
}

fn count() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..)
}

/// What was forgotten, or would be.
#[derive(Debug, Serialize)]
struct Forgetting {
    /// Whether nothing was changed.
    dry_run: bool,
    /// The --keep options; null where snapshots were named.
    policy: Option<String>,
    /// Where days and the like begin; null where snapshots were named.
    time_zone: Option<String>,
    /// Number of snapshots that are kept.
    kept: u64,
    /// Number of snapshots that are forgotten.
    forgotten: u64,
    /// The snapshot that records it, and holds what the newest one before it holds; null where nothing was recorded.
    snapshot: Option<u64>,
    /// All snapshots that there were, ascending.
    snapshots: Vec<RetentionRow>,
    /// What --prune did; null without it.
    prune: Option<PruneReport>,
}

/// Forgets what the policy does not keep, or the snapshots that are named.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let named = args.named()?;
    let policy = args.policy()?;
    let repository = super::repository(context).await?;
    let plan = match &named {
        Some(sequences) => retention::plan_snapshots(&repository, sequences).await,
        None => retention::plan_policy(&repository, &policy).await,
    };
    let plan = plan?;
    let mut report = args.report(&plan, named.is_none().then_some(&policy));
    if args.dry_run {
        if args.prune {
            let grace = prune::DEFAULT_GRACE;
            report.prune = Some(prune::would_prune(&repository, grace).await?);
        }
        return context.conclude(&report, report.outcome());
    }
    if !args.yes && report.forgotten > 0 {
        confirm(&report, context)?;
    }
    let upkeep = Upkeep {
        command: "forget".to_owned(),
        detail: report.request(),
        writer: super::writer(),
        now: Timestamp::now(),
    };
    report.snapshot = repository.forget(&plan.forget, &upkeep).await?.snapshot;
    if args.prune {
        report.prune = Some(prune::prune(&repository, prune::DEFAULT_GRACE).await?);
    }
    context.conclude(&report, report.outcome())
}

/// Asks for confirmation, by the number of snapshots: that is not typed by habit.
fn confirm(report: &Forgetting, context: &Context) -> Result<(), CliError> {
    context.output.step(report)?;
    let counted = human::counted(report.forgotten, "snapshot");
    let question = format!("this forgets {counted}, which cannot be had back");
    context.confirm(&question, &counted)
}

impl Args {
    /// Returns whether snapshots are kept by days or the like.
    pub(super) fn uses_time_zone(&self) -> bool {
        let counts = [
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        self.keep_within.is_some() || counts.iter().any(Option::is_some)
    }

    /// Returns the snapshots that are named; `None` where there are none.
    fn named(&self) -> Result<Option<BTreeSet<u64>>, CliError> {
        let numbers = self.snapshots.iter().map(|snapshot| match snapshot {
            SnapshotArg::Number(number) => Ok(*number),
            SnapshotArg::Latest => Err(CliError::usage(
                "cannot forget the latest snapshot: it is what the next backup continues",
            )
            .hint("give the numbers of older ones (`kbk snapshots` lists them)")),
        });
        let numbers: BTreeSet<u64> = numbers.collect::<Result<_, _>>()?;
        Ok((!numbers.is_empty()).then_some(numbers))
    }

    fn policy(&self) -> Result<Policy, CliError> {
        let zone = match &self.time_zone {
            Some(zone) => zone.clone(),
            None => time::system_zone()?,
        };
        Ok(Policy {
            last: self.keep_last.unwrap_or(0),
            hourly: self.keep_hourly.unwrap_or(0),
            daily: self.keep_daily.unwrap_or(0),
            weekly: self.keep_weekly.unwrap_or(0),
            monthly: self.keep_monthly.unwrap_or(0),
            yearly: self.keep_yearly.unwrap_or(0),
            within: self.keep_within,
            zone,
        })
    }

    fn report(&self, plan: &RetentionPlan, policy: Option<&Policy>) -> Forgetting {
        let kept = plan.rows.iter().filter(|row| row.keep).count() as u64;
        let zone = policy.map(|policy| &policy.zone);
        let named = zone.map(|zone| {
            zone.iana_name()
                .unwrap_or("a zone without a name")
                .to_owned()
        });
        Forgetting {
            dry_run: self.dry_run,
            policy: policy.map(|_| self.in_words()),
            time_zone: named,
            kept,
            forgotten: plan.rows.len() as u64 - kept,
            snapshot: None,
            snapshots: plan.rows.clone(),
            prune: None,
        }
    }

    /// Returns the --keep options as they were given.
    fn in_words(&self) -> String {
        let counts = [
            ("last", self.keep_last),
            ("hourly", self.keep_hourly),
            ("daily", self.keep_daily),
            ("weekly", self.keep_weekly),
            ("monthly", self.keep_monthly),
            ("yearly", self.keep_yearly),
        ];
        let counts = counts.iter().filter_map(|(name, count)| {
            let count = (*count)?;
            Some(format!("--keep-{name} {count}"))
        });
        let within = self
            .keep_within
            .map(|span| format!("--keep-within {span:#}"));
        counts.chain(within).collect::<Vec<_>>().join(" ")
    }
}

impl Forgetting {
    /// A snapshot that cannot be read is a finding: nobody knows how old it is.
    fn outcome(&self) -> Outcome {
        let readable = |row: &RetentionRow| row.created_at.is_some() || !row.keep;
        Outcome::clean_if(self.snapshots.iter().all(readable))
    }

    /// Returns what was asked for, for the snapshot that records it.
    fn request(&self) -> String {
        match &self.policy {
            Some(policy) => policy.clone(),
            None => {
                let forgotten = self.snapshots.iter().filter(|row| !row.keep);
                let numbers = forgotten.map(|row| row.sequence.to_string());
                numbers.collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn summary(&self) -> String {
        let (kept, forgotten) = (self.kept, human::counted(self.forgotten, "snapshot"));
        let done = match (self.dry_run, self.snapshot) {
            _ if self.forgotten == 0 => {
                let kept = human::counted(kept, "snapshot");
                format!("nothing to forget: {kept} kept")
            }
            (true, _) => format!("would forget {forgotten} and keep {kept}"),
            (false, Some(snapshot)) => {
                format!("forgot {forgotten} and kept {kept} (recorded in snapshot {snapshot})")
            }
            (false, None) => format!("to forget: {forgotten}; to keep: {kept}"),
        };
        let zone = match &self.time_zone {
            Some(zone) => format!("; days and the like are those of {zone}"),
            None => String::new(),
        };
        done + &zone
    }
}

impl Report for Forgetting {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let mut table = Table::new([
            Column::Right("SNAPSHOT"),
            Column::Left("STATE"),
            Column::Left("CREATED"),
            Column::Right("AGE"),
            Column::Left("ACTION"),
            Column::Left("REASONS"),
        ]);
        let now = Timestamp::now();
        for row in &self.snapshots {
            table.row(cells(row, now));
        }
        table.write(out)?;
        match &self.prune {
            Some(prune) => prune.human(out),
            None if self.snapshot.is_some() => {
                writeln!(out, "`kbk prune` deletes what only they needed")
            }
            None => Ok(()),
        }
    }
}

fn cells(row: &RetentionRow, now: Timestamp) -> [String; 6] {
    let state = match row.complete {
        None => "damaged",
        Some(true) => "complete",
        Some(false) => "partial",
    };
    let action = if row.keep { "keep" } else { "forget" };
    let mut reasons = row.reasons.clone();
    reasons.extend(row.same_as.map(|same| format!("holds the same as {same}")));
    let known = |show: &dyn Fn(Timestamp) -> String| row.created_at.map_or_else(String::new, show);
    [
        row.sequence.to_string(),
        state.to_owned(),
        known(&human::moment),
        known(&|at| human::age_of(at, now)),
        action.to_owned(),
        reasons.join(", "),
    ]
}
