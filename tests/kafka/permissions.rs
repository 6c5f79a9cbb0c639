//! A restore names each missing permission and its resource before it writes a record.

use crate::support::guarded::Guarded;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

/// The permission granted at each step, and the next one that is then missing.
const STEPS: [(&[&str], &str); 7] = [
    (&[], "lacks CREATE on topic copy"),
    (
        &["--operation", "Create", "--topic", "copy"],
        "WRITE on TRANSACTIONAL_ID kbk-restore-",
    ),
    (
        &[
            "--operation",
            "Write",
            "--transactional-id",
            "kbk-restore-",
            "--resource-pattern-type",
            "prefixed",
        ],
        "lacks WRITE on topic copy",
    ),
    (
        &["--operation", "Write", "--topic", "copy"],
        "of topic copy (Topic authorization failed. (TOPIC_AUTHORIZATION_FAILED); it needs DESCRIBE_CONFIGS",
    ),
    (
        &["--operation", "DescribeConfigs", "--topic", "copy"],
        "lacks READ on topic copy",
    ),
    (
        &["--operation", "Read", "--topic", "copy"],
        "lacks ALTER_CONFIGS on topic copy",
    ),
    (
        &["--operation", "AlterConfigs", "--topic", "copy"],
        "READ on GROUP kbk-restore-",
    ),
];

#[test]
fn each_missing_permission_is_named_before_a_record_is_written() {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        each_is_named(&Guarded::start_with_tls(mechanism));
    }
}

fn each_is_named(guarded: &Guarded) {
    let broker = &guarded.broker;
    topics::create(broker, "original", 2, &[]);
    let records: Vec<Message> = samples::mixed(1).take(500).collect();
    produce(broker, "none", ("original", 1), &records);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", "original"])).expect_code(0);

    let restore = ["restore", "--map", "original=copy"];
    let mut begun = false;
    for (grant, missing) in STEPS {
        if !grant.is_empty() {
            guarded.grant(grant);
        }
        let args: &[&str] = if begun {
            &["restore", "--resume"]
        } else {
            &restore
        };
        let refused = run(&mut guarded.kbk(&repo, args)).expect_code(1);
        assert!(refused.stderr.contains(missing), "{missing}: {refused:#?}");
        begun |= refused.stderr.contains("kbk restore --resume");
        if consume::partitions(broker, "copy") > 0 {
            let there: u64 = (0..2)
                .map(|partition| consume::digest(broker, "copy", partition).records)
                .sum();
            assert_eq!(there, 0, "{missing}");
        }
    }
    let group = [
        "--operation",
        "Read",
        "--group",
        "kbk-restore-",
        "--resource-pattern-type",
        "prefixed",
    ];
    guarded.grant(&group);
    run(&mut guarded.kbk(&repo, &["restore", "--resume"])).expect_code(0);
    assert_eq!(consume::assert_same(broker, ("original", "copy"), 2), 500);
}
