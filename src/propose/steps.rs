//! The steps of the proposal, in their order: what others need first, what could refuse or undo others last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::About;
use super::survey::{Space, Survey};
use crate::base::{shell, units};
use crate::cluster::order::Stage;
use crate::volumes::labels::BACKUP;

/// What is brought back in a second, reckoned low: a disk at home that does other things, too.
const BYTES_A_SECOND: u64 = 18 << 20;
/// What a step takes beside its bytes.
const LEAST_MINUTES: u64 = 15;
/// Things of one kind that a sentence names, and that a check looks at.
const NAMED_MAX: usize = 6;

/// A step, as it is written.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) id: String,
    pub(super) title: String,
    /// Paragraphs; one that begins with `- ` is an item.
    pub(super) prose: Vec<String>,
    pub(super) needs: Option<Vec<String>>,
    /// The kind and its fields: YAML lines.
    pub(super) does: Vec<String>,
    pub(super) minutes: u64,
    /// YAML lines of checks.
    pub(super) verify: Vec<String>,
    pub(super) on_failure: Option<&'static str>,
}

impl Step {
    fn new(id: &str, title: &str, prose: &str, does: Vec<String>, minutes: u64) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            prose: vec![prose.to_owned()],
            needs: None,
            does,
            minutes,
            verify: Vec::new(),
            on_failure: None,
        }
    }

    fn says(mut self, prose: impl Into<String>) -> Self {
        self.prose.push(prose.into());
        self
    }

    fn verified(mut self, checks: impl IntoIterator<Item = String>) -> Self {
        self.verify.extend(checks);
        self
    }

    fn after(mut self, needs: impl IntoIterator<Item = String>) -> Self {
        self.needs = Some(needs.into_iter().collect());
        self
    }
}

/// Minutes for so many bytes, in fives.
fn minutes(bytes: u64) -> u64 {
    (LEAST_MINUTES + bytes / BYTES_A_SECOND / 60).div_ceil(5) * 5
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn listed<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ")
}

/// Some names in a sentence, the others counted.
fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let all: Vec<&String> = names.into_iter().collect();
    let shown: Vec<String> = all.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
    match all.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn restore(include: &BTreeSet<String>, exclude: &BTreeSet<String>) -> Vec<String> {
    let mut lines = vec!["restore.resources:".to_owned()];
    lines.push("  source: \"${cluster_source}\"".to_owned());
    lines.push("  snapshot: \"${snapshot}\"".to_owned());
    for (name, words) in [("include", include), ("exclude", exclude)] {
        if !words.is_empty() {
            lines.push(format!("  {name}: [{}]", listed(words)));
        }
    }
    lines
}

/// The same with claims that nobody has the data of, since nobody wants it.
fn restore_empty(include: &BTreeSet<String>, exclude: &BTreeSet<String>, left_out: &BTreeSet<String>) -> Vec<String> {
    let mut lines = restore(include, exclude);
    if !left_out.is_empty() {
        lines.push(format!("  may_be_empty: [{}]", listed(left_out)));
    }
    lines
}

fn manual(confirm: &str) -> Vec<String> {
    vec![format!("manual: {{ confirm: {confirm} }}")]
}

fn ready(objects: &str, minutes: u64) -> String {
    format!("ready: {objects}\n    deadline: {minutes}m")
}

fn ready_objects<'a>(objects: impl IntoIterator<Item = &'a String>) -> String {
    let objects: Vec<&String> = objects.into_iter().take(NAMED_MAX).collect();
    ready(&format!("{{ objects: [{}] }}", listed(objects)), 10)
}

/// Why its namespaces come where they come, and which those are.
type Group<'a> = (&'a str, &'a dyn Fn(&Space) -> bool);

/// See the module.
pub(super) fn steps(survey: &Survey, about: &About<'_>) -> Vec<Step> {
    let is_whole = about.namespaces.is_empty();
    let last: BTreeSet<String> = survey.gates.iter().chain(&survey.gitops).cloned().collect();
    let mut steps = vec![identity()];
    if is_whole {
        steps.extend(survey.has_coredns.then(answers));
        steps.extend(storage(survey));
        steps.push(foundation(survey));
        steps.extend(secrets(survey));
    }
    let mut before: Vec<String> = steps.last().map(|step| step.id.clone()).into_iter().collect();
    let mut ids: BTreeSet<String> = steps.iter().map(|step| step.id.clone()).collect();
    let mut of_space: Vec<(&String, String)> = Vec::new();
    let groups: [Group<'_>; 3] = [
        ("It serves others in the whole cluster, so it comes before what needs it.", &|space| space.serves_others),
        ("Nothing but databases: applications look for them when they start.", &|space| {
            !space.serves_others && space.is_database()
        }),
        ("", &|space| !space.serves_others && !space.is_database()),
    ];
    for (number, (why, is_of)) in groups.into_iter().enumerate() {
        let mut made = Vec::new();
        for (namespace, space) in survey.spaces.iter().filter(|(_, space)| is_of(space)) {
            let id = unused(&format!("ns-{namespace}"), &mut ids);
            steps.push(application(&id, namespace, (space, why), &last).after(before.clone()));
            of_space.push((namespace, id.clone()));
            made.push(id);
        }
        if !made.is_empty() {
            before = made;
        }
        if number == 0 && is_whole {
            let step = cluster_wide(survey).map(|step| step.after(before.clone()));
            before = step.as_ref().map_or(before, |step| vec![step.id.clone()]);
            steps.extend(step);
        }
        if number == 1 {
            let step = by_operators(survey).map(|step| step.after(before.clone()));
            before = step.as_ref().map_or(before, |step| vec![step.id.clone()]);
            steps.extend(step);
        }
    }
    if is_whole {
        let mut rest = rest(survey, &last);
        rest.needs = Some(
            of_space.iter().map(|(_, id)| id.clone()).chain(before).collect::<BTreeSet<_>>().into_iter().collect(),
        );
        steps.push(rest);
        steps.extend(gates(survey));
        steps.extend(gitops(survey));
    }
    for (namespace, space) in &survey.spaces {
        let id = format!("look-{namespace}");
        steps.extend(look(&mut ids, &id, (namespace, space)));
    }
    steps.push(done());
    steps
}

fn unused(wanted: &str, ids: &mut BTreeSet<String>) -> String {
    const LONGEST: usize = 58;
    let start: String = wanted.chars().map(|c| if c == '.' { '-' } else { c }).take(LONGEST).collect();
    let mut id = start.clone();
    let mut number = 1;
    while !ids.insert(id.clone()) {
        number += 1;
        id = format!("{start}-{number}");
    }
    id
}

fn identity() -> Step {
    let prose = "Any Linux machine that reaches the cluster, with the program, the identity and the kubeconfig on it. Prove that the identity opens the repository before anything else.";
    let step = Step::new("identity", "A machine to work from", prose, manual("opened"), 30);
    step.says("- `homelab-dr keys drill --identity ~/homelab-dr.key`").after([])
}

fn answers() -> Step {
    let prose = "Its nodes are ready and names are found in it: everything that starts later asks for one.";
    let does = vec![
        "wait:".into(),
        "  until:".into(),
        "    - ready: { objects: [kube-system/deployments.apps/coredns] }".into(),
        "  every: 10s".into(),
    ];
    Step::new("answers", "An empty cluster that answers", prose, does, 60)
}

fn storage(survey: &Survey) -> Option<Step> {
    let classes: Vec<String> = survey
        .classes
        .iter()
        .map(
            |(class, maker)| {
                if maker.is_empty() { format!("`{class}`") } else { format!("`{class}` (made by `{maker}`)") }
            },
        )
        .collect();
    if classes.is_empty() {
        return None;
    }
    let prose = format!(
        "Claims are of the storage classes {}. A class comes back with its definition; what makes its volumes has to run before: install it by hand if it is not part of the cluster, and look that its pods are ready.",
        classes.join(", ")
    );
    let step = Step::new("storage", "What makes volumes", &prose, manual("storage is there"), 60);
    Some(step.says("- `kubectl get storageclasses,csidrivers`"))
}

fn foundation(survey: &Survey) -> Step {
    let early = [Stage::Definitions, Stage::Namespaces, Stage::Classes, Stage::Rights];
    let kinds: BTreeSet<String> = early.iter().filter_map(|stage| survey.wide.get(stage)).flatten().cloned().collect();
    let prose = "Namespaces, definitions of custom kinds, classes, and who may do what: everything else is put into these. None of it starts anything.";
    let mut step =
        Step::new("foundation", "What everything else is put into", prose, restore(&kinds, &BTreeSet::new()), 15);
    if survey.definitions.is_empty() {
        let spaces: Vec<String> = survey.spaces.keys().map(|name| format!("_cluster/namespaces/{name}")).collect();
        return step.verified([ready_objects(&spaces)]);
    }
    step = step.says(format!("Custom kinds are defined by {}.", named(&survey.definitions)));
    let established = survey.definitions.iter().take(NAMED_MAX).map(|name| {
        let object = format!("_cluster/customresourcedefinitions.apiextensions.k8s.io/{name}");
        format!("condition: {{ object: {}, type: Established }}\n    deadline: 2m", quoted(&object))
    });
    step.verified(established)
}

fn secrets(survey: &Survey) -> Option<Step> {
    let with: Vec<(&String, &Space)> = survey.spaces.iter().filter(|(_, space)| !space.secrets.is_empty()).collect();
    if with.is_empty() {
        return None;
    }
    let objects: Vec<String> = with
        .iter()
        .flat_map(|(namespace, space)| space.secrets.iter().map(move |name| format!("{namespace}/secrets/{name}")))
        .collect();
    let prose = format!(
        "What opens registries, repositories and stores of secrets: {}. Whatever fetches its own secrets waits for these, so look that each is the one that is meant, and not one that was withdrawn since.",
        named(&objects)
    );
    let include = objects.iter().cloned().collect();
    let step = Step::new("secrets", "Secrets that others come by", &prose, restore(&include, &BTreeSet::new()), 15);
    Some(step.verified([ready_objects(&objects)]))
}

fn application(id: &str, namespace: &str, (space, why): (&Space, &str), last: &BTreeSet<String>) -> Step {
    let volumes = || space.volumes.iter().map(|name| format!("_cluster/persistentvolumes/{name}"));
    let of_namespace = format!("{namespace}/*/*");
    let include =
        [of_namespace.clone(), format!("_cluster/namespaces/{namespace}")].into_iter().chain(volumes()).collect();
    let title = format!("The namespace {namespace}");
    let first = match (why, space.claims.is_empty()) {
        ("", true) => "Its objects; it keeps nothing of its own.".to_owned(),
        ("", false) => "Its objects, each claim with the data that is nearest to them.".to_owned(),
        (why, _) => why.to_owned(),
    };
    let mut step =
        Step::new(id, &title, &first, restore_empty(&include, last, &space.left_out), minutes(space.bytes()) + 15);
    if !space.claims.is_empty() {
        let claims: Vec<String> = space
            .claims
            .iter()
            .take(NAMED_MAX)
            .map(|claim| {
                let word = if claim.is_known { "" } else { " at most" };
                format!("`{}` ({}{word})", claim.name, units::bytes(claim.bytes))
            })
            .collect();
        let more = space.claims.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        step = step.says(format!(
            "Its volumes: {}{more}. Look into one of them for the newest thing that anybody remembers.",
            claims.join(", ")
        ));
    }
    if !space.left_out.is_empty() {
        step = step.says(format!(
            "Left out of the backup on purpose (`{BACKUP}: \"false\"`), and made EMPTY here: {}. Any other claim without data stops the step.",
            named(&space.left_out)
        ));
    }
    if !space.volumes.is_empty() {
        step = step.says(format!(
            "Made by hand for its claims, and brought back right before them: {}. Each is only a name for a directory of a node or a share that has to be there, and what is in that already stays.",
            named(&space.volumes)
        ));
    }
    for database in space.databases.iter().take(NAMED_MAX) {
        step = step.says(format!(
            "`{}` runs `{}`: a database that answers can be empty. Count in it something that never was zero.",
            database.object, database.image
        ));
    }
    let chosen: Vec<String> =
        [of_namespace].into_iter().chain(volumes()).map(|what| format!("--include {}", shell::quoted(&what))).collect();
    step = step.says(format!(
        "- `homelab-dr restore latest:cluster --cluster {} --wait=20m --identity ~/homelab-dr.key`",
        chosen.join(" ")
    ));
    let whole = if space.workloads.is_empty() && space.claims.is_empty() {
        ready_objects([&format!("_cluster/namespaces/{namespace}")])
    } else {
        ready(&format!("{{ namespace: {namespace} }}"), 15)
    };
    let asked = space.databases.iter().take(NAMED_MAX).filter_map(|database| {
        let container = database.postgres.as_ref()?;
        Some(format!(
            "exec: {{ object: {}, container: {container}, argv: [pg_isready] }}\n    deadline: 5m",
            quoted(&database.object)
        ))
    });
    step = step.verified([whole]).verified(asked);
    step.on_failure = Some("ask");
    step
}

fn by_operators(survey: &Survey) -> Option<Step> {
    let all: Vec<String> = survey.spaces.values().flat_map(|space| space.by_operator.clone()).collect();
    if all.is_empty() {
        return None;
    }
    let prose = format!(
        "Their operator brings these back from its own backups, and never a volume: {}. Write each anew with `bootstrap.recovery`, and look that it has the newest of what was in it.",
        named(&all)
    );
    let does = manual("they are recovered");
    let step = Step::new("databases", "Databases of an operator", &prose, does, 120);
    let ready = all
        .iter()
        .take(NAMED_MAX)
        .map(|object| format!("condition: {{ object: {}, type: Ready }}\n    deadline: 10m", quoted(object)));
    Some(step.verified(ready))
}

fn cluster_wide(survey: &Survey) -> Option<Step> {
    let late = [
        Stage::Authorities,
        Stage::Configuration,
        Stage::Limits,
        Stage::Services,
        Stage::Others,
        Stage::Workloads,
        Stage::Converted,
        Stage::Watchers,
    ];
    let kinds: BTreeSet<String> = late.iter().filter_map(|stage| survey.wide.get(stage)).flatten().cloned().collect();
    if kinds.is_empty() {
        return None;
    }
    let prose = format!("Objects in no namespace that what was just started looks after: {}.", named(&kinds));
    let issuers = "clusterissuers.cert-manager.io";
    let mut step =
        Step::new("cluster-wide", "Objects of the whole cluster", &prose, restore(&kinds, &BTreeSet::new()), 15);
    if kinds.contains(issuers) {
        step = step.says(
            "An issuer that is not ready has another account than before: look at `kubectl describe clusterissuers`.",
        );
    }
    let spaces: Vec<String> = survey
        .spaces
        .iter()
        .filter(|(_, space)| space.serves_others)
        .map(|(name, _)| format!("_cluster/namespaces/{name}"))
        .collect();
    let any: Vec<String> = survey.spaces.keys().map(|name| format!("_cluster/namespaces/{name}")).collect();
    Some(step.verified([ready_objects(if spaces.is_empty() { &any } else { &spaces })]))
}

fn rest(survey: &Survey, last: &BTreeSet<String>) -> Step {
    let prose = "Everything that no step above has named, so that nothing is forgotten. What is there by now is left as it is, and the plan says how many differ.";
    let spaces: Vec<String> = survey.spaces.keys().map(|name| format!("_cluster/namespaces/{name}")).collect();
    let step = Step::new("rest", "The rest", prose, restore_empty(&BTreeSet::new(), last, &survey.left_out), 30);
    step.verified([ready_objects(&spaces)])
}

fn gates(survey: &Survey) -> Option<Step> {
    if survey.gates.is_empty() {
        return None;
    }
    let prose = format!(
        "What may refuse or change other objects: {}. Whoever answers for them has to run by now, or nothing more could be made.",
        named(&survey.gates)
    );
    let spaces: Vec<String> = survey.spaces.keys().map(|name| format!("_cluster/namespaces/{name}")).collect();
    let step = Step::new("gates", "What watches over others", &prose, restore(&survey.gates, &BTreeSet::new()), 15);
    Some(step.verified([ready_objects(&spaces)]))
}

fn gitops(survey: &Survey) -> Option<Step> {
    if survey.gitops.is_empty() {
        return None;
    }
    let prose = format!(
        "{} come last: before, they would make everything anew from Git, with empty volumes. From here on Git wins where it differs, so look at its last commits first.",
        named(&survey.gitops)
    );
    let spaces: Vec<String> = survey.spaces.keys().map(|name| format!("_cluster/namespaces/{name}")).collect();
    let step = Step::new("gitops", "What deploys from Git", &prose, restore(&survey.gitops, &BTreeSet::new()), 15);
    Some(step.verified([ready_objects(&spaces)]).says("- `homelab-dr gitops status`"))
}

/// What a visitor would see of a namespace.
fn look(ids: &mut BTreeSet<String>, id: &str, (namespace, space): (&String, &Space)) -> Option<Step> {
    if space.hosts.is_empty() && space.certificates.is_empty() {
        return None;
    }
    let mut checks: Vec<String> = space
        .certificates
        .iter()
        .take(NAMED_MAX)
        .map(|name| {
            let object = format!("{namespace}/certificates.cert-manager.io/{name}");
            format!("condition: {{ object: {}, type: Ready }}\n    deadline: 10m", quoted(&object))
        })
        .collect();
    checks.extend(
        space
            .hosts
            .iter()
            .take(NAMED_MAX)
            .map(|host| format!("http: {{ url: {} }}\n    deadline: 5m", quoted(&format!("https://{host}/")))),
    );
    let mut does = vec!["check:".to_owned()];
    does.extend(checks.iter().map(|check| format!("  - {check}")));
    let prose = if space.hosts.is_empty() {
        "Certificates are issued. One that is pending: certificate-pending.md.".to_owned()
    } else {
        format!(
            "From outside, as a visitor sees it: {}. A page that sends everybody to a login answers 302: write `status: 302` then.",
            named(&space.hosts)
        )
    };
    let minutes = 15 * u64::try_from(checks.len().div_ceil(2)).unwrap_or(1);
    let mut step = Step::new(&unused(id, ids), &format!("{namespace} as others see it"), &prose, does, minutes);
    step.on_failure = Some("continue");
    Some(step)
}

fn done() -> Step {
    let prose = "Look at the cluster for a day, then let it write its backups again: as the same writer if the old cluster is destroyed, into a new repository if somebody has it.";
    let does = vec!["notify: { message: \"back from ${snapshot}\" }".to_owned()];
    Step::new("done", "Say so, and take the next backup", prose, does, 0)
}

/// How long all of it takes at most, where two steps are carried out at once.
pub(super) fn rto(steps: &[Step]) -> Duration {
    let minutes: u64 = steps.iter().map(|step| step.minutes).sum();
    Duration::from_secs(minutes.div_ceil(60) * 3600)
}
