//! Asking the hub, and downloading (<https://huggingface.co/docs/hub/api>).

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, Response, StatusCode, header, redirect::Policy};
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
};

use crate::{
    Cache, Cached, Checksum, HubError, HubSettings, ModelName,
    cache::make_parent,
    name::{is_commit, is_file_name},
};

/// How long connecting may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long nothing may come.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How often something is tried before it is given up. What was downloaded stays.
const TRIES_MAX: u32 = 5;
/// The first pause between tries; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest list of files.
const LIST_BYTES_MAX: usize = 16 << 20;
const FILES_MAX: usize = 20_000;
/// The hub sends to the servers that store its files, and those seldom on.
const REDIRECTS_MAX: usize = 5;

/// A model as the hub has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The commit that the revision stands at.
    pub commit: String,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

/// A file of a model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name, such as `onnx/model.onnx`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What it must be.
    pub checksum: Checksum,
}

/// Picks files of a model out of their names, or says what is missing.
pub type Choose<'a> = dyn Fn(&[&str]) -> Result<Vec<String>, String> + Sync + 'a;

/// Hears how a download goes on.
pub trait Progress: Send {
    /// A file is begun, of which so many bytes are there already.
    fn begin(&mut self, file: &RemoteFile, there: u64);
    /// So many bytes of it are there now.
    fn reach(&mut self, bytes: u64);
    /// It is complete, or given up.
    fn end(&mut self);
}

/// The hub, and the folder of what was downloaded from it.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    settings: HubSettings,
    cache: Cache,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// How a try ended that is not the end.
enum Failed {
    /// It may be better another time.
    ForNow(String),
    Fatal(HubError),
}

impl From<HubError> for Failed {
    fn from(error: HubError) -> Self {
        Self::Fatal(error)
    }
}

impl Hub {
    /// A hub with these settings. Nothing is asked yet.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        let tls = wingbeat_ops::tls::client_config().map_err(HubError::Settings)?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            // A token never leaves the encryption, wherever the hub sends.
            .https_only(settings.endpoint.starts_with("https:"))
            .redirect(Policy::limited(REDIRECTS_MAX))
            .connect_timeout(CONNECT_WAIT)
            .read_timeout(IDLE_MAX)
            .user_agent(concat!("wingbeat/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HubError::Settings(told(&error)))?;
        let cache = Cache::new(settings.cache.clone());
        Ok(Self { client, settings, cache })
    }

    /// The folder of what was downloaded.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Gets files of a model, those that `choose` picks out of their names, and puts them into the
    /// cache. What is there already is not downloaded again; what was begun goes on. Without a
    /// network, or where it is forbidden, what was downloaded before is taken.
    pub async fn get(
        &self,
        name: &ModelName,
        choose: &Choose<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Cached, HubError> {
        let before = self.cache.find(name)?;
        if self.settings.offline {
            return self.offline(name, before, choose);
        }
        // A commit never changes: when everything is there the hub need not be asked.
        if name.is_pinned()
            && let Some(cached) = &before
            && choose(&names_of(cached)).is_ok()
        {
            return Ok(cached.clone());
        }
        let remote = match self.look_up(name).await {
            Ok(remote) => remote,
            Err(error @ HubError::Unavailable { .. }) => {
                let cached = before.filter(|cached| choose(&names_of(cached)).is_ok());
                let Some(cached) = cached else { return Err(error) };
                tracing::warn!(%error, model = %name, "what was downloaded before is used");
                return Ok(cached);
            }
            Err(error) => return Err(error),
        };
        let names: Vec<&str> = remote.files.iter().map(|file| file.name.as_str()).collect();
        let chosen = choose(&names)
            .map_err(|problem| HubError::Unusable { model: name.to_string(), problem })?;
        for wanted in &chosen {
            let file = remote.files.iter().find(|file| file.name == *wanted);
            let Some(file) = file else {
                return Err(HubError::NotThere {
                    what: format!("file `{wanted}` of {name}"),
                    endpoint: self.settings.endpoint.clone(),
                });
            };
            self.download(name, &remote.commit, file, progress).await?;
            self.cache.link(name, &remote.commit, wanted, &file.checksum)?;
        }
        self.cache.set_ref(name, &remote.commit)?;
        let what = || format!("{name} at {}", remote.commit);
        self.cache
            .find(name)?
            .ok_or_else(|| HubError::Offline { what: what(), cache: self.cache.root().to_owned() })
    }

    fn offline(
        &self,
        name: &ModelName,
        before: Option<Cached>,
        choose: &Choose<'_>,
    ) -> Result<Cached, HubError> {
        let missing = |what| HubError::Offline { what, cache: self.cache.root().to_owned() };
        let cached = before.ok_or_else(|| missing(name.to_string()))?;
        match choose(&names_of(&cached)) {
            Ok(_) => Ok(cached),
            Err(problem) => Err(missing(format!("{name} ({problem})"))),
        }
    }

    /// What the hub has of a model.
    pub async fn look_up(&self, name: &ModelName) -> Result<Remote, HubError> {
        let revision = name.revision().replace('/', "%2F");
        let url = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            self.settings.endpoint,
            name.repo()
        );
        let what = name.to_string();
        let body = self.patiently(&what, async || {
            let mut response = self.ask(&what, &url, None).await?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| for_now(&error))? {
                if body.len() + chunk.len() > LIST_BYTES_MAX {
                    return Err(self.senseless(&what, "the list of files is too long").into());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        });
        let body = body.await?;
        let info: Info = serde_json::from_slice(&body)
            .map_err(|error| self.senseless(&what, &error.to_string()))?;
        if !is_commit(&info.sha) || info.siblings.len() > FILES_MAX {
            return Err(self.senseless(&what, "no commit, or too many files"));
        }
        // What can't be a file of ours, or has no checksum, is as if it were not there.
        let files = info.siblings.into_iter().filter_map(|sibling| {
            let (bytes, checksum) = match sibling.lfs {
                Some(lfs) => (lfs.size, Checksum::parse(&lfs.sha256)?),
                None => (sibling.size?, Checksum::parse(&sibling.blob_id?)?),
            };
            let name = sibling.rfilename;
            is_file_name(&name).then_some(RemoteFile { name, bytes, checksum })
        });
        Ok(Remote { commit: info.sha, files: files.collect() })
    }

    /// Brings a file into the cache.
    async fn download(
        &self,
        name: &ModelName,
        commit: &str,
        file: &RemoteFile,
        progress: &mut dyn Progress,
    ) -> Result<(), HubError> {
        let blob = self.cache.blob(name, &file.checksum);
        make_parent(&blob)?;
        let _lock = lock(self.cache.lock_path(name, &file.checksum)).await?;
        if blob.metadata().is_ok_and(|there| there.len() == file.bytes) {
            return Ok(());
        }
        let mut part = blob.clone().into_os_string();
        part.push(".incomplete");
        let part = PathBuf::from(part);
        let there = part.metadata().map_or(0, |part| part.len());
        progress.begin(file, there);
        let fetched = self.fetch(name, commit, file, &part, progress).await;
        progress.end();
        fetched?;
        let (checksum, path) = (file.checksum.clone(), part.clone());
        let found = tokio::task::spawn_blocking(move || checksum.of(&path)).await;
        let found = found.map_err(|error| HubError::Unavailable {
            what: file.name.clone(),
            problem: error.to_string(),
        })??;
        if found != file.checksum.as_str() {
            std::fs::remove_file(&part).map_err(HubError::io("remove", &part))?;
            return Err(HubError::Checksum {
                file: format!("{name}/{}", file.name),
                expected: file.checksum.as_str().to_owned(),
                found,
                advice: "it was removed, try again",
            });
        }
        std::fs::rename(&part, &blob).map_err(HubError::io("make", &blob))
    }

    /// Appends to a part until the file is complete.
    async fn fetch(
        &self,
        name: &ModelName,
        commit: &str,
        file: &RemoteFile,
        part: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), HubError> {
        let path: Vec<String> = file.name.split('/').map(escaped).collect();
        let (endpoint, repo) = (&self.settings.endpoint, name.repo());
        let url = format!("{endpoint}/{repo}/resolve/{commit}/{}", path.join("/"));
        let what = format!("{name}/{}", file.name);
        let mut tries = 0;
        loop {
            let there = part.metadata().map_or(0, |part| part.len());
            if there == file.bytes && part.exists() {
                return Ok(());
            }
            let there = if there > file.bytes { 0 } else { there };
            match self.append(&what, &url, there, file.bytes, part, progress).await {
                Ok(()) => {}
                Err(Failed::Fatal(error)) => return Err(error),
                Err(Failed::ForNow(problem)) => {
                    let is_further = part.metadata().is_ok_and(|part| part.len() > there);
                    // Whoever gets on may go on for as long as it takes.
                    tries = if is_further { 1 } else { tries + 1 };
                    self.pause(&what, &problem, tries).await?;
                }
            }
        }
    }

    /// One try to get the rest of a file.
    async fn append(
        &self,
        what: &str,
        url: &str,
        there: u64,
        bytes: u64,
        part: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Failed> {
        let mut response = self.ask(what, url, Some(there).filter(|there| *there > 0)).await?;
        // A server that does not know ranges sends everything.
        let mut reached = if response.status() == StatusCode::PARTIAL_CONTENT { there } else { 0 };
        let io = |error| Failed::Fatal(HubError::io("write", part)(error));
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(part)
            .await
            .map_err(io)?;
        file.set_len(reached).await.map_err(io)?;
        file.seek(SeekFrom::Start(reached)).await.map_err(io)?;
        let written = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    reached += chunk.len() as u64;
                    if reached > bytes {
                        break Err(self.senseless(what, "it sends more than it said").into());
                    }
                    if let Err(error) = file.write_all(&chunk).await {
                        break Err(io(error));
                    }
                    progress.reach(reached);
                }
                Ok(None) if reached < bytes => {
                    break Err(Failed::ForNow("the connection ended too early".to_owned()));
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(for_now(&error)),
            }
        };
        // Whatever happened: what has come is kept.
        file.flush().await.map_err(io)?;
        file.sync_all().await.map_err(io)?;
        written
    }

    /// Sends a request, and sorts the answers that are none.
    async fn ask(&self, what: &str, url: &str, from: Option<u64>) -> Result<Response, Failed> {
        let mut request = self.client.get(url);
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(from) = from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| for_now(&error))?;
        let status = response.status();
        let endpoint = || self.settings.endpoint.clone();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let (what, status) = (what.to_owned(), status.as_u16());
                Err(HubError::Denied { what, endpoint: endpoint(), status }.into())
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(HubError::NotThere { what: what.to_owned(), endpoint: endpoint() }.into())
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Failed::ForNow(format!("the answer is {status}")))
            }
            _ if status.is_server_error() => Err(Failed::ForNow(format!("the answer is {status}"))),
            _ => Err(self.senseless(what, &format!("the answer is {status}")).into()),
        }
    }

    async fn patiently<T>(
        &self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> Result<T, Failed>,
    ) -> Result<T, HubError> {
        let mut tries = 0;
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(Failed::Fatal(error)) => return Err(error),
                Err(Failed::ForNow(problem)) => {
                    tries += 1;
                    self.pause(what, &problem, tries).await?;
                }
            }
        }
    }

    /// Waits before another try; an error where it was the last one.
    async fn pause(&self, what: &str, problem: &str, tries: u32) -> Result<(), HubError> {
        if tries >= self.settings.tries.unwrap_or(TRIES_MAX) {
            let (what, problem) = (what.to_owned(), problem.to_owned());
            return Err(HubError::Unavailable { what, problem });
        }
        tracing::warn!(what, problem, "downloading is tried again");
        tokio::time::sleep(PAUSE * 2_u32.pow(tries - 1)).await;
        Ok(())
    }

    fn senseless(&self, what: &str, problem: &str) -> HubError {
        HubError::Answer {
            what: what.to_owned(),
            endpoint: self.settings.endpoint.clone(),
            problem: problem.to_owned(),
        }
    }
}

fn names_of(cached: &Cached) -> Vec<&str> {
    cached.files.iter().map(|file| file.name.as_str()).collect()
}

/// Waits until no other process downloads the same file. The lock goes with the handle.
async fn lock(path: PathBuf) -> Result<std::fs::File, HubError> {
    make_parent(&path)?;
    let take = move || {
        let file = std::fs::File::create(&path).map_err(HubError::io("make", &path))?;
        file.lock().map_err(HubError::io("lock", &path))?;
        Ok(file)
    };
    tokio::task::spawn_blocking(take).await.unwrap_or_else(|error| {
        let problem = error.to_string();
        Err(HubError::Unavailable { what: "a lock".to_owned(), problem })
    })
}

/// A part of a path, as it stands in a URL.
fn escaped(part: &str) -> String {
    part.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn for_now(error: &reqwest::Error) -> Failed {
    Failed::ForNow(told(error))
}

/// An error with its causes, without the address: it may have a signature in it.
fn told(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if causes.is_empty() { "the answer was cut off".to_owned() } else { causes.join(": ") }
}
