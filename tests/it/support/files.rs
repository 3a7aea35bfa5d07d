//! Small trees of files that are written, changed and compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A place for files that need not survive: in memory where there is one, for speed.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// Bytes that no compression or repetition makes alike.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Every file with its bytes, every link with its target, every directory.
pub type Picture = BTreeMap<PathBuf, Vec<u8>>;

/// What lies below a directory.
pub fn picture(dir: &Path) -> Picture {
    let mut all = Picture::new();
    let mut open = vec![dir.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            let bytes = if kind.is_dir() {
                open.push(path.clone());
                b"directory".to_vec()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            all.insert(path.strip_prefix(dir).unwrap().to_owned(), bytes);
        }
    }
    all
}

/// Small files in directories, a larger one, a hard link and a symbolic one; what `seed` decides is the files' bytes.
pub fn write_small_tree(dir: &Path, seed: u64) {
    for n in 0..12_u64 {
        let directory = dir.join(format!("d{}", n % 3));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{n}")), noise(seed + n, 500 * usize::try_from(n).unwrap())).unwrap();
    }
    fs::write(dir.join("large"), noise(seed + 100, 300_000)).unwrap();
    fs::hard_link(dir.join("large"), dir.join("second-name")).unwrap();
    std::os::unix::fs::symlink("d1/f1", dir.join("link")).unwrap();
}

/// One file more, one less, one changed in part.
pub fn change_small_tree(dir: &Path, seed: u64) {
    fs::write(dir.join(format!("new-{seed}")), noise(seed + 200, 30_000)).unwrap();
    let _ = fs::remove_file(dir.join("d1/f1"));
    let mut large = fs::read(dir.join("large")).unwrap();
    large.splice(100_000..100_010, noise(seed + 300, 5000));
    fs::write(dir.join("large"), large).unwrap();
}
