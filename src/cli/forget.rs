//! `forget`: which snapshots stay, by a policy, and the others go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::base::units::parse_duration;
use crate::cli::context::{Context, host, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::hints::{Advice, Advise};
use crate::cli::open::{self, Access};
use crate::cli::output::{count, table};
use crate::cli::prompt::{PlanArgs, confirm};
use crate::cli::tags::TagFilter;
use crate::config::Retention;
use crate::forget::{Forgotten, run_forget};
use crate::format::entry::escape;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::retention::{Candidate, Decision, Policy, RetentionError, Verdict, plan_retention};
use crate::verified::{self, Verified};

const EXAMPLES: &str = "\
Examples:
  homelab-dr forget --yes                # by the rules of the configuration
  homelab-dr forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  homelab-dr forget --source photos --keep-last 3 --keep-within 30d --yes
  homelab-dr forget --keep-daily 14 --yes && homelab-dr prune --yes

The newest snapshot of a source, its newest without problems, and its newest that was read back
whole (`check --read-data` or `restore`, with an identity) always stay. The space comes back with
`prune`.";

/// Forget the snapshots that a policy does not keep; shows why each is kept, and asks
///
/// Rules count for each source and set of tags by themselves; a snapshot stays if any rule keeps it. Without a --keep-…
/// the rules of the configuration count.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
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
    let rules = match (&context.configuration, policy.is_empty()) {
        (_, false) => Retention { default: Some(policy), sources: BTreeMap::new() },
        (Some(loaded), true) if !loaded.config.retention.is_empty() => loaded.config.retention.clone(),
        (_, true) => return Err(RetentionError::EmptyPolicy.into()),
    };
    let access = if args.plan.dry_run { Access::Read } else { Access::Write };
    let repository = open::repository(context, access).await?;
    let chain = open::chain(context, &repository).await?;
    let verified = verified::load(&repository).await?;
    for (name, _) in &verified.unreadable {
        context.talk.warn(&format!(
            "{name} cannot be read: what it says was verified does not count; `homelab-dr check --read-data` with an identity says it anew"
        ));
    }
    let (decisions, unruled) = decide(&rules, candidates(&chain, &verified, &args), context)?;
    let removed = decisions.iter().filter(|decision| !decision.is_kept()).count();
    if !context.out.json {
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
    context.out.line(&format!("forgot {}", count(outcome.removed.len() as u64, "snapshot")))?;
    if !outcome.removed.is_empty() {
        context.say("`homelab-dr prune` gives the space back")?;
    }
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
        let policy = source.and_then(|source| rules.sources.get(source)).or(rules.default.as_ref());
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
            complete: snapshot.record.statistics.problems == 0,
            verified: verified.at.contains_key(&snapshot.id),
        })
        .collect()
}

fn show(decisions: &[Decision], context: &mut Context) -> Result<(), Failure> {
    if decisions.is_empty() {
        return context.say("no snapshot matches");
    }
    let rows: Vec<Vec<String>> = decisions
        .iter()
        .map(|decision| {
            let (verdict, why) = match &decision.verdict {
                Verdict::Keep { reasons } => {
                    ("keep", reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
                Verdict::Remove => ("forget", String::new()),
            };
            let source = escape(decision.source.as_bytes());
            vec![verdict.to_owned(), decision.id.short(), local(decision.time), source, why]
        })
        .collect();
    for line in table(&["", "ID", "TIME", "SOURCE", "WHY"], &rows, &[]) {
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
