//! The URL of a NATS log: `nats://user:password@host:4222,host:4222?replicas=3`.

use std::{fmt, path::PathBuf, str::FromStr};

use url::{Url, form_urlencoded};

use crate::LogError;

/// How the URL is written.
const FORM: &str =
    "nats://[USER:PASSWORD@ or TOKEN@]HOST:PORT[,HOST:PORT...][?PARAMETER=VALUE&...]";
/// What may stand behind the question mark.
const PARAMETERS: [&str; 10] =
    ["domain", "prefix", "creds", "nkey", "ca", "cert", "key", "replicas", "name", "existing"];
/// The port of a server where none is named.
const PORT: u16 = 4222;
/// Where JetStream's requests go by default.
pub(super) const PREFIX: &str = "$JS.API";
/// What the connection is called by default.
const NAME: &str = "wingbeat";
/// JetStream keeps at most so many copies.
const REPLICAS_MAX: usize = 5;

/// Which servers, as whom, and how streams are made there. Its text never holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrl {
    /// `host:port`, one at least.
    pub(super) servers: Vec<String>,
    /// Whether TLS is a must.
    pub(super) is_tls: bool,
    pub(super) login: Login,
    /// A file of certificates to trust instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// A client's certificate and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    /// Where JetStream's requests go, such as `$JS.API`.
    pub(super) prefix: String,
    /// How many copies a new stream has; where it is not said, one.
    pub(super) replicas: Option<usize>,
    /// The name of the connection, as the server lists it.
    pub(super) name: String,
    pub(super) existing: Existing,
}

/// What is done about a stream or consumer that is there and set in another way than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It is used as it is, and the difference is said.
    #[default]
    Keep,
    /// It is changed. Lower limits delete records.
    Change,
}

/// As whom.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    Nobody,
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// A file of credentials: a JWT and its key.
    Credentials(PathBuf),
    /// A file that holds the seed of an nkey.
    Nkey(PathBuf),
}

fn refused(why: impl fmt::Display) -> LogError {
    LogError::Invalid(format!("the log's URL {why}; write {FORM}"))
}

impl FromStr for NatsUrl {
    type Err = LogError;

    /// Errors don't repeat the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self, LogError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refused("has no `://`"))?;
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            other => return Err(refused(format_args!("is of an unknown kind `{other}`"))),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let servers = hosts.split(',').map(server).collect::<Result<Vec<_>, _>>()?;
        let query = Url::parse(&format!("nats://host{tail}")).map_err(refused)?;
        if !matches!(query.path(), "" | "/") || query.fragment().is_some() {
            return Err(refused("holds a path or a fragment, which mean nothing here"));
        }
        let mut url = Self {
            servers,
            is_tls,
            login: user_info.map_or(Login::Nobody, login),
            ca: None,
            client: None,
            prefix: PREFIX.to_owned(),
            replicas: None,
            name: NAME.to_owned(),
            existing: Existing::Keep,
        };
        url.set_parameters(&query)?;
        Ok(url)
    }
}

impl NatsUrl {
    /// New streams and buckets have so many copies, where the URL does not say how many.
    pub fn default_replicas(&mut self, replicas: usize) -> Result<(), LogError> {
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            let problem = format!("{replicas} copies: NATS keeps 1 to {REPLICAS_MAX}");
            return Err(LogError::Invalid(problem));
        }
        self.replicas.get_or_insert(replicas);
        Ok(())
    }

    pub(crate) fn changes_existing(&self) -> bool {
        self.existing == Existing::Change
    }

    fn set_parameters(&mut self, query: &Url) -> Result<(), LogError> {
        let (mut cert, mut key) = (None, None);
        for (name, value) in query.query_pairs() {
            let value = value.into_owned();
            if value.is_empty() {
                return Err(refused(format_args!("has an empty parameter `{name}`")));
            }
            match &*name {
                "domain" => self.prefix = format!("$JS.{value}.API"),
                "prefix" => self.prefix = value,
                "creds" => self.login = Login::Credentials(value.into()),
                "nkey" => self.login = Login::Nkey(value.into()),
                "ca" => self.ca = Some(value.into()),
                "cert" => cert = Some(PathBuf::from(value)),
                "key" => key = Some(PathBuf::from(value)),
                "replicas" => match value.parse() {
                    Ok(replicas @ 1..=REPLICAS_MAX) => self.replicas = Some(replicas),
                    _ => {
                        return Err(refused(format_args!(
                            "has replicas={value}, which is not 1 to {REPLICAS_MAX}"
                        )));
                    }
                },
                "name" => self.name = value,
                "existing" => {
                    self.existing = match value.as_str() {
                        "keep" => Existing::Keep,
                        "change" => Existing::Change,
                        _ => return Err(refused("has `existing`, which is `keep` or `change`")),
                    }
                }
                _ => {
                    return Err(refused(format_args!(
                        "has an unknown parameter `{name}`; these are known: {}",
                        PARAMETERS.join(", ")
                    )));
                }
            }
        }
        self.client = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(refused("has one of `cert` and `key`; both are needed")),
        };
        Ok(())
    }
}

impl NatsUrl {
    /// The parameters that are set. None is a secret; files may hold one.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let mut set = Vec::new();
        if self.prefix != PREFIX {
            set.push(("prefix", self.prefix.clone()));
        }
        match &self.login {
            Login::Credentials(file) => set.push(("creds", path(file))),
            Login::Nkey(file) => set.push(("nkey", path(file))),
            Login::Nobody | Login::Password { .. } | Login::Token(_) => {}
        }
        set.extend(self.ca.as_ref().map(|file| ("ca", path(file))));
        if let Some((cert, key)) = &self.client {
            set.extend([("cert", path(cert)), ("key", path(key))]);
        }
        set.extend(self.replicas.map(|replicas| ("replicas", replicas.to_string())));
        if self.name != NAME {
            set.push(("name", self.name.clone()));
        }
        if self.existing == Existing::Change {
            set.push(("existing", "change".to_owned()));
        }
        set
    }
}

/// `host:port` of one server.
fn server(text: &str) -> Result<String, LogError> {
    let bad = || refused(format_args!("names a server {text:?}, which is no HOST or HOST:PORT"));
    let url = Url::parse(&format!("nats://{text}")).map_err(|_| bad())?;
    match url.host_str() {
        Some(host) if !host.is_empty() && matches!(url.path(), "" | "/") => {
            Ok(format!("{host}:{}", url.port().unwrap_or(PORT)))
        }
        _ => Err(bad()),
    }
}

fn login(user_info: &str) -> Login {
    match user_info.split_once(':') {
        Some((user, password)) => {
            Login::Password { user: decode(user), password: decode(password) }
        }
        None => Login::Token(decode(user_info)),
    }
}

/// Resolves `%40` and the like: as in the name of a form's field, once what has a meaning only
/// there is out of the way.
fn decode(text: &str) -> String {
    let field = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(field.as_bytes()).map(|(name, _)| name).collect()
}

impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match self.login {
            Login::Password { .. } | Login::Token(_) => "***@",
            Login::Nobody | Login::Credentials(_) | Login::Nkey(_) => "",
        };
        let scheme = if self.is_tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{login}{}", self.servers.join(","))?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.parameters() {
            query.append_pair(name, &value);
        }
        match query.finish() {
            none if none.is_empty() => Ok(()),
            query => write!(f, "?{query}"),
        }
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> NatsUrl {
        text.parse().unwrap()
    }

    #[test]
    fn copies_are_those_of_the_url_or_else_the_usual_ones() {
        for (text, expected) in [("nats://a", Some(3)), ("nats://a?replicas=5", Some(5))] {
            let mut url: NatsUrl = text.parse().unwrap();
            url.default_replicas(3).unwrap();
            assert_eq!(url.replicas, expected);
            assert!(url.default_replicas(6).is_err());
        }
    }

    #[test]
    fn servers_and_parameters_are_read() {
        let plain = url("nats://localhost");
        assert_eq!(plain.servers, ["localhost:4222"]);
        assert_eq!((plain.prefix.as_str(), plain.is_tls), ("$JS.API", false));
        let full = url("tls://a:1,b,[::1]:3/?domain=hub&replicas=3&existing=change&ca=ca.pem");
        assert_eq!(full.servers, ["a:1", "b:4222", "[::1]:3"]);
        assert_eq!((full.prefix.as_str(), full.is_tls), ("$JS.hub.API", true));
        assert_eq!((full.replicas, full.existing), (Some(3), Existing::Change));
        assert_eq!(full.ca, Some("ca.pem".into()));
        assert_eq!(url(&full.to_string()), full);
        assert_eq!(url(&plain.to_string()), plain);
    }

    #[test]
    fn i7_a_password_or_token_is_read_and_never_printed() {
        let password = url("nats://some%40one:p%2Fa=s&s+w,o:r%40d@host");
        let Login::Password { user, password: secret } = &password.login else { panic!() };
        assert_eq!((user.as_str(), secret.as_str()), ("some@one", "p/a=s&s+w,o:r@d"));
        let token = url("nats://s3cr3t@host:1");
        assert!(matches!(&token.login, Login::Token(token) if token == "s3cr3t"));
        for url in [password, token] {
            let texts = format!("{url} {url:?}");
            for secret in ["s3cr3t", "p/a", "some", "p%2F"] {
                assert!(!texts.contains(secret), "{texts}");
            }
        }
    }

    #[test]
    fn i7_what_is_refused_is_not_repeated() {
        for text in [
            "http://u:s3cr3t@host",
            "nats://u:s3cr3t@",
            "nats://u:s3cr3t@host:port",
            "nats://u:s3cr3t@host/path",
            "nats://u:s3cr3t@host?replicas=9",
            "nats://u:s3cr3t@host?colour=red",
            "nats://u:s3cr3t@host?cert=only",
            "nats://u:s3cr3t@host?existing=maybe",
            "nats://u:s3cr3t@host?name=",
        ] {
            let refused = text.parse::<NatsUrl>().unwrap_err().to_string();
            assert!(!refused.contains("s3cr3t") && refused.contains(FORM), "{refused}");
        }
    }
}
