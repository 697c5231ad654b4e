//! The stages of a flow, run over a batch.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use wingbeat_record::{DeadCause, Reason, Record, Subject};
use wingbeat_source::Post;
use wingbeat_stage::{Item, Settings, Stage, StageError, catalogue};

/// Whoever wants to know what the stages do, such as a service's metrics. It is called on the
/// threads that compute.
pub trait Meter: Send + Sync {
    /// A stage has looked at so many records, and it took so long.
    fn ran(&self, stage: &'static str, records: usize, took: Duration);

    /// So many records have gone through all stages together, and it took so long.
    fn finished(&self, records: usize, took: Duration);

    /// A record has gone through all stages, or was settled by one.
    fn judged(&self, item: &Item);
}

/// The stages of a flow, in order.
pub struct Pipeline {
    stages: Vec<Box<dyn Stage>>,
    meter: Option<Arc<dyn Meter>>,
}

/// A post of a source for the stages. Its document goes along; its payload and its id stay.
pub fn stage_item(subject: &Subject, post: &mut Post) -> Item {
    match post.document.take() {
        Some(document) => Item::of_document(subject.clone(), document),
        None => Item::new(Record::new(subject.clone(), post.payload.clone())),
    }
}

impl Pipeline {
    /// Makes the stages of those names.
    pub fn new(names: &[String], settings: &Settings) -> Result<Self, StageError> {
        let stages = names.iter().map(|name| catalogue::stage(name, settings));
        Ok(Self::of(stages.collect::<Result<_, _>>()?))
    }

    /// A pipeline of stages that are made already.
    pub fn of(stages: Vec<Box<dyn Stage>>) -> Self {
        Self { stages, meter: None }
    }

    /// Tells the meter from now on.
    #[must_use]
    pub fn metered(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Whether there are no stages.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Runs all stages over the items, one stage after the other. A stage that panics costs only
    /// the record that it panics on.
    pub fn run(&self, items: &mut [&mut Item]) {
        let begun = Instant::now();
        self.run_stages(items);
        if let Some(meter) = &self.meter {
            meter.finished(items.len(), begun.elapsed());
            items.iter().for_each(|item| meter.judged(item));
        }
    }

    fn run_stages(&self, items: &mut [&mut Item]) {
        for stage in &self.stages {
            let is_open = |item: &&mut &mut Item| item.verdict().is_none();
            let mut open: Vec<&mut Item> =
                items.iter_mut().filter(is_open).map(|item| &mut **item).collect();
            if open.is_empty() {
                return;
            }
            let begun = Instant::now();
            let is_done = catch_unwind(AssertUnwindSafe(|| stage.run(&mut open))).is_ok();
            if let Some(meter) = &self.meter {
                meter.ran(stage.name(), open.len(), begun.elapsed());
            }
            if is_done {
                continue;
            }
            for item in open.into_iter().filter(|item| item.verdict().is_none()) {
                let alone = AssertUnwindSafe(|| stage.run(&mut [&mut *item]));
                if catch_unwind(alone).is_err() {
                    let message = "the stage panicked on this record; its message is in the log";
                    item.die(DeadCause::new(stage.name(), Reason::new("panic"), message));
                }
            }
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|stage| stage.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use wingbeat_record::{Record, Subject};
    use wingbeat_stage::Verdict;

    use super::*;

    /// Panics on some payloads.
    struct Brittle;

    impl Stage for Brittle {
        fn name(&self) -> &'static str {
            "brittle"
        }

        fn run(&self, items: &mut [&mut Item]) {
            for item in items {
                assert!(item.record().payload != "boom", "boom");
                item.set_token("seen", "yes");
            }
        }
    }

    #[test]
    fn i6_a_panicking_stage_costs_one_record() {
        let items = ["a", "boom", "b"];
        let subject = Subject::new("s").unwrap();
        let mut items: Vec<Item> =
            items.iter().map(|p| Item::new(Record::new(subject.clone(), *p))).collect();
        let mut open: Vec<&mut Item> = items.iter_mut().collect();
        Pipeline::of(vec![Box::new(Brittle)]).run(&mut open);
        assert!(
            matches!(items[1].verdict(), Some(Verdict::Dead(cause)) if cause.stage == "brittle")
        );
        for item in [&items[0], &items[2]] {
            assert_eq!((item.verdict(), item.token("seen")), (None, Some("yes")));
        }
    }

    #[test]
    fn an_unknown_stage_is_refused_with_the_names_of_those_that_are() {
        let error = Pipeline::new(&["psot".to_owned()], &Settings::default()).unwrap_err();
        assert!(error.to_string().contains("post"), "{error}");
    }
}
