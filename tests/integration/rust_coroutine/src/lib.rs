//! Three functions to await: one that waits for ever, one that a call ends, one that says how it ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use pyo3::coroutine::CancelHandle;
use pyo3::prelude::*;

#[derive(Default)]
struct State {
    open: bool,
    polls: usize,
    waker: Option<Waker>,
}

/// What coroutines wait for.
#[pyclass(from_py_object)]
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<State>>);

struct Wait(Arc<Mutex<State>>);

impl Future for Wait {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.0.lock().unwrap();
        state.polls += 1;
        if state.open {
            return Poll::Ready(state.polls);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[pymethods]
impl Gate {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Lets those who wait go on, from any thread.
    fn open(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.open = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }
}

/// Waits for the gate; returns how often it was polled.
#[pyfunction]
async fn wait(gate: Gate) -> usize {
    Wait(gate.0).await
}

/// Waits for the gate; returns "cancelled" where it is cancelled instead.
#[pyfunction]
async fn wait_or_tell(gate: Gate, #[pyo3(cancel_handle)] mut cancel: CancelHandle) -> String {
    let mut wait = Wait(gate.0);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(error) = cancel.poll_cancelled(cx) {
            let name = Python::attach(|py| error.bind(py).get_type().name().unwrap().to_string());
            return Poll::Ready(format!("cancelled: {name}"));
        }
        Pin::new(&mut wait).poll(cx).map(|polls| format!("polled: {polls}"))
    })
    .await
}

#[pymodule]
mod rust_coroutine {
    #[pymodule_export]
    use super::{Gate, wait, wait_or_tell};
}
