//! Every command of docs/how-to.md works exactly as it is written, and does what the page says.

use std::process::Command;

use crate::support::broker::Broker;
use crate::support::groups::commit;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const PAGE: &str = include_str!("../../docs/how-to.md");
const PARTITIONS: i32 = 4;
const PER_PARTITION: i64 = 300;
const QUARTER_MS: i64 = 15 * 60_000;

/// Returns the commands of the page, each with the heading that it is under.
fn commands() -> Vec<(&'static str, &'static str)> {
    let mut commands = Vec::new();
    for section in PAGE.split("\n## ").skip(1) {
        let heading = section.lines().next().expect("a heading");
        let shown = section.lines().filter_map(|line| line.strip_prefix("$ "));
        commands.extend(shown.map(|command| (heading, command)));
    }
    commands
}

/// One record every quarter of an hour of the last three days in each partition, the oldest first.
fn records(partition: i64) -> Vec<Message> {
    let now = samples::now_ms();
    let record = |number: i64| Message {
        key: Some(format!("order-{}", number * i64::from(PARTITIONS) + partition).into_bytes()),
        ..samples::plain(
            now - (PER_PARTITION - 1 - number) * QUARTER_MS,
            "{\"sum\": 7}",
        )
    };
    (0..PER_PARTITION).map(record).collect()
}

/// Runs a line of shell in which `kbk` is the program under test.
fn shell(line: &str, repo: &Repo, broker: &Broker) -> Finished {
    let mut shell = Command::new("bash");
    let setup = "kbk() { \"$KBK\" \"$@\"; }; set -o pipefail; cd \"$DIR\"";
    shell.args(["-c", &format!("{setup}; {line}")]);
    let kbk = env!("CARGO_BIN_EXE_kbk");
    let folder = repo.path();
    shell
        .env("KBK", kbk)
        .env("DIR", folder.parent().expect("a folder"));
    shell
        .env("KBK_REPO", &folder)
        .env("KBK_BOOTSTRAP_SERVER", broker.bootstrap());
    run(&mut shell)
}

#[test]
fn every_answer_is_one_command_that_works() {
    let broker = Broker::start(&[]);
    topics::create(&broker, "orders", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        produce(
            &broker,
            "none",
            ("orders", partition),
            &records(partition.into()),
        );
    }
    commit(&broker, "billing", &[("orders", 0, 10, "")]);
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &[])).expect_code(0);
    let commands = commands();
    assert_eq!(commands.len(), 10, "{commands:#?}");
    for (heading, command) in commands {
        let done = shell(command, &repo, &broker).expect_code(0);
        let lines = || done.stdout.lines().collect::<Vec<_>>();
        match heading {
            "Find a record by its key" => {
                let [line] = lines()[..] else {
                    panic!("{command}: {done:#?}")
                };
                assert!(line.contains("\"key\":\"order-42\""), "{line}");
            }
            "See how old the last backup is" => {
                let first = lines()[0];
                assert!(first.starts_with("snapshot 1 is whole and "), "{first}");
            }
            "See how much space each topic takes" => assert!(lines()[0].ends_with("\torders")),
            "Read a backup without Kafka" => assert_eq!(lines().len(), 10),
            _ => {}
        }
    }
    let all = |topic: &str| -> usize {
        let partitions = 0..consume::partitions(&broker, topic);
        partitions
            .map(|partition| consume::read_all(&broker, topic, partition).len())
            .sum()
    };
    let yesterday = shell("date -u -d 'yesterday 14:05' +%s", &repo, &broker);
    let until_ms = yesterday.stdout.trim().parse::<i64>().expect("seconds") * 1_000;
    for partition in 0..PARTITIONS {
        let mut expected = messages(consume::read_all(&broker, "orders", partition));
        expected.retain(|record| record.timestamp <= until_ms);
        assert!(!expected.is_empty());
        let found = messages(consume::read_all(&broker, "orders-1405", partition));
        assert_eq!(found, expected);
    }
    let third = messages(consume::read_all(&broker, "orders", 3));
    assert_eq!(messages(consume::read_all(&broker, "orders-p3", 3)), third);
    assert_eq!(all("orders-p3"), third.len());
    assert_eq!(consume::partitions(&broker, "orders-12"), 12);
    assert_eq!(all("orders-12"), all("orders"));
}
