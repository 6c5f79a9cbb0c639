//! Which processes run on which topics, and in which order: everything on four partitions of an uncompressed topic, and what the targets
//! name on the others.

use crate::case::Client::{Librdkafka, Wire};
use crate::case::Encoding::{Batches, Records};
use crate::case::Process::{
    Backup, BackupSoonest, Cat, CatOne, Checksum, Consume, Libzstd, Produce, Restore, Verify,
    VerifyOnOneCore, Zstd,
};
use crate::case::Writes::{InTransactions, WithoutTransactions};
use crate::case::{Binary, Case, Process};
use crate::settings::Settings;
use crate::source::{Source, orders, telemetry};

/// The topic that has everything.
pub(crate) const MAIN: Source = orders("none", 4);
/// Records that are small and hard to compress.
pub(crate) const HARD: Source = telemetry("none", 4);

/// All topics, in the order of a round.
pub(crate) const SOURCES: [Source; 10] = [
    MAIN,
    orders("none", 1),
    orders("none", 10),
    orders("lz4", 4),
    orders("lz4", 1),
    orders("lz4", 10),
    orders("zstd", 4),
    orders("zstd", 1),
    orders("zstd", 10),
    HARD,
];

/// The order of a round on [`MAIN`]: processes that are compared are adjacent. The one that writes the most small parts comes last, since the
/// write-back that it leaves to the kernel slows the next one down.
const ON_MAIN: &[Process] = &[
    Consume,
    Backup(Batches, Wire),
    Backup(Records("none"), Wire),
    Zstd,
    Libzstd,
    Backup(Records("zstd:1"), Wire),
    Backup(Records("zstd:3"), Wire),
    Backup(Records("lz4"), Wire),
    Backup(Records("zstd:1"), Librdkafka),
    Produce,
    Restore(Batches, Wire, InTransactions),
    Restore(Batches, Wire, WithoutTransactions),
    Restore(Batches, Librdkafka, InTransactions),
    Restore(Records("zstd:1"), Wire, InTransactions),
    Restore(Records("zstd:1"), Wire, WithoutTransactions),
    Restore(Records("zstd:1"), Librdkafka, InTransactions),
    Restore(Records("zstd:1"), Librdkafka, WithoutTransactions),
    Checksum,
    Verify,
    VerifyOnOneCore,
    Cat,
    CatOne,
    BackupSoonest,
];

/// On topics of four partitions whose producer compresses.
const ON_COMPRESSED: &[Process] = &[
    Consume,
    Backup(Batches, Wire),
    Backup(Records("none"), Wire),
    Backup(Records("zstd:1"), Wire),
    Backup(Records("zstd:3"), Wire),
    Backup(Records("zstd:1"), Librdkafka),
    Produce,
    Restore(Batches, Wire, InTransactions),
    Restore(Batches, Wire, WithoutTransactions),
    Restore(Batches, Librdkafka, InTransactions),
    Restore(Records("zstd:1"), Wire, InTransactions),
    BackupSoonest,
];

/// On topics of one partition and of ten.
const ON_OTHER_PARTITIONS: &[Process] = &[
    Consume,
    Backup(Batches, Wire),
    Backup(Records("zstd:1"), Wire),
    Backup(Records("zstd:1"), Librdkafka),
    Produce,
    Restore(Batches, Wire, InTransactions),
];

/// On [`HARD`].
const ON_HARD: &[Process] = &[
    Consume,
    Backup(Batches, Wire),
    Zstd,
    Backup(Records("none"), Wire),
    Backup(Records("zstd:1"), Wire),
    Backup(Records("zstd:3"), Wire),
    Produce,
    Restore(Batches, Wire, InTransactions),
    Restore(Records("zstd:1"), Wire, InTransactions),
];

fn processes(source: Source) -> &'static [Process] {
    match source {
        MAIN => ON_MAIN,
        HARD => ON_HARD,
        Source { partitions: 4, .. } => ON_COMPRESSED,
        _ => ON_OTHER_PARTITIONS,
    }
}

/// Returns the cases of a topic that are measured, in the order of a round.
pub(crate) fn cases(source: Source, settings: &Settings) -> Vec<Case> {
    let binaries = |process: Process| match settings.before {
        Some(_) if process.is_kbk() => &[Binary::Built, Binary::Before][..],
        _ => &[Binary::Built],
    };
    let processes = processes(source).iter().copied();
    let cases = processes.flat_map(|process| {
        binaries(process).iter().map(move |&binary| Case {
            source,
            process,
            binary,
        })
    });
    cases
        .filter(|case| settings.selects(&case.to_string()))
        .collect()
}
