//! The JSON documents of `kbk mount` and `kbk umount`.

use serde_json::Value;

use crate::json_page::check_document;
use crate::mounted::kbk;
use crate::world::World;

/// Runs a command that must end with this code, and returns its document.
fn document(args: &[&str], code: i32) -> Value {
    let output = kbk(args).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let document = serde_json::from_slice(&output.stdout).unwrap();
    check_document(&document);
    document
}

#[test]
fn mounting_and_unmounting_are_documents() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let repository = world.path("");
    let repository = repository.to_str().unwrap();
    let mounted = document(&["mount", repository, place, "--daemon"], 0);
    assert_eq!(mounted["verdict"], "ok");
    assert_eq!(mounted["repository"], repository);
    assert_eq!(mounted["mount_point"], place);
    let again = document(&["mount", "-r", repository, place], 1);
    assert_eq!(again["verdict"], "failed");
    assert_eq!(again["repository"], repository);
    let unmounted = document(&["umount", place], 0);
    assert_eq!(unmounted["verdict"], "ok");
    let again = document(&["umount", place], 1);
    assert_eq!(again["verdict"], "failed");
}
