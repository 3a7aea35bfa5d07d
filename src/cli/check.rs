//! `check`: is the repository whole?

mod repair;

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::base::causes::in_one_line;
use crate::base::units::{self, parse_percent};
use crate::check::{self, Affected, Finding, Hint, Options, Report, Severity};
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::{progress, verified};
use crate::format::entry::escape;
use crate::repo::rebuild::rebuild_index;
use crate::repo::{Repository, layout};

const EXAMPLES: &str = "\
Examples:
  Every day, by whoever holds the writer key: objects, index and trees:
    homelab-dr check
  Read a tenth of the data, another tenth every day:
    homelab-dr check --read-data=10%
  Read everything and decrypt it, with an identity:
    homelab-dr check --read-data --identity ~/homelab-dr.key
  Put right what can be, from a replica and from what is still good, and say what is lost:
    homelab-dr check --repair --from /mnt/usb/backup --identity ~/homelab-dr.key
  Take damaged packs out of use, so that the next backup stores anew what its files still hold:
    homelab-dr check --read-data --mark-damaged
  With no key at all: do stored bytes match their names?
    homelab-dr check --no-key --read-data";

/// Snapshots that a finding names.
const SNAPSHOTS_SHOWN: usize = 5;
/// Files of a snapshot that a finding names.
const FILES_SHOWN: usize = 3;

/// Check that the repository is whole; it changes nothing that is there (but see --repair and --rebuild-index)
///
/// Always: every object is there and every file's chunks are in a pack. With --read-data the stored bytes are read and
/// compared with their names. With an identity what is read is also decrypted; if that was all of it, a record is added
/// of which snapshots are good, and `forget` keeps the last good one of each source. Which snapshots are damaged is
/// recorded too, and `status` tells of it until one is read whole again. Damage ends with exit code 4.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// Read the data too, all of it or N percent, which move on with the date; else what the configuration says, or none
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = parse_percent)]
    read_data: Option<u8>,
    /// Mark packs whose bytes are not those that were stored: backups take them for absent, `prune` copies out what still reads
    #[arg(long, requires = "read_data", conflicts_with = "no_key")]
    mark_damaged: bool,
    /// Read everything, put right what can be, and say exactly what is lost; nothing is deleted. Good bytes come from --from, else from the replicas of the
    /// configuration, from older versions in the bucket, and from what is still good here. What the sources still hold comes with their next backup
    #[arg(long, conflicts_with_all = ["read_data", "mark_damaged", "objects_only", "rebuild_index"])]
    repair: bool,
    /// A replica to take good bytes from: its address, or its name in the configuration; may be repeated
    #[arg(long, value_name = "URL", requires = "repair")]
    from: Vec<OsString>,
    /// Do not follow the trees, only look at the objects
    #[arg(long)]
    objects_only: bool,
    /// Use no key: what is missing cannot be told then
    #[arg(long, conflicts_with = "objects_only")]
    no_key: bool,
    /// First make the index whole again from the packs: what no readable segment names gets into new ones, and segments
    /// that do not read are set aside for `prune`
    #[arg(long, conflicts_with = "no_key")]
    rebuild_index: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if args.repair {
        return repair::run(args.no_key, &args.from, context).await;
    }
    let configured = context.configuration.as_ref().map_or(0, |loaded| loaded.config.check_read_data);
    let read_percent = args.read_data.unwrap_or(configured);
    let now = context.clock.now();
    let (report, repository) = if args.no_key {
        let store = open::store(context, Access::Read).await?;
        let display = progress::show(context);
        let report = check::check_stored(&*store, read_percent, now, &context.progress).await;
        display.finish();
        (report?, None)
    } else {
        let identity = !context.globals.identity_texts()?.is_empty();
        let access = if args.rebuild_index || args.mark_damaged { Access::Write } else { Access::Verify };
        let repository = if identity {
            let repository = open::with_identity(context, access).await?;
            // It would find damage where there is none.
            repository.refuse_if_removed()?;
            repository
        } else {
            open::repository(context, access).await?
        };
        if args.rebuild_index {
            rebuild(&repository, context).await?;
        }
        let options = Options { structure: !args.objects_only, read_percent, now };
        let display = progress::show(context);
        let report = check::check(&repository, &options, &context.progress).await;
        display.finish();
        (report?, Some(repository))
    };
    let exit = tell(&report, context)?;
    if let Some(repository) = repository {
        if args.mark_damaged {
            mark_damaged(context, &repository, &report).await?;
        }
        verified::record(context, &repository, &report.verified, &report.damaged()).await?;
    }
    Ok(exit)
}

async fn mark_damaged(context: &mut Context, repository: &Repository, report: &Report) -> Result<(), Failure> {
    let done = check::mark_damaged(repository, report, context.clock.now()).await?;
    for pack in &done.kept {
        context.talk.warn(&format!(
            "{} was not marked: another pack may lie there, whole\n  help: `homelab-dr check --repair` puts it in its place",
            layout::pack(pack)
        ));
    }
    let marked = match done.packs as u64 {
        0 => "no damaged pack to mark".to_owned(),
        number => format!(
            "marked {}: back up the sources again, and what they still hold is stored anew; then `homelab-dr prune` copies out of them what still reads",
            count(number, "damaged pack")
        ),
    };
    context.say(&marked)
}

async fn rebuild(repository: &Repository, context: &mut Context) -> Result<(), Failure> {
    let rebuilt = rebuild_index(repository, &*context.clock).await?;
    for key in &rebuilt.set_aside {
        context
            .talk
            .warn(&format!("{key} cannot be read; it was set aside, and `homelab-dr prune` takes it away in time"));
    }
    for (key, error) in &rebuilt.lost {
        let why = in_one_line(error);
        context.talk.warn(&format!("{key} is in no index segment, and its own table cannot be read: {why}"));
    }
    context.say(&format!("rebuilt the index: {} named anew", count(rebuilt.packs, "pack")))
}

fn tell(report: &Report, context: &mut Context) -> Result<Exit, Failure> {
    let exit = if report.is_damaged() { Exit::Damaged } else { Exit::Done };
    if context.out.json {
        context.out.document(report)?;
        return Ok(exit);
    }
    let quiet = context.globals.quiet;
    for finding in report.findings.iter().filter(|finding| !quiet || finding.severity != Severity::Note) {
        context.out.line(&shown(finding))?;
    }
    let counts = report.counts;
    let mut looked = format!("{} ({})", count(counts.objects, "object"), units::bytes(counts.bytes));
    if report.depth.keyed {
        let _ = write!(looked, ", {}, {}", count(counts.snapshots, "snapshot"), count(counts.packs, "pack"));
    }
    if report.depth.structure {
        let _ = write!(looked, ", {}", count(counts.files, "file"));
    }
    if report.depth.read_percent > 0 {
        let how = if report.depth.decrypted { "read and decrypted" } else { "read" };
        let _ = write!(looked, "; {how}: {}", units::bytes(counts.bytes_read));
    }
    context.say(&format!("looked at {looked}"))?;
    if let Some(cover) = &report.cover {
        let (covered, packs) = (cover.covered, count(cover.packs, "pack"));
        let groups = count(cover.groups, "group");
        context.say(&format!("parity covers {covered} of {packs}, in {groups} ({})", units::bytes(cover.bytes)))?;
    }
    let verdict = match report.worst() {
        Some(Severity::Damage) => "DAMAGED: what is listed above is missing or altered",
        Some(Severity::Warning) => "nothing is lost; see the warnings above",
        Some(Severity::Note) | None => "no damage found",
    };
    context.summary(matches!(report.worst(), Some(Severity::Damage)), verdict)?;
    if !report.unsound.is_empty() {
        context.say("a damaged pack is built upon until it is marked: --mark-damaged does")?;
    }
    if report.depth.read_percent == 0 {
        context.say("the data itself was not read; --read-data does")?;
    } else if counts.bytes_read == 0 && counts.packs > 0 {
        let percent = report.depth.read_percent;
        context.say(&format!("today's part of {percent}% holds no pack: nothing was read; every part has its day"))?;
    }
    Ok(exit)
}

fn shown(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Damage => "damage",
    };
    let mut text = format!("{severity}: {}: {}", finding.object, escape(finding.what.as_bytes()));
    affected(&finding.affected, &mut text);
    if let Some(help) = advice(finding.hint) {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}

fn affected(affected: &Affected, text: &mut String) {
    for snapshot in affected.snapshots.iter().take(SNAPSHOTS_SHOWN) {
        // Where the root of its tree is lost nobody knows what was in it.
        let files = match snapshot.files {
            0 if snapshot.unknown_entries == 0 => "parts that cannot be listed".to_owned(),
            files => count(files, "file"),
        };
        let _ = write!(
            text,
            "\n  affects snapshot {} of {} ({}): {files}",
            snapshot.id.short(),
            escape(snapshot.source.as_bytes()),
            local(snapshot.started),
        );
        if snapshot.unknown_entries > 0 {
            let _ = write!(text, " and up to {} that cannot be listed", count(snapshot.unknown_entries, "entry"));
        }
        for example in snapshot.examples.iter().take(FILES_SHOWN) {
            let _ = write!(text, "\n    {}", escape(example.as_bytes()));
        }
    }
    let shown = affected.snapshots.len().min(SNAPSHOTS_SHOWN) as u64;
    if affected.snapshots_total > shown {
        let more = count(affected.snapshots_total - shown, "more snapshot");
        let _ = write!(text, "\n  … and {more} (--json has them)");
    }
}

const fn advice(hint: Hint) -> Option<&'static str> {
    Some(match hint {
        Hint::Nothing => return None,
        Hint::CopyFromReplica => {
            "`homelab-dr check --repair --from REPLICA` brings it back; a bucket that keeps versions may need no replica"
        }
        Hint::CopyOrBackUp => {
            "`homelab-dr check --repair --from REPLICA` brings it back; where there is none, back up the sources again: what they still hold is stored anew"
        }
        Hint::CopyOrMark => {
            "`homelab-dr check --repair` puts it right, from a replica (--from REPLICA) or from what is still good in it; `homelab-dr check --read-data --mark-damaged` only takes it out of use. The next backup of the sources then stores anew what they still hold"
        }
        Hint::PutInPlace => "move it to its place; what is there already under that name is the same",
        Hint::BackUpAgain => "back up the sources again: what they still hold is stored anew",
        Hint::RebuildIndex => {
            "`homelab-dr check --rebuild-index` with the writer key makes it anew from the packs; --repair does too"
        }
        Hint::WriteAccess => "`homelab-dr keys add` with an identity writes a new access object",
        Hint::Lost => {
            "`homelab-dr check --repair --from REPLICA` brings it back. Without a replica: find out who or what removed it; `homelab-dr forget --lost ID` then says that it is gone for good"
        }
        Hint::Prune => "`homelab-dr prune` takes it away in time",
        Hint::Rebuild => {
            "`homelab-dr check --repair` brings it back from parity, if no more of its group is lost than that stands"
        }
        Hint::MakeParity => "`homelab-dr parity --read-data` makes it anew from the packs, once these are whole",
        Hint::DrillAgain => "what that drill came to is lost; `homelab-dr drill` holds another",
        Hint::VerifyAgain => "`homelab-dr check --read-data` with an identity records anew what is good",
        Hint::ReadAgain => "check again; if it stays, look at the disk or the provider",
    })
}
