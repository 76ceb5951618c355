//! Downloads from a hub that behaves, and from one that does not.

use std::path::Path;

use super::fake::{COMMIT, FakeHub, Fault, REPO, pace};
use super::fetch::part_of;
use super::*;
use crate::progress::Progress;

const CONFIG: &[u8] = b"{\"model_type\": \"llama\"}";

fn weights() -> Vec<u8> {
    (0..200_000u32).flat_map(u32::to_le_bytes).collect()
}

async fn serve() -> FakeHub {
    FakeHub::serve(&[("config.json", CONFIG), ("model.safetensors", &weights())]).await
}

fn repo() -> Repo {
    name::parse(REPO, "").expect("a name").repo
}

/// Downloads the weights.
async fn fetch(fake: &FakeHub, token: Option<&str>, folder: &Path) -> Result<(), HubError> {
    fetch_file(fake, token, folder, "model.safetensors").await
}

async fn fetch_file(
    fake: &FakeHub,
    token: Option<&str>,
    folder: &Path,
    path: &str,
) -> Result<(), HubError> {
    let hub = fake.client(token);
    let snapshot = hub.snapshot(&repo(), "main").await?;
    let file = snapshot.files.iter().find(|file| file.path == path);
    let file = file.expect("it is listed");
    let mut progress = Progress::begin(file.length);
    hub.fetch(&snapshot, file, &folder.join(path), &mut progress)
        .await
}

fn there(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).expect("it is there")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[tokio::test]
async fn a_listing_says_lengths_and_hashes_page_by_page() {
    let fake = serve().await;
    for page in [None, Some(1)] {
        if let Some(page) = page {
            fake.page(page);
        }
        let snapshot = fake
            .client(None)
            .snapshot(&repo(), "main")
            .await
            .expect("lists");
        assert_eq!(snapshot.commit, COMMIT);
        let paths: Vec<&str> = snapshot
            .files
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(paths, ["config.json", "model.safetensors"]);
        assert!(matches!(snapshot.files[0].digest, Digest::GitBlob(_)));
        assert!(matches!(snapshot.files[1].digest, Digest::Sha256(_)));
        assert_eq!(snapshot.files[1].length, 800_000);
    }
    fake.client(None)
        .snapshot(&repo(), "refs/pr/1")
        .await
        .expect("a revision with slashes");
}

#[tokio::test]
async fn a_file_comes_whole_and_is_not_asked_for_twice() {
    let (fake, folder) = (serve().await, folder());
    for path in ["model.safetensors", "config.json"] {
        fetch_file(&fake, None, folder.path(), path)
            .await
            .expect("comes");
        fetch_file(&fake, None, folder.path(), path)
            .await
            .expect("is there");
    }
    assert_eq!(there(folder.path()), weights());
    assert_eq!(fake.ranges(), [None, None]);
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_with_behind_its_last_byte() {
    let (fake, folder) = (serve().await, folder());
    fake.fail(&[Fault::Cut(100_000), Fault::Cut(50_000), Fault::Status(503)]);
    fetch(&fake, None, folder.path()).await.expect("comes");
    assert_eq!(there(folder.path()), weights());
    let ranges = fake.ranges();
    let expected = [
        None,
        Some("bytes=100000-"),
        Some("bytes=150000-"),
        Some("bytes=150000-"),
    ];
    assert_eq!(ranges, expected.map(|range| range.map(str::to_owned)));
    assert!(!part_of(&folder.path().join("model.safetensors")).exists());
}

#[tokio::test]
async fn another_run_goes_on_with_what_an_earlier_one_left() {
    let (fake, folder) = (serve().await, folder());
    fake.fail(&[
        Fault::Cut(300_000),
        Fault::Status(500),
        Fault::Status(500),
        Fault::Status(500),
    ]);
    let error = fetch(&fake, None, folder.path())
        .await
        .expect_err("gives up")
        .to_string();
    assert!(
        error.contains("3 tries") && error.contains("goes on where it stopped"),
        "{error}"
    );
    let part = part_of(&folder.path().join("model.safetensors"));
    assert_eq!(std::fs::metadata(&part).expect("it is kept").len(), 300_000);
    fetch(&fake, None, folder.path()).await.expect("comes");
    assert_eq!(there(folder.path()), weights());
    assert_eq!(
        fake.ranges().last().cloned().flatten(),
        Some("bytes=300000-".into())
    );
}

#[tokio::test]
async fn a_hub_that_does_not_resume_sends_it_anew() {
    let (fake, folder) = (serve().await, folder());
    fake.fail(&[Fault::Cut(100_000), Fault::OtherRange, Fault::Whole]);
    fetch(&fake, None, folder.path()).await.expect("comes");
    assert_eq!(there(folder.path()), weights());
}

#[tokio::test]
async fn what_is_not_listed_so_is_not_kept() {
    let (fake, folder) = (serve().await, folder());
    for path in ["model.safetensors", "config.json"] {
        fake.fail(&[Fault::Corrupt]);
        let error = fetch_file(&fake, None, folder.path(), path)
            .await
            .expect_err("refused");
        assert!(matches!(&error, HubError::Wrong { .. }), "{error}");
        let place = folder.path().join(path);
        assert!(!place.exists() && !part_of(&place).exists());
    }
    fake.fail(&[Fault::TooMuch]);
    let error = fetch(&fake, None, folder.path())
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("more bytes"), "{error}");
}

#[tokio::test]
async fn a_damaged_beginning_of_an_earlier_run_is_thrown_away() {
    let (fake, folder) = (serve().await, folder());
    let part = part_of(&folder.path().join("model.safetensors"));
    for left in [vec![7; 1_000], vec![7; 800_000], vec![7; 900_000]] {
        std::fs::write(&part, left).expect("writes");
        fetch(&fake, None, folder.path()).await.expect("comes");
        assert_eq!(there(folder.path()), weights());
        std::fs::remove_file(folder.path().join("model.safetensors")).expect("removes");
    }
}

#[tokio::test]
async fn another_file_of_that_name_is_not_overwritten() {
    let (fake, folder) = (serve().await, folder());
    std::fs::write(folder.path().join("model.safetensors"), "mine").expect("writes");
    let error = fetch(&fake, None, folder.path())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(there(folder.path()), b"mine");
    assert!(fake.ranges().is_empty());
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let (fake, folder) = (serve().await, folder());
    fake.ask_for("hf_secret");
    fetch(&fake, Some("hf_secret"), folder.path())
        .await
        .expect("comes");
    let (hub, elsewhere): (Vec<_>, Vec<_>) = fake.seen().into_iter().partition(|seen| seen.on_hub);
    assert!(hub.len() == 3 && elsewhere.len() == 1);
    assert!(
        hub.iter()
            .all(|seen| seen.authorization.as_deref() == Some("Bearer hf_secret"))
    );
    assert!(elsewhere.iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn what_the_hub_refuses_or_does_not_have_is_said_at_once() {
    let (fake, folder) = (serve().await, folder());
    let hub = fake.client(None);
    let error = hub
        .snapshot(&repo(), "v9")
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("Invalid rev id") && error.contains("--revision"),
        "{error}"
    );
    fake.fail(&[Fault::Status(404)]);
    let error = fetch(&fake, None, folder.path())
        .await
        .expect_err("refused");
    assert!(matches!(error, HubError::NotFound { .. }), "{error}");
    assert!(!error.to_string().contains("signature"), "{error}");
    fake.ask_for("hf_secret");
    for token in [None, Some("wrong")] {
        let before = fake.seen().len();
        let error = fetch(&fake, token, folder.path())
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("HF_TOKEN"), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        assert_eq!(fake.seen().len(), before + 1, "it was asked again");
    }
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let hub = Hub::new(&format!("http://{address}"), None, pace()).expect("a client");
    let error = hub
        .snapshot(&repo(), "main")
        .await
        .expect_err("gives up")
        .to_string();
    assert!(error.contains("3 tries"), "{error}");
}

#[tokio::test]
async fn a_name_that_leaves_the_folder_is_refused() {
    for listed in [
        "../config.json",
        "/etc/passwd",
        "a/../../b.json",
        "a\\..\\b.json",
        "C:b.json",
        "a//b.json",
        "a\nb.json",
        "",
    ] {
        let fake = serve().await;
        fake.list_as("config.json", listed);
        let error = fake
            .client(None)
            .snapshot(&repo(), "main")
            .await
            .expect_err(listed);
        assert!(
            matches!(&error, HubError::UnsafeName(name) if name == listed),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_next_page_elsewhere_is_not_asked_for() {
    let fake = serve().await;
    fake.page(1);
    fake.next_page_at("http://elsewhere.example/api");
    let error = fake
        .client(Some("hf_secret"))
        .snapshot(&repo(), "main")
        .await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("elsewhere.example"), "{error}");
}

#[test]
fn a_token_is_never_sent_in_the_clear() {
    for (endpoint, token, says) in [
        ("http://hub.example", Some("hf_x"), "https"),
        ("ftp://hub.example", None, "https"),
        ("hub.example", None, "URL"),
        ("https://hub.example", Some("a\nb"), "HF_TOKEN"),
    ] {
        let error = Hub::new(endpoint, token, pace())
            .expect_err(endpoint)
            .to_string();
        assert!(error.contains(says), "{error}");
    }
    for endpoint in [
        "https://hub.example",
        "http://localhost:1",
        "http://[::1]:1",
    ] {
        Hub::new(endpoint, Some("hf_x"), pace()).expect(endpoint);
    }
    Hub::new("http://hub.example", None, pace()).expect("without a token");
}
