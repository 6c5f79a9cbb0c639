//! What damaged snapshots still state: totals, groups, configurations, and which repository and cluster they are of.

use kbk_format::repo::{
    Change, FoundGroups, GroupState, Id, PartitionChange, Rebuild, TopicChange,
};

use super::identity::add_segment;
use super::*;

/// Commits these groups and the configuration of a topic, as a backup that found nothing new.
async fn back_up_groups(world: &World, names: &[&str]) {
    let repository = world.open().await;
    let base = repository.latest().await.unwrap().unwrap();
    let topic = &base.topics[0];
    let partitions = topic.partitions.iter().map(|state| PartitionChange {
        partition: state.partition,
        log_start_offset: state.log_start_offset,
        high_watermark: state.high_watermark,
        last_stable_offset: state.last_stable_offset,
        incomplete: None,
        segments: Vec::new(),
        lost: Vec::new(),
    });
    let groups = names.iter().map(|name| GroupState {
        group: (*name).to_owned(),
        r#type: None,
        state: None,
        taken_at: None,
        topics: Vec::new(),
    });
    let change = Change {
        read_after: base.sequence,
        ignored: BTreeSet::new(),
        nonce: Id::random(),
        started_at: Timestamp::UNIX_EPOCH,
        created_at: Timestamp::UNIX_EPOCH,
        writer: "test".to_owned(),
        cluster_id: None,
        topics: vec![TopicChange {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            kafka_id: None,
            internal: false,
            replication_factor: 3,
            config: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
            partitions: partitions.collect(),
        }],
        gone: Vec::new(),
        unseen: Vec::new(),
        groups: Some(FoundGroups {
            taken_at: Timestamp::UNIX_EPOCH,
            groups: groups.collect(),
        }),
        acls: None,
        base: Some(base),
    };
    repository.commit(&change).await.unwrap();
}

async fn groups(world: &World) -> Option<Vec<String>> {
    let repository = world.open().await;
    let newest = repository.latest().await.unwrap().unwrap();
    let groups = repository.groups(&newest).await.unwrap()?;
    Some(groups.groups.iter().map(|it| it.group.clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_the_newest_snapshot_that_still_has_them_are_kept() {
    for is_damaged in [false, true] {
        let world = World::random(1).await;
        back_up_groups(&world, &["old"]).await;
        let old = keys(&world, "cluster").await;
        back_up_groups(&world, &["new", "other"]).await;
        for key in keys(&world, "index").await {
            delete(&world, &key).await;
        }
        if is_damaged {
            let mut all = keys(&world, "cluster").await.into_iter();
            let new = all.find(|key| !old.contains(key)).unwrap();
            put(&world, &new, b"damaged".to_vec()).await;
        }
        let report = rebuilt(&world).await.unwrap();
        assert_eq!(report.base_snapshot, None);
        let found = groups(&world).await.unwrap();
        match is_damaged {
            false => assert_eq!(found, ["new", "other"]),
            true => assert_eq!(found, ["old"]),
        }
        // What is older than it should be is said.
        assert_eq!(report.unread.len(), usize::from(is_damaged), "{report:?}");
        assert!(!is_damaged || !report.is_lossless());
        check_verified(&world, &report, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn less_than_a_damaged_snapshot_states_is_counted() {
    let world = World::random(1).await;
    let totals = world.latest().await.totals.clone();
    for key in keys(&world, "index").await {
        delete(&world, &key).await;
    }
    let whole = World {
        objects: Arc::new(world.objects.fork()),
        model: world.model.clone(),
        keys: world.keys,
        kind: world.kind,
    };
    let report = rebuilt(&whole).await.unwrap();
    assert_eq!(report.missing_totals, None);
    // A partition without a segment, and the end of another one: nothing that is left shows it.
    let (mut segments, mut records) = (0, 0);
    let objects = proved(&world).await;
    let last = objects
        .keys()
        .rfind(|key| partition_of(&world, key).partition.index() == 0);
    for (key, offsets) in &objects {
        if partition_of(&world, key).partition.index() == 2 || Some(key) == last {
            delete(&world, key).await;
            segments += 1;
            records += offsets.len() as u64;
        }
    }
    let report = rebuilt(&world).await.unwrap();
    let expected = MissingTotals {
        snapshot: totals_of(&world).await,
        topics: 0,
        partitions: 1,
        segments,
        records,
    };
    assert_eq!(report.missing_totals, Some(expected));
    assert!(!report.is_lossless());
    assert!(records > 0 && totals.segments > segments);
    // A topic of which nothing is left.
    for key in keys(&world, "data")
        .await
        .into_iter()
        .chain(keys(&world, "index").await)
    {
        delete(&world, &key).await;
    }
    add_segment(&world, 9, 0..3, None, |_| true).await;
    let report = rebuilt(&world).await.unwrap();
    let missing = report.missing_totals.unwrap();
    assert_eq!(
        (missing.topics, missing.partitions),
        (0, 0),
        "one took its place"
    );
    assert!(missing.records > 0);
}

/// Returns the newest snapshot that a backup has committed.
async fn totals_of(world: &World) -> u64 {
    let repository = world.open().await;
    let mut newest = 0;
    for sequence in repository.sequences().await.unwrap() {
        let manifest = repository.manifest(sequence).await.unwrap();
        if manifest.maintenance.is_none() {
            newest = sequence;
        }
    }
    newest
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_and_the_partitions_that_a_later_snapshot_states_are_taken_over() {
    let world = World::random(1).await;
    back_up_groups(&world, &[]).await;
    let (repository, _) = open(&world).await;
    let stated = world.latest().await;
    let first = repository.snapshot(1).await.unwrap();
    let mut topics = stated.topics.clone();
    topics[0]
        .partitions
        .push(kbk_format::repo::PartitionState::empty(3_u16.into(), 0));
    let rebuild = Rebuild {
        ignored: repository
            .listed_sequences()
            .await
            .unwrap()
            .into_iter()
            .filter(|it| *it > 1)
            .collect(),
        used: stated.sequence,
        is_behind: true,
        groups: None,
        acls: None,
        keeps_pruning: true,
        newest_segment: Timestamp::UNIX_EPOCH,
        cluster_id: None,
        topics: Vec::new(),
        stated: topics,
        upkeep: Upkeep {
            command: REBUILD.to_owned(),
            detail: String::new(),
            writer: "test".to_owned(),
            now: Timestamp::UNIX_EPOCH,
        },
        base: Some(first),
    };
    let committed = repository.commit_rebuild(&rebuild).await.unwrap();
    let [topic] = &committed.topics[..] else {
        panic!("{:?}", committed.topics)
    };
    assert_eq!(topic.config, stated.topics[0].config);
    assert_eq!((topic.replication_factor, topic.partitions.len()), (3, 4));
    // The records are those of the base.
    assert!(committed.totals.records < stated.totals.records);
    assert!(topic.partitions.iter().all(|it| it.incomplete.is_some()));
    assert_eq!(world.latest().await.topics, committed.topics);
}

#[tokio::test(flavor = "multi_thread")]
async fn kbk_json_and_objects_of_different_repositories_are_refused_with_both_ids() {
    let (world, other) = (World::random(1).await, World::random(2).await);
    let ids = [&world, &other]
        .map(async |it: &World| it.open().await.identity().repository_id.to_string());
    let [ours, theirs] = ids;
    let (ours, theirs) = (ours.await, theirs.await);
    let refused = async |world: &World| {
        let store = world.store(0, None, Random::new(1));
        let error = Repository::open_without_identity(store)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&ours) && error.contains(&theirs), "{error}");
        error
    };
    // One object of another one.
    let key = keys(&other, "snapshots/0").await.pop().unwrap();
    let stray = key.replace("0003", "0007");
    put(&world, &stray, bytes(&other, &key).await).await;
    let error = refused(&world).await;
    assert!(
        error.contains("move the objects of the other repository away"),
        "{error}"
    );
    delete(&world, &stray).await;
    open(&world).await;
    // Its kbk.json: nothing says that it is the right one.
    put(&world, "kbk.json", bytes(&other, "kbk.json").await).await;
    let error = refused(&world).await;
    assert!(error.contains("move kbk.json away"), "{error}");
    // As it says.
    delete(&world, "kbk.json").await;
    let report = rebuilt(&world).await.unwrap();
    assert_eq!(report.kbk_json.unwrap().repository_id, ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_several_clusters_are_not_merged_silently() {
    let world = World::random(1).await;
    add_segment(&world, 9, 0..3, Some(1), |_| true).await;
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let report = rebuilt(&world).await.unwrap();
    let clusters: Vec<_> = report
        .clusters
        .iter()
        .map(|it| (&*it.cluster_id, it.segments > 0))
        .collect();
    assert_eq!(clusters, [("cluster", true), ("other", true)]);
    assert!(!report.is_lossless());
}
