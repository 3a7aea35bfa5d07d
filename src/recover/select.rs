//! Which entries of a snapshot are restored.

use crate::format::entry::{Entry, Kind, TreePath};
use crate::tree::exclude::Excludes;

/// Patterns as in `backup --exclude`; without `include` everything is taken that is not excluded.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only what matches, and everything below it.
    pub include: Option<Excludes>,
    /// Not what matches, nor anything below it.
    pub exclude: Excludes,
}

impl Selection {
    /// Whether an entry of this path is chosen, by itself or with a directory above it.
    #[must_use]
    pub fn takes(&self, path: &TreePath, is_directory: bool) -> bool {
        let met = |patterns: &Excludes| {
            let above = std::iter::successors(path.parent(), TreePath::parent);
            patterns.excludes(path, is_directory) || above.into_iter().any(|above| patterns.excludes(&above, true))
        };
        !met(&self.exclude) && self.include.as_ref().is_none_or(met)
    }
}

/// Goes through entries in tree order and hands out those that are chosen, with the directories above them.
pub struct Chosen {
    selection: Selection,
    /// Everything below was excluded.
    excluded: Option<TreePath>,
    /// Everything below is included.
    included: Option<TreePath>,
    /// Directories above the current entry that were not handed out yet.
    above: Vec<Entry>,
}

impl Chosen {
    /// Begins at the start of a tree.
    #[must_use]
    pub const fn new(selection: Selection) -> Self {
        Self { selection, excluded: None, included: None, above: Vec::new() }
    }

    /// The next entry: nothing if it is not chosen (or not yet), else the directories above it that are still owed, and itself.
    pub fn take(&mut self, entry: Entry) -> Vec<Entry> {
        let within = |outer: &Option<TreePath>| outer.as_ref().is_some_and(|outer| entry.path.is_within(outer));
        let is_directory = entry.kind == Kind::Directory;
        if within(&self.excluded) || self.selection.exclude.excludes(&entry.path, is_directory) {
            if !within(&self.excluded) {
                self.excluded = Some(entry.path);
            }
            return Vec::new();
        }
        let Some(include) = &self.selection.include else { return vec![entry] };
        self.above.retain(|directory| entry.path.is_within(&directory.path));
        if within(&self.included) || include.excludes(&entry.path, is_directory) {
            if !within(&self.included) {
                self.included = Some(entry.path.clone());
            }
            let mut out = std::mem::take(&mut self.above);
            out.push(entry);
            return out;
        }
        if is_directory {
            self.above.push(entry);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::FileTime;

    fn entry(path: &str) -> Entry {
        let (path, kind) = match path.strip_suffix('/') {
            Some(path) => (path, Kind::Directory),
            None => (path, Kind::Fifo),
        };
        Entry {
            path: TreePath::new(path).expect("plain"),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: FileTime::default(),
            xattrs: Vec::new(),
            identity: None,
            live: None,
        }
    }

    fn chosen(include: &[&str], exclude: &[&str], paths: &[&str]) -> Vec<String> {
        let globs = |list: &[&str]| Excludes::new(&list.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>());
        let include = (!include.is_empty()).then(|| globs(include).expect("valid"));
        let mut chosen = Chosen::new(Selection { include, exclude: globs(exclude).expect("valid") });
        paths.iter().flat_map(|path| chosen.take(entry(path))).map(|entry| entry.path.display()).collect()
    }

    #[test]
    fn a_path_is_taken_with_what_is_above_it() {
        let globs = |list: &[&str]| Excludes::new(&list.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>());
        let path = |text: &str| TreePath::new(text).expect("plain");
        let selection = Selection { include: Some(globs(&["*.jpg", "a"]).expect("valid")), ..Selection::default() };
        for (taken, text) in [(true, "x.jpg"), (true, "a/b/c"), (true, "b/a"), (false, "b/c"), (false, "")] {
            assert_eq!(selection.takes(&path(text), false), taken, "{text}");
        }
        let selection = Selection { include: None, exclude: globs(&["cache/"]).expect("valid") };
        for (taken, text) in [(true, "cache"), (false, "cache/x"), (false, "a/cache/b/c"), (true, ""), (true, "a")] {
            assert_eq!(selection.takes(&path(text), false), taken, "{text}");
        }
    }

    #[test]
    fn what_is_included_brings_the_directories_above_it_and_all_below() {
        let all = ["/", "a/", "a/b/", "a/b/x.jpg", "a/c/", "a/c/y.txt", "d/", "d/z.jpg"];
        assert_eq!(chosen(&["*.jpg"], &[], &all), ["", "a", "a/b", "a/b/x.jpg", "d", "d/z.jpg"]);
        assert_eq!(chosen(&["a/c"], &[], &all), ["", "a", "a/c", "a/c/y.txt"]);
        assert_eq!(chosen(&[], &["a/b"], &all), ["", "a", "a/c", "a/c/y.txt", "d", "d/z.jpg"]);
        assert_eq!(chosen(&["*.jpg"], &["d"], &all), ["", "a", "a/b", "a/b/x.jpg"]);
        assert_eq!(chosen(&["nothing"], &[], &all), [""; 0]);
    }
}
