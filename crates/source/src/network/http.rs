//! Small answers over HTTP: dictionaries and DID documents.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, StatusCode, redirect::Policy};

use wingbeat_ops::tls;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// The server says that there is no such thing.
    #[error("{0} is not there")]
    NotThere(String),
    /// Anything else, which may be better another time.
    #[error("{0}")]
    Failed(String),
}

/// Asks servers that are not trusted: with limits on the time and the size, and without following
/// them elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    client: Client,
}

impl HttpClient {
    /// Makes a client whose answers must be complete after `limit`.
    pub(crate) fn new(limit: Duration) -> Result<Self, HttpError> {
        let tls = tls::client_config().map_err(HttpError::Failed)?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .redirect(Policy::none())
            .timeout(limit)
            .build()
            .map_err(|error| HttpError::Failed(error.to_string()))?;
        Ok(Self { client })
    }

    /// The answer to a GET, of at most `bytes_max`.
    pub(crate) async fn get(&self, url: &str, bytes_max: usize) -> Result<Bytes, HttpError> {
        let fail = |error: reqwest::Error| HttpError::Failed(format!("{url}: {}", told(&error)));
        let mut response = self.client.get(url).send().await.map_err(fail)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(HttpError::NotThere(url.to_owned()));
            }
            status => return Err(HttpError::Failed(format!("{url}: the answer is {status}"))),
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(fail)? {
            if body.len() + chunk.len() > bytes_max {
                let problem = format!("{url}: the answer has more than {bytes_max} bytes");
                return Err(HttpError::Failed(problem));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// An error with its causes: reqwest's own text leaves them out.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
