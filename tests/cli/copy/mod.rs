//! `kbk copy` between folders: what is copied, and what is refused.

mod lost;

use std::fs;

use serde_json::{Value, json};

use crate::program::{Ended, kbk};
use crate::world::World;

#[track_caller]
fn ok(ended: &Ended) -> &Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

/// A repository, and a place for its copy.
struct Copies {
    world: World,
    copy: String,
}

impl Copies {
    fn new() -> Copies {
        let world = World::sample();
        let copy = world.folder.path().join("copy");
        let copies = Copies {
            copy: copy.to_str().unwrap().to_owned(),
            world,
        };
        ok(&copies.of_copy(&["init"]));
        copies
    }

    fn from(&self) -> String {
        self.world.path("").to_str().unwrap().to_owned()
    }

    /// Runs a command on the copy.
    fn of_copy(&self, args: &[&str]) -> Ended {
        let mut command = kbk(args);
        command.env("KBK_REPO", &self.copy);
        Ended::of(command.output().unwrap())
    }

    fn copy(&self, more: &[&str]) -> Ended {
        let from = self.from();
        self.of_copy(&[&["copy", "--from", &from], more].concat())
    }

    #[track_caller]
    fn copied(&self, more: &[&str]) -> Value {
        ok(&self.copy(&[more, &["--json"]].concat())).json()
    }

    /// Returns what a reader prints of both.
    #[track_caller]
    fn both(&self, args: &[&str]) -> [String; 2] {
        let [original, copy] = [self.world.kbk(args), self.of_copy(args)];
        [ok(&original).stdout.clone(), ok(&copy).stdout.clone()]
    }
}

#[test]
fn a_copy_holds_the_same_and_only_what_is_new_is_sent() {
    let copies = Copies::new();
    let dry = copies.copied(&["--dry-run"]);
    assert_eq!(
        (&dry["dry_run"], &dry["segments"]),
        (&json!(true), &json!(8))
    );
    let dry = ok(&copies.copy(&["--dry-run"])).stdout.clone();
    assert!(
        dry.contains("nothing that would be copied was read"),
        "{dry}"
    );
    assert_eq!(
        ok(&copies.of_copy(&["snapshots", "--json"])).json()["snapshots"],
        json!([])
    );

    let ended = copies.copy(&[]);
    let first = ok(&ended).stdout.lines().next().unwrap();
    assert!(
        first.starts_with("copied 2 snapshots from 1 to 2 of ")
            && first.contains(": 8 new segments, "),
        "{first}"
    );
    assert!(
        ended.stdout.contains(" has: 3 partitions, 1,450 records\n"),
        "{}",
        ended.stdout
    );
    for args in [
        &["cat", "orders"][..],
        &["cat", "payments", "--snapshot", "1"],
        &["groups", "list"],
        &["acls", "list"],
        &["ls", "--partitions"],
    ] {
        let [original, copy] = copies.both(args);
        // Numbers that backups were given are those of the original.
        let is_numbered = args[1] == "list";
        assert_eq!(
            is_numbered,
            copy.contains("(snapshot 2 of the original)"),
            "{copy}"
        );
        assert_eq!(original, copy.replace(" of the original", ""), "{args:?}");
    }
    ok(&copies.of_copy(&["verify", "--full", "--snapshot", "all"]));
    let again = copies.copied(&[]);
    assert_eq!(
        (&again["segments"], &again["snapshots"]),
        (&json!(0), &json!([]))
    );
    assert!(
        ok(&copies.copy(&[]))
            .stdout
            .starts_with("nothing new to copy from ")
    );

    copies
        .world
        .backup(&[("payments", 0, vec![vec![(250, 9_000)]])]);
    ok(&copies.world.kbk(&["forget", "--keep-last", "9", "--yes"]));
    let third = copies.copied(&[]);
    assert_eq!(
        (
            &third["segments"],
            &third["accounted"]["records"],
            &third["read_back"]
        ),
        (&json!(1), &json!(1_451), &json!(true))
    );
    let snapshots = ok(&copies.of_copy(&["snapshots"])).stdout.clone();
    assert!(
        snapshots.contains("the snapshots 1 to 3 are copies of repository "),
        "{snapshots}"
    );
    let rows = ok(&copies.of_copy(&["snapshots", "--json"])).json();
    let numbers = rows["snapshots"].as_array().unwrap().iter();
    let numbers: Vec<_> = numbers
        .map(|row| [&row["sequence"], &row["origin"]])
        .collect();
    assert_eq!(
        numbers,
        [[1, 1], [2, 2], [3, 3]]
            .map(|pair| pair.map(|it| json!(it)))
            .each_ref()
            .map(|pair| pair.each_ref())
    );
}

#[test]
fn numbers_of_backups_are_those_of_the_original() {
    let copies = Copies::new();
    copies.copied(&[]);
    let older = "the newest backup did not look at 1 topic; the oldest is orders: its last backup is snapshot 1 of the original, ";
    let status = copies.of_copy(&["status"]);
    assert!(ok(&status).stdout.contains(older), "{}", status.stdout);
    let original = copies.world.kbk(&["status"]);
    let expected = older.replace(" of the original", "");
    assert!(
        ok(&original).stdout.contains(&expected),
        "{}",
        original.stdout
    );

    // The copy commits something, so that the next snapshot has another number than in the original.
    ok(&copies.of_copy(&["forget", "1", "--yes"]));
    copies
        .world
        .backup(&[("payments", 0, vec![vec![(250, 9_000)]])]);
    copies.copied(&[]);
    let listed = copies.of_copy(&["snapshots"]);
    let holds = "is of `kbk forget`, and holds the backup of snapshot 2 of the original\n";
    assert!(ok(&listed).stdout.contains(holds), "{}", listed.stdout);

    // A copy of the copy still states what the original was asked, and not what the copy made of it.
    let third = copies.world.folder.path().join("third");
    let third = third.to_str().unwrap();
    ok(&copies.of_copy(&["init", "-r", third]));
    let from = copies.copy.clone();
    ok(&copies.of_copy(&["copy", "--from", &from, "-r", third]));
    let status = copies.of_copy(&["status", "-r", third]);
    assert!(ok(&status).stdout.contains(older), "{}", status.stdout);
    let json = copies.of_copy(&["status", "-r", third, "--json"]).json();
    let names: Vec<&Value> = json["older_topics"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1, "{json}");
}

#[test]
fn a_copy_of_an_expiry_keeps_the_records_and_says_nothing_else() {
    let copies = Copies::new();
    copies.copied(&[]);
    ok(&copies.world.kbk(&[
        "expire",
        "--older-than",
        "1d",
        "--topic",
        "orders",
        "--allow-old-backup",
        "--yes",
    ]));
    copies.copied(&[]);
    let [original, copy] = copies.both(&["snapshots"]);
    assert!(
        original.contains("snapshot 3 is of `kbk expire`"),
        "{original}"
    );
    assert!(!copy.contains("expire"), "{copy}");
    assert!(
        copy.contains("the snapshots 1 to 3 are copies of repository "),
        "{copy}"
    );
    ok(&copies.of_copy(&["status"]));
}

#[test]
fn files_that_interrupted_copies_left_are_removed_once_they_are_old() {
    let copies = Copies::new();
    copies.copied(&[]);
    let key = copies.world.entries("orders", 0)[0].key.clone();
    let place = |number: u32| std::path::Path::new(&copies.copy).join(format!("{key}#{number}"));
    let days = std::time::Duration::from_secs(2 * 86_400);
    for number in [1, 2] {
        fs::write(place(number), "1234567").unwrap();
    }
    let file = fs::File::options().write(true).open(place(1)).unwrap();
    file.set_modified(std::time::SystemTime::now() - days)
        .unwrap();
    assert_eq!(copies.copied(&["--dry-run"])["removed_files"], 0);
    let ended = copies.copy(&[]);
    let said = "removed 1 file (7 B) that interrupted runs had left unfinished in ";
    assert!(ok(&ended).stdout.contains(said), "{}", ended.stdout);
    // Another run may be writing the other one.
    assert!(!place(1).exists() && place(2).exists());
}

#[test]
fn topics_are_selected_and_added_later() {
    let copies = Copies::new();
    let payments = copies.copied(&["--topic", "payments", "--snapshot", "latest"]);
    assert_eq!(
        (&payments["segments"], &payments["snapshots"][0]["snapshot"]),
        (&json!(2), &json!(2))
    );
    let listed = ok(&copies.of_copy(&["ls", "--json"])).json();
    assert_eq!(listed["topics"].as_array().unwrap().len(), 1);
    let all = copies.copied(&[]);
    assert_eq!(
        (
            &all["segments"],
            &all["snapshots"][0]["origin"],
            &all["snapshots"][0]["snapshot"]
        ),
        (&json!(6), &json!(2), &json!(3))
    );
    let [original, copy] = copies.both(&["cat", "orders"]);
    assert_eq!(original, copy);
    let ended = copies.copy(&["--topic", "paymenst"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("payments"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_a_copy_is_refused_and_nothing_is_written() {
    let copies = Copies::new();
    let from = copies.from();
    let same = copies.world.kbk(&["copy", "--from", &from]);
    assert_eq!(same.code, Some(1), "{}", same.stderr);
    assert!(
        same.stderr.contains("the same as the one to copy from"),
        "{}",
        same.stderr
    );
    // Not created yet, and no repository to copy from.
    let nowhere = copies.world.folder.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    for args in [
        &["copy", "--from", &from, "-r", nowhere][..],
        &["copy", "--from", nowhere, "-r", &copies.copy],
    ] {
        let ended = copies.of_copy(args);
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("nowhere"), "{}", ended.stderr);
    }
    for args in [
        &["copy"][..],
        &["copy", "--from", "memory://x"],
        &["copy", "--from", &from, "--snapshot", "all"],
        &["copy", "--from", &from, "--from-store-option", "region=x"],
        &[
            "copy",
            "--from",
            &from,
            "--from-store-option",
            "secret_access_key=hunter2",
        ],
    ] {
        let ended = copies.of_copy(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let plain = copies.of_copy(&[
        "copy",
        "--from",
        "s3://bucket/kafka",
        "--from-store-option",
        "endpoint=http://127.0.0.1:1",
    ]);
    assert_eq!(plain.code, Some(1), "{}", plain.stderr);
    assert!(
        plain.stderr.contains("--from-store-option allow-http=true"),
        "{}",
        plain.stderr
    );
    // Created, and never backed up to: most likely a wrong place.
    let empty = copies.world.folder.path().join("empty");
    let empty = empty.to_str().unwrap();
    ok(&copies.of_copy(&["init", "-r", empty]));
    for more in [&[][..], &["--dry-run"], &["--snapshot", "latest"]] {
        let ended = copies.of_copy(&[&["copy", "--from", empty], more].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(
            ended.stderr.contains("has no snapshot of a backup"),
            "{}",
            ended.stderr
        );
    }
    let none = copies.copy(&["--snapshot", "7"]);
    assert!(none.stderr.contains("has no snapshot 7"), "{}", none.stderr);
    copies.copied(&["--snapshot", "latest"]);
    let older = copies.copy(&["--snapshot", "1", "--json"]);
    assert_eq!(older.code, Some(1));
    let error = older.json()["error"].clone();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("copies go forward"), "{error}");

    // A copy of another repository.
    let other = World::sample();
    let other = other.path("");
    let ended = copies.of_copy(&["copy", "--from", other.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is a copy of repository "),
        "{}",
        ended.stderr
    );
    // A repository that has backups of its own.
    let own = World::sample();
    let keys = own.keys();
    let ended = own.kbk(&["copy", "--from", &from]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is of a backup of its own"),
        "{}",
        ended.stderr
    );
    assert_eq!(own.keys(), keys);
}

#[test]
fn groups_and_acls_that_a_copy_does_not_have_are_copied_or_not_there() {
    let copies = Copies::new();
    ok(&copies.copy(&["--snapshot", "1"]));
    for noun in ["groups", "acls"] {
        let ended = copies.of_copy(&[noun, "list"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        for said in [
            "had not saved them, or they could not be copied",
            "run `kbk copy --from ORIGINAL` to this repository again",
        ] {
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("kbk backup"), "{}", ended.stderr);
    }
}

#[test]
fn what_a_second_copy_of_a_snapshot_adds_is_not_forgotten_for_the_first() {
    let copies = Copies::new();
    let cluster = copies.world.path("cluster");
    let aside = copies.world.folder.path().join("aside");
    fs::rename(&cluster, &aside).unwrap();
    assert_eq!(copies.copy(&[]).code, Some(3));
    fs::remove_dir_all(&cluster).ok();
    fs::rename(&aside, &cluster).unwrap();
    let again = copies.copied(&[]);
    assert_eq!(again["snapshots"][0]["snapshot"], 3, "{again}");
    copies
        .world
        .backup(&[("payments", 0, vec![vec![(250, 9_000)]])]);
    copies.copied(&[]);

    let forget = ["forget", "--keep-last", "2", "--yes", "--json"];
    let rows = ok(&copies.of_copy(&forget)).json();
    let rows = rows["snapshots"].as_array().unwrap().iter();
    let kept: Vec<_> = rows.map(|row| [&row["keep"], &row["same_as"]]).collect();
    assert_eq!(
        kept,
        [
            [&json!(false), &json!(null)],
            [&json!(false), &json!(null)],
            [&json!(true), &json!(null)],
            [&json!(true), &json!(null)],
        ]
    );
    ok(&copies.of_copy(&["prune", "--grace", "0s"]));
    let listed = ok(&copies.of_copy(&["groups", "list", "--snapshot", "3"]))
        .stdout
        .clone();
    assert_eq!(
        listed.replace(" of the original", ""),
        ok(&copies.world.kbk(&["groups", "list", "--snapshot", "2"])).stdout
    );
}

#[test]
fn each_forgets_expires_and_prunes_by_itself() {
    let copies = Copies::new();
    copies.copied(&[]);
    ok(&copies
        .world
        .kbk(&["expire", "--older-than", "1d", "--topic", "orders", "--yes"]));
    let document = copies.copied(&[]);
    assert_eq!(document["segments"], 0, "{document}");
    // The copy still has what expired in the original.
    let printed = copies.of_copy(&["cat", "orders"]);
    assert_eq!(ok(&printed).json_lines().len(), 1_200);
    ok(&copies.of_copy(&["forget", "--keep-last", "1", "--yes"]));
    ok(&copies.of_copy(&["prune", "--grace", "0s"]));
    ok(&copies.of_copy(&["verify", "--full", "--snapshot", "all"]));
    copies
        .world
        .backup(&[("payments", 0, vec![vec![(250, 9_000)]])]);
    assert_eq!(copies.copied(&[])["segments"], 1);
    ok(&copies.of_copy(&["verify", "--full", "--snapshot", "all"]));

    // A copy that is begun now has what is left, and says what expired.
    let late = Copies {
        copy: copies
            .world
            .folder
            .path()
            .join("late")
            .to_str()
            .unwrap()
            .to_owned(),
        world: copies.world,
    };
    ok(&late.of_copy(&["init"]));
    late.copied(&["--snapshot", "latest"]);
    let listed = ok(&late.of_copy(&["ls", "orders", "--json"])).json();
    let row = &listed["partitions"][0];
    assert_eq!(
        row["expired"]["offsets"],
        json!({"base_offset": 0, "end_offset": 600})
    );
    ok(&late.of_copy(&["verify", "--full"]));
}
