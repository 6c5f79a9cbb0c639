//! Each command succeeds with exactly the permissions that docs/permissions.md lists, and names the one that is missing, in the words of
//! `kafka-acls`, before it changes anything.

use crate::support::groups;
use crate::support::guarded::Guarded;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{acls, consume, grants, samples, topics};

const RECORDS: u64 = 500;

/// A cluster with a topic and a group, and a backup of them.
struct World {
    guarded: Guarded,
    repo: Repo,
}

impl World {
    fn new() -> World {
        let guarded = Guarded::start();
        let broker = &guarded.broker;
        for topic in ["original", "other"] {
            topics::create(broker, topic, 2, &[("retention.ms", "-1")]);
        }
        let records: Vec<Message> = samples::mixed(1).take(RECORDS as usize).collect();
        produce(broker, "none", ("original", 1), &records);
        groups::commit(broker, "readers", &[("original", 1, 100, "")]);
        acls::add(
            broker,
            "--allow-principal User:alice --operation Read --topic original",
        );
        let repo = Repo::new();
        run(&mut repo.backup(broker, &[])).expect_code(0);
        World { guarded, repo }
    }

    /// Runs a command once with all grants, and once without each of them: `command` returns the arguments for a run of this name, and
    /// `check` judges a run that lacked the grant.
    fn each_is_needed(
        &self,
        (section, table): (&str, usize),
        command: impl Fn(&str) -> Vec<String>,
        names: impl Fn(&str) -> Vec<(&'static str, String)>,
        check: impl Fn(&str, &str, &Finished),
    ) {
        let wanted = &grants::of_section(section)[table];
        assert!(!wanted.is_empty(), "{section} lists no permission");
        for without in (0..wanted.len()).map(Some).chain([None]) {
            let run_name = format!("{}-{table}-{without:?}", section.replace(' ', "-"));
            let run_name: String = run_name
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            let names = names(&run_name);
            let names: Vec<(&str, &str)> = names
                .iter()
                .map(|(placeholder, name)| (*placeholder, name.as_str()))
                .collect();
            let wanted: Vec<String> = wanted
                .iter()
                .map(|grant| grants::with_names(grant, &names))
                .collect();
            let user = self.guarded.next_user();
            let given = wanted.iter().enumerate();
            let given = given.filter(|(index, _)| Some(*index) != without);
            let given: Vec<_> = given.map(|(_, grant)| (&*user, grant.clone())).collect();
            grants::grant(&self.guarded.broker, &given);
            let args = command(&run_name);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let finished = run(&mut self.guarded.kbk_as(&user, &self.repo, &args));
            match without {
                None => drop(finished.expect_code(0)),
                Some(index) => check(&run_name, &wanted[index], &finished),
            }
        }
    }
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// Fails the test unless the missing grant is named as an administrator would give it.
#[track_caller]
fn names_it(missing: &str, finished: &Finished) {
    assert!(
        finished.stderr.contains(missing),
        "{missing}: {finished:#?}"
    );
}

#[test]
fn every_command_needs_what_the_page_lists_and_names_what_is_missing() {
    let world = World::new();
    let broker = &world.guarded.broker;
    let target = |run: &str| vec![("TARGET", run.to_owned())];
    let restore = |run: &str| {
        let map = format!("original={run}");
        owned(&["restore", "--topic", "original", "--map", &map, "--verify"])
    };

    world.each_is_needed(
        ("kbk restore", 0),
        restore,
        target,
        |run, missing, finished| {
            assert_eq!(finished.status.code(), Some(1), "{missing}: {finished:#?}");
            names_it(missing, finished);
            // Only WRITE cannot be checked before the topic exists.
            let created = consume::partitions(broker, run) > 0;
            assert_eq!(created, missing.contains("Write --topic"), "{missing}");
            if created {
                assert_eq!(consume::digest(broker, run, 1).records, 0, "{missing}");
            }
        },
    );

    let purged = |run: &str| {
        topics::create(broker, run, 2, &[("retention.ms", "-1")]);
        produce(
            broker,
            "none",
            (run, 1),
            &[samples::plain(samples::now_ms(), "old")],
        );
        [restore(run), owned(&["--purge-target", "--yes"])].concat()
    };
    world.each_is_needed(
        ("kbk restore", 1),
        purged,
        target,
        |run, missing, finished| {
            assert_eq!(finished.status.code(), Some(1), "{missing}: {finished:#?}");
            names_it(missing, finished);
            assert_eq!(consume::digest(broker, run, 1).records, 1, "{missing}");
        },
    );

    let args = ["--topic", "original", "--map", "original=of-groups"];
    let restored = run(&mut world.repo.restore(broker, &args))
        .expect_code(0)
        .json();
    let restored = restored["restore"].as_str().expect("a name").to_owned();
    let names = |_: &str| {
        vec![
            ("GROUP", "readers".to_owned()),
            ("TARGET", "of-groups".to_owned()),
        ]
    };
    let groups = |_: &str| {
        owned(&[
            "groups",
            "restore",
            "--group",
            "readers",
            "--restore",
            &restored,
        ])
    };
    world.each_is_needed(
        ("kbk groups restore", 0),
        groups,
        names,
        |_, missing, finished| {
            assert_eq!(finished.status.code(), Some(1), "{missing}: {finished:#?}");
            names_it(missing, finished);
        },
    );

    let diff = |_: &str| {
        owned(&[
            "diff",
            "--live",
            "--topic",
            "original",
            "--map",
            "original=of-groups",
        ])
    };
    world.each_is_needed(
        ("kbk diff --live", 0),
        diff,
        names,
        |_, missing, finished| {
            // Without DESCRIBE_CONFIGS the comparison is stricter, and says so.
            let optional = missing.contains("DescribeConfigs");
            let code = if optional { 0 } else { 1 };
            assert_eq!(
                finished.status.code(),
                Some(code),
                "{missing}: {finished:#?}"
            );
            match optional {
                true => assert!(
                    finished.stderr.contains("DESCRIBE_CONFIGS"),
                    "{finished:#?}"
                ),
                false => names_it(missing, finished),
            }
        },
    );

    let configured = |run: &str| {
        let existing = format!("{run}-existing");
        topics::create(broker, &existing, 2, &[]);
        let maps = [format!("original={run}"), format!("other={existing}")];
        let topics = ["--topic", "original", "--topic", "other"];
        let maps = ["--map", &maps[0], "--map", &maps[1]];
        owned(&[&["restore", "--only-config"], &topics[..], &maps].concat())
    };
    let both = |run: &str| {
        vec![
            ("TARGET", run.to_owned()),
            ("EXISTING", format!("{run}-existing")),
        ]
    };
    world.each_is_needed(
        ("kbk restore --only-config", 0),
        configured,
        both,
        |run, missing, finished| {
            assert_eq!(finished.status.code(), Some(1), "{missing}: {finished:#?}");
            names_it(missing, finished);
            assert_eq!(consume::partitions(broker, run), 0, "{missing}");
        },
    );

    back_up(&world);

    // The ACL is missing each time, so that there is one to create.
    let restore_acls = |_: &str| {
        acls::remove(
            broker,
            "--allow-principal User:alice --operation Read --topic original",
        );
        owned(&["acls", "restore"])
    };
    let no_names = |_: &str| Vec::new();
    world.each_is_needed(
        ("kbk acls restore", 0),
        restore_acls,
        no_names,
        |_, missing, finished| {
            assert_eq!(finished.status.code(), Some(1), "{missing}: {finished:#?}");
            names_it(missing, finished);
        },
    );
}

/// Fails the test unless a backup with the permissions of the page saves everything.
fn back_up(world: &World) {
    let names = [("TOPIC", "original"), ("GROUP", "readers")];
    let wanted = &grants::of_section("kbk backup")[0];
    let user = world.guarded.next_user();
    let given: Vec<_> = wanted
        .iter()
        .map(|grant| (&*user, grants::with_names(grant, &names)))
        .collect();
    grants::grant(&world.guarded.broker, &given);
    let args = ["backup", "--topic", "original", "--acls"];
    let finished = run(&mut world.guarded.kbk_as(&user, &world.repo, &args)).expect_code(0);
    assert!(!finished.stderr.contains("warning"), "{finished:#?}");
}
