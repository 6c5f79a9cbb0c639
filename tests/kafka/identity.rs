//! What is stored as one log is one log: truncated, created again, of another cluster, or in a format that cannot be read, it is
//! named, and nothing is appended that does not belong.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::old_log::{LogFolder, gzip, message};
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce};
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

fn some(count: usize, seed: u64) -> Vec<Message> {
    samples::mixed(seed).take(count).collect()
}

/// Produces each message in a batch of its own.
fn produce_one_by_one(broker: &Broker, topic: &str, messages: &[Message]) {
    for message in messages {
        produce(broker, "none", (topic, 0), [message]);
    }
}

fn backup(repo: &Repo, broker: &Broker, pattern: &str, code: i32) -> Value {
    let finished = run(&mut repo.backup(broker, &["--topic", pattern]));
    finished.expect_code(code).json()
}

/// The messages that are stored as of a snapshot.
fn restored(repo: &Repo, broker: &Broker, topic: &str, snapshot: &str) -> Vec<Message> {
    let target = topics::unique("restored");
    let map = format!("{topic}={target}");
    let args = ["--topic", topic, "--map", &map, "--snapshot", snapshot];
    run(&mut repo.restore(broker, &[&args[..], &["--allow-partial"]].concat())).expect_code(0);
    consume::read_all(broker, &target, 0)
        .into_iter()
        .map(|record| record.message)
        .collect()
}

/// Batches state their leader epochs, records that are stored by field do not: what comes compressed is stored as batches.
#[test]
fn a_log_that_was_truncated_and_regrown_is_stored_beside_the_old_one() {
    for (kept, has_epochs) in [("producer", false), ("zstd", true)] {
        a_truncated_log_is_stored_beside_the_old_one(kept, has_epochs);
    }
}

/// Returns what a broker serves: one that compresses anew replaces names of headers that are not UTF-8.
fn served(broker: &Broker) -> Vec<Message> {
    messages(consume::read_all(broker, "cut", 0))
}

fn a_truncated_log_is_stored_beside_the_old_one(kept: &str, has_epochs: bool) {
    let mut broker = Broker::start(&[("compression.type", kept)]);
    topics::create(&broker, "cut", 1, &[]);
    produce_one_by_one(&broker, "cut", &some(10, 1));
    let old = served(&broker);
    let [repo, untold] = [Repo::new(), Repo::new()];
    backup(&repo, &broker, "cut", 0);
    backup(&untold, &broker, "cut", 0);

    let log = LogFolder::of(&mut broker, "cut", 0);
    log.keep_batches(6);
    broker.restart();
    produce_one_by_one(&broker, "cut", &some(8, 2));
    // Without warnings, the output is all that says why the exit code is 3.
    let quiet = ["backup", "--quiet", "-b", broker.bootstrap()];
    let said = run(untold.kbk(&quiet).args(["--topic", "cut"])).expect_code(3);
    let first = said.stdout.lines().next().unwrap_or_default();
    let says = "cut/0: the log is not the one that was backed up: at offset 6";
    assert!(first.starts_with(says), "{said:#?}");
    assert_eq!(said.stderr, "");
    let second = backup(&repo, &broker, "cut", 3);
    let epoch = &second["findings"][0]["truncated_epoch"];
    let is_default = std::env::var("KBK_TEST_ENCODING").is_err();
    assert!(!is_default || epoch.is_object() == has_epochs, "{epoch}");
    let diverged = json!([{
        "finding": "diverged", "topic": "cut", "partition": 0, "offset": 6, "stored_end_offset": 10,
        "high_watermark": 14, "truncated_epoch": epoch
    }]);
    assert_eq!(second["findings"], diverged);
    assert_eq!(second["records"], 14);

    // The new history is continued, and both can be restored.
    produce_one_by_one(&broker, "cut", &some(5, 3));
    let third = backup(&repo, &broker, "cut", 0);
    assert_eq!(
        (&third["findings"], &third["records"]),
        (&json!([]), &json!(5))
    );
    assert_eq!(repo.verify()["records"], 29);
    repo.verify_by_spec();
    assert!(restored(&repo, &broker, "cut", "1") == old);
    let new = served(&broker);
    assert!(restored(&repo, &broker, "cut", "latest") == new, "{kept}");

    // The same, seen while the log is short: what grows afterwards continues the short log.
    let log = LogFolder::of(&mut broker, "cut", 0);
    log.keep_batches(2);
    broker.restart();
    let short = backup(&repo, &broker, "cut", 3);
    assert_eq!(short["findings"][0]["offset"], 2);
    produce_one_by_one(&broker, "cut", &some(30, 4));
    assert_eq!(backup(&repo, &broker, "cut", 0)["records"], 30);
    assert_eq!(repo.verify()["records"], 61);
}

/// Backs up batches as they are, which state their leader epochs.
fn backup_batches(repo: &Repo, broker: &Broker, topic: &str, code: i32) -> Value {
    let args = ["--topic", topic, "--encoding", "batches"];
    run(&mut repo.backup(broker, &args))
        .expect_code(code)
        .json()
}

/// Produces other records up to the last one of `old`, which is the same again, and more after it.
fn regrow(broker: &Broker, topic: &str, kept: usize, old: &[Message]) -> Vec<Message> {
    let last = old.len() - 1;
    let regrown = [&some(last - kept, 2)[..], &old[last..], &some(4, 3)].concat();
    produce_one_by_one(broker, topic, &regrown);
    [&old[..kept], &regrown].concat()
}

/// Asserts that a backup has found a log of 10 stored records that was cut to 6 and has 14 now, by the leader epoch of the tenth.
#[track_caller]
fn assert_cut(report: &Value, topic: &str) {
    let truncated = &report["findings"][0]["truncated_epoch"];
    assert!(truncated["leader_epoch"].is_number(), "{report:#}");
    let diverged = json!([{
        "finding": "diverged", "topic": topic, "partition": 0, "offset": 6, "stored_end_offset": 10, "high_watermark": 14,
        "truncated_epoch": { "leader_epoch": truncated["leader_epoch"], "end_offset": 6, "stored_end_offset": 10 }
    }]);
    assert_eq!(report["findings"], diverged);
    assert_eq!(report["records"], 14);
}

#[test]
fn a_leader_epoch_shows_a_truncation_where_the_last_record_is_the_same_again() {
    let mut broker = Broker::start(&[]);
    topics::create(&broker, "cut", 1, &[]);
    let old = some(10, 1);
    produce_one_by_one(&broker, "cut", &old);
    let [repo, by_record] = [Repo::new(), Repo::new()];
    backup_batches(&repo, &broker, "cut", 0);
    backup(&by_record, &broker, "cut", 0);
    // Other leaders alone are no reason.
    broker.stop();
    broker.restart();
    let log = LogFolder::of(&mut broker, "cut", 0);
    log.keep_batches(6);
    broker.restart();
    let all = regrow(&broker, "cut", 6, &old);
    assert_cut(&backup_batches(&repo, &broker, "cut", 3), "cut");
    assert!(restored(&repo, &broker, "cut", "1") == old);
    assert!(restored(&repo, &broker, "cut", "latest") == all);
    broker.stop();
    broker.restart();
    produce_one_by_one(&broker, "cut", &some(5, 4));
    assert_eq!(
        backup_batches(&repo, &broker, "cut", 0)["findings"],
        json!([])
    );
    // Records that are stored by field have no epoch.
    assert_eq!(backup(&by_record, &broker, "cut", 0)["findings"], json!([]));
}

#[test]
fn an_unclean_leader_election_is_named_by_its_leader_epoch() {
    let mut brokers = Broker::start_three();
    let create = [
        "--create",
        "--topic",
        "unclean",
        "--replica-assignment",
        "1:2",
        "--config",
        "unclean.leader.election.enable=true",
        "--config",
        "min.insync.replicas=1",
    ];
    brokers[2].tool("org.apache.kafka.tools.TopicCommand", &create);
    let leader = |broker: &Broker, node: i32| {
        wait::until("the leader", || {
            (topics::leaders(broker, "unclean") == [node]).then_some(())
        });
    };
    leader(&brokers[2], 1);
    let old = some(10, 1);
    produce_one_by_one(&brokers[2], "unclean", &old[..6]);
    brokers[1].kill();
    // Only the leader has these.
    produce_one_by_one(&brokers[2], "unclean", &old[6..]);
    let repo = Repo::new();
    backup_batches(&repo, &brokers[2], "unclean", 0);
    brokers[0].kill();
    brokers[1].restart();
    leader(&brokers[2], 2);
    regrow(&brokers[2], "unclean", 6, &old);
    let report = backup_batches(&repo, &brokers[2], "unclean", 3);
    assert_cut(&report, "unclean");
    assert_eq!(repo.verify()["records"], 24);
}

#[test]
fn messages_of_old_formats_are_refused_by_librdkafka_and_the_others_saved() {
    let mut broker = Broker::start(&[]);
    let old = ["keyed-v1", "keyed-v0", "keyless", "gzip"];
    for topic in old.into_iter().chain(["new"]) {
        topics::create(&broker, topic, 1, &[("retention.ms", "-1")]);
    }
    let new = some(20, 1);
    produce(&broker, "none", ("new", 0), &new);
    let time = 1_400_000_000_000;
    let logs = |time: Option<i64>, key: Option<&[u8]>| -> Vec<u8> {
        let messages = (0..5).map(|offset| message(offset, time, 0, key, Some(b"value")));
        messages.flatten().collect()
    };
    let relative = logs(Some(time), Some(b"k"));
    let contents = [
        logs(Some(time), Some(b"k")),
        logs(None, Some(b"k")),
        logs(Some(time), None),
        message(4, Some(time + 4), 1, None, Some(&gzip(&relative))),
    ];
    for (topic, bytes) in old.into_iter().zip(&contents) {
        LogFolder::of(&mut broker, topic, 0).write(bytes);
    }
    broker.restart();
    let repo = Repo::new();
    let librdkafka = ["--topic", "*", "--client", "librdkafka"];
    let report = run(&mut repo.backup(&broker, &librdkafka)).expect_code(3);
    let report = report.json();
    let findings = report["findings"].as_array().expect("findings");
    for topic in old {
        let found = findings.iter().find(|finding| finding["topic"] == topic);
        let found = found.unwrap_or_else(|| panic!("nothing about {topic}: {findings:?}"));
        assert_eq!(
            (
                &found["finding"],
                &found["partition"],
                &found["stored_end_offset"]
            ),
            (&json!("unreadable"), &json!(0), &json!(0))
        );
        let cause = found["cause"].as_str().expect("a cause");
        assert!(
            cause.contains("offset 0") && cause.contains("v0 or v1"),
            "{cause}"
        );
    }
    assert_eq!((findings.len(), &report["records"]), (4, &json!(20)));
    assert_eq!(report["complete"], false);
    repo.verify_by_spec();
    assert!(restored(&repo, &broker, "new", "latest") == new);
}

#[test]
fn a_topic_that_is_created_again_meanwhile_is_left_out() {
    let broker = Broker::shared();
    // Longer than what is read, behind stored records; shorter than what is read.
    for (stored, count) in [(true, 40), (false, 5)] {
        let (topic, pinned) = (topics::unique("meanwhile"), topics::unique("pinned"));
        topics::create(broker, &topic, 1, &[]);
        produce(broker, "none", (&topic, 0), &some(10, 1));
        let repo = Repo::new();
        if stored {
            backup(&repo, broker, &topic, 0);
        }
        produce(broker, "none", (&topic, 0), &some(10, 2));
        topics::create(broker, &pinned, 1, &[]);
        let open = Producer::transactional(broker, "none", &topics::unique("open"));
        open.begin();
        open.send(&pinned, 0, &some(1, 3)[0]);
        open.flush();

        // The survey is done, and waits for the transaction.
        let mut command = repo.backup(broker, &["--topic", &topic, "--topic", &pinned]);
        command.args(["--open-transactions-wait", "60s"]);
        let running = Running::spawn(&mut command);
        running.wait_until_it_says("waiting up to");
        topics::delete(broker, &topic);
        topics::create(broker, &topic, 1, &[]);
        let new = some(count, 4);
        produce(broker, "none", (&topic, 0), &new);
        running.assert_runs("its topic was created again");
        open.commit();
        let report = running.finish().expect_code(3).json();
        let findings = report["findings"].as_array().expect("findings");
        let meanwhile = json!({ "finding": "recreated_meanwhile", "topic": topic });
        assert!(findings.contains(&meanwhile), "{findings:?}");
        assert_eq!(report["records"], 1, "the other topic's");
        // Whether a snapshot has the topic or none has: it is not complete without these records.
        let verified = run(&mut repo.kbk(&["verify", "--json"])).expect_code(3);
        assert_eq!(verified.json()["incomplete_partitions"], 1);

        let again = backup(&repo, broker, &topic, 0);
        assert_eq!(again["records"], count);
        let all = if stored { 11 } else { 1 } + count;
        // What the deleted topic held is lost.
        let args = ["verify", "--full", "--accept-lost", "--json"];
        let verified = run(&mut repo.kbk(&args)).expect_code(0).json();
        assert_eq!(verified["records"], all);
        assert!(restored(&repo, broker, &topic, "latest") == new);
    }
}

#[test]
fn another_cluster_is_refused_unless_it_is_allowed() {
    let shared = Broker::shared();
    let topic = topics::unique("moved");
    topics::create(shared, &topic, 1, &[]);
    produce(shared, "none", (&topic, 0), &some(10, 1));
    let repo = Repo::new();
    backup(&repo, shared, &topic, 0);

    let other = Broker::start(&[]);
    topics::create(&other, &topic, 1, &[]);
    produce(&other, "none", (&topic, 0), &some(7, 2));
    let refused = run(&mut repo.backup(&other, &["--topic", &topic])).expect_code(1);
    for word in ["cluster kbk-test-cluster", "--allow-cluster-change"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    assert_eq!(repo.verify()["records"], 10);
    let args = ["--topic", &topic, "--allow-cluster-change"];
    let moved = run(&mut repo.backup(&other, &args)).expect_code(0).json();
    assert_eq!(moved["records"], 7);
    assert_eq!(moved["findings"][0]["finding"], "recreated");
    // From now on it is the cluster of this repository.
    backup(&repo, &other, &topic, 0);
    run(&mut repo.backup(shared, &["--topic", &topic])).expect_code(1);
}
