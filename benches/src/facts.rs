//! What a figure depends on besides the program: the machine, its disk, and the load from other
//! programs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// File systems whose files are in memory, where a sync makes nothing durable.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The machine, as it described itself when the measurement began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The version of this program.
    pub version: String,
    /// Whether this is an optimized build. Figures of a debug build are useless.
    pub optimized: bool,
    /// The time of the measurement, in seconds since 1970.
    pub unix_time: u64,
    /// The kernel, its release and its architecture.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// The number of processors that this process may use.
    pub cores: usize,
    /// The load average of the last minute, before the first figure and after the last.
    pub load_average: [f64; 2],
    /// The filesystem of the measured directory.
    pub filesystem: String,
    /// Its device.
    pub device: String,
    /// How the device caches writes, if it reports it.
    pub write_cache: Option<String>,
    /// The options of the mount.
    pub mount_options: String,
    /// How a member's file log writes on this disk without `--io`: `ring` or `thread`. Absent if no
    /// file log was measured.
    #[serde(default)]
    pub file_log_io: Option<String>,
}

impl Facts {
    /// The facts of this machine and of the disk that holds `dir`, which must exist.
    pub fn gather(dir: &Path) -> Facts {
        let system = rustix::system::uname();
        let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let mount = Mount::under(dir);
        let load = load_average();
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            optimized: !cfg!(debug_assertions),
            unix_time: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            kernel: [system.sysname(), system.release(), system.machine()].map(word).join(" "),
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: [load, load],
            filesystem: mount.filesystem,
            device: mount.device,
            write_cache: write_cache(dir),
            mount_options: mount.options,
            file_log_io: None,
        }
    }

    /// Records the load after the last figure.
    pub fn end(&mut self) {
        self.load_average[1] = load_average();
    }

    /// Whether files here are in memory, so that a sync makes nothing durable.
    pub fn is_in_memory(&self) -> bool {
        IN_MEMORY.contains(&&*self.filesystem)
    }

    /// What the reader must know before relying on a figure.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.optimized {
            warnings.push("this is a debug build: build with --release".to_owned());
        }
        if self.is_in_memory() {
            warnings.push(format!(
                "the directory is on {}, in memory: a sync costs nothing and makes nothing durable \
                 there; choose a directory on a disk with --dir",
                self.filesystem
            ));
        }
        let load = self.load_average[0].max(self.load_average[1]);
        if load > self.cores as f64 * 0.75 + 0.5 {
            warnings.push(format!(
                "the load average is {load:.2} on {} cores: other programs are busy and lengthen \
                 the tails; compare ratios, not figures",
                self.cores
            ));
        }
        warnings
    }

    /// The facts as a few lines of text.
    pub fn lines(&self) -> Vec<String> {
        let cache = self.write_cache.as_ref().map_or(String::new(), |kind| format!(", {kind}"));
        let io = self.file_log_io.as_ref();
        let io = io.map(|io| format!("the file log uses a {io} here, without --io"));
        let lines = [
            format!("{}, {} cores, {}", self.processor, self.cores, self.kernel),
            format!("{} on {}{cache} ({})", self.filesystem, self.device, self.mount_options),
            format!(
                "load average {:.2} before, {:.2} after; kontiki {}{}",
                self.load_average[0],
                self.load_average[1],
                self.version,
                if self.optimized { "" } else { ", debug build" },
            ),
        ];
        lines.into_iter().chain(io).collect()
    }
}

/// What the kernel reports about a mount.
#[derive(Debug, PartialEq)]
struct Mount {
    filesystem: String,
    device: String,
    options: String,
}

impl Mount {
    /// The mount that holds a directory, found by its device number.
    fn under(dir: &Path) -> Mount {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = fs::metadata(dir).map(|meta| device_number(meta.dev()));
        let found = device.ok().and_then(|device| Mount::in_table(&table, &device));
        let unknown = || "unknown".to_owned();
        found.unwrap_or(Mount { filesystem: unknown(), device: unknown(), options: unknown() })
    }

    /// The first line of `/proc/self/mountinfo` with this device. The number of fields before the
    /// dash varies, so the fields after it are counted from the dash.
    fn in_table(table: &str, device: &str) -> Option<Mount> {
        let line = table.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
        let options = line.split(' ').nth(5)?.to_owned();
        let mut after = line.split_once(" - ")?.1.split(' ');
        let (filesystem, device) = (after.next()?.to_owned(), after.next()?.to_owned());
        Some(Mount { filesystem, device, options })
    }
}

fn device_number(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

fn write_cache(dir: &Path) -> Option<String> {
    let device = device_number(fs::metadata(dir).ok()?.dev());
    // A partition has no queue; the queue belongs to the disk, one level up.
    let places = [
        format!("/sys/dev/block/{device}/queue/write_cache"),
        format!("/sys/dev/block/{device}/../queue/write_cache"),
    ];
    let text = places.iter().find_map(|place| fs::read_to_string(place).ok())?;
    Some(text.trim().to_owned())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or("unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device() {
        let table = "21 1 0:5 / /proc rw,nosuid - proc proc rw\n\
                     22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n";
        let mount = Mount::in_table(table, "254:0").expect("it is there");
        assert_eq!((&*mount.filesystem, &*mount.device), ("ext4", "/dev/vda"));
        assert_eq!(mount.options, "rw,relatime");
        assert_eq!(Mount::in_table(table, "8:1"), None);
    }

    #[test]
    fn a_file_system_in_memory_gets_a_warning() {
        let here = Facts::gather(Path::new("."));
        let in_memory = Facts { filesystem: "tmpfs".to_owned(), ..here.clone() };
        assert!(in_memory.warnings().iter().any(|line| line.contains("--dir")));
        let busy = Facts { load_average: [0.0, 64.0 * here.cores as f64], ..here };
        assert!(busy.warnings().iter().any(|line| line.contains("load average")));
    }
}
