//! What this machine computes with, for the registry: the GPU that the NVIDIA driver names, or the processor.

use std::path::Path;
use std::process::Command;

use emc_protocol::limits::TEXT_BYTES;
use emc_protocol::node::Hardware;

/// Looks at the machine: `nvidia-smi` where a model runs on a GPU, `/proc` otherwise.
pub fn detect(gpu: bool) -> Hardware {
    let found = if gpu { nvidia() } else { None };
    found.unwrap_or_else(|| {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        processor(&read("/proc/cpuinfo"), &read("/proc/meminfo"))
    })
}

fn nvidia() -> Option<Hardware> {
    if !Path::new("/proc/driver/nvidia/version").exists() {
        return None;
    }
    let output = Command::new("nvidia-smi")
        .args([
            "--query-gpu=name,memory.total,driver_version",
            "--format=csv,noheader,nounits",
        ])
        .output()
        .ok()?;
    gpus(&String::from_utf8_lossy(&output.stdout))
}

/// From lines like `NVIDIA H100 80GB HBM3, 81559, 580.95.05`: those that are of the first one's kind count.
fn gpus(listing: &str) -> Option<Hardware> {
    let mut lines = listing
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let first = lines.next()?;
    let mut fields = first.split(',').map(str::trim);
    let (device, memory, driver) = (fields.next()?, fields.next()?, fields.next()?);
    let mebibytes: u64 = memory.parse().ok()?;
    Some(Hardware {
        device: short(device),
        count: 1 + lines.filter(|line| *line == first).count() as u32,
        memory: mebibytes.saturating_mul(1 << 20),
        driver: short(&format!("NVIDIA {driver}")),
    })
}

/// From `/proc/cpuinfo` and `/proc/meminfo`; the count is of hardware threads.
fn processor(cpuinfo: &str, meminfo: &str) -> Hardware {
    let value = |line: &str, key: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    };
    let name = cpuinfo.lines().find_map(|line| value(line, "model name"));
    let count = cpuinfo
        .lines()
        .filter(|line| value(line, "processor").is_some())
        .count();
    let kibibytes = meminfo
        .lines()
        .find_map(|line| value(line, "MemTotal"))
        .and_then(|total| total.split(' ').next()?.parse::<u64>().ok());
    Hardware {
        device: short(&name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())),
        count: count.max(1) as u32,
        memory: kibibytes.unwrap_or(0).saturating_mul(1024),
        driver: String::new(),
    }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_of_one_kind_are_counted() {
        let line = "NVIDIA H100 80GB HBM3, 81559, 580.95.05\n";
        let found = gpus(&line.repeat(2)).expect("found");
        assert_eq!(
            (found.device.as_str(), found.count),
            ("NVIDIA H100 80GB HBM3", 2)
        );
        assert_eq!(
            (found.memory, found.driver.as_str()),
            (81_559 << 20, "NVIDIA 580.95.05")
        );
        assert_eq!(gpus(""), None);
        assert_eq!(gpus("Failed to initialize NVML"), None);
    }

    #[test]
    fn a_processor_is_named_by_the_kernel() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: A CPU @ 2 GHz\n";
        let found = processor(cpuinfo, "MemTotal:       16 kB\nMemFree: 1 kB\n");
        assert_eq!(
            (found.device.as_str(), found.count, found.memory),
            ("A CPU @ 2 GHz", 2, 16_384)
        );
        assert_eq!(processor("", "").count, 1);
        assert!(!detect(false).device.is_empty());
    }
}
