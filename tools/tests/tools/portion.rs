//! Verifications of a part: what is new since a snapshot, and shares that cover everything once per cycle.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use kbk_format::repo::Id;
use kbk_tools::verify::{
    FindingKind, Known, Memory, Portion, PortionReport, Subset, VerifyDepth, VerifyEvents,
    VerifyOptions, VerifyReport, verify,
};

use crate::support::World;

/// Learns which segments are read.
#[derive(Default)]
struct Read(Mutex<Vec<String>>);

impl VerifyEvents for Read {
    fn bytes_checked(&self, _: u64) {}

    fn segment_checked(&self, key: &str, _: usize) {
        self.0.lock().unwrap().push(key.to_owned());
    }
}

fn run(world: &World, depth: VerifyDepth, portion: Portion) -> (VerifyReport, Vec<String>) {
    let sequence = world.latest().sequence;
    let options = VerifyOptions {
        snapshots: vec![sequence],
        depth,
        portion,
        ..VerifyOptions::default()
    };
    let read = Arc::new(Read::default());
    let verified = verify(&world.repository, &options, Arc::clone(&read) as _);
    let report = world.runtime.block_on(verified);
    let mut keys = read.0.lock().unwrap().clone();
    keys.sort();
    (report, keys)
}

/// Runs of one depth, each with what the one before remembers, as the state file has it.
struct Runs {
    world: World,
    id: Id,
    state: Vec<u8>,
    second: i64,
}

impl Runs {
    fn new(world: World) -> Runs {
        let id = world.repository.identity().repository_id;
        let state = Memory::empty(id, "here").bytes().unwrap();
        Runs {
            world,
            id,
            state,
            second: 0,
        }
    }

    fn next(&mut self, percent: f64) -> (VerifyReport, PortionReport, Vec<String>) {
        self.next_at(VerifyDepth::Blocks, percent)
    }

    fn next_at(
        &mut self,
        depth: VerifyDepth,
        percent: f64,
    ) -> (VerifyReport, PortionReport, Vec<String>) {
        self.second += 1;
        let subset = Subset {
            percent,
            memory: Memory::parse(&self.state, self.id, "here").unwrap(),
            now: Timestamp::from_second(self.second).unwrap(),
        };
        let (report, keys) = run(&self.world, depth, Portion::Subset(subset));
        self.state = report.memory.as_ref().unwrap().bytes().unwrap();
        let portion = report.portion.clone().unwrap();
        (report, portion, keys)
    }
}

#[test]
fn each_cycle_reads_every_segment_once() {
    for percent in [1.0, 12.5, 20.0, 34.0, 60.0, 100.0] {
        let mut runs = Runs::new(World::sample());
        for cycle in 1..=3 {
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            let mut count = 0;
            loop {
                let (report, portion, keys) = runs.next(percent);
                count += 1;
                assert_eq!(report.findings, []);
                assert_eq!(portion.cycle, Some(cycle));
                assert_eq!(portion.segments, keys.len() as u64);
                assert!(!keys.is_empty(), "{percent} %: run {count} reads nothing");
                for key in keys {
                    *times.entry(key).or_default() += 1;
                }
                if times.len() == 8 {
                    assert!((portion.cycle_percent() - 100.0).abs() < 0.001);
                    assert_eq!(portion.unverified_segments, Some(0));
                    break;
                }
                assert!(
                    portion.percent() >= percent,
                    "{} of {percent} %",
                    portion.percent()
                );
                assert!(portion.cycle_percent() < 100.0);
            }
            assert!(times.values().all(|times| *times == 1), "{times:?}");
            assert!(
                count <= (100.0 / percent).ceil() as usize,
                "{count} runs of {percent} %"
            );
        }
    }
}

#[test]
fn runs_are_the_same_for_the_same_memory() {
    let mut runs = Runs::new(World::sample());
    runs.next(20.0);
    let state = runs.state.clone();
    let (_, _, first) = runs.next(20.0);
    runs.state = state;
    assert_eq!(runs.next(20.0).2, first);
}

#[test]
fn new_segments_come_first() {
    let mut runs = Runs::new(World::sample());
    runs.next(100.0);
    let rows = (250..300).map(|offset| (offset, offset)).collect();
    runs.world.backup(&[("payments", 0, vec![rows])]);
    let (_, portion, keys) = runs.next(0.1);
    assert_eq!(keys.len(), 1);
    assert!(keys[0].contains("00250-"), "{keys:?}");
    assert_eq!(
        (portion.cycle, portion.unverified_segments),
        (Some(1), Some(0))
    );
    assert_eq!(
        portion.oldest_read_at,
        Some(Timestamp::from_second(1).unwrap())
    );
    assert_eq!(runs.next(0.1).1.cycle, Some(2));
}

#[test]
fn what_is_damaged_is_read_in_every_run_until_it_is_mended() {
    let mut runs = Runs::new(World::sample());
    let victim = runs.world.entries("orders", 0).remove(1).key;
    let intact = fs::read(runs.world.path(&victim)).unwrap();
    runs.world.flip(&victim, 700);
    let (report, portion, _) = runs.next(100.0);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(portion.unverified_segments, Some(1));
    for _ in 0..4 {
        let (report, portion, keys) = runs.next(20.0);
        assert_eq!(report.findings[0].kind, FindingKind::DamagedBlock);
        assert!(keys.contains(&victim) && keys.len() > 1, "{keys:?}");
        assert_eq!(portion.unverified_segments, Some(1));
    }
    fs::write(runs.world.path(&victim), intact).unwrap();
    let (report, portion, keys) = runs.next(1.0);
    assert!(keys.contains(&victim) && report.findings.is_empty());
    assert_eq!(portion.unverified_segments, Some(0));
}

#[test]
fn depths_are_remembered_apart() {
    let mut runs = Runs::new(World::sample());
    runs.next(100.0);
    let (_, portion, keys) = runs.next_at(VerifyDepth::Records, 1.0);
    assert_eq!((keys.len(), portion.unverified_segments), (1, Some(7)));
}

#[test]
fn what_is_not_read_is_still_missed() {
    let mut runs = Runs::new(World::sample());
    runs.next(100.0);
    for kind in [FindingKind::WrongSize, FindingKind::MissingSegment] {
        for entry in runs.world.entries("orders", 1) {
            let path = runs.world.path(&entry.key);
            match kind {
                FindingKind::WrongSize => runs.world.harm(&entry.key, |it| it.truncate(900)),
                _ => fs::remove_file(path).unwrap(),
            }
        }
        let (report, ..) = runs.next(1.0);
        let found = report.findings.iter().filter(|it| it.kind == kind);
        assert_eq!(found.count(), 3, "{:#?}", report.findings);
    }
}

#[test]
fn since_reads_only_what_is_new() {
    let world = World::sample();
    let known = |sequence| {
        let known = Known::of(&world.repository, sequence);
        Portion::Since(world.runtime.block_on(known).unwrap())
    };
    let (report, keys) = run(&world, VerifyDepth::Hash, known(1));
    let portion = report.portion.unwrap();
    assert_eq!((portion.segments, portion.all_segments), (1, 8));
    assert_eq!((portion.since, portion.cycle), (Some(1), None));
    assert!(
        keys[0].contains("payments") && keys[0].contains("00100-"),
        "{keys:?}"
    );
    let (report, keys) = run(&world, VerifyDepth::Blocks, known(2));
    assert_eq!((report.portion.unwrap().segments, keys.len()), (0, 0));

    // Damage in what is not new is not looked for, but what is gone is missed.
    let old = world.entries("orders", 0);
    world.flip(&old[0].key, 700);
    fs::remove_file(world.path(&old[1].key)).unwrap();
    let (report, _) = run(&world, VerifyDepth::Blocks, known(1));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].kind, FindingKind::MissingSegment);
    assert!(!report.is_intact());
}

#[test]
fn a_state_of_something_else_is_refused() {
    let id = Id::random();
    let empty = Memory::empty(id, "here");
    let bytes = empty.bytes().unwrap();
    assert_eq!(Memory::parse(&bytes, id, "here").unwrap(), empty);
    let text = String::from_utf8(bytes.clone()).unwrap();
    for (what, text) in [
        ("nothing", String::new()),
        ("cut", text[..text.len() / 2].to_owned()),
        ("another format", text.replace("kbk-verify-state", "other")),
        (
            "an earlier version",
            text.replace("\"version\":2", "\"version\":1"),
        ),
        (
            "half a segment",
            text.replace(
                "\"depths\":{}",
                "\"depths\":{\"blocks\":{\"cycle\":1,\"runs\":[],\"found\":\"0123\"}}",
            ),
        ),
        (
            "no hex digits",
            text.replace(
                "\"depths\":{}",
                "\"depths\":{\"blocks\":{\"cycle\":1,\"runs\":[],\"found\":\"+123456789abcdef\"}}",
            ),
        ),
    ] {
        assert!(
            Memory::parse(text.as_bytes(), id, "here").is_err(),
            "{what}"
        );
    }
    let error = Memory::parse(&bytes, Id::random(), "here").unwrap_err();
    assert!(error.to_string().contains("is about repository"), "{error}");
    let error = Memory::parse(&bytes, id, "there").unwrap_err();
    let says = "at here, and this one is at there";
    assert!(error.to_string().contains(says), "{error}");
    let old = br#"{"format":"kbk-verify-state","version":1,"depths":{}}"#;
    let error = Memory::parse(old, id, "here").unwrap_err();
    assert!(error.to_string().contains("in version 1"), "{error}");
}
