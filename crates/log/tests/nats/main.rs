//! The log on real NATS servers. Where there is none to be had the tests say "skipped" and pass;
//! `make nats` fetches them.
#![expect(clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

mod cluster;
mod faults;
mod login;
mod requests;
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use wingbeat_log::{Access, Log, conformance::Harness};

use server::{Server, Version};

/// A server of its own for each check.
struct Fresh(Server);

impl Fresh {
    async fn start(version: Version) -> Option<Self> {
        Some(Self(Server::start(version, "").await?))
    }
}

#[async_trait]
impl Harness for Fresh {
    async fn open(&self) -> Arc<dyn Log> {
        self.0.url("existing=change").open(Access::Write).await.unwrap()
    }
}

/// The newest server.
mod current {
    use super::*;
    wingbeat_log::conformance_tests!(Fresh::start(Version::Current).await);
}

/// Debian's.
mod v2_9 {
    use super::*;
    wingbeat_log::conformance_tests!(Fresh::start(Version::V2_9).await);
}
