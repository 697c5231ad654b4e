//! Misbehaviour, on command.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;

/// The most faults of which it is remembered that they were done.
const DONE_MAX: usize = 100_000;

/// The most faults that wait to be done.
const PENDING_MAX: usize = 10_000;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A connection is answered with 503.
    Refuse,
    /// A connection is accepted, and nothing is sent on it.
    Mute,
    /// The last event of a replay comes behind the first live one of another account.
    Reorder,
    /// The connection breaks, without a closing frame.
    Disconnect,
    /// Nothing more is sent, and the connection stays open.
    Silence,
    /// An event comes twice.
    Duplicate,
    /// An event does not come.
    Skip,
    /// A bit of a frame is another one.
    BitFlip,
    /// A sound frame that is larger than any may be comes before the event.
    Oversize,
    /// A frame that ends in the middle comes before the event.
    InvalidFraming,
    /// The stream ends with the error `FutureCursor`.
    FutureCursor,
    /// The stream ends with the error `ConsumerTooSlow`.
    ConsumerTooSlow,
    /// On a compressed stream: a small frame that unpacks to 256 MiB comes before the event.
    ZipBomb,
    /// A commit whose signature is wrong.
    BadSignature,
    /// A commit whose revision goes back, and whose state before is none that was.
    Fork,
    /// A commit of three posts, of which the middle one is no CBOR.
    BadCbor,
    /// A commit of three posts, of which the middle one breaks its lexicon.
    BadLexicon,
}

/// What a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// How a connection begins.
    Opening,
    /// The last event of a replay on one connection.
    Cutover,
    /// What is sent on one connection.
    Sending,
    /// The event itself: every host shows it.
    Event,
}

/// All faults.
pub const FAULTS: [Fault; 17] = [
    Fault::Refuse,
    Fault::Mute,
    Fault::Reorder,
    Fault::Disconnect,
    Fault::Silence,
    Fault::Duplicate,
    Fault::Skip,
    Fault::BitFlip,
    Fault::Oversize,
    Fault::InvalidFraming,
    Fault::FutureCursor,
    Fault::ConsumerTooSlow,
    Fault::ZipBomb,
    Fault::BadSignature,
    Fault::Fork,
    Fault::BadCbor,
    Fault::BadLexicon,
];

/// A fault that will be. Each of its occurrences happens once on each host, so that a consumer
/// which comes back gets past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFault {
    /// Which.
    pub fault: Fault,
    /// At which event, counted from 0; for [`Fault::Refuse`] and [`Fault::Mute`], at which
    /// connection of the host. [`Fault::Reorder`] is at the first replay whose end is not before.
    pub at: u64,
    /// And after it at every so many.
    pub every: Option<u64>,
}

/// A fault that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoneFault {
    /// Which.
    pub fault: Fault,
    /// The host, counted from 0; `None` where it is in the event itself.
    pub host: Option<usize>,
    /// The event; for faults of a connection's beginning, the connection.
    pub n: u64,
    /// What the host calls the event, in the protocol of the connection.
    pub seq: Option<u64>,
    /// The protocol: `relay`, `jetstream-v1`, `jetstream-v2`.
    pub protocol: Option<&'static str>,
}

/// The faults that are to be done and that were done.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Whether anything waits: this is asked for every frame.
    armed: AtomicBool,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    plan: Vec<PlannedFault>,
    /// For each planned fault and host, the first place at which it can still happen.
    next: Vec<Vec<u64>>,
    /// The host, or none for faults of events.
    pending: VecDeque<(Option<usize>, Fault)>,
    done: VecDeque<DoneFault>,
}

/// No more faults can wait.
#[derive(Debug, thiserror::Error)]
#[error("{PENDING_MAX} faults wait to be done: more are not taken")]
pub(crate) struct TooManyPending;

impl Fault {
    /// Its name, as in `bit-flip`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Mute => "mute",
            Self::Reorder => "reorder",
            Self::Disconnect => "disconnect",
            Self::Silence => "silence",
            Self::Duplicate => "duplicate",
            Self::Skip => "skip",
            Self::BitFlip => "bit-flip",
            Self::Oversize => "oversize",
            Self::InvalidFraming => "invalid-framing",
            Self::FutureCursor => "future-cursor",
            Self::ConsumerTooSlow => "consumer-too-slow",
            Self::ZipBomb => "zip-bomb",
            Self::BadSignature => "bad-signature",
            Self::Fork => "fork",
            Self::BadCbor => "bad-cbor",
            Self::BadLexicon => "bad-lexicon",
        }
    }

    pub(crate) fn level(self) -> Level {
        match self {
            Self::Refuse | Self::Mute => Level::Opening,
            Self::Reorder => Level::Cutover,
            Self::BadSignature | Self::Fork | Self::BadCbor | Self::BadLexicon => Level::Event,
            _ => Level::Sending,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such fault.
#[derive(Debug, thiserror::Error)]
#[error("there is no fault `{0}`; there are {names}", names = FAULTS.map(Fault::name).join(", "))]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let found = FAULTS.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

impl PlannedFault {
    /// The first place from `from` on at which it happens.
    fn first_from(&self, from: u64) -> Option<u64> {
        if from <= self.at {
            return Some(self.at);
        }
        let every = self.every?;
        Some(self.at + (from - self.at).div_ceil(every) * every)
    }
}

impl Faults {
    pub(crate) fn new(plan: Vec<PlannedFault>, hosts: usize) -> Self {
        // One more than there are hosts: the last is for faults of events.
        let next = plan.iter().map(|_| vec![0; hosts + 1]).collect();
        let armed = AtomicBool::new(!plan.is_empty());
        let (pending, done) = (VecDeque::new(), VecDeque::new());
        Self { armed, book: Mutex::new(Book { plan, next, pending, done }) }
    }

    /// Has a fault done as soon as it can be.
    pub(crate) fn add(
        &self,
        host: usize,
        fault: Fault,
        count: usize,
    ) -> Result<(), TooManyPending> {
        let mut book = self.book();
        if book.pending.len().saturating_add(count) > PENDING_MAX {
            return Err(TooManyPending);
        }
        let host = (fault.level() != Level::Event).then_some(host);
        book.pending.extend(std::iter::repeat_n((host, fault), count));
        self.armed.store(true, Ordering::Release);
        Ok(())
    }

    /// The fault that is to be done here, if there is one and `fits` says that it can be. `n` is
    /// the event or the connection; `host` is none for events.
    pub(crate) fn take(
        &self,
        host: Option<usize>,
        n: u64,
        fits: impl Fn(Fault) -> bool,
    ) -> Option<Fault> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let mut book = self.book();
        let waiting = book.pending.iter().position(|(of, fault)| *of == host && fits(*fault));
        if let Some((_, fault)) = waiting.and_then(|index| book.pending.remove(index)) {
            return Some(fault);
        }
        let Book { plan, next, pending, .. } = &mut *book;
        for (planned, next) in plan.iter().zip(next.iter_mut()) {
            let slot = host.unwrap_or(next.len().saturating_sub(1));
            let Some(next) = next.get_mut(slot).filter(|_| fits(planned.fault)) else { continue };
            let Some(place) = planned.first_from(*next) else { continue };
            // A replay's end is hardly ever at an exact place.
            let is_here = place == n || planned.fault == Fault::Reorder && place < n;
            if is_here {
                *next = n + 1;
                return Some(planned.fault);
            }
        }
        let is_idle = plan.is_empty() && pending.is_empty();
        self.armed.store(!is_idle, Ordering::Release);
        None
    }

    /// Remembers that a fault was done.
    pub(crate) fn done(&self, done: DoneFault) {
        tracing::debug!(fault = %done.fault, host = ?done.host, n = done.n, "did a fault");
        let mut book = self.book();
        if book.done.len() == DONE_MAX {
            book.done.pop_front();
        }
        book.done.push_back(done);
    }

    /// What was done, in order.
    pub(crate) fn all_done(&self) -> Vec<DoneFault> {
        self.book().done.iter().cloned().collect()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_that_is_read_back() {
        for fault in FAULTS {
            assert_eq!(fault.name().parse::<Fault>().unwrap(), fault);
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        }
        assert!("bitflip".parse::<Fault>().unwrap_err().to_string().contains("bit-flip"));
    }

    #[test]
    fn a_planned_fault_happens_once_on_each_host_at_each_of_its_places() {
        let planned = PlannedFault { fault: Fault::Skip, at: 5, every: Some(10) };
        let faults = Faults::new(vec![planned], 2);
        let places = |host| -> Vec<u64> {
            (0..40).filter(|n| faults.take(Some(host), *n, |_| true).is_some()).collect()
        };
        assert_eq!(places(0), [5, 15, 25, 35]);
        assert_eq!(places(1), [5, 15, 25, 35]);
        assert!(places(0).is_empty());
        assert_eq!(faults.take(Some(0), 45, |_| true), Some(Fault::Skip));
    }

    #[test]
    fn a_fault_at_run_time_waits_for_where_it_fits() {
        let faults = Faults::new(Vec::new(), 1);
        faults.add(0, Fault::ZipBomb, 2).unwrap();
        assert_eq!(faults.take(Some(0), 0, |fault| fault != Fault::ZipBomb), None);
        assert_eq!(faults.take(Some(0), 1, |_| true), Some(Fault::ZipBomb));
        assert_eq!(faults.take(None, 1, |_| true), None);
        assert_eq!(faults.take(Some(0), 2, |_| true), Some(Fault::ZipBomb));
        assert_eq!(faults.take(Some(0), 3, |_| true), None);
        assert!(faults.add(0, Fault::Skip, usize::MAX).is_err());
    }
}
