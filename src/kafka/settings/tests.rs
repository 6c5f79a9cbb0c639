//! Files and options as users write them.

use super::*;
use crate::kafka::client::NativeConf;
use crate::kafka::options::SinkOptions;

fn options(pairs: &[(&str, &str)]) -> Result<ClientSettings, SettingsError> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    ClientSettings::new(Some("a:9092"), None, &pairs)
}

fn file(text: &str) -> Result<ClientSettings, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.properties");
    std::fs::write(&path, text).unwrap();
    ClientSettings::new(None, Some(&path), &[])
}

#[test]
fn a_file_for_the_java_tools_is_accepted() {
    let settings = file(concat!(
        "bootstrap.servers=b1:9093,b2:9093\n",
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n",
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n",
        "    username=\"alice\" password=\"alice-secret\";\n",
        "ssl.endpoint.identification.algorithm=\nrequest.timeout.ms=20000\n",
        "key.serializer=org.apache.kafka.common.serialization.StringSerializer\n",
        "group.id=tools\nauto.offset.reset=earliest\nssl.ca.location=/dev/null\n",
    ))
    .unwrap();
    let config = settings.consumer(32 << 20, 1 << 20);
    for (key, value) in [
        ("bootstrap.servers", "b1:9093,b2:9093"),
        ("sasl.username", "alice"),
        ("sasl.password", "alice-secret"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("socket.timeout.ms", "20000"),
        ("ssl.ca.location", "/dev/null"),
        ("auto.offset.reset", "error"),
    ] {
        assert_eq!(config.get(key), Some(value), "{key}");
    }
    assert_eq!(config.get("group.id"), None);
    let shown = format!("{settings:?} {config:?}");
    assert!(!shown.contains("alice"), "{shown}");
}

#[test]
fn unknown_keys_are_reported_with_their_line_and_a_suggestion() {
    let error = file("bootstrap.servers=a\n\nsecurity.protokol=SSL\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 3") && error.contains("did you mean `security.protocol`"),
        "{error}"
    );
    let error = file("key.serialiser=x\n").unwrap_err().to_string();
    assert!(error.contains("did you mean `key.serializer`"), "{error}");
    let error = options(&[("batch.sice", "1")]).unwrap_err().to_string();
    assert!(
        error.contains("-X: unknown property `batch.sice`; did you mean `batch.size`?"),
        "{error}"
    );
    let error = options(&[("zzzzzz", "1")]).unwrap_err().to_string();
    assert!(error.ends_with("`zzzzzz`"), "{error}");
}

#[test]
fn invalid_values_are_rejected_by_name() {
    let error = options(&[("socket.timeout.ms", "soon")]).unwrap_err();
    assert!(matches!(error, SettingsError::InvalidValue { key, .. } if key == "socket.timeout.ms"));
}

#[test]
fn errors_do_not_repeat_secrets() {
    let jaas = "sasl.jaas.config=x.PlainLoginModule required username=\"u\" password=\"hunter2\n";
    let error = file(jaas).unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
}

#[test]
fn options_take_precedence_over_bootstrap_server_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.properties");
    std::fs::write(
        &path,
        "bootstrap.servers=file:1\nclient.id=file\nsasl.mechanisms=PLAIN\n",
    )
    .unwrap();
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let settings = ClientSettings::new(
        Some("flag:1"),
        Some(&path),
        &[
            option("client.id", "option"),
            option("sasl.mechanism", "SCRAM-SHA-256"),
        ],
    )
    .unwrap();
    assert_eq!(settings.bootstrap_servers(), "flag:1");
    let config = settings.admin();
    assert_eq!(config.get("client.id"), Some("option"));
    assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-256"));
    assert_eq!(config.get("sasl.mechanisms"), None);
}

#[test]
fn properties_that_a_backup_depends_on_cannot_be_changed() {
    for (key, value) in [
        ("enable.auto.commit", "true"),
        ("isolation.level", "read_uncommitted"),
        ("enable.idempotence", "false"),
        ("acks", "1"),
        ("request.required.acks", "0"),
        ("auto.offset.reset", "earliest"),
        ("transactional.id", "x"),
    ] {
        let error = options(&[(key, value)]).unwrap_err();
        assert!(
            matches!(error, SettingsError::Refused { .. }),
            "{key}: {error}"
        );
    }
    for (key, value) in [
        ("acks", "-1"),
        ("enable.auto.commit", "false"),
        ("linger.ms", "50"),
    ] {
        assert!(options(&[(key, value)]).is_ok(), "{key}={value}");
    }
}

#[test]
fn missing_bootstrap_servers_are_an_error() {
    assert!(matches!(
        ClientSettings::new(None, None, &[]),
        Err(SettingsError::NoBootstrapServer)
    ));
}

#[test]
fn mechanisms_that_are_not_compiled_in_are_explained() {
    let error = options(&[("sasl.mechanism", "GSSAPI")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("Kerberos"), "{error}");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
        assert!(
            options(&[
                ("sasl.mechanism", mechanism),
                ("security.protocol", "SASL_SSL"),
                ("sasl.username", "kbk"),
                ("sasl.password", "secret"),
                ("sasl.oauthbearer.config", "principal=kbk"),
            ])
            .is_ok()
        );
    }
}

#[test]
fn a_response_limit_below_any_answer_is_refused_by_its_own_name() {
    let refused = |bytes: &str| options(&[("receive.message.max.bytes", bytes)]).unwrap_err();
    for bytes in ["1000", "1511"] {
        let error = refused(bytes).to_string();
        assert!(
            error.starts_with("-X: `receive.message.max.bytes`: "),
            "{error}"
        );
        assert!(error.contains("1512") && !error.contains('\n'), "{error}");
    }
    options(&[("receive.message.max.bytes", "1512")]).unwrap();
}

#[test]
fn fetches_keep_to_the_response_limit_of_the_user() {
    let settings = options(&[("receive.message.max.bytes", "10000000")]).unwrap();
    for config in [settings.admin(), settings.consumer(32 << 20, 20 << 20)] {
        assert_eq!(config.get("fetch.max.bytes"), Some("9999488"));
    }
    let smaller = settings.consumer(32 << 20, 1 << 20);
    assert_eq!(smaller.get("fetch.max.bytes"), Some("1048576"));
}

#[test]
fn librdkafka_accepts_every_default() {
    let settings = options(&[]).unwrap();
    let producer = |bytes, transactional_id| SinkOptions {
        queue_bytes: bytes,
        batch_bytes: bytes,
        transactional_id,
        ..SinkOptions::default()
    };
    for config in [
        settings.admin(),
        settings.consumer(1, 64 << 10),
        settings.consumer(usize::MAX, 1 << 20),
        settings.producer(&producer(1, None)),
        settings.producer(&producer(usize::MAX, Some("id".to_owned()))),
    ] {
        let mut native = NativeConf::new();
        for (key, value) in &config.properties {
            assert!(native.set(key, value).is_ok(), "{key}={value}");
        }
    }
}
