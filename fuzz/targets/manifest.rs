//! Reads a repository from its JSON: kbk.json, a snapshot, a page, one per line of the input.
//!
//! A line is an object without its seal and its last brace. `@SHA256@` and `@SHA16@` in the snapshot become the digest
//! of the page, so that a page can be named.
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
    let [identity, snapshot, page] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let digest = hex(page);
    let snapshot = String::from_utf8_lossy(snapshot)
        .replace("@SHA256@", &digest)
        .replace("@SHA16@", &digest[..16]);
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    put(&objects, "kbk.json", identity).await;
    put(
        &objects,
        &format!("snapshots/{:020}.json", 1),
        snapshot.as_bytes(),
    )
    .await;
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
            for named in &partition.pages {
                assert!(
                    Key::parse(&named.key).is_some(),
                    "a page's key was not checked"
                );
                put(&objects, &named.key, page).await;
            }
            if let Ok(segments) = repository.segments(&id, partition).await {
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
