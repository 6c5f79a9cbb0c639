//! `follow`: files that continue from snapshot to snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kbk_format::repo::Identity;
use kbk_fuse::{Inode, Kind, Lifetime, View, ViewError, ViewOptions};

use crate::support::read::{find, list, names, read};
use crate::support::world::{Part, World};

/// The repository is listed again after a second.
async fn until_listed_again() {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
}

async fn view(world: &World) -> View {
    View::open(world.store(), ViewOptions::default())
        .await
        .unwrap()
}

const VIEWS: [&str; 3] = ["records.jsonl", "values", "keys"];

#[tokio::test]
async fn an_open_file_grows_with_the_next_snapshot() {
    let world = World::new().await;
    world
        .backup(&[("orders", 1, 0, vec![Part::plain(5, 40)])])
        .await;
    let view = view(&world).await;
    let path = |name| format!("follow/topics/orders/0/{name}");
    let mut open = Vec::new();
    for name in VIEWS {
        let entry = find(&view, &path(name)).await.unwrap();
        assert_eq!(entry.attributes.lifetime, Lifetime::Growing);
        let file = view.open_file(entry.inode).await.unwrap();
        let text = file.read(0, usize::MAX >> 1).await.unwrap();
        let newest = format!("latest/topics/orders/0/{name}");
        assert_eq!(text, read(&view, &newest).await.unwrap());
        open.push((name, entry, file, text.to_vec()));
    }
    // Backups that add nothing, one segment, and several; one of them is not read before the next.
    for (parts, is_seen) in [
        (vec![], true),
        (vec![Part::plain(40, 60)], true),
        (vec![Part::plain(60, 70)], false),
        (vec![Part::plain(70, 80), Part::plain(80, 130)], true),
    ] {
        world.backup(&[("orders", 1, 0, parts)]).await;
        until_listed_again().await;
        if !is_seen {
            continue;
        }
        for (name, before, file, text) in &mut open {
            let entry = find(&view, &path(name)).await.unwrap();
            assert_eq!(entry.inode, before.inode);
            assert_eq!(
                view.attributes(before.inode).await.unwrap(),
                entry.attributes
            );
            let more = file.read(text.len() as u64, usize::MAX >> 1).await.unwrap();
            text.extend_from_slice(&more);
            assert_eq!(text.len() as u64, entry.attributes.size);
            let newest = format!("latest/topics/orders/0/{name}");
            assert_eq!(*text, read(&view, &newest).await.unwrap());
            assert!(file.read(text.len() as u64, 1).await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn new_topics_appear_and_deleted_topics_disappear() {
    let world = World::new().await;
    let view = view(&world).await;
    assert!(names(&view, "follow/topics").await.is_empty());
    world
        .backup(&[("b", 1, 0, vec![]), ("c", 2, 0, vec![Part::plain(0, 3)])])
        .await;
    until_listed_again().await;
    assert_eq!(names(&view, "follow").await, ["topics"]);
    assert_eq!(names(&view, "follow/topics").await, ["b", "c"]);
    assert_eq!(names(&view, "follow/topics/c").await, ["0"]);
    assert_eq!(names(&view, "follow/topics/c/0").await, VIEWS);
    let topics = find(&view, "follow/topics").await.unwrap().inode;
    let before = list(&view, topics, 1).await.unwrap();
    let empty = find(&view, "follow/topics/b/0/values").await.unwrap();
    assert_eq!(empty.attributes.size, 0);

    let c = [
        ("c", 2, 0, vec![Part::plain(3, 6)]),
        ("c", 2, 1, vec![]),
        ("a", 3, 0, vec![]),
        ("b", 1, 0, vec![Part::plain(0, 1)]),
    ];
    world.backup(&c).await;
    until_listed_again().await;
    // A listing in progress stays valid: new topics get new numbers.
    let after = list(&view, topics, 1).await.unwrap();
    assert_eq!(after[1].cookie, before[1].cookie);
    assert_eq!(names(&view, "follow/topics").await, ["b", "c", "a"]);
    assert_eq!(names(&view, "follow/topics/c").await, ["0", "1"]);
    let begun = view.attributes(empty.inode).await.unwrap();
    assert!(begun.size > 0);

    world.backup_with(&[], None, &[("c", 2)]).await;
    until_listed_again().await;
    assert_eq!(names(&view, "follow/topics").await, ["b", "a"]);
    for path in ["follow/topics/c", "follow/topics/b/1", "follow/x"] {
        let found = find(&view, path).await;
        assert!(matches!(found, Err(ViewError::NotFound)), "{path}");
    }
}

#[tokio::test]
async fn a_file_whose_first_records_expired_is_stale_and_the_others_grow() {
    let world = World::new().await;
    let parts = |from: i64| {
        vec![
            Part::plain(from, from + 10),
            Part::plain(from + 10, from + 20),
        ]
    };
    world
        .backup(&[
            ("all", 1, 0, parts(0)),
            ("first", 2, 0, parts(5)),
            ("none", 3, 0, parts(100)),
        ])
        .await;
    let view = view(&world).await;
    let path = |topic: &str| format!("follow/topics/{topic}/0/values");
    let mut before = BTreeMap::new();
    for topic in ["all", "first", "none"] {
        let entry = find(&view, &path(topic)).await.unwrap();
        let open = view.open_file(entry.inode).await.unwrap();
        before.insert(topic, (entry, open));
    }
    world.expire(20 * 60_000).await;
    world
        .backup(&[("none", 3, 0, vec![Part::plain(120, 130)])])
        .await;
    until_listed_again().await;
    for (topic, (entry, open)) in &before {
        let (attributes, read_open) = (view.attributes(entry.inode).await, open.read(0, 1).await);
        if *topic == "none" {
            assert!(attributes.unwrap().size > entry.attributes.size);
            assert_eq!(read_open.unwrap().len(), 1);
            continue;
        }
        // Its bytes would be at other positions.
        assert!(matches!(attributes, Err(ViewError::Stale)), "{topic}");
        assert!(matches!(read_open, Err(ViewError::Stale)), "{topic}");
        let now = find(&view, &path(topic)).await.unwrap();
        let text = read(&view, &path(topic)).await.unwrap();
        assert_eq!(now.attributes.size, text.len() as u64);
        let newest = format!("latest/topics/{topic}/0/values");
        assert_eq!(text, read(&view, &newest).await.unwrap());
        assert_eq!(text.is_empty(), *topic == "all", "{topic}");
    }
}

/// No command creates some of these snapshots.
#[tokio::test]
async fn a_file_whose_beginning_changed_is_stale() {
    let identity = Identity::fresh();
    let world = World::of(identity.clone()).await;
    world
        .backup(&[
            ("orders", 1, 0, vec![Part::plain(0, 20)]),
            ("payments", 2, 0, vec![Part::plain(0, 20)]),
            ("refunds", 3, 0, vec![Part::plain(0, 20)]),
        ])
        .await;
    let view = view(&world).await;
    let values = |topic| format!("follow/topics/{topic}/0/values");
    let orders = find(&view, &values("orders")).await.unwrap();
    let payments = find(&view, &values("payments")).await.unwrap();
    let refunds = find(&view, &values("refunds")).await.unwrap();
    let open = view.open_file(orders.inode).await.unwrap();

    // The same partitions, but one lacks its first offsets, and one its last record.
    let thinned = Part {
        offsets: 0..20,
        records: Part::plain(0, 19).records,
    };
    let other = World::of(identity).await;
    other.backup(&[]).await;
    other
        .backup(&[
            ("orders", 1, 0, vec![Part::plain(10, 30)]),
            (
                "payments",
                2,
                0,
                vec![Part::plain(0, 20), Part::plain(20, 30)],
            ),
            ("refunds", 3, 0, vec![thinned, Part::plain(20, 30)]),
        ])
        .await;
    other.copy_into(&world).await;
    until_listed_again().await;
    for answer in [
        view.attributes(orders.inode).await.map(drop),
        view.attributes(refunds.inode).await.map(drop),
        open.read(0, 1).await.map(drop),
        view.open_file(orders.inode).await.map(drop),
    ] {
        assert!(matches!(answer, Err(ViewError::Stale)), "{answer:?}");
    }
    let now = find(&view, &values("orders")).await.unwrap();
    assert_ne!(now.inode, orders.inode);
    assert_eq!(
        read(&view, &values("orders")).await.unwrap(),
        read(&view, "latest/topics/orders/0/values").await.unwrap()
    );
    let grown = view.attributes(payments.inode).await.unwrap();
    assert!(grown.size > payments.attributes.size);
}

#[tokio::test]
async fn a_view_that_does_not_grow_has_nothing_to_follow() {
    let world = World::new().await;
    world.backup(&[("orders", 1, 0, vec![])]).await;
    let sealed = ViewOptions {
        growing: false,
        ..ViewOptions::default()
    };
    let sealed = View::open(world.store(), sealed).await.unwrap();
    assert_eq!(
        names(&sealed, "").await,
        ["README.txt", "latest", "snapshots"]
    );
    let follow = sealed.lookup(Inode::ROOT, b"follow").await;
    assert!(matches!(follow, Err(ViewError::NotFound)));
    let folder = find(&view(&world).await, "follow/topics/orders").await;
    assert_eq!(folder.unwrap().attributes.kind, Kind::Folder);
}

/// Programs remember inode numbers across mounts, so they must not depend on what was looked at first.
#[tokio::test]
async fn followed_files_have_the_same_numbers_after_a_remount() {
    let world = World::new().await;
    let topics = ["a", "b"].map(|topic| (topic, 1, 0, vec![Part::plain(0, 9)]));
    world.backup(&topics).await;
    world.backup(&[("b", 1, 1, vec![Part::plain(0, 9)])]).await;
    let paths = ["a/0/values", "b/0/keys", "b/1/records.jsonl", "b", "b/1"];
    let mut numbers = BTreeMap::new();
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]] {
        let view = view(&world).await;
        for path in order.map(|at| paths[at]) {
            let found = find(&view, &format!("follow/topics/{path}")).await;
            let inode = found.unwrap().inode;
            assert_eq!(*numbers.entry(path).or_insert(inode), inode, "{path}");
        }
    }
    let distinct: BTreeSet<_> = numbers.values().collect();
    assert_eq!(distinct.len(), paths.len());
}
