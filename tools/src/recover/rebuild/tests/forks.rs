//! Two histories under the same names are never mixed into one.

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
