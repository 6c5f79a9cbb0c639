//! Evidence of a verification: a statement, and the form in which it is signed.
//!
//! ```text
//! {"statement":
//! {"kbk_evidence":1,...}
//! ,"signature":"..."}
//! ```
//!
//! The file is one JSON document of exactly these three lines. What is signed are the bytes of the second line, its line feed included, as they are
//! in the file: nobody has to write JSON in a canonical way again to check them. The signature is 64 bytes of Ed25519 (RFC 8032) in base64.

use jiff::Timestamp;
use kbk_format::repo::{Digest, Id};
use serde::{Deserialize, Serialize};

use super::{Check, Finding, PortionReport, VerifyDepth, VerifyReport};

const VERSION: u32 = 1;
const HEAD: &str = "{\"statement\":\n";
const BETWEEN: &str = ",\"signature\":\"";
const TAIL: &str = "\"}\n";

/// What was verified, when, how, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The version of this form: 1. It is the first member, so that nothing else that the key signs begins like it.
    pub kbk_evidence: u32,
    /// The program that verified.
    pub writer: String,
    /// SHA-256 of the public key, as SubjectPublicKeyInfo in DER.
    pub public_key_sha256: Digest,
    /// When the verification began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The id of the repository; null where its kbk.json is damaged.
    pub repository_id: Option<Id>,
    /// Where it was.
    pub location: String,
    /// The snapshots that were verified.
    pub snapshots: Vec<AttestedSnapshot>,
    /// The topics that were selected, as `NAME@ID`; null for all.
    pub topics: Option<Vec<String>>,
    /// How deep it looked.
    pub depth: VerifyDepth,
    /// What was therefore not checked.
    pub not_checked: Vec<Check>,
    /// Which part of the segments was read; null if all were.
    pub portion: Option<PortionReport>,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of segments.
    pub segments: u64,
    /// Number of records, according to the index.
    pub records: u64,
    /// Bytes of the segments, according to the index.
    pub bytes: u64,
    /// Those of the snapshots that are partial.
    pub partial_snapshots: Vec<u64>,
    /// How many offsets are known to be missing from partial snapshots.
    pub missing_offsets: u64,
    /// How many offsets the cluster had deleted before they were read.
    pub lost_offsets: u64,
    /// How many offsets were expired by the age of their records.
    pub expired_offsets: u64,
    /// How many records were removed since later ones have the same keys, or as old tombstones.
    pub compacted_records: u64,
    /// Whether nothing is wrong or missing at this depth, but for what is accepted.
    pub intact: bool,
    /// Everything that is wrong or missing.
    pub findings: Vec<Finding>,
}

/// A snapshot that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestedSnapshot {
    /// Its number.
    pub sequence: u64,
    /// The SHA-256 that seals its object, `snapshots/<number>.json`: the member `sha256` there; null where it cannot be read.
    pub sha256: Option<Digest>,
}

/// What only the caller of a verification knows.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The program that verified.
    pub writer: String,
    /// SHA-256 of the public key.
    pub public_key_sha256: Digest,
    /// When the verification began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The id of the repository, where it is known.
    pub repository_id: Option<Id>,
    /// Where it was.
    pub location: String,
    /// The topics that were selected; `None` for all.
    pub topics: Option<Vec<String>>,
}

/// Why bytes are no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// They are not the three lines.
    #[error("it does not have the three lines of evidence as kbk writes it, or was changed")]
    Form,
    /// A later version of kbk wrote it.
    #[error("it has version {0} of the form of evidence, and this kbk knows version {VERSION}")]
    Version(u64),
    /// The statement lacks members, or has others.
    #[error("its statement cannot be read: {0}")]
    Statement(#[from] serde_json::Error),
}

/// A signed statement, as far as its form is right. Whether the signature fits is for the caller to check.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The bytes that are signed.
    signed: String,
    /// The signature, in base64.
    signature: String,
}

impl Statement {
    /// States what a report says.
    #[must_use]
    pub fn of(report: &VerifyReport, circumstances: Circumstances) -> Statement {
        let snapshots = report.snapshots.iter().map(|sequence| AttestedSnapshot {
            sequence: *sequence,
            sha256: report.digests.get(sequence).copied(),
        });
        Statement {
            kbk_evidence: VERSION,
            writer: circumstances.writer,
            public_key_sha256: circumstances.public_key_sha256,
            started_at: circumstances.started_at,
            finished_at: circumstances.finished_at,
            repository_id: circumstances.repository_id,
            location: circumstances.location,
            snapshots: snapshots.collect(),
            topics: circumstances.topics,
            depth: report.depth,
            not_checked: report.not_checked.clone(),
            portion: report.portion.clone(),
            partitions: report.partitions,
            segments: report.segments,
            records: report.records,
            bytes: report.bytes,
            partial_snapshots: report.partial_snapshots.clone(),
            missing_offsets: report.missing_offsets,
            lost_offsets: report.lost_offsets,
            expired_offsets: report.expired_offsets,
            compacted_records: report.compacted_records,
            intact: report.is_intact(),
            findings: report.findings.clone(),
        }
    }

    /// Returns the bytes that are signed.
    ///
    /// # Errors
    ///
    /// Never in practice: all members can be written as JSON.
    pub fn signed_bytes(&self) -> Result<String, serde_json::Error> {
        // Line feeds in texts are escaped, so that this is one line.
        Ok(serde_json::to_string(self)? + "\n")
    }
}

impl Evidence {
    /// Joins the signed bytes of a statement with their signature in base64.
    #[must_use]
    pub fn new(signed: String, signature: String) -> Evidence {
        Evidence { signed, signature }
    }

    /// Reads evidence.
    ///
    /// # Errors
    ///
    /// If it does not have exactly the form in which it is written.
    pub fn parse(text: &str) -> Result<Evidence, EvidenceError> {
        let rest = text.strip_prefix(HEAD).ok_or(EvidenceError::Form)?;
        let end = rest.find('\n').ok_or(EvidenceError::Form)? + 1;
        let (signed, rest) = rest.split_at_checked(end).ok_or(EvidenceError::Form)?;
        let signature = rest.strip_prefix(BETWEEN);
        let signature = signature.and_then(|rest| rest.strip_suffix(TAIL));
        let signature = signature.filter(|it| !it.contains(['"', '\n', '\\']));
        Ok(Evidence {
            signed: signed.to_owned(),
            signature: signature.ok_or(EvidenceError::Form)?.to_owned(),
        })
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let Evidence { signed, signature } = self;
        format!("{HEAD}{signed}{BETWEEN}{signature}{TAIL}")
    }

    /// Returns the bytes that are signed.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// Returns the signature in base64.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// Reads the statement. Nothing in it counts unless the signature fits.
    ///
    /// # Errors
    ///
    /// If it is of another version, or not a statement.
    pub fn statement(&self) -> Result<Statement, EvidenceError> {
        let value: serde_json::Value = serde_json::from_str(&self.signed)?;
        if let Some(version) = value
            .get("kbk_evidence")
            .and_then(serde_json::Value::as_u64)
            && version != u64::from(VERSION)
        {
            return Err(EvidenceError::Version(version));
        }
        Ok(serde_json::from_value(value)?)
    }
}
