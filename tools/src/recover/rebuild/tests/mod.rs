//! Rebuilds of random repositories with random damage against a plain model: all records that were ever stored.

mod evidence;
mod forks;
mod identity;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    Hex, IncompleteReason, LostIdentity, PartitionId, Repository, Store, Upkeep,
};
use kbk_format::salvage::Known;
use kbk_format::{BlockDecoder, Columns, GapReason, Salvage};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::events::RecoverEvents;
use super::super::ranges::Offsets;
use super::*;
use crate::compact::KeepLatest;
use crate::compact::tests::world::{Record, World, options as compact_options};
use crate::testing::faulty::{Faults, FaultyStore};
use crate::testing::random::Random;
use crate::verify::{FindingKind, VerifyDepth, VerifyOptions, verify};

type Records = BTreeMap<PartitionId, BTreeMap<i64, Record>>;

pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0") {
        true => 0..25 * count,
        false => 0..count,
    }
}

pub(super) fn silent() -> Arc<dyn RecoverEvents> {
    Arc::new(|_: u64| ())
}

pub(super) fn options() -> RebuildOptions {
    RebuildOptions {
        writer: "test".to_owned(),
        policy: "--rebuild".to_owned(),
        now: Timestamp::UNIX_EPOCH,
        abandons_unread: false,
    }
}

/// States as lost what may come back, too.
fn abandoning() -> RebuildOptions {
    RebuildOptions {
        abandons_unread: true,
        ..options()
    }
}

pub(super) async fn open(world: &World) -> (Repository, Option<LostIdentity>) {
    let store = world.store(0, None, Random::new(1));
    Repository::open_without_identity(store).await.unwrap()
}

/// Rebuilds, and checks that a plan says the same.
pub(super) async fn rebuilt(world: &World) -> Result<RebuildReport, RebuildError> {
    rebuilt_as(world, &options()).await
}

async fn rebuilt_as(
    world: &World,
    options: &RebuildOptions,
) -> Result<RebuildReport, RebuildError> {
    let (repository, lost) = open(world).await;
    let plan = plan_rebuild(&repository, lost, &silent()).await?;
    let report = rebuild(&repository, &plan, options, &silent()).await?;
    assert_eq!(plan.report().records, report.records);
    assert_eq!(plan.report().data_objects.len(), report.data_objects.len());
    Ok(report)
}

/// A repository, and all records that it ever had.
struct History {
    world: World,
    all: Records,
}

impl History {
    /// Backs up, compacts, recovers and forgets, in a random order.
    async fn random(seed: u64) -> History {
        let mut random = Random::new(seed + 5);
        let mut history = History {
            world: World::random(seed).await,
            all: Records::new(),
        };
        history.note();
        for round in 0..random.below(5) {
            let world = &mut history.world;
            match random.below(4) {
                0 => drop(world.compact(&compact_options()).await.unwrap()),
                1 => {
                    let mut options = compact_options();
                    options.keep = Some(KeepLatest {
                        tombstones_from: None,
                    });
                    let segments = world.segments().await;
                    world.compact(&options).await.unwrap();
                    world.apply(&options, &segments);
                }
                2 => forget(world, &mut random).await,
                _ => world.backup(seed * 100 + round).await,
            }
            history.note();
        }
        history
    }

    fn note(&mut self) {
        for (id, model) in &self.world.model {
            let all = self.all.entry(id.clone()).or_default();
            all.extend(model.records.clone());
        }
    }
}

async fn forget(world: &World, random: &mut Random) {
    let repository = world.open().await;
    let sequences = repository.sequences().await.unwrap();
    let (_, older) = sequences.split_last().unwrap();
    let some = older.iter().copied().filter(|_| random.one_in(2));
    let plan = repository.plan_forget(some.collect()).await.unwrap();
    let upkeep = Upkeep {
        command: "forget".to_owned(),
        detail: String::new(),
        writer: "test".to_owned(),
        now: Timestamp::UNIX_EPOCH,
    };
    repository.forget(&plan, &upkeep).await.unwrap();
}

pub(super) async fn bytes(world: &World, key: &str) -> Vec<u8> {
    let read = world.objects.get(&Path::from(key)).await.unwrap();
    read.bytes().await.unwrap().to_vec()
}

pub(super) async fn put(world: &World, key: &str, bytes: Vec<u8>) {
    let path = Path::from(key);
    world.objects.put(&path, bytes.into()).await.unwrap();
}

pub(super) async fn delete(world: &World, key: &str) {
    world.objects.delete(&Path::from(key)).await.unwrap();
}

pub(super) async fn keys(world: &World, folder: &str) -> Vec<String> {
    let keys = world.keys().await.into_iter();
    keys.filter(|key| key.starts_with(folder)).collect()
}

/// Damages the index, and some segments.
async fn harm(world: &World, random: &mut Random) {
    match random.below(5) {
        0 => {
            for folder in ["snapshots", "index"] {
                for key in keys(world, folder).await {
                    delete(world, &key).await;
                }
            }
        }
        1 => {
            for key in keys(world, "index").await {
                delete(world, &key).await;
            }
        }
        2 => {
            for key in keys(world, "snapshots").await {
                delete(world, &key).await;
            }
        }
        // The newest snapshots.
        3 => {
            let mut snapshots = keys(world, "snapshots/0").await;
            for _ in 0..1 + random.below(3) {
                if let Some(key) = snapshots.pop() {
                    flip(world, &key, random).await;
                }
            }
        }
        _ => {
            let tables = keys(world, "index").await;
            let some = random.below(tables.len() as u64) as usize;
            flip(world, &tables[some], random).await;
        }
    }
    if random.one_in(3) {
        delete(world, "kbk.json").await;
    }
    let in_ten = random.below(4);
    for key in keys(world, "data").await {
        if random.below(10) < in_ten {
            match random.below(6) {
                0 => delete(world, &key).await,
                1 => {
                    let mut found = bytes(world, &key).await;
                    let length = random.below(2) * random.below(found.len() as u64);
                    found.truncate(length as usize);
                    put(world, &key, found).await;
                }
                _ => flip(world, &key, random).await,
            }
        }
    }
}

async fn flip(world: &World, key: &str, random: &mut Random) {
    let mut found = bytes(world, key).await;
    for _ in 0..1 + random.below(3) {
        let at = random.below(found.len() as u64) as usize;
        found[at] ^= 1 << random.below(8);
    }
    put(world, key, found).await;
}

/// Returns the records that the blocks of every object prove.
async fn proved(world: &World) -> BTreeMap<String, BTreeSet<i64>> {
    let mut found = BTreeMap::new();
    for key in keys(world, "data").await {
        let stored = bytes(world, &key).await;
        let id = key.rsplit_once('-').unwrap().1.strip_suffix(".kseg");
        let id: Hex<8> = id.unwrap().parse().unwrap();
        let known = Known {
            salt: Some(id.0),
            ..Known::default()
        };
        let salvage = Salvage::of(&stored, &known);
        let mut offsets = BTreeSet::new();
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        for piece in &salvage.pieces {
            piece.decode(&stored, &mut decoder, &mut columns).unwrap();
            offsets.extend(columns.offsets());
        }
        found.insert(key, offsets);
    }
    found
}

fn partition_of(world: &World, key: &str) -> PartitionId {
    let mut ids = world.model.keys();
    let is_of =
        |id: &&PartitionId| key.starts_with(&format!("data/t/{}/{}/", id.topic_id, id.partition));
    ids.find(is_of).unwrap().clone()
}

/// Compares the newest snapshot with everything that was ever stored and with what is left, and verifies it.
async fn check(
    history: &History,
    report: &RebuildReport,
    left: &BTreeMap<String, BTreeSet<i64>>,
    seed: u64,
) {
    let world = &history.world;
    let snapshot = world.latest().await;
    let found = world.read().await;
    for (id, all) in &history.all {
        let Some(state) = snapshot.partition(id) else {
            continue;
        };
        let found = &found[id];
        for (offset, record) in &found.records {
            assert_eq!(all.get(offset), Some(record), "seed {seed}: {id}, {offset}");
        }
        let lost = Offsets::of(state.damaged_ranges().map(|it| it.from..it.to));
        for offset in all.keys() {
            let is_covered = (state.base_offset..state.end_offset).contains(offset);
            if !is_covered || found.records.contains_key(offset) {
                continue;
            }
            let single = Offsets::one(*offset..*offset + 1);
            // Where the footer is lost, so is the reason.
            let gone = [Some(&GapReason::Compacted), Some(&GapReason::Unknown)];
            let is_removed = gone.contains(&found.gaps.get(offset))
                && !world.model[id].records.contains_key(offset);
            assert!(
                is_removed || !single.and(&lost).is_empty(),
                "seed {seed}: {id}, {offset} is missing, and nothing says so: {:?}",
                found.gaps.get(offset)
            );
        }
        assert!(
            matches!(&state.incomplete, Some(it) if it.reason == IncompleteReason::Rebuilt),
            "seed {seed}: {:?}",
            state.incomplete
        );
    }
    // Whatever a block proves is there, unless nothing proves that the object is of the same history: then the report names it.
    let doubtful = |key: &String| {
        let mut rows = report.data_objects.iter();
        rows.any(|row| row.key == *key && row.fate == Fate::Contradictory)
    };
    assert!(report.count(Fate::Contradictory) == 0 || !report.is_lossless());
    for (key, offsets) in left.iter().filter(|(key, _)| !doubtful(key)) {
        let id = partition_of(world, key);
        for offset in offsets {
            assert!(
                found[&id].records.contains_key(offset),
                "seed {seed}: {key} has {offset}, and the snapshot does not"
            );
        }
    }
    // Every object has one fate.
    let rows: Vec<&String> = report.data_objects.iter().map(|row| &row.key).collect();
    let unique: BTreeSet<&String> = rows.iter().copied().collect();
    assert_eq!(rows.len(), unique.len(), "seed {seed}");
    assert_eq!(unique, left.keys().collect(), "seed {seed}");
    check_verified(world, report, seed).await;
}

pub(super) async fn check_verified(world: &World, report: &RebuildReport, seed: u64) {
    let repository = world.open().await;
    let newest = repository.latest().await.unwrap().unwrap();
    assert_eq!(report.snapshot, Some(newest.sequence), "seed {seed}");
    let options = VerifyOptions {
        snapshots: vec![newest.sequence],
        depth: VerifyDepth::Hash,
        ..VerifyOptions::default()
    };
    let verified = verify(&repository, &options, Arc::new(|_: u64| ())).await;
    let mut known = vec![
        FindingKind::LostToDamage,
        FindingKind::DeletedBeforeRead,
        FindingKind::Incomplete,
    ];
    if report.base_snapshot.is_some() {
        // What the base names is not read, and may be damaged.
        let others = verified.findings.iter().map(|it| it.kind);
        known.extend(others.filter(|kind| kind.is_damage_of_segment()));
        known.push(FindingKind::DamagedKeyFilter);
    }
    let others: Vec<_> = verified
        .findings
        .iter()
        .filter(|it| !known.contains(&it.kind))
        .collect();
    assert!(others.is_empty(), "seed {seed}: {others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_proves_itself_is_in_the_new_snapshot_and_nothing_else() {
    let (mut with_base, mut without, mut lost, mut adopted, mut salvaged) = (0, 0, 0, 0, 0);
    let mut doubtful = 0;
    for seed in seeds(80) {
        let mut history = History::random(seed).await;
        let mut random = Random::new(seed + 9);
        harm(&history.world, &mut random).await;
        let left = proved(&history.world).await;
        let before = history.world.keys().await;
        let report = match rebuilt(&history.world).await {
            Ok(report) => report,
            // A table that nothing needs was damaged.
            Err(RebuildError::Intact { .. }) => continue,
            Err(RebuildError::Nothing(_)) if left.is_empty() => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        match report.base_snapshot {
            Some(_) => with_base += 1,
            None => without += 1,
        }
        if report.snapshot.is_none() {
            continue;
        }
        lost += report.stated_lost_offsets;
        adopted += report.count(Fate::Adopted);
        salvaged += report.count(Fate::Salvaged);
        doubtful += report.count(Fate::Contradictory);
        // Nothing that was there is gone.
        let after = history.world.keys().await;
        assert!(before.is_subset(&after), "seed {seed}");
        if report.base_snapshot.is_none() {
            check(&history, &report, &left, seed).await;
        } else {
            check_verified(&history.world, &report, seed).await;
        }
        // Nothing is left to do.
        let again = rebuilt(&history.world).await;
        assert!(
            matches!(again, Err(RebuildError::Intact { .. })),
            "seed {seed}: {again:?}"
        );
        // A later backup continues, and what is not lost is complete then.
        let snapshot = history.world.latest().await;
        for (id, model) in &mut history.world.model {
            model.end = snapshot.partition(id).map_or(0, |state| state.end_offset);
        }
        history.world.backup(seed + 1_000).await;
        let next = history.world.latest().await;
        assert!(next.sequence > snapshot.sequence);
        for id in history.world.model.keys() {
            let state = next.partition(id).unwrap();
            assert_eq!(
                state.incomplete.is_some(),
                state.damaged_offsets() > 0,
                "seed {seed}"
            );
        }
    }
    assert!(
        with_base > 5 && without > 20 && lost > 50 && adopted > 100 && salvaged > 20,
        "{with_base} with a base, {without} without, {lost} lost, {adopted} adopted, {salvaged} salvaged"
    );
    // Some are left out although they are of the same history, where what would prove it is damaged, and not more.
    println!("{doubtful} doubtful, {adopted} adopted");
    assert!(
        doubtful > 0 && doubtful < adopted / 10,
        "{doubtful} of {adopted}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_killed_the_next_one_does_the_rest() {
    let (mut crashed, mut done) = (0, 0);
    for seed in seeds(6) {
        let history = History::random(seed).await;
        let mut random = Random::new(seed + 9);
        for folder in ["snapshots", "index", "kbk.json"] {
            for key in keys(&history.world, folder).await {
                delete(&history.world, &key).await;
            }
        }
        for key in keys(&history.world, "data").await {
            if random.one_in(3) {
                flip(&history.world, &key, &mut random).await;
            }
        }
        let left = proved(&history.world).await;
        for calls in (1..).step_by(5) {
            let world = World {
                objects: Arc::new(history.world.objects.fork()),
                model: history.world.model.clone(),
                keys: history.world.keys,
                kind: history.world.kind,
            };
            let forked = History {
                world,
                all: history.all.clone(),
            };
            let faults = Faults::new(Random::new(1), 0, None);
            let objects = FaultyStore {
                objects: Arc::clone(&forked.world.objects),
                faults: Arc::clone(&faults),
                meanwhile: Arc::default(),
            };
            let store = Store::new(Arc::new(objects), "memory");
            let (faulty, lost) = Repository::open_without_identity(store).await.unwrap();
            let plan = plan_rebuild(&faulty, lost, &silent()).await.unwrap();
            let dying = Faults::new(Random::new(1), 0, Some(calls));
            *faults.lock().unwrap() = Arc::try_unwrap(dying).unwrap().into_inner().unwrap();
            let killed = rebuild(&faulty, &plan, &options(), &silent()).await;
            crashed += u64::from(killed.is_err());
            // What was written for it is there, too, and has no record that its sources do not have.
            let known = proved(&forked.world).await;
            let doubtful = |report: &RebuildReport| {
                let rows = report.data_objects.clone().into_iter();
                let rows = rows.filter(|row| row.fate == Fate::Contradictory);
                rows.map(|row| row.key).collect::<BTreeSet<_>>()
            };
            let mut left_out = doubtful(plan.report());
            match rebuilt(&forked.world).await {
                Ok(report) => {
                    check(&forked, &report, &known, seed).await;
                    left_out.extend(doubtful(&report));
                }
                Err(RebuildError::Intact { .. }) => done += 1,
                Err(error) => panic!("seed {seed}, {calls} calls: {error}"),
            }
            let found = forked.world.read().await;
            for (key, offsets) in left.iter().filter(|(key, _)| !left_out.contains(*key)) {
                let id = partition_of(&forked.world, key);
                let records = &found[&id].records;
                assert!(offsets.iter().all(|it| records.contains_key(it)));
            }
            if killed.is_ok() {
                break;
            }
        }
    }
    assert!(crashed > 20 && done > 4, "{crashed} crashed, {done} done");
}
