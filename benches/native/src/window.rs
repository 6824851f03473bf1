//! Measured stretches of time: what was done, how long each took, and what it cost both sides.

use std::time::{Duration, Instant};

use crate::args::Result;
use crate::net;

/// What one window found, or several together.
#[derive(Default)]
pub struct Totals {
    /// Of answers; a part of one counts as that part, as few large ones fit into a window.
    count: f64,
    seconds: f64,
    server_cpu: f64,
    server_faults: u64,
    client_cpu: f64,
    /// Of each answer, in nanoseconds.
    waits: Vec<u64>,
}

/// The least value that `share` of `sorted` do not exceed, in seconds; 0 of none.
fn quantile(sorted: &[u64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let nanoseconds = sorted.get((last as f64 * share).ceil() as usize).copied().unwrap_or(0);
    nanoseconds as f64 / 1e9
}

impl Totals {
    pub fn add(&mut self, mut other: Self) {
        self.count += other.count;
        self.seconds += other.seconds;
        self.server_cpu += other.server_cpu;
        self.server_faults += other.server_faults;
        self.client_cpu += other.client_cpu;
        self.waits.append(&mut other.waits);
    }

    /// Print it as a line of JSON.
    pub fn print(mut self) {
        self.waits.sort_unstable();
        let (middle, late) = (quantile(&self.waits, 0.5), quantile(&self.waits, 0.99));
        println!(
            "{{\"count\": {}, \"seconds\": {:.9}, \"server_cpu\": {:.9}, \"server_faults\": {}, \
             \"client_cpu\": {:.9}, \"p50\": {middle:.9}, \"p99\": {late:.9}}}",
            self.count, self.seconds, self.server_cpu, self.server_faults, self.client_cpu
        );
    }
}

pub struct Window {
    server: u32,
    started: Instant,
    server_cpu: Duration,
    server_faults: u64,
    client_cpu: Duration,
    count: f64,
    waits: Vec<u64>,
}

impl Window {
    pub fn open(server: u32, count: f64) -> Result<Self> {
        // As many as the usual window has, so that the vector does not move within it.
        let waits = Vec::with_capacity(1 << 18);
        let client_cpu = net::cpu_time(std::process::id())?;
        let (server_cpu, server_faults) = (net::cpu_time(server)?, net::minor_faults(server)?);
        Ok(Self { server, server_cpu, server_faults, client_cpu, started: Instant::now(), count, waits })
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn answered(&mut self, after: Duration) {
        self.waits.push(after.as_nanos() as u64);
    }

    /// What happened since it was opened, when `count` was the count.
    pub fn close(&mut self, count: f64) -> Result<Totals> {
        let seconds = self.elapsed().as_secs_f64();
        Ok(Totals {
            count: count - self.count,
            seconds,
            server_cpu: (net::cpu_time(self.server)? - self.server_cpu).as_secs_f64(),
            server_faults: net::minor_faults(self.server)? - self.server_faults,
            client_cpu: (net::cpu_time(std::process::id())? - self.client_cpu).as_secs_f64(),
            waits: std::mem::take(&mut self.waits),
        })
    }
}
