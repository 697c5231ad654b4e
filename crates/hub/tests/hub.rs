//! Downloading from a hub that does what hubs do, and misbehaves on request.

#![expect(clippy::unwrap_used, reason = "tests")]

mod standin;

use std::collections::BTreeMap;

use standin::{COMMIT, Shelf, StandIn};
use wingbeat_hub::{Cached, Hub, HubError, HubSettings, ModelName, Progress, RemoteFile, Token};

const MODEL: &str = "acme/tiny";

/// A file that is not the same anywhere.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

fn shelf() -> Shelf {
    let files = [
        ("config.json", b"{}".to_vec()),
        ("onnx/model.onnx", content(50_000)),
        ("onnx/other.onnx", content(2_000)),
        ("../escape", b"no".to_vec()),
    ];
    let files: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    Shelf { models: BTreeMap::from([(MODEL.to_owned(), files)]), ..Shelf::default() }
}

/// Counts what is told.
#[derive(Default)]
struct Told {
    begun: Vec<(String, u64)>,
    reached: u64,
    ended: usize,
}

impl Progress for Told {
    fn begin(&mut self, file: &RemoteFile, there: u64) {
        self.begun.push((file.name.clone(), there));
    }

    fn reach(&mut self, bytes: u64) {
        self.reached = bytes;
    }

    fn end(&mut self) {
        self.ended += 1;
    }
}

struct Client {
    directory: tempfile::TempDir,
    settings: HubSettings,
}

impl Client {
    fn new(hub: &StandIn) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = HubSettings {
            endpoint: hub.endpoint.clone(),
            token: None,
            cache: directory.path().join("hub"),
            offline: false,
            tries: Some(2),
        };
        Self { directory, settings }
    }

    async fn get(&self, told: &mut Told) -> Result<Cached, HubError> {
        self.get_of(MODEL, told).await
    }

    async fn get_of(&self, name: &str, told: &mut Told) -> Result<Cached, HubError> {
        let hub = Hub::new(self.settings.clone()).unwrap();
        let name: ModelName = name.parse().unwrap();
        hub.get(&name, &choose, told).await
    }
}

fn choose(names: &[&str]) -> Result<Vec<String>, String> {
    let wanted = ["config.json", "onnx/model.onnx"];
    let missing = wanted.iter().find(|wanted| !names.contains(wanted));
    match missing {
        Some(missing) => Err(format!("it has no `{missing}`")),
        None => Ok(wanted.map(str::to_owned).to_vec()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_downloaded_once_checked_and_then_there_without_a_network() {
    let hub = StandIn::start(shelf()).await;
    let mut client = Client::new(&hub);
    let mut told = Told::default();
    let cached = client.get(&mut told).await.unwrap();
    assert_eq!(cached.commit, COMMIT);
    let path = cached.path("onnx/model.onnx").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content(50_000));
    assert_eq!((told.begun.len(), told.ended, told.reached), (2, 2, 50_000));
    // As the hub's own libraries lay it out.
    let model = client.settings.cache.join("models--acme--tiny");
    assert_eq!(std::fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    assert!(model.join("snapshots").join(COMMIT).join("config.json").is_symlink());
    // A second time only the list is asked for.
    hub.shelf().asked.clear();
    client.get(&mut Told::default()).await.unwrap();
    assert_eq!(hub.shelf().asked.len(), 1);
    // A commit never changes: nothing is asked.
    hub.shelf().asked.clear();
    client.get_of(&format!("{MODEL}@{COMMIT}"), &mut Told::default()).await.unwrap();
    assert_eq!(hub.shelf().asked.len(), 0);
    // Not to be asked, and not to be reached.
    client.settings.offline = true;
    assert_eq!(client.get(&mut Told::default()).await.unwrap().folder, cached.folder);
    client.settings.offline = false;
    client.settings.endpoint = "http://127.0.0.1:1".to_owned();
    assert_eq!(client.get(&mut Told::default()).await.unwrap().folder, cached.folder);
    assert!(!client.directory.path().join("escape").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_is_cut_off_goes_on_where_it_stopped() {
    let hub = StandIn::start(shelf()).await;
    hub.shelf().break_after = Some(20_000);
    hub.shelf().busy = 1;
    let client = Client::new(&hub);
    let cached = client.get(&mut Told::default()).await.unwrap();
    assert_eq!(std::fs::read(cached.path("onnx/model.onnx").unwrap()).unwrap(), content(50_000));
    let ranges: Vec<Option<String>> = {
        let shelf = hub.shelf();
        let stored = shelf.asked.iter().filter(|(path, ..)| path.starts_with("stored"));
        stored.map(|(_, range, _)| range.clone()).collect()
    };
    let range = |from: u32| Some(format!("bytes={from}-"));
    assert_eq!(ranges, [None, range(20_000), range(40_000)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_run_has_begun_goes_on() {
    let hub = StandIn::start(shelf()).await;
    let client = Client::new(&hub);
    client.get(&mut Told::default()).await.unwrap();
    // As if it had been killed in the middle.
    let model = client.settings.cache.join("models--acme--tiny");
    let link = model.join("snapshots").join(COMMIT).join("onnx/model.onnx");
    let blob = std::fs::canonicalize(&link).unwrap();
    std::fs::remove_file(&blob).unwrap();
    let mut part = blob.into_os_string();
    part.push(".incomplete");
    std::fs::write(part, &content(50_000)[..30_000]).unwrap();
    let mut told = Told::default();
    let cached = client.get(&mut told).await.unwrap();
    assert_eq!(told.begun, [("onnx/model.onnx".to_owned(), 30_000)]);
    assert_eq!(std::fs::read(cached.path("onnx/model.onnx").unwrap()).unwrap(), content(50_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_refused_and_found() {
    let hub = StandIn::start(shelf()).await;
    hub.shelf().is_damaging = true;
    let client = Client::new(&hub);
    let error = client.get(&mut Told::default()).await.unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
    hub.shelf().is_damaging = false;
    let cached = client.get(&mut Told::default()).await.unwrap();
    let cache = Hub::new(client.settings.clone()).unwrap().cache().clone();
    assert_eq!(cache.verify(&cached).unwrap(), []);
    // Somebody changes a file on the disk.
    let path = cached.path("onnx/model.onnx").unwrap();
    let mut changed = content(50_000);
    changed[7] ^= 1;
    std::fs::write(std::fs::canonicalize(path).unwrap(), changed).unwrap();
    let damaged = cache.verify(&cached).unwrap();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].0.name, "onnx/model.onnx");
    cache.remove(&damaged[0].0).unwrap();
    let cached = client.get(&mut Told::default()).await.unwrap();
    assert_eq!(cache.verify(&cached).unwrap(), []);
    assert_eq!(cache.list().unwrap(), [cached]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_token_goes_to_the_hub_alone_and_is_never_told() {
    let hub = StandIn::start(shelf()).await;
    hub.shelf().token = Some("sesame".to_owned());
    let mut client = Client::new(&hub);
    let error = client.get(&mut Told::default()).await.unwrap_err();
    assert!(matches!(error, HubError::Denied { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    client.settings.token = Token::new("sesame");
    client.get(&mut Told::default()).await.unwrap();
    let shelf = hub.shelf();
    let stored: Vec<bool> = shelf
        .asked
        .iter()
        .filter(|(path, ..)| path.starts_with("stored"))
        .map(|(.., has_token)| *has_token)
        .collect();
    assert_eq!(stored, [false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_had_is_an_error_that_says_why() {
    let hub = StandIn::start(shelf()).await;
    let mut client = Client::new(&hub);
    let told = &mut Told::default();
    let missing = client.get_of("acme/none", told).await.unwrap_err();
    assert!(matches!(missing, HubError::NotThere { .. }), "{missing}");
    let missing = client.get_of("acme/tiny@v9", told).await.unwrap_err();
    assert!(matches!(missing, HubError::NotThere { .. }), "{missing}");
    hub.shelf().busy = 10;
    let busy = client.get(told).await.unwrap_err();
    assert!(busy.to_string().contains("503"), "{busy}");
    hub.shelf().busy = 0;
    hub.shelf().models.get_mut(MODEL).unwrap().remove("config.json");
    let unusable = client.get(told).await.unwrap_err();
    assert!(unusable.to_string().contains("it has no `config.json`"), "{unusable}");
    client.settings.offline = true;
    let offline = client.get(told).await.unwrap_err();
    assert!(offline.to_string().contains("models pull"), "{offline}");
}
