//! `kbk diff A B`: what it compares, says and refuses.

use serde_json::json;

use crate::program::{Ended, kbk};
use crate::world::World;

/// A repository, and a copy of it.
struct Pair {
    world: World,
    copy: String,
}

impl Pair {
    fn new() -> Pair {
        let world = World::sample();
        let copy = world.folder.path().join("copy");
        let copy = copy.to_str().unwrap().to_owned();
        let pair = Pair { world, copy };
        assert_eq!(pair.of_copy(&["init"]).code, Some(0));
        let from = pair.world.path("");
        let copied = pair.of_copy(&["copy", "--from", from.to_str().unwrap()]);
        assert_eq!(copied.code, Some(0), "{}", copied.stderr);
        pair
    }

    fn of_copy(&self, args: &[&str]) -> Ended {
        let mut command = kbk(args);
        command.env("KBK_REPO", &self.copy);
        Ended::of(command.output().unwrap())
    }
}

#[test]
fn two_snapshots_of_a_repository_are_compared() {
    let world = World::sample();
    let ended = world.kbk(&["diff", "1", "2"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"3 differences between A and B"));
    assert!(lines[1].starts_with("A: snapshot 1 of "), "{lines:?}");
    assert!(lines[2].starts_with("B: snapshot 2 of "), "{lines:?}");
    assert_eq!(
        lines[3..],
        [
            "payments/0: offsets 100 to 250 (exclusive) only in B",
            "consumer groups: saved only in B, so not compared",
            "ACLs: saved only in B, so not compared",
            "an import of Kafka's logs has saved no configurations, groups and ACLs: --records-only compares without them",
            "compared 2 topics with 3 partitions: 1,300 records the same (1,300 by the hashes of their segments); no consumer group; no ACL",
        ]
    );
    // The second one is the latest unless it is given.
    let json = world.kbk(&["diff", "1", "--json"]);
    assert_eq!(json.code, Some(3));
    let json = json.json();
    assert_eq!(json["verdict"], "findings");
    assert_eq!(
        (&json["a"]["snapshot"], &json["b"]["snapshot"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        json["differences"][0],
        json!({
            "kind": "covered_only_in",
            "side": "B",
            "topic": "payments",
            "topic_id": "08080808080808080808080808080808",
            "partition": 0,
            "base_offset": 100,
            "end_offset": 250,
            "expired": false,
        })
    );
    let same = world.kbk(&["diff", "2"]);
    assert_eq!(same.code, Some(0), "{}", same.stdout);
    assert!(
        same.stdout.starts_with(
            "equal: A and B, by what the snapshots state: segments were listed, not read\n"
        ),
        "{}",
        same.stdout
    );
}

#[test]
fn a_copy_is_compared_with_its_original_and_damage_is_not_called_equal() {
    let pair = Pair::new();
    let ended = pair.world.kbk(&["diff", "--with", &pair.copy]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains(
            "1,450 records the same (1,450 by the hashes of their segments); 2 consumer groups; 2 ACLs"
        ),
        "{}",
        ended.stdout
    );
    let full = pair
        .world
        .kbk(&["diff", "--with", &pair.copy, "--full", "--json"])
        .json();
    assert_eq!(
        full["records"],
        json!({"same_objects": 0, "same_digest": 0, "read": 1_450})
    );

    let entries = pair.world.entries("orders", 1);
    let damaged = std::path::Path::new(&pair.copy).join(&entries[0].key);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[entries[0].footer_position as usize - 100] ^= 0x10;
    std::fs::write(&damaged, bytes).unwrap();
    let full = pair.world.kbk(&[
        "diff", "--with", &pair.copy, "--full", "--topic", "orders/1",
    ]);
    assert_eq!(full.code, Some(3), "{}{}", full.stdout, full.stderr);
    assert!(
        full.stdout
            .starts_with("no difference found, and 1 part could not be compared\n"),
        "{}",
        full.stdout
    );
    let said = full
        .stdout
        .lines()
        .find(|line| line.starts_with("orders/1: "));
    let said = said.unwrap();
    assert!(
        said.contains("not compared: they cannot be read in B: "),
        "{said}"
    );
    assert!(said.contains(&pair.copy), "{said}");
}

#[test]
fn a_copy_that_lacks_a_segment_is_not_equal_although_no_segment_is_read() {
    let pair = Pair::new();
    let missing = &pair.world.entries("orders", 0)[1].key;
    std::fs::remove_file(std::path::Path::new(&pair.copy).join(missing)).unwrap();
    let ended = pair.world.kbk(&["diff", "--with", &pair.copy]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let said = ended.stdout.lines().find(|line| line.starts_with("in B: "));
    assert!(
        said.is_some_and(|said| said.contains(missing)),
        "{}",
        ended.stdout
    );
    let json = pair
        .world
        .kbk(&["diff", "--with", &pair.copy, "--json"])
        .json();
    assert_eq!(json["differences"][0]["kind"], "object", "{json}");
    assert_eq!(json["differences"][0]["side"], "B");
    assert_eq!(json["differences"][0]["key"], missing.as_str());
    // What other topics have is no matter of these.
    let others = pair
        .world
        .kbk(&["diff", "--with", &pair.copy, "--topic", "payments"]);
    assert_eq!(others.code, Some(0), "{}{}", others.stdout, others.stderr);
}

#[test]
fn topics_and_partitions_are_selected() {
    let world = World::sample();
    let compared = |args: &[&str]| {
        let ended = world.kbk(&[&["diff", "1", "2", "--json"], args].concat());
        let json = ended.json();
        (
            ended.code,
            json["topics"].clone(),
            json["partitions"].clone(),
            json["groups"].clone(),
        )
    };
    let null = serde_json::Value::Null;
    let equal = |topics, partitions| (Some(0), json!(topics), json!(partitions), null.clone());
    assert_eq!(compared(&["--topic", "orders"]), equal(1, 2));
    assert_eq!(compared(&["--topic", "orders/1"]), equal(1, 1));
    assert_eq!(compared(&["--topic", "ord*", "-p", "0"]), equal(1, 1));
    assert_eq!(compared(&["--exclude", "payments"]), equal(1, 2));
    assert_eq!(compared(&["--topic", "payments"]).0, Some(3));

    for (args, said) in [
        (&["--topic", "order"][..], "no topic matches `order`"),
        (&["--topic", "orders/7"], "7"),
    ] {
        let ended = world.kbk(&[&["diff", "1", "2"], args].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn options_of_the_other_form_are_refused() {
    let world = World::sample();
    for args in [
        &["diff"][..],
        &["diff", "1", "--live"],
        &["diff", "1", "2", "--map", "a=b"],
        &["diff", "1", "2", "--since", "1h"],
        &["diff", "1", "2", "--snapshot", "1"],
        &["diff", "1", "2", "--drop-header", "x"],
        &["diff", "--live", "--with", "elsewhere"],
        &["diff", "1", "--with-store-option", "allow-http=true"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(
            ended.code,
            Some(2),
            "{args:?}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
    let absent = world.kbk(&["diff", "1", "9"]);
    assert_eq!(absent.code, Some(1));
    assert!(
        absent.stderr.contains("has no snapshot 9"),
        "{}",
        absent.stderr
    );
}

#[test]
fn an_import_of_an_export_has_the_same_records() {
    let world = World::sample();
    let at = |name: &str| {
        let path = world.folder.path().join(name);
        path.to_str().unwrap().to_owned()
    };
    let (logs, imported) = (at("logs"), at("imported"));
    let exported = world.kbk(&["export", "-f", "kafka-log", &logs]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let of_import = |args: &[&str]| {
        let mut command = kbk(args);
        command.env("KBK_REPO", &imported);
        Ended::of(command.output().unwrap())
    };
    assert_eq!(of_import(&["init"]).code, Some(0));
    let ended = of_import(&["import", &logs]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let diff = ["diff", "--with", &imported];
    let all = world.kbk(&diff);
    assert_eq!(all.code, Some(3), "{}", all.stdout);
    assert!(all.stdout.contains("--records-only compares without them"));
    let records = world.kbk(&[&diff[..], &["--records-only"]].concat());
    assert_eq!(records.code, Some(0), "{}", records.stdout);
    let first = records.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("equal in their records: A and B"),
        "{first}"
    );
    let unsaid = "; not compared: configurations, consumer groups, ACLs";
    assert!(first.ends_with(unsaid), "{first}");
    let json = world.kbk(&[&diff[..], &["--records-only", "--json"]].concat());
    let json = json.json();
    assert_eq!(
        (&json["records_only"], &json["groups"]),
        (&json!(true), &json!(null))
    );

    // What is of records still counts.
    let lost = world.entries("orders", 1)[2].clone();
    std::fs::remove_file(world.path(&lost.key)).unwrap();
    let records = world.kbk(&[&diff[..], &["--records-only"]].concat());
    assert_eq!(records.code, Some(3), "{}", records.stdout);
}
