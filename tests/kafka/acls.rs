//! ACLs are saved exactly as Kafka's own tool lists them, and a backup that cannot save them reports it.

use kbk_format::repo::AclBinding;
use serde_json::{Value, json};

use crate::support::acls::{MANY, add, list, list_by_tool, remove};
use crate::support::broker::Broker;
use crate::support::guarded::Guarded;
use crate::support::process::run;
use crate::support::repo::Repo;
use crate::support::topics;

/// Returns the member `acls` of a snapshot.
fn saved(repo: &Repo, sequence: u64) -> Value {
    repo.saved(sequence, "acls")
}

fn bindings(acls: &Value) -> Vec<AclBinding> {
    serde_json::from_value(acls["acls"].clone()).expect("bindings")
}

/// Starts a guarded broker with the topic `orders` and many ACLs.
fn with_acls() -> Guarded {
    let guarded = Guarded::start();
    topics::create(&guarded.broker, "orders", 1, &[]);
    for args in MANY {
        add(&guarded.broker, args);
    }
    guarded
}

fn backup(broker: &Broker, repo: &Repo, args: &[&str]) -> Value {
    run(&mut repo.backup(broker, args)).expect_code(0).json()
}

#[test]
fn every_binding_is_saved_and_carried_over_until_acls_are_backed_up_again() {
    let guarded = with_acls();
    let broker = &guarded.broker;
    let repo = Repo::new();
    let none = backup(broker, &repo, &["--no-acls"]);
    assert_eq!(
        (&none["acls"], saved(&repo, 1)),
        (&json!(null), json!(null))
    );

    let truth = list_by_tool(broker);
    assert_eq!(truth, list(broker));
    assert_eq!(truth.len(), 15, "{truth:#?}");
    let report = backup(broker, &repo, &["--acls"]);
    let expected = json!({ "saved": 15, "left_out": 0, "authorizer": true });
    assert_eq!(
        (&report["acls"], &report["findings"]),
        (&expected, &json!([]))
    );
    let first = saved(&repo, 2);
    assert_eq!(
        (&first["seen"], bindings(&first)),
        (&json!(2), truth.clone())
    );

    remove(broker, MANY[3]);
    backup(broker, &repo, &["--no-acls"]);
    assert_eq!(saved(&repo, 3), first, "carried over");
    backup(broker, &repo, &[]);
    let second = saved(&repo, 4);
    assert_eq!(
        (&second["seen"], bindings(&second)),
        (&json!(4), list(broker))
    );
    assert_eq!(bindings(&second).len(), 14);

    repo.verify();
    assert_eq!(repo.verify_by_spec()["acls"], 14);
    let listed = run(&mut repo.kbk(&["acls", "list", "--json", "--snapshot", "3"]));
    assert_eq!(bindings(&listed.expect_code(0).json()), truth);
}

/// ACLs that librdkafka cannot represent are counted, and never saved as something else.
#[test]
fn acls_that_the_client_cannot_represent_are_reported() {
    let guarded = Guarded::start();
    let broker = &guarded.broker;
    topics::create(broker, "orders", 1, &[]);
    add(broker, MANY[3]);
    add(
        broker,
        "--allow-principal User:alice --operation Describe --delegation-token token",
    );
    add(
        broker,
        "--allow-principal User:alice --operation CreateTokens --user-principal User:bob",
    );
    let repo = Repo::new();
    let finished = run(&mut repo.backup(broker, &[])).expect_code(0);
    assert_eq!(finished.stderr.matches("ACL").count(), 1, "{finished:#?}");
    let expected = json!([{ "finding": "acls_left_out", "acls": 2 }]);
    assert_eq!(finished.json()["findings"], expected);
    let saved = saved(&repo, 1);
    assert_eq!(saved["left_out"], 2);
    let truth = list(broker);
    let known = truth.iter().filter(|acl| acl.resource_type == "GROUP");
    assert_eq!(bindings(&saved), known.cloned().collect::<Vec<_>>());
    assert_eq!(truth.len(), 3);

    let refused = run(&mut repo.backup(broker, &["--acls"])).expect_code(1);
    assert!(refused.stderr.contains("2 ACLs"), "{refused:#?}");
    repo.verify_by_spec();
}

/// To such a principal, librdkafka shows a cluster without ACLs.
#[test]
fn a_principal_that_may_not_see_acls_gets_a_report_and_keeps_the_saved_ones() {
    let guarded = with_acls();
    let repo = Repo::new();
    backup(&guarded.broker, &repo, &[]);
    let args = "--operation Read --operation DescribeConfigs --topic orders";
    guarded.grant(&args.split(' ').collect::<Vec<_>>());
    let limited = ["backup", "--topic", "orders"];
    let right = "it needs DESCRIBE on CLUSTER kafka-cluster";

    let some = run(&mut guarded.kbk(&repo, &limited)).expect_code(0);
    let line = some
        .stderr
        .lines()
        .find(|line| line.contains("ACLs were not saved"));
    assert!(line.is_some_and(|line| line.contains(right)), "{some:#?}");
    assert_eq!(some.json()["acls"], json!(null));
    assert_eq!(saved(&repo, 2), saved(&repo, 1));
    let quiet = run(guarded.kbk(&repo, &limited).arg("--no-acls")).expect_code(0);
    assert!(!quiet.stderr.contains("ACL"), "{quiet:#?}");
    let refused = run(guarded.kbk(&repo, &limited).arg("--acls")).expect_code(1);
    assert!(refused.stderr.contains(right), "{refused:#?}");
    assert!(!repo.snapshot(4).exists(), "no snapshot was committed");

    guarded.grant(&["--operation", "Describe", "--cluster"]);
    let all = run(guarded.kbk(&repo, &limited).arg("--acls")).expect_code(0);
    assert_eq!(all.json()["acls"]["authorizer"], json!(true));
    assert_eq!(bindings(&saved(&repo, 4)), list(&guarded.broker));
}

#[test]
fn no_authorizer_and_no_acls_are_distinguished() {
    let broker = Broker::shared();
    let topic = topics::unique("open");
    topics::create(broker, &topic, 1, &[]);
    let repo = Repo::new();
    let report = backup(broker, &repo, &["--topic", &topic, "--acls"]);
    let open = json!({ "saved": 0, "left_out": 0, "authorizer": false });
    assert_eq!((&report["acls"], &report["findings"]), (&open, &json!([])));
    assert_eq!(saved(&repo, 1)["authorizer"], json!(false));
    assert_eq!(repo.verify_by_spec()["acls"], 0);

    let guarded = Guarded::start();
    topics::create(&guarded.broker, "orders", 1, &[]);
    let repo = Repo::new();
    let report = backup(&guarded.broker, &repo, &["--acls"]);
    let closed = json!({ "saved": 0, "left_out": 0, "authorizer": true });
    assert_eq!(report["acls"], closed);
}
