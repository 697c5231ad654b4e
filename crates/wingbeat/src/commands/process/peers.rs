//! Processes that share a consumer, and each one's share of what waits there.
//!
//! They find each other in one value of a bucket, the roll, which each of them rewrites by
//! compare-and-set with every beat. A process is on the roll until its beat has not changed for a
//! while, as seen by another one's own clock: the machines' clocks need not agree. One value, and
//! not a key for each process: a bucket of NATS keeps a mark for every key that was removed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use wingbeat_flow::FlowSpec;
use wingbeat_log::{Bucket, Log, LogError, LogUrl, patiently};
use wingbeat_record::Time;

/// The bucket of the rolls, by stream and consumer.
const BUCKET: &str = "wingbeat-processes";
/// Who has not shown up for so long is gone: four beats.
const GONE_AFTER: Duration = Duration::from_secs(4);
/// How often a beat is tried where others come first.
const TRIES_MAX: usize = 20;
/// The longest part of the machine's name in an id.
const HOST_BYTES_MAX: usize = 64;

/// The number of each process' last beat, by its id.
type Roll = BTreeMap<String, u64>;

/// A process' place among those that share a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// From 0 on.
    pub(super) number: u64,
    /// How many processes there are.
    pub(super) of: u64,
}

impl Place {
    /// The part of a whole that falls to this process; all parts come to the whole.
    pub(super) fn share(self, whole: u64) -> u64 {
        whole / self.of + u64::from(self.number < whole % self.of)
    }
}

/// This process among those that share its consumer.
pub(super) struct Peers {
    /// `None` on an embedded log: there is one process.
    bucket: Option<Arc<dyn Bucket>>,
    key: String,
    roll: RollCall,
}

/// What is remembered from beat to beat.
struct RollCall {
    id: String,
    beat: u64,
    /// Of each other process: its last beat, and when that was first seen.
    seen: BTreeMap<String, (u64, Instant)>,
}

impl RollCall {
    /// Takes off the roll who is gone, and puts this process on it.
    fn answer(&mut self, roll: &mut Roll, now: Instant) {
        self.seen.retain(|id, _| roll.contains_key(id));
        for (id, beat) in &*roll {
            match self.seen.get_mut(id) {
                Some((last, _)) if last == beat => {}
                Some(seen) => *seen = (*beat, now),
                None => _ = self.seen.insert(id.clone(), (*beat, now)),
            }
        }
        let is_here = |seen: &(u64, Instant)| now.duration_since(seen.1) < GONE_AFTER;
        roll.retain(|id, _| self.seen.get(id).is_some_and(is_here));
        self.beat += 1;
        roll.insert(self.id.clone(), self.beat);
    }

    fn place(&self, roll: &Roll) -> Place {
        let before = roll.keys().take_while(|id| **id != self.id).count();
        Place { number: before as u64, of: roll.len() as u64 }
    }
}

/// Unlike that of any other process, also where all of them are number 1 in a container.
fn id() -> String {
    let mut host = std::env::var("HOSTNAME").unwrap_or_default();
    host.retain(|c| c.is_ascii_alphanumeric() || c == '-');
    host.truncate(HOST_BYTES_MAX);
    format!("{host}-{}-{}", std::process::id(), Time::now().as_micros())
}

impl Peers {
    pub(super) async fn open(
        log: &dyn Log,
        url: &LogUrl,
        spec: &FlowSpec,
    ) -> Result<Self, LogError> {
        let bucket = match url {
            LogUrl::Embedded(_) => None,
            LogUrl::Nats(_) => Some(patiently(|| log.bucket(BUCKET)).await?),
        };
        let key = format!("{}.{}", spec.from, spec.consumer);
        let roll = RollCall { id: id(), beat: 0, seen: BTreeMap::new() };
        Ok(Self { bucket, key, roll })
    }

    /// Shows up, and gives the place among all who do.
    pub(super) async fn beat(&mut self) -> Result<Place, LogError> {
        let Self { bucket, key, roll: call } = self;
        let answer = |roll: &mut Roll| {
            call.answer(roll, Instant::now());
            call.place(roll)
        };
        change(bucket.as_deref(), key, answer).await
    }

    /// Leaves: the others share what there is.
    pub(super) async fn leave(&mut self) -> Result<(), LogError> {
        let id = &self.roll.id;
        change(self.bucket.as_deref(), &self.key, |roll| _ = roll.remove(id)).await
    }
}

/// Changes the roll by compare-and-set. Without a bucket it is always empty.
async fn change<T>(
    bucket: Option<&dyn Bucket>,
    key: &str,
    mut change: impl FnMut(&mut Roll) -> T,
) -> Result<T, LogError> {
    let Some(bucket) = bucket else { return Ok(change(&mut Roll::new())) };
    let mut tries = 0;
    loop {
        let entry = bucket.get(key).await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        // What can't be read is written anew: everybody shows up again within a second.
        let mut roll: Roll =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default();
        let result = change(&mut roll);
        // Numbers under names always serialise.
        let json = serde_json::to_vec(&roll).unwrap_or_default();
        match bucket.update(key, json.into(), revision).await {
            Ok(_) => return Ok(result),
            Err(LogError::WrongRevision { .. }) if tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> RollCall {
        RollCall { id: id.to_owned(), beat: 0, seen: BTreeMap::new() }
    }

    #[test]
    fn shares_come_to_the_whole() {
        for (of, whole) in [(1, 7), (3, 0), (3, 2), (3, 1_000), (7, 48)] {
            let parts = (0..of).map(|number| Place { number, of }.share(whole));
            let parts: Vec<u64> = parts.collect();
            assert_eq!(parts.iter().sum::<u64>(), whole, "{parts:?}");
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1, "{parts:?}");
        }
    }

    #[test]
    fn who_does_not_show_up_any_more_is_gone_after_a_while_and_may_come_back() {
        let mut roll = Roll::new();
        let (mut a, mut b) = (call("a"), call("b"));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        for beat in 0..3 {
            a.answer(&mut roll, start + second * beat);
            b.answer(&mut roll, start + second * beat);
        }
        assert_eq!(
            (a.place(&roll), b.place(&roll)),
            (Place { number: 0, of: 2 }, Place { number: 1, of: 2 },)
        );
        // `a` has seen the second beat of `b` at second 2, and no further one.
        a.answer(&mut roll, start + second * 3);
        a.answer(&mut roll, start + second * 6);
        assert_eq!(roll.len(), 2);
        a.answer(&mut roll, start + second * 7);
        assert_eq!(a.place(&roll), Place { number: 0, of: 1 });
        b.answer(&mut roll, start + second * 8);
        a.answer(&mut roll, start + second * 8);
        assert_eq!(roll.len(), 2);
        // One that has just begun takes everybody for alive.
        let mut c = call("c");
        c.answer(&mut roll, start + second * 100);
        assert_eq!(c.place(&roll), Place { number: 2, of: 3 });
        c.answer(&mut roll, start + second * 104);
        assert_eq!(c.place(&roll), Place { number: 0, of: 1 });
    }
}
