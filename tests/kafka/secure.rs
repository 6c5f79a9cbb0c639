//! TLS and SASL, configured by the properties file of Kafka's own tools; no output ever contains a secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{Finished, kbk, run};
use crate::support::produce::produce;
use crate::support::repo::{Repo, kbk_on};
use crate::support::secure::{PASSWORD, SecureBroker};
use crate::support::{consume, samples, topics};

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

/// A password that no other text contains.
const WRONG: &str = "hunter2-and-a-half";

#[test]
fn backup_and_restore_over_tls_and_sasl() {
    let secure = SecureBroker::start();
    let clients = Clients::new(&secure);
    topics::create(&secure.plain, "guarded", 2, &[]);
    let records: Vec<_> = samples::mixed(1).take(5000).collect();
    produce(&secure.plain, "zstd", ("guarded", 1), &records);

    for (mechanism, module, user) in [("PLAIN", PLAIN, "alice"), ("SCRAM-SHA-512", SCRAM, "bob")] {
        let repo = Repo::new();
        let properties = clients.properties(mechanism, &login(module, user, PASSWORD));
        run(&mut clients.backup(&repo, &properties)).expect_code(0);
        let target = format!("by-{user}");
        let map = format!("guarded={target}");
        let args = [
            "restore",
            "--map",
            &map,
            "-b",
            &secure.bootstrap,
            "--command-config",
        ];
        run(repo.kbk(&args).arg(&properties)).expect_code(0);
        assert_eq!(
            consume::assert_same(&secure.plain, ("guarded", &target), 2),
            5000
        );
        nothing_tells(&repo.path(), PASSWORD);
    }

    let repo = Repo::missing();
    for (mechanism, module) in [("PLAIN", PLAIN), ("SCRAM-SHA-512", SCRAM)] {
        let properties = clients.properties(mechanism, &login(module, "alice", WRONG));
        let mut backup = clients.backup(&repo, &properties);
        let refused = run(backup.arg("--init")).expect_code(1);
        assert!(refused.stderr.contains(&secure.bootstrap), "{refused:#?}");
        let named = format!("rejected the credentials of `sasl.mechanism` {mechanism}");
        explains(&refused, &[&named, "sasl.password", "sasl.jaas.config"]);
        assert!(!repo.path().exists(), "no repository is created");
        tells_nothing(&refused, WRONG);
    }
    mistakes_are_told_apart(&secure, &clients);

    // Not even with the most verbose logging.
    let properties = clients.properties("PLAIN", &login(PLAIN, "alice", PASSWORD));
    let mut talkative = clients.backup(&repo, &properties);
    talkative.args(["--init", "-vv", "-X", "debug=all"]);
    tells_nothing(&run(&mut talkative).expect_code(0), PASSWORD);
    nothing_tells(&repo.path(), PASSWORD);
}

#[test]
fn invalid_properties_reveal_no_secret() {
    let folder = TempDir::new().expect("a temporary folder");
    let repo = folder.path().join("repo");
    let properties = folder.path().join("client.properties");
    let password = format!("sasl.password={WRONG}");
    for (file, args) in [
        ("sasl.pasword=SECRET\n", &[][..]),
        ("sasl.jaas.config=SECRET\n", &[]),
        ("", &["-X", &password, "-X", "sasl.pasword=1"]),
        ("", &["-X", WRONG]),
        ("", &["-X", &password, "-X", "debug=no-such-context"]),
    ] {
        fs::write(&properties, file.replace("SECRET", WRONG)).expect("written");
        let mut command = kbk_on(&repo, &["backup", "-b", "127.0.0.1:1", "--command-config"]);
        let refused = run(command.arg(&properties).args(args)).expect_code(2);
        tells_nothing(&refused, WRONG);
    }
    let config = folder.path().join("kbk.toml");
    fs::write(
        &config,
        format!("[properties]\nsasl.password = [\"{WRONG}\"]\n"),
    )
    .expect("written");
    let refused = run(kbk(["backup", "-c"]).arg(&config)).expect_code(2);
    tells_nothing(&refused, WRONG);
}

/// Each way to set up a listener's client wrongly has an error of its own.
fn mistakes_are_told_apart(secure: &SecureBroker, clients: &Clients<'_>) {
    let good = clients.properties("PLAIN", &login(PLAIN, "alice", PASSWORD));
    let good = fs::read_to_string(good).expect("just written");
    let (tls, plain) = (secure.bootstrap.as_str(), secure.plain.bootstrap());
    let changed = |from: &str, to: &str| good.replace(from, to);
    let trusted = format!("ssl.truststore.location={}", secure.ca_file());
    let other = format!("ssl.truststore.location={}", secure.client_pem());
    for (address, properties, parts) in [
        (
            tls,
            changed(&trusted, &other),
            [
                "certificate cannot be verified",
                "check `ssl.truststore.location`",
            ],
        ),
        (
            tls,
            changed("SASL_SSL", "PLAINTEXT"),
            ["closed without an answer", "`security.protocol`"],
        ),
        (
            plain,
            changed("SASL_SSL", "SSL"),
            ["does not answer in TLS", "PLAINTEXT"],
        ),
        (
            plain,
            changed("SASL_SSL", "SASL_PLAINTEXT"),
            ["the listener does not use SASL", "PLAINTEXT or SSL"],
        ),
        (
            tls,
            changed("= PLAIN", "= SCRAM-SHA-256"),
            [
                "the listener offers PLAIN,SCRAM-SHA-512",
                "set `sasl.mechanism`",
            ],
        ),
        (
            &secure.mutual_tls,
            changed("SASL_SSL", "SSL"),
            ["no client without a certificate", "ssl.keystore.location"],
        ),
    ] {
        let file = clients.folder.path().join("mistaken.properties");
        fs::write(&file, properties).expect("written");
        let repo = Repo::missing();
        let mut backup = repo.kbk(&["backup", "--init", "-b", address, "--command-config"]);
        let refused = run(backup.arg(&file)).expect_code(1);
        explains(&refused, &[&[address][..], &parts].concat());
        tells_nothing(&refused, PASSWORD);
    }
}

/// Fails the test unless stderr is one sentence of kbk with all of these.
#[track_caller]
fn explains(refused: &Finished, parts: &[&str]) {
    assert!(refused.stderr.starts_with("error: "), "{refused:#?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:#?}");
    for part in parts {
        assert!(refused.stderr.contains(part), "no {part:?}: {refused:#?}");
    }
    for raw in ["in state", "/bootstrap", "suppressed", "Broker:"] {
        assert!(!refused.stderr.contains(raw), "{raw:?}: {refused:#?}");
    }
}

fn login(module: &str, user: &str, password: &str) -> String {
    format!("{module} required username=\"{user}\" password=\"{password}\";")
}

/// Clients of a secure broker, with their property files.
struct Clients<'a> {
    secure: &'a SecureBroker,
    folder: TempDir,
}

impl<'a> Clients<'a> {
    fn new(secure: &'a SecureBroker) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { secure, folder }
    }

    /// Writes a file as for `kafka-console-consumer.sh`.
    fn properties(&self, mechanism: &str, login: &str) -> PathBuf {
        let path = self.folder.path().join("client.properties");
        let text = format!(
            "# for everyone\n\
             security.protocol=SASL_SSL\n\
             sasl.mechanism = {mechanism}\n\
             sasl.jaas.config={login}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n",
            self.secure.ca_file()
        );
        fs::write(&path, text).expect("written");
        path
    }

    fn backup(&self, repo: &Repo, properties: &Path) -> Command {
        let args = ["backup", "--topic", "guarded", "-b", &self.secure.bootstrap];
        let mut command = repo.kbk(&args);
        command.arg("--command-config").arg(properties);
        command
    }
}

#[track_caller]
fn tells_nothing(finished: &Finished, secret: &str) {
    assert!(!finished.stderr.contains(secret), "{}", finished.stderr);
    assert!(!finished.stdout.contains(secret), "{}", finished.stdout);
}

/// Fails the test if a file in the folder contains the secret.
#[track_caller]
fn nothing_tells(folder: &Path, secret: &str) {
    let mut grep = Command::new("grep");
    run(grep
        .args(["--recursive", "--quiet", "--fixed-strings", secret])
        .arg(folder))
    .expect_code(1);
}
