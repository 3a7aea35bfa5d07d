//! Finds and reads the configuration, and puts what it says about the repository where no option said otherwise.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::causes::causes;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::globals::Globals;
use crate::cli::hints::Advise;
use crate::cli::output::count;
use crate::config::{self, Config, Repository, SourceKind, TEXT_BYTES_MAX};
use crate::format::entry::escape;
use crate::language::{Complaint, Finding, Judges, Severity};
use crate::store::url::StoreUrl;
use crate::tree::exclude::Excludes;

/// Where it is looked for when nothing names it, in this order.
pub(crate) const PLACES: [&str; 2] = ["/etc/homelab-dr/homelab-dr.yaml", "homelab-dr.yaml"];

/// What the pure languages cannot judge themselves.
pub(crate) const JUDGES: Judges<'static> = Judges { url: &judge_url, pattern: &judge_pattern };

/// A configuration and where it was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
}

/// Findings as the cause of an error: each as `config check` shows it.
#[derive(Debug)]
pub(crate) struct Findings(pub(crate) String);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Findings {}

/// The file that is meant: named by an option or a variable, else the first that is there.
pub(crate) fn find(globals: &Globals) -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = named(globals) {
        return Ok(Some(named.to_owned()));
    }
    let Some(found) = PLACES.into_iter().map(Path::new).find(|path| path.exists()) else { return Ok(None) };
    if found.is_relative() {
        refuse_planted(found)?;
    }
    Ok(Some(found.to_owned()))
}

fn named(globals: &Globals) -> Option<&Path> {
    globals.config.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// A file that somebody else may have put into the folder that we happen to be in could run programs with our rights.
fn refuse_planted(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    if ours && metadata.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!("{} in this folder is another's, or everybody can write it, and was not read", path.display()),
        "it can name programs to run: see who wrote it, then name it with --config, or go to another folder",
    ))
}

/// Reads a file without deciding what its findings mean.
pub(crate) fn read(path: &Path) -> Result<config::Read, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = TEXT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(|error| {
        let what = format!("cannot read the configuration {}", path.display());
        Failure::because(Exit::Usage, what, error, "see the path and the file's mode; --config FILE names another")
    })?;
    Ok(config::read(&bytes, &JUDGES))
}

fn complaint(error: &(impl Advise + std::error::Error + 'static)) -> Complaint {
    let what = std::iter::once(error.to_string()).chain(causes(error)).collect::<Vec<_>>().join(": ");
    Complaint::new(what, error.advice().map(|advice| advice.help).unwrap_or_default())
}

fn judge_url(text: &str) -> Result<(), Complaint> {
    match StoreUrl::parse(text).map_err(|error| complaint(&error))? {
        StoreUrl::File { path, .. } if path.is_relative() => Err(Complaint::new(
            format!("{text:?} is a relative path"),
            "it means something else wherever the program is started: write it from / on",
        )),
        _ => Ok(()),
    }
}

fn judge_pattern(text: &str) -> Result<(), Complaint> {
    Excludes::new(&[text.to_owned()]).map(drop).map_err(|error| complaint(&error))
}

/// All findings of a file as text, one below the other.
pub(crate) fn shown(findings: &[Finding], path: &Path) -> String {
    findings.iter().map(|finding| finding.shown(&path.display().to_string())).collect::<Vec<_>>().join("\n")
}

/// How many of the findings are errors.
pub(crate) fn errors(findings: &[Finding]) -> u64 {
    findings.iter().filter(|finding| finding.severity == Severity::Error).count() as u64
}

/// Reads a file that has to be right. Warnings are for `config check`.
pub(crate) fn load(path: PathBuf) -> Result<Loaded, Failure> {
    let config::Read { config, findings } = read(&path)?;
    match config {
        Some(config) => Ok(Loaded { path, config }),
        None => Err(Failure::because(
            Exit::Usage,
            format!("the configuration {} has {}", path.display(), count(errors(&findings), "error")),
            Findings(shown(&findings, &path)),
            "`homelab-dr config check` shows them again; nothing was done",
        )),
    }
}

/// Finds and reads the configuration, and takes the repository from it unless another was given.
pub(crate) fn settle(context: &mut Context) -> Result<(), Failure> {
    let Some(path) = find(&context.globals)? else { return Ok(()) };
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        // In an emergency a file that merely lies there is no reason not to restore from an address that was given.
        Err(Failure::Told(told)) if named(&context.globals).is_none() && gives_address(&context.globals) => {
            context.talk.warn(&format!("{}; it is not used, since --repo gives an address", told.error));
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let given = context.globals.repo.clone().filter(|given| !given.is_empty());
    let meant = match &given {
        None => loaded.config.default_repository(),
        Some(given) => given.to_str().and_then(|name| loaded.config.repository(name)),
    };
    match (meant, &given) {
        (Some(repository), _) => take(repository, &mut context.globals),
        (None, Some(given)) if !gives_address(&context.globals) && !Path::new(given).exists() => {
            let known: Vec<&str> = loaded.config.repositories.iter().map(|known| known.name.as_str()).collect();
            context.talk.warn(&format!(
                "{} is no repository of {} (it has {}): taken for a folder",
                escape(given.as_encoded_bytes()),
                loaded.path.display(),
                known.join(", ")
            ));
        }
        _ => {}
    }
    context.configuration = Some(loaded.into());
    Ok(())
}

/// Whether what `--repo` gave can only be an address.
fn gives_address(globals: &Globals) -> bool {
    globals.repo.as_ref().is_some_and(|given| given.to_string_lossy().contains('/'))
}

fn take(repository: &Repository, globals: &mut Globals) {
    globals.repo = Some(repository.url.clone().into());
    globals.configured.writer_key_file.clone_from(&repository.writer_key_file);
    globals.configured.object_lock = repository.object_lock;
    if globals.fingerprint.as_deref().is_none_or(str::is_empty) {
        globals.fingerprint = repository.fingerprint.map(|fingerprint| fingerprint.to_string());
    }
    globals.limit_upload = globals.limit_upload.or(repository.limit_upload);
    globals.limit_download = globals.limit_download.or(repository.limit_download);
}

/// What is said when something has to come from a configuration and there is none.
pub(crate) fn needed(what: &str, option: &str) -> Failure {
    Failure::usage(
        format!("{what}, and there is no configuration"),
        format!(
            "give {option}, or write {} or ./{} (docs/configuration.md), or name one with --config",
            PLACES[0], PLACES[1]
        ),
    )
}

/// Where the configuration has journals of holds kept.
pub(crate) fn journal_namespace(context: &Context) -> Option<String> {
    let sources = &context.configuration.as_ref()?.config.sources;
    sources.iter().find_map(|source| match &source.kind {
        SourceKind::Volumes(source) => source.namespace.clone(),
        _ => None,
    })
}
