//! Translates properties of Kafka's Java clients into librdkafka's.

use std::fs::File;
use std::io::Read;

use super::jaas::LoginModule;

/// The translation of one Java client property.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// Dropped: it has no meaning for a backup.
    Ignored,
    /// These librdkafka properties.
    Set(Vec<(&'static str, String)>),
    /// Not specific to Java clients: passed to librdkafka, which checks it.
    NotJava,
}

/// Properties with the same meaning under another name.
const RENAMED: [(&str, &str); 6] = [
    // librdkafka's own `request.timeout.ms` bounds how long a broker may wait for acknowledgements of its replicas.
    ("request.timeout.ms", "socket.timeout.ms"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
];

/// Properties that need more than a rename; see [`translate`].
const SPECIAL: [&str; 7] = [
    "sasl.jaas.config",
    "sasl.mechanism",
    "sasl.login.callback.handler.class",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.truststore.location",
    "ssl.keystore.location",
    ENDPOINT_CHECK,
];

/// Whether the broker's host name must match its certificate; Java switches the check off with an empty value.
const ENDPOINT_CHECK: &str = "ssl.endpoint.identification.algorithm";

/// Java client properties without meaning here, or that kbk sets itself (how it reads and writes).
const IGNORED: [&str; 64] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.include.jmx.reporter",
    "auto.offset.reset",
    "buffer.memory",
    "check.crcs",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.metrics.push",
    "exclude.internal.topics",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "interceptor.classes",
    "isolation.level",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.poll.records",
    "max.request.size",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partition.assignment.strategy",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "retries",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
    "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "security.providers",
    "session.timeout.ms",
    "ssl.enabled.protocols",
    "ssl.keymanager.algorithm",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "ssl.truststore.password",
    "ssl.truststore.type",
    "transaction.timeout.ms",
    "transactional.id",
    "value.deserializer",
    "value.serializer",
];

/// All Java property names, for suggestions.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    let renamed = RENAMED.iter().map(|(java, _)| *java);
    IGNORED.into_iter().chain(SPECIAL).chain(renamed)
}

/// Translates one property; `file` looks up the other properties of the same file. Errors say what is wrong and what to do, and
/// omit values that may be secrets.
pub(super) fn translate<'f>(
    key: &str,
    value: &str,
    file: impl Fn(&str) -> Option<&'f str>,
) -> Result<Translation, String> {
    if IGNORED.contains(&key) {
        return Ok(Translation::Ignored);
    }
    if let Some((_, name)) = RENAMED.iter().find(|(java, _)| *java == key) {
        // The system default is -1 in Java, and 0 in librdkafka.
        let value = if key.ends_with("buffer.bytes") && value == "-1" {
            "0"
        } else {
            value
        };
        return Ok(set([(*name, value)]));
    }
    match key {
        "sasl.jaas.config" => login(value, &file),
        "sasl.mechanism" if value == "AWS_MSK_IAM" => Err(
            "AWS_MSK_IAM exists as a Java class only; enable SCRAM-SHA-512 or TLS client certificates on the cluster as well"
                .to_owned(),
        ),
        "sasl.mechanism" => Ok(set([("sasl.mechanism", value)])),
        "sasl.login.callback.handler.class" => callback_handler(value),
        "sasl.oauthbearer.token.endpoint.url" => {
            Ok(set([("sasl.oauthbearer.method", "oidc"), ("sasl.oauthbearer.token.endpoint.url", value)]))
        }
        "ssl.truststore.location" => trust_store(value, file("ssl.truststore.type")),
        "ssl.keystore.location" => key_store(value, file("ssl.keystore.type")),
        ENDPOINT_CHECK => Ok(set([(ENDPOINT_CHECK, if value.is_empty() { "none" } else { value })])),
        _ => Ok(Translation::NotJava),
    }
}

fn set<const N: usize>(pairs: [(&'static str, &str); N]) -> Translation {
    Translation::Set(pairs.map(|(key, value)| (key, value.to_owned())).into())
}

/// Translates `sasl.jaas.config`: user and password, or the claims of an unsecured token.
fn login<'f>(text: &str, file: &impl Fn(&str) -> Option<&'f str>) -> Result<Translation, String> {
    let module = LoginModule::parse(text).map_err(str::to_owned)?;
    let required = |option: &str| {
        module
            .option(option)
            .ok_or_else(|| format!("{} needs the option {option}=\"...\"", module.name))
    };
    match module.name.as_str() {
        "PlainLoginModule" => Ok(set([
            ("sasl.username", required("username")?),
            ("sasl.password", required("password")?),
        ])),
        "ScramLoginModule"
            if module
                .option("tokenauth")
                .is_some_and(|value| value == "true") =>
        {
            Err("delegation tokens are not supported by librdkafka; use a SCRAM user".to_owned())
        }
        "ScramLoginModule" => Ok(set([
            ("sasl.username", required("username")?),
            ("sasl.password", required("password")?),
        ])),
        "OAuthBearerLoginModule" => Ok(bearer(&module, file)),
        other => Err(format!(
            "the login module {other} is not supported; use PlainLoginModule, ScramLoginModule or OAuthBearerLoginModule"
        )),
    }
}

/// Translates a client id and secret for a token endpoint, or the claims of an unsecured token, which librdkafka creates itself.
fn bearer<'f>(module: &LoginModule, file: &impl Fn(&str) -> Option<&'f str>) -> Translation {
    const CREDENTIALS: [(&str, &str); 3] = [
        ("clientId", "sasl.oauthbearer.client.id"),
        ("clientSecret", "sasl.oauthbearer.client.secret"),
        ("scope", "sasl.oauthbearer.scope"),
    ];
    const CLAIM: &str = "unsecuredLoginStringClaim_";
    let mut pairs: Vec<(&str, String)> = CREDENTIALS
        .iter()
        .filter_map(|(java, name)| Some((*name, module.option(java)?.to_owned())))
        .collect();
    let claims: Vec<String> = module
        .options
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix(CLAIM)? {
            "sub" => Some(format!("principal={value}")),
            "scope" => Some(format!("scope={value}")),
            _ => None,
        })
        .collect();
    // librdkafka's own property for the claims wins over the module's.
    if !claims.is_empty() && file("sasl.oauthbearer.config").is_none() {
        pairs.push(("sasl.oauthbearer.config", claims.join(" ")));
        pairs.push(("enable.sasl.oauthbearer.unsecure.jwt", "true".to_owned()));
    }
    Translation::Set(pairs)
}

fn callback_handler(class: &str) -> Result<Translation, String> {
    match class.rsplit('.').next().unwrap_or_default() {
        // Apache Kafka's own two handlers: the other properties configure what they do.
        "OAuthBearerLoginCallbackHandler" | "OAuthBearerUnsecuredLoginCallbackHandler" => {
            Ok(Translation::Ignored)
        }
        _ => Err("kbk cannot run Java classes; use a mechanism that needs none".to_owned()),
    }
}

/// The file formats in which Java stores keys and certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Pem,
    Pkcs12,
    Jks,
}

/// Determines the format: the declared type, else the first bytes of the file.
fn store_kind(path: &str, declared: Option<&str>) -> Result<Store, String> {
    match declared.map(str::to_ascii_uppercase).as_deref() {
        Some("PEM") => return Ok(Store::Pem),
        Some("PKCS12") => return Ok(Store::Pkcs12),
        // Java also opens PKCS12 files that are declared as JKS, so the bytes decide.
        Some("JKS") | None => {}
        Some(other) => {
            return Err(format!(
                "stores of type {other} are not supported; export it as PEM"
            ));
        }
    }
    let mut magic = [0; 4];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(match magic {
        [0xFE, 0xED, 0xFE, 0xED] | [0xCE, 0xCE, 0xCE, 0xCE] => Store::Jks,
        // DER: a sequence with a long length.
        [0x30, 0x80..=0x84, ..] => Store::Pkcs12,
        _ => Store::Pem,
    })
}

fn trust_store(path: &str, declared: Option<&str>) -> Result<Translation, String> {
    match store_kind(path, declared)? {
        Store::Pem => Ok(set([("ssl.ca.location", path)])),
        Store::Pkcs12 | Store::Jks => Err(format!(
            "{path} is a Java trust store, which librdkafka cannot read; export its certificates once with \
             `keytool -exportcert -rfc -keystore {path} -alias ALIAS -file ca.pem` (aliases: `keytool -list -keystore {path}`), \
             then set ssl.truststore.type=PEM and ssl.truststore.location=ca.pem"
        )),
    }
}

fn key_store(path: &str, declared: Option<&str>) -> Result<Translation, String> {
    match store_kind(path, declared)? {
        Store::Pem => Ok(set([
            ("ssl.certificate.location", path),
            ("ssl.key.location", path),
        ])),
        Store::Pkcs12 => Ok(set([("ssl.keystore.location", path)])),
        Store::Jks => Err(format!(
            "{path} is a JKS key store, which librdkafka cannot read; convert it once with \
             `keytool -importkeystore -srckeystore {path} -destkeystore client.p12 -deststoretype PKCS12`, then set \
             ssl.keystore.type=PKCS12 and ssl.keystore.location=client.p12"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(key: &str, value: &str) -> Result<Translation, String> {
        translate(key, value, |_| None)
    }

    #[test]
    fn scram_user_and_password() {
        let text = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"bob\" password=\"p\";";
        assert_eq!(
            alone("sasl.jaas.config", text),
            Ok(set([("sasl.username", "bob"), ("sasl.password", "p")]))
        );
    }

    #[test]
    fn unsecured_bearer_tokens() {
        let text =
            "a.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"thePrincipal\";";
        let expected = set([
            ("sasl.oauthbearer.config", "principal=thePrincipal"),
            ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ]);
        assert_eq!(alone("sasl.jaas.config", text), Ok(expected));
    }

    #[test]
    fn a_java_only_login_module_is_rejected_by_name() {
        let error = alone(
            "sasl.jaas.config",
            "com.sun.security.auth.module.Krb5LoginModule required;",
        );
        assert!(error.unwrap_err().contains("Krb5LoginModule"));
    }

    #[test]
    fn an_empty_endpoint_algorithm_switches_the_check_off() {
        assert_eq!(
            alone(ENDPOINT_CHECK, ""),
            Ok(set([(ENDPOINT_CHECK, "none")]))
        );
        assert_eq!(
            alone(ENDPOINT_CHECK, "https"),
            Ok(set([(ENDPOINT_CHECK, "https")]))
        );
    }

    #[test]
    fn stores_are_distinguished_by_declared_type_and_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let pem = file("a.pem", b"-----BEGIN CERTIFICATE-----\n");
        let pkcs12 = file("a.p12", &[0x30, 0x82, 0x0A, 0x00]);
        let jks = file("a.jks", &[0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2]);
        assert_eq!(
            alone("ssl.truststore.location", &pem),
            Ok(set([("ssl.ca.location", &pem)]))
        );
        assert_eq!(
            alone("ssl.keystore.location", &pkcs12),
            Ok(set([("ssl.keystore.location", &pkcs12)]))
        );
        assert!(
            alone("ssl.truststore.location", &jks)
                .unwrap_err()
                .contains("keytool -exportcert")
        );
        assert!(
            alone("ssl.truststore.location", &pkcs12)
                .unwrap_err()
                .contains("keytool -exportcert")
        );
        assert!(
            alone("ssl.keystore.location", &jks)
                .unwrap_err()
                .contains("keytool -importkeystore")
        );
        assert!(
            alone("ssl.keystore.location", "/no/such/file")
                .unwrap_err()
                .contains("/no/such/file")
        );
    }
}
