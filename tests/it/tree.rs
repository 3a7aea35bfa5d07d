//! Walk, read and restore, on a real file system.

mod races;
mod rights;
mod round_trip;
mod targets;
mod walking;

use std::path::Path;

use homelab_dr::format::entry::{Content, Entry, Kind, TreePath};
use homelab_dr::tree::problem::Problem;
use homelab_dr::tree::read::Part;
use homelab_dr::tree::restore::{Directories, RestoreOptions, Target};
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::WalkOptions;

/// A part of a file with its bytes.
#[derive(Debug, Clone, PartialEq)]
enum Bytes {
    Data(Vec<u8>),
    Hole(u64),
}

/// What a walk finds, with all content in memory, and what it complains of.
#[derive(Debug, Default)]
struct Captured {
    entries: Vec<(Entry, Vec<Bytes>)>,
    problems: Vec<Problem>,
}

impl Captured {
    fn paths(&self) -> Vec<String> {
        self.entries.iter().map(|(entry, _)| entry.path.display()).collect()
    }

    fn entry(&self, path: &str) -> &Entry {
        &self.entries.iter().find(|(entry, _)| entry.path == tree_path(path)).expect(path).0
    }
}

fn tree_path(text: &str) -> TreePath {
    TreePath::new(text).expect(text)
}

fn capture(dir: &Path) -> Captured {
    capture_with(&[dir], WalkOptions::default())
}

fn capture_with(paths: &[&Path], options: WalkOptions) -> Captured {
    let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    let source = Source::new(&paths).unwrap();
    let mut captured = Captured::default();
    for item in source.walk(options) {
        match item {
            Err(problem) => captured.problems.push(problem),
            Ok(found) => {
                let (mut parts, mut size) = (Vec::new(), 0);
                if matches!(found.kind, homelab_dr::tree::found::FoundKind::File) {
                    match source.open(&found) {
                        Err(problem) => {
                            captured.problems.push(problem);
                            continue;
                        }
                        Ok(mut reader) => {
                            let mut buffer = vec![0; 64 * 1024];
                            while let Some(part) = reader.next(&mut buffer).unwrap() {
                                parts.push(match part {
                                    Part::Data(length) => Bytes::Data(buffer[..length].to_vec()),
                                    Part::Hole(length) => Bytes::Hole(length),
                                });
                            }
                            size = reader.finish().unwrap().size;
                        }
                    }
                }
                let mut entry = found.into_entry(size, Content::Inline(Vec::new()));
                entry.identity = None;
                captured.entries.push((entry, parts));
            }
        }
    }
    captured
}

/// Restores as an operation would; returns every problem.
fn restore(captured: &Captured, dir: &Path, options: RestoreOptions) -> Vec<Problem> {
    let target = Target::create_or_open(dir, options).unwrap();
    let mut directories = Directories::new();
    let mut problems = Vec::new();
    for (entry, parts) in &captured.entries {
        match restore_one(&target, entry, parts) {
            Ok(more) => problems.extend(more),
            Err(problem) => problems.push(problem),
        }
        if entry.kind == Kind::Directory {
            directories.add(entry.clone());
        }
    }
    problems.extend(directories.finish(&target));
    target.sync().unwrap();
    problems
}

fn restore_one(target: &Target, entry: &Entry, parts: &[Bytes]) -> Result<Vec<Problem>, Problem> {
    match &entry.kind {
        Kind::File { size, .. } => {
            let writer = target.create_file(&entry.path, *size)?;
            let mut offset = 0;
            for part in parts {
                offset += match part {
                    Bytes::Data(bytes) => {
                        writer.write_at(offset, bytes)?;
                        bytes.len() as u64
                    }
                    Bytes::Hole(length) => *length,
                };
            }
            writer.finish(entry)
        }
        Kind::Directory => target.create(entry).map(|()| Vec::new()),
        _ => target.create(entry).map(|()| target.apply_metadata(entry)),
    }
}
