//! TLS with OpenSSL, by the properties of librdkafka and with its results: `rd_kafka_ssl_ctx_init` in its `rdkafka_ssl.c`.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslVerifyMode,
};
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use openssl::x509::{X509, X509VerifyResult};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::error::{BrokerName, WireError};
use crate::kafka::client::ClientConfig;

/// Properties that are honoured.
pub(super) const PROPERTIES: &[&str] = &[
    "enable.ssl.certificate.verification",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
];

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls {
    context: SslContext,
    checks_host: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("checks_host", &self.checks_host)
            .finish_non_exhaustive()
    }
}

type Configured = Result<(), WireError>;

impl Tls {
    /// Loads keys and certificates.
    pub(super) fn new(config: &ClientConfig) -> Result<Tls, WireError> {
        let builder = SslContext::builder(SslMethod::tls_client());
        let mut builder = builder.map_err(wrong("security.protocol"))?;
        builder.set_options(SslOptions::NO_SSLV2 | SslOptions::NO_SSLV3);
        algorithms(&mut builder, config)?;
        trust(&mut builder, config)?;
        identity(&mut builder, config)?;
        let verifies = config.get("enable.ssl.certificate.verification") != Some("false");
        builder.set_verify(if verifies {
            SslVerifyMode::PEER
        } else {
            SslVerifyMode::NONE
        });
        let check = config.get("ssl.endpoint.identification.algorithm");
        Ok(Tls {
            context: builder.build(),
            checks_host: verifies && check != Some("none"),
        })
    }

    /// Encrypts a new connection to `host`.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<SslStream<TcpStream>, TlsFailure> {
        let broken = |error: ErrorStack| TlsFailure {
            cause: error.to_string(),
            is_final: true,
        };
        let ssl = self.prepare(host).map_err(broken)?;
        let mut stream = SslStream::new(ssl, stream).map_err(broken)?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(stream),
            Err(error) => Err(TlsFailure::of(&error, stream.ssl().verify_result())),
        }
    }

    fn prepare(&self, host: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let address: Option<IpAddr> = host.parse().ok();
        if address.is_none() {
            // Names only: RFC 6066.
            ssl.set_hostname(host)?;
        }
        if self.checks_host {
            let param = ssl.param_mut();
            match address {
                Some(address) => param.set_ip(address)?,
                None => {
                    param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
                    param.set_host(host)?;
                }
            }
        }
        Ok(ssl)
    }
}

/// Why there is no encrypted connection.
#[derive(Debug)]
pub(super) struct TlsFailure {
    cause: String,
    /// Whether it fails however often it is tried.
    is_final: bool,
}

impl TlsFailure {
    /// Names the property to look at.
    fn of(error: &openssl::ssl::Error, verified: X509VerifyResult) -> TlsFailure {
        if verified != X509VerifyResult::OK {
            let cause = format!(
                "its certificate cannot be verified ({}), by `ssl.ca.location` and `ssl.endpoint.identification.algorithm`",
                verified.error_string()
            );
            return TlsFailure {
                cause,
                is_final: true,
            };
        }
        let reasons = error.ssl_error().map(ErrorStack::errors);
        let mut reasons = reasons
            .unwrap_or_default()
            .iter()
            .filter_map(openssl::error::Error::reason);
        match reasons.next() {
            Some("wrong version number" | "packet length too long") => TlsFailure {
                cause: "it does not answer in TLS, which `security.protocol` asks for".to_owned(),
                is_final: true,
            },
            // A plain listener does so at once; a broker that stops may do so as well.
            Some("unexpected eof while reading") | None => TlsFailure {
                cause: format!(
                    "the connection ended during the TLS handshake ({error}), as where the listener does not use TLS"
                ),
                is_final: false,
            },
            Some(reason) => TlsFailure {
                cause: format!("TLS failed: {reason}"),
                is_final: true,
            },
        }
    }

    pub(super) fn about(self, broker: &BrokerName) -> WireError {
        let (broker, cause) = (broker.clone(), self.cause);
        match self.is_final {
            true => WireError::Tls { broker, cause },
            false => WireError::Connect { broker, cause },
        }
    }
}

/// Names the property in an error of OpenSSL's.
fn wrong(property: &'static str) -> impl Fn(ErrorStack) -> WireError {
    move |error| {
        let reasons: Vec<&str> = error.errors().iter().filter_map(|it| it.reason()).collect();
        let cause = match reasons.is_empty() {
            true => "OpenSSL does not accept it".to_owned(),
            false => format!("OpenSSL does not accept it: {}", reasons.join(", ")),
        };
        WireError::property(property, cause)
    }
}

fn read(property: &'static str, path: &str) -> Result<Vec<u8>, WireError> {
    fs::read(path)
        .map_err(|error| WireError::property(property, format!("cannot read {path}: {error}")))
}

/// Returns the value of a property that is set to something.
fn set<'c>(config: &'c ClientConfig, key: &str) -> Option<&'c str> {
    config.get(key).filter(|value| !value.is_empty())
}

fn algorithms(builder: &mut SslContextBuilder, config: &ClientConfig) -> Configured {
    if let Some(ciphers) = set(config, "ssl.cipher.suites") {
        builder
            .set_cipher_list(ciphers)
            .map_err(wrong("ssl.cipher.suites"))?;
    }
    if let Some(curves) = set(config, "ssl.curves.list") {
        builder
            .set_groups_list(curves)
            .map_err(wrong("ssl.curves.list"))?;
    }
    if let Some(algorithms) = set(config, "ssl.sigalgs.list") {
        builder
            .set_sigalgs_list(algorithms)
            .map_err(wrong("ssl.sigalgs.list"))?;
    }
    Ok(())
}

/// Loads the certificates to trust: those of the properties, else those of the system.
fn trust(builder: &mut SslContextBuilder, config: &ClientConfig) -> Configured {
    const PEM: &str = "ssl.ca.pem";
    const LOCATION: &str = "ssl.ca.location";
    const CRL: &str = "ssl.crl.location";
    let pem = set(config, PEM);
    let location = set(config, LOCATION);
    if let Some(pem) = pem {
        for certificate in certificates(PEM, pem.as_bytes())? {
            builder
                .cert_store_mut()
                .add_cert(certificate)
                .map_err(wrong(PEM))?;
        }
    } else if let Some(location) = location.filter(|location| *location != "probe") {
        let path = Path::new(location);
        let loaded = match path.is_dir() {
            true => builder.load_verify_locations(None, Some(path)),
            false => builder.load_verify_locations(Some(path), None),
        };
        loaded.map_err(wrong(LOCATION))?;
    } else {
        // An OpenSSL that is linked into the program does not know where this system keeps them.
        let found = openssl_probe::probe();
        if let Some(file) = found.cert_file {
            builder
                .load_verify_locations(Some(&file), None)
                .map_err(wrong(LOCATION))?;
        }
        builder
            .set_default_verify_paths()
            .map_err(wrong(LOCATION))?;
    }
    if let Some(location) = set(config, CRL) {
        let store = builder.cert_store_mut();
        let lookup = store.add_lookup(X509Lookup::file()).map_err(wrong(CRL))?;
        lookup
            .load_crl_file(location, SslFiletype::PEM)
            .map_err(wrong(CRL))?;
        store
            .set_flags(X509VerifyFlags::CRL_CHECK)
            .map_err(wrong(CRL))?;
    }
    Ok(())
}

/// Loads the client's own key and certificates, if there are any.
fn identity(builder: &mut SslContextBuilder, config: &ClientConfig) -> Configured {
    const CERTIFICATE: &str = "ssl.certificate.location";
    const CERTIFICATE_PEM: &str = "ssl.certificate.pem";
    const KEY: &str = "ssl.key.location";
    const KEY_PEM: &str = "ssl.key.pem";
    const STORE: &str = "ssl.keystore.location";
    if let Some(path) = set(config, CERTIFICATE) {
        let pem = read(CERTIFICATE, path)?;
        use_chain(builder, CERTIFICATE, certificates(CERTIFICATE, &pem)?)?;
    }
    if let Some(pem) = set(config, CERTIFICATE_PEM) {
        let chain = certificates(CERTIFICATE_PEM, pem.as_bytes())?;
        use_chain(builder, CERTIFICATE_PEM, chain)?;
    }
    let password = config.get("ssl.key.password").unwrap_or_default();
    let mut own_key = None;
    if let Some(path) = set(config, KEY) {
        own_key = Some((KEY, key(KEY, &read(KEY, path)?, password)?));
    }
    if let Some(pem) = set(config, KEY_PEM) {
        own_key = Some((KEY_PEM, key(KEY_PEM, pem.as_bytes(), password)?));
    }
    if let Some(path) = set(config, STORE) {
        let store = Pkcs12::from_der(&read(STORE, path)?).map_err(wrong(STORE))?;
        let password = config.get("ssl.keystore.password").unwrap_or_default();
        let parsed = store.parse2(password).map_err(wrong(STORE))?;
        let chain = parsed
            .cert
            .into_iter()
            .chain(parsed.ca.into_iter().flatten());
        use_chain(builder, STORE, chain.collect())?;
        own_key = parsed.pkey.map(|key| (STORE, key)).or(own_key);
    }
    if let Some((property, key)) = own_key {
        builder.set_private_key(&key).map_err(wrong(property))?;
        // The key must be that of the certificate.
        builder.check_private_key().map_err(wrong(property))?;
    }
    Ok(())
}

fn certificates(property: &'static str, pem: &[u8]) -> Result<Vec<X509>, WireError> {
    let found = X509::stack_from_pem(pem).map_err(wrong(property))?;
    if found.is_empty() {
        let cause = "it has no certificate in PEM".to_owned();
        return Err(WireError::property(property, cause));
    }
    Ok(found)
}

fn use_chain(
    builder: &mut SslContextBuilder,
    property: &'static str,
    chain: Vec<X509>,
) -> Configured {
    let mut chain = chain.into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own).map_err(wrong(property))?;
    }
    for issuer in chain {
        builder
            .add_extra_chain_cert(issuer)
            .map_err(wrong(property))?;
    }
    Ok(())
}

fn key(property: &'static str, pem: &[u8], password: &str) -> Result<PKey<Private>, WireError> {
    PKey::private_key_from_pem_passphrase(pem, password.as_bytes()).map_err(wrong(property))
}
