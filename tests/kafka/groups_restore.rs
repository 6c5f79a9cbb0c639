//! Restored groups resume at exactly the right record; groups in use are left alone, and a restore of groups can be rolled back.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::groups::{Member, commit, committed};
use crate::support::process::{Running, kbk, run};
use crate::support::produce::{Producer, produce, produce_bulk};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

/// Forty offsets: ten deleted, ten plain, five of a transaction and its marker, an aborted one of three and its marker, ten plain.
fn topic_with_gaps(broker: &Broker) -> String {
    let topic = topics::unique("gaps");
    topics::create(broker, &topic, 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(28).collect();
    produce(broker, "none", (&topic, 0), &records[..20]);
    topics::delete_records(broker, (&topic, 0), 10);
    let producer = Producer::transactional(broker, "none", &topic);
    producer.begin();
    records[..5]
        .iter()
        .for_each(|record| producer.send(&topic, 0, record));
    producer.commit();
    producer.begin();
    records[..3]
        .iter()
        .for_each(|record| producer.send(&topic, 0, record));
    producer.abort();
    produce(broker, "none", (&topic, 0), &records[18..]);
    assert_eq!(consume::offsets(broker, &topic, 0), 10..40);
    topic
}

/// Each group's committed offset, its metadata, and the correct offset in a target that holds only these records.
const CASES: [(&str, i64, &str, i64); 8] = [
    ("before-the-log-start", 3, "", 0),
    ("on-the-first", 10, "", 0),
    ("on-a-record", 33, "größe \"1\"", 18),
    ("on-a-marker", 25, "", 15),
    ("on-an-aborted-record", 27, "aborted", 15),
    ("behind-a-gap", 30, "", 15),
    ("on-the-last", 39, "", 24),
    ("at-the-end", 40, "end", 25),
];

#[test]
fn each_group_lands_on_its_record_and_can_be_rolled_back() {
    let broker = Broker::shared();
    let topic = topic_with_gaps(broker);
    let group = |name: &str| format!("{topic}-{name}");
    for (name, offset, metadata, _) in CASES {
        commit(broker, &group(name), &[(&topic, 0, offset, metadata)]);
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("gaps-restored");
    repo.restore_as(broker, &[(&topic, &target)]);
    // One of the groups already has a committed offset in the target.
    commit(broker, &group("on-a-record"), &[(&target, 0, 7, "before")]);

    let pattern = format!("{topic}-*");
    let args = [
        "groups",
        "restore",
        "--json",
        "-b",
        broker.bootstrap(),
        "--group",
        &pattern,
    ];
    let dry = run(repo.kbk(&args).arg("--dry-run")).expect_code(0).json();
    assert_eq!(dry["change"], Value::Null);
    assert_eq!(
        now(broker, &group("at-the-end"), &target),
        (None, String::new()),
        "nothing is committed"
    );
    let report = run(&mut repo.kbk(&args)).expect_code(0).json();
    assert_eq!(
        report["groups"], dry["groups"],
        "the plan is what is applied"
    );
    for (name, _, metadata, expected) in CASES {
        let found = now(broker, &group(name), &target);
        assert_eq!(found, (Some(expected), metadata.to_owned()), "{name}");
        // Its position matches the source: the same record, or the end.
        let source = consume::read_all(broker, &topic, 0);
        let next = source
            .iter()
            .find(|record| record.offset >= offset_of(name));
        let there = consume::read_all(broker, &target, 0);
        let there = there.iter().find(|record| record.offset >= expected);
        assert_eq!(
            next.map(|record| &record.message),
            there.map(|record| &record.message),
            "{name}"
        );
    }

    // Kafka's own tool does the same from the CSV.
    let csv = run(&mut repo.kbk(&["groups", "map", "--csv", "--group", &pattern]))
        .expect_code(0)
        .stdout;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &csv).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let printed = broker.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &[
            "--all-groups",
            "--reset-offsets",
            "--from-file",
            path,
            "--dry-run",
        ],
    );
    for (name, _, _, expected) in CASES {
        let line = printed
            .lines()
            .find(|line| line.contains(&group(name)) && line.contains(&target));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {printed}"));
        assert!(
            line.split_whitespace()
                .any(|word| word == expected.to_string()),
            "{line}"
        );
    }

    let args = ["groups", "rollback", "--json", "-b", broker.bootstrap()];
    run(repo.kbk(&args).arg("--dry-run")).expect_code(0);
    assert_eq!(
        now(broker, &group("at-the-end"), &target).0,
        Some(25),
        "a dry run changes nothing"
    );
    for _ in 0..2 {
        run(&mut repo.kbk(&args)).expect_code(0);
        for (name, offset, metadata, _) in CASES {
            let before = match name {
                "on-a-record" => (Some(7), "before".to_owned()),
                _ => (None, String::new()),
            };
            assert_eq!(now(broker, &group(name), &target), before, "{name}");
            let elsewhere = now(broker, &group(name), &topic);
            assert_eq!(
                elsewhere,
                (Some(offset), metadata.to_owned()),
                "{name}: other topics stay"
            );
        }
    }
}

fn offset_of(name: &str) -> i64 {
    let case = CASES.iter().find(|(case, ..)| *case == name);
    case.expect("a known case").1
}

fn now(broker: &Broker, group: &str, topic: &str) -> (Option<i64>, String) {
    committed(broker, group, &[(topic, 0)]).remove(0)
}

/// What a group has committed since its restore is newer than what it had before.
#[test]
fn a_rollback_keeps_what_was_committed_since_and_takes_any_change_back() {
    let broker = Broker::shared();
    let topic = topic_with_gaps(broker);
    let group = |name: &str| format!("{topic}-{name}");
    for name in ["moved", "made", "still"] {
        commit(broker, &group(name), &[(&topic, 0, 33, "")]);
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("rolled-back");
    repo.restore_as(broker, &[(&topic, &target)]);
    for name in ["moved", "still"] {
        commit(broker, &group(name), &[(&target, 0, 7, "before")]);
    }
    let kbk = |args: &[&str], code: i32| {
        let args = [&["groups"], args, &["--json"]].concat();
        run(&mut repo.kbk(&args)).expect_code(code).json()
    };
    let with_broker =
        |args: &[&str], code: i32| kbk(&[args, &["-b", broker.bootstrap()]].concat(), code);
    let restore = |name: &str| {
        let report = with_broker(&["restore", "--group", &group(name)], 0);
        report["change"].as_str().expect("a change").to_owned()
    };
    let changes = ["moved", "made", "still"].map(restore);
    let offset = |name: &str| now(broker, &group(name), &target).0;
    assert_eq!(["moved", "made", "still"].map(offset), [Some(18); 3]);

    // Two of the groups commit again.
    commit(broker, &group("moved"), &[(&target, 0, 20, "since")]);
    commit(broker, &group("made"), &[(&target, 0, 21, "since")]);
    for (name, change, since) in [("moved", &changes[0], 20), ("made", &changes[1], 21)] {
        for dry_run in [&["--dry-run"][..], &[]] {
            let args = [&["rollback", "--change", change], dry_run].concat();
            let report = with_broker(&args, 3);
            assert_eq!(report["offsets"][0]["action"], "kept", "{report:#}");
            assert_eq!(report["offsets"][0]["now"]["offset"], since);
            assert_eq!(
                (&report["rollback"], &report["deleted"]),
                (&Value::Null, &json!([]))
            );
            assert_eq!(offset(name), Some(since));
        }
    }

    // The last change is the default, and a change that is not the last one can be rolled back as well.
    let last = with_broker(&["rollback"], 0);
    assert_eq!(
        (&last["change"], offset("still")),
        (&json!(changes[2]), Some(7))
    );
    let again = with_broker(&["rollback"], 0);
    assert_eq!(
        (&again["change"], &again["rollback"]),
        (&json!(changes[2]), &Value::Null)
    );
    assert_eq!(again["offsets"][0]["action"], "unchanged");
    let overwritten = with_broker(&["rollback", "--change", &changes[0], "--overwrite"], 0);
    assert_eq!(offset("moved"), Some(7));
    with_broker(&["rollback", "--change", &changes[1], "--overwrite"], 0);
    assert_eq!(offset("made"), None, "it did not exist before");

    // So can a rollback, with what it replaced.
    let rollback = overwritten["rollback"].as_str().expect("a change");
    with_broker(&["rollback", "--change", rollback], 0);
    let moved = now(broker, &group("moved"), &target);
    assert_eq!(moved, (Some(20), "since".to_owned()));

    let listed = kbk(&["changes"], 0);
    let listed = listed["changes"].as_array().expect("an array");
    assert_eq!(listed.len(), 7);
    assert_eq!(listed[0]["change"], changes[0]);
    assert_eq!(listed[4]["undoes"], changes[0]);
    assert_eq!(listed[6]["undoes"], rollback);
    let unknown = run(&mut repo.kbk(&["groups", "rollback", "--change", "x"])).expect_code(1);
    assert!(
        unknown.stderr.contains("kbk groups changes"),
        "{unknown:#?}"
    );
}

#[test]
fn groups_in_use_are_left_alone_and_the_others_are_committed() {
    let broker = Broker::shared();
    let topic = topic_with_gaps(broker);
    let groups = ["free", "classic", "consumer"].map(topics::unique);
    let [free, classic, modern] = &groups;
    for group in &groups {
        commit(broker, group, &[(&topic, 0, 33, "here")]);
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("left-alone");
    let map = format!("{topic}={target}");
    run(&mut repo.restore(broker, &["--map", &map])).expect_code(0);

    let members = [("classic", classic), ("consumer", modern)];
    let members = members.map(|(protocol, group)| {
        let member = Member::join(broker, protocol, group, &topic);
        member.read(1);
        member
    });
    let restore = |json: &[&str], groups: &[&String]| {
        let mut restore = repo.kbk(&["groups", "restore", "-b", broker.bootstrap()]);
        for group in groups {
            restore.args(["--group", group]);
        }
        restore.args(json);
        restore
    };
    let here = (Some(18), "here".to_owned());
    let nothing = (None, String::new());
    let in_use = run(&mut restore(&[], &[classic, modern])).expect_code(3);
    assert!(in_use.stdout.contains("nothing changed"), "{in_use:#?}");
    let some = run(&mut restore(&[], &[free, classic, modern])).expect_code(3);
    let first = some.stdout.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("left alone: 2 groups in use, "),
        "{some:#?}"
    );
    for group in [classic, modern] {
        assert!(first.contains(&format!("{group} (1 member)")), "{some:#?}");
        assert_eq!(now(broker, group, &target), nothing, "{group}");
    }
    assert!(!first.contains(free.as_str()), "{some:#?}");
    assert_eq!(now(broker, free, &target), here);

    drop(members);
    wait::until("the members to leave", || {
        let all = run(&mut restore(&["--json"], &[classic, modern]));
        (all.status.code() == Some(0)).then_some(())
    });
    for group in &groups {
        assert_eq!(now(broker, group, &target), here, "{group}");
    }
}

#[test]
fn groups_are_restored_with_the_records_unless_in_use() {
    let broker = Broker::shared();
    let topic = topic_with_gaps(broker);
    let group = topics::unique("used");
    commit(broker, &group, &[(&topic, 0, 33, "here")]);
    let elsewhere = topics::unique("used-elsewhere");
    topics::create(broker, &elsewhere, 1, &[]);
    let other = format!("{group}-other");
    commit(broker, &other, &[(&elsewhere, 0, 1, "")]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("used-restored");
    let map = format!("{topic}={target}");
    let args = ["--topic", &topic, "--map", &map, "--groups", &group];

    let member = Member::join(broker, "classic", &group, &topic);
    member.read(1);
    let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
    assert!(
        refused
            .stderr
            .contains(&format!("group {group} has 1 member,")),
        "{refused:#?}"
    );
    assert_eq!(
        consume::partitions(broker, &target),
        0,
        "nothing is written"
    );
    drop(member);
    // One with a name of its own stays a member when it ends, for as long as its session.
    let member = Member::join_as(broker, "away", &group, &topic);
    member.read(1);
    drop(member);
    let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
    let counted = format!("group {group} has 1 member,");
    assert!(refused.stderr.contains(&counted), "{refused:#?}");
    wait::until("its session to end", || {
        let dry = [&args[..], &["--dry-run"]].concat();
        let planned = run(&mut repo.restore(broker, &dry));
        (planned.status.code() == Some(0)).then_some(())
    });

    // A group of which nothing would be committed is named before that.
    run(&mut repo.backup(broker, &["--topic", &topic, "--topic", &elsewhere])).expect_code(0);
    let dry = [&args[..], &["--groups", &other, "--dry-run"]].concat();
    let dry = run(&mut repo.restore(broker, &dry)).expect_code(0);
    let why = format!("it has committed offsets only of what is not restored: {elsewhere}");
    let expected = json!([{ "group": other, "why": why }]);
    assert_eq!(dry.json()["groups_without_offsets"], expected);

    // The member has committed an offset of its own since the first backup.
    let args = [&args[..], &["--snapshot", "1"]].concat();
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
    let offset = &report["groups"]["groups"][0]["offsets"][0];
    assert_eq!(offset["target"]["offset"], 18, "{report}");
    assert_eq!(now(broker, &group, &target), (Some(18), "here".to_owned()));

    // A group of which nothing is committed is none that was changed.
    let nothing = [
        "groups",
        "restore",
        "-b",
        broker.bootstrap(),
        "--group",
        &other,
    ];
    let nothing = run(&mut repo.kbk(&nothing)).expect_code(0);
    assert_eq!(nothing.stdout, "nothing changed\n", "{nothing:#?}");
    assert!(nothing.stderr.contains(&why), "{nothing:#?}");

    // Looks up single offsets of one partition in the offset map.
    let args = [
        "groups",
        "map",
        "--json",
        &format!("{topic}/0"),
        "39",
        "25",
        "40",
    ];
    let map = run(&mut repo.kbk(&args)).expect_code(0).json();
    let offsets = &map["partitions"][0]["offsets"];
    let lands = |at: usize| {
        (
            offsets[at]["targets"][0]["offset"].clone(),
            offsets[at]["targets"][0]["lands"].clone(),
        )
    };
    assert_eq!(lands(0), (json!(24), json!("on_record")));
    assert_eq!(lands(1), (json!(15), json!("on_next")));
    assert_eq!(lands(2), (json!(25), json!("at_end")));

    let unknown = repo
        .kbk(&["groups", "map", "--restore", "no-such-restore"])
        .arg("--json")
        .output();
    let unknown = String::from_utf8_lossy(&unknown.expect("it runs").stderr).into_owned();
    assert!(
        unknown.contains("there is no restore no-such-restore"),
        "{unknown}"
    );
    let nothing = run(&mut kbk(["groups", "map"])).stderr;
    assert!(nothing.contains("--repo"), "{nothing}");
}

/// The plan saw it without members. Its offsets would be overwritten by what they commit, so it is left alone, and the others are not.
#[test]
fn a_group_that_gets_a_member_while_records_are_written_is_left_alone() {
    let broker = Broker::shared();
    let topic = topic_with_gaps(broker);
    let groups = ["stays", "joins"].map(topics::unique);
    let [stays, joins] = &groups;
    for group in &groups {
        commit(broker, group, &[(&topic, 0, 33, "here")]);
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let target = topics::unique("joined");
    let map = format!("{topic}={target}");
    let args = ["--map", &map, "--groups", stays, "--groups", joins];
    let slowly = [&args[..], &["--rate-limit-records", "2"]].concat();
    let restoring = Running::spawn(&mut repo.restore(broker, &slowly));
    restoring.wait_until("it writes", || {
        (consume::partitions(broker, &target) > 0).then_some(())
    });
    let member = Member::join(broker, "classic", joins, &topic);
    member.read(1);
    restoring.assert_runs("a member has joined");
    let restored = restoring.finish().expect_code(3);
    let report = restored.json();
    assert_eq!(report["records"], 25, "{report}");
    let found = report["groups"]["groups"].as_array().expect("groups");
    let members = found
        .iter()
        .map(|group| (&group["group"], &group["members"]));
    let expected = [(&json!(joins), &json!(1)), (&json!(stays), &json!(0))];
    assert!(members.eq(expected), "{report}");
    assert_eq!(now(broker, stays, &target), (Some(18), "here".to_owned()));
    assert_eq!(now(broker, joins, &target), (None, String::new()));
    drop(member);
}

#[test]
fn a_resumed_restore_restores_the_groups_that_it_was_begun_with() {
    let broker = Broker::shared();
    let (topic, target) = (
        topics::unique("resumed-groups"),
        topics::unique("resumed-target"),
    );
    topics::create(broker, &topic, 1, &[]);
    produce_bulk(
        broker,
        "none",
        (&topic, 1),
        samples::documents(1).take(3_000),
    );
    let group = topics::unique("resumed");
    commit(broker, &group, &[(&topic, 0, 33, "here")]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let map = format!("{topic}={target}");
    let args = [
        "--map",
        &map,
        "--groups",
        &group,
        "--rate-limit-records",
        "500",
    ];
    let running = Running::spawn(&mut repo.restore(broker, &args));
    running.wait_until("the first records", || {
        let there =
            consume::partitions(broker, &target) > 0 && consume::bounds(broker, &target, 0)[2] > 0;
        there.then_some(())
    });
    running.signal(libc::SIGKILL);
    running.finish();
    let resume = ["--resume", "--rate-limit-records", "1000000"];
    let report = run(&mut repo.restore(broker, &resume))
        .expect_code(0)
        .json();
    assert_eq!(report["records"], 3_000);
    assert_eq!(report["groups"]["groups"][0]["group"], group.as_str());
    let (offset, metadata) = now(broker, &group, &target);
    assert_eq!(metadata, "here");
    let offset = offset.expect("it is committed");
    let next = consume::read(broker, &target, 0, offset..offset + 1).remove(0);
    let original = consume::read(broker, &topic, 0, 33..34).remove(0);
    assert_eq!(next.message, original.message);
}
