//! The names and what is said of them.

use kbk_fuse::{Inode, Kind, View, ViewError, ViewOptions};

use crate::support::read::{find, list, names, read};
use crate::support::world::{Part, World};

#[tokio::test]
async fn the_tree_is_that_of_its_contract() {
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
        ["README.txt", "latest", "snapshots"]
    );
    assert_eq!(names(&view, "snapshots").await, ["1"]);
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
        ["5-99.jsonl", "100-149.jsonl"]
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
async fn a_listing_is_the_same_in_pages_of_any_length() {
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
