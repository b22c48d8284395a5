//! Memory of this process.

/// The most memory that this process has had so far, in MiB; `None` where the system does not report it.
pub fn peak_rss_mib() -> Option<u64> {
    status("VmHWM:").or_else(maxrss)
}

/// The memory of this process now, in MiB; `None` where the system does not report it.
pub fn rss_mib() -> Option<u64> {
    status("VmRSS:")
}

/// All memory of this machine, in MiB; `None` where the system does not report it.
pub(crate) fn total_mib() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")
}

/// A field of Linux' `/proc/self/status`, which counts from the start of this program. What `getrusage` reports there
/// includes the parent's memory before the program was loaded.
fn status(field: &str) -> Option<u64> {
    self::field("/proc/self/status", field)
}

/// A field of a file of Linux' `/proc` that counts KiB, in MiB.
fn field(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(unix)]
fn maxrss() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let bytes_in_unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    let units = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    Some(units * bytes_in_unit / (1 << 20))
}

#[cfg(not(unix))]
fn maxrss() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_covers_what_was_allocated() {
        let before = peak_rss_mib().unwrap_or(0);
        let block = vec![1u8; 300 << 20];
        assert!(block.iter().map(|&byte| u64::from(byte)).sum::<u64>() == 300 << 20);
        let after = peak_rss_mib().unwrap_or(0);
        assert!(after >= before.max(300), "{before} → {after}");
        drop(block);
        assert!(rss_mib().is_some_and(|now| now < after));
    }
}
