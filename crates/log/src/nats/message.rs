//! Records as NATS messages, and back.

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use wingbeat_record::{Headers, Record, SUBJECT_BYTES_MAX, Subject, Time, token};

use super::api::StoredMessage;
use crate::{LogError, Stored};

/// A record's headers as the client wants them; `None` where there are none.
pub(super) fn header_map(headers: &Headers) -> Result<Option<HeaderMap>, LogError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let refused =
            || LogError::Invalid(format!("NATS takes no header like {name:?}: {value:?}"));
        let name: HeaderName = name.parse().map_err(|_| refused())?;
        let value: HeaderValue = value.parse().map_err(|_| refused())?;
        map.append(name, value);
    }
    Ok((!map.is_empty()).then_some(map))
}

/// Headers, sorted by name: the client does not keep their order.
pub(super) fn headers(map: Option<&HeaderMap>) -> Headers {
    let mut headers = Headers::new();
    let Some(map) = map else { return headers };
    let mut names: Vec<_> = map.iter().collect();
    names.sort_unstable_by(|(a, _), (b, _)| AsRef::<str>::as_ref(*a).cmp(b.as_ref()));
    for (name, values) in names {
        for value in values {
            headers.restore(name.as_ref(), value.as_str().to_owned());
        }
    }
    headers
}

/// What the reply subject of a delivery says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeliveryInfo {
    pub(super) deliveries: u32,
    pub(super) stream_sequence: u64,
    pub(super) consumer_sequence: u64,
    time: Time,
}

impl DeliveryInfo {
    /// Reads
    /// `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERIES.SEQUENCE.CONSUMER-SEQUENCE.NANOS.PENDING[.RANDOM]`.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let at = match tokens.len() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let number = |index: usize| tokens.get(at + index)?.parse::<u64>().ok();
        Some(Self {
            deliveries: u32::try_from(number(0)?).unwrap_or(u32::MAX),
            stream_sequence: number(1)?,
            consumer_sequence: number(2)?,
            time: Time::from_micros(i64::try_from(number(3)? / 1000).ok()?),
        })
    }
}

/// A delivered message as a stored record, and what its reply subject says.
pub(super) fn delivered(message: Message) -> Option<(DeliveryInfo, Stored)> {
    let info = DeliveryInfo::parse(message.reply.as_deref()?)?;
    let record = Record {
        subject: subject(&message.subject),
        headers: headers(message.headers.as_ref()),
        payload: message.payload,
    };
    Some((info, Stored { sequence: info.stream_sequence, time: info.time, record }))
}

/// A message that was asked for by its sequence.
pub(super) fn stored(message: &StoredMessage) -> Result<Stored, LogError> {
    let unreadable = |problem: &str| {
        LogError::unavailable(format!("can't read message {}", message.seq), problem)
    };
    let payload = STANDARD.decode(&message.data).map_err(|_| unreadable("bad Base64"))?;
    let raw_headers = STANDARD.decode(&message.hdrs).map_err(|_| unreadable("bad Base64"))?;
    let record = Record {
        subject: subject(&message.subject),
        headers: parse_headers(&String::from_utf8_lossy(&raw_headers)),
        payload: payload.into(),
    };
    Ok(Stored { sequence: message.seq, time: time(&message.time), record })
}

/// A point in time as JetStream writes it.
pub(super) fn time(text: &str) -> Time {
    text.parse().unwrap_or_else(|_| Time::from_micros(0))
}

/// Headers as they stand in a stored message: a line `NATS/1.0`, then `Name: value` each.
fn parse_headers(text: &str) -> Headers {
    let mut lines: Vec<(&str, &str)> =
        text.lines().skip(1).filter_map(|line| line.split_once(':')).collect();
    lines.sort_by_key(|(name, _)| *name);
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.restore(name, value.trim().to_owned());
    }
    headers
}

/// A message's subject. Other programs may publish under what our own subjects may not be, such as
/// one that is too long; such a record is delivered too, under a subject that comes close.
fn subject(text: &str) -> Subject {
    if let Ok(subject) = Subject::new(text) {
        return subject;
    }
    let mut made = String::new();
    for part in text.split('.').map(token) {
        if made.len() + 1 + part.len() > SUBJECT_BYTES_MAX {
            break;
        }
        if !made.is_empty() {
            made.push('.');
        }
        made.push_str(&part);
    }
    match Subject::new(&made) {
        Ok(subject) => subject,
        Err(_) => unreadable_subject(),
    }
}

#[expect(clippy::expect_used, reason = "a constant that is a subject")]
fn unreadable_subject() -> Subject {
    Subject::new("unknown").expect("a word is a subject")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reply_subject_is_read_in_both_forms() {
        let time = Time::from_micros(1_700_000_000_000_000);
        let expected =
            DeliveryInfo { deliveries: 2, stream_sequence: 7, consumer_sequence: 9, time };
        for reply in [
            "$JS.ACK.s.c.2.7.9.1700000000000000000.3",
            "$JS.ACK._.hash.s.c.2.7.9.1700000000000000000.3",
            "$JS.ACK.hub.hash.s.c.2.7.9.1700000000000000000.3.random",
        ] {
            assert_eq!(DeliveryInfo::parse(reply), Some(expected), "{reply}");
        }
        for reply in ["", "_INBOX.x", "$JS.ACK.s.c.2", "$JS.ACK.s.c.x.7.9.1.3"] {
            assert_eq!(DeliveryInfo::parse(reply), None, "{reply}");
        }
    }

    #[test]
    fn stored_headers_are_read() {
        let headers = parse_headers("NATS/1.0\r\nNats-Msg-Id: a:b\r\nA:  wörld \r\n\r\n");
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all, [("A", "wörld"), ("Nats-Msg-Id", "a:b")]);
    }

    proptest! {
        #[test]
        fn i6_any_subject_of_another_program_becomes_one(text in "\\PC*|.*", count in 1usize..300) {
            let _ = subject(&text);
            let _ = subject(&format!("{text}.").repeat(count));
            let _ = DeliveryInfo::parse(&text);
        }
    }
}
