//! Processes of this machine, as far as one has to know whether whoever has a target lives, and who that is.
//!
//! Numbers of processes are given out again, and mean nothing on another machine or in another container: one is told by the boot, the space that numbers are counted in, its number
//! and when it began. Whatever the system does not say is unknown, and nobody is taken for dead by it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::base::clock::Time;

/// Processes above one another that are looked at; a cycle cannot be, a race can.
const ABOVE_MAX: usize = 64;
/// Ticks of a second, as Linux counts times of processes for programs, on every machine.
const TICKS: u64 = 100;
/// Words of a command line that are told: the program and its command. What follows may hold more than is wanted.
const WORDS_TOLD: usize = 2;
/// How the system calls this program's processes; it cuts names after 15 signs.
const OURS: &str = "homelab-dr";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    boot: String,
    space: String,
    number: u32,
    began: u64,
}

/// What the system says of a process.
struct Stat {
    is_dead: bool,
    parent: u32,
    /// In ticks since the machine was started.
    began: u64,
}

fn of_proc(number: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{number}/{file}"))
}

fn stat(number: u32) -> Option<Stat> {
    let text = String::from_utf8_lossy(&std::fs::read(of_proc(number, "stat")).ok()?).into_owned();
    // The name stands in brackets, and may have any signs in it.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        is_dead: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: u32::try_from(number(1)?).ok()?,
        began: number(19)?,
    })
}

/// The boot, and the space that numbers of processes are counted in here.
fn here() -> Option<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let space: String = space.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Some((boot.trim().to_owned(), space))
}

impl Process {
    /// This one.
    #[must_use]
    pub fn this() -> Option<Self> {
        let (boot, space) = here()?;
        let number = std::process::id();
        Some(Self { boot, space, number, began: stat(number)?.began })
    }

    /// As it is written down where others see it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}/{}/{}/{}", self.boot, self.space, self.number, self.began)
    }

    /// What was written down.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let [boot, space, number, began] = text.split('/').collect::<Vec<_>>().try_into().ok()?;
        let (number, began) = (number.parse().ok()?, began.parse().ok()?);
        Some(Self { boot: boot.to_owned(), space: space.to_owned(), number, began })
    }

    fn is_counted_here(&self) -> bool {
        here().is_some_and(|(boot, space)| boot == self.boot && space == self.space)
    }

    /// Whether it is known to have ended: it was of this machine, and is not there any more.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        // Without a look at ourselves nobody knows whether a process that is not seen is not there.
        let sees = || stat(std::process::id()).is_some();
        let is_there = || stat(self.number).is_some_and(|stat| !stat.is_dead && stat.began == self.began);
        self.is_counted_here() && sees() && !is_there()
    }

    /// Whether it has started this one, or what has started it: then it waits for this one.
    #[must_use]
    pub fn is_above(&self) -> bool {
        self.is_counted_here()
            && stat(self.number).is_some_and(|stat| stat.began == self.began)
            && is_above(self.number)
    }
}

fn is_above(number: u32) -> bool {
    let mut below = std::process::id();
    for _ in 0..ABOVE_MAX {
        let Some(Stat { parent, .. }) = stat(below) else { return false };
        if parent == number {
            return true;
        }
        below = parent;
    }
    false
}

/// Numbers of the processes that have a file locked as a whole, as far as the system says it. Some file systems have another number of their device in that list: there a process has to
/// be ours to be taken for one.
fn lockers(metadata: &Metadata) -> Vec<u32> {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let device = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let mut found = Vec::new();
    for line in locks.lines().filter(|line| line.contains("FLOCK") && !line.contains("->")) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(number), Some(file)) = (fields.get(4).and_then(|pid| pid.parse::<u32>().ok()), fields.get(5)) else {
            continue;
        };
        let mut parts = file.splitn(3, ':');
        let (Some(major), Some(minor), Some(inode)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let of = (u32::from_str_radix(major, 16).ok(), u32::from_str_radix(minor, 16).ok());
        let is_ours = || std::fs::read_to_string(of_proc(number, "comm")).is_ok_and(|name| name.trim() == OURS);
        if inode.parse() == Ok(metadata.ino()) && (of == (Some(device.0), Some(device.1)) || is_ours()) {
            found.push(number);
        }
    }
    found
}

/// Who has a file locked, for people: a process, its command, and since when it runs.
#[must_use]
pub fn locked_by(file: &File) -> String {
    let numbers = file.metadata().map(|metadata| lockers(&metadata)).unwrap_or_default();
    let other = |number: &&u32| **number != std::process::id();
    numbers.iter().find(other).map_or_else(|| "another process".to_owned(), |number| shown(*number))
}

/// Whether everybody who has a file locked has started this process.
#[must_use]
pub fn is_locked_above(file: &File) -> bool {
    let numbers = file.metadata().map(|metadata| lockers(&metadata)).unwrap_or_default();
    !numbers.is_empty() && numbers.into_iter().all(is_above)
}

fn shown(number: u32) -> String {
    let command = std::fs::read(of_proc(number, "cmdline")).unwrap_or_default();
    let words: Vec<String> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .take(WORDS_TOLD)
        .map(|word| String::from_utf8_lossy(word.rsplit(|byte| *byte == b'/').next().unwrap_or(word)).into_owned())
        .collect();
    let command = if words.is_empty() { String::new() } else { format!(" ({})", words.join(" ")) };
    let since = stat(number).and_then(|stat| began(&stat)).map(|time| format!(", since {time}"));
    format!("process {number}{command}{}", since.unwrap_or_default())
}

/// When a process began, by the machine's clock.
fn began(stat: &Stat) -> Option<Time> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
    i64::try_from((boot + stat.began / TICKS) * 1000).ok().map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_when_its_number_is_not_there_or_was_given_out_again() {
        let this = Process::this().expect("Linux says it");
        assert_eq!(Process::read(&this.text()), Some(this.clone()));
        assert!(!this.is_dead() && !this.is_above());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
        let began = stat(child.id()).expect("it runs").began;
        let other = Process { number: child.id(), began, ..this.clone() };
        assert!(!other.is_dead());
        assert!(Process { began: began + 1, ..other.clone() }.is_dead(), "another one of that number");
        child.kill().expect("it ends");
        for _ in 0..12_000 {
            if stat(child.id()).is_none_or(|stat| stat.is_dead) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(other.is_dead(), "also while nobody has waited for it");
        child.wait().expect("it has ended");
        assert!(other.is_dead());
        // Of another boot, or another container, nobody knows it here.
        assert!(!Process { boot: "another".into(), ..other.clone() }.is_dead());
        assert!(!Process { space: "1".into(), ..other }.is_dead());
        let parent = Process { number: std::os::unix::process::parent_id(), ..this };
        let parent = Process { began: stat(parent.number).map_or(0, |stat| stat.began), ..parent };
        assert!(parent.is_above());
        for text in ["", "a/b/c/d", "a/b/1", "a/b/1/2/3", "a/b/-1/2"] {
            assert_eq!(Process::read(text), None, "{text}");
        }
    }
}
