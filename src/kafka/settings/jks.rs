//! Java's own format of key stores, JKS, as far as trust stores need it: `sun.security.provider.JavaKeyStore` defines it.
//!
//! | bytes | meaning |
//! |---|---|
//! | 4, 4, 4 | `FEEDFEED`, version 1 or 2, number of entries |
//! | 4 | of each entry: 1 a private key, 2 a trusted certificate |
//! | 2 + n, 8 | its alias, its time |
//! | 4 + n | of a private key: the encrypted key, before its chain (4: the number of certificates) |
//! | 2 + n, 4 + n | of a certificate: its type (version 2 only), its bytes |
//! | 20 | SHA-1 of the password in UTF-16, `Mighty Aphrodite`, and all bytes before |

use openssl::sha::Sha1;

const KEY: u32 = 1;
const TRUSTED: u32 = 2;
const DIGEST_BYTES: usize = 20;

/// Returns the certificates of the store in DER: the trusted ones, and the first of each private key, as Java trusts them. Without a
/// password, the store is read unchecked, as Java does.
pub(super) fn certificates<'a>(
    bytes: &'a [u8],
    password: Option<&str>,
) -> Result<Vec<&'a [u8]>, String> {
    let end = bytes.len().checked_sub(DIGEST_BYTES).ok_or(TOO_EARLY)?;
    let (content, digest) = bytes.split_at(end);
    let certificates = entries(&mut Reader(content))?;
    match password {
        Some(password) if digest_of(content, password) != digest => Err(
            "the password is wrong or the file is damaged; check ssl.truststore.password"
                .to_owned(),
        ),
        _ => Ok(certificates),
    }
}

fn entries<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, String> {
    let _magic = reader.u32()?;
    let version = reader.u32()?;
    if !(1..=2).contains(&version) {
        return Err(format!("its version is {version}, expected 1 or 2"));
    }
    let count = reader.u32()?;
    let mut certificates = Vec::new();
    for _ in 0..count {
        let tag = reader.u32()?;
        let _alias = reader.short()?;
        let _time = reader.take(8)?;
        let chain = match tag {
            KEY => {
                let _encrypted = reader.long()?;
                reader.u32()?
            }
            TRUSTED => 1,
            _ => return Err(format!("it has an entry of the unknown kind {tag}")),
        };
        for index in 0..chain {
            if version == 2 {
                reader.short()?;
            }
            let certificate = reader.long()?;
            certificates.extend((index == 0).then_some(certificate));
        }
    }
    Ok(certificates)
}

fn digest_of(content: &[u8], password: &str) -> [u8; DIGEST_BYTES] {
    let mut sha = Sha1::new();
    for unit in password.encode_utf16() {
        sha.update(&unit.to_be_bytes());
    }
    sha.update(b"Mighty Aphrodite");
    sha.update(content);
    sha.finish()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

const TOO_EARLY: &str = "it ends too early";

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(TOO_EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u32, String> {
        let bytes = self.take(bytes)?.iter();
        Ok(bytes.fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.number(4)
    }

    fn short(&mut self) -> Result<&'a [u8], String> {
        let length = self.number(2)?;
        self.take(length as usize)
    }

    fn long(&mut self) -> Result<&'a [u8], String> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store with a trusted certificate `abc` and a private key whose chain is `leaf`, `root`.
    fn store(password: &str) -> Vec<u8> {
        let number = |n: u32| n.to_be_bytes().to_vec();
        let short = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
        let long = |text: &str| [&number(text.len() as u32), text.as_bytes()].concat();
        let certificate = |der: &str| [short("X.509"), long(der)].concat();
        let content = [
            vec![0xFE, 0xED, 0xFE, 0xED],
            number(2),
            number(2),
            [number(TRUSTED), short("ca"), vec![0; 8], certificate("abc")].concat(),
            [
                number(KEY),
                short("me"),
                vec![0; 8],
                long("secret"),
                number(2),
            ]
            .concat(),
            certificate("leaf"),
            certificate("root"),
        ];
        let content = content.concat();
        let digest = digest_of(&content, password);
        [content, digest.to_vec()].concat()
    }

    #[test]
    fn trusted_certificates_and_the_first_of_each_key() {
        let store = store("pä");
        let expected: [&[u8]; 2] = [b"abc", b"leaf"];
        assert_eq!(certificates(&store, Some("pä")).unwrap(), expected);
        assert_eq!(certificates(&store, None).unwrap(), expected);
        let error = certificates(&store, Some("pa")).unwrap_err();
        assert!(error.contains("password is wrong"), "{error}");
    }

    #[test]
    fn no_bytes_cause_a_panic() {
        let store = store("p");
        for length in 0..store.len() {
            assert!(
                certificates(&store[..length], Some("p")).is_err(),
                "{length}"
            );
        }
        for position in 0..store.len() {
            let mut damaged = store.clone();
            damaged[position] = 0xFF;
            let _ = certificates(&damaged, None);
            if damaged != store {
                assert!(certificates(&damaged, Some("p")).is_err(), "{position}");
            }
        }
    }
}
