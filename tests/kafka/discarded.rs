//! A restore that is discarded leaves nothing that is only temporary: no open transaction, no settings, no groups.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{consume, offset_map, samples, topics, wait};

#[test]
fn a_discarded_restore_leaves_nothing_temporary() {
    let broker = Broker::shared();
    let topic = topics::unique("given-up");
    let config = [
        ("segment.bytes", "16777216"),
        ("cleanup.policy", "compact,delete"),
    ];
    topics::create(broker, &topic, 1, &config);
    produce_bulk(
        broker,
        "none",
        (&topic, 1),
        samples::documents(1).take(3_000),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let expected = topics::config(broker, &topic);
    for killed in [true, false] {
        let target = topics::unique("given-up-target");
        let map = format!("{topic}={target}");
        let slow = ["--map", &map, "--rate-limit-records", "200"];
        let running = Running::spawn(&mut repo.restore(broker, &slow));
        wait::until("a transaction is open", || {
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
