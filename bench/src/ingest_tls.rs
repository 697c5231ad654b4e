//! From a socket with TLS to filtered posts, in one process: what a frame costs its consumer.
//!
//! This process is the network: the simulated one, which signs what it sends, behind TLS with a
//! certificate of its own. A second process, started by this one, is the consumer: the relay
//! source and the stages that an ingest has. Its processor time is what is measured, that of all
//! its threads and of the kernel on their behalf. The sender is slower than the consumer, and on a
//! machine with few cores they share them, so the rate by the clock would tell of both.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;
use wingbeat_flow::{Pipeline, stage_item};
use wingbeat_network::{Afterwards, Network, Options, Prepared};
use wingbeat_record::Subject;
use wingbeat_source::{
    Content, OpenOptions, SourceSpec,
    network::{NetworkOptions, Verify},
    open,
};
use wingbeat_stage::Settings;

use crate::{Outcome, clock};

/// Frames of one run.
const FRAMES: usize = 100_000;
const ROUNDS: usize = 3;
/// What the consumer asks its source for in one go: the batch of an ingest.
const BATCH: usize = 100;
/// What the sender copies in one go.
const COPY_BYTES: usize = 64 << 10;

/// Sends, and has a second process receive.
pub(crate) fn run() -> Outcome<()> {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let trusted = tempfile::NamedTempFile::new()?;
    std::fs::write(trusted.path(), certificate.cert.pem())?;
    let key =
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    println!(
        "{FRAMES} frames of the simulated network behind TLS 1.3, best of {ROUNDS} rounds\n\n\
         | verify | frames/s, one core | us/frame | posts | by the clock, frames/s |\n\
         |---|---|---|---|---|"
    );
    let runtime = Runtime::new()?;
    for verify in ["none", "hashes"] {
        let mut best: Option<Figures> = None;
        for round in 0..ROUNDS {
            let address = runtime.block_on(serve(acceptor.clone(), round as u64))?;
            let consumer = Command::new(std::env::current_exe()?)
                .args(["consume-tls", &format!("relay:wss://{address}"), verify])
                .env("SSL_CERT_FILE", trusted.path())
                .stderr(Stdio::inherit())
                .output()?;
            let figures = Figures::parse(&String::from_utf8(consumer.stdout)?)?;
            if best.as_ref().is_none_or(|best| figures.cpu_seconds < best.cpu_seconds) {
                best = Some(figures);
            }
        }
        if let Some(best) = best {
            best.print(verify);
        }
    }
    Ok(())
}

/// Starts a network and what encrypts its streams; says where. Both run on.
async fn serve(acceptor: TlsAcceptor, seed: u64) -> Outcome<std::net::SocketAddr> {
    let prepared = Prepared { events: FRAMES, then: Afterwards::End };
    let options = Options { seed, rate: 0.0, prepared: Some(prepared), ..Options::default() };
    let network = Network::start(options).await?;
    let plain = *network.addresses().first().ok_or("the network has no host")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        // One consumer, which connects once.
        if let Ok((stream, _)) = listener.accept().await
            && let Ok(mut encrypted) = acceptor.accept(stream).await
            && let Ok(mut plain) = TcpStream::connect(plain).await
        {
            let (from, to) = (&mut encrypted, &mut plain);
            let _ = copy_bidirectional_with_sizes(from, to, COPY_BYTES, COPY_BYTES).await;
        }
        network.stop().await;
    });
    Ok(address)
}

/// What a consumer has measured.
#[derive(Debug, Clone, Copy)]
struct Figures {
    frames: f64,
    posts: f64,
    cpu_seconds: f64,
    clock_seconds: f64,
}

impl Figures {
    fn parse(line: &str) -> Outcome<Self> {
        let numbers: Vec<f64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let &[frames, posts, cpu_seconds, clock_seconds] = &numbers[..] else {
            return Err("the consumer failed".into());
        };
        Ok(Self { frames, posts, cpu_seconds, clock_seconds })
    }

    fn print(self, verify: &str) {
        let Self { frames, posts, cpu_seconds, clock_seconds } = self;
        println!(
            "| {verify} | {:.0} | {:.2} | {posts} | {:.0} |",
            frames / cpu_seconds,
            cpu_seconds / frames * 1e6,
            frames / clock_seconds,
        );
    }
}

/// Receives, in the second process: all but a few of the frames, so that the end of the stream,
/// where there is nothing to do but to wait, is not in it.
pub(crate) fn consume(spec: Option<&str>, verify: Option<&str>) -> Outcome<()> {
    let verify = if verify == Some("hashes") { Verify::Hashes } else { Verify::None };
    let network = NetworkOptions { verify, ..NetworkOptions::default() };
    let options = OpenOptions { network, ..OpenOptions::default() };
    let spec = SourceSpec::parse(spec.ok_or("no source is named")?)?;
    let pipeline = Pipeline::new(&["post".to_owned(), "filter".to_owned()], &Settings::default())?;
    let subject = Subject::new("bench")?;
    Runtime::new()?.block_on(async {
        let mut source = open(&spec, &options)?;
        // The connection, and the first frames, come before the measurement.
        source.next(1).await?;
        let frames = |source: &dyn wingbeat_source::Source| {
            source.counters().iter().find(|(name, _)| *name == "frames").map_or(0, |(_, n)| *n)
        };
        let (first, cpu, start) = (frames(&*source), clock::process_time()?, Instant::now());
        let mut posts = 0;
        while frames(&*source) < FRAMES as u64 * 99 / 100 {
            let Some(items) = source.next(BATCH).await? else { break };
            let mut items: Vec<_> = items
                .into_iter()
                .filter_map(|item| match item.content {
                    Content::Post(mut post) => Some(stage_item(&subject, &mut post)),
                    _ => None,
                })
                .collect();
            pipeline.run(&mut items.iter_mut().collect::<Vec<_>>());
            posts += items.iter().filter(|item| item.verdict().is_none()).count();
        }
        let frames = frames(&*source) - first;
        let cpu = (clock::process_time()? - cpu).as_secs_f64();
        println!("{frames} {posts} {cpu} {}", start.elapsed().as_secs_f64());
        Ok(())
    })
}
