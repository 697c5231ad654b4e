//! The thread on which events happen: signing them is work for a processor, not for the runtime.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use wingbeat_atproto::write::WriteError;

use crate::{
    event::Event,
    fault::{DoneFault, Faults, Level},
    history::History,
    options::{Afterwards, Options, Prepared, StartError},
    world::World,
};

/// How many events happen at once, at most: a reader at the end waits for that long.
const BATCH: u64 = 64;

/// How many happen at once where they were made ahead.
const PREPARED_BATCH: u64 = 1024;

/// Makes events happen.
#[derive(Debug)]
pub(crate) struct Maker {
    world: Mutex<World>,
    history: Arc<History>,
    faults: Arc<Faults>,
    orders: Mutex<Orders>,
    ordered: Condvar,
    rate: f64,
    prepared: Option<Prepared>,
    window: u64,
}

#[derive(Debug, Default)]
struct Orders {
    /// At rate 0: someone waits for this event.
    wanted: u64,
    stop: bool,
}

impl Maker {
    pub(crate) fn new(
        options: &Options,
        history: Arc<History>,
        faults: Arc<Faults>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            world: Mutex::new(World::new(options)?),
            history,
            faults,
            orders: Mutex::default(),
            ordered: Condvar::new(),
            rate: options.rate,
            prepared: options.prepared,
            window: options.window as u64,
        })
    }

    /// Starts the thread. It returns when the events that are to be made ahead are there.
    pub(crate) fn start(self: &Arc<Self>) -> Result<thread::JoinHandle<()>, StartError> {
        let ahead = self.prepared.map_or(0, |prepared| prepared.events);
        let ahead = (0..ahead).map(|_| self.make());
        let ahead = ahead
            .collect::<Result<Vec<Arc<Event>>, WriteError>>()
            .map_err(StartError::Repository)?;
        let maker = Arc::clone(self);
        let thread = thread::Builder::new().name("network-maker".to_owned());
        thread.spawn(move || maker.run(&ahead)).map_err(StartError::Thread)
    }

    pub(crate) fn stop(&self) {
        self.orders().stop = true;
        self.ordered.notify_all();
    }

    /// At rate 0: has event `n` happen, and some behind it.
    pub(crate) fn want(&self, n: u64) {
        if self.rate > 0.0 {
            return;
        }
        let mut orders = self.orders();
        if orders.wanted < n + 1 {
            orders.wanted = n + 1;
            self.ordered.notify_all();
        }
    }

    /// Whether a fault can still be put into an event that is to come.
    pub(crate) fn takes_faults(&self) -> bool {
        self.prepared.is_none()
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> Result<Arc<Event>, WriteError> {
        let mut world = self.world();
        let n = world.next();
        let fault = self.faults.take(None, n, |fault| fault.level() == Level::Event);
        if let Some(fault) = fault {
            self.faults.done(DoneFault { fault, host: None, n, seq: None, protocol: None });
        }
        Ok(Arc::new(world.make(fault)?))
    }

    fn run(&self, ahead: &[Arc<Event>]) {
        let started = Instant::now();
        let gap_us = self.world().gap_us();
        // What happens at once must not push what a reader waits for out of the window.
        let batch = if ahead.is_empty() { BATCH } else { PREPARED_BATCH };
        let batch = batch.min(self.window.div_ceil(2));
        let last = match self.prepared {
            Some(Prepared { events, then: Afterwards::End }) => events as u64,
            _ => u64::MAX,
        };
        let mut next = 0;
        while let Some(due) = self.wait(next, started) {
            let end = due.min(next + batch).min(last);
            if next >= last {
                return;
            }
            let happened: Result<Vec<(Arc<Event>, u64)>, WriteError> = (next..end)
                .map(|n| match ahead.len() as u64 {
                    0 => Ok((self.make()?, 0)),
                    len => {
                        let index = usize::try_from(n % len).unwrap_or(0);
                        Ok((Arc::clone(&ahead[index]), n / len * len * gap_us))
                    }
                })
                .collect();
            match happened {
                Ok(happened) => self.history.push(happened),
                Err(error) => {
                    tracing::error!(%error, "no more events can be made");
                    return;
                }
            }
            next = end;
        }
    }

    /// Waits until an event is due; returns how many events should have happened by now, or
    /// `None` at the end.
    fn wait(&self, next: u64, started: Instant) -> Option<u64> {
        let mut orders = self.orders();
        loop {
            if orders.stop {
                return None;
            }
            if self.rate <= 0.0 {
                if orders.wanted > next {
                    return Some(next.saturating_add(PREPARED_BATCH));
                }
                orders = self.ordered.wait(orders).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let due = due_after(started.elapsed(), self.rate);
            if due > next {
                return Some(due);
            }
            let pause = Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(Duration::MAX);
            let pause = pause.clamp(Duration::from_millis(1), Duration::from_secs(1));
            let waited = self.ordered.wait_timeout(orders, pause);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number far below 2^64"
)]
fn due_after(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate) as u64
}
