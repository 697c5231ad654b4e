//! Where to begin on a host: what is asked of it, and what is known about it beforehand.

use super::endpoint::Protocol;
use super::options::Timings;
use crate::Place;

/// How far Jetstream v1 goes back unless its operator has changed it, in microseconds: 36 hours,
/// and an hour less to be safe. It passes over what is older without a word.
const V1_LOOKBACK_US: u64 = 35 * 3600 * 1_000_000;

/// How many sequence numbers a relay leaves out, at most, between two events that it sends: those
/// of accounts that were taken down meanwhile.
const SEQ_HOLE_MAX: u64 = 1_000;

/// Where to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The cursor to ask for. `None`: what happens from now on.
    pub(crate) cursor: Option<u64>,
    /// The last sequence number that was read, where the cursor is one.
    pub(crate) after_seq: Option<u64>,
    /// Events before this are known from another host, in microseconds since 1970.
    pub(crate) known_before_us: u64,
    /// A gap that there is in any case, to be reported when the first event tells its end.
    pub(crate) gap: Option<GapStart>,
    /// A gap that there is if the first event is behind this.
    pub(crate) jump: Option<(Limit, GapStart)>,
}

/// How far the first event may be away from the last one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// In microseconds since 1970.
    latest_us: u64,
    /// By its cursor.
    latest_cursor: u64,
}

/// An interval of which it can't be proved that everything was seen: why, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GapStart {
    pub(crate) reason: &'static str,
    pub(crate) from_cursor: Option<u64>,
    /// In microseconds since 1970; `None` where only a cursor was handed down.
    pub(crate) from_us: Option<u64>,
}

/// What is known when a connection is about to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) protocol: Protocol,
    /// Where this host was left.
    pub(crate) place: Option<&'a Place>,
    /// The time of the last event of any host, in microseconds since 1970.
    pub(crate) last_us: Option<u64>,
    /// Now, in microseconds since 1970.
    pub(crate) now_us: u64,
    /// Whether the host has said that its place is too old for it.
    pub(crate) is_too_old: bool,
    /// Whether only some accounts are asked for, so that a long pause means nothing.
    pub(crate) is_sparse: bool,
}

impl Start {
    /// Where to begin.
    pub(crate) fn of(known: Known<'_>, timings: &Timings) -> Self {
        let Some(last_us) = known.last_us else { return Self::default() };
        let rewound_us = last_us.saturating_sub(micros(timings.rewind));
        // Of the hosts, the one that was read last is ahead; the others may have been left long
        // ago, and their places are of use only where there is nothing better.
        let is_current = known.place.is_some_and(|place| place.time_us >= rewound_us);
        match known.protocol {
            Protocol::Relay => Self::of_relay(known, last_us, is_current, rewound_us, timings),
            Protocol::JetstreamV2 => Self::of_v2(known, last_us, is_current, rewound_us),
            Protocol::JetstreamV1 => Self::of_v1(known, last_us, is_current, rewound_us, timings),
        }
    }

    /// The host says that there is a gap.
    pub(crate) fn expect_gap(&mut self, reason: &'static str, last_us: Option<u64>) {
        // Without an event before it there is nothing that could be missing.
        if let from_us @ Some(_) = last_us {
            let from_cursor = self.after_seq;
            self.gap.get_or_insert(GapStart { reason, from_cursor, from_us });
        }
    }

    /// The gap, if there is one, when the first event is known.
    pub(crate) fn take_gap(&mut self, first_cursor: u64, first_us: u64) -> Option<GapStart> {
        let jump = self
            .jump
            .take()
            .filter(|(limit, _)| first_us > limit.latest_us || first_cursor > limit.latest_cursor);
        self.gap.take().or(jump.map(|(_, gap)| gap))
    }

    /// A relay takes no times. Without a place of its own it can only begin now.
    fn of_relay(
        known: Known<'_>,
        last_us: u64,
        is_current: bool,
        rewound_us: u64,
        timings: &Timings,
    ) -> Self {
        // What a replaced service hands down has no time.
        let from_us = Some(last_us).filter(|last_us| *last_us > 0);
        let Some(place) = known.place else {
            let gap = GapStart { reason: "host_switch", from_cursor: None, from_us };
            return Self { gap: Some(gap), ..Self::default() };
        };
        // It does not say when a cursor is too old for it: github.com/bluesky-social/indigo,
        // issue 1328. What it skips shows by the time of the first event or by its number.
        let from_cursor = Some(place.cursor);
        let latest_us =
            from_us.map_or(u64::MAX, |from_us| from_us.saturating_add(micros(timings.jump_max)));
        let latest_cursor = place.cursor.saturating_add(SEQ_HOLE_MAX);
        let limit = Limit { latest_us, latest_cursor };
        let gap = GapStart { reason: "outdated_cursor", from_cursor, from_us };
        Self {
            cursor: Some(place.cursor),
            after_seq: Some(place.cursor),
            known_before_us: if is_current { 0 } else { rewound_us },
            gap: None,
            jump: Some((limit, gap)),
        }
    }

    /// Jetstream v2 takes both, and says when a cursor is too old.
    fn of_v2(known: Known<'_>, last_us: u64, is_current: bool, rewound_us: u64) -> Self {
        match known.place {
            Some(place) if known.is_too_old => {
                let from_cursor = Some(place.cursor);
                let gap =
                    GapStart { reason: "outdated_cursor", from_cursor, from_us: Some(last_us) };
                Self { cursor: Some(rewound_us), gap: Some(gap), ..Self::default() }
            }
            Some(place) if is_current => Self {
                cursor: Some(place.cursor),
                after_seq: Some(place.cursor),
                ..Self::default()
            },
            _ => Self { cursor: Some(rewound_us), ..Self::default() },
        }
    }

    /// Jetstream v1 takes times only. Where one is too old, it begins later without a word.
    fn of_v1(
        known: Known<'_>,
        last_us: u64,
        is_current: bool,
        rewound_us: u64,
        timings: &Timings,
    ) -> Self {
        let own = known.place.filter(|_| is_current);
        let cursor = own.map_or(rewound_us, |place| {
            place.cursor.saturating_sub(micros(timings.time_cursor_rewind))
        });
        let is_beyond_lookback = known.now_us.saturating_sub(cursor) > V1_LOOKBACK_US;
        let from_cursor = own.map(|place| place.cursor);
        let gap = GapStart { reason: "clamped_cursor", from_cursor, from_us: Some(last_us) };
        let latest_us = last_us.saturating_add(micros(timings.jump_max));
        let limit = Limit { latest_us, latest_cursor: u64::MAX };
        Self {
            cursor: Some(cursor),
            jump: (is_beyond_lookback || !known.is_sparse).then_some((limit, gap)),
            ..Self::default()
        }
    }
}

/// A length of time in microseconds.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3600 * 1_000_000;
    const NOW_US: u64 = 1_783_175_888_000_000;
    const SECOND_US: u64 = 1_000_000;

    fn place(cursor: u64, time_us: u64) -> Place {
        Place { host: "wss://a".to_owned(), cursor, time_us }
    }

    fn start(protocol: Protocol, place: Option<&Place>, last_us: Option<u64>) -> Start {
        let (is_too_old, is_sparse) = (false, false);
        let known = Known { protocol, place, last_us, now_us: NOW_US, is_too_old, is_sparse };
        Start::of(known, &Timings::default())
    }

    #[test]
    fn a_first_run_begins_now() {
        for protocol in [Protocol::Relay, Protocol::JetstreamV1, Protocol::JetstreamV2] {
            assert_eq!(start(protocol, None, None), Start::default());
        }
    }

    #[test]
    fn the_same_host_goes_on_at_its_cursor() {
        let at = place(77, NOW_US - HOUR_US);
        let relay = start(Protocol::Relay, Some(&at), Some(at.time_us));
        assert_eq!((relay.cursor, relay.after_seq), (Some(77), Some(77)));
        assert_eq!((relay.known_before_us, relay.gap), (0, None));
        assert_eq!(relay.jump.unwrap().0.latest_us, at.time_us + 60 * SECOND_US);
        let v2 = start(Protocol::JetstreamV2, Some(&at), Some(at.time_us));
        assert_eq!((v2.cursor, v2.after_seq, v2.gap, v2.jump), (Some(77), Some(77), None, None));
        let at = place(NOW_US - HOUR_US, NOW_US - HOUR_US);
        let v1 = start(Protocol::JetstreamV1, Some(&at), Some(at.time_us));
        assert_eq!(v1.cursor, Some(at.time_us - 5 * SECOND_US));
        assert_eq!(v1.after_seq, None);
    }

    /// The replaced services keep a cursor and no time.
    #[test]
    fn i5_a_cursor_without_a_time_is_a_gap_only_where_the_host_has_lost_it() {
        let handed_down = place(77, 0);
        for (first, is_gap) in [(78, false), (77 + 1_000, false), (77 + 1_001, true)] {
            let mut relay = start(Protocol::Relay, Some(&handed_down), Some(0));
            assert_eq!(relay.cursor, Some(77));
            let gap = relay.take_gap(first, NOW_US);
            assert_eq!(gap.is_some(), is_gap);
            assert!(gap.is_none_or(|gap| gap.from_us.is_none() && gap.from_cursor == Some(77)));
        }
    }

    /// Invariant 5: without a cursor of its own, a relay can't prove anything.
    #[test]
    fn i5_another_host_begins_by_time_or_with_a_gap() {
        let last_us = NOW_US - SECOND_US;
        for protocol in [Protocol::JetstreamV1, Protocol::JetstreamV2] {
            for at in [None, Some(place(77, NOW_US - HOUR_US))] {
                let start = start(protocol, at.as_ref(), Some(last_us));
                assert_eq!((start.cursor, start.after_seq), (Some(last_us - 30 * SECOND_US), None));
                assert_eq!(start.gap, None);
            }
        }
        let new = start(Protocol::Relay, None, Some(last_us));
        let gap = GapStart { reason: "host_switch", from_cursor: None, from_us: Some(last_us) };
        assert_eq!((new.cursor, new.gap), (None, Some(gap)));
        // With one of its own, all is replayed, and what is known is passed over.
        let old = place(77, NOW_US - HOUR_US);
        let old = start(Protocol::Relay, Some(&old), Some(last_us));
        assert_eq!((old.cursor, old.gap), (Some(77), None));
        assert_eq!(old.known_before_us, last_us - 30 * SECOND_US);
    }

    #[test]
    fn i5_a_cursor_that_is_too_old_is_a_gap() {
        let at = place(77, NOW_US - 100 * HOUR_US);
        let known = Known {
            protocol: Protocol::JetstreamV2,
            place: Some(&at),
            last_us: Some(at.time_us),
            now_us: NOW_US,
            is_too_old: true,
            is_sparse: false,
        };
        let v2 = Start::of(known, &Timings::default());
        assert_eq!(v2.cursor, Some(at.time_us - 30 * SECOND_US));
        assert_eq!(v2.gap.unwrap().reason, "outdated_cursor");
        // Few accounts: a pause proves nothing, unless the host can't have what is older.
        let known = Known { protocol: Protocol::JetstreamV1, is_sparse: true, ..known };
        assert!(Start::of(known, &Timings::default()).jump.is_some());
        let at = place(NOW_US - HOUR_US, NOW_US - HOUR_US);
        let known = Known { place: Some(&at), last_us: Some(at.time_us), ..known };
        assert!(Start::of(known, &Timings::default()).jump.is_none());
    }
}
