//! A team of threads that share the rows of one multiplication.
//!
//! A token takes over a hundred multiplications of some 50 microseconds, so the hand-over must cost little, and must not
//! suffer where other programs want the cores too. Whoever calls publishes the pieces of work and takes pieces itself;
//! helpers that happen to be awake take some off it. Nobody waits for a helper that has not begun: a helper whose core
//! is taken by another program costs nothing. Helpers look for more work for a moment, then sleep.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a helper looks for more work before it sleeps: longer than what libtorch does between two multiplications.
const AWAKE: Duration = Duration::from_micros(150);

/// The threads of this process, made at first use. One per core unless [`choose`] came first.
pub(crate) fn team() -> &'static Team {
    static TEAM: OnceLock<Team> = OnceLock::new();
    TEAM.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Team::new(match CHOSEN.load(Ordering::Relaxed) {
            0 => cores,
            chosen => chosen,
        })
    })
}

static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads the team has; without effect once it was used.
pub(crate) fn choose(count: usize) {
    CHOSEN.store(count.max(1), Ordering::Relaxed);
}

/// The caller's helpers.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<Helper>,
    /// Held by the one caller that the helpers work for; another caller meanwhile works alone.
    caller: Mutex<()>,
}

struct Helper {
    thread: Thread,
    asleep: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    /// Grows with every job, so that helpers see a new one without taking the lock.
    generation: AtomicU64,
    job: Mutex<Option<Arc<Job>>>,
}

/// Pieces of one multiplication.
struct Job {
    work: Work,
    pieces: usize,
    next: AtomicUsize,
    done: AtomicUsize,
    panicked: AtomicBool,
}

/// The caller's closure with its lifetime forgotten.
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure is Sync, and `Team::run` does not return before the last call of it has ended.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

impl Job {
    /// Takes pieces until none is left.
    fn help(&self) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= self.pieces {
                return;
            }
            // SAFETY: this piece is not done, so the caller still waits in `Team::run` and its closure lives.
            let work = unsafe { &*self.work.0 };
            if catch_unwind(AssertUnwindSafe(|| work(piece))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }
}

impl Team {
    fn new(threads: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let helpers = (1..threads).filter_map(|index| {
            let asleep = Arc::new(AtomicBool::new(false));
            let (shared, flag) = (shared.clone(), asleep.clone());
            let helper = thread::Builder::new().name(format!("multiply-{index}"));
            // Where the system allows no more threads, fewer do the work.
            let handle = helper.spawn(move || serve(&shared, &flag)).ok()?;
            let thread = handle.thread().clone();
            Some(Helper { thread, asleep })
        });
        let helpers = helpers.collect();
        let caller = Mutex::new(());
        Self {
            shared,
            helpers,
            caller,
        }
    }

    /// How many threads work, the caller's among them.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` once for each piece from 0 to `pieces`, on several threads at once, and returns when all is done.
    pub(crate) fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        let alone = self.helpers.is_empty() || pieces < 2;
        let caller = (!alone).then(|| self.caller.try_lock().ok()).flatten();
        let Some(_caller) = caller else {
            return (0..pieces).for_each(work);
        };
        // SAFETY: only the lifetime is changed; `Work` says why that is sound.
        let work: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Arc::new(Job {
            work: Work(work),
            pieces,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        *self.slot() = Some(job.clone());
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        for helper in self.helpers.iter().take(pieces - 1) {
            if helper.asleep.swap(false, Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
        job.help();
        let mut spins = 0u32;
        while job.done.load(Ordering::Acquire) < pieces {
            pause(&mut spins);
        }
        *self.slot() = None;
        if job.panicked.load(Ordering::Relaxed) {
            resume_unwind(Box::new("a piece of a multiplication panicked"));
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Job>>> {
        self.shared
            .job
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A helper's life.
fn serve(shared: &Shared, asleep: &AtomicBool) {
    let mut seen = 0;
    loop {
        let (begin, mut spins) = (Instant::now(), 0u32);
        while shared.generation.load(Ordering::SeqCst) == seen {
            pause(&mut spins);
            if spins.is_multiple_of(16) && begin.elapsed() > AWAKE {
                asleep.store(true, Ordering::SeqCst);
                // A job published before the flag was set would not wake us.
                if shared.generation.load(Ordering::SeqCst) == seen {
                    thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
            }
        }
        seen = shared.generation.load(Ordering::SeqCst);
        let job = shared
            .job
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(job) = job {
            job.help();
        }
    }
}

/// Waits a moment: in place at first, then by letting other programs have the core.
fn pause(spins: &mut u32) {
    *spins = spins.wrapping_add(1);
    if *spins < 256 {
        std::hint::spin_loop();
    } else {
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads);
            for pieces in [0, 1, 2, 7, 300] {
                let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                team.run(pieces, &|piece| {
                    counts[piece].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts
                        .iter()
                        .all(|count| count.load(Ordering::Relaxed) == 1)
                );
            }
        }
    }

    #[test]
    fn helpers_wake_from_sleep_and_several_callers_do_not_disturb_each_other() {
        let team = Team::new(3);
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..50 {
                        if round % 25 == 0 {
                            thread::sleep(AWAKE * 4);
                        }
                        team.run(9, &|piece| {
                            total.fetch_add(piece, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 50 * 36);
    }

    #[test]
    fn a_panic_in_a_piece_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.run(8, &|piece| assert_ne!(piece, 5));
        }));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        team.run(8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }
}
