//! What a figure depends on beside the program: the machine, its disk, and who else was busy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Filesystems whose files are in memory: a sync there keeps nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The machine, as it said of itself when the measurement began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The version of this program.
    pub version: String,
    /// Whether it was optimized; figures of a debug build mean nothing.
    pub optimized: bool,
    /// The moment, in seconds since 1970.
    pub unix_time: u64,
    /// The kernel, its release and its architecture.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// The processors that this process may use.
    pub cores: usize,
    /// The load average of the last minute, before the first figure and after the last.
    pub load_average: [f64; 2],
    /// The filesystem of the measured directory.
    pub filesystem: String,
    /// Its device.
    pub device: String,
    /// How the device says that it caches writes, where it says so.
    pub write_cache: Option<String>,
    /// The options of the mount.
    pub mount_options: String,
    /// What a member's file log takes on this disk without `--io`: `ring` or `thread`. Absent where
    /// no file log was asked.
    #[serde(default)]
    pub file_log_io: Option<String>,
}

impl Facts {
    /// The facts of this machine and of the disk under `dir`, which exists.
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

    /// Notes how busy the machine is now that the last figure is taken.
    pub fn end(&mut self) {
        self.load_average[1] = load_average();
    }

    /// Whether what is written here is in memory, whatever is synced.
    pub fn is_in_memory(&self) -> bool {
        IN_MEMORY.contains(&&*self.filesystem)
    }

    /// What to know before any figure is believed.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.optimized {
            warnings.push("this is a debug build: build with --release".to_owned());
        }
        if self.is_in_memory() {
            warnings.push(format!(
                "the directory is on {}, in memory: a sync costs nothing and keeps nothing there; \
                 choose a directory on a disk with --dir",
                self.filesystem
            ));
        }
        let load = self.load_average[0].max(self.load_average[1]);
        if load > self.cores as f64 * 0.75 + 0.5 {
            warnings.push(format!(
                "the load average is {load:.2} on {} cores: others are busy, so the tails are \
                 theirs; compare ratios, not figures",
                self.cores
            ));
        }
        warnings
    }

    /// The facts in a few lines, for people.
    pub fn lines(&self) -> Vec<String> {
        let cache = self.write_cache.as_ref().map_or(String::new(), |kind| format!(", {kind}"));
        let io = self.file_log_io.as_ref();
        let io = io.map(|io| format!("the file log takes the {io} here, without --io"));
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

/// What the kernel says of a mount.
#[derive(Debug, PartialEq)]
struct Mount {
    filesystem: String,
    device: String,
    options: String,
}

impl Mount {
    /// The mount that holds a directory, found by the number of its device.
    fn under(dir: &Path) -> Mount {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = fs::metadata(dir).map(|meta| device_number(meta.dev()));
        let found = device.ok().and_then(|device| Mount::in_table(&table, &device));
        let unknown = || "unknown".to_owned();
        found.unwrap_or(Mount { filesystem: unknown(), device: unknown(), options: unknown() })
    }

    /// The first line of `/proc/self/mountinfo` with this device: its fields are counted from the
    /// dash, for those before it vary in number.
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
    // A partition has no queue of its own; its disk is one level up.
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
    fn memory_that_looks_like_a_disk_is_said_so() {
        let here = Facts::gather(Path::new("."));
        let in_memory = Facts { filesystem: "tmpfs".to_owned(), ..here.clone() };
        assert!(in_memory.warnings().iter().any(|line| line.contains("--dir")));
        let busy = Facts { load_average: [0.0, 64.0 * here.cores as f64], ..here };
        assert!(busy.warnings().iter().any(|line| line.contains("load average")));
    }
}
