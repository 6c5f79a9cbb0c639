//! `kbk.json` of another repository: what is intact is not called damaged.

use std::fs;

use crate::world::World;

#[test]
fn it_is_named_and_nothing_else_is() {
    let (world, other) = (World::sample(), World::sample());
    let [ours, theirs] = [&world, &other].map(|it| it.repository.identity().repository_id);
    fs::copy(other.path("kbk.json"), world.path("kbk.json")).unwrap();
    let keys = world.keys();
    for args in [
        &["ls"][..],
        &["ls", "--snapshot", "1"],
        &["cat", "orders/0"],
        &["snapshots"],
        &["status", "--no-cluster"],
        &["prune"],
        &["stats"],
        &["forget", "--keep-last", "1"],
        &["recover"],
        &["compact"],
    ] {
        let refused = world.kbk(args);
        assert_eq!(refused.code, Some(1), "{args:?}: {}", refused.stdout);
        for words in [
            &format!("states the repository {theirs}"),
            &format!("snapshots/00000000000000000002.json states {ours}"),
            "`kbk recover --rebuild`",
        ] {
            assert!(
                refused.stderr.contains(words),
                "{args:?}: {}",
                refused.stderr
            );
        }
        assert!(!refused.stderr.contains("damaged"), "{}", refused.stderr);
    }
    let verified = world.kbk(&["verify", "--json"]);
    assert_eq!(verified.code, Some(3), "{}", verified.stderr);
    let verified = verified.json();
    let [finding] = &verified["findings"].as_array().unwrap()[..] else {
        panic!("{verified}");
    };
    assert_eq!(
        (&finding["kind"], &finding["key"]),
        (&"damaged_identity".into(), &"kbk.json".into())
    );
    assert_eq!(world.keys(), keys);

    // Without the hint, the snapshots alone say so.
    let hint = fs::read(world.path("snapshots/latest.json")).unwrap();
    fs::remove_file(world.path("snapshots/latest.json")).unwrap();
    let refused = world.kbk(&["ls"]);
    assert!(
        refused.stderr.contains("of another repository"),
        "{}",
        refused.stderr
    );
    fs::write(world.path("snapshots/latest.json"), hint).unwrap();

    fs::remove_file(world.path("kbk.json")).unwrap();
    let rebuilt = world.kbk(&["recover", "--rebuild"]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    let verified = world.kbk(&["verify", "--full"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

#[test]
fn a_hint_and_a_snapshot_of_another_repository_do_not_condemn_it() {
    let (world, other) = (World::sample(), World::sample());
    for name in ["latest.json", "00000000000000000002.json"] {
        let name = format!("snapshots/{name}");
        fs::copy(other.path(&name), world.path(&name)).unwrap();
    }
    let listed = world.kbk(&["ls", "--snapshot", "1"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let refused = world.kbk(&["ls"]);
    assert_eq!(refused.code, Some(1));
    let words = format!(
        "it is of repository {}, and kbk.json states {}",
        other.repository.identity().repository_id,
        world.repository.identity().repository_id
    );
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
}
