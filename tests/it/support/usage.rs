//! What a run of the program takes, as the kernel counts it, looked at while it runs: the last look is a few milliseconds before the end.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::cli::Ran;

/// Runs it to the end: how it went, its peak of resident memory in bytes, its processor time.
pub fn measured(command: &mut Command) -> (Ran, u64, Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| std::fs::File::create(folder.path().join(name)).expect("a file");
    let mut child =
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().expect("the program starts");
    let proc = format!("/proc/{}", child.id());
    let (mut peak, mut ticks) = (0, 0);
    let status = loop {
        if let Ok(text) = std::fs::read_to_string(format!("{proc}/status"))
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:"))
        {
            let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
            peak = peak.max(kib << 10);
        }
        // After the name in brackets, user and system time are the 12th and 13th.
        if let Ok(text) = std::fs::read_to_string(format!("{proc}/stat")) {
            let times = text.rsplit(')').next().expect("fields").split_whitespace().skip(11).take(2);
            ticks = ticks.max(times.filter_map(|time| time.parse::<u64>().ok()).sum());
        }
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(peak > 0 && ticks > 0, "it was looked at");
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("it was written");
    let output = Output { status, stdout: read("out"), stderr: read("err") };
    (Ran::of(&output), peak, Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}
