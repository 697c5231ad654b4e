//! Asking services, and being one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use wingbeat_log::{LogError, LogUrl, NatsRequests, NatsService, Refusal, ServiceSpec};
use wingbeat_record::Subject;

use super::server::{Server, Version};

const WAIT: Duration = Duration::from_secs(20);

fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

async fn connect(server: &Server) -> NatsRequests {
    let LogUrl::Nats(url) = server.url("") else { panic!() };
    NatsRequests::open(&url).await.unwrap()
}

fn spec() -> ServiceSpec {
    ServiceSpec {
        name: "upper",
        version: "1.2.3",
        description: "Makes it loud",
        endpoint: "make",
        subject: subject("upper.make"),
    }
}

/// Answers in capitals, and refuses what is no text.
fn run(mut service: NatsService) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(query) = service.next().await {
            let answer = match std::str::from_utf8(query.payload()) {
                Ok(text) => Ok(text.to_uppercase().into()),
                Err(_) => Err(Refusal { code: 400, message: "no\r\ntext".to_owned() }),
            };
            // Who asked without a place for the answer gets none.
            let is_awaited = query.is_awaited();
            assert_eq!(query.answer(answer).await.is_ok(), is_awaited);
        }
    })
}

async fn ask(requests: &NatsRequests, to: &str, payload: &'static [u8]) -> serde_json::Value {
    let answer = requests.ask(&subject(to), Bytes::from_static(payload), WAIT).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_answers_refuses_and_is_found() {
    for version in [Version::Current, Version::V2_9] {
        let Some(server) = Server::start(version, "").await else { continue };
        let (here, there) = (connect(&server).await, connect(&server).await);
        let running = run(here.serve(&spec()).await.unwrap());
        let answer = there.ask(&subject("upper.make"), "loud".into(), WAIT).await.unwrap();
        assert_eq!((&answer.payload[..], answer.refusal()), (&b"LOUD"[..], None));
        let bytes = Bytes::from_static(b"\xff");
        let answer = there.ask(&subject("upper.make"), bytes, WAIT).await.unwrap();
        let refusal = Refusal { code: 400, message: "no  text".to_owned() };
        assert_eq!((&answer.payload[..], answer.refusal()), (&b""[..], Some(refusal)));

        let info = ask(&there, "$SRV.INFO.upper", b"").await;
        assert_eq!(
            (&info["version"], &info["description"]),
            (&"1.2.3".into(), &"Makes it loud".into())
        );
        assert_eq!(info["endpoints"][0]["subject"], "upper.make");
        let stats = ask(&there, "$SRV.STATS.upper", b"").await;
        let endpoint = &stats["endpoints"][0];
        assert_eq!((&endpoint["num_requests"], &endpoint["num_errors"]), (&2.into(), &1.into()));
        let (ping, wait) = (subject("$SRV.PING"), Duration::from_millis(200));
        assert_eq!(there.ask_all(&ping, Bytes::new(), wait).await.unwrap().len(), 1);
        running.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answers_that_is_said() {
    let Some(server) = Server::start(Version::Current, "").await else { return };
    let requests = connect(&server).await;
    let nobody = subject("nobody.there");
    for error in [
        requests.ask(&nobody, Bytes::new(), WAIT).await.unwrap_err(),
        requests.ask_all(&nobody, Bytes::new(), WAIT).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "can't ask `nobody.there`: nobody answers there");
    }
    // One that listens and says nothing.
    let silent = connect(&server).await;
    let _service = silent.serve(&spec()).await.unwrap();
    let error = requests.ask(&spec().subject, Bytes::new(), Duration::from_millis(50)).await;
    assert!(error.unwrap_err().to_string().ends_with("no answer came within 50ms"));
    let large = Bytes::from(vec![b'x'; 2_000_000]);
    let error = requests.ask(&spec().subject, large, WAIT).await.unwrap_err();
    assert!(matches!(error, LogError::TooLarge { max: 1_048_576, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stops_answers_what_has_come_and_no_more() {
    let Some(server) = Server::start(Version::Current, "").await else { return };
    let (here, there) = (connect(&server).await, connect(&server).await);
    let mut service = here.serve(&spec()).await.unwrap();
    let (to, wait) = (spec().subject, WAIT);
    let asking = there.ask(&to, "late".into(), wait);
    tokio::pin!(asking);
    let query = tokio::select! {
        query = service.next() => query.unwrap(),
        _ = &mut asking => panic!("nobody has answered yet"),
    };
    service.stop().await;
    assert!(service.next().await.is_none());
    query.answer(Ok("in time".into())).await.unwrap();
    here.close().await;
    assert_eq!(asking.await.unwrap().payload, "in time");
    let error = there.ask(&to, Bytes::new(), wait).await.unwrap_err();
    assert!(error.to_string().ends_with("nobody answers there"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_there_again_after_the_server() {
    let Some(mut server) = Server::start(Version::Current, "").await else { return };
    let here = connect(&server).await;
    let running = run(here.serve(&spec()).await.unwrap());
    server.kill();
    server.run().await;
    let there = connect(&server).await;
    // Until it is connected again, nobody answers.
    let answer = loop {
        match there.ask(&spec().subject, "again".into(), WAIT).await {
            Ok(answer) => break answer,
            Err(LogError::Unavailable { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(answer.payload, "AGAIN");
    assert!(running.now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_may_not_listen_is_told_so() {
    let permissions = |denied: &str| {
        let denied = format!("{{ subscribe: {{ deny: [{denied:?}] }} }}");
        format!("authorization {{ users: [{{ user: a, password: b, permissions: {denied} }}] }}")
    };
    let Some(mut server) = Server::start(Version::Current, &permissions("upper.>")).await else {
        return;
    };
    server.login = "a:b@".to_owned();
    let error = connect(&server).await.serve(&spec()).await.unwrap_err();
    assert!(matches!(error, LogError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("upper.make"), "{error}");
    // One that can't be found answers.
    let Some(mut server) = Server::start(Version::Current, &permissions("$SRV.>")).await else {
        return;
    };
    server.login = "a:b@".to_owned();
    let requests = connect(&server).await;
    let running = run(requests.serve(&spec()).await.unwrap());
    let answer = requests.ask(&spec().subject, "loud".into(), WAIT).await.unwrap();
    assert_eq!(answer.payload, "LOUD");
    running.abort();
}

/// Whoever writes the protocol by hand can name any place for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_request_with_no_or_a_senseless_place_for_its_answer_does_no_harm() {
    let Some(server) = Server::start(Version::Current, "").await else { return };
    let (here, there) = (connect(&server).await, connect(&server).await);
    let _running = run(here.serve(&spec()).await.unwrap());
    let mut hostile = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let lines = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n\
                 PUB upper.make 2\r\nhi\r\n\
                 PUB upper.make a..b 2\r\nhi\r\n\
                 PUB upper.make > 2\r\nhi\r\n\
                 PUB upper.make upper.make 2\r\nhi\r\n\
                 PUB $SRV.PING 0\r\n\r\n\
                 PUB $SRV.PING a..b 0\r\n\r\n\
                 PUB $SRV.STATS .* 0\r\n\r\n\
                 PING\r\n";
    hostile.write_all(lines.as_bytes()).await.unwrap();
    let mut said = String::new();
    while !said.contains("PONG") {
        let mut buffer = [0; 4096];
        let read = hostile.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert_eq!(ask(&there, "$SRV.PING.upper", b"").await["name"], "upper");
    let answer = there.ask(&spec().subject, "loud".into(), WAIT).await.unwrap();
    assert_eq!(answer.payload, "LOUD");
}
