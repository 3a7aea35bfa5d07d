//! The language of runbooks, written once: front matter, steps and checks, every field with its kind, its default and its sentence. The check, the defaults, the
//! JSON Schema and the tables in docs/runbook-format.md all come from these tables.
//!
//! A field that nothing could carry out is not here.

use serde_json::{Value as Json, json};

use crate::language::Need::{Default, OneOf, Optional, Required};
use crate::language::Shape::{Each, List, Named, One, OneOrRecord, Record, Things};
use crate::language::{self, Field, Scalar, Schemas, Shape, Thing, field};

/// The kinds of parameters.
pub(super) const TYPES: &[&str] =
    &["string", "int", "bool", "duration", "size", "snapshot", "namespace", "path", "enum"];

/// The front matter.
pub(super) const FRONT: Shape = Record(&[
    field("id", Required, &One(Scalar::Id), "What the runbook is called in reports and journals."),
    field("title", Required, &One(Scalar::Line), "What it is for, in a few words."),
    field("objectives", Optional, &OBJECTIVES, "What has to be reached."),
    field(
        "parallel",
        Default("2"),
        &One(Scalar::Count),
        "How many steps are carried out at once, where their needs allow it.",
    ),
    field(
        "parameters",
        Optional,
        &Named(Scalar::Id, &PARAMETER),
        "What differs from one use to the next; `${NAME}` in a step stands for it.",
    ),
]);

const OBJECTIVES: Shape = Record(&[
    field(
        "rto",
        Optional,
        &One(Scalar::Duration),
        "How long it may take until everything is back. The time limits of the steps have to fit into it.",
    ),
    field("rpo", Optional, &One(Scalar::Duration), "How old the data may be that comes back."),
]);

const PARAMETER: Shape = Record(&[
    field("type", Required, &One(Scalar::Choice(TYPES)), "What it is."),
    field("description", Required, &One(Scalar::Line), "One sentence for whoever has to give it."),
    field(
        "default",
        Optional,
        &One(Scalar::Any),
        "Its value where none is given; without a default it has to be given.",
    ),
    field(
        "example",
        Optional,
        &One(Scalar::Any),
        "A value that could be meant: fields with the parameter are checked with it if there is no default.",
    ),
    field("values", Optional, &List(Scalar::Word, 1), "Of an `enum`: the words that it can be."),
]);

/// A step: what all have in common, and one kind.
pub(super) const STEP: &[Field] = &[
    field("id", Required, &One(Scalar::Id), "What other steps call it."),
    field(
        "needs",
        Optional,
        &List(Scalar::Id, 0),
        "Steps above that have to be done first. Without this field it needs the step above it; `[]` needs none.",
    ),
    field(
        "timeout",
        Default("10m"),
        &One(Scalar::Duration),
        "How long it may take, with its checks; after that it has failed.",
    ),
    field(
        "destructive",
        Optional,
        &One(Scalar::Bool),
        "Something is lost by it that was there: a person is asked first. Known of some kinds by their fields.",
    ),
    field("verify", Optional, &Things(&CHECK), "What has to hold afterwards; all of it, or the step has failed."),
    field(
        "on_failure",
        Default("stop"),
        &OneOrRecord(Scalar::Choice(&["stop", "continue", "ask"]), ON_FAILURE),
        "Begin nothing more; go on with the others, also those that need it; or ask a person which of the two.",
    ),
    field("restore.volume", OneOf, &RESTORE_VOLUME, "The data of a claim."),
    field("restore.resources", OneOf, &RESTORE_RESOURCES, "Objects of a cluster, with the data of their claims."),
    field("restore.files", OneOf, &RESTORE_FILES, "Files into a directory of this machine."),
    field(
        "datastore.restore",
        OneOf,
        &DATASTORE,
        "The datastore of a control plane on this machine, which must not run.",
    ),
    field("gitops.pause", OneOf, &GITOPS, "Flux and ArgoCD leave everything as it is from now on."),
    field("gitops.resume", OneOf, &GITOPS, "They go on as before."),
    field("scale", OneOf, &SCALE, "A workload gets another number of replicas."),
    field("quiesce", OneOf, &QUIESCE, "The applications of some claims hold still."),
    field("wait", OneOf, &WAIT, "Until something holds, or for a time."),
    field("check", OneOf, &Things(&CHECK), "Looks, and changes nothing."),
    field("exec", OneOf, &EXEC, "A program in a container."),
    field("run", OneOf, &RUN, "A program on this machine."),
    field("notify", OneOf, &NOTIFY, "A line to whoever follows the run."),
    field("manual", OneOf, &MANUAL, "A person does what the prose says."),
];

const ON_FAILURE: &[Field] = &[field(
    "run",
    Required,
    &List(Scalar::Id, 1),
    "Steps that are carried out then, in this order, and at no other time; after them nothing more is begun.",
)];

const SOURCE: Field = field("source", Required, &One(Scalar::SourceName), "The source, as `snapshots` lists it.");
const SNAPSHOT: Field = field("snapshot", Default("latest"), &One(Scalar::Snapshot), "Which of its snapshots.");

const RESTORE_VOLUME: Shape = Record(&[
    SOURCE,
    SNAPSHOT,
    field(
        "into",
        Optional,
        &One(Scalar::Claim),
        "The claim to fill; without it that of the source, `pvc/NAMESPACE/CLAIM`.",
    ),
    field(
        "in_place",
        Default("false"),
        &One(Scalar::Bool),
        "The claim is there and has data, which is replaced; otherwise it is made.",
    ),
    field("storage_class", Optional, &One(Scalar::ObjectName), "The storage class of a claim that is made."),
    field(
        "size",
        Optional,
        &One(Scalar::Size),
        "The least size of a claim that is made; without it what its data needs.",
    ),
]);

const RESTORE_RESOURCES: Shape = Record(&[
    SOURCE,
    SNAPSHOT,
    field(
        "include",
        Default("[]"),
        &List(Scalar::Word, 0),
        "Only these: kinds as kubectl names them, or NAMESPACE/KIND/NAME with `*`.",
    ),
    field("exclude", Default("[]"), &List(Scalar::Word, 0), "Not these, written in the same way."),
    field(
        "namespaces",
        Optional,
        &Named(Scalar::Namespace, &One(Scalar::Namespace)),
        "Namespaces that get another name: `from: to`.",
    ),
    field(
        "nodes",
        Optional,
        &Named(Scalar::ObjectName, &One(Scalar::ObjectName)),
        "Nodes that have another name now: `from: to`.",
    ),
    field(
        "storage_classes",
        Optional,
        &Named(Scalar::ObjectName, &One(Scalar::ObjectName)),
        "Storage classes that are taken in the place of others: `from: to`.",
    ),
    field(
        "existing",
        Default("skip"),
        &One(Scalar::Choice(&["skip", "update"])),
        "What to do with objects that are there and differ.",
    ),
    field(
        "volumes_at",
        Default("objects"),
        &One(Scalar::Choice(&["objects", "latest"])),
        "Which snapshot of each volume: the nearest to the objects, or the latest.",
    ),
    field(
        "empty_volumes",
        Default("false"),
        &One(Scalar::Bool),
        "Make claims of which there is no data; they will be empty.",
    ),
    field(
        "may_be_empty",
        Default("[]"),
        &List(Scalar::Claim, 0),
        "The same for these claims alone, by their names in the snapshot: what is in them was left out on purpose.",
    ),
    field(
        "with_derived_secrets",
        Default("false"),
        &One(Scalar::Bool),
        "Also secrets that an operator would fetch again.",
    ),
]);

const RESTORE_FILES: Shape = Record(&[
    SOURCE,
    SNAPSHOT,
    field(
        "path",
        Optional,
        &One(Scalar::Line),
        "Only this folder or file of the snapshot; it comes directly below the target.",
    ),
    field("target", Required, &One(Scalar::Path), "The directory, made if it is not there."),
    field(
        "include",
        Default("[]"),
        &List(Scalar::Pattern, 0),
        "Only what matches one of these, and everything below it.",
    ),
    field("exclude", Default("[]"), &List(Scalar::Pattern, 0), "Not what matches one of these."),
    field(
        "overwrite",
        Default("changed"),
        &One(Scalar::Choice(&["never", "changed", "always"])),
        "What is done with files that are there.",
    ),
    field("delete", Default("false"), &One(Scalar::Bool), "Remove from the target what the snapshot does not have."),
    field("no_owner", Default("false"), &One(Scalar::Bool), "Do not restore owner and group."),
]);

const DATASTORE: Shape = Record(&[SOURCE, SNAPSHOT, field("k3s", Required, &K3S, "Of a k3s server.")]);

const K3S: Shape =
    Record(&[field("data_dir", Default("/var/lib/rancher/k3s"), &One(Scalar::Path), "The server's data directory.")]);

const GITOPS: Shape = Record(&[
    field(
        "namespaces",
        Default("[]"),
        &List(Scalar::Namespace, 0),
        "Only what Flux and ArgoCD have in these namespaces; none for all.",
    ),
    field("names", Default("[]"), &List(Scalar::ObjectName, 0), "Only objects of these names; none for all."),
]);

const SCALE: Shape = Record(&[
    field("object", Required, &One(Scalar::Object), "The workload."),
    field("replicas", Required, &One(Scalar::Whole), "How many it gets."),
]);

const QUIESCE: Shape = Record(&[
    field("claims", Required, &List(Scalar::Claim, 1), "The claims."),
    field(
        "until",
        Optional,
        &One(Scalar::Id),
        "The step below after which they go on; without it they go on at the end.",
    ),
    field("scale", OneOf, &Record(&[]), "Their workload is scaled to zero and back: `scale: {}`."),
    field("command", OneOf, &COMMAND, "Commands in the pods that use them."),
    field("handshake", OneOf, &Record(&[]), "An annotation of the claim asks, another answers: `handshake: {}`."),
]);

const COMMAND: Shape = Record(&[
    field("container", Optional, &One(Scalar::Word), "In which container; may be left out where a pod has only one."),
    field(
        "before",
        Required,
        &List(Scalar::Word, 1),
        "A program and its arguments that make the application hold still.",
    ),
    field("after", Default("[]"), &List(Scalar::Word, 0), "The same that let it go on."),
]);

const WAIT: Shape = Record(&[
    field("until", OneOf, &Things(&CHECK), "All of these hold; the step's `timeout` is the limit."),
    field("time", OneOf, &One(Scalar::Duration), "So long."),
    field("every", Default("5s"), &One(Scalar::Duration), "Between two looks."),
]);

const IN_POD: Field =
    field("object", Required, &One(Scalar::Object), "A pod, or a workload of which a ready pod is taken.");
const CONTAINER: Field =
    field("container", Optional, &One(Scalar::Word), "In which container; may be left out where a pod has only one.");
const ARGV: Field =
    field("argv", Required, &List(Scalar::Word, 1), "The program and its arguments; no shell is involved.");

const EXEC: Shape = Record(&[IN_POD, CONTAINER, ARGV]);
const RUN: Shape = Record(&[ARGV]);
const NOTIFY: Shape = Record(&[field("message", Required, &One(Scalar::Line), "The line.")]);
const MANUAL: Shape =
    Record(&[field("confirm", Default("done"), &One(Scalar::Phrase), "What the person types when it is done.")]);

/// A check: how often it is tried, and one kind.
pub(super) const CHECK: Thing = Thing {
    name: "check",
    fields: &[
        field(
            "retries",
            Optional,
            &One(Scalar::Whole),
            "How often it is tried again if it does not hold; without `deadline` and this it is tried once.",
        ),
        field(
            "deadline",
            Optional,
            &One(Scalar::Duration),
            "For how long it is tried again, at most `retries` times if those are given.",
        ),
        field("every", Default("5s"), &One(Scalar::Duration), "Between two tries."),
        field(
            "files",
            OneOf,
            &FILES,
            "In `verify` of `restore.volume` and `restore.files`: what came back is what the snapshot has.",
        ),
        field("no-empty", OneOf, &NO_EMPTY, "In the same places: there is something in it."),
        field("ready", OneOf, &READY, "Objects are ready by their own status."),
        field("condition", OneOf, &CONDITION, "A condition in the status of an object."),
        field("room", OneOf, &ROOM, "The volume of a claim has room left, as the kubelet says."),
        field("http", OneOf, &HTTP, "A page answers."),
        field("tcp", OneOf, &TCP, "A port takes connections."),
        field("dns", OneOf, &DNS, "A name has addresses."),
        field("tls", OneOf, &TLS, "A certificate is trusted, is for that name, and lasts."),
        field("postgres", OneOf, &POSTGRES, "A query to PostgreSQL."),
        field("mysql", OneOf, &MYSQL, "A query to MySQL or MariaDB."),
        field("sqlite", OneOf, &SQLITE, "A SQLite database is whole, and a query to it."),
        field("exec", OneOf, &CHECK_EXEC, "A program in a container ends well."),
        field("run", OneOf, &CHECK_RUN, "A program on this machine ends well."),
    ],
};

const FILES: Shape = Record(&[
    field("compare", Default("snapshot"), &One(Scalar::Choice(&["snapshot"])), "With what it is compared."),
    field("sample", Default("100%"), &One(Scalar::Share), "How much of the content is read."),
]);

const NO_EMPTY: Shape = Record(&[field("at_least", Default("1"), &One(Scalar::Whole), "So many files.")]);

const READY: Shape = Record(&[
    field("objects", OneOf, &List(Scalar::Object, 1), "These."),
    field("namespace", OneOf, &One(Scalar::Namespace), "All workloads and claims in it."),
]);

const CONDITION: Shape = Record(&[
    field("object", Required, &One(Scalar::Object), "The object."),
    field("type", Required, &One(Scalar::Word), "The condition's type, such as Available."),
    field("status", Default("True"), &One(Scalar::Choice(&["True", "False", "Unknown"])), "Its status, in quotes."),
]);

const ROOM: Shape = Record(&[
    field("claim", Required, &One(Scalar::Claim), "The claim; a pod has to use it."),
    field("at_least", Default("10%"), &One(Scalar::Share), "So much of it is free, of bytes and of places for files."),
]);

const HTTP: Shape = Record(&[
    field("url", Required, &One(Scalar::Page), "Its address; a redirection is an answer."),
    field("status", Default("200"), &One(Scalar::Whole), "The status of the answer."),
    field("contains", Optional, &One(Scalar::Line), "A text in the answer."),
]);

const TCP: Shape = Record(&[field("address", Required, &One(Scalar::Address), "Where.")]);

const DNS: Shape = Record(&[
    field("name", Required, &One(Scalar::HostName), "The name."),
    field("addresses", Default("[]"), &List(Scalar::Word, 0), "Addresses that have to be among them."),
    field("server", Optional, &One(Scalar::Address), "Who is asked; without it who this machine asks."),
]);

const TLS: Shape = Record(&[
    field("address", Required, &One(Scalar::Address), "Where."),
    field("name", Optional, &One(Scalar::HostName), "The name; without it the host of the address."),
    field("valid_for", Default("7d"), &One(Scalar::Duration), "How long it lasts at least."),
]);

const QUERY: Field =
    field("query", Required, &One(Scalar::Line), "One query; the first column of its first row counts.");
const AT_LEAST: Field = field("at_least", Optional, &One(Scalar::Whole), "The answer is at least this number.");
const EQUALS: Field = field("equals", Optional, &One(Scalar::Any), "The answer is this.");
const SERVER: Field = field("address", OneOf, &One(Scalar::Address), "A server that runs.");
const DATABASE: Field = field("database", Optional, &One(Scalar::Word), "Its database.");
const USER: Field = field("user", Optional, &One(Scalar::Word), "Who asks.");
const PASSWORD_FILE: Field =
    field("password_file", Optional, &One(Scalar::Path), "The file on this machine with the password.");

const POSTGRES: Shape = Record(&[
    field(
        "datadir",
        OneOf,
        &One(Scalar::Bool),
        "`true`: a server is started on a copy of the directory that was restored.",
    ),
    SERVER,
    DATABASE,
    USER,
    PASSWORD_FILE,
    QUERY,
    AT_LEAST,
    EQUALS,
]);

const MYSQL: Shape = Record(&[SERVER, DATABASE, USER, PASSWORD_FILE, QUERY, AT_LEAST, EQUALS]);

const SQLITE: Shape = Record(&[
    field("claim", Optional, &One(Scalar::Claim), "Of `restore.resources`: the claim that has the database in it."),
    field(
        "file",
        Required,
        &One(Scalar::Line),
        "The database: below what was restored, or below the root of the claim; elsewhere by an absolute path.",
    ),
    field("query", Optional, &One(Scalar::Line), "One query, also; the first column of its first row counts."),
    AT_LEAST,
    EQUALS,
]);

const CHECK_EXEC: Shape =
    Record(&[IN_POD, CONTAINER, ARGV, field("contains", Optional, &One(Scalar::Line), "A text in what it prints.")]);

const CHECK_RUN: Shape = Record(&[ARGV, field("contains", Optional, &One(Scalar::Line), "A text in what it prints.")]);

/// The kinds of steps.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    STEP.iter().filter(|field| field.need == OneOf).map(|field| field.name)
}

/// The tables of fields in Markdown, as docs/runbook-format.md has them: `front`, `steps` and `checks`.
#[must_use]
pub fn tables() -> [(&'static str, String); 3] {
    [
        ("front", language::table(&FRONT)),
        ("steps", language::table(&Each(STEP))),
        ("checks", language::table(&Each(CHECK.fields))),
    ]
}

/// The JSON Schema (draft 2020-12) of what `runbook show --json` prints: the front matter and the steps, as they are written.
#[must_use]
pub fn schema() -> Json {
    let mut schemas = Schemas::new(true);
    let step = schemas.of(&Each(STEP));
    schemas.with_variables = false;
    let front = schemas.of(&FRONT);
    let root = json!({
        "type": "object",
        "properties": { "front": front, "steps": step },
        "required": ["front", "steps"],
        "additionalProperties": false,
    });
    schemas.finish(root, "runbook", "The front matter and the steps of a runbook of homelab-dr.")
}
