//! An offset goes to its record, or to the first restored one behind it, or to the end.

use kbk_format::repo::FULL_MAP_PAGE;
use kbk_tools::offset_map::{FinishedRestore, Landing, OffsetMapError};

use crate::support::{World, place};

#[test]
fn each_offset_lands_where_the_rule_says() {
    use Landing::{AtEnd, OnNext, OnRecord};
    let world = World::sample();
    world.restore("20261124-000000-abcdef");
    let opened = FinishedRestore::open(&world.repository, None);
    let restore = world.runtime.block_on(opened).unwrap();
    let translate = |partition, offsets: &[i64]| {
        let place = place("orders", partition);
        let translated = restore.translate(&world.repository, &place, offsets);
        let translated = world.runtime.block_on(translated).unwrap().unwrap();
        assert!(
            translated
                .iter()
                .all(|t| &*t.topic == "copies" && t.partition == partition)
        );
        translated
            .iter()
            .map(|t| (t.offset, t.lands))
            .collect::<Vec<_>>()
    };
    // Nine records of ten, in pages of so many runs.
    let page = FULL_MAP_PAGE as i64;
    let cases = [
        (0, (0, OnRecord)),
        (8, (8, OnRecord)),
        (9, (9, OnNext { source_offset: 10 })),
        (10, (9, OnRecord)),
        (10 * page - 2, (9 * page - 1, OnRecord)),
        // The gap between two pages.
        (
            10 * page - 1,
            (
                9 * page,
                OnNext {
                    source_offset: 10 * page,
                },
            ),
        ),
        (10 * page, (9 * page, OnRecord)),
        (10 * page + 8, (9 * page + 8, OnRecord)),
        (10 * page + 9, (9 * page + 9, AtEnd)),
        (i64::MAX, (9 * page + 9, AtEnd)),
    ];
    let (offsets, expected): (Vec<i64>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(translate(1, &offsets), expected);
    let backwards: Vec<i64> = offsets.iter().rev().copied().collect();
    let found: Vec<_> = translate(1, &backwards).into_iter().rev().collect();
    assert_eq!(found, expected, "in any order");
    // Of which nothing was restored.
    assert_eq!(translate(0, &[0, 77]), [(500, AtEnd); 2]);
}

#[test]
fn a_restore_that_is_not_there_or_not_finished_has_no_map() {
    let world = World::sample();
    let open = |name: Option<&str>| {
        let name = name.map(|name| name.parse().unwrap());
        let opened = FinishedRestore::open(&world.repository, name.as_ref());
        world
            .runtime
            .block_on(opened)
            .map(|found| found.restore.restore.to_string())
    };
    assert!(matches!(open(None), Err(OffsetMapError::Nothing)));
    assert!(matches!(open(Some("r")), Err(OffsetMapError::Unknown(_))));
    world.restore("r");
    world.restore("s");
    std::fs::remove_file(world.path("restores/s/done.json")).unwrap();
    assert!(matches!(
        open(Some("s")),
        Err(OffsetMapError::Unfinished(_))
    ));
    assert_eq!(open(None).unwrap(), "r", "the last one that has ended");
}
