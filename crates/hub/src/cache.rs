//! The folder of downloaded models. It is laid out as the hub's own libraries lay out theirs
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>), so that both find what the
//! other has downloaded:
//!
//! ```text
//! models--ORGANISATION--NAME/refs/main              the commit that a branch stood at
//!                            blobs/CHECKSUM         the files
//!                            blobs/CHECKSUM.incomplete
//!                            snapshots/COMMIT/FILE  links to them
//! ```

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::{
    HubError, ModelName,
    name::{is_commit, is_file_name},
};

/// What is read of a file at once.
const READ_BYTES: usize = 1 << 20;
/// Folders of a model are not deeper than this.
const DEPTH_MAX: usize = 8;

/// What a file must be: its checksum is its name in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// Of large files: of the content.
    Sha256(String),
    /// Of small ones: as git names them.
    Git(String),
}

impl Checksum {
    /// As hexadecimal digits.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }

    /// From hexadecimal digits; their number tells the kind.
    pub(crate) fn parse(hex: &str) -> Option<Self> {
        let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        match hex.len() {
            40 if is_hex => Some(Self::Git(hex.to_owned())),
            64 if is_hex => Some(Self::Sha256(hex.to_owned())),
            _ => None,
        }
    }

    /// The checksum that a file really has.
    pub(crate) fn of(&self, path: &Path) -> Result<String, HubError> {
        let fail = |error| HubError::Io { what: "read", path: path.to_owned(), error };
        let mut file = fs::File::open(path).map_err(fail)?;
        match self {
            Self::Sha256(_) => {
                let mut hash = <Sha256 as sha2::Digest>::new();
                feed(&mut file, |bytes| sha2::Digest::update(&mut hash, bytes)).map_err(fail)?;
                Ok(hex(&sha2::Digest::finalize(hash)))
            }
            Self::Git(_) => {
                let mut hash = Sha1::new();
                let bytes = file.metadata().map_err(fail)?.len();
                hash.update(format!("blob {bytes}\0"));
                feed(&mut file, |bytes| hash.update(bytes)).map_err(fail)?;
                Ok(hex(&hash.finalize()))
            }
        }
    }
}

fn feed(file: &mut fs::File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its name, with the revision that was asked for.
    pub name: ModelName,
    /// The commit.
    pub commit: String,
    /// The folder of its files.
    pub folder: PathBuf,
    /// Its files, by name.
    pub files: Vec<CachedFile>,
}

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Its name in the model, such as `onnx/model.onnx`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was downloaded.
    pub modified: Option<SystemTime>,
}

impl Cached {
    /// The path of a file.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.files.iter().find(|file| file.name == name).map(|file| file.path.as_path())
    }
}

/// The folder of downloaded models.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A folder; it is made when something is downloaded.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn folder(&self, name: &ModelName) -> PathBuf {
        self.root.join(name.folder())
    }

    pub(crate) fn blob(&self, name: &ModelName, checksum: &Checksum) -> PathBuf {
        self.folder(name).join("blobs").join(checksum.as_str())
    }

    /// A file whose lock is held while a blob is downloaded.
    pub(crate) fn lock_path(&self, name: &ModelName, checksum: &Checksum) -> PathBuf {
        let folder = self.root.join(".locks").join(name.folder());
        folder.join(format!("{}.lock", checksum.as_str()))
    }

    /// Puts a blob that is there under its name into the snapshot of a commit.
    pub(crate) fn link(
        &self,
        name: &ModelName,
        commit: &str,
        file: &str,
        checksum: &Checksum,
    ) -> Result<PathBuf, HubError> {
        let path = self.folder(name).join("snapshots").join(commit).join(file);
        make_parent(&path)?;
        let up = "../".repeat(file.split('/').count() + 1);
        let target = format!("{up}blobs/{}", checksum.as_str());
        if fs::read_link(&path).is_ok_and(|there| there == Path::new(&target)) {
            return Ok(path);
        }
        let _ = fs::remove_file(&path);
        make_link(Path::new(&target), &self.blob(name, checksum), &path)
            .map_err(HubError::io("make", &path))?;
        Ok(path)
    }

    /// Notes which commit a branch stood at.
    pub(crate) fn set_ref(&self, name: &ModelName, commit: &str) -> Result<(), HubError> {
        if name.is_pinned() {
            return Ok(());
        }
        let path = self.folder(name).join("refs").join(name.revision());
        make_parent(&path)?;
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file = fs::File::create(&new)?;
            file.write_all(commit.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(HubError::io("write", &path))
    }

    fn commit(&self, name: &ModelName) -> Option<String> {
        if name.is_pinned() {
            return Some(name.revision().to_owned());
        }
        let path = self.folder(name).join("refs").join(name.revision());
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// What was downloaded of a model. `None`: nothing.
    pub fn find(&self, name: &ModelName) -> Result<Option<Cached>, HubError> {
        let Some(commit) = self.commit(name) else { return Ok(None) };
        let folder = self.folder(name).join("snapshots").join(&commit);
        let mut files = Vec::new();
        list(&folder, &folder, DEPTH_MAX, &mut files)?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let name = name.clone();
        Ok((!files.is_empty()).then_some(Cached { name, commit, folder, files }))
    }

    /// Everything that was downloaded, by name and revision.
    pub fn list(&self) -> Result<Vec<Cached>, HubError> {
        let mut found = Vec::new();
        for folder in names(&self.root)? {
            let Some(name) = ModelName::of_folder(&folder) else { continue };
            let refs = self.root.join(&folder).join("refs");
            let snapshots = self.root.join(&folder).join("snapshots");
            let revisions = names(&refs)?.into_iter().chain(names(&snapshots)?);
            for revision in revisions {
                let Ok(name) = format!("{}@{revision}", name.repo()).parse() else { continue };
                let Some(cached) = self.find(&name)? else { continue };
                // A commit that a branch stands at is listed once.
                if !found.iter().any(|other: &Cached| other.folder == cached.folder) {
                    found.push(cached);
                }
            }
        }
        found.sort_by_key(|cached| cached.name.to_string());
        Ok(found)
    }

    /// Reads all files of a model again, and compares them with their checksums. Damaged ones are
    /// returned, with what is wrong.
    pub fn verify(&self, cached: &Cached) -> Result<Vec<(CachedFile, String)>, HubError> {
        let mut damaged = Vec::new();
        for file in &cached.files {
            let blob = fs::canonicalize(&file.path).map_err(HubError::io("read", &file.path))?;
            let name = blob.file_name().and_then(|name| name.to_str()).and_then(Checksum::parse);
            let Some(checksum) = name else {
                damaged.push((file.clone(), "it is no file of the cache".to_owned()));
                continue;
            };
            let found = checksum.of(&blob)?;
            if found != checksum.as_str() {
                let problem = format!("its checksum is {found}, expected {}", checksum.as_str());
                damaged.push((file.clone(), problem));
            }
        }
        Ok(damaged)
    }

    /// Removes a damaged file, so that it is downloaded anew.
    pub fn remove(&self, file: &CachedFile) -> Result<(), HubError> {
        if let Ok(blob) = fs::canonicalize(&file.path) {
            fs::remove_file(&blob).map_err(HubError::io("remove", &blob))?;
        }
        // Where links can't be made the file was a copy, and is gone by now.
        match fs::remove_file(&file.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HubError::io("remove", &file.path)(error))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn make_parent(path: &Path) -> Result<(), HubError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(HubError::io("make", parent))
}

#[cfg(unix)]
fn make_link(target: &Path, _blob: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn make_link(_target: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(blob, path)
}

/// The names in a folder, sorted; none where it is not there.
fn names(folder: &Path) -> Result<Vec<String>, HubError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HubError::io("read", folder)(error)),
    };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Collects the files below a folder whose content is there.
fn list(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<CachedFile>,
) -> Result<(), HubError> {
    for name in names(folder)? {
        let path = folder.join(&name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() && depth > 0 {
            list(root, &path, depth - 1, files)?;
        }
        let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(relative) = relative.filter(|name| metadata.is_file() && is_file_name(name)) {
            files.push(CachedFile {
                name: relative.to_owned(),
                bytes: metadata.len(),
                modified: metadata.modified().ok(),
                path,
            });
        }
    }
    Ok(())
}
