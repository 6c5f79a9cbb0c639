//! Restores the records of a plan.
//!
//! The order of changes:
//!
//! 1. a run that resumes says who it is ([`takeover`](super::write::takeover)), and producers take over their transactional ids, which fences
//!    earlier runs;
//! 2. begun.json is durable;
//! 3. topics are created with a configuration that keeps every record as it is;
//! 4. permissions are checked, and a commit is tried;
//! 5. targets.json is durable: from here on the targets must stay the same topics;
//! 6. targets are claimed, and must be as they were when the restore was planned ([`claims`](super::write::claims));
//! 7. targets are emptied, if asked for, up to the offset in begun.json, so that repeating it deletes nothing new;
//! 8. records are written, acknowledged and committed, each transaction with its part of the offset map ([`writer`](super::write::writer));
//! 9. consumers can read them: a broker acknowledges a commit before its markers are in the partitions;
//! 10. targets are the same topics, and hold everything that was written, and nothing else;
//! 11. records are read back and compared, if asked for;
//! 12. topics get their saved configuration, which may delete or compact records at once.
//!
//! What was asked for besides follows ([`run`](super::run)), and then [`mark_done`]: done.json is durable, and the groups that kept the
//! progress are deleted.
//!
//! A restore that stops in between, or finds a difference, leaves topics with too many records rather than too few. One in transactions can
//! be resumed from its last commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kbk_format::repo::{
    DonePartition, OffsetAndMetadata, PartitionId, RepoError, Repository, RestoreDone,
    RestoreManifest, RestoreTargets,
};
use kbk_tools::restores::sweep_map_pages;
use tokio::runtime::Handle;

use super::context::RestoreContext;
use super::error::RestoreError;
use super::plan::restore_plan::{RestorePlan, TopicPlan, committed_at};
use super::plan::{producer_count, rights};
use super::report::{RestoreReport, UnexpectedRecords};
use super::verify::known::Known;
use super::verify::{head, one_to_one, quiescence, repartitioned, targets, unexpected};
use super::write::claims::Claims;
use super::write::halt::Halt;
use super::write::offset_map::OffsetMap;
use super::write::producers::Producers;
use super::write::rate::Throttle;
use super::write::takeover::Run;
use super::write::work::Work;
use super::write::writer::{self, Shared, Writer};
use crate::compare::{self, CompareError, PartitionComparison};
use crate::kafka::{Admin, ClientSettings, KafkaError, OffsetCommit, Positions, TopicPartition};
use crate::memory;
use crate::records::{ChosenTransport, RecordSink, StopRequest, Transport};
use crate::run::{Cancel, Events, RunEvents, Totals};
use crate::select::DropHeaders;

/// What a restore of records leaves to be done.
pub(crate) struct Restored {
    pub(crate) report: RestoreReport,
    plan: RestorePlan,
    /// `None` where not every record is restored, or one differs.
    pub(crate) done: Option<RestoreDone>,
    /// Whether there may be offset map pages that are not part of any map.
    leftovers: bool,
    /// Whether this run said in the cluster who it is.
    taken_over: bool,
}

/// Restores the records of `plan`. Blocks; must not be called from asynchronous code.
pub(crate) fn restore(
    mut plan: RestorePlan,
    repository: &Repository,
    kafka: &ClientSettings,
    cancel: &Cancel,
    events: Arc<dyn Events>,
    runtime: &Handle,
) -> Result<Restored, RestoreError> {
    let began = Instant::now();
    if !plan.resumed {
        plan.manifest.started_at = Timestamp::now();
    }
    let plan = plan;
    let events = RunEvents::start(events, totals(&plan));
    let admin = Admin::connect(kafka)?;
    let work = Work::new(&plan);
    let transport = ChosenTransport::new(plan.client, kafka.clone())?;
    let halt = Halt::by(cancel);
    let producers = Producers {
        work: &work,
        manifest: &plan.manifest,
        transport: &transport,
        count: match plan.manifest.producers {
            0 => producer_count(work.targets.len(), plan.client),
            transactional => transactional,
        },
        stop: StopRequest::new({
            let halt = halt.clone();
            move || halt.is_set()
        }),
        timeout: kafka.timeout(),
        run: match plan.resumed && plan.is_transactional() {
            true => Run::take_over(&plan.manifest, "restore --resume", &admin)?,
            false => Run::first(),
        },
    };
    let context = RestoreContext {
        manifest: &plan.manifest,
        repository,
        cancel,
        runtime,
    };
    let claims = (plan.is_transactional() && !plan.manifest.append)
        .then(|| Claims::new(&transport, &plan.manifest.restore, &work.targets));
    let Prepared {
        sinks,
        topics_created,
        targets,
    } = prepare(&plan, &producers, claims.as_ref(), &admin, context)?;
    let shared = Shared {
        work: &work,
        context,
        halt,
        keep_map: plan.offset_map,
        drop_headers: DropHeaders::new(plan.manifest.drop_headers.iter().cloned()),
        throttle: Throttle::new(plan.rate_limit, Instant::now()),
        claims: claims.as_ref(),
        events: &events,
    };
    let reached = match plan.resumed {
        true => reached(context, &plan, (kafka, &transport))?,
        false => BTreeMap::new(),
    };
    work.start(&plan, reached, &events);
    if plan.resumed {
        targets::check(&admin, &plan, &targets, &work.written())?;
    }
    if let Err(error) = write_all(&shared, &producers, sinks) {
        sweep_if_done(&error, plan.offset_map, context);
        return Err(error);
    }
    // The producers' queues are freed before the comparison fills its own.
    memory::give_back();
    let unexpected = settle(&plan, &targets, &work, &admin, (kafka, cancel))?;
    if let Some(claims) = claims.as_ref().filter(|_| !cancel.is_set()) {
        claims.release(&admin);
    }
    let (partitions, records) = (work.targets.len(), work.records());
    let dropped_headers = work.dropped_headers();
    // A run that was killed and a transaction that was rolled back leave offset map pages that do not count.
    let leftovers = plan.resumed || work.has_repeated();
    let taken_over = producers.run.is_announced();
    let partitions_done = work.into_done();
    let proof = match plan.verify && !cancel.is_set() {
        true => compare_all(&plan, &partitions_done, context, kafka)?,
        false => None,
    };
    let report = RestoreReport {
        restore: plan.manifest.restore.clone(),
        snapshot: plan.manifest.snapshot.sequence,
        saved: plan.saved.clone(),
        lost_offsets: plan.lost_offsets,
        expired_offsets: plan.expired_offsets,
        resumed: plan.resumed,
        transactions: plan.is_transactional(),
        offset_map: plan.offset_map,
        topics_created,
        topics: plan.manifest.topics.len(),
        partitions,
        purged_records: plan.purged().map(|(_, records)| records).sum(),
        records,
        dropped_headers,
        config_missing: config_missing(&plan),
        retention_off: retention_off(&plan).into_keys().collect(),
        retention_saved: retention_off(&plan),
        bootstrap_servers: kafka.bootstrap_servers().to_owned(),
        proof,
        unexpected,
        interrupted: cancel.is_set(),
        seconds: 0.0,
    };
    if report.is_complete() {
        configure(&plan, &admin)?;
    }
    let done = match report.is_complete() {
        true => Some(RestoreDone {
            restore: report.restore.clone(),
            sequence: runtime.block_on(repository.next_restore_done())?,
            finished_at: Timestamp::now(),
            records,
            partitions: partitions_done,
        }),
        false => None,
    };
    Ok(Restored {
        report: RestoreReport {
            seconds: began.elapsed().as_secs_f64(),
            ..report
        },
        taken_over,
        plan,
        done,
        leftovers,
    })
}

fn totals(plan: &RestorePlan) -> Totals {
    let partitions = plan.topics().flat_map(|topic| topic.partitions());
    Totals {
        records: Some(partitions.map(|partition| partition.reading.records).sum()),
        bytes: None,
    }
}

/// What a restore has before its first record.
struct Prepared<S> {
    sinks: Vec<S>,
    topics_created: usize,
    targets: RestoreTargets,
}

/// Does everything that precedes the first record: what may fail comes first, and what deletes comes last.
fn prepare<T: Transport>(
    plan: &RestorePlan,
    producers: &Producers<'_, T>,
    claims: Option<&Claims<'_>>,
    admin: &Admin,
    context: RestoreContext<'_>,
) -> Result<Prepared<T::Sink>, RestoreError> {
    let mut sinks = producers.open_all()?;
    if !plan.resumed && plan.offset_map {
        let begun = context.repository.begin_restore(&plan.manifest);
        context.runtime.block_on(begun)?;
    }
    let recorded = match plan.resumed {
        true => targets::recorded(context, admin)?,
        false => None,
    };
    let topics_created = create_topics(admin, plan)?;
    let known = Known::new(plan, producers.timeout, context.cancel);
    check_rights(admin, plan, &known)?;
    for sink in &mut sinks {
        // Only now: librdkafka caches for a while that a topic does not exist.
        sink.set_targets(producers.work.targets.clone())?;
    }
    if plan.is_transactional()
        && let [sink, ..] = sinks.as_mut_slice()
    {
        sink.try_commit(&first_positions(&plan.manifest))?;
    }
    let targets = match recorded {
        Some(targets) => targets,
        None => targets::record(context, plan, &known, admin)?,
    };
    if let Some(claims) = claims {
        if plan.resumed {
            claims.check_others()?;
        }
        known.once(|| claims.take(admin))?;
    }
    if !plan.resumed {
        targets::check_unwritten(admin, plan, &known)?;
    }
    purge(admin, plan)?;
    Ok(Prepared {
        sinks,
        topics_created,
        targets,
    })
}

fn create_topics(admin: &Admin, plan: &RestorePlan) -> Result<usize, KafkaError> {
    let mut created = 0;
    for topic in plan.topics() {
        if let Some(create) = topic.create() {
            admin.create_topic(topic.target(), create)?;
            created += 1;
        }
    }
    Ok(created)
}

/// Checks permissions again: those on created topics could not be checked before. Each broker takes a moment to learn of a new topic.
fn check_rights(admin: &Admin, plan: &RestorePlan, known: &Known<'_>) -> Result<(), RestoreError> {
    let topics: Vec<TopicPlan<'_>> = plan.topics().collect();
    let missing = known.once(|| rights::missing_on(admin, plan, &topics))?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(RestoreError::MissingRights(missing)),
    }
}

/// Returns one position per topic and group, to try whether positions can be committed at all.
fn first_positions(manifest: &RestoreManifest) -> Positions {
    let mut positions = Positions::new();
    for topic in &manifest.topics {
        let mut groups = BTreeSet::new();
        for index in 0..topic.partitions.len() {
            let at = committed_at(manifest, topic, index);
            if !groups.insert(at.group.clone()) {
                continue;
            }
            positions.entry(at.group).or_default().push(OffsetCommit {
                topic: at.topic.to_string(),
                partition: at.partition,
                committed: OffsetAndMetadata {
                    offset: 0,
                    metadata: String::new(),
                },
            });
        }
    }
    positions
}

/// Deletes the records that the targets held when the restore was planned.
fn purge(admin: &Admin, plan: &RestorePlan) -> Result<(), KafkaError> {
    let mut before = Vec::new();
    for topic in plan.topics().filter(|topic| topic.restored.purge) {
        let targets = topic.restored.targets.iter();
        let held = targets.filter(|target| target.offset > 0);
        before.extend(held.map(|target| {
            let partition = TopicPartition::new(topic.target(), target.partition);
            (partition, target.offset)
        }));
    }
    admin.delete_records(&before)
}

/// Returns the positions that earlier runs committed, with the offset maps that they name.
fn reached(
    context: RestoreContext<'_>,
    plan: &RestorePlan,
    (kafka, transport): (&ClientSettings, &impl Transport),
) -> Result<BTreeMap<PartitionId, (i64, OffsetMap)>, RestoreError> {
    let (mut committed_at, mut unknown) = (Vec::new(), BTreeSet::new());
    for (id, position) in positions(plan, transport)? {
        match position {
            Some(committed) => committed_at.push((id, committed)),
            None => {
                unknown.insert(id);
            }
        }
    }
    head::check(context, plan, &unknown, kafka)?;
    let mut reached = BTreeMap::new();
    for (id, committed) in committed_at {
        let Some(map) = map_of(context, &id, &committed)? else {
            return Err(RestoreError::Progress {
                restore: context.manifest.restore.clone(),
                partition: id.to_string(),
                committed,
            });
        };
        reached.insert(id, (committed.offset, map));
    }
    Ok(reached)
}

/// Returns the position of each partition that the cluster has, by source partition.
fn positions(
    plan: &RestorePlan,
    transport: &impl Transport,
) -> Result<BTreeMap<PartitionId, Option<OffsetAndMetadata>>, KafkaError> {
    let mut by_group: BTreeMap<String, Vec<(PartitionId, TopicPartition)>> = BTreeMap::new();
    for topic in plan.topics() {
        for (index, partition) in topic.partitions().enumerate() {
            let at = committed_at(&plan.manifest, topic.restored, index);
            let committed_at = TopicPartition::new(at.topic.to_string(), at.partition);
            let id = partition.reading.read.partition_id().clone();
            by_group
                .entry(at.group)
                .or_default()
                .push((id, committed_at));
        }
    }
    let mut positions = BTreeMap::new();
    for (group, partitions) in by_group {
        let asked: Vec<_> = partitions.iter().map(|(_, at)| at.clone()).collect();
        let found = transport.committed(&group, &asked)?;
        let ids = partitions.into_iter().map(|(id, _)| id);
        positions.extend(ids.zip(found));
    }
    Ok(positions)
}

/// Returns the offset map that a committed position names; `None` if no restore wrote that position.
fn map_of(
    context: RestoreContext<'_>,
    partition: &PartitionId,
    committed: &OffsetAndMetadata,
) -> Result<Option<OffsetMap>, RepoError> {
    let Some(sha256) = writer::page_of(committed) else {
        return Ok(None);
    };
    let restore = &context.manifest.restore;
    let page = context.repository.map_page(restore, partition, &sha256);
    let page = context.runtime.block_on(page)?;
    let covers = page.end_offset == committed.offset;
    let empty = OffsetMap::empty(restore.clone(), partition.clone());
    Ok(covers.then(|| empty.continued(sha256, page.value)))
}

/// Runs a writer per producer. Once one has failed, the others commit what they have sent and end; then its error is returned.
fn write_all<T: Transport>(
    shared: &Shared<'_>,
    producers: &Producers<'_, T>,
    sinks: Vec<T::Sink>,
) -> Result<(), RestoreError> {
    thread::scope(|scope| {
        let write = |(number, sink)| {
            scope.spawn(move || {
                let written = Writer::new(shared, producers, number, sink).run();
                written.unwrap_or_else(|error| shared.halt.fail(error));
            });
        };
        // The end of the scope joins the threads, and panics if one has.
        sinks.into_iter().enumerate().for_each(write);
    });
    shared.halt.outcome()
}

/// Removes the offset map pages of a run that failed, if another run has finished the restore. That run removed such pages once done.json was
/// durable, and this one may have written some since: it learns that it was fenced only when it sends something. Where there is no done.json yet,
/// whoever writes it removes the pages.
fn sweep_if_done(error: &RestoreError, keep_map: bool, context: RestoreContext<'_>) {
    let RestoreContext {
        manifest,
        repository,
        runtime,
        ..
    } = context;
    // A repository that failed is not asked again.
    if !keep_map || matches!(error, RestoreError::Repo(_)) {
        return;
    }
    let swept = runtime.block_on(async {
        match repository.restore_done(&manifest.restore).await? {
            // What done.json leads to stays, whichever run wrote it: runs may write the same page.
            Some(done) => sweep_map_pages(repository, &done).await,
            None => Ok(()),
        }
    });
    if let Err(error) = swept {
        tracing::debug!("offset map pages of uncommitted transactions stay: {error}");
    }
}

/// Waits until everything that is written can be read, and checks that the targets still hold it. Returns the targets that hold more. After
/// a signal, only waits for a short time.
fn settle(
    plan: &RestorePlan,
    targets: &RestoreTargets,
    work: &Work,
    admin: &Admin,
    (kafka, cancel): (&ClientSettings, &Cancel),
) -> Result<Vec<UnexpectedRecords>, RestoreError> {
    let written = work.written();
    if plan.is_transactional() {
        let ends = written.iter();
        let ends = ends.filter_map(|(target, written)| Some((target.clone(), written.end()?)));
        let held_up = quiescence::wait(admin, &ends.collect(), kafka.timeout(), cancel)?;
        if !cancel.is_set() && !held_up.is_empty() {
            return Err(RestoreError::HeldUp(held_up));
        }
    }
    if cancel.is_set() {
        return Ok(Vec::new());
    }
    let bounds = targets::check(admin, plan, targets, &written)?;
    // Others may write to a target that is appended to.
    if plan.manifest.append || plan.resumed || work.has_repeated() {
        return Ok(Vec::new());
    }
    Ok(unexpected::find(plan, &written, &bounds, kafka, cancel)?)
}

/// Compares everything that was restored; `None` if a signal stopped it.
fn compare_all(
    plan: &RestorePlan,
    done: &[DonePartition],
    context: RestoreContext<'_>,
    kafka: &ClientSettings,
) -> Result<Option<Vec<PartitionComparison>>, RestoreError> {
    tracing::info!("reading the records back");
    let maps = done
        .iter()
        .map(|done| (done.partition_id(), done))
        .collect();
    let expected = one_to_one::expected(plan);
    let one_to_one = compare::compare(
        expected,
        plan.client,
        kafka,
        context.cancel,
        context.runtime,
    );
    let mut by_key = plan
        .topics()
        .filter(|topic| topic.restored.repartitioned().is_some());
    let all = one_to_one.and_then(|one_to_one| {
        by_key.try_fold(one_to_one, |mut all, topic| {
            all.extend(repartitioned::compare(
                topic,
                &maps,
                context,
                plan.client,
                kafka,
            )?);
            Ok(all)
        })
    });
    match all {
        Ok(compared) => Ok(Some(compared)),
        Err(CompareError::Cancelled) => Ok(None),
        Err(CompareError::Kafka(error)) => Err(error.into()),
        Err(CompareError::Repo(error)) => Err(RestoreError::NotCompared(error)),
    }
}

/// Returns the topics that are created without their saved configuration.
fn config_missing(plan: &RestorePlan) -> Vec<String> {
    let missing = plan.topics().filter(TopicPlan::config_missing);
    missing.map(|topic| topic.target().to_owned()).collect()
}

/// Returns the topics whose retention stays off, with the retention that they do not get back.
fn retention_off(plan: &RestorePlan) -> BTreeMap<String, BTreeMap<String, Option<String>>> {
    plan.topics()
        .filter(|topic| topic.retention_stays_off())
        .map(|topic| (topic.target().to_owned(), topic.retention_off().clone()))
        .collect()
}

/// Gives topics their saved configuration.
fn configure(plan: &RestorePlan, admin: &Admin) -> Result<(), KafkaError> {
    for topic in plan.topics() {
        if let Some(changes) = topic.config_afterwards() {
            admin.alter_topic_config(topic.target(), changes)?;
        }
    }
    Ok(())
}

/// Marks a restore as done, if it is. From done.json on, the offset map no longer needs the cluster. Blocks; must not be called from
/// asynchronous code.
pub(crate) fn mark_done(
    restored: Restored,
    repository: &Repository,
    kafka: &ClientSettings,
    runtime: &Handle,
) -> Result<RestoreReport, RestoreError> {
    let Restored {
        report,
        plan,
        done,
        leftovers,
        taken_over,
    } = restored;
    let Some(done) = done else {
        return Ok(report);
    };
    if plan.offset_map {
        runtime.block_on(repository.finish_restore(&done))?;
        if leftovers && let Err(error) = runtime.block_on(sweep_map_pages(repository, &done)) {
            tracing::debug!("offset map pages of uncommitted transactions stay: {error}");
        }
    }
    if plan.is_transactional() {
        let mut groups = plan.manifest.groups();
        groups.extend(taken_over.then(|| plan.manifest.run_group()));
        match Admin::connect(kafka) {
            Ok(admin) => groups.iter().for_each(|group| delete_group(&admin, group)),
            Err(error) => tracing::info!(
                "{} stay in the cluster and are not needed: {error}",
                groups.join(", ")
            ),
        }
    }
    Ok(report)
}

/// Deletes a group that kept the progress. One that stays is harmless; brokers may refuse while its last member is leaving.
pub(crate) fn delete_group(admin: &Admin, group: &str) {
    const TRIES: u32 = 5;
    for attempt in 1..=TRIES {
        match admin.delete_groups(&[group]) {
            Ok(()) => return,
            Err(error) if attempt == TRIES => {
                tracing::info!("group {group} stays in the cluster and is not needed: {error}");
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}
