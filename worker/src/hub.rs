//! A hub of models that speaks Hugging Face's protocol: which files a repository has, and how they come here whole.
//!
//! - [`name`] reads how people name a model; [`select`] says which of its files a worker needs.
//! - [`fetch`] brings one file: it goes on where an earlier try stopped, and nothing gets its name before its hash is
//!   the one that the hub lists.
//!
//! A revision is resolved to its commit first, so that all files are of one state. The hub is not trusted with this
//! machine's disk: names that would leave the model's folder are refused, and so is more than a file's listed length.
//! The token goes to the hub alone, never to the hosts that it redirects to.
//! `docs/decisions/0014-downloads-from-hubs.md` says why this is not a library's.

pub mod name;
pub mod select;

#[cfg(test)]
pub(crate) mod fake;
pub mod fetch;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::progress::size;
use name::Repo;

/// Where models are looked for unless `HF_ENDPOINT` names another hub.
pub const HUGGING_FACE: &str = "https://huggingface.co";

/// The longest answer of the hub's API that is read: a page of a thousand files has some hundred kB.
const LONGEST_ANSWER: usize = 16 << 20;
/// Pages of a repository's listing, at most.
const MOST_PAGES: usize = 50;
/// Redirects that are followed, at most.
const MOST_REDIRECTS: usize = 10;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(20);

/// Why a model does not come.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name is not one of a model on this hub.
    #[error("{0}")]
    Name(String),
    /// The endpoint or the token cannot be used.
    #[error("{0}")]
    Settings(String),
    /// There is no such repository, revision or file.
    #[error(
        "{url} is not there ({why}): check name, --revision and --file; a private model needs HF_TOKEN"
    )]
    NotFound {
        /// What was asked for.
        url: String,
        /// What the hub says.
        why: String,
    },
    /// The hub wants to know who asks.
    #[error(
        "the hub does not give {url} ({why}): set HF_TOKEN to a token that may read it; for a gated model, accept its \
         terms on its page first. It also answers so where there is no such model"
    )]
    Refused {
        /// What was asked for.
        url: String,
        /// What the hub says.
        why: String,
    },
    /// Another answer than a file.
    #[error("{url}: the hub answers {status}; try again later")]
    Status {
        /// What was asked for.
        url: String,
        /// What it answered.
        status: StatusCode,
    },
    /// It did not come, after several tries.
    #[error(
        "{what}: {why}; gave up after {tries} tries without a byte. Run it again: it goes on where it stopped"
    )]
    GaveUp {
        /// What was asked for.
        what: String,
        /// The last reason.
        why: String,
        /// Tries since the last byte.
        tries: u32,
    },
    /// The hub's answer makes no sense.
    #[error(
        "the hub's answer is not understood: {0}; is HF_ENDPOINT a hub that speaks Hugging Face's protocol?"
    )]
    Malformed(String),
    /// A name that would leave the folder.
    #[error(
        "the hub lists a file named {0:?}, which could be written outside of the model's folder: nothing is downloaded"
    )]
    UnsafeName(String),
    /// Nothing that can be run here.
    #[error("{0}")]
    Unsuitable(String),
    /// It arrived, and is not what the hub lists.
    #[error(
        "{file} has {found}, but the hub lists {listed}: it was not kept. Try again, or another HF_ENDPOINT"
    )]
    Wrong {
        /// Its path.
        file: String,
        /// What arrived.
        found: String,
        /// What the hub lists.
        listed: String,
    },
    /// A file of that name is there, and is another.
    #[error(
        "{0} is there already and is another file: move it away, or choose another folder with --to"
    )]
    InTheWay(PathBuf),
    /// The disk is too full.
    #[error(
        "{folder} has room for {free}, the model needs {needed} more: free some, or choose another disk with --to",
        free = size(*free),
        needed = size(*needed),
        folder = folder.display()
    )]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// Bytes that are still to come, and a reserve.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The disk does not take it.
    #[error("{0}: {1}")]
    Disk(PathBuf, std::io::Error),
}

impl HubError {
    /// For a failure on the disk.
    pub fn disk(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Disk(path, error)
    }
}

/// What the hub says by which a file's content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// Of a large file.
    Sha256([u8; 32]),
    /// Of a small one: git's SHA-1 over its length and content.
    GitBlob([u8; 20]),
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => write!(f, "SHA-256 {}", hex::encode(hash)),
            Self::GitBlob(hash) => write!(f, "git blob {}", hex::encode(hash)),
        }
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it is in the repository; safe to join to a folder.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its content.
    pub digest: Digest,
}

impl RemoteFile {
    /// Its name without folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The folder that it is in; empty for the repository's own.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which repository.
    pub repo: Repo,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

/// How patient a download is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first wait after a failure; it doubles from there.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// Tries in a row that bring nothing, before it gives up.
    pub tries: u32,
    /// How long the hub may be silent.
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            tries: 12,
            silence: Duration::from_secs(60),
        }
    }
}

/// A connection to a hub.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    endpoint: Url,
    pace: Pace,
}

impl Hub {
    /// A hub, asked with a token where there is one.
    ///
    /// # Errors
    /// Where the endpoint is no URL, or the token could be read on its way.
    pub fn new(endpoint: &str, token: Option<&str>, pace: Pace) -> Result<Self, HubError> {
        let wrong = |why: &str| HubError::Settings(format!("HF_ENDPOINT = {endpoint:?} {why}"));
        let url = Url::parse(endpoint).map_err(|error| wrong(&format!("is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(wrong("must begin with https:// or http://"));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            if url.scheme() == "http" && !is_this_machine(&url) {
                return Err(wrong("is not encrypted: use https, or unset HF_TOKEN"));
            }
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| {
                HubError::Settings("HF_TOKEN has characters that no token has".into())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // The client drops the token itself where a redirect leaves the host or the port.
        let redirects = redirect::Policy::custom(|attempt| {
            let from = attempt.previous().last().map_or("", |url| url.scheme());
            if attempt.previous().len() > MOST_REDIRECTS {
                attempt.error("too many redirects")
            } else if from == "https" && attempt.url().scheme() != "https" {
                attempt.error("a redirect from https to an unencrypted address")
            } else {
                attempt.follow()
            }
        });
        let client = Client::builder()
            .user_agent(concat!("emc-worker/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirects)
            .connect_timeout(CONNECT)
            .read_timeout(pace.silence)
            .build()
            .map_err(|error| HubError::Settings(format!("no HTTP client: {error}")))?;
        Ok(Self {
            client,
            endpoint: url,
            pace,
        })
    }

    /// The hub's host, as people name it in URLs.
    pub fn host(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        match self.endpoint.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// What a repository holds at a revision: a branch, a tag or a commit.
    ///
    /// # Errors
    /// Where there is no such repository or revision, or the hub does not give it.
    pub async fn snapshot(&self, repo: &Repo, revision: &str) -> Result<Snapshot, HubError> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
        }
        let url = self.url(["api", "models"], repo, ["revision", revision]);
        let (info, _) = self.json::<Info>(url).await?;
        let commit = info.sha;
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(HubError::Malformed(format!("the commit {commit:?}")));
        }
        let mut url = self.url(["api", "models"], repo, ["tree", &commit]);
        url.set_query(Some("recursive=true"));
        let mut files = vec![];
        for _ in 0..MOST_PAGES {
            let (entries, next) = self.json::<Vec<Entry>>(url.clone()).await?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                files.push(entry.file()?);
            }
            url = match next {
                None => {
                    let repo = repo.clone();
                    return Ok(Snapshot {
                        repo,
                        commit,
                        files,
                    });
                }
                // A page elsewhere would be asked for with the token.
                Some(next) if next.origin() == self.endpoint.origin() => next,
                Some(next) => {
                    return Err(HubError::Malformed(format!("its next page is at {next}")));
                }
            };
        }
        Err(HubError::Malformed(format!(
            "more than {MOST_PAGES} pages of files"
        )))
    }

    /// Where a file of a snapshot is.
    fn file_url(&self, snapshot: &Snapshot, path: &str) -> Url {
        let parts = ["resolve", &snapshot.commit];
        let parts = parts.into_iter().chain(path.split('/'));
        self.url([], &snapshot.repo, parts)
    }

    fn url<'a>(
        &self,
        before: impl IntoIterator<Item = &'a str>,
        repo: &'a Repo,
        after: impl IntoIterator<Item = &'a str>,
    ) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts
                .pop_if_empty()
                .extend(before)
                .extend(repo.parts())
                .extend(after);
        }
        url
    }

    /// An answer of the API, and where its next page is.
    async fn json<T: for<'de> Deserialize<'de>>(
        &self,
        url: Url,
    ) -> Result<(T, Option<Url>), HubError> {
        let mut backoff = Backoff::new(self.pace.first_wait, self.pace.longest_wait);
        loop {
            let failure = match self.body(&url).await {
                Ok((body, next)) => {
                    let value = serde_json::from_slice(&body);
                    let value =
                        value.map_err(|error| HubError::Malformed(format!("{url}: {error}")))?;
                    return Ok((value, next));
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { why, wait }) => (why, wait),
            };
            tracing::warn!("{url}: {}; trying again", failure.0);
            self.pause(&mut backoff, url.as_str(), failure).await?;
        }
    }

    async fn body(&self, url: &Url) -> Result<(Vec<u8>, Option<Url>), Failure> {
        let mut response = self.ask(url, None).await?;
        let links = response.headers().get(reqwest::header::LINK);
        let next = links.and_then(|links| next_link(links.to_str().ok()?));
        let mut body = vec![];
        while let Some(chunk) = response.chunk().await.map_err(Failure::transport)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                let error = HubError::Malformed(format!("{url} has no end"));
                return Err(Failure::Final(error));
            }
        }
        Ok((body, next))
    }

    /// Asks once, for all or for what follows a byte. What is not a success is a failure.
    async fn ask(&self, url: &Url, from: Option<u64>) -> Result<Response, Failure> {
        let mut request = self.client.get(url.clone());
        if let Some(from) = from {
            request = request.header(reqwest::header::RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(Failure::transport)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            _ => Err(Failure::of(url, &response)),
        }
    }

    /// Waits before the next try, or gives up.
    async fn pause(
        &self,
        backoff: &mut Backoff,
        what: &str,
        (why, wait): (String, Option<Duration>),
    ) -> Result<(), HubError> {
        let next = backoff.next_wait();
        if backoff.failures() >= self.pace.tries {
            return Err(HubError::GaveUp {
                what: what.to_owned(),
                why,
                tries: backoff.failures(),
            });
        }
        let wait = wait.unwrap_or(next).max(next);
        tracing::debug!(%what, %why, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Why a try failed.
#[derive(Debug)]
enum Failure {
    /// It will fail again.
    Final(HubError),
    /// It may go better, perhaps after the time that the hub names.
    Passing { why: String, wait: Option<Duration> },
}

/// The longest that a hub may ask us to wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

impl Failure {
    fn passing(why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Passing { why, wait: None }
    }

    fn transport(error: reqwest::Error) -> Self {
        // The innermost source says what happened; an address may hold a signature that is nobody's business.
        let error = error.without_url();
        let mut why = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            why = inner.to_string();
            source = inner.source();
        }
        match error.is_redirect() {
            true => Self::Final(HubError::Malformed(why)),
            false => Self::passing(why),
        }
    }

    fn of(url: &Url, response: &Response) -> Self {
        let status = response.status();
        let text = |name: &str| response.headers().get(name)?.to_str().ok();
        let why = text("x-error-message").map_or_else(|| status.to_string(), str::to_owned);
        let url = url.to_string();
        match status.as_u16() {
            401 | 403 => Self::Final(HubError::Refused { url, why }),
            404 | 410 => Self::Final(HubError::NotFound { url, why }),
            408 | 416 | 429 | 500.. => {
                let seconds = text("retry-after").and_then(|seconds| seconds.trim().parse().ok());
                let wait = seconds.map(Duration::from_secs);
                let wait = wait.map(|wait| wait.min(LONGEST_RETRY_AFTER));
                Self::Passing { why, wait }
            }
            _ => Self::Final(HubError::Status { url, status }),
        }
    }
}

/// One entry of a listing.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

/// A large file's.
#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Entry {
    fn file(self) -> Result<RemoteFile, HubError> {
        if !is_safe(&self.path) {
            return Err(HubError::UnsafeName(self.path));
        }
        let no_hash = |oid: &str| HubError::Malformed(format!("{}: the hash {oid:?}", self.path));
        let (length, digest) = match &self.lfs {
            Some(lfs) => {
                let oid = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid);
                (
                    lfs.size,
                    decoded(oid)
                        .map(Digest::Sha256)
                        .ok_or_else(|| no_hash(oid))?,
                )
            }
            None => {
                let hash = decoded(&self.oid).map(Digest::GitBlob);
                (self.size, hash.ok_or_else(|| no_hash(&self.oid))?)
            }
        };
        Ok(RemoteFile {
            path: self.path,
            length,
            digest,
        })
    }
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// True where a path stays inside the folder that it is joined to, on any system.
pub fn is_safe(path: &str) -> bool {
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.contains(['\\', ':'])
            && !part.chars().any(char::is_control)
    };
    path.len() <= 1024 && path.split('/').all(is_plain)
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// From `<https://...>; rel="next"`.
fn next_link(links: &str) -> Option<Url> {
    let next = links
        .split(',')
        .find(|link| link.contains("rel=\"next\""))?;
    let (_, rest) = next.split_once('<')?;
    let (url, _) = rest.split_once('>')?;
    Url::parse(url).ok()
}

#[cfg(test)]
#[path = "hub/tests.rs"]
mod tests;
