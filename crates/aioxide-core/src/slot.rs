//! The state of one place for a task that a worker process holds: a word of memory that pool and worker share. The pool may
//! take a task back until the worker begins with it; who comes first, one compare-and-exchange decides.
//!
//! ```text
//!        queue            begin             free
//! FREE ---------> QUEUED ---------> RUNNING ------> FREE
//!                   | revoke
//!                   v         begin (false)
//!                 REVOKED ------------------------> FREE
//! ```
//!
//! The pool uses a place again when the worker has answered, or, after it took a task back, when `is_free` says that the
//! worker has passed over it: tasks arrive in order, and one behind it may be for the same place.

use crate::sync::{AtomicU32, Ordering};

const FREE: u32 = 0;
const QUEUED: u32 = 1;
const RUNNING: u32 = 2;
const REVOKED: u32 = 3;

/// Who has the task, of the two that wanted it.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Who asked.
    Won,
    /// The other side.
    Lost,
}

/// One place. All zero is free, as fresh memory is.
#[derive(Default)]
#[repr(transparent)]
pub struct TaskSlot(AtomicU32);

impl TaskSlot {
    /// The pool hands a task over; before it sends it.
    pub fn queue(&self) {
        self.0.store(QUEUED, Ordering::Release);
    }

    /// The worker begins with a task that has arrived, unless the pool has taken it back: then it passes over it.
    pub fn begin(&self) -> Claim {
        let claim = self.claim(RUNNING);
        if claim == Claim::Lost {
            self.free();
        }
        claim
    }

    /// The pool takes a task back, unless the worker has begun with it.
    pub fn revoke(&self) -> Claim {
        self.claim(REVOKED)
    }

    fn claim(&self, wanted: u32) -> Claim {
        match self.0.compare_exchange(QUEUED, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Claim::Won,
            Err(_) => Claim::Lost,
        }
    }

    /// The worker has not begun with the task yet; when this is read, it may have.
    pub fn is_queued(&self) -> bool {
        self.0.load(Ordering::Acquire) == QUEUED
    }

    /// The worker is done with a task, before it sends the answer.
    pub fn free(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// The worker has passed over the task that was taken back.
    pub fn is_free(&self) -> bool {
        self.0.load(Ordering::Acquire) == FREE
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const TASKS: u8 = 4;

    /// Pool and worker around one place, as `processes/pool.rs` and `child/worker.rs` use it.
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct World {
        slot: u32,
        /// Tasks that the pool has handed over so far; each is numbered.
        given: u8,
        /// The pool's: the task that the place is for, whether it was sent, and that the worker may not have passed over
        /// one that was taken back.
        held: Option<u8>,
        unsent: Option<u8>,
        revoked: bool,
        /// On their way to the worker, and back.
        wire: Vec<u8>,
        answers: Vec<u8>,
        /// The worker's: what it runs, and what it has freed the place of but not answered yet.
        running: Option<u8>,
        answering: Option<u8>,
        dead: bool,
        ran: Vec<u8>,
        taken_back: Vec<u8>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Queue,
        Send,
        Revoke,
        Look,
        Take,
        Begin,
        Free,
        Answer,
        Die,
    }

    const STEPS: [Step; 9] = [
        Step::Queue,
        Step::Send,
        Step::Revoke,
        Step::Look,
        Step::Take,
        Step::Begin,
        Step::Free,
        Step::Answer,
        Step::Die,
    ];

    impl World {
        /// The world after a step of one of the two; nothing where that step cannot be taken now.
        fn after(&self, step: Step) -> Option<World> {
            let mut next = self.clone();
            let slot = TaskSlot(AtomicU32::new(self.slot));
            match step {
                Step::Queue if self.held.is_none() && !self.revoked && self.given < TASKS => {
                    slot.queue();
                    next.given += 1;
                    (next.held, next.unsent) = (Some(next.given), Some(next.given));
                }
                Step::Send => next.wire.push(next.unsent.take()?),
                // What was not sent is not taken back: both happen in one go under the GIL.
                Step::Revoke if self.unsent.is_none() => {
                    let task = self.held?;
                    if slot.revoke() == Claim::Won {
                        next.taken_back.push(task);
                        (next.held, next.revoked) = (None, true);
                    }
                }
                Step::Look if self.revoked => next.revoked = !slot.is_free(),
                Step::Take if !self.answers.is_empty() => {
                    assert_eq!(Some(next.answers.remove(0)), next.held.take(), "an answer for another task");
                }
                Step::Die => next.dead = true,
                _ if self.dead => return None,
                Step::Begin
                    if self.running.is_none() && self.answering.is_none() && !self.wire.is_empty() =>
                {
                    let task = next.wire.remove(0);
                    if slot.begin() == Claim::Won {
                        next.ran.push(task);
                        next.running = Some(task);
                    }
                }
                Step::Free => {
                    next.answering = Some(next.running.take()?);
                    slot.free();
                }
                Step::Answer => next.answers.push(next.answering.take()?),
                _ => return None,
            }
            next.slot = slot.0.into_inner();
            (next != *self).then_some(next)
        }

        fn check(&self) {
            let both = self.ran.iter().find(|task| self.taken_back.contains(task));
            assert_eq!(both, None, "taken back, and run nevertheless");
            let distinct: HashSet<_> = self.ran.iter().collect();
            assert_eq!(distinct.len(), self.ran.len(), "run twice");
            // What the worker has before it is the pool's to take back, or was.
            assert!(self.wire.len() <= 2, "the place was used again before the worker passed over it");
        }

        /// Nobody can do anything more: each task has begun, or the pool has it again, also where the worker has died.
        fn check_end(&self) {
            assert_eq!(self.ran.len() + self.taken_back.len(), usize::from(self.given), "a task is lost");
            assert!(self.dead || self.given == TASKS && self.held.is_none(), "stuck");
        }
    }

    #[test]
    fn in_every_order_of_steps_a_task_runs_or_is_taken_back_and_never_both() {
        let (mut seen, mut open) = (HashSet::from([World::default()]), vec![World::default()]);
        let (mut ends, mut taken) = (0, HashSet::new());
        while let Some(world) = open.pop() {
            world.check();
            let all: Vec<World> = STEPS.iter().filter_map(|step| world.after(*step)).collect();
            if all.is_empty() {
                world.check_end();
                ends += 1;
                taken.insert(world.taken_back.len());
            }
            open.extend(all.into_iter().filter(|next| seen.insert(next.clone())));
        }
        // All, none, and whatever is between them, were taken back somewhere.
        assert!(ends > 10 && (0..=usize::from(TASKS)).all(|count| taken.contains(&count)));
        assert!(seen.len() > 200, "{} states", seen.len());
    }

    /// The same between threads: that it is one atomic operation which decides.
    #[test]
    fn of_two_threads_exactly_one_gets_the_task() {
        const ROUNDS: usize = 20_000;
        let (slot, ran) = (TaskSlot::default(), AtomicUsize::new(0));
        let (mut taken_back, begun) = (0, std::time::Instant::now());
        std::thread::scope(|scope| {
            let (send, receive) = mpsc::channel();
            let (slot, ran) = (&slot, &ran);
            scope.spawn(move || {
                for () in receive {
                    if slot.begin() == Claim::Won {
                        ran.fetch_add(1, Ordering::Relaxed);
                        slot.free();
                    }
                }
            });
            for round in 0..ROUNDS {
                slot.queue();
                send.send(()).unwrap();
                (0..round % 200).for_each(|_| std::hint::spin_loop());
                taken_back += usize::from(slot.revoke() == Claim::Won);
                while !slot.is_free() {
                    assert!(begun.elapsed().as_secs() < 60, "the worker never passed over it");
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(taken_back + ran.load(Ordering::Relaxed), ROUNDS);
        assert!(taken_back > 0);
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// What the pool writes for a task before it queues it is there for the worker that begins with it; what the worker has
    /// used, the pool writes again when it has seen the place free.
    #[test]
    fn what_belongs_to_a_task_has_one_user_at_a_time() {
        loom::model(|| {
            let shared = Arc::new((TaskSlot::default(), UnsafeCell::new(0)));
            let (slot, data) = (&shared.0, &shared.1);
            data.with_mut(|_| ());
            slot.queue();
            let worker = shared.clone();
            let worker = thread::spawn(move || {
                let (slot, data) = (&worker.0, &worker.1);
                let begun = slot.begin();
                if begun == Claim::Won {
                    data.with_mut(|_| ());
                    slot.free();
                }
                begun
            });
            let revoked = slot.revoke();
            if revoked == Claim::Won || slot.is_free() {
                data.with_mut(|_| ());
            }
            assert_ne!(worker.join().unwrap(), revoked, "one of the two has it");
            assert!(slot.is_free());
        });
    }

    /// Two threads of the pool's may take back the same task (`cancel()`, and an idle worker that gets it): one does.
    #[test]
    fn of_two_that_take_a_task_back_one_has_it() {
        loom::model(|| {
            let slot = Arc::new(TaskSlot::default());
            slot.queue();
            let other = slot.clone();
            let other = thread::spawn(move || other.revoke());
            let ours = slot.revoke();
            assert_ne!(other.join().unwrap(), ours);
        });
    }
}
