//! What the end-to-end tests share: the program as a user starts it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::panic, clippy::print_stderr, reason = "tests")]

pub mod nats;
pub mod nats_py;
pub mod network;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

/// The fast models, for tests that ask how many posts come through, not what is said of them.
pub const FAST_MODELS: [&str; 4] =
    ["--set", "stages.models.sentiment=linear", "--set", "stages.models.topics=linear"];

/// The program with a working directory of its own.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command of the program, in this directory and without the environment's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wingbeat"));
        command.args(arguments).current_dir(self.path());
        for name in
            ["WINGBEAT_LOG", "WINGBEAT_SOURCE", "WINGBEAT_CONFIG", "LOG_LEVEL", "LOG_FORMAT"]
        {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs a command that reads `input`.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || {
            // The program may end before it has read everything.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        Ran::new(&output)
    }

    /// Writes a file into the directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Starts `up` and waits until it says its address.
    pub fn up(&self, arguments: &[&str]) -> Running {
        let mut all = vec!["up", "--port", "0"];
        all.extend_from_slice(arguments);
        Running::start(self.command(&all))
    }

    /// Starts `ingest` with some environment, and waits until it says its address.
    pub fn ingest(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        self.service("ingest", arguments, environment)
    }

    /// Starts `process` with some environment, and waits until it says its address.
    pub fn process(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        self.service("process", arguments, environment)
    }

    fn service(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut all = vec![name, "--port", "0"];
        all.extend_from_slice(arguments);
        let mut command = self.command(&all);
        command.envs(environment.iter().copied());
        Running::start(command)
    }
}

/// A command that has ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        Self::new(&command.stdin(Stdio::null()).output().unwrap())
    }

    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// stdout as one JSON document a line.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last line of stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{}", self.stderr))
    }
}

/// A running command that serves HTTP.
pub struct Running {
    pub child: Child,
    pub address: String,
    stdout: BufReader<ChildStdout>,
    stderr: Option<std::thread::JoinHandle<String>>,
    /// What it has said on standard error so far.
    said: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a command and waits until it waits for nothing: neither for its log nor its source.
    pub fn start(command: Command) -> Self {
        let running = Self::spawn(command);
        wait_until_begun(&running.address);
        running
    }

    /// Starts a command and waits until it says its address.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut pipe = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::<Mutex<String>>::default();
        let heard = Arc::clone(&said);
        let stderr = std::thread::spawn(move || {
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|read| read > 0) {
                heard.lock().unwrap().push_str(&line);
                line.clear();
            }
            heard.lock().unwrap().clone()
        });
        let Ok(address) = read_address(&mut stdout) else {
            let _ = child.wait();
            panic!("it did not start: {}", stderr.join().unwrap());
        };
        Self { child, address, stdout, stderr: Some(stderr), said }
    }

    /// Whether it has said this on standard error so far.
    pub fn has_said(&self, what: &str) -> bool {
        self.said.lock().unwrap().contains(what)
    }

    /// The value of a metric; `None` where it is not there.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get_text("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// The address in the next line that it says.
    pub fn next_address(&mut self) -> String {
        read_address(&mut self.stdout).unwrap()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        let stderr = self.stderr.take().map(|reading| reading.join().unwrap());
        Ran { code: status.code(), stdout, stderr: stderr.unwrap_or_default() }
    }

    /// Waits until it says that a condition holds.
    pub fn wait_for(
        &self,
        path: &str,
        holds: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        loop {
            let (_, body) = self.get_text(path);
            let value = serde_json::from_str(&body).unwrap();
            if holds(&value) {
                return value;
            }
            std::thread::yield_now();
        }
    }

    /// A GET request, by hand: the tests need no client for one.
    pub fn get(&self, path: &str) -> serde_json::Value {
        let (_, body) = self.get_text(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// A POST request with a JSON body: the status and the answer.
    pub fn post(&self, path: &str, body: &str) -> (u16, serde_json::Value) {
        let kind = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        let (status, answer) =
            exchange(&self.address, &format!("POST {path}"), &kind, body).unwrap();
        (status, serde_json::from_str(&answer).unwrap())
    }

    /// A GET request: the status and the body. HTTP/1.0 answers come in one piece.
    pub fn get_text(&self, path: &str) -> (u16, String) {
        get_text(&self.address, path).unwrap()
    }
}

/// As [`Running::get_text`], of whoever answers at an address.
fn get_text(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    exchange(address, &format!("GET {path}"), "Accept: */*", "")
}

fn exchange(address: &str, what: &str, header: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "{what} HTTP/1.0\r\nHost: {address}\r\n{header}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.unwrap_or_default(), body.to_owned()))
}

/// Waits until a process waits for nothing any more, or has ended.
pub fn wait_until_begun(address: &str) {
    while let Ok((_, body)) = get_text(address, "/ready") {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        if body["waits_for"].is_null() {
            return;
        }
        std::thread::yield_now();
    }
}

/// The host and port of the URL in the next line; that line where there is none.
pub fn read_address(stdout: &mut impl std::io::BufRead) -> Result<String, String> {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.split_once("://").map(|(_, address)| address);
    match address.and_then(|address| address.split(['/', '\n']).next()) {
        Some(address) => Ok(address.to_owned()),
        None => Err(line),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that fails leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many posts came through a processor. It is `None` while it does not answer.
pub fn processed(processor: &Running) -> u64 {
    processor.get("/health/detailed")["service_stats"]["posts_processed"].as_u64().unwrap()
}

/// Sends a process a signal by name, such as `STOP`.
pub fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The folder of recordings and labelled data beside the checkout, where it is.
pub fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("WINGBEAT_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = named.unwrap_or(beside);
    if path.join("fixtures").exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// Made-up posts as JSON lines, without faults.
pub fn posts(home: &Home, count: usize, seed: u64) -> Vec<u8> {
    let (count, seed) = (count.to_string(), seed.to_string());
    let arguments = [
        "mock",
        "--stdout",
        "--count",
        &count,
        "--seed",
        &seed,
        "--options",
        "malformed=0,duplicates=0,deletes=0",
    ];
    home.run(&arguments).ok().stdout.into_bytes()
}
