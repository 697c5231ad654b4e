//! A hub on this machine, as far as downloading needs it: the model's list of files, redirects to
//! where large files are stored, ranges, and trouble on request
//! (<https://huggingface.co/docs/hub/api>).

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::result_large_err, reason = "an answer is an answer")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

/// The commit of every model.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the stand-in has, and what it is to do.
#[derive(Default)]
pub struct Shelf {
    /// `ORGANISATION/NAME` and the files.
    pub models: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Only who has this token gets anything.
    pub token: Option<String>,
    /// Large files break off after so many bytes of each answer.
    pub break_after: Option<usize>,
    /// Nobody is answered as long as this is set.
    pub is_holding: bool,
    /// So many answers are 503 first.
    pub busy: usize,
    /// Bytes of large files are damaged on their way.
    pub is_damaging: bool,
    /// What was asked: path, range, and whether a token came with it.
    pub asked: Vec<(String, Option<String>, bool)>,
}

/// Files of this size and more are "large": stored elsewhere, and known by their SHA-256.
pub const LARGE: usize = 1000;

#[derive(Clone)]
struct Shared {
    shelf: Arc<Mutex<Shelf>>,
    store: SocketAddr,
}

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }
}

/// A running stand-in: the hub, and the server that stores large files.
pub struct StandIn {
    /// `http://HOST:PORT`
    pub endpoint: String,
    shelf: Arc<Mutex<Shelf>>,
}

impl StandIn {
    /// Starts it. It ends with the runtime.
    pub async fn start(shelf: Shelf) -> Self {
        let shelf = Arc::new(Mutex::new(shelf));
        let hub = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Another host, as far as tokens are concerned.
        let store = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let shared = Shared { shelf: Arc::clone(&shelf), store: store.local_addr().unwrap() };
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        let routes = Router::new()
            .route("/api/models/{org}/{name}/revision/{revision}", get(info))
            .route("/{org}/{name}/resolve/{revision}/{*file}", get(resolve))
            .with_state(shared.clone());
        let stored = Router::new().route("/{org}/{name}/{*file}", get(stored)).with_state(shared);
        tokio::spawn(async move { axum::serve(hub, routes).await });
        tokio::spawn(async move { axum::serve(store, stored).await });
        Self { endpoint, shelf }
    }

    /// What it has and does, to be changed.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }
}

/// Notes a request; an answer where there is trouble.
fn receive(shared: &Shared, path: &str, headers: &HeaderMap) -> Result<(), Response> {
    let mut shelf = shared.shelf();
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let token = text(header::AUTHORIZATION);
    shelf.asked.push((path.to_owned(), text(header::RANGE), token.is_some()));
    if shelf.busy > 0 {
        shelf.busy -= 1;
        return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    let wanted = shelf.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && wanted != token {
        return Err(StatusCode::UNAUTHORIZED.into_response());
    }
    Ok(())
}

fn not_found() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

async fn info(
    State(shared): State<Shared>,
    Path((org, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    while shared.shelf().is_holding {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    receive(&shared, "info", &headers)?;
    let shelf = shared.shelf();
    let files = shelf.models.get(&format!("{org}/{name}")).ok_or_else(not_found)?;
    if revision != "main" && revision != COMMIT {
        return Err(not_found());
    }
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, content)| {
            let mut sibling =
                json!({ "rfilename": name, "size": content.len(), "blobId": git(content) });
            if content.len() >= LARGE {
                let sha256 = hex(&sha2::Digest::finalize(sha2::Digest::chain_update(
                    <sha2::Sha256 as sha2::Digest>::new(),
                    content,
                )));
                sibling["lfs"] =
                    json!({ "sha256": sha256, "size": content.len(), "pointerSize": 134 });
            }
            sibling
        })
        .collect();
    Ok(axum::Json(json!({ "id": format!("{org}/{name}"), "sha": COMMIT, "siblings": siblings }))
        .into_response())
}

async fn resolve(
    State(shared): State<Shared>,
    Path((org, name, _, file)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    receive(&shared, &file, &headers)?;
    let shelf = shared.shelf();
    let content = shelf.models.get(&format!("{org}/{name}")).and_then(|files| files.get(&file));
    let content = content.ok_or_else(not_found)?;
    if content.len() < LARGE {
        return Ok(content.clone().into_response());
    }
    let location = format!("http://{}/{org}/{name}/{file}?signature=x", shared.store);
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

async fn stored(
    State(shared): State<Shared>,
    Path((org, name, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let mut shelf = shared.shelf();
    let range = headers.get(header::RANGE).map(|range| range.to_str().unwrap().to_owned());
    let has_token = headers.contains_key(header::AUTHORIZATION);
    shelf.asked.push((format!("stored {file}"), range.clone(), has_token));
    let files = shelf.models.get(&format!("{org}/{name}")).ok_or_else(not_found)?;
    let mut content = files.get(&file).ok_or_else(not_found)?.clone();
    if shelf.is_damaging {
        content[LARGE / 2] ^= 1;
    }
    let from =
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.unwrap_or(0);
    let rest = Bytes::from(content).slice(from..);
    let length = rest.len();
    let body = match shelf.break_after {
        Some(end) if end < length => broken(rest.slice(..end)),
        _ => Body::from(rest),
    };
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    Ok((status, [(header::CONTENT_LENGTH, length.to_string())], body).into_response())
}

/// A body whose connection breaks at its end.
fn broken(content: Bytes) -> Body {
    let rest = async {
        // What has come before is sent before the connection is closed.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        Err(std::io::Error::other("broken off on request"))
    };
    let content = futures_util::stream::iter([Ok(content)]);
    Body::from_stream(content.chain(futures_util::stream::once(rest)))
}

fn git(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
