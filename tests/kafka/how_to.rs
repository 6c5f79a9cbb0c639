//! Every command of README.md, docs/how-to.md and docs/reference/json.md works exactly as it is written, and does what the page says.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::broker::Broker;
use crate::support::groups::commit;
use crate::support::pages::blocks;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const PARTITIONS: i32 = 4;
const PER_PARTITION: i64 = 300;
const QUARTER_MS: i64 = 15 * 60_000;

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

/// Starts a broker that has the topic and the group of the pages.
fn cluster() -> Broker {
    let broker = Broker::start(&[]);
    topics::create(&broker, "orders", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        let records = records(partition.into());
        produce(&broker, "none", ("orders", partition), &records);
    }
    commit(&broker, "billing", &[("orders", 0, 10, "")]);
    broker
}

/// Commands of README.md that this test does not run, and those that do.
const ELSEWHERE: [(&str, &str); 2] = [
    ("kbk mount ", "tests/mount, which needs /dev/fuse"),
    (
        "kbk restore --resume",
        "tests/kafka/resume.rs, which interrupts a restore before",
    ),
];

#[test]
fn the_commands_of_the_readme_work_in_their_order() {
    let (broker, empty) = (cluster(), Broker::start(&[]));
    let repo = Repo::missing();
    let readme = blocks("README.md");
    let shown = readme.iter().find(|block| {
        let first = block.commands().first().copied();
        first.is_some_and(|command| command.starts_with("export KBK_REPO="))
    });
    let mut commands = shown.expect("the block is there").commands().split_off(1);
    let json = blocks("docs/reference/json.md");
    let examples: Vec<_> = json.iter().flat_map(|block| block.commands()).collect();
    assert_eq!(examples.len(), 1, "{examples:?}");
    commands.extend(examples);
    for command in &commands {
        if ELSEWHERE
            .iter()
            .any(|(start, _)| command.starts_with(start))
        {
            continue;
        }
        let target = match command.starts_with("kbk restore --verify") {
            true => &empty,
            false => &broker,
        };
        let done = shell(command, &repo, target).expect_code(0);
        match *command {
            command if command.starts_with("kbk cat") => {
                assert!(done.stdout.contains("sum"), "{done:#?}")
            }
            command if command.starts_with("kbk groups list") => {
                assert!(done.stdout.contains("billing"), "{done:#?}");
            }
            command if command.starts_with("kbk restores") => {
                assert!(done.stdout.contains("finished"), "{done:#?}");
            }
            _ => {}
        }
    }
    for (start, _) in ELSEWHERE {
        assert!(
            commands.iter().any(|command| command.starts_with(start)),
            "{start}"
        );
    }
    for partition in 0..PARTITIONS {
        let restored = messages(consume::read_all(&empty, "orders", partition));
        assert_eq!(
            restored,
            messages(consume::read_all(&broker, "orders", partition))
        );
    }
}

/// Changes a byte of one segment, and removes another one. Returns both as they were.
fn damage(repo: &Repo) -> [(PathBuf, Vec<u8>); 2] {
    let mut segments = repo.segments().into_keys();
    [true, false].map(|is_changed| {
        let file = segments.next().expect("a segment of each partition");
        let intact = fs::read(&file).expect("readable");
        let mut bytes = intact.clone();
        bytes[700] ^= 1;
        match is_changed {
            true => fs::write(&file, bytes).expect("written"),
            false => fs::remove_file(&file).expect("removed"),
        }
        (file, intact)
    })
}

#[test]
fn every_answer_is_one_command_that_works() {
    let broker = cluster();
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &[])).expect_code(0);
    let shown = blocks("docs/how-to.md");
    let commands = shown.iter().flat_map(|block| {
        let commands = block.commands().into_iter();
        commands.map(|command| (block.heading.as_str(), command))
    });
    let commands: Vec<_> = commands.collect();
    assert_eq!(commands.len(), 41, "{commands:#?}");
    let mut damaged = None;
    for (heading, command) in commands {
        if heading == "Repair the original from its copy" && damaged.is_none() {
            damaged = Some(damage(&repo));
        }
        if heading == "Recover a damaged backup" && command.starts_with("kbk verify --json") {
            damage(&repo);
        }
        if heading == "Rebuild a repository whose index is gone" && command.contains("--dry-run") {
            for folder in ["index", "snapshots"] {
                fs::remove_dir_all(repo.path().join(folder)).expect("removed");
            }
        }
        let done = shell(command, &repo, &broker).expect_code(0);
        let lines = || done.stdout.lines().collect::<Vec<_>>();
        match heading {
            "Find one key in a large backup" if command.contains("compact") => {}
            "Find a record by its key" | "Find one key in a large backup" => {
                let [line] = lines()[..] else {
                    panic!("{command}: {done:#?}")
                };
                assert!(line.contains("\"key\":\"order-42\""), "{line}");
            }
            "See how old the last backup is" => {
                let first = lines()[0];
                assert!(
                    first.starts_with("snapshot 1 was complete when it was committed, and is "),
                    "{first}"
                );
            }
            "See how much space each topic takes" => assert!(lines()[0].ends_with("\torders")),
            "Repair the original from its copy" if command == "kbk verify" => {
                for (file, bytes) in damaged.iter().flatten() {
                    assert!(
                        fs::read(file).is_ok_and(|found| found == *bytes),
                        "{file:?}"
                    );
                }
            }
            "Find records by what they hold" => match command {
                command if command.contains("--where") => assert_eq!(lines().len(), 10),
                command if command.contains(" -l ") => {
                    assert!(lines().contains(&"orders/3"), "{done:#?}");
                }
                // 4, 40 to 49 and 400 to 499: three days have all of them.
                command if command.contains("--count") => assert_eq!(lines(), ["111"]),
                _ => {
                    let times = lines();
                    assert_eq!(times.len(), 10);
                    assert!(
                        times.is_sorted_by_key(|line| line.split(' ').next()),
                        "{done:#?}"
                    );
                }
            },
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
    let yesterday = shell("date -d 'yesterday 14:05' +%s", &repo, &broker);
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
