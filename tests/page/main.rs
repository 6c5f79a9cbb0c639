//! The page of `kbk verify --report`, as a browser shows it: Debian's chromium, which `scripts/setup browser` installs.

#[expect(dead_code, reason = "shared with the tests of kbk-tools")]
#[expect(unreachable_pub, reason = "shared with the tests of kbk-tools")]
#[path = "../../tools/tests/tools/support/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::world::World;

/// A place that is harmful where it is not escaped.
const HARMFUL: &str = "<img src=x onerror=alert(1)>\"'&amp;\u{202e}<script>";

/// Verifies a repository, and returns the page and what was printed.
fn verify(location: &Path, page: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbk"));
    command.arg("verify").arg("--report").arg(page).args(args);
    command
        .env_clear()
        .env("TZ", "UTC")
        .env("KBK_REPO", location);
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let printed = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(printed).unwrap())
}

/// Runs chromium on a page. It needs scripts itself to dump and to draw; that the page has none is tested.
fn browse(page: &Path, args: &[&str]) -> Vec<u8> {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command.args([
        "--kill-after=5",
        "120",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
    ]);
    command.args(["--hide-scrollbars", "--disable-dev-shm-usage"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args(args).arg(format!("file://{}", page.display()));
    command.env("HOME", profile.path()).stdin(Stdio::null());
    let ended = command.output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "chromium, of `scripts/setup browser`: {printed}"
    );
    ended.stdout
}

/// Returns the elements as the browser has parsed them.
fn dom(page: &Path) -> String {
    String::from_utf8(browse(page, &["--dump-dom"])).unwrap()
}

/// Takes a picture of the page; where KBK_SCREENSHOTS names a folder, it stays there, to be looked at.
fn screenshot(page: &Path, name: &str, args: &[&str]) -> Vec<u8> {
    let kept = std::env::var_os("KBK_SCREENSHOTS").map(PathBuf::from);
    let folder = kept.unwrap_or_else(|| page.parent().unwrap().to_owned());
    let png = folder.join(format!("{name}.png"));
    let to = format!("--screenshot={}", png.display());
    browse(
        page,
        &[&[&*to, "--window-size=1200,1600"][..], args].concat(),
    );
    fs::read(png).unwrap()
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

/// A repository with damage, a loss, and records that are not backed up yet.
fn damaged() -> World {
    let world = World::sample();
    let orders = world.entries("orders", 0);
    world.forge_partition("payments", 0, |partition| {
        partition["high_watermark"] = json!(400);
        partition["incomplete"] = json!({ "reason": "interrupted", "detail": HARMFUL });
    });
    world.flip(&orders[1].key, 700);
    fs::remove_file(world.path(&world.entries("orders", 1)[2].key)).unwrap();
    world
}

#[test]
fn a_browser_shows_what_is_damaged_and_runs_nothing_of_what_it_shows() {
    let world = damaged();
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().join(HARMFUL.replace('/', ""));
    symlink(world.path(""), &location).unwrap();
    let page = folder.path().join("page.html");
    let (code, printed) = verify(&location, &page, &[]);
    assert_eq!(code, Some(3), "{printed}");

    let text = fs::read_to_string(&page).unwrap();
    for remote in [
        "http:", "https:", "src=\"", "href", "url(", "@import", "<script", "<img",
    ] {
        assert!(!text.contains(remote), "{remote} in the page");
    }
    let dom = dom(&page);
    for (element, expected) in [
        ("<script", 0),
        ("<img", 0),
        ("<section class=\"topic found\"", 2),
        ("<figure>", 4),
        // Two damaged partitions of orders by offset and by time; the third row is what payments lacks.
        ("<path class=\"m4\"", 4),
        ("<path class=\"m3\"", 1),
        ("Content-Security-Policy", 1),
        ("<td class=\"bad\">error", 3),
    ] {
        assert_eq!(count(&dom, element), expected, "{element}: {dom}");
    }
    for shown in [
        "3 findings",
        "not checked: records, hashes of segments",
        "snapshot 2 is partial",
        "&lt;img src=x onerror=alert(1)&gt;",
        "\\u{202e}",
        "kbk backup --refresh --topic orders",
    ] {
        assert!(dom.contains(shown), "{shown}: {dom}");
    }
    let light = screenshot(&page, "damaged", &[]);
    let dark = screenshot(
        &page,
        "damaged-dark",
        &["--blink-settings=preferredColorScheme=0"],
    );
    assert!(light.starts_with(b"\x89PNG") && dark.starts_with(b"\x89PNG"));
    assert_ne!(light, dark, "it has colours of its own for dark screens");
}

#[test]
fn an_intact_page_says_how_deep_it_looked() {
    let world = World::sample();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    // Three partitions by offset and by time; of one, only the second segment is new.
    for (args, shown, covered, unread) in [
        (&["--depth", "list"][..], "no segment was read", 0, 6),
        (&["--depth", "index"], "no record was read", 0, 6),
        (&["--full"], "every hash is intact", 6, 0),
        (&["--since", "1"], "only 1 segment", 2, 6),
    ] {
        let (code, printed) = verify(&world.path(""), &page, args);
        assert_eq!(code, Some(0), "{printed}");
        let dom = dom(&page);
        assert!(dom.contains(shown), "{shown}: {dom}");
        for (class, expected) in [("m0", covered), ("m4", 0), ("m5", unread)] {
            let path = format!("class=\"{class}\" d");
            assert_eq!(count(&dom, &path), expected, "{class} of {args:?}");
        }
        let name = args.join("").replace('-', "");
        screenshot(&page, &format!("intact-{name}"), &[]);
    }
}

#[test]
fn what_a_recovery_lost_looks_lost() {
    let world = World::sample();
    // A whole segment, whose times are between those of its neighbours, and some blocks of another one.
    fs::remove_file(world.path(&world.entries("orders", 0)[1].key)).unwrap();
    world.flip(&world.entries("orders", 1)[2].key, 700);
    let mut recover = Command::new(env!("CARGO_BIN_EXE_kbk"));
    recover
        .args(["recover", "--yes", "--repo"])
        .arg(world.path(""));
    let recovered = recover.env_clear().output().unwrap();
    assert_eq!(recovered.status.code(), Some(3), "{recovered:?}");
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let (code, printed) = verify(&world.path(""), &page, &["--accept-lost"]);
    assert_eq!(code, Some(0), "{printed}");
    let dom = dom(&page);
    assert_eq!(count(&dom, "<path class=\"m4\""), 4, "{dom}");
    let lost = "<dt>offsets lost to damage</dt><dd>";
    let (_, lost) = dom.split_once(lost).unwrap();
    let (lost, _) = lost.split_once("</dd>").unwrap();
    assert!(lost.parse::<u64>().unwrap() > 200, "{lost}");
    screenshot(&page, "recovered", &[]);
}

#[test]
fn a_page_of_a_part_does_not_look_like_one_of_the_whole() {
    let world = World::sample();
    let snapshot = world.latest().sequence;
    let compacted = json!({
        "records": 40, "snapshot": snapshot, "at": "2026-11-29T13:00:00Z", "policy": "--keep latest-per-key",
    });
    world.forge_partition("orders", 0, |partition| partition["compacted"] = compacted);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let headings = |args: &[&str]| {
        let (code, printed) = verify(&world.path(""), &page, args);
        assert_eq!(code, Some(0), "{printed}");
        dom(&page)
    };
    let whole = headings(&[]);
    for shown in [
        "<h1>Verification of <code>",
        "class=\"verdict ok\"",
        "<dt>topics</dt><dd>all</dd>",
        "<dt>records removed by key</dt><dd>40</dd>",
        "40 records had been removed by `kbk compact`",
        "without 40 records that were removed by key",
    ] {
        assert!(whole.contains(shown), "{shown}: {whole}");
    }
    let state = folder.path().join("state.json");
    let state = ["--subset", "5%", "--state", state.to_str().unwrap()];
    for (args, named) in [
        (&["--topic", "orders"][..], "of the topics, only orders"),
        (&state, " %) read"),
        (&["--since", "1"], "only 1 segment"),
        (
            &["--since", "1", "--topic", "orders"],
            "of the topics, only orders",
        ),
    ] {
        let part = headings(args);
        for shown in [
            "<h1>Verification of a part of <code>",
            "<title>kbk verify: a part of",
            "class=\"verdict warn\"",
            ", of a part: ",
            named,
        ] {
            assert!(part.contains(shown), "{args:?}: {shown}: {part}");
        }
        screenshot(&page, "part", &["--window-size=1200,900"]);
    }
}

#[test]
fn a_page_of_2000_partitions_is_small_and_shows_each() {
    let world = World::new();
    let partitions: Vec<_> = (0..2_000)
        .map(|partition| {
            (
                "wide",
                partition,
                vec![vec![(0, 1_000 + i64::from(partition))]],
            )
        })
        .collect();
    world.backup(&partitions);
    let victim = world.entries("wide", 1_234).remove(0);
    fs::remove_file(world.path(&victim.key)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let (code, printed) = verify(&world.path(""), &page, &["--depth", "list"]);
    assert_eq!(code, Some(3), "{printed}");
    let dom = dom(&page);
    assert_eq!(count(&dom, "<g>"), 2 * 2_000);
    assert_eq!(count(&dom, "<path class=\"m4\""), 2);
    let bytes = fs::metadata(&page).unwrap().len();
    assert!(bytes < 2_000_000, "{bytes} bytes");
    screenshot(&page, "wide", &["--window-size=1200,4000"]);
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let world = World::sample();
    world.flip("snapshots/00000000000000000002.json", 100);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let (code, printed) = verify(&world.path(""), &page, &[]);
    assert_eq!(code, Some(3), "{printed}");
    let dom = dom(&page);
    assert!(
        dom.contains("nothing can be drawn") && dom.contains("damaged snapshot"),
        "{dom}"
    );

    // A folder that does not exist is an error before anything is read, and nothing is left behind.
    let (code, printed) = verify(&world.path(""), &folder.path().join("none/page.html"), &[]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("cannot write the report"), "{printed}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
