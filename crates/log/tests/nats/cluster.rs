//! Three servers, three copies, and a leader that is killed.

use std::time::Duration;

use wingbeat_log::{Access, ConsumerConfig, LogUrl, patiently};

use super::{
    faults::{consume_all, expect_each_once, publish_all, stream},
    server::{Server, Version, free_port},
};

const COUNT: usize = 3000;
const PATIENCE: Duration = Duration::from_secs(120);

async fn start(version: Version) -> Option<Vec<Server>> {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let urls: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut servers = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let config = format!(
            "server_name: n{index}\ncluster {{ name: c, listen: 127.0.0.1:{route}, routes: [{}] }}",
            urls.join(", ")
        );
        servers.push(Server::start(version, &config).await?);
    }
    Some(servers)
}

/// Which server leads the stream.
async fn leader(port: u16) -> Option<usize> {
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await.unwrap();
    let answer = client.request("$JS.API.STREAM.INFO.s", "".into()).await.ok()?;
    let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    info["cluster"]["leader"].as_str()?.strip_prefix('n')?.parse().ok()
}

async fn a_killed_leader_loses_and_doubles_nothing(version: Version) {
    let Some(mut servers) = start(version).await else { return };
    let hosts: Vec<String> =
        servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let url: LogUrl = format!("nats://{}?replicas=3", hosts.join(",")).parse().unwrap();
    let log = patiently(|| Box::pin(url.open(Access::Write))).await.unwrap();
    let wanted = stream("s", "s.>");
    patiently(|| log.ensure_stream(&wanted)).await.unwrap();
    let config = ConsumerConfig { ack_wait: Duration::from_secs(5), ..ConsumerConfig::new("c") };
    let consumer = patiently(|| log.consumer("s", &config)).await.unwrap();
    let kill = async {
        while log.stream("s").await.is_ok_and(|info| info.last < COUNT as u64 / 3) {
            tokio::task::yield_now().await;
        }
        let leader = leader(servers[0].port).await.unwrap();
        servers[leader].kill();
        leader
    };
    let work =
        async { tokio::join!(publish_all(&*log, COUNT, 50), consume_all(&*consumer, COUNT), kill) };
    let ((), seen, leader) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    assert_eq!(seen.len(), COUNT);
    expect_each_once(&*log, COUNT).await;
    servers[leader].run().await;
    expect_each_once(&*log, COUNT).await;
    let warnings = log.warnings().await.unwrap();
    assert!(!warnings.iter().any(|warning| warning.contains("`s`")), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_i10_a_killed_leader_loses_and_doubles_nothing() {
    a_killed_leader_loses_and_doubles_nothing(Version::Current).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_i10_a_killed_leader_of_2_9_loses_and_doubles_nothing() {
    a_killed_leader_loses_and_doubles_nothing(Version::V2_9).await;
}
