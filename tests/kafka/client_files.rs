//! Properties files as vendors hand them out, unchanged, on listeners with TLS and SASL.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::repo::Repo;
use crate::support::secure::{PASSWORD, SecureBroker, keytool};
use crate::support::{samples, topics};

const RECORDS: u64 = 50;
const TOPIC: &str = "vended";

#[test]
fn the_files_of_strimzi_confluent_msk_and_aiven_work_unchanged() {
    let secure = SecureBroker::start();
    topics::create(&secure.plain, TOPIC, 1, &[]);
    let records: Vec<_> = samples::mixed(1).take(RECORDS as usize).collect();
    produce(&secure.plain, "none", (TOPIC, 0), &records);
    let files = Files::new(&secure);
    let store = |name: &str| files.path(name);

    // Strimzi: the secrets of a KafkaUser and of the cluster's authority, as PKCS12.
    let strimzi = format!(
        "bootstrap.servers={}\nsecurity.protocol=SSL\n\
         ssl.truststore.location={}\nssl.truststore.type=PKCS12\nssl.truststore.password={PASSWORD}\n\
         ssl.keystore.location={}\nssl.keystore.type=PKCS12\nssl.keystore.password={PASSWORD}\n",
        secure.mutual_tls,
        store("trust.p12"),
        secure.client_store(),
    );
    files.backup("strimzi-pkcs12", &strimzi, &[]).saves_all();

    // The same as PEM: ca.crt, and user.crt and user.key in one file, or as text in the properties.
    let strimzi = format!(
        "bootstrap.servers={}\nsecurity.protocol=SSL\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\nssl.keystore.type=PEM\nssl.keystore.location={}\n",
        secure.mutual_tls,
        secure.ca_file(),
        secure.client_pem(),
    );
    files.backup("strimzi-pem", &strimzi, &[]).saves_all();
    // As Kafka's documentation writes it: on one line. keytool ends lines as Windows does.
    let inline = |pem: &str| pem.replace('\r', "").replace('\n', "\\n");
    let authority = fs::read_to_string(secure.ca_file()).expect("PEM");
    let (key, chain) = secure.client_pem_parts();
    let strimzi = format!(
        "bootstrap.servers={}\nsecurity.protocol=SSL\n\
         ssl.truststore.type=PEM\nssl.truststore.certificates={}\n\
         ssl.keystore.type=PEM\nssl.keystore.key={}\nssl.keystore.certificate.chain={}\n",
        secure.mutual_tls,
        inline(&authority),
        inline(&key),
        inline(&chain),
    );
    files.backup("strimzi-inline", &strimzi, &[]).saves_all();

    // Confluent Cloud: its "client.properties", whose certificates a public authority has signed.
    let confluent = format!(
        "# Required connection configs for Kafka producer, consumer, and admin\n\
         bootstrap.servers={}\nsecurity.protocol=SASL_SSL\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username='alice' password='{PASSWORD}';\n\
         sasl.mechanism=PLAIN\n\
         # Required for correctness in Apache Kafka clients prior to 2.6\n\
         client.dns.lookup=use_all_dns_ips\n\n\
         # Best practice for higher availability in Apache Kafka clients prior to 3.0\n\
         session.timeout.ms=45000\n\n\
         # Best practice for Kafka producer to prevent data loss\n\
         acks=all\n\n\
         # Required connection configs for Confluent Cloud Schema Registry\n\
         schema.registry.url=https://psrc-x.example.com\n\
         basic.auth.credentials.source=USER_INFO\n\
         basic.auth.user.info=KEY:SECRET\n\
         client.id=ccloud-java-client-x\n",
        secure.bootstrap,
    );
    let authority = format!("ssl.ca.location={}", secure.ca_file());
    files
        .backup("confluent", &confluent, &["-X", &authority])
        .saves_all();

    // Amazon MSK: SCRAM, and the trust store of a Java virtual machine, without its password.
    let msk = format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n   username=\"bob\" \\\n   password=\"{PASSWORD}\";\n\
         ssl.truststore.location={}\n",
        secure.bootstrap,
        store("trust.jks"),
    );
    files.backup("msk", &msk, &[]).saves_all();

    // Aiven: a certificate of the client, in a file that was edited on Windows.
    let aiven = format!(
        "\u{feff}bootstrap.servers={}\r\nsecurity.protocol=SSL\r\nssl.protocol=TLS\r\nssl.key.password={PASSWORD}\r\n\
         ssl.keystore.location={}\r\nssl.keystore.password={PASSWORD}\r\nssl.keystore.type=PKCS12\r\n\
         ssl.truststore.location={}\r\nssl.truststore.password={PASSWORD}\r\nssl.truststore.type=JKS\r\n",
        secure.mutual_tls,
        secure.client_store(),
        store("trust.jks"),
    );
    files.backup("aiven", &aiven, &[]).saves_all();

    // Secrets that are kept elsewhere: a file of Kubernetes, a properties file, the environment.
    fs::write(store("password"), format!("{PASSWORD}\n")).expect("written");
    fs::write(
        store("secrets.properties"),
        format!("kafka.password={PASSWORD}\n"),
    )
    .expect("written");
    for reference in [
        format!("${{file:{}}}", store("password")),
        format!("${{file:{}:kafka.password}}", store("secrets.properties")),
        "${env:KAFKA_PASSWORD}".to_owned(),
    ] {
        let text = confluent.replace(PASSWORD, &reference);
        let backup = files.backup("variables", &text, &["-X", &authority]);
        assert!(!backup.text.contains(PASSWORD));
        backup.saves_all();
    }

    // A key that was pasted over several lines is not shown.
    let lines: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
    let pasted = format!(
        "bootstrap.servers=x\nssl.keystore.key=\n{}\n",
        lines.join("\n")
    );
    let refused = files.backup("pasted", &pasted, &[]).run(2);
    assert!(
        refused.stderr.contains("ends in a backslash"),
        "{}",
        refused.stderr
    );
    for line in lines {
        let line = line.trim_end_matches('=');
        assert!(!refused.stderr.contains(line), "{}", refused.stderr);
    }

    // What is wrong is named.
    for (text, words) in [
        (
            aiven.replace(
                &format!("ssl.truststore.password={PASSWORD}"),
                "ssl.truststore.password=x",
            ),
            "the password is wrong",
        ),
        (
            strimzi_with(&secure, &store("trust.p12"), "x"),
            "the password is wrong",
        ),
        (confluent.replace(PASSWORD, "${env:NEVER_SET}"), "NEVER_SET"),
        (
            confluent.replace(PASSWORD, "${file:/nowhere/password}"),
            "/nowhere/password",
        ),
    ] {
        let refused = files.backup("refused", &text, &[]).run(2);
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
        assert!(!refused.stderr.contains(PASSWORD), "{}", refused.stderr);
    }
}

fn strimzi_with(secure: &SecureBroker, trusted: &str, password: &str) -> String {
    format!(
        "bootstrap.servers={}\nsecurity.protocol=SSL\nssl.truststore.location={trusted}\nssl.truststore.password={password}\n",
        secure.mutual_tls
    )
}

/// A folder with trust stores of the broker's certificate, in both of Java's formats.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(secure: &SecureBroker) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let files = Self { folder };
        for (name, kind) in [("trust.p12", "PKCS12"), ("trust.jks", "JKS")] {
            let path = files.path(name);
            let import = [
                "-importcert",
                "-noprompt",
                "-alias",
                "ca",
                "-storetype",
                kind,
            ];
            let storage = ["-keystore", &path, "-storepass", PASSWORD];
            keytool(&[&import, &storage], &["-file", &secure.ca_file()]);
        }
        files
    }

    fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Returns a backup with this properties file, into a repository of its own.
    fn backup(&self, name: &str, text: &str, args: &[&str]) -> Backup {
        let repo = Repo::new();
        let properties = self.folder.path().join(format!("{name}.properties"));
        fs::write(&properties, text).expect("written");
        let args = [&["backup", "--json", "--topic", TOPIC], args].concat();
        let mut command = repo.kbk(&args);
        command.arg("--command-config").arg(&properties);
        command.env("KAFKA_PASSWORD", PASSWORD);
        Backup {
            properties,
            text: text.to_owned(),
            command,
            _repo: repo,
        }
    }
}

struct Backup {
    properties: PathBuf,
    text: String,
    command: Command,
    /// Its folder is removed on drop.
    _repo: Repo,
}

impl Backup {
    #[track_caller]
    fn run(mut self, code: i32) -> Finished {
        let finished = run(&mut self.command);
        assert_eq!(
            finished.status.code(),
            Some(code),
            "{}: {finished:#?}",
            self.properties.display()
        );
        finished
    }

    #[track_caller]
    fn saves_all(self) {
        let report = self.run(0).json();
        assert_eq!(report["records"], RECORDS, "{report:#}");
    }
}
