//! What has to be on the machine before set-up can do its work, each with a message that says how to get it.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::progress::size;
use crate::python;

/// What was found of one prerequisite: words for the user, either way.
pub type Finding = Result<String, String>;

const OLDEST_PYTHON: (u32, u32) = (3, 8);

/// Linux on x86-64.
pub fn platform() -> Finding {
    let here = format!("{} {}", env::consts::OS, env::consts::ARCH);
    if (env::consts::OS, env::consts::ARCH) == ("linux", "x86_64") {
        return Ok("Linux x86-64".to_owned());
    }
    Err(format!(
        "this is {here}; EMC is built and tested on Linux x86-64 only"
    ))
}

/// A C++ compiler, which torch-sys is built with.
pub fn cxx_compiler() -> Finding {
    let compiler = env::var("CXX")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "c++".to_owned());
    let mut words = compiler.split_whitespace();
    let program = words.next().unwrap_or("c++");
    if let Some(version) = first_line(Command::new(program).args(words).arg("--version")) {
        return Ok(version);
    }
    for other in ["g++", "clang++"] {
        if first_line(Command::new(other).arg("--version")).is_some() {
            return Err(format!(
                "`{compiler}` does not run; there is a `{other}`: set CXX={other}"
            ));
        }
    }
    Err(format!(
        "no C++ compiler: `{compiler}` does not run; install one (Debian, Ubuntu: `apt install g++`)"
    ))
}

/// Python 3 with pip, which download and unpack.
pub fn python_with_pip() -> Finding {
    let python = python::interpreter();
    let Some(version) = first_line(Command::new(&python).arg("--version")) else {
        return Err(format!(
            "`{python}` does not run; install Python 3 (Debian, Ubuntu: `apt install python3-pip`)"
        ));
    };
    if python_version(&version).is_none_or(|found| found < OLDEST_PYTHON) {
        return Err(format!(
            "`{python}` is {version}; Python {}.{} or later is needed",
            OLDEST_PYTHON.0, OLDEST_PYTHON.1
        ));
    }
    let Some(pip) = first_line(Command::new(&python).args(["-m", "pip", "--version"])) else {
        return Err(format!(
            "{version} has no pip; install it (Debian, Ubuntu: `apt install python3-pip`)"
        ));
    };
    Ok(format!(
        "{version}, {}",
        pip.split(" from ").next().unwrap_or(&pip)
    ))
}

/// Room for `needed` bytes at `place`, or at its nearest existing parent.
pub fn disk_space(place: &Path, needed: u64) -> Finding {
    let existing = place
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let Some(free) = free_bytes(existing) else {
        return Ok(format!(
            "{} needed; how much is free at {} is unknown",
            size(needed),
            existing.display()
        ));
    };
    if free < needed {
        let (free, needed) = (size(free), size(needed));
        return Err(format!(
            "{} has {free} free, but {needed} are needed; make room there",
            existing.display()
        ));
    }
    Ok(format!("{} free at {}", size(free), existing.display()))
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let output = Command::new("df")
        .args(["-Pk"])
        .arg(folder)
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    available(&String::from_utf8(output.stdout).ok()?)
}

/// Reads the `Available` column of `df -Pk`, which POSIX fixes.
fn available(table: &str) -> Option<u64> {
    let row: Vec<&str> = table.lines().nth(1)?.split_whitespace().collect();
    row.get(row.len().checked_sub(3)?)?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn python_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("Python ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The first line of what a program prints, if it runs and succeeds.
pub fn first_line(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_version_is_compared_by_number() {
        assert_eq!(python_version("Python 3.11.7"), Some((3, 11)));
        assert!(python_version("Python 3.7.17").unwrap() < OLDEST_PYTHON);
        assert!(python_version("Python 3.10.0").unwrap() > OLDEST_PYTHON);
        assert_eq!(python_version("pyenv: no such command"), None);
    }

    #[test]
    fn the_free_space_is_read_from_df() {
        let table = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 100 20 80 20% /work\n";
        assert_eq!(available(table), Some(80 * 1024));
        assert_eq!(available("nothing"), None);
    }

    #[test]
    fn too_little_room_is_said_with_both_numbers() {
        let here = Path::new("/");
        assert!(disk_space(here, 1).is_ok());
        let error = disk_space(here, u64::MAX).unwrap_err();
        assert!(error.contains("are needed"), "{error}");
    }
}
