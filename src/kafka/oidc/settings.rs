//! The properties of librdkafka's about tokens from an endpoint: which are honoured, and what they must say.

use std::fmt;
use std::fs;

use reqwest::{Certificate, Client, Url, redirect};

use super::endpoint::Endpoint;
use crate::kafka::client::ClientConfig;

const METHOD: &str = "sasl.oauthbearer.method";
const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const CLIENT_ID: &str = "sasl.oauthbearer.client.id";
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const EXTENSIONS: &str = "sasl.oauthbearer.extensions";
const GRANT: &str = "sasl.oauthbearer.grant.type";
const METADATA: &str = "sasl.oauthbearer.metadata.authentication.type";
const ASSERTION: &str = "sasl.oauthbearer.assertion.";
const CA_LOCATION: &str = "https.ca.location";
const CA_PEM: &str = "https.ca.pem";
const UNSECURED: &str = "enable.sasl.oauthbearer.unsecure.jwt";

/// Properties that are honoured.
pub(in crate::kafka) const PROPERTIES: &[&str] = &[
    CA_LOCATION,
    CA_PEM,
    CLIENT_ID,
    CLIENT_SECRET,
    EXTENSIONS,
    GRANT,
    METADATA,
    METHOD,
    SCOPE,
    URL,
];

/// A property, what is wrong with it, and what to do.
type Mistake = (&'static str, String);

/// Whether a property is this module's, which librdkafka is not to see.
pub(in crate::kafka) fn is_handled(key: &str) -> bool {
    PROPERTIES.contains(&key) || key.starts_with(ASSERTION)
}

/// Checks the value of one property of this module's.
pub(in crate::kafka) fn check_value(key: &str, value: &str) -> Result<(), String> {
    let is = |expected: &str| value.eq_ignore_ascii_case(expected);
    match key {
        METHOD if is("default") || is("oidc") => Ok(()),
        METHOD => Err("not a valid value; give `default` or `oidc`".to_owned()),
        GRANT if is("client_credentials") => Ok(()),
        GRANT => Err("kbk gets tokens by the grant `client_credentials` only; give `sasl.oauthbearer.client.id` and \
                      `sasl.oauthbearer.client.secret`"
            .to_owned()),
        METADATA if is("none") => Ok(()),
        METADATA => Err("kbk gets no tokens from the metadata service of a cloud; give `sasl.oauthbearer.client.id` and \
                         `sasl.oauthbearer.client.secret`"
            .to_owned()),
        URL => url(value).map(drop),
        EXTENSIONS => extensions(value).map(drop),
        // It ends at the first colon of what is sent (RFC 7617).
        CLIENT_ID if value.contains(':') => Err("a client id has no colon".to_owned()),
        _ if key.starts_with(ASSERTION) => Err("kbk signs no assertions; give `sasl.oauthbearer.client.id` and \
                                                `sasl.oauthbearer.client.secret`"
            .to_owned()),
        _ => Ok(()),
    }
}

/// Parses the URL of an endpoint. Errors do not show it, since it may have a password.
fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with https:// or http:// and a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "must have no user or password; give `{CLIENT_ID}` and `{CLIENT_SECRET}`"
        ));
    }
    Ok(url)
}

/// Parses `NAME=VALUE,...`, which goes to brokers with each token (RFC 7628).
fn extensions(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parsed = Vec::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair
            .split_once('=')
            .ok_or("give NAME=VALUE, with commas between them")?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic());
        if !is_name || name == "auth" {
            return Err("a name consists of letters, and is not `auth`".to_owned());
        }
        let is_allowed = |c: char| c.is_ascii_graphic() || " \t\r\n".contains(c);
        if !value.chars().all(is_allowed) {
            return Err(format!(
                "the value of {name} has characters that are not ASCII"
            ));
        }
        parsed.push((name.to_owned(), value.to_owned()));
    }
    Ok(parsed)
}

/// Where tokens come from, checked. Its `Debug` shows no secret.
pub(in crate::kafka) struct OidcSettings {
    pub(super) endpoint: Endpoint,
    pub(super) extensions: Vec<(String, String)>,
}

impl fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcSettings").finish_non_exhaustive()
    }
}

impl OidcSettings {
    /// Reads the properties, where they ask for tokens from an endpoint.
    ///
    /// # Errors
    ///
    /// A property that is missing, contradicts another one, or names certificates that cannot be read.
    pub(in crate::kafka) fn of(config: &ClientConfig) -> Result<Option<OidcSettings>, Mistake> {
        let is = |key: &str, expected: &str| {
            let value = config.get(key);
            value.is_some_and(|value| value.eq_ignore_ascii_case(expected))
        };
        let protocol = config.get("security.protocol").unwrap_or_default();
        let logs_in = protocol.to_ascii_lowercase().starts_with("sasl");
        if !logs_in || !is("sasl.mechanism", "OAUTHBEARER") || !is(METHOD, "oidc") {
            return Ok(None);
        }
        if is(UNSECURED, "true") {
            let cause = format!(
                "tokens are either unsecured or, by `{METHOD}`, from an endpoint; leave one of them out"
            );
            return Err((UNSECURED, cause));
        }
        let required = |key: &'static str| {
            let value = config.get(key).filter(|value| !value.is_empty());
            value.ok_or_else(|| {
                let cause =
                    format!("`{METHOD}=oidc` needs it; set it with -X or in --command-config");
                (key, cause)
            })
        };
        let url = url(required(URL)?).map_err(|cause| (URL, cause))?;
        let (id, secret) = (required(CLIENT_ID)?, required(CLIENT_SECRET)?);
        let extensions = extensions(config.get(EXTENSIONS).unwrap_or_default());
        Ok(Some(OidcSettings {
            endpoint: Endpoint::new(client(config)?, url, (id, secret), config.get(SCOPE)),
            extensions: extensions.map_err(|cause| (EXTENSIONS, cause))?,
        }))
    }
}

/// Creates the HTTP client, with the certificates that the properties name instead of those of the system.
fn client(config: &ClientConfig) -> Result<Client, Mistake> {
    let set = |key: &str| config.get(key).filter(|value| !value.is_empty());
    let mut builder = Client::builder()
        .user_agent(concat!("kbk/", env!("CARGO_PKG_VERSION")))
        // A redirect would send the secret elsewhere.
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0);
    let location = set(CA_LOCATION).filter(|path| *path != "probe");
    if set(CA_LOCATION).is_some() && set(CA_PEM).is_some() {
        let cause = format!("excludes `{CA_LOCATION}`; leave one of them out");
        return Err((CA_PEM, cause));
    }
    let read = |path: &str| {
        let found = fs::read(path);
        found.map_err(|error| {
            format!("cannot read {path}: {error}; give a file with certificates in PEM")
        })
    };
    let pem = match (location, set(CA_PEM)) {
        (Some(path), _) => Some((
            CA_LOCATION,
            read(path).map_err(|cause| (CA_LOCATION, cause))?,
        )),
        (None, Some(pem)) => Some((CA_PEM, pem.as_bytes().to_vec())),
        (None, None) => None,
    };
    if let Some((key, pem)) = pem {
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err((key, "has no certificate in PEM that can be used".to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| {
        let cause = format!("the HTTP client cannot start: {}", error.without_url());
        (URL, cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_one_by_one() {
        for (key, value) in [
            (METHOD, "OIDC"),
            (METHOD, "default"),
            (GRANT, "client_credentials"),
            (METADATA, "none"),
            (URL, "https://id.example:8443/realms/a/token?x=y"),
            (EXTENSIONS, "logicalCluster=lkc-1, identityPoolId=pool-2,"),
            (CLIENT_ID, "kbk"),
        ] {
            assert_eq!(check_value(key, value), Ok(()), "{key}={value}");
        }
        for (key, value, words) in [
            (METHOD, "maybe", "`oidc`"),
            (
                GRANT,
                "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "`client_credentials` only",
            ),
            (METADATA, "azure_imds", "metadata service"),
            (URL, "id.example/token", "not a URL"),
            (URL, "file:///token", "https://"),
            (
                URL,
                "https://user:hunter2@id.example/token",
                "no user or password",
            ),
            (EXTENSIONS, "a", "NAME=VALUE"),
            (EXTENSIONS, "auth=x", "not `auth`"),
            (EXTENSIONS, "a1=x", "letters"),
            (EXTENSIONS, "a=\u{1}", "not ASCII"),
            (CLIENT_ID, "a:b", "colon"),
            ("sasl.oauthbearer.assertion.file", "x", "assertions"),
        ] {
            let cause = check_value(key, value).unwrap_err();
            assert!(
                cause.contains(words) && !cause.contains("hunter2"),
                "{key}: {cause}"
            );
        }
    }

    #[test]
    fn what_is_missing_or_contradictory_is_named() {
        let whole = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            (METHOD, "oidc"),
            (URL, "https://id.example/token"),
            (CLIENT_ID, "kbk"),
            (CLIENT_SECRET, "hunter2"),
        ];
        let of = |pairs: &[(&str, &str)]| {
            let mut config = ClientConfig::default();
            for (key, value) in pairs {
                config.set(key, *value);
            }
            OidcSettings::of(&config)
        };
        assert!(of(&whole).unwrap().is_some());
        assert!(of(&[whole[0]]).unwrap().is_none());
        for missing in 3..whole.len() {
            let mut pairs = whole.to_vec();
            let (key, _) = pairs.remove(missing);
            assert_eq!(of(&pairs).unwrap_err().0, key);
        }
        for (key, value) in [
            (UNSECURED, "true"),
            (CA_LOCATION, "/no/such/file"),
            (CA_PEM, "no certificate"),
        ] {
            assert_eq!(
                of(&[&whole[..], &[(key, value)]].concat()).unwrap_err().0,
                key
            );
        }
        let both = [(CA_LOCATION, "probe"), (CA_PEM, "x")];
        assert_eq!(of(&[&whole[..], &both].concat()).unwrap_err().0, CA_PEM);
    }
}
