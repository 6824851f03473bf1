//! What another thread or process has worked out, on its way to the future that is finished with it.

use crate::ffi::{Obj, Raised, Res, error};

/// What became of a call in another thread or process.
pub enum Outcome {
    Returned(Obj),
    Raised(Obj),
    Cancelled,
}

impl Outcome {
    /// What a call has returned or, the exception being set, raised.
    pub fn of(result: Res) -> Outcome {
        match result {
            Ok(value) => Outcome::Returned(value),
            Err(Raised) => match error::take() {
                Some(exception) => Outcome::Raised(exception),
                None => Outcome::Cancelled,
            },
        }
    }
}
