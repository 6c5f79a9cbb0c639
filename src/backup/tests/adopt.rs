//! What is adopted of what interrupted runs left behind, and how it is found: the folders of all partitions are listed before anything is read of
//! them, several at a time, or all at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, fs};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use kbk_format::repo::{Identity, LostRange, Repository, Store};
use kbk_format::salvage::{Known, Salvage};
use kbk_format::{Gap, GapReason, Open, PartitionNumber, Segment};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, Result};

use super::delegate::delegate_to;
use super::world::{World, log, record};
use crate::backup::adopt::adopt;

/// How often a listing lets others run before it answers.
const TURNS: usize = 64;

/// A store that counts the listings of segments that are being made.
#[derive(Debug, Default)]
struct Listings {
    inner: InMemory,
    made: AtomicUsize,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl fmt::Display for Listings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("listings")
    }
}

impl ObjectStore for Listings {
    delegate_to!([inner] put_opts, put_multipart_opts, get_opts, delete_stream, list_with_delimiter, copy_opts);

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if !prefix.is_some_and(|prefix| prefix.as_ref().starts_with("data")) {
            return self.inner.list(prefix);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        let (now, most) = (Arc::clone(&self.now), Arc::clone(&self.most));
        let waits = stream::once(async move {
            let together = now.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(together, Ordering::Relaxed);
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::Relaxed);
        });
        waits.flat_map(|()| stream::empty()).boxed()
    }
}

#[test]
fn the_folders_of_partitions_are_listed_several_at_a_time() {
    const PARTITIONS: u16 = 50;
    let world = World::new();
    world.cluster.append(&log(), (0..10).map(record));
    let mut plan = world.plan();
    let topic = &mut plan.topics[0];
    let one = topic.partitions[0].clone();
    assert!(!one.read.is_empty());
    let numbered = |number: u16| {
        let mut partition = one.clone();
        partition.partition = PartitionNumber::from(number);
        partition
    };
    topic.partitions = (0..PARTITIONS).map(numbered).collect();

    // Where the repository has few segments, all are listed at once; of many, each partition's own, several at a time.
    world.backup();
    let mut newest = world.newest().unwrap().value;
    for (stated, expected_made, expected_most) in [(1_000, 1, 1), (50_000, 50, 16)] {
        newest.manifest.totals.segments = stated;
        let listings = Arc::new(Listings::default());
        let store = Store::new(listings.clone(), "listings");
        assert_eq!(store.profile().parallel_requests, 16);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let created = Repository::create(store.clone(), Identity::fresh());
            let repository = created.await.unwrap();
            adopt(&repository, Some(&newest), &BTreeSet::new(), &mut plan)
                .await
                .unwrap();
        });
        assert_eq!(listings.made.load(Ordering::Relaxed), expected_made);
        assert_eq!(listings.most.load(Ordering::Relaxed), expected_most);
    }
}

/// The reasons that a gap of a backup's own segment has.
const OF_BACKUPS: [GapReason; 3] = [
    GapReason::NotDelivered,
    GapReason::Transaction,
    GapReason::Lost,
];
const OTHERS: [GapReason; 3] = [GapReason::Compacted, GapReason::Unknown, GapReason::Damaged];

/// Backs up a log of 20 records where a segment of the first 10 was left behind, which lacks offsets 3 to 6. Returns how many segments were adopted,
/// which offsets are stored, and which are lost, according to the snapshot.
fn backup_beside_leftover(
    reason: Option<GapReason>,
    default: GapReason,
) -> (usize, Vec<i64>, Vec<LostRange>) {
    let world = World::new();
    world.cluster.append(&log(), (0..20).map(record));
    let gap = reason.map(|reason| Gap {
        from_offset: 3,
        to_offset: 6,
        reason,
    });
    world.leave_segment(0..10, 3..6, gap.as_slice(), default);
    let plan = world.plan();
    let adopted = plan.topics[0].partitions[0].adopted.segments.len();
    let stored = world.read(&plan);
    world.commit(plan, stored);
    let history = world.histories().remove(0);
    let records = world.records(&history);
    for (offset, stored) in &records {
        assert_eq!(*stored, record(*offset));
    }
    let offsets = records.iter().map(|(offset, _)| *offset).collect();
    (adopted, offsets, history.partitions[0].lost.clone())
}

#[test]
fn a_segment_that_may_lack_records_that_the_cluster_has_is_not_adopted() {
    let all: Vec<i64> = (0..20).collect();
    let without: Vec<i64> = (0..3).chain(6..20).collect();
    for reason in OF_BACKUPS {
        let (adopted, offsets, lost) =
            backup_beside_leftover(Some(reason), GapReason::NotDelivered);
        assert_eq!((adopted, &offsets), (1, &without), "{reason:?}");
        let expected = LostRange::deleted(3, 6);
        let expected: &[LostRange] = match reason {
            GapReason::Lost => &[expected],
            _ => &[],
        };
        assert_eq!(lost, expected, "{reason:?}");
    }
    for reason in OTHERS {
        let (adopted, offsets, lost) =
            backup_beside_leftover(Some(reason), GapReason::NotDelivered);
        assert_eq!((adopted, &offsets, lost.len()), (0, &all, 0), "{reason:?}");
    }
    // Gaps that are not named have the default reason.
    for reason in [&OTHERS[..], &[GapReason::Lost]].concat() {
        let (adopted, offsets, lost) = backup_beside_leftover(None, reason);
        assert_eq!((adopted, &offsets, lost.len()), (0, &all, 0), "{reason:?}");
    }
    for reason in [GapReason::NotDelivered, GapReason::Transaction] {
        let (adopted, offsets, _) = backup_beside_leftover(None, reason);
        assert_eq!((adopted, &offsets), (1, &without), "{reason:?}");
    }
}

#[test]
fn a_recovered_segment_is_not_adopted_unless_it_is_whole() {
    for (flips, adopted) in [(false, 1), (true, 0)] {
        let world = World::new();
        world.cluster.append(&log(), (0..20).map(record));
        let path = world.leave_segment(0..10, 0..0, &[], GapReason::NotDelivered);
        let mut bytes = fs::read(&path).unwrap();
        if flips {
            // Within the only block: records that are gone.
            let middle = bytes.len() / 4;
            bytes[middle] ^= 1;
        }
        let salvage = Salvage::of(&bytes, &Known::default());
        assert_eq!(salvage.losses.is_empty(), !flips);
        let segment = Segment::open(&bytes, bytes.len() as u64).unwrap();
        let Open::Ready(segment) = segment else {
            panic!("all of it was given")
        };
        let written = salvage.write(&[&bytes], segment.header().clone(), Vec::new());
        let (recovered, _) = written.unwrap();
        fs::write(&path, recovered).unwrap();

        let plan = world.plan();
        assert_eq!(plan.topics[0].partitions[0].adopted.segments.len(), adopted);
        let stored = world.read(&plan);
        world.commit(plan, stored);
        let records = world.records(&world.histories()[0]);
        assert_eq!(records.len(), 20);
    }
}

#[test]
fn a_segment_that_is_cut_short_anywhere_is_passed_over() {
    for length in [0, 1, 63, 64, 65, 500] {
        let world = World::new();
        world.cluster.append(&log(), (0..20).map(record));
        let path = world.leave_segment(0..10, 0..0, &[], GapReason::NotDelivered);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..length]).unwrap();
        let plan = world.plan();
        assert!(plan.topics[0].partitions[0].adopted.segments.is_empty());
        let stored = world.read(&plan);
        world.commit(plan, stored);
        assert_eq!(world.records(&world.histories()[0]).len(), 20);
    }
}
