//! Proves that a log continues what is stored of it, before anything is appended.
//!
//! A log keeps its topic id when it loses its latest records: by an unclean leader election, or by a disk that was restored from an
//! older image. Other records then get the same offsets. Where topics have no ids, a topic that was created again looks like that, too.
//!
//! ```text
//! stored    ... c d e . . | end          the source must have e, unchanged, and nothing between e and the end
//! source    ... c d e . . | f g h        continues: f is appended
//! source    ... c D E F G | H            diverged: found by bisection to be at d; c D E F G H become a new history
//! ```
//!
//! One small fetch per partition shows the last stored record. Where it is gone, the records of the last stored blocks are compared:
//! retention and compaction delete records, and what they deleted cannot be compared, which is reported. A leader epoch that ends below what is
//! stored of it proves that the log diverged, whatever the records show.
//!
//! | | |
//! |---|---|
//! | `stored` | reads what is stored: the digests of a block's records |
//! | `comparison` | reads the same offsets from the source, and compares |
//! | `epochs` | asks the leaders whether they still have the last stored leader epoch, where batches are stored |
//! | `divergence` | finds the first stored record that the log no longer has |

mod comparison;
mod divergence;
mod epochs;
mod stored;

use kbk_format::repo::{Id, PartitionId, RepoError, RepoErrorKind, Repository, Snapshot};
use tokio::runtime::Handle;

use self::comparison::{Comparison, Outcome};
pub use self::epochs::TruncatedEpoch;
use self::stored::{StoredPart, Window};
use super::notice::{BackupNotice, Unproved};
use super::plan::{BackupPlan, PlannedPartition, PlannedTopic};
use crate::records::{KafkaError, Transport};
use crate::run::Cancel;

/// Stored blocks that are compared, at most, where compaction has removed the last record.
const BLOCKS: usize = 8;

/// Proves continuity, with these.
pub(super) struct Prover<'a, T> {
    pub(super) repository: &'a Repository,
    /// The snapshot that the run continues.
    pub(super) base: Option<&'a Snapshot>,
    pub(super) runtime: &'a Handle,
    pub(super) transport: &'a T,
    pub(super) cancel: &'a Cancel,
}

/// Why a proof was not finished.
#[derive(Debug, thiserror::Error)]
pub enum ContinuityError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A stop was requested.
    #[error("stopped before anything was read")]
    Cancelled,
}

/// What a comparison says about a partition.
#[derive(Debug)]
enum Verdict {
    Continues,
    /// Nothing differs, and nothing proves that the log is the same.
    Unproved(Unproved),
    /// With the leader epoch that proves it, where one does.
    Diverged(Option<TruncatedEpoch>),
    /// The source does not deliver the records to compare with.
    Unreadable(KafkaError),
}

/// Where a log is known to differ from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Divergence {
    /// The first stored offset that the log does not have any more.
    offset: i64,
    /// The leader epoch that proves it, where one does.
    truncated: Option<TruncatedEpoch>,
}

/// A partition of the plan, by the indices of its topic and of itself.
type PlanIndex = (usize, usize);

impl<T: Transport> Prover<'_, T> {
    /// Proves that every partition that the plan appends to continues what is stored of it.
    ///
    /// A topic whose log diverged is planned anew: as a new history, from the start of its logs. What an interrupted run left is
    /// adopted only if the log still has it. Blocks; must not be called from asynchronous code.
    pub(super) fn prove(&self, plan: &mut BackupPlan) -> Result<(), ContinuityError> {
        let mut places = to_prove(plan);
        while !places.is_empty() {
            let verdicts = self.verdicts(plan, &places)?;
            places = Vec::new();
            for (place, verdict) in verdicts {
                if self.apply(plan, place, verdict)? {
                    places.push(place);
                }
            }
        }
        for topic in &mut plan.topics {
            if topic.partitions.iter().any(|it| it.diverged.is_some()) {
                plan.notices.extend(diverged(topic));
                topic.begin_history(Id::random());
            }
        }
        Ok(())
    }

    /// Notes a verdict in the plan. Returns whether the partition must be looked at again, without what an interrupted run left.
    fn apply(
        &self,
        plan: &mut BackupPlan,
        place: PlanIndex,
        verdict: Verdict,
    ) -> Result<bool, ContinuityError> {
        let topic = &mut plan.topics[place.0];
        let name = topic.name.clone();
        let partition = &mut topic.partitions[place.1];
        let number = partition.partition;
        match verdict {
            Verdict::Continues => {}
            Verdict::Unproved(reason) => plan.notices.push(BackupNotice::Unproved {
                topic: name,
                partition: number,
                stored_end_offset: partition.read.start,
                reason,
            }),
            Verdict::Diverged(_) if !partition.adopted.segments.is_empty() => {
                tracing::warn!(
                    "{name}/{number}: the log has changed since the interrupted run, whose segments are not adopted"
                );
                partition.disown();
                return Ok(partition.must_be_proved());
            }
            Verdict::Diverged(truncated) => {
                let offset = divergence::find(self, topic, place.1, truncated)?;
                topic.partitions[place.1].diverged = Some(Divergence { offset, truncated });
            }
            Verdict::Unreadable(error) => {
                let cause = error.within(&name, number);
                partition.skip(cause.clone());
                plan.notices.push(BackupNotice::Unreadable {
                    topic: name,
                    partition: number,
                    stored_end_offset: partition.read.start,
                    cause,
                });
            }
        }
        Ok(false)
    }

    fn verdicts(
        &self,
        plan: &BackupPlan,
        places: &[PlanIndex],
    ) -> Result<Vec<(PlanIndex, Verdict)>, ContinuityError> {
        let mut verdicts = Vec::with_capacity(places.len());
        let (mut asked, mut windows) = (Vec::new(), Vec::new());
        let (mut ended, mut epochs) = (Vec::new(), Vec::new());
        for &place in places {
            let (topic, partition) = at(plan, place);
            let blocks = self.last_blocks(topic, partition, 1);
            if partition.visible_end() < partition.read.start {
                // The epoch says why, and is not needed to know it.
                let last = blocks.ok().and_then(|mut blocks| blocks.pop());
                ended.push((place, last.and_then(|window| window.epoch)));
                continue;
            }
            match blocks {
                Ok(mut blocks) => {
                    let window = blocks.pop().map(Window::last_record);
                    let id = topic.partition_id(partition.partition);
                    let window = window.unwrap_or_else(|| Window::without_segments(id, partition));
                    let damaged = partition
                        .stored
                        .as_ref()
                        .map_or(0, |it| it.damaged_offsets());
                    if window.records.is_empty() && damaged > 0 {
                        let reason = Unproved::Damaged;
                        verdicts.push((place, Verdict::Unproved(reason)));
                        continue;
                    }
                    asked.push(place);
                    epochs.push((place, window.epoch));
                    windows.push(window);
                }
                Err(error) => verdicts.push((place, Verdict::Unproved(unreadable_copy(error)?))),
            }
        }
        epochs.extend_from_slice(&ended);
        let mut truncated = self.truncated_epochs(plan, &epochs)?.into_iter();
        let partitions: Vec<_> = asked.iter().map(|&place| id(plan, place)).collect();
        let compared = self.compare(&partitions, windows)?;
        for ((place, comparison), truncated) in asked.into_iter().zip(compared).zip(&mut truncated)
        {
            let verdict = match truncated {
                Some(_) => Verdict::Diverged(truncated),
                None => self.judge(plan, place, comparison)?,
            };
            verdicts.push((place, verdict));
        }
        for ((place, _), truncated) in ended.into_iter().zip(truncated) {
            verdicts.push((place, Verdict::Diverged(truncated)));
        }
        Ok(verdicts)
    }

    /// Judges what the last stored record showed, or the last blocks where that record is gone.
    fn judge(
        &self,
        plan: &BackupPlan,
        place: PlanIndex,
        mut comparison: Comparison,
    ) -> Result<Verdict, ContinuityError> {
        let log_start_offset = at(plan, place).1.offsets.log_start_offset;
        let missing = match comparison.outcome() {
            Outcome::Missing(missing) => missing,
            outcome => return Ok(outcome.into()),
        };
        // A log that is not compacted loses records only at its start.
        if missing < log_start_offset.max(comparison.gone_below) {
            return Ok(Verdict::Unproved(Unproved::Retention));
        }
        let (topic, partition) = at(plan, place);
        if !topic.may_be_compacted() {
            return Ok(Verdict::Diverged(None));
        }
        let blocks = match self.last_blocks(topic, partition, BLOCKS) {
            Ok(blocks) => blocks,
            Err(error) => return Ok(Verdict::Unproved(unreadable_copy(error)?)),
        };
        for block in blocks {
            for mut compared in self.compare(&[id(plan, place)], vec![block])? {
                match compared.outcome() {
                    Outcome::Missing(_) if compared.same.is_some() => {
                        return Ok(Verdict::Continues);
                    }
                    Outcome::Missing(_) => {}
                    outcome => return Ok(outcome.into()),
                }
            }
        }
        Ok(Verdict::Unproved(Unproved::Compaction))
    }

    /// Reads the last stored blocks that have records, the last one first; its window extends to the end of what is stored.
    fn last_blocks(
        &self,
        topic: &PlannedTopic,
        partition: &PlannedPartition,
        most: usize,
    ) -> Result<Vec<Window>, RepoError> {
        let stored = StoredPart::new((self.repository, self.base), topic, partition);
        self.runtime.block_on(stored.last_blocks(most))
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Same => Verdict::Continues,
            Outcome::Different(_) | Outcome::Missing(_) => Verdict::Diverged(None),
            Outcome::Unreadable(error) => Verdict::Unreadable(error),
        }
    }
}

/// Lists the partitions whose stored part must be compared with the source.
fn to_prove(plan: &BackupPlan) -> Vec<PlanIndex> {
    let topics = plan.topics.iter().enumerate();
    let places = topics.flat_map(|(index, topic)| {
        let partitions = topic.partitions.iter().enumerate();
        let to_prove = partitions.filter(|(_, partition)| partition.must_be_proved());
        to_prove.map(move |(partition, _)| (index, partition))
    });
    places.collect()
}

fn at(plan: &BackupPlan, (topic, partition): PlanIndex) -> (&PlannedTopic, &PlannedPartition) {
    let topic = &plan.topics[topic];
    (topic, &topic.partitions[partition])
}

fn id(plan: &BackupPlan, place: PlanIndex) -> PartitionId {
    let (topic, partition) = at(plan, place);
    topic.partition_id(partition.partition)
}

/// A stored copy that is missing or damaged proves nothing, and must not keep new records from being saved.
fn unreadable_copy(error: RepoError) -> Result<Unproved, RepoError> {
    match error.kind() {
        RepoErrorKind::Missing { .. } | RepoErrorKind::Damaged(_) => Ok(Unproved::StoredCopy {
            cause: error.to_string(),
        }),
        _ => Err(error),
    }
}

/// Describes each partition of a topic whose log is not the stored one.
fn diverged(topic: &PlannedTopic) -> Vec<BackupNotice> {
    let notice = |partition: &PlannedPartition| {
        let Divergence { offset, truncated } = partition.diverged?;
        Some(BackupNotice::Diverged {
            topic: topic.name.clone(),
            partition: partition.partition,
            offset,
            truncated_epoch: truncated,
            stored_end_offset: partition.read.start,
            high_watermark: partition.offsets.high_watermark,
        })
    };
    topic.partitions.iter().filter_map(notice).collect()
}
