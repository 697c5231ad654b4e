//! What `wingbeat ingest` takes of a machine at the rate of the public network, while the
//! simulated network sends: its share of a core, and its memory.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, clock, program};

/// Events per second: about what the public network has.
const RATE: u32 = 500;
/// What comes before the measurement: starting, connecting, the first files.
const BEFORE: Duration = Duration::from_secs(5);

/// A process that ends with the benchmark.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(command: &mut Command) -> Outcome<Self> {
        Ok(Self(command.stderr(Stdio::null()).spawn()?))
    }

    /// The rest of the first line that begins with that, of what it prints.
    fn says(&mut self, beginning: &str) -> Outcome<String> {
        let output = self.0.stdout.take().ok_or("no pipe")?;
        for line in BufReader::new(output).lines() {
            if let Some(rest) = line?.strip_prefix(beginning) {
                return Ok(rest.trim().to_owned());
            }
        }
        Err(format!("a process ended without saying `{beginning}`").into())
    }
}

/// Measures for so many seconds; 60 where none are given.
pub(crate) fn run(seconds: Option<&str>) -> Outcome<()> {
    let length = Duration::from_secs(seconds.unwrap_or("60").parse()?);
    let program = program()?;
    let mut network = Command::new(&program);
    network.args(["simulate-network", "--rate", &RATE.to_string()]).stdout(Stdio::piped());
    let mut network = Process::start(&mut network)?;
    let host = network.says("Host: ")?;
    let folder = tempfile::tempdir()?;
    let mut ingest = Command::new(&program);
    ingest
        .args(["ingest", "--port", "0", "--source", &format!("relay:{host}")])
        .args(["--log", &format!("embedded:{}", folder.path().display())])
        .stdout(Stdio::null());
    let mut ingest = Process::start(&mut ingest)?;
    thread::sleep(BEFORE);
    let process = format!("/proc/{}", ingest.0.id());
    let (start, before) = (Instant::now(), clock::process_time_of(&process)?);
    thread::sleep(length);
    if let Some(status) = ingest.0.try_wait()? {
        return Err(format!("`wingbeat ingest` ended too early: {status}").into());
    }
    let used = clock::process_time_of(&process)? - before;
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let peak = peak_memory(&process)?;
    println!(
        "`wingbeat ingest` at {RATE} events/s for {} s: {share:.1} % of a core, {peak} at most, \
         {} threads",
        length.as_secs(),
        Path::new(&process).join("task").read_dir()?.count(),
    );
    Ok(())
}

/// The most memory that a process had, as the kernel writes it.
pub(crate) fn peak_memory(process: &str) -> Outcome<String> {
    let status = std::fs::read_to_string(format!("{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(peak.unwrap_or("?").trim().to_owned())
}
