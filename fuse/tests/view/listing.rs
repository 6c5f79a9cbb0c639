//! What folders list, and what they leave out.

use std::sync::Arc;

use kbk_format::KeyFilterBits;
use kbk_format::repo::{Incomplete, IncompleteReason};
use kbk_fuse::{Inode, Kind, Part as Shown, TopicFilter, View, ViewOptions};

use crate::support::read::{find, names, read};
use crate::support::watched::watched;
use crate::support::world::{Part, World};

async fn open(world: &World) -> View {
    View::open(world.store(), ViewOptions::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_partition_lists_the_chosen_parts_and_opens_the_others_by_name() {
    let mut world = World::new().await;
    world.key_filter = Some(KeyFilterBits::default());
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(0, 20)])])
        .await;
    let options = ViewOptions {
        listed: vec![Shown::Records, Shown::ByTime],
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let folder = "latest/topics/orders/0";
    assert_eq!(
        names(&view, folder).await,
        ["meta.json", "records.jsonl", "by-time"]
    );
    assert_eq!(
        names(&view, "follow/topics/orders/0").await,
        ["records.jsonl"]
    );
    let all = open(&world).await;
    for part in Shown::ALL {
        let path = format!("{folder}/{}", part.file_name());
        let found = find(&view, &path).await.unwrap();
        assert_eq!(found, find(&all, &path).await.unwrap(), "{path}");
        if found.attributes.kind == Kind::Folder {
            assert_eq!(names(&view, &path).await, names(&all, &path).await);
        }
    }
    for path in [
        "follow/topics/orders/0/values",
        "latest/topics/orders/0/by-offset/7.json",
    ] {
        assert_eq!(
            read(&view, path).await.unwrap(),
            read(&all, path).await.unwrap()
        );
    }
    assert!(find(&view, &format!("{folder}/x")).await.is_err());
    assert!(
        find(&view, "follow/topics/orders/0/meta.json")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn snapshots_have_the_times_of_their_creation_and_links_by_them() {
    let mut world = World::new().await;
    // 2026-11-22T10:00:00Z
    let second = 1_795_341_600_000;
    for created in [second, second + 999, second + 1_000, second + 250] {
        world.now_ms = created;
        world.backup(&[]).await;
    }
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let links = [
        ("2026-11-22T10:00:00Z", "../1"),
        ("2026-11-22T10:00:00Z~2", "../2"),
        ("2026-11-22T10:00:01Z", "../3"),
        ("2026-11-22T10:00:00Z~4", "../4"),
    ];
    assert_eq!(
        names(&view, "snapshots/by-date").await,
        links.map(|(name, _)| name)
    );
    let folder = find(&view, "snapshots/by-date").await.unwrap().inode;
    for (name, target) in links {
        let link = view.lookup(folder, name.as_bytes()).await.unwrap();
        assert_eq!(link.attributes.kind, Kind::Link);
        assert_eq!(view.read_link(link.inode).await.unwrap(), target);
        assert_eq!(link.attributes.size, target.len() as u64);
    }
    assert!(view.lookup(folder, b"2026-11-22T10:00:02Z").await.is_err());
    let read = watch.take();
    let whole: Vec<_> = read
        .iter()
        .filter(|(key, _)| key.contains("snapshots/0"))
        .collect();
    // A listing reads the newest, which says what was forgotten.
    assert_eq!(whole.len(), 5, "each once, and the newest twice: {whole:?}");
    for (sequence, created) in [(1, second), (2, second + 999), (3, second + 1_000)] {
        let found = find(&view, &format!("snapshots/{sequence}")).await.unwrap();
        assert_eq!(found.attributes.modified_ms, created as u64);
    }
}

#[tokio::test]
async fn a_partial_snapshot_says_so_in_its_folder() {
    let mut world = World::new().await;
    let whole = [
        ("orders", 1, 0, vec![Part::plain(0, 20)]),
        ("payments", 2, 0, vec![]),
    ];
    world.backup(&whole).await;
    world.incomplete = Some(Incomplete {
        reason: IncompleteReason::OpenTransaction,
        detail: "a transaction of producer 7 was open".into(),
    });
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(20, 30)])])
        .await;
    let view = open(&world).await;
    assert_eq!(
        names(&view, "snapshots/1").await,
        ["snapshot.json", "errors.jsonl", "topics"]
    );
    assert!(find(&view, "snapshots/1/INCOMPLETE.txt").await.is_err());
    assert_eq!(
        names(&view, "snapshots/2").await,
        ["snapshot.json", "errors.jsonl", "INCOMPLETE.txt", "topics"]
    );
    let text = read(&view, "snapshots/2/INCOMPLETE.txt").await.unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "Snapshot 2 is partial: 1 of 2 partitions lacks records that the cluster had.\n\n\
         orders/0: open transaction: what follows offset 30: a transaction of producer 7 was open\n"
    );
    for (sequence, complete) in [(1, true), (2, false)] {
        let json = read(&view, &format!("snapshots/{sequence}/snapshot.json")).await;
        let json: serde_json::Value = serde_json::from_slice(&json.unwrap()).unwrap();
        assert_eq!(json["complete"], complete);
        assert_eq!(json["incomplete_partitions"], u64::from(!complete));
    }
}

#[tokio::test]
async fn a_filter_sees_which_topic_of_a_name_it_is() {
    let world = World::new().await;
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(0, 9)])])
        .await;
    let new = ("orders", 2, 0, vec![Part::plain(0, 3)]);
    world.backup_with(&[new], None, &[("orders", 1)]).await;
    let first: TopicFilter = Arc::new(|topic| topic.topic_id.0 == [1; 16]);
    let options = ViewOptions {
        topics: Some(first),
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let name = format!("orders@{}", "01".repeat(16));
    assert_eq!(names(&view, "latest/topics").await, [name]);
    assert!(find(&view, "latest/topics/orders").await.is_err());
    assert_eq!(
        view.attributes(Inode::ROOT).await.unwrap().kind,
        Kind::Folder
    );
}

#[tokio::test]
async fn a_topic_says_whether_it_was_replaced_and_how_much_has_expired() {
    let mut world = World::new().await;
    let parts = |to| vec![Part::plain(0, 10), Part::plain(10, to)];
    world.backup(&[("orders", 1, 0, parts(20))]).await;
    world.expire(10 * 60_000).await;
    // The same topic of the cluster, read again in full.
    world.kafka_id = Some(1);
    world
        .backup_with(&[("orders", 2, 0, parts(30))], None, &[("orders", 1)])
        .await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let old = format!("orders@{}", "01".repeat(16));
    for (topic, expected) in [("orders", (false, None, 0)), (&*old, (true, Some(3), 10))] {
        let config = read(&view, &format!("latest/topics/{topic}/config.json")).await;
        let config: serde_json::Value = serde_json::from_slice(&config.unwrap()).unwrap();
        let found = (
            config["deleted"].as_bool().unwrap(),
            config["replaced_in"].as_u64(),
            config["expired_records"].as_u64().unwrap(),
        );
        assert_eq!(found, expected, "{topic}");
        // A file of an offset that has expired is not there.
        let record = format!("latest/topics/{topic}/0/by-offset/5.json");
        assert_eq!(find(&view, &record).await.is_ok(), expected.2 == 0);
    }
}
