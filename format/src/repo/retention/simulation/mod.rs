//! Writers, expirers, forgetters, pruners and readers at one store, in every order that a seed leads to.
//!
//! Each call of the store is a point at which another actor may continue, the actor may be suspended for days, it may be killed, or the call
//! may take effect and report an error. The clock is simulated. A seed gives the same run each time.
//!
//! | what must hold | checked |
//! |---|---|
//! | a snapshot that was not forgotten has all its objects | at each snapshot that is put, and at each deletion |
//! | a number that was forgotten is not won again | at each commit that reports success |
//! | what a commit reported stays, unless it expires, and then it does not come back | at the end, in the newest snapshot |
//! | a reader of a forgotten snapshot gets that error, and no reader gets another one | at each read |
//! | prunes delete everything that nothing needs | at the end |
//!
//! | file | holds |
//! |---|---|
//! | `actors` | what the actors do |
//! | `oracle` | what must hold, from the bytes in the store alone |
//! | `random` | the seeded numbers |
//! | `scheduler` | who runs, who is suspended, who is killed |
//! | `store` | the store that yields, loses answers and fails |

mod actors;
mod oracle;
mod random;
mod scheduler;
mod store;

use std::thread;

use self::scheduler::World;
use super::super::id::seeded;

fn seeds() -> u64 {
    match std::env::var_os("KBK_SOAK").is_some_and(|value| value != "0") {
        true => 100_000,
        false => 1_000,
    }
}

fn run(seed: u64) -> Result<Totals, String> {
    seeded::seed(seed << 32);
    let world = World::new(seed);
    world.play();
    world.settle();
    world
        .verdict()
        .map_err(|violation| format!("seed {seed}: {violation}"))
}

/// What happened in some runs, so that a test can tell that it did.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    commits: u64,
    forgotten: u64,
    expired: u64,
    replaced: u64,
    deleted: u64,
    forgotten_reads: u64,
    whole_reads: u64,
    lost_numbers: u64,
    refused_commits: u64,
    crashes: u64,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        let Totals {
            commits,
            forgotten,
            expired,
            replaced,
            deleted,
            forgotten_reads,
            whole_reads,
            lost_numbers,
            refused_commits,
            crashes,
        } = other;
        self.commits += commits;
        self.forgotten += forgotten;
        self.expired += expired;
        self.replaced += replaced;
        self.deleted += deleted;
        self.forgotten_reads += forgotten_reads;
        self.whole_reads += whole_reads;
        self.lost_numbers += lost_numbers;
        self.refused_commits += refused_commits;
        self.crashes += crashes;
    }
}

#[test]
fn nothing_that_is_needed_is_ever_deleted() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|first| {
            thread::spawn(move || {
                let mut totals = Totals::default();
                for seed in (first..seeds()).step_by(threads as usize) {
                    totals.add(run(seed)?);
                }
                Ok::<_, String>(totals)
            })
        })
        .collect();
    let mut totals = Totals::default();
    for worker in workers {
        match worker.join().unwrap() {
            Ok(some) => totals.add(some),
            Err(violation) => unreachable!("{violation}"),
        }
    }
    // A simulation in which nothing happens proves nothing.
    println!("{totals:?}");
    let seeds = seeds();
    assert!(totals.commits > 5 * seeds, "{totals:?}");
    assert!(totals.forgotten > seeds, "{totals:?}");
    assert!(totals.expired > seeds / 4, "{totals:?}");
    assert!(totals.replaced > seeds / 4, "{totals:?}");
    assert!(totals.deleted > 5 * seeds, "{totals:?}");
    assert!(totals.crashes > seeds / 4, "{totals:?}");
    for rare in [
        totals.forgotten_reads,
        totals.whole_reads,
        totals.lost_numbers,
        totals.refused_commits,
    ] {
        assert!(rare > seeds / 100, "{totals:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 77] {
        let totals = || format!("{:?}", run(seed).unwrap());
        assert_eq!(totals(), totals());
    }
}
