//! Workers: one thread per core, each with a runtime of its own over shared weights.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
};

use super::{Batch, Layout, Rows, Runtime, plan, queue::Queue};
use crate::ModelError;

/// Batches that wait per worker. Enough that none has to wait for who fills the queue; more would
/// only keep others waiting longer.
const WAITING_PER_WORKER: usize = 2;

/// What a model gave for one text: a row for each of its outputs.
pub type Answer = Result<Vec<Vec<f32>>, ModelError>;

/// Threads that run a model over batches.
///
/// The queue before them is bounded: whoever brings more waits. It is shared, so that callers take
/// turns batch by batch. Where texts are packed, batches of several callers that are not full go
/// through the model together.
pub struct Workers {
    /// The model's name, for errors.
    name: String,
    queue: Arc<Queue<Job>>,
    threads: Vec<JoinHandle<()>>,
    layout: Layout,
    batch_tokens: usize,
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
    /// that of the model; a batch has at most `batch_tokens` tokens, 0: what is best for the runtime.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads, or there can't be so many runtimes.
    pub fn start(
        name: &str,
        runtime: Box<dyn Runtime>,
        threads: usize,
        batch_tokens: usize,
    ) -> Result<Self, ModelError> {
        let threads = threads.max(1);
        let layout = runtime.layout();
        let batch_tokens = if batch_tokens == 0 { layout.batch_tokens() } else { batch_tokens };
        let queue = Arc::new(Queue::new(threads * WAITING_PER_WORKER));
        let mut workers = Self {
            name: name.to_owned(),
            queue: Arc::clone(&queue),
            threads: Vec::new(),
            layout,
            batch_tokens,
        };
        let runtimes = runtime.times(threads)?;
        let start = |(index, mut runtime): (usize, Box<dyn Runtime>)| {
            let queue = Arc::clone(&queue);
            let goes_with = move |taken: &[Job], next: &Job| {
                let tokens: usize = taken.iter().map(|job| job.batch.tokens()).sum();
                layout == Layout::Packed && tokens + next.batch.tokens() <= batch_tokens
            };
            let work = move || {
                while let Some(jobs) = queue.take(goes_with) {
                    run(jobs, &mut *runtime);
                }
            };
            Builder::new().name(format!("infer-{index}")).spawn(work).map_err(|error| {
                ModelError::new(name, format!("no thread can be started for it: {error}"))
            })
        };
        for runtime in runtimes.into_iter().enumerate() {
            // Those that were started end where this one can't be.
            workers.threads.push(start(runtime)?);
        }
        Ok(workers)
    }

    /// Puts texts, as token ids, into batches, and these into the queue. Waits while the queue is
    /// full.
    pub fn submit(&self, texts: &[Vec<u32>]) -> Pending {
        let (sender, answers) = channel();
        let wanted = Arc::new(());
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        for planned in plan(&lengths, self.batch_tokens, self.layout) {
            let ids = planned.iter().filter_map(|text| texts.get(*text));
            let batch: Batch = ids.map(Vec::as_slice).collect();
            let answers = sender.clone();
            let job = Job { batch, texts: planned, answers, wanted: Arc::downgrade(&wanted) };
            self.queue.push(job);
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
        self.queue.close();
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

/// Runs the batches of some jobs as one.
fn run(mut jobs: Vec<Job>, runtime: &mut dyn Runtime) {
    jobs.retain(|job| job.wanted.strong_count() > 0);
    let all = || jobs.iter().flat_map(|job| job.texts.iter().map(move |text| (job, *text)));
    let batch: Batch = jobs.iter().flat_map(|job| job.batch.texts()).collect();
    if batch.is_empty() {
        return;
    }
    match infer(runtime, &batch) {
        Ok(outputs) => {
            for (row, (job, text)) in all().enumerate() {
                job.answer(text, Ok(rows_of(&outputs, row)));
            }
        }
        // Whatever is wrong with one text is not to cost the others.
        Err(_) if batch.len() > 1 => {
            for ((job, text), ids) in all().zip(batch.texts()) {
                let alone = infer(runtime, &std::iter::once(ids).collect());
                job.answer(text, alone.map(|outputs| rows_of(&outputs, 0)));
            }
        }
        Err(error) => all().for_each(|(job, text)| job.answer(text, Err(error.clone()))),
    }
}

impl Job {
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
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Says how long a text is and what it begins with. Panics on token 13, fails on 14, gives NaN
    /// on 15; waits at token 16 until it is let go.
    #[derive(Clone)]
    struct Counting {
        layout: Layout,
        texts: Arc<AtomicUsize>,
        batches: Arc<AtomicUsize>,
        begun: Sender<()>,
        gate: Arc<Mutex<Receiver<()>>>,
    }

    impl Runtime for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn layout(&self) -> Layout {
            self.layout
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
            self.batches.fetch_add(1, Ordering::SeqCst);
            Ok(vec![rows])
        }
    }

    /// The runtime, whoever lets it go, and who hears that it has begun to wait.
    fn counting() -> (Counting, Sender<()>, Receiver<()>) {
        let (go, gate) = channel();
        let (begun, hears) = channel();
        let gate = Arc::new(Mutex::new(gate));
        let layout = Layout::Padded;
        let (texts, batches) = Default::default();
        (Counting { layout, texts, batches, begun, gate }, go, hears)
    }

    #[test]
    fn answers_come_in_the_order_of_the_texts() {
        let (runtime, _go, _hears) = counting();
        let workers = Workers::start("m", Box::new(runtime), 3, 64).unwrap();
        let texts: Vec<Vec<u32>> = (0..500).map(|n| vec![100 + n; (n % 37) as usize + 1]).collect();
        let answers = workers.submit(&texts).wait();
        for (ids, answer) in texts.iter().zip(answers) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let expected = vec![vec![ids.len() as f32, ids[0] as f32]];
            assert_eq!(answer, Ok(expected));
        }
        assert!(workers.submit(&[]).wait().is_empty());
    }

    #[test]
    fn i6_a_text_that_the_runtime_fails_on_costs_itself_alone() {
        let (runtime, _go, _hears) = counting();
        let workers = Workers::start("m", Box::new(runtime), 1, 64).unwrap();
        let texts: Vec<Vec<u32>> = [1, 13, 2, 14, 3, 15, 4].map(|id| vec![id]).to_vec();
        let answers = workers.submit(&texts).wait();
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
        let workers = Workers::start("m", Box::new(runtime), 1, 64).unwrap();
        let held = workers.submit(&[vec![16]]);
        hears.recv().unwrap();
        drop(workers.submit(&[vec![1], vec![2]]));
        let last = workers.submit(&[vec![3]]);
        go.send(()).unwrap();
        assert!(held.wait()[0].is_ok() && last.wait()[0].is_ok());
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_queue_is_bounded() {
        let (runtime, go, hears) = counting();
        let workers = Workers::start("m", Box::new(runtime), 1, 64).unwrap();
        let held = workers.submit(&[vec![16]]);
        hears.recv().unwrap();
        let waiting = workers.submit(&vec![vec![1; 64]; WAITING_PER_WORKER]);
        assert_eq!(workers.queue.len(), WAITING_PER_WORKER);
        go.send(()).unwrap();
        assert!(held.wait()[0].is_ok() && waiting.wait().iter().all(Result::is_ok));
    }

    /// Callers with a text each: what waits goes together, up to a whole batch; what is wrong with a
    /// text costs its caller alone.
    #[test]
    fn i6_texts_of_several_callers_go_through_a_model_that_packs_together() {
        let (mut runtime, go, hears) = counting();
        runtime.layout = Layout::Packed;
        let (texts, batches) = (Arc::clone(&runtime.texts), Arc::clone(&runtime.batches));
        let workers = Workers::start("m", Box::new(runtime), 1, 64).unwrap();
        let held = workers.submit(&[vec![16]]);
        hears.recv().unwrap();
        let (first, second) = (workers.submit(&[vec![1; 40]]), workers.submit(&[vec![2; 20]]));
        go.send(()).unwrap();
        assert!(held.wait()[0].is_ok() && first.wait()[0].is_ok() && second.wait()[0].is_ok());
        assert_eq!((texts.load(Ordering::SeqCst), batches.load(Ordering::SeqCst)), (3, 2));
        let held = workers.submit(&[vec![16]]);
        hears.recv().unwrap();
        let (sound, wrong) = (workers.submit(&[vec![1; 40]]), workers.submit(&[vec![14]]));
        go.send(()).unwrap();
        assert!(held.wait()[0].is_ok() && sound.wait()[0].is_ok());
        assert!(wrong.wait()[0].is_err());
    }

    #[test]
    fn dropping_the_workers_ends_their_threads() {
        let (runtime, _go, hears) = counting();
        drop(Workers::start("m", Box::new(runtime), 2, 64).unwrap());
        // All runtimes are gone with their threads, and with them whoever could have said anything.
        assert!(hears.recv().is_err());
    }
}
