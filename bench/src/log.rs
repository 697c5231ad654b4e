//! The embedded log's publishing, acknowledged after fsync, beside a plain program that writes and
//! `fdatasync`s the same bytes in the same group sizes, and beside fjall.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use wingbeat_log::{Access, Log, LogUrl, Start, StreamConfig};
use wingbeat_record::{MessageId, Record, Subject, SubjectFilter};

use crate::Outcome;

const RECORD_BYTES: usize = 500;
const RECORDS: usize = 1_000_000;
/// Records that are acknowledged together.
const GROUPS: [usize; 4] = [64, 512, 2048, 8192];
const ROUNDS: usize = 3;

pub(crate) fn run(directory: Option<&str>) -> Outcome<()> {
    let base = directory.map_or_else(std::env::temp_dir, Into::into);
    println!(
        "{RECORDS} records of {RECORD_BYTES} bytes in {}, best of {ROUNDS} rounds\n",
        base.display()
    );
    println!(
        "| group | plain MB/s | embedded MB/s | embedded records/s | of plain | with ids | fjall of plain |"
    );
    println!("|---|---|---|---|---|---|---|");
    for group in GROUPS {
        let count = (RECORDS / group).min(4000);
        let (mut plain, mut embedded, mut with_ids, mut fjall) = (0f64, 0f64, 0f64, 0f64);
        for _ in 0..ROUNDS {
            let scratch = tempfile::tempdir_in(&base)?;
            let rate = |elapsed: Duration| (count * group) as f64 / elapsed.as_secs_f64();
            plain = plain.max(rate(run_plain(scratch.path(), group, count)?));
            embedded = embedded.max(rate(run_embedded(scratch.path(), group, count, false)?));
            with_ids = with_ids.max(rate(run_embedded(scratch.path(), group, count, true)?));
            fjall = fjall.max(rate(run_fjall(scratch.path(), group, count)?));
        }
        let megabytes = |rate: f64| rate * RECORD_BYTES as f64 / 1e6;
        println!(
            "| {group} | {:.0} | {:.0} | {embedded:.0} | {:.2} | {:.2} | {:.2} |",
            megabytes(plain),
            megabytes(embedded),
            embedded / plain,
            with_ids / plain,
            fjall / plain,
        );
    }
    Ok(())
}

fn run_plain(directory: &Path, group: usize, count: usize) -> Outcome<Duration> {
    let path = directory.join("plain");
    let mut file = File::create(&path)?;
    let bytes = vec![b'x'; RECORD_BYTES * group];
    let start = Instant::now();
    for _ in 0..count {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let elapsed = start.elapsed();
    std::fs::remove_file(path)?;
    Ok(elapsed)
}

fn run_fjall(directory: &Path, group: usize, count: usize) -> Outcome<Duration> {
    let path = directory.join("fjall");
    let database = fjall::Database::builder(&path).open()?;
    let keyspace = database.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
    let payload = [b'x'; RECORD_BYTES];
    let start = Instant::now();
    for call in 0..count {
        let mut batch = database.batch();
        for n in 0..group {
            batch.insert(&keyspace, ((call * group + n) as u64).to_be_bytes(), payload);
        }
        batch.commit()?;
        database.persist(fjall::PersistMode::SyncData)?;
    }
    let elapsed = start.elapsed();
    drop((keyspace, database));
    std::fs::remove_dir_all(path)?;
    Ok(elapsed)
}

/// One publisher that waits for each acknowledgement before it goes on, so that the groups are the
/// same as those of the peers.
fn run_embedded(directory: &Path, group: usize, count: usize, has_ids: bool) -> Outcome<Duration> {
    let path = directory.join("embedded");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let elapsed = runtime.block_on(async {
        let log = LogUrl::Embedded(path.clone()).open(Access::Write).await?;
        let subjects = vec![SubjectFilter::new("bench.>")?];
        log.ensure_stream(&StreamConfig::new("bench", subjects)).await?;
        let elapsed = publish(&log, group, count, has_ids).await?;
        let mut reader = log.read("bench", Start::Last, &[]).await?;
        let last = reader.next(1, Duration::ZERO).await?;
        assert_eq!(last.first().map(|stored| stored.sequence), Some((group * count) as u64));
        log.close().await?;
        Outcome::Ok(elapsed)
    })?;
    std::fs::remove_dir_all(path)?;
    Ok(elapsed)
}

async fn publish(
    log: &Arc<dyn Log>,
    group: usize,
    count: usize,
    has_ids: bool,
) -> Outcome<Duration> {
    let subject = Subject::new("bench.records")?;
    let payload = vec![b'x'; RECORD_BYTES];
    let payload = bytes::Bytes::from(payload);
    let make = |call: usize| -> Vec<Record> {
        let record = |n: usize| {
            let record = Record::new(subject.clone(), payload.clone());
            if has_ids {
                record.with_id(MessageId::new(format!(
                    "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/{}:bafyrei",
                    call * group + n
                )))
            } else {
                record
            }
        };
        (0..group).map(record).collect()
    };
    let start = Instant::now();
    for call in 0..count {
        for answer in log.publish(make(call)).await {
            answer?;
        }
    }
    Ok(start.elapsed())
}
