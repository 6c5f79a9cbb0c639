//! Segments that the newest snapshot of the copy names, and that are missing there or have another size: those that the origin still has
//! are sent again.
//!
//! Only listings are compared, as by [`check_sizes`]. Only names that a snapshot needs are written, and none that a prune deletes.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    Digested, Key, PartitionId, PartitionState, RepoError, Repository, SegmentEntry, Snapshot,
};

use super::error::{CopyError, SnapshotError};
use super::plan::{damage, found_in};
use super::report::{CopyFinding, CopyFindingKind};
use super::transfer::{TRANSFERS, Transfer, TransferError, Transferred};
use crate::verify::{Finding, FindingKind, check_sizes};

/// What was found, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// Number of segments that were looked for.
    pub(super) checked: u64,
    /// Segments that were sent again, or would be.
    pub(super) sent: Vec<SegmentEntry>,
    /// What is still missing.
    pub(super) findings: Vec<CopyFinding>,
    /// Whether a signal ended it.
    pub(super) stopped: bool,
}

/// Looks for the segments of a copy.
pub(super) struct Repair<'a> {
    pub(super) origin: &'a Repository,
    /// The snapshot of the origin.
    pub(super) original: &'a Digested<Snapshot>,
    /// The destination, as it is stored.
    pub(super) destination: &'a Repository,
    /// The newest snapshot there.
    pub(super) copy: &'a Digested<Snapshot>,
    pub(super) transfer: Transfer<'a>,
    pub(super) dry_run: bool,
}

/// A segment of the copy that is not as its row states.
struct Lost {
    id: PartitionId,
    end_offset: i64,
    entry: SegmentEntry,
    message: String,
}

impl Repair<'_> {
    /// Checks the topics that `selects` returns true for.
    ///
    /// # Errors
    ///
    /// That a repository does not answer. What is missing is a finding.
    pub(super) async fn run(
        &self,
        selects: impl Fn(&kbk_format::repo::TopicState) -> bool,
    ) -> Result<Repaired, CopyError> {
        let check = check_sizes(self.destination, self.copy, selects).await?;
        let mut repaired = Repaired {
            checked: check.segments,
            ..Repaired::default()
        };
        let mut of_segments: BTreeMap<PartitionId, BTreeMap<String, Finding>> = BTreeMap::new();
        for finding in check.findings {
            match segment(&finding) {
                Some((id, key)) => drop(of_segments.entry(id).or_default().insert(key, finding)),
                None => repaired
                    .findings
                    .push(self.finding(None, &in_one_line(&finding))),
            }
        }
        let mut lost = Vec::new();
        for (id, found) in of_segments {
            let found = self.lost(id, &found, &mut repaired.findings).await?;
            lost.extend(found);
        }
        self.send(lost, &mut repaired).await?;
        Ok(repaired)
    }

    /// Returns the segments of a partition that the origin has, too, and adds findings of the others.
    async fn lost(
        &self,
        id: PartitionId,
        found: &BTreeMap<String, Finding>,
        findings: &mut Vec<CopyFinding>,
    ) -> Result<Vec<Lost>, CopyError> {
        let Some(state) = self.copy.partition(&id) else {
            return Ok(Vec::new());
        };
        let stored = self.destination.segments(self.copy, &id, state).await?;
        let original = self.original_segments(&id).await?;
        let adoptable = self
            .destination
            .adoptable(Some(&self.copy.manifest), &BTreeSet::new())
            .await?;
        let end_offset = state.end_offset;
        let mut lost = Vec::new();
        for entry in stored {
            let Some(finding) = found.get(&entry.key) else {
                continue;
            };
            let message = in_one_line(finding);
            let is_doomed = Key::parse(&entry.key).is_none_or(|key| !adoptable.has(&key));
            let reason = match &original {
                Err(damage) => Some(format!("the original does not show its segments: {damage}")),
                Ok(_) if is_doomed => Some("a prune of the copy may be deleting it".to_owned()),
                Ok(original) if !original.iter().any(|it| is_same(it, &entry)) => Some(format!(
                    "snapshot {} of the original does not have it any more",
                    self.original.sequence
                )),
                Ok(_) => None,
            };
            match reason {
                Some(reason) => {
                    let message = format!("{message}; it was not sent again: {reason}");
                    findings.push(self.finding(Some((&id, end_offset)), &message));
                }
                None => lost.push(Lost {
                    id: id.clone(),
                    end_offset,
                    entry,
                    message,
                }),
            }
        }
        Ok(lost)
    }

    /// Returns the segments of a partition in the origin, or why they are not known.
    async fn original_segments(
        &self,
        id: &PartitionId,
    ) -> Result<Result<Vec<SegmentEntry>, String>, CopyError> {
        let state: Option<&PartitionState> = self.original.partition(id);
        let Some(state) = state else {
            return Ok(Ok(Vec::new()));
        };
        match self.origin.segments(self.original, id, state).await {
            Ok(segments) => Ok(Ok(segments)),
            Err(error) => self.reason(error).await.map(Err),
        }
    }

    /// Returns why the origin does not have something any more.
    async fn reason(&self, error: RepoError) -> Result<String, CopyError> {
        match damage(self.origin, self.original.sequence, error).await {
            Ok(damage) => Ok(damage),
            Err(SnapshotError::Forgotten) => {
                let sequence = self.original.sequence;
                Ok(format!("snapshot {sequence} was forgotten meanwhile"))
            }
            Err(SnapshotError::Copy(error)) => Err(error),
        }
    }

    async fn send(&self, lost: Vec<Lost>, repaired: &mut Repaired) -> Result<(), CopyError> {
        if self.dry_run {
            repaired.sent = lost.into_iter().map(|lost| lost.entry).collect();
            return Ok(());
        }
        let mut ended = stream::iter(lost)
            .map(async |lost| {
                if self.transfer.events.is_stopped() {
                    return (lost, Ok(None));
                }
                let sent = self.transfer.run(&lost.id, &lost.entry, None).await;
                (lost, sent.map(Some))
            })
            .buffer_unordered(TRANSFERS);
        while let Some((lost, sent)) = ended.next().await {
            let reason = match sent {
                Ok(Some(Transferred::Sent | Transferred::Adopted)) => {
                    let (records, bytes) = (lost.entry.records, lost.entry.size);
                    self.transfer.events.stored(records, bytes);
                    repaired.sent.push(lost.entry);
                    continue;
                }
                Ok(Some(Transferred::Damaged(damage))) => format!("in the original {damage}"),
                Ok(None) => {
                    repaired.stopped = true;
                    "the copy was stopped before that".to_owned()
                }
                Err(TransferError::Origin(error)) => {
                    format!("in the original, {}", self.reason(error).await?)
                }
                Err(TransferError::Destination(error)) => return Err(error),
            };
            let message = format!("{}; it was not sent again: {reason}", lost.message);
            let of = Some((&lost.id, lost.end_offset));
            repaired.findings.push(self.finding(of, &message));
        }
        drop(ended);
        let keys = repaired.sent.iter().map(|entry| entry.key.clone());
        Ok(self.destination.sync_segments(keys).await?)
    }

    fn finding(&self, of: Option<(&PartitionId, i64)>, message: &str) -> CopyFinding {
        let message = match of {
            Some((id, _)) => format!("{id}: {message}"),
            None => message.to_owned(),
        };
        CopyFinding {
            partition: of.map(|(id, end_offset)| found_in(id, end_offset)),
            ..CopyFinding::new(
                CopyFindingKind::DamagedCopy,
                self.destination,
                self.original.sequence,
                message,
            )
        }
    }
}

/// Returns which segment a finding is about, if it is about one that sending it again repairs.
fn segment(finding: &Finding) -> Option<(PartitionId, String)> {
    let is_absent = matches!(
        finding.kind,
        FindingKind::MissingSegment | FindingKind::WrongSize
    );
    let key = finding.key.as_deref().filter(|_| is_absent)?;
    match Key::parse(key) {
        Some(Key::Segment { partition, .. }) => Some((partition, key.to_owned())),
        _ => None,
    }
}

fn is_same(original: &SegmentEntry, entry: &SegmentEntry) -> bool {
    (&original.key, original.size, original.blake3) == (&entry.key, entry.size, entry.blake3)
}

fn in_one_line(finding: &Finding) -> String {
    let key = finding.key.as_deref().unwrap_or_default();
    format!("{key}: {}, {}", finding.kind, finding.message)
}
