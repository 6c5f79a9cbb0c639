//! `kbk demo` as a new user runs it: twice in the same folder, in a folder with other files, and interrupted.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[path = "support/pages.rs"]
mod blocks;
#[path = "support/json_page.rs"]
mod json_page;

use json_page::check_document;

fn kbk(folder: &Path) -> Command {
    // A test run in the background ignores SIGINT, or under nohup SIGHUP; kbk would inherit that.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_kbk")]);
    command
        .current_dir(folder)
        .env_remove("KBK_REPO")
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    kbk(folder).args(args).output().unwrap()
}

/// Returns the stdout of a successful run.
fn stdout(output: &Output) -> &str {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(stderr, "", "stderr stays empty");
    std::str::from_utf8(&output.stdout).unwrap()
}

fn step<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["step"] == name)
        .collect()
}

#[test]
fn a_second_run_works_and_the_suggested_commands_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = run(folder.path(), &["demo", "a demo"]);
    assert!(
        stdout(&text).contains("Everything was restored exactly"),
        "{}",
        stdout(&text)
    );

    let report: Value =
        serde_json::from_str(stdout(&run(folder.path(), &["--json", "demo", "a demo"]))).unwrap();
    check_document(&report);
    assert_eq!(report["repository"], "a demo");
    assert_eq!(report["wrong"], Value::Array(vec![]));
    assert_eq!(step(&report, "started")[0]["replaced"], true);
    let added: Vec<_> = step(&report, "backed_up")
        .iter()
        .map(|step| step["records"].as_u64().unwrap())
        .collect();
    assert_eq!(
        added,
        [15_000, 5_000],
        "the second snapshot adds only new records"
    );
    assert_eq!(step(&report, "compared")[0]["records"], 20_000);
    let planned = step(&report, "planned_until")[0];
    assert_eq!(planned["planned"], planned["expected"]);
    assert!(planned["behind_newer"].as_u64().unwrap() > 0);

    let next = report["next"].as_array().unwrap();
    assert_eq!(next.len(), 5);
    for command in next {
        let command = command.as_str().unwrap();
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(!stdout(&output).is_empty(), "{command}");
    }
}

/// Replaces what differs from run to run: sizes, spans, moments and ids.
fn without_measurements(text: &str) -> String {
    let word = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let number = word.trim_end_matches(['s', ')', ',', ';', '.']);
        match () {
            () if number.parse::<f64>().is_ok() && word.contains(['.', 's']) => "N".to_owned(),
            () if word.starts_with("20") && digits > 13 => "TIME".to_owned(),
            () if word.ends_with(".kseg") => "SEGMENT".to_owned(),
            () => word.to_owned(),
        }
    };
    let mut shown = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(word).collect();
        // Milliseconds are whole numbers.
        let line = words.join(" ").replace("N KiB", "N MiB");
        let line = match line.rsplit_once(" in ") {
            Some((before, after)) if after.ends_with(" ms") || after == "N" => {
                format!("{before} in N")
            }
            _ => line,
        };
        shown.push_str(&line);
        shown.push('\n');
    }
    shown
}

#[test]
fn the_readme_shows_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_kbk")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("kbk");
    command.env("PATH", path).env_remove("KBK_REPO").arg("demo");
    let output = command.current_dir(folder.path()).output().unwrap();
    let blocks = blocks::blocks("README.md");
    let shown = blocks.iter().find(|block| block.commands() == ["kbk demo"]);
    let shown = shown.unwrap().lines[1..].join("\n");
    assert_eq!(
        without_measurements(&shown),
        without_measurements(stdout(&output)),
        "README.md shows on the left what `kbk demo` prints on the right"
    );
}

#[test]
fn files_that_it_did_not_create_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let refused = |what: &str| {
        let output = run(folder.path(), &["demo", "dir"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(what) && stderr.contains("name a new"),
            "{stderr}"
        );
    };
    fs::create_dir(path("dir")).unwrap();
    fs::write(path("dir/thesis.tex"), "four years").unwrap();
    refused("thesis.tex");
    assert_eq!(
        fs::read_to_string(path("dir/thesis.tex")).unwrap(),
        "four years"
    );

    fs::remove_file(path("dir/thesis.tex")).unwrap();
    stdout(&run(folder.path(), &["demo", "dir"]));
    fs::write(path("dir/data/thesis.tex"), "four years").unwrap();
    refused("thesis.tex");
    fs::remove_file(path("dir/data/thesis.tex")).unwrap();

    // Without its marker, the folder may be somebody's real repository.
    fs::rename(path("dir/kbk-demo.json"), path("marker")).unwrap();
    refused("a repository");
    fs::rename(path("marker"), path("dir/kbk-demo.json")).unwrap();
    assert!(
        stdout(&run(folder.path(), &["-r", "dir", "verify", "--full"])).contains("20,000 records")
    );

    fs::write(path("dir/kbk.json"), "{}").unwrap();
    refused("damaged");
}

#[test]
fn a_signal_stops_it_and_the_next_run_starts_afresh() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = kbk(folder.path())
        .arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("started"));
    let sent = Command::new("kill")
        .args(["-s", "INT", &demo.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let mut stderr = String::new();
    demo.stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{stderr}");
    assert!(stderr.contains("to start again"), "{stderr}");
    assert!(!lines.any(|line| line.unwrap().contains("Everything")));

    assert!(stdout(&run(folder.path(), &["demo"])).contains("Everything was restored exactly"));
}
