//! From a pinned archive to a folder under `.emc/`: only what is wanted, in one step, with a stamp.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sha2::{Digest, Sha256};
use xtask::download::Downloads;
use xtask::install::{State, install, state};
use xtask::paths::Paths;
use xtask::pins::{self, Part, View};

/// Writes a wheel and a tarball with Python, as registries hold them.
const ARCHIVES: &str = r#"
import io, sys, tarfile, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(folder + "/demo.whl", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("demo/include/a/b.h", "header")
    z.writestr("demo/lib/libone.so.1", "one")
    z.writestr("demo/lib/libtwo.so", "two")
    z.writestr("demo/lib/notes.txt", "unwanted")
    z.writestr("demo/unwanted.py", "unwanted")
with tarfile.open(folder + "/demo.tgz", "w:gz") as t:
    info = tarfile.TarInfo("package/bin/tool")
    info.size, info.mode = 4, 0o755
    t.addfile(info, io.BytesIO(b"tool"))
"#;

struct Place {
    _folder: tempfile::TempDir,
    paths: Paths,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("clone"), folder.path().join("cache"));
        fs::create_dir_all(paths.downloads()).unwrap();
        let made = Command::new("python3")
            .arg("-c")
            .arg(ARCHIVES)
            .arg(paths.downloads())
            .status()
            .unwrap();
        assert!(made.success());
        Self {
            _folder: folder,
            paths,
        }
    }

    /// A part made from both archives, with these lines of `take` for the wheel.
    fn part(&self, takes: &str) -> Part {
        let pin = |file: &str, takes: &str| {
            let bytes = fs::read(self.paths.downloads().join(file)).unwrap();
            let (sha256, size) = (hex::encode(Sha256::digest(&bytes)), bytes.len());
            format!(
                "[[part.pin]]\nname = \"{file}\"\nversion = \"1\"\nfile = \"{file}\"\nindex = \"pypi\"\n\
                 sha256 = \"{sha256}\"\nsize = {size}\nlicence = \"MIT\"\nfor = \"tests\"\ntake = [{takes}]\n"
            )
        };
        let list = format!(
            "[[part]]\nname = \"demo\"\nfolder = \"things/demo\"\nfor = \"tests\"\nunpacked = {{ cpu = 1, cuda = 1 }}\n{}{}",
            pin("demo.whl", takes),
            pin("demo.tgz", r#"{ from = "package/bin/tool", to = "tool" }"#)
        );
        pins::parse(&list).unwrap().remove(0)
    }

    fn install(&self, part: &Part, view: View) -> anyhow::Result<()> {
        install(&self.paths, &Downloads::new(&self.paths), part, view)
    }

    fn files(&self) -> Vec<String> {
        let folder = self.paths.emc().join("things/demo");
        let listed = Command::new("find")
            .arg(&folder)
            .args(["-type", "f", "-printf", "%P\n"])
            .output()
            .unwrap();
        let mut names: Vec<_> = String::from_utf8(listed.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}

const WANTED: &str = r#"
    { from = "demo/include/", to = "include/" },
    { from = "demo/lib/*.so*", to = "lib/", only = "cuda" },
    { from = "demo/lib/libtwo.so", to = "lib/second.so", only = "cpu" }"#;

#[test]
fn only_what_is_wanted_is_unpacked_and_programs_stay_executable() {
    let place = Place::new();
    let part = place.part(&WANTED.replace('\n', " "));
    assert_eq!(state(&place.paths, &part, View::Cpu), State::Missing);
    place.install(&part, View::Cpu).unwrap();
    assert_eq!(
        place.files(),
        [".stamp", "include/a/b.h", "lib/second.so", "tool"]
    );
    let tool = place.paths.emc().join("things/demo/tool");
    assert_eq!(
        fs::metadata(tool).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(state(&place.paths, &part, View::Cpu), State::Ready);
}

#[test]
fn the_other_view_replaces_the_first_wholly() {
    let place = Place::new();
    let part = place.part(&WANTED.replace('\n', " "));
    place.install(&part, View::Cpu).unwrap();
    assert_eq!(state(&place.paths, &part, View::Cuda), State::Outdated);
    place.install(&part, View::Cuda).unwrap();
    assert_eq!(
        place.files(),
        [
            ".stamp",
            "include/a/b.h",
            "lib/libone.so.1",
            "lib/libtwo.so",
            "tool"
        ]
    );
    assert_eq!(state(&place.paths, &part, View::Cuda), State::Ready);
}

#[test]
fn a_rule_that_matches_nothing_is_an_error_and_what_was_there_stays() {
    let place = Place::new();
    place
        .install(&place.part(&WANTED.replace('\n', " ")), View::Cpu)
        .unwrap();
    let before = place.files();
    let wrong = place.part(r#"{ from = "demo/absent.so", to = "absent.so" }"#);
    let error = format!("{:#}", place.install(&wrong, View::Cpu).unwrap_err());
    assert!(error.contains("demo/absent.so"), "{error}");
    assert_eq!(place.files(), before);
    assert_eq!(state(&place.paths, &wrong, View::Cpu), State::Outdated);
}

#[test]
fn a_folder_that_somebody_made_by_hand_is_replaced() {
    let place = Place::new();
    let folder = place.paths.emc().join("things/demo");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("own"), "x").unwrap();
    let part = place.part(&WANTED.replace('\n', " "));
    assert_eq!(state(&place.paths, &part, View::Cpu), State::Outdated);
    place.install(&part, View::Cpu).unwrap();
    assert!(!place.files().contains(&"own".to_owned()));
}
