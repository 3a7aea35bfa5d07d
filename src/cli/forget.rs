//! `forget`: which snapshots stay, by a policy, and the others go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::base::id::ObjectId;
use crate::base::units::parse_duration;
use crate::base::when::{Listed as _, Selector, select};
use crate::cli::context::{Context, host, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::hints::{Advice, Advise};
use crate::cli::open::{self, Access};
use crate::cli::output::{count, table};
use crate::cli::prompt::{PlanArgs, confirm};
use crate::cli::tags::TagFilter;
use crate::config::Retention;
use crate::forget::{Forgotten, acknowledge_lost, run_forget};
use crate::format::entry::escape;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::witness::gaps;
use crate::retention::{Candidate, Decision, Policy, RetentionError, Verdict, plan_retention};
use crate::verified::{self, Verified};

const EXAMPLES: &str = "\
Examples:
  homelab-dr forget --yes                    by the rules of the configuration
  homelab-dr forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  homelab-dr forget --source photos --keep-last 3 --keep-within 30d --yes
  homelab-dr forget --keep-daily 14 --yes && homelab-dr prune --yes
  homelab-dr forget 3f9a1c2b                 that snapshot and no other
  homelab-dr forget --lost 3f9a1c2b…         when prune says that a record is missing or unreadable

The newest snapshot of a source, its newest without problems that holds anything, and its newest that
was read back whole (`check --read-data` or `restore`, with an identity) always stay. The space comes
back with `prune`.";

/// Digits that name a lost record at least.
const LOST_DIGITS_MIN: usize = 8;

/// Forget the snapshots that a policy does not keep, or those that are named; shows why each is kept, and asks
///
/// Rules count for each source and set of tags by themselves, and so they do for the safety copies of a source (the tag
/// before-restore), which are none of its backups; a snapshot stays if any rule keeps it. Without a --keep-… the rules of
/// the configuration count. One that is named goes whatever it is, also the last of its source.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Forget these snapshots, by their ids or the starts of them, and no others
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["source", "tag", "lost"])]
    snapshots: Vec<String>,
    /// A record of the chain of snapshots that is missing or unreadable: take note that it is gone for good; may be repeated
    #[arg(long, value_name = "ID", conflicts_with_all = ["source", "tag"])]
    lost: Vec<String>,
    /// Keep the N newest
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_last: u32,
    /// Keep one for each of the N newest hours that have any
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_hourly: u32,
    /// Keep one for each of the N newest days that have any
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_daily: u32,
    /// Keep one for each of the N newest weeks that have any
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_weekly: u32,
    /// Keep one for each of the N newest months that have any
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_monthly: u32,
    /// Keep one for each of the N newest years that have any
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_yearly: u32,
    /// Keep all that are at most so much older than the newest, such as 30d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    keep_within: Option<Duration>,
    /// Decide only about snapshots of this source; the others stay
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Decide only about snapshots with this tag; may be repeated, then all are needed
    #[arg(long, value_name = "KEY[=VALUE]")]
    tag: Vec<TagFilter>,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    decisions: &'a [Decision],
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Forgotten>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let policy = Policy {
        last: args.keep_last,
        hourly: args.keep_hourly,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        yearly: args.keep_yearly,
        within: args.keep_within,
    };
    let names_some = !args.snapshots.is_empty() || !args.lost.is_empty();
    if names_some && !policy.is_empty() {
        return Err(Failure::usage(
            "snapshots are named, and rules are given too",
            "either name what goes, or give --keep-… rules: one of the two",
        ));
    }
    if !args.lost.is_empty() {
        return lost(&args, context).await;
    }
    let rules = match (&context.configuration, policy.is_empty()) {
        (_, true) if !args.snapshots.is_empty() => Retention::default(),
        (_, false) => Retention { default: Some(policy), sources: BTreeMap::new() },
        (Some(loaded), true) if !loaded.config.retention.is_empty() => loaded.config.retention.clone(),
        (_, true) => {
            let help = "give at least one --keep-…, such as --keep-daily 7, or write retention into homelab-dr.yaml";
            return Err(Failure::usage("nothing says what is to be kept", help));
        }
    };
    let access = if args.plan.dry_run { Access::Read } else { Access::Write };
    let repository = open::repository(context, access).await?;
    // As `run_forget` reads it, or a dry run would promise what the run refuses.
    let chain = open::chain_to_write(context, &repository).await?;
    if let Some(source) = args.source.as_ref().filter(|source| chain.newest_of(source).is_none()) {
        let what = format!("there is no snapshot of source {source:?}");
        return Err(Failure::usage(what, "`homelab-dr snapshots` shows the sources that there are"));
    }
    let verified = verified::load(&repository).await?;
    for (name, _) in &verified.unreadable {
        context.talk.warn(&format!(
            "{name} cannot be read: what it says was verified does not count; `homelab-dr check --read-data` with an identity says it anew"
        ));
    }
    let (decisions, unruled) = if args.snapshots.is_empty() {
        decide(&rules, candidates(&chain, &verified, &args), context)?
    } else {
        (named(&chain, &args.snapshots, context)?, 0)
    };
    let removed = decisions.iter().filter(|decision| !decision.is_kept()).count();
    // What is asked about is shown whatever was said of talk.
    let unasked = args.plan.yes && !args.plan.dry_run;
    let hidden = context.out.json || (context.globals.quiet && unasked);
    if !hidden {
        show(&decisions, context)?;
        if unruled > 0 {
            context.say(&format!("{} of sources that no rule is for: kept", count(unruled, "snapshot")))?;
        }
    }
    if args.plan.dry_run {
        if context.out.json {
            context.out.document(&Document { dry_run: true, decisions: &decisions, outcome: None })?;
        }
        return Ok(Exit::Done);
    }
    if removed > 0 {
        context.out.flush()?;
        confirm(args.plan.yes, &format!("Forget {removed} of {}?", count(decisions.len() as u64, "snapshot")))?;
    }
    let outcome = run_forget(&repository, decisions, &host(), &context.clock).await?;
    if context.out.json {
        context.out.document(&Document { dry_run: false, decisions: &outcome.decisions, outcome: Some(&outcome) })?;
        return Ok(Exit::Done);
    }
    for locked in &outcome.locked {
        let until = locked
            .until
            .map_or_else(|| "a lock runs out".to_owned(), |until| format!("its lock runs out, {}", local(until)));
        context
            .talk
            .warn(&format!("the record of {} stays until {until}; the next forget removes it", locked.id.short()));
    }
    context.summary(false, &format!("forgot {}", count(outcome.removed.len() as u64, "snapshot")))?;
    if !outcome.removed.is_empty() {
        context.say("`homelab-dr prune` gives the space back")?;
    }
    Ok(Exit::Done)
}

/// The named snapshots, to be removed. Only ids: what `latest` or a time means changes between looking and forgetting.
fn named(chain: &Chain, names: &[String], context: &Context) -> Result<Vec<Decision>, Failure> {
    let mut decisions: Vec<Decision> = Vec::new();
    for name in names {
        let selector = Selector::parse(name, context.zone())?;
        if !matches!(selector, Selector::Id(_)) {
            let what = format!("{name:?} is no snapshot id");
            return Err(Failure::usage(
                what,
                "`homelab-dr snapshots` shows the ids; what goes is named by its id only",
            ));
        }
        let Snapshot { id, record } = select(&selector, &chain.snapshots)?;
        if decisions.iter().all(|decision| decision.id != *id) {
            decisions.push(Decision {
                id: *id,
                source: record.source.clone(),
                tags: record.tags.iter().map(|(key, value)| format!("{key}={value}")).collect(),
                time: record.started,
                verdict: Verdict::Remove,
            });
        }
    }
    Ok(decisions)
}

#[derive(Serialize)]
struct LostDocument {
    dry_run: bool,
    lost: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Forgotten>,
}

/// Takes note that records are gone for good.
async fn lost(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    let access = if args.plan.dry_run { Access::Read } else { Access::Write };
    let repository = open::repository(context, access).await?;
    let chain = Chain::load(&repository).await?;
    let mut known: Vec<(ObjectId, String)> = gaps(&repository, &chain)
        .await?
        .into_iter()
        .map(|id| (id, "it is missing, and nobody forgot it".to_owned()))
        .collect();
    known.extend(chain.unreadable.iter().cloned());
    let mut ids = Vec::new();
    for text in &args.lost {
        let prefix = text.to_ascii_lowercase();
        let mut found = known.iter().filter(|(id, _)| prefix.len() >= LOST_DIGITS_MIN && id.hex().starts_with(&prefix));
        let (Some((id, why)), None) = (found.next(), found.next()) else {
            let what = format!("{text:?} names no record of the chain that is missing or unreadable");
            let help = "`homelab-dr prune` and `homelab-dr snapshots --json` (missing, unreadable) name them; a snapshot that reads is forgotten with `homelab-dr forget SNAPSHOT`";
            return Err(Failure::usage(what, help));
        };
        if !context.out.json {
            context.out.line(&format!("give up  {id}: {why}"))?;
        }
        ids.push(*id);
    }
    let hex: Vec<String> = ids.iter().map(ObjectId::hex).collect();
    if args.plan.dry_run {
        if context.out.json {
            context.out.document(&LostDocument { dry_run: true, lost: hex, outcome: None })?;
        }
        return Ok(Exit::Done);
    }
    context.out.flush()?;
    let question = format!(
        "Give up {} for good? What only they needed goes with the next prune.",
        count(ids.len() as u64, "record")
    );
    confirm(args.plan.yes, &question)?;
    let outcome = acknowledge_lost(&repository, &ids, &host(), &context.clock).await?;
    if context.out.json {
        context.out.document(&LostDocument { dry_run: false, lost: hex, outcome: Some(outcome) })?;
        return Ok(Exit::Done);
    }
    context.out.line(&format!("gave up {}", count(ids.len() as u64, "record")))?;
    context.say("`homelab-dr prune` goes on now")?;
    Ok(Exit::Done)
}

/// A verdict for every snapshot whose source has rules, and how many have none.
fn decide(rules: &Retention, candidates: Vec<Candidate>, context: &Context) -> Result<(Vec<Decision>, u64), Failure> {
    let mut groups: BTreeMap<Option<&str>, Vec<Candidate>> = BTreeMap::new();
    let mut unruled = 0;
    for candidate in candidates {
        // One group for all that follow the default, so that their order is as it always was.
        match (rules.sources.get_key_value(candidate.source.as_str()), rules.default) {
            (Some((source, _)), _) => groups.entry(Some(source)).or_default().push(candidate),
            (None, Some(_)) => groups.entry(None).or_default().push(candidate),
            (None, None) => unruled += 1,
        }
    }
    let mut decisions = Vec::new();
    let several = groups.len() > 1;
    for (source, candidates) in groups {
        let policy = source.map_or(rules.default.as_ref(), |source| rules.policy(source));
        let policy = policy.ok_or(RetentionError::EmptyPolicy)?;
        decisions.extend(plan_retention(policy, &candidates, context.clock.now(), context.zone())?);
    }
    if several {
        decisions.sort_by_key(|decision| (decision.time, decision.id));
    }
    Ok((decisions, unruled))
}

fn candidates(chain: &Chain, verified: &Verified, args: &Args) -> Vec<Candidate> {
    let wanted = |snapshot: &&Snapshot| {
        args.source.as_ref().is_none_or(|source| snapshot.record.source == *source)
            && args.tag.iter().all(|tag| tag.matches(&snapshot.record.tags))
    };
    chain
        .snapshots
        .iter()
        .filter(wanted)
        .map(|snapshot| Candidate {
            id: snapshot.id,
            source: snapshot.record.source.clone(),
            tags: snapshot.record.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<BTreeSet<_>>(),
            time: snapshot.record.started,
            complete: chain.lack(snapshot).is_none(),
            verified: verified.at.contains_key(&snapshot.id) && chain.held_before(snapshot).is_none(),
            aside: snapshot.is_aside(),
        })
        .collect()
}

fn show(decisions: &[Decision], context: &mut Context) -> Result<(), Failure> {
    if decisions.is_empty() {
        return context.say("no snapshot matches");
    }
    // Other tags are another group, which the rules count by itself.
    let tagged = decisions.iter().any(|decision| !decision.tags.is_empty());
    let rows: Vec<Vec<String>> = decisions
        .iter()
        .map(|decision| {
            let (verdict, why) = match &decision.verdict {
                Verdict::Keep { reasons } => {
                    ("keep", reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
                Verdict::Remove => ("forget", String::new()),
            };
            let mut cells =
                vec![verdict.to_owned(), decision.id.short(), local(decision.time), escape(decision.source.as_bytes())];
            if tagged {
                let tags: Vec<&str> = decision.tags.iter().map(|tag| tag.trim_end_matches('=')).collect();
                cells.push(escape(tags.join(" ").as_bytes()));
            }
            cells.push(why);
            cells
        })
        .collect();
    let head: &[&str] =
        if tagged { &["", "ID", "TIME", "SOURCE", "TAGS", "WHY"] } else { &["", "ID", "TIME", "SOURCE", "WHY"] };
    for line in table(head, &rows, &[]) {
        context.out.line(&line)?;
    }
    Ok(())
}

impl Advise for RetentionError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::EmptyPolicy => Advice::new(
                Exit::Usage,
                "give at least one --keep-…, such as --keep-daily 7, or write retention into homelab-dr.yaml",
            ),
            Self::Twice(_) => {
                Advice::new(Exit::Error, "this is a bug in homelab-dr: please report it with the command that you ran")
            }
        })
    }
}
