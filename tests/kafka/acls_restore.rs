//! ACLs are restored unchanged, last, and only added; a missing permission to create them is reported before anything is written.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use kbk_format::repo::AclBinding;
use serde_json::{Value, json};

use crate::support::acls::{MANY, add, bindings, list};
use crate::support::broker::Broker;
use crate::support::groups::commit;
use crate::support::guarded::Guarded;
use crate::support::process::{Running, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::{Files, Repo};
use crate::support::{consume, samples, topics};

/// Starts a guarded broker with 200 records in `orders`, its only topic.
fn with_orders() -> Guarded {
    let guarded = Guarded::start();
    fill(&guarded.broker, "orders");
    guarded
}

fn fill(broker: &Broker, topic: &str) {
    topics::create(broker, topic, 1, &[]);
    let records: Vec<Message> = samples::mixed(1).take(200).collect();
    produce(broker, "none", (topic, 0), &records);
}

/// Returns the ACLs of a guarded broker that has many, and a backup of it. The broker is started once for all tests.
fn saved() -> (Vec<AclBinding>, Repo) {
    static SAVED: OnceLock<(Vec<AclBinding>, Files)> = OnceLock::new();
    let (truth, files) = SAVED.get_or_init(|| {
        let guarded = with_orders();
        for args in MANY {
            add(&guarded.broker, args);
        }
        let repo = Repo::new();
        run(&mut repo.backup(&guarded.broker, &["--acls"])).expect_code(0);
        (list(&guarded.broker), repo.files())
    });
    (truth.clone(), Repo::of(files))
}

fn restored(repo: &Repo, broker: &Broker, args: &[&str]) -> Value {
    run(&mut repo.restore(broker, args)).expect_code(0).json()
}

#[test]
fn restoring_all_topics_restores_all_acls_unchanged() {
    let (truth, repo) = saved();
    let target = Guarded::start();
    let broker = &target.broker;
    // One ACL exists already, and one that the backup does not have must stay.
    add(broker, MANY[3]);
    add(
        broker,
        "--allow-principal User:stays --operation Read --topic stays",
    );
    let mine: BTreeSet<AclBinding> = list(broker).into_iter().collect();

    let plan = restored(&repo, broker, &["--acls", "--dry-run"]);
    assert_eq!(plan["acls"]["everything"], json!(true));
    let planned = plan["acls"]["acls"].as_array().expect("an array");
    let exist = planned.iter().filter(|acl| acl["exists"] == true);
    assert_eq!((planned.len(), exist.count()), (15, 1), "{plan:#}");
    assert_eq!(list(broker).len(), 2, "a dry run creates nothing");

    let report = restored(&repo, broker, &["--acls"]);
    assert_eq!(report["records"], 200);
    assert_eq!(report["acls"]["created"], 14);
    assert_eq!(report["acls"]["existed"], 1);
    assert_eq!(
        report["acls"]["acls"], plan["acls"]["acls"],
        "the plan is what is applied"
    );
    let found: BTreeSet<AclBinding> = list(broker).into_iter().collect();
    assert_eq!(
        found,
        mine.union(&truth.into_iter().collect()).cloned().collect()
    );

    let args = ["acls", "restore", "--json", "-b", broker.bootstrap()];
    let again = run(&mut repo.kbk(&args)).expect_code(0).json();
    assert_eq!(
        (&again["created"], &again["existed"]),
        (&json!(0), &json!(15))
    );
}

#[test]
fn restoring_one_topic_restores_the_acls_that_applied_to_it_under_its_new_name() {
    let guarded = with_orders();
    let broker = &guarded.broker;
    fill(broker, "payments");
    for args in MANY {
        add(broker, args);
    }
    commit(broker, "billing", &[("orders", 0, 3, "")]);
    commit(broker, "other", &[("orders", 0, 3, "")]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &[])).expect_code(0);
    let before: BTreeSet<AclBinding> = list(broker).into_iter().collect();

    let args = [
        "--topic",
        "orders",
        "--map",
        "orders=copy",
        "--groups",
        "billing",
        "--acls",
    ];
    let report = restored(&repo, broker, &args);
    let acls = &report["acls"];
    assert_eq!(acls["everything"], json!(false));
    assert_eq!(
        acls["not_chosen"], 3,
        "one of a transactional id, two of the cluster: {acls:#}"
    );
    let after: BTreeSet<AclBinding> = list(broker).into_iter().collect();
    let mut expected: Vec<AclBinding> = [
        "--allow-principal User:alice --allow-principal User:bob --allow-host 10.0.0.1 --allow-host * \
         --operation Read --operation DescribeConfigs --topic copy",
        "--deny-principal User:größe --deny-host 10.0.0.2 --operation Write --topic copy",
        "--allow-principal User:monitor --operation Describe --topic copy",
        "--allow-principal User:alice --operation All --group billing",
    ]
    .into_iter()
    .flat_map(bindings)
    .collect();
    expected.sort();
    let new: Vec<AclBinding> = after.difference(&before).cloned().collect();
    assert_eq!(new, expected);
    assert!(before.is_subset(&after), "no ACL is deleted");
}

#[test]
fn a_missing_permission_to_create_acls_is_reported_before_anything_is_written() {
    let (_, repo) = saved();
    let target = Guarded::start();
    let broker = &target.broker;
    for args in [
        "--operation All --topic *",
        "--operation All --group *",
        "--operation All --transactional-id *",
    ] {
        target.grant(&args.split(' ').collect::<Vec<_>>());
    }
    let args = ["restore", "--acls"];
    for right in ["DESCRIBE", "ALTER"] {
        for command in [
            args.as_slice(),
            &["restore", "--acls", "--dry-run"],
            &["acls", "restore"],
        ] {
            let refused = run(&mut target.kbk(&repo, command)).expect_code(1);
            let lacks = format!("lacks {right} on CLUSTER kafka-cluster");
            assert!(refused.stderr.contains(&lacks), "{lacks}: {refused:#?}");
        }
        assert_eq!(
            consume::partitions(broker, "orders"),
            0,
            "nothing was created"
        );
        target.grant(&["--operation", "Describe", "--cluster"]);
    }
    target.grant(&["--operation", "Alter", "--cluster"]);
    let report = run(&mut target.kbk(&repo, &args)).expect_code(0).json();
    assert_eq!(report["acls"]["created"], 15);
}

/// ACLs come after records, configuration and groups, and ACLs on the cluster come after all others.
#[test]
fn acls_that_deny_the_restoring_principal_do_not_stop_the_restore() {
    let source = with_orders();
    for args in [
        "--deny-principal User:limited --operation All --topic *",
        "--deny-principal User:limited --operation All --group b --resource-pattern-type prefixed",
        "--deny-principal User:limited --operation All --transactional-id *",
        "--deny-principal User:limited --operation Alter --operation Describe --cluster",
        "--allow-principal User:alice --operation Read --topic orders",
    ] {
        add(&source.broker, args);
    }
    commit(&source.broker, "billing", &[("orders", 0, 3, "")]);
    let repo = Repo::new();
    run(&mut repo.backup(&source.broker, &["--acls"])).expect_code(0);
    let truth = list(&source.broker);
    drop(source);

    let target = Guarded::start();
    for args in [
        "--operation All --topic *",
        "--operation All --group *",
        "--operation All --transactional-id *",
        "--operation All --cluster",
    ] {
        target.grant(&args.split(' ').collect::<Vec<_>>());
    }
    let before = list(&target.broker);
    let args = ["restore", "--groups", "billing", "--acls", "--verify"];
    let report = run(&mut target.kbk(&repo, &args)).expect_code(0).json();
    assert_eq!(
        (&report["records"], &report["acls"]["created"]),
        (&json!(200), &json!(6))
    );
    assert_eq!(report["groups"]["groups"].as_array().map(Vec::len), Some(1));
    let found: BTreeSet<AclBinding> = list(&target.broker).into_iter().collect();
    assert_eq!(found, before.into_iter().chain(truth).collect());
}

#[test]
fn a_resumed_restore_creates_the_acls() {
    let (truth, repo) = saved();
    let target = Guarded::start();
    let broker = &target.broker;
    let running =
        Running::spawn(&mut repo.restore(broker, &["--acls", "--rate-limit-records", "20"]));
    running.wait_until("the topic to be created", || {
        (consume::partitions(broker, "orders") > 0).then_some(())
    });
    running.signal(libc::SIGINT);
    let stopped = running.finish().expect_code(130);
    let says = "no ACLs were created: they follow once";
    assert!(stopped.stderr.contains(says), "{stopped:#?}");
    assert_eq!(stopped.json()["acls"], json!(null));
    assert_eq!(list(broker), []);

    // It is known that ACLs were asked for.
    let report = restored(&repo, broker, &["--resume"]);
    assert_eq!(
        (&report["records"], &report["acls"]["created"]),
        (&json!(200), &json!(15))
    );
    assert_eq!(list(broker), truth);
}

#[test]
fn only_config_can_restore_acls() {
    let (truth, repo) = saved();
    let target = Guarded::start();
    let broker = &target.broker;
    let args = ["--only-config", "--acls"];
    let plan = restored(&repo, broker, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(plan["acls"]["acls"].as_array().map(Vec::len), Some(15));
    let report = restored(&repo, broker, &args);
    assert_eq!(
        (&report["topics_created"], &report["acls"]["created"]),
        (&json!(1), &json!(15))
    );
    assert_eq!(list(broker), truth);
    assert_eq!(consume::offsets(broker, "orders", 0), 0..0);
}

#[test]
fn a_missing_authorizer_is_reported_for_source_and_target() {
    let broker = Broker::shared();
    let (_, repo) = saved();
    let target = topics::unique("guarded");
    let map = format!("orders={target}");
    let refused = run(&mut repo.restore(broker, &["--map", &map, "--acls"])).expect_code(1);
    assert!(refused.stderr.contains("has no authorizer"), "{refused:#?}");
    assert_eq!(
        consume::partitions(broker, &target),
        0,
        "nothing was created"
    );

    let open = topics::unique("open");
    fill(broker, &open);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &open])).expect_code(0);
    let map = format!("{open}={}", topics::unique("open-again"));
    let report = restored(&repo, broker, &["--map", &map, "--acls"]);
    assert_eq!(report["acls"]["source_authorizer"], json!(false));
    assert_eq!(report["acls"]["created"], 0);
    let args = ["acls", "restore", "-b", broker.bootstrap(), "--dry-run"];
    let said = run(&mut repo.kbk(&args)).expect_code(0).stdout;
    assert!(said.contains("had no authorizer, and so no ACLs"), "{said}");

    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &open, "--no-acls"])).expect_code(0);
    let refused = run(&mut repo.restore(broker, &["--map", &map, "--acls"])).expect_code(1);
    assert!(refused.stderr.contains("has no ACLs"), "{refused:#?}");
}
