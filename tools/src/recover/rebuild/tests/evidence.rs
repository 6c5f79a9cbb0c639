//! What damaged snapshots still state: totals, groups, configurations, and which repository and cluster they are of.

use kbk_format::repo::{
    Change, FoundGroups, GroupState, PartitionState, Rebuild, TopicChange, TopicState,
};

use super::super::plan::plan_on;
use super::identity::add_segment;
use super::*;
use crate::testing::change::{change, partition_change, topic_change};

/// Commits these groups and the configuration of a topic, as a backup that found nothing new.
async fn back_up_groups(world: &World, names: &[&str]) {
    let repository = world.open().await;
    let base = repository.latest().await.unwrap().unwrap();
    let topic = &base.topics[0];
    let partitions = topic.partitions.iter();
    let partitions =
        partitions.map(|state| partition_change(state.partition, state.high_watermark, Vec::new()));
    let topic = TopicChange {
        kafka_id: None,
        replication_factor: 3,
        config: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        ..topic_change(&topic.partition_id(0.into()), partitions.collect())
    };
    let groups = names.iter().map(|name| GroupState {
        group: (*name).to_owned(),
        r#type: None,
        state: None,
        taken_at: None,
        topics: Vec::new(),
    });
    let change = Change {
        groups: Some(FoundGroups {
            taken_at: Timestamp::UNIX_EPOCH,
            groups: groups.collect(),
        }),
        ..change(Some(base), vec![topic])
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

/// A topic of which there is no segment is known where a damaged snapshot states it: one without records, one that has lost all, and one that
/// replaced another history of its name.
#[tokio::test(flavor = "multi_thread")]
async fn topics_without_a_segment_are_those_that_a_damaged_snapshot_states() {
    let world = World::random(1).await;
    let newest = world.latest().await;
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    let stated = |name: &str, id: u8, records: u64| {
        let mut topic = newest.topics[0].clone();
        (topic.name, topic.topic_id) = (name.parse().unwrap(), Hex([id; 16]));
        topic.config = Some(config.clone());
        topic.replication_factor = 3;
        topic.deleted = false;
        let numbers = kbk_format::PartitionNumber::all().take(2);
        topic.partitions = numbers.map(|it| PartitionState::empty(it, 0)).collect();
        topic.partitions[0].records = records;
        topic
    };
    let old = newest.topics[0].name.to_string();
    let mut gone = stated("gone", 41, 0);
    gone.deleted = true;
    let topics = vec![
        stated("empty", 40, 0),
        gone,
        stated("lost", 42, 7),
        stated(&old, 43, 0),
    ];
    for folder in ["snapshots", "index"] {
        for key in keys(&world, folder).await {
            delete(&world, &key).await;
        }
    }
    let (repository, lost) = open(&world).await;
    let mut base = base::find(&repository).await.unwrap();
    let mut totals = newest.totals.clone();
    (totals.topics, totals.partitions) = (5, newest.totals.partitions + 8);
    totals.records = newest.totals.records + 7;
    base.topics = topics.clone();
    base.totals = Some((newest.sequence, totals));
    let plan = plan_on(&repository, base, lost, &silent()).await.unwrap();
    let report = rebuild(&repository, &plan, &options(), &silent())
        .await
        .unwrap();
    let empty = report.empty_topics.iter();
    let empty: Vec<_> = empty
        .map(|it| (&*it.topic, it.partitions, it.deleted, it.stated_records))
        .collect();
    let expected = [
        ("empty", 2, false, 0),
        ("gone", 2, true, 0),
        ("lost", 2, false, 7),
        (&*old, 2, false, 0),
    ];
    assert_eq!(empty, expected);
    assert_eq!(report.new_topics, 5);
    assert!(!report.is_lossless(), "seven records are missing");
    let missing = report.missing_totals.unwrap();
    assert_eq!((missing.topics, missing.partitions), (0, 0));

    let found = world.latest().await;
    for topic in &topics {
        let found = found.topic(&topic.name, topic.topic_id).unwrap();
        assert_eq!(found.config, topic.config);
        assert_eq!(found.replication_factor, 3);
        assert_eq!((found.partitions.len(), found.deleted), (2, topic.deleted));
        let mut states = found.partitions.iter();
        assert!(states.all(|state| state.records == 0 && state.incomplete.is_some()));
    }
    // The older history of its name has records, and is not what the topic is now.
    let has_records = |it: &&TopicState| it.partitions.iter().any(|state| state.records > 0);
    let older = found.topics.iter().find(has_records).unwrap();
    assert!(older.name.to_string() == old && older.deleted);
}
