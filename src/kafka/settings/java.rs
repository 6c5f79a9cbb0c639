//! Translates properties of Kafka's Java clients into librdkafka's.

use super::jaas::LoginModule;
use super::key_store::{self, KeyStore, TrustStore};

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

/// Beginnings of the names of properties for programs that use the same file: Confluent's schema registry and its clients. Kafka's
/// configuration providers need no declaration here.
const FOREIGN: [&str; 5] = [
    "schema.registry.",
    "basic.auth.",
    "bearer.auth.",
    "confluent.",
    "config.providers",
];

/// All Java property names, for suggestions.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    let renamed = RENAMED.iter().map(|(java, _)| *java);
    IGNORED.into_iter().chain(SPECIAL).chain(renamed)
}

/// What this build lacks, and what a cluster can offer instead (docs/decisions/0010).
pub(super) const NO_KERBEROS: &str = "Kerberos (GSSAPI) is not compiled into this kbk, whichever --client; a listener may offer SCRAM beside it \
     (`sasl.enabled.mechanisms=GSSAPI,SCRAM-SHA-512` of the brokers): use SCRAM, PLAIN, OAUTHBEARER or TLS client certificates";

/// Translates one property; `file` looks up the other properties of the same file. Errors say what is wrong and what to do, and
/// omit values that may be secrets.
pub(super) fn translate<'f>(
    key: &str,
    value: &str,
    file: impl Fn(&str) -> Option<&'f str>,
) -> Result<Translation, String> {
    let is_foreign = FOREIGN.iter().any(|prefix| key.starts_with(prefix));
    if is_foreign || IGNORED.contains(&key) {
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
        "ssl.truststore.location" => trust_store(value, &file),
        "ssl.keystore.location" => own_store(value, file("ssl.keystore.type")),
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
        "OAuthBearerLoginModule" => {
            let is_tls = |option: &&String| option.starts_with("ssl.");
            match module.options.keys().find(is_tls) {
                Some(_) => Err("the options of OAuthBearerLoginModule that begin with ssl. are not supported; give the certificates that \
                                the token endpoint's is checked with by `https.ca.location`"
                    .to_owned()),
                None => Ok(bearer(&module, file)),
            }
        }
        "Krb5LoginModule" => Err(NO_KERBEROS.to_owned()),
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
    const EXTENSION: &str = "extension_";
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
    let extensions: Vec<String> = module
        .options
        .iter()
        .filter_map(|(key, value)| Some(format!("{}={value}", key.strip_prefix(EXTENSION)?)))
        .collect();
    if !extensions.is_empty() && file("sasl.oauthbearer.extensions").is_none() {
        pairs.push(("sasl.oauthbearer.extensions", extensions.join(",")));
    }
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

fn trust_store<'f>(
    path: &str,
    file: &impl Fn(&str) -> Option<&'f str>,
) -> Result<Translation, String> {
    let (declared, password) = (file("ssl.truststore.type"), file("ssl.truststore.password"));
    Ok(match key_store::trust_store(path, declared, password)? {
        TrustStore::Pem => set([("ssl.ca.location", path)]),
        TrustStore::Converted(pem) => set([("ssl.ca.pem", &pem)]),
    })
}

fn own_store(path: &str, declared: Option<&str>) -> Result<Translation, String> {
    Ok(match key_store::key_store(path, declared)? {
        KeyStore::Pem => set([
            ("ssl.certificate.location", path),
            ("ssl.key.location", path),
        ]),
        KeyStore::Pkcs12 => set([("ssl.keystore.location", path)]),
    })
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
    fn bearer_tokens_from_an_endpoint() {
        let text = "a.OAuthBearerLoginModule required clientId=\"kbk\" clientSecret=\"p\" extension_logicalCluster=\"lkc-1\";";
        let expected = set([
            ("sasl.oauthbearer.client.id", "kbk"),
            ("sasl.oauthbearer.client.secret", "p"),
            ("sasl.oauthbearer.extensions", "logicalCluster=lkc-1"),
        ]);
        assert_eq!(alone("sasl.jaas.config", text), Ok(expected));
        let tls = "a.OAuthBearerLoginModule required ssl.truststore.location=\"/x\";";
        let error = alone("sasl.jaas.config", tls).unwrap_err();
        assert!(error.contains("`https.ca.location`"), "{error}");
    }

    #[test]
    fn a_java_only_login_module_is_rejected_by_name() {
        let error = alone(
            "sasl.jaas.config",
            "com.sun.security.auth.module.JndiLoginModule required;",
        );
        assert!(error.unwrap_err().contains("JndiLoginModule"));
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
    fn properties_of_other_programs_in_the_same_file_are_ignored() {
        for key in [
            "schema.registry.url",
            "basic.auth.user.info",
            "config.providers",
            "config.providers.file.class",
        ] {
            assert_eq!(alone(key, "x"), Ok(Translation::Ignored), "{key}");
        }
    }

    #[test]
    fn kerberos_is_said_to_be_missing() {
        let module = "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true;";
        let error = alone("sasl.jaas.config", module).unwrap_err();
        assert!(
            error.contains("Kerberos (GSSAPI) is not compiled into this kbk"),
            "{error}"
        );
    }
}
