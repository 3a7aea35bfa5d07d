//! From a tree that was judged right, defaults filled in, to a [`Config`]. `None` would be a bug of the judge: the tests try every example and every
//! mutation of one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    ClaimsChoice, ClusterPlace, Cnpg, CommandSource, Config, ContainerPlace, DatastoreSource, FolderVolumesSource,
    Hook, HookWay, MoverMode, PathSource, PodChoice, PostgresDump, Repository, ResourcesSource, Retention, Source,
    SourceKind, Target, VolumesSource,
};
use crate::base::units::{parse_percent, parse_rate};
use crate::chunker::BlockSize;
use crate::language::take::{named_texts, optional, text, texts, time, truth};
use crate::language::{Node, Value};
use crate::retention::Policy;

pub(super) fn understand(root: Node) -> Option<Config> {
    let things = |name: &str| root.field(name).map(Node::entries).unwrap_or_default();
    let repositories =
        things("repositories").iter().map(|(name, node)| repository(&name.text, node)).collect::<Option<_>>()?;
    let sources = things("sources").iter().map(|(name, node)| source(&name.text, node)).collect::<Option<_>>()?;
    let replicate = things("replicate").iter().map(|(name, node)| target(&name.text, node)).collect::<Option<_>>()?;
    let retention = root.field("retention").map_or(Some(Retention::default()), retention)?;
    let share = root.field("check").map(|check| parse_percent(check.field("read-data")?.text()?).ok());
    Some(Config {
        repositories,
        default_repository: root.field("default-repository").and_then(Node::text).map(str::to_owned),
        sources,
        retention,
        replicate,
        check_read_data: match share {
            Some(share) => share?,
            None => 0,
        },
        understood: root,
    })
}

fn repository(name: &str, node: &Node) -> Option<Repository> {
    Some(Repository {
        name: name.to_owned(),
        url: text(node, "url")?,
        fingerprint: optional(node, "fingerprint", |text| text.parse().ok()).ok()?,
        writer_key_file: optional(node, "writer-key-file", |text| Some(PathBuf::from(text))).ok()?,
        object_lock: time(node, "object-lock").ok()?,
        limit_upload: optional(node, "limit-upload", |text| parse_rate(text).ok()).ok()?,
        limit_download: optional(node, "limit-download", |text| parse_rate(text).ok()).ok()?,
    })
}

fn path(node: &Node) -> Option<PathSource> {
    Some(PathSource {
        paths: texts(node, "paths")?.into_iter().map(PathBuf::from).collect(),
        exclude: texts(node, "exclude")?,
        exclude_caches: truth(node, "exclude-caches")?,
        one_file_system: truth(node, "one-file-system")?,
        live: truth(node, "live")?,
        scratch: optional(node, "scratch", |text| Some(PathBuf::from(text))).ok()?,
        postgres_crash_consistent: text(node, "postgres")? == "crash-consistent",
        postgres_dump: text(node, "postgres-dump"),
    })
}

fn command(node: &Node) -> Option<CommandSource> {
    Some(CommandSource {
        argv: texts(node, "argv").filter(|argv| !argv.is_empty())?,
        file: text(node, "file")?,
        timeout: time(node, "timeout").ok()??,
        ends_with: text(node, "ends-with"),
        place: match node.field("in") {
            Some(place) => Some(container_place(place)?),
            None => None,
        },
    })
}

fn container_place(node: &Node) -> Option<ContainerPlace> {
    Some(ContainerPlace {
        kubeconfig: text(node, "kubeconfig").map(PathBuf::from),
        context: text(node, "context"),
        namespace: text(node, "namespace")?,
        pod: if let Some(name) = text(node, "pod") {
            PodChoice::Named(name)
        } else {
            let labels: BTreeMap<String, String> = named_texts(node, "labels")?;
            PodChoice::Labelled(Some(labels).filter(|labels| !labels.is_empty())?)
        },
        container: text(node, "container"),
    })
}

fn datastore(node: &Node) -> Option<DatastoreSource> {
    let k3s = node.field("k3s")?;
    Some(DatastoreSource { data_dir: text(k3s, "data-dir").map(PathBuf::from)?, max_age: time(k3s, "max-age").ok()?? })
}

fn resources(node: &Node) -> Option<ResourcesSource> {
    Some(ResourcesSource {
        of: match text(node, "folder") {
            Some(folder) => ClusterPlace::Folder(folder.into()),
            None => ClusterPlace::Api {
                kubeconfig: text(node, "kubeconfig").map(PathBuf::from),
                context: text(node, "context"),
            },
        },
        exclude: texts(node, "exclude")?,
        exclude_namespaces: texts(node, "exclude-namespaces")?,
        volumes_elsewhere: truth(node, "volumes-elsewhere")?,
    })
}

fn claims(node: &Node) -> Option<ClaimsChoice> {
    Some(ClaimsChoice {
        namespaces: texts(node, "namespaces")?,
        labels: named_texts(node, "labels")?,
        names: texts(node, "names")?,
        storage_classes: texts(node, "storage-classes")?,
        exclude: texts(node, "exclude")?,
        cnpg: node.field("cnpg")?.elements().iter().map(cnpg).collect::<Option<_>>()?,
        postgres_dumps: node.field("postgres-dump")?.elements().iter().map(postgres_dump).collect::<Option<_>>()?,
    })
}

fn volumes(node: &Node) -> Option<SourceKind> {
    match text(node, "folder") {
        Some(folder) => {
            let resources_elsewhere = truth(node, "resources-elsewhere")?;
            let source = FolderVolumesSource { folder: folder.into(), choice: claims(node)?, resources_elsewhere };
            Some(SourceKind::FolderVolumes(source))
        }
        None => volumes_of_movers(node).map(SourceKind::Volumes),
    }
}

fn volumes_of_movers(node: &Node) -> Option<VolumesSource> {
    Some(VolumesSource {
        kubeconfig: optional(node, "kubeconfig", |text| Some(PathBuf::from(text))).ok()?,
        context: text(node, "context"),
        image: text(node, "image")?,
        namespace: text(node, "namespace"),
        choice: claims(node)?,
        snapshot_classes: named_texts(node, "snapshot-class")?,
        movers: match &node.field("movers")?.value {
            Value::Number(text) => text.parse().ok()?,
            _ => return None,
        },
        mode: optional(node, "mode", MoverMode::parse).ok()??,
        timeout: time(node, "timeout").ok()??,
        start_timeout: time(node, "start-timeout").ok()??,
        hooks: node.field("hooks")?.elements().iter().map(hook).collect::<Option<_>>()?,
        resources_elsewhere: truth(node, "resources-elsewhere")?,
    })
}

fn hook(node: &Node) -> Option<Hook> {
    let way = match (node.field("scale"), node.field("command"), node.field("handshake")) {
        (Some(_), None, None) => HookWay::Scale,
        (None, Some(command), None) => HookWay::Command {
            container: text(command, "container"),
            before: texts(command, "before").filter(|argv| !argv.is_empty())?,
            after: texts(command, "after")?,
        },
        (None, None, Some(_)) => HookWay::Handshake,
        _ => return None,
    };
    Some(Hook {
        claims: texts(node, "claims")?,
        labels: named_texts(node, "labels")?,
        way,
        timeout: time(node, "timeout").ok()??,
    })
}

fn cnpg(node: &Node) -> Option<Cnpg> {
    Some(Cnpg { clusters: texts(node, "clusters")?, covered_by: text(node, "covered-by")? })
}

fn postgres_dump(node: &Node) -> Option<PostgresDump> {
    Some(PostgresDump { claims: texts(node, "claims")?, covered_by: text(node, "covered-by")? })
}

fn source(name: &str, node: &Node) -> Option<Source> {
    let mut kinds = Vec::new();
    for (field, read) in [
        ("path", (|node| path(node).map(SourceKind::Path)) as fn(&Node) -> Option<SourceKind>),
        ("command", |node| command(node).map(SourceKind::Command)),
        ("resources", |node| resources(node).map(SourceKind::Resources)),
        ("volumes", volumes),
        ("datastore", |node| datastore(node).map(SourceKind::Datastore)),
    ] {
        if let Some(node) = node.field(field) {
            kinds.push(read(node)?);
        }
    }
    let [kind] = <[SourceKind; 1]>::try_from(kinds).ok()?;
    let block_size = optional(node, "block-size", BlockSize::parse).ok()?;
    Some(Source { name: name.to_owned(), kind, block_size, tags: named_texts(node, "tags")? })
}

fn policy(node: &Node) -> Option<Policy> {
    let keep = |name: &str| optional(node, name, |text| text.parse().ok()).ok().map(Option::unwrap_or_default);
    Some(Policy {
        last: keep("last")?,
        hourly: keep("hourly")?,
        daily: keep("daily")?,
        weekly: keep("weekly")?,
        monthly: keep("monthly")?,
        yearly: keep("yearly")?,
        within: time(node, "within").ok()?,
    })
}

fn retention(node: &Node) -> Option<Retention> {
    let sources = node.field("sources").map(Node::entries).unwrap_or_default();
    Some(Retention {
        default: match node.field("default") {
            Some(node) => Some(policy(node)?),
            None => None,
        },
        sources: sources.iter().map(|(name, node)| Some((name.text.clone(), policy(node)?))).collect::<Option<_>>()?,
    })
}

fn target(name: &str, node: &Node) -> Option<Target> {
    Some(Target { name: name.to_owned(), to: text(node, "to")?, object_lock: time(node, "object-lock").ok()? })
}
