//! The end of a task: its outcome is told, and it counts no more.

use super::interrupts;
use super::pool::{Flag, Pool};
use crate::calls::future;
use crate::calls::target::Target;
use crate::ffi::{First, Obj, Res, error};
use crate::task::finish::{self, Outcome};

/// One unfinished task less.
pub fn task_gone(pool: &Pool) {
    pool.note_gone(1);
    if pool.has(Flag::TellIdle) && pool.outstanding() == 0 {
        pool.manager().on_room();
    }
}

/// Where somebody waits for a future by its condition, inherited code finishes it, which is Python: an interrupt must not
/// leave it open, for nobody would come back to it.
fn until_done(future: &Obj, mut set: impl FnMut() -> Res<()>) -> Res<()> {
    // SAFETY: callers pass a future of ours.
    let is_done = || unsafe { future::of(future.as_ptr()) }.is_done();
    let mut first = First::default();
    for _ in 0..interrupts::TRIES {
        if first.note(set()).is_some() || is_done() {
            break;
        }
    }
    first.raise()
}

/// Gives a task its outcome: a value, or the exception that is set.
pub fn finish(pool: &Pool, target: Target, outcome: Res) {
    pool.counters().note_outcome(outcome.is_ok());
    target.set_sent(false);
    let future = target.future().clone();
    // SAFETY: the target's future is of the kind that each function takes.
    let told = unsafe {
        match target {
            Target::Loop(waiting) if waiting.is_here() => {
                finish::finish(future.as_ptr(), Outcome::of(outcome))
            }
            Target::Loop(waiting) => {
                waiting.finish(Outcome::of(outcome));
                Ok(())
            }
            // Cancelled meanwhile, where running tasks can be: nobody wants to know.
            Target::Future(_) if future::of(future.as_ptr()).is_done() => {
                error::clear();
                Ok(())
            }
            Target::Future(_) => match Outcome::of(outcome) {
                Outcome::Returned(value) => {
                    until_done(&future, || future::set_result(future.as_ptr(), value.clone()))
                }
                Outcome::Raised(exception) => {
                    until_done(&future, || future::set_exception(future.as_ptr(), exception.clone()))
                }
                Outcome::Cancelled => future::cancel(future.as_ptr()).map(drop),
            },
        }
    };
    if told.is_err() {
        interrupts::report(future.as_ptr());
    }
}
