//! Whether a process does its work yet, and what keeps it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use wingbeat_record::Time;

/// What a process waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// `log`, `source` or `models`.
    pub what: &'static str,
    /// Its address, without secrets.
    pub address: String,
    /// Since when.
    pub since: Time,
    /// What went wrong last.
    pub problem: Option<String>,
}

/// What a process waits for, if for anything. It begins by waiting.
#[derive(Debug)]
pub struct Readiness(Mutex<Option<Waiting>>);

impl Readiness {
    /// Of a process that waits for something from now on.
    pub fn waiting_for(what: &'static str, address: impl Into<String>) -> Self {
        let waiting = Waiting { what, address: address.into(), since: Time::now(), problem: None };
        Self(Mutex::new(Some(waiting)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It waits. Where it has waited for the same already, it has since then.
    pub fn wait_for(&self, what: &'static str, address: &str, problem: Option<String>) {
        let mut waiting = self.lock();
        let is_same = |waiting: &&Waiting| waiting.what == what && waiting.address == address;
        let since = waiting.as_ref().filter(is_same).map_or_else(Time::now, |same| same.since);
        *waiting = Some(Waiting { what, address: address.to_owned(), since, problem });
    }

    /// It waits for nothing.
    pub fn go_on(&self) {
        *self.lock() = None;
    }

    /// What it waits for.
    pub fn waits_for(&self) -> Option<Waiting> {
        self.lock().clone()
    }

    /// Whether the log answers.
    pub fn has_log(&self) -> bool {
        self.lock().as_ref().is_none_or(|waiting| waiting.what != "log")
    }
}

/// The status of an answer about readiness.
pub(crate) fn status_of(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The answer to `/ready`. Without `waits_for` a process may still not be ready: it has come to its
/// end.
pub(crate) fn answer(
    service: Option<&str>,
    is_ready: bool,
    waits_for: Option<&Waiting>,
) -> Response {
    let word = if is_ready { "ready" } else { "not_ready" };
    let mut body = json!({ "ready": is_ready, "status": word, "waits_for": waits_for });
    if let Some(service) = service {
        body["service"] = Value::from(service);
    }
    (status_of(is_ready), Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_same_has_waited_since_the_first_time() {
        let readiness = Readiness::waiting_for("log", "nats://a");
        assert!(!readiness.has_log());
        let since = readiness.waits_for().unwrap().since;
        readiness.wait_for("log", "nats://a", Some("refused".to_owned()));
        let waiting = readiness.waits_for().unwrap();
        assert_eq!((waiting.since, waiting.problem.as_deref()), (since, Some("refused")));
        readiness.wait_for("source", "auto", None);
        assert!(readiness.has_log());
        assert!(readiness.waits_for().unwrap().since >= since);
        readiness.go_on();
        assert_eq!(readiness.waits_for(), None);
    }
}
