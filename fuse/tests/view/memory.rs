//! One memory budget, one load per value, few and large fetches.

use std::time::Duration;

use kbk_fuse::{CacheDir, View, ViewError, ViewOptions};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::read::{find, read};
use crate::support::records::{self, Rec};
use crate::support::watched::watched;
use crate::support::world::as_batches::SegmentKind;
use crate::support::world::{Part, World};

const FILE: &str = "latest/topics/orders/0/records.jsonl";
const MIB: u64 = 1 << 20;

/// Two incompressible segments of 8 MB.
fn large() -> Vec<Part> {
    let mut seed = 88_172_645_463_325_252u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        b'!' + (seed % 90) as u8
    };
    let mut part = |from: i64, to: i64| {
        let record = |offset| Rec {
            offset,
            timestamp: offset,
            value: Some((0..8_000).map(|_| random()).collect()),
            ..Rec::default()
        };
        Part {
            offsets: from..to,
            records: (from..to).map(record).collect(),
        }
    };
    vec![part(0, 1_000), part(1_000, 2_000)]
}

async fn world(parts: &[Part]) -> World {
    let mut world = World::new().await;
    world.block_bytes = 64 << 10;
    world.backup(&[("orders", 1, 0, parts.to_vec())]).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_readers_of_a_block_share_one_load() {
    let world = world(&large()).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let file = view
        .open_file(find(&view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    watch.take();
    watch.delay(Duration::from_millis(20));
    // After a seek, so that nothing is loaded ahead.
    let reads: Vec<_> = (0..64)
        .map(|_| {
            let file = file.clone();
            tokio::spawn(async move { file.read(5 * MIB, 100).await.unwrap() })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap().len(), 100);
    }
    let fetched = watch.take_segments();
    // The footer, the block, and the readahead.
    assert!((2..=5).contains(&fetched.len()), "{fetched:?}");
    let once: std::collections::BTreeSet<_> = fetched
        .iter()
        .map(|(key, range)| (key, range.start))
        .collect();
    assert_eq!(
        once.len(),
        fetched.len(),
        "nothing is fetched twice: {fetched:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sequential_reads_take_few_fetches_and_read_each_byte_once() {
    let parts = large();
    let world = world(&parts).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    find(&view, FILE).await.unwrap();
    watch.take();
    watch.delay(Duration::from_millis(5));
    let whole = read(&view, FILE).await.unwrap();
    assert_eq!(
        whole,
        records::records(&[&parts[0].records[..], &parts[1].records].concat())
    );
    let fetched = watch.take_segments();
    let stored: u64 = fetched
        .iter()
        .map(|(_, range)| range.end - range.start)
        .sum();
    let size = find(&view, FILE).await.unwrap().attributes.stored_bytes;
    assert!(stored <= size, "{stored} of {size}");
    let blocks = view.status().loads;
    assert!(
        blocks > 200 && fetched.len() < 40,
        "{blocks} blocks in {} fetches",
        fetched.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn small_segments_are_opened_many_at_a_time_and_read_once() {
    // It is about what is known, or shown, without decoding.
    if SegmentKind::of_this_run() == SegmentKind::NotComputed {
        return;
    }
    let parts: Vec<Part> = (0..120)
        .map(|part| Part::plain(part * 200, (part + 1) * 200))
        .collect();
    let world = world(&parts).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    find(&view, FILE).await.unwrap();
    watch.take();
    watch.gather(16);
    let whole = read(&view, FILE).await.unwrap();
    let expected: Vec<Rec> = parts.into_iter().flat_map(|part| part.records).collect();
    assert_eq!(whole, records::records(&expected));
    assert!(watch.take_widest() >= 16, "as many footers at a time");
    assert_eq!(watch.take_segments().len(), 2 * 120, "footer, blocks");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_respected_and_no_read_fails_for_it() {
    let parts = large();
    let world = world(&parts).await;
    let expected = records::records(&[&parts[0].records[..], &parts[1].records].concat());
    let memory_bytes = 2 * MIB;
    let options = ViewOptions {
        memory_bytes,
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let readers: Vec<_> = (0..8usize)
        .map(|reader| {
            let (view, expected) = (view.clone(), expected.clone());
            tokio::spawn(async move {
                let file = view
                    .open_file(find(&view, FILE).await.unwrap().inode)
                    .await
                    .unwrap();
                let mut at = reader * 1_900_000;
                for _ in 0..60 {
                    let found = file.read(at as u64, 131_072).await.unwrap();
                    assert_eq!(found, expected[at..expected.len().min(at + 131_072)]);
                    at = (at + 131_072) % expected.len();
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let status = view.status();
    assert!(status.most_held_bytes <= memory_bytes, "{status:?}");
    assert!(status.most_held_bytes > memory_bytes / 2, "{status:?}");
    // A single read that is larger than the budget.
    let file = view
        .open_file(find(&view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    assert_eq!(file.read(0, usize::MAX).await.unwrap(), expected);
    assert!(
        view.status().most_held_bytes <= memory_bytes,
        "{:?}",
        view.status()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_larger_than_the_budget_can_be_read() {
    let parts = large();
    let mut world = World::new().await;
    world.block_bytes = 4 << 20;
    world.backup(&[("orders", 1, 0, parts.clone())]).await;
    let options = ViewOptions {
        memory_bytes: MIB,
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let expected = records::records(&[&parts[0].records[..], &parts[1].records].concat());
    let file = view
        .open_file(find(&view, FILE).await.unwrap().inode)
        .await
        .unwrap();
    for at in [0, 9_000_000, 100] {
        assert_eq!(
            file.read(at as u64, 1_000).await.unwrap(),
            expected[at..at + 1_000]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_bytes_are_read_and_cached_in_chunks() {
    let world = world(&large()).await;
    let (store, watch) = watched(world.objects.clone());
    let view = View::open(store, ViewOptions::default()).await.unwrap();
    let folder = "latest/topics/orders/0/segments";
    let name = crate::support::read::names(&view, folder).await[0].clone();
    watch.take();
    watch.delay(Duration::from_millis(5));
    let path = format!("{folder}/{name}");
    let whole = read(&view, &path).await.unwrap();
    let fetched = watch.take_segments();
    assert!(fetched.len() <= 8, "{fetched:?}");
    assert_eq!(read(&view, &path).await.unwrap(), whole);
    assert_eq!(watch.take_segments().len(), 0);
    let inode = find(&view, &path).await.unwrap().inode;
    assert_eq!(
        view.extended(inode, b"user.kbk.blake3").await.unwrap(),
        kbk_format::repo::SegmentHash::of(&whole).to_string()
    );
}

#[tokio::test]
async fn a_replaced_segment_is_not_read_as_one_file_with_the_old_one() {
    let world = world(&large()).await;
    let options = ViewOptions {
        memory_bytes: 2 * MIB,
        ..ViewOptions::default()
    };
    let view = View::open(world.store(), options).await.unwrap();
    let folder = "latest/topics/orders/0/segments";
    let name = crate::support::read::names(&view, folder).await[0].clone();
    let found = find(&view, &format!("{folder}/{name}")).await.unwrap();
    let file = view.open_file(found.inode).await.unwrap();
    file.read(0, 10).await.unwrap();
    let snapshot = world.repository.latest().await.unwrap().unwrap();
    let (topic, state) = (&snapshot.topics[0], &snapshot.topics[0].partitions[0]);
    let entries = world
        .repository
        .segments(&snapshot, &topic.partition_id(0.into()), state)
        .await
        .unwrap();
    let key = Path::from(entries[0].key.as_str());
    let same = world
        .objects
        .get(&key)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    world.objects.put(&key, same.into()).await.unwrap();
    let error = file.read(5 * MIB, 10).await.unwrap_err();
    assert!(matches!(error, ViewError::Changed { .. }), "{error}");
    // A new handle shows the present object.
    view.open_file(found.inode)
        .await
        .unwrap()
        .read(5 * MIB, 10)
        .await
        .unwrap();
}

/// The files of a folder, and the sum of their lengths, without files that are renamed meanwhile.
fn files(folder: &std::path::Path) -> (Vec<std::path::PathBuf>, u64) {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let sized = files.filter_map(|file| Some((file.path(), file.metadata().ok()?.len())));
    let (files, lengths): (Vec<_>, Vec<_>) = sized.unzip();
    (files, lengths.iter().sum())
}

/// Waits until all pending files are written.
async fn settled(view: &View, folder: &std::path::Path) -> (Vec<std::path::PathBuf>, u64) {
    let mut before = files(folder);
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = files(folder);
        if view.status().disk_pending == 0 && now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_folder_survives_mounts_and_damaged_files_in_it_are_ignored() {
    let parts = large();
    let world = world(&parts).await;
    let expected = records::records(&[&parts[0].records[..], &parts[1].records].concat());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let (store, watch) = watched(world.objects.clone());
    let options = ViewOptions {
        cache_dir: Some(CacheDir {
            folder: folder.clone(),
            bytes: 64 * MIB,
        }),
        ..ViewOptions::default()
    };
    // Blocks are not cached while too many wait to be written, so this may take more than one mount.
    let mut fetched = watch.take_segments();
    for _ in 0..10 {
        let view = View::open(store.clone(), options.clone()).await.unwrap();
        assert_eq!(read(&view, FILE).await.unwrap(), expected);
        assert!(settled(&view, &folder).await.1 <= 64 * MIB);
        fetched = watch.take_segments();
        if fetched.len() == 2 {
            assert!(view.status().disk_hits > 200);
            break;
        }
    }
    assert_eq!(fetched.len(), 2, "only footers are read: {fetched:?}");

    // Damage of any kind is detected, and the store is read instead.
    let (files, _) = files(&folder);
    for (at, file) in files.iter().enumerate() {
        let mut bytes = std::fs::read(file).unwrap();
        match at % 4 {
            0 => bytes[100] ^= 1,
            1 => drop(bytes.pop()),
            2 => bytes.clear(),
            _ => continue,
        }
        std::fs::write(file, bytes).unwrap();
    }
    std::fs::write(folder.join("strange"), b"x").unwrap();
    let view = View::open(store.clone(), options.clone()).await.unwrap();
    assert_eq!(read(&view, FILE).await.unwrap(), expected);
    assert!(watch.take_segments().len() > 2);
    assert_eq!(
        std::fs::read(folder.join("strange")).unwrap(),
        b"x",
        "files of other programs are left alone"
    );
    settled(&view, &folder).await;

    // The file of one block under the name of another: the checksum covers the name.
    std::fs::copy(&files[0], &files[1]).unwrap();
    let view = View::open(store.clone(), options.clone()).await.unwrap();
    assert_eq!(read(&view, FILE).await.unwrap(), expected);
    settled(&view, &folder).await;

    // A smaller limit applies at once, and while blocks are read.
    let limit = 2 * MIB;
    let cache_dir = Some(CacheDir {
        folder: folder.clone(),
        bytes: limit,
    });
    let view = View::open(
        store.clone(),
        ViewOptions {
            cache_dir,
            ..options.clone()
        },
    )
    .await
    .unwrap();
    assert!(settled(&view, &folder).await.1 <= limit);
    assert_eq!(read(&view, FILE).await.unwrap(), expected);
    assert!(settled(&view, &folder).await.1 <= limit);

    // A cache folder that is a file is an error.
    let cache_dir = Some(CacheDir {
        folder: folder.join("strange"),
        bytes: limit,
    });
    let error = View::open(
        store,
        ViewOptions {
            cache_dir,
            ..options
        },
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("strange"), "{error}");
}
