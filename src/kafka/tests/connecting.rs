//! Connecting to clusters that do not answer.

use std::net::TcpListener;
use std::time::{Duration, Instant};

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
