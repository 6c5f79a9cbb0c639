//! A measured process: what it does, with which topic.

use std::fmt;

use crate::source::Source;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// A bare librdkafka consumer.
    Consume,
    /// `zstd -1` on a file of the same bytes.
    Zstd,
    /// libzstd, called as kbk calls it, without any I/O.
    Libzstd,
    /// `kbk backup` into a new repository.
    Backup(Encoding, Client),
    /// `kbk backup` of batches, with the smallest blocks: what comes is written soonest. Its metrics say how soon.
    BackupSoonest,
    /// A bare idempotent librdkafka producer, with the codec of the source, into a new topic.
    Produce,
    /// `kbk restore` of the repository that such a backup wrote, into a new topic.
    Restore(Encoding, Client, Writes),
    /// Reads all files of a repository and computes their CRC-32C.
    Checksum,
    /// `kbk verify` of the same files.
    Verify,
    /// The same on one core.
    VerifyOnOneCore,
    /// `kbk cat` of the topic.
    Cat,
    /// `kbk cat` of one record in the middle.
    CatOne,
}

/// How records are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As columns (blocks of kind 1), compressed with this.
    Records(&'static str),
    /// As Kafka's own batches (blocks of kind 2).
    Batches,
}

/// The Kafka client of kbk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Wire,
    Librdkafka,
}

/// How a restore writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    InTransactions,
    WithoutTransactions,
}

/// The kbk that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    /// The one that was built.
    Built,
    /// The other one, of `KBK_BENCH_BEFORE`.
    Before,
}

/// A measured process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) source: Source,
    pub(crate) process: Process,
    pub(crate) binary: Binary,
}

impl Process {
    /// Returns whether it is kbk.
    pub(crate) fn is_kbk(self) -> bool {
        match self {
            Process::Backup(..)
            | Process::BackupSoonest
            | Process::Restore(..)
            | Process::Verify
            | Process::VerifyOnOneCore
            | Process::Cat
            | Process::CatOne => true,
            Process::Consume
            | Process::Zstd
            | Process::Libzstd
            | Process::Produce
            | Process::Checksum => false,
        }
    }

    /// Returns the bare client that does the least that this process must do.
    pub(crate) fn bare(self) -> Option<Process> {
        match self {
            Process::Backup(..) | Process::BackupSoonest => Some(Process::Consume),
            Process::Restore(..) => Some(Process::Produce),
            _ => None,
        }
    }
}

impl Encoding {
    /// Returns the options of `kbk backup`.
    pub(crate) fn options(self) -> Vec<&'static str> {
        match self {
            Encoding::Records(compression) => {
                vec!["--encoding", "records", "--compression", compression]
            }
            // Batches that are not compressed are stored as they are: that is what is measured.
            Encoding::Batches => vec!["--encoding", "batches", "--compression", "none"],
        }
    }
}

impl Client {
    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Client::Wire => "wire",
            Client::Librdkafka => "librdkafka",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Records(compression) => write!(f, "records, {compression}"),
            Encoding::Batches => f.write_str("batches"),
        }
    }
}

/// Names the client where it is not the default.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Wire => Ok(()),
            Client::Librdkafka => f.write_str(", librdkafka"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Consume => f.write_str("librdkafka consumer"),
            Process::Zstd => f.write_str("zstd -1"),
            Process::Libzstd => f.write_str("libzstd, level 1, 1 MiB at a time"),
            Process::Backup(encoding, client) => write!(f, "kbk backup: {encoding}{client}"),
            Process::BackupSoonest => f.write_str("kbk backup: batches, --block-size 64KiB"),
            Process::Produce => f.write_str("librdkafka producer"),
            Process::Restore(encoding, client, writes) => {
                let without = match writes {
                    Writes::InTransactions => "",
                    Writes::WithoutTransactions => ", --no-transactions",
                };
                write!(f, "kbk restore: {encoding}{client}{without}")
            }
            Process::Checksum => f.write_str("read + CRC-32C"),
            Process::Verify => f.write_str("kbk verify"),
            Process::VerifyOnOneCore => f.write_str("kbk verify, on one core"),
            Process::Cat => f.write_str("kbk cat"),
            Process::CatOne => f.write_str("kbk cat -n 1 --offset"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = match self.binary {
            Binary::Built => "",
            Binary::Before => " (before)",
        };
        write!(f, "{}: {}{before}", self.source, self.process)
    }
}
