//! Signs evidence of a verification with an Ed25519 key, and checks it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use jiff::Timestamp;
use kbk_format::repo::{Digest, Hex, Repository};
use kbk_tools::verify::{Circumstances, Evidence, Statement, VerifyOptions, VerifyReport};
use openssl::pkey::{HasPublic, Id as KeyKind, PKey, PKeyRef, Private, Public};
use openssl::sha::sha256;
use openssl::sign::{Signer, Verifier};
use serde::Serialize;

use crate::cli::{CliError, Context, FileKind, Outcome, OutputFile, Report};
use crate::human;

/// The file of the evidence.
const EVIDENCE: FileKind = FileKind {
    name: "the evidence",
    mark: "\n{\"kbk_evidence\":",
};

/// What makes a key, and takes its public half.
const MAKE: &str = "`openssl genpkey -algorithm ed25519 -out kbk.pem` makes a key, and `openssl pkey -in kbk.pem -pubout -out kbk.pub` takes its public half";

/// The points of Ed25519 of small order in all their encodings, without the sign: signatures that fit one of these as a key fit any text, so that
/// nobody signs with them. RFC 8032 does not rule them out, and OpenSSL takes them.
const SMALL_ORDER: [[u8; 32]; 7] = {
    const fn ends(first: u8, others: u8, last: u8) -> [u8; 32] {
        let mut point = [others; 32];
        point[0] = first;
        point[31] = last;
        point
    }
    [
        ends(0, 0, 0),
        ends(1, 0, 0),
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0x7f),
        ends(0xee, 0xff, 0x7f),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

/// Evidence that is signed once the verification is done.
pub(super) struct Signing {
    key: PKey<Private>,
    file: OutputFile,
    started_at: Timestamp,
}

impl Signing {
    /// Reads the key, and opens the file.
    pub(super) fn open(key: &Path, file: &Path) -> Result<Signing, CliError> {
        let pem = read(key, "the key")?;
        // An encrypted key would make OpenSSL ask the terminal for a passphrase.
        let read = PKey::private_key_from_pem_callback(&pem, |_| Ok(0));
        let key = read
            .ok()
            .filter(|it| it.id() == KeyKind::ED25519)
            .ok_or_else(|| {
                let message = format!(
                    "{} is not an Ed25519 private key in PEM without a passphrase",
                    key.display()
                );
                CliError::new(message).hint(MAKE)
            })?;
        Ok(Signing {
            key,
            file: OutputFile::create(file, EVIDENCE)?,
            started_at: Timestamp::now(),
        })
    }

    /// Signs what a report says, and writes it.
    pub(super) fn write(
        self,
        report: &VerifyReport,
        location: &str,
        repository: Option<&Repository>,
        options: Option<&VerifyOptions>,
    ) -> Result<(), CliError> {
        let topics = options.and_then(|options| options.topics.as_ref());
        let topics = topics.map(|topics| {
            let named = topics.iter().map(|(name, id)| format!("{name}@{id}"));
            named.collect()
        });
        let statement = Statement::of(
            report,
            Circumstances {
                writer: concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned(),
                public_key_sha256: fingerprint(&self.key)?,
                started_at: self.started_at,
                finished_at: Timestamp::now(),
                repository_id: repository.map(|it| it.identity().repository_id),
                location: location.to_owned(),
                topics,
            },
        );
        let failed = |error| CliError::new("cannot sign the evidence").caused_by(error);
        let signed = statement
            .signed_bytes()
            .map_err(|error| CliError::new("cannot write the evidence").caused_by(error))?;
        let mut signer = Signer::new_without_digest(&self.key).map_err(failed)?;
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes());
        let signature = BASE64.encode(&signature.map_err(failed)?);
        let text = Evidence::new(signed, signature).text();
        self.file.finish(text.as_bytes())
    }
}

/// Evidence whose signature fits.
#[derive(Debug, Serialize)]
struct CheckedEvidence {
    /// The file.
    evidence: PathBuf,
    /// The file of the public key whose signature it has.
    public_key: PathBuf,
    /// What is attested.
    statement: Statement,
}

/// Checks the signature of evidence, and says what it attests.
pub(super) fn check(
    evidence: &Path,
    public_key: &Path,
    context: &Context,
) -> Result<Outcome, CliError> {
    let text = String::from_utf8(read(evidence, "the evidence")?);
    let refused = |cause: &str| {
        let message = format!("cannot accept the evidence {}: {cause}", evidence.display());
        CliError::new(message).hint("nothing in it counts: get the file that was written, and the public key of who signed it")
    };
    let text = text.map_err(|_| refused("it is not text"))?;
    let found = Evidence::parse(&text).map_err(|error| refused(&error.to_string()))?;
    let pem = read(public_key, "the public key")?;
    let key = PKey::public_key_from_pem(&pem).ok();
    let key = key
        .filter(|it| it.id() == KeyKind::ED25519)
        .ok_or_else(|| {
            let message = format!(
                "{} is not an Ed25519 public key in PEM",
                public_key.display()
            );
            CliError::new(message).hint(MAKE)
        })?;
    if is_weak(&key) {
        let message = format!(
            "cannot take {} as a public key: it is a point of small order, and signatures that fit it fit any statement",
            public_key.display()
        );
        return Err(CliError::new(message)
            .hint("get the public key of who signed the evidence from them again"));
    }
    if !fits(&found, &key) {
        let other = found.statement().ok().filter(|statement| {
            fingerprint(&key).is_ok_and(|it| it != statement.public_key_sha256)
        });
        return Err(match other {
            Some(statement) => refused(&format!(
                "its signature does not fit this key; it names the key with the SHA-256 {}",
                statement.public_key_sha256
            )),
            None => refused("its signature does not fit: it was changed after it was signed"),
        });
    }
    let statement = found
        .statement()
        .map_err(|error| refused(&error.to_string()))?;
    let outcome = Outcome::clean_if(statement.intact);
    let checked = CheckedEvidence {
        evidence: evidence.to_owned(),
        public_key: public_key.to_owned(),
        statement,
    };
    context.conclude(&checked, outcome)
}

fn fits(evidence: &Evidence, key: &PKeyRef<Public>) -> bool {
    let Ok(signature) = BASE64.decode(evidence.signature().as_bytes()) else {
        return false;
    };
    let verified = Verifier::new_without_digest(key)
        .and_then(|mut verifier| verifier.verify_oneshot(&signature, evidence.signed()));
    verified.unwrap_or(false)
}

/// Returns whether a key proves nothing; one whose bytes cannot be had does not either.
fn is_weak(key: &PKeyRef<Public>) -> bool {
    let Ok(mut point) = key.raw_public_key() else {
        return true;
    };
    if let Some(last) = point.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.iter().any(|weak| weak[..] == point[..])
}

/// Returns the SHA-256 of a public key.
fn fingerprint(key: &PKeyRef<impl HasPublic>) -> Result<Digest, CliError> {
    let der = key.public_key_to_der();
    let der = der.map_err(|error| CliError::new("cannot read the public key").caused_by(error))?;
    Ok(Hex(sha256(&der)))
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|error| {
        CliError::new(format!("cannot read {what} {}", path.display())).caused_by(error)
    })
}

/// Says what is intact, and of how much.
fn intact(statement: &Statement) -> String {
    let intact = statement.depth.intact();
    let topics = statement.topics.as_ref();
    let topics = topics.map(|topics| human::counted(topics.len() as u64, "topic"));
    match (&statement.portion, topics) {
        (None, None) => intact.to_owned(),
        (None, Some(topics)) => format!("of {topics} only: {intact} there"),
        (Some(portion), topics) => {
            let of = topics.map_or_else(String::new, |topics| format!(" of {topics}"));
            let percent = portion.percent();
            format!("{percent:.1} % of the bytes{of} read: {intact} there")
        }
    }
}

impl Report for CheckedEvidence {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let it = &self.statement;
        let unchecked: Vec<&str> = it.not_checked.iter().map(|check| check.words()).collect();
        let verdict = match (it.intact, it.findings.len() as u64) {
            (true, 0) => intact(it),
            (true, found) => {
                let found = human::counted(found, "finding");
                format!("{}, {found} accepted", intact(it))
            }
            (false, found) => human::counted(found, "finding"),
        };
        writeln!(
            out,
            "the signature of {} fits {}: {} verified at depth {}: {verdict}\n",
            self.evidence.display(),
            self.public_key.display(),
            it.location,
            it.depth.name(),
        )?;
        if let Some(portion) = &it.portion {
            writeln!(
                out,
                "  read        {:.1} % of the bytes only",
                portion.percent()
            )?;
        }
        if !unchecked.is_empty() {
            writeln!(out, "  not checked {}", unchecked.join(", "))?;
        }
        if let Some(id) = &it.repository_id {
            writeln!(out, "  repository  {id}")?;
        }
        for snapshot in &it.snapshots {
            let digest = match &snapshot.sha256 {
                Some(digest) => format!("SHA-256 {digest}"),
                None => "not readable".to_owned(),
            };
            writeln!(out, "  snapshot    {}  {digest}", snapshot.sequence)?;
        }
        if let Some(topics) = &it.topics {
            writeln!(out, "  topics      {}", topics.join(", "))?;
        }
        writeln!(
            out,
            "  contents    {} in {} of {}, {}",
            human::counted(it.records, "record"),
            human::counted(it.segments, "segment"),
            human::counted(it.partitions, "partition"),
            human::bytes(it.bytes),
        )?;
        writeln!(
            out,
            "  from        {}\n  to          {}\n  by          {}",
            human::moment(it.started_at),
            human::moment(it.finished_at),
            it.writer
        )?;
        for finding in &it.findings {
            writeln!(out, "\n{finding}")?;
        }
        Ok(())
    }
}
