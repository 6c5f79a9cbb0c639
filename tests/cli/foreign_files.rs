//! Files among the objects of a repository that are none: they stop nothing, and are named.

use std::fs;
use std::path::Path;

use crate::world::World;

/// A world with a file in the place of each kind of folder, and a folder that no object can be in.
fn world() -> (World, Vec<String>) {
    let world = World::sample();
    let entry = world.entries("orders", 0).remove(0).key;
    let partition = Path::new(&entry).parent().unwrap();
    let id = partition.parent().unwrap();
    let names = [
        "data/notes.txt".to_owned(),
        "data/a-topic".to_owned(),
        "data/orders/note".to_owned(),
        "data/orders/0123456789abcdef0123456789abcdef".to_owned(),
        format!("{}/99", id.display()),
        format!("{}/x.kseg", partition.display()),
        "restores/a-restore".to_owned(),
    ];
    fs::create_dir_all(world.path("restores")).unwrap();
    for name in &names {
        fs::write(world.path(name), b"text").unwrap();
    }
    fs::create_dir_all(world.path("data/NOT A TOPIC/x")).unwrap();
    let mut names = names.to_vec();
    names.push("data/NOT A TOPIC/".to_owned());
    names.sort();
    (world, names)
}

#[test]
fn they_are_named_and_the_rest_is_done() {
    let (world, names) = world();
    for args in [
        &["ls"][..],
        &["ls", "orders"],
        &["cat", "orders/0"],
        &["snapshots"],
        &["status", "--no-cluster"],
        &["restores"],
        &["compact", "--dry-run"],
        &["recover", "--dry-run"],
        &["verify", "--depth", "list"],
    ] {
        let done = world.kbk(args);
        assert_eq!(
            done.code,
            Some(0),
            "{args:?}: {}{}",
            done.stdout,
            done.stderr
        );
    }
    let verified = world.kbk(&["verify", "--json"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    let orphans = &verified.json()["orphans"];
    assert_eq!(orphans["foreign_files"], names.len());
    assert_eq!(orphans["foreign_names"], serde_json::json!(names));
    for args in [
        &["prune", "--dry-run", "--json"][..],
        &["prune", "--grace", "0s", "--json"],
        &["stats", "--json"],
    ] {
        let done = world.kbk(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        let json = done.json();
        let report = json.get("prune").unwrap_or(&json);
        assert_eq!(
            report["foreign_names"],
            serde_json::json!(names),
            "{args:?}"
        );
    }
    for args in [&["verify"][..], &["prune"], &["stats"]] {
        let said = world.kbk(args).stdout;
        let named = "8 files in the folders of the repository that kbk has not written";
        assert!(
            said.contains(named) && said.contains("data/NOT A TOPIC/, data/a-topic"),
            "{args:?}: {said}"
        );
    }
    for name in &names {
        assert!(world.path(name).exists(), "{name}");
    }
}

#[test]
fn a_rebuild_goes_past_them() {
    let (world, _) = world();
    for folder in ["index", "snapshots"] {
        fs::remove_dir_all(world.path(folder)).unwrap();
    }
    let done = world.kbk(&["recover", "--rebuild", "--json"]);
    assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
    assert_eq!(done.json()["records"], 1_450);
}

#[test]
fn a_file_in_the_place_of_all_segments_is_an_error() {
    let world = World::sample();
    fs::remove_dir_all(world.path("data")).unwrap();
    fs::write(world.path("data"), b"text").unwrap();
    for args in [&["verify"][..], &["prune"], &["recover"]] {
        let done = world.kbk(args);
        assert!(
            matches!(done.code, Some(1 | 3)),
            "{args:?}: {}",
            done.stdout
        );
        let said = done.stdout + &done.stderr;
        assert!(said.contains("data"), "{args:?}: {said}");
    }
}
