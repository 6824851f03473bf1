//! What a pool holds: the tasks that wait, its workers, the memory in which arguments travel. None of it calls Python code.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use aioxide_core::frames::Decoder;
use aioxide_sys::epoll::{Epoll, Interest};
use aioxide_sys::timer::Timer;

use super::task::{Task, TaskBox};
use super::worker::{Event, Worker, event_data};
use crate::ffi::Ref;
use crate::wire::arena::Arena;

#[derive(Default)]
pub struct State {
    epoll: Option<Rc<Epoll>>,
    timer: Option<Rc<Timer>>,
    pending: VecDeque<TaskBox>,
    workers: Vec<Worker>,
    /// The memory that workers without a part of a frame share for what comes next.
    spare: Decoder,
    /// Tasks that were with a worker when it died.
    lost: Vec<TaskBox>,
    arena: Arena,
}

impl State {
    /// The memory in which arguments travel.
    pub fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }

    // ------------------------------------------------------------------------------------------- tasks that wait

    pub fn queued(&self) -> usize {
        self.pending.len()
    }

    pub fn pending(&self) -> impl Iterator<Item = &Task> {
        self.pending.iter().map(|task| &**task)
    }

    pub fn queue(&mut self, task: TaskBox) {
        self.pending.push_back(task);
    }

    /// What a worker had comes before all others again; the last of these comes first.
    pub fn requeue(&mut self, tasks: Vec<TaskBox>) {
        tasks.into_iter().for_each(|task| self.pending.push_front(task));
    }

    pub fn first(&mut self) -> Option<&mut TaskBox> {
        self.pending.front_mut()
    }

    pub fn take_first(&mut self) -> Option<TaskBox> {
        self.pending.pop_front()
    }

    /// The task of that number among those that wait.
    pub fn waiting(&mut self, id: u64) -> Option<&mut Task> {
        self.pending.iter_mut().find(|task| task.id == id).map(|task| &mut **task)
    }

    /// Takes out what waits and `wanted`, which may call nothing, names.
    pub fn take_waiting(&mut self, wanted: impl Fn(&Task) -> bool) -> Option<TaskBox> {
        let at = self.pending.iter().position(|task| wanted(task))?;
        self.pending.remove(at)
    }

    /// Takes the task of a future out, if no worker has begun with it; else where it runs, as key and number.
    pub fn withdraw(&mut self, future: Ref) -> Result<TaskBox, Option<(u32, u64)>> {
        if let Some(task) = self.take_waiting(|task| task.target.future().borrow() == future) {
            return Ok(task);
        }
        for worker in &mut self.workers {
            if let Some((slot, id)) = worker.slot_of(future) {
                return worker.revoke_slot(slot).ok_or(Some((worker.key(), id)));
            }
        }
        Err(None)
    }

    /// Takes out the tasks that are not announced and not begun with, the oldest first.
    pub fn take_unannounced(&mut self) -> Vec<TaskBox> {
        let mut taken = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| worker.is_here()) {
            taken.append(&mut worker.revoke_if(|task| !task.is_announced()));
        }
        let (kept, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|task| task.is_announced());
        self.pending = kept.into();
        taken.extend(waiting);
        taken.sort_unstable_by_key(|task| task.id);
        taken
    }

    /// Takes out those that were with a worker when it died.
    pub fn take_lost(&mut self) -> Vec<TaskBox> {
        std::mem::take(&mut self.lost)
    }

    /// Takes all tasks out, the oldest first. Workers get no more.
    pub fn take_all(&mut self) -> Vec<TaskBox> {
        let mut tasks = self.take_lost();
        tasks.extend(self.workers.iter_mut().flat_map(Worker::take_all));
        tasks.sort_by_key(|task| task.id);
        tasks.extend(std::mem::take(&mut self.pending));
        tasks
    }

    /// All tasks, for the collector.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        let held = self.workers.iter().flat_map(Worker::tasks);
        self.pending.iter().chain(&self.lost).map(|task| &**task).chain(held)
    }

    // ---------------------------------------------------------------------------------------------------- workers

    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    pub fn workers_mut(&mut self) -> &mut [Worker] {
        &mut self.workers
    }

    pub fn worker(&mut self, key: u32) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.key() == key)
    }

    pub fn add_worker(&mut self, worker: Worker) {
        self.workers.push(worker);
    }

    /// Takes a worker out, with all that it holds.
    pub fn remove_worker(&mut self, key: u32) -> Option<Worker> {
        let at = self.workers.iter().position(|worker| worker.key() == key)?;
        let worker = self.workers.remove(at);
        if let Some(epoll) = &self.epoll {
            worker.unwatch(epoll);
        }
        self.arena.worker_died(key);
        Some(worker)
    }

    /// Keeps what a dead worker had: what it had not begun with is queued again.
    pub fn bury(&mut self, worker: &mut Worker) {
        let mut again = worker.revoke(usize::MAX);
        again.sort_by_key(|task| std::cmp::Reverse(task.id));
        let lost = worker.take_all();
        lost.iter().filter_map(|task| task.payload()).for_each(|payload| payload.take_back());
        self.requeue(again);
        self.lost.extend(lost);
    }

    /// What came of a frame that is not whole yet, or memory for the next; and what more is read from.
    pub fn begin_receiving(&mut self, key: u32) -> Option<(Decoder, Rc<OwnedFd>)> {
        let (decoder, sock) = self.worker(key)?.begin_receiving();
        let decoder = if decoder.has_room() { decoder } else { std::mem::take(&mut self.spare) };
        Some((decoder, sock))
    }

    pub fn end_receiving(&mut self, key: u32, decoder: Decoder) {
        if decoder.is_empty() {
            self.spare = decoder;
        } else if let Some(worker) = self.worker(key) {
            worker.end_receiving(decoder);
        }
    }

    /// Sends what a worker has to get, and sees to it that the rest follows.
    pub fn flush(&mut self, key: u32) {
        let epoll = self.epoll.clone();
        if let Some(worker) = self.worker(key) {
            worker.flush(epoll.as_deref());
        }
    }

    /// Has each worker unmap the slabs that were let go here, with what is sent to it next.
    pub fn tell_forgotten(&mut self) {
        let forgotten = self.arena.take_forgotten();
        if !forgotten.is_empty() {
            self.workers.iter_mut().for_each(|worker| worker.forget(&forgotten));
        }
    }

    /// Has each worker unmap the shared slabs that have gone here, at once.
    pub fn forget_gone(&mut self) {
        let epoll = self.epoll.clone();
        for worker in &mut self.workers {
            if worker.listens() && worker.forget_shared() {
                worker.flush(epoll.as_deref());
            }
        }
    }

    // -------------------------------------------------------------------------------------------------- descriptors

    /// What is ready whenever there is something to serve.
    pub fn epoll(&self) -> Option<Rc<Epoll>> {
        self.epoll.clone()
    }

    pub fn set_epoll(&mut self, epoll: Rc<Epoll>) {
        self.epoll = Some(epoll);
    }

    pub fn timer(&self) -> Option<Rc<Timer>> {
        self.timer.clone()
    }

    pub fn set_timer(&mut self, timer: Rc<Timer>) -> std::io::Result<()> {
        let fd = timer.fileno();
        self.timer = Some(timer);
        self.epoll.as_ref().map_or(Ok(()), |epoll| epoll.add(fd, Interest::IN, event_data(0, Event::Timer)))
    }

    /// In a child of fork: closes the descriptors and unmaps what no object lies in, and leaves the objects to the garbage
    /// collector.
    pub fn disown(&mut self) {
        self.epoll = None;
        self.timer = None;
        self.arena = Arena::default();
        self.workers.iter_mut().for_each(Worker::disown);
    }
}
