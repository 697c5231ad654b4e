//! Files: every line is an item, nothing is lost, and damage is named.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use wingbeat_source::{Content, Item, LINE_BYTES_MAX, OpenOptions, SourceError, SourceSpec, open};

use crate::common::{all_shown, open_file, open_spec, read_all};

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

async fn items(path: &Path, resume: Option<u64>) -> Vec<Item> {
    let (items, error) = read_all(open_file("file", path, resume).as_mut()).await;
    assert!(error.is_none(), "{error:?}");
    items
}

/// The payloads of items that are all posts.
fn payloads(items: &[Item]) -> Vec<&[u8]> {
    let payload = |item: &'_ Item| match &item.content {
        Content::Post(_) => {}
        other => panic!("{other:?}"),
    };
    items.iter().for_each(payload);
    let posts = items.iter().filter_map(|item| match &item.content {
        Content::Post(post) => Some(&post.payload[..]),
        _ => None,
    });
    posts.collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the `zstd` program writes it.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_line_is_an_item_whatever_it_holds() {
    let folder = TempDir::new().unwrap();
    let bytes = b"\xef\xbb\xbf{\"a\":1}\r\n\n\xff\xfe\nnot json\n{\"a\":1}\n[]\n  \nlast\r";
    let path = write(&folder, "posts", bytes);
    let items = items(&path, None).await;
    let expected: [&[u8]; 8] =
        [b"{\"a\":1}", b"", b"\xff\xfe", b"not json", b"{\"a\":1}", b"[]", b"  ", b"last\r"];
    assert_eq!(payloads(&items), expected);
    assert_eq!(items[0].position, 12);
    assert_eq!(items[7].position, bytes.len() as u64);
}

#[tokio::test]
async fn there_are_as_many_items_as_lines() {
    let folder = TempDir::new().unwrap();
    for (bytes, expected) in [
        (&b""[..], 0),
        (b"\n", 1),
        (b"a", 1),
        (b"a\n", 1),
        (b"a\n\n", 2),
        (b"a\r\nb", 2),
        (b"\xef\xbb\xbf\n", 1),
        (b"\xef\xbb\xbf", 0),
    ] {
        let path = write(&folder, "posts", bytes);
        assert_eq!(items(&path, None).await.len(), expected, "{bytes:?}");
    }
}

#[tokio::test]
async fn identity_and_author_come_from_the_line() {
    let folder = TempDir::new().unwrap();
    let lines = concat!(
        "{\"uri\":\"at://x\",\"cid\":\"c\",\"author\":\"did:plc:a\",\"did\":\"did:plc:b\"}\n",
        "{\"uri\":\"at://x\",\"did\":\"did:plc:b\"}\n",
        "{\"uri\":\"at://x\",\"did\":\"did:plc:b\"}\n",
        "{\"uri\":\"at://x\",\"cid\":7,\"author\":8}\n",
        "garbage\n",
        "garbage\n",
    );
    let path = write(&folder, "posts", lines.as_bytes());
    let items = items(&path, None).await;
    let posts: Vec<_> = items
        .iter()
        .map(|item| match &item.content {
            Content::Post(post) => (post.id.as_str().to_owned(), post.document.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(posts[0], ("at://x:c".to_owned(), true));
    assert!(posts[1].0.starts_with("sha256:") && posts[1].0 == posts[2].0);
    assert!(posts[3].0.starts_with("sha256:") && posts[3].1);
    // Each bad line is a dead letter of its own, and the same one when it is read again.
    assert!(posts[4].0.starts_with("file:") && posts[4].0 != posts[5].0);
    assert!(!posts[4].1, "no object");
    let again = self::items(&path, None).await;
    assert_eq!(all_shown(&items), all_shown(&again));
}

#[tokio::test]
async fn compression_is_recognised_by_content() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (b"{\"n\":1}\n{\"n\"", b":2}\n{\"n\":3}\n");
    let plain = [&first[..], second].concat();
    let expected = all_lines(&items(&write(&folder, "plain.gz", &plain), None).await);
    assert_eq!(expected.len(), 3);
    // Two members of gzip and two frames of zstd: a line may go over from one to the next.
    let gzipped = [gzip(first), gzip(second)].concat();
    let zstandard = [zstd(first), zstd(second)].concat();
    for bytes in [gzipped, zstandard] {
        let path = write(&folder, "posts.txt", &bytes);
        let items = items(&path, None).await;
        assert_eq!(all_lines(&items), expected);
    }
}

/// Positions and payloads.
fn all_lines(items: &[Item]) -> Vec<(u64, Vec<u8>)> {
    items.iter().zip(payloads(items)).map(|(item, line)| (item.position, line.to_vec())).collect()
}

#[tokio::test]
async fn a_source_that_resumes_goes_on_exactly_there() {
    let folder = TempDir::new().unwrap();
    let lines: String = (0..500).map(|n| format!("{{\"n\":{n}}}\r\nbad {n}\n")).collect();
    for (name, bytes) in [
        ("plain", lines.clone().into_bytes()),
        ("gzip", gzip(lines.as_bytes())),
        ("zstd", zstd(lines.as_bytes())),
    ] {
        let path = write(&folder, name, &bytes);
        let all = items(&path, None).await;
        assert_eq!(all.len(), 1_000);
        for resume in [1, 2, 313, 999, 1_000] {
            let rest = items(&path, Some(all[resume - 1].position)).await;
            assert_eq!(all_shown(&rest), all_shown(&all[resume..]), "{name} {resume}");
        }
    }
}

#[tokio::test]
async fn a_file_that_has_grown_is_read_on() {
    let folder = TempDir::new().unwrap();
    let beginning = "x".repeat(5_000) + "\n{\"n\":1}";
    let path = write(&folder, "posts", beginning.as_bytes());
    let source = open_file("file", &path, None);
    let position = items(&path, None).await.last().unwrap().position;
    // The first growth ends the line that was the last one.
    write(&folder, "posts", format!("{beginning}\r\n{{\"n\":2}}\n").as_bytes());
    let rest = items(&path, Some(position)).await;
    assert_eq!(payloads(&rest), [b"{\"n\":2}"]);
    // What was read before is the same still: positions mean the same.
    let grown = open_file("file", &path, None);
    assert_eq!(source.description().fingerprint, grown.description().fingerprint);
    write(&folder, "posts", b"another");
    let other = open_file("file", &path, None);
    assert_ne!(source.description().fingerprint, other.description().fingerprint);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_dead_and_the_next_one_comes() {
    let folder = TempDir::new().unwrap();
    let exact = vec![b'a'; LINE_BYTES_MAX];
    let over = vec![b'b'; LINE_BYTES_MAX + 1];
    let mut far_over = vec![b'c'; 5 * LINE_BYTES_MAX];
    far_over[4_000_000] = b'\r';
    let bytes = [&exact, &b"\r\n"[..], &over, b"\r\n", &far_over, b"\r\n", b"next\n"].concat();
    let path = write(&folder, "posts", &bytes);
    let items = items(&path, None).await;
    assert_eq!(items.len(), 4);
    assert!(matches!(&items[0].content, Content::Post(post) if post.payload == exact));
    for (item, line, number) in [(&items[1], &over, 2), (&items[2], &far_over, 3)] {
        let Content::Dead { original, cut_from, cause, .. } = &item.content else { panic!() };
        assert_eq!(original, &line[..64 * 1024]);
        let hash: String = Sha256::digest(line).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(*cut_from, Some((line.len() as u64, hash)));
        assert_eq!(cause.kind.as_str(), "too_large");
        let place = format!("{} line {number}: ", path.display());
        assert!(cause.message.starts_with(&place), "{}", cause.message);
    }
    assert!(matches!(&items[3].content, Content::Post(post) if post.payload == "next"));
    // A resume behind some of it still knows the line's number.
    let rest = self::items(&path, Some(items[0].position)).await;
    assert_eq!(all_shown(&rest), all_shown(&items[1..]));
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_file_is_read() {
    let folder = TempDir::new().unwrap();
    // Numbers that don't compress to nothing.
    let line = |n: u64| format!("{{\"n\":{}}}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let lines: String = (0..20_000).map(line).collect();
    for (name, bytes) in [("gzip", gzip(lines.as_bytes())), ("zstd", zstd(lines.as_bytes()))] {
        let half = bytes.len() / 2;
        let mut flipped = bytes.clone();
        flipped[half] ^= 0xff;
        let behind = [&bytes[..], b"something else"].concat();
        for (damage, bytes) in [("cut", &bytes[..half]), ("flipped", &flipped), ("behind", &behind)]
        {
            let path = write(&folder, name, bytes);
            let (items, error) = read_all(open_file("file", &path, None).as_mut()).await;
            let Some(SourceError::Damaged { what, problem }) = error else {
                panic!("{name} {damage}: {error:?}")
            };
            assert_eq!(what, path.display().to_string());
            assert!(problem.contains("at byte "), "{problem}");
            // A flipped bit may change what comes out before it is noticed; the other two can't.
            if damage != "flipped" {
                assert!(items.len() > 1_000, "{name} {damage}: {}", items.len());
                let read = payloads(&items).join(&b'\n');
                assert!(lines.as_bytes().starts_with(&read));
            }
        }
    }
}

#[tokio::test]
async fn a_position_that_is_not_in_the_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "posts", b"a\nb\n");
    let spec = format!("file:{}", path.display());
    let error = open_spec(&spec, Some(400)).err().unwrap().to_string();
    assert!(error.contains("ends before the saved position 400"), "{error}");
}

#[test]
fn what_can_not_be_opened_is_named() {
    let folder = TempDir::new().unwrap();
    for path in [folder.path().join("absent"), folder.path().to_path_buf()] {
        let error = open_spec(&format!("file:{}", path.display()), None).err().unwrap();
        assert!(matches!(&error, SourceError::Io { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}

/// Dropping a `next` that waits loses nothing.
#[tokio::test(start_paused = true)]
async fn next_is_cancel_safe_also_at_a_rate() {
    let folder = TempDir::new().unwrap();
    let lines: String = (0..50).map(|n| format!("{n}\n")).collect();
    let path = write(&folder, "posts", lines.as_bytes());
    let spec = SourceSpec::parse(&format!("file:{}", path.display())).unwrap();
    let options = OpenOptions { rate: Some(100.0), ..OpenOptions::default() };
    let mut source = open(&spec, &options).unwrap();
    let start = tokio::time::Instant::now();
    let mut items = Vec::new();
    loop {
        // Shorter than an item takes: most of these are dropped.
        let wait = std::time::Duration::from_millis(3);
        let Ok(result) = tokio::time::timeout(wait, source.next(4)).await else { continue };
        let Some(batch) = result.unwrap() else { break };
        items.extend(batch);
    }
    let read: Vec<_> =
        payloads(&items).iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    assert_eq!(read, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(start.elapsed() >= std::time::Duration::from_millis(480));
}

/// What comes through a pipe is handed on when it comes, not when the pipe is full or closed; and
/// opening the source waits for nobody.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_read_as_it_is_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no mkfifo");
        return;
    }
    let mut source = open_file("file", &path, None);
    assert_eq!(source.description().fingerprint, None);
    let (to_writer, lines) = std::sync::mpsc::channel::<&[u8]>();
    let writer_path = path.clone();
    let writer = std::thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(writer_path).unwrap();
        while let Ok(line) = lines.recv() {
            pipe.write_all(line).unwrap();
        }
    });
    for lines in [&b"first\n"[..], b"second\nthi", b"rd\n"] {
        to_writer.send(lines).unwrap();
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        let mut items = Vec::new();
        while items.len() < count {
            items.extend(source.next(10).await.unwrap().unwrap());
        }
        assert_eq!(items.len(), count);
    }
    drop(to_writer);
    assert!(source.next(10).await.unwrap().is_none());
    writer.join().unwrap();
    let spec = format!("file:{}", path.display());
    let error = open_spec(&spec, Some(4)).err().unwrap().to_string();
    assert!(error.contains("can't be resumed"), "{error}");
    assert!(open_spec("file:-", Some(4)).is_err());
}
