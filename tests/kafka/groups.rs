//! A backup saves the committed offsets of every consumer group exactly, and never omits groups silently.

use kbk::kafka::{Admin, ClientSettings, CommittedTopic, GroupOffsets, TopicPartition};
use kbk_format::PartitionNumber;
use kbk_format::repo::CommittedOffset;
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::groups::{Member, commit, committed, delete};
use crate::support::guarded::Guarded;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{samples, topics, wait, wire};

fn topic_with_records(broker: &Broker, name: &str, partitions: i32) -> String {
    let topic = topics::unique(name);
    topics::create(broker, &topic, partitions, &[]);
    let records: Vec<Message> = samples::mixed(1).take(20).collect();
    for partition in 0..partitions {
        produce(broker, "none", (&topic, partition), &records);
    }
    topic
}

fn backup(repo: &Repo, broker: &Broker, topic: &str, args: &[&str]) -> Value {
    let args = [&["--topic", topic], args].concat();
    run(&mut repo.backup(broker, &args)).expect_code(0).json()
}

/// Returns the member `groups` of a snapshot.
fn saved(repo: &Repo, sequence: u64) -> Value {
    repo.saved(sequence, "groups")
}

/// Returns a saved group by name.
fn group(saved: &Value, name: &str) -> Option<Value> {
    let groups = saved["groups"].as_array().expect("an array");
    groups.iter().find(|group| group["group"] == name).cloned()
}

/// Returns the saved offsets of a group's only topic, without their leader epochs.
fn offsets(group: &Value) -> Vec<(i64, i64, String)> {
    assert_eq!(
        group["topics"].as_array().map(Vec::len),
        Some(1),
        "{group:#}"
    );
    let partitions = group["topics"][0]["partitions"].as_array();
    let number = |value: &Value| value.as_i64().expect("a number");
    let row = |row: &Value| {
        let metadata = row["metadata"].as_str().expect("a string").to_owned();
        (number(&row["partition"]), number(&row["offset"]), metadata)
    };
    partitions.expect("an array").iter().map(row).collect()
}

#[test]
fn committed_offsets_are_saved_exactly_whatever_topics_are_selected() {
    let broker = Broker::shared();
    let topic = topic_with_records(broker, "read", 3);
    let other = topic_with_records(broker, "other", 1);
    let [classic, modern, simple] = ["classic", "modern", "simple"].map(topics::unique);
    let mut members = Vec::new();
    for (protocol, group) in [("classic", &classic), ("consumer", &modern)] {
        let member = Member::join(broker, protocol, group, &topic);
        member.read(60);
        members.push(member);
    }
    let strange = "größe \"1\"\n\t{}";
    commit(
        broker,
        &simple,
        &[
            (&topic, 2, 9_000_000_000_000_000_000, strange),
            (&topic, 0, 0, ""),
        ],
    );

    let repo = Repo::new();
    let report = backup(&repo, broker, &other, &[]);
    assert!(report["groups"].as_u64() >= Some(3), "{report:#}");
    assert_eq!(report["findings"], json!([]));
    let saved = saved(&repo, 1);
    assert_eq!(saved["seen"], 1);
    for (name, kind) in [(&classic, "Classic"), (&modern, "Consumer")] {
        let group = group(&saved, name).expect("the group is saved");
        assert_eq!(
            (&group["type"], &group["state"]),
            (&json!(kind), &json!("Stable"))
        );
        let all = [0, 1, 2].map(|partition| (partition, 20, String::new()));
        assert_eq!(offsets(&group), all);
        let epochs = group["topics"][0]["partitions"]
            .as_array()
            .expect("an array");
        assert!(
            epochs.iter().all(|row| row["leader_epoch"] == 0),
            "{group:#}"
        );
        let id = group["topics"][0]["topic_id"].as_str().expect("a string");
        assert!(id.len() == 32 && id != "0".repeat(32), "{id}");
    }
    let group = group(&saved, &simple).expect("the group is saved");
    let expected = [
        (0, 0, String::new()),
        (2, 9_000_000_000_000_000_000, strange.to_owned()),
    ];
    assert_eq!(offsets(&group), expected);
    assert_eq!(
        group["topics"][0]["partitions"][0]["leader_epoch"],
        json!(null)
    );
    let truth = committed(broker, &simple, &[(&topic, 0), (&topic, 1), (&topic, 2)]);
    assert_eq!(truth[1].0, None);
    assert_eq!(truth[2], (Some(expected[1].1), expected[1].2.clone()));

    repo.verify();
    let by_spec = repo.verify_by_spec();
    assert_eq!(by_spec["groups"], report["groups"]);
    drop(members);
}

#[test]
fn groups_are_carried_over_until_groups_are_backed_up_again() {
    let broker = Broker::shared();
    let topic = topic_with_records(broker, "carried", 1);
    let name = topics::unique("moving");
    let own = topics::unique("kbk-restore");
    let repo = Repo::new();
    let none = backup(&repo, broker, &topic, &["--no-groups"]);
    assert_eq!(
        (&none["groups"], saved(&repo, 1)),
        (&json!(null), json!(null))
    );

    commit(broker, &name, &[(&topic, 0, 5, "five")]);
    commit(broker, &own, &[(&topic, 0, 5, "the progress of a restore")]);
    backup(&repo, broker, &topic, &[]);
    commit(broker, &name, &[(&topic, 0, 12, "twelve")]);
    backup(&repo, broker, &topic, &["--no-groups"]);
    assert_eq!(saved(&repo, 3), saved(&repo, 2));
    backup(&repo, broker, &topic, &[]);
    delete(broker, &name);
    backup(&repo, broker, &topic, &[]);
    repo.verify();
    repo.verify_by_spec();

    for (sequence, seen, expected) in [
        (2, 2, Some((0, 5, "five".to_owned()))),
        (3, 2, Some((0, 5, "five".to_owned()))),
        (4, 4, Some((0, 12, "twelve".to_owned()))),
        (5, 5, None),
    ] {
        let saved = saved(&repo, sequence);
        assert_eq!(saved["seen"], seen);
        let found = group(&saved, &name).map(|group| offsets(&group).remove(0));
        assert_eq!(found, expected, "snapshot {sequence}");
        assert_eq!(group(&saved, &own), None, "kbk's own group is left out");
    }

    let args = [
        "groups",
        "list",
        "--json",
        "--snapshot",
        "4",
        "--group",
        &name,
    ];
    let listed = run(&mut repo.kbk(&args)).expect_code(0).json();
    let offset = &listed["groups"][0]["offsets"][0];
    assert_eq!(
        (&offset["offset"], &offset["metadata"]),
        (&json!(12), &json!("twelve"))
    );
    assert_eq!(offset["stored_end_offset"], 20);
    assert_eq!(offset["behind"], json!({ "records": 8, "at_most": false }));
}

fn admin(broker: &Broker) -> Admin {
    let settings = ClientSettings::new(Some(broker.bootstrap()), None, &[]);
    Admin::connect(&settings.expect("settings")).expect("the broker answers")
}

fn to_commit(topic: &str, partition: u16, offset: i64, metadata: &str) -> CommittedTopic {
    CommittedTopic {
        topic: topic.to_owned(),
        partitions: vec![CommittedOffset {
            partition: partition.into(),
            offset,
            leader_epoch: None,
            metadata: metadata.to_owned(),
        }],
    }
}

#[test]
fn offsets_of_groups_without_members_are_committed_and_deleted() {
    let broker = Broker::shared();
    let topic = topic_with_records(broker, "altered", 3);
    let admin = admin(broker);
    let names: Vec<String> = (0..40)
        .map(|n| topics::unique(&format!("made-{n}")))
        .collect();
    let group = |(number, name): (i64, &String)| GroupOffsets {
        group: name.clone(),
        topics: vec![to_commit(&topic, 1, number, "größe\u{0}!")],
    };
    let groups: Vec<GroupOffsets> = (0..).zip(&names).map(group).collect();
    admin.commit_offsets(&groups).expect("committed");
    for (number, name) in (0..).zip(&names) {
        let found = committed(broker, name, &[(&topic, 1), (&topic, 0)]);
        assert_eq!(found[0], (Some(number), "größe\u{0}!".to_owned()));
        assert_eq!(found[1].0, None);
    }
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = admin.committed_offsets(&asked).expect("asked");
    for group in &groups {
        let found = found.get(&group.group).expect("answered");
        assert_eq!(found.as_ref(), Some(&group.topics));
    }

    commit(broker, &names[0], &[(&topic, 2, 7, "stays")]);
    let partitions = [TopicPartition::new(&topic, 1.into())];
    admin
        .delete_offsets(&names[0], &partitions)
        .expect("deleted");
    let left = committed(broker, &names[0], &[(&topic, 1), (&topic, 2)]);
    assert_eq!(left, [(None, String::new()), (Some(7), "stays".to_owned())]);

    admin.delete_groups(&asked[1..]).expect("deleted");
    admin.delete_groups(&asked[1..]).expect("deleted already");
    let described = admin.describe_groups(&asked).expect("described");
    let first = described.get(&names[0]).expect("answered");
    let first = first.as_ref().expect("it is there");
    assert_eq!((first.state.as_deref(), first.members), (Some("Empty"), 0));
    assert_eq!(described.iter().count(), names.len());
    let mut others = described.iter().filter(|(name, _)| **name != names[0]);
    assert!(others.all(|(_, found)| found.is_none()), "{described:?}");
    let listed = admin.list_groups().expect("listed");
    let is_listed = |name: &str| listed.groups.iter().any(|listed| listed.group == name);
    assert!(is_listed(&names[0]) && !is_listed(&names[1]));
}

/// A coordinator writes the offsets of one request as one batch, which its topic limits to a megabyte.
#[test]
fn a_group_of_any_size_is_committed() {
    const PARTITIONS: i32 = 300;
    let broker = Broker::shared();
    let topic = topics::unique("committed-widely");
    topics::create(broker, &topic, PARTITIONS, &[]);
    let group = topics::unique("wide");
    // The longest metadata that brokers accept (`offset.metadata.max.bytes`).
    let metadata = |partition: PartitionNumber| format!("{partition:>4096}");
    let committed = |partition: PartitionNumber| CommittedOffset {
        partition,
        offset: partition.get().into(),
        leader_epoch: None,
        metadata: metadata(partition),
    };
    let wide = GroupOffsets {
        group: group.clone(),
        topics: vec![CommittedTopic {
            topic: topic.clone(),
            partitions: PartitionNumber::first(PARTITIONS).map(committed).collect(),
        }],
    };
    let admin = admin(broker);
    admin
        .commit_offsets(std::slice::from_ref(&wide))
        .expect("committed");
    let found = admin.committed_offsets(&[&group]).expect("asked");
    assert_eq!(*found.get(&group).expect("answered"), Some(wide.topics));
    let all: Vec<_> = PartitionNumber::first(PARTITIONS)
        .map(|n| TopicPartition::new(&topic, n))
        .collect();
    admin.delete_offsets(&group, &all).expect("deleted");
    let found = admin.committed_offsets(&[&group]).expect("asked");
    let left = found.get(&group).expect("answered");
    assert!(left.iter().all(Vec::is_empty), "{found:?}");
    topics::delete(broker, &topic);
}

#[test]
fn groups_with_members_are_left_unchanged() {
    let broker = Broker::shared();
    let topic = topic_with_records(broker, "busy", 1);
    let admin = admin(broker);
    for protocol in ["classic", "consumer"] {
        let name = topics::unique(protocol);
        let member = Member::join(broker, protocol, &name, &topic);
        member.read(20);
        let described = admin
            .describe_groups(&[&name])
            .expect("described")
            .take(&name)
            .expect("answered");
        let described = described.expect("it is there");
        assert_eq!(
            (described.state.as_deref(), described.members),
            (Some("Stable"), 1)
        );

        let change = GroupOffsets {
            group: name.clone(),
            topics: vec![to_commit(&topic, 0, 3, "")],
        };
        let error = admin
            .commit_offsets(&[change])
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains(&format!("commit the offsets of group {name}")),
            "{error}"
        );
        let error = admin
            .delete_groups(&[&name])
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains(&name) && error.contains("NON_EMPTY_GROUP"),
            "{error}"
        );
        let error = admin.delete_offsets(&name, &[TopicPartition::new(&topic, 0.into())]);
        let error = error.expect_err("refused").to_string();
        assert!(
            error.contains(&name) && error.contains("GROUP_SUBSCRIBED_TO_TOPIC"),
            "{error}"
        );
        assert_eq!(committed(broker, &name, &[(&topic, 0)])[0].0, Some(20));
        drop(member);
        wait::until("the member to leave", || {
            let described = admin
                .describe_groups(&[&name])
                .expect("described")
                .take(&name)
                .expect("answered")?;
            (described.members == 0).then_some(())
        });
    }
}

/// Kafka allows any text as a group's id and as metadata.
#[test]
fn groups_of_any_id_are_saved_or_named_as_not_saved() {
    let broker = Broker::start(&[]);
    topics::create(&broker, "read", 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(5).collect();
    produce(&broker, "none", ("read", 0), &records);
    let metadata = "\0x\n/";
    let whole = ["", "a/b\nc", "größe", "both", " "];
    for group in whole {
        wire::commit(&broker, group, ("read", 0), (3, metadata));
    }
    let repo = Repo::new();
    let report = backup(&repo, &broker, "read", &[]);
    assert_eq!(
        (&report["findings"], &report["groups"]),
        (&json!([]), &json!(5))
    );

    for group in ["n\0ul", "both\0and"] {
        wire::commit(&broker, group, ("read", 0), (4, ""));
    }
    let finished = run(&mut repo.backup(&broker, &[])).expect_code(3);
    assert_eq!(
        finished.json()["findings"],
        json!([{ "finding": "groups_unreadable", "groups": ["both", "n"] }])
    );
    assert!(finished.stderr.contains("NUL"), "{finished:#?}");
    for sequence in [1, 2] {
        let saved = saved(&repo, sequence);
        assert_eq!(saved["groups"].as_array().map(Vec::len), Some(5));
        for name in whole {
            let group = group(&saved, name).expect("the group is saved");
            assert_eq!(offsets(&group), [(0, 3, metadata.to_owned())], "{name:?}");
        }
    }

    // What is saved is restored, and rolled back. Brokers delete no single offset of the group with the empty id.
    let args = ["--map", "read=copy", "--groups", "*", "--verify"];
    run(&mut repo.restore(&broker, &args)).expect_code(0);
    let committed_in_copy = |name: &str, expected: &[(i64, i64, String)]| {
        let now = Repo::new();
        run(&mut now.backup(&broker, &["--topic", "copy"])).expect_code(3);
        let mut group = group(&saved(&now, 1), name).expect("the group is saved");
        let topics = group["topics"].as_array_mut().expect("an array");
        topics.retain(|topic| topic["topic"] == "copy");
        let found = match topics.is_empty() {
            true => Vec::new(),
            false => offsets(&group),
        };
        assert_eq!(found.as_slice(), expected, "{name:?}");
    };
    let restored = [(0, 3, metadata.to_owned())];
    for name in whole {
        committed_in_copy(name, &restored);
    }
    let rollback = ["groups", "rollback", "--json", "-b", broker.bootstrap()];
    let report = run(&mut repo.kbk(&rollback)).expect_code(3).json();
    let actions = report["offsets"].as_array().expect("an array").iter();
    let stay = actions.filter(|offset| offset["action"] == "undeletable");
    let stay: Vec<&Value> = stay.map(|offset| &offset["group"]).collect();
    assert_eq!(stay, [""], "{report:#}");
    for name in whole {
        let expected = if name.is_empty() { &restored[..] } else { &[] };
        committed_in_copy(name, expected);
    }

    // Where it has nothing else, the group goes as a whole.
    let elsewhere = Broker::start(&[]);
    let args = ["--topic", "read", "--groups", "*"];
    run(&mut repo.restore(&elsewhere, &args)).expect_code(0);
    let rollback = ["groups", "rollback", "--json", "-b", elsewhere.bootstrap()];
    let report = run(&mut repo.kbk(&rollback)).expect_code(0).json();
    let deleted = report["deleted"].as_array().map(Vec::len);
    assert_eq!(deleted, Some(whole.len()), "{report:#}");
}

fn backup_seen(guarded: &Guarded, repo: &Repo) -> Finished {
    run(&mut guarded.kbk(repo, &["backup", "--topic", "seen", "--no-acls"]))
}

/// Brokers silently omit groups that a principal may not see.
#[test]
fn hidden_groups_are_reported_and_do_not_replace_saved_ones() {
    let guarded = Guarded::start();
    let broker = &guarded.broker;
    topics::create(broker, "seen", 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(5).collect();
    produce(broker, "none", ("seen", 0), &records);
    commit(broker, "a-group", &[("seen", 0, 3, "")]);
    commit(broker, "b-group", &[("seen", 0, 4, "")]);
    let repo = Repo::new();
    let all = backup(&repo, broker, "seen", &[]);
    assert!(all["groups"].as_u64() >= Some(2), "{all:#}");

    guarded.grant(&[
        "--operation",
        "Read",
        "--operation",
        "DescribeConfigs",
        "--topic",
        "seen",
    ]);
    let none = backup_seen(&guarded, &repo).expect_code(0);
    assert!(
        none.stderr.contains("DESCRIBE on CLUSTER kafka-cluster"),
        "{none:#?}"
    );
    assert_eq!(none.json()["findings"][0]["finding"], "groups_unknown");
    assert_eq!(none.json()["groups"], json!(null));
    assert_eq!(saved(&repo, 2), saved(&repo, 1));

    guarded.grant(&["--operation", "Describe", "--group", "b-group"]);
    commit(broker, "b-group", &[("seen", 0, 5, "")]);
    let some = backup_seen(&guarded, &repo).expect_code(0).json();
    let hidden = json!({ "finding": "groups_hidden", "visible_groups": 1 });
    let findings = some["findings"].as_array().expect("an array");
    assert!(findings.contains(&hidden), "{some:#}");
    kept_beside_newer(&repo, 3, &some);

    guarded.grant(&["--operation", "Describe", "--cluster"]);
    let denied = backup_seen(&guarded, &repo).expect_code(0);
    let expected = "not allowed to read the committed offsets of group a-group";
    assert!(denied.stderr.contains(expected), "{denied:#?}");
    assert!(
        denied.stderr.contains("DESCRIBE on GROUP a-group"),
        "{denied:#?}"
    );
    kept_beside_newer(&repo, 4, &denied.json());
    // Without an older copy to keep, something is missing.
    let first = Repo::new();
    let missing = backup_seen(&guarded, &first).expect_code(3).json();
    let finding = &missing["findings"][0];
    assert_eq!(finding["finding"], "groups_denied", "{missing:#}");
    let names = finding["missing"].as_array().expect("an array");
    assert!(names.contains(&json!("a-group")), "{missing:#}");
    assert!(group(&saved(&first, 1), "b-group").is_some());

    guarded.grant(&["--operation", "Describe", "--group", "*"]);
    let all = backup_seen(&guarded, &repo).expect_code(0).json();
    assert_eq!(all["findings"], json!([]));
    let seen_again = group(&saved(&repo, 5), "a-group").expect("it is saved");
    assert_eq!(seen_again["taken_at"], json!(null));
}

/// Fails the test unless `a-group`, which may not be described, is kept as the first snapshot has it, and says so.
#[track_caller]
fn kept_beside_newer(repo: &Repo, sequence: u64, report: &Value) {
    let findings = report["findings"].as_array().expect("an array").iter();
    let denied: Vec<_> = findings
        .filter(|found| found["finding"] == "groups_denied")
        .collect();
    let [denied] = denied.as_slice() else {
        panic!("{report:#}")
    };
    let kept = denied["kept"].as_array().expect("an array");
    assert!(kept.contains(&json!("a-group")), "{report:#}");
    assert_eq!(denied["missing"], json!([]));
    let now = saved(repo, sequence);
    let of = |name| group(&now, name).expect("the group is saved");
    assert_eq!(offsets(&of("a-group")), [(0, 3, String::new())]);
    assert_eq!(offsets(&of("b-group")), [(0, 5, String::new())]);
    assert_eq!(of("a-group")["taken_at"], saved(repo, 1)["taken_at"]);
    assert_eq!(of("b-group")["taken_at"], json!(null));

    let listed = run(&mut repo.kbk(&["groups", "list"])).expect_code(0);
    assert!(
        listed.stdout.contains("older: group a-group as of"),
        "{listed:#?}"
    );
    repo.verify_by_spec();
}
