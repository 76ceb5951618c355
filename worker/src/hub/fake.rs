//! A hub on this machine, and the host to which it redirects: they answer as Hugging Face does, and fail as told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Hub, Pace};

/// The commit of everything.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The only repository.
pub const REPO: &str = "org/model";

/// What goes wrong with the next answer that has a file's bytes.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The connection ends after so many bytes.
    Cut(usize),
    /// A bit of the first byte that is sent is another.
    Corrupt,
    /// Range is not looked at.
    Whole,
    /// The answer says that it begins elsewhere.
    OtherRange,
    /// More than there is.
    TooMuch,
    /// Another status.
    Status(u16),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether it came to the hub itself or the host with the bytes.
    pub on_hub: bool,
    /// Path and query.
    pub target: String,
    /// The header, if there was one.
    pub authorization: Option<String>,
    /// The header, if there was one.
    pub range: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: VecDeque<Fault>,
    seen: Vec<Seen>,
    token: Option<String>,
    page: Option<usize>,
    listed_as: BTreeMap<String, String>,
    next_at: Option<String>,
    elsewhere: Option<SocketAddr>,
}

/// The hub.
#[derive(Clone)]
pub struct FakeHub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// Fast enough for tests.
pub fn pace() -> Pace {
    Pace {
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        tries: 3,
        silence: Duration::from_secs(5),
    }
}

impl FakeHub {
    /// Begins to serve. Large files (as a hub sees it: safetensors and GGUF) are served by another host.
    pub async fn serve(files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
        let state = State {
            files: files.collect(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let hub = listen(state.clone(), true).await;
        let elsewhere = listen(state.clone(), false).await;
        let fake = Self {
            address: hub,
            state,
        };
        fake.state().elsewhere = Some(elsewhere);
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client.
    pub fn client(&self, token: Option<&str>) -> Hub {
        Hub::new(&self.endpoint(), token, pace()).expect("a client")
    }

    /// Things go wrong, one after the other.
    pub fn fail(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// Only who has this token is answered.
    pub fn ask_for(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Listings come in pages of so many files.
    pub fn page(&self, files: usize) {
        self.state().page = Some(files);
    }

    /// Listings' next pages are at another address.
    pub fn next_page_at(&self, url: &str) {
        self.state().next_at = Some(url.to_owned());
    }

    /// A file is listed with another path.
    pub fn list_as(&self, path: &str, listed: &str) {
        self.state()
            .listed_as
            .insert(path.to_owned(), listed.to_owned());
    }

    /// A file's content is another, listed as such too.
    pub fn change(&self, path: &str, bytes: &[u8]) {
        self.state().files.insert(path.to_owned(), bytes.to_vec());
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The ranges that were asked for.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let seen = self.seen();
        let bytes = seen
            .into_iter()
            .filter(|seen| seen.target.contains("/bytes/"));
        bytes.map(|seen| seen.range).collect()
    }
}

async fn listen(state: Arc<Mutex<State>>, on_hub: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = state.clone();
            tokio::spawn(async move {
                // Who goes away early is not our concern.
                let _ = answer(stream, &state, on_hub).await;
            });
        }
    });
    address
}

struct Reply {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    /// Bytes after which the connection ends.
    cut: Option<usize>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![],
            body: body.into(),
            cut: None,
        }
    }

    fn with(mut self, header: String) -> Self {
        self.headers.push(header);
        self
    }
}

async fn answer(mut stream: TcpStream, state: &Mutex<State>, on_hub: bool) -> std::io::Result<()> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_owned())
    };
    let seen = Seen {
        on_hub,
        target: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        range: header("range"),
    };
    let host = header("host").unwrap_or_default();
    let reply = {
        let mut state = state.lock().expect("no test panics with it");
        state.seen.push(seen.clone());
        match on_hub {
            true => hub(&mut state, &seen, &host),
            false => bytes(&mut state, &seen),
        }
    };
    let mut text = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    text += &format!("Content-Length: {}\r\n", reply.body.len());
    for header in &reply.headers {
        text += &format!("{header}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
    stream.write_all(&reply.body[..end]).await?;
    stream.shutdown().await
}

fn hub(state: &mut State, seen: &Seen, host: &str) -> Reply {
    let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if expected.is_some() && expected != seen.authorization {
        return Reply::new(401, "").with("X-Error-Message: Repository not found".into());
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let api = format!("/api/models/{REPO}/");
    if let Some(revision) = path.strip_prefix(&format!("{api}revision/")) {
        return match revision {
            "main" | "refs%2Fpr%2F1" => Reply::new(200, json!({ "sha": COMMIT }).to_string()),
            _ => Reply::new(404, "").with("X-Error-Message: Invalid rev id".into()),
        };
    }
    if path == format!("{api}tree/{COMMIT}") {
        return tree(state, host, query);
    }
    let Some(path) = path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/")) else {
        return Reply::new(404, "").with("X-Error-Message: Repository not found".into());
    };
    if !state.files.contains_key(path) {
        return Reply::new(404, "").with("X-Error-Message: Entry not found".into());
    }
    match is_large(path) {
        false => {
            let seen = Seen {
                target: format!("/bytes/{path}"),
                ..seen.clone()
            };
            state.seen.push(seen.clone());
            bytes(state, &seen)
        }
        true => {
            let elsewhere = state.elsewhere.expect("it serves");
            let to = format!("Location: http://{elsewhere}/bytes/{path}?signature=secret");
            Reply::new(302, "").with(to)
        }
    }
}

fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf")
}

fn tree(state: &State, host: &str, query: &str) -> Reply {
    let entries = state.files.iter().map(|(path, bytes)| {
        let listed = state.listed_as.get(path).unwrap_or(path);
        let mut blob = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
        blob.update(bytes);
        let oid = hex::encode(blob.finalize());
        match is_large(path) {
            true => json!({ "type": "file", "path": listed, "oid": oid, "size": bytes.len(), "xetHash": "x", "lfs":
                { "oid": hex::encode(Sha256::digest(bytes)), "size": bytes.len(), "pointerSize": 134 } }),
            false => json!({ "type": "file", "path": listed, "oid": oid, "size": bytes.len() }),
        }
    });
    let mut entries: Vec<_> = entries.collect();
    entries.insert(
        0,
        json!({ "type": "directory", "path": "sub", "oid": "", "size": 0 }),
    );
    let Some(page) = state.page else {
        return Reply::new(200, json!(entries).to_string());
    };
    let from = query
        .split("cursor=")
        .nth(1)
        .and_then(|from| from.parse().ok());
    let from: usize = from.unwrap_or(0);
    let to = (from + page).min(entries.len());
    let reply = Reply::new(200, json!(entries[from..to]).to_string());
    if to == entries.len() {
        return reply;
    }
    let next = format!("http://{host}/api/models/{REPO}/tree/{COMMIT}?recursive=true&cursor={to}");
    let next = state.next_at.as_ref().unwrap_or(&next);
    reply.with(format!("Link: <{next}>; rel=\"next\""))
}

fn bytes(state: &mut State, seen: &Seen) -> Reply {
    let path = seen.target.trim_start_matches("/bytes/");
    let path = path.split('?').next().unwrap_or_default();
    let mut body = state.files[path].clone();
    let total = body.len();
    let fault = state.faults.pop_front();
    let from = seen.range.as_ref().and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let mut reply = match (from, fault) {
        (_, Some(Fault::Status(status))) => return Reply::new(status, ""),
        (Some(from), Some(Fault::OtherRange)) => Reply::new(206, body.split_off(from))
            .with(format!("Content-Range: bytes 0-{}/{total}", total - 1)),
        (None, _) | (_, Some(Fault::Whole)) => Reply::new(200, body),
        (Some(from), _) if from >= total => return Reply::new(416, ""),
        (Some(from), _) => Reply::new(206, body.split_off(from))
            .with(format!("Content-Range: bytes {from}-{}/{total}", total - 1)),
    };
    match fault {
        Some(Fault::Cut(after)) => reply.cut = Some(after),
        Some(Fault::Corrupt) => reply.body[0] ^= 1,
        Some(Fault::TooMuch) => reply.body.push(0),
        _ => {}
    }
    reply
}
