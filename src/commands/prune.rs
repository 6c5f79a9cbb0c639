//! `kbk prune`: deletes what no snapshot needs.

use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    ClaimedTopic, ForeignFiles, MarkedObjects, ObjectCount, PruneOptions, PrunePlan, Pruned,
    RepoError, RepoErrorKind, Repository, Upkeep,
};
use kbk_tools::claims::{self, ListedClaim, Running};
use serde::Serialize;

use crate::cli::{CliError, Context, Outcome, Report, time};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk prune -r /backup/kafka --dry-run
  kbk prune -r /backup/kafka

Deletes in two phases, so that backups, restores and mounts may run meanwhile: a run lists the
objects that no snapshot needs and that have been in the repository for the grace period; a run
that comes later than the grace period deletes them. So prune again and again, for example every
day with --grace 20h. A restore or a mount of a snapshot that was forgotten under it has as long
to finish.
--grace 0s deletes at once: only where nothing else uses the repository.";

/// How long objects stay by default.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_hours(24);

/// Plans that are made before other runs that prune are left alone.
const TRIES: u32 = 3;

/// The arguments of `kbk prune`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How long what is not needed stays before it is listed, and again before it is deleted
    #[arg(long, value_name = "SPAN", value_parser = time::parse_duration, default_value = "24h")]
    pub grace: Duration,

    /// Only say what would be deleted, and what listed
    #[arg(long)]
    pub dry_run: bool,
}

/// What was deleted, what will be, and what stays.
#[derive(Debug, Serialize)]
pub(super) struct PruneReport {
    /// Whether nothing was changed.
    dry_run: bool,
    /// What --grace allows.
    grace_seconds: u64,
    /// What this run deleted.
    deleted: Objects,
    /// What is listed: a run at `due_at` or later deletes it.
    marked: Objects,
    /// When what is listed may be deleted; null where nothing is listed.
    due_at: Option<Timestamp>,
    /// What no snapshot needs either, and a later run lists: an earlier list has to be worked off first.
    waiting: Objects,
    /// What no snapshot names, and is younger than the grace period: it may belong to a backup that runs now.
    young: Objects,
    /// What no snapshot names, and belongs to topics that a running backup has claimed.
    claimed: Objects,
    /// Segments that an interrupted `kbk copy` left, and the next one uses.
    copied: Objects,
    /// What snapshots need.
    needed: Objects,
    /// Forgotten snapshots whose objects an interrupted run had left, and this one removed.
    removed_snapshots: Vec<u64>,
    /// Number of files among the objects of the repository that are none, and stay. Only a local disk is looked at.
    foreign_files: u64,
    /// The first of their names.
    foreign_names: Vec<String>,
}

/// A number of objects.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Objects {
    /// How many.
    objects: u64,
    /// Their bytes.
    bytes: u64,
}

impl From<ObjectCount> for Objects {
    fn from(count: ObjectCount) -> Objects {
        Objects {
            objects: count.objects,
            bytes: count.bytes,
        }
    }
}

impl Objects {
    fn plus(self, other: Objects) -> Objects {
        Objects {
            objects: self.objects + other.objects,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn in_words(self) -> String {
        let objects = human::counted(self.objects, "object");
        format!("{objects}, {}", human::bytes(self.bytes))
    }
}

/// Prunes once.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let report = match args.dry_run {
        true => would_prune(&repository, args.grace).await,
        false => prune(&repository, args.grace).await,
    };
    context.conclude(&report?, Outcome::Clean)
}

/// Says what a prune would do now.
pub(super) async fn would_prune(
    repository: &Repository,
    grace: Duration,
) -> Result<PruneReport, RepoError> {
    let plan = repository
        .plan_prune(&options(repository, grace).await?)
        .await?;
    let unneeded: ObjectCount = plan.unneeded.iter().map(|object| object.bytes).collect();
    let listed = plan.marked.as_ref().map(MarkedObjects::count);
    let foreign = repository.foreign_files().await?;
    let mut report = PruneReport::of(&plan, foreign, grace);
    report.dry_run = true;
    report.removed_snapshots.clone_from(&plan.snapshots);
    let begins = match &plan.marked {
        Some(marked) if !marked.is_due => {
            report.marked = marked.count().into();
            report.due_at = Some(marked.due_at);
            false
        }
        _ => true,
    };
    if begins {
        report.deleted = listed.unwrap_or_default().into();
        match grace.is_zero() {
            true => report.deleted = report.deleted.plus(unneeded.into()),
            false => report.mark(unneeded, grace),
        }
    }
    Ok(report)
}

/// Prunes, and plans again where another run was faster.
pub(super) async fn prune(
    repository: &Repository,
    grace: Duration,
) -> Result<PruneReport, RepoError> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let options = options(repository, grace).await?;
        let plan = repository.plan_prune(&options).await?;
        let foreign = repository.foreign_files().await?;
        let mut report = PruneReport::of(&plan, foreign, grace);
        let upkeep = Upkeep {
            command: "prune".to_owned(),
            detail: format!("--grace {}", human::age(grace)),
            writer: super::writer(),
            now: options.now,
        };
        match repository.prune(plan, &upkeep).await {
            Ok(pruned) => {
                report.did(pruned);
                return Ok(report);
            }
            Err(error) if *error.kind() == RepoErrorKind::Outdated && tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

async fn options(repository: &Repository, grace: Duration) -> Result<PruneOptions, RepoError> {
    let claims = claims::list(repository).await?;
    // Those of processes that have certainly ended protect nothing: what they left is as old as it looks.
    let running = claims.iter().filter(|claim| claim.running != Running::No);
    Ok(PruneOptions {
        grace,
        now: Timestamp::now(),
        claims: running.map(claimed).collect(),
    })
}

/// Returns the topics of a claim; `None` for everything, also where it cannot be read.
fn claimed(claim: &ListedClaim) -> Option<Vec<ClaimedTopic>> {
    let topics = claim.topics.as_ref()?.iter();
    let topics = topics.map(|topic| {
        Some(ClaimedTopic {
            topic: topic.parse().ok()?,
            partitions: None,
        })
    });
    topics.collect()
}

impl PruneReport {
    /// Creates the report of a run that has changed nothing yet.
    fn of(plan: &PrunePlan, foreign: ForeignFiles, grace: Duration) -> PruneReport {
        let unneeded: ObjectCount = plan.unneeded.iter().map(|object| object.bytes).collect();
        let waits = plan.marked.as_ref().is_some_and(|marked| !marked.is_due);
        let waiting = if waits {
            unneeded
        } else {
            ObjectCount::default()
        };
        PruneReport {
            dry_run: false,
            grace_seconds: grace.as_secs(),
            deleted: Objects::default(),
            marked: Objects::default(),
            due_at: None,
            waiting: Objects::from(waiting).plus(plan.left.into()),
            young: plan.young.into(),
            claimed: plan.claimed.into(),
            copied: plan.copied.into(),
            needed: plan.needed.into(),
            removed_snapshots: Vec::new(),
            foreign_files: foreign.files,
            foreign_names: foreign.names,
        }
    }

    fn did(&mut self, pruned: Pruned) {
        self.deleted = pruned.deleted.into();
        self.marked = pruned.marked.into();
        self.due_at = pruned.due_at;
        self.removed_snapshots = pruned.snapshots;
    }

    fn mark(&mut self, unneeded: ObjectCount, grace: Duration) {
        self.marked = unneeded.into();
        if unneeded.objects > 0 {
            self.due_at = Timestamp::now().checked_add(grace).ok();
        }
    }
}

impl Report for PruneReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (would, may) = match self.dry_run {
            true => ("would delete", "would be listed, and deleted"),
            false => ("deleted", "are listed, and deleted"),
        };
        if self.deleted.objects == 0 && self.marked.objects == 0 {
            writeln!(
                out,
                "nothing to prune: snapshots need {}",
                self.needed.in_words()
            )?;
        } else {
            writeln!(
                out,
                "{would} {}; snapshots need {}",
                self.deleted.in_words(),
                self.needed.in_words()
            )?;
        }
        if let Some(due_at) = self.due_at {
            writeln!(
                out,
                "{} {may} by a `kbk prune` at {} or later",
                self.marked.in_words(),
                human::moment(due_at)
            )?;
        }
        let young = format!(
            "are named by no snapshot and younger than the grace period of {}: a `kbk prune` lists what is older. Until then they may belong to a backup or copy that runs now, or one that was interrupted left them for the next one",
            human::age(Duration::from_secs(self.grace_seconds))
        );
        let rest = [
            (
                self.waiting,
                "are not needed either: a later `kbk prune` lists them",
            ),
            (self.young, &young),
            (
                self.claimed,
                "are named by no snapshot and belong to topics that a running backup or copy has claimed",
            ),
            (
                self.copied,
                "are named by no snapshot and were left by an interrupted `kbk copy`: the next one uses them",
            ),
        ];
        for (objects, why) in rest.iter().filter(|(objects, _)| objects.objects > 0) {
            writeln!(out, "{} {why}", objects.in_words())?;
        }
        super::write_foreign(self.foreign_files, &self.foreign_names, out)
    }
}
