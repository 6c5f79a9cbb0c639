//! What a principal may not see is named, kept as it was, and does not keep the rest from being saved.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::guarded::Guarded;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{groups, samples, topics};

#[test]
fn what_may_not_be_seen_is_neither_gone_nor_empty() {
    let guarded = Guarded::start();
    unreadable_topics_are_incomplete(&guarded);
    hidden_topics_are_not_taken_as_deleted(&guarded);
    unreported_configurations_are_kept(&guarded);
    offsets_of_hidden_topics_are_kept(&guarded);
    a_pattern_that_matches_nothing_says_what_may_be_hidden(&guarded);
}

fn topic(broker: &Broker, name: &str, config: &[(&str, &str)]) {
    topics::create(broker, name, 2, config);
    // Compacted topics accept no record without a key.
    let records = samples::mixed(1).filter(|record| record.key.is_some());
    let records: Vec<Message> = records.take(20).collect();
    for partition in 0..2 {
        produce(broker, "none", (name, partition), &records);
    }
}

/// Backs up as the principal `limited`.
fn limited(guarded: &Guarded, repo: &Repo, args: &[&str], code: i32) -> Finished {
    let args = [&["backup", "--no-groups", "--no-acls"], args].concat();
    run(&mut guarded.kbk(repo, &args)).expect_code(code)
}

/// Backs up with all permissions.
fn complete(guarded: &Guarded, repo: &Repo, args: &[&str]) -> Value {
    run(&mut repo.backup(&guarded.broker, args))
        .expect_code(0)
        .json()
}

fn grant(guarded: &Guarded, topic: &str, operations: &[&str]) {
    let operations = operations
        .iter()
        .flat_map(|operation| ["--operation", operation]);
    let args: Vec<&str> = operations.chain(["--topic", topic]).collect();
    guarded.grant(&args);
}

/// Returns the row of a topic.
fn row(repo: &Repo, topic: &str) -> Value {
    let listed = run(&mut repo.kbk(&["ls", "--json"])).expect_code(0).json();
    let rows = listed["topics"].as_array().expect("an array");
    let found = rows.iter().find(|row| row["topic"] == topic);
    found.expect("the topic is listed").clone()
}

fn unreadable_topics_are_incomplete(guarded: &Guarded) {
    topic(&guarded.broker, "open", &[]);
    topic(&guarded.broker, "closed", &[]);
    grant(guarded, "open", &["Read", "DescribeConfigs"]);
    grant(guarded, "closed", &["Describe", "DescribeConfigs"]);
    let repo = Repo::new();
    let finished = limited(guarded, &repo, &[], 3);
    let report = finished.json();
    assert_eq!(
        (&report["records"], &report["complete"]),
        (&json!(40), &json!(false))
    );
    let findings = report["findings"].as_array().expect("an array");
    let unreadable = findings
        .iter()
        .filter(|found| found["finding"] == "unreadable" && found["topic"] == "closed");
    assert_eq!(unreadable.count(), 2, "{report:#}");
    let hint = findings
        .iter()
        .find(|found| found["finding"] == "topics_hidden");
    assert!(hint.is_some(), "{report:#}");
    assert!(
        finished.stderr.contains("not allowed to read topic closed"),
        "{finished:#?}"
    );
    for row in report["incomplete"].as_array().expect("an array") {
        assert_eq!(
            (&row["topic"], &row["reason"]),
            (&json!("closed"), &json!("unreadable"))
        );
        assert_eq!(row["missing_offsets"], 20);
    }
    assert_eq!(row(&repo, "open")["incomplete_partitions"], 0);

    grant(guarded, "closed", &["Read"]);
    let report = limited(guarded, &repo, &["--topic", "closed"], 0).json();
    assert_eq!(
        (&report["records"], &report["complete"]),
        (&json!(40), &json!(true))
    );
    assert_eq!(
        report["findings"],
        json!([]),
        "nothing can be hidden behind a full name"
    );
    assert_eq!(repo.verify()["records"], 80);
}

fn hidden_topics_are_not_taken_as_deleted(guarded: &Guarded) {
    topic(&guarded.broker, "hidden", &[]);
    let repo = Repo::new();
    complete(guarded, &repo, &["--topic", "open", "--topic", "hidden"]);
    // By name, and by being in the last snapshot.
    for args in [
        &["--topic", "open", "--topic", "hidden"][..],
        &["--topic", "{open,hidden}"],
    ] {
        let finished = limited(guarded, &repo, args, 3);
        let report = finished.json();
        let findings = report["findings"].as_array().expect("an array");
        let named =
            |found: &&Value| found["finding"] == "topic_hidden" && found["topic"] == "hidden";
        assert_eq!(findings.iter().filter(named).count(), 1, "{report:#}");
        assert!(
            !findings.iter().any(|found| found["finding"] == "deleted"),
            "{report:#}"
        );
        assert!(
            finished.stderr.contains("DESCRIBE on TOPIC hidden"),
            "{finished:#?}"
        );
        let row = row(&repo, "hidden");
        assert_eq!(
            (&row["deleted"], &row["records"]),
            (&json!(false), &json!(40))
        );
        assert_eq!(row["incomplete_partitions"], 2);
    }
    let nothing = limited(guarded, &repo, &["--topic", "hidden"], 1);
    assert!(
        nothing
            .stderr
            .contains("not allowed to describe topic hidden"),
        "{nothing:#?}"
    );

    let report = complete(guarded, &repo, &["--topic", "open", "--topic", "hidden"]);
    assert_eq!(
        (&report["complete"], &report["findings"]),
        (&json!(true), &json!([]))
    );
    topics::delete(&guarded.broker, "hidden");
    let report = complete(guarded, &repo, &["--topic", "{open,hidden}"]);
    assert_eq!(
        report["findings"],
        json!([{ "finding": "deleted", "topic": "hidden" }])
    );
}

fn unreported_configurations_are_kept(guarded: &Guarded) {
    let compacted = [("cleanup.policy", "compact")];
    for name in ["reported", "unreported"] {
        topic(&guarded.broker, name, &compacted);
    }
    grant(guarded, "reported", &["Read", "DescribeConfigs"]);
    grant(guarded, "unreported", &["Read"]);
    let both = ["--topic", "reported", "--topic", "unreported"];
    let policy = |repo: &Repo, topic: &str| {
        let plan = [
            "--dry-run",
            "--only-config",
            "--map-regex",
            "(.*)=$1-new",
            "--topic",
            topic,
        ];
        let plan = run(&mut repo.restore(&guarded.broker, &plan))
            .expect_code(0)
            .json();
        plan["topics"][0]["action"]["config"]["cleanup.policy"].clone()
    };

    // A first backup has no configuration of it, and says so; that of the other one is saved.
    let first = Repo::new();
    let report = limited(guarded, &first, &both, 3).json();
    let finding = &report["findings"][0];
    assert_eq!(finding["finding"], "config_unknown");
    assert_eq!(
        (&finding["missing"], &finding["kept"]),
        (&json!(["unreported"]), &json!([]))
    );
    assert_eq!(report["records"], 80);
    assert_eq!(
        (policy(&first, "reported"), policy(&first, "unreported")),
        (json!("compact"), json!(null))
    );

    // A restore creates its topic with the cluster's defaults, and says so.
    let [reported, unreported] = ["reported=reported-2", "unreported=unreported-2"];
    let args = ["--map", reported, "--map", unreported];
    for (args, says) in [
        (&[&args[..], &["--dry-run"]].concat(), "would be created"),
        (&args.to_vec(), "were created"),
        (&[&args[..], &["--only-config"]].concat(), "so none is set"),
    ] {
        let bootstrap = ["restore", "-b", guarded.broker.bootstrap()];
        let restored = run(&mut first.kbk(&[&bootstrap[..], args].concat())).expect_code(0);
        let lines: Vec<_> = restored
            .stdout
            .lines()
            .filter(|line| line.contains("no configuration of"))
            .collect();
        let [line] = lines.as_slice() else {
            panic!("{restored:#?}")
        };
        let named = line.contains("no configuration of unreported-2,");
        assert!(named && line.contains(says), "{line}");
    }
    let config = topics::config(&guarded.broker, "unreported-2");
    assert_eq!(config.get("cleanup.policy"), None);

    // Where an earlier one has it, it is kept.
    let later = Repo::new();
    complete(guarded, &later, &both);
    let finished = limited(guarded, &later, &both, 0);
    let finding = finished.json()["findings"][0].clone();
    assert_eq!(
        (&finding["missing"], &finding["kept"]),
        (&json!([]), &json!(["unreported"]))
    );
    assert!(
        finished
            .stderr
            .contains("DESCRIBE_CONFIGS on TOPIC unreported"),
        "{finished:#?}"
    );
    assert_eq!(policy(&later, "unreported"), "compact");
}

fn offsets_of_hidden_topics_are_kept(guarded: &Guarded) {
    let broker = &guarded.broker;
    topic(broker, "secret", &[]);
    groups::commit(broker, "spies", &[("secret", 0, 7, ""), ("open", 0, 3, "")]);
    let repo = Repo::new();
    complete(guarded, &repo, &["--topic", "open"]);
    groups::commit(broker, "spies", &[("open", 0, 4, "")]);
    guarded.grant(&["--operation", "Describe", "--group", "*"]);
    let args = ["backup", "--no-acls", "--topic", "open"];
    let finished = run(&mut guarded.kbk(&repo, &args)).expect_code(0);
    let report = finished.json();
    let findings = report["findings"].as_array().expect("an array");
    let kept = json!({ "finding": "offsets_hidden", "topics": ["secret"], "groups": ["spies"] });
    assert!(findings.contains(&kept), "{report:#}");

    let list = ["groups", "list", "--json", "--group", "spies"];
    let listed = run(&mut repo.kbk(&list)).expect_code(0).json();
    let offsets = listed["groups"][0]["offsets"].as_array().expect("an array");
    let rows: Vec<_> = offsets
        .iter()
        .map(|row| (&row["topic"], &row["offset"], row["taken_at"].is_null()))
        .collect();
    assert_eq!(
        rows,
        [
            (&json!("open"), &json!(4), true),
            (&json!("secret"), &json!(7), false)
        ]
    );
    repo.verify_by_spec();

    // A topic that is gone, and not hidden, has no committed offsets any more.
    topics::delete(broker, "secret");
    complete(guarded, &repo, &["--topic", "open"]);
    let listed = run(&mut repo.kbk(&list)).expect_code(0).json();
    let offsets = listed["groups"][0]["offsets"].as_array().expect("an array");
    assert_eq!(offsets.len(), 1, "{listed:#}");
}

fn a_pattern_that_matches_nothing_says_what_may_be_hidden(guarded: &Guarded) {
    let finished = limited(guarded, &Repo::new(), &["--topic", "hidden-*"], 1);
    let parts = ["no topic matches `hidden-*`", "may not describe"];
    for part in parts {
        assert!(finished.stderr.contains(part), "{part}: {finished:#?}");
    }
}
