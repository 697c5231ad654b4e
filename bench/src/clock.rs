//! The processor's time, which others on the same machine don't lengthen by waiting for it.

use std::{fs, time::Duration};

use crate::Outcome;

/// What the calling thread has had of a processor, to a few milliseconds (Linux:
/// `Documentation/scheduler/sched-stats.rst`).
pub(crate) fn thread_time() -> Outcome<Duration> {
    time_of("/proc/thread-self")
}

/// What all threads of this process have had that are still there.
pub(crate) fn process_time() -> Outcome<Duration> {
    process_time_of("/proc/self")
}

/// That of a process, by its folder in `/proc`.
pub(crate) fn process_time_of(process: &str) -> Outcome<Duration> {
    let mut time = Duration::ZERO;
    for task in fs::read_dir(format!("{process}/task"))? {
        // A thread may end while it is looked at.
        if let Ok(of_task) = time_of(&task?.path().to_string_lossy()) {
            time += of_task;
        }
    }
    Ok(time)
}

/// That of a thread, by its folder in `/proc`.
fn time_of(task: &str) -> Outcome<Duration> {
    let path = format!("{task}/schedstat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let nanos = stat.split_whitespace().next().ok_or("the scheduler tells no time")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
