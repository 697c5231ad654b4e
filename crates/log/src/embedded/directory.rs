//! The directory of an embedded log: what is where in it, and who may write.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::segment::sync_directory;
use crate::LogError;

/// What the file FORMAT says. The number grows when older versions can't read the files any more.
const FORMAT: &str = "wingbeat embedded log, format 1\n";

/// The directory of a log.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held while anything may be written; shared with the threads that write.
    lock: Mutex<Option<Arc<File>>>,
}

impl Directory {
    /// Opens a directory to write, and creates what is not there.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |error| LogError::io(format!("can't use {}", path.display()), &error);
        fs::create_dir_all(path).map_err(failed)?;
        let format = path.join("FORMAT");
        if !format.exists() {
            refuse_foreign(path)?;
        }
        let lock = lock(path)?;
        if !format.exists() {
            let written = File::create(&format).and_then(|mut file| {
                file.write_all(FORMAT.as_bytes()).and_then(|()| file.sync_all())
            });
            written.map_err(failed)?;
        }
        check_format(path)?;
        for child in ["state", "streams"] {
            fs::create_dir_all(path.join(child)).map_err(failed)?;
        }
        sync_directory(path)?;
        Ok(Self { path: path.to_owned(), lock: Mutex::new(Some(Arc::new(lock))) })
    }

    /// Opens a directory to read.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, LogError> {
        if !path.join("FORMAT").exists() {
            return Err(LogError::Invalid(format!(
                "there is no log in {}; name its directory with --log embedded:DIR",
                path.display()
            )));
        }
        check_format(path)?;
        Ok(Self { path: path.to_owned(), lock: Mutex::new(None) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Proof that this process may write; `None` where it only reads.
    pub(super) fn lock(&self) -> Option<Arc<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the lock up, as far as this log holds it; threads that still write hold it too.
    pub(super) fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The directory of a stream's files; created where there is none and we may write.
    pub(super) fn stream(&self, name: &str) -> Result<PathBuf, LogError> {
        let streams = self.path.join("streams");
        let path = streams.join(name);
        if self.lock().is_some() && !path.exists() {
            let made = fs::create_dir(&path);
            made.map_err(|e| LogError::io(format!("can't create {}", path.display()), &e))?;
            sync_directory(&streams)?;
        }
        Ok(path)
    }

    /// Removes the files of a stream, where there are any.
    pub(super) fn remove_stream(&self, name: &str) -> Result<(), LogError> {
        let streams = self.path.join("streams");
        let path = streams.join(name);
        match fs::remove_dir_all(&path) {
            Ok(()) => sync_directory(&streams),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(LogError::io(format!("can't remove {}", path.display()), &error)),
        }
    }
}

/// A directory with other files in it is no place for a log.
fn refuse_foreign(path: &Path) -> Result<(), LogError> {
    let failed = |error| LogError::io(format!("can't list {}", path.display()), &error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "LOCK" && name != "lost+found" {
            return Err(LogError::Invalid(format!(
                "{} holds other files ({}) and is no log; name an empty or new directory",
                path.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

fn check_format(path: &Path) -> Result<(), LogError> {
    let file = path.join("FORMAT");
    let text = fs::read_to_string(&file)
        .map_err(|error| LogError::io(format!("can't read {}", file.display()), &error))?;
    if text == FORMAT {
        return Ok(());
    }
    Err(LogError::Damaged {
        what: file.display().to_string(),
        problem: format!(
            "it says {:?}, and this version reads {:?}; use the version of wingbeat that wrote it",
            text.lines().next().unwrap_or_default().chars().take(80).collect::<String>(),
            FORMAT.trim_end()
        ),
    })
}

fn lock(path: &Path) -> Result<File, LogError> {
    let file_path = path.join("LOCK");
    let failed = |error| LogError::io(format!("can't use {}", file_path.display()), &error);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&file_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The text is a courtesy; the lock is what counts.
            let _ = file.read_to_string(&mut holder);
            let pid = holder.trim().parse::<u32>();
            let holder = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            return Err(LogError::InUse { directory: path.display().to_string(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}
