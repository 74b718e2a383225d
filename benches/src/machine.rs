//! What it was measured on, and what the kernel says of processes.

use std::{fmt, fs, time::Duration};

use serde::Serialize;

use crate::Result;

/// The machine and how busy it was at the start.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    /// Of the last minute, before we began.
    load: f64,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = text("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, load } = self;
        write!(f, "{cpu}, {cores} cores, Linux {kernel}, load before the run {load}")
    }
}

/// A field of `/proc/<pid>/status` in bytes, e.g. `VmRSS` or `VmHWM`.
pub(crate) fn memory(pid: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no such field in /proc")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}

/// Processor time of another process, its ended threads included; the kernel counts it in hundredths of a second.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): after the name, which may hold anything, `utime` and `stime` are fields 12 and 13.
    let (_, fields) = stat.rsplit_once(')').ok_or("cannot read /proc/PID/stat")?;
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<std::result::Result<f64, _>>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}
