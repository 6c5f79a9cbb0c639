//! A restore with a partition map: every record is in the mapped partition, and groups follow.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::groups::{commit, committed};
use crate::support::process::{Running, run};
use crate::support::produce::produce_bulk;
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, offset_map, samples, topics};

const PARTITIONS: i32 = 4;

/// Creates a topic of four partitions with the given number of records, and backs it up.
fn saved(broker: &Broker, name: &str, records: usize) -> (String, Repo) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, PARTITIONS, &[]);
    let records = samples::documents(1).take(records);
    produce_bulk(broker, "lz4", (&topic, PARTITIONS), records);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    (topic, repo)
}

fn read(broker: &Broker, topic: &str, partition: i32) -> Vec<Message> {
    messages(consume::read_all(broker, topic, partition))
}

/// Fails the test unless, for each pair, partition `pair.0` of the topic equals partition `pair.1` of the target, and the target's
/// other partitions are empty.
#[track_caller]
fn assert_mapped(broker: &Broker, (topic, target): (&str, &str), pairs: &[(i32, i32)]) {
    for partition in 0..consume::partitions(broker, target) {
        let found = read(broker, target, partition);
        match pairs.iter().find(|(_, to)| *to == partition) {
            Some((from, _)) => {
                assert!(found == read(broker, topic, *from), "{from} in {partition}")
            }
            None => assert!(found.is_empty(), "{partition}"),
        }
    }
}

#[test]
fn partitions_are_mapped_and_groups_follow() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "partition-map", 2_000);
    let group = topics::unique("mapped-group");
    let at = [
        (&*topic, 0, 100, "zero"),
        (&*topic, 1, 200, ""),
        (&*topic, 3, 300, "three"),
    ];
    commit(broker, &group, &at);
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);

    let target = topics::unique("mapped");
    let map = format!("{topic}={target}");
    let args = ["--map", &map, "--partition-map", "0:3,3:5"];
    let dry = [&args[..], &["--dry-run"]].concat();
    let plan = run(&mut repo.restore(broker, &dry)).expect_code(0).json();
    assert_eq!(plan["topics"][0]["action"]["partitions"], 6);
    let planned = plan["topics"][0]["partitions"]
        .as_array()
        .expect("an array");
    let targets: Vec<_> = planned
        .iter()
        .map(|plan| plan["target_partition"].clone())
        .collect();
    assert_eq!(targets, [3, 1, 2, 5].map(|target| json!(target)));
    let shown = repo.kbk(&[&["restore", "-b", broker.bootstrap()][..], &dry].concat());
    let shown = run(&mut { shown }).expect_code(0).stdout;
    assert!(
        shown.contains("0 -> 3") && shown.contains("3 -> 5"),
        "{shown}"
    );
    assert!(
        shown.contains(&format!("{target} (new, 6 partitions)")),
        "{shown}"
    );

    let whole = [&args[..], &["--verify", "--groups", &group]].concat();
    let report = run(&mut repo.restore(broker, &whole)).expect_code(0).json();
    assert_eq!(report["records"], 2_000);
    let pairs = [(0, 3), (1, 1), (2, 2), (3, 5)];
    assert_mapped(broker, (&topic, &target), &pairs);
    let restore = report["restore"].as_str().expect("a name");
    offset_map::assert_exact_at(broker, &repo, restore, (&topic, &target), &pairs);
    let found = committed(
        broker,
        &group,
        &[(&target, 3), (&target, 1), (&target, 5), (&target, 0)],
    );
    // The source has no gaps, so an offset counts the records before it; transactions leave markers in the target.
    let there =
        |partition, index: usize| Some(consume::read_all(broker, &target, partition)[index].offset);
    let expected = [
        (there(3, 100), "zero".to_owned()),
        (there(1, 200), String::new()),
        (there(5, 300), "three".to_owned()),
        (None, String::new()),
    ];
    assert_eq!(found, expected);
    repo.verify();

    let diff = |args: &[&str], code| {
        let args = [
            &["diff", "--live", "-b", broker.bootstrap(), "--map", &map],
            args,
        ]
        .concat();
        run(&mut repo.kbk(&args)).expect_code(code)
    };
    diff(&["--partition-map", "0:3,3:5"], 0);
    diff(&["--partition", "0,1", "--partition-map", "0:3"], 0);
    diff(&["--partition", "0", "--partition-map", "0:1"], 3);
    let absent = diff(&["--partition", "0", "--partition-map", "0:6"], 1);
    assert!(
        absent.stderr.contains("has 6 partitions, numbered from 0"),
        "{absent:#?}"
    );

    // Appends only selected records to the existing target.
    let args = [
        "--map",
        &map,
        "--partition",
        "2",
        "--partition-map",
        "2:0",
        "--append",
        "--verify",
    ];
    run(&mut repo.restore(broker, &args)).expect_code(0);
    assert_mapped(
        broker,
        (&topic, &target),
        &[(2, 0), (0, 3), (1, 1), (2, 2), (3, 5)],
    );
}

#[test]
fn impossible_maps_are_rejected_by_name() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "bad-map", 40);
    let small = topics::unique("small");
    topics::create(broker, &small, 2, &[]);
    let refused = |args: &[&str], code, says: &str| {
        let failed = run(&mut repo.restore(broker, args)).expect_code(code);
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    };
    let says = format!("{topic}/0 and {topic}/3 would both be written to partition 3");
    refused(&["--partition-map", "0:3"], 1, &says);
    let says = format!("names partition 4, and {topic} has 4");
    refused(&["--partition-map", "4:5"], 1, &says);
    refused(
        &["--partition", "1", "--partition-map", "0:3"],
        1,
        "is not among the selected ones",
    );
    refused(
        &["--partition-map", "0:1,1:1"],
        2,
        "both mapped to partition 1",
    );
    let map = format!("{topic}={small}");
    let args = [
        "--map",
        &map,
        "--partition",
        "0,1",
        "--partition-map",
        "0:2",
    ];
    refused(&args, 1, "so it has no partition 2 to write to");
    refused(
        &["--map", &map, "--partition", "0,1"],
        1,
        "has 2 partitions and the backup has 4",
    );
    let args = [
        "--map",
        &map,
        "--partition",
        "2,3",
        "--partition-map",
        "2:1,3:0",
    ];
    run(&mut repo.restore(broker, &args)).expect_code(0);
    assert_mapped(broker, (&topic, &small), &[(2, 1), (3, 0)]);
}

#[test]
fn a_restore_with_a_partition_map_is_resumed() {
    let broker = Broker::shared();
    let (topic, repo) = saved(broker, "resumed-map", 4_000);
    let target = topics::unique("resumed-map");
    let map = format!("{topic}={target}");
    let args = ["--map", &map, "--partition-map", "0:1,1:2,2:3,3:0"];
    let slow = [&args[..], &["--rate-limit-records", "100"]].concat();
    let running = Running::spawn(&mut repo.restore(broker, &slow));
    running.wait_until("the first records", || {
        let there = consume::partitions(broker, &target) > 0
            && (0..PARTITIONS).any(|at| consume::offsets(broker, &target, at).end > 0);
        there.then_some(())
    });
    running.signal(libc::SIGTERM);
    let stopped = running.finish().expect_code(143).json();
    assert!(stopped["records"].as_u64() < Some(4_000));
    let restore = stopped["restore"].as_str().expect("a name");
    let resume = [
        "--resume",
        restore,
        "--rate-limit-records",
        "1000000",
        "--verify",
    ];
    let report = run(&mut repo.restore(broker, &resume))
        .expect_code(0)
        .json();
    assert_eq!(report["records"], 4_000);
    let pairs = [(0, 1), (1, 2), (2, 3), (3, 0)];
    assert_mapped(broker, (&topic, &target), &pairs);
    offset_map::assert_exact_at(broker, &repo, restore, (&topic, &target), &pairs);
}
