//! Reads one host after the other, for ever.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use tokio::{
    sync::watch,
    task::coop::consume_budget,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    counters::{NetworkCounters, count},
    dictionary::Dictionary,
    endpoint::Protocol,
    gap::gap_event,
    host::{Host, Session, Suspect},
    message::{Decoded, StreamEvent},
    options::NetworkOptions,
    outbox::{Outbox, Stopped, now_us},
    release::Release,
    retry::Retry,
    socket::{ConnectError, Message, Received},
    verify::Unproven,
};
use crate::{Connection, dead::dead};

/// How often in a row a connection to a host may be lost before `auto` takes another host.
const LOSSES_MAX: u32 = 3;

/// How often a message behind the same cursor may be no message, whatever it is, before it is put
/// away as a dead letter.
const BAD_MESSAGES_MAX: u32 = 3;

/// How far a host's clock may be ahead of ours, in microseconds: 5 minutes, as for revisions.
const CLOCK_AHEAD_MAX_US: u64 = 5 * 60 * 1_000_000;

/// The first time that is told apart from a sequence number by Jetstream, in microseconds since
/// 1970: September 2001. No event is older.
const TIMES_BEGIN_US: u64 = 1_000_000_000_000_000;

/// Reads one host after the other.
pub(crate) struct Reader {
    pub(crate) hosts: Vec<Host>,
    pub(crate) options: NetworkOptions,
    pub(crate) v1_dictionary: Option<Dictionary>,
    pub(crate) outbox: Outbox,
    pub(crate) connection: watch::Sender<Connection>,
    pub(crate) counters: Arc<NetworkCounters>,
    pub(crate) release: Release,
    /// The time of the last event of any host, in microseconds since 1970.
    pub(crate) last_us: Option<u64>,
    pub(crate) retry: Retry,
    /// The connections in a row that were lost without having been good for long.
    pub(crate) losses: u32,
    /// The hosts in a row that were left without an event.
    pub(crate) hosts_tried: usize,
}

/// How reading a host has ended.
enum Ended {
    /// Nobody asks for items any more.
    Stopped,
    /// The connection is lost, or was given up.
    Lost {
        problem: String,
        /// Whether another host should be tried at once.
        is_given_up: bool,
    },
    /// There is a connection to a better host.
    Moved { host: usize, session: Box<Session> },
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Ended {
    fn lost(problem: impl Into<String>) -> Self {
        Self::Lost { problem: problem.into(), is_given_up: false }
    }

    fn given_up(problem: impl Into<String>) -> Self {
        Self::Lost { problem: problem.into(), is_given_up: true }
    }
}

/// What is known about the connection that is being read.
struct Progress {
    host: usize,
    /// When it was made.
    since: Instant,
    /// When the last message or answer came.
    heard: Instant,
    /// When the next message began to be waited for. While nobody asks for items, silence is not
    /// the host's.
    quiet_since: Instant,
    /// When the host was asked whether it is there, if it has not answered yet.
    pinged: Option<Instant>,
    /// Whether an event came.
    has_events: bool,
    /// The last sequence number, where there are some.
    last_seq: Option<u64>,
}

impl Reader {
    /// Reads until nobody asks for items any more.
    pub(crate) async fn run(mut self) {
        let mut host = 0;
        let mut connected = None;
        loop {
            let session = match connected.take() {
                Some(session) => Ok(session),
                None => {
                    self.say_connecting(host);
                    tokio::select! {
                        session = self.hosts[host].connect(
                            self.last_us,
                            &self.options,
                            self.v1_dictionary.as_ref(),
                        ) => session,
                        () = self.outbox.stopped() => return,
                    }
                }
            };
            let ended = match session {
                Ok(session) => {
                    count(&self.counters.connections);
                    self.read(host, session).await
                }
                Err(ConnectError::Unreachable(problem)) => Ended::given_up(problem),
                Err(error @ ConnectError::Refused { .. }) => Ended::lost(error.to_string()),
            };
            if self.outbox.send().await.is_err() {
                return;
            }
            host = match ended {
                Ended::Stopped => return,
                Ended::Moved { host: better, session } => {
                    count(&self.counters.host_switches);
                    connected = Some(*session);
                    better
                }
                Ended::Lost { problem, is_given_up } => {
                    match self.after_loss(host, problem, is_given_up).await {
                        Ok(next) => next,
                        Err(Stopped) => return,
                    }
                }
            };
        }
    }

    /// Says that a host is being tried, unless it is known that none can be read.
    fn say_connecting(&self, host: usize) {
        let connecting = Connection::Connecting { host: self.hosts[host].url.clone() };
        self.connection.send_if_modified(|connection| {
            let changes =
                !matches!(connection, Connection::Broken { .. }) && *connection != connecting;
            if changes {
                *connection = connecting;
            }
            changes
        });
    }

    /// Chooses the host to go on with, and waits before it where that is due.
    async fn after_loss(
        &mut self,
        host: usize,
        problem: String,
        is_given_up: bool,
    ) -> Result<usize, Stopped> {
        count(&self.counters.connection_failures);
        self.hosts[host].silence.interrupted();
        self.losses += 1;
        let is_left = self.hosts.len() > 1 && (is_given_up || self.losses >= LOSSES_MAX);
        let next = if is_left { (host + 1) % self.hosts.len() } else { host };
        if is_left {
            count(&self.counters.host_switches);
            self.losses = 0;
            self.hosts_tried += 1;
        }
        // While there is another host to be tried, nothing is broken.
        let is_round_over = self.hosts_tried >= self.hosts.len();
        if is_round_over {
            self.hosts_tried = 0;
        }
        if is_round_over || self.hosts.len() == 1 {
            let host = self.hosts[host].url.clone();
            self.connection.send_replace(Connection::Broken { host, problem });
        } else if is_left {
            return Ok(next);
        } else {
            self.say_connecting(next);
        }
        let wait = self.retry.wait(&self.options.timings);
        tokio::select! {
            () = sleep(wait) => Ok(next),
            () = self.outbox.stopped() => Err(Stopped),
        }
    }

    /// Reads a connection until it ends.
    async fn read(&mut self, host: usize, mut session: Session) -> Ended {
        let now = Instant::now();
        let mut progress = Progress {
            host,
            since: now,
            heard: now,
            quiet_since: now,
            pinged: None,
            has_events: false,
            last_seq: session.start.after_seq,
        };
        let mut return_at = (host > 0).then(|| now + self.options.timings.return_after);
        loop {
            // A host that sends without end must not keep others from the processor.
            consume_budget().await;
            let received = match session.socket.try_next() {
                Some(received) => received,
                None => {
                    if let Err(stopped) = self.outbox.send().await {
                        return stopped.into();
                    }
                    progress.quiet_since = Instant::now();
                    match self.wait(&mut session, &mut progress, return_at).await {
                        Ok(Some(received)) => received,
                        Ok(None) => {
                            if let Some(moved) = self.try_better_hosts(host).await {
                                return moved;
                            }
                            return_at = Some(Instant::now() + self.options.timings.return_after);
                            continue;
                        }
                        Err(ended) => return ended,
                    }
                }
            };
            progress.heard = Instant::now();
            progress.pinged = None;
            let ended = match received {
                Received::Pong(_) => Ok(()),
                Received::Closed(problem) => Err(Ended::lost(problem)),
                Received::Message(message) => self.take(&message, &mut session, &mut progress),
            };
            if let Err(ended) = ended {
                return ended;
            }
            if self.outbox.is_full()
                && let Err(stopped) = self.outbox.send().await
            {
                return stopped.into();
            }
        }
    }

    /// Waits for what comes next, and asks the host whether it is there when that takes long.
    /// `None`: it is time to try the better hosts again.
    async fn wait(
        &self,
        session: &mut Session,
        progress: &mut Progress,
        return_at: Option<Instant>,
    ) -> Result<Option<Received>, Ended> {
        let timings = &self.options.timings;
        let (give_up_at, problem) = self.patience(progress);
        let until_return = async {
            match return_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(until_return);
        loop {
            let limit = give_up_at.map(|at| at - progress.quiet_since);
            let ping_after =
                limit.map_or(timings.ping_after, |limit| timings.ping_after.min(limit / 2));
            let ping_at = match progress.pinged {
                Some(pinged) => pinged + timings.pong_max,
                None => progress.heard.max(progress.quiet_since) + ping_after,
            };
            let wake_at = give_up_at.map_or(ping_at, |at| at.min(ping_at));
            let received = tokio::select! {
                biased;
                () = self.outbox.stopped() => return Err(Ended::Stopped),
                received = timeout_at(wake_at, session.socket.next()) => received,
                () = &mut until_return => return Ok(None),
            };
            let now = Instant::now();
            match received {
                Ok(Received::Pong(_)) => {
                    progress.heard = now;
                    progress.pinged = None;
                }
                Ok(received) => return Ok(Some(received)),
                Err(_) if give_up_at.is_some_and(|at| now >= at) => {
                    return Err(Ended::given_up(problem));
                }
                Err(_) if progress.pinged.is_some() => {
                    return Err(Ended::given_up("it does not answer a ping any more"));
                }
                Err(_) => {
                    session.socket.ping();
                    progress.pinged = Some(now);
                }
            }
        }
    }

    /// Until when the host may be silent, and what is wrong with it then.
    fn patience(&self, progress: &Progress) -> (Option<Instant>, String) {
        let timings = &self.options.timings;
        let is_tried = self.hosts.len() > 1 && self.options.dids.is_empty();
        if !progress.has_events && is_tried {
            let limit = timings.first_event_max;
            let problem = format!("it sent no event within {:.1} s", limit.as_secs_f64());
            return (Some(progress.since.max(progress.heard) + limit), problem);
        }
        let limit = self.hosts[progress.host].silence.limit(timings.silence_min);
        let problem = limit.map_or_else(String::new, |limit| {
            format!(
                "it was silent for {:.1} s, which does not go with how often its events come",
                limit.as_secs_f64()
            )
        });
        (limit.map(|limit| progress.quiet_since + limit), problem)
    }

    /// Connects to the first host that is better than this one and can be reached.
    async fn try_better_hosts(&mut self, host: usize) -> Option<Ended> {
        for better in 0..host {
            let dictionary = self.v1_dictionary.as_ref();
            let session = self.hosts[better].connect(self.last_us, &self.options, dictionary).await;
            if let Ok(session) = session {
                self.hosts[host].silence.interrupted();
                return Some(Ended::Moved { host: better, session: Box::new(session) });
            }
        }
        None
    }

    /// Takes in a message.
    fn take(
        &mut self,
        message: &Message,
        session: &mut Session,
        progress: &mut Progress,
    ) -> Result<(), Ended> {
        let host = &self.hosts[progress.host];
        match session.decode(message, host, &self.options, &self.counters) {
            Ok(Decoded::Event(event)) => self.take_event(event, session, progress),
            Ok(Decoded::Unknown(content)) => {
                self.outbox.item(content);
                Ok(())
            }
            Ok(Decoded::Info(notice)) => {
                if notice.name == "OutdatedCursor" {
                    session.start.expect_gap("outdated_cursor", self.last_us);
                }
                Ok(())
            }
            Ok(Decoded::Error(notice)) => {
                let problem = format!("the host says {}", notice.words);
                // Going back is a decision for people: the host may have lost what was read, or
                // it may be another one under the same name.
                let is_given_up = notice.name == "FutureCursor";
                Err(Ended::Lost { problem, is_given_up })
            }
            Err(error) => self.take_bad_message(message, &error.to_string(), progress),
        }
    }

    /// A message that can't be understood: reading it again may help, once.
    fn take_bad_message(
        &mut self,
        message: &Message,
        problem: &str,
        progress: &Progress,
    ) -> Result<(), Ended> {
        count(&self.counters.bad_messages);
        let host = &mut self.hosts[progress.host];
        let mut hasher = DefaultHasher::new();
        message.bytes.hash(&mut hasher);
        let hash = hasher.finish();
        let after = host.place.as_ref().map(|place| place.cursor);
        let words = format!("{} behind event {}: {problem}", host.url, after.unwrap_or(0));
        let Some(after) = after else {
            // Without a cursor it would not come again.
            self.outbox.item(dead(&message.bytes, "bad_frame", words.clone()));
            return Err(Ended::lost(words));
        };
        let earlier = host.suspect.filter(|suspect| suspect.after == after);
        let times = earlier.map_or(0, |suspect| suspect.times) + 1;
        if earlier.is_some_and(|suspect| suspect.hash == hash) || times >= BAD_MESSAGES_MAX {
            host.suspect = None;
            self.outbox.item(dead(&message.bytes, "bad_frame", words));
            return Ok(());
        }
        host.suspect = Some(Suspect { hash, after, times });
        Err(Ended::lost(words))
    }

    fn take_event(
        &mut self,
        event: StreamEvent,
        session: &mut Session,
        progress: &mut Progress,
    ) -> Result<(), Ended> {
        let protocol = self.hosts[progress.host].endpoint.protocol;
        if protocol != Protocol::JetstreamV1 {
            match self.is_in_order(event.cursor, progress) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(ended) => {
                    // It may be one that was left out before: then it comes only now.
                    if progress.has_events {
                        self.release(event, false, progress);
                    }
                    return Err(ended);
                }
            }
        }
        let time_us = plausible(event.time_us, now_us());
        let cursor = match protocol {
            Protocol::JetstreamV1 => time_us,
            Protocol::Relay | Protocol::JetstreamV2 => event.cursor,
        };
        self.say_live(progress);
        if let Some(gap) = session.start.take_gap(cursor, time_us) {
            count(&self.counters.gaps);
            let url = &self.hosts[progress.host].url;
            self.outbox.item(gap_event(url, &gap, cursor, time_us));
        }
        if self.last_us.is_none() {
            // The first event ever. Whoever is killed before it is kept begins with it again.
            self.outbox.place(progress.host, cursor.saturating_sub(1), time_us);
        }
        let is_known = time_us < session.start.known_before_us;
        self.release(event, is_known, progress);
        let host = &mut self.hosts[progress.host];
        host.silence.event(time_us);
        host.arrived_at(cursor, time_us);
        if let Some(place) = &host.place {
            self.outbox.place(progress.host, place.cursor, place.time_us);
        }
        self.last_us = self.last_us.max(Some(time_us));
        Ok(())
    }

    /// Sends on what an event becomes, where that is not known already.
    fn release(&mut self, event: StreamEvent, is_known: bool, progress: &Progress) {
        let StreamEvent { cursor, rev, contents, proof, .. } = event;
        match proof {
            Some(proof) if !is_known => {
                let host = progress.host;
                let event = Unproven { proof, host, cursor, rev, contents };
                self.outbox.unproven(event);
            }
            _ => self.release.event(contents, &rev, is_known, &mut self.outbox),
        }
    }

    /// Whether the event comes behind the last one. `false`: it is the last one once more, with
    /// which a host may begin.
    fn is_in_order(&self, seq: u64, progress: &mut Progress) -> Result<bool, Ended> {
        match progress.last_seq {
            Some(last) if seq == last && !progress.has_events => {
                count(&self.counters.repeats);
                Ok(false)
            }
            Some(last) if seq <= last => {
                count(&self.counters.order_errors);
                let problem = if progress.has_events {
                    format!("event {seq} came after event {last}")
                } else {
                    format!(
                        "it begins at event {seq}, before the cursor {last}: its numbers have \
                         begun anew, or it is another host under the same name"
                    )
                };
                Err(Ended::Lost { problem, is_given_up: !progress.has_events })
            }
            _ => {
                progress.last_seq = Some(seq);
                Ok(true)
            }
        }
    }

    fn say_live(&mut self, progress: &mut Progress) {
        self.hosts_tried = 0;
        if progress.since.elapsed() >= self.options.timings.settled_after {
            self.losses = 0;
            self.retry.reset();
        }
        if !std::mem::replace(&mut progress.has_events, true) {
            let host = self.hosts[progress.host].url.clone();
            self.connection.send_replace(Connection::Live { host });
        }
    }
}

/// A host's time, or ours where it has none that can be.
fn plausible(time_us: Option<u64>, now_us: u64) -> u64 {
    match time_us {
        Some(time_us) if (TIMES_BEGIN_US..=now_us + CLOCK_AHEAD_MAX_US).contains(&time_us) => {
            time_us
        }
        _ => now_us,
    }
}
