//! The language of the configuration, written once: every field with its kind, its default and its sentence. The check, the defaults, the JSON Schema and
//! the table in docs/configuration.md all come from these tables.
//!
//! A kind of source that does not work yet is not here: it is an unknown field to everybody.

use serde_json::Value as Json;

use crate::chunker::BlockSize;
use crate::language::{self, Field, Need, Scalar, Schemas, Shape, field};

use Need::{Default, OneOf, Optional, Required};
use Shape::{Each, List, Named, One, Record, Rules};

/// The whole file.
pub(super) const ROOT: Shape = Record(&[
    field(
        "repositories",
        Optional,
        &Named(Scalar::ShortName, &REPOSITORY),
        "Where backups go, by names of your choice.",
    ),
    field(
        "default-repository",
        Optional,
        &One(Scalar::ShortName),
        "The one that is meant when none is named; needed when there are several.",
    ),
    field(
        "sources",
        Optional,
        &Named(Scalar::SourceName, &SOURCE),
        "What is backed up, in this order, one snapshot each.",
    ),
    field("retention", Optional, &RETENTION, "What `forget` keeps."),
    field("replicate", Optional, &Named(Scalar::ShortName, &TARGET), "Where `replicate` copies the repository to."),
    field("check", Optional, &CHECK, "How `check` looks."),
]);

const REPOSITORY: Shape = Record(&[
    field("url", Required, &One(Scalar::Url), "Its address, without credentials."),
    field("fingerprint", Optional, &One(Scalar::Fingerprint), "What it must show; a writer key holds it already."),
    field("writer-key-file", Optional, &One(Scalar::Path), "The file of the writer key."),
    field(
        "object-lock",
        Optional,
        &One(Scalar::Duration),
        "For how long `init` has every object locked against deletion.",
    ),
    field("limit-upload", Optional, &One(Scalar::Rate), "Upload no faster on average."),
    field("limit-download", Optional, &One(Scalar::Rate), "Download no faster on average."),
]);

pub(super) const SOURCE: Shape = Record(&[
    field("path", OneOf, &PATH, "Folders and files."),
    field("command", OneOf, &COMMAND, "What a program writes to its standard output, as one file."),
    field(
        "resources",
        OneOf,
        &RESOURCES,
        "All objects of a Kubernetes cluster, as manifests; not the data of its volumes.",
    ),
    field(
        "volumes",
        OneOf,
        &VOLUMES,
        "The data of a cluster's PersistentVolumeClaims, one snapshot each, named pvc/NAMESPACE/CLAIM.",
    ),
    field(
        "datastore",
        OneOf,
        &DATASTORE,
        "The datastore of a control plane on this machine, with what makes it usable again (datastore.md).",
    ),
    field(
        "block-size",
        Optional,
        &One(Scalar::Choice(&BlockSize::WORDS)),
        "The blocks in which files that are databases or disk images are stored, and at least 256KiB in those above 16 GiB: larger ones are compressed better, and a changed page costs all of its block. Without it those of its newest snapshot, at first 64KiB.",
    ),
    field(
        "tags",
        Optional,
        &Named(Scalar::TagName, &One(Scalar::Line)),
        "Tags of its snapshots. `forget` counts snapshots with other tags apart: a change begins a new history.",
    ),
]);

const PATH: Shape = Record(&[
    field(
        "paths",
        Required,
        &List(Scalar::Path, 1),
        "One folder becomes the top of the snapshot; several paths lie in it by their names.",
    ),
    field("exclude", Default("[]"), &List(Scalar::Pattern, 0), "Patterns of what is left out, as in a .gitignore."),
    field(
        "exclude-caches",
        Default("false"),
        &One(Scalar::Bool),
        "Leave out what is in folders marked by a CACHEDIR.TAG.",
    ),
    field("one-file-system", Default("false"), &One(Scalar::Bool), "Stay out of what is mounted below."),
    field(
        "live",
        Default("false"),
        &One(Scalar::Bool),
        "The files are in use: SQLite databases are captured whole (live-databases.md).",
    ),
    field(
        "scratch",
        Optional,
        &One(Scalar::Path),
        "A folder on a disk, with room for the largest database; without it `TMPDIR`, else `/var/tmp`. Needs `live`.",
    ),
    field(
        "postgres",
        Default("refuse"),
        &One(Scalar::Postgres),
        "What to do with the data of a PostgreSQL server that was not shut down: leave it out as a problem, or store it because the paths lie in a snapshot. Needs `live`.",
    ),
    field(
        "postgres-dump",
        Optional,
        &One(Scalar::SourceName),
        "The command source, above this one, that dumps that server: then its data is left out, which is no problem. Needs `live`.",
    ),
]);

const COMMAND: Shape = Record(&[
    field(
        "argv",
        Required,
        &List(Scalar::Word, 1),
        "The program, by an absolute path or found on the PATH, and its arguments; no shell is involved.",
    ),
    field("file", Required, &One(Scalar::FileName), "The name of the file that its output becomes."),
    field("timeout", Default("1h"), &One(Scalar::Duration), "When it is stopped, and there is no snapshot."),
    field(
        "ends-with",
        Optional,
        &One(Scalar::Line),
        "A text that the last 1,024 bytes of its output have to contain, since the program writes it when it is done, such as `PostgreSQL database dump complete`.",
    ),
    field(
        "in",
        Optional,
        &CONTAINER,
        "A container of a cluster in which it runs, instead of this machine: `pg_dump` beside its server (live-databases.md).",
    ),
]);

const KUBECONFIG: Field = field(
    "kubeconfig",
    Optional,
    &One(Scalar::Path),
    "The kubeconfig; without it the usual one (`KUBECONFIG`, `~/.kube/config`), or the service account of the pod.",
);

const CONTEXT: Field =
    field("context", Optional, &One(Scalar::Word), "Which context of the kubeconfig; without it the current one.");

const CONTAINER: Shape = Record(&[
    KUBECONFIG,
    CONTEXT,
    field("namespace", Required, &One(Scalar::Namespace), "The pod's namespace."),
    field("pod", OneOf, &One(Scalar::ObjectName), "The pod, by its name."),
    field(
        "labels",
        OneOf,
        &Named(Scalar::TagName, &One(Scalar::Line)),
        "The pod, by labels that it has all. It has to be ready, and the only one that runs.",
    ),
    field("container", Optional, &One(Scalar::Word), "Which container; may be left out where the pod has only one."),
]);

const RESOURCES: Shape = Record(&[
    KUBECONFIG,
    CONTEXT,
    field(
        "folder",
        Optional,
        &One(Scalar::Path),
        "A folder that stands for a cluster, as `restore --cluster --into-folder` writes one: the manifests in its `manifests` (recover-cluster.md).",
    ),
    field(
        "exclude",
        Default("[]"),
        &List(Scalar::KindPattern, 0),
        "Kinds that are left out, beside those that a cluster makes again by itself.",
    ),
    field(
        "exclude-namespaces",
        Default("[]"),
        &List(Scalar::Namespace, 0),
        "Namespaces that are left out, with everything in them.",
    ),
    field(
        "volumes-elsewhere",
        Default("false"),
        &One(Scalar::Bool),
        "Something else backs up the data of this cluster's volumes: without a source of the kind `volumes` they are left out on purpose. Any claim is named otherwise (exit code 3).",
    ),
]);

const VOLUMES: Shape = Record(&[
    KUBECONFIG,
    CONTEXT,
    field(
        "folder",
        Optional,
        &One(Scalar::Path),
        "A folder that stands for a cluster: the claims of its manifests, read in its `volumes/NAMESPACE/CLAIM` by this process (volumes.md). Without `image`, and what else is of movers.",
    ),
    field(
        "image",
        Optional,
        &One(Scalar::Image),
        "The image of `homelab-dr` that the pods of movers run. Needed, unless there is `folder`.",
    ),
    field(
        "namespace",
        Optional,
        &One(Scalar::Namespace),
        "A namespace of `homelab-dr`'s own: snapshots of CSI storage are handed over to it. Without it every claim is read live.",
    ),
    field("namespaces", Default("[]"), &List(Scalar::Namespace, 0), "Only claims in these namespaces; none for all."),
    field("labels", Optional, &Named(Scalar::TagName, &One(Scalar::Line)), "Only claims that have all these labels."),
    field("names", Default("[]"), &List(Scalar::ClaimPattern, 0), "Only these claims; none for all."),
    field(
        "storage-classes",
        Default("[]"),
        &List(Scalar::Word, 0),
        "Only claims of these storage classes; none for all.",
    ),
    field(
        "exclude",
        Default("[]"),
        &List(Scalar::ClaimPattern, 0),
        "Claims that are left out on purpose; any other that is in no snapshot fails the run.",
    ),
    field(
        "snapshot-class",
        Optional,
        &Named(Scalar::ObjectName, &One(Scalar::ObjectName)),
        "The VolumeSnapshotClass to take, by the name of the CSI driver; without it the driver's default, else the first by name.",
    ),
    field("movers", Default("2"), &One(Scalar::Count), "How many volumes are read at once."),
    field(
        "mode",
        Default("app"),
        &One(Scalar::MoverMode),
        "With whose rights: as the application, as root that may read everything, or as a privileged container.",
    ),
    field("timeout", Default("1d"), &One(Scalar::Duration), "When the mover of a volume is ended."),
    field("start-timeout", Default("10m"), &One(Scalar::Duration), "How long its pod may take to start."),
    field(
        "hooks",
        Default("[]"),
        &Each(HOOK),
        "How applications hold still for it, the first that means a claim (hooks.md). Needs `namespace`.",
    ),
    field("cnpg", Default("[]"), &Each(CNPG), "Which dumps stand for the volumes of CloudNativePG clusters."),
    field(
        "postgres-dump",
        Default("[]"),
        &Each(POSTGRES_DUMP),
        "Which dumps stand for the data of PostgreSQL servers in volumes that are read where they are: that is left out, which is no problem.",
    ),
    field(
        "resources-elsewhere",
        Default("false"),
        &One(Scalar::Bool),
        "Something else keeps the objects of this cluster: without a source of the kind `resources` its namespaces are left out on purpose. Any is named otherwise (exit code 3).",
    ),
]);

const DATASTORE: Shape =
    Record(&[field("k3s", Required, &K3S, "Of a k3s server: SQLite, or the newest snapshot of its embedded etcd.")]);

const K3S: Shape = Record(&[
    field("data-dir", Default("/var/lib/rancher/k3s"), &One(Scalar::Path), "The server's data directory."),
    field(
        "max-age",
        Default("26h"),
        &One(Scalar::Duration),
        "With an embedded etcd, how old the newest snapshot may be: k3s takes one every twelve hours.",
    ),
]);

const HOOK: &[Field] = &[
    field("claims", Required, &List(Scalar::ClaimPattern, 1), "The claims that it is for."),
    field(
        "labels",
        Optional,
        &Named(Scalar::TagName, &One(Scalar::Line)),
        "Only those of them that have all these labels.",
    ),
    field("scale", OneOf, &Record(&[]), "Their workload is scaled to zero and back: `scale: {}`."),
    field("command", OneOf, &HOOK_COMMAND, "Commands in the pods that use them."),
    field("handshake", OneOf, &Record(&[]), "An annotation of the claim asks, another answers: `handshake: {}`."),
    field(
        "timeout",
        Default("10m"),
        &One(Scalar::Duration),
        "How long it may take to hold still, and each command; after that the claim is not backed up.",
    ),
];

const HOOK_COMMAND: Shape = Record(&[
    field("container", Optional, &One(Scalar::Word), "In which container; may be left out where a pod has only one."),
    field(
        "before",
        Required,
        &List(Scalar::Word, 1),
        "A program and its arguments that make the application hold still; no shell is involved.",
    ),
    field("after", Default("[]"), &List(Scalar::Word, 0), "The same that let it go on."),
]);

const CNPG: &[Field] = &[
    field(
        "clusters",
        Required,
        &List(Scalar::ClaimPattern, 1),
        "Clusters as NAMESPACE/NAME of their `Cluster`; `*` stands for any part of a name.",
    ),
    field(
        "covered-by",
        Required,
        &One(Scalar::SourceName),
        "The command source, above this one, that dumps them: their volumes are covered if it succeeds in the same run.",
    ),
];

const POSTGRES_DUMP: &[Field] = &[
    field("claims", Required, &List(Scalar::ClaimPattern, 1), "The claims with the data of those servers."),
    field(
        "covered-by",
        Required,
        &One(Scalar::SourceName),
        "The command source, above this one, that dumps them: it has to succeed in the same run.",
    ),
];

const RETENTION: Shape = Record(&[
    field(
        "default",
        Optional,
        &KEEP,
        "For every source that has no rules of its own; without it those keep everything.",
    ),
    field("sources", Optional, &Named(Scalar::SourceName, &KEEP), "Rules for single sources, instead of the default."),
]);

const KEEP: Shape = Rules(&[
    field("last", Optional, &One(Scalar::Keep), "The newest, however close together."),
    field("hourly", Optional, &One(Scalar::Keep), "One for each of the newest hours that have any."),
    field("daily", Optional, &One(Scalar::Keep), "One for each of the newest days that have any."),
    field("weekly", Optional, &One(Scalar::Keep), "One for each of the newest weeks that have any."),
    field("monthly", Optional, &One(Scalar::Keep), "One for each of the newest months that have any."),
    field("yearly", Optional, &One(Scalar::Keep), "One for each of the newest years that have any."),
    field("within", Optional, &One(Scalar::Duration), "All that are at most so much older than the newest."),
]);

const TARGET: Shape = Record(&[
    field(
        "to",
        Required,
        &One(Scalar::Url),
        "Its address: an earlier copy, or a place in which `replicate --create` begins one.",
    ),
    field("object-lock", Optional, &One(Scalar::Duration), "Lock what is copied against deletion for this long."),
]);

const CHECK: Shape = Record(&[field(
    "read-data",
    Default("0%"),
    &One(Scalar::Share),
    "How much of the data is read as well; another part every day.",
)]);

/// The table of all fields, in Markdown, as docs/configuration.md has it.
#[must_use]
pub fn table() -> String {
    language::table(&ROOT)
}

/// The JSON Schema of the configuration (draft 2020-12).
#[must_use]
pub fn schema() -> Json {
    let mut schemas = Schemas::new(false);
    let root = schemas.of(&ROOT);
    schemas.finish(root, "homelab-dr.yaml", "What homelab-dr backs up, where to, and what it keeps.")
}
