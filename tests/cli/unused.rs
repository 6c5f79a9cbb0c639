//! No option is ignored in silence: it has an effect, or it is refused with a reason.

use crate::program::{Ended, kbk, run};
use crate::world::{Row, World};

/// An option, and what it is called in failures.
type Flag = (&'static str, &'static [&'static str]);

/// The options that select and print records.
const OF_RECORDS: [Flag; 14] = [
    ("reverse", &["--reverse"]),
    ("max", &["-n", "30"]),
    ("csv", &["--format", "csv"]),
    ("null", &["--format", "%k|%s\\n", "--null-as", "~"]),
    ("json", &["--json"]),
    ("since", &["--since", "@3"]),
    ("until", &["--until", "@5"]),
    ("from", &["--from-offset", "31"]),
    ("to", &["--to-offset", "33"]),
    ("partition", &["--partition", "1-3"]),
    ("snapshot", &["--snapshot", "1"]),
    ("key", &["--key-regex", "[13579]$"]),
    ("value", &["-e", "[02468]$"]),
    ("invert", &["--key-null", "--invert-match"]),
];

/// Those that only `kbk grep` has.
const OF_GREP: [Flag; 3] = [
    ("count", &["--count"]),
    ("list", &["-l"]),
    ("time", &["--sort", "time"]),
];

/// Pairs of which one makes no sense beside the other, so that the command says so.
const REFUSED: [(&str, &str); 17] = [
    ("csv", "null"),
    ("csv", "json"),
    ("csv", "count"),
    ("csv", "list"),
    ("null", "json"),
    ("null", "count"),
    ("null", "list"),
    ("max", "count"),
    ("max", "list"),
    ("count", "time"),
    ("list", "time"),
    ("reverse", "count"),
    ("csv", "csv"),
    ("null", "null"),
    ("json", "json"),
    ("max", "max"),
    ("time", "time"),
];

/// A repository in which each of the options selects other records, of other partitions, in another order, and looks different.
fn world() -> World {
    let mut world = World::new();
    world.content = |offset| {
        let key = (offset % 5 != 0).then(|| format!("key {offset}").into_bytes());
        (key, format!("value {offset}").into_bytes())
    };
    let mixed = |offset: i64| 37 * offset % 97 * 100;
    let rows = |offsets: std::ops::Range<i64>, step: usize, time: &dyn Fn(i64) -> i64| {
        let rows = offsets.step_by(step).map(|offset| (offset, time(offset)));
        rows.collect::<Vec<Row>>()
    };
    // Each has what one of the options leaves out.
    let of_round = |round: i64| {
        let low = [0..3, 3..18][usize::from(round > 0)].clone();
        let high = 30 + 40 * round;
        vec![
            (0, rows(low, 1, &mixed)),
            (1, rows(high..high + 40, 1, &mixed)),
            (2, rows(high..high + 40, 1, &|offset| 10 * offset)),
            (3, rows(high..high + 40, 1, &|offset| 6_000 + 10 * offset)),
            (4, rows(30..80, 2, &mixed)),
            (5, rows(31..80, 2, &mixed)),
            (6, rows(35..80, 5, &mixed)),
            (7, rows(0..40, 1, &mixed)),
        ]
    };
    // The first snapshot lacks the last partitions.
    for (round, partitions) in [(0, 4), (1, 8)] {
        let of_round = of_round(round).into_iter().take(partitions);
        let partitions: Vec<_> = of_round
            .map(|(partition, rows)| ("t", partition, vec![rows]))
            .collect();
        world.backup(&partitions);
    }
    world
}

#[test]
fn each_pair_of_options_of_cat_and_grep_works_or_is_refused() {
    let world = world();
    let is_refused = |a: &str, b: &str| REFUSED.contains(&(a, b)) || REFUSED.contains(&(b, a));
    let all = [&OF_RECORDS[..], &OF_GREP].concat();
    let (mut works, mut refused) = (0, 0);
    for (command, options) in [("cat", &OF_RECORDS[..]), ("grep", &all)] {
        let run = |options: &[&[&str]]| -> Ended {
            world.kbk(&[&[command, "t"], &options.concat()[..]].concat())
        };
        let alone: Vec<Ended> = options.iter().map(|(_, option)| run(&[option])).collect();
        let none = run(&[]);
        for ((name, _), ended) in options.iter().zip(&alone) {
            assert_eq!(ended.code, Some(0), "{command} {name}: {}", ended.stderr);
            assert!(!ended.stdout.is_empty(), "{command} {name}");
            assert!(ended.stdout != none.stdout, "{command} {name} does nothing");
        }
        for (at, (a, first)) in options.iter().enumerate() {
            for (b, second) in &options[at + 1..] {
                let both = run(&[first, second]);
                let what = format!("{command} {first:?} {second:?}: {}", both.stderr);
                if is_refused(a, b) {
                    assert_eq!(both.code, Some(2), "{what}");
                    assert!(!both.stderr.is_empty(), "{what}");
                    refused += 1;
                    continue;
                }
                assert_eq!(both.code, Some(0), "{what}");
                for (name, ended) in [(a, second_of(&alone, options, b)), (b, &alone[at])] {
                    assert!(both.stdout != ended.stdout, "{name} is ignored: {what}");
                }
                works += 1;
            }
        }
    }
    assert!(
        works > 150 && refused > 12,
        "{works} work, {refused} are refused"
    );
}

/// Returns how the command ends with one option alone.
fn second_of<'a>(alone: &'a [Ended], options: &[Flag], name: &str) -> &'a Ended {
    let at = options
        .iter()
        .position(|(other, _)| *other == name)
        .unwrap();
    &alone[at]
}

#[test]
fn names_of_partitions_are_listed_in_the_order_of_printing() {
    let world = world();
    for args in [&["-l"][..], &["-l", "--count"]] {
        let list = |more: &[&str]| {
            let ended = world.kbk(&[&["grep", "t", "-e", "value"], args, more].concat());
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let lines = ended.stdout.lines().map(str::to_owned);
            lines.collect::<Vec<String>>()
        };
        let mut up = list(&[]);
        assert!(up.len() == 8 && up[0].starts_with("t/0"), "{up:?}");
        up.reverse();
        assert_eq!(list(&["--reverse"]), up);
    }
    let json = world
        .kbk(&["grep", "t", "-l", "--reverse", "--json"])
        .json();
    assert_eq!(json["partitions"][0]["partition"], 7);
}

#[test]
fn options_of_another_mode_are_refused() {
    let world = World::sample();
    let entry = world.entries("orders", 0).remove(0);
    let path = world.path(&entry.key);
    let file = path.to_str().unwrap();
    let here = world.path("");
    let here = here.to_str().unwrap();
    let folder = world.folder.path().join("folder");
    let folder = folder.to_str().unwrap();
    let restore = "20261128-101500-3fa9c1";
    for (command, options) in [
        (
            &["diff", "1", "2"][..],
            &[
                &["-b", "localhost:1"][..],
                &["--command-config", file],
                &["-X", "client.id=x"],
                &["--timeout", "5s"],
                &["--snapshot", "1"],
                &["--drop-header", "x"],
                &["--partition-map", "0:1,1:0"],
                &["--map", "a=b"],
                &["--map-regex", "a=b"],
                &["--since", "1h"],
                &["--until", "1h"],
                &["--since-offset-of", "1h"],
                &["--until-offset-of", "1h"],
                &["--offsets", file],
            ][..],
        ),
        (
            &["status", "--no-cluster"],
            &[
                &["-b", "localhost:1"],
                &["--command-config", file],
                &["-X", "client.id=x"],
                &["--timeout", "5s"],
            ],
        ),
        (
            &["restores", "discard", restore, "--no-cluster"],
            &[&["-b", "localhost:1"], &["--timeout", "5s"]],
        ),
        (
            &["cat", file],
            &[
                &["--snapshot", "latest"],
                &["-r", here],
                &["--partition", "0"],
            ],
        ),
        (
            &["grep", file],
            &[
                &["--snapshot", "latest"],
                &["-r", here],
                &["--partition", "0"],
            ],
        ),
        (
            &["verify", file],
            &[
                &["-r", here],
                &["--snapshot", "1"],
                &["--topic", "x"],
                &["--exclude", "x"],
                &["--accept-replaced"],
                &["--since", "1"],
                &["--subset", "5%"],
                &["--report", folder],
                &["--evidence", folder, "--sign-key", file],
                &["--depth", "list"],
                &["--depth", "index"],
            ],
        ),
        (
            &["verify", "--check-evidence", file, "--public-key", file],
            &[
                &["-r", here],
                &["--depth", "list"],
                &["--accept-lost"],
                &["--since", "1"],
            ],
        ),
        (
            &["verify", "--depth", "index"],
            &[&["--since", "1"], &["--subset", "5%"]],
        ),
        (&["inspect", file], &[&["-r", here]]),
        (
            &["mount", here, folder],
            &[
                &["--log-file", file],
                &["-o", "log_file=/x"],
                &["-o", "ro,log-file=/x"],
            ],
        ),
        (
            &["forget", "--keep-last", "1", "--dry-run"],
            &[&["--time-zone", "Europe/Berlin"]],
        ),
        (
            &["restore", "--only-config", "-b", "localhost:1"],
            &[&["--no-offset-map"]],
        ),
        (
            &["grep", "orders", "--count"],
            &[&["--reverse"], &["--sort", "time"], &["-n", "1"]],
        ),
    ] {
        for option in options {
            let args = [command, option].concat();
            let ended = world.kbk(&args);
            assert_eq!(
                ended.code,
                Some(2),
                "{args:?}: {}{}",
                ended.stdout,
                ended.stderr
            );
            assert!(
                ended.stdout.is_empty() && ended.stderr.starts_with("error: "),
                "{args:?}"
            );
        }
    }
}

#[test]
fn what_the_environment_says_of_another_mode_gives_way() {
    let world = World::sample();
    let config = world.folder.path().join("kbk.toml");
    std::fs::write(
        &config,
        "bootstrap-server = \"localhost:1\"\n[diff]\ndrop-header = [\"x\"]\n",
    )
    .unwrap();
    for args in [
        &["diff", "1", "1"][..],
        &["status", "--no-cluster"],
        &["cat", "orders", "-n", "1"],
    ] {
        let mut command = kbk(args);
        command
            .env("KBK_REPO", world.path(""))
            .env("KBK_CONFIG", &config)
            .env("KBK_BOOTSTRAP_SERVER", "localhost:1")
            .env("KBK_COMMAND_CONFIG", "/no/such/file");
        let ended = Ended::of(command.output().unwrap());
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    }
    let help = run(&["diff", "--help"]);
    assert_eq!(help.code, Some(0));
}
