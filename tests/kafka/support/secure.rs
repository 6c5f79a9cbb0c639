//! A broker with a TLS and SASL listener next to its plain one.

use std::process::Command;

use openssl::pkcs12::Pkcs12;
use tempfile::TempDir;

use super::broker::{Broker, free_port};

/// A broker with a SASL_SSL listener for the users alice (PLAIN) and bob (SCRAM-SHA-512).
#[derive(Debug)]
pub(crate) struct SecureBroker {
    /// The broker, through its plain listener without authentication.
    pub(crate) plain: Broker,
    /// The address of the TLS and SASL listener.
    pub(crate) bootstrap: String,
    /// The address of the TLS listener that asks for the certificate of [`client_store`](Self::client_store).
    pub(crate) mutual_tls: String,
    folder: TempDir,
}

/// The password of alice and bob.
pub(crate) const PASSWORD: &str = "open-sesame-7";

impl SecureBroker {
    /// Starts the broker with a self-signed certificate.
    pub(crate) fn start() -> Self {
        let folder = TempDir::with_prefix("kbk-tls-").expect("a temporary folder");
        let bootstrap = format!("localhost:{}", free_port());
        let mutual_tls = format!("localhost:{}", free_port());
        create_client(&folder);
        let listener = format!("SSL://{mutual_tls}");
        let trusted = path(&folder, "client-certificate.pem");
        let more = [
            ("listeners", &*listener),
            ("advertised.listeners", &listener),
            ("listener.name.ssl.ssl.client.auth", "required"),
            ("listener.name.ssl.ssl.truststore.type", "PEM"),
            ("listener.name.ssl.ssl.truststore.location", &trusted),
        ];
        let plain = start(&folder, &bootstrap, "alice", &more);
        add_scram_user(&plain, "bob");
        Self {
            plain,
            bootstrap,
            mutual_tls,
            folder,
        }
    }

    /// Returns the path of the certificate to trust, for `ssl.ca.location`.
    pub(crate) fn ca_file(&self) -> String {
        ca_file(&self.folder)
    }

    /// Returns the path of the client's key and certificate, as PKCS12.
    pub(crate) fn client_store(&self) -> String {
        path(&self.folder, "client.p12")
    }

    /// Returns the path of the same as PEM.
    pub(crate) fn client_pem(&self) -> String {
        path(&self.folder, "client.pem")
    }

    /// Returns the client's key and certificate as PEM.
    pub(crate) fn client_pem_parts(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.client_pem()).expect("PEM");
        let part = |name: &str| {
            let (begin, end) = (format!("-----BEGIN {name}"), format!("-----END {name}"));
            let from = text.find(&begin).expect("it begins");
            let to = from + text[from..].find(&end).expect("it ends");
            let line = to + text[to..].find('\n').expect("a line end") + 1;
            text[from..line].to_owned()
        };
        (part("PRIVATE KEY"), part("CERTIFICATE"))
    }
}

/// Creates the client's key and certificate, in the forms that vendors hand out.
fn create_client(folder: &TempDir) {
    let (store, pem) = (path(folder, "client.p12"), path(folder, "client.pem"));
    let identity = ["-alias", "client", "-storetype", "PKCS12"];
    let storage = ["-keystore", &store, "-storepass", PASSWORD];
    let create = ["-genkeypair", "-keyalg", "RSA", "-validity", "2"];
    keytool(&[&create, &identity, &storage], &["-dname", "CN=client"]);
    let certificate = path(folder, "client-certificate.pem");
    let export = ["-exportcert", "-rfc"];
    keytool(&[&export, &identity, &storage], &["-file", &certificate]);
    // keytool prints no private keys.
    let bytes = std::fs::read(&store).expect("the store");
    let parsed = Pkcs12::from_der(&bytes).and_then(|store| store.parse2(PASSWORD));
    let parsed = parsed.expect("a valid store");
    let key = parsed.pkey.expect("a key").private_key_to_pem_pkcs8();
    let own = parsed.cert.expect("a certificate").to_pem();
    let both = [own.expect("PEM"), key.expect("PEM")].concat();
    std::fs::write(pem, both).expect("written");
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

/// Runs Java's own tool for key stores.
pub(crate) fn keytool(groups: &[&[&str]], last: &[&str]) {
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
