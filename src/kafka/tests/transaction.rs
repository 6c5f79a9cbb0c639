//! Transactions whose coordinator does not answer. The in-process cluster does not isolate transactions, so the rest is tested on
//! Apache Kafka.

use std::time::Duration;

use kbk_format::repo::OffsetAndMetadata;

use super::support::{cluster, plain, producer, target};
use crate::kafka::{OffsetCommit, Positions, SinkOptions, TransactionError};

#[test]
fn a_coordinator_that_never_answers_loses_only_its_producer() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let settings = settings.with_timeout(Some(Duration::from_secs(2)));
    let open = || {
        let options = SinkOptions {
            transactional_id: Some("restore".to_owned()),
            ..SinkOptions::default()
        };
        let mut producer = producer(&settings, options, target("t", 0));
        producer.init_transactions().unwrap();
        producer.begin().unwrap();
        plain(1).lend(|record| producer.send(0, record)).unwrap();
        producer.flush().unwrap();
        producer
    };
    let position = OffsetCommit {
        topic: "t".to_owned(),
        partition: 0.into(),
        committed: OffsetAndMetadata {
            offset: 2,
            metadata: "kept".to_owned(),
        },
    };
    let positions = Positions::from([("progress".to_owned(), vec![position])]);
    let mut lost = open();
    cluster.answer_after(Duration::from_secs(600));
    let error = lost.commit(&positions);
    assert!(matches!(error, Err(TransactionError::Lost(_))), "{error:?}");
    lost.abort().unwrap();
    // The abandoned call is still running in it.
    drop(lost);
    cluster.answer_after(Duration::ZERO);
    let mut next = open();
    next.commit(&positions).unwrap();
}
