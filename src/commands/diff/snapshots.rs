//! `kbk diff A B`: compares two snapshots, of one repository or of two.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::thread;

use jiff::Timestamp;
use kbk_format::PartitionNumber;
use kbk_format::repo::{Digested, Id, Repository, Snapshot, Store, TopicName, TopicState};
use kbk_tools::diff::{
    DiffOptions, DiffSelection, DiffSide, Side, SnapshotDiff, SnapshotDifference, diff,
};
use kbk_tools::list::Completeness;
use serde::Serialize;
use tokio::runtime::Handle;

use super::Args;
use crate::blocking::blocking;
use crate::cli::{CliError, Context, Outcome, Report};
use crate::commands;
use crate::human;
use crate::select::{PartitionSet, TopicPartitions};

/// How two snapshots compare.
#[derive(Debug, Serialize)]
struct SnapshotsReport {
    /// The first snapshot, A.
    a: ComparedSnapshot,
    /// The second one, B.
    b: ComparedSnapshot,
    #[serde(flatten)]
    diff: SnapshotDiff,
}

/// A snapshot that is compared.
#[derive(Debug, Serialize)]
struct ComparedSnapshot {
    /// Where it is.
    location: String,
    /// Its number.
    snapshot: u64,
    /// When it was committed.
    created_at: Timestamp,
    /// Whether it has every record that its cluster had when it was made.
    saved: Completeness,
}

/// Compares, and prints the result.
pub(super) async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = commands::repository(context).await?;
    let other = match args.with.location()? {
        Some(location) => Repository::open(Store::open_at(&location)?).await?,
        None => repository.clone(),
    };
    let a = commands::snapshot(&repository, args.a.unwrap_or_default()).await?;
    let b = commands::snapshot(&other, args.b.unwrap_or_default()).await?;
    let chosen = Chosen::of(args, [&a, &b])?;
    let [of_a, of_b] = [(&repository, &a), (&other, &b)].map(|(of, it)| compared(of, it));
    let options = DiffOptions {
        full: args.full,
        records_only: args.records_only,
        threads: thread::available_parallelism().map_or(1, usize::from),
    };
    let runtime = Handle::current();
    let compare = move || {
        let side_a = DiffSide {
            repository: &repository,
            snapshot: &a,
        };
        let side_b = DiffSide {
            repository: &other,
            snapshot: &b,
        };
        diff(side_a, side_b, &chosen, options, &runtime)
    };
    let report = SnapshotsReport {
        a: of_a,
        b: of_b,
        diff: blocking(compare).await?,
    };
    let equal = report.diff.is_equal();
    context.conclude(&report, Outcome::clean_if(equal))
}

fn compared(repository: &Repository, snapshot: &Digested<Snapshot>) -> ComparedSnapshot {
    ComparedSnapshot {
        location: repository.store().url().to_owned(),
        snapshot: snapshot.sequence,
        created_at: snapshot.created_at,
        saved: Completeness::of(snapshot),
    }
}

/// The topics and partitions that are compared.
struct Chosen {
    topics: BTreeSet<(TopicName, Id)>,
    wanted: Vec<TopicPartitions>,
    partitions: Option<PartitionSet>,
    everything: bool,
}

impl Chosen {
    /// Returns what the options select of two snapshots. Each pattern must match a topic of either, and each partition must be one of it.
    fn of(args: &Args, snapshots: [&Snapshot; 2]) -> Result<Chosen, CliError> {
        let [a, b] = snapshots.map(|snapshot| snapshot.topics.iter());
        let partitions = PartitionSet::union(&args.choice.partition);
        let wanted = commands::topic_partitions(&args.topics.topic, &args.choice.partition)?;
        let everything =
            wanted.is_empty() && args.topics.exclude.is_empty() && partitions.is_none();
        let mut chosen = Chosen {
            topics: BTreeSet::new(),
            wanted,
            partitions,
            everything,
        };
        if everything {
            return Ok(chosen);
        }
        let selection = args.topics.selection().internal_too();
        let [in_a, _] = snapshots;
        let only_in_b = b.filter(|topic| in_a.topic(&topic.name, topic.topic_id).is_none());
        chosen.topics = selection.select_every(a.chain(only_in_b))?;
        for snapshot in snapshots {
            let topics = snapshot.topics.iter();
            for topic in topics.filter(|topic| chosen.has(topic)) {
                chosen.check(topic, snapshots)?;
            }
        }
        Ok(chosen)
    }

    fn has(&self, topic: &TopicState) -> bool {
        let id = (topic.name.clone(), topic.topic_id);
        self.everything || self.topics.contains(&id)
    }

    /// Fails where a partition is wanted that neither snapshot has.
    fn check(&self, topic: &TopicState, snapshots: [&Snapshot; 2]) -> Result<(), CliError> {
        let in_both = snapshots.map(|snapshot| snapshot.topic(&topic.name, topic.topic_id));
        let most = in_both.into_iter().flatten();
        let most = most.max_by_key(|topic| topic.partitions.len());
        for partitions in self.sets_of(topic).flatten() {
            if let Some(topic) = most {
                partitions.check(topic)?;
            }
        }
        Ok(())
    }

    /// Returns the partitions that each option selects of a topic; `None` for all.
    fn sets_of<'a>(
        &'a self,
        topic: &'a TopicState,
    ) -> impl Iterator<Item = Option<&'a PartitionSet>> {
        let wanted = self.wanted.iter();
        let wanted = wanted.filter(|it| it.matches(&topic.name, topic.topic_id));
        let for_all = self.partitions.as_ref().filter(|_| self.wanted.is_empty());
        let sets = wanted.map(|it| it.partitions.as_ref());
        sets.chain(for_all.map(Some))
    }
}

impl DiffSelection for Chosen {
    fn topic(&self, _: Side, topic: &TopicState) -> bool {
        self.has(topic)
    }

    fn partition(&self, topic: &TopicState, partition: PartitionNumber) -> bool {
        let mut sets = self.sets_of(topic).peekable();
        sets.peek().is_none() || sets.any(|set| set.is_none_or(|set| set.contains(partition)))
    }

    fn is_everything(&self) -> bool {
        self.everything
    }
}

impl Report for SnapshotsReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let SnapshotsReport { a, b, diff } = self;
        let unread = diff.differences.iter().filter(|it| is_unread(it)).count();
        match diff.differences.len() - unread {
            0 if unread > 0 => {
                let parts = human::counted(unread as u64, "part");
                writeln!(
                    out,
                    "no difference found, and {parts} could not be compared"
                )?;
            }
            0 if diff.records_only => writeln!(
                out,
                "equal in their records: A and B{}; not compared: configurations, consumer groups, ACLs",
                self.proved_by()
            )?,
            0 => writeln!(out, "equal: A and B{}", self.proved_by())?,
            some => {
                let differences = human::counted(some as u64, "difference");
                write!(out, "{differences} between A and B")?;
                match unread {
                    0 => writeln!(out)?,
                    some => {
                        let parts = human::counted(some as u64, "part");
                        writeln!(out, ", and {parts} could not be compared")?;
                    }
                }
            }
        }
        for (name, side) in [("A", a), ("B", b)] {
            let ComparedSnapshot {
                location,
                snapshot,
                created_at,
                saved,
            } = side;
            let at = human::moment(*created_at);
            writeln!(out, "{name}: snapshot {snapshot} of {location}, {at}")?;
            if let Some(partial) = saved.statement() {
                writeln!(out, "   {partial}")?;
            }
        }
        for difference in &diff.differences {
            writeln!(out, "{difference}")?;
        }
        if diff.differences.iter().any(is_unsaved) {
            writeln!(
                out,
                "an import of Kafka's logs has saved no configurations, groups and ACLs: --records-only compares without them"
            )?;
        }
        writeln!(out, "{}", self.same())
    }
}

/// Returns whether something could not be read, so that nothing is known of it.
fn is_unread(difference: &SnapshotDifference) -> bool {
    matches!(difference, SnapshotDifference::NotCompared { .. })
}

/// Returns whether only one of the snapshots has saved something that is not of records.
fn is_unsaved(difference: &SnapshotDifference) -> bool {
    match difference {
        SnapshotDifference::SavedOnlyIn { .. } => true,
        SnapshotDifference::TopicProperty { property, .. } => *property == "config",
        _ => false,
    }
}

impl SnapshotsReport {
    /// Says what proves that both are equal.
    fn proved_by(&self) -> &'static str {
        let records = &self.diff.records;
        match (
            records.same_objects + records.same_digest,
            self.one_repository(),
        ) {
            (0, _) => ": every record was read",
            (_, true) => ", by what the snapshots state: segments were listed, not read",
            (_, false) => {
                ", by what the snapshots state: segments were listed, not read (--full reads all)"
            }
        }
    }

    fn one_repository(&self) -> bool {
        self.a.location == self.b.location
    }

    /// Says what is the same, and what proved it.
    fn same(&self) -> String {
        let SnapshotDiff {
            topics,
            partitions,
            records,
            groups,
            acls,
            ..
        } = &self.diff;
        let mut line = format!(
            "compared {} with {}: {} the same",
            human::counted(*topics, "topic"),
            human::counted(*partitions, "partition"),
            human::counted(records.total(), "record"),
        );
        let by = [
            (records.same_objects, "by the hashes of their segments"),
            (records.same_digest, "by the digests of records"),
            (records.read, "read and compared"),
        ];
        let by = by.into_iter().filter(|(count, _)| *count > 0);
        let by: Vec<String> = by
            .map(|(count, how)| format!("{} {how}", human::count(count)))
            .collect();
        if !by.is_empty() {
            line.push_str(&format!(" ({})", by.join(", ")));
        }
        for (count, noun) in [(groups, "consumer group"), (acls, "ACL")] {
            match count {
                Some(count) => line.push_str(&format!("; {}", human::counted(*count, noun))),
                None => line.push_str(&format!("; no {noun}")),
            }
        }
        line
    }
}
