//! The first exception of several things that are all to be done, whatever one of them raises.

use super::error;
use super::object::{Obj, Raised, Res};

#[derive(Default)]
pub struct First(Option<Obj>);

impl First {
    /// The value of something that was done; where that has raised, its exception is put aside: what comes next must not find one.
    pub fn note<T>(&mut self, done: Res<T>) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(Raised) => {
                let raised = error::take();
                self.keep(raised);
                None
            }
        }
    }

    pub fn keep(&mut self, raised: Option<Obj>) {
        self.0 = self.0.take().or(raised);
    }

    pub fn exception(self) -> Option<Obj> {
        self.0
    }

    /// Raises it, if there is one.
    pub fn raise(self) -> Res<()> {
        if self.0.is_none() {
            return Ok(());
        }
        error::restore(self.0);
        Err(Raised)
    }
}
