//! `kbk status`: how old the last backup is, and how far it lags behind the cluster.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    Id, PartitionState, Repository, RestoreId, Snapshot, TopicName, TopicState,
};
use kbk_tools::claims::{self, ListedClaim};
use kbk_tools::list::{self, Completeness, Newest, NewestSnapshot, RestoreRow, RestoreState};
use kbk_tools::original;
use kbk_tools::verify::{SizeCheck, check_sizes};
use serde::{Serialize, Serializer};

use crate::blocking::blocking;
use crate::cli::{CliError, Column, Context, KafkaArgs, Outcome, Report, Table, TopicArgs, time};
use crate::compare::{self, TopicLag, TopicLagState};
use crate::human;
use crate::select::TopicSelection;

const EXAMPLES: &str = "\
Examples:
  kbk status -r /backup/kafka
  kbk status -r /backup/kafka --max-age 25h --json
  kbk status -r /backup/kafka -b broker:9092 --topic 'orders*'

Looks for every table of the index and every segment of the newest snapshot, and compares their sizes with the
index. It does not read records, so it does not say that they are intact: `kbk verify` does. What was replaced by a
topic that was read again in full is not looked at.

With a cluster (-b or --command-config), compares the snapshot with the ends of its logs;
no record is read. To be behind is no finding: the next backup reads what is new.
A backup of some topics leaves the others as old as they were, and --max-age measures each:
--topic and --exclude say which count.
Exit code 3: there is no snapshot, or the newest one is damaged, partial or older than
--max-age, or has topics from an older backup than that; or objects that it names are missing or
have another size; or the cluster does not answer, or has deleted offsets that no backup has read.";

/// Rows of topics that are shown to people; JSON has all.
const MOST_ROWS: usize = 20;

/// The arguments of `kbk status`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// The topics to compare with the cluster, and whose age is measured.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Exit with 3 if the newest complete snapshot is older, or the last backup of one of its topics, for example 25h where a backup runs
    /// every day
    #[arg(long, value_name = "SPAN", value_parser = time::parse_duration)]
    pub max_age: Option<Duration>,

    /// Exit with 0 although the newest snapshot is partial, and measure its age
    #[arg(long)]
    pub accept_partial: bool,

    /// Do not ask the cluster, even if the configuration file or the environment names one
    #[arg(long)]
    pub no_cluster: bool,
}

/// The state of a repository's backups.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(skip)]
    repository: String,
    /// What is wrong; empty if nothing is.
    findings: Vec<String>,
    /// Number of snapshots.
    snapshots: u64,
    /// The newest one; null if there is none.
    newest: Option<NewestRow>,
    /// The newest one that lacks no records; null if there is none.
    newest_whole: Option<SnapshotAge>,
    /// What is stored of the newest one, without reading records; null if that is not known.
    objects: Option<SizeCheck>,
    /// What `--max-age` allows; null without it.
    max_age_seconds: Option<u64>,
    /// Topics of the newest snapshot that its backup did not look at, so that an older backup is their last one; ordered by age, the oldest
    /// first.
    older_topics: Vec<OlderTopic>,
    /// Restores that were neither finished nor discarded.
    unfinished_restores: Vec<RestoreId>,
    /// What writes the repository now, or has left a claim behind.
    claims: Vec<ListedClaim>,
    /// What the cluster has; null if it was not asked, or did not answer.
    topics: Option<Vec<TopicLag>>,
}

/// The newest snapshot.
#[derive(Debug, Serialize)]
struct NewestRow {
    /// Its number.
    sequence: u64,
    /// Why it cannot be read; null if it can.
    damage: Option<String>,
    #[serde(flatten)]
    contents: Option<NewestContents>,
}

/// What the newest snapshot holds.
#[derive(Debug, Serialize)]
struct NewestContents {
    #[serde(flatten)]
    age: Age,
    /// Whether it holds a backup: what began to copy the first one holds none.
    #[serde(skip)]
    has_backup: bool,
    /// Whether it has every record that the cluster had.
    complete: bool,
    /// Says what is missing, for people.
    #[serde(skip)]
    partial: Option<String>,
    /// How a copy gets what it lacks.
    #[serde(skip)]
    next_step: Option<String>,
    /// Number of topics.
    topics: u64,
    /// Number of partitions.
    partitions: u64,
    /// Number of records.
    records: u64,
    /// Number of records that have expired: `kbk expire` removed them by their age.
    expired_records: u64,
    /// Bytes of its segments.
    stored_bytes: u64,
}

/// A snapshot and its age.
#[derive(Clone, Debug, Serialize)]
struct SnapshotAge {
    /// Its number.
    sequence: u64,
    #[serde(flatten)]
    age: Age,
}

/// A topic that the newest backup did not look at.
#[derive(Debug, Serialize)]
struct OlderTopic {
    /// Its name.
    topic: TopicName,
    /// Identifies its history.
    topic_id: Id,
    /// The snapshot of the last backup that looked at it, with its number in the repository that was backed up where the newest one is a
    /// copy.
    sequence: u64,
    /// Whether the newest one is a copy.
    #[serde(skip)]
    is_copy: bool,
    /// The age of that snapshot, or of the time at which its backup began if it is not there any more; absent if neither is known.
    #[serde(flatten)]
    age: Option<Age>,
}

/// When a snapshot was created, and how long ago that is by this machine's clock.
#[derive(Clone, Copy, Debug, Serialize)]
struct Age {
    /// When it was created.
    created_at: Timestamp,
    /// How long ago that is by the clock of this machine; negative where the clock of one of the machines is wrong.
    #[serde(rename = "age_seconds", serialize_with = "whole_seconds")]
    age: jiff::SignedDuration,
}

fn whole_seconds<S: Serializer>(age: &jiff::SignedDuration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(age.as_secs())
}

impl SnapshotAge {
    fn of(snapshot: &Snapshot, now: Timestamp) -> SnapshotAge {
        SnapshotAge {
            sequence: snapshot.sequence,
            age: Age::of(snapshot, now),
        }
    }
}

impl Age {
    fn of(snapshot: &Snapshot, now: Timestamp) -> Age {
        Age::at(snapshot.created_at, now)
    }

    fn at(created_at: Timestamp, now: Timestamp) -> Age {
        Age {
            created_at,
            age: now.duration_since(created_at),
        }
    }

    fn in_words(self) -> String {
        let created_at = human::moment(self.created_at);
        match Duration::try_from(self.age) {
            Ok(age) => format!("{} old ({created_at})", human::age(age)),
            Err(_) => format!("created in the future by this machine's clock ({created_at})"),
        }
    }

    /// Returns whether it is older than `most`. One from the future may have any age.
    fn exceeds(self, most: Duration) -> bool {
        Duration::try_from(self.age).map_or(true, |age| age > most)
    }
}

/// Prints the status of the backups.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let newest = list::newest(&repository).await?;
    let mut status = of_repository(&repository, &newest, args).await?;
    if let Some(NewestSnapshot::Intact(snapshot)) = newest.newest
        && args.asks_cluster()
    {
        let (kafka, selection) = (args.kafka.settings()?, args.topics.selection());
        let asked = blocking(move || compare::lag(&kafka, &snapshot, &selection)).await;
        status.add_cluster(asked)?;
    }
    let outcome = Outcome::clean_if(status.findings.is_empty());
    context.conclude(&status, outcome)
}

impl Args {
    fn asks_cluster(&self) -> bool {
        let named = self.kafka.bootstrap_server.is_some() || self.kafka.command_config.is_some();
        let selects = !self.topics.topic.is_empty() || !self.topics.exclude.is_empty();
        !self.no_cluster && (named || selects)
    }
}

async fn of_repository(
    repository: &Repository,
    newest: &Newest,
    args: &Args,
) -> Result<Status, CliError> {
    let now = Timestamp::now();
    let mut status = Status {
        repository: repository.store().url().to_owned(),
        findings: Vec::new(),
        snapshots: newest.snapshots,
        newest: newest.newest.as_ref().map(|newest| row(newest, now)),
        newest_whole: newest
            .whole
            .as_ref()
            .map(|whole| SnapshotAge::of(whole, now)),
        objects: match &newest.newest {
            Some(NewestSnapshot::Intact(snapshot)) => {
                Some(objects(repository, snapshot, &args.topics.selection()).await?)
            }
            _ => None,
        },
        max_age_seconds: args.max_age.map(|most| most.as_secs()),
        older_topics: match &newest.newest {
            Some(NewestSnapshot::Intact(snapshot)) => {
                older_topics(repository, snapshot, &args.topics.selection(), now).await
            }
            _ => Vec::new(),
        },
        unfinished_restores: Vec::new(),
        claims: claims::list(repository).await?,
        topics: None,
    };
    status.find(args);
    status.add_restores(list::restores(repository).await?);
    Ok(status)
}

/// Looks for the objects of the snapshot, but for those of histories that were replaced.
async fn objects(
    repository: &Repository,
    snapshot: &Snapshot,
    selection: &TopicSelection,
) -> Result<SizeCheck, CliError> {
    let is_looked_at = |topic: &TopicState| {
        snapshot.replaced_in(topic).is_none() && selection.matches_saved(topic)
    };
    Ok(check_sizes(repository, snapshot, is_looked_at).await?)
}

/// Returns the selected topics whose last backup is an older one than that of the snapshot, the oldest first.
async fn older_topics(
    repository: &Repository,
    snapshot: &Snapshot,
    selection: &TopicSelection,
    now: Timestamp,
) -> Vec<OlderTopic> {
    let mut ages = BTreeMap::new();
    let mut older = Vec::new();
    let mut kept: Option<Vec<u64>> = None;
    for topic in &snapshot.topics {
        let sequence = topic.last_seen;
        if topic.deleted || sequence >= snapshot.backup() || !selection.matches_saved(topic) {
            continue;
        }
        let age = match ages.get(&sequence) {
            Some(age) => *age,
            None => {
                let kept = match &mut kept {
                    Some(kept) => kept,
                    none => none.insert(repository.sequences().await.unwrap_or_default()),
                };
                let found = repository.snapshot_of_backup(snapshot, sequence, kept);
                let found = found.await.ok().flatten();
                let created_at = found.map(|found| found.created_at);
                // Without the snapshot, when its backup began is known of most.
                let created_at = created_at.or_else(|| snapshot.backup_started_at(sequence));
                let age = created_at.map(|created_at| Age::at(created_at, now));
                ages.insert(sequence, age);
                age
            }
        };
        older.push(OlderTopic {
            topic: topic.name.clone(),
            topic_id: topic.topic_id,
            sequence,
            is_copy: snapshot.origin.is_some(),
            age,
        });
    }
    older.sort_by(|a, b| (a.sequence, &a.topic).cmp(&(b.sequence, &b.topic)));
    older
}

fn row(newest: &NewestSnapshot, now: Timestamp) -> NewestRow {
    match newest {
        NewestSnapshot::Damaged { sequence, damage } => NewestRow {
            sequence: *sequence,
            damage: Some(damage.clone()),
            contents: None,
        },
        NewestSnapshot::Intact(snapshot) => NewestRow {
            sequence: snapshot.sequence,
            damage: None,
            contents: Some(contents(snapshot, now)),
        },
    }
}

fn contents(snapshot: &Snapshot, now: Timestamp) -> NewestContents {
    let states = || snapshot.topics.iter().flat_map(|topic| &topic.partitions);
    let sum = |field: fn(&PartitionState) -> u64| states().map(field).sum::<u64>();
    let completeness = Completeness::of(snapshot);
    NewestContents {
        age: Age::of(snapshot, now),
        has_backup: snapshot.has_backup(),
        complete: snapshot.has_backup() && completeness.complete,
        partial: completeness.statement(),
        next_step: completeness.copy_again(),
        topics: snapshot.topics.len() as u64,
        partitions: states().count() as u64,
        records: sum(|state| state.records),
        expired_records: sum(PartitionState::expired_records),
        stored_bytes: sum(|state| state.stored_bytes),
    }
}

impl Status {
    /// Finds what is wrong with the repository's snapshots.
    fn find(&mut self, args: &Args) {
        let Some(newest) = &self.newest else {
            let none = format!(
                "{} has no snapshots yet; `kbk backup` creates one",
                self.repository
            );
            return self.findings.push(none);
        };
        let whole = self.newest_whole.as_ref();
        let mut measured = whole.map(|whole| (whole.sequence, whole.age));
        if let Some(damage) = &newest.damage {
            let sequence = newest.sequence;
            self.findings.push(format!("snapshot {sequence}: {damage}"));
        }
        if let Some(contents) = &newest.contents {
            match &contents.partial {
                _ if !contents.has_backup => self.findings.push(format!(
                    "{} has no backup yet: snapshot {} holds nothing; `kbk backup` or `kbk copy` creates one",
                    self.repository,
                    newest.sequence,
                )),
                Some(partial) if !args.accept_partial => {
                    let next_step = contents.next_step.iter();
                    let next_step = next_step.map(|step| format!("; {step}"));
                    let finding = partial.clone() + &next_step.collect::<String>();
                    self.findings.push(finding);
                }
                _ => measured = Some((newest.sequence, contents.age)),
            }
        }
        let damaged = self.objects.as_ref().and_then(damaged);
        self.findings.extend(damaged);
        let Some(most) = args.max_age else { return };
        let most_in_words = human::age(most);
        match measured {
            None => self.findings.push(format!(
                "no snapshot is complete, and one at most {most_in_words} old is required"
            )),
            Some((sequence, age)) if age.exceeds(most) => self.findings.push(format!(
                "snapshot {sequence} is {}, and at most {most_in_words} is allowed",
                age.in_words()
            )),
            Some(_) => self.find_older_topics(most),
        }
    }

    /// Finds topics that are older than the newest snapshot, and too old.
    fn find_older_topics(&mut self, most: Duration) {
        // The age is not known where the snapshot is gone, and it is older than one that is there.
        let too_old = |topic: &&OlderTopic| topic.age.is_none_or(|age| age.exceeds(most));
        let mut old = self.older_topics.iter().filter(too_old);
        let Some(oldest) = old.next() else { return };
        let others = match old.count() as u64 {
            0 => String::new(),
            others => format!(
                " ({} more from backups that are too old)",
                human::counted(others, "topic")
            ),
        };
        let most = human::age(most);
        self.findings.push(format!(
            "{}: {}, and at most {most} is allowed{others}",
            oldest.topic,
            oldest.in_words(),
        ));
    }

    fn add_restores(&mut self, restores: Vec<RestoreRow>) {
        for row in restores {
            match row.state {
                RestoreState::Unfinished => self.unfinished_restores.push(row.restore),
                RestoreState::Damaged => {
                    let damage = row.damage.unwrap_or_default();
                    self.findings
                        .push(format!("restore {}: {damage}", row.restore));
                }
                RestoreState::Finished | RestoreState::Discarded => {}
            }
        }
    }

    /// Adds what the cluster has. That it does not answer is a finding: the age of the backup is known without it.
    fn add_cluster(
        &mut self,
        asked: Result<Vec<TopicLag>, compare::LagError>,
    ) -> Result<(), CliError> {
        let topics = match asked {
            Ok(topics) => topics,
            Err(error @ compare::LagError::Select(_)) => return Err(error.into()),
            Err(error) => {
                let unknown = format!("cannot compare with the cluster: {error}");
                self.findings.push(unknown);
                return Ok(());
            }
        };
        let lost = topics.iter().map(|topic| topic.lost_offsets);
        let lost = lost.fold(0, u64::saturating_add);
        if let Some(first) = topics.iter().find(|topic| topic.lost_offsets > 0) {
            self.findings.push(format!(
                "the cluster has deleted {} that no backup has read, the first in {}",
                human::counted(lost, "offset"),
                first.topic
            ));
        }
        self.topics = Some(topics);
        Ok(())
    }
}

impl OlderTopic {
    fn snapshot(&self) -> String {
        original::of_copy(self.is_copy, self.sequence)
    }

    fn in_words(&self) -> String {
        match self.age {
            Some(age) => format!("its last backup is {}, {}", self.snapshot(), age.in_words()),
            None => format!(
                "its last backup is {}, and how old that is is not known",
                self.snapshot()
            ),
        }
    }
}

impl Report for Status {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            writeln!(out, "{finding}")?;
        }
        for claim in &self.claims {
            writeln!(out, "{claim}")?;
        }
        let Some(newest) = &self.newest else {
            return Ok(());
        };
        if let Some(contents) = &newest.contents {
            write_contents(newest.sequence, contents, out)?;
        }
        if let Some(objects) = &self.objects {
            write_objects(objects, out)?;
        }
        if let Some(whole) = &self.newest_whole
            && whole.sequence != newest.sequence
        {
            let (sequence, age) = (whole.sequence, whole.age.in_words());
            writeln!(out, "the newest complete snapshot is {sequence}, {age}")?;
        }
        if let Some(oldest) = self.older_topics.first() {
            let older = human::counted(self.older_topics.len() as u64, "topic");
            let (name, last) = (&oldest.topic, oldest.in_words());
            writeln!(
                out,
                "the newest backup did not look at {older}; the oldest is {name}: {last}"
            )?;
        }
        writeln!(
            out,
            "{} in {}",
            human::counted(self.snapshots, "snapshot"),
            self.repository
        )?;
        if let Some(first) = self.unfinished_restores.first() {
            writeln!(
                out,
                "{} unfinished, the first is {first}: `kbk restores` lists them",
                human::counted(self.unfinished_restores.len() as u64, "restore"),
            )?;
        }
        match &self.topics {
            Some(topics) => write_topics(topics, out),
            None => Ok(()),
        }
    }
}

fn write_contents(sequence: u64, contents: &NewestContents, out: &mut dyn Write) -> io::Result<()> {
    let state = match (contents.has_backup, contents.complete) {
        (false, _) => "holds no backup, and is",
        (true, true) => "was complete when it was committed, and is",
        (true, false) => "is partial and",
    };
    writeln!(
        out,
        "snapshot {sequence} {state} {}: {} in {}, {} stored as {}",
        contents.age.in_words(),
        human::counted(contents.topics, "topic"),
        human::counted(contents.partitions, "partition"),
        human::counted(contents.records, "record"),
        human::bytes(contents.stored_bytes),
    )?;
    match contents.expired_records {
        0 => Ok(()),
        expired => writeln!(
            out,
            "{} had expired by then",
            human::counted(expired, "older record")
        ),
    }
}

/// Says what was looked at, and what was not.
fn write_objects(objects: &SizeCheck, out: &mut dyn Write) -> io::Result<()> {
    let tables = human::counted(objects.tables, "table");
    let index = match objects.tables_read {
        true => format!("the index ({tables})"),
        false => format!("the sizes of {tables} of the index"),
    };
    let result = match objects.findings.len() as u64 {
        0 => "all there".to_owned(),
        found => human::counted(found, "finding"),
    };
    let segments = human::counted(objects.segments, "segment");
    let segments = match objects.segments_by_partition {
        true => format!("how many of {segments} each partition has, with how many bytes"),
        false => format!("the sizes of {segments}"),
    };
    writeln!(
        out,
        "checked {index} and {segments}: {result}; records were not read: `kbk verify` reads them",
    )
}

/// Says which objects are missing or damaged; `None` if none is.
fn damaged(objects: &SizeCheck) -> Option<String> {
    let first = objects.findings.first()?;
    let found = objects.findings.len() as u64;
    let of = match (&first.topic, first.partition) {
        (Some(topic), Some(partition)) => format!(" of {topic}/{partition}"),
        _ => String::new(),
    };
    let key = first.key.as_deref().unwrap_or_default();
    let (kind, message, hint) = (first.kind, &first.message, &first.hint);
    Some(match found {
        1 => format!("{kind}{of}: {key}: {message}; {hint}"),
        _ => format!(
            "{} missing or damaged, the first is a {kind}{of}: {key}: {message}; {hint}; `kbk verify` names all",
            human::counted(found, "object"),
        ),
    })
}

fn write_topics(topics: &[TopicLag], out: &mut dyn Write) -> io::Result<()> {
    let mut others: Vec<&TopicLag> = topics
        .iter()
        .filter(|topic| topic.state != TopicLagState::UpToDate)
        .collect();
    let total = human::counted(topics.len() as u64, "topic");
    let expired = topics.iter().map(|topic| topic.expired_offsets);
    let expired = match expired.fold(0, u64::saturating_add) {
        0 => String::new(),
        expired => format!(
            ", but for {} that have expired",
            human::counted(expired, "older offset")
        ),
    };
    if others.is_empty() {
        return writeln!(
            out,
            "the snapshot has every offset of {total} of the cluster{expired}"
        );
    }
    let behind = others.iter().map(|topic| topic.new_offsets);
    let behind = behind.fold(0, u64::saturating_add);
    writeln!(
        out,
        "{} of {total} of the cluster differ from the snapshot, which lacks {}{expired}",
        human::count(others.len() as u64),
        human::counted(behind, "offset"),
    )?;
    others.sort_by_key(|topic| std::cmp::Reverse((topic.lost_offsets, topic.new_offsets)));
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Left("STATE"),
        Column::Right("PARTITIONS"),
        Column::Right("PARTITIONS BEHIND"),
        Column::Right("NEW OFFSETS"),
        Column::Right("LOST OFFSETS"),
    ]);
    for topic in others.iter().take(MOST_ROWS) {
        table.row([
            topic.topic.clone(),
            topic.state.in_words().to_owned(),
            human::count(topic.partitions),
            human::count(topic.partitions_behind),
            human::count(topic.new_offsets),
            human::count(topic.lost_offsets),
        ]);
    }
    table.write(out)?;
    match others.len().saturating_sub(MOST_ROWS) {
        0 => Ok(()),
        more => writeln!(
            out,
            "and {} more; --json lists all",
            human::counted(more as u64, "topic")
        ),
    }
}
