//! Every example of every `--help` works, on the names that this test has: a repository, a bucket, a cluster, an empty cluster to
//! restore to.

use std::fs;
use std::process::Command;

use clap::CommandFactory;
use kbk::commands::Cli;

use crate::support::broker::Broker;
use crate::support::groups::commit;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::stores::{ObjectServer, Protocol};
use crate::support::{samples, topics};

const PARTITIONS: i32 = 8;
const PER_PARTITION: i64 = 50;

/// What examples say, and what it is called here.
const NAMES: [(&str, &str); 12] = [
    ("/etc/kbk.toml", "kbk.toml"),
    ("eu-central-1", "us-east-1"),
    ("--snapshot 12", "--snapshot 1"),
    ("--since 41", "--since 1"),
    ("forget 3 4", "forget 1"),
    ("--offset 12345", "--offset 10"),
    ("120045 120046", "10 11"),
    ("orders=copy", "orders=orders-copy"),
    ("2026-11-22T10:00:00Z", "2h30m"),
    ("2026-11-22T11:00:00Z", "30m"),
    ("/restore/", "restored-"),
    ("/exports", "exports"),
];

/// Examples that this test does not run, and why.
const ELSEWHERE: [(&str, &str); 14] = [
    ("kbk demo", "tests/demo.rs"),
    ("kbk mount ", "tests/mount, which needs /dev/fuse"),
    ("kbk completions ", "tests/cli/help.rs"),
    ("kbk man", "tests/cli/help.rs"),
    ("kbk diff 3 ", "tests/cli/diff.rs, since snapshots differ"),
    (
        "kbk diff -r /backup/kafka --with ",
        "tests/cli/diff.rs, since it needs a copy",
    ),
    (
        "kbk verify -r /backup/kafka --depth records --evidence ",
        "tests/cli/evidence.rs, since it needs a key",
    ),
    (
        "kbk verify --check-evidence ",
        "tests/cli/evidence.rs, since it needs a key",
    ),
    (
        "kbk recover ",
        "tests/cli/recover.rs, since it needs damaged files",
    ),
    (
        "kbk inspect ",
        "tests/cli/listings.rs, since it needs files of these names",
    ),
    (
        "kbk import ",
        "tests/kafka/kafka_log.rs, since it needs a broker's disk",
    ),
    (
        "kbk restores discard ",
        "tests/kafka/discarded.rs, since it needs an unfinished restore",
    ),
    (
        "kbk groups rollback -r /backup/kafka -b broker:9092 --change ",
        "tests/kafka/groups_restore.rs, since it needs the id of a change",
    ),
    (
        "kafka-consumer-groups ",
        "Kafka's own tool; tests/kafka/groups_restore.rs parses the file",
    ),
];

/// The restore that others are compared with. Of most others, only the plan is made.
const RESTORED: &str =
    "kbk restore -r /backup/kafka -b broker:9092 --topic orders --map orders=orders-restored";

/// Returns the examples of all commands, in their order.
fn examples() -> Vec<String> {
    fn add(command: &clap::Command, found: &mut Vec<String>) {
        let text = command.get_after_long_help().or(command.get_after_help());
        let text = text.map(ToString::to_string).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        let is_command = |line: &&str| line.starts_with("kbk ") || line.starts_with("kafka-");
        found.extend(lines.filter(is_command).map(str::to_owned));
        for below in command.get_subcommands() {
            add(below, found);
        }
    }
    let mut found = Vec::new();
    add(&Cli::command(), &mut found);
    found
}

fn shell(line: &str, repo: &Repo, broker: &Broker, bucket: &ObjectServer) -> Finished {
    let folder = repo.path();
    let mut line = line.to_owned();
    for (name, here) in NAMES {
        line = line.replace(name, here);
    }
    let line = line
        .replace("/backup/kafka", folder.to_str().expect("UTF-8"))
        .replace("broker:9092", broker.bootstrap())
        .replace(
            "s3://bucket/kafka",
            &format!(
                "{} --store-option allow-http=true",
                bucket.location("kafka")
            ),
        );
    let setup = "kbk() { \"$KBK\" \"$@\"; }; set -o pipefail; cd \"$DIR\"";
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{setup}; {line}")]);
    shell
        .env("KBK", env!("CARGO_BIN_EXE_kbk"))
        .env("DIR", folder.parent().expect("a folder"))
        .env("AWS_ENDPOINT_URL", bucket.endpoint(bucket.address))
        .envs(bucket.credentials());
    run(&mut shell)
}

#[test]
fn every_example_of_the_help_works() {
    let (broker, empty) = (Broker::start(&[]), Broker::start(&[]));
    for topic in ["orders", "orders-eu", "prod-audit"] {
        topics::create(&broker, topic, PARTITIONS, &[]);
        for partition in 0..PARTITIONS {
            let start = samples::now_ms() - PER_PARTITION * 600_000;
            let record = |number: i64| Message {
                key: Some(format!("key-{number}").into_bytes()),
                ..samples::plain(start + number * 600_000, "value")
            };
            let records: Vec<_> = (0..PER_PARTITION).map(record).collect();
            produce(&broker, "none", (topic, partition), &records);
        }
    }
    let bucket = ObjectServer::start(Protocol::S3);
    commit(&broker, "billing", &[("orders", 0, 10, "")]);
    commit(&broker, "billing-eu", &[("orders", 3, 10, "")]);
    let repo = Repo::missing();
    let folder = repo.path();
    let beside = |name: &str| folder.parent().expect("a folder").join(name);
    fs::write(beside("client.properties"), "").expect("it can be written");
    let config = format!(
        "repo = {folder:?}\nbootstrap-server = \"{}\"\n",
        broker.bootstrap()
    );
    fs::write(beside("kbk.toml"), config).expect("it can be written");

    let examples = examples();
    assert!(examples.len() > 40, "{examples:#?}");
    for (start, _) in ELSEWHERE {
        assert!(
            examples.iter().any(|line| line.starts_with(start)),
            "{start}"
        );
    }
    let (mut created, mut failed) = (0, Vec::new());
    for example in &examples {
        if ELSEWHERE
            .iter()
            .any(|(start, _)| example.starts_with(start))
        {
            continue;
        }
        let mut line = example.clone();
        let mut target = &broker;
        if example.starts_with("kbk init ") {
            created += 1;
            line = line.replace("/backup/kafka", &format!("new-{created}"));
        } else if example.starts_with("kbk restore ") && example != RESTORED {
            target = &empty;
            if !line.ends_with("--dry-run") && !line.ends_with("--verify") {
                line.push_str(" --dry-run");
            }
        }
        // The examples after it need the snapshots.
        if example.starts_with("kbk forget ") && !line.ends_with("--dry-run") {
            line.push_str(" --dry-run");
        }
        // The restore before them went there; and the change stays, for the next example to roll back.
        if example.starts_with("kbk groups re") || example.starts_with("kbk groups rollback ") {
            target = &empty;
        }
        if example.starts_with("kbk groups rollback ") && !line.ends_with("--dry-run") {
            line.push_str(" --dry-run");
        }
        let done = shell(&line, &repo, target, &bucket);
        if done.status.code() != Some(0) {
            failed.push((line, done));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
