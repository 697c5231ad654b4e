//! The small HTTP server of a service: liveness, readiness, details, metrics.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    WebError,
    analyze::{self, AnalystCell},
    metrics,
    readiness::{self, Waiting},
};

/// What a service says about itself.
pub trait ServiceReport: Send + Sync + 'static {
    /// The service's name.
    fn name(&self) -> &str;

    /// Whether it does its work.
    fn is_ready(&self) -> bool;

    /// What it waits for, where it is not ready for that.
    fn waits_for(&self) -> Option<Waiting>;

    /// Everything worth knowing; an object.
    fn details(&self) -> Value;

    /// Its metrics as Prometheus text; `None` where they are switched off.
    fn metrics(&self) -> Option<String>;
}

/// The server, its address taken.
pub struct ServiceServer {
    listener: TcpListener,
    address: SocketAddr,
    analyst: Option<AnalystCell>,
}

type Report = State<Arc<dyn ServiceReport>>;

impl ServiceServer {
    /// Takes the address; port 0 picks a free one.
    pub async fn bind(host: IpAddr, port: u16) -> Result<Self, WebError> {
        let address = SocketAddr::new(host, port);
        let failed = |error| WebError::Listen { address, error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, analyst: None })
    }

    /// Answers `POST /api/analyze` through whoever will be in there.
    #[must_use]
    pub fn with_analyst(self, analyst: AnalystCell) -> Self {
        Self { analyst: Some(analyst), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled.
    pub async fn serve(
        self,
        report: Arc<dyn ServiceReport>,
        stop: CancellationToken,
    ) -> Result<(), WebError> {
        let router = Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/health/detailed", get(detailed))
            .route("/metrics", get(write_metrics))
            .with_state(report)
            .merge(analyze::router(self.analyst));
        let serving = axum::serve(self.listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        serving.await.map_err(WebError::Serve)
    }
}

/// Alive: the process answers.
async fn health(State(report): Report) -> Json<Value> {
    Json(json!({ "status": "ok", "service": report.name() }))
}

async fn ready(State(report): Report) -> Response {
    readiness::answer(Some(report.name()), report.is_ready(), report.waits_for().as_ref())
}

async fn detailed(State(report): Report) -> Response {
    (readiness::status_of(report.is_ready()), Json(report.details())).into_response()
}

async fn write_metrics(State(report): Report) -> Response {
    match report.metrics() {
        Some(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        None => (StatusCode::NOT_FOUND, "metrics are switched off\n").into_response(),
    }
}
