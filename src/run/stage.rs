//! What the time and the memory of a run go to: stages, budgets, and what is tried again.

/// A stage of the way of a block of records, or of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// A backup's source: until one block is full of records from the cluster.
    Fetch,
    /// A backup's source: waiting for the stages after it.
    Wait,
    /// Columns, statistics, digests and checksums of a block.
    Encode,
    /// The compression of a block.
    Compress,
    /// The write of a block into its segment, with the wait for parts of it that are being uploaded.
    Upload,
    /// The end of a segment, until it is durable.
    Seal,
    /// A restore's batch, read from the repository and decoded.
    Read,
    /// A restore's batch, handed to the producer, with the wait for its queue.
    Write,
    /// A restore's transaction, from the flush to its commit.
    Commit,
}

impl Stage {
    /// All, in the order of a block's way.
    pub const ALL: [Stage; 9] = [
        Stage::Fetch,
        Stage::Wait,
        Stage::Encode,
        Stage::Compress,
        Stage::Upload,
        Stage::Seal,
        Stage::Read,
        Stage::Write,
        Stage::Commit,
    ];

    /// Returns its name.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Fetch => "fetch",
            Stage::Wait => "wait",
            Stage::Encode => "encode",
            Stage::Compress => "compress",
            Stage::Upload => "upload",
            Stage::Seal => "seal",
            Stage::Read => "read",
            Stage::Write => "write",
            Stage::Commit => "commit",
        }
    }
}

/// A limit on the memory of one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    /// The blocks of a backup that are filled, encoded or written.
    Blocks,
    /// The caches and reads of a mount.
    Cache,
}

impl Budget {
    /// All of them.
    pub const ALL: [Budget; 2] = [Budget::Blocks, Budget::Cache];

    /// Returns its name.
    pub fn word(self) -> &'static str {
        match self {
            Budget::Blocks => "blocks",
            Budget::Cache => "cache",
        }
    }
}

/// What is tried again after it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Retry {
    /// The records of a restore's transaction.
    Transaction,
}

impl Retry {
    /// All of them.
    pub const ALL: [Retry; 1] = [Retry::Transaction];

    /// Returns its name.
    pub fn word(self) -> &'static str {
        match self {
            Retry::Transaction => "transaction",
        }
    }
}
