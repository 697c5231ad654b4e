//! A real NATS server.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a test waits for what must happen. Only one that fails takes that long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A NATS server on a port of its own, or that port without a server. The server is killed when
/// this goes.
pub struct Nats {
    binary: PathBuf,
    store: PathBuf,
    port: u32,
    child: Option<Child>,
    pub url: String,
}

impl Nats {
    /// Starts the server that `make nats` fetches. `None` where it is not there.
    pub fn start(store: &Path) -> Option<Self> {
        let mut nats = Self::prepare(store)?;
        nats.run();
        Some(nats)
    }

    /// As [`Nats::start`], without starting it.
    pub fn prepare(store: &Path) -> Option<Self> {
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
        let url = format!("nats://127.0.0.1:{port}");
        Some(Self { binary, store: store.to_owned(), port, child: None, url })
    }

    /// Starts the server, also again.
    pub fn run(&mut self) {
        let child = Command::new(&self.binary)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(&self.store)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_until(|| TcpStream::connect(format!("127.0.0.1:{}", self.port)).is_ok());
    }

    /// Sends the server a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is as it must become.
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it did not happen within {PATIENCE:?}");
        std::thread::yield_now();
    }
}
