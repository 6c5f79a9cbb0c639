//! Where a repository may be, and the errors for locations that do not have one.

use std::fs;
use std::path::Path;

use kbk_format::repo::{RepoErrorKind, Repository, Result, Store};
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
async fn a_later_version_and_another_format_are_named() {
    let later = with_identity(r#"{"format":"kbk-repository","version":2,"shape":"unknown""#);
    let newer = RepoErrorKind::NewerVersion {
        found: 2,
        supported: 1,
    };
    assert_eq!(*open(later.path()).await.unwrap_err().kind(), newer);
    let other = with_identity(r#"{"format":"shopping-list","version":1"#);
    let other = found(open(other.path()).await);
    assert_eq!(other, "its kbk.json is of the format \"shopping-list\"");
}

#[test]
fn unsupported_locations_are_refused() {
    for location in [
        "",
        "s3://bucket/prefix",
        "az://c",
        "file://host/x",
        "http://x",
    ] {
        let error = Store::open(location).unwrap_err();
        let invalid = matches!(error.kind(), RepoErrorKind::InvalidLocation { .. });
        assert!(invalid, "{location}: {error}");
        assert_eq!((error.repository(), error.key()), (location, None));
    }
}
