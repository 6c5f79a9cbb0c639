//! Connecting to clusters that do not answer.

use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka::wire::tests::support::{
    API_VERSIONS, FakeBroker, METADATA, Reply, Request, metadata, own_port, settings, versions,
};
use crate::kafka::{Admin, ClientSettings, KafkaError};

#[test]
fn an_unreachable_cluster_fails_with_address_and_cause_within_ten_seconds() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let settings = ClientSettings::new(Some(&address), None, &[]).unwrap();
    let started = Instant::now();
    let error = Admin::connect(&settings).err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    let KafkaError::Unreachable {
        addresses, cause, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*addresses, address);
    assert!(cause.contains("Connection refused"), "{cause}");
}

#[test]
fn a_host_name_that_does_not_resolve_is_named() {
    let settings = ClientSettings::new(Some("no-such-host.invalid:9092"), None, &[]).unwrap();
    let error = Admin::connect(&settings).err().unwrap().to_string();
    assert!(
        error.contains("no-such-host.invalid") && error.contains("resolve"),
        "{error}"
    );
}

#[test]
fn a_silent_server_fails_within_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = ClientSettings::new(Some(&address), None, &[]).unwrap();
    let started = Instant::now();
    let error = Admin::connect(&settings).err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error}");
}

/// The address that the cluster names refuses, or accepts and is silent, and is named so late that little is left of the time for finding a
/// broker.
#[tokio::test(flavor = "multi_thread")]
async fn an_advertised_address_is_named_even_if_the_cluster_describes_itself_late() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [&silent, &refusing].map(|listener| listener.local_addr().unwrap().port());
    drop(refusing);
    for (port, words) in ports.into_iter().zip(["", "Connection refused"]) {
        let (own, known) = own_port();
        // Once it is named, no answer has another address.
        let is_named = AtomicBool::new(false);
        let broker = FakeBroker::start(move |request: &Request| match request.api {
            API_VERSIONS => versions(request),
            // Of all topics: once the client is connected.
            METADATA if request.body.starts_with(&[0xff; 4]) => {
                thread::sleep(Duration::from_millis(2_300));
                is_named.store(true, Relaxed);
                metadata(&[port], &[(1, 0)])
            }
            METADATA if is_named.load(Relaxed) => metadata(&[port], &[(1, 0)]),
            METADATA => metadata(&[known.load(Relaxed)], &[(1, 0)]),
            _ => Reply::Silence,
        })
        .await;
        own.store(broker.port, Relaxed);
        let settings = settings(
            &broker.address(),
            Duration::from_secs(3),
            // The request for metadata does not time out itself.
            &[("socket.timeout.ms", "10000")],
        );
        let connect = tokio::task::spawn_blocking(move || Admin::connect(&settings).err());
        let error = connect.await.unwrap().unwrap().to_string();
        let named = format!("127.0.0.1:{port}");
        assert!(error.contains(&named) && error.contains(words), "{error}");
    }
}
