//! The end of a task: its outcome is told, and it counts no more.

use super::process::Pool;
use super::process_manager as manager;
use super::process_task::Target;
use crate::ffi::{Res, error};
use crate::task::finish::{self, Outcome};

/// One unfinished task less.
pub fn task_gone(pool: &Pool) {
    let left = pool.outstanding.get().saturating_sub(1);
    pool.outstanding.set(left);
    if pool.tell_idle.get() && left == 0 {
        tell_room(pool);
    }
}

/// Tells the manager that less is under way, or waits.
pub fn tell_room(pool: &Pool) {
    if manager::tell(pool, c"on_room", &[]).is_err() {
        error::unraisable(pool.manager.get());
    }
}

/// Gives a task its outcome: a value, or the exception that is set.
pub fn finish(pool: &Pool, target: Target, outcome: Res) {
    let count = if outcome.is_ok() { &pool.finished } else { &pool.failed };
    count.set(count.get() + 1);
    target.set_sent(false);
    let future = target.future().clone();
    // SAFETY: the target's future is of the kind that each function takes.
    let told = unsafe {
        match target {
            Target::Call(waiting) if waiting.is_here() => {
                finish::finish(future.as_ptr(), Outcome::of(outcome))
            }
            Target::Call(waiting) => {
                waiting.finish(Outcome::of(outcome));
                Ok(())
            }
            // Cancelled meanwhile, where running tasks can be: nobody wants to know.
            Target::Future(_) if super::future::of(future.as_ptr()).is_done() => {
                error::clear();
                Ok(())
            }
            Target::Future(_) => match Outcome::of(outcome) {
                Outcome::Returned(value) => super::future::set_result(future.as_ptr(), value),
                Outcome::Raised(exception) => super::future::set_exception(future.as_ptr(), exception),
                Outcome::Cancelled => super::future::cancel(future.as_ptr()).map(drop),
            },
        }
    };
    if told.is_err() {
        error::unraisable(future.as_ptr());
    }
}
