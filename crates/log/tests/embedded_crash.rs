//! What the embedded log keeps when its process dies: at each named crash point, and by
//! `kill -9` at any instant.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use wingbeat_log::{
    Access, ConsumerConfig, Log, LogUrl, Purge, Settle, Start, StreamConfig, crashpoint,
};
use wingbeat_record::{MessageId, Record, Subject, SubjectFilter};

/// Tells the child where to work.
const DIRECTORY: &str = "WINGBEAT_CRASH_TEST_DIRECTORY";

async fn open(directory: &Path) -> Arc<dyn Log> {
    LogUrl::Embedded(directory.to_owned()).open(Access::Write).await.unwrap()
}

/// The victim: publishes, consumes, deletes and saves a cursor for ever, and says on stdout what
/// was acknowledged. Not a test by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let log = open(Path::new(&directory)).await;
    let filter = |text| vec![SubjectFilter::new(text).unwrap()];
    // Small segments, so that new files are part of the game.
    let config =
        StreamConfig { bytes_max: Some(8 << 20), ..StreamConfig::new("in", filter("in.>")) };
    log.ensure_stream(&config).await.unwrap();
    let consumer = log.consumer("in", &ConsumerConfig::new("c")).await.unwrap();
    let bucket = log.bucket("b").await.unwrap();
    let start = bucket.get("cursor").await.unwrap();
    let start: u64 = start.map_or(0, |e| String::from_utf8_lossy(&e.value).parse().unwrap());
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{line}").unwrap();
        out.flush().unwrap();
    };
    for call in start.. {
        let records = (0..20).map(|n| {
            let id = call * 20 + n;
            let subject = Subject::new("in.x").unwrap();
            Record::new(subject, vec![b'x'; 2000]).with_id(MessageId::new(id.to_string()))
        });
        for (n, ack) in (0u64..).zip(log.publish(records.collect()).await) {
            say(format!("published {} {}", call * 20 + n, ack.unwrap().sequence));
        }
        let deliveries = consumer.fetch(15, Duration::from_secs(5)).await.unwrap();
        let acks: Vec<_> = deliveries.iter().map(|d| (d.token, Settle::Ack)).collect();
        consumer.settle(&acks).await.unwrap();
        if let Some(delivery) = deliveries.first().filter(|_| call % 3 == 0) {
            let sequence = delivery.stored.sequence;
            say(format!("deleting {sequence} 0"));
            log.delete("in", sequence).await.unwrap();
            say(format!("deleted {sequence} 0"));
        }
        if call % 3 == 1 {
            // A stream that comes and goes, and one that is purged.
            for name in ["gone", "purged"] {
                let subjects = vec![SubjectFilter::new(format!("{name}.>").as_str()).unwrap()];
                let config = StreamConfig::new(name, subjects);
                log.ensure_stream(&config).await.unwrap();
                let subject = Subject::new(format!("{name}.x")).unwrap();
                let records = (0..3).map(|_| Record::new(subject.clone(), vec![b'y'; 2000]));
                for ack in log.publish(records.collect()).await {
                    ack.unwrap();
                }
            }
            let last = log.stream("purged").await.unwrap().last;
            log.purge("purged", &Purge::default()).await.unwrap();
            say(format!("purged {last} 0"));
            log.remove_stream("gone").await.unwrap();
        }
        bucket.put("cursor", (call + 1).to_string().into()).await.unwrap();
        say(format!("cursor {} 0", call + 1));
    }
}

fn start_victim(directory: &Path, crashpoint: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "victim", "--nocapture"]).env(DIRECTORY, directory);
    if let Some(point) = crashpoint {
        command.env(crashpoint::VARIABLE, point);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What the victims have been told was done.
#[derive(Default)]
struct Told {
    published: BTreeMap<u64, u64>,
    deleting: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
    cursor: u64,
    purged: Option<u64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(first), Some(second)) = (number(), number()) else { return };
        match kind {
            "published" => {
                let before = self.published.insert(first, second);
                assert!(before.is_none_or(|sequence| sequence == second), "{first} stored twice");
            }
            "deleting" => _ = self.deleting.insert(first),
            "deleted" => _ = self.deleted.insert(first),
            "purged" => self.purged = Some(first),
            "cursor" => self.cursor = first,
            _ => {}
        }
    }

    /// Opens what the victim left behind and compares.
    async fn check(&self, directory: &Path) {
        let log = open(directory).await;
        assert_eq!(log.problems().await.unwrap(), [""; 0]);
        let Ok(info) = log.stream("in").await else {
            assert!(self.published.is_empty());
            return;
        };
        assert!(info.lost.is_empty(), "{:?}", info.lost);
        if let Some(last) = self.purged {
            assert!(log.stream("purged").await.unwrap().first > last, "{last} was purged");
        }
        let mut by_id = BTreeMap::new();
        let mut reader = log.read("in", Start::First, &[]).await.unwrap();
        loop {
            let records = reader.next(1000, Duration::ZERO).await.unwrap();
            if records.is_empty() {
                break;
            }
            for stored in records {
                let id: u64 = stored.record.id().unwrap().parse().unwrap();
                assert_eq!(stored.record.payload.len(), 2000);
                assert_eq!(by_id.insert(id, stored.sequence), None, "{id} is there twice");
            }
        }
        for (id, sequence) in &self.published {
            let is_expired = *sequence < info.first;
            if self.deleted.contains(sequence) {
                assert!(!by_id.contains_key(id), "{id} was deleted");
            } else if !is_expired && !self.deleting.contains(sequence) {
                assert_eq!(by_id.get(id), Some(sequence), "{id} was acknowledged");
            }
        }
        let cursor = log.bucket("b").await.unwrap().get("cursor").await.unwrap();
        let cursor = cursor.map_or(0, |e| String::from_utf8_lossy(&e.value).parse().unwrap());
        assert!(cursor >= self.cursor, "the cursor went back from {} to {cursor}", self.cursor);
        log.close().await.unwrap();
    }
}

fn hear_until_dead(victim: &mut Child, told: &mut Told) {
    let out = BufReader::new(victim.stdout.take().unwrap());
    // A line that was cut by the kill is no promise.
    for line in out.lines().map_while(Result::ok) {
        told.hear(&line);
    }
    assert!(!victim.wait().unwrap().success(), "the victim was meant to die");
}

#[tokio::test]
async fn i10_every_crash_point_is_survived() {
    for point in crashpoint::names() {
        let directory = tempfile::tempdir().unwrap();
        let mut told = Told::default();
        // A snapshot is written on opening, and then only after megabytes of changes.
        let is_at_start = point.starts_with("snapshot");
        let visits: &[u32] = if is_at_start { &[1] } else { &[1, 2, 3, 7] };
        for visit in visits {
            let mut victim = start_victim(directory.path(), Some(&format!("{point}:{visit}")));
            hear_until_dead(&mut victim, &mut told);
            told.check(directory.path()).await;
        }
        assert!(is_at_start || !told.published.is_empty(), "{point}: the victim never worked");
    }
}

#[tokio::test]
async fn i10_kill_9_at_any_instant_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    // The instants come from the victim's own progress, spread by a fixed pseudo-random rule.
    let mut lines = 7u64;
    for _ in 0..12 {
        lines = (lines * 5 + 131) % 397;
        let mut victim = start_victim(directory.path(), None);
        let mut out = BufReader::new(victim.stdout.take().unwrap());
        let mut line = String::new();
        for _ in 0..lines * 2 {
            line.clear();
            out.read_line(&mut line).unwrap();
            told.hear(line.trim_end());
        }
        victim.kill().unwrap();
        victim.stdout = None;
        for line in out.lines().map_while(Result::ok) {
            told.hear(&line);
        }
        victim.wait().unwrap();
        told.check(directory.path()).await;
    }
    assert!(told.published.len() > 500, "{}", told.published.len());
}
