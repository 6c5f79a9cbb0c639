//! A missing or damaged `kbk.json`, and what refuses a rebuild.

use kbk_format::repo::{Id, Key, PartitionState, SegmentEntry};
use kbk_format::{
    FileHeader, Headers, IsolationLevel, SegmentWriter, TimestampType, WriterOptions, layout,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn kbk_json_is_written_again_as_the_other_objects_state_it() {
    for damage in [None, Some(b"{}".to_vec())] {
        let world = World::random(1).await;
        let id = world.open().await.identity().repository_id;
        let before = world.latest().await;
        match &damage {
            Some(bytes) => put(&world, "kbk.json", bytes.clone()).await,
            None => delete(&world, "kbk.json").await,
        }
        let report = rebuilt(&world).await.unwrap();
        let identity = report.kbk_json.clone().unwrap();
        assert_eq!(identity.damage.is_some(), damage.is_some());
        assert!(identity.stated_by.is_some());
        assert_eq!(report.snapshot, None);
        assert!(report.is_lossless());
        let opened = world.open().await;
        assert_eq!(opened.identity().repository_id, id);
        assert_eq!(world.latest().await, before);
        assert!(matches!(
            rebuilt(&world).await,
            Err(RebuildError::Intact { .. })
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_two_repositories_are_refused() {
    let (world, other) = (World::random(1).await, World::random(2).await);
    delete(&world, "kbk.json").await;
    for key in keys(&other, "index").await {
        put(&world, &key, bytes(&other, &key).await).await;
    }
    let store = world.store(0, None, Random::new(1));
    let error = Repository::open_without_identity(store).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("states the repository"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_rebuilt_where_nothing_is_damaged_or_there() {
    let world = World::random(1).await;
    let error = rebuilt(&world).await.unwrap_err();
    assert!(matches!(error, RebuildError::Intact { sequence: 3, .. }));
    for folder in ["snapshots", "index", "data"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let error = rebuilt(&world).await.unwrap_err();
    assert!(matches!(error, RebuildError::Nothing(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_came_first_stays() {
    let mut world = World::random(1).await;
    let first = keys(&world, "snapshots/0").await;
    let newest = first.last().unwrap().clone();
    let intact = bytes(&world, &newest).await;
    put(&world, &newest, b"{}".to_vec()).await;
    let (repository, _) = open(&world).await;
    let plan = plan_rebuild(&repository, None, &silent()).await.unwrap();
    // Somebody puts the snapshot back, and backs up.
    put(&world, &newest, intact).await;
    world.backup(50).await;
    let before = world.latest().await;
    let done = rebuild(&repository, &plan, &options(), &silent()).await;
    assert!(matches!(done, Err(RebuildError::Overtaken)), "{done:?}");
    assert_eq!(world.latest().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_were_used_are_not_used_again() {
    let mut world = World::random(1).await;
    world.backup(50).await;
    for key in keys(&world, "snapshots/0").await {
        delete(&world, &key).await;
    }
    // The hint is left.
    let report = rebuilt(&world).await.unwrap();
    assert_eq!(report.snapshot, Some(5));
    let snapshot = world.latest().await;
    assert_eq!(
        (snapshot.backup(), &*snapshot.forgotten),
        (4, &[(1, 4)][..])
    );
}

/// Checks that the newest snapshot has every record that was ever stored.
async fn check_all(world: &World) {
    let found = world.read().await;
    for (id, model) in &world.model {
        assert_eq!(found[id].records, model.records, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_under_the_names_of_others_are_used_where_they_belong() {
    let world = World::random(1).await;
    let entries = world.segments().await;
    let all: Vec<_> = entries.values().flatten().collect();
    // Two that were swapped, of different partitions, and one that has another name, too.
    let (a, b, c) = (&all[0].key, &all.last().unwrap().key, &all[1].key);
    let (of_a, of_b, of_c) = (
        bytes(&world, a).await,
        bytes(&world, b).await,
        bytes(&world, c).await,
    );
    put(&world, a, of_b).await;
    put(&world, b, of_a).await;
    let copy = c.replace("/0/", "/2/");
    put(&world, &copy, of_c).await;
    for key in keys(&world, "snapshots").await {
        delete(&world, &key).await;
    }
    let report = rebuilt(&world).await.unwrap();
    assert_eq!(
        (report.count(Fate::Moved), report.count(Fate::Superseded)),
        (2, 1)
    );
    let rows = || report.data_objects.iter();
    let row = rows().find(|row| row.key == *a).unwrap();
    assert_eq!(
        (row.fate, row.partition),
        (Fate::Moved, 2.into()),
        "{row:?}"
    );
    assert!(row.detail.as_deref().unwrap().contains(b), "{row:?}");
    let row = rows().find(|row| row.key == copy).unwrap();
    assert_eq!(
        (row.fate, row.partition),
        (Fate::Superseded, 0.into()),
        "{row:?}"
    );
    check_all(&world).await;
    check_verified(&world, &report, 1).await;
    // No object was edited.
    assert_eq!(rows().count(), all.len() + 1);
}

/// Their headers say which segments they are, and their blocks are of these.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_segments_under_the_names_of_others_are_salvaged_where_they_belong() {
    for (seed, with_header) in [(1, true), (2, true), (1, false)] {
        let world = World::random(seed).await;
        let entries = world.segments().await;
        let all: Vec<_> = entries.values().flatten().collect();
        let a = all[0];
        let is_other =
            |it: &&&SegmentEntry| partition_of(&world, &it.key) != partition_of(&world, &a.key);
        let b = *all.iter().rfind(is_other).unwrap();
        let mut stored = Vec::new();
        for entry in [a, b] {
            let mut bytes = bytes(&world, &entry.key).await;
            bytes[entry.footer_position as usize..].fill(0);
            put(&world, &entry.key, bytes.clone()).await;
            stored.push(bytes);
        }
        let left = proved(&world).await;
        assert!([a, b].iter().all(|entry| !left[&entry.key].is_empty()));
        if !with_header {
            stored.iter_mut().for_each(|bytes| bytes[..64].fill(0));
        }
        put(&world, &a.key, stored.pop().unwrap()).await;
        put(&world, &b.key, stored.pop().unwrap()).await;
        for folder in ["snapshots", "index"] {
            for key in keys(&world, folder).await {
                delete(&world, &key).await;
            }
        }
        let report = rebuilt(&world).await.unwrap();
        let found = world.read().await;
        for (entry, at) in [(a, &b.key), (b, &a.key)] {
            let mut rows = report.data_objects.iter();
            let row = rows.find(|row| row.key == *at).unwrap();
            let id = partition_of(&world, &entry.key);
            if !with_header {
                // Nothing says of which partition its blocks are.
                assert_eq!(row.fate, Fate::Unreadable, "{row:?}");
                continue;
            }
            assert_eq!(
                (row.fate, row.partition),
                (Fate::Salvaged, id.partition),
                "{row:?}"
            );
            let detail = row.detail.as_deref().unwrap();
            assert!(detail.contains(&entry.key), "{detail}");
            let records = &found[&id].records;
            let offsets = &left[&entry.key];
            assert!(
                offsets.iter().all(|it| records.contains_key(it)),
                "{entry:?}"
            );
        }
        assert!(!report.is_lossless());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_segments_in_a_renamed_folder_are_salvaged() {
    let world = World::random(3).await;
    let entries = world.segments().await;
    for entry in entries.values().flatten() {
        let mut stored = bytes(&world, &entry.key).await;
        stored[entry.footer_position as usize..].fill(0);
        put(&world, &entry.key, stored).await;
    }
    let left = proved(&world).await;
    for key in keys(&world, "data").await {
        let renamed = key.replacen("data/t/", "data/other/", 1);
        put(&world, &renamed, bytes(&world, &key).await).await;
        delete(&world, &key).await;
    }
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let report = rebuilt(&world).await.unwrap();
    assert_eq!((report.count(Fate::Misplaced), report.new_topics), (0, 1));
    let found = world.read().await;
    for (key, offsets) in &left {
        let records = &found[&partition_of(&world, key)].records;
        assert!(offsets.iter().all(|it| records.contains_key(it)), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_renamed_is_used_and_files_without_a_name_are_listed() {
    let world = World::random(3).await;
    let objects = keys(&world, "data").await;
    for key in &objects {
        let renamed = key.replacen("data/t/", "data/other/", 1);
        put(&world, &renamed, bytes(&world, key).await).await;
        delete(&world, key).await;
    }
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    put(&world, "data/t/notes", b"text".to_vec()).await;
    let report = rebuilt(&world).await.unwrap();
    let intact = report.count(Fate::Moved) + report.count(Fate::Superseded);
    assert_eq!((intact, report.new_topics), (objects.len() as u64, 1));
    assert!(report.is_lossless() || report.stated_lost_offsets > 0);
    check_all(&world).await;
    let files: Vec<_> = report
        .other_files
        .iter()
        .map(|it| (&*it.file, it.is_segment))
        .collect();
    assert_eq!(files, [("data/t/notes", false)]);

    // A segment under no name at all is named, with the name that it should have.
    let world = World::random(3).await;
    let key = &objects_of(&world).await[0];
    put(&world, "data/t/first.kseg", bytes(&world, key).await).await;
    delete(&world, key).await;
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let report = rebuilt(&world).await.unwrap();
    let [file] = &report.other_files[..] else {
        panic!("{:?}", report.other_files)
    };
    assert_eq!(
        (file.is_segment, file.stated_key.as_ref()),
        (true, Some(key))
    );
    assert!(!report.is_lossless());
}

async fn objects_of(world: &World) -> Vec<String> {
    keys(world, "data").await
}

/// Adds a segment of another history of the topic, with one record.
async fn add(world: &World, topic_id: u8, base_offset: i64, created_at: Option<i64>) {
    add_segment(
        world,
        topic_id,
        base_offset..base_offset + 1,
        created_at,
        |_| true,
    )
    .await;
}

/// Adds one with those records that are not removed by key.
pub(super) async fn add_segment(
    world: &World,
    topic_id: u8,
    offsets: std::ops::Range<i64>,
    created_at: Option<i64>,
    is_kept: impl Fn(i64) -> bool,
) -> String {
    let header = FileHeader {
        segment_id: Id::random().0,
        topic_id: [topic_id; 16],
        topic: "t".to_owned(),
        partition: 1_u16.into(),
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: offsets.start,
        cluster_id: Some("cluster".to_owned()),
        writer: None,
        created_at,
        compression: None,
    };
    let id = PartitionId {
        topic: "t".parse().unwrap(),
        topic_id: Hex([topic_id; 16]),
        partition: 1_u16.into(),
    };
    let key = Key::segment(&id, offsets.start, &Hex(header.segment_id)).to_string();
    let mut writer = SegmentWriter::new(Vec::new(), header, WriterOptions::default()).unwrap();
    for offset in offsets.clone().filter(|it| is_kept(*it)) {
        let record = kbk_format::Record {
            offset,
            timestamp: 1,
            control: false,
            key: None,
            value: Some(b"value"),
            headers: Headers::Slice(&[]),
        };
        writer.push(&record).unwrap();
    }
    let (bytes, _) = writer.seal(offsets.end, GapReason::Compacted).unwrap();
    put(world, &key, bytes).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn several_histories_of_a_name_are_in_the_order_in_which_they_were_written() {
    let world = World::random(1).await;
    add(&world, 9, 5, Some(2_000)).await;
    add(&world, 8, 7, Some(3_000)).await;
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let report = rebuilt(&world).await.unwrap();
    assert_eq!(report.new_topics, 3);
    let snapshot = world.latest().await;
    let topics = snapshot.topics.iter();
    let found: Vec<_> = topics
        .map(|it| {
            (
                it.topic_id.0[0],
                it.first_seen,
                it.deleted,
                it.partitions.len(),
            )
        })
        .collect();
    // Nothing states when the first one was written.
    let sequence = snapshot.sequence;
    assert_eq!(
        found,
        [
            (7, sequence - 2, true, 3),
            (9, sequence - 1, true, 2),
            (8, sequence, false, 2)
        ]
    );
    let newest = &snapshot.topics[2];
    assert_eq!((newest.replication_factor, &newest.config), (-1, &None));
    assert_eq!(newest.kafka_id, Some(Hex([8; 16])));
    let [empty, one] = &newest.partitions[..] else {
        panic!("{newest:?}")
    };
    assert_eq!((empty.segments, one.base_offset, one.end_offset), (0, 7, 8));
    assert_eq!((one.high_watermark, one.appended), (-1, sequence));
    assert!(empty.incomplete.is_some() && one.incomplete.is_some());
    // What was replaced makes no snapshot partial, as a deleted topic does not, and says all the same that its end is not known.
    let replaced = snapshot.topics[..2].iter();
    let mut states = replaced.clone().flat_map(|topic| &topic.partitions);
    assert!(states.all(PartitionState::is_rebuilt));
    let mut lacking = replaced.flat_map(|topic| {
        let states = topic.partitions.iter();
        states.filter_map(|state| snapshot.lacks(topic, state))
    });
    assert!(lacking.next().is_none());
    assert_eq!(snapshot.created_at.as_millisecond(), 3_000);
    assert_eq!(snapshot.cluster_id.as_deref(), Some("cluster"));
    assert_eq!(snapshot.backup(), sequence - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_base_does_not_have_is_beside_it() {
    for (created_at, is_deleted) in [(1_000, false), (-1_000, true)] {
        let world = World::random(1).await;
        add(&world, 9, 5, Some(created_at)).await;
        let newest = keys(&world, "snapshots/0").await.pop().unwrap();
        put(&world, &newest, b"{}".to_vec()).await;
        let report = rebuilt(&world).await.unwrap();
        assert_eq!((report.base_snapshot, report.new_topics), (Some(2), 1));
        let snapshot = world.latest().await;
        let deleted: Vec<_> = snapshot
            .topics
            .iter()
            .map(|it| (it.topic_id.0[0], it.deleted))
            .collect();
        // The base was read at the epoch.
        assert_eq!(deleted, [(7, !is_deleted), (9, is_deleted)]);
        check_verified(&world, &report, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_segments_and_the_one_that_they_were_merged_into_are_told_apart_in_time() {
    // With KBK_SOAK, as many as a year of hourly backups leaves: a cost that grows with their square would take hours.
    let count = seeds(800).end as i64;
    for removed in [false, true] {
        let world = World::random(1).await;
        for folder in ["snapshots", "index", "data"] {
            for key in keys(&world, folder).await {
                delete(&world, &key).await;
            }
        }
        for offset in 0..count {
            add(&world, 9, offset, Some(1)).await;
        }
        add_segment(&world, 9, 0..count, Some(2), |it| !removed || it % 3 > 0).await;
        let begun = std::time::Instant::now();
        let report = rebuilt(&world).await.unwrap();
        println!("{count} segments, {removed}: {:?}", begun.elapsed());
        assert_eq!(report.records, count as u64);
        let (adopted, superseded) = (report.count(Fate::Adopted), report.count(Fate::Superseded));
        // What a compaction has removed is in the small ones.
        let expected = if removed {
            (count as u64, 1)
        } else {
            (1, count as u64)
        };
        assert_eq!((adopted, superseded), expected);
        assert!(report.is_lossless());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_version_does_not_make_a_segment_one_of_a_later_kbk() {
    let world = World::random(4).await;
    let objects = keys(&world, "data").await;
    let major_of_trailer =
        |stored: &[u8]| stored.len() - layout::trailer::LENGTH + layout::trailer::MAJOR;
    for (at, key) in objects.iter().enumerate() {
        let mut stored = bytes(&world, key).await;
        let (header, trailer) = (layout::file_header::MAJOR, major_of_trailer(&stored));
        match at % 3 {
            0 => stored[trailer] ^= 8,
            1 => stored[header] ^= 8,
            // Both state one that is not known: nothing tells that it is damage.
            _ => {
                stored[trailer] ^= 8;
                stored[header] ^= 8;
                let at = stored.len() - layout::trailer::LENGTH;
                let footer = stored[at..at + 8].try_into().unwrap();
                stored[u64::from_le_bytes(footer) as usize..trailer].fill(0);
            }
        }
        put(&world, key, stored).await;
    }
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let report = rebuilt_as(&world, &abandoning()).await.unwrap();
    let found = world.read().await;
    for (at, key) in objects.iter().enumerate() {
        let row = report
            .data_objects
            .iter()
            .find(|row| row.key == *key)
            .unwrap();
        assert_eq!(row.fate == Fate::Unsupported, at % 3 == 2, "{row:?}");
    }
    assert!(found.values().any(|model| !model.records.is_empty()));
}
