//! A restore that is discarded leaves nothing that is only temporary: no open transaction, no settings, no groups.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{consume, offset_map, samples, topics};

/// Backs up a topic of 3,000 records in one partition.
fn backed_up(broker: &Broker, name: &str, config: &[(&str, &str)]) -> (Repo, String) {
    let topic = topics::unique(name);
    topics::create(broker, &topic, 1, config);
    produce_bulk(
        broker,
        "none",
        (&topic, 1),
        samples::documents(1).take(3_000),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    (repo, topic)
}

#[test]
fn a_discarded_restore_leaves_nothing_temporary() {
    let broker = Broker::shared();
    let config = [
        ("segment.bytes", "16777216"),
        ("cleanup.policy", "compact,delete"),
    ];
    let (repo, topic) = backed_up(broker, "given-up", &config);
    let expected = topics::config(broker, &topic);
    for killed in [true, false] {
        let target = topics::unique("given-up-target");
        let map = format!("{topic}={target}");
        let slow = ["--map", &map, "--rate-limit-records", "200"];
        let running = Running::spawn(&mut repo.restore(broker, &slow));
        running.wait_until("a transaction is open", || {
            let there = consume::partitions(broker, &target) > 0;
            let open = there.then(|| consume::bounds(broker, &target, 0));
            open.filter(|[_, stable, high]| stable < high)
        });
        let restore = offset_map::restores(&repo).pop().expect("a restore");
        let mut discard = repo.kbk(&[
            "restores",
            "discard",
            &restore,
            "--json",
            "-b",
            broker.bootstrap(),
        ]);
        let report = match killed {
            true => {
                running.signal(libc::SIGKILL);
                running.finish();
                run(&mut discard).expect_code(0).json()
            }
            // The run that still writes is fenced, and ends with an error.
            false => {
                let report = run(&mut discard).expect_code(0).json();
                let ended = running.finish().expect_code(1);
                assert!(ended.stderr.contains(&restore), "{}", ended.stderr);
                report
            }
        };
        let found = &report["topics"][0];
        assert_eq!(found["target"], target);
        assert_eq!(
            (&found["created"], &found["found"]),
            (&json!(true), &json!("target"))
        );
        topics::assert_config(broker, &target, &expected);
        let [_, stable, high] = consume::bounds(broker, &target, 0);
        assert_eq!(stable, high, "the transaction is aborted");
        assert_eq!(found["offsets"], high);
        let groups = broker.tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            &["--list"],
        );
        assert!(!groups.contains(&restore), "{groups}");
        let mut resume = repo.restore(broker, &["--resume", &restore]);
        let ended = run(&mut resume).expect_code(1);
        assert!(ended.stderr.contains("was discarded"), "{}", ended.stderr);
        run(&mut discard).expect_code(0);
        // The claim is gone, too: another restore may empty the topic and fill it.
        let again = ["--map", &map, "--purge-target", "--yes"];
        run(&mut repo.restore(broker, &again)).expect_code(0);
        consume::assert_same(broker, (&topic, &target), 1);
    }
    repo.verify();
}

/// What an unfinished restore has written is not a reason to add all of it again.
#[test]
fn an_unfinished_restore_is_named_before_its_target_is_appended_to() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "half", &[]);
    let target = topics::unique("half-target");
    let map = format!("{topic}={target}");
    let slow = ["--map", &map, "--rate-limit-records", "300"];
    let running = Running::spawn(&mut repo.restore(broker, &slow));
    running.wait_until("the first records", || {
        let there = consume::partitions(broker, &target) > 0;
        (there && consume::bounds(broker, &target, 0)[1] > 0).then_some(())
    });
    running.signal(libc::SIGTERM);
    running.finish().expect_code(143);
    let restore = offset_map::restores(&repo).pop().expect("a restore");
    for more in [&[][..], &["--append"], &["--append", "--dry-run"]] {
        let args = [&["--map", &map], more].concat();
        let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
        for says in [
            format!("{target} is the target of restore {restore}, which has not finished"),
            format!("kbk restore --resume {restore}"),
            format!("kbk restores discard {restore}"),
        ] {
            assert!(refused.stderr.contains(&says), "{refused:#?}");
        }
    }
    let resume = ["--resume", &restore, "--rate-limit-records", "100000"];
    run(&mut repo.restore(broker, &resume)).expect_code(0);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 3_000);
    // Once it has finished, whoever wants all records again may have them.
    let append = ["--map", &map, "--append"];
    run(&mut repo.restore(broker, &append)).expect_code(0);
    assert_eq!(consume::read_all(broker, &target, 0).len(), 6_000);
}
