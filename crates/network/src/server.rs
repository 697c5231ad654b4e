//! The endpoints of one host.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Router,
    extract::{Path, Query, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Json, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    connection::Connection,
    dictionary::{Dictionary, Packer},
    fault::{DoneFault, Fault, Level, UnknownFault},
    filter::Filter,
    network::Shared,
    subscription::{BadCursor, Protocol, Start, Subscription, first_seq},
    world::Status,
};

/// The longest message that a consumer may send: an `options_update` of Jetstream v1.
const CLIENT_MESSAGE_BYTES_MAX: usize = 10 << 20;

/// How much is gathered before it is written to the socket.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// The most events that one answer tells the truth about. Whoever wants more asks again.
const TRUTH_EVENTS_MAX: usize = 100_000;

/// The subprotocol of Jetstream v2.
const V2_SUBPROTOCOL: &str = "xrpc.v1.json";

/// The parameters of v1 that v2 refuses, with their names there.
const V1_PARAMETERS: [(&str, &str); 4] = [
    ("wantedCollections", "collections"),
    ("wantedDids", "dids"),
    ("compress", "zstdDictionary"),
    ("requireHello", "none: v2 takes no messages"),
];

/// One host.
#[derive(Debug, Clone)]
struct Host {
    shared: Arc<Shared>,
    index: usize,
}

/// Query parameters, some of which come more than once.
struct Parameters(Vec<(String, String)>);

/// A request that is refused, as XRPC says it.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    message: String,
}

type Answer = Result<Response, Refusal>;

/// Serves a host until the network stops.
pub(crate) async fn serve(shared: Arc<Shared>, index: usize, listener: TcpListener) {
    let stop = shared.stop.clone().cancelled_owned();
    let router = Router::new()
        .route("/xrpc/com.atproto.sync.subscribeRepos", get(subscribe_repos))
        .route("/subscribe", get(subscribe_v1))
        .route("/xrpc/network.bsky.jetstream.subscribeEvents", get(subscribe_v2))
        .route("/xrpc/network.bsky.jetstream.getZstdDictionary", get(zstd_dictionary))
        .route("/xrpc/com.atproto.sync.getRepo", get(repo))
        .route("/xrpc/com.atproto.identity.resolveHandle", get(resolve_handle))
        .route("/simulate/events", get(events))
        .route("/simulate/faults", get(faults))
        .route("/simulate/{fault}", post(simulate))
        .route("/{did}", get(did_document))
        .with_state(Host { shared, index });
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(host = index, %error, "the host can't go on");
    }
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse();
        number.map(Some).map_err(|_| refuse(format!("`{name}` is no whole number: `{text}`")))
    }

    fn bytes(&self, name: &str) -> Result<usize, Refusal> {
        let number = self.number(name)?.unwrap_or(0);
        usize::try_from(number).map_err(|_| refuse(format!("`{name}` is too large")))
    }

    fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| refuse(format!("`{name}` is missing")))
    }
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error: "InvalidRequest", message: message.into() }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "message": self.message });
        (self.status, Json(body)).into_response()
    }
}

async fn subscribe_repos(
    State(host): State<Host>,
    Query(parameters): Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
) -> Answer {
    let parameters = Parameters(parameters);
    let cursor = parameters.number("cursor")?;
    host.open(upgrade, Protocol::Relay, cursor, Filter::default(), None, false)
}

async fn subscribe_v1(
    State(host): State<Host>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Answer {
    let parameters = Parameters(parameters);
    let filter = Filter::new(
        parameters.all("wantedCollections"),
        parameters.all("wantedDids"),
        &[],
        parameters.bytes("maxMessageSizeBytes")?,
    )
    .map_err(|error| refuse(error.to_string()))?;
    let by_header = headers.get("socket-encoding");
    let by_header = by_header.is_some_and(|value| value.as_bytes() == b"zstd");
    let packed = by_header || parameters.get("compress") == Some("true");
    let dictionary = match (packed, &host.shared.v1_dictionary) {
        (false, _) => None,
        (true, Some(dictionary)) => Some(Arc::clone(dictionary)),
        (true, None) => {
            return Err(refuse(
                "no dictionary for v1 was given: start the network with its file, or leave out \
                 `compress`",
            ));
        }
    };
    let needs_hello = parameters.get("requireHello") == Some("true");
    let cursor = parameters.number("cursor")?;
    host.open(upgrade, Protocol::JetstreamV1, cursor, filter, dictionary, needs_hello)
}

async fn subscribe_v2(
    State(host): State<Host>,
    Query(parameters): Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
) -> Answer {
    let parameters = Parameters(parameters);
    for (old, new) in V1_PARAMETERS {
        if parameters.get(old).is_some() {
            return Err(refuse(format!("`{old}` is a parameter of v1; in v2 it is {new}")));
        }
    }
    let filter = Filter::new(
        parameters.all("collections"),
        parameters.all("dids"),
        &parameters.all("kinds"),
        parameters.bytes("maxMessageSizeBytes")?,
    )
    .map_err(|error| refuse(error.to_string()))?;
    let dictionary = match parameters.number("zstdDictionary")? {
        None => None,
        Some(id) => {
            let current = host.v2_dictionary().await?;
            if u64::from(current.id()) != id {
                return Err(Refusal {
                    error: "UnknownZstdDictionary",
                    ..refuse(format!("the current dictionary is {}", current.id()))
                });
            }
            Some(current)
        }
    };
    let cursor = parameters.number("cursor")?;
    let upgrade = upgrade.protocols([V2_SUBPROTOCOL]);
    host.open(upgrade, Protocol::JetstreamV2, cursor, filter, dictionary, false)
}

impl Host {
    /// Opens a stream, unless a fault has it that it is not.
    fn open(
        self,
        upgrade: WebSocketUpgrade,
        protocol: Protocol,
        cursor: Option<u64>,
        filter: Filter,
        dictionary: Option<Arc<Dictionary>>,
        needs_hello: bool,
    ) -> Answer {
        let Self { shared, index: host } = self;
        let fault = take_opening_fault(&shared, host, protocol);
        if fault == Some(Fault::Refuse) {
            return Err(Refusal {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: "ServiceUnavailable",
                message: "no more connections are taken".to_owned(),
            });
        }
        let bad_cursors = shared.options.bad_cursors;
        let start = Start::of_cursor(cursor, protocol, host, &shared.history, bad_cursors);
        if let Err(BadCursor::TooOld(floor)) = start {
            return Err(Refusal {
                error: "CursorTooOld",
                ..refuse(format!("the oldest sequence number is {floor}"))
            });
        }
        let is_future = start == Err(BadCursor::Future);
        let start = start.unwrap_or_else(|_| Start::live(&shared.history));
        let packer = dictionary.map(|dictionary| Arc::new(Packer::new(dictionary)));
        let subscription = Subscription { protocol, host, filter, packer, start };
        let upgrade = upgrade
            .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
            .write_buffer_size(WRITE_BUFFER_BYTES);
        Ok(upgrade.on_upgrade(move |socket| async move {
            let stop = shared.stop.clone();
            let mut connection = Connection::new(shared, socket, subscription, needs_hello);
            if fault == Some(Fault::Mute) {
                connection.hush(&stop).await;
            } else if is_future {
                connection.last_word("FutureCursor").await;
            } else {
                connection.run().await;
            }
        }))
    }

    async fn v2_dictionary(&self) -> Result<Arc<Dictionary>, Refusal> {
        let shared = Arc::clone(&self.shared);
        let trained = tokio::task::spawn_blocking(move || shared.v2_dictionary()).await;
        let message = match trained {
            Ok(Ok(dictionary)) => return Ok(dictionary),
            Ok(Err(problem)) => problem,
            Err(error) => error.to_string(),
        };
        Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "InternalServerError",
            message,
        })
    }
}

fn take_opening_fault(shared: &Shared, host: usize, protocol: Protocol) -> Option<Fault> {
    let n = shared.connections.get(host)?.fetch_add(1, Ordering::Relaxed);
    let fault = shared.faults.take(Some(host), n, |fault| fault.level() == Level::Opening)?;
    let protocol = Some(protocol.name());
    shared.faults.done(DoneFault { fault, host: Some(host), n, seq: None, protocol });
    Some(fault)
}

async fn zstd_dictionary(State(host): State<Host>) -> Answer {
    let dictionary = host.v2_dictionary().await?;
    let headers = [
        ("content-type", "application/octet-stream".to_owned()),
        ("x-zstd-dictionary-id", dictionary.id().to_string()),
    ];
    Ok((headers, dictionary.bytes().to_vec()).into_response())
}

async fn repo(State(host): State<Host>, Query(parameters): Query<Vec<(String, String)>>) -> Answer {
    let parameters = Parameters(parameters);
    let did = parameters.required("did")?;
    let mut world = host.shared.maker.world();
    let found = world.profile(did).zip(world.repo_car(did));
    drop(world);
    let (error, what) = match found {
        Some((profile, car)) if profile.status == Status::Active => {
            let headers = [(header::CONTENT_TYPE, "application/vnd.ipld.car")];
            return Ok((headers, car).into_response());
        }
        Some((profile, _)) if profile.status == Status::Deactivated => {
            ("RepoDeactivated", "is deactivated")
        }
        _ => ("RepoNotFound", "is not here"),
    };
    Err(Refusal { error, ..refuse(format!("the repository of {did} {what}")) })
}

async fn resolve_handle(
    State(host): State<Host>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let parameters = Parameters(parameters);
    let handle = parameters.required("handle")?;
    match host.shared.maker.world().resolve_handle(handle) {
        Some(did) => Ok(Json(json!({ "did": *did })).into_response()),
        None => Err(Refusal { error: "HandleNotFound", ..refuse(format!("nobody is `{handle}`")) }),
    }
}

/// The DID document, as the PLC directory gives it: 410 for what is gone.
async fn did_document(State(host): State<Host>, Path(did): Path<String>) -> Answer {
    let missing = |status, problem: &str| Refusal {
        status,
        error: "NotFound",
        message: format!("{did} {problem}"),
    };
    let profile = host.shared.maker.world().profile(&did);
    let Some(profile) = profile else {
        return Err(missing(StatusCode::NOT_FOUND, "is not registered"));
    };
    if profile.status == Status::Deleted {
        return Err(missing(StatusCode::GONE, "is gone"));
    }
    let endpoint = host.shared.addresses.get(host.index).map(|address| format!("http://{address}"));
    let document = json!({
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
        ],
        "id": did,
        "alsoKnownAs": [format!("at://{}", profile.handle)],
        "verificationMethod": [{
            "id": format!("{did}#atproto"),
            "type": "Multikey",
            "controller": did,
            "publicKeyMultibase": profile.key_multibase,
        }],
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": endpoint,
        }],
    });
    let headers = [(header::CONTENT_TYPE, "application/did+ld+json")];
    Ok((headers, document.to_string()).into_response())
}

async fn simulate(
    State(host): State<Host>,
    Path(name): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let fault: Fault = name.parse().map_err(|error: UnknownFault| refuse(error.to_string()))?;
    let count = Parameters(parameters).number("count")?.unwrap_or(1);
    let count = usize::try_from(count).map_err(|error| refuse(error.to_string()))?;
    host.shared
        .inject(host.index, fault, count)
        .map_err(|message| Refusal { status: StatusCode::CONFLICT, ..refuse(message) })?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn faults(State(host): State<Host>) -> Response {
    let mut lines = String::new();
    for done in host.shared.faults.all_done() {
        lines.push_str(&json!(done).to_string());
        lines.push('\n');
    }
    ([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response()
}

async fn events(
    State(host): State<Host>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let from = Parameters(parameters).number("from")?.unwrap_or(0);
    let Some(events) = host.shared.history.truth(from, TRUTH_EVENTS_MAX) else {
        return Err(Refusal {
            status: StatusCode::GONE,
            ..refuse("the truth about these events is not kept any more")
        });
    };
    let mut lines = String::new();
    for event in events {
        event.write_lines(first_seq(host.index) + event.n, &mut lines);
    }
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response())
}
