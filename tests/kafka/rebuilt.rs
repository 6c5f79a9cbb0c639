//! A repository that has lost its whole index is built anew from its segments, and a backup makes it whole.

use std::fs;

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const PARTITIONS: i32 = 2;

fn some(count: usize, seed: u64) -> Vec<Message> {
    samples::mixed(seed).take(count).collect()
}

#[test]
fn a_repository_without_an_index_is_rebuilt_restored_and_continued() {
    let broker = Broker::shared();
    let topic = topics::unique("rebuilt");
    topics::create(broker, &topic, PARTITIONS, &[("retention.ms", "-1")]);
    let repo = Repo::new();
    let backup =
        |args: &[&str]| run(&mut repo.backup(broker, &[&["--topic", &topic], args].concat()));
    for (count, seed) in [(100, 1), (50, 2), (7, 3)] {
        for partition in 0..PARTITIONS {
            produce(broker, "none", (&topic, partition), &some(count, seed));
        }
        backup(&[]).expect_code(0);
    }
    let segments = repo.segments();
    for name in ["index", "snapshots", "cluster"] {
        fs::remove_dir_all(repo.path().join(name)).expect("removed");
    }
    fs::remove_file(repo.path().join("kbk.json")).expect("removed");
    let refused = backup(&[]).expect_code(1).stderr;
    assert!(refused.contains("kbk recover --rebuild"), "{refused}");

    let rebuilt = run(&mut repo.kbk(&["recover", "--rebuild", "--json"])).expect_code(0);
    let rebuilt = rebuilt.json();
    assert_eq!(rebuilt["records"], 157 * 2);
    assert_eq!(rebuilt["complete"], false);
    assert_eq!(repo.segments(), segments, "all are named as they are");
    let by_spec = repo.verify_by_spec();
    assert_eq!(by_spec["records"], 157 * 2);
    run(&mut repo.kbk(&["verify", "--full"])).expect_code(3);

    // What is not known is said, and nothing is restored that is not asked for as partial.
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let refused = run(&mut repo.restore(broker, &["--map", &map]))
        .expect_code(1)
        .stderr;
    assert!(
        refused.contains("the index was rebuilt from the segments"),
        "{refused}"
    );
    let bootstrap = broker.bootstrap();
    let args = ["restore", "-b", bootstrap, "--map", &map, "--allow-partial"];
    let restored = run(&mut repo.kbk(&args)).expect_code(3);
    assert!(
        restored.stdout.contains("no configuration of"),
        "{}",
        restored.stdout
    );
    assert_eq!(
        consume::assert_same(broker, (&topic, &target), PARTITIONS),
        157 * 2
    );

    // The next backup continues at the last offset, and completes it.
    for partition in 0..PARTITIONS {
        produce(broker, "none", (&topic, partition), &some(20, 4));
    }
    let next = backup(&[]).expect_code(0).json();
    assert_eq!(
        (&next["records"], &next["complete"]),
        (&40.into(), &true.into())
    );
    assert_eq!(repo.verify()["records"], 177 * 2);
    repo.verify_by_spec();
    let target = format!("{topic}-again");
    repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(
        consume::assert_same(broker, (&topic, &target), PARTITIONS),
        177 * 2
    );
    let status = run(&mut repo.kbk(&["status", "--no-cluster"]));
    status.expect_code(0);
}

#[test]
fn what_is_lost_in_the_middle_stays_lost_and_the_end_is_read_again() {
    let broker = Broker::shared();
    for is_end_damaged in [false, true] {
        let topic = topics::unique("rebuilt-damaged");
        topics::create(broker, &topic, 1, &[]);
        let repo = Repo::new();
        let backup = || run(&mut repo.backup(broker, &["--topic", &topic]));
        for (count, seed) in [(100, 1), (50, 2), (30, 3)] {
            produce(broker, "none", (&topic, 0), &some(count, seed));
            backup().expect_code(0);
        }
        let segments: Vec<_> = repo.segments().into_keys().collect();
        let [_, second, third] = &segments[..] else {
            panic!("{segments:?}")
        };
        fs::remove_file(second).expect("removed");
        if is_end_damaged {
            fs::write(third, []).expect("written");
        }
        fs::remove_dir_all(repo.path().join("snapshots")).expect("removed");
        let rebuilt = run(&mut repo.kbk(&["recover", "--rebuild", "--yes", "--json"]));
        let rebuilt = rebuilt.expect_code(3).json();
        let next = backup().expect_code(0).json();
        let verified = run(&mut repo.kbk(&["verify", "--json"]));
        let (left, read, complete, records) = match is_end_damaged {
            // Nothing follows the hole: the cluster still has what was in it.
            true => (100, 80, true, 180),
            false => (130, 0, false, 130),
        };
        assert_eq!(rebuilt["records"], left);
        assert_eq!(
            (&next["records"], &next["complete"]),
            (&read.into(), &complete.into())
        );
        let verified = verified.expect_code(if complete { 0 } else { 3 }).json();
        assert_eq!(verified["records"], records);
        assert_eq!(verified["damaged_offsets"], if complete { 0 } else { 50 });
        repo.verify_by_spec();
    }
}

#[test]
fn a_lost_beginning_keeps_the_snapshots_partial_until_the_topic_is_stored_again() {
    let broker = Broker::shared();
    let topic = topics::unique("rebuilt-beginning");
    topics::create(broker, &topic, 1, &[]);
    let repo = Repo::new();
    let backup =
        |args: &[&str]| run(&mut repo.backup(broker, &[&["--topic", &topic], args].concat()));
    for (count, seed) in [(100, 1), (50, 2)] {
        produce(broker, "none", (&topic, 0), &some(count, seed));
        backup(&[]).expect_code(0);
    }
    let segments: Vec<_> = repo.segments().into_keys().collect();
    fs::remove_file(&segments[0]).expect("removed");
    for name in ["index", "snapshots"] {
        fs::remove_dir_all(repo.path().join(name)).expect("removed");
    }
    run(&mut repo.kbk(&["recover", "--rebuild", "--yes"])).expect_code(0);
    // Twice, since the first one might remember what the second one does not.
    for (count, seed) in [(20, 3), (0, 4)] {
        produce(broker, "none", (&topic, 0), &some(count, seed));
        let next = backup(&[]).expect_code(0).json();
        assert_eq!(next["complete"], false);
        let verified = run(&mut repo.kbk(&["verify"])).expect_code(3).stdout;
        assert!(verified.contains("begin at offset 100"), "{verified}");
        let next = format!("next: kbk backup --refresh --topic {topic} -r ");
        assert!(verified.contains(&next), "{verified}");
        repo.verify_by_spec();
    }
    let stored_again = backup(&["--refresh"]).expect_code(0).json();
    assert_eq!(stored_again["complete"], true);
    run(&mut repo.kbk(&["verify", "--accept-replaced"])).expect_code(0);
    let counted = run(&mut repo.kbk(&["grep", &topic, "--count"])).expect_code(0);
    assert_eq!(counted.stdout.trim(), "170");
}
