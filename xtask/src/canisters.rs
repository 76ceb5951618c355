//! Builds the canisters: `canisters/<name>` to `.emc/canisters/<name>.wasm` and `<name>.wasm.gz`, with the interface in
//! `candid/<name>.did` as public metadata; and the example dapps, `examples/<name>` with `<name>.did` beside the code.
//!
//! The result depends on the sources, `Cargo.lock` and the version of rustc, and on nothing else: paths of the machine
//! are mapped away (and their absence is checked), and the gzip header holds no time. Two people who build the same
//! commit with the same rustc get the same SHA-256.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::download;
use crate::paths::Paths;
use crate::prerequisites::first_line;
use crate::progress::size;
use crate::{wasm_metadata, wasm_target};

/// How to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Say nothing unless something is wrong.
    pub quiet: bool,
}

/// A built canister.
#[derive(Clone, Debug)]
pub struct Canister {
    /// Its name: the folder in `canisters/` or `examples/`.
    pub name: String,
    /// The module, with its metadata.
    pub wasm: PathBuf,
    /// The same, gzipped: what is installed.
    pub wasm_gz: PathBuf,
    /// The interface.
    pub candid: PathBuf,
    /// SHA-256 of the gzipped module, in hex: the module hash that the Internet Computer reports after installing it.
    pub sha256: String,
}

/// Builds all canisters of this clone. What has not changed is not built again; several processes may call it at once.
///
/// # Errors
/// Where the Rust target cannot be added, the build fails, an interface is missing, or a path of this machine shows in
/// a module.
pub fn build(options: &Options) -> Result<Vec<Canister>> {
    let paths = Paths::of_this_clone()?;
    if !wasm_target::present(paths.root()) {
        wasm_target::add(paths.root())?;
    }
    fs::create_dir_all(paths.canisters())
        .with_context(|| format!("cannot make {}", paths.canisters().display()))?;
    let _lock = download::lock(&paths.emc(), "canisters")?;
    let sources = sources(paths.root())?;
    let workspace = Workspace::of(paths.root())?;
    compile(paths.root(), &workspace, &sources, options)?;
    let version = version(paths.root())?;
    let folder = workspace
        .target_directory
        .join(wasm_target::TARGET)
        .join("canister");
    sources
        .iter()
        .map(|source| finish(&paths, &folder, source, &version))
        .collect()
}

/// Prints what was built, with sizes and hashes.
pub fn print(canisters: &[Canister]) -> Result<()> {
    for canister in canisters {
        let bytes = |path: &Path| fs::metadata(path).map(|file| size(file.len()));
        println!(
            "{:14} {:>9}, {:>9} gzipped",
            canister.name,
            bytes(&canister.wasm)?,
            bytes(&canister.wasm_gz)?
        );
        println!("               {}", canister.wasm_gz.display());
        println!("               sha256 {}", canister.sha256);
    }
    Ok(())
}

/// What a canister is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    /// The folder's name.
    name: String,
    /// The package in it.
    package: String,
    /// The interface, from the root.
    interface: PathBuf,
}

impl Source {
    /// A canister of EMC.
    fn canister(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            package: format!("emc-{name}"),
            interface: Path::new("candid").join(name).with_extension("did"),
        }
    }

    /// An example dapp.
    fn example(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            package: name.to_owned(),
            interface: Path::new("examples")
                .join(name)
                .join(name)
                .with_extension("did"),
        }
    }
}

/// The folders of `canisters/`, then those of `examples/`, each sorted.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in ["canisters", "examples"] {
        let mut names = Vec::new();
        let entries = root.join(folder).read_dir();
        for entry in entries.with_context(|| format!("cannot read {folder}/"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let found = names.iter().map(|name| match folder {
            "examples" => Source::example(name),
            _ => Source::canister(name),
        });
        // What lies there without an interface is a library that canisters share.
        sources.extend(found.filter(|source| root.join(&source.interface).exists()));
    }
    Ok(sources)
}

/// Where cargo puts what it builds.
///
/// # Errors
/// If cargo cannot be asked.
pub fn target_directory(root: &Path) -> Result<PathBuf> {
    Ok(Workspace::of(root)?.target_directory)
}

/// What `cargo metadata` says of the workspace.
#[derive(Deserialize)]
struct Workspace {
    target_directory: PathBuf,
}

impl Workspace {
    fn of(root: &Path) -> Result<Self> {
        let arguments = ["metadata", "--format-version", "1", "--no-deps"];
        let output = Command::new(cargo())
            .args(arguments)
            .current_dir(root)
            .output()
            .context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo metadata failed: {said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn compile(
    root: &Path,
    workspace: &Workspace,
    sources: &[Source],
    options: &Options,
) -> Result<()> {
    let mut cargo = Command::new(cargo());
    cargo
        .args([
            "build",
            "--lib",
            "--profile",
            "canister",
            "--target",
            wasm_target::TARGET,
        ])
        .current_dir(root);
    for source in sources {
        cargo.arg("--package").arg(&source.package);
    }
    if options.quiet {
        cargo.arg("--quiet");
    }
    // These flags go to the canisters alone: with --target, cargo does not pass them to build scripts and macros.
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        remaps(root, workspace).join("\x1f"),
    );
    ensure!(
        cargo.status().context("cannot run cargo")?.success(),
        "the canisters do not build; see cargo's message above"
    );
    Ok(())
}

/// Maps the paths of this machine to fixed ones, for messages of panics and the like. Later ones win in rustc, so the
/// narrower stand last.
fn remaps(root: &Path, workspace: &Workspace) -> Vec<String> {
    let mut maps = vec![(root.to_owned(), "/emc")];
    maps.push((workspace.target_directory.clone(), "/emc/target"));
    maps.extend(cargo_home().map(|home| (home, "/cargo")));
    let sysroot = first_line(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(root),
    );
    maps.extend(sysroot.map(|sysroot| (sysroot.into(), "/rust")));
    maps.into_iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect()
}

fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// The text of the metadata `emc:version`: what has to be the same to get the same module.
fn version(root: &Path) -> Result<String> {
    let rustc = first_line(Command::new("rustc").arg("--version").current_dir(root))
        .context("cannot run rustc")?;
    Ok(format!("{} ({rustc})", env!("CARGO_PKG_VERSION")))
}

/// From cargo's module to the one that is installed.
fn finish(paths: &Paths, folder: &Path, source: &Source, version: &str) -> Result<Canister> {
    let Source { name, package, .. } = source;
    let candid = paths.root().join(&source.interface);
    let interface = fs::read(&candid)
        .with_context(|| format!("the canister {name} needs {}", candid.display()))?;
    let built = folder.join(format!("{}.wasm", package.replace('-', "_")));
    let mut module =
        fs::read(&built).with_context(|| format!("cargo did not make {}", built.display()))?;
    for private in [Some(paths.root().to_owned()), cargo_home()]
        .into_iter()
        .flatten()
    {
        let leaks = contains(&module, private.to_string_lossy().as_bytes());
        ensure!(
            !leaks,
            "the path {} shows in {}; others could not reproduce it",
            private.display(),
            built.display()
        );
    }
    wasm_metadata::append(&mut module, "candid:service", &interface)?;
    wasm_metadata::append(&mut module, "emc:version", version.as_bytes())?;

    let wasm = paths.canisters().join(format!("{name}.wasm"));
    let wasm_gz = paths.canisters().join(format!("{name}.wasm.gz"));
    let unchanged = wasm_gz.exists() && fs::read(&wasm).is_ok_and(|old| old == module);
    if !unchanged {
        // The gzipped one first: if this is interrupted, the plain one still differs and both are written again.
        write(&wasm_gz, &gzip(&module)?)?;
        write(&wasm, &module)?;
    }
    let sha256 = hex::encode(Sha256::digest(fs::read(&wasm_gz)?));
    Ok(Canister {
        name: name.to_owned(),
        wasm,
        wasm_gz,
        candid,
        sha256,
    })
}

/// Gzips without a time or a system in the header, so that the same module gives the same bytes.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    out.write_all(bytes)?;
    Ok(out.finish()?)
}

/// Writes a file in one step: readers see the old one or the new one, whole.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The cargo that runs this command, or the one on the path.
pub(crate) fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn gzip_is_deterministic_and_gives_the_bytes_back() {
        let bytes: Vec<u8> = (0..200_000u32)
            .flat_map(|i| (i / 7).to_le_bytes())
            .collect();
        let packed = gzip(&bytes).unwrap();
        assert_eq!(packed, gzip(&bytes).unwrap());
        assert_eq!(&packed[..4], [0x1f, 0x8b, 8, 0], "no name or comment");
        assert_eq!(&packed[4..8], [0; 4], "no time");
        assert_eq!(packed[9], 255, "no system");
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, bytes);
    }

    #[test]
    fn every_folder_with_an_interface_is_built() {
        let root = tempfile::tempdir().unwrap();
        let touch = |file: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "service : {}").unwrap();
        };
        for file in [
            "canisters/ledger/Cargo.toml",
            "canisters/escrow/Cargo.toml",
            "canisters/notes/Cargo.toml",
            "candid/ledger.did",
            "candid/escrow.did",
            "examples/a-dapp/a-dapp.did",
            "examples/README.md",
        ] {
            touch(file);
        }
        let expected = [
            Source::canister("escrow"),
            Source::canister("ledger"),
            Source::example("a-dapp"),
        ];
        assert_eq!(sources(root.path()).unwrap(), expected);
    }

    fn clone_with(module: &[u8]) -> (tempfile::TempDir, Paths, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().to_owned(), root.path().join("cache"));
        let built = root.path().join("built");
        for folder in [&paths.canisters(), &built, &root.path().join("candid")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(root.path().join("candid/ledger.did"), "service : {}").unwrap();
        fs::write(built.join("emc_ledger.wasm"), module).unwrap();
        (root, paths, built)
    }

    #[test]
    fn a_finished_module_carries_its_interface_and_is_not_written_again_unchanged() {
        let (_root, paths, built) = clone_with(b"\0asm\x01\0\0\0");
        let first = finish(&paths, &built, &Source::canister("ledger"), "1").unwrap();
        let module = fs::read(&first.wasm).unwrap();
        let sections = wasm_metadata::custom_sections(&module).unwrap();
        assert_eq!(
            sections[0],
            (
                "icp:public candid:service".to_owned(),
                b"service : {}".as_slice()
            )
        );
        let written = fs::metadata(&first.wasm_gz).unwrap().modified().unwrap();
        let again = finish(&paths, &built, &Source::canister("ledger"), "1").unwrap();
        assert_eq!(again.sha256, first.sha256);
        assert_eq!(
            fs::metadata(&again.wasm_gz).unwrap().modified().unwrap(),
            written
        );
        assert_ne!(
            finish(&paths, &built, &Source::canister("ledger"), "2")
                .unwrap()
                .sha256,
            first.sha256
        );
    }

    #[test]
    fn a_module_that_shows_a_path_of_this_machine_is_refused() {
        let (root, paths, built) = clone_with(b"");
        let shown = root.path().join("src/lib.rs").display().to_string();
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        wasm_metadata::append(&mut module, "x", shown.as_bytes()).unwrap();
        fs::write(built.join("emc_ledger.wasm"), module).unwrap();
        let error = finish(&paths, &built, &Source::canister("ledger"), "1")
            .unwrap_err()
            .to_string();
        assert!(error.contains("reproduce"), "{error}");
    }

    #[test]
    fn a_canister_without_an_interface_is_refused_by_name() {
        let (root, paths, built) = clone_with(b"\0asm\x01\0\0\0");
        fs::remove_file(root.path().join("candid/ledger.did")).unwrap();
        let error = format!(
            "{:#}",
            finish(&paths, &built, &Source::canister("ledger"), "1").unwrap_err()
        );
        assert!(error.contains("candid/ledger.did"), "{error}");
    }
}
