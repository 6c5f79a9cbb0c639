//! Checks properties together before a client starts: librdkafka's own errors name neither the place nor what to do.

use std::fs::File;

use super::java;
use crate::kafka::client::ClientConfig;

/// The mechanisms of this build.
const MECHANISMS: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";

/// A property, what is wrong with it, and what to do.
type Mistake = (&'static str, String);

pub(super) fn check(config: &ClientConfig) -> Result<(), Mistake> {
    addresses(config.get("bootstrap.servers").unwrap_or_default())?;
    largest_response(config)?;
    let protocol = config.get("security.protocol").unwrap_or("plaintext");
    let protocol = protocol.to_ascii_lowercase();
    if protocol.ends_with("ssl") {
        files(config)?;
    }
    if protocol.starts_with("sasl") {
        login(config)?;
    }
    Ok(())
}

/// Checks that brokers' answers fit into the largest response: librdkafka fetches at least 1,000 bytes, and the rest is framing.
fn largest_response(config: &ClientConfig) -> Result<(), Mistake> {
    const KEY: &str = "receive.message.max.bytes";
    const LEAST: u32 = 1_512;
    let bytes = config.get(KEY).and_then(|bytes| bytes.parse::<u32>().ok());
    match bytes {
        Some(bytes) if bytes < LEAST => {
            let cause = format!(
                "brokers' answers exceed {bytes} bytes; give {LEAST} or more, or leave it out"
            );
            Err((KEY, cause))
        }
        _ => Ok(()),
    }
}

/// Checks the form `[PROTOCOL://]HOST[:PORT]` of each address.
fn addresses(servers: &str) -> Result<(), Mistake> {
    let servers = servers.split(',').map(str::trim);
    // Kafka's clients pass over the end of `a:9092,b:9092,`, too.
    for server in servers.filter(|server| !server.is_empty()) {
        let (protocol, address) = server.split_once("://").unwrap_or(("plaintext", server));
        let is_protocol = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(protocol));
        // The colons of an IPv6 address are within brackets.
        let port = match address.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => Some(port),
            _ => None,
        };
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if !is_protocol || !is_port || address.starts_with(':') || address.is_empty() {
            let cause = format!("`{server}` is not an address; give HOST:PORT, as in broker:9092");
            return Err(("bootstrap.servers", cause));
        }
    }
    Ok(())
}

/// Checks that the files of keys and certificates can be read.
fn files(config: &ClientConfig) -> Result<(), Mistake> {
    const FILES: [&str; 5] = [
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.keystore.location",
        "ssl.crl.location",
    ];
    for key in FILES {
        // `probe` searches the places of the system.
        let path = config.get(key).filter(|path| !["", "probe"].contains(path));
        if let Some(path) = path {
            File::open(path).map_err(|error| {
                let cause =
                    format!("cannot read {path}: {error}; check the path and who may read it");
                (key, cause)
            })?;
        }
    }
    Ok(())
}

/// Checks that there is a mechanism, and what it needs.
fn login(config: &ClientConfig) -> Result<(), Mistake> {
    const MECHANISM: &str = "sasl.mechanism";
    let is_set = |key: &str| config.get(key).is_some_and(|value| !value.is_empty());
    match config.get(MECHANISM) {
        None => Err((
            MECHANISM,
            format!(
                "`security.protocol` needs one; set it to one of {MECHANISMS} (Kafka's default is GSSAPI, and {})",
                java::NO_KERBEROS
            ),
        )),
        Some("OAUTHBEARER") => {
            let method = config.get("sasl.oauthbearer.method").unwrap_or_default();
            // What an endpoint needs is checked where its settings are read.
            if is_set("sasl.oauthbearer.config") || method.eq_ignore_ascii_case("oidc") {
                return Ok(());
            }
            let cause = "OAUTHBEARER needs the claims of an unsecured token, as `principal=NAME`, with \
                         `enable.sasl.oauthbearer.unsecure.jwt=true`; to get tokens from an endpoint (OIDC), set \
                         `sasl.oauthbearer.method=oidc`";
            Err(("sasl.oauthbearer.config", cause.to_owned()))
        }
        Some(mechanism @ ("PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512")) => {
            let missing = ["sasl.username", "sasl.password"]
                .into_iter()
                .find(|key| !is_set(key));
            missing.map_or(Ok(()), |key| {
                let cause = format!("{mechanism} needs it; set it with -X, or `sasl.jaas.config` in --command-config");
                Err((key, cause))
            })
        }
        Some(_) => Err((
            MECHANISM,
            format!("not a mechanism of this kbk, which has {MECHANISMS}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Result<(), Mistake> {
        let mut config = ClientConfig::default();
        config.set("bootstrap.servers", "a:9092");
        for (key, value) in pairs {
            config.set(key, *value);
        }
        check(&config)
    }

    #[test]
    fn addresses_have_a_host_and_a_valid_port() {
        for servers in [
            "a",
            "a:1",
            "a:1,b:2",
            "a:1, b:2,",
            "[::1]:9092",
            "[::1]",
            "SASL_SSL://a:1",
        ] {
            let servers = [("bootstrap.servers", servers)];
            assert_eq!(checked(&servers), Ok(()), "{servers:?}");
        }
        for servers in ["http://a:1", "a:b", "a:0", "a:65536", ":9092", "a:"] {
            let servers = [("bootstrap.servers", servers)];
            assert!(checked(&servers).is_err(), "{servers:?}");
        }
    }

    #[test]
    fn a_login_needs_a_mechanism_and_credentials() {
        let sasl = ("security.protocol", "SASL_SSL");
        let wrong = |pairs: &[(&str, &str)], key: &str| {
            let (named, cause) = checked(&[&[sasl], pairs].concat()).unwrap_err();
            assert_eq!(named, key, "{cause}");
        };
        wrong(&[], "sasl.mechanism");
        wrong(&[("sasl.mechanism", "NOPE")], "sasl.mechanism");
        wrong(&[("sasl.mechanism", "PLAIN")], "sasl.username");
        let user = [("sasl.mechanism", "PLAIN"), ("sasl.username", "a")];
        wrong(&user, "sasl.password");
        wrong(
            &[("sasl.mechanism", "OAUTHBEARER")],
            "sasl.oauthbearer.config",
        );
        // Without SASL, nothing of it is needed.
        assert_eq!(checked(&user), Ok(()));
        let whole = [sasl, user[0], user[1], ("sasl.password", "b")];
        assert_eq!(checked(&whole), Ok(()));
    }

    #[test]
    fn files_of_tls_must_exist_where_there_is_tls() {
        let missing = ("ssl.ca.location", "/no/such/file");
        assert_eq!(checked(&[missing]), Ok(()));
        let (key, cause) = checked(&[("security.protocol", "SSL"), missing]).unwrap_err();
        assert_eq!(key, "ssl.ca.location");
        assert!(cause.contains("/no/such/file"), "{cause}");
    }
}
