//! A fault of the store affects the bytes that it concerns, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kbk_format::repo::Hex;
use kbk_fuse::{Kind, Location, View, ViewError, ViewOptions};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::read::{find, list, names, read};
use crate::support::records;
use crate::support::watched::{Fault, watched};
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

const FILE: &str = "latest/topics/orders/0/records.jsonl";

fn parts() -> Vec<Part> {
    [(0, 200), (200, 400), (400, 450)]
        .map(|(from, to)| Part::plain(from, to))
        .into()
}

async fn world() -> World {
    let world = World::new().await;
    world.backup(&[("orders", 1, 0, parts())]).await;
    world
}

async fn segments(world: &World) -> Vec<String> {
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let topic = &snapshot.topics[0];
    let entries = world
        .repository
        .segments(
            &snapshot,
            &topic.partition_id(0.into()),
            &topic.partitions[0],
        )
        .await
        .unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn bytes(world: &World, key: &str) -> Vec<u8> {
    let object = world.objects.get(&Path::from(key)).await.unwrap();
    object.bytes().await.unwrap().to_vec()
}

/// Reads line by line, and returns the offsets of the lines that cannot be read, with the errors.
async fn unreadable_lines(view: &View) -> (Vec<i64>, Vec<ViewError>) {
    let file = view
        .open_file(find(view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    let (mut lost, mut errors) = (Vec::new(), Vec::new());
    let mut at = 0;
    for part in parts() {
        for record in part.records {
            let line = record.line().into_bytes();
            match file.read(at, line.len()).await {
                Ok(found) => assert_eq!(found, line),
                Err(error) => {
                    lost.push(record.offset);
                    errors.push(error);
                }
            }
            at += line.len() as u64;
        }
    }
    (lost, errors)
}

#[tokio::test]
async fn a_flipped_byte_only_affects_the_records_of_its_block() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world().await;
    let key = segments(&world).await[1].clone();
    let intact = bytes(&world, &key).await;
    let segment = kbk_format::Segment::open_whole(&intact).unwrap();
    let entries = segment.index().entries();
    assert!(entries.len() > 4);
    let block = &entries[2];
    // Magic, checksum, header, directory, streams.
    for into in [0, 5, 41, 165, u64::from(block.header_length) + 3] {
        let mut damaged = intact.clone();
        damaged[(block.position + into) as usize] ^= 0x10;
        world
            .objects
            .put(&Path::from(key.as_str()), damaged.into())
            .await
            .unwrap();
        let view = View::open(world.store(), ViewOptions::default())
            .await
            .unwrap();
        let (lost, errors) = unreadable_lines(&view).await;
        assert_eq!(
            lost,
            (block.base_offset..block.end_offset).collect::<Vec<_>>(),
            "byte {into}"
        );
        let expected = Location {
            snapshot: Some(1),
            topic: Some("orders".into()),
            topic_id: Some(Hex([1; 16])),
            partition: Some(0.into()),
            offsets: Some(block.base_offset..block.end_offset),
        };
        for error in errors {
            assert!(
                matches!(&error, ViewError::Damaged { location, .. } if *location == expected),
                "{error}"
            );
            let range = format!(
                "orders/0, offsets {} to {} (exclusive): ",
                block.base_offset, block.end_offset
            );
            assert!(
                error.to_string().contains(&range) && error.to_string().contains(&key),
                "{error}"
            );
        }
        let named = String::from_utf8(read(&view, "latest/errors.jsonl").await.unwrap()).unwrap();
        assert_eq!(named.lines().count(), 1, "{named}");
        let line: serde_json::Value = serde_json::from_str(&named).unwrap();
        assert_eq!(
            (&line["topic"], &line["base_offset"]),
            (&"orders".into(), &block.base_offset.into())
        );
        let meta = read(&view, "latest/topics/orders/0/meta.json")
            .await
            .unwrap();
        let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
        assert_eq!(meta["damage"][0]["end_offset"], block.end_offset);
    }
}

#[tokio::test]
async fn a_damaged_or_missing_segment_only_affects_its_own_records() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world().await;
    let key = segments(&world).await[1].clone();
    let intact = bytes(&world, &key).await;
    let footer = kbk_format::Segment::open_whole(&intact)
        .unwrap()
        .footer_position() as usize;
    let mut flipped = intact.clone();
    flipped[footer + 20] ^= 1;
    let mut cut = intact.clone();
    cut.pop();
    for damaged in [Some(flipped), Some(cut), None] {
        let path = Path::from(key.as_str());
        let missing = damaged.is_none();
        match damaged {
            Some(damaged) => drop(world.objects.put(&path, damaged.into()).await.unwrap()),
            None => world.objects.delete(&path).await.unwrap(),
        }
        let view = View::open(world.store(), ViewOptions::default())
            .await
            .unwrap();
        let (lost, errors) = unreadable_lines(&view).await;
        assert_eq!(lost, (200..400).collect::<Vec<_>>());
        for error in errors {
            assert_eq!(
                matches!(error, ViewError::Missing { .. }),
                missing,
                "{error}"
            );
            assert_eq!(
                matches!(error, ViewError::Damaged { .. }),
                !missing,
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn damage_is_cached_and_store_failures_are_retried() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = world().await;
    let key = segments(&world).await[0].clone();
    let mut damaged = bytes(&world, &key).await;
    damaged[500] ^= 1;
    world
        .objects
        .put(&Path::from(key.as_str()), damaged.into())
        .await
        .unwrap();
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let file = view
        .open_file(find(&view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    assert!(file.read(0, 1).await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    watch.take();
    for _ in 0..100 {
        assert!(matches!(
            file.read(0, 1).await,
            Err(ViewError::Damaged { .. })
        ));
    }
    assert_eq!(
        watch.take().len(),
        0,
        "damaged bytes are not read again for every page"
    );
    let last = file.size() - 1;
    for fault in [
        Fault::Fails,
        Fault::Forbids,
        Fault::Truncates,
        Fault::Panics,
    ] {
        let (store, watch) = watched(world.objects.clone());
        let view = View::open(store, ViewOptions::default()).await.unwrap();
        let file = view
            .open_file(find(&view, FILE).await.unwrap().inode)
            .await
            .unwrap();
        watch.set(fault);
        let error = file.read(last, 1).await.unwrap_err();
        match fault {
            Fault::Fails => assert!(matches!(error, ViewError::Store { .. }), "{error}"),
            Fault::Forbids => assert!(matches!(error, ViewError::Forbidden { .. }), "{error}"),
            Fault::Panics => assert!(matches!(error, ViewError::Internal { .. }), "{error}"),
            _ => assert!(matches!(error, ViewError::Store { .. }), "{error}"),
        }
        watch.set(Fault::None);
        file.read(last, 1).await.expect("only damage is cached");
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_abandoned_at_the_deadline() {
    let world = world().await;
    let (store, watch) = watched(world.objects.clone());
    let deadline = Duration::from_millis(100);
    let view = View::open(
        store,
        ViewOptions {
            deadline,
            ..ViewOptions::default()
        },
    )
    .await
    .unwrap();
    let file = view
        .open_file(find(&view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    watch.set(Fault::Hangs);
    let reads: Vec<_> = (0..20)
        .map(|_| {
            let file = file.clone();
            tokio::spawn(async move { file.read(0, 100_000).await })
        })
        .collect();
    for read in reads {
        let error = read.await.unwrap().unwrap_err();
        assert!(matches!(error, ViewError::Deadline { .. }), "{error}");
        assert!(
            error.to_string().contains("orders/0") && error.to_string().contains(".kseg"),
            "{error}"
        );
    }
    // Names and sizes need no store.
    assert_eq!(
        find(&view, FILE).await.unwrap().attributes.size,
        file.size()
    );
    watch.set(Fault::None);
    assert_eq!(read(&view, FILE).await.unwrap().len() as u64, file.size());
    assert_eq!(
        read(&view, "latest/errors.jsonl").await.unwrap(),
        b"",
        "no damage was found"
    );
}

#[tokio::test]
async fn an_object_that_is_replaced_is_reported_as_changed_not_damaged() {
    let world = world().await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let key = segments(&world).await[1].clone();
    let folder = "latest/topics/orders/0/by-offset";
    read(&view, &format!("{folder}/200-201.jsonl"))
        .await
        .unwrap();
    // A replacement with the same bytes is fine.
    let mut other = bytes(&world, &key).await;
    let path = Path::from(key.as_str());
    world
        .objects
        .put(&path, other.clone().into())
        .await
        .unwrap();
    read(&view, &format!("{folder}/300-301.jsonl"))
        .await
        .unwrap();
    let blocks = kbk_format::Segment::open_whole(&other).unwrap();
    let last = blocks.index().entries().last().unwrap();
    other[(last.position + u64::from(last.header_length)) as usize] ^= 1;
    world.objects.put(&path, other.into()).await.unwrap();
    // What was read before is cached, and still belongs to the snapshot.
    read(&view, &format!("{folder}/200-201.jsonl"))
        .await
        .unwrap();
    let error = read(&view, &format!("{folder}/398-399.jsonl"))
        .await
        .unwrap_err();
    assert!(matches!(error, ViewError::Changed { .. }), "{error}");
    read(&view, &format!("{folder}/100-101.jsonl"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cancelled_read_does_not_affect_others() {
    let world = world().await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let file = view
        .open_file(find(&view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    watch.delay(Duration::from_millis(50));
    let first = tokio::spawn({
        let file = file.clone();
        async move { file.read(0, 10).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    first.abort();
    assert_eq!(file.read(0, 10).await.unwrap().len(), 10);
}

#[tokio::test]
async fn names_are_listed_while_the_store_hangs() {
    let world = world().await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let file = find(&view, FILE).await.unwrap();
    watch.set(Fault::ListingHangs);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answered = tokio::time::timeout(Duration::from_secs(20), find(&view, FILE)).await;
    assert_eq!(answered.expect("an answer").unwrap(), file);
}

#[tokio::test]
async fn a_block_whose_text_length_differs_from_the_footer_is_damaged() {
    for overstated_bytes in [1, 1 << 40, 1 << 62] {
        let mut world = World::new().await;
        world.overstated_bytes = overstated_bytes;
        world
            .backup(&[("orders", 1, 0, vec![parts().remove(0)])])
            .await;
        let key = segments(&world).await[0].clone();
        let bytes = bytes(&world, &key).await;
        let segment = kbk_format::Segment::open_whole(&bytes).unwrap();
        let ends: Vec<u64> = segment
            .rendered_sizes()
            .unwrap()
            .ends()
            .iter()
            .map(|ends| ends[0])
            .collect();
        let view = View::open(world.store(), ViewOptions::default())
            .await
            .unwrap();
        let entry = find(&view, FILE).await.unwrap();
        let file = view.open_file(entry.inode).await.unwrap();
        let text = records::records(&parts()[0].records);
        assert_eq!(entry.attributes.size, text.len() as u64 + overstated_bytes);
        assert_eq!(
            file.read(0, ends[0] as usize).await.unwrap(),
            text[..ends[0] as usize]
        );
        for at in [ends[0], ends[1] - 1] {
            let error = file.read(at, 1).await.unwrap_err();
            assert!(matches!(error, ViewError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("its segment states"), "{error}");
        }
        let third = file
            .read(ends[1], (ends[2] - ends[1]) as usize)
            .await
            .unwrap();
        let at = (ends[1] - overstated_bytes) as usize;
        assert_eq!(third, text[at..at + third.len()]);
        assert!(view.status().held_bytes < 1 << 20, "{:?}", view.status());
    }
}

/// Every file below a folder, by its path, with its contents.
async fn contents(view: &View, folder: &str) -> Result<BTreeMap<String, Vec<u8>>, ViewError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let inode = find(view, &folder).await?.inode;
        for listed in list(view, inode, 100).await? {
            let path = format!("{folder}/{}", listed.name);
            match listed.kind {
                Kind::Folder => folders.push(path),
                _ => drop(files.insert(path.clone(), read(view, &path).await?)),
            }
        }
    }
    Ok(files)
}

/// The kinds of what `errors.jsonl` lists.
async fn kinds(view: &View) -> BTreeSet<String> {
    let lines = String::from_utf8(read(view, "latest/errors.jsonl").await.unwrap()).unwrap();
    let kind = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].clone();
    lines
        .lines()
        .map(|line| kind(line).as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_store_that_was_gone_or_failed_leaves_nothing_behind() {
    assert_leaves_nothing(&[
        (Fault::Vanishes, "unavailable"),
        (Fault::Fails, "unavailable"),
    ])
    .await;
}

#[tokio::test]
async fn a_store_that_hung_or_cut_answers_short_leaves_nothing_behind() {
    assert_leaves_nothing(&[
        (Fault::Hangs, "unavailable"),
        (Fault::Truncates, "unavailable"),
    ])
    .await;
}

#[tokio::test]
async fn objects_that_were_forbidden_or_missing_leave_nothing_behind() {
    assert_leaves_nothing(&[(Fault::Forbids, "forbidden"), (Fault::Loses, "missing")]).await;
}

/// Fails the test unless each file is whole again within seconds after a fault, and `errors.jsonl` names its kind meanwhile.
async fn assert_leaves_nothing(faults: &[(Fault, &str)]) {
    let world = world().await;
    let intact = View::open(world.store(), ViewOptions::default());
    let topics = "snapshots/1/topics";
    let expected = contents(&intact.await.unwrap(), topics).await.unwrap();
    assert!(expected.keys().any(|path| path.contains("by-time")));
    for &(fault, kind) in faults {
        let (store, watch) = watched(world.objects.clone());
        let options = ViewOptions {
            deadline: Duration::from_millis(100),
            ..ViewOptions::default()
        };
        let view = View::open(store, options).await.unwrap();
        find(&view, FILE).await.unwrap();
        watch.set(fault);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        // These follow from the snapshot and the index alone.
        let of_snapshot = [".json", "/leader-epoch-checkpoint", "/partition.metadata"];
        let needs_segments = |path: &&String| !of_snapshot.iter().any(|end| path.ends_with(end));
        for path in expected.keys().filter(needs_segments) {
            assert!(read(&view, path).await.is_err(), "{fault:?}: {path}");
        }
        assert!(contents(&view, topics).await.is_err(), "{fault:?}");
        assert_eq!(kinds(&view).await, [kind.to_owned()].into(), "{fault:?}");
        let listed = find(&view, "snapshots").await.unwrap().inode;
        let listed = list(&view, listed, 9).await.unwrap();
        assert_eq!((&*listed[0].name, listed.len()), ("1", 2), "{fault:?}");

        watch.set(Fault::None);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        // Reading everything refutes what meta.json lists; then it is the same, too.
        contents(&view, topics).await.unwrap();
        assert!(
            contents(&view, topics).await.unwrap() == expected,
            "{fault:?}"
        );
        assert_eq!(kinds(&view).await, [].into(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_damaged_newest_snapshot_hides_no_other() {
    let world = world().await;
    let more = vec![Part::plain(450, 460)];
    world.backup(&[("orders", 1, 0, more)]).await;
    let intact = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let first = contents(&intact, "snapshots/1/topics").await.unwrap();
    let key = Path::from(format!("snapshots/{:020}.json", 2));
    let mut damaged = bytes(&world, key.as_ref()).await;
    damaged[100] ^= 1;
    world.objects.put(&key, damaged.into()).await.unwrap();

    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    assert_eq!(names(&view, "snapshots").await, ["1", "2", "by-date"]);
    assert_eq!(names(&view, "latest").await, ["errors.jsonl"]);
    assert_eq!(kinds(&view).await, ["damaged".to_owned()].into());
    for path in ["latest/topics/orders", "latest/snapshot.json"] {
        let error = find(&view, path).await.unwrap_err();
        assert!(matches!(error, ViewError::Damaged { .. }), "{error}");
    }
    let folder = contents(&view, "snapshots/1/topics");
    assert!(folder.await.unwrap() == first);
    let followed = read(&view, "follow/topics/orders/0/values").await.unwrap();
    assert!(followed == first["snapshots/1/topics/orders/0/values"]);
    assert_eq!(view.totals().await.unwrap().partitions, 1);
}

#[tokio::test]
async fn a_snapshot_that_is_forgotten_while_it_is_read_is_not_damaged() {
    let world = world().await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let path = "snapshots/1/topics/orders/0/records.jsonl";
    let open = view.open_file(find(&view, path).await.unwrap().inode);
    let open = open.await.unwrap();
    let old = segments(&world).await;
    world.expire(i64::MAX).await;
    world.forget(1).await;
    for key in &old {
        world
            .objects
            .delete(&Path::from(key.as_str()))
            .await
            .unwrap();
    }
    let error = open.read(0, 1).await.unwrap_err();
    assert!(matches!(error, ViewError::Forgotten { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("snapshot 1 was forgotten"), "{said}");
    // What is shown once the repository is listed again is whole.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(names(&view, "snapshots").await, ["2", "3", "by-date"]);
    assert_eq!(read(&view, FILE).await.unwrap(), b"");
    assert_eq!(kinds(&view).await, [].into());
}
