//! Answering requests over HTTP: the same analysis that answers over NATS, on the same threads.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use wingbeat_flow::Pool;
use wingbeat_log::Refusal;
use wingbeat_web::Analyst;

use crate::analysis::{self, Analysis, REQUEST_BYTES_MAX};

/// Texts that may be under way at once, those of explanations included: some fifteen explanations.
const TEXTS_MAX: usize = 1024;

/// Answers requests of the HTTP server.
pub(super) struct HttpAnalyst {
    analysis: Arc<Analysis>,
    pool: Pool,
    room: Arc<Semaphore>,
}

impl HttpAnalyst {
    pub(super) fn new(analysis: Arc<Analysis>, pool: Pool) -> Self {
        Self { analysis, pool, room: Arc::new(Semaphore::new(TEXTS_MAX)) }
    }
}

impl Analyst for HttpAnalyst {
    fn request_bytes_max(&self) -> usize {
        REQUEST_BYTES_MAX
    }

    fn analyze(&self, request: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let cost = u32::try_from(analysis::cost(&request)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(cost);
        let (analysis, pool) = (Arc::clone(&self.analysis), self.pool.clone());
        Box::pin(async move {
            let Ok(room) = room else {
                let message = format!("busy: {TEXTS_MAX} texts are under way");
                return Err(Refusal { code: 503, message });
            };
            // Room is given back when the work is done, also where nobody waits for it any more.
            let answers = pool.run(move || {
                let answers = analysis.answer(vec![request]);
                drop(room);
                answers
            });
            let failed = || Err(Refusal { code: 500, message: "the analysis failed".to_owned() });
            answers.await.unwrap_or_default().pop().unwrap_or_else(failed)
        })
    }
}
