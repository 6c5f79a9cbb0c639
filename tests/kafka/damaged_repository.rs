//! A repository that lost something never continues as if nothing had happened, and there is always a next step that loses nothing.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::forged_index::ForgedIndex;
use crate::support::broker::Broker;
use crate::support::process::{Finished, Running, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

fn some(count: usize, seed: u64) -> Vec<Message> {
    samples::mixed(seed).take(count).collect()
}

/// Backs up a topic twice: 100 records, then 50 more.
fn two_snapshots(broker: &Broker, name: &str) -> (Repo, String) {
    two_snapshots_of(broker, name, [100, 50])
}

/// Makes the same with other numbers of records.
fn two_snapshots_of(broker: &Broker, name: &str, counts: [usize; 2]) -> (Repo, String) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, 1, &[]);
    let repo = Repo::new();
    for count in counts {
        produce(broker, "none", (&topic, 0), &some(count, 1));
        backup(&repo, broker, &topic, &[]).expect_code(0);
    }
    (repo, topic)
}

fn backup(repo: &Repo, broker: &Broker, topic: &str, args: &[&str]) -> Finished {
    run(&mut repo.backup(broker, &[&["--topic", topic], args].concat()))
}

fn findings(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("an array");
    findings
        .iter()
        .map(|finding| finding["finding"].as_str().expect("a name"))
        .collect()
}

#[test]
fn a_damaged_newest_snapshot_is_passed_over_without_losing_a_record() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "damaged");
    let damaged = repo.snapshot(2);
    let intact = fs::read(&damaged).expect("readable");
    let mut bytes = intact.clone();
    bytes[40] ^= 1;
    fs::write(&damaged, &bytes).expect("written");
    produce(broker, "none", (&topic, 0), &some(25, 2));
    let segments = repo.segments();

    let refused = backup(&repo, broker, &topic, &[]).expect_code(1);
    for words in [
        "snapshots/00000000000000000002.json",
        "--ignore-damaged-snapshot 2",
    ] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    assert_eq!(repo.segments(), segments);
    let not_damaged = backup(&repo, broker, &topic, &["--ignore-damaged-snapshot", "1"]);
    let not_damaged = not_damaged.expect_code(1).stderr;
    assert!(
        not_damaged.contains("snapshot 1: it is not damaged"),
        "{not_damaged}"
    );

    let passed = backup(&repo, broker, &topic, &["--ignore-damaged-snapshot", "2"]);
    let report = passed.expect_code(3).json();
    assert_eq!(report["snapshot"], 3);
    assert_eq!(findings(&report), ["ignored_snapshot"]);
    assert_eq!(report["findings"][0]["continued"], 1);
    assert_eq!(report["records"], 75, "50 of the damaged snapshot, 25 new");
    let mut added = repo.segments();
    assert!(segments.keys().all(|path| added.remove(path).is_some()));
    assert_eq!(added.len(), 1, "what snapshot 2 had stored is used again");
    assert_eq!(fs::read(&damaged).expect("it stays"), bytes);
    assert_eq!(repo.verify()["records"], 175);
    repo.verify_by_spec();
    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 175);

    // The next run needs no option, and an intact copy of the damaged snapshot is as good as before.
    backup(&repo, broker, &topic, &[]).expect_code(0);
    run(&mut repo.kbk(&["snapshots"])).expect_code(3);
    fs::write(&damaged, &intact).expect("written");
    run(&mut repo.kbk(&["snapshots"])).expect_code(0);
    run(&mut repo.kbk(&["verify", "--full", "--snapshot", "all"])).expect_code(0);
}

#[test]
fn a_newest_snapshot_that_is_gone_stops_a_backup_until_it_is_given_up() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "gone");
    fs::remove_file(repo.snapshot(2)).expect("removed");
    let segments = repo.segments();
    let refused = backup(&repo, broker, &topic, &[]).expect_code(1).stderr;
    for words in [
        "snapshots/00000000000000000002.json",
        "snapshots/latest.json names it as the newest snapshot",
        "`kbk backup --ignore-damaged-snapshot 2` continues from snapshot 1",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(repo.segments(), segments);
    let passed = backup(&repo, broker, &topic, &["--ignore-damaged-snapshot", "2"]);
    let report = passed.expect_code(3).json();
    assert_eq!(
        (&report["snapshot"], &report["records"]),
        (&3.into(), &50.into())
    );
    assert_eq!(findings(&report), ["ignored_snapshot"]);
    assert_eq!(
        repo.segments(),
        segments,
        "what snapshot 2 had stored is used again"
    );
    run(&mut repo.kbk(&["verify", "--full", "--snapshot", "all"])).expect_code(0);
    backup(&repo, broker, &topic, &[]).expect_code(0);
}

#[test]
fn a_damaged_table_of_states_is_passed_over_with_all_snapshots_that_name_it() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "states");
    for seed in [3, 4] {
        produce(broker, "none", (&topic, 0), &some(10, seed));
        backup(&repo, broker, &topic, &[]).expect_code(0);
    }
    let second = fs::read(repo.snapshot(2)).expect("readable");
    let second: Value = serde_json::from_slice(&second).expect("JSON");
    let own = &second["runs"][0];
    assert_eq!((&own["from"], &own["to"]), (&json!(2), &json!(2)));
    let name = own["tables"][0]["sha256"].as_str().expect("a name");
    let table = repo.path().join(format!("index/{name}.idx"));
    let intact = fs::read(&table).expect("readable");
    produce(broker, "none", (&topic, 0), &some(25, 2));
    let segments = repo.segments();

    fs::remove_file(&table).expect("removed");
    backup(&repo, broker, &topic, &[]).expect_code(1);
    let mut bytes = intact.clone();
    bytes[40] ^= 1;
    fs::write(&table, &bytes).expect("written");
    let refused = backup(&repo, broker, &topic, &[]).expect_code(1).stderr;
    for words in [
        "the snapshots 2 to 4 cannot be continued",
        name,
        "`kbk backup --ignore-damaged-snapshot 2-4` continues from snapshot 1",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    for args in [&["ls"][..], &["cat", &topic]] {
        run(&mut repo.kbk(args)).expect_code(1);
    }
    run(&mut repo.kbk(&["verify"])).expect_code(3);
    let map = format!("{topic}={topic}-refused");
    for dry_run in [&["--dry-run"][..], &[]] {
        let mut restore = repo.restore(broker, &["--map", &map]);
        let refused = run(restore.args(dry_run)).expect_code(1).stderr;
        assert!(refused.contains(name), "{refused}");
    }
    assert_eq!(repo.segments(), segments);
    assert!(!repo.snapshot(5).exists());

    let args = ["--ignore-damaged-snapshot", "2-4"];
    let passed = backup(&repo, broker, &topic, &args).expect_code(3);
    let report = passed.json();
    assert_eq!(report["snapshot"], 5);
    assert_eq!(findings(&report), ["ignored_snapshot"; 3]);
    assert_eq!(report["records"], 95, "70 of the damaged snapshots, 25 new");
    assert_eq!(repo.segments().len(), segments.len() + 1);
    assert_eq!(repo.verify()["records"], 195);
    repo.verify_by_spec();
    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 195);

    backup(&repo, broker, &topic, &[]).expect_code(0);
    run(&mut repo.kbk(&["verify", "--snapshot", "all"])).expect_code(3);
    fs::write(&table, &intact).expect("written");
    run(&mut repo.kbk(&["verify", "--full", "--snapshot", "all"])).expect_code(0);
}

#[test]
fn a_repository_of_which_no_snapshot_can_be_continued_begins_anew_with_its_segments() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "all-states");
    for table in fs::read_dir(repo.path().join("index")).expect("readable") {
        let table = table.expect("readable").path();
        let mut bytes = fs::read(&table).expect("readable");
        bytes[40] ^= 1;
        fs::write(&table, &bytes).expect("written");
    }
    produce(broker, "none", (&topic, 0), &some(25, 2));
    let segments = repo.segments();

    let refused = backup(&repo, broker, &topic, &[]).expect_code(1).stderr;
    for words in [
        "the snapshots 1 to 2 cannot be continued",
        "`kbk backup --ignore-damaged-snapshot 1-2` begins anew, since no other snapshot is intact",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert_eq!(repo.segments(), segments);

    let args = ["--ignore-damaged-snapshot", "1-2"];
    let anew = backup(&repo, broker, &topic, &args).expect_code(3).json();
    assert_eq!(
        (&anew["snapshot"], &anew["records"]),
        (&json!(3), &json!(175))
    );
    assert_eq!(findings(&anew), ["ignored_snapshot"; 2]);
    assert_eq!(
        repo.segments().len(),
        segments.len() + 1,
        "the others are adopted"
    );
    assert_eq!(repo.verify()["records"], 175);
    repo.verify_by_spec();
    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 175);
}

/// States of topics can be read, but not which segments they have.
#[test]
fn a_damaged_table_of_segments_stops_a_restore_and_a_backup_continues_and_says_so() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "segment-rows");
    let table = ForgedIndex::read(&repo.path(), 2).write_segments_apart(None);
    assert_eq!(repo.verify()["records"], 150);
    let mut bytes = fs::read(repo.path().join(&table)).expect("readable");
    bytes[40] ^= 1;
    fs::write(repo.path().join(&table), &bytes).expect("written");

    for dry_run in [&["--dry-run"][..], &[]] {
        let map = format!("{topic}={topic}-refused");
        let mut restore = repo.restore(broker, &["--map", &map]);
        let refused = run(restore.args(dry_run)).expect_code(1).stderr;
        assert!(refused.contains(&table), "{refused}");
    }
    // Nothing of this topic is printed, which is what it says.
    let printed = run(&mut repo.kbk(&["cat", &topic])).expect_code(3).stderr;
    assert!(printed.contains(&table), "{printed}");
    run(&mut repo.kbk(&["status"])).expect_code(3);
    run(&mut repo.kbk(&["verify"])).expect_code(3);

    produce(broker, "none", (&topic, 0), &some(25, 2));
    let added = backup(&repo, broker, &topic, &[]).expect_code(3);
    assert_eq!(added.json()["records"], 25);
    assert!(findings(&added.json()).contains(&"damaged_objects"));
    assert!(added.stderr.contains("--refresh"), "{}", added.stderr);
}

#[test]
fn nothing_is_added_to_a_repository_whose_segments_are_gone() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "gone");
    let (data, elsewhere) = (repo.path().join("data"), repo.path().join("../elsewhere"));
    produce(broker, "none", (&topic, 0), &some(25, 2));
    for empty in [false, true] {
        fs::rename(&data, &elsewhere).expect("moved");
        if empty {
            fs::create_dir(&data).expect("made");
        }
        let refused = backup(&repo, broker, &topic, &[]).expect_code(1);
        for words in ["data in", "snapshot 2 names objects in it", "mounted"] {
            assert!(
                refused.stderr.contains(words),
                "{words}: {}",
                refused.stderr
            );
        }
        assert!(!repo.snapshot(3).exists());
        if empty {
            fs::remove_dir(&data).expect("still empty");
        }
        fs::rename(&elsewhere, &data).expect("moved back");
    }
    backup(&repo, broker, &topic, &[]).expect_code(0);

    // The folder of one topic of several is a finding, and the others are saved.
    let other = topics::unique("still-there");
    topics::create(broker, &other, 1, &[]);
    produce(broker, "none", (&other, 0), &some(10, 3));
    backup(&repo, broker, &other, &[]).expect_code(0);
    fs::rename(data.join(&topic), &elsewhere).expect("moved");
    produce(broker, "none", (&other, 0), &some(10, 4));
    let report = backup(&repo, broker, &other, &[]).expect_code(3).json();
    assert_eq!(report["records"], 10);
    let missing = json!([{ "finding": "missing_folder", "folder": format!("data/{topic}") }]);
    assert_eq!(report["findings"], missing);
    fs::rename(&elsewhere, data.join(&topic)).expect("moved back");
    repo.verify();
}

/// A backup does not read again what is stored, but it sees what a listing shows. A topic that is stored again needs nothing of the old history,
/// which is neither current nor deleted by the cluster.
#[test]
fn a_backup_reports_damage_that_a_listing_shows_and_refresh_repairs_it() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "lacking");
    let lost = repo.segments().into_keys().next().expect("a segment");
    let elsewhere = repo.path().join("../elsewhere");
    fs::rename(&lost, &elsewhere).expect("moved");

    // With new records and without.
    produce(broker, "none", (&topic, 0), &some(25, 2));
    for records in [25, 0] {
        let damaged = backup(&repo, broker, &topic, &[]).expect_code(3);
        let report = damaged.json();
        assert_eq!(report["records"], records);
        assert_eq!(findings(&report), ["damaged_objects"]);
        assert_eq!(report["findings"][0]["topics"], json!([topic]));
        assert!(damaged.stderr.contains("--refresh"), "{}", damaged.stderr);
    }
    let as_text = ["backup", "-b", broker.bootstrap(), "--topic", &topic];
    let text = run(&mut repo.kbk(&as_text)).expect_code(3).stdout;
    let first = text.lines().next().expect("a line");
    assert!(
        first.starts_with("1 object that earlier backups stored is missing or damaged"),
        "{text}"
    );
    let verified = run(&mut repo.kbk(&["verify", "--json"]))
        .expect_code(3)
        .json();
    let hint = verified["findings"][0]["hint"].as_str().expect("a hint");
    assert!(
        hint.contains(&format!("kbk backup --refresh --topic {topic}")),
        "{hint}"
    );

    let refreshed = backup(&repo, broker, &topic, &["--refresh"])
        .expect_code(0)
        .json();
    assert_eq!(refreshed["records"], 175);
    backup(&repo, broker, &topic, &[]).expect_code(0);
    run(&mut repo.kbk(&["status"])).expect_code(0);
    let listed = run(&mut repo.kbk(&["ls"])).expect_code(0).stdout;
    assert!(listed.contains("  replaced"), "{listed}");
    let rows = run(&mut repo.kbk(&["ls", "--json"])).expect_code(0).json();
    let replaced = |row: &Value| row["replaced_in"] == refreshed["snapshot"];
    let rows = rows["topics"].as_array().expect("rows");
    assert_eq!(rows.iter().filter(|row| replaced(row)).count(), 1);

    let verified = run(&mut repo.kbk(&["verify"])).expect_code(3).stdout;
    let says = "1 finding, all in history that was replaced: what the topics have now is intact";
    assert!(verified.contains(says), "{verified}");
    let accepted = run(&mut repo.kbk(&["verify", "--full", "--accept-replaced"]));
    let accepted = accepted.expect_code(0).stdout;
    assert!(
        accepted.contains("1 finding in history that was replaced is accepted"),
        "{accepted}"
    );
    // It is what an older snapshot restores.
    let older = ["verify", "--accept-replaced", "--snapshot", "5"];
    run(&mut repo.kbk(&older)).expect_code(3);
    fs::rename(&elsewhere, &lost).expect("moved back");
    repo.verify();
}

/// Returns the texts in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// To resume would fail at the same place again; what is before the damage and after it can be restored all the same.
#[test]
fn a_restore_that_meets_damage_says_how_to_restore_what_is_around_it() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "around");
    produce(broker, "none", (&topic, 0), &some(25, 2));
    backup(&repo, broker, &topic, &[]).expect_code(0);
    let damaged = repo.segments().into_keys().nth(1).expect("three segments");
    let mut bytes = fs::read(&damaged).expect("readable");
    bytes[700] ^= 1;
    fs::write(&damaged, bytes).expect("written");
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restore = |args: &[&str]| {
        let names = ["--topic", &topic, "--map", &map];
        run(&mut repo.restore(broker, &[&names, args].concat()))
    };
    let failed = restore(&[]).expect_code(1).json();
    let step = failed["error"]["next_step"].as_str().expect("a step");
    assert!(step.contains("offsets 100 to 150 (exclusive)"), "{step}");
    let quoted = quoted(step);
    let discard = quoted
        .iter()
        .find_map(|text| text.strip_prefix("kbk restores discard "));
    let name = discard.expect("it ends");
    // Where even the plan to resume it cannot be made, and where a cluster is compared.
    let intact = fs::read(&damaged).expect("readable");
    fs::write(&damaged, &intact[..intact.len() - 1]).expect("written");
    let resume = ["restore", "--resume", name, "-b", broker.bootstrap()];
    let failed = run(&mut repo.kbk(&resume)).expect_code(1).stderr;
    for words in [
        format!("with an intact copy in its place, `kbk restore --resume {name}`"),
        format!("`kbk restores discard {name}` ends this restore"),
    ] {
        assert!(failed.contains(&words), "{words}: {failed}");
    }
    fs::write(&damaged, &intact).expect("written");
    let diff = [
        "diff",
        "--live",
        "--topic",
        &topic,
        "-b",
        broker.bootstrap(),
    ];
    let failed = run(&mut repo.kbk(&diff)).expect_code(1).stderr;
    assert!(failed.contains("--offsets FILE"), "{failed}");
    let discard = ["restores", "discard", name, "-b", broker.bootstrap()];
    run(&mut repo.kbk(&discard)).expect_code(0);
    let lines = quoted
        .iter()
        .filter(|text| text.starts_with(&topic) && text.contains(','));
    let files = lines.enumerate().map(|(number, line)| {
        let file = repo.path().join(format!("../{number}.csv"));
        fs::write(&file, line).expect("written");
        file.display().to_string()
    });
    let [before, after] = &files.collect::<Vec<_>>()[..] else {
        panic!("two lines: {step}");
    };
    let names = ["--map", &map];
    for (file, args, records) in [
        (before, &["--purge-target", "--yes"][..], 100),
        (after, &["--append"], 25),
    ] {
        let args = [&names, &["--offsets", file][..], args].concat();
        let restored = run(&mut repo.restore(broker, &args)).expect_code(0).json();
        assert_eq!(restored["records"], records);
    }
    assert_eq!(consume::read_all(broker, &target, 0).len(), 125);
}

/// Nothing is left to be written, so an intact copy is needed only to compare.
#[test]
fn a_restore_that_can_only_not_be_compared_is_finished_without_that() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots_of(broker, "uncompared", [100, 500]);
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    // The first run ends after it has committed the first segment.
    let slow = [
        "--topic",
        &topic,
        "--map",
        &map,
        "--rate-limit-records",
        "50",
        "-X",
        "linger.ms=5",
    ];
    let running = Running::spawn(&mut repo.restore(broker, &slow));
    running.wait_until("the records of the first segment", || {
        let begun = consume::partitions(broker, &target) > 0;
        (begun && consume::bounds(broker, &target, 0)[2] > 100).then_some(())
    });
    running.signal(libc::SIGINT);
    running.finish().expect_code(130);
    let damaged = repo.segments().into_keys().next().expect("two segments");
    let intact = fs::read(&damaged).expect("readable");
    let mut bytes = intact.clone();
    bytes[700] ^= 1;
    fs::write(&damaged, bytes).expect("written");
    let resume = |args: &[&str]| {
        let args = [&["--resume", "--rate-limit-records", "100000"], args].concat();
        run(&mut repo.restore(broker, &args))
    };
    let failed = resume(&["--verify"]).expect_code(1).json();
    let message = failed["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("every record is written"), "{message}");
    let step = failed["error"]["next_step"].as_str().expect("a step");
    let finishes = quoted(step)[0].strip_prefix("kbk restore --resume ");
    assert!(finishes.is_some() && !step.contains("discard"), "{step}");
    let finished = resume(&[]).expect_code(0).json();
    assert_eq!(finished["records"], 600);
    assert_eq!(consume::read_all(broker, &target, 0).len(), 600);
    fs::write(&damaged, &intact).expect("written");
    let diff = ["diff", "--live", "--map", &map, "-b", broker.bootstrap()];
    run(&mut repo.kbk(&diff)).expect_code(0);
}

#[test]
fn files_of_killed_runs_do_not_stay_for_ever() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "litter");
    let segment = repo.segments().into_keys().next().expect("a segment");
    let name = |number: u32| format!("{}#{number}", segment.display());
    for number in [1, 2] {
        fs::write(name(number), [7; 1000]).expect("written");
    }
    let file = fs::File::options()
        .write(true)
        .open(name(1))
        .expect("there");
    let week_ago = SystemTime::now() - Duration::from_secs(7 * 86_400);
    file.set_modified(week_ago).expect("set");
    let report = backup(&repo, broker, &topic, &[]).expect_code(0).json();
    assert_eq!(
        report["findings"],
        json!([{ "finding": "removed_unfinished", "files": 1, "bytes": 1000 }])
    );
    let left = [1, 2].map(|number| fs::exists(name(number)).expect("known"));
    assert_eq!(left, [false, true], "a recent one may still be written");
    repo.verify();
}

#[test]
fn a_damaged_backup_is_recovered_restored_and_continued() {
    let broker = Broker::shared();
    let (repo, topic) = two_snapshots(broker, "recovered");
    produce(broker, "none", (&topic, 0), &some(30, 5));
    backup(&repo, broker, &topic, &[]).expect_code(0);
    // The first segment is gone, and the last one damaged.
    let files: Vec<_> = repo.segments().into_keys().collect();
    fs::remove_file(&files[0]).expect("removed");
    let mut bytes = fs::read(&files[2]).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[2], &bytes).expect("written");

    let report = repo.path().join("../lost.json");
    let report = report.to_str().expect("text");
    let args = ["recover", "--yes", "--report", report, "--json"];
    let done = run(&mut repo.kbk(&args)).expect_code(3).json();
    assert_eq!(done["recovered"].as_array().map(Vec::len), Some(2));
    let lost = done["lost_records"].as_u64().expect("a number");
    assert!((100..=130).contains(&lost), "{done}");
    let left = 180 - lost;
    assert_eq!(fs::read(&files[2]).expect("it stays"), bytes);
    repo.verify_by_spec();

    // Nothing restores it as if it were whole.
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let refused = run(&mut repo.restore(broker, &["--map", &map])).expect_code(1);
    assert!(refused.stderr.contains("is partial"), "{}", refused.stderr);
    let mut restore = repo.restore(broker, &["--map", &map, "--allow-partial", "--verify"]);
    let restored = run(&mut restore).expect_code(3).json();
    assert_eq!(restored["saved"]["complete"], false);
    assert_eq!(consume::read_all(broker, &target, 0).len() as u64, left);

    // The cluster still has all of it: the log is the same, what is new is appended, and what is lost stays lost.
    produce(broker, "none", (&topic, 0), &some(20, 7));
    let next = backup(&repo, broker, &topic, &[]).expect_code(0).json();
    assert_eq!(next["complete"], false);
    assert_eq!(
        (&next["records"], &next["snapshot"]),
        (&json!(20), &json!(5))
    );
    assert_eq!(next["incomplete"][0]["reason"], "damaged");
    run(&mut repo.kbk(&["verify", "--full"])).expect_code(3);
    run(&mut repo.kbk(&["verify", "--full", "--accept-lost"])).expect_code(0);

    // What the cluster has and the backup lost is a loss, and no difference.
    let diff = ["diff", "--live", "--json", "--topic", &topic];
    let mut diff = repo.kbk(&[&diff[..], &["-b", broker.bootstrap()]].concat());
    let compared = run(&mut diff).expect_code(3).json();
    assert_eq!(compared["saved"]["complete"], false);
    let one = &compared["partitions"][0];
    let counts = ["differences", "damaged_records", "expected", "found"].map(|it| &one[it]);
    let found = 200 - lost;
    assert_eq!(
        counts,
        [&json!(0), &json!(lost), &json!(found), &json!(found)]
    );

    // Stored again, it is whole.
    backup(&repo, broker, &topic, &["--refresh"]).expect_code(0);
    run(&mut repo.kbk(&["verify", "--full", "--accept-replaced"])).expect_code(0);
    let target = format!("{topic}-whole");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 200);
    repo.verify_by_spec();
}
