//! A broker with permissions: everything to who comes without a password, to the user `limited` what it is granted.

use std::process::Command;

use super::broker::{Broker, free_port};
use super::repo::Repo;

/// The broker, and where `limited` connects.
pub(crate) struct Guarded {
    /// As who may do everything.
    pub(crate) broker: Broker,
    bootstrap: String,
}

impl Guarded {
    /// Starts the broker. `limited` may do nothing.
    pub(crate) fn start() -> Self {
        let bootstrap = format!("127.0.0.1:{}", free_port());
        let listener = format!("SASL_PLAINTEXT://{bootstrap}");
        let login =
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_limited=\"x\";";
        let broker = Broker::start(&[
            ("listeners", &listener),
            ("advertised.listeners", &listener),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.sasl_plaintext.plain.sasl.jaas.config", login),
            (
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            ),
            ("super.users", "User:ANONYMOUS"),
        ]);
        Self { broker, bootstrap }
    }

    /// Lets `limited` do what these words of Kafka's own tool say.
    pub(crate) fn grant(&self, words: &[&str]) {
        let words = [&["--add", "--allow-principal", "User:limited"], words].concat();
        self.broker
            .tool("org.apache.kafka.tools.AclCommand", &words);
    }

    /// kbk as `limited`, with a JSON report.
    pub(crate) fn kbk(&self, repo: &Repo, words: &[&str]) -> Command {
        let mut command = repo.kbk(words);
        command.args(["--json", "-b", &self.bootstrap]);
        for property in [
            "security.protocol=SASL_PLAINTEXT",
            "sasl.mechanism=PLAIN",
            "sasl.username=limited",
            "sasl.password=x",
        ] {
            command.args(["-X", property]);
        }
        command
    }
}
