//! The protocol in all interleavings of its steps: one listing or one reading of an object at a time.
//!
//! Checked in every state that can be reached: of claims that overlap, at most one is granted and still in the store. A claimant that
//! runs alone from any such state gets what it claims, unless a live one holds it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{ClaimProcess, ClaimState, ClaimVersion, ClaimedTopic, Hex, Id, WriteClaim};

use super::super::entry::{Entry, Limits, Sighting, Step};
use super::super::owner::Running;

/// Steps that a claimant takes alone until it ends, at most.
const ALONE: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    store: BTreeMap<Id, WriteClaim>,
    claimants: Vec<Claimant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Claimant {
    id: Id,
    entry: Entry,
    next: Step,
    /// What a look has listed and not read yet, and what it has read.
    look: Option<(Vec<Id>, Vec<Sighting>)>,
    end: End,
    killed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Open,
    Granted,
    Refused,
}

/// How claimants see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machines {
    /// They know whether another process runs.
    One,
    /// They know nothing of one another.
    Several,
}

struct Model {
    machines: Machines,
    /// Whether a claimant may be killed between two steps.
    kills: bool,
    seen: HashSet<World>,
    granted: usize,
    refused: usize,
    alone: usize,
}

fn claimant(number: u8, topics: &[&str], attempts: u32) -> Claimant {
    let topic = |name: &&str| ClaimedTopic {
        topic: name.parse().unwrap(),
        partitions: None,
    };
    let claim = WriteClaim {
        claim: Hex([number; 16]),
        command: "backup".to_owned(),
        writer: "test".to_owned(),
        host: None,
        process: Some(ClaimProcess {
            boot_id: String::new(),
            namespace: String::new(),
            pid: number.into(),
            started: 0,
        }),
        begun_at: Timestamp::UNIX_EPOCH,
        renewed: 0,
        state: ClaimState::Entering,
        topics: Some(topics.iter().map(topic).collect()),
    };
    // Two looks after the first one make an unchanged claim stale.
    let limits = Limits {
        stale_after: Duration::from_secs(2),
        longest_interval: Duration::from_secs(1),
        attempts,
    };
    let id = claim.claim;
    let mut entry = Entry::new(claim, limits);
    Claimant {
        id,
        next: entry.next(),
        entry,
        look: None,
        end: End::Open,
        killed: false,
    }
}

impl World {
    fn new(claimants: Vec<Claimant>) -> World {
        World {
            store: BTreeMap::new(),
            claimants,
        }
    }

    /// Lets a claimant take a step.
    fn step(&mut self, at: usize, machines: Machines) {
        let World { store, claimants } = self;
        let killed: Vec<Id> = claimants
            .iter()
            .filter(|claimant| claimant.killed)
            .map(|claimant| claimant.id)
            .collect();
        let claimant = &mut claimants[at];
        match &claimant.next {
            Step::Look => {
                let (left, read) = claimant
                    .look
                    .get_or_insert_with(|| (store.keys().copied().collect(), Vec::new()));
                if let Some(id) = left.pop() {
                    read.extend(store.get(&id).map(|claim| Sighting {
                        claim: id,
                        version: version(claim),
                        content: Some(claim.clone()),
                        running: match machines {
                            Machines::Several => Running::Unknown,
                            Machines::One if killed.contains(&id) => Running::No,
                            Machines::One => Running::Yes,
                        },
                    }));
                }
                if !left.is_empty() {
                    return;
                }
                let (_, read) = claimant.look.take().unwrap();
                claimant.entry.seen(&read, Duration::from_secs(1));
            }
            Step::Put(claim) => drop(store.insert(claim.claim, claim.clone())),
            Step::Withdraw => drop(store.remove(&claimant.id)),
            Step::RemoveStale(rival) => drop(store.remove(&rival.claim)),
            Step::Announce(_) | Step::Poll | Step::BackOff(_) => {}
            Step::End(_) => unreachable!("it has ended"),
        }
        claimant.next = claimant.entry.next();
        claimant.end = match &claimant.next {
            Step::End(Ok(_)) => End::Granted,
            Step::End(Err(_)) => End::Refused,
            _ => End::Open,
        };
    }

    fn open(&self, at: usize) -> bool {
        let claimant = &self.claimants[at];
        claimant.end == End::Open && !claimant.killed
    }
}

/// A number for each write is all that the protocol needs of a version.
fn version(claim: &WriteClaim) -> ClaimVersion {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&claim.renewed.to_le_bytes());
    ClaimVersion(Hex(bytes))
}

impl Model {
    fn explore(machines: Machines, kills: bool, start: World) -> Model {
        let mut model = Model {
            machines,
            kills,
            seen: HashSet::new(),
            granted: 0,
            refused: 0,
            alone: 0,
        };
        let mut left = vec![start];
        while let Some(world) = left.pop() {
            if model.seen.contains(&world) {
                continue;
            }
            model.check(&world);
            for at in 0..world.claimants.len() {
                if world.open(at) {
                    let mut next = world.clone();
                    next.step(at, machines);
                    left.push(next);
                }
                if kills && !world.claimants.iter().any(|claimant| claimant.killed) {
                    let mut next = world.clone();
                    next.claimants[at].killed = true;
                    left.push(next);
                }
            }
            model.seen.insert(world);
        }
        model
    }

    fn check(&mut self, world: &World) {
        let holders: Vec<&Claimant> = world
            .claimants
            .iter()
            .filter(|claimant| claimant.end == End::Granted && !claimant.killed)
            .filter(|claimant| world.store.contains_key(&claimant.id))
            .collect();
        for (at, one) in holders.iter().enumerate() {
            for other in &holders[at + 1..] {
                let (one, other) = (&world.store[&one.id], &world.store[&other.id]);
                assert_eq!(one.overlap(other), Some(Vec::new()), "{world:#?}");
            }
        }
        let ended = |end| world.claimants.iter().filter(|c| c.end == end).count();
        let all_ended = (0..world.claimants.len()).all(|at| !world.open(at));
        if all_ended {
            self.granted += ended(End::Granted);
            self.refused += ended(End::Refused);
        }
        for at in 0..world.claimants.len() {
            if world.open(at) && self.nobody_else(world, at) {
                self.runs_alone(world.clone(), at);
            }
        }
    }

    /// Returns whether no other claimant's object is in the store, unless it was killed.
    fn nobody_else(&self, world: &World, at: usize) -> bool {
        let others = world.claimants.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != at);
        others.all(|(_, other)| other.killed || !world.store.contains_key(&other.id))
    }

    /// Lets a claimant start an attempt and take all steps alone: it is granted. If it has seen another one live before that was
    /// killed, it may be refused once, and the next run is granted.
    fn runs_alone(&mut self, mut world: World, at: usize) {
        let next = &world.claimants[at].next;
        if !matches!(next, Step::Put(claim) if claim.state == ClaimState::Entering) {
            return;
        }
        let killed = world.claimants.iter().any(|claimant| claimant.killed);
        let before = world.clone();
        self.takes_all_steps(&mut world, at);
        if world.claimants[at].end == End::Refused && killed && self.machines == Machines::Several {
            world.claimants[at] = claimant(9, &["a", "b"], 1);
            self.takes_all_steps(&mut world, at);
        }
        assert_eq!(world.claimants[at].end, End::Granted, "{before:#?}");
        self.alone += 1;
    }

    fn takes_all_steps(&self, world: &mut World, at: usize) {
        for _ in 0..ALONE {
            if !world.open(at) {
                return;
            }
            world.step(at, self.machines);
        }
        panic!("it does not end: {world:#?}");
    }
}

#[test]
fn of_two_that_overlap_at_most_one_is_granted() {
    for (machines, attempts) in [(Machines::One, 4), (Machines::Several, 2)] {
        let claimants = [(1, &["a", "b"][..]), (2, &["b"])];
        let claimants = claimants.map(|(number, topics)| claimant(number, topics, attempts));
        let claimants = claimants.to_vec();
        let model = Model::explore(machines, false, World::new(claimants));
        println!("{machines:?}: {} states", model.seen.len());
        assert!(model.granted > 0 && model.refused > 0 && model.alone > 0);
    }
}

#[test]
fn of_three_that_overlap_at_most_one_is_granted() {
    let claimants = (1..=3).map(|number| claimant(number, &["a"], 2));
    let model = Model::explore(Machines::One, false, World::new(claimants.collect()));
    println!("{} states", model.seen.len());
    assert!(model.granted > 0 && model.refused > 0 && model.alone > 0);
}

#[test]
fn one_in_the_middle_keeps_others_out_that_do_not_overlap_each_other() {
    let claimants = vec![
        claimant(1, &["a"], 2),
        claimant(2, &["a", "b"], 2),
        claimant(3, &["b"], 2),
    ];
    let model = Model::explore(Machines::One, false, World::new(claimants));
    assert!(model.granted > 0 && model.refused > 0);
}

#[test]
fn those_that_do_not_overlap_are_always_granted() {
    for machines in [Machines::One, Machines::Several] {
        let claimants = vec![claimant(1, &["a"], 1), claimant(2, &["b"], 1)];
        let model = Model::explore(machines, false, World::new(claimants));
        assert!(model.granted > 0 && model.refused == 0);
    }
}

#[test]
fn one_that_is_killed_anywhere_never_keeps_others_out() {
    for machines in [Machines::One, Machines::Several] {
        let claimants = vec![claimant(1, &["a"], 2), claimant(2, &["a"], 2)];
        let model = Model::explore(machines, true, World::new(claimants));
        println!("{machines:?}: {} states", model.seen.len());
        assert!(model.kills && model.granted > 0 && model.alone > 0);
    }
}
