//! The steps of the demonstration, each with one line that says what it is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::backup::{BackupOptions, run_backup};
use crate::base::progress::Progress;
use crate::base::units;
use crate::check;
use crate::cli::context::{Context, host};
use crate::cli::demo::Places;
use crate::cli::demo::attempt::{self, Attempt};
use crate::cli::demo::told::{
    BackupDocument, CheckedDocument, HomelabDocument, RecoveredDocument, RefusedDocument, SnapshotDocument,
    VerifiedDocument, seconds,
};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, causes};
use crate::cli::open::{self, Access};
use crate::cli::output::{count, things};
use crate::cli::prompt::TerminalPrompt;
use crate::cli::{private_file, progress};
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::recipients::{GeneratedIdentity, IdentitySource, Prompt, generate_identity};
use crate::crypto::writer_key::WriterKey;
use crate::demo::{Change, Homelab, PLANTED_SECRET, Record, RecordError};
use crate::format::entry::TreePath;
use crate::recover::{RestorePlan, run_restore};
use crate::repo::Repository;
use crate::repo::create::NewRepository;
use crate::store::Store;
use crate::tree::walk::WalkOptions;

/// How many steps there are.
const STEPS: u32 = 10;
/// Where the planted password is, in the snapshot of the manifests.
const SECRET_PATH: &str = "vaultwarden/secret.yaml";
/// The source of the manifests; those of volumes are `pvc/<namespace>/<claim>`.
const MANIFESTS: &str = "manifests";
/// What to do when this program is at fault.
const REPORT: &str = "this is a fault of homelab-dr: please report it, with what is above";

/// See the module.
pub(super) struct Stage<'a> {
    places: &'a Places,
    context: &'a mut Context,
    homelab: Homelab,
    step: u32,
}

/// A failure of the file system while the homelab is played with.
fn disk(what: &str, error: std::io::Error) -> Failure {
    let help = "the demonstration needs some 200 MiB of disk and a folder that it may write to";
    Failure::because(Exit::Error, format!("cannot {what}"), error, help)
}

fn unreadable(error: RecordError) -> Failure {
    let RecordError { path, source } = error;
    disk(&format!("read {}", path.display()), source)
}

impl<'a> Stage<'a> {
    pub(super) fn new(places: &'a Places, context: &'a mut Context) -> Self {
        Self { places, context, homelab: Homelab::at(places.cluster.clone()), step: 0 }
    }

    /// Announces a step.
    fn begin(&mut self, what: &str) {
        self.step += 1;
        self.context.talk.say(&format!("{:>2}/{STEPS}  {what}", self.step));
    }

    fn detail(&self, text: &str) {
        self.context.talk.say(&format!("       {text}"));
    }

    /// Fresh counters, with totals where they are known.
    fn count(&mut self, phase: &'static str, (files, bytes): (u64, u64)) {
        let progress = Arc::new(Progress::default());
        progress.begin(phase, "file");
        progress.expect(files, bytes, false);
        self.context.progress = progress;
    }

    /// What each source reads.
    fn sources(&self) -> Result<Vec<(String, PathBuf)>, Failure> {
        let root = self.homelab.root();
        let volumes = self.homelab.volumes().map_err(|error| disk("list the volumes", error))?;
        let mut sources = vec![(MANIFESTS.to_owned(), root.join("manifests"))];
        sources.extend(volumes.into_iter().map(|volume| (format!("pvc/{volume}"), root.join("volumes").join(volume))));
        Ok(sources)
    }

    pub(super) fn build(&mut self) -> Result<HomelabDocument, Failure> {
        self.begin("Build a small homelab: a folder that stands for a cluster.");
        self.count("building", (0, 0));
        let display = progress::show(self.context);
        let counters = self.context.progress.clone();
        let size = self.homelab.build(&|bytes| counters.add_file(bytes)).map_err(|e| disk("build the homelab", e))?;
        display.finish();
        let (files, bytes) = (counters.files_done.load(Ordering::Relaxed), counters.bytes_done.load(Ordering::Relaxed));
        self.detail(&format!(
            "{}, {}, {}: {}, {}",
            count(size.namespaces, "namespace"),
            count(size.manifests, "manifest"),
            count(size.volumes, "volume"),
            count(files, "file"),
            units::bytes(bytes)
        ));
        Ok(HomelabDocument { size, files, bytes })
    }

    pub(super) fn make_identity(&mut self) -> Result<GeneratedIdentity, Failure> {
        self.begin("Make an identity, the key that reads. It stays with you, off the cluster.");
        let identity = generate_identity();
        let text = identity.file_text(self.context.clock.now());
        private_file::create(&self.places.identity, text.expose(), "the identity")?;
        self.detail("keys/identity.txt");
        Ok(identity)
    }

    async fn store(&self, create: bool, access: Access) -> Result<Arc<dyn Store>, Failure> {
        let url = open::parse_address(self.places.repository.as_os_str())?;
        let store = if create { url.create().await? } else { url.open().await? };
        Ok(open::wrapped(self.context, store, access))
    }

    pub(super) async fn init(&mut self, identity: &GeneratedIdentity) -> Result<WriterKey, Failure> {
        self.begin("Make a repository for it, and the writer key, which the cluster gets.");
        let store = self.store(true, Access::Write).await?;
        let recipients = [identity.recipient.clone()];
        let new = NewRepository::draw(&*store, &recipients, Duration::ZERO, &*self.context.clock).await?;
        let text = zeroize::Zeroizing::new(format!("{}\n", *new.writer_key().to_text()));
        private_file::create(&self.places.writer_key, &text, "the writer key")?;
        let key = new.store(&*store).await?;
        self.detail("repository/, keys/writer.key; its fingerprint tells it from a forged one:");
        self.detail(&key.fingerprint().to_string());
        Ok(key)
    }

    async fn writer(&self, key: &WriterKey) -> Result<Arc<Repository>, Failure> {
        let store = self.store(false, Access::Write).await?;
        Ok(Arc::new(Repository::open_with_writer(store, key).await?))
    }

    /// Opened as its owner would after the fire: with the identity's file and the fingerprint.
    async fn owner(&self, fingerprint: &Fingerprint) -> Result<Arc<Repository>, Failure> {
        let bytes = std::fs::read(&self.places.identity).map_err(|error| disk("read the identity", error))?;
        let bytes = zeroize::Zeroizing::new(bytes);
        let identity = IdentitySource::parse(self.places.identity.display().to_string(), &bytes)?;
        let prompt: Arc<dyn Prompt> = Arc::new(TerminalPrompt);
        let store = self.store(false, Access::Read).await?;
        Ok(Arc::new(Repository::open_with_identity(store, &[identity], &prompt, Some(*fingerprint)).await?))
    }

    pub(super) async fn back_up(&mut self, key: &WriterKey) -> Result<BackupDocument, Failure> {
        self.begin("Back it up with the writer key: the manifests, and each volume.");
        let backup = self.back_up_all(key).await?;
        for snapshot in &backup.snapshots {
            self.detail(&format!(
                "{}  {:<22} {:>2} {:<5}  {:>9}",
                snapshot.snapshot.get(..8).unwrap_or_default(),
                snapshot.source,
                snapshot.files,
                things(snapshot.files, "file"),
                units::bytes(snapshot.bytes),
            ));
        }
        let stored = backup.sum(|snapshot| snapshot.bytes_stored);
        self.detail(&format!("stored {} in {:.1} s", units::bytes(stored), backup.seconds));
        Ok(backup)
    }

    async fn back_up_all(&mut self, key: &WriterKey) -> Result<BackupDocument, Failure> {
        let began = self.context.clock.now();
        let mut snapshots = Vec::new();
        for (source, path) in self.sources()? {
            let there = Record::take(&path, &|_| ()).map_err(unreadable)?.files();
            self.count("opening", there);
            let operation = self.context.operation(self.writer(key).await?);
            let options = BackupOptions {
                source: source.clone(),
                paths: vec![path],
                walk: WalkOptions::default(),
                tags: BTreeMap::new(),
                host: host(),
                reread: false,
                level: None,
                threads: None,
                live: None,
            };
            let display = progress::show(self.context);
            let report = run_backup(&operation, &options).await;
            display.finish();
            let report = report?;
            let statistics = report.record.statistics;
            if let (Some(problem), true) = (report.problems.first(), statistics.problems > 0) {
                let what = format!("the backup of {source} had problems, the first: {problem}");
                return Err(Failure::new(Exit::Problems, what, causes(problem).join(": ")));
            }
            snapshots.push(SnapshotDocument {
                source,
                snapshot: report.snapshot.map(|id| id.hex()).unwrap_or_default(),
                root: report.record.root,
                files: statistics.files,
                bytes: statistics.bytes,
                files_read: statistics.files_read,
                bytes_new: statistics.bytes_new,
                bytes_stored: statistics.bytes_stored,
            });
        }
        Ok(BackupDocument { snapshots, seconds: self.context.clock.now().since(began).as_secs_f64() })
    }

    pub(super) async fn try_without_identity(
        &mut self,
        key: &WriterKey,
        backup: &BackupDocument,
    ) -> Result<RefusedDocument, Failure> {
        self.begin("Try to read it back with the writer key, as a thief in the cluster would.");
        let repository = self.writer(key).await?;
        let reader = open::reader(self.context, &repository).await?;
        let path = TreePath::new(SECRET_PATH).unwrap_or_else(|_| TreePath::root());
        let root = backup.snapshots.iter().find(|snapshot| snapshot.source == MANIFESTS).map(|snapshot| snapshot.root);
        let root = root.ok_or_else(|| Failure::new(Exit::Error, "there is no snapshot of the manifests", REPORT))?;
        let error = match attempt::read(&reader, root, &path).await? {
            Attempt::Refused(error) => error.to_string(),
            Attempt::Read(bytes) => {
                let what = format!("the writer key read {bytes} bytes of {SECRET_PATH}, which it must not be able to");
                return Err(Failure::new(Exit::Error, what, REPORT));
            }
        };
        self.detail(&format!("{SECRET_PATH} is found by its name, and then:"));
        for line in error.split_inclusive(": ") {
            self.detail(&format!("  {}", line.trim_end()));
        }
        let (objects_searched, found) = attempt::search(&self.places.repository, PLANTED_SECRET.as_bytes())
            .map_err(|error| disk("search the repository", error))?;
        if found > 0 {
            let what = format!("the password lies in clear in {}", count(found, "stored object"));
            return Err(Failure::new(Exit::Error, what, REPORT));
        }
        self.detail(&format!("the password in that file: in none of {}", count(objects_searched, "stored object")));
        Ok(RefusedDocument { error, objects_searched, objects_with_the_password: found })
    }

    pub(super) async fn another_day(
        &mut self,
        key: &WriterKey,
        first: &BackupDocument,
    ) -> Result<(Vec<Change>, BackupDocument), Failure> {
        self.begin("A day passes. Back up again: only what is new is stored.");
        let changes = self.homelab.change().map_err(|error| disk("change the homelab", error))?;
        for change in &changes {
            let path = change.path.trim_start_matches("volumes/");
            self.detail(&format!("{:<17}  {path}", change.what));
        }
        let second = self.back_up_all(key).await?;
        let (all, stored) = (second.sum(|snapshot| snapshot.bytes), second.sum(|snapshot| snapshot.bytes_stored));
        let [files_read, files] = [second.sum(|snapshot| snapshot.files_read), second.sum(|snapshot| snapshot.files)];
        self.detail(&format!("read {files_read} of {} in {:.1} s", count(files, "file"), second.seconds));
        let before = first.sum(|snapshot| snapshot.bytes_stored);
        self.detail(&format!(
            "stored {} for all {}; the first time it was {}",
            units::bytes(stored),
            units::bytes(all),
            units::bytes(before)
        ));
        Ok((changes, second))
    }

    /// Burns it down. Returns what was there, for comparison.
    pub(super) fn burn(&mut self) -> Result<Vec<(PathBuf, Record)>, Failure> {
        self.begin("The house burns down.");
        let mut before = Vec::new();
        for (_, path) in self.sources()? {
            let record = Record::take(&path, &|_| ()).map_err(unreadable)?;
            before.push((path, record));
        }
        self.homelab.burn().map_err(|error| disk("burn the homelab down", error))?;
        self.detail("cluster/ is gone. Left: the repository, the identity, the fingerprint.");
        Ok(before)
    }

    pub(super) async fn recover(
        &mut self,
        fingerprint: &Fingerprint,
        backup: &BackupDocument,
    ) -> Result<RecoveredDocument, Failure> {
        self.begin("Recover it with the identity.");
        let began = self.context.clock.now();
        self.count("opening", (backup.sum(|snapshot| snapshot.files), backup.sum(|snapshot| snapshot.bytes)));
        let display = progress::show(self.context);
        let repository = self.owner(fingerprint).await?;
        let reader = open::reader(self.context, &repository).await?;
        let operation = self.context.operation(repository);
        let (mut files, mut bytes) = (0, 0);
        for snapshot in &backup.snapshots {
            let plan = RestorePlan::whole(snapshot.root, TreePath::root(), self.target_of(&snapshot.source));
            let report = run_restore(&operation, &reader, &plan).await?;
            if let Some(problem) = report.problems.first() {
                let exit = if report.found_damage() { Exit::Damaged } else { Exit::Problems };
                let what = format!("recovering {} had problems, the first: {problem}", snapshot.source);
                return Err(Failure::new(exit, what, causes(problem).join(": ")));
            }
            files += report.files;
            bytes += report.bytes;
        }
        display.finish();
        let time = self.context.clock.now().since(began);
        self.detail(&format!("{}, {} in {}", count(files, "file"), units::bytes(bytes), seconds(time)));
        Ok(RecoveredDocument { files, bytes, seconds: time.as_secs_f64() })
    }

    /// Where a source is recovered to: where it was.
    fn target_of(&self, source: &str) -> PathBuf {
        let root = self.homelab.root();
        source.strip_prefix("pvc/").map_or_else(|| root.join(source), |volume| root.join("volumes").join(volume))
    }

    pub(super) fn verify(&mut self, before: &[(PathBuf, Record)]) -> Result<VerifiedDocument, Failure> {
        self.begin("Verify: compare every file with what it was before the fire.");
        let total = before.iter().fold((0, 0), |(files, bytes), (_, record)| {
            let (more_files, more_bytes) = record.files();
            (files + more_files, bytes + more_bytes)
        });
        self.count("comparing", total);
        let display = progress::show(self.context);
        let counters = self.context.progress.clone();
        let mut differences = Vec::new();
        for (path, record) in before {
            let now = Record::take(path, &|bytes| counters.add_file(bytes)).map_err(unreadable)?;
            differences.extend(record.compare(&now).into_iter().map(|difference| below(path, difference)));
        }
        display.finish();
        if let Some(first) = differences.first() {
            let what = format!(
                "of {} the first is {} ({})",
                count(differences.len() as u64, "difference"),
                first.path.display(),
                first.what
            );
            return Err(Failure::new(Exit::Damaged, what, REPORT));
        }
        self.detail(&format!(
            "{}, {}: content, mode, owner and time as before",
            count(total.0, "file"),
            units::bytes(total.1)
        ));
        Ok(VerifiedDocument { files: total.0, bytes: total.1, differences })
    }

    pub(super) async fn check(&mut self, fingerprint: &Fingerprint) -> Result<CheckedDocument, Failure> {
        self.begin("Check the repository: read, decrypt and compare everything in it.");
        self.count("checking", (0, 0));
        let display = progress::show(self.context);
        let repository = self.owner(fingerprint).await?;
        let options = check::Options { structure: true, read_percent: 100, now: self.context.clock.now() };
        let report = check::check(&repository, &options, &self.context.progress).await;
        display.finish();
        let report = report?;
        if let (Some(finding), true) = (report.findings.first(), report.is_damaged()) {
            let what = format!("the check found {} ({}), which should not be", finding.object, finding.what);
            return Err(Failure::new(Exit::Damaged, what, REPORT));
        }
        let counts = report.counts;
        self.detail(&format!("{}, {}: no damage", count(counts.objects, "object"), units::bytes(counts.bytes)));
        Ok(CheckedDocument {
            objects: counts.objects,
            bytes: counts.bytes,
            blobs_opened: counts.blobs_opened,
            findings: report.findings.len(),
        })
    }
}

fn below(root: &Path, mut difference: crate::demo::Difference) -> crate::demo::Difference {
    difference.path = root.join(&difference.path);
    difference
}
