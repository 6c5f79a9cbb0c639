//! Two histories under the same names are never mixed into one.

use super::identity::add_segment;
use super::*;

/// Adds the segments of another repository.
async fn add(world: &World, other: &World) {
    let ours = world.keys().await;
    for key in keys(other, "data").await {
        if !ours.contains(&key) {
            put(world, &key, bytes(other, &key).await).await;
        }
    }
}

async fn without_index(world: &World) {
    for folder in ["snapshots", "index"] {
        for key in keys(world, folder).await {
            delete(world, &key).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_histories_one_is_used_and_the_other_is_named() {
    let mut contradictory = 0;
    for seed in seeds(20) {
        let mut world = World::random(seed).await;
        let mut clone = World {
            objects: Arc::new(world.objects.fork()),
            model: world.model.clone(),
            keys: world.keys,
            kind: world.kind,
        };
        // From the same offsets on, both read something else.
        for round in 0..2 {
            world.backup(seed + 100 + round).await;
            clone.backup(seed + 200 + round).await;
        }
        add(&world, &clone).await;
        without_index(&world).await;
        let report = rebuilt(&world).await.unwrap();
        assert!(!report.is_lossless(), "seed {seed}");
        contradictory += report.count(Fate::Contradictory);
        let found = world.read().await;
        for id in world.model.keys() {
            let of = |model: &World| {
                let records = &model.model[id].records;
                let mut all = found[id].records.iter();
                all.all(|(offset, record)| records.get(offset) == Some(record))
            };
            assert!(of(&world) || of(&clone), "seed {seed}: {id} is mixed");
        }
        check_verified(&world, &report, seed).await;
    }
    assert!(contradictory > 40, "{contradictory}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fork_and_a_hole_nothing_is_used() {
    let (mut left_out, mut forks) = (0, 0);
    for seed in seeds(30) {
        let mut world = World::random(seed).await;
        let mut clone = World {
            objects: Arc::new(world.objects.fork()),
            model: world.model.clone(),
            keys: world.keys,
            kind: world.kind,
        };
        let before = keys(&world, "data").await;
        world.backup(seed + 100).await;
        clone.backup(seed + 200).await;
        // Of what the other one has read first only the first segment is left.
        let first = keys(&clone, "data").await;
        let mut seen = BTreeSet::new();
        for key in first.iter().filter(|key| !before.contains(*key)) {
            if seen.insert(partition_of(&world, key)) {
                put(&world, key, bytes(&clone, key).await).await;
            }
        }
        clone.backup(seed + 300).await;
        let ours = world.keys().await;
        for key in keys(&clone, "data").await {
            if !first.contains(&key) && !ours.contains(&key) {
                put(&world, &key, bytes(&clone, &key).await).await;
            }
        }
        without_index(&world).await;
        let report = rebuilt(&world).await.unwrap();
        let found = world.read().await;
        // Where a segment begins by chance where one of the other history ends, nothing tells them apart.
        let by_chance = |id: &PartitionId| {
            let rows = || {
                report
                    .data_objects
                    .iter()
                    .filter(|it| it.partition == id.partition)
            };
            let theirs = |key: &str| !ours.contains(key);
            let spans = |is_theirs: bool| {
                let rows = rows().filter(move |it| theirs(&it.key) == is_theirs);
                rows.filter_map(|it| it.offsets)
            };
            spans(true).any(|it| spans(false).any(|other| other.end_offset == it.base_offset))
        };
        for (row, id) in report.rebuilt.iter().zip(world.model.keys()) {
            if row.diverges_at.is_none() || by_chance(id) {
                continue;
            }
            forks += 1;
            let of = |model: &World| {
                let records = &model.model[id].records;
                let mut all = found[id].records.iter();
                all.all(|(offset, record)| records.get(offset) == Some(record))
            };
            assert!(of(&world) || of(&clone), "seed {seed}: {id} is mixed");
        }
        left_out += report.count(Fate::Contradictory);
    }
    assert!(left_out > 40 && forks > 30, "{left_out} in {forks} forks");
}

/// Removes the objects that the newest snapshot does not name, as a prune does.
async fn prune(world: &World) {
    let segments = world.segments().await;
    let named: BTreeSet<String> = segments
        .values()
        .flatten()
        .map(|it| it.key.clone())
        .collect();
    for key in keys(world, "data").await {
        if !named.contains(&key) {
            delete(world, &key).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_a_compaction_hides_is_not_taken_for_one_history() {
    let (mut hidden, mut mixed) = (0, 0);
    for seed in seeds(100) {
        // Few keys, so that a compaction leaves few records.
        let mut history = History {
            world: World::random(seed * 40 + seed % 3).await,
            all: Records::new(),
        };
        history.note();
        let common = keys(&history.world, "data").await;
        let mut clone = World {
            objects: Arc::new(history.world.objects.fork()),
            model: history.world.model.clone(),
            keys: history.world.keys,
            kind: history.world.kind,
        };
        clone.backup(seed + 200).await;
        let world = &mut history.world;
        world.backup(seed + 100).await;
        world.backup(seed + 101).await;
        history.note();
        let world = &mut history.world;
        let mut options = compact_options();
        options.keep = Some(KeepLatest {
            tombstones_from: None,
        });
        let segments = world.segments().await;
        world.compact(&options).await.unwrap();
        world.apply(&options, &segments);
        prune(world).await;
        let ours = world.keys().await;
        add(world, &clone).await;
        // What both had before is gone but for what the compaction has left.
        for key in common.iter().filter(|key| !ours.contains(*key)) {
            delete(world, key).await;
        }
        without_index(world).await;
        let report = rebuilt(world).await.unwrap();
        let found = world.read().await;
        for (row, id) in report.rebuilt.iter().zip(world.model.keys()) {
            hidden += u64::from(row.may_diverge_at.is_some());
            let of = |records: &BTreeMap<i64, Record>| {
                let mut all = found[id].records.iter();
                all.all(|(offset, record)| records.get(offset) == Some(record))
            };
            if !of(&history.all[id])
                && !of(&clone.model[id].records)
                && !by_chance(&report, id, &ours)
            {
                mixed += 1;
                for row in report
                    .data_objects
                    .iter()
                    .filter(|it| it.partition == id.partition)
                {
                    let is_ours = ours.contains(&row.key);
                    println!(
                        "seed {seed}: {is_ours} {} {:?} {:?} {:?}",
                        row.key, row.offsets, row.fate, row.detail
                    );
                }
            }
        }
        check_verified(world, &report, seed).await;
    }
    println!("{hidden} hidden, {mixed} mixed");
    assert!(hidden > 5 && mixed == 0, "{hidden} hidden, {mixed} mixed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_was_killed_leaves_nothing_out() {
    let (mut killed, mut unnamed) = (0, 0);
    for seed in seeds(8) {
        for calls in [10, 30, 60, 1_000] {
            let history = History::random(seed).await;
            let world = &history.world;
            let before = proved(world).await;
            let mut options = compact_options();
            options.keep = Some(KeepLatest {
                tombstones_from: None,
            });
            options.segment_bytes = 2_000;
            let compacted = world.compact_faulty(&options, 0, Some(calls)).await;
            killed += u64::from(compacted.is_err());
            let left = proved(world).await;
            unnamed += left.len() - before.len();
            without_index(world).await;
            let report = rebuilt(world).await.unwrap();
            assert_eq!(
                report.count(Fate::Contradictory),
                0,
                "seed {seed}, {calls}: {:?}",
                report.data_objects
            );
            let found = world.read().await;
            for (key, offsets) in &left {
                let records = &found[&partition_of(world, key)].records;
                assert!(
                    offsets.iter().all(|it| records.contains_key(it)),
                    "seed {seed}, {calls}: {key}"
                );
            }
            check(&history, &report, &left, seed).await;
        }
    }
    println!("{killed} killed, {unnamed} unnamed");
    assert!(
        killed > 15 && unnamed > 50,
        "{killed} killed, {unnamed} unnamed"
    );
}

/// Returns whether a segment of one of two histories ends by chance where one of the other begins or ends: then nothing tells them apart.
fn by_chance(report: &RebuildReport, id: &PartitionId, ours: &BTreeSet<String>) -> bool {
    let rows = report
        .data_objects
        .iter()
        .filter(|it| it.partition == id.partition);
    let (ours, theirs): (Vec<_>, Vec<_>) = rows.partition(|row| ours.contains(&row.key));
    let meet = |some: &[&ObjectRow], others: &[&ObjectRow]| {
        let ends = some.iter().filter_map(|row| row.offsets);
        ends.into_iter().any(|it| {
            let mut bounds = others.iter().filter_map(|row| row.offsets);
            bounds.any(|other| [other.base_offset, other.end_offset].contains(&it.end_offset))
        })
    };
    meet(&theirs, &ours) || meet(&ours, &theirs)
}

/// The offsets of a segment, and which of them have a record.
type Kept<'a> = (std::ops::Range<i64>, &'a dyn Fn(i64) -> bool);

/// Makes a repository of these segments, and returns the report and their fates.
async fn rebuilt_of(segments: &[Kept<'_>]) -> (RebuildReport, Vec<Fate>) {
    let world = World::random(1).await;
    for folder in ["snapshots", "index", "data"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let mut names = Vec::new();
    for (offsets, is_kept) in segments {
        names.push(add_segment(&world, 9, offsets.clone(), Some(1), is_kept).await);
    }
    let report = rebuilt(&world).await.unwrap();
    let fate = |key: &String| {
        let mut rows = report.data_objects.iter();
        rows.find(|row| row.key == *key).unwrap().fate
    };
    let fates = names.iter().map(fate).collect();
    (report, fates)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_compaction_has_left_proves_a_history_up_to_the_last_equal_record() {
    let all = |_: i64| true;
    let ends = |it: i64| it == 10 || it == 99;
    // No equal record, and what is before or beside it does not matter.
    let (report, fates) = rebuilt_of(&[(0..100, &ends), (50..80, &all)]).await;
    assert_eq!(fates, [Fate::Contradictory, Fate::Adopted]);
    assert_eq!(
        (
            report.rebuilt[0].diverges_at,
            report.rebuilt[0].may_diverge_at
        ),
        (None, Some(50))
    );
    assert!(!report.is_lossless());
    let row = report
        .data_objects
        .iter()
        .find(|row| row.fate == Fate::Contradictory);
    let detail = row.unwrap().detail.clone().unwrap();
    assert!(
        detail.contains("nothing proves that both are of one history"),
        "{detail}"
    );
    // One at the beginning does not prove what follows.
    let early = |it: i64| it == 10 || it == 60 || (90..100).contains(&it);
    let (_, fates) = rebuilt_of(&[(0..100, &early), (50..80, &all)]).await;
    assert!(fates.contains(&Fate::Contradictory), "{fates:?}");
    // One at the end does, and so does a segment that continues it and has one.
    let late = |it: i64| it == 10 || it == 79;
    for others in [
        &[(0..100, &late as &dyn Fn(i64) -> bool), (50..80, &all)][..],
        &[(0..100, &ends), (50..80, &all), (80..100, &all)],
        &[
            (0..100, &ends),
            (50..80, &all),
            (80..90, &all),
            (90..100, &all),
        ],
        // The ends of what was merged, and of what it was merged from, are the same.
        &[(0..100, &|it| it == 10), (0..50, &all), (50..100, &all)],
    ] {
        let (report, fates) = rebuilt_of(others).await;
        assert!(!fates.contains(&Fate::Contradictory), "{fates:?}");
        assert!(report.rebuilt[0].may_diverge_at.is_none());
    }
    // Of a compaction that was killed, the first segment is there, and everything that it was made of.
    let (report, fates) =
        rebuilt_of(&[(0..87, &|it| it == 10), (0..50, &all), (50..100, &all)]).await;
    assert_eq!(fates, [Fate::Superseded, Fate::Adopted, Fate::Adopted]);
    assert!(report.is_lossless());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_came_back_without_what_removed_them_are_named() {
    let all = |_: i64| true;
    let kept = |it: i64| it == 49 || it == 99;
    let state = |report: &RebuildReport| {
        let row = &report.rebuilt[0];
        (row.returned_records, row.may_be_stale, report.is_lossless())
    };
    // The second source, which may have deleted a key of the first one, is gone.
    let (report, _) = rebuilt_of(&[(0..100, &kept), (0..50, &all)]).await;
    assert_eq!(state(&report), (49, true, false));
    // All are there.
    let (report, _) = rebuilt_of(&[(0..100, &kept), (0..50, &all), (50..100, &all)]).await;
    assert_eq!(state(&report), (98, false, true));
    // Only the second one is: nothing before it deletes a key of it.
    let (report, _) = rebuilt_of(&[(0..100, &kept), (50..100, &all)]).await;
    assert_eq!(state(&report), (49, false, true));
    // Nothing came back.
    let (report, _) = rebuilt_of(&[(0..100, &kept)]).await;
    assert_eq!(state(&report), (0, false, true));
    // What is lost may have deleted one.
    let (report, _) = rebuilt_of(&[(0..50, &|it| it == 49), (0..50, &all), (60..70, &all)]).await;
    assert_eq!(state(&report), (49, true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_the_end_of_the_base_is_compared_with_it() {
    let world = World::random(1).await;
    let id = world.model.keys().next().unwrap().clone();
    let entries = world.entries_of(&id).await;
    let first = &entries[0];
    // Another segment with the same bytes but for its id, and one with other records.
    let other = World::random(2).await;
    let theirs = other.entries_of(&id).await;
    let foreign = theirs
        .iter()
        .find(|it| it.base_offset == 0 && it.records > 0)
        .unwrap();
    put(&world, &foreign.key, bytes(&other, &foreign.key).await).await;
    world.compact(&compact_options()).await.unwrap();
    let mut last = World {
        objects: Arc::clone(&world.objects),
        model: world.model.clone(),
        keys: world.keys,
        kind: world.kind,
    };
    last.backup(60).await;
    let newest = keys(&world, "snapshots/0").await.pop().unwrap();
    put(&world, &newest, b"{}".to_vec()).await;
    let report = rebuilt(&world).await.unwrap();
    assert!(report.base_snapshot.is_some());
    let fate = |key: &str| {
        let mut rows = report.data_objects.iter();
        rows.find(|row| row.key == key).unwrap()
    };
    // What was merged has the same records as what it was merged into.
    let merged = fate(&first.key).fate;
    assert!(
        [Fate::Kept, Fate::Superseded].contains(&merged),
        "{merged:?}"
    );
    assert!(report.count(Fate::Superseded) > 0);
    let row = fate(&foreign.key);
    assert_eq!(row.fate, Fate::Contradictory, "{row:?}");
    assert!(
        row.detail
            .as_deref()
            .unwrap()
            .contains("it has another record"),
        "{row:?}"
    );
    assert!(!report.is_lossless());
    // What continues the base is used all the same.
    assert!(report.count(Fate::Adopted) > 0);
}
