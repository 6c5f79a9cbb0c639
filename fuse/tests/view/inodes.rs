//! Which inode numbers names have, and for how long.

use kbk_format::KeyFilterBits;
use std::collections::{BTreeMap, BTreeSet};

use kbk_fuse::{Inode, Kind, View, ViewError, ViewOptions};

use crate::support::groups::groups;
use crate::support::read::{find, list, names};
use crate::support::world::{Part, World};

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
    let mut world = World::new().await;
    world.key_filter = Some(KeyFilterBits::default());
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
        (at("/log"), 0x2e0_0002_0000),
        (at("/log/leader-epoch-checkpoint"), 0x2e0_0002_0002),
        (at("/log/partition.metadata"), 0x2e0_0002_0003),
        (at("/log/00000000000000000000.log"), 0x2e0_0002_0010),
        (at("/log/00000000000000000000.index"), 0x2e0_0002_0011),
        (at("/log/00000000000000000000.timeindex"), 0x2e0_0002_0012),
        (at("/by-key"), 0x2e0_0002_0001),
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
