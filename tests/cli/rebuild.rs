//! `kbk recover --rebuild`: a new snapshot of the segments alone.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::sleep;

use kbk_format::repo::ClaimedTopic;
use kbk_tools::claims::{self, ClaimEvent, ClaimRequest};
use serde_json::Value;

use crate::noise::noise;
use crate::program::{Ended, kbk};
use crate::world::World;

fn remove(world: &World, names: &[&str]) {
    for name in names {
        let path = world.path(name);
        match path.is_dir() {
            _ if !path.exists() => {}
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}

fn first(ended: &Ended) -> &str {
    ended.stdout.lines().next().unwrap_or_default()
}

fn segments(world: &World) -> BTreeSet<String> {
    let keys = world.keys().into_iter();
    keys.filter(|key| key.starts_with("data/")).collect()
}

#[test]
fn a_repository_whose_index_is_gone_is_rebuilt_and_says_what_is_not_known() {
    let world = World::sample();
    let id = world.repository.identity().repository_id;
    let before = world.kbk(&["cat", "orders/0"]).stdout;
    remove(&world, &["index"]);
    let refused = world.kbk(&["ls"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("kbk recover --rebuild"),
        "{}",
        refused.stderr
    );
    remove(&world, &["snapshots", "cluster", "kbk.json"]);
    let refused = world.kbk(&["ls"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("kbk recover --rebuild"),
        "{}",
        refused.stderr
    );
    let keys = world.keys();
    let objects = segments(&world);

    let planned = world.kbk(&["recover", "--rebuild", "--dry-run", "--json"]);
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let planned = planned.json();
    assert_eq!(
        (
            &planned["snapshot"],
            &planned["base_snapshot"],
            &planned["dry_run"]
        ),
        (&Value::Null, &Value::Null, &true.into())
    );
    assert_eq!(world.keys(), keys, "nothing was written so far");

    let report = world.folder.path().join("rebuilt.json");
    let done = world.kbk(&["recover", "--rebuild", "--report", report.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let line = first(&done);
    assert!(
        line.starts_with("rebuilt 1,450 records of 8 segments as snapshot ")
            && line.contains(" is partial"),
        "{line}"
    );
    assert!(
        done.stdout
            .contains("not known of 2 topics: configurations"),
        "{}",
        done.stdout
    );
    let saved: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let named = saved["data_objects"].as_array().unwrap().iter();
    let named = named.map(|row| {
        assert_eq!(row["fate"], "adopted");
        row["key"].as_str().unwrap().to_owned()
    });
    assert_eq!(named.collect::<BTreeSet<_>>(), objects);
    assert_eq!(saved["complete"], false);
    assert_eq!(saved["incomplete"][0]["reason"], "rebuilt");
    assert_eq!(
        saved["kbk_json"]["stated_by"],
        Value::Null,
        "nothing stated the id"
    );
    assert_ne!(saved["kbk_json"]["repository_id"], id.to_string());

    assert_eq!(world.kbk(&["cat", "orders/0"]).stdout, before);
    let verified = world.kbk(&["verify", "--depth", "hash", "--json"]);
    assert_eq!(verified.code, Some(3));
    let findings = verified.json();
    let findings = findings["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|it| it["kind"] == "incomplete"),
        "{findings:?}"
    );
    for finding in findings {
        let next = finding["next_step"].as_str().unwrap();
        assert!(next.starts_with("kbk backup -r"), "{finding}");
    }
    let verified = world.kbk(&["verify"]).stdout;
    assert!(verified.contains("how many is not known"), "{verified}");
    let status = world.kbk(&["status", "--no-cluster"]);
    assert_eq!(status.code, Some(3), "{}", status.stdout);
    let listed = world.kbk(&["ls", "--json"]);
    assert_eq!(listed.json()["complete"], false);
    let snapshots = world.kbk(&["snapshots", "--json"]).json();
    assert_eq!(
        snapshots["snapshots"][0]["maintenance"],
        "recover --rebuild"
    );

    let snapshots = world.kbk(&["snapshots"]).stdout;
    let of = "is of `kbk recover --rebuild`, and holds what segments prove";
    assert!(snapshots.contains(of), "{snapshots}");

    // It is rebuilt once.
    let again = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.stderr.contains("needs no rebuild"),
        "{}",
        again.stderr
    );
}

#[test]
fn kbk_json_alone_is_written_again() {
    let world = World::sample();
    let sequence = world.latest().sequence;
    let id = world.repository.identity().repository_id.to_string();
    remove(&world, &["kbk.json"]);
    let done = world.kbk(&["recover", "--rebuild", "--json"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let done = done.json();
    assert_eq!(
        (&done["snapshot"], &done["kbk_json"]["repository_id"]),
        (&Value::Null, &id.into())
    );
    let verified = world.kbk(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    assert_eq!(world.latest().sequence, sequence);
}

#[test]
fn what_is_damaged_is_asked_for_and_named() {
    let world = World::sample();
    let key = world.entries("orders", 0).remove(1).key;
    let gone = world.entries("orders", 1).remove(1).key;
    world.flip(&key, 2_000);
    remove(&world, &["index", "snapshots", &gone]);
    let keys = world.keys();
    let asked = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    assert!(asked.stderr.contains("no terminal"), "{}", asked.stderr);
    assert_eq!(world.keys(), keys);
    let done = world.kbk(&["recover", "--rebuild", "--yes"]);
    assert_eq!(done.code, Some(3), "{}{}", done.stdout, done.stderr);
    let line = first(&done);
    assert!(
        line.contains(" are lost") && line.contains(" is partial"),
        "{line}"
    );
    for words in [
        "orders/1: offsets 200 to 400 (exclusive) are lost: no segment has them",
        "1 object salvaged: damaged, and what is left of them is in new segments",
        &format!("{key} (salvaged): "),
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    assert!(
        world.kbk(&["verify", "--accept-lost"]).code == Some(3),
        "the end is not known"
    );
    let verified = world.kbk(&["verify", "--json"]).json();
    let kinds: BTreeSet<&str> = verified["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["incomplete", "lost_to_damage"]));
}

#[test]
fn what_an_object_held_of_which_nothing_is_left_is_not_known() {
    let world = World::sample();
    let key = world.entries("orders", 0).pop().unwrap().key;
    fs::write(world.path(&key), vec![0; 3_000]).unwrap();
    remove(&world, &["index", "snapshots"]);
    let planned = world.kbk(&["recover", "--rebuild", "--dry-run"]);
    assert_eq!(planned.code, Some(3), "{}", planned.stderr);
    let words = "how many offsets are lost is not known, and 1 object cannot be used";
    assert!(first(&planned).contains(words), "{}", planned.stdout);
    let done = world.kbk(&["recover", "--rebuild", "--yes", "--json"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let done = done.json();
    assert_eq!(
        (&done["lost_offsets"], &done["stated_lost_offsets"]),
        (&Value::Null, &0.into())
    );
    let mut rows = done["data_objects"].as_array().unwrap().iter();
    let row = rows.find(|row| row["key"] == key).unwrap();
    assert_eq!(
        (&row["fate"], &row["lost_offsets"]),
        (&"unreadable".into(), &Value::Null)
    );
}

#[test]
fn an_older_snapshot_that_is_intact_is_the_base() {
    let world = World::sample();
    let newest = format!("snapshots/{:020}.json", world.latest().sequence);
    world.flip(&newest, 50);
    let done = world.kbk(&["recover", "--rebuild", "--json"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let done = done.json();
    assert_eq!(
        (&done["base_snapshot"], &done["snapshot"], &done["records"]),
        (&1.into(), &3.into(), &150.into())
    );
    assert_eq!(done["damaged_snapshots"][0]["sequence"], 2);
    let snapshot = world.latest();
    assert_eq!(snapshot.parent.as_ref().map(|it| it.sequence), Some(1));
    assert_eq!(snapshot.totals.records, 1_450);
}

#[test]
fn what_a_damaged_snapshot_states_and_is_not_there_is_in_the_first_line() {
    let world = World::sample();
    let sequence = world.latest().sequence;
    let gone = world.entries("orders", 1).pop().unwrap();
    remove(&world, &["index", &gone.key]);
    let planned = world.kbk(&["recover", "--rebuild", "--dry-run"]);
    assert_eq!(planned.code, Some(3), "{}", planned.stderr);
    let less = format!(
        "1 segment, {} records less than snapshot {sequence} states",
        gone.records
    );
    assert!(first(&planned).contains(&less), "{}", planned.stdout);
    let done = world.kbk(&["recover", "--rebuild", "--yes", "--json"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let missing = &done.json()["missing_totals"];
    assert_eq!(missing["records"], gone.records);
    assert_eq!(
        (&missing["topics"], &missing["partitions"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn the_kbk_json_of_another_repository_is_named_with_both_ids() {
    let (world, other) = (World::sample(), World::sample());
    fs::copy(other.path("kbk.json"), world.path("kbk.json")).unwrap();
    let keys = world.keys();
    let refused = world.kbk(&["recover", "--rebuild", "--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for id in [&world, &other].map(|it| it.repository.identity().repository_id.to_string()) {
        assert!(refused.stderr.contains(&id), "{}", refused.stderr);
    }
    assert!(
        refused.stderr.contains("move kbk.json away"),
        "{}",
        refused.stderr
    );
    assert_eq!(world.keys(), keys);
    remove(&world, &["kbk.json"]);
    let done = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(world.kbk(&["verify"]).code, Some(0));
}

#[test]
fn files_that_no_segment_can_be_named_like_are_listed() {
    let world = World::sample();
    let key = world.entries("orders", 1).pop().unwrap().key;
    let (folder, _) = key.rsplit_once('/').unwrap();
    fs::write(world.path(&format!("{folder}/read me")), b"text").unwrap();
    fs::create_dir(world.path("data/orders (old)")).unwrap();
    fs::rename(world.path(&key), world.path("data/orders (old)/last.kseg")).unwrap();
    remove(&world, &["index", "snapshots"]);
    let done = world.kbk(&["recover", "--rebuild", "--yes"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    for words in [
        &format!(
            "data/orders (old)/last.kseg is not used, since no segment has such a name: its header states that it is {key}"
        ),
        &format!("{folder}/read me is not a segment"),
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
}

/// Kills rebuilds at moments that differ, and compares what the last one makes with what one makes that is not killed.
#[test]
fn killed_at_any_moment_the_next_one_does_the_rest() {
    let mut world = World::with_blocks(64 << 10);
    world.content = |offset| (None, noise(offset, 100));
    let rows = |number: i64| {
        (number * 3_000..(number + 1) * 3_000)
            .map(|it| (it, it))
            .collect()
    };
    world.backup(&[("orders", 0, (0..10).map(rows).collect())]);
    for entry in world.entries("orders", 0).iter().skip(1).step_by(3) {
        world.flip(&entry.key, 100_000);
    }
    remove(&world, &["index", "snapshots", "kbk.json"]);
    let objects = segments(&world);
    let began = std::time::Instant::now();
    let planned = world.kbk(&["recover", "--rebuild", "--dry-run", "--json"]);
    // Writing takes some more.
    let mut whole = began.elapsed() * 3 / 2;
    let planned = planned.json();
    assert_eq!(planned["data_objects"].as_array().unwrap().len(), 10);
    let (mut left, mut fractions) = (6, [1, 6, 3, 8, 5, 2, 7, 4].into_iter().cycle());
    while left > 0 {
        let moment = whole * fractions.next().unwrap() / 9;
        let mut command = kbk(&["recover", "--rebuild", "--yes"]);
        command.env("KBK_REPO", world.path(""));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().unwrap();
        sleep(moment);
        running.kill().unwrap();
        if running.wait().unwrap().code().is_none() {
            left -= 1;
        } else {
            // It ended before it was killed: this round does not count.
            whole = moment;
        }
        assert!(segments(&world).is_superset(&objects), "after {moment:?}");
        if world.path("snapshots").exists() {
            // It was done before it was killed.
            remove(&world, &["index", "snapshots", "kbk.json"]);
        }
    }
    let done = world.kbk(&["recover", "--rebuild", "--yes", "--json"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let done = done.json();
    for what in ["records", "lost_offsets"] {
        assert_eq!(done[what], planned[what], "{what}");
    }
    let verified = world.kbk(&["verify", "--depth", "hash", "--json"]).json();
    let kinds = verified["findings"].as_array().unwrap().iter();
    let kinds: BTreeSet<&str> = kinds.map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["incomplete", "lost_to_damage"]));
    assert_eq!(verified["records"], planned["records"]);
}

#[test]
fn nothing_is_rebuilt_beside_a_backup_or_where_nothing_is_damaged() {
    let world = World::sample();
    let refused = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("needs no rebuild") && refused.stderr.contains("kbk verify"),
        "{}",
        refused.stderr
    );
    remove(&world, &["snapshots"]);
    let request = ClaimRequest {
        command: "backup".to_owned(),
        writer: "test".to_owned(),
        topics: None,
        can_select: true,
    };
    let silent = Arc::new(|_: &ClaimEvent| ());
    let claim = claims::claim(&world.repository, request, std::future::pending(), silent);
    let held = world.runtime.block_on(claim).unwrap().unwrap();
    let refused = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("backup"), "{}", refused.stderr);
    assert!(!world.path("snapshots").exists());
    world.runtime.block_on(held.release());
    for args in [
        &["recover", "--rebuild", "--from", "elsewhere"][..],
        &["recover", "--rebuild", "--topic", "orders"],
        &["recover", "--rebuild", "a.kseg", "-o", "b.kseg"],
        &["recover", "--rebuild", "-o", "b.kseg"],
        &["recover", "--rebuild", "--as", "orders/0"],
    ] {
        let refused = world.kbk(args);
        assert_eq!(refused.code, Some(2), "{args:?}");
        assert!(refused.stderr.contains("--rebuild"), "{}", refused.stderr);
    }
}

#[test]
fn snapshots_whose_index_is_gone_are_not_complete_and_are_not_counted() {
    let world = World::sample();
    remove(&world, &["index"]);
    world.kbk(&["recover", "--rebuild"]);
    let listed = world.kbk(&["snapshots"]);
    assert_eq!(listed.code, Some(3));
    let rows: Vec<&str> = listed.stdout.lines().map(str::trim_start).collect();
    let row = |number: &str| rows.iter().find(|row| row.starts_with(number)).unwrap();
    for number in ["1 ", "2 "] {
        assert!(row(number).contains("damaged"), "{}", listed.stdout);
    }
    assert!(row("3 ").contains("partial"), "{}", listed.stdout);
    assert!(rows.contains(&"3 snapshots"), "{}", listed.stdout);
}

#[test]
fn what_only_an_origin_said_is_named_and_a_copy_says_why_it_does_not_continue() {
    let (original, copy) = (World::sample(), World::new());
    let from = original.path("").display().to_string();
    let copied = copy.kbk(&["copy", "--from", &from]);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    remove(&copy, &["index", "snapshots"]);
    let rebuilt = copy.kbk(&["recover", "--rebuild"]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    let words = "`kbk copy` does not continue it";
    assert!(rebuilt.stdout.contains(words), "{}", rebuilt.stdout);
    let refused = copy.kbk(&["copy", "--from", &from]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("nothing says what it is a copy of"),
        "{}",
        refused.stderr
    );
}

#[test]
fn who_cannot_select_topics_is_not_told_to() {
    let world = World::sample();
    remove(&world, &["snapshots"]);
    let request = ClaimRequest {
        command: "backup".to_owned(),
        writer: "test".to_owned(),
        topics: Some(vec![ClaimedTopic {
            topic: "orders".parse().unwrap(),
            partitions: None,
        }]),
        can_select: true,
    };
    let silent = Arc::new(|_: &ClaimEvent| ());
    let claim = claims::claim(&world.repository, request, std::future::pending(), silent);
    let held = world.runtime.block_on(claim).unwrap().unwrap();
    let refused = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let said = &refused.stderr;
    assert!(
        said.contains("orders in ") && !said.contains("select other topics"),
        "{said}"
    );
    world.runtime.block_on(held.release());
}
