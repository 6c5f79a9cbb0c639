//! Requests that old brokers do not know, and that librdkafka must not be asked to send them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::kafka::wire::tests::support::{
    API_VERSIONS, FIND_COORDINATOR, FakeBroker, METADATA, Reply, Request, TOPIC, coordinator,
    metadata, own_port, partition, settings, text, versions_and,
};
use crate::kafka::{Admin, ClientSettings, KafkaError};

const OFFSET_DELETE: i16 = 47;

/// A broker of one partition that coordinates all groups, and knows these requests besides the usual ones.
async fn broker(more: &'static [[i16; 3]]) -> FakeBroker {
    let (port, own) = own_port();
    let broker = FakeBroker::start(move |request: &Request| match request.api {
        API_VERSIONS => versions_and(request, more),
        METADATA => metadata(&[own.load(Relaxed)], &[(1, 0)]),
        FIND_COORDINATOR => coordinator(own.load(Relaxed)),
        OFFSET_DELETE => {
            let mut body = vec![0; 6];
            body.extend(1_i32.to_be_bytes());
            text(&mut body, TOPIC);
            body.extend(1_i32.to_be_bytes());
            body.extend([0; 6]);
            Reply::Body(body)
        }
        _ => Reply::Silence,
    })
    .await;
    port.store(broker.port, Relaxed);
    broker
}

fn settings_for(broker: &FakeBroker, properties: &[(&str, &str)]) -> ClientSettings {
    settings(&broker.address(), Duration::from_secs(20), properties)
}

/// Deletes the offset of a partition twice, as two clients of one process do.
async fn deleted_twice(settings: ClientSettings) -> [Result<(), KafkaError>; 2] {
    let deleted = tokio::task::spawn_blocking(move || {
        [(); 2].map(|()| {
            let admin = Admin::connect(&settings)?;
            admin.delete_offsets("readers", &[partition(0)])
        })
    });
    deleted.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_asked_once_whether_they_can_delete_offsets() {
    let old = broker(&[]).await;
    let before = old.requests(METADATA).len();
    assert_eq!(before, 0);
    for deleted in deleted_twice(settings_for(&old, &[])).await {
        let error = deleted.unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("delete committed offsets of group readers"),
            "{text}"
        );
        assert!(text.contains("OffsetDelete"), "{text}");
    }
    // Of the wire client, whose name librdkafka does not have.
    let by_kbk = |broker: &FakeBroker| {
        let all = broker.requests(API_VERSIONS).into_iter();
        all.filter(|it| it.version >= 3 && it.body.windows(4).any(|name| name == b"\x04kbk"))
            .count()
    };
    // To find the brokers, and to ask the only one.
    assert_eq!(by_kbk(&old), 2);
    assert_eq!(old.requests(OFFSET_DELETE).len(), 0);

    let new = broker(&[[OFFSET_DELETE, 0, 0]]).await;
    for deleted in deleted_twice(settings_for(&new, &[])).await {
        deleted.unwrap();
    }
    assert_eq!(by_kbk(&new), 2);
    assert_eq!(new.requests(OFFSET_DELETE).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_not_deleted_where_brokers_cannot_be_asked() {
    // The topic has no id, so the brokers may be those of Apache Kafka 2.3.
    let unknown = broker(&[[OFFSET_DELETE, 0, 0]]).await;
    let properties = [("topic.blacklist", "none")];
    for deleted in deleted_twice(settings_for(&unknown, &properties)).await {
        let error = deleted.unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        let text = error.to_string();
        assert!(text.contains("older than Apache Kafka 2.8"), "{text}");
    }
    assert_eq!(unknown.requests(OFFSET_DELETE).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_changed_is_an_error() {
    let old = broker(&[]).await;
    let settings = settings_for(&old, &[]);
    let changed = tokio::task::spawn_blocking(move || {
        let changes = BTreeMap::from([("retention.ms".to_owned(), None)]);
        Admin::connect(&settings)?.alter_topic_config(TOPIC, &changes)
    });
    let error = changed.await.unwrap().unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert!(error.to_string().contains(TOPIC), "{error}");
}
