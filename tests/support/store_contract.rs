//! What every store must do, whatever it is: one suite for memory, local disks and real servers.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write as _;
use std::ops::Range;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use kbk_format::repo::{Id, Key, PartitionId, SegmentUpload, Store};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Runtime;

const WRITERS: usize = 20;
const ROUNDS: usize = 50;
/// The most requests of one writer, where the server ends connections.
const ATTEMPTS: usize = 5;
const MIB: usize = 1 << 20;

/// Fails the test unless the store, which is empty, does all that a repository needs; it is empty again after that. An answer to a listing
/// holds at most `page` objects.
pub(crate) fn check(store: &Store, page: usize) {
    let runtime = Runtime::new().expect("threads");
    let objects: &dyn ObjectStore = store.objects().as_ref();
    runtime.block_on(async {
        create_if_absent(objects).await;
        replace_and_remove(objects).await;
        read_ranges(objects).await;
        list(objects, page + 100).await;
        let left = store
            .probe()
            .await
            .expect("two writers never create one object");
        assert!(left.is_none(), "{left:?}");
    });
    upload(store, &runtime);
    runtime.block_on(async {
        let left: Vec<_> = objects.list(None).try_collect().await.expect("a listing");
        assert!(left.is_empty(), "{left:?}");
    });
}

/// What a writer knows of its request to create an object.
enum Created {
    Done(Vec<u8>),
    Refused,
    /// It was made again after its connection had ended, and may have met its own object.
    Unknown(Vec<u8>),
}

/// Of writers that create one object at the same time one wins, and its bytes are those of the object. A connection that the server
/// ends while it is idle is no answer, and the request is made again.
async fn create_if_absent(objects: &dyn ObjectStore) {
    for round in 0..ROUNDS {
        let name = &Path::from(format!("race/{round:020}.json"));
        let put = async |writer: usize| {
            let bytes = format!("{writer} {round}").repeat(100).into_bytes();
            let mut lost = None;
            for _ in 0..ATTEMPTS {
                let options = PutOptions::from(PutMode::Create);
                match objects.put_opts(name, bytes.clone().into(), options).await {
                    Ok(_) => return Created::Done(bytes),
                    Err(
                        object_store::Error::AlreadyExists { .. }
                        | object_store::Error::Precondition { .. },
                    ) if lost.is_some() => return Created::Unknown(bytes),
                    Err(
                        object_store::Error::AlreadyExists { .. }
                        | object_store::Error::Precondition { .. },
                    ) => return Created::Refused,
                    Err(error) if is_cut(&error) => lost = Some(error),
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("{lost:?}");
        };
        let outcomes = join_all((0..WRITERS).map(put)).await;
        let (mut winners, mut unknown) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Created::Done(bytes) => winners.push(bytes),
                Created::Unknown(bytes) => unknown.push(bytes),
                Created::Refused => (),
            }
        }
        let found = objects.get(name).await.expect("it exists").bytes().await;
        let found = found.expect("all of it").to_vec();
        match winners.len() {
            0 => assert!(unknown.contains(&found), "round {round}"),
            _ => assert_eq!(winners, [found], "round {round}"),
        }
        assert!(!matches!(put(WRITERS).await, Created::Done(_)), "it exists");
        objects.delete(name).await.expect("it can be removed");
    }
}

fn is_cut(error: &object_store::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return matches!(
                http.kind(),
                HttpErrorKind::Interrupted | HttpErrorKind::Request
            );
        }
        cause = error.source();
    }
    false
}

async fn replace_and_remove(objects: &dyn ObjectStore) {
    let name = &Path::from("replaced/one.json");
    for bytes in ["first", "second, and longer", "3"] {
        objects.put(name, bytes.into()).await.expect("a put");
        let found = objects.get(name).await.expect("it exists").bytes().await;
        assert_eq!(found.expect("all of it"), bytes);
        let size = objects.head(name).await.expect("it exists").size;
        assert_eq!(size, bytes.len() as u64);
    }
    objects.delete(name).await.expect("it can be removed");
    let missing =
        |error: &object_store::Error| matches!(error, object_store::Error::NotFound { .. });
    let error = objects.get(name).await.expect_err("it is gone");
    assert!(missing(&error), "{error}");
    let error = objects.head(name).await.expect_err("it is gone");
    assert!(missing(&error), "{error}");
    if let Err(error) = objects.delete(name).await {
        assert!(missing(&error), "{error}");
    }
    // It can be created again.
    let options = PutOptions::from(PutMode::Create);
    let put = objects.put_opts(name, "again".into(), options).await;
    put.expect("the name is free");
    objects.delete(name).await.expect("it can be removed");
}

async fn read_ranges(objects: &dyn ObjectStore) {
    let name = &Path::from("ranges/object.kseg");
    let bytes: Vec<u8> = (0..3 * MIB as u32 / 4).flat_map(u32::to_be_bytes).collect();
    objects
        .put(name, bytes.clone().into())
        .await
        .expect("a put");
    let end = bytes.len() as u64;
    let ranges: [Range<u64>; 5] = [
        0..1,
        5..4099,
        MIB as u64..2 * MIB as u64,
        end - 7..end,
        0..end,
    ];
    for range in ranges {
        let found = objects
            .get_range(name, range.clone())
            .await
            .expect("a range");
        assert!(
            found == bytes[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
    let beyond = objects.get_range(name, end + 10..end + 20).await;
    assert!(beyond.is_err(), "nothing is there");
    objects.delete(name).await.expect("it can be removed");
}

/// More objects than one answer holds, below names that begin alike.
async fn list(objects: &dyn ObjectStore, count: usize) {
    let name = |number: usize| Path::from(format!("listed/{number:020}.json"));
    let other = Path::from("listed-not/0.json");
    objects.put(&other, "x".into()).await.expect("a put");
    let put = |number: usize| async move {
        objects.put(&name(number), "x".into()).await.expect("a put");
    };
    futures_util::stream::iter((0..count).map(put))
        .buffer_unordered(64)
        .collect::<Vec<()>>()
        .await;
    let folder = Path::from("listed");
    let listed = objects.list(Some(&folder)).map_ok(|object| object.location);
    let listed: BTreeSet<Path> = listed.try_collect().await.expect("a listing");
    assert_eq!(listed, (0..count).map(name).collect());
    let after = objects.list_with_offset(Some(&folder), &name(count - 11));
    let after = after.map_ok(|object| object.location);
    let mut after: Vec<Path> = after.try_collect().await.expect("a listing");
    // What a server ignores, kbk leaves out.
    after.retain(|found| *found > name(count - 11));
    assert_eq!(after.len(), 10);
    let top = objects.list_with_delimiter(None).await.expect("a listing");
    // A disk keeps folders that are empty.
    let mut folders: Vec<_> = top.common_prefixes.iter().map(Path::as_ref).collect();
    folders.retain(|name| name.starts_with("listed"));
    assert_eq!(folders, ["listed", "listed-not"]);
    let mut all: Vec<Path> = (0..count).map(name).chain([other]).collect();
    // The library does not repeat a request for many objects whose connection broke, and a busy server breaks some. It does repeat one that was
    // answered too late, and then finds nothing where the first had removed it. What counts is that fewer are left.
    let mut in_vain = 0;
    while !all.is_empty() {
        let removals = futures_util::stream::iter(all.clone().into_iter().map(Ok)).boxed();
        let removed: Vec<Result<Path, _>> = objects.delete_stream(removals).collect().await;
        let failure = removed.into_iter().find_map(Result::err);
        let left = objects.list(None).map_ok(|object| object.location);
        let left: BTreeSet<Path> = left.try_collect().await.expect("a listing");
        let before = all.len();
        all.retain(|name| left.contains(name));
        in_vain += usize::from(all.len() == before);
        assert!(in_vain < 3, "{} are left: {failure:?}", all.len());
    }
}

/// A segment appears whole or not at all, whether it is written by one request or in parts.
fn upload(store: &Store, runtime: &Runtime) {
    let partition = PartitionId {
        topic: "topic".parse().expect("a name"),
        topic_id: Id::ZERO,
        partition: 0.into(),
    };
    for (number, size) in [(0, 100), (1, 5 * MIB), (2, 11 * MIB + 3)] {
        let key = Key::segment(&partition, number, &Id::ZERO);
        let name = &Path::from(key.to_string());
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
        let start = || {
            let buffers = store.profile().upload;
            SegmentUpload::start(store, key.clone(), runtime.handle().clone(), buffers)
        };
        let mut dropped = start().expect("an upload");
        dropped.write_all(&bytes).expect("it is written");
        drop(dropped);
        let found = runtime.block_on(store.objects().head(name));
        assert!(
            found.is_err(),
            "an upload that was dropped leaves no object"
        );

        let mut upload = start().expect("an upload");
        bytes
            .chunks(700_000)
            .for_each(|piece| upload.write_all(piece).expect("it is written"));
        let uploaded = runtime.block_on(upload.complete()).expect("it is complete");
        assert_eq!(uploaded.size, size as u64);
        runtime.block_on(async {
            let found = store
                .objects()
                .get(name)
                .await
                .expect("it exists")
                .bytes()
                .await;
            assert!(found.expect("all of it") == bytes, "{size}");
            store
                .objects()
                .delete(name)
                .await
                .expect("it can be removed");
        });
    }
}
