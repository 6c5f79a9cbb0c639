//! Names and attributes.

use std::collections::BTreeSet;
use std::sync::Arc;

use kbk_fuse::{Inode, Kind, Lifetime, Snapshots, View, ViewError, ViewOptions};

use crate::support::groups::groups;
use crate::support::read::{find, list, names, read};
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

#[tokio::test]
async fn the_tree_matches_its_documentation() {
    let world = World::new().await;
    world
        .backup(&[
            (
                "orders",
                1,
                0,
                vec![Part::plain(5, 100), Part::plain(100, 150)],
            ),
            ("orders", 1, 1, vec![]),
        ])
        .await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    assert_eq!(
        names(&view, "").await,
        ["README.txt", "latest", "snapshots", "follow"]
    );
    assert_eq!(names(&view, "snapshots").await, ["1", "by-date"]);
    assert_eq!(
        names(&view, "latest").await,
        ["snapshot.json", "errors.jsonl", "topics"]
    );
    assert_eq!(names(&view, "latest/topics").await, ["orders"]);
    assert_eq!(
        names(&view, "latest/topics/orders").await,
        ["config.json", "0", "1"]
    );
    assert_eq!(
        names(&view, "latest/topics/orders/0").await,
        [
            "meta.json",
            "records.jsonl",
            "values",
            "keys",
            "by-offset",
            "by-time",
            "segments",
            "log"
        ]
    );
    assert_eq!(
        names(&view, "latest/topics/orders/0/by-offset").await,
        [5, 100]
            .into_iter()
            .zip([99, 149])
            .map(|(first, last)| format!("{first:020}-{last:020}.jsonl"))
            .collect::<Vec<_>>()
    );
    let stored = names(&view, "latest/topics/orders/0/segments").await;
    assert_eq!(stored.len(), 2);
    for name in stored {
        let bytes = read(&view, &format!("latest/topics/orders/0/segments/{name}"))
            .await
            .unwrap();
        assert!(kbk_format::Segment::open_whole(&bytes).is_ok());
    }
    for path in [
        "README.txt",
        "latest/snapshot.json",
        "latest/errors.jsonl",
        "latest/topics/orders/config.json",
    ] {
        read(&view, path).await.unwrap();
    }
    assert!(
        read(&view, "latest/topics/orders/1/records.jsonl")
            .await
            .unwrap()
            .is_empty()
    );
    for path in [
        "x",
        "latest/x",
        "latest/topics/x",
        "latest/topics/orders/2",
        "latest/topics/orders/00",
        "snapshots/01",
    ] {
        assert!(
            matches!(find(&view, path).await, Err(ViewError::NotFound)),
            "{path}"
        );
    }
    assert!(matches!(
        find(&view, "README.txt/x").await,
        Err(ViewError::NotFolder)
    ));
}

#[tokio::test]
async fn a_listing_does_not_depend_on_its_page_size() {
    let world = World::new().await;
    world
        .backup(&[
            (
                "orders",
                1,
                0,
                vec![Part::plain(0, 10), Part::plain(10, 20), Part::plain(20, 30)],
            ),
            ("b", 2, 0, vec![]),
        ])
        .await;
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(30, 40)])])
        .await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let mut folders = vec![Inode::ROOT];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        let whole = list(&view, folder, usize::MAX).await.unwrap();
        for at_a_time in 1..4 {
            let pages = list(&view, folder, at_a_time).await.unwrap();
            let plain = |listed: &[kbk_fuse::Listed]| {
                listed
                    .iter()
                    .map(|l| (l.name.clone(), l.inode, l.cookie))
                    .collect::<Vec<_>>()
            };
            assert_eq!(plain(&pages), plain(&whole));
        }
        for listed in whole {
            let found = view.lookup(folder, listed.name.as_bytes()).await.unwrap();
            assert_eq!(
                (found.inode, found.attributes),
                (listed.inode, listed.attributes.unwrap()),
                "{}",
                listed.name
            );
            assert_eq!(found.attributes.kind, listed.kind);
            match listed.kind {
                Kind::Folder => folders.push(listed.inode),
                Kind::File => {
                    files += 1;
                    let file = view.open_file(listed.inode).await.unwrap();
                    assert_eq!(file.size(), found.attributes.size, "{}", listed.name);
                }
                Kind::Link => {}
            }
        }
    }
    assert!(files > 20, "{files}");
}

#[tokio::test]
async fn groups_of_any_name_have_their_own_file() {
    let world = World::new().await;
    let long = "ä".repeat(300);
    let names = [
        "",
        ".",
        "..",
        "a/b",
        "a\u{0}b",
        "billing",
        "~",
        "a%2Fb",
        &long,
        &format!("{long}x"),
        "長い",
    ];
    world.backup_with(&[], Some(groups(&names)), &[]).await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let listed = crate::support::read::names(&view, "latest/groups").await;
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), names.len());
    let mut found = BTreeSet::new();
    for name in &listed {
        assert!(!name.contains(['/', '\0']) && name.len() <= 255);
        let json = read(&view, &format!("latest/groups/{name}")).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        found.insert(json["group"].as_str().unwrap().to_owned());
    }
    assert_eq!(found, names.iter().map(|name| (*name).to_owned()).collect());
    assert!(
        listed.contains(&"a%2Fb.json".to_owned()) && listed.contains(&"a%252Fb.json".to_owned())
    );
    for other in [
        "a%2fb.json",
        "billing",
        "billing.json.json",
        "%62illing.json",
        "%",
        "%4.json",
    ] {
        assert!(
            find(&view, &format!("latest/groups/{other}"))
                .await
                .is_err(),
            "{other}"
        );
    }
}

#[tokio::test]
async fn a_topic_that_was_deleted_and_recreated_has_two_folders() {
    let world = World::new().await;
    let long = "t".repeat(249);
    world
        .backup(&[
            ("orders", 1, 0, vec![Part::plain(0, 9)]),
            (&long, 3, 0, vec![]),
        ])
        .await;
    let orders = ("orders", 2, 0, vec![Part::plain(0, 5)]);
    world
        .backup_with(&[orders], None, &[("orders", 1), (&long, 3)])
        .await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let topics = names(&view, "latest/topics").await;
    assert_eq!(topics[0], format!("orders@{}", "01".repeat(16)));
    assert_eq!(topics[1], "orders");
    assert!(
        topics[2].len() == 255 && topics[2].ends_with(&format!("@{}", "03".repeat(16))),
        "{topics:?}"
    );
    for (topic, lines) in topics.iter().zip([9, 5, 0]) {
        let found = read(&view, &format!("latest/topics/{topic}/0/records.jsonl"))
            .await
            .unwrap();
        assert_eq!(
            found.iter().filter(|byte| **byte == b'\n').count(),
            lines,
            "{topic}"
        );
    }
    assert!(
        names(&view, "snapshots/1/topics")
            .await
            .contains(&"orders".to_owned())
    );
    for other in ["orders@", "orders~", &format!("orders@{}", "02".repeat(16))] {
        assert!(
            find(&view, &format!("latest/topics/{other}"))
                .await
                .is_err(),
            "{other}"
        );
    }
}

#[tokio::test]
async fn new_snapshots_appear_in_a_growing_view() {
    let world = World::new().await;
    let growing = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    assert_eq!(
        names(&growing, "").await,
        ["README.txt", "snapshots", "follow"]
    );
    assert!(matches!(
        find(&growing, "latest").await,
        Err(ViewError::NotFound)
    ));
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(0, 9)])])
        .await;
    let sealed = ViewOptions {
        growing: false,
        ..ViewOptions::default()
    };
    let sealed = View::open(world.store(), sealed).await.unwrap();
    let one = ViewOptions {
        snapshots: Snapshots::One(1),
        ..ViewOptions::default()
    };
    let one = View::open(world.store(), one).await.unwrap();
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(9, 20)])])
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(names(&growing, "snapshots").await, ["1", "2", "by-date"]);
    let latest = growing.lookup(Inode::ROOT, b"latest").await.unwrap();
    assert_eq!(
        growing.read_link(latest.inode).await.unwrap(),
        "snapshots/2"
    );
    assert_eq!(latest.attributes.lifetime, Lifetime::Growing);
    assert_eq!(names(&sealed, "snapshots").await, ["1", "by-date"]);
    assert_eq!(
        sealed
            .lookup(Inode::ROOT, b"latest")
            .await
            .unwrap()
            .attributes
            .lifetime,
        Lifetime::Sealed
    );
    assert_eq!(names(&one, "").await, ["README.txt", "snapshots"]);
    for (view, says) in [
        (&sealed, "`latest` is the newest"),
        (&one, "One snapshot of a kbk"),
    ] {
        let readme = read(view, "README.txt").await.unwrap();
        let readme = String::from_utf8(readme).unwrap();
        assert!(readme.contains(says), "{readme}");
    }
    let readme = read(&one, "README.txt").await.unwrap();
    assert!(!String::from_utf8(readme).unwrap().contains("latest"));
    assert_eq!(names(&one, "snapshots").await, ["1", "by-date"]);
    let none = ViewOptions {
        snapshots: Snapshots::One(7),
        ..ViewOptions::default()
    };
    let error = View::open(world.store(), none).await.unwrap_err();
    assert!(error.to_string().contains("no snapshot 7"), "{error}");
}

#[tokio::test]
async fn a_filter_hides_topics() {
    let world = World::new().await;
    world
        .backup(&[
            ("orders", 1, 0, vec![Part::plain(0, 9)]),
            ("payments", 2, 0, vec![]),
        ])
        .await;
    let topics: kbk_fuse::TopicFilter = Arc::new(|topic| *topic.name == *"payments");
    let options = ViewOptions {
        topics: Some(topics),
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    assert_eq!(names(&view, "latest/topics").await, ["payments"]);
    assert!(matches!(
        find(&view, "latest/topics/orders").await,
        Err(ViewError::NotFound)
    ));
}

#[tokio::test]
async fn attributes_match_the_backup() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let world = World::new().await;
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(0, 90)])])
        .await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let state = &snapshot.topics[0].partitions[0];
    let records = find(&view, "latest/topics/orders/0/records.jsonl")
        .await
        .unwrap();
    assert_eq!(records.attributes.stored_bytes, state.stored_bytes);
    assert_eq!(records.attributes.modified_ms, 89 * 60_000);
    assert_eq!(
        (records.attributes.links, records.attributes.lifetime),
        (1, Lifetime::Sealed)
    );
    let one = find(&view, "latest/topics/orders/0/by-offset/7.json").await;
    assert_eq!(one.unwrap().attributes.modified_ms, 7 * 60_000);
    let empty = find(&view, "latest/topics/orders").await.unwrap();
    assert_eq!(empty.attributes.modified_ms, world.now_ms as u64);
    let value = |name: &'static str| {
        let view = view.clone();
        async move { view.extended(records.inode, name.as_bytes()).await.unwrap() }
    };
    assert_eq!(value("user.kbk.topic").await, "orders");
    assert_eq!(value("user.kbk.end_offset").await, "90");
    assert_eq!(value("user.kbk.records").await, "90");
    let names = view.attribute_names(records.inode).await.unwrap();
    assert!(names.contains(&"user.kbk.content_digest"), "{names:?}");
    assert!(matches!(
        view.extended(records.inode, b"user.other").await,
        Err(ViewError::NoAttribute)
    ));
    let meta = read(&view, "latest/topics/orders/0/meta.json")
        .await
        .unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
    assert_eq!(
        (&meta["records"], &meta["end_offset"]),
        (&90.into(), &90.into())
    );
    assert_eq!(
        meta["content_digest"],
        value("user.kbk.content_digest").await
    );
    assert_eq!(
        meta["rendered_bytes"]["records.jsonl"],
        records.attributes.size
    );
    let totals = view.totals().await.unwrap();
    assert_eq!(
        (totals.stored_bytes, totals.partitions),
        (state.stored_bytes, 1)
    );
}
