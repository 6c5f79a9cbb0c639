//! Damage is found, reported, and never mistaken for something else; a failed request is not a missing object.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use kbk_format::repo::{
    Damage, Digested, Operation, PartitionState, RepoError, RepoErrorKind, Repository, Result,
    Snapshot, Store,
};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use sha2::{Digest, Sha256};

use crate::world;

const SNAPSHOT: &str = "snapshots/00000000000000000002.json";

struct World {
    objects: Arc<dyn ObjectStore>,
    snapshot: Digested<Snapshot>,
}

/// Two snapshots with a table each; the second has two topics, groups and ACLs.
fn two_snapshots() -> World {
    let runtime = world::runtime();
    let objects = world::memory();
    let repository = Repository::create(world::store(&objects), world::identity());
    let repository = runtime.block_on(repository).unwrap();
    let first = world::cluster(&[("a", 1, &[4])]);
    let base = world::backup(&runtime, &repository, None, &first).unwrap();
    let second = world::cluster(&[("a", 1, &[6]), ("b", 2, &[4])]);
    let snapshot = world::backup(&runtime, &repository, Some(base), &second).unwrap();
    World { objects, snapshot }
}

impl World {
    /// The tables of the snapshot, the newest first.
    fn tables(&self) -> Vec<String> {
        let runs = self.snapshot.runs.iter();
        let tables = runs.flat_map(|run| run.tables.iter().flatten());
        tables
            .map(|table| format!("index/{}.idx", table.sha256))
            .collect()
    }

    /// The objects of its groups and ACLs.
    fn answers(&self) -> [String; 2] {
        let groups = self.snapshot.groups.as_ref().unwrap().object.sha256;
        let acls = self.snapshot.acls.as_ref().unwrap().object.sha256;
        [groups, acls].map(|sha256| format!("cluster/{sha256}.json.zst"))
    }

    /// Reads all metadata, from the newest snapshot down.
    async fn read(&self) -> Result<()> {
        let repository = Repository::open(world::store(&self.objects)).await?;
        let snapshot = repository.latest().await?.expect("there are snapshots");
        for topic in &snapshot.topics {
            for state in &topic.partitions {
                repository
                    .segments(&snapshot, &topic.partition_id(state.partition), state)
                    .await?;
            }
        }
        repository.groups(&snapshot).await?;
        repository.acls(&snapshot).await?;
        assert_eq!(snapshot, self.snapshot, "damage was not detected");
        Ok(())
    }

    async fn assert_damaged(&self, key: &str, bytes: &[u8], what: impl fmt::Display) {
        world::put(&self.objects, key, bytes).await;
        let Err(error) = self.read().await else {
            panic!("{key}, {what}: damage was not detected");
        };
        let damaged = is_damaged_object(&error);
        assert!(
            damaged && error.key() == Some(key),
            "{key}, {what}: {error}"
        );
    }

    /// Changes the JSON of an object, seals it again, and expects that this is found.
    async fn assert_edit_is_damage(&self, key: &str, from: &str, to: &str) {
        let intact = world::get(&self.objects, key).await;
        let edited = edited(&intact, from, to);
        self.assert_damaged(key, edited.as_bytes(), format!("{from} -> {to}"))
            .await;
        world::put(&self.objects, key, &intact).await;
    }
}

fn edited(intact: &[u8], from: &str, to: &str) -> String {
    let text = str::from_utf8(intact).unwrap();
    let (body, _) = text.rsplit_once(",\"sha256\":").unwrap();
    assert!(body.contains(from), "{from} is not in {body}");
    sealed(&body.replacen(from, to, 1))
}

fn sealed(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{body},\"sha256\":\"{hex}\"}}\n")
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_found() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    world.read().await.unwrap();
    let tables = world.tables();
    assert_eq!(tables.len(), 2);
    let named = [
        ["kbk.json".to_owned(), SNAPSHOT.to_owned()],
        world.answers(),
    ]
    .concat();
    for key in &[named, tables].concat() {
        let intact = world::get(&world.objects, key).await;
        for bit in 0..intact.len() * 8 {
            let mut bytes = intact.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            world
                .assert_damaged(key, &bytes, format!("bit {bit}"))
                .await;
        }
        for length in 0..intact.len() {
            let cut = &intact[..length];
            world
                .assert_damaged(key, cut, format!("cut to {length}"))
                .await;
        }
        world::put(&world.objects, key, &intact).await;
    }
    world.read().await.unwrap();
}

#[tokio::test]
async fn intact_objects_under_another_name_are_found() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    let first = world::get(&world.objects, "snapshots/00000000000000000001.json").await;
    let second = world::get(&world.objects, SNAPSHOT).await;
    world
        .assert_damaged(SNAPSHOT, &first, "another snapshot")
        .await;
    let identity = world::get(&world.objects, "kbk.json").await;
    world
        .assert_damaged(SNAPSHOT, &identity, "another kind")
        .await;
    world::put(&world.objects, SNAPSHOT, &second).await;
    let tables = world.tables();
    let table = world::get(&world.objects, &tables[1]).await;
    world
        .assert_damaged(&tables[0], &table, "another table")
        .await;
}

#[tokio::test]
async fn contradictions_under_a_valid_seal_are_found() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    let ours = world::identity().repository_id.to_string();
    for (from, to) in [
        (ours.as_str(), "ffffffffffffffffffffffffffffffff"),
        (r#""sequence":2"#, r#""sequence":3"#),
        (r#""parent":{"sequence":1"#, r#""parent":{"sequence":2"#),
        (r#""topics":2"#, r#""topics":3"#),
        (r#""partitions":2"#, r#""partitions":-2"#),
        (r#""incomplete":{}"#, r#""incomplete":{"no_leader":0}"#),
        (r#""incomplete":{}"#, r#""incomplete":{"no_leader":1}"#),
        (r#""incomplete":{}"#, r#""incomplete":{"a":1,"a":1}"#),
        (r#""sightings":[{"id":1"#, r#""sightings":[{"id":0"#),
        (r#""last_seen":2"#, r#""last_seen":3"#),
        (r#""level":0"#, r#""level":1"#),
        (r#""from":2,"to":2"#, r#""from":2,"to":3"#),
        (r#""from":2,"to":2"#, r#""from":1,"to":2"#),
        (r#""from":2,"to":2"#, r#""from":3,"to":2"#),
        (r#""list":null"#, r#""list":[]"#),
        (r#""first":["topic""#, r#""first":["partition""#),
        (r#""hides":false"#, r#""hides":0"#),
        (r#""forgotten":[]"#, r#""forgotten":[[2,2]]"#),
        (r#""forgotten":[]"#, r#""forgotten":[[0,1]]"#),
        (r#""forgotten":[]"#, r#""forgotten":[[1,0]]"#),
        (r#""pruned":0"#, r#""pruned":3"#),
        (r#""started_at":"1970"#, r#""started_at":"year"#),
        (r#""seen":2,"#, r#""seen":0,"#),
        (r#""seen":2,"#, r#""seen":3,"#),
        (r#""read_after":1"#, r#""read_after":2"#),
        (r#""taken_at":"1970"#, r#""taken_at":"year"#),
        (r#""acls":{"seen":2"#, r#""acls":{"seen":3"#),
        (r#""authorizer":true"#, r#""authorizer":false"#),
        (r#""left_out":1"#, r#""left_out":-1"#),
    ] {
        world.assert_edit_is_damage(SNAPSHOT, from, to).await;
    }
}

#[tokio::test]
async fn groups_and_acls_that_are_not_as_many_as_stated_are_found() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    let intact = world::get(&world.objects, SNAPSHOT).await;
    for (from, to) in [
        (r#""groups":2"#, r#""groups":3"#),
        (r#""acls":2"#, r#""acls":1"#),
    ] {
        let edited = edited(&intact, from, to);
        world::put(&world.objects, SNAPSHOT, edited.as_bytes()).await;
        let error = world.read().await.unwrap_err();
        assert!(is_damaged_object(&error), "{error}");
    }
}

#[tokio::test]
async fn segments_that_do_not_add_up_are_found() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    let repository = Repository::open(world::store(&world.objects))
        .await
        .unwrap();
    let topic = &world.snapshot.topics[0];
    let wrongs: [fn(&mut PartitionState); 7] = [
        |state| state.records += 1,
        |state| state.stored_bytes -= 1,
        |state| state.raw_bytes += 1,
        |state| state.segments += 1,
        |state| state.end_offset += 1,
        |state| state.base_offset += 1,
        |state| state.max_timestamp = Some(0),
    ];
    for wrong in wrongs {
        let mut state = topic.partitions[0].clone();
        wrong(&mut state);
        let read = repository
            .segments(&world.snapshot, &topic.partition_id(0.into()), &state)
            .await;
        let error = read.unwrap_err();
        let damaged = matches!(error.kind(), RepoErrorKind::Damaged(_));
        assert!(damaged, "{error}");
    }
}

#[tokio::test]
async fn a_missing_table_is_missing_and_a_huge_object_is_not_fetched() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    for key in world.tables() {
        let intact = world::get(&world.objects, &key).await;
        remove(&world.objects, &key).await;
        let error = world.read().await.unwrap_err();
        let missing = matches!(error.kind(), RepoErrorKind::Missing { .. });
        assert!(missing && error.key() == Some(&key), "{error}");
        world::put(&world.objects, &key, &intact).await;
    }
    for key in world.tables() {
        remove(&world.objects, &key).await;
    }
    let error = world.read().await.unwrap_err();
    let folder = matches!(error.kind(), RepoErrorKind::MissingFolder { .. });
    assert!(folder && error.key() == Some("index"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let objects = world::local(&folder);
    Repository::create(world::store(&objects), world::identity())
        .await
        .unwrap();
    let huge = std::fs::File::create(folder.path().join("kbk.json")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let opened = Repository::open(world::store(&objects)).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("the limit is 268435456"), "{error}");
}

async fn remove(objects: &Arc<dyn ObjectStore>, key: &str) {
    let gone = stream::iter([Ok(Path::from(key))]).boxed();
    objects.delete_stream(gone).for_each(async |_| ()).await;
}

#[tokio::test]
async fn names_that_are_not_keys_are_ignored() {
    let world = tokio::task::spawn_blocking(two_snapshots).await.unwrap();
    for key in [
        "snapshots/9.json",
        "snapshots/00000000000000000009.json.bak",
        "snapshots/old/00000000000000000009.json",
        "snapshots/00000000000000000000.json",
        "notes.txt",
    ] {
        world::put(&world.objects, key, b"something else").await;
    }
    world.read().await.unwrap();
}

fn is_damaged_object(error: &RepoError) -> bool {
    matches!(error.kind(), RepoErrorKind::Damaged(Damage::Object { .. }))
}

/// An empty store whose reads fail in one way, and whose other calls in another.
#[derive(Clone, Copy, Debug)]
struct Failing {
    reads: fn() -> object_store::Error,
    others: fn() -> object_store::Error,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        _: &Path,
        _: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        Err((self.others)())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err((self.others)())
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> object_store::Result<GetResult> {
        Err((self.reads)())
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        stream::iter([Err((self.others)())]).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::iter([Err((self.others)())]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> object_store::Result<ListResult> {
        Ok(ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: Default::default(),
        })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err((self.others)())
    }
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic {
        store: "failing",
        source: source.into(),
    }
}

fn missing() -> object_store::Error {
    object_store::Error::NotFound {
        path: "kbk.json".into(),
        source: "404".into(),
    }
}

fn forbidden() -> object_store::Error {
    object_store::Error::PermissionDenied {
        path: "kbk.json".into(),
        source: "403".into(),
    }
}

fn unauthenticated() -> object_store::Error {
    object_store::Error::Unauthenticated {
        path: "kbk.json".into(),
        source: "401".into(),
    }
}

#[tokio::test]
async fn a_failed_request_is_not_a_missing_object() {
    let operation = Operation::Read;
    let timed_out: fn() -> _ = || generic(std::io::Error::from(std::io::ErrorKind::TimedOut));
    for (reads, kind) in [
        (
            forbidden as fn() -> _,
            RepoErrorKind::NotReadable { operation },
        ),
        (unauthenticated, RepoErrorKind::Unauthenticated),
        (timed_out, RepoErrorKind::TimedOut { operation }),
    ] {
        let failing = Failing {
            reads,
            others: missing,
        };
        let store = Store::new(Arc::new(failing), "test://failing");
        let error = Repository::open(store).await.unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_and_a_forbidden_folder_are_reported() {
    let create = async |others| {
        let failing = Failing {
            reads: missing,
            others,
        };
        let store = Store::new(Arc::new(failing), "test://failing");
        let error = Repository::create(store, world::identity()).await;
        error.unwrap_err()
    };
    let full = create(|| generic(std::io::Error::from_raw_os_error(28))).await;
    assert_eq!(*full.kind(), RepoErrorKind::NoSpace, "{full}");
    let read_only = create(|| generic(std::io::Error::from_raw_os_error(30))).await;
    assert_eq!(*read_only.kind(), RepoErrorKind::NotWritable);
    let denied = create(|| generic(std::io::Error::from_raw_os_error(13))).await;
    assert_eq!(*denied.kind(), RepoErrorKind::NotWritable);
    let by_store = create(forbidden).await;
    assert_eq!(*by_store.kind(), RepoErrorKind::NotWritable);
}
