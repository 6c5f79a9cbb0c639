//! `kbk verify --evidence`, and its check by kbk and by openssl alone.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::blocks::blocks;
use crate::program::{Ended, kbk};
use crate::world::World;

/// A repository with a folder for keys and evidence.
struct Office {
    world: World,
}

impl Office {
    fn new() -> Office {
        let office = Office {
            world: World::sample(),
        };
        office.key("ours", "ed25519");
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes a pair of keys with openssl.
    fn key(&self, name: &str, algorithm: &str) {
        let (private, public) = (
            self.text(&format!("{name}.pem")),
            self.text(&format!("{name}.pub")),
        );
        sh(&format!(
            "openssl genpkey -algorithm {algorithm} -out '{private}' && openssl pkey -in '{private}' -pubout -out '{public}'"
        ));
    }

    fn sign(&self, name: &str, args: &[&str]) -> Ended {
        let (file, key) = (self.text(name), self.text("ours.pem"));
        let signing = ["verify", "--evidence", &file, "--sign-key", &key];
        self.world.kbk(&[&signing[..], args].concat())
    }

    fn check(&self, name: &str, key: &str) -> Ended {
        let (file, key) = (self.text(name), self.text(key));
        let args = ["verify", "--check-evidence", &file, "--public-key", &key];
        Ended::of(kbk(&args).output().unwrap())
    }

    fn check_json(&self, name: &str) -> serde_json::Value {
        let (file, key) = (self.text(name), self.text("ours.pub"));
        let args = [
            "verify",
            "--json",
            "--check-evidence",
            &file,
            "--public-key",
            &key,
        ];
        Ended::of(kbk(&args).output().unwrap()).json()
    }
}

#[track_caller]
fn sh(script: &str) -> Output {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {printed}");
    output
}

#[test]
fn evidence_says_what_was_verified_and_found() {
    let office = Office::new();
    let ended = office.sign("good.json", &["--depth", "records"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = office.check("good.json", "ours.pub");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for shown in [
        "fits",
        "depth records",
        "every byte and every record is intact",
        "not checked hashes of segments",
        "1,450 records in 8 segments",
    ] {
        assert!(ended.stdout.contains(shown), "{shown}: {}", ended.stdout);
    }
    let statement = office.check_json("good.json")["statement"].clone();
    let identity = office.world.repository.identity();
    assert_eq!(
        statement["repository_id"],
        identity.repository_id.to_string()
    );
    assert_eq!(
        (&statement["segments"], &statement["intact"]),
        (&8.into(), &true.into())
    );
    assert_eq!(statement["not_checked"], serde_json::json!(["hash"]));
    // The digest of the snapshot is the one that its object states.
    let snapshot = office.world.path("snapshots/00000000000000000002.json");
    let snapshot: serde_json::Value = serde_json::from_slice(&fs::read(snapshot).unwrap()).unwrap();
    assert_eq!(statement["snapshots"][0]["sha256"], snapshot["sha256"]);
    assert!(snapshot["sha256"].is_string());

    // What was found is attested, too, and is no good news.
    let world = &office.world;
    world.flip(&world.entries("orders", 0)[0].key, 700);
    assert_eq!(office.sign("bad.json", &[]).code, Some(3));
    let ended = office.check("bad.json", "ours.pub");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("1 finding") && ended.stdout.contains("damaged block"),
        "{}",
        ended.stdout
    );
    let partly = office.sign("partly.json", &["--since", "1", "--topic", "payments"]);
    assert_eq!(partly.code, Some(0), "{}", partly.stderr);
    let ended = office.check("partly.json", "ours.pub");
    assert!(
        ended.stdout.contains("% of the bytes only"),
        "{}",
        ended.stdout
    );
    let first = ended.stdout.lines().next().unwrap();
    assert!(
        first.contains("% of the bytes of 1 topic read: every byte is intact there"),
        "{first}"
    );
    assert!(ended.stdout.contains("payments@"), "{}", ended.stdout);
}

#[test]
fn openssl_alone_checks_evidence() {
    let office = Office::new();
    office.sign("evidence.json", &[]);
    fs::copy(office.path("ours.pub"), office.path("kbk.pub")).unwrap();
    let shown = blocks("docs/verification.md").remove(0).lines.join("\n");
    let folder = office.world.folder.path().display();
    let checked = sh(&format!("cd '{folder}'\n{shown}"));
    let printed = String::from_utf8(checked.stdout).unwrap();
    assert!(printed.contains("Verified Successfully"), "{printed}");
    // It is one JSON document.
    let text = fs::read_to_string(office.path("evidence.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["statement"]["kbk_evidence"], 1);
}

#[test]
fn altered_evidence_is_refused() {
    let office = Office::new();
    office.key("theirs", "ed25519");
    office.key("other", "x25519");
    office.sign("e.json", &[]);
    let intact = fs::read_to_string(office.path("e.json")).unwrap();
    let changes: [(&str, String); 9] = [
        ("the depth", intact.replace("\"blocks\"", "\"records\"")),
        (
            "a count",
            intact.replace("\"records\":1450", "\"records\":1451"),
        ),
        (
            "a space",
            intact.replace("{\"kbk_evidence\"", "{ \"kbk_evidence\""),
        ),
        (
            "a member in front",
            intact.replacen("{\"statement\"", "{\"intact\":true,\"statement\"", 1),
        ),
        (
            "a member behind",
            intact.replace("\"}\n", "\",\"statement\":{}}\n"),
        ),
        ("no line feed at the end", intact.trim_end().to_owned()),
        ("half of it", intact[..intact.len() / 2].to_owned()),
        ("nothing", String::new()),
        ("no signature", {
            let at = intact.find(",\"signature\":\"").unwrap();
            format!("{},\"signature\":\"\"}}\n", &intact[..at])
        }),
    ];
    for (what, text) in changes {
        assert_ne!(text, intact, "{what}");
        fs::write(office.path("changed.json"), text).unwrap();
        let ended = office.check("changed.json", "ours.pub");
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.stdout);
        assert!(
            ended.stderr.contains("cannot accept the evidence"),
            "{what}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{what}");
    }
    let bytes = intact.as_bytes();
    for position in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut changed = bytes.to_vec();
        changed[position] ^= 1;
        fs::write(office.path("changed.json"), changed).unwrap();
        let ended = office.check("changed.json", "ours.pub");
        assert_eq!(ended.code, Some(1), "byte {position}: {}", ended.stdout);
    }
    let ended = office.check("e.json", "theirs.pub");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("does not fit this key"),
        "{}",
        ended.stderr
    );
    // A signature of zeros fits a point of order 1, whatever it is said to sign; the other one is of order 8, with its sign set.
    for weak in [
        "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "MCowBQYDK2VwAyEAJuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/IU=",
    ] {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{weak}\n-----END PUBLIC KEY-----\n");
        fs::write(office.path("weak.pub"), pem).unwrap();
        let ended = office.check("e.json", "weak.pub");
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(ended.stderr.contains("small order"), "{}", ended.stderr);
    }
    for key in ["other.pub", "ours.pem", "e.json", "none.pub"] {
        let ended = office.check("e.json", key);
        assert_eq!(ended.code, Some(1), "{key}: {}", ended.stdout);
    }
}

#[test]
fn a_key_or_a_file_that_cannot_be_used_is_an_error_before_anything_is_read() {
    let office = Office::new();
    office.key("other", "x25519");
    let encrypted = office.text("encrypted.pem");
    sh(&format!(
        "openssl genpkey -algorithm ed25519 -aes256 -pass pass:secret -out '{encrypted}'"
    ));
    for (file, key) in [
        ("e.json", "other.pem"),
        ("e.json", "ours.pub"),
        ("e.json", "encrypted.pem"),
        ("e.json", "none.pem"),
        ("none/e.json", "ours.pem"),
    ] {
        let (path, pem) = (office.text(file), office.text(key));
        let ended = office
            .world
            .kbk(&["verify", "--evidence", &path, "--sign-key", &pem]);
        assert_eq!(ended.code, Some(1), "{key}: {}", ended.stdout);
        assert_eq!(ended.stdout, "");
        assert!(!office.path(file).exists());
    }
    for args in [
        &["--evidence", "e.json"][..],
        &["--sign-key", "k"],
        &["--check-evidence", "e"],
        &["--public-key", "k"],
    ] {
        let ended = office.world.kbk(&[&["verify"], args].concat());
        assert_eq!(ended.code, Some(2), "{args:?}");
    }
    let left = fs::read_dir(office.world.folder.path()).unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".part")
    });
    assert_eq!(left.count(), 0);
}
