//! The wire client over TLS and SASL, by the properties that drive librdkafka; no error contains a secret.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kbk::kafka::wire::{
    FetchEvent, FetchOptions, FetchRange, WireClient, WireError, WireSettings, WireSink,
};
use kbk::kafka::{ClientSettings, SinkOptions, TopicPartition};
use kbk_format::PartitionNumber;
use kbk_format::record::{Headers, Record};
use tempfile::TempDir;

use crate::support::broker::{Broker, free_port};
use crate::support::produce::produce;
use crate::support::secure::{PASSWORD, SecureBroker};
use crate::support::wire_client::{self, block_on};
use crate::support::{samples, topics};

const TOPIC: &str = "guarded";
const RECORDS: i64 = 500;
const TIMEOUT: Duration = Duration::from_secs(10);
const WRONG: &str = "hunter2-and-a-half";

fn range(end: Option<i64>) -> FetchRange {
    FetchRange {
        partition: TopicPartition::new(TOPIC, PartitionNumber::ZERO),
        start: 0,
        end,
        last_epoch: None,
    }
}

/// Reads the whole topic.
#[track_caller]
fn reads_all(client: &WireClient) {
    block_on(async {
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(Some(RECORDS))]);
        let mut position = 0;
        while let Some(event) = fetcher.next().await {
            match event {
                FetchEvent::Batches(fetched) => {
                    assert_eq!(fetched.position, position);
                    position = fetched.next_position;
                }
                FetchEvent::Finished(_) => {}
                FetchEvent::Failed(_, error) => panic!("{error}"),
            }
        }
        assert_eq!(position, RECORDS);
    });
}

/// Fails the test unless the error comes soon, names the broker, and has these words and no secret.
#[track_caller]
fn refuses(client: &WireClient, address: &str, words: &str) {
    let started = Instant::now();
    let error = block_on(client.metadata(None)).expect_err("refused");
    assert!(
        started.elapsed() < TIMEOUT + Duration::from_secs(5),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains(address) && text.contains(words), "{text}");
    for secret in [PASSWORD, WRONG] {
        assert!(
            !text.contains(secret) && !format!("{error:?}").contains(secret),
            "{error:?}"
        );
    }
}

fn fill(broker: &Broker) {
    topics::create(broker, TOPIC, 1, &[]);
    let records: Vec<_> = samples::mixed(1)
        .take(usize::try_from(RECORDS).expect("few"))
        .collect();
    produce(broker, "zstd", (TOPIC, 0), &records);
}

#[test]
fn tls_and_sasl_by_the_properties_of_librdkafka_and_of_java() {
    let secure = SecureBroker::start();
    fill(&secure.plain);
    let ca = secure.ca_file();
    let client = |address: &str, properties: &[(&str, &str)]| {
        wire_client::with(address, Some(TIMEOUT), properties)
    };
    let login = |mechanism: &'static str, user: &'static str, password: &'static str| {
        [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", user),
            ("sasl.password", password),
        ]
    };
    let trusted = [("ssl.ca.location", ca.as_str())];
    for (mechanism, user) in [("PLAIN", "alice"), ("SCRAM-SHA-512", "bob")] {
        let good = [&login(mechanism, user, PASSWORD)[..], &trusted].concat();
        reads_all(&client(&secure.bootstrap, &good));
        let wrong = [&login(mechanism, user, WRONG)[..], &trusted].concat();
        refuses(
            &client(&secure.bootstrap, &wrong),
            &secure.bootstrap,
            mechanism,
        );
    }

    // The certificate: not trusted, of another host, or not verified.
    let plain = login("PLAIN", "alice", PASSWORD);
    let other = secure.client_pem();
    let untrusted = [&plain[..], &[("ssl.ca.location", other.as_str())]].concat();
    let words = "certificate cannot be verified";
    refuses(
        &client(&secure.bootstrap, &untrusted),
        &secure.bootstrap,
        words,
    );
    refuses(&client(&secure.bootstrap, &plain), &secure.bootstrap, words);
    let unverified = [
        &plain[..],
        &[("enable.ssl.certificate.verification", "false")],
    ]
    .concat();
    reads_all(&client(&secure.bootstrap, &unverified));
    // It has 127.0.0.1, and not 127.0.0.2.
    let port = secure.bootstrap.rsplit(':').next().expect("a port");
    let good = [&plain[..], &trusted].concat();
    reads_all(&client(&format!("127.0.0.1:{port}"), &good));
    if let Ok(listener) = std::net::TcpListener::bind("127.0.0.2:0") {
        drop(listener);
        let alias = format!("127.0.0.2:{port}");
        let found = std::net::TcpStream::connect(&alias);
        if found.is_ok() {
            refuses(&client(&alias, &good), &alias, words);
            let unchecked = [
                &good[..],
                &[("ssl.endpoint.identification.algorithm", "none")],
            ]
            .concat();
            block_on(client(&alias, &unchecked).metadata(None)).expect("the name is not checked");
        }
    }

    // A listener of another kind.
    refuses(
        &client(secure.plain.bootstrap(), &good),
        secure.plain.bootstrap(),
        "listener does not use TLS",
    );
    refuses(
        &client(&secure.bootstrap, &[]),
        &secure.bootstrap,
        "the listener uses TLS",
    );
    let no_tls = [
        ("security.protocol", "SASL_PLAINTEXT"),
        plain[1],
        plain[2],
        plain[3],
    ];
    refuses(
        &client(secure.plain.bootstrap(), &no_tls),
        secure.plain.bootstrap(),
        "does not use SASL",
    );
    let unoffered = [&login("SCRAM-SHA-256", "bob", PASSWORD)[..], &trusted].concat();
    refuses(
        &client(&secure.bootstrap, &unoffered),
        &secure.bootstrap,
        "offers PLAIN,SCRAM-SHA-512",
    );

    // The client's own certificate, in each form.
    let ssl = [("security.protocol", "SSL"), trusted[0]];
    let (store, pem) = (secure.client_store(), secure.client_pem());
    let (key_text, chain_text) = secure.client_pem_parts();
    for own in [
        &[
            ("ssl.keystore.location", store.as_str()),
            ("ssl.keystore.password", PASSWORD),
        ][..],
        &[
            ("ssl.certificate.location", pem.as_str()),
            ("ssl.key.location", pem.as_str()),
        ],
        &[
            ("ssl.certificate.pem", chain_text.as_str()),
            ("ssl.key.pem", key_text.as_str()),
        ],
    ] {
        reads_all(&client(&secure.mutual_tls, &[&ssl[..], own].concat()));
    }
    refuses(
        &client(&secure.mutual_tls, &ssl),
        &secure.mutual_tls,
        "no client without a certificate",
    );
    java_file(&secure);
    wrong_files(&secure);
}

/// The same by a file for Java's clients.
fn java_file(secure: &SecureBroker) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("client.properties");
    let text = format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nclient.dns.lookup=use_all_dns_ips\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"bob\" password=\"{PASSWORD}\";\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\n",
        secure.bootstrap,
        secure.ca_file()
    );
    fs::write(&path, text).expect("written");
    let settings = ClientSettings::new(None, Some(Path::new(&path)), &[]).expect("valid");
    reads_all(&WireClient::new(
        WireSettings::new(&settings).expect("honoured"),
    ));
}

/// Keys and certificates that cannot be loaded are errors that name the property, before anything is connected.
fn wrong_files(secure: &SecureBroker) {
    let folder = TempDir::new().expect("a temporary folder");
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "no certificate").expect("written");
    let garbage = garbage.to_str().expect("UTF-8");
    let (store, pem) = (secure.client_store(), secure.client_pem());
    for (property, more) in [
        ("ssl.ca.location", &[("ssl.ca.location", garbage)][..]),
        (
            "ssl.keystore.location",
            &[
                ("ssl.keystore.location", &store),
                ("ssl.keystore.password", WRONG),
            ],
        ),
        (
            "ssl.key.location",
            &[
                ("ssl.certificate.location", &pem),
                ("ssl.key.location", garbage),
            ],
        ),
        (
            "ssl.cipher.suites",
            &[("ssl.cipher.suites", "NO-SUCH-CIPHER")],
        ),
    ] {
        let properties: Vec<_> = [&[("security.protocol", "SSL")][..], more]
            .concat()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        // librdkafka's own checks come first, and may find it.
        let Ok(settings) = ClientSettings::new(Some("a:1"), None, &properties) else {
            continue;
        };
        let error = WireSettings::new(&settings).expect_err("not loaded");
        assert!(matches!(error, WireError::Property { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(property) && !text.contains(WRONG), "{text}");
    }
}

#[test]
fn sessions_are_renewed_and_tokens_accepted() {
    let address = format!("127.0.0.1:{}", free_port());
    let listener = format!("SASL_PLAINTEXT://{address}");
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"{PASSWORD}\";"
    );
    let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let broker = Broker::start(&[
        ("listeners", &listener),
        ("advertised.listeners", &listener),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,OAUTHBEARER"),
        (
            "listener.name.sasl_plaintext.plain.sasl.jaas.config",
            &plain,
        ),
        (
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config",
            scram,
        ),
        (
            "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config",
            bearer,
        ),
        ("connections.max.reauth.ms", "3000"),
    ]);
    fill(&broker);
    let add = format!("SCRAM-SHA-256=[password={PASSWORD}]");
    let user = [
        "--alter",
        "--entity-type=users",
        "--entity-name=bob",
        "--add-config",
        &add,
    ];
    broker.tool("kafka.admin.ConfigCommand", &user);
    let with = |mechanism: &'static str, more: &[(&str, &str)]| {
        let login = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
        ];
        wire_client::with(&address, Some(TIMEOUT), &[&login[..], more].concat())
    };
    let password = ("sasl.password", PASSWORD);
    reads_all(&with(
        "SCRAM-SHA-256",
        &[("sasl.username", "bob"), password],
    ));
    reads_all(&with(
        "OAUTHBEARER",
        &[
            ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            ("sasl.oauthbearer.config", "principal=alice"),
        ],
    ));

    // A connection that lives for several sessions: no request of it fails.
    let client = with("PLAIN", &[("sasl.username", "alice"), password]);
    block_on(async {
        let mut fetcher = client.fetcher(FetchOptions::default(), vec![range(None)]);
        let started = Instant::now();
        let mut position = 0;
        while started.elapsed() < Duration::from_secs(8) {
            let event = tokio::time::timeout(Duration::from_secs(1), fetcher.next()).await;
            match event {
                Ok(Some(FetchEvent::Batches(fetched))) => position = fetched.next_position,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {
                    client.metadata(None).await.expect("logged in again");
                }
            }
        }
        assert_eq!(position, RECORDS);
    });
    writes_for_several_sessions(&address);
}

/// Writes without a pause, so that a session is to be renewed while requests are under way.
fn writes_for_several_sessions(address: &str) {
    let login = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "alice"),
        ("sasl.password", PASSWORD),
    ];
    let login: Vec<_> = login
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let settings = ClientSettings::new(Some(address), None, &login).expect("valid");
    let options = SinkOptions {
        batch_bytes: 1_000,
        queue_bytes: 20_000,
        ..SinkOptions::default()
    };
    let mut sink = WireSink::open(&settings, options).expect("a sink");
    let target = TopicPartition::new(TOPIC, PartitionNumber::ZERO);
    sink.set_targets(vec![target]).expect("targets");
    let (started, mut sent) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(8) {
        let record = Record {
            offset: sent,
            timestamp: 1_763_800_000_000,
            control: false,
            key: None,
            value: Some(&[b'x'; 300]),
            headers: Headers::EMPTY,
        };
        sink.send(0, &record).expect("sent");
        sent += 1;
    }
    sink.flush().expect("acknowledged");
    // One run: no batch was sent twice, and none is missing.
    let [run] = sink.take_delivered(0)[..] else {
        panic!("several runs");
    };
    let records = u64::try_from(sent).expect("positive");
    assert_eq!((run.source_offset, run.records), (0, records));
    assert_eq!(run.target_offset, RECORDS);
}
