//! What a process uses, as the kernel accounts for it.

use std::time::Instant;

/// What a process has used until now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Milliseconds that its threads have run.
    pub(crate) cpu_ms: f64,
    pub(crate) at: Instant,
}

/// Milliseconds that the threads of a process have run.
pub(crate) fn usage(pid: u32) -> Usage {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let ran = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let nanos: f64 = tasks.flatten().filter_map(|task| ran(task.path())).sum();
    Usage {
        cpu_ms: nanos / 1e6,
        at: Instant::now(),
    }
}

/// Memory of a process in MiB: resident now, and the most that ever was.
pub(crate) fn memory(pid: u32) -> (f64, f64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// The middle of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The mean of some figures.
pub(crate) fn mean(figures: impl ExactSizeIterator<Item = f64>) -> f64 {
    let number = f64::from(u32::try_from(figures.len()).unwrap_or(u32::MAX));
    figures.sum::<f64>() / number
}

/// Waits until `at`.
pub(crate) async fn until(at: Instant) {
    tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
}
