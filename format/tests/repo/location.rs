//! Where a repository may be, and the errors for locations that do not have one.

use std::fs;
use std::path::Path;

use kbk_format::repo::{Adoptable, RepoErrorKind, Repository, Result, Store};
use tempfile::{TempDir, tempdir};

use crate::world;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn create(path: &Path) -> Result<Repository> {
    let store = Store::open_or_create(text(path))?;
    Repository::create(store, world::identity()).await
}

async fn open(path: &Path) -> Result<Repository> {
    Repository::open(Store::open(text(path))?).await
}

fn found(result: Result<Repository>) -> String {
    match result.unwrap_err().kind() {
        RepoErrorKind::NotARepository { found } => found.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_folder_is_created_and_opened_again() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("new/folders/with space");
    let made = create(&path).await.unwrap();
    assert_eq!(open(&path).await.unwrap().identity(), made.identity());
    assert_eq!(made.latest().await.unwrap(), None);

    let url = format!("file://{}", text(&path).replace(' ', "%20"));
    let by_url = Repository::open(Store::open(&url).unwrap()).await.unwrap();
    assert_eq!(by_url.identity(), &world::identity());
    assert_eq!(by_url.store().url(), url);

    fs::create_dir(path.join("data")).unwrap();
    let again = create(&path).await.unwrap_err();
    assert_eq!(*again.kind(), RepoErrorKind::AlreadyExists, "{again}");
    let store = Store::open_or_create(&url).unwrap();
    let other = kbk_format::repo::Identity::fresh();
    let opened = Repository::open_or_create(store, other).await.unwrap();
    assert_eq!(opened.identity(), &world::identity());
}

#[test]
fn backups_are_committed_to_a_folder() {
    let runtime = world::runtime();
    let folder = tempdir().unwrap();
    let made = runtime.block_on(create(&folder.path().join("repository")));
    let repository = made.unwrap();
    let mut base = None;
    for ends in [[3, 0], [5, 4]] {
        let cluster = world::cluster(&[("a", 1, &ends)]);
        base = Some(world::backup(&runtime, &repository, base, &cluster).unwrap());
        let objects = repository.store().objects();
        let (_, stored) = runtime.block_on(world::check_whole(objects));
        assert_eq!(stored, world::ends(&cluster));
    }
    assert_eq!(runtime.block_on(repository.latest()).unwrap(), base);
}

#[tokio::test]
async fn a_location_without_a_repository_is_reported() {
    let folder = tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert_eq!(found(open(&missing).await), "there is no such folder");
    assert!(!missing.exists());
    assert_eq!(found(open(folder.path()).await), "it is empty");

    fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let holds = "it holds notes.txt and no kbk.json";
    assert_eq!(found(open(folder.path()).await), holds);
    let found_txt = "notes.txt".to_owned();
    let not_empty = RepoErrorKind::NotEmpty { found: found_txt };
    assert_eq!(*create(folder.path()).await.unwrap_err().kind(), not_empty);
    let store = Store::open_or_create(text(folder.path())).unwrap();
    let opened = Repository::open_or_create(store, world::identity()).await;
    assert_eq!(*opened.unwrap_err().kind(), not_empty);

    let file = folder.path().join("notes.txt");
    assert_eq!(found(open(&file).await), "it is a file, not a folder");
    assert_eq!(found(create(&file).await), "it is a file, not a folder");
}

#[tokio::test]
async fn files_that_a_crash_left_are_ignored() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("kbk.json#1"), "{\"form").unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    create(folder.path()).await.unwrap();
    open(folder.path()).await.unwrap();
}

/// Puts names into every folder of a repository that cannot be objects, and that `object_store` cannot list.
#[cfg(unix)]
fn clutter(root: &Path) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let id = "01".repeat(16);
    for folder in [
        String::new(),
        "snapshots".to_owned(),
        "restores".to_owned(),
        "data".to_owned(),
        "data/a".to_owned(),
        format!("data/a/{id}"),
        format!("data/a/{id}/0"),
    ] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(OsStr::from_bytes(b"caf\xe9.json")), "x").unwrap();
        fs::write(folder.join("a\nb"), "x").unwrap();
        symlink(".", folder.join("loop")).unwrap();
        symlink(root, folder.join("7")).unwrap();
        symlink("itself", folder.join("itself")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        symlink(
            "00000000000000000009.json",
            folder.join("00000000000000000009.json"),
        )
        .unwrap();
    }
}

#[cfg(unix)]
#[test]
fn stray_files_and_links_block_nothing() {
    let runtime = world::runtime();
    let folder = tempdir().unwrap();
    let root = folder.path().join("repository");
    let repository = runtime.block_on(create(&root)).unwrap();
    let first = world::cluster(&[("a", 1, &[4])]);
    let base = world::backup(&runtime, &repository, None, &first).unwrap();
    clutter(&root);

    let repository = runtime.block_on(open(&root)).unwrap();
    assert_eq!(runtime.block_on(repository.sequences()).unwrap(), [1]);
    assert_eq!(
        runtime
            .block_on(repository.listed_snapshots())
            .unwrap()
            .len(),
        1
    );
    assert_eq!(runtime.block_on(repository.restores()).unwrap(), []);
    let partition = world::partition_id("a", 1, 0);
    let found = runtime
        .block_on(repository.unnamed_segments(&partition, 0, &Adoptable::all()))
        .unwrap();
    assert_eq!(found.len(), 2);
    let next = world::cluster(&[("a", 1, &[9])]);
    let base = world::backup(&runtime, &repository, Some(base), &next).unwrap();
    assert_eq!(runtime.block_on(repository.latest()).unwrap(), Some(base));

    // Such a name is reason enough not to take a folder for an empty one.
    let other = folder.path().join("other");
    clutter(&other);
    let not_empty = runtime.block_on(create(&other)).unwrap_err();
    assert!(
        matches!(not_empty.kind(), RepoErrorKind::NotEmpty { .. }),
        "{not_empty}"
    );
}

/// A segment's folder may be on another disk.
#[cfg(unix)]
#[test]
fn links_to_folders_and_files_are_followed() {
    let runtime = world::runtime();
    let folder = tempdir().unwrap();
    let (root, moved) = (
        folder.path().join("repository"),
        folder.path().join("moved"),
    );
    let repository = runtime.block_on(create(&root)).unwrap();
    world::backup(
        &runtime,
        &repository,
        None,
        &world::cluster(&[("a", 1, &[4])]),
    )
    .unwrap();
    fs::create_dir(&moved).unwrap();
    for name in ["data", "snapshots"] {
        fs::rename(root.join(name), moved.join(name)).unwrap();
        std::os::unix::fs::symlink(moved.join(name), root.join(name)).unwrap();
    }
    let partition = world::partition_id("a", 1, 0);
    let found = runtime
        .block_on(repository.unnamed_segments(&partition, 0, &Adoptable::all()))
        .unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(runtime.block_on(repository.sequences()).unwrap(), [1]);
}

/// Sets when a file was last written, in days before now.
fn age(path: &Path, days: u64) {
    let written = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(written).unwrap();
}

#[test]
fn files_of_interrupted_writes_are_removed_once_they_are_old() {
    let runtime = world::runtime();
    let folder = tempdir().unwrap();
    let root = folder.path();
    let repository = runtime.block_on(create(root)).unwrap();
    let cluster = world::cluster(&[("a", 1, &[4])]);
    let newest = world::backup(&runtime, &repository, None, &cluster).unwrap();
    let segments = format!("data/a/{}/0", "01".repeat(16));
    let of_segment = format!("{segments}/00000000000000000000-0102030405060708.kseg");
    let left = [
        ("snapshots/00000000000000000002.json#1".to_owned(), 2, true),
        (format!("{of_segment}#7"), 400, true),
        // Another run may be writing it.
        (format!("{of_segment}#8"), 0, false),
        // Not kbk's.
        (format!("{segments}/notes.txt#1"), 400, false),
        (of_segment.clone(), 400, false),
    ];
    for (name, days, _) in &left {
        fs::write(root.join(name), "1234567").unwrap();
        age(&root.join(name), *days);
    }
    let removed = runtime
        .block_on(repository.remove_unfinished(&newest))
        .unwrap();
    assert_eq!((removed.files, removed.bytes), (2, 14));
    for (name, _, gone) in left {
        assert_eq!(!root.join(&name).exists(), gone, "{name}");
    }
    let removed = runtime
        .block_on(repository.remove_unfinished(&newest))
        .unwrap();
    assert_eq!(removed.files, 0);
}

#[test]
fn folders_that_are_gone_are_named() {
    let runtime = world::runtime();
    let folder = tempdir().unwrap();
    let root = folder.path();
    let repository = runtime.block_on(create(root)).unwrap();
    let cluster = world::cluster(&[("a", 1, &[4]), ("b", 2, &[0]), ("c", 3, &[5])]);
    let newest = world::backup(&runtime, &repository, None, &cluster).unwrap();
    let missing = || runtime.block_on(repository.missing_folders(&newest));
    assert_eq!(missing().unwrap(), [""; 0], "nothing is stored of b");
    fs::remove_dir_all(root.join("data/a")).unwrap();
    assert_eq!(missing().unwrap(), ["data/a"]);
    fs::remove_dir_all(root.join("data/c")).unwrap();
    let all = missing().unwrap_err();
    assert_eq!(*all.kind(), RepoErrorKind::MissingFolder { snapshot: 1 });
    assert_eq!(all.key(), Some("data"));
    fs::remove_dir_all(root.join("data")).unwrap();
    assert_eq!(missing().unwrap_err().key(), Some("data"));
}

fn with_identity(json: &str) -> TempDir {
    use sha2::{Digest, Sha256};
    let folder = tempdir().unwrap();
    let digest = Sha256::digest(json.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let sealed = format!("{json},\"sha256\":\"{hex}\"}}\n");
    fs::write(folder.path().join("kbk.json"), sealed).unwrap();
    folder
}

#[tokio::test]
async fn other_versions_and_another_format_are_named() {
    let later = with_identity(r#"{"format":"kbk-repository","version":4,"shape":"unknown""#);
    let newer = RepoErrorKind::NewerVersion {
        found: 4,
        supported: 3,
    };
    assert_eq!(*open(later.path()).await.unwrap_err().kind(), newer);
    let earlier = with_identity(r#"{"format":"kbk-repository","version":2,"shape":"unknown""#);
    let older = RepoErrorKind::OlderVersion {
        found: 2,
        supported: 3,
    };
    assert_eq!(*open(earlier.path()).await.unwrap_err().kind(), older);
    let other = with_identity(r#"{"format":"shopping-list","version":1"#);
    let other = found(open(other.path()).await);
    assert_eq!(other, "its kbk.json is of the format \"shopping-list\"");
}

#[test]
fn unsupported_locations_are_refused() {
    for location in ["", "s3:bucket/prefix", "gs://", "file://host/x", "http://x"] {
        let error = Store::open(location).unwrap_err();
        let invalid = matches!(error.kind(), RepoErrorKind::InvalidLocation { .. });
        assert!(invalid, "{location}: {error}");
        assert_eq!((error.repository(), error.key()), (location, None));
    }
}
