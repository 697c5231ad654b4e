//! The embedded log against the conformance kit.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use wingbeat_log::{Access, Log, LogUrl, conformance::Harness};

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Harness for Directory {
    async fn open(&self) -> Arc<dyn Log> {
        LogUrl::Embedded(self.0.path().join("log")).open(Access::Write).await.unwrap()
    }
}

wingbeat_log::conformance_tests!(Some(Directory::new()));
