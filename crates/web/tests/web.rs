//! The dashboard's server, asked over real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::{Response, StatusCode};
use tokio_util::sync::CancellationToken;
use wingbeat_flow::{Books, Counts};
use wingbeat_log::{Access, Log, LogUrl, Refusal, StreamConfig};
use wingbeat_record::{Record, Subject, SubjectFilter};
use wingbeat_web::{
    Analyst, AnalystCell, Hub, Readiness, Server, SourceState, SourceStatus, Sources, Streams,
    WebSettings,
};

struct Running {
    log: Arc<dyn Log>,
    address: SocketAddr,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn filter(text: &str) -> SubjectFilter {
    SubjectFilter::new(text).unwrap()
}

async fn start(records_max: Option<u64>, before: &[String]) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let log = LogUrl::Embedded(directory.path().to_owned()).open(Access::Write).await.unwrap();
    let posts = StreamConfig { records_max, ..StreamConfig::new("posts", vec![filter("e.>")]) };
    log.ensure_stream(&posts).await.unwrap();
    log.ensure_stream(&StreamConfig::new("events", vec![filter("events.>")])).await.unwrap();
    publish(&log, before).await;
    serve(Arc::clone(&log), directory).await
}

async fn serve(log: Arc<dyn Log>, directory: tempfile::TempDir) -> Running {
    let streams = Streams {
        posts: ("posts".to_owned(), filter("e.>")),
        deletions: ("events".to_owned(), filter("events.delete")),
    };
    let status = SourceStatus {
        kind: "simulator".to_owned(),
        spec: "simulator".to_owned(),
        simulated: true,
        state: SourceState::Running,
        message: None,
        host: None,
        gaps: 0,
    };
    let (_, source) = tokio::sync::watch::channel(status);
    let counts = Counts {
        received: 5,
        emitted: 4,
        filtered: BTreeMap::from([("low_confidence".to_owned(), 1)]),
        ..Counts::default()
    };
    let books = vec![Books::restore("enrich", counts)];
    let sources = Sources { own: books.clone(), books, source };
    let hub = Hub::open(Arc::clone(&log), streams, sources).await.unwrap();
    let settings = WebSettings { port: 0, clients_max: 3, ..WebSettings::default() };
    let server = Server::bind(&settings).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    let (reading, token) = (Arc::clone(&hub), stop.clone());
    tokio::spawn(async move { reading.run(token).await.unwrap() });
    let readiness = Arc::new(Readiness::waiting_for("log", "embedded:test"));
    readiness.go_on();
    let hub = Arc::new(OnceLock::from(hub));
    tokio::spawn(server.serve(hub, "embedded:test".to_owned(), readiness, stop.clone()));
    Running { log, address, stop, _directory: directory }
}

fn post(number: usize, mood: &str, topic: &str) -> String {
    format!(
        r#"{{"uri":"at://a/{number}","text":"{number}","sentiment":{{"sentiment":"{mood}"}},"topics":{{"topics":["{topic}"]}}}}"#
    )
}

async fn publish(log: &Arc<dyn Log>, payloads: &[String]) {
    let subject = Subject::new("e.x").unwrap();
    let records = payloads.iter().map(|p| Record::new(subject.clone(), p.clone())).collect();
    for answer in log.publish(records).await {
        answer.unwrap();
    }
}

/// Reads server-sent events; comments and `retry` are passed over.
struct Events {
    response: Response,
    buffer: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    name: String,
    id: Option<u64>,
    data: String,
}

impl Running {
    async fn get(&self, path: &str) -> Response {
        client().get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn events(&self, query: &str) -> Events {
        let response = self.get(&format!("/api/stream{query}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { response, buffer: String::new() }
    }
}

impl Events {
    async fn next(&mut self) -> Event {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                if let Some(data) = field("data: ") {
                    let id = field("id: ").map(|id| id.parse().unwrap());
                    return Event { name: field("event: ").unwrap_or_default(), id, data };
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            let chunk = chunk.await.expect("nothing came").unwrap().expect("the stream ended");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of that name; others are passed over.
    async fn next_named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name {
                return event;
            }
        }
    }

    async fn posts(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.next_named("").await.id.unwrap());
        }
        ids
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_gets_recent_posts_first_and_then_what_comes() {
    let before: Vec<String> = (1..=40).map(|n| post(n, "positive", "sports")).collect();
    let running = start(None, &before).await;
    let mut events = running.events("").await;
    assert_eq!(events.posts(25).await, (16..=40).collect::<Vec<_>>());
    publish(&running.log, &[post(41, "neutral", "music")]).await;
    let event = events.next_named("").await;
    assert_eq!((event.id, event.data), (Some(41), post(41, "neutral", "music")));
    let mut none = running.events("?backfill=0").await;
    publish(&running.log, &[post(42, "neutral", "music")]).await;
    assert_eq!(none.posts(1).await, [42]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_choose_by_mood_and_by_any_of_the_topics() {
    let running = start(None, &[]).await;
    let mut negative = running.events("?sentiment=negative").await;
    let mut music = running.events("?topic=music&sentiment=positive").await;
    let mut unscored = running.events("?sentiment=unscored").await;
    let two_topics = r#"{"sentiment":{"sentiment":"positive"},"topics":{"topics":["sports","music"],"top_topic":"sports"}}"#;
    publish(
        &running.log,
        &[
            post(1, "positive", "sports"),
            post(2, "negative", "music"),
            two_topics.to_owned(),
            r#"{"text":"x","sentiment":null,"topics":null}"#.to_owned(),
            "not even json\r\n\r\nevent: forged".to_owned(),
        ],
    )
    .await;
    assert_eq!(negative.posts(1).await, [2]);
    assert_eq!(music.posts(1).await, [3]);
    assert_eq!(unscored.posts(2).await, [4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_browser_resumes_where_it_was_and_is_told_what_it_can_not_have() {
    let before: Vec<String> = (1..=30).map(|n| post(n, "positive", "sports")).collect();
    let running = start(Some(20), &before).await;
    let url = format!("http://{}/api/stream", running.address);
    let request = client().get(url).header("Last-Event-ID", "24");
    let response = request.send().await.unwrap();
    let mut events = Events { response, buffer: String::new() };
    assert_eq!(events.posts(6).await, (25..=30).collect::<Vec<_>>());
    // 1 to 10 have expired.
    let mut late = running.events("?last_event_id=4").await;
    let gap = late.next_named("gap").await;
    assert_eq!(
        gap.data,
        r#"{"from":5,"reason":"expired","to":10}"#.replace(
            r#""from":5,"reason":"expired","to":10"#,
            r#""from":5,"to":10,"reason":"expired""#
        )
    );
    assert_eq!(late.posts(20).await, (11..=30).collect::<Vec<_>>());
    publish(&running.log, &[post(31, "positive", "sports")]).await;
    assert_eq!((events.posts(1).await, late.posts(1).await), (vec![31], vec![31]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_a_deleted_post_leaves_the_screens() {
    let before: Vec<String> = (1..=3).map(|n| post(n, "positive", "sports")).collect();
    let running = start(None, &before).await;
    let mut events = running.events("").await;
    events.posts(3).await;
    let deletion = Record::new(Subject::new("events.delete").unwrap(), r#"{"uri":"at://a/2"}"#);
    running.log.publish(vec![deletion]).await.pop().unwrap().unwrap();
    assert_eq!(events.next_named("deleted").await.data, r#"{"uri":"at://a/2"}"#);
    assert_eq!(running.events("").await.posts(2).await, [1, 3]);
    // A browser that was away when it happened hears of it when it comes back.
    let mut back = running.events("?last_event_id=3").await;
    assert_eq!(back.next_named("deleted").await.data, r#"{"uri":"at://a/2"}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_history_status_and_metrics_say_the_same() {
    let before: Vec<String> =
        ["positive", "positive", "negative"].iter().map(|mood| post(1, mood, "sports")).collect();
    let running = start(None, &before).await;
    let stats = running.events("").await.next_named("stats").await;
    let stats: serde_json::Value = serde_json::from_str(&stats.data).unwrap();
    assert_eq!(stats["moods"]["positive"], 2);
    assert_eq!(stats["topics"][0]["count"], 3);
    assert_eq!(stats["books"][0]["filtered"]["low_confidence"], 1);
    assert_eq!(stats["books"][0]["imbalance"], 0);
    assert_eq!(
        (&stats["source"]["simulated"], &stats["source"]["state"]),
        (&true.into(), &"running".into())
    );
    let history: serde_json::Value = running.get("/api/history").await.json().await.unwrap();
    let total: u64 = history["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["positive"].as_u64().unwrap())
        .sum();
    assert_eq!(total, 2);
    let status: serde_json::Value = running.get("/api/status").await.json().await.unwrap();
    assert_eq!(
        (&status["log"], &status["streams"][1]["records"]),
        (&"embedded:test".into(), &3.into())
    );
    let metrics = running.get("/metrics").await.text().await.unwrap();
    for line in [
        // This process has done nothing yet; the flow's books go on from earlier runs.
        "wingbeat_filtered_total{flow=\"enrich\",reason=\"low_confidence\"} 0",
        "wingbeat_flow_books{flow=\"enrich\",outcome=\"emitted\",reason=\"\"} 4",
        "wingbeat_flow_books{flow=\"enrich\",outcome=\"filtered\",reason=\"low_confidence\"} 1",
        "wingbeat_books_imbalance{flow=\"enrich\"} 0",
        "wingbeat_log_connected 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(running.get("/ready").await.status(), StatusCode::OK);
    assert_eq!(running.get("/health").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_bad_requests_are_answered_and_seats_are_given_back() {
    let running = start(None, &[]).await;
    for query in ["?sentiment=happy", "?backfill=100000", "?backfill=x", "?subject=%3E", "?topic="]
    {
        let response = running.get(&format!("/api/stream{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let body: serde_json::Value = response.json().await.unwrap();
        assert!(body["error"].is_string(), "{query}");
    }
    assert_eq!(running.get("/api/history?minutes=0").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(running.get("/nowhere").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(running.get("/..%2f..%2fetc/passwd").await.status(), StatusCode::NOT_FOUND);
    let page = running.get("/").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");

    let watching = [running.events("").await, running.events("").await, running.events("").await];
    let refused = running.get("/api/stream").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    drop(watching);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while running.get("/api/stream").await.status() != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "the seats are never given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_slow_browser_loses_its_own_backlog_visibly_and_holds_nobody_up() {
    let running = start(None, &[]).await;
    let mut slow = running.events("?backfill=0").await;
    slow.next().await;
    let mut quick = running.events("?backfill=0").await;
    // Far more than the sockets' buffers hold, while the slow one reads nothing.
    let filler = "x".repeat(20_000);
    for batch in 0..40 {
        let payloads: Vec<String> =
            (0..50).map(|n| format!(r#"{{"text":"{filler}","n":{}}}"#, batch * 50 + n)).collect();
        publish(&running.log, &payloads).await;
        assert_eq!(quick.posts(50).await.len(), 50);
    }
    let dropped = slow.next_named("dropped").await;
    let dropped: serde_json::Value = serde_json::from_str(&dropped.data).unwrap();
    assert!(dropped["count"].as_u64().unwrap() > 0);
    let next = slow.posts(1).await[0];
    publish(&running.log, &[post(1, "positive", "sports")]).await;
    while slow.posts(1).await[0] < 2001 {}
    assert!(next < 2001);
}

/// A client. The program's own TLS library is without a provider until one is chosen.
fn client() -> reqwest::Client {
    // Another test may have chosen it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Says how long a text is; it is busy where that is "busy".
struct Measuring;

impl Analyst for Measuring {
    fn request_bytes_max(&self) -> usize {
        100
    }

    fn analyze(&self, request: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let answer = match &request[..] {
            b"{\"text\":\"busy\"}" => Err(Refusal { code: 503, message: "busy".to_owned() }),
            request => Ok(format!("{{\"bytes\":{}}}", request.len()).into()),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A server that has no log yet, and whoever will answer about texts.
async fn serve_analyst(cell: Option<AnalystCell>) -> (String, CancellationToken) {
    let settings = WebSettings { port: 0, ..WebSettings::default() };
    let mut server = Server::bind(&settings).await.unwrap();
    if let Some(cell) = cell {
        server = server.with_analyst(cell);
    }
    let (url, stop) =
        (format!("http://{}/api/analyze", server.address()), CancellationToken::new());
    let readiness = Arc::new(Readiness::waiting_for("log", "embedded:test"));
    tokio::spawn(server.serve(Arc::default(), String::new(), readiness, stop.clone()));
    (url, stop)
}

#[tokio::test]
async fn i6_texts_are_analysed_and_bad_requests_refused() {
    let ask = async |url: &str, kind: &str, body: &str| {
        let request = client().post(url).header("content-type", kind).body(body.to_owned());
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.json::<serde_json::Value>().await.unwrap())
    };
    let json = "application/json; charset=utf-8";
    let cell = AnalystCell::default();
    let (url, stop) = serve_analyst(Some(Arc::clone(&cell))).await;
    let (status, headers, body) = ask(&url, json, "{}").await;
    assert_eq!((status, &headers["retry-after"]), (503, &"2".parse().unwrap()));
    assert_eq!(body["error"], "the models are not loaded yet");
    cell.get_or_init(|| Arc::new(Measuring));
    let (status, headers, body) = ask(&url, json, r#"{"text":"hello"}"#).await;
    assert_eq!((status, &body["bytes"]), (200, &16.into()));
    assert_eq!(headers["content-type"], "application/json");
    let long = format!("{{{}}}", "x".repeat(100));
    for (kind, body, expected) in [
        // As a page of another site may send it.
        ("text/plain", "{}", 415),
        ("application/x-www-form-urlencoded", "{}", 415),
        (json, "", 400),
        (json, "hello", 400),
        (json, "[\"hello\"]", 400),
        (json, &long, 413),
        (json, r#"{"text":"busy"}"#, 503),
    ] {
        let (status, _, answer) = ask(&url, kind, body).await;
        assert_eq!(status, expected, "{body}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(client().get(&url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    stop.cancel();
    let (url, stop) = serve_analyst(None).await;
    assert_eq!(ask(&url, json, "{}").await.0, 404);
    stop.cancel();
}
