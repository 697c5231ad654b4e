//! Real NATS servers, on ports of this machine, with storage that goes away.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::Home;

/// How long a test waits for what must happen. Only one that fails takes that long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A NATS server. It is killed when this goes.
pub struct Nats {
    child: Child,
    command: Vec<String>,
    _home: Home,
    port: u32,
    /// `nats://HOST:PORT`.
    pub url: String,
}

impl Nats {
    /// One server. `None` where there is none.
    pub fn start() -> Option<Self> {
        Self::start_on(free_port(), "")
    }

    /// Three servers that know each other.
    pub fn cluster() -> Option<Vec<Self>> {
        let routes = [free_port(), free_port(), free_port()];
        let urls = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
        let node = |route: u32| {
            let config = format!(
                "server_name: n{route}\n\
                 cluster {{ name: c, listen: 127.0.0.1:{route}, routes: [{urls}] }}\n"
            );
            Self::start_on(free_port(), &config)
        };
        routes.into_iter().map(node).collect()
    }

    fn start_on(port: u32, more: &str) -> Option<Self> {
        let fetched =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/nats/bin/nats-server");
        let binary = std::env::var_os("NATS_SERVER").map_or_else(|| fetched.into(), PathBuf::from);
        if !binary.exists() {
            let path = binary.display();
            eprintln!("skipped: {path} is not there; run `make nats`");
            return None;
        }
        let home = Home::new();
        let store = home.path().join("store");
        let config =
            format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?} }}\n{more}");
        let file = home.write("server.conf", config);
        let command = vec![binary.display().to_string(), "-c".into(), file.display().to_string()];
        let child = spawn(&command);
        let url = format!("nats://127.0.0.1:{port}");
        let mut server = Self { child, command, _home: home, port, url };
        server.wait();
        Some(server)
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(format!("127.0.0.1:{}", self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{:?}", self.command);
            std::thread::yield_now();
        }
    }

    /// `nats://HOST:PORT,HOST:PORT`.
    pub fn url_of(servers: &[Self]) -> String {
        let hosts = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        format!("nats://{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it has stored. Does not wait until it listens.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.command);
    }
}

fn spawn(command: &[String]) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on, and that no program gets by chance before the server has it:
/// below those that the system hands out.
fn free_port() -> u32 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next =
            std::process::id().wrapping_mul(31).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + next % 20_000;
        if TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).is_ok() {
            return port;
        }
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
