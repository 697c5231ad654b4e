//! A directory of DID documents, which also looks handles up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

/// A directory of DID documents.
pub(crate) struct Directory {
    pub(crate) address: String,
    /// By path.
    answers: Arc<Mutex<HashMap<String, String>>>,
    /// How often each path is still answered with an error.
    failures: Arc<Mutex<HashMap<String, u32>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Whether it answers, and with an error.
    pub(crate) mood: watch::Sender<Mood>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    Slow,
    Down,
}

impl Directory {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            failures: Arc::default(),
            asked: Arc::default(),
            mood: watch::channel(Mood::Fine).0,
        };
        let (answers, asked) = (Arc::clone(&directory.answers), Arc::clone(&directory.asked));
        let failures = Arc::clone(&directory.failures);
        let mood = directory.mood.subscribe();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                let failures = Arc::clone(&failures);
                let mut mood = mood.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap());
                    }
                    let request = String::from_utf8(request).unwrap();
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    asked.lock().unwrap().push(path.clone());
                    let mood = *mood.wait_for(|mood| *mood != Mood::Slow).await.unwrap();
                    let is_failing = match failures.lock().unwrap().get_mut(&path) {
                        Some(left) if *left > 0 => {
                            *left -= 1;
                            true
                        }
                        _ => false,
                    };
                    let answer = answers.lock().unwrap().get(&path).cloned();
                    let (status, body) = match (mood, answer) {
                        _ if is_failing => (503, String::new()),
                        (Mood::Down, _) => (503, String::new()),
                        (_, Some(answer)) => (200, answer),
                        (_, None) => (404, String::new()),
                    };
                    let head = format!(
                        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                });
            }
        });
        directory
    }

    /// Has an account a document. Its `id` is added.
    pub(crate) fn register(&self, did: &str, document: &serde_json::Value) {
        let mut document = document.clone();
        document["id"] = did.into();
        self.answers.lock().unwrap().insert(format!("/{did}"), document.to_string());
    }

    /// Answers so many questions for an account with an error.
    pub(crate) fn fail(&self, did: &str, times: u32) {
        self.failures.lock().unwrap().insert(format!("/{did}"), times);
    }

    /// Says whose a handle is.
    pub(crate) fn register_handle(&self, handle: &str, did: &str) {
        let path = format!("/xrpc/com.atproto.identity.resolveHandle?handle={handle}");
        let answer = serde_json::json!({ "did": did }).to_string();
        self.answers.lock().unwrap().insert(path, answer);
    }

    /// How often it was asked for something.
    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}
