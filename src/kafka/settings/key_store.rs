//! The files in which Java keeps keys and certificates. librdkafka reads PEM and, for a client's own key, PKCS12; the certificates of
//! the other trust stores are given to it as PEM, in memory.

use std::fs;

use openssl::pkcs12::Pkcs12;
use openssl::x509::X509;

use super::jks;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Pem,
    Pkcs12,
    Jks,
}

/// The certificates of a trust store.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TrustStore {
    /// The file is PEM itself.
    Pem,
    /// The certificates as PEM.
    Converted(String),
}

/// A client's own key and certificates, in a format that librdkafka reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyStore {
    Pem,
    Pkcs12,
}

/// Determines the format: the declared type, else the first bytes of the file.
fn format(path: &str, bytes: &[u8], declared: Option<&str>) -> Result<Format, String> {
    match declared.map(str::to_ascii_uppercase).as_deref() {
        Some("PEM") => return Ok(Format::Pem),
        // Java opens files of either format under both names, so the bytes decide.
        Some("PKCS12" | "JKS") | None => {}
        Some(other) => {
            return Err(format!(
                "stores of type {other} are not supported; {}",
                as_pkcs12(path)
            ));
        }
    }
    match bytes {
        [0xFE, 0xED, 0xFE, 0xED, ..] => Ok(Format::Jks),
        [0xCE, 0xCE, 0xCE, 0xCE, ..] => {
            Err(format!("{path} is a JCEKS store; {}", as_pkcs12(path)))
        }
        // DER: a sequence with a long length.
        [0x30, 0x80..=0x84, ..] => Ok(Format::Pkcs12),
        _ => Ok(Format::Pem),
    }
}

fn read(path: &str, declared: Option<&str>) -> Result<(Vec<u8>, Format), String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let format = format(path, &bytes, declared)?;
    Ok((bytes, format))
}

/// Reads the certificates of a trust store.
pub(super) fn trust_store(
    path: &str,
    declared: Option<&str>,
    password: Option<&str>,
) -> Result<TrustStore, String> {
    let (bytes, format) = read(path, declared)?;
    let certificates = match format {
        Format::Pem => return Ok(TrustStore::Pem),
        Format::Pkcs12 => of_pkcs12(path, &bytes, password)?,
        Format::Jks => {
            let found = jks::certificates(&bytes, password);
            let found =
                found.map_err(|error| format!("cannot read the JKS store {path}: {error}"))?;
            let parsed = found.iter().map(|der| X509::from_der(der));
            parsed
                .collect::<Result<_, _>>()
                .map_err(|_| format!("{path} has a certificate that is not X.509"))?
        }
    };
    if certificates.is_empty() {
        return Err(format!("{path} has no certificate"));
    }
    let mut pem = String::new();
    for certificate in certificates {
        let text = certificate
            .to_pem()
            .ok()
            .and_then(|pem| String::from_utf8(pem).ok());
        pem.push_str(&text.ok_or_else(|| format!("{path} has a certificate without a PEM form"))?);
    }
    Ok(TrustStore::Converted(pem))
}

fn of_pkcs12(path: &str, bytes: &[u8], password: Option<&str>) -> Result<Vec<X509>, String> {
    let damaged = |_| format!("{path} is not a valid PKCS12 store");
    let store = Pkcs12::from_der(bytes).map_err(damaged)?;
    let parsed = store.parse2(password.unwrap_or_default()).map_err(|error| {
        let is_about = |words: &str| error.errors().iter().any(|e| e.reason().is_some_and(|r| r.contains(words)));
        if is_about("mac verify") {
            format!("cannot open the PKCS12 store {path}: the password is wrong or missing; set ssl.truststore.password")
        } else if is_about("unsupported") {
            format!("the PKCS12 store {path} uses an old encryption that OpenSSL no longer reads; {}", as_pkcs12(path))
        } else {
            format!("cannot read the PKCS12 store {path}: {error}; {}", as_pkcs12(path))
        }
    })?;
    let own = parsed.cert.into_iter();
    Ok(own.chain(parsed.ca.into_iter().flatten()).collect())
}

/// Determines the format of a client's own key store.
pub(super) fn key_store(path: &str, declared: Option<&str>) -> Result<KeyStore, String> {
    match read(path, declared)?.1 {
        Format::Pem => Ok(KeyStore::Pem),
        Format::Pkcs12 => Ok(KeyStore::Pkcs12),
        Format::Jks => Err(format!(
            "{path} is a JKS key store, which librdkafka cannot read; {}",
            as_pkcs12(path)
        )),
    }
}

fn as_pkcs12(path: &str) -> String {
    format!(
        "convert it once with `keytool -importkeystore -srckeystore {path} -destkeystore store.p12 -deststoretype PKCS12`, then set \
         the type to PKCS12 and the location to store.p12"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn formats_are_distinguished_by_declared_type_and_by_content() {
        let pem = file(b"-----BEGIN CERTIFICATE-----\n");
        let pkcs12 = file(&[0x30, 0x82, 0x0A, 0x00]);
        let jks = file(&[0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2]);
        let jceks = file(&[0xCE; 8]);
        let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
        assert_eq!(trust_store(&path(&pem), None, None), Ok(TrustStore::Pem));
        assert_eq!(
            trust_store(&path(&jks), Some("pem"), None),
            Ok(TrustStore::Pem)
        );
        assert_eq!(key_store(&path(&pkcs12), Some("JKS")), Ok(KeyStore::Pkcs12));
        for (error, words) in [
            (
                trust_store(&path(&pkcs12), None, None).unwrap_err(),
                "not a valid PKCS12",
            ),
            (
                trust_store(&path(&jks), None, None).unwrap_err(),
                "it ends too early",
            ),
            (
                key_store(&path(&jks), None).unwrap_err(),
                "keytool -importkeystore",
            ),
            (key_store(&path(&jks), Some("BKS")).unwrap_err(), "type BKS"),
            (
                key_store("/no/such/file", None).unwrap_err(),
                "/no/such/file",
            ),
            (
                trust_store(&path(&jceks), None, None).unwrap_err(),
                "is a JCEKS store",
            ),
        ] {
            assert!(error.contains(words), "{error}");
        }
    }
}
