//! What can happen to the targets of a restore while it runs, or before it is resumed.

use kbk_format::repo::{Id, RestoreId};

use crate::kafka::TopicPartition;

/// A target that is no longer what the restore needs it to be. The restore is not done, and cannot be resumed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A topic was deleted, and perhaps created again.
    #[error(
        "topic {topic} is not the one that restore {restore} began to write to: expected topic id {expected}, found {found}; it was deleted, and \
         what had been restored into it is gone"
    )]
    Replaced {
        /// The restore.
        restore: RestoreId,
        /// The topic.
        topic: String,
        /// Its id when the restore began.
        expected: Id,
        /// Its id now, or that it does not exist.
        found: String,
    },
    /// Restored records were deleted.
    #[error(
        "{target} has lost restored records: expected its log to start at offset {expected} or before, found {found}; they were deleted, or \
         retention did not keep them"
    )]
    Trimmed {
        /// The target.
        target: TopicPartition,
        /// The highest start with which no restored record is lost.
        expected: i64,
        /// Where the log starts.
        found: i64,
    },
    /// The log ends before restored records.
    #[error(
        "{target} has lost restored records: expected its log to end at offset {expected} or later, found {found}; it was truncated, or its topic \
         was deleted and created again"
    )]
    Truncated {
        /// The target.
        target: TopicPartition,
        /// The lowest end with which no restored record is lost.
        expected: i64,
        /// Where the log ends.
        found: i64,
    },
    /// A topic that the restore created was set to be compacted, which the backup does not ask for.
    #[error(
        "{topic} may have lost restored records: expected cleanup.policy=delete, with which it was created, found {found}; records of equal keys \
         are removed"
    )]
    Compacted {
        /// The topic.
        topic: String,
        /// Its `cleanup.policy`.
        found: String,
    },
    /// A target was set to give records the time at which they are written.
    #[error(
        "{topic} may have replaced timestamps of restored records by its own time: expected message.timestamp.type=CreateTime, found \
         LogAppendTime"
    )]
    AppendTimes {
        /// The topic.
        topic: String,
    },
    /// Records got lower offsets than those before them.
    #[error(
        "{target} has lost restored records: expected offset {expected} or above for the next record, found {found}; the topic was deleted and \
         created again, or its log truncated, while it was written to"
    )]
    Restarted {
        /// The target.
        target: TopicPartition,
        /// The lowest offset that the record can have in a log that only grows.
        expected: i64,
        /// The offset that it got.
        found: i64,
    },
    /// Somebody has written to the target since the restore was planned.
    #[error(
        "{target} is not as it was when this restore was planned: expected its log to end at offset {expected}, found {found}; another restore, or \
         another producer, writes to it"
    )]
    Changed {
        /// The target.
        target: TopicPartition,
        /// Where it ended.
        expected: i64,
        /// Where it ends.
        found: i64,
    },
    /// Another restore has claimed the target.
    #[error(
        "another restore writes to {target}: expected it to be claimed by {restore}, found {holder}; two restores into one topic would mix their \
         records"
    )]
    Claimed {
        /// This restore.
        restore: RestoreId,
        /// The target.
        target: TopicPartition,
        /// Who holds the claim.
        holder: String,
    },
    /// The claim on the target is gone.
    #[error(
        "the claim on {target} is gone: expected it to be held by restore {restore}, found no claim; the topic was deleted, or another restore took \
         it and has finished"
    )]
    Unclaimed {
        /// This restore.
        restore: RestoreId,
        /// The target.
        target: TopicPartition,
    },
}

impl TargetError {
    /// What to try next.
    pub const NEXT_STEP: &'static str = "restore again from the start, into an empty topic or under another name with --map, once nothing else \
        writes there";
}
