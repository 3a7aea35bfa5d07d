//! The steps of the demonstration, each with one line that says what it is for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::progress::Progress;
use crate::base::units;
use crate::check;
use crate::cli::again::Again;
use crate::cli::context::Context;
use crate::cli::demo::attempt::{self, Attempt};
use crate::cli::demo::told::{
    BackupDocument, CheckedDocument, HomelabDocument, RecoveredDocument, RefusedDocument, SnapshotDocument,
    VerifiedDocument, seconds,
};
use crate::cli::demo::{Places, capture};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::{count, things};
use crate::cli::prompt::TerminalPrompt;
use crate::cli::{configuration, private_file, progress, recover};
use crate::cluster::folder::MANIFESTS;
use crate::config::{Source, SourceKind};
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::recipients::{GeneratedIdentity, IdentitySource, Prompt, generate_identity};
use crate::crypto::writer_key::WriterKey;
use crate::demo::{Change, Difference, Homelab, HomelabError, PLANTED_SECRET, Record, RecordError};
use crate::format::entry::TreePath;
use crate::repo::Repository;
use crate::repo::create::NewRepository;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::store::Store;

/// The runbook by which it is recovered.
const RUNBOOK: &str = include_str!("recover.md");
/// How many steps there are.
const STEPS: u32 = 11;
/// Where the planted password is, in the snapshot of the objects.
pub(super) const SECRET_PATH: &str = "resources/core/Secret/vaultwarden/vaultwarden-env.yaml";
/// The source of the objects; those of volumes are `pvc/<namespace>/<claim>`.
pub(super) const OBJECTS: &str = "cluster";
/// What to do when this program is at fault.
pub(super) const REPORT: &str = "this is a fault of homelab-dr: please report it, with what is above";

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

fn homelab(what: &str, error: HomelabError) -> Failure {
    match error {
        HomelabError::File(error) => disk(what, error),
        HomelabError::Cluster(error) => error.into(),
    }
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

    pub(super) async fn build(&mut self) -> Result<HomelabDocument, Failure> {
        self.begin("Build a small homelab: a folder that stands for a cluster.");
        self.count("building", (0, 0));
        let display = progress::show(self.context);
        let counters = self.context.progress.clone();
        let built = self.homelab.build(&|bytes| counters.add_file(bytes)).await;
        let size = built.map_err(|error| homelab("build the homelab", error))?;
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

    /// Writes the configuration, and reads it as `backup` would.
    pub(super) fn configure(&mut self, key: &WriterKey) -> Result<Vec<Source>, Failure> {
        self.begin("Write down what is to be backed up: the objects, and the volumes.");
        let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
        let Places { repository, writer_key, cluster, configuration, .. } = self.places;
        let text = format!(
            "repositories:\n  demo:\n    url: {}\n    fingerprint: {}\n    writer-key-file: {}\n\
             sources:\n  {OBJECTS}:\n    resources: {{ folder: {cluster} }}\n  volumes:\n    volumes: {{ folder: {cluster} }}\n",
            quoted(repository),
            key.fingerprint(),
            quoted(writer_key),
            cluster = quoted(cluster),
        );
        std::fs::write(configuration, text).map_err(|error| disk("write the configuration", error))?;
        let loaded = configuration::load(configuration.clone())?;
        self.detail("homelab-dr.yaml: a cluster has a kubeconfig in the place of the folder");
        Ok(loaded.config.sources)
    }

    pub(super) async fn back_up(&mut self, key: &WriterKey, sources: &[Source]) -> Result<BackupDocument, Failure> {
        self.begin("Back it up with the writer key.");
        let backup = self.back_up_all(key, sources).await?;
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

    async fn back_up_all(&mut self, key: &WriterKey, sources: &[Source]) -> Result<BackupDocument, Failure> {
        let began = self.context.clock.now();
        let mut snapshots = Vec::new();
        for source in sources {
            self.count("opening", (0, 0));
            let operation = self.context.operation(self.writer(key).await?);
            let display = progress::show(self.context);
            let made = match &source.kind {
                SourceKind::Resources(resources) => capture::objects(&operation, &source.name, resources).await,
                SourceKind::FolderVolumes(volumes) => capture::volumes(&operation, volumes).await,
                _ => Ok(Vec::new()),
            };
            display.finish();
            snapshots.extend(made?);
        }
        Ok(BackupDocument { snapshots, seconds: self.context.clock.now().since(began).as_secs_f64() })
    }

    pub(super) async fn try_without_identity(&mut self, key: &WriterKey) -> Result<RefusedDocument, Failure> {
        self.begin("Try to read it back with the writer key, as a thief in the cluster would.");
        let repository = self.writer(key).await?;
        let reader = open::reader(self.context, &repository).await?;
        let path = TreePath::new(SECRET_PATH).unwrap_or_else(|_| TreePath::root());
        let chain = open::chain(self.context, &repository).await?;
        let root = newest(&chain)?.record.root;
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
        sources: &[Source],
        first: &BackupDocument,
    ) -> Result<(Vec<Change>, BackupDocument), Failure> {
        self.begin("A day passes. Back up again: only what is new is stored.");
        let changes = self.homelab.change().await.map_err(|error| homelab("change the homelab", error))?;
        for change in &changes {
            let path = change.path.trim_start_matches("volumes/");
            self.detail(&format!("{:<17}  {path}", change.what));
        }
        let second = self.back_up_all(key, sources).await?;
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
        for path in self.homelab.places()? {
            let record = Record::take(&path, &|_| ()).map_err(unreadable)?;
            before.push((path, record));
        }
        self.homelab.burn().map_err(|error| disk("burn the homelab down", error))?;
        self.detail("cluster/ is gone. Left: the repository, the identity, the fingerprint.");
        Ok(before)
    }

    /// What its owner has after the fire, and nothing of the person's own who looks at the demonstration.
    fn owners(&self, fingerprint: &Fingerprint) -> Context {
        let mut globals = self.context.globals.clone();
        globals.repo = Some(self.places.repository.clone().into_os_string());
        globals.identity = vec![self.places.identity.clone()];
        globals.writer_key_file = Some(self.places.writer_key.clone());
        globals.fingerprint = Some(fingerprint.to_string());
        let mut context = Context::new(globals, Again::default());
        context.cancel = self.context.cancel.clone();
        context.clock = self.context.clock.clone();
        context
    }

    pub(super) async fn recover(
        &mut self,
        fingerprint: &Fingerprint,
        last: &BackupDocument,
    ) -> Result<RecoveredDocument, Failure> {
        self.begin("Recover it with the identity, by a runbook: recover.md.");
        let Places { runbook, cluster, journals, .. } = self.places;
        std::fs::write(runbook, RUNBOOK).map_err(|error| disk("write the runbook", error))?;
        let began = self.context.clock.now();
        let mut owners = self.owners(fingerprint);
        let plan = Box::pin(recover::into_folder(runbook, (cluster, journals), &mut owners)).await?;
        let time = self.context.clock.now().since(began);
        let fates = || plan.fates.values();
        let filled = || fates().flat_map(|fates| &fates.fill).map(|fill| fill.snapshot.as_str());
        let of_volumes = |number: &dyn Fn(&SnapshotDocument) -> u64| -> u64 {
            let all = last.snapshots.iter();
            all.filter(|one| filled().any(|snapshot| snapshot == one.snapshot)).map(number).sum()
        };
        let objects = fates().map(|fates| fates.create.len() as u64).sum();
        let (files, bytes) = (of_volumes(&|one| one.files), of_volumes(&|one| one.bytes));
        self.detail(&format!(
            "{}, and {} with {}, in {}",
            count(objects, "object"),
            count(files, "file"),
            units::bytes(bytes),
            seconds(time)
        ));
        self.detail(&format!("homelab-dr report show {} --journals runs", plan.run));
        Ok(RecoveredDocument { run: plan.run.clone(), objects, files, bytes, seconds: time.as_secs_f64() })
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
            // A manifest is written anew, like an object in another cluster; a file of a volume has its time, too.
            let is_manifests = path.ends_with(MANIFESTS);
            let counts = |difference: &Difference| !(is_manifests && difference.what == "mtime");
            let differs = record.compare(&now).into_iter().filter(counts);
            differences.extend(differs.map(|difference| below(path, difference)));
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
            "{}, {}: content, mode and owner as before, and the times of the volumes'",
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

/// The newest snapshot of the objects.
fn newest(chain: &Chain) -> Result<&Snapshot, Failure> {
    chain.newest_of(OBJECTS).ok_or_else(|| Failure::new(Exit::Error, "there is no snapshot of the objects", REPORT))
}

fn below(root: &Path, mut difference: Difference) -> Difference {
    difference.path = root.join(&difference.path);
    difference
}
