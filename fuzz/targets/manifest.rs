//! Reads a repository: kbk.json, a snapshot, and a table, one line of the input after the other.
//!
//! The first two lines are objects without their seals and their last braces, all others the lines of the table. `@SHA256@` in the snapshot
//! becomes the digest of the table, and `"@SIZE@"` and `"@RAW@"` its lengths as numbers, so that it can be named.
#![no_main]

use std::sync::Arc;

use futures_executor::block_on;
use kbk_format::repo::{Key, Repository, Store};
use kbk_fuzz::with_ceiling;
use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use sha2::{Digest, Sha256};

fuzz_target!(|data: &[u8]| {
    with_ceiling(data, || block_on(read(data)));
});

async fn read(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let [identity, snapshot, table] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let packed = zstd::bulk::compress(table, 1).expect("zstd compresses any bytes");
    let digest = hex(&packed);
    let snapshot = String::from_utf8_lossy(snapshot)
        .replace("@SHA256@", &digest)
        .replace("\"@SIZE@\"", &packed.len().to_string())
        .replace("\"@RAW@\"", &table.len().to_string());
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    put(&objects, "kbk.json", identity).await;
    put(
        &objects,
        &format!("snapshots/{:020}.json", 1),
        snapshot.as_bytes(),
    )
    .await;
    let name = Path::from(format!("index/{digest}.idx"));
    let put = objects.put(&name, packed.into()).await;
    put.expect("the memory store accepts every object");
    let Ok(repository) = Repository::open(Store::new(objects.clone(), "memory:")).await else {
        return;
    };
    let Ok(Some(snapshot)) = repository.latest().await else {
        return;
    };
    for topic in &snapshot.topics {
        for partition in &topic.partitions {
            let id = topic.partition_id(partition.partition);
            assert_eq!(snapshot.partition(&id), Some(partition));
            if let Ok(segments) = repository.segments(&snapshot, &id, partition).await {
                assert_eq!(segments.len() as u64, partition.segments);
                assert!(
                    segments
                        .iter()
                        .all(|entry| Key::parse(&entry.key).is_some())
                );
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn put(objects: &Arc<dyn ObjectStore>, key: &str, body: &[u8]) {
    let sealed = [body, b",\"sha256\":\"", hex(body).as_bytes(), b"\"}\n"].concat();
    objects
        .put(&Path::from(key), sealed.into())
        .await
        .expect("the memory store accepts every object");
}
