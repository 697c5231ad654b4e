//! Where the hub is, and as whom it is asked.

use std::{fmt, path::PathBuf};

/// The hub.
const ENDPOINT: &str = "https://huggingface.co";

/// A token, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; surrounding space is no part of it. `None` where it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Where the hub is, as whom it is asked, and where downloads are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// `https://HOST`, without a `/` at the end.
    pub endpoint: String,
    /// For models that are not for everybody.
    pub token: Option<Token>,
    /// The folder of downloads.
    pub cache: PathBuf,
    /// Nothing is downloaded: what is not there is an error.
    pub offline: bool,
    /// How often something is tried; `None`: five times.
    pub tries: Option<u32>,
}

impl HubSettings {
    /// As the environment says, in the words of the hub's own libraries
    /// (<https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>):
    /// `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = set("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
            let user = || PathBuf::from(set("HOME").unwrap_or_default()).join(".cache");
            cache.unwrap_or_else(user).join("huggingface")
        });
        let token_path = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let from_file = || std::fs::read_to_string(&token_path).ok();
        let is_on = |value: String| {
            matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
        };
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: set("HF_TOKEN").or_else(from_file).and_then(|text| Token::new(&text)),
            cache: set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            offline: set("HF_HUB_OFFLINE").is_some_and(is_on),
            tries: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_the_hubs_own_libraries_read_it() {
        let read = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> =
                set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            HubSettings::from_environment(move |name| {
                set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone())
            })
        };
        let plain = read(&[("HOME", "/home/u")]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, PathBuf::from("/home/u/.cache/huggingface/hub"));
        assert_eq!((plain.offline, plain.token), (false, None));
        let all = read(&[
            ("HF_ENDPOINT", "http://127.0.0.1:1/"),
            ("HF_HOME", "/h"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "True"),
        ]);
        assert_eq!(all.endpoint, "http://127.0.0.1:1");
        assert_eq!(all.cache, PathBuf::from("/h/hub"));
        assert!(all.offline && all.token.is_some());
        assert!(!format!("{all:?}").contains("secret"));
        assert_eq!(read(&[("HF_HUB_CACHE", "/c"), ("HF_TOKEN", "")]).cache, PathBuf::from("/c"));
    }
}
