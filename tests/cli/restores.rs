//! `kbk restores`: what was restored, how far unfinished restores are, and discarding them.

use serde_json::{Value, json};

use crate::world::World;

const DONE: &str = "restores/first/done.json";

fn rows(world: &World) -> Vec<Value> {
    let json = world.kbk(&["restores", "--json"]).json();
    json["restores"].as_array().unwrap().clone()
}

#[test]
fn restores_are_listed_with_their_progress() {
    let world = World::sample();
    let ended = world.kbk(&["restores"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("nothing was restored"),
        "{}",
        ended.stdout
    );

    world.restore("first");
    let row = rows(&world).remove(0);
    assert_eq!(
        (&row["restore"], &row["state"]),
        (&json!("first"), &json!("finished"))
    );
    assert_eq!(
        row["topics"],
        json!([{ "topic": "orders", "target": "copies" }])
    );
    let records = row["records"].as_u64().unwrap();
    assert_eq!(records, 9 * 4_097);
    let table = world.kbk(&["restores"]).stdout;
    assert!(
        table.contains("100 %") && table.contains("orders as copies"),
        "{table}"
    );
    assert_eq!(
        world.kbk(&["restores", "list"]).stdout.lines().count(),
        table.lines().count()
    );

    std::fs::remove_file(world.path(DONE)).unwrap();
    let row = rows(&world).remove(0);
    assert_eq!(
        (&row["state"], &row["resumable"]),
        (&json!("unfinished"), &json!(true))
    );
    assert_eq!(
        row["records"], records,
        "as the last page of the map states"
    );
    assert_eq!(row["selected_offsets"], 2_000_000);
    assert_eq!(row["mapped_offsets"], 10 * 4_096 + 9);
    let ended = world.kbk(&["restores"]);
    assert!(ended.stdout.contains("2 %"), "{}", ended.stdout);
    assert!(ended.stdout.contains("discard"), "{}", ended.stdout);
    let status = world.kbk(&["status"]);
    assert!(
        status.stdout.contains("1 restore unfinished"),
        "{}",
        status.stdout
    );
}

#[test]
fn a_discarded_restore_is_never_resumed() {
    let world = World::sample();
    world.restore("first");
    let discard = ["restores", "discard", "first", "--no-cluster"];
    let ended = world.kbk(&discard);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("is finished"), "{}", ended.stderr);
    let ended = world.kbk(&["restores", "discard", "second", "--no-cluster"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("the last one is first"),
        "{}",
        ended.stderr
    );

    std::fs::remove_file(world.path(DONE)).unwrap();
    for _ in 0..2 {
        let ended = world.kbk(&discard);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stdout.contains("the cluster was not asked"),
            "{}",
            ended.stdout
        );
    }
    assert_eq!(rows(&world)[0]["state"], "discarded");
    let status = world.kbk(&["status", "--json"]).json();
    assert_eq!(status["unfinished_restores"], json!([]));
    for resume in [&["--resume"][..], &["--resume=first"]] {
        let args = [&["restore", "-b", "127.0.0.1:1"], resume].concat();
        let ended = world.kbk(&args);
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        let says = [
            "no restore of this repository is unfinished",
            "was discarded",
        ];
        let said = says.iter().any(|says| ended.stderr.contains(says));
        assert!(said, "{}", ended.stderr);
    }
    assert_eq!(world.kbk(&["verify"]).code, Some(0));

    world.flip("restores/first/discarded.json", 20);
    assert_eq!(rows(&world)[0]["state"], "damaged");
    assert_eq!(world.kbk(&["restores"]).code, Some(3));
    assert_eq!(world.kbk(&["verify"]).code, Some(3));
    let status = world.kbk(&["status"]);
    assert_eq!(status.code, Some(3));
    assert!(
        status.stdout.contains("restore first: "),
        "{}",
        status.stdout
    );
}
