//! Threads for computing, apart from the async runtime.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that run jobs in the order in which they come. They end when the
/// last handle is dropped.
#[derive(Debug, Clone)]
pub struct Pool {
    queue: mpsc::Sender<Job>,
}

impl Pool {
    /// Starts that many threads, at least one.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads.max(1) {
            let jobs = Arc::clone(&jobs);
            let work = move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        // The job's channel is dropped with it, which tells whoever waits.
                        Ok(job) => _ = catch_unwind(AssertUnwindSafe(job)),
                        Err(mpsc::RecvError) => return,
                    }
                }
            };
            std::thread::Builder::new().name(format!("stages-{number}")).spawn(work)?;
        }
        Ok(Self { queue })
    }

    /// Runs a job; its result comes through the channel. A job that panics drops the channel.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody may be waiting any more.
            let _ = done.send(job());
        });
        // The threads live as long as this handle, so the queue is open.
        let _ = self.queue.send(job);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_and_answer() {
        let pool = Pool::start(2).unwrap();
        let answers: Vec<_> = (0..20).map(|n| pool.run(move || n * n)).collect();
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), n * n);
        }
    }
}
