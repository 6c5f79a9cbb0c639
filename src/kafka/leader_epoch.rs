//! Where a leader epoch ends in a log.

/// What the leader of a partition says of a leader epoch.
///
/// All replicas of a log have the same record at an offset of the same epoch. So a log in which an epoch ends before a record that was read in
/// it has lost that record: it was truncated (KIP-101, KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The id of the topic that was asked; `None` where the cluster gives none.
    pub topic_id: Option<[u8; 16]>,
    /// One past the last offset of the largest epoch up to the one that was asked for.
    pub end_offset: i64,
}
