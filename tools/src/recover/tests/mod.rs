//! Recoveries of random repositories with random damage against a plain model, on stores that fail, beside other writers, and with copies.

mod harm;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{PartitionId, Repository, Snapshot};

use self::harm::{Harm, Harmed};
use super::events::RecoverEvents;
use super::ranges::Offsets;
use super::{Donor, Recovery, RecoveryPlan, plan, recover};
use crate::compact::tests::world::{World, id, options as compact_options};
use crate::compact::{CompactOptions, KeepLatest};
use crate::list::Completeness;
use crate::maintenance::{MaintenanceError, MaintenanceOptions};
use crate::testing::as_batches::SegmentKind;
use crate::testing::faulty::Withheld;
use crate::testing::malformed;
use crate::testing::random::Random;
use crate::verify::{FindingKind, VerifyDepth, VerifyOptions, verify};

/// Seeds of each test: many more where there is time.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0") {
        true => 0..25 * count,
        false => 0..count,
    }
}

fn options() -> MaintenanceOptions {
    MaintenanceOptions {
        dry_run: false,
        writer: "test".to_owned(),
        policy: "test".to_owned(),
        now: Timestamp::UNIX_EPOCH,
    }
}

fn silent() -> Arc<dyn RecoverEvents> {
    Arc::new(|_: u64| ())
}

async fn planned(repository: &Repository, snapshot: &Snapshot, fills: bool) -> RecoveryPlan {
    let topics = snapshot.topics.iter();
    let topics = topics.map(|it| (it.name.clone(), it.topic_id)).collect();
    plan(repository, snapshot, &topics, fills, &silent())
        .await
        .unwrap()
}

async fn recovered(
    world: &World,
    donor: Option<&Donor>,
    options: &MaintenanceOptions,
) -> Result<Recovery, MaintenanceError> {
    let (repository, snapshot) = (world.open().await, world.latest().await);
    let plan = planned(&repository, &snapshot, donor.is_some()).await;
    recover(&repository, &snapshot, &plan, donor, options, silent()).await
}

/// A repository with the same objects.
async fn fork(world: &World) -> World {
    World {
        objects: Arc::new(world.objects.fork()),
        model: world.model.clone(),
        keys: world.keys,
        kind: world.kind,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_stays_and_what_is_damaged_is_replaced() {
    let world = World::random(1).await;
    let all = world.entries_of(&id(0)).await;
    let with_records: Vec<_> = all.iter().filter(|it| it.records > 3).collect();
    let (damaged, unread) = (&with_records[0].key, &with_records[1].key);
    let path = Path::from(damaged.as_str());
    let found = world.objects.get(&path).await.unwrap();
    let mut bytes = found.bytes().await.unwrap().to_vec();
    bytes[400] ^= 1;
    world.objects.put(&path, bytes.into()).await.unwrap();
    let older = format!("snapshots/{:020}.json", 1);
    for is_denied in [true, false] {
        let world = fork(&world).await;
        let withheld = Withheld::new(is_denied, [unread.clone(), older.clone()]);
        let repository = world.open_without(withheld).await;
        let snapshot = world.latest().await;
        let plan = planned(&repository, &snapshot, false).await;
        let options = options();
        let done = recover(&repository, &snapshot, &plan, None, &options, silent());
        let done = done.await.unwrap();
        let replaced: Vec<&String> = done.recovered.iter().map(|it| &it.key).collect();
        assert_eq!(replaced, [damaged]);
        let [finding] = &done.findings[..] else {
            panic!("{:?}", done.findings);
        };
        assert_eq!(finding.kind, FindingKind::Unreadable);
        assert_eq!(finding.key.as_ref(), Some(unread));
        assert!(!done.is_whole());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_copy_what_cannot_be_read_is_named_and_the_rest_is_used() {
    let world = World::random(1).await;
    let copy = fork(&world).await;
    let all = world.entries_of(&id(0)).await;
    let with_records: Vec<_> = all.iter().filter(|it| it.records > 3).collect();
    for entry in &with_records[..2] {
        let path = Path::from(entry.key.as_str());
        world.objects.delete(&path).await.unwrap();
    }
    let unread = with_records[0].key.clone();
    let withheld = Withheld::new(true, [unread.clone()]);
    let donor = Donor::open(copy.open_without(withheld).await).await;
    let donor = donor.unwrap().unwrap();
    let done = recovered(&world, Some(&donor), &options()).await.unwrap();
    let lost = |key: &str| {
        let mut rows = done.recovered.iter();
        rows.find(|it| it.key == key).unwrap()
    };
    assert!(lost(&unread).lost_offsets > 0);
    let refused = &lost(&unread).refused;
    assert!(refused.iter().any(|it| it.contains(&unread)), "{refused:?}");
    assert_eq!(lost(&with_records[1].key).lost_offsets, 0);
}

async fn donor(world: &World) -> Donor {
    Donor::open(world.open().await).await.unwrap().unwrap()
}

/// Which offsets the newest snapshot states as lost to damage.
async fn stated(world: &World) -> BTreeMap<PartitionId, Offsets> {
    let snapshot = world.latest().await;
    let partitions = world.model.keys().map(|id| {
        let state = snapshot.partition(id).unwrap();
        let ranges = state.damaged_ranges().map(|lost| lost.from..lost.to);
        assert_eq!(state.incomplete.is_some(), state.damaged_offsets() > 0);
        (id.clone(), Offsets::of(ranges))
    });
    partitions.collect()
}

/// Compares the newest snapshot with what must be left, and verifies it.
async fn check(world: &World, harmed: &Harmed, seed: u64) {
    let found = world.read().await;
    let lost = stated(world).await;
    for (id, model) in &world.model {
        let expected = harmed.left(id, &model.records);
        assert_eq!(found[id].records, expected, "seed {seed}: {id}");
        assert_eq!(lost[id], harmed.lost(world, id).await, "seed {seed}: {id}");
    }
    check_verified(world, &lost, seed).await;
}

/// The same where a copy filled what it could: all records are there that are intact in either, and where others were is stated. A copy may not
/// know of all other offsets that no record was there.
async fn check_filled(world: &World, (ours, both): (&Harmed, &Harmed), seed: u64) -> bool {
    let found = world.read().await;
    let lost = stated(world).await;
    for (id, model) in &world.model {
        let (found, lost) = (&found[id].records, &lost[id]);
        assert_eq!(*found, both.left(id, &model.records), "seed {seed}: {id}");
        let single = |offset: &i64| Offsets::of(std::iter::once(*offset..*offset + 1));
        for offset in model.records.keys() {
            let is_stated = !single(offset).and(lost).is_empty();
            assert_ne!(
                is_stated,
                found.contains_key(offset),
                "seed {seed}: {id}, {offset}"
            );
        }
        let ours = ours.lost(world, id).await;
        assert!(lost.without(&ours).is_empty(), "seed {seed}: {id}");
    }
    check_verified(world, &lost, seed).await;
    lost.values().all(Offsets::is_empty)
}

async fn check_verified(world: &World, lost: &BTreeMap<PartitionId, Offsets>, seed: u64) {
    let repository = world.open().await;
    let newest = repository.latest().await.unwrap().unwrap();
    let options = VerifyOptions {
        snapshots: vec![newest.sequence],
        depth: VerifyDepth::Hash,
        ..VerifyOptions::default()
    };
    let report = verify(&repository, &options, Arc::new(|_: u64| ())).await;
    let known = [FindingKind::LostToDamage, FindingKind::DeletedBeforeRead];
    assert!(
        report.findings.iter().all(|it| known.contains(&it.kind)),
        "seed {seed}: {:?}",
        report.findings
    );
    let is_lost = lost.values().any(|it| !it.is_empty());
    assert_eq!(newest.is_complete(), !is_lost, "seed {seed}");
    let mut named = report.findings.iter();
    let named = named.any(|it| it.kind == FindingKind::LostToDamage);
    assert_eq!(named, is_lost, "seed {seed}");
    let accepting = VerifyOptions {
        accept_lost: true,
        ..options
    };
    let report = verify(&repository, &accepting, Arc::new(|_: u64| ())).await;
    assert!(report.is_intact(), "seed {seed}: {:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_records_of_intact_blocks_are_kept_and_the_rest_is_named() {
    let (mut lost, mut kept) = (0, 0);
    for seed in seeds(60) {
        let mut world = World::random(seed).await;
        let before = world.keys().await;
        let harmed = Harm::random(&mut Random::new(seed + 3)).apply(&world).await;
        let damaged = fork(&world).await;
        let dry = MaintenanceOptions {
            dry_run: true,
            ..options()
        };
        let would = recovered(&world, None, &dry).await.unwrap();
        let recovery = recovered(&world, None, &options()).await.unwrap();
        assert_eq!(
            (would.records, would.lost_records, would.lost_offsets),
            (
                recovery.records,
                recovery.lost_records,
                recovery.lost_offsets
            ),
            "seed {seed}"
        );
        assert_eq!(would.recovered.len(), recovery.recovered.len());
        assert_eq!(recovery.findings, [], "seed {seed}");
        assert_eq!(
            recovery.lost_records,
            Some(harmed.lost_records()),
            "seed {seed}"
        );
        assert_eq!(recovery.is_whole(), recovery.lost_offsets == 0);
        check(&world, &harmed, seed).await;
        // The damaged objects are as they were.
        for key in before {
            assert!(
                harm::same(&damaged, &world, &key).await,
                "seed {seed}: {key}"
            );
        }
        lost += recovery.lost_records.unwrap();
        kept += recovery.records;
        // Nothing is left to do, and nothing is committed for it.
        let snapshot = world.latest().await.sequence;
        let again = recovered(&world, None, &options()).await.unwrap();
        assert_eq!((again.recovered.len(), again.snapshot), (0, None));
        assert_eq!(again.damaged_offsets > 0, recovery.damaged_offsets > 0);
        assert_eq!(world.latest().await.sequence, snapshot);
        // A later backup continues, and does not call it whole.
        let complete = world.latest().await.is_complete();
        world.backup(seed).await;
        assert_eq!(world.latest().await.is_complete(), complete);
        check(&world, &harmed, seed).await;
    }
    assert!(lost > 200 && kept > 200, "{lost} lost, {kept} kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_killed_the_old_state_is_there_or_the_new_one() {
    let (mut crashed, mut done) = (0, 0);
    for seed in seeds(12) {
        let original = World::random(seed).await;
        let harmed = Harm::random(&mut Random::new(seed + 3))
            .apply(&original)
            .await;
        let sequence = original.latest().await.sequence;
        let (repository, snapshot) = (original.open().await, original.latest().await);
        let plan = planned(&repository, &snapshot, false).await;
        if plan.segments() == 0 {
            continue;
        }
        for calls in (3..).step_by(3) {
            let world = fork(&original).await;
            let store = world.store(0, Some(calls), Random::new(1));
            let killed = match Repository::open(store).await {
                Ok(faulty) => recover(&faulty, &snapshot, &plan, None, &options(), silent()).await,
                Err(error) => Err(error.into()),
            };
            crashed += u64::from(killed.is_err());
            if world.latest().await.sequence == sequence {
                recovered(&world, None, &options()).await.unwrap();
            } else {
                done += 1;
            }
            check(&world, &harmed, seed).await;
            if killed.is_ok() {
                break;
            }
        }
    }
    assert!(crashed > 50 && done > 5, "{crashed} crashed, {done} done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_commit_meanwhile_stays() {
    let (mut outdated, mut replaced) = (0, 0);
    for seed in seeds(20) {
        let mut world = World::random(seed).await;
        let harmed = Harm::random(&mut Random::new(seed + 3)).apply(&world).await;
        let (repository, snapshot) = (world.open().await, world.latest().await);
        let plan = planned(&repository, &snapshot, false).await;
        match seed % 3 {
            0 => world.backup(seed).await,
            // Merges what is intact.
            1 => drop(world.compact(&compact_options()).await.unwrap()),
            // Another recovery is faster.
            _ => drop(recovered(&world, None, &options()).await.unwrap()),
        }
        let options = options();
        let recovery = recover(&repository, &snapshot, &plan, None, &options, silent());
        let recovery = recovery.await.unwrap();
        outdated += recovery.outdated_segments;
        replaced += recovery.recovered.len();
        check(&world, &harmed, seed).await;
    }
    assert!(
        outdated > 5 && replaced > 5,
        "{outdated} outdated, {replaced} replaced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_fills_what_it_has() {
    let (mut merged, mut whole) = (0, 0);
    for seed in seeds(40) {
        let world = World::random(seed).await;
        let copy = fork(&world).await;
        if seed % 2 == 0 {
            // The same records in other segments.
            let report = copy.compact(&compact_options()).await.unwrap();
            merged += report.new_segments;
        }
        let other = Harm::random(&mut Random::new(seed + 9));
        let other = match seed % 3 {
            0 => other.apply(&copy).await,
            _ => Harmed::default(),
        };
        let harmed = Harm::random(&mut Random::new(seed + 3)).apply(&world).await;
        if seed % 5 == 0 {
            // What was lost before is filled, too.
            recovered(&world, None, &options()).await.unwrap();
        }
        let donor = donor(&copy).await;
        let recovery = recovered(&world, Some(&donor), &options()).await.unwrap();
        if seed % 3 != 0 {
            assert_eq!(recovery.not_taken, Vec::<String>::new(), "seed {seed}");
        }
        let both = harmed.and(&other, &world);
        let is_whole = check_filled(&world, (&harmed, &both), seed).await;
        assert_eq!(recovery.is_whole(), is_whole, "seed {seed}: {recovery:?}");
        whole += u32::from(is_whole);
    }
    assert!(merged > 20 && whole > 15, "{merged} merged, {whole} whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_before_stays_stated_whatever_is_damaged_next() {
    let mut lost = 0;
    for seed in seeds(20) {
        let world = World::random(seed).await;
        Harm::all(seed).apply(&world).await;
        recovered(&world, None, &options()).await.unwrap();
        let before = stated(&world).await;
        // New segments, and among them footers alone, which name what was lost.
        Harm::all(seed + 100).apply(&world).await;
        recovered(&world, None, &options()).await.unwrap();
        for (id, offsets) in stated(&world).await {
            assert!(
                before[&id].without(&offsets).is_empty(),
                "seed {seed}: {id}"
            );
            lost += before[&id].count();
        }
    }
    assert!(lost > 100, "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_from_another_log() {
    for seed in seeds(10) {
        let world = World::random(seed).await;
        // Another log under the same names.
        let other = World::random(seed + 1_000).await;
        let harmed = Harm::all(3).apply(&world).await;
        let donor = donor(&other).await;
        let recovery = recovered(&world, Some(&donor), &options()).await.unwrap();
        check(&world, &harmed, seed).await;
        let sources = recovery.recovered.iter().flat_map(|row| &row.sources);
        let taken = sources.filter(|source| source.repository.is_some());
        assert_eq!(taken.count(), 0, "seed {seed}: {recovery:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_of_which_everything_is_gone_says_so() {
    let world = World::random(5).await;
    let harmed = Harm::gone(id(0)).apply(&world).await;
    let recovery = recovered(&world, None, &options()).await.unwrap();
    assert_eq!(recovery.records, 0);
    check(&world, &harmed, 5).await;
    let snapshot = world.latest().await;
    let state = snapshot.partition(&id(0)).unwrap();
    assert_eq!(state.records, 0);
    assert!(state.is_damaged() && state.missing_offsets() > Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_was_written_to_gives_no_record_of_its_own_log() {
    let mut missing = 0;
    for seed in seeds(10) {
        let mut world = World::random(seed).await;
        let mut clone = fork(&world).await;
        let before = world.keys().await;
        // From the same offsets on, both read something else.
        world.backup(seed + 100).await;
        clone.backup(seed + 200).await;
        let added = world.keys().await;
        for key in added
            .difference(&before)
            .filter(|key| key.ends_with(".kseg"))
        {
            let path = Path::from(key.as_str());
            world.objects.delete(&path).await.unwrap();
        }
        if seed % 2 == 0 {
            // No row states the lost records any more.
            recovered(&world, None, &options()).await.unwrap();
        }
        let donor = donor(&clone).await;
        recovered(&world, Some(&donor), &options()).await.unwrap();
        let (found, lost) = (world.read().await, stated(&world).await);
        for (id, model) in &world.model {
            let found = &found[id].records;
            for (offset, record) in found {
                assert_eq!(
                    model.records.get(offset),
                    Some(record),
                    "seed {seed}: {id}, {offset}"
                );
            }
            for offset in model.records.keys().filter(|it| !found.contains_key(it)) {
                let single = Offsets::of(std::iter::once(*offset..*offset + 1));
                assert!(
                    !single.and(&lost[id]).is_empty(),
                    "seed {seed}: {id}, {offset}"
                );
                missing += 1;
            }
        }
    }
    assert!(missing > 100, "{missing} records are lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_records_of_another_log_fill_nothing_where_no_row_states_a_digest() {
    let mut lost = 0;
    for seed in seeds(10) {
        let mut world = World::random_of(seed, SegmentKind::NotComputed).await;
        let mut clone = fork(&world).await;
        let before = world.keys().await;
        // From the same offsets on, both read as many records, with other keys.
        clone.keys += 7;
        world.backup(seed + 100).await;
        clone.backup(seed + 100).await;
        for key in world.keys().await.difference(&before) {
            if key.ends_with(".kseg") {
                let path = Path::from(key.as_str());
                world.objects.delete(&path).await.unwrap();
            }
        }
        let donor = donor(&clone).await;
        let done = recovered(&world, Some(&donor), &options()).await.unwrap();
        lost += done.lost_offsets;
        for (id, model) in world.read().await {
            for (offset, record) in &model.records {
                let expected = world.model[&id].records.get(offset);
                assert_eq!(expected, Some(record), "seed {seed}: {id}, {offset}");
            }
        }
    }
    assert!(lost > 100, "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_copy_makes_whole_what_an_earlier_recovery_lost_whatever_its_gaps_are() {
    let mut lost = 0;
    for seed in seeds(30) {
        let mut world = World::random(seed).await;
        if seed % 2 == 0 {
            let keep = CompactOptions {
                keep: Some(KeepLatest {
                    tombstones_from: None,
                }),
                ..compact_options()
            };
            let segments = world.segments().await;
            world.compact(&keep).await.unwrap();
            world.apply(&keep, &segments);
        }
        let copy = fork(&world).await;
        Harm::all(seed).apply(&world).await;
        let first = recovered(&world, None, &options()).await.unwrap();
        lost += first.lost_offsets;
        if seed % 3 == 0 {
            world.backup(seed + 50).await;
        }
        let donor = donor(&copy).await;
        let recovery = recovered(&world, Some(&donor), &options()).await.unwrap();
        assert!(recovery.is_whole(), "seed {seed}: {recovery:?}");
        assert!(stated(&world).await.values().all(Offsets::is_empty));
        check(&world, &Harmed::default(), seed).await;
        assert!(world.latest().await.is_complete());
    }
    assert!(lost > 500, "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_under_the_names_of_others_are_found() {
    let (mut swapped, mut renamed) = (0, 0);
    for seed in seeds(20) {
        let world = World::random(seed).await;
        let mut keys: Vec<String> = world.keys().await.into_iter().collect();
        keys.retain(|key| key.ends_with(".kseg"));
        let mut random = Random::new(seed);
        let first = keys.remove(random.below(keys.len() as u64) as usize);
        let second = keys.remove(random.below(keys.len() as u64) as usize);
        let (one, other) = (Path::from(first.as_str()), Path::from(second.as_str()));
        let bytes = world.objects.get(&one).await.unwrap();
        let bytes = bytes.bytes().await.unwrap();
        if seed % 2 == 0 {
            // Across partitions, too.
            world.objects.copy(&other, &one).await.unwrap();
            world.objects.put(&other, bytes.into()).await.unwrap();
            swapped += 2;
        } else {
            let base = first.rsplit_once('-').unwrap().0;
            let name = Path::from(format!("{base}-0123456789abcdef.kseg"));
            world.objects.rename(&one, &name).await.unwrap();
            renamed += 1;
        }
        let recovery = recovered(&world, None, &options()).await.unwrap();
        assert!(recovery.is_whole(), "seed {seed}: {recovery:?}");
        check(&world, &Harmed::default(), seed).await;
        for row in &recovery.recovered {
            assert_eq!(row.missing, seed % 2 == 1, "seed {seed}: {row:?}");
            let named = row.sources.iter().filter(|it| it.key == row.key);
            assert_eq!(named.count(), 0, "seed {seed}: {row:?}");
        }
        let expected = if seed % 2 == 0 { 2 } else { 1 };
        assert_eq!(recovery.recovered.len(), expected, "seed {seed}");
    }
    assert!(swapped > 10 && renamed > 5, "{swapped} and {renamed}");
}

/// Returns the snapshots that name one of these objects.
async fn naming(world: &World, keys: &BTreeSet<String>) -> BTreeSet<u64> {
    let repository = world.open().await;
    let mut naming = BTreeSet::new();
    for sequence in repository.sequences().await.unwrap() {
        let snapshot = repository.snapshot(sequence).await.unwrap();
        let mut rows = repository.segment_rows(&snapshot).await.unwrap();
        while let Some((_, entry)) = rows.next().await.unwrap() {
            if keys.contains(&entry.key) {
                naming.insert(sequence);
            }
        }
    }
    naming
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_name_damaged_segments_are_whole_no_more_and_others_are() {
    let (mut naming_some, mut whole) = (0, 0);
    for seed in seeds(25) {
        let mut world = World::random(seed).await;
        if seed % 3 == 0 {
            // What was merged is not damaged in the snapshots before.
            world.compact(&compact_options()).await.unwrap();
        }
        let mut damaged = BTreeSet::new();
        for round in 0..3 {
            let copy = fork(&world).await;
            Harm::random(&mut Random::new(seed + round))
                .apply(&world)
                .await;
            let donor = donor(&copy).await;
            // Where nothing is lost, too.
            let donor = (round == 1).then_some(&donor);
            let recovery = recovered(&world, donor, &options()).await.unwrap();
            // A damaged key filter keeps no record from being read.
            let is_read = |it: &String| it.starts_with("damaged key filter");
            let rows = recovery.recovered.iter();
            let rows = rows.filter(|row| !row.damage.iter().all(is_read));
            damaged.extend(rows.map(|row| row.key.clone()));
            world.backup(seed * 7 + round).await;
            let naming = naming(&world, &damaged).await;
            let repository = world.open().await;
            let found = repository.found_damaged().await.unwrap();
            let listed = crate::list::snapshots(&repository).await.unwrap();
            for row in listed {
                let (sequence, contents) = (row.sequence, row.contents.unwrap());
                let at = format!("seed {seed}, round {round}: snapshot {sequence}");
                let manifest = repository.manifest(sequence).await.unwrap();
                let is_whole = manifest.is_complete() && !naming.contains(&sequence);
                assert_eq!(found.has(sequence), naming.contains(&sequence), "{at}");
                assert_eq!(found.is_whole_backup(&manifest), is_whole, "{at}");
                assert_eq!(contents.complete, is_whole, "{at}");
                assert_eq!(contents.partial.is_none(), is_whole, "{at}");
                let snapshot = repository.snapshot(sequence).await.unwrap();
                assert_eq!(snapshot.is_complete(), is_whole, "{at}");
                let completeness = Completeness::of(&snapshot);
                assert_eq!(completeness.complete, is_whole, "{at}");
                naming_some += u32::from(naming.contains(&sequence));
                whole += u32::from(is_whole);
            }
            let newest = crate::list::newest(&repository).await.unwrap().whole;
            let newest = newest.map(|it| it.sequence);
            let mut sequences = repository.sequences().await.unwrap();
            let mut complete = Vec::new();
            for sequence in sequences.drain(..) {
                let manifest = repository.manifest(sequence).await.unwrap();
                complete.extend(found.is_whole_backup(&manifest).then_some(sequence));
            }
            assert_eq!(newest, complete.last().copied(), "seed {seed}, {round}");
        }
    }
    assert!(
        naming_some > 50 && whole > 20,
        "{naming_some} name some, {whole} are whole"
    );
}

/// What a verification of the records finds, a recovery replaces: of a batch that a faulty producer has written, only that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn of_an_intact_block_only_the_batch_is_lost_that_does_not_decode() {
    let world = World::of_segment(malformed::segment(&id(0))).await;
    let (repository, snapshot) = (world.open().await, world.latest().await);
    let plan = planned(&repository, &snapshot, false).await;
    assert_eq!(plan.segments(), 1);
    let recovery = recovered(&world, None, &options()).await.unwrap();
    let lost: Vec<_> = recovery
        .recovered
        .iter()
        .map(|it| (it.records, it.lost_records, it.lost_offsets))
        .collect();
    assert_eq!(lost, [(30, Some(10), 10)]);
    let (repository, snapshot) = (world.open().await, world.latest().await);
    let state = snapshot.partition(&id(0)).unwrap();
    let damaged: Vec<_> = state.damaged_ranges().map(|it| (it.from, it.to)).collect();
    assert_eq!((state.records, damaged), (30, vec![(10, 20)]));
    let options = VerifyOptions {
        snapshots: vec![snapshot.sequence],
        depth: VerifyDepth::Records,
        ..VerifyOptions::default()
    };
    let report = verify(&repository, &options, Arc::new(|_: u64| ())).await;
    let found = report.findings.iter().map(|it| (it.kind, it.offsets));
    let found: Vec<_> = found.collect();
    assert_eq!(found, [(FindingKind::LostToDamage, Some((10..20).into()))]);
    let plan = planned(&repository, &snapshot, false).await;
    assert_eq!(plan.segments(), 0, "nothing is left to recover");
}
