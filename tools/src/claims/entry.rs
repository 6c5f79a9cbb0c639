//! The protocol of claims as a state machine: it returns what to do next, and receives what was seen. No I/O, no clock, no randomness.
//!
//! Why it is right: a claim is granted only after its owner has written `held`, then looked, and then seen its own claim and no other
//! one that is held. Of two that are granted, one has written `held` first; the other one looked after that, so it saw it, unless the
//! claim had been removed as stale in between, and then its owner no longer holds it. `tests/model.rs` tries all interleavings.

use std::collections::btree_map::{BTreeMap, Entry as MapEntry};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use kbk_format::repo::{ClaimState, ClaimVersion, Id, TopicName, WriteClaim};

use super::owner::Running;
use super::rival::Rival;

/// What the protocol waits for, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    /// A claim of which nothing else is known is stale once it has not changed for this long.
    pub(super) stale_after: Duration,
    /// The most that counts of the time between two looks.
    pub(super) longest_interval: Duration,
    /// How often the protocol starts again.
    pub(super) attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            stale_after: Duration::from_secs(60),
            longest_interval: Duration::from_secs(5),
            attempts: 12,
        }
    }
}

/// A claim as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sighting {
    pub(super) claim: Id,
    pub(super) version: ClaimVersion,
    /// `None` if it cannot be read as a claim.
    pub(super) content: Option<WriteClaim>,
    pub(super) running: Running,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Write the claim.
    Put(WriteClaim),
    /// List and read all claims, and report them to [`Entry::seen`].
    Look,
    /// Remove the own claim.
    Withdraw,
    /// Remove a claim that is stale.
    RemoveStale(Box<Rival>),
    /// Say that this claim is being watched, because nothing is known of its owner.
    Announce(Box<Rival>),
    /// Wait a second or so.
    Poll,
    /// Wait a random time, longer with each attempt.
    BackOff(u32),
    /// The claim is granted, as it was written last, or refused: because of another one, or because it never stays where it was written.
    End(Result<WriteClaim, Option<Box<Rival>>>),
}

/// What the look is for that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The own claim is `entering`.
    First,
    /// The own claim is `held`.
    Second,
    /// The own claim is withdrawn until something is known of all others.
    Watch,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Watched {
    version: ClaimVersion,
    unchanged: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Live,
    Stale,
    Unknown,
}

/// A claim that is being made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    claim: WriteClaim,
    limits: Limits,
    phase: Phase,
    attempt: u32,
    steps: VecDeque<Step>,
    watched: BTreeMap<Id, Watched>,
    announced: BTreeSet<Id>,
    /// What was removed as stale, so that it is tried once.
    removed: BTreeSet<(Id, ClaimVersion)>,
}

impl Entry {
    pub(super) fn new(claim: WriteClaim, limits: Limits) -> Entry {
        let mut entry = Entry {
            claim,
            limits,
            phase: Phase::First,
            attempt: 0,
            steps: VecDeque::new(),
            watched: BTreeMap::new(),
            announced: BTreeSet::new(),
            removed: BTreeSet::new(),
        };
        entry.begin();
        entry
    }

    /// Returns the next step. After [`Step::Look`], what was seen is due before the next call.
    pub(super) fn next(&mut self) -> Step {
        let step = self.steps.pop_front();
        step.expect("every look adds steps, and none follows the end")
    }

    /// Decides what follows from what was seen, `elapsed` after the last look.
    pub(super) fn seen(&mut self, sightings: &[Sighting], elapsed: Duration) {
        let mut live = None;
        let mut live_held = None;
        let mut unknown = None;
        let mut own = false;
        for sighting in sightings {
            if sighting.claim == self.claim.claim {
                own = true;
                continue;
            }
            let Some(rival) = self.rival(sighting) else {
                if sighting.running == Running::No {
                    self.remove_stale(sighting, None);
                }
                continue;
            };
            let held = sighting
                .content
                .as_ref()
                .is_none_or(|claim| claim.state == ClaimState::Held);
            match self.judge(sighting, elapsed) {
                Verdict::Stale => self.remove_stale(sighting, rival.topics),
                Verdict::Live if held => live_held = Some(Box::new(rival)),
                Verdict::Live => live = Some(Box::new(rival)),
                // Once it is held, what is unknown of others decides only where they are held, too.
                Verdict::Unknown if held || self.phase != Phase::Second => {
                    unknown = Some(Box::new(rival));
                }
                Verdict::Unknown => {}
            }
        }
        match self.phase {
            Phase::First | Phase::Watch => self.after_look(live_held, live, unknown),
            Phase::Second => match live_held.or(unknown) {
                None if own => self.steps.push_back(Step::End(Ok(self.claim.clone()))),
                rival => self.back_off(rival),
            },
        }
    }

    fn after_look(
        &mut self,
        live_held: Option<Box<Rival>>,
        live: Option<Box<Rival>>,
        unknown: Option<Box<Rival>>,
    ) {
        if let Some(rival) = live_held {
            self.withdraw();
            self.steps.push_back(Step::End(Err(Some(rival))));
        } else if let Some(rival) = unknown {
            self.watch(rival);
        } else if let Some(rival) = live {
            self.back_off(Some(rival));
        } else if self.phase == Phase::Watch {
            self.begin();
        } else {
            self.put(ClaimState::Held);
            self.phase = Phase::Second;
            self.steps.push_back(Step::Look);
        }
    }

    fn begin(&mut self) {
        self.attempt += 1;
        self.phase = Phase::First;
        self.put(ClaimState::Entering);
        self.steps.push_back(Step::Look);
    }

    /// Every version of the claim is different, so that others see that it changes.
    fn put(&mut self, state: ClaimState) {
        self.claim.state = state;
        self.claim.renewed = self.claim.renewed.saturating_add(1);
        self.steps.push_back(Step::Put(self.claim.clone()));
    }

    fn withdraw(&mut self) {
        if self.phase != Phase::Watch {
            self.steps.push_back(Step::Withdraw);
        }
    }

    /// Starts again later; refuses if that has been done often enough.
    fn back_off(&mut self, rival: Option<Box<Rival>>) {
        self.withdraw();
        if self.attempt >= self.limits.attempts {
            self.steps.push_back(Step::End(Err(rival)));
        } else {
            self.steps.push_back(Step::BackOff(self.attempt));
            self.begin();
        }
    }

    fn watch(&mut self, rival: Box<Rival>) {
        self.withdraw();
        if self.announced.insert(rival.claim) {
            self.steps.push_back(Step::Announce(rival));
        }
        self.phase = Phase::Watch;
        self.steps.push_back(Step::Poll);
        self.steps.push_back(Step::Look);
    }

    fn remove_stale(&mut self, sighting: &Sighting, topics: Option<Vec<TopicName>>) {
        if !self.removed.insert((sighting.claim, sighting.version)) {
            return;
        }
        self.steps.push_back(Step::RemoveStale(Box::new(Rival {
            claim: sighting.claim,
            content: sighting.content.clone(),
            topics,
        })));
    }

    /// Returns what is claimed twice, if anything is.
    fn rival(&self, sighting: &Sighting) -> Option<Rival> {
        let topics = match &sighting.content {
            Some(other) => self.claim.overlap(other),
            None => self.claim.topics.as_ref().map(|topics| {
                let names = topics.iter().map(|topic| topic.topic.clone());
                names.collect()
            }),
        };
        (topics.as_ref() != Some(&Vec::new())).then(|| Rival {
            claim: sighting.claim,
            content: sighting.content.clone(),
            topics,
        })
    }

    fn judge(&mut self, sighting: &Sighting, elapsed: Duration) -> Verdict {
        match sighting.running {
            Running::Yes => return Verdict::Live,
            Running::No => return Verdict::Stale,
            Running::Unknown => {}
        }
        let version = sighting.version;
        let first = Watched {
            version,
            unchanged: Duration::ZERO,
        };
        match self.watched.entry(sighting.claim) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(first);
                Verdict::Unknown
            }
            MapEntry::Occupied(mut watched) if watched.get().version != version => {
                watched.insert(first);
                Verdict::Live
            }
            MapEntry::Occupied(mut watched) => {
                let unchanged = &mut watched.get_mut().unchanged;
                *unchanged += elapsed.min(self.limits.longest_interval);
                if *unchanged >= self.limits.stale_after {
                    Verdict::Stale
                } else {
                    Verdict::Unknown
                }
            }
        }
    }
}
