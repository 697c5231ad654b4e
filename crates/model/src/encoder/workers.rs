//! Workers: one thread per core, each with a runtime of its own over shared weights.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use super::{Batch, Rows, Runtime, plan};
use crate::ModelError;

/// Batches that wait per worker. Enough that none has to wait for who fills the queue; more would
/// only keep others waiting longer.
const WAITING_PER_WORKER: usize = 2;

/// What a model gave for one text: a row for each of its outputs.
pub type Answer = Result<Vec<Vec<f32>>, ModelError>;

/// Threads that run a model over batches.
///
/// The queue before them is bounded: whoever brings more waits. It is shared, so that callers take
/// turns batch by batch.
pub struct Workers {
    /// The model's name, for errors.
    name: String,
    queue: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// A batch on its way.
struct Job {
    batch: Batch,
    /// Whose texts these are, among those of the caller.
    texts: Vec<usize>,
    answers: Sender<(usize, Answer)>,
    /// Gone when nobody waits any more.
    wanted: Weak<()>,
}

/// Texts that are being worked on. Who drops it does not want them any more: batches that have not
/// begun are left out.
#[derive(Debug)]
#[must_use = "dropping it gives the texts up"]
pub struct Pending {
    name: String,
    texts: usize,
    answers: Receiver<(usize, Answer)>,
    _wanted: Arc<()>,
}

impl Workers {
    /// Starts as many threads as asked, at least one, each with a runtime like `runtime`. `name` is
    /// that of the model.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads, or there can't be so many runtimes.
    pub fn start(
        name: &str,
        runtime: Box<dyn Runtime>,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let threads = threads.max(1);
        let (queue, jobs) = sync_channel(threads * WAITING_PER_WORKER);
        let jobs = Arc::new(Mutex::new(jobs));
        let runtimes = runtime.times(threads)?;
        let start = |(index, mut runtime): (usize, Box<dyn Runtime>)| {
            let jobs = Arc::clone(&jobs);
            let work = move || {
                while let Some(job) = next(&jobs) {
                    job.run(&mut *runtime);
                }
            };
            Builder::new().name(format!("infer-{index}")).spawn(work).map_err(|error| {
                ModelError::new(name, format!("no thread can be started for it: {error}"))
            })
        };
        let threads: Result<Vec<_>, _> = runtimes.into_iter().enumerate().map(start).collect();
        Ok(Self { name: name.to_owned(), queue: Some(queue), threads: threads? })
    }

    /// Puts texts, as token ids, into batches of at most `budget` tokens, and these into the queue.
    /// Waits while the queue is full.
    pub fn submit(&self, texts: &[Vec<u32>], budget: usize) -> Pending {
        let (sender, answers) = channel();
        let wanted = Arc::new(());
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        for planned in plan(&lengths, budget) {
            let ids = planned.iter().filter_map(|text| texts.get(*text));
            let batch: Batch = ids.map(Vec::as_slice).collect();
            let answers = sender.clone();
            let job = Job { batch, texts: planned, answers, wanted: Arc::downgrade(&wanted) };
            // Without a receiver, nobody will answer, and `wait` says so.
            let _ = self.queue.as_ref().map(|queue| queue.send(job));
        }
        Pending { name: self.name.clone(), texts: texts.len(), answers, _wanted: wanted }
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("name", &self.name)
            .field("threads", &self.threads())
            .finish()
    }
}

impl Drop for Workers {
    /// Lets the threads finish what is in the queue and wanted, and waits for them.
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Pending {
    /// Waits for the answers: one for each text, in their order.
    pub fn wait(self) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = vec![None; self.texts];
        for (text, answer) in &self.answers {
            if let Some(place) = answers.get_mut(text) {
                *place = Some(answer);
            }
        }
        let lost = || Err(ModelError::new(&self.name, "the thread that ran it has ended"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    // Nothing can be half done under this lock.
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Job {
    fn run(self, runtime: &mut dyn Runtime) {
        if self.wanted.strong_count() == 0 {
            return;
        }
        match infer(runtime, &self.batch) {
            Ok(outputs) => {
                for (row, text) in self.texts.iter().enumerate() {
                    self.answer(*text, Ok(rows_of(&outputs, row)));
                }
            }
            // Whatever is wrong with one text is not to cost the others.
            Err(_) if self.batch.len() > 1 => {
                for (text, ids) in self.texts.iter().zip(self.batch.texts()) {
                    let alone = infer(runtime, &std::iter::once(ids).collect());
                    self.answer(*text, alone.map(|outputs| rows_of(&outputs, 0)));
                }
            }
            Err(error) => self.texts.iter().for_each(|text| self.answer(*text, Err(error.clone()))),
        }
    }

    fn answer(&self, text: usize, answer: Answer) {
        // Whoever asked may have gone.
        let _ = self.answers.send((text, answer));
    }
}

fn rows_of(outputs: &[Rows], text: usize) -> Vec<Vec<f32>> {
    outputs.iter().map(|rows| rows.row(text).unwrap_or_default().to_vec()).collect()
}

/// Runs a batch; a panic of the runtime is an error like any other.
fn infer(runtime: &mut dyn Runtime, batch: &Batch) -> Result<Vec<Rows>, ModelError> {
    let name = runtime.name();
    let outputs = catch_unwind(AssertUnwindSafe(|| runtime.infer(batch)));
    let outputs = outputs.unwrap_or_else(|_| {
        Err(ModelError::new(name, "it panicked on this text; its message is in the log"))
    })?;
    let is_whole = |rows: &Rows| {
        rows.values.len() == rows.width * batch.len()
            && rows.values.iter().all(|value| value.is_finite())
    };
    if outputs.iter().all(is_whole) {
        return Ok(outputs);
    }
    Err(ModelError::new(name, "it gave numbers that are none (NaN or infinite), or too few"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Says how long a text is and what it begins with. Panics on token 13, fails on 14, gives NaN
    /// on 15; waits at token 16 until it is let go.
    #[derive(Clone)]
    struct Counting {
        texts: Arc<AtomicUsize>,
        begun: Sender<()>,
        gate: Arc<Mutex<Receiver<()>>>,
    }

    impl Runtime for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn times(self: Box<Self>, count: usize) -> Result<Vec<Box<dyn Runtime>>, ModelError> {
            Ok((0..count).map(|_| self.clone() as _).collect())
        }

        fn infer(&mut self, batch: &Batch) -> Result<Vec<Rows>, ModelError> {
            let mut rows = Rows { width: 2, values: Vec::new() };
            for ids in batch.texts() {
                assert!(!ids.contains(&13), "thirteen");
                if ids.contains(&14) {
                    return Err(ModelError::new("counting", "fourteen"));
                }
                if ids.contains(&16) {
                    self.begun.send(()).unwrap();
                    self.gate.lock().unwrap().recv().unwrap();
                }
                let first = ids.first().map_or(0.0, |id| f32::from(u16::try_from(*id).unwrap()));
                rows.values.push(f32::from(u16::try_from(ids.len()).unwrap()));
                rows.values.push(if ids.contains(&15) { f32::NAN } else { first });
            }
            self.texts.fetch_add(batch.len(), Ordering::SeqCst);
            Ok(vec![rows])
        }
    }

    /// The runtime, whoever lets it go, and who hears that it has begun to wait.
    fn counting() -> (Counting, Sender<()>, Receiver<()>) {
        let (go, gate) = channel();
        let (begun, hears) = channel();
        let gate = Arc::new(Mutex::new(gate));
        (Counting { texts: Arc::default(), begun, gate }, go, hears)
    }

    #[test]
    fn answers_come_in_the_order_of_the_texts() {
        let (runtime, _go, _hears) = counting();
        let workers = Workers::start("m", Box::new(runtime), 3).unwrap();
        let texts: Vec<Vec<u32>> = (0..500).map(|n| vec![100 + n; (n % 37) as usize + 1]).collect();
        let answers = workers.submit(&texts, 64).wait();
        for (ids, answer) in texts.iter().zip(answers) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let expected = vec![vec![ids.len() as f32, ids[0] as f32]];
            assert_eq!(answer, Ok(expected));
        }
        assert!(workers.submit(&[], 64).wait().is_empty());
    }

    #[test]
    fn i6_a_text_that_the_runtime_fails_on_costs_itself_alone() {
        let (runtime, _go, _hears) = counting();
        let workers = Workers::start("m", Box::new(runtime), 1).unwrap();
        let texts: Vec<Vec<u32>> = [1, 13, 2, 14, 3, 15, 4].map(|id| vec![id]).to_vec();
        let answers = workers.submit(&texts, 64).wait();
        let is_ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(is_ok, [true, false, true, false, true, false, true]);
        let problem = |text: usize| answers[text].as_ref().unwrap_err().to_string();
        assert!(problem(1).contains("panicked"), "{}", problem(1));
        assert!(problem(3).contains("fourteen"), "{}", problem(3));
        assert!(problem(5).contains("NaN"), "{}", problem(5));
    }

    #[test]
    fn what_nobody_waits_for_is_left_out() {
        let (runtime, go, hears) = counting();
        let done = Arc::clone(&runtime.texts);
        let workers = Workers::start("m", Box::new(runtime), 1).unwrap();
        let held = workers.submit(&[vec![16]], 64);
        hears.recv().unwrap();
        drop(workers.submit(&[vec![1], vec![2]], 64));
        let last = workers.submit(&[vec![3]], 64);
        go.send(()).unwrap();
        assert!(held.wait()[0].is_ok() && last.wait()[0].is_ok());
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_queue_is_bounded() {
        let (runtime, go, hears) = counting();
        let workers = Workers::start("m", Box::new(runtime), 1).unwrap();
        let held = workers.submit(&[vec![16]], 64);
        hears.recv().unwrap();
        let waiting = workers.submit(&vec![vec![1; 64]; WAITING_PER_WORKER], 64);
        let wanted = Arc::downgrade(&waiting._wanted);
        let job = Job { batch: Batch::default(), texts: Vec::new(), answers: channel().0, wanted };
        let more = workers.queue.as_ref().unwrap().try_send(job);
        assert!(matches!(more, Err(std::sync::mpsc::TrySendError::Full(_))));
        go.send(()).unwrap();
        assert!(held.wait()[0].is_ok() && waiting.wait().iter().all(Result::is_ok));
    }

    #[test]
    fn dropping_the_workers_ends_their_threads() {
        let (runtime, _go, hears) = counting();
        drop(Workers::start("m", Box::new(runtime), 2).unwrap());
        // All runtimes are gone with their threads, and with them whoever could have said anything.
        assert!(hears.recv().is_err());
    }
}
