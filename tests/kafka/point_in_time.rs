//! `--since` and `--until` apply to the records' own timestamps, whatever their offsets.

use std::ops::RangeInclusive;

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::{consume, samples, topics};

const PARTITIONS: i32 = 4;
const DAY_MS: u64 = 86_400_000;

#[test]
fn exactly_the_records_in_the_time_range_are_restored() {
    let broker = Broker::shared();
    let topic = topics::unique("shuffled");
    topics::create(broker, &topic, PARTITIONS, &[]);
    let now = samples::now_ms();
    produce_bulk(
        broker,
        "lz4",
        (&topic, PARTITIONS),
        samples::mixed(1).take(40_000),
    );
    let repo = Repo::new();
    // With small blocks, every bound cuts most of them.
    let args = [
        "--topic",
        &topic,
        "--block-size",
        "64KiB",
        "--segment-size",
        "1MiB",
    ];
    run(&mut repo.backup(broker, &args)).expect_code(0);
    let source: Vec<_> = (0..PARTITIONS)
        .map(|partition| messages(consume::read_all(broker, &topic, partition)))
        .collect();

    let mut random = Random::new(2);
    let mut anywhere = || now - random.below(DAY_MS).cast_signed();
    let an_hour = anywhere();
    let a_record_s_own = source[1][777].timestamp;
    let ranges = [
        i64::MIN..=a_record_s_own,
        i64::MIN..=a_record_s_own - 1,
        a_record_s_own..=a_record_s_own,
        i64::MIN..=anywhere(),
        anywhere()..=i64::MAX,
        an_hour..=an_hour + 3_600_000,
        i64::MIN..=now - 2 * DAY_MS.cast_signed(),
        i64::MIN..=now + DAY_MS.cast_signed(),
    ];
    for times in ranges {
        let expected: Vec<_> = source
            .iter()
            .map(|records| within(records, &times))
            .collect();
        check(broker, &repo, &topic, &times, &expected);
    }
}

/// Selects the records by brute force.
fn within(records: &[Message], times: &RangeInclusive<i64>) -> Vec<Message> {
    let meant = |record: &&Message| times.contains(&record.timestamp);
    records.iter().filter(meant).cloned().collect()
}

fn check(
    broker: &Broker,
    repo: &Repo,
    topic: &str,
    times: &RangeInclusive<i64>,
    expected: &[Vec<Message>],
) {
    let target = topics::unique("at-a-time");
    let map = format!("{topic}={target}");
    let (since, until) = (
        format!("@{}ms", times.start()),
        format!("@{}ms", times.end()),
    );
    let mut args = vec!["--map", &map];
    if *times.start() > i64::MIN {
        args.extend(["--since", &since]);
    }
    if *times.end() < i64::MAX {
        args.extend(["--until", &until]);
    }
    let dry = [&args[..], &["--dry-run"]].concat();
    let plan = run(&mut repo.restore(broker, &dry)).expect_code(0).json();
    assert_eq!(
        consume::partitions(broker, &target),
        0,
        "a dry run creates no topic"
    );
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();

    let planned = plan["topics"][0]["partitions"]
        .as_array()
        .expect("partitions");
    for ((expected, planned), partition) in expected.iter().zip(planned).zip(0..) {
        assert_eq!(
            planned["records"],
            expected.len(),
            "{times:?} of {partition}"
        );
        assert_eq!(planned["records_exact"], true);
        let restored = messages(consume::read_all(broker, &target, partition));
        assert!(restored == *expected, "{times:?} of {partition}");
    }
    assert_eq!(
        report["records"],
        expected.iter().map(Vec::len).sum::<usize>()
    );
}

#[test]
fn a_time_before_all_records_is_a_warning() {
    let broker = Broker::shared();
    let topic = topics::unique("too-early");
    topics::create(broker, &topic, 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(10).collect();
    produce(broker, "none", (&topic, 0), &records);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let map = format!("{topic}={topic}-none");
    let restore = ["--topic", &topic, "--map", &map, "--dry-run"];
    let planned = run(&mut repo.restore(broker, &restore)).expect_code(0);
    assert_eq!(planned.stderr, "");
    let early = [&restore[..], &["--until", "1971-01-01T00:00:00Z"]].concat();
    let planned = run(&mut repo.restore(broker, &early)).expect_code(0);
    let says = format!("no record is selected for 1 topic, which would be empty: {topic}-none");
    assert!(planned.stderr.contains(&says), "{}", planned.stderr);
}
