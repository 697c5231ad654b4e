//! `POST /api/analyze`: what do the models say of a text?

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use wingbeat_log::Refusal;

/// So long a client may take to send its request.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// Who says what the models make of a text.
pub trait Analyst: Send + Sync {
    /// The largest request, in bytes.
    fn request_bytes_max(&self) -> usize;

    /// Answers a request, a JSON object, by a JSON object. The code of a refusal is an HTTP status.
    fn analyze(&self, request: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>>;
}

/// Where the analyst of this process will be, once its models are loaded.
pub type AnalystCell = Arc<OnceLock<Arc<dyn Analyst>>>;

/// The route. A process that runs no models has no cell.
pub(crate) fn router(cell: Option<AnalystCell>) -> Router {
    Router::new().route("/api/analyze", post(analyze)).with_state(cell)
}

async fn analyze(State(cell): State<Option<AnalystCell>>, request: Request) -> Response<Body> {
    match answer(cell, request).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(refusal) => refuse(&refusal),
    }
}

async fn answer(cell: Option<AnalystCell>, request: Request) -> Result<Bytes, Refusal> {
    let refusal = |code, message: &str| Refusal { code, message: message.to_owned() };
    let Some(cell) = cell else {
        return Err(refusal(404, "this process runs no models; `up` and `process` do"));
    };
    let Some(analyst) = cell.get() else {
        return Err(refusal(503, "the models are not loaded yet"));
    };
    // A page of another site can't send this type without being allowed to.
    if !is_json(request.headers()) {
        return Err(refusal(415, "the request's Content-Type must be application/json"));
    }
    let max = analyst.request_bytes_max();
    let body = axum::body::to_bytes(request.into_body(), max);
    let body = tokio::time::timeout(BODY_WAIT, body)
        .await
        .map_err(|_| refusal(408, "the request took too long to come"))?
        .map_err(|_| Refusal { code: 413, message: format!("over the limit of {max} bytes") })?;
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(refusal(400, "the request must be a JSON object, such as {\"text\": \"...\"}"));
    }
    analyst.analyze(body).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn refuse(Refusal { code, message }: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({ "error": message }))).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}
