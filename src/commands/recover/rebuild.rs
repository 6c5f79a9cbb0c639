//! `kbk recover --rebuild`: a new snapshot of the segments alone.

use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{LostIdentity, Repository, Store};
use kbk_tools::claims::{self, ClaimEvent, ClaimEvents, ClaimRequest, HeldClaim};
use kbk_tools::list::{Completeness, IncompletePartition};
use kbk_tools::recover::{
    Fate, MissingTotals, ObjectRow, PartitionRebuild, RebuildError, RebuildOptions, RebuildPlan,
    RebuildReport, RecoverEvents, plan_rebuild, rebuild,
};
use serde::Serialize;

use super::Args;
use super::repository::{Progress, SHOWN, more};
use crate::cli::{CliError, Column, Context, Outcome, OutputFile, Report, Table};
use crate::commands;
use crate::commands::history_names::HistoryNames;
use crate::human;

/// What was rebuilt, or would be.
#[derive(Debug, Serialize)]
struct Rebuilding {
    /// Whether nothing was changed.
    dry_run: bool,
    #[serde(flatten)]
    report: RebuildReport,
    /// Whether no partition of the new snapshot lacks records; null where none was committed.
    complete: Option<bool>,
    /// The partitions that do.
    incomplete: Vec<IncompletePartition>,
    #[serde(skip)]
    partial: Option<String>,
}

/// Rebuilds, and prints what was done.
pub(super) async fn run(
    args: &Args,
    report_file: Option<OutputFile>,
    context: &Context,
) -> Result<Outcome, CliError> {
    let store = Store::open_at(&context.location()?)?;
    let (repository, lost) = Repository::open_without_identity(store).await?;
    let claim = match args.dry_run {
        true => None,
        false => match claim(&repository, context).await? {
            Some(held) => Some(held),
            None => return interrupted(context),
        },
    };
    let planned = plan(&repository, lost, context).await;
    let done = match planned {
        Ok(plan) => apply(args, &repository, &plan, claim.as_ref(), context).await,
        Err(error) => Err(failed(error)),
    };
    if let Some(claim) = claim {
        claim.release().await;
    }
    let done = done?;
    if let Some(file) = report_file {
        super::Saved::new(&repository, Timestamp::now(), &done).save(file)?;
    }
    let outcome = match done.report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(done.report.is_lossless()),
    };
    context.conclude(&done, outcome)
}

/// Claims everything: what a backup writes meanwhile would be adopted, and its commit would fail.
async fn claim(repository: &Repository, context: &Context) -> Result<Option<HeldClaim>, CliError> {
    let request = ClaimRequest {
        command: "recover --rebuild".to_owned(),
        writer: commands::writer(),
        topics: None,
        can_select: false,
    };
    let events: Arc<dyn ClaimEvents> = Arc::new(log);
    let stop = context.cancel.cancelled();
    Ok(claims::claim(repository, request, stop, events).await?)
}

fn log(event: &ClaimEvent) {
    if event.is_warning() {
        tracing::warn!("{event}");
    } else {
        tracing::info!("{event}");
    }
}

fn interrupted(context: &Context) -> Result<Outcome, CliError> {
    let done = Rebuilding {
        dry_run: false,
        report: RebuildReport {
            interrupted: true,
            ..RebuildReport::default()
        },
        complete: None,
        incomplete: Vec::new(),
        partial: None,
    };
    context.conclude(&done, Outcome::Interrupted)
}

async fn plan(
    repository: &Repository,
    lost: Option<LostIdentity>,
    context: &Context,
) -> Result<RebuildPlan, RebuildError> {
    let progress = Arc::new(Progress::start(context, "reading", false));
    let events: Arc<dyn RecoverEvents> = Arc::clone(&progress) as _;
    plan_rebuild(repository, lost, &events).await
}

/// Applies a plan, once what is lost by it was confirmed.
async fn apply(
    args: &Args,
    repository: &Repository,
    plan: &RebuildPlan,
    claim: Option<&HeldClaim>,
    context: &Context,
) -> Result<Rebuilding, CliError> {
    let planned = Rebuilding {
        dry_run: true,
        report: plan.report().clone(),
        complete: None,
        incomplete: Vec::new(),
        partial: None,
    };
    let Some(claim) = claim else {
        return Ok(planned);
    };
    let report = &planned.report;
    if !report.interrupted {
        plan.check(args.abandon_unread).map_err(failed)?;
    }
    if !args.yes && !report.is_lossless() && !report.interrupted {
        context.output.step(&planned)?;
        let lost = human::counted(report.stated_lost_offsets, "offset");
        let unusable = human::counted(report.unusable(), "object");
        let question = format!("this states that {lost} are lost, and leaves {unusable} out");
        context.confirm(&question, &lost)?;
    }
    claim.check().await?;
    let progress = Arc::new(Progress::start(context, "rebuilding", false));
    let events: Arc<dyn RecoverEvents> = Arc::clone(&progress) as _;
    let options = RebuildOptions {
        writer: commands::writer(),
        policy: match args.abandon_unread {
            true => "--rebuild --abandon-unread".to_owned(),
            false => "--rebuild".to_owned(),
        },
        now: Timestamp::now(),
        abandons_unread: args.abandon_unread,
    };
    let rebuilt = claim
        .unless_lost(rebuild(repository, plan, &options, &events))
        .await;
    drop((events, progress));
    let report = rebuilt?.map_err(failed)?;
    let completeness = match report.snapshot {
        Some(sequence) => {
            let snapshot = repository.snapshot(sequence).await?;
            Some(Completeness::of(&snapshot))
        }
        None => None,
    };
    Ok(Rebuilding {
        dry_run: false,
        report,
        complete: completeness.as_ref().map(|it| it.complete),
        partial: completeness.as_ref().and_then(Completeness::statement),
        incomplete: completeness.map_or_else(Vec::new, |it| it.incomplete),
    })
}

fn failed(error: RebuildError) -> CliError {
    match error {
        RebuildError::Repo(error) => error.into(),
        error @ RebuildError::Intact { .. } => CliError::from(error).hint(
            "`kbk verify` finds damaged and missing segments, `kbk recover` without --rebuild replaces them, and the next `kbk backup` adopts \
             what an interrupted one has stored",
        ),
        error => error.into(),
    }
}

impl Rebuilding {
    fn summary(&self) -> String {
        let report = &self.report;
        if report.interrupted {
            return "interrupted: no snapshot was committed".to_owned();
        }
        let records = human::counted(report.records, "record");
        let segments = report
            .rebuilt
            .iter()
            .map(|row| row.adopted_segments.saturating_add(row.new_segments));
        let segments = segments.fold(0, u64::saturating_add);
        let segments = human::counted(segments, "segment");
        let on_top = match report.base_snapshot {
            Some(base) => format!(" on top of snapshot {base}"),
            None => String::new(),
        };
        let lost = self.lost();
        let stale = report.rebuilt.iter().filter(|row| row.may_be_stale);
        let lost = match stale.count() as u64 {
            0 => lost,
            stale => format!(
                "{lost}; keys of {} may have old values",
                human::counted(stale, "partition")
            ),
        };
        let lost = match &report.missing_totals {
            None => lost,
            Some(missing) => format!("{lost}; {}", less(missing)),
        };
        let restored = report.rebuilt.is_empty() && report.damaged_snapshots.is_empty();
        match (self.dry_run, report.snapshot) {
            (true, _)
                if restored && report.kbk_json.is_some() && report.base_snapshot.is_some() =>
            {
                "would write kbk.json again, and nothing else".to_owned()
            }
            (true, _) => {
                format!("would rebuild {records} of {segments}{on_top}: {lost}")
            }
            (false, Some(snapshot)) => {
                let partial = self.partial.as_ref();
                let partial =
                    partial.map_or_else(String::new, |partial| format!(", but {partial}"));
                format!(
                    "rebuilt {records} of {segments}{on_top} as snapshot {snapshot}: {lost}{partial}"
                )
            }
            (false, None) => "kbk.json was written again, and nothing else".to_owned(),
        }
    }

    /// Says how many offsets are lost, as far as that is known.
    fn lost(&self) -> String {
        let report = &self.report;
        let certain = report
            .stated_lost_offsets
            .saturating_sub(report.unread_offsets);
        let known = match (certain, report.lost_offsets) {
            (0, _) if report.unread_offsets > 0 => Some(format!(
                "{} are in no object that can be read now",
                human::counted(report.unread_offsets, "offset")
            )),
            (lost, _) if report.unread_offsets > 0 => Some(format!(
                "at least {} are lost, {} more are in no object that can be read now",
                human::counted(lost, "offset"),
                human::count(report.unread_offsets)
            )),
            (0, Some(_)) => None,
            (0, None) => Some("how many offsets are lost is not known".to_owned()),
            (lost, Some(_)) => Some(format!("{} are lost", human::counted(lost, "offset"))),
            (lost, None) => Some(format!(
                "at least {} are lost",
                human::counted(lost, "offset")
            )),
        };
        let unusable = human::counted(report.unusable(), "object");
        match (known, report.unusable()) {
            (None, 0) if report.data_objects.iter().any(ObjectRow::is_damaged) => {
                "some objects are damaged".to_owned()
            }
            (None, 0) => "nothing of these segments is lost".to_owned(),
            (None, _) => format!("{unusable} cannot be used"),
            (Some(known), 0) => known,
            (Some(known), _) => format!("{known}, and {unusable} cannot be used"),
        }
    }

    fn write_what_is_left(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if let Some(identity) = &report.kbk_json {
            let found = match &identity.damage {
                Some(damage) => format!("kbk.json is damaged ({damage})"),
                None => "kbk.json is missing".to_owned(),
            };
            let id = &identity.repository_id;
            match &identity.stated_by {
                Some(key) => writeln!(out, "{found}: {key} states the repository {id}")?,
                None => writeln!(
                    out,
                    "{found}, and no object states which repository this is: it gets the new id {id}, and copies of it (`kbk copy`) do not continue"
                )?,
            }
        }
        for damaged in report.damaged_snapshots.iter().take(SHOWN) {
            let (sequence, damage) = (damaged.sequence, &damaged.damage);
            writeln!(out, "snapshot {sequence} cannot be used: {damage}")?;
        }
        more(report.damaged_snapshots.len(), out)?;
        for damage in &report.unread {
            writeln!(
                out,
                "not in the new snapshot, which has older ones where an older snapshot names some: {damage}"
            )?;
        }
        match (report.base_snapshot, report.rebuilt.is_empty()) {
            (Some(base), _) => writeln!(
                out,
                "snapshot {base} is the newest of which every row can be read: what it states stays, and of its segments only those were read whose offsets other objects have, too"
            ),
            (None, false) => writeln!(out, "no snapshot can be read"),
            (None, true) => Ok(()),
        }
    }

    fn write_warnings(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if report.prune_unknown {
            writeln!(
                out,
                "a prune was in progress, and its list cannot be read: what it was going to delete comes back; make sure that no `kbk prune` runs"
            )?;
        }
        if report.missing_segments > 0 {
            let missing = human::counted(report.missing_segments, "segment");
            writeln!(
                out,
                "{missing} that snapshot {} names are missing: `kbk recover` states afterwards what is lost by that",
                report.base_snapshot.unwrap_or_default()
            )?;
        }
        if let Some(missing) = &report.missing_totals {
            writeln!(
                out,
                "{}. What came back since, such as expired records, may hide that more is missing",
                less(missing)
            )?;
        }
        if report.clusters.len() > 1 {
            let clusters = report.clusters.iter().map(|cluster| {
                let segments = human::counted(cluster.segments, "segment");
                format!("{} ({segments})", cluster.cluster_id)
            });
            let clusters: Vec<String> = clusters.collect();
            writeln!(
                out,
                "the segments are of several clusters: {}. If the repository was never backed up from another cluster, move the segments of the others away",
                clusters.join(", ")
            )?;
        }
        let begins_later =
            |row: &&PartitionRebuild| row.offsets.is_some_and(|it| it.base_offset > 0);
        let later = report.rebuilt.iter().filter(begins_later).count() as u64;
        if report.base_snapshot.is_none() && !report.rebuilt.is_empty() {
            writeln!(
                out,
                "{} above offset 0. No segment says whether others were before the first ones, or of further partitions and topics: `kbk backup` compares \
                 with the cluster",
                match later {
                    0 => "no partition begins".to_owned(),
                    1 => "1 partition begins".to_owned(),
                    later => format!("{later} partitions begin"),
                }
            )?;
            writeln!(
                out,
                "no segment says whether this repository was a copy, either: `kbk copy` does not continue it, and copies to a new one"
            )?;
        }
        let adopted = report.count(Fate::Adopted) + report.count(Fate::Cut);
        if adopted > 0 || report.count(Fate::Salvaged) > 0 {
            writeln!(
                out,
                "segments do not say whether a snapshot named them: among them may be records that were expired or compacted, topics of forgotten \
                 snapshots, and what an interrupted backup stored"
            )?;
        }
        for topic in report.empty_topics.iter().take(SHOWN) {
            let name = commands::history_name(&topic.topic, &topic.topic_id, topic.deleted);
            let partitions = human::counted(topic.partitions, "partition");
            match topic.stated_records {
                0 => writeln!(
                    out,
                    "{name}: {partitions}, and no record, as a damaged snapshot states it"
                )?,
                lost => writeln!(
                    out,
                    "{name}: {partitions}, and no segment is left of it: {} that a damaged snapshot states are missing",
                    human::counted(lost, "record")
                )?,
            }
        }
        more(report.empty_topics.len(), out)?;
        let unknown = report
            .new_topics
            .saturating_sub(report.empty_topics.len() as u64);
        if unknown > 0 {
            writeln!(
                out,
                "not known of {}: configurations, replication factors, and what the source had after the last segment; `kbk backup` reads them, as it \
                 does groups and ACLs",
                human::counted(unknown, "topic")
            )?;
        }
        Ok(())
    }

    fn names(&self) -> HistoryNames {
        let rows = self.report.rebuilt.iter();
        HistoryNames::of(rows.map(|row| (&row.topic, &row.topic_id)))
    }

    fn rows(&self) -> Table {
        let mut table = Table::new([
            Column::Left("TOPIC/PARTITION"),
            Column::Right("FROM"),
            Column::Right("END"),
            Column::Right("RECORDS"),
            Column::Right("ADOPTED"),
            Column::Right("NEW"),
            Column::Right("LOST OFFSETS"),
        ]);
        let offset = |offset: Option<i64>| offset.map_or("-".to_owned(), |it| it.to_string());
        let names = self.names();
        for row in self.report.rebuilt.iter().take(SHOWN) {
            let offsets = row.offsets;
            table.row([
                format!(
                    "{}/{}",
                    names.name(&row.topic, &row.topic_id),
                    row.partition
                ),
                offset(offsets.map(|it| it.base_offset)),
                offset(offsets.map(|it| it.end_offset)),
                human::count(row.records),
                human::count(row.adopted_segments),
                human::count(row.new_segments),
                human::count(row.lost_offsets),
            ]);
        }
        table
    }

    fn write_losses(&self, out: &mut dyn Write) -> io::Result<()> {
        let partitions = &self.report.rebuilt;
        let names = self.names();
        let name = |row: &PartitionRebuild| {
            let topic = names.name(&row.topic, &row.topic_id);
            format!("{topic}/{}", row.partition)
        };
        let forks = partitions
            .iter()
            .filter_map(|row| Some((row, row.diverges_at?)));
        for (row, offset) in forks.clone().take(SHOWN) {
            writeln!(
                out,
                "{}: from offset {offset} on two histories are stored, as an unclean leader election leaves them, of which one is used",
                name(row)
            )?;
        }
        more(forks.count(), out)?;
        let doubts = partitions
            .iter()
            .filter_map(|row| Some((row, row.may_diverge_at?)));
        for (row, offset) in doubts.clone().take(SHOWN) {
            writeln!(
                out,
                "{}: from offset {offset} on two histories may be stored: a compaction has removed the records that would tell, and only one is used. \
                 A rebuild after the segments of the other one were moved away decides otherwise",
                name(row)
            )?;
        }
        more(doubts.count(), out)?;
        let stale = partitions.iter().filter(|row| row.may_be_stale);
        for row in stale.clone().take(SHOWN) {
            writeln!(
                out,
                "{}: {} that a compaction had removed are back, and segments that had what replaced or deleted them are gone: keys may have old values",
                name(row),
                human::counted(row.returned_records, "record")
            )?;
        }
        more(stale.count(), out)?;
        let lost = partitions
            .iter()
            .flat_map(|row| row.lost_spans.iter().map(move |lost| (row, lost)));
        for (row, lost) in lost.clone().take(SHOWN) {
            writeln!(out, "{}: {lost} are lost: no segment has them", name(row))?;
        }
        more(lost.count(), out)?;
        let unread = partitions
            .iter()
            .flat_map(|row| row.unread_spans.iter().map(move |unread| (row, unread)));
        for (row, unread) in unread.clone().take(SHOWN) {
            writeln!(
                out,
                "{}: {unread} are in no object that can be read now, and may be in one that cannot",
                name(row)
            )?;
        }
        more(unread.count(), out)?;
        if self.dry_run && self.report.unread_offsets > 0 {
            writeln!(
                out,
                "nothing is rebuilt like that: make these objects readable, or abandon them with --abandon-unread"
            )?;
        }
        Ok(())
    }

    fn write_objects(&self, out: &mut dyn Write) -> io::Result<()> {
        let objects = &self.report.data_objects;
        let mut fates: Vec<Fate> = objects.iter().map(|object| object.fate).collect();
        fates.sort();
        fates.dedup();
        for fate in &fates {
            let count = human::counted(self.report.count(*fate), "object");
            writeln!(out, "{count} {}: {}", fate.words(), meaning(*fate))?;
        }
        for file in self.report.other_files.iter().take(SHOWN) {
            let name = &file.file;
            match (file.is_segment, &file.stated_key) {
                (true, Some(key)) => writeln!(
                    out,
                    "{name} is not used, since no segment has such a name: its header states that it is {key}; rename it, and rebuild then"
                )?,
                (true, None) => writeln!(
                    out,
                    "{name} is not used, since no segment has such a name, and its header is damaged: `kbk recover FILE -o NEW` finds what is left of it"
                )?,
                (false, _) => writeln!(out, "{name} is not a segment, and is not used")?,
            }
        }
        more(self.report.other_files.len(), out)?;
        let unusable = objects.iter().filter(|object| object.is_damaged());
        for object in unusable.clone().take(SHOWN) {
            let (key, fate) = (&object.key, object.fate.words());
            let detail = object.detail.as_deref().unwrap_or("part of it is lost");
            writeln!(out, "{key} ({fate}): {detail}")?;
        }
        more(unusable.clone().count(), out)?;
        let mut left = unusable;
        if left.next().is_some() {
            writeln!(
                out,
                "these objects stay as they are until `kbk prune` deletes what no snapshot names: copy them before that to examine them"
            )?;
        }
        Ok(())
    }
}

/// Says how much less was found than a damaged snapshot states.
fn less(missing: &MissingTotals) -> String {
    let counts = [
        (missing.topics, "topic"),
        (missing.partitions, "partition"),
        (missing.segments, "segment"),
        (missing.records, "record"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, noun)| human::counted(count, noun))
        .collect();
    format!(
        "{} less than snapshot {} states",
        counts.join(", "),
        missing.snapshot
    )
}

/// Says what a fate means.
fn meaning(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "snapshots name them already",
        Fate::Adopted => "intact, and named as they are",
        Fate::Cut => "intact, and the part that nothing else has is in new segments",
        Fate::Salvaged => "damaged, and what is left of them is in new segments",
        Fate::Superseded => "other segments have all of their offsets",
        Fate::Expired => "their records had expired",
        Fate::Outside => "before the first offset that the snapshot has",
        Fate::Pruned => "a prune in progress deletes them",
        Fate::Contradictory => {
            "they have other records than those that are used, or nothing proves that they are of the same history"
        }
        Fate::Moved => {
            "under the names of other segments, and what nothing else has of them is in new segments"
        }
        Fate::Misplaced => {
            "segments of another name, whose headers and blocks do not prove which ones they are"
        }
        Fate::Empty => "without offsets",
        Fate::Unsupported => "written by a later kbk",
        Fate::Inaccessible => {
            "the store does not return them: make them readable before this snapshot is built"
        }
        Fate::Unreadable => "nothing of them proves itself",
    }
}

impl Report for Rebuilding {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        if self.report.interrupted {
            return Ok(());
        }
        self.write_what_is_left(out)?;
        if !self.report.rebuilt.is_empty() {
            self.rows().write(out)?;
            more(self.report.rebuilt.len(), out)?;
        }
        self.write_losses(out)?;
        self.write_objects(out)?;
        self.write_warnings(out)
    }
}
