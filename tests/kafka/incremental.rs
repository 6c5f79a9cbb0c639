//! A second backup adds all new records and nothing else, and names what the cluster no longer
//! has.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

fn some(count: usize, seed: u64) -> Vec<Message> {
    samples::mixed(seed).take(count).collect()
}

fn backup(repo: &Repo, broker: &Broker, pattern: &str, code: i32) -> Value {
    let finished = run(&mut repo.backup(broker, &["--topic", pattern]));
    finished.expect_code(code).json()
}

#[test]
fn a_second_backup_adds_only_new_records() {
    let broker = Broker::shared();
    let topic = topics::unique("growing");
    topics::create(broker, &topic, 3, &[]);
    produce_bulk(broker, "none", (&topic, 2), some(1000, 1));
    let repo = Repo::new();
    let first = backup(&repo, broker, &topic, 0);
    let before = repo.segments();
    assert_eq!(
        (&first["records"], &first["segments"]),
        (&json!(1000), &json!(2))
    );
    assert_eq!(first["stored_bytes"], before.values().sum::<u64>());

    let nothing = backup(&repo, broker, &topic, 0);
    assert_eq!(
        (&nothing["records"], &nothing["segments"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(nothing["stored_bytes"], 0);
    assert_eq!(repo.segments(), before);

    produce(broker, "gzip", (&topic, 1), &some(300, 2));
    let third = backup(&repo, broker, &topic, 0);
    assert_eq!(
        (&third["records"], &third["segments"]),
        (&json!(300), &json!(1))
    );
    let mut added = repo.segments();
    assert!(
        before
            .iter()
            .all(|(path, &bytes)| added.remove(path) == Some(bytes))
    );
    assert_eq!(added.len(), 1);
    assert_eq!(third["stored_bytes"], added.values().sum::<u64>());
    assert_eq!(repo.verify()["records"], 1300);
    let target = format!("{topic}-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 3), 1300);
}

#[test]
fn new_partitions_and_new_topics_are_backed_up() {
    let broker = Broker::shared();
    let old = topics::unique("seen");
    let (pattern, new) = (format!("{old}*"), format!("{old}-new"));
    topics::create(broker, &old, 1, &[]);
    produce(broker, "none", (&old, 0), &some(100, 1));
    let repo = Repo::new();
    backup(&repo, broker, &pattern, 0);

    topics::add_partitions(broker, &old, 3);
    produce(broker, "none", (&old, 2), &some(50, 2));
    topics::create(broker, &new, 2, &[]);
    produce(broker, "none", (&new, 1), &some(70, 3));
    let second = backup(&repo, broker, &pattern, 0);
    assert_eq!(
        (&second["topics"], &second["partitions"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(
        (&second["records"], &second["segments"]),
        (&json!(120), &json!(2))
    );
    repo.verify();
    for (topic, partitions) in [(&old, 3), (&new, 2)] {
        let target = format!("{topic}-restored");
        repo.restore_as(broker, &[(topic, &target)]);
        consume::assert_same(broker, (topic, &target), partitions);
        assert_eq!(consume::partitions(broker, &target), partitions);
    }
}

#[test]
fn a_recreated_topic_is_kept_beside_the_old_one() {
    let broker = Broker::shared();
    let topic = topics::unique("again");
    let pattern = format!("{topic}*");
    topics::create(broker, &format!("{topic}-other"), 1, &[]);
    topics::create(broker, &topic, 1, &[]);
    let (old, new) = (some(500, 1), some(200, 2));
    produce(broker, "none", (&topic, 0), &old);
    let repo = Repo::new();
    backup(&repo, broker, &pattern, 0);

    topics::delete(broker, &topic);
    topics::create(broker, &topic, 1, &[]);
    produce(broker, "none", (&topic, 0), &new);
    let second = backup(&repo, broker, &pattern, 0);
    assert_eq!(second["records"], 200);
    assert_eq!(
        second["findings"],
        json!([{ "finding": "recreated", "topic": topic }])
    );

    topics::delete(broker, &topic);
    let third = backup(&repo, broker, &pattern, 0);
    assert_eq!(
        third["findings"],
        json!([{ "finding": "deleted", "topic": topic }])
    );
    assert_eq!(repo.verify()["records"], 700);

    // A deleted topic can be restored by name, in its last state and as of any snapshot.
    for (snapshot, expected) in [("1", &old), ("2", &new), ("latest", &new)] {
        let target = format!("{topic}-of-{snapshot}");
        let map = format!("{topic}={target}");
        let args = ["--topic", &topic, "--map", &map, "--snapshot", snapshot];
        run(&mut repo.restore(broker, &args)).expect_code(0);
        let restored = messages(consume::read_all(broker, &target, 0));
        assert!(restored == *expected, "snapshot {snapshot}");
    }
}

#[test]
fn records_deleted_before_they_were_backed_up_are_a_recorded_loss() {
    let broker = Broker::shared();
    let topic = topics::unique("overtaken");
    topics::create(broker, &topic, 1, &[]);
    let all = some(200, 1);
    produce(broker, "none", (&topic, 0), &all[..100]);
    let repo = Repo::new();
    backup(&repo, broker, &topic, 0);

    produce(broker, "none", (&topic, 0), &all[100..]);
    topics::delete_records(broker, (&topic, 0), 150);
    let second = backup(&repo, broker, &topic, 3);
    let lost = json!([{
        "finding": "unproved", "topic": topic, "partition": 0, "stored_end_offset": 100, "reason": "retention"
    }, {
        "finding": "lost", "topic": topic, "partition": 0, "base_offset": 100, "end_offset": 150
    }]);
    assert_eq!(second["findings"], lost);
    assert_eq!(second["records"], 50);
    repo.verify_by_spec();
    let verified = run(&mut repo.kbk(&["verify", "--json"]))
        .expect_code(3)
        .json();
    assert_eq!(verified["lost_offsets"], 50);
    assert_eq!(
        verified["findings"][0]["offsets"],
        json!({ "base_offset": 100, "end_offset": 150 })
    );
    run(&mut repo.kbk(&["verify", "--accept-lost"])).expect_code(0);
    assert_eq!(backup(&repo, broker, &topic, 0)["findings"], json!([]));

    let offsets = repo
        .read_by_spec(&topic, 0)
        .into_iter()
        .map(|(offset, _)| offset);
    assert!(offsets.eq((0..100).chain(150..200)));
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restore = ["restore", "-b", broker.bootstrap(), "--map", &map];
    let says = "50 offsets of the selection are in no backup";
    for dry_run in [true, false] {
        let mut command = repo.kbk(&restore);
        if dry_run {
            command.arg("--dry-run");
        }
        let shown = run(&mut command).expect_code(0).stdout;
        assert!(shown.contains(says), "{shown}");
    }
    let restored = messages(consume::read_all(broker, &target, 0));
    assert!(restored == [&all[..100], &all[150..]].concat());
    // A selection without them says nothing.
    let later = format!("{topic}-later");
    let map = format!("{topic}={later}");
    let file = repo.path().with_file_name("later.csv");
    std::fs::write(&file, format!("{topic},0,120,\n")).expect("a file");
    let args = [
        "--offsets",
        file.to_str().expect("UTF-8"),
        "--map",
        &map,
        "--dry-run",
    ];
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
    assert_eq!(report["lost_offsets"], 30, "{report}");
    std::fs::write(&file, format!("{topic},0,150,\n")).expect("a file");
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
    assert_eq!(report["lost_offsets"], 0, "{report}");
}

#[test]
fn a_log_that_ends_below_the_backup_is_stored_beside_it() {
    let mut broker = Broker::start(&[]);
    topics::create(&broker, "cut", 1, &[]);
    let old = some(100, 1);
    produce(&broker, "none", ("cut", 0), &old);
    let repo = Repo::new();
    backup(&repo, &broker, "cut", 0);

    broker.stop();
    broker.remove_log("cut", 0);
    broker.restart();
    let new = some(30, 2);
    produce(&broker, "none", ("cut", 0), &new);
    let second = backup(&repo, &broker, "cut", 3);
    let diverged = json!([{
        "finding": "diverged", "topic": "cut", "partition": 0, "offset": 0, "stored_end_offset": 100,
        "high_watermark": 30, "truncated_epoch": null
    }]);
    assert_eq!(second["findings"], diverged);
    assert_eq!(second["records"], 30);
    assert_eq!(
        repo.verify()["records"],
        130,
        "stored segments stay unchanged"
    );
    let kept = repo
        .read_by_spec("cut", 0)
        .into_iter()
        .map(|(_, message)| message);
    assert!(kept.eq(new));
}
