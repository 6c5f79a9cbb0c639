//! The steps of the demo, in order.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kbk_format::repo::{Digested, Location, RateLimit, Repository, Snapshot, Store};
use kbk_tools::verify;

use super::compare::{self, ReadError};
use super::report::{DemoReport, DemoStep};
use super::shop::{self, ShopRecord, TOPICS};
use super::{folder, shell};
use crate::backup::{self, Encoding, SaveAcls};
use crate::blocking::blocking;
use crate::cli::{BlockSize, CliError, ClientChoice, Compression, Context, SegmentSize};
use crate::kafka::{
    ClientSettings, EmbeddedCluster, KafkaError, Producer, SinkOptions, TopicPartition,
};
use crate::restore::{
    self, Afterwards, PartitionMapping, Purpose, RecordSelection, RestoreOptions, RestorePlan,
    RetentionChoice,
};
use crate::run::Cancel;
use crate::select::{DropHeaders, TopicRef, TopicSelection};

/// The number of all records. The embedded broker keeps 5 MiB per partition, several times as much as these.
const RECORDS: u64 = 20_000;
/// The records of the first snapshot; the second one has the rest.
const FIRST: usize = 15_000;

/// Why the demo stopped early.
enum DemoStop {
    /// A stop was requested.
    Cancelled,
    Failed(CliError),
}

impl<E: Error> From<E> for DemoStop {
    fn from(error: E) -> DemoStop {
        DemoStop::Failed(error.into())
    }
}

/// Runs the demo, and leaves the repository in the folder `dir`. Each step is passed to `on_step` when it is done.
pub async fn run(
    dir: &Path,
    context: &Context,
    on_step: &dyn Fn(&DemoStep) -> Result<(), CliError>,
) -> Result<DemoReport, CliError> {
    let began = Instant::now();
    let replaced = folder::prepare(dir).await?;
    let cluster = EmbeddedCluster::start(1)?;
    let mut demo = Demo {
        kafka: cluster.settings()?,
        cluster,
        dir,
        context,
        on_step,
        records: Arc::new(shop::day(RECORDS, Timestamp::now().as_millisecond())),
        steps: Vec::new(),
    };
    let interrupted = match demo.play(replaced).await {
        Ok(()) => false,
        Err(DemoStop::Cancelled) => true,
        Err(DemoStop::Failed(error)) => return Err(error),
    };
    let next = if interrupted {
        Vec::new()
    } else {
        next(dir, &demo.records).await?
    };
    let next_cluster = shell::command(&["backup", "--init", "-r", "FOLDER", "-b", "HOST:9092"]);
    Ok(DemoReport {
        repository: dir.display().to_string(),
        wrong: demo.steps.iter().flat_map(DemoStep::wrong).collect(),
        steps: demo.steps,
        interrupted,
        next,
        next_cluster,
        seconds: began.elapsed().as_secs_f64(),
    })
}

struct Demo<'a> {
    cluster: EmbeddedCluster,
    kafka: ClientSettings,
    dir: &'a Path,
    context: &'a Context,
    on_step: &'a dyn Fn(&DemoStep) -> Result<(), CliError>,
    /// All records to produce, in order.
    records: Arc<Vec<ShopRecord>>,
    steps: Vec<DemoStep>,
}

impl Demo<'_> {
    async fn play(&mut self, replaced: bool) -> Result<(), DemoStop> {
        self.done(DemoStep::Started {
            repository: self.dir.display().to_string(),
            replaced,
        })?;
        for (topic, partitions) in TOPICS {
            self.cluster.create_topic(topic, partitions)?;
        }
        for part in [0..FIRST, FIRST..self.records.len()] {
            let step = self.produce(part).await?;
            self.done(step)?;
            let step = self.back_up().await?;
            self.done(step)?;
        }
        let repository = Repository::open(Store::open_at(&Location::folder(self.dir))?).await?;
        let step = verify(&repository).await?;
        self.done(step)?;
        let snapshot = latest(&repository).await?;
        let step = self.restore(&repository, &snapshot).await?;
        self.done(step)?;
        let step = self.compare().await?;
        self.done(step)?;
        let step = self.plan_until(&repository, &snapshot).await?;
        self.done(step)
    }

    fn done(&mut self, step: DemoStep) -> Result<(), DemoStop> {
        // A step that was stopped may be incomplete.
        if self.context.cancel.is_set() {
            return Err(DemoStop::Cancelled);
        }
        (self.on_step)(&step).map_err(DemoStop::Failed)?;
        self.steps.push(step);
        Ok(())
    }

    async fn produce(&self, part: Range<usize>) -> Result<DemoStep, DemoStop> {
        let (kafka, records, cancel) = (
            self.kafka.clone(),
            Arc::clone(&self.records),
            self.context.cancel.clone(),
        );
        let targets = shop::targets();
        let step = produced(&records[part.clone()], &targets);
        blocking(move || produce(&kafka, &records[part], targets, &cancel)).await?;
        Ok(step)
    }

    async fn back_up(&self) -> Result<DemoStep, DemoStop> {
        let options = backup::BackupOptions {
            location: Location::folder(self.dir),
            single_writer: false,
            ignored_snapshots: Vec::new(),
            create: false,
            kafka: self.kafka.clone(),
            // Its cluster is librdkafka's own.
            client: ClientChoice::Librdkafka,
            selection: TopicSelection::default(),
            encoding: Encoding::default(),
            compression: Compression::default(),
            block_bytes: BlockSize::default().bytes() as usize,
            segment_bytes: SegmentSize::default().bytes(),
            open_transactions_wait: Duration::ZERO,
            groups: true,
            acls: SaveAcls::No,
            refresh: false,
            allow_cluster_change: false,
        };
        let events = self.context.events("backing up");
        let report = backup::run(&options, &self.context.cancel, events).await?;
        report.map(DemoStep::BackedUp).ok_or(DemoStop::Cancelled)
    }

    async fn restore(
        &self,
        repository: &Repository,
        snapshot: &Digested<Snapshot>,
    ) -> Result<DemoStep, DemoStop> {
        for (topic, partitions) in TOPICS {
            self.cluster.create_topic(&restored(topic), partitions)?;
        }
        let plan = self
            .plan(repository, snapshot, restored, i64::MIN..=i64::MAX)
            .await?;
        let events = self.context.events("restoring");
        let (kafka, cancel) = (&self.kafka, &self.context.cancel);
        let afterwards = Afterwards::default();
        let run = restore::run(plan, afterwards, repository, kafka, cancel, events).await?;
        Ok(DemoStep::Restored(run.report))
    }

    async fn plan(
        &self,
        repository: &Repository,
        snapshot: &Digested<Snapshot>,
        target: impl Fn(&str) -> String,
        times: RangeInclusive<i64>,
    ) -> Result<RestorePlan, DemoStop> {
        let options = RestoreOptions {
            kafka: self.kafka.clone(),
            targets: TOPICS
                .iter()
                .map(|(topic, _)| (TopicRef::named(topic), target(topic)))
                .collect(),
            selection: RecordSelection::of_times(times),
            mapping: PartitionMapping::Kept,
            append: false,
            purge: false,
            verify: false,
            // The embedded cluster only pretends to have transactions, and librdkafka aborts the process when it deletes groups there.
            client: ClientChoice::Librdkafka,
            transactions: false,
            group_patterns: Vec::new(),
            groups: Vec::new(),
            acls: false,
            offset_map: true,
            replication_factor: None,
            retention: RetentionChoice::default(),
            rate_limit: RateLimit::default(),
            allow_partial: false,
            drop_headers: DropHeaders::default(),
            purpose: Purpose::DryRun,
        };
        let plan = restore::plan(repository, snapshot, &options).await?;
        match plan.obstacles.first() {
            Some(obstacle) => Err(DemoStop::Failed(CliError::new(format!(
                "nothing was restored: {obstacle}"
            )))),
            None => Ok(plan),
        }
    }

    async fn compare(&self) -> Result<DemoStep, DemoStop> {
        let (kafka, cancel, produced) = (self.kafka.clone(), self.context.cancel.clone(), RECORDS);
        let compared = blocking(move || {
            let sources = shop::targets();
            let copies: Vec<TopicPartition> = sources
                .iter()
                .map(|source| TopicPartition {
                    topic: restored(&source.topic),
                    ..source.clone()
                })
                .collect();
            let originals = compare::read_all(&kafka, &sources, &cancel)?;
            let copies = compare::read_all(&kafka, &copies, &cancel)?;
            let records: u64 = originals
                .iter()
                .map(|partition| partition.len() as u64)
                .sum();
            let pairs = sources.iter().zip(originals.iter().zip(&copies));
            let mut differences: Vec<String> = pairs
                .filter_map(|(source, (original, copy))| {
                    compare::difference(source, original, copy)
                })
                .collect();
            if records != produced {
                differences.push(format!(
                    "{produced} records were produced, and {records} could be read back"
                ));
            }
            Ok(DemoStep::Compared {
                records,
                differences,
            })
        });
        compared.await.map_err(|error| match error {
            ReadError::Cancelled => DemoStop::Cancelled,
            error => error.into(),
        })
    }

    /// Counts what a restore up to a moment in the middle would write, and what was produced until then.
    async fn plan_until(
        &self,
        repository: &Repository,
        snapshot: &Digested<Snapshot>,
    ) -> Result<DemoStep, DemoStop> {
        let middle = self.records[self.records.len() / 2].timestamp;
        let target = |topic: &str| format!("{topic}-until");
        // The plan would create them, and change their configuration afterwards, which the embedded cluster cannot.
        for (topic, partitions) in TOPICS {
            self.cluster.create_topic(&target(topic), partitions)?;
        }
        let plan = self
            .plan(repository, snapshot, target, i64::MIN..=middle)
            .await?;
        let until = Timestamp::from_millisecond(middle)?;
        let expected = self
            .records
            .iter()
            .filter(|record| record.timestamp <= middle)
            .count() as u64;
        Ok(DemoStep::PlannedUntil {
            until,
            planned: records(&plan),
            expected,
            behind_newer: behind_newer(&self.records, middle),
        })
    }
}

fn restored(topic: &str) -> String {
    format!("{topic}-restored")
}

fn records(plan: &RestorePlan) -> u64 {
    plan.topics()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.reading.records)
        .sum()
}

fn produce(
    kafka: &ClientSettings,
    records: &[ShopRecord],
    targets: Vec<TopicPartition>,
    cancel: &Cancel,
) -> Result<(), KafkaError> {
    let mut producer = Producer::open(kafka, SinkOptions::default())?;
    producer.set_targets(targets)?;
    for (number, record) in (0..).zip(records) {
        if cancel.is_set() {
            break;
        }
        record.lend(number, |lent| producer.send(record.target, lent))?;
    }
    producer.flush()
}

fn produced(records: &[ShopRecord], targets: &[TopicPartition]) -> DemoStep {
    let mut records_per_topic = BTreeMap::new();
    let mut newest = vec![i64::MIN; targets.len()];
    let mut late = 0;
    for record in records {
        *records_per_topic
            .entry(targets[record.target].topic.clone())
            .or_default() += 1;
        let newest = &mut newest[record.target];
        late += u64::from(record.timestamp < *newest);
        *newest = record.timestamp.max(*newest);
    }
    let tombstones = records
        .iter()
        .filter(|record| record.value.is_none())
        .count() as u64;
    DemoStep::Produced {
        records: records.len() as u64,
        records_per_topic,
        tombstones,
        late,
    }
}

/// Counts the records up to `until` that come after a newer one in their partition.
fn behind_newer(records: &[ShopRecord], until: i64) -> u64 {
    let mut passed = vec![false; shop::targets().len()];
    let mut behind = 0;
    for record in records {
        let passed = &mut passed[record.target];
        *passed |= record.timestamp > until;
        behind += u64::from(*passed && record.timestamp <= until);
    }
    behind
}

async fn verify(repository: &Repository) -> Result<DemoStep, DemoStop> {
    let request = verify::VerifyOptions {
        snapshots: repository.sequences().await?,
        all_snapshots: true,
        topics: None,
        depth: verify::VerifyDepth::Hash,
        ..verify::VerifyOptions::default()
    };
    let report = verify::verify(repository, &request, Arc::new(|_: u64| ())).await;
    Ok(DemoStep::Verified(Box::new(report)))
}

async fn latest(repository: &Repository) -> Result<Digested<Snapshot>, DemoStop> {
    match repository.latest().await? {
        Some(stored) => Ok(stored),
        None => Err(DemoStop::Failed(CliError::new(format!(
            "{} lost its snapshots",
            repository.store().url()
        )))),
    }
}

/// Returns commands to try on the repository.
async fn next(dir: &Path, records: &[ShopRecord]) -> Result<Vec<String>, CliError> {
    let store = Store::open_at(&Location::folder(dir))?;
    let dir = dir.display().to_string();
    let on_it = |words: &[&str]| shell::command(&[&["-r", &dir], words].concat());
    let since = records.iter().rev().map(|record| record.timestamp).nth(5);
    let since = Timestamp::from_millisecond(since.unwrap_or_default())?.to_string();
    let mut next = vec![
        on_it(&["ls"]),
        on_it(&["cat", "orders", "-n", "3"]),
        on_it(&["cat", "orders", "--since", &since]),
        on_it(&["verify", "--full"]),
    ];
    let repository = Repository::open(store).await?;
    if let Some(key) = some_segment(&repository).await? {
        next.push(shell::command(&[
            "inspect",
            &Path::new(&dir).join(key).to_string_lossy(),
        ]));
    }
    Ok(next)
}

/// Returns the name of a segment of the first topic.
async fn some_segment(repository: &Repository) -> Result<Option<String>, CliError> {
    let Some(snapshot) = repository.latest().await? else {
        return Ok(None);
    };
    let first = snapshot
        .topics
        .iter()
        .find(|topic| &*topic.name == TOPICS[0].0);
    let Some((topic, state)) = first.and_then(|topic| Some((topic, topic.partitions.first()?)))
    else {
        return Ok(None);
    };
    let segments = repository
        .segments(&snapshot, &topic.partition_id(state.partition), state)
        .await?;
    Ok(segments.into_iter().next().map(|segment| segment.key))
}
