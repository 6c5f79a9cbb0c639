//! Names and attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{FoundGroups, GroupState};
use kbk_fuse::{Inode, Kind, Lifetime, Snapshots, View, ViewError, ViewOptions};

use crate::support::read::{find, list, names, read};
use crate::support::records::Rec;
use crate::support::watched::watched;
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
            "segments"
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

/// Every file of the tree: its path, inode number and size.
async fn walk(view: &View) -> BTreeMap<String, (Inode, u64)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(String::new(), Inode::ROOT)];
    while let Some((path, folder)) = folders.pop() {
        for listed in list(view, folder, 100).await.unwrap() {
            let path = format!("{path}/{}", listed.name);
            files.insert(
                path.clone(),
                (listed.inode, listed.attributes.unwrap().size),
            );
            if listed.kind == Kind::Folder {
                folders.push((path, listed.inode));
            }
        }
    }
    files
}

#[tokio::test]
async fn inode_numbers_survive_a_remount_and_are_unique() {
    let world = World::new().await;
    let orders = |from| {
        (
            "orders",
            1,
            0,
            vec![
                Part::plain(from, from + 10),
                Part::plain(from + 10, from + 100),
            ],
        )
    };
    world
        .backup(&[
            orders(0),
            ("a", 2, 0, vec![Part::plain(0, 5)]),
            ("a", 2, 1, vec![]),
        ])
        .await;
    world
        .backup_with(
            &[orders(100), ("b", 3, 0, vec![Part::plain(0, 5)])],
            Some(groups(&["g", "h"])),
            &[],
        )
        .await;
    let first = walk(
        &View::open(world.store(), ViewOptions::default())
            .await
            .unwrap(),
    )
    .await;
    let second = walk(
        &View::open(world.store(), ViewOptions::default())
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(first, second);
    let numbers: BTreeSet<_> = first.values().map(|(inode, _)| *inode).collect();
    assert_eq!(numbers.len(), first.len());
    assert!(first.len() > 60, "{}", first.len());
    // Numbers that were never handed out lead to an error, not to a panic.
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let (mut seed, mut stale) = (1u64, 0);
    for _ in 0..2_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let near =
            numbers.iter().nth(seed as usize % numbers.len()).unwrap().0 ^ (1 << (seed >> 58));
        let inode = Inode(near);
        stale += usize::from(view.attributes(inode).await.is_err());
        let _ = view.list(inode, seed >> 40, 3).await;
        let _ = view.lookup(inode, b"0").await;
        let _ = view.extended(inode, b"user.kbk.topic").await;
        if let Ok(file) = view.open_file(inode).await {
            file.read(seed >> 50, 100).await.unwrap();
        }
    }
    assert!(stale > 100, "{stale}");
}

/// Programs remember inode numbers across mounts, so numbers are as fixed as names.
#[tokio::test]
async fn inode_numbers_are_pinned() {
    let world = World::new().await;
    let parts = vec![Part::plain(0, 10), Part::plain(10, 70)];
    world
        .backup(&[
            ("a", 2, 0, vec![]),
            ("orders", 1, 0, vec![]),
            ("orders", 1, 1, parts),
        ])
        .await;
    world.backup_with(&[], Some(groups(&["g", "h"])), &[]).await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let partition = "snapshots/2/topics/orders/1";
    let stored = &names(&view, &format!("{partition}/segments")).await[1];
    let at = |name: &str| format!("{partition}{name}");
    for (path, number) in [
        ("README.txt".to_owned(), 0x2),
        ("snapshots".to_owned(), 0x4),
        ("snapshots/by-date".to_owned(), 0x7),
        ("follow".to_owned(), 0x5),
        ("follow/topics".to_owned(), 0x6),
        ("follow/topics/orders".to_owned(), 0xdd14_ebae_80ac_b6f0),
        ("follow/topics/orders/1".to_owned(), 0xdd14_dd90_4900_4261),
        (
            "follow/topics/orders/1/records.jsonl".to_owned(),
            0xdd14_dd90_4900_4262,
        ),
        (
            "follow/topics/orders/1/values".to_owned(),
            0xdd14_dd90_4900_4263,
        ),
        (
            "follow/topics/orders/1/keys".to_owned(),
            0xdd14_dd90_4900_4264,
        ),
        ("snapshots/1".to_owned(), 0x100_0000_0000),
        ("snapshots/1/snapshot.json".to_owned(), 0x100_0000_0001),
        ("snapshots/1/errors.jsonl".to_owned(), 0x100_0000_0002),
        ("snapshots/1/topics".to_owned(), 0x100_0000_0004),
        ("snapshots/2/groups".to_owned(), 0x200_0000_0003),
        ("snapshots/2/groups/h.json".to_owned(), 0x220_0000_0001),
        ("snapshots/2/topics/orders".to_owned(), 0x240_0000_0002),
        (
            "snapshots/2/topics/orders/config.json".to_owned(),
            0x240_0000_0003,
        ),
        (at(""), 0x260_0000_0010),
        (at("/meta.json"), 0x260_0000_0011),
        (at("/records.jsonl"), 0x260_0000_0012),
        (at("/values"), 0x260_0000_0013),
        (at("/keys"), 0x260_0000_0014),
        (at("/by-offset"), 0x260_0000_0015),
        (at("/by-time"), 0x260_0000_0016),
        (at("/segments"), 0x260_0000_0017),
        (at("/by-offset/10-69.jsonl"), 0x280_0000_0001),
        (at(&format!("/segments/{stored}")), 0x2a0_0000_0001),
        (at("/by-time/1970-01-01T01.jsonl"), 0x2c0_0002_0001),
    ] {
        let found = find(&view, &path).await.unwrap().inode;
        assert_eq!(found, Inode(number), "{path}: {:#x}", found.0);
    }
    let latest = view.lookup(Inode::ROOT, b"latest").await.unwrap();
    assert_eq!((Inode::ROOT, latest.inode), (Inode(1), Inode(3)));
}

#[tokio::test]
async fn a_partition_of_a_thousand_segments_is_listed_without_reading_any() {
    let world = World::new().await;
    let parts: Vec<_> = (0..1_000)
        .map(|at| Part::plain(at * 2, at * 2 + 2))
        .collect();
    world.backup(&[("orders", 1, 0, parts)]).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    for folder in ["", "/by-offset", "/segments"] {
        let inode = find(&view, &format!("latest/topics/orders/0{folder}"))
            .await
            .unwrap()
            .inode;
        for listed in list(&view, inode, 50).await.unwrap() {
            listed.attributes.unwrap();
            view.attribute_names(listed.inode).await.unwrap();
        }
    }
    let reads = watch.take();
    assert!(
        reads.iter().all(|(key, _)| !key.ends_with(".kseg")),
        "{reads:?}"
    );
    assert!(
        reads.len() < 10,
        "identity, snapshot and two pages: {reads:?}"
    );
    // A record in the middle takes two reads: the footer of its segment, and its block.
    read(&view, "latest/topics/orders/0/by-offset/1001.json")
        .await
        .unwrap();
    assert_eq!(watch.take().len(), 2);
}

/// Two records per hour, so that nearly every block has records of several hours.
#[tokio::test]
async fn a_year_of_hours_is_listed_with_sizes_without_reading_a_block() {
    let half_an_hour = |offset: i64| Rec {
        offset,
        timestamp: offset * 1_800_000,
        value: Some(vec![b'v'; 20]),
        ..Rec::default()
    };
    let part = |from: i64| Part {
        offsets: from..from + 4_380,
        records: (from..from + 4_380).map(half_an_hour).collect(),
    };
    let world = World::new().await;
    world
        .backup(&[("orders", 1, 0, (0..4).map(|at| part(at * 4_380)).collect())])
        .await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let partition = "latest/topics/orders/0";
    let folder = find(&view, &format!("{partition}/by-time")).await.unwrap();
    let hours = list(&view, folder.inode, 192).await.unwrap();
    assert_eq!(hours.len(), 8_760);
    let sizes = hours
        .iter()
        .map(|hour| hour.attributes.as_ref().unwrap().size);
    let whole = find(&view, &format!("{partition}/records.jsonl")).await;
    assert_eq!(sizes.sum::<u64>(), whole.unwrap().attributes.size);
    let reads = watch.take_segments();
    assert_eq!(reads.len(), 4, "one footer per segment: {reads:?}");
    assert_eq!(view.status().loads, 0);
}

#[tokio::test]
async fn ten_thousand_partitions_are_listed_from_the_snapshot_alone() {
    let world = World::new().await;
    let partitions: Vec<_> = (0..10_000)
        .map(|partition| ("orders", 1, partition, vec![]))
        .collect();
    world.backup(&partitions).await;
    world
        .backup(&[("orders", 1, 9_999, vec![Part::plain(0, 3)])])
        .await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let folder = find(&view, "latest/topics/orders").await.unwrap().inode;
    let listed = list(&view, folder, 100).await.unwrap();
    assert_eq!(listed.len(), 10_001);
    assert!(listed.iter().all(|listed| listed.attributes.is_ok()));
    let reads = watch.take();
    assert!(
        reads.len() < 20,
        "identity, snapshots and tables of states: {reads:?}"
    );
    assert_eq!(listed[10_000].name, "9999");
}

fn groups(names: &[&str]) -> FoundGroups {
    let group = |name: &&str| GroupState {
        group: (*name).into(),
        r#type: Some("Classic".into()),
        state: None,
        taken_at: None,
        topics: Vec::new(),
    };
    let mut groups: Vec<_> = names.iter().map(group).collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    FoundGroups {
        taken_at: Timestamp::UNIX_EPOCH,
        groups: groups.into(),
    }
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
async fn an_unlisted_name_is_known_until_it_is_forgotten() {
    let world = World::new().await;
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(0, 90)])])
        .await;
    let view = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    let path = "latest/topics/orders/0/by-offset/7.json";
    let first = find(&view, path).await.unwrap();
    let again = find(&view, path).await.unwrap();
    assert_eq!(first, again);
    let file = view.open_file(first.inode).await.unwrap();
    view.forget(first.inode, 1);
    view.attributes(first.inode).await.unwrap();
    view.forget(first.inode, 1);
    assert!(matches!(
        view.attributes(first.inode).await,
        Err(ViewError::Stale)
    ));
    assert_eq!(
        file.read(32, 10).await.unwrap(),
        b"\"offset\":7"[..],
        "an open file stays readable"
    );
    let remounted = View::open(world.store(), ViewOptions::default())
        .await
        .unwrap();
    assert_eq!(find(&remounted, path).await.unwrap().inode, first.inode);
}

#[tokio::test]
async fn attributes_match_the_backup() {
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
