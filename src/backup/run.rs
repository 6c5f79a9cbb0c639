//! A backup, from the survey of the cluster to the committed snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kbk_format::repo::{
    Change, Digested, Groups, Identity, RepoError, RepoErrorKind, Repository, Snapshot, Store,
    UnfinishedFiles, WriteBase,
};
use kbk_tools::claims::{HeldClaim, LossSignal};
use kbk_tools::list::Completeness;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::adopt;
use super::base::{self, Base};
use super::change::{change, writer};
use super::claim::{self, Selected};
use super::continuity::{ContinuityError, Prover};
use super::damaged;
use super::error::BackupError;
use super::hidden::Hidden;
use super::notice::BackupNotice;
use super::options::BackupOptions;
use super::partition::SegmentSettings;
use super::pipeline::{self, Finished, PipelineOptions, Reading};
use super::plan::{self, BackupPlan};
use super::recheck::{self, AllStored, LogsNow};
use super::refresh;
use super::report::{BackupReport, report};
use super::survey::{self, Survey, SurveyError};
use crate::blocking::blocking;
use crate::kafka::{Admin, KafkaError};
use crate::records::ChosenTransport;
use crate::run::{Cancel, Committed, Events, RunEvents, Totals};
use crate::select::TopicSelection;

/// The memory for records that librdkafka has fetched ahead.
const FETCH_BYTES: usize = 16 << 20;
/// Segments that are made durable at the same time.
const SEALING: usize = 16;

/// Backs up. Returns `None` if a stop was requested before anything was read: nothing is committed then.
pub async fn run(
    options: &BackupOptions,
    cancel: &Cancel,
    events: Arc<dyn Events>,
) -> Result<Option<BackupReport>, BackupError> {
    let began = Instant::now();
    // A wrong location, and a property that the client cannot honour, are errors before the cluster is contacted.
    let transport = ChosenTransport::new(options.client, options.kafka.clone())?;
    let existing = existing_repository(options).await?;
    let answered = blocking({
        let (options, cancel) = (options.clone(), cancel.clone());
        let creates = existing.is_none();
        move || select_topics(&options, creates, &cancel)
    });
    // A cluster that does not answer takes seconds to time out. The thread that waits for it is abandoned: it owns no resource.
    let (admin, selected) = tokio::select! {
        answered = answered => answered?,
        () = cancel.cancelled() => return Ok(None),
    };
    let repository = match existing {
        Some(repository) => repository,
        // Only now, so that a cluster that does not answer leaves no empty repository behind.
        None => create_repository(options).await?,
    };
    let Some(held) = claim::claim(&repository, &selected, writer(), cancel).await? else {
        return Ok(None);
    };
    let claimed = Claimed {
        repository,
        topics: selected,
        held: &held,
        admin,
        transport,
        began,
    };
    let ended = back_up(options, claimed, cancel, events).await;
    held.release().await;
    ended
}

/// What a run has once its topics are claimed.
struct Claimed<'a> {
    repository: Repository,
    /// The claimed topics; `None` for all.
    topics: Option<BTreeSet<String>>,
    held: &'a HeldClaim,
    admin: Admin,
    transport: ChosenTransport,
    began: Instant,
}

async fn back_up(
    options: &BackupOptions,
    claimed: Claimed<'_>,
    cancel: &Cancel,
    events: Arc<dyn Events>,
) -> Result<Option<BackupReport>, BackupError> {
    let Claimed {
        repository,
        topics,
        held,
        admin,
        transport,
        began,
    } = claimed;
    let prepared = prepare(
        options,
        &repository,
        admin,
        &transport,
        topics,
        held,
        cancel,
    );
    let Some(prepared) = held.unless_lost(prepared).await?? else {
        return Ok(None);
    };
    let Prepared {
        plan,
        newest,
        ignored,
        notices: repository_notices,
        cluster_id,
        started_at,
        read_after,
    } = prepared;

    let mut finished = read(
        options,
        &repository,
        transport,
        &plan,
        cluster_id.clone(),
        (cancel, held.loss()),
        Arc::clone(&events),
    )
    .await;
    // Before anything else goes wrong because of what another run does.
    held.still_held().await?;
    if let Some(error) = finished.error.take() {
        return Err(error.into());
    }
    let interrupted = finished.interrupted;
    let stored = std::mem::take(&mut finished.stored);
    let (plan, stored) = held.unless_lost(recheck(options, plan, stored)).await??;
    finished.stored = stored;
    let (mut change, mut notices) =
        change(plan, finished, newest, read_after, cluster_id, started_at);
    change.ignored = ignored;
    notices.splice(0..0, repository_notices);
    let snapshot = commit(&repository, held, &change).await?;
    events.committed(committed(&snapshot));
    notices.extend(remove_unfinished(&repository, &snapshot).await);
    Ok(Some(report(
        &change,
        notices,
        &snapshot,
        options,
        interrupted,
        began.elapsed(),
    )))
}

/// What a run has before its first record.
struct Prepared {
    plan: BackupPlan,
    /// The snapshot that it continues.
    newest: Option<Digested<Snapshot>>,
    ignored: BTreeSet<u64>,
    /// What the user should know about what is stored.
    notices: Vec<BackupNotice>,
    cluster_id: Option<String>,
    started_at: Timestamp,
    /// The sequence of the newest snapshot before the cluster was asked.
    read_after: u64,
}

/// Plans what to read, from what the cluster and the newest snapshot have. `None` if a stop was requested.
async fn prepare(
    options: &BackupOptions,
    repository: &Repository,
    admin: Admin,
    transport: &ChosenTransport,
    topics: Selected,
    held: &HeldClaim,
    cancel: &Cancel,
) -> Result<Option<Prepared>, BackupError> {
    let started_at = Timestamp::now();
    let read_after = repository.newest_sequence().await?;
    let answered = blocking({
        let (options, cancel) = (options.clone(), cancel.clone());
        move || survey_cluster(&admin, &options, topics.as_ref(), &cancel)
    });
    let survey = tokio::select! {
        survey = answered => survey?,
        () = cancel.cancelled() => return Ok(None),
    };
    let Base {
        snapshot: newest,
        groups: saved,
        ignored,
    } = base::read(repository, &options.ignored_snapshots).await?;
    let mut notices = repository_notices(repository, newest.as_deref(), &ignored).await?;
    check_cluster(options, &survey, newest.as_deref())?;
    let selected_before = selected_before(&options.selection, newest.as_deref());
    let cluster_id = survey.cluster_id.clone();
    let last = newest.clone().map(|newest| (newest, saved.clone()));
    let (survey, hidden) = hidden(options, survey, last, &selected_before).await?;
    let last = (newest.as_deref(), saved.as_ref());
    let mut plan = plan::plan(survey, last, &selected_before, &hidden)?;
    let times = refresh::backup_times(repository, newest.as_deref()).await?;
    refresh::refresh(&mut plan, &times, started_at, options.refresh);
    held.will_commit(write_base(newest.as_deref(), &ignored, &plan))
        .await;
    adopt::adopt(repository, newest.as_deref(), &ignored, &mut plan).await?;
    let base = newest.clone();
    let Some(plan) = prove(repository, base, transport, plan, cancel).await? else {
        return Ok(None);
    };
    notices.extend(damaged::find(repository, newest.as_deref(), &plan).await?);
    Ok(Some(Prepared {
        plan,
        newest,
        ignored,
        notices,
        cluster_id,
        started_at,
        read_after,
    }))
}

/// Returns what a run is going to commit: the partitions that it reads, and that it adopts segments of.
fn write_base(newest: Option<&Snapshot>, ignored: &BTreeSet<u64>, plan: &BackupPlan) -> WriteBase {
    let read = readings(plan).into_iter().map(|reading| reading.id);
    WriteBase::new(newest, ignored.last().copied().unwrap_or(0), read)
}

/// Commits, and says who was first where another run was.
async fn commit(
    repository: &Repository,
    held: &HeldClaim,
    change: &Change,
) -> Result<Digested<Snapshot>, BackupError> {
    held.check().await?;
    match repository.commit(change).await {
        Ok(snapshot) => Ok(snapshot),
        Err(error) => Err(match held.explain(error).await {
            Ok(lost) => lost.into(),
            Err(error) => error.into(),
        }),
    }
}

/// Returns what listeners hear of a snapshot that is durable.
#[must_use]
pub fn committed(snapshot: &Snapshot) -> Committed {
    Committed {
        snapshot: snapshot.sequence,
        at_ms: snapshot.created_at.as_millisecond(),
        complete: Completeness::of(snapshot).complete,
    }
}

/// Returns what the user should know about the repository before anything is added to it.
async fn repository_notices(
    repository: &Repository,
    newest: Option<&Snapshot>,
    ignored: &BTreeSet<u64>,
) -> Result<Vec<BackupNotice>, RepoError> {
    let mut notices: Vec<_> = ignored
        .iter()
        .map(|&snapshot| BackupNotice::IgnoredSnapshot {
            snapshot,
            continued: newest.map(|newest| newest.sequence),
        })
        .collect();
    if let Some(newest) = newest {
        notices.extend(newest.origin.iter().map(|origin| BackupNotice::EndsCopy {
            origin_repository: origin.repository_id.to_string(),
        }));
        let missing = repository.missing_folders(newest).await?;
        notices.extend(
            missing
                .into_iter()
                .map(|folder| BackupNotice::MissingFolder { folder }),
        );
    }
    Ok(notices)
}

/// Removes what interrupted runs left. The snapshot is committed, so a failure is no reason to fail.
async fn remove_unfinished(repository: &Repository, newest: &Snapshot) -> Option<BackupNotice> {
    match repository.remove_unfinished(newest).await {
        Ok(UnfinishedFiles { files: 0, .. }) => None,
        Ok(UnfinishedFiles { files, bytes }) => {
            Some(BackupNotice::RemovedUnfinished { files, bytes })
        }
        Err(error) => {
            tracing::warn!("files that interrupted runs left were not removed: {error}");
            None
        }
    }
}

/// Returns the topics to claim. Fails before a repository is created where a survey would.
fn select_topics(
    options: &BackupOptions,
    creates: bool,
    cancel: &Cancel,
) -> Result<(Admin, Selected), SurveyError> {
    let admin = Admin::connect(&options.kafka)?;
    let selected = claim::selected(&admin, &options.selection)?;
    if creates && selected.is_none() {
        survey_cluster(&admin, options, None, cancel)?;
    }
    Ok((admin, selected))
}

fn survey_cluster(
    admin: &Admin,
    options: &BackupOptions,
    claimed: Option<&BTreeSet<String>>,
    cancel: &Cancel,
) -> Result<Survey, SurveyError> {
    let BackupOptions {
        selection,
        groups,
        acls,
        ..
    } = options;
    let mut survey = survey::survey(admin, selection, *groups, *acls, cancel)?;
    // A topic that was created since is not claimed: the next run has it.
    survey
        .topics
        .retain(|topic| claimed.is_none_or(|claimed| claimed.contains(&topic.description.name)));
    survey.wait_for_open_transactions(admin, options.open_transactions_wait, cancel)?;
    Ok(survey)
}

/// Opens the repository. Returns `None` if there is none and it may be created.
async fn existing_repository(options: &BackupOptions) -> Result<Option<Repository>, RepoError> {
    let opened = match Store::open_at(&options.location) {
        Ok(store) => Repository::open(store).await,
        Err(error) => Err(error),
    };
    match opened {
        Err(error)
            if options.create && matches!(error.kind(), RepoErrorKind::NotARepository { .. }) =>
        {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

async fn create_repository(options: &BackupOptions) -> Result<Repository, RepoError> {
    let store = Store::open_or_create_at(&options.location)?;
    match Repository::check_new(&store, options.single_writer).await {
        Ok(None) => (),
        // Another run has created it meanwhile.
        Err(error) if *error.kind() == RepoErrorKind::AlreadyExists => (),
        Ok(Some(left)) => tracing::warn!("objects of the check are left, and harmless: {left}"),
        Err(error) => return Err(error),
    }
    Repository::open_or_create(store, Identity::fresh()).await
}

/// Fails if the repository holds the topics of another cluster: they would be taken for topics that were deleted and created again.
fn check_cluster(
    options: &BackupOptions,
    survey: &Survey,
    newest: Option<&Snapshot>,
) -> Result<(), BackupError> {
    let stored = newest.and_then(|snapshot| snapshot.cluster_id.clone());
    match (stored, survey.cluster_id.clone()) {
        (Some(stored), Some(found)) if stored != found && !options.allow_cluster_change => {
            Err(BackupError::OtherCluster {
                repository: options.location.to_string(),
                stored,
                found,
            })
        }
        _ => Ok(()),
    }
}

/// Proves that the logs continue what is stored, and plans new histories for those that do not. `None` if a stop was requested.
async fn prove(
    repository: &Repository,
    base: Option<Digested<Snapshot>>,
    transport: &ChosenTransport,
    mut plan: BackupPlan,
    cancel: &Cancel,
) -> Result<Option<BackupPlan>, ContinuityError> {
    let (repository, transport) = (repository.clone(), transport.clone());
    let (runtime, cancel) = (Handle::current(), cancel.clone());
    blocking(move || {
        let prover = Prover {
            repository: &repository,
            base: base.as_deref(),
            runtime: &runtime,
            transport: &transport,
            cancel: &cancel,
        };
        match prover.prove(&mut plan) {
            Ok(()) => Ok(Some(plan)),
            Err(ContinuityError::Cancelled) => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Leaves out what was read of logs that have changed since the survey.
async fn recheck(
    options: &BackupOptions,
    mut plan: BackupPlan,
    mut stored: AllStored,
) -> Result<(BackupPlan, AllStored), KafkaError> {
    let kafka = options.kafka.clone();
    blocking(move || {
        let appended = recheck::appended(&stored);
        let now = match appended.as_slice() {
            [] => LogsNow::default(),
            appended => LogsNow::ask(&Admin::connect(&kafka)?, appended)?,
        };
        recheck::leave_out_changed(&mut plan, &mut stored, &now);
        Ok((plan, stored))
    })
    .await
}

/// Asks for what the newest snapshot has and the cluster did not list; returns what it may have all the same, and the survey.
async fn hidden(
    options: &BackupOptions,
    survey: Survey,
    last: Option<(Digested<Snapshot>, Option<Groups>)>,
    selected: &[String],
) -> Result<(Survey, Hidden), KafkaError> {
    let Some((newest, saved)) = last else {
        return Ok((survey, Hidden::default()));
    };
    let (kafka, selected) = (options.kafka.clone(), selected.to_vec());
    blocking(move || {
        let last = (&*newest, saved.as_ref());
        let hidden = Hidden::find(&kafka, &survey, last, &selected)?;
        Ok((survey, hidden))
    })
    .await
}

/// Returns the topics of the newest snapshot that the selection covers.
fn selected_before(selection: &TopicSelection, newest: Option<&Snapshot>) -> Vec<String> {
    let topics = newest.map_or(&[][..], |snapshot| &snapshot.topics);
    selection
        .select(topics.iter().map(|topic| (&*topic.name, topic.internal)))
        // A pattern that matches no topic there is no mistake: the snapshot may be older than the topic.
        .unwrap_or_default()
}

async fn read(
    options: &BackupOptions,
    repository: &Repository,
    transport: ChosenTransport,
    plan: &BackupPlan,
    cluster_id: Option<String>,
    (cancel, lost): (&Cancel, LossSignal),
    events: Arc<dyn Events>,
) -> Finished {
    for topic in &plan.topics {
        // What an open transaction holds back lags as well, and this run will not read it.
        let lag = topic.partitions.iter().map(|partition| {
            let end = partition.read.end.max(partition.offsets.high_watermark);
            end.saturating_sub(partition.read.start)
                .max(0)
                .unsigned_abs()
        });
        events.lags(&topic.name, lag.sum());
    }
    let readings = readings(plan);
    // One record per offset at most: those without one are subtracted as they are read.
    let totals = Totals {
        records: Some(readings.iter().map(Reading::offsets).sum()),
        bytes: None,
    };
    let pipeline_options = PipelineOptions {
        segments: SegmentSettings {
            store: repository.store().clone(),
            runtime: Handle::current(),
            cluster_id,
            writer: writer(),
            segment_bytes: options.segment_bytes,
            sealing: Arc::new(Semaphore::new(SEALING)),
            events: Arc::clone(&events),
        },
        compression: options.compression,
        block_bytes: options.block_bytes,
        encoding: options.encoding,
        encoders: std::thread::available_parallelism().map_or(1, usize::from),
        fetch_bytes: FETCH_BYTES,
        lost,
    };
    let cancel = cancel.clone();
    blocking(move || {
        let events = RunEvents::start(events, totals);
        pipeline::run(&pipeline_options, &transport, readings, &cancel, &events)
    })
    .await
}

/// Returns the partitions that have offsets to read.
pub(super) fn readings(plan: &BackupPlan) -> Vec<Reading> {
    let of_topic = |topic: &plan::PlannedTopic| -> Vec<Reading> {
        let reading = |partition: &plan::PlannedPartition| Reading {
            id: topic.partition_id(partition.partition),
            range: partition.read.clone(),
            timestamp_type: topic.timestamp_type(),
        };
        topic
            .partitions
            .iter()
            .filter(|partition| !partition.read.is_empty())
            .map(reading)
            .collect()
    };
    plan.topics.iter().flat_map(of_topic).collect()
}
