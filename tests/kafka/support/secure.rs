//! A broker with a TLS and SASL listener next to its plain one.

use std::process::Command;

use tempfile::TempDir;

use super::broker::{Broker, free_port};

/// A broker with a SASL_SSL listener for the users alice (PLAIN) and bob (SCRAM-SHA-512).
#[derive(Debug)]
pub(crate) struct SecureBroker {
    /// The broker, through its plain listener without authentication.
    pub(crate) plain: Broker,
    /// The address of the TLS and SASL listener.
    pub(crate) bootstrap: String,
    folder: TempDir,
}

/// The password of alice and bob.
pub(crate) const PASSWORD: &str = "open-sesame-7";

impl SecureBroker {
    /// Starts the broker with a self-signed certificate.
    pub(crate) fn start() -> Self {
        let folder = TempDir::with_prefix("kbk-tls-").expect("a temporary folder");
        let bootstrap = format!("localhost:{}", free_port());
        let plain = start(&folder, &bootstrap, "alice", &[]);
        add_scram_user(&plain, "bob");
        Self {
            plain,
            bootstrap,
            folder,
        }
    }

    /// Returns the path of the certificate to trust, for `ssl.ca.location`.
    pub(crate) fn ca_file(&self) -> String {
        ca_file(&self.folder)
    }
}

/// Creates a user for SCRAM-SHA-512.
pub(super) fn add_scram_user(broker: &Broker, user: &str) {
    let add = format!("SCRAM-SHA-512=[password={PASSWORD}]");
    let name = format!("--entity-name={user}");
    let args = [
        "--alter",
        "--entity-type=users",
        &name,
        "--add-config",
        &add,
    ];
    broker.tool("kafka.admin.ConfigCommand", &args);
}

/// Returns the path of the certificate of a broker that was started with this folder.
pub(super) fn ca_file(folder: &TempDir) -> String {
    path(folder, "ca.pem")
}

/// Starts a broker with a TLS listener at `bootstrap`, where `user` logs in with PLAIN, and `more` configuration.
pub(super) fn start(
    folder: &TempDir,
    bootstrap: &str,
    user: &str,
    more: &[(&str, &str)],
) -> Broker {
    let store = path(folder, "broker.p12");
    let identity = ["-alias", "broker", "-storetype", "PKCS12"];
    let storage = ["-keystore", &store, "-storepass", PASSWORD];
    keytool(
        &[
            &["-genkeypair", "-keyalg", "RSA", "-validity", "2"],
            &identity[..],
            &storage[..],
        ],
        &[
            "-dname",
            "CN=localhost",
            "-ext",
            "SAN=dns:localhost,ip:127.0.0.1",
        ],
    );
    let certificate = ca_file(folder);
    keytool(
        &[&["-exportcert", "-rfc"], &identity[..], &storage[..]],
        &["-file", &certificate],
    );

    let listener = format!("SASL_SSL://{bootstrap}");
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{PASSWORD}\";"
    );
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let config = [
        ("listeners", &*listener),
        ("advertised.listeners", &listener),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
        ("listener.name.sasl_ssl.plain.sasl.jaas.config", &plain),
        (
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
            scram,
        ),
        ("ssl.keystore.type", "PKCS12"),
        ("ssl.keystore.location", &store),
        ("ssl.keystore.password", PASSWORD),
    ];
    Broker::start(&[&config, more].concat())
}

fn keytool(groups: &[&[&str]], last: &[&str]) {
    let output = Command::new("keytool")
        .args(groups.concat())
        .args(last)
        .output()
        .expect("keytool comes with Java");
    assert!(output.status.success(), "keytool: {output:?}");
}

fn path(folder: &TempDir, name: &str) -> String {
    let path = folder.path().join(name);
    path.to_str()
        .expect("the temporary folder's name is UTF-8")
        .to_owned()
}
