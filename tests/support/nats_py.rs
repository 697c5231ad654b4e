//! Programs that use nats-py, as the replaced services do: `nats_py/`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

/// A running program. It is killed when this goes.
pub struct Python {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Python {
    /// Starts `nats_py/NAME.py`.
    #[track_caller]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let fetched = root.join("target/tools/nats-py/bin/python");
        let python = std::env::var_os("NATS_PY").map_or(fetched, PathBuf::from);
        assert!(python.exists(), "{} is not there; run `make nats-py`", python.display());
        let mut child = Command::new(python)
            .arg("-B")
            .arg(root.join("tests/support/nats_py").join(name).with_extension("py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Starts a program that reads, and waits until it is there for what comes.
    #[track_caller]
    pub fn reader(name: &str, arguments: &[&str]) -> Self {
        let mut reader = Self::start(name, arguments);
        assert_eq!(reader.next()["ready"], true);
        reader
    }

    /// What it reports next; waits for it.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: it said {line:?}"))
    }

    /// Gives it its input, whole.
    pub fn feed(&mut self, input: &str) {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
    }

    /// Lets it end, and returns the rest of its reports.
    #[track_caller]
    pub fn end(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
