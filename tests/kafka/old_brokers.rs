//! The oldest brokers that the tests can run: what they have is backed up, and restored into them. Only in `make soak`, which fetches them.

use crate::support::old_broker::OldBroker;
use crate::support::process::run;
use crate::support::produce::{CODECS, Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, groups, samples, soak, topics};

#[test]
fn records_groups_and_transactions_of_an_old_cluster_are_exact() {
    if !soak() {
        return;
    }
    let old = OldBroker::start();
    let broker = &old.broker;
    let config = [("retention.ms", "-1"), ("max.message.bytes", "3000000")];
    topics::create(broker, "orders", 6, &config);
    let messages: Vec<Message> = samples::mixed(1).take(600).collect();
    for (number, codec) in (0..).zip(CODECS) {
        produce(broker, codec, ("orders", number), &messages);
    }
    let producer = Producer::transactional(broker, "lz4", "old-transactions");
    for commit in [true, false, true] {
        producer.begin();
        for message in &messages[..50] {
            producer.send("orders", 5, message);
        }
        match commit {
            true => producer.commit(),
            false => producer.abort(),
        }
    }
    groups::commit(broker, "readers", &[("orders", 0, 33, "here")]);
    for client in ["wire", "librdkafka"] {
        let repo = Repo::new();
        let report = run(&mut repo.backup(broker, &["--client", client, "--topic", "orders"]))
            .expect_code(0)
            .json();
        assert_eq!(report["records"], 5 * 600 + 100, "{client}: {report}");
        repo.verify();
        run(&mut repo.kbk(&["diff", "--live", "-b", broker.bootstrap()])).expect_code(0);
        for transactions in [&[][..], &["--no-transactions"]] {
            let target = topics::unique(client);
            let map = format!("orders={target}");
            let args = [
                "--client", client, "--topic", "orders", "--map", &map, "--verify",
            ];
            run(&mut repo.restore(broker, &[&args[..], transactions].concat())).expect_code(0);
            consume::assert_same(broker, ("orders", &target), 6);
            // What a restore sets only meanwhile is gone, and no setting is left that the brokers do not have.
            let saved = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
            topics::assert_config(broker, &target, &saved.into());
        }
    }
}
