//! A broker with an authorizer: anonymous users may do everything, the user `limited` only what it is granted.

use std::process::Command;

use tempfile::TempDir;

use super::broker::{Broker, free_port};
use super::repo::Repo;
use super::secure::{self, PASSWORD};

/// The properties that enable the authorizer.
const GUARD: [(&str, &str); 2] = [
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("super.users", "User:ANONYMOUS"),
];

/// The broker, and the connection of `limited`.
pub(crate) struct Guarded {
    /// The broker, through the listener that may do everything.
    pub(crate) broker: Broker,
    bootstrap: String,
    /// The login of `limited`, as librdkafka properties.
    login: Vec<String>,
    /// Holds the certificate.
    _folder: Option<TempDir>,
}

impl Guarded {
    /// Starts the broker. `limited` may do nothing.
    pub(crate) fn start() -> Self {
        let bootstrap = format!("127.0.0.1:{}", free_port());
        let listener = format!("SASL_PLAINTEXT://{bootstrap}");
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let login = format!("{module} required user_limited=\"{PASSWORD}\";");
        let config = [
            ("listeners", &*listener),
            ("advertised.listeners", &listener),
            ("sasl.enabled.mechanisms", "PLAIN"),
            (
                "listener.name.sasl_plaintext.plain.sasl.jaas.config",
                &login,
            ),
        ];
        Self {
            broker: Broker::start(&[&config[..], &GUARD].concat()),
            bootstrap,
            login: login_over("SASL_PLAINTEXT", "PLAIN"),
            _folder: None,
        }
    }

    /// Starts the broker, with `limited` connecting over TLS with PLAIN or SCRAM-SHA-512.
    pub(crate) fn start_with_tls(mechanism: &str) -> Self {
        let folder = TempDir::with_prefix("kbk-tls-").expect("a temporary folder");
        let bootstrap = format!("localhost:{}", free_port());
        let broker = secure::start(&folder, &bootstrap, "limited", &GUARD);
        secure::add_scram_user(&broker, "limited");
        let mut login = login_over("SASL_SSL", mechanism);
        login.push(format!("ssl.ca.location={}", secure::ca_file(&folder)));
        Self {
            broker,
            bootstrap,
            login,
            _folder: Some(folder),
        }
    }

    /// Grants `limited` the permissions given as arguments of Kafka's own tool.
    pub(crate) fn grant(&self, args: &[&str]) {
        let args = [&["--add", "--allow-principal", "User:limited"], args].concat();
        self.broker.tool("org.apache.kafka.tools.AclCommand", &args);
    }

    /// Returns a kbk command that runs as `limited`, with a JSON report.
    pub(crate) fn kbk(&self, repo: &Repo, args: &[&str]) -> Command {
        let mut command = repo.kbk(args);
        command.args(["--json", "-b", &self.bootstrap]);
        for property in &self.login {
            command.args(["-X", property]);
        }
        command
    }
}

fn login_over(protocol: &str, mechanism: &str) -> Vec<String> {
    vec![
        format!("security.protocol={protocol}"),
        format!("sasl.mechanism={mechanism}"),
        "sasl.username=limited".to_owned(),
        format!("sasl.password={PASSWORD}"),
    ]
}
