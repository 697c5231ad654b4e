//! A real NATS server for end-to-end tests.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Home;

/// How long a test waits for what must happen. Only one that fails takes that long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A NATS server. It is killed when this goes.
pub struct Nats {
    child: Child,
    pub url: String,
}

impl Nats {
    /// `None` where there is no server.
    pub fn start(home: &Home) -> Option<Self> {
        let fetched =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/nats/bin/nats-server");
        let binary = std::env::var_os("NATS_SERVER").map_or_else(|| fetched.into(), PathBuf::from);
        if !binary.exists() {
            let path = binary.display();
            eprintln!("skipped: {path} is not there; run `make nats`");
            return None;
        }
        // Below the ports that the system hands out: nobody else gets it by chance.
        let ports = 30_000 + std::process::id() % 2_000..32_768;
        let is_free = |port: &u32| TcpListener::bind(format!("127.0.0.1:{port}")).is_ok();
        let port = ports.into_iter().find(is_free).unwrap();
        let child = Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(home.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            assert!(start.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        Some(Self { child, url: format!("nats://127.0.0.1:{port}") })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds; fails where it takes too long.
#[track_caller]
pub fn wait_until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}
