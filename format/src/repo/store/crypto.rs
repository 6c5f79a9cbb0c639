//! The signatures of requests, by the OpenSSL that the Kafka client brings: docs/decisions/0012-buckets.md says why.

use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use openssl::error::ErrorStack;
use openssl::hash::{DigestBytes, Hasher, MessageDigest};
use openssl::pkey::{PKey, Private};
use openssl::sign;

/// Digests and signatures by OpenSSL.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSsl;

fn failed(error: ErrorStack) -> object_store::Error {
    object_store::Error::Generic {
        store: "OpenSSL",
        source: error.into(),
    }
}

fn unknown(algorithm: &dyn std::fmt::Debug) -> object_store::Error {
    object_store::Error::NotSupported {
        source: format!("{algorithm:?} is not supported").into(),
    }
}

fn message_digest(algorithm: &DigestAlgorithm) -> object_store::Result<MessageDigest> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(MessageDigest::sha256()),
        other => Err(unknown(other)),
    }
}

impl CryptoProvider for OpenSsl {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        let hasher = Hasher::new(message_digest(&algorithm)?).map_err(failed)?;
        Ok(Box::new(Digest {
            hasher,
            failed: None,
            done: None,
        }))
    }

    fn hmac(
        &self,
        algorithm: DigestAlgorithm,
        secret: &[u8],
    ) -> object_store::Result<Box<dyn HmacContext>> {
        Ok(Box::new(Hmac {
            digest: message_digest(&algorithm)?,
            key: PKey::hmac(secret).map_err(failed)?,
            message: Vec::new(),
            done: Vec::new(),
        }))
    }

    fn sign(
        &self,
        algorithm: SigningAlgorithm,
        pem: &[u8],
    ) -> object_store::Result<Box<dyn Signer>> {
        match algorithm {
            SigningAlgorithm::RS256 => {
                // Without a pass phrase, so that OpenSSL never asks for one at the terminal.
                let key = PKey::private_key_from_pem_passphrase(pem, &[]).map_err(failed)?;
                Ok(Box::new(Rsa(key)))
            }
            other => Err(unknown(&other)),
        }
    }
}

struct Digest {
    hasher: Hasher,
    failed: Option<ErrorStack>,
    done: Option<DigestBytes>,
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        self.failed = self.failed.take().or(self.hasher.update(data).err());
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        if let Some(error) = self.failed.take() {
            return Err(failed(error));
        }
        let done = self.hasher.finish().map_err(failed)?;
        Ok(self.done.insert(done))
    }
}

/// What is signed is short: a request without its body.
struct Hmac {
    digest: MessageDigest,
    key: PKey<Private>,
    message: Vec<u8>,
    done: Vec<u8>,
}

impl HmacContext for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.message.extend_from_slice(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        let mut signer = sign::Signer::new(self.digest, &self.key).map_err(failed)?;
        self.done = signer.sign_oneshot_to_vec(&self.message).map_err(failed)?;
        Ok(&self.done)
    }
}

struct Rsa(PKey<Private>);

impl Signer for Rsa {
    fn sign(&self, string_to_sign: &[u8]) -> object_store::Result<Vec<u8>> {
        let mut signer = sign::Signer::new(MessageDigest::sha256(), &self.0).map_err(failed)?;
        signer.sign_oneshot_to_vec(string_to_sign).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn digests_are_those_of_rfc_4231_and_fips_180() {
        let mut digest = OpenSsl.digest(DigestAlgorithm::Sha256).unwrap();
        digest.update(b"a");
        digest.update(b"bc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(HEXLOWER.encode(digest.finish().unwrap()), expected);

        let mut hmac = OpenSsl.hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        hmac.update(b"what do ya want ");
        hmac.update(b"for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(HEXLOWER.encode(hmac.finish().unwrap()), expected);
    }

    #[test]
    fn a_signature_is_one_of_the_key() {
        let key = openssl::rsa::Rsa::generate(2048).unwrap();
        let key = PKey::from_rsa(key).unwrap();
        let pem = key.private_key_to_pem_pkcs8().unwrap();
        let signer = OpenSsl.sign(SigningAlgorithm::RS256, &pem).unwrap();
        let signature = signer.sign(b"claims").unwrap();
        let mut verifier = sign::Verifier::new(MessageDigest::sha256(), &key).unwrap();
        assert!(verifier.verify_oneshot(&signature, b"claims").unwrap());
        assert!(OpenSsl.sign(SigningAlgorithm::RS256, b"no key").is_err());
    }
}
