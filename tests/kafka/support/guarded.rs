//! A broker with an authorizer: anonymous users may do everything, the user `limited` and further ones only what they are granted.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::acls;
use super::broker::{Broker, free_port};
use super::repo::Repo;
use super::secure::PASSWORD;

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
    /// How many of the further users were handed out.
    users: AtomicUsize,
}

/// The number of users beside `limited`.
const USERS: usize = 40;

impl Guarded {
    /// Starts the broker. `limited` may do nothing.
    pub(crate) fn start() -> Self {
        let bootstrap = format!("127.0.0.1:{}", free_port());
        let listener = format!("SASL_PLAINTEXT://{bootstrap}");
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let mut login = format!("{module} required user_limited=\"{PASSWORD}\"");
        for number in 0..USERS {
            write!(login, " user_{}=\"{PASSWORD}\"", user(number))
                .expect("a string takes everything");
        }
        login.push(';');
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
            users: AtomicUsize::new(0),
        }
    }

    /// Returns a user that may do nothing and was not returned before.
    pub(crate) fn next_user(&self) -> String {
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        assert!(
            number < USERS,
            "more users are needed than the broker knows"
        );
        user(number)
    }

    /// Grants `limited` the permissions given as arguments of Kafka's own tool.
    pub(crate) fn grant(&self, args: &[&str]) {
        let args = [&["--allow-principal", "User:limited"], args].concat();
        acls::add(&self.broker, &args.join(" "));
    }

    /// Returns a kbk command that runs as `limited`, with a JSON report.
    pub(crate) fn kbk(&self, repo: &Repo, args: &[&str]) -> Command {
        self.kbk_as("limited", repo, args)
    }

    /// Returns a kbk command that runs as this user, with a JSON report.
    pub(crate) fn kbk_as(&self, user: &str, repo: &Repo, args: &[&str]) -> Command {
        let mut command = repo.kbk(args);
        command.args(["--json", "-b", &self.bootstrap]);
        for property in [
            "security.protocol=SASL_PLAINTEXT",
            "sasl.mechanism=PLAIN",
            &format!("sasl.username={user}"),
            &format!("sasl.password={PASSWORD}"),
        ] {
            command.args(["-X", property]);
        }
        command
    }
}

fn user(number: usize) -> String {
    format!("user{number}")
}
