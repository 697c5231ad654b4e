//! Real servers, on free ports of this machine, with storage that goes away.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};
use wingbeat_log::LogUrl;

/// How long a server may take until it listens.
const START_WAIT: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `NATS_SERVER`, one in the PATH, or the one that `make nats` has fetched.
    Current,
    /// `NATS_SERVER_2_9`, or the one that `make nats` has fetched.
    V2_9,
}

impl Version {
    fn binary(self) -> Option<PathBuf> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
        let (variable, fetched) = match self {
            Self::Current => ("NATS_SERVER", "nats/bin/nats-server"),
            Self::V2_9 => ("NATS_SERVER_2_9", "nats-2.9/usr/sbin/nats-server"),
        };
        let in_path = || {
            let path = std::env::var_os("PATH").filter(|_| self == Self::Current)?;
            std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|p| p.is_file())
        };
        let named = std::env::var_os(variable).map(PathBuf::from);
        let fetched = Some(tools.join(fetched)).filter(|path| path.is_file());
        let found = named.or(fetched).or_else(in_path);
        if found.is_none() {
            eprintln!("skipped: no nats-server {self:?}; run `make nats`, or set {variable}");
        }
        found
    }
}

/// A running server. It is killed when this goes.
pub(crate) struct Server {
    binary: PathBuf,
    pub(crate) port: u16,
    directory: tempfile::TempDir,
    child: Option<Child>,
    /// `user:password@` or the like, for the URL.
    pub(crate) login: String,
}

impl Server {
    /// Starts a server with JetStream; `extra` goes into its configuration. `None` where there is
    /// no such server here.
    pub(crate) async fn start(version: Version, extra: &str) -> Option<Self> {
        Self::start_on(version, free_port(), extra).await
    }

    pub(crate) async fn start_on(version: Version, port: u16, extra: &str) -> Option<Self> {
        let binary = version.binary()?;
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        let config =
            format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?} }}\n{extra}\n");
        std::fs::write(directory.path().join("server.conf"), config).unwrap();
        let mut server = Self { binary, port, directory, child: None, login: String::new() };
        server.run().await;
        Some(server)
    }

    /// Starts it (again) and waits until it listens.
    pub(crate) async fn run(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("server.log"))
            .unwrap();
        let child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.directory.path().join("server.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        let deadline = Instant::now() + START_WAIT;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends it a signal by name, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success());
        // Threads stop one after the other.
        while name == "STOP" && !is_stopped(&id) {
            std::thread::yield_now();
        }
    }

    /// Loses everything that was stored.
    pub(crate) fn wipe(&self) {
        std::fs::remove_dir_all(self.directory.path().join("store")).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self, parameters: &str) -> LogUrl {
        let Self { login, port, .. } = self;
        format!("nats://{login}127.0.0.1:{port}?{parameters}").parse().unwrap()
    }
}

/// Whether every thread of a process is stopped.
fn is_stopped(id: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.contains("State:\tT")
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on, and that no program gets by chance before the server has it:
/// below those that the system hands out.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next =
            std::process::id().wrapping_mul(17).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(next % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
