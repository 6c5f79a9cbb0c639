//! SCRAM (RFC 5802, RFC 7677): the client proves that it knows the password, and the broker that it does.

use data_encoding::{BASE64, HEXLOWER};
use openssl::hash::{MessageDigest, hash};
use openssl::memcmp;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use super::Progress;

/// The hash of the mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Hash::Sha256 => MessageDigest::sha256(),
            Hash::Sha512 => MessageDigest::sha512(),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }
}

/// The fewest iterations that Kafka lets a password have. With fewer, whoever poses as the broker learns too much about it.
const FEWEST_ITERATIONS: usize = 4096;
/// More than any password has (Kafka allows 16,384), and not more than a second of work.
const MOST_ITERATIONS: usize = 1_000_000;

/// A login under way.
pub(super) struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    /// The first message without its header, which signatures cover.
    first_bare: String,
    state: State,
}

enum State {
    /// The broker's first message is to come: nonce, salt, iterations.
    Challenge,
    /// The broker's signature is to come.
    Signature(Vec<u8>),
    /// The broker is who it says.
    Verified,
}

/// Returns what nobody has used before.
pub(super) fn nonce() -> Result<String, String> {
    let mut bytes = [0; 24];
    openssl::rand::rand_bytes(&mut bytes).map_err(|error| error.to_string())?;
    Ok(HEXLOWER.encode(&bytes))
}

impl Scram {
    pub(super) fn new(hash: Hash, user: &str, password: &str, nonce: &str) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram {
            hash,
            password: password.to_owned(),
            nonce: nonce.to_owned(),
            first_bare: format!("n={user},r={nonce}"),
            state: State::Challenge,
        }
    }

    /// Returns the first message: without channel binding, which Kafka does not have.
    pub(super) fn first_message(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    pub(super) fn answer(&mut self, message: &[u8]) -> Result<Progress, String> {
        let message = std::str::from_utf8(message).map_err(|_| "its message is not UTF-8")?;
        match &self.state {
            State::Challenge => {
                let (answer, signature) = self.prove(message)?;
                self.state = State::Signature(signature);
                Ok(Progress::Send(answer.into_bytes()))
            }
            State::Signature(expected) => {
                verify(message, expected)?;
                self.state = State::Verified;
                Ok(Progress::Done)
            }
            State::Verified => Err("it has more to say after its signature".to_owned()),
        }
    }

    /// Returns the last message, and the signature that the broker must answer with.
    fn prove(&self, challenge: &str) -> Result<(String, Vec<u8>), String> {
        let mut fields = challenge.split(',');
        let mut field = |name: &str| {
            let field = fields.next().and_then(|field| field.strip_prefix(name));
            field.ok_or_else(|| format!("its challenge lacks the field {name}"))
        };
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce does not continue that of the client".to_owned());
        }
        let salt = BASE64
            .decode(salt.as_bytes())
            .map_err(|_| "its salt is not valid base64")?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|count| (FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(count))
            .ok_or_else(|| {
                format!(
                    "it asks for {iterations:.20} iterations, and {FEWEST_ITERATIONS} to {MOST_ITERATIONS} are accepted"
                )
            })?;

        let mut salted = vec![0; self.hash.bytes()];
        let digest = self.hash.digest();
        pbkdf2_hmac(
            self.password.as_bytes(),
            &salt,
            iterations,
            digest,
            &mut salted,
        )
        .map_err(|error| error.to_string())?;
        let client_key = self.hmac(&salted, b"Client Key")?;
        let stored_key = hash(digest, &client_key).map_err(|error| error.to_string())?;
        // "biws" is the header "n,," in base64.
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.first_bare);
        let signature = self.hmac(&stored_key, signed.as_bytes())?;
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = self.hmac(&salted, b"Server Key")?;
        let expected = self.hmac(&server_key, signed.as_bytes())?;
        Ok((
            format!("{without_proof},p={}", BASE64.encode(&proof)),
            expected,
        ))
    }

    fn hmac(&self, key: &[u8], text: &[u8]) -> Result<Vec<u8>, String> {
        let sign = || {
            let key = PKey::hmac(key)?;
            Signer::new(self.hash.digest(), &key)?.sign_oneshot_to_vec(text)
        };
        sign().map_err(|error: openssl::error::ErrorStack| error.to_string())
    }
}

/// Checks the broker's last message.
fn verify(message: &str, expected: &[u8]) -> Result<(), String> {
    let last = message.split(',').next().unwrap_or_default();
    if let Some(error) = last.strip_prefix("e=") {
        return Err(error.chars().take(200).collect());
    }
    let signature = last
        .strip_prefix("v=")
        .and_then(|text| BASE64.decode(text.as_bytes()).ok())
        .ok_or("its last message has no signature")?;
    if signature.len() != expected.len() || !memcmp::eq(&signature, expected) {
        return Err("its signature proves that it does not know the password".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    const CHALLENGE: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn example() -> Scram {
        Scram::new(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    }

    fn sent(progress: Result<Progress, String>) -> String {
        match progress {
            Ok(Progress::Send(message)) => String::from_utf8(message).unwrap(),
            Ok(Progress::Done) => panic!("done"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let mut scram = example();
        assert_eq!(scram.first_message(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(sent(scram.answer(CHALLENGE)), last);
        let signature = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert!(matches!(scram.answer(signature), Ok(Progress::Done)));
        assert!(scram.answer(signature).is_err());
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        for last in [
            &b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="[..],
            b"v=",
            b"",
            b"e=other-error",
            b"\xff",
            b"v=6rriTRBi",
        ] {
            let mut scram = example();
            sent(scram.answer(CHALLENGE));
            assert!(scram.answer(last).is_err(), "{last:?}");
        }
    }

    #[test]
    fn challenges_are_checked() {
        for challenge in [
            "r=other,s=W22Z,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4095",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1000001",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=99999999999999999999",
            "r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z",
            "",
        ] {
            assert!(
                example().answer(challenge.as_bytes()).is_err(),
                "{challenge}"
            );
        }
    }

    #[test]
    fn user_names_are_escaped() {
        let scram = Scram::new(Hash::Sha512, "a=b,c", "p", "n");
        assert_eq!(scram.first_message(), b"n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }
}
