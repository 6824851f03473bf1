//! The end of a task: its outcome is told, and it counts no more.

use super::interrupts;
use super::pool::{Flag, Pool};
use crate::calls::future::PoolFuture;
use crate::calls::target::Target;
use crate::ffi::{First, Res, error};
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
fn until_done(this: &PoolFuture, mut set: impl FnMut() -> Res<()>) -> Res<()> {
    let mut first = First::default();
    for _ in 0..interrupts::TRIES {
        if first.note(set()).is_some() || this.is_done() {
            break;
        }
    }
    first.raise()
}

fn tell(this: &PoolFuture, outcome: Res) -> Res<()> {
    if this.is_done() {
        // Cancelled meanwhile, where running tasks can be: nobody wants to know.
        error::clear();
        return Ok(());
    }
    match Outcome::of(outcome) {
        Outcome::Returned(value) => until_done(this, || this.set_result(value.clone())),
        Outcome::Raised(exception) => until_done(this, || this.set_exception(exception.clone())),
        Outcome::Cancelled => this.cancel().map(drop),
    }
}

/// Gives a task its outcome: a value, or the exception that is set.
pub fn finish(pool: &Pool, target: Target, outcome: Res) {
    pool.counters().note_outcome(outcome.is_ok());
    target.set_sent(false);
    let future = target.future().clone();
    let told = match target {
        Target::Loop(waiting) if waiting.is_here() => {
            // SAFETY: a loop's future.
            unsafe { finish::finish(&future, Outcome::of(outcome)) }
        }
        Target::Loop(waiting) => {
            waiting.finish(Outcome::of(outcome));
            Ok(())
        }
        target => target.pool_future().map_or(Ok(()), |this| tell(this, outcome)),
    };
    if told.is_err() {
        interrupts::report(future.borrow());
    }
}
