//! Downloads against a small registry on this machine that can break connections, refuse to resume, and lie: what
//! arrives is resumed, checked and kept, or not kept at all. Needs Python 3, as set-up itself does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use xtask::download::Downloads;
use xtask::paths::Paths;
use xtask::pins::{self, Pin};

const FILE: &str = "demo-1.0-py3-none-any.whl";
const TARBALL: &str = "demo-1.0.0.tgz";

/// How the registry behaves, and what it was asked for.
#[derive(Default)]
struct Behaviour {
    /// Break the next so many downloads in the middle.
    breaks: usize,
    /// Ignore `Range`.
    no_ranges: bool,
    /// Answer with an HTML index, as old mirrors do.
    html: bool,
    /// Send other bytes than those that were pinned.
    lies: bool,
    /// The first byte asked for, of each download.
    asked_from: Vec<usize>,
}

struct Registry {
    address: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Registry {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let registry = Self {
            address: address.clone(),
            behaviour: behaviour.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &address, &mut behaviour.lock().unwrap());
            }
        });
        registry
    }

    fn asked_from(&self) -> Vec<usize> {
        self.behaviour.lock().unwrap().asked_from.clone()
    }
}

fn content() -> Vec<u8> {
    (0..1_500_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn answer(mut stream: TcpStream, address: &str, behaviour: &mut Behaviour) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = 0;
    for header in lines.take_while(|line| !line.is_empty()) {
        if let Some(range) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
    }
    let send = |stream: &mut TcpStream,
                status: &str,
                headers: &str,
                announced: usize,
                body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {announced}\r\nConnection: close\r\n{headers}\r\n"
        );
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
    };
    match path.as_str() {
        "/simple/demo/" if behaviour.html => {
            let page = format!("<html><a href=\"../../files/{FILE}#sha256=00\">{FILE}</a></html>");
            send(
                &mut stream,
                "200 OK",
                "Content-Type: text/html\r\n",
                page.len(),
                page.as_bytes(),
            );
        }
        "/simple/demo/" => {
            let page = format!(
                r#"{{"files": [{{"filename": "{FILE}", "url": "{address}/files/{FILE}"}}]}}"#
            );
            let kind = "Content-Type: application/vnd.pypi.simple.v1+json\r\n";
            send(&mut stream, "200 OK", kind, page.len(), page.as_bytes());
        }
        "/@demo/demo/1.0.0" => {
            let page = format!(r#"{{"dist": {{"tarball": "{address}/files/{TARBALL}"}}}}"#);
            send(&mut stream, "200 OK", "", page.len(), page.as_bytes());
        }
        path if path.starts_with("/files/") => {
            behaviour.asked_from.push(from);
            let mut body = content();
            if behaviour.lies {
                body[700_000] ^= 1;
            }
            if behaviour.no_ranges {
                from = 0;
            }
            let body = &body[from..];
            let sent = if behaviour.breaks > 0 {
                body.len() / 2
            } else {
                body.len()
            };
            behaviour.breaks = behaviour.breaks.saturating_sub(1);
            let (status, range) = match from {
                0 => ("200 OK", String::new()),
                _ => (
                    "206 Partial Content",
                    format!("Content-Range: bytes {from}-1499999/1500000\r\n"),
                ),
            };
            send(&mut stream, status, &range, body.len(), &body[..sent]);
        }
        _ => send(&mut stream, "404 Not Found", "", 0, b""),
    }
}

struct Place {
    folder: tempfile::TempDir,
    paths: Paths,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("clone"), folder.path().join("cache"));
        Self { folder, paths }
    }

    fn downloads(&self, registry: &Registry) -> Downloads {
        Downloads::new(&self.paths)
            .with_variable("PIP_INDEX_URL", &format!("{}/simple", registry.address))
            .with_variable("NPM_CONFIG_REGISTRY", &registry.address)
            .with_variable("PIP_RETRIES", "0")
            .with_variable("NO_PROXY", "127.0.0.1")
            .with_variable("no_proxy", "127.0.0.1")
    }

    /// What an interrupted set-up leaves.
    fn leave_partial(&self, bytes: &[u8]) {
        fs::create_dir_all(self.paths.downloads()).unwrap();
        fs::write(self.paths.downloads().join(format!("{FILE}.part")), bytes).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("cache/downloads")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn pin(index: &str, name: &str, version: &str, file: &str) -> Pin {
    let sha256 = hex::encode(Sha256::digest(content()));
    let list = format!(
        r#"
        [[part]]
        name = "demo"
        folder = "demo"
        for = "tests"
        unpacked = {{ cpu = 1, cuda = 1 }}
        [[part.pin]]
        name = "{name}"
        version = "{version}"
        file = "{file}"
        index = "{index}"
        sha256 = "{sha256}"
        size = 1500000
        licence = "MIT"
        for = "tests"
        take = [{{ from = "a", to = "a" }}]
        "#
    );
    pins::parse(&list).unwrap().remove(0).pins.remove(0)
}

fn wheel() -> Pin {
    pin("pypi", "demo", "1.0", FILE)
}

#[test]
fn a_download_arrives_whole_and_the_next_one_asks_nobody() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert_eq!(place.files(), [FILE]);
    assert_eq!(place.downloads(&registry).get(&wheel()).unwrap(), file);
    assert_eq!(registry.asked_from(), [0]);
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let (place, registry) = (
        Place::new(),
        Registry::start(Behaviour {
            breaks: 2,
            ..Behaviour::default()
        }),
    );
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    assert_eq!(registry.asked_from(), [0, 750_000, 1_125_000]);
}

#[test]
fn what_an_interrupted_set_up_left_is_gone_on_with() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    place.leave_partial(&content()[..1_000_000]);
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    assert_eq!(registry.asked_from(), [1_000_000]);
}

#[test]
fn a_server_that_does_not_resume_is_asked_for_the_whole() {
    let (place, registry) = (
        Place::new(),
        Registry::start(Behaviour {
            no_ranges: true,
            ..Behaviour::default()
        }),
    );
    place.leave_partial(&content()[..1_000_000]);
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
}

#[test]
fn a_partial_file_of_other_bytes_is_thrown_away_and_fetched_once_more() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    place.leave_partial(&vec![7; 1_000_000]);
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
    assert_eq!(registry.asked_from(), [1_000_000, 0]);
}

#[test]
fn a_file_with_another_hash_is_refused_and_not_kept() {
    let (place, registry) = (
        Place::new(),
        Registry::start(Behaviour {
            lies: true,
            ..Behaviour::default()
        }),
    );
    let error = format!(
        "{:#}",
        place.downloads(&registry).get(&wheel()).unwrap_err()
    );
    assert!(
        error.contains("SHA-256") && error.contains(&wheel().sha256),
        "{error}"
    );
    assert!(place.files().is_empty());
}

#[test]
fn a_cached_file_that_has_rotted_is_downloaded_again() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    fs::create_dir_all(place.paths.downloads()).unwrap();
    let mut rotten = content();
    rotten[0] ^= 1;
    fs::write(place.paths.downloads().join(FILE), rotten).unwrap();
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
}

#[test]
fn an_index_in_html_will_do() {
    let (place, registry) = (
        Place::new(),
        Registry::start(Behaviour {
            html: true,
            ..Behaviour::default()
        }),
    );
    let file = place.downloads(&registry).get(&wheel()).unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
}

#[test]
fn an_npm_tarball_comes_from_the_registry_that_npm_is_configured_with() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    let file = place
        .downloads(&registry)
        .get(&pin("npm", "@demo/demo", "1.0.0", TARBALL))
        .unwrap();
    assert_eq!(fs::read(file).unwrap(), content());
}

#[test]
fn a_package_that_the_registry_lacks_is_an_error_that_names_it() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    let missing = pin("npm", "@demo/other", "1.0.0", "other-1.0.0.tgz");
    let error = format!(
        "{:#}",
        place.downloads(&registry).get(&missing).unwrap_err()
    );
    assert!(
        error.contains("cannot download @demo/other 1.0.0") && error.contains("404"),
        "{error}"
    );
}

#[test]
fn two_clones_that_want_the_same_file_download_it_once() {
    let (place, registry) = (Place::new(), Registry::start(Behaviour::default()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| place.downloads(&registry).get(&wheel()).unwrap());
        }
    });
    assert_eq!(registry.asked_from(), [0]);
}
