//! Names of models and of their files. They become paths and parts of URLs, so that only what is
//! harmless in both is a name.

use std::{fmt, str::FromStr};

use crate::HubError;

/// The longest name of a repository, as on the hub.
const REPO_BYTES_MAX: usize = 96;
const REVISION_BYTES_MAX: usize = 128;
const FILE_BYTES_MAX: usize = 512;

/// A model on the hub: `ORGANISATION/NAME`, or `NAME`, and the revision: a branch, a tag or a
/// commit. Without one it is `main`, which may change any time; a commit pins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    repo: String,
    revision: String,
}

impl ModelName {
    /// `ORGANISATION/NAME`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The folder of the cache, as the hub's own libraries call it.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.repo.replace('/', "--"))
    }

    /// The name whose folder that is; its revision is `main`.
    pub(crate) fn of_folder(folder: &str) -> Option<Self> {
        folder.strip_prefix("models--")?.replacen("--", "/", 1).parse().ok()
    }

    /// Whether the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if self.revision == "main" { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |problem| HubError::Name { name: text.escape_debug().to_string(), problem };
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        if repo.len() > REPO_BYTES_MAX || revision.len() > REVISION_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        if repo.split('/').count() > 2 {
            return Err(wrong("it has more than one `/`"));
        }
        if !repo.split('/').all(is_part) || repo.contains("--") || repo.contains("..") {
            return Err(wrong("letters, digits and single `-`, `_`, `.` are allowed"));
        }
        if !revision.split('/').all(is_part) || revision.contains("..") {
            return Err(wrong("its revision is none"));
        }
        Ok(Self { repo: repo.to_owned(), revision: revision.to_owned() })
    }
}

fn is_part(part: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: char| c.is_ascii_alphanumeric() || c == '_';
    part.starts_with(is_end) && part.ends_with(is_end) && part.chars().all(is_allowed)
}

pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

/// Whether a file of that name may be made below a folder.
pub(crate) fn is_file_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed = |c: char| !c.is_control() && !matches!(c, '\\' | ':');
        !part.is_empty() && part != "." && part != ".." && part.chars().all(is_allowed)
    };
    name.len() <= FILE_BYTES_MAX && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_and_others_refused() {
        for (text, repo, revision) in [
            ("a/b", "a/b", "main"),
            ("gpt2", "gpt2", "main"),
            ("a/b@v1.0", "a/b", "v1.0"),
            ("a/b@refs/pr/3", "a/b", "refs/pr/3"),
        ] {
            let name: ModelName = text.parse().unwrap();
            assert_eq!((name.repo(), name.revision()), (repo, revision));
            assert_eq!(name.to_string(), text);
        }
        for text in
            ["", "/", "a/", "../b", "a/..", "a/b/c", "a b/c", "a--b/c", "a/b@", "a/b@../x", "a/.b"]
        {
            assert!(text.parse::<ModelName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_folder(text in "[a./\\\\-]{0,12}") {
            if let Ok(name) = text.parse::<ModelName>() {
                prop_assert!(!name.folder().contains('/') && !name.revision().contains(".."));
                let back = ModelName::of_folder(&name.folder()).unwrap();
                prop_assert_eq!(back.repo(), name.repo());
            }
            if is_file_name(&text) {
                let path = std::path::Path::new(&text);
                let is_normal = |c| matches!(c, std::path::Component::Normal(_));
                prop_assert!(path.components().all(is_normal));
            }
        }
    }
}
