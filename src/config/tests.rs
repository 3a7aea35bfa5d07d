//! Every finding is caused once, and its place, its words and its help are asserted.

use std::path::Path;
use std::time::Duration;

use super::{ClusterPlace, Config, Hook, HookWay, MoverMode, Read, SourceKind, read};
use crate::language::{Complaint, Finding, Judges, Severity};

fn url(text: &str) -> Result<(), Complaint> {
    if text.contains("://") || text.starts_with('/') { Ok(()) } else { Err(Complaint::new("no address", "write one")) }
}

fn pattern(text: &str) -> Result<(), Complaint> {
    if text.contains('[') { Err(Complaint::new("no pattern", "write one")) } else { Ok(()) }
}

fn reading(text: &str) -> Read {
    read(text.as_bytes(), &Judges { url: &url, pattern: &pattern })
}

fn good(text: &str) -> Config {
    let read = reading(text);
    read.config.unwrap_or_else(|| panic!("{:?}", read.findings))
}

/// The findings of a text that is wrong, as `line:column what | help`.
fn wrong(text: &str) -> Vec<String> {
    let read = reading(text);
    assert!(read.config.is_none(), "{text}");
    read.findings.iter().map(|Finding { place, what, help, .. }| format!("{place} {what} | {help}")).collect()
}

const FULL: &str = "\
repositories:
  home:
    url: /mnt/backup
    fingerprint: hdr1-7ur2-q3gs-2kbi-7xui-k5g6-q3yi-sjpn-65j4
    writer-key-file: /etc/homelab-dr/writer.key
    object-lock: 30d
    limit-upload: 2MiB/s
    limit-download: 10MiB/s
sources:
  photos:
    path: {paths: [/srv/photos, /home/me/pictures], exclude: ['*.tmp', cache/], exclude-caches: true, one-file-system: true}
    tags: {host: nas, 'day': ''}
  pg/app:
    command:
      argv: [pg_dump, --host, db, app]
      file: app.sql
      timeout: 2h
retention:
  default: {daily: 7, weekly: 4, monthly: 12}
  sources:
    pg/app: {last: 3, hourly: 24, yearly: 2, within: 30d}
replicate:
  offsite: {to: 'b2://bucket/home?region=us-west-004', object-lock: 30d}
check: {read-data: 10%}
";

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = good(FULL);
    let home = config.default_repository().expect("the only one");
    assert_eq!((home.name.as_str(), home.url.as_str()), ("home", "/mnt/backup"));
    assert_eq!(home.object_lock, Some(Duration::from_hours(720)));
    assert_eq!(home.limit_upload.map(std::num::NonZeroU64::get), Some(2 << 20));
    assert_eq!(config.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["photos", "pg/app"]);
    let SourceKind::Path(path) = &config.sources[0].kind else { panic!("{:?}", config.sources[0]) };
    assert!(path.exclude_caches && path.one_file_system && path.paths.len() == 2 && path.exclude.len() == 2);
    assert_eq!(config.sources[0].tags["host"], "nas");
    let SourceKind::Command(command) = &config.sources[1].kind else { panic!("{:?}", config.sources[1]) };
    assert_eq!((command.argv.len(), command.file.as_str(), command.timeout), (4, "app.sql", Duration::from_hours(2)));
    assert_eq!(config.retention.policy("photos").map(|policy| policy.daily), Some(7));
    assert_eq!(config.retention.policy("pg/app").map(|policy| (policy.daily, policy.hourly)), Some((0, 24)));
    assert_eq!((config.check_read_data, config.replicate[0].name.as_str()), (10, "offsite"));
}

#[test]
fn defaults_are_filled_in_and_what_is_shown_reads_back_to_the_same() {
    let short = "sources:\n  a: {path: {paths: [/a]}}\n  'b c': {command: {argv: [x, '1', 'true', \"ü\\n\"], file: y}}\ncheck: {}\n";
    let config = good(short);
    let shown = config.yaml();
    for line in
        ["exclude: []", "exclude-caches: false", "one-file-system: false", "timeout: \"1h\"", "read-data: \"0%\""]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert_eq!(config.json()["sources"]["a"]["path"]["one-file-system"], false);
    let live = "sources:\n  pg: {command: {argv: [x], file: y}}\n  a: {path: {paths: [/a], live: true, scratch: /s, postgres-dump: pg}}\n";
    let SourceKind::Path(path) = &good(live).sources[1].kind else { panic!("it is a path") };
    assert!(path.live && !path.postgres_crash_consistent);
    assert_eq!((path.scratch.as_deref(), path.postgres_dump.as_deref()), (Some(Path::new("/s")), Some("pg")));
    for text in [short, live, FULL, "{}\n"] {
        let (first, again) = (good(text), good(&good(text).yaml()));
        assert_eq!((first.yaml(), first.json()), (again.yaml(), again.json()));
        assert_eq!(
            (first.sources, first.retention, first.replicate),
            (again.sources, again.retention, again.replicate)
        );
        assert_eq!(first.repositories, again.repositories);
    }
}

#[test]
fn volumes_have_their_defaults() {
    let config = good("sources:\n  a: {volumes: {image: 'x@sha256:ab', labels: {app: y}, exclude: ['*/cache']}}\n");
    let SourceKind::Volumes(volumes) = &config.sources[0].kind else { panic!("{:?}", config.sources[0]) };
    assert_eq!((volumes.movers, volumes.mode, volumes.namespace.as_deref()), (2, MoverMode::App, None));
    assert_eq!((volumes.timeout, volumes.start_timeout), (Duration::from_hours(24), Duration::from_mins(10)));
    assert_eq!(
        (volumes.choice.labels["app"].as_str(), volumes.choice.exclude.as_slice()),
        ("y", &["*/cache".to_owned()][..])
    );
    let classes = "sources: {a: {volumes: {image: x, snapshot-class: {driver.longhorn.io: lh.snap}}}}\n";
    let SourceKind::Volumes(chosen) = &good(classes).sources[0].kind else { panic!("it is volumes") };
    assert_eq!(chosen.snapshot_classes["driver.longhorn.io"], "lh.snap");
    for class in ["{'Driver': x}", "{d: ''}", "{d: a/b}", "x"] {
        assert_eq!(
            wrong(&format!("sources: {{a: {{volumes: {{image: x, snapshot-class: {class}}}}}}}\n")).len(),
            1,
            "{class}"
        );
    }
    let rules = "sources: {a: {volumes: {image: x}}}\nretention: {sources: {pvc/media/data: {daily: 7}}}\n";
    assert!(reading(rules).findings.is_empty(), "claims have names that only the cluster knows");
    let again = good(&config.yaml());
    assert_eq!((again.json(), again.sources), (config.json(), config.sources.clone()));
    assert_eq!(config.json()["sources"]["a"]["volumes"]["movers"], 2);
}

#[test]
fn a_folder_stands_for_a_cluster_and_has_no_movers() {
    let folder = "sources:\n  a: {resources: {folder: /f, exclude: [pods]}}\n  b: {volumes: {folder: /f, names: ['*/d'], movers: 2, hooks: []}}\n";
    let config = good(folder);
    let SourceKind::Resources(resources) = &config.sources[0].kind else { panic!("{:?}", config.sources[0]) };
    assert_eq!(resources.of, ClusterPlace::Folder("/f".into()));
    let SourceKind::FolderVolumes(volumes) = &config.sources[1].kind else { panic!("{:?}", config.sources[1]) };
    assert_eq!((volumes.folder.as_path(), &volumes.choice.names), (Path::new("/f"), &vec!["*/d".to_owned()]));
    assert_eq!(config.sources[1].kind.name(), "volumes");
    let again = good(&config.yaml());
    assert_eq!((again.json(), again.sources), (config.json(), config.sources.clone()));
    for (kind, field) in [
        ("resources", "kubeconfig: /k"),
        ("resources", "context: c"),
        ("volumes", "kubeconfig: /k"),
        ("volumes", "context: c"),
        ("volumes", "image: x"),
        ("volumes", "namespace: backup"),
        ("volumes", "snapshot-class: {d: c}"),
        ("volumes", "movers: 3"),
        ("volumes", "mode: root"),
        ("volumes", "timeout: 2d"),
        ("volumes", "start-timeout: 1m"),
        ("volumes", "hooks: [{claims: [a/b], scale: {}}]"),
    ] {
        let name = field.split(':').next().expect("a name");
        let found = wrong(&format!("sources:\n  a:\n    {kind}:\n      folder: /f\n      {field}\n"));
        let what = format!("sources.a.{kind}.{name} means nothing beside folder | a folder is read by this process");
        let place = format!("5:{} ", 7 + name.len() + 2);
        assert!(found.len() == 1 && found[0].starts_with(&place) && found[0].contains(&what), "{found:?}");
    }
}

const HOOKS: &str = "\
sources:
  dump: {command: {argv: [pg_dump], file: x}}
  a:
    volumes:
      image: x
      namespace: backup
      hooks:
        - {claims: [media/db, 'home/*'], scale: {}}
        - claims: [media/*]
          labels: {app: redis}
          command: {container: redis, before: [redis-cli, save], after: [echo, done]}
          timeout: 2m
        - {claims: ['*/*'], handshake: {}}
      cnpg:
        - {clusters: [media/pg], covered-by: dump}
";

#[test]
fn hooks_are_understood_in_their_order() {
    let config = good(HOOKS);
    let SourceKind::Volumes(volumes) = &config.sources[1].kind else { panic!("{:?}", config.sources[1]) };
    let [scale, command, handshake] = volumes.hooks.as_slice() else { panic!("{volumes:?}") };
    assert_eq!((&scale.way, scale.timeout, scale.claims.len()), (&HookWay::Scale, Hook::TIMEOUT, 2));
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let way = HookWay::Command {
        container: Some("redis".into()),
        before: words(&["redis-cli", "save"]),
        after: words(&["echo", "done"]),
    };
    assert_eq!(
        (&command.way, command.timeout, command.labels["app"].as_str()),
        (&way, Duration::from_mins(2), "redis")
    );
    assert_eq!(handshake.way, HookWay::Handshake);
    assert_eq!(
        (volumes.choice.cnpg[0].covered_by.as_str(), volumes.choice.cnpg[0].clusters[0].as_str()),
        ("dump", "media/pg")
    );
    let again = good(&config.yaml());
    assert_eq!((again.json(), again.sources), (config.json(), config.sources.clone()));
    assert!(config.yaml().contains("timeout: \"10m\""), "defaults of elements are written out: {}", config.yaml());
}

#[test]
fn a_hook_that_is_wrong_is_found_in_its_place() {
    let wrong = |hook: &str, says: &str| {
        let text = format!("sources:\n  a: {{volumes: {{image: x, namespace: b, hooks: [\n{hook}]}}}}\n");
        let found = wrong(&text);
        assert!(found.len() == 1 && found[0].starts_with("3:") && found[0].contains(says), "{hook}: {found:?}");
    };
    let at = "sources.a.volumes.hooks";
    for (hook, says) in [
        ("{claims: [a/b]}", format!("{at} has no kind | give it one of: scale, command, handshake")),
        ("{claims: [a/b], scale: {}, handshake: {}}", format!("{at} is scale and handshake at once")),
        (
            "{claims: [a/b], scale: }",
            format!("{at}.scale: fields are expected here, and this is nothing | it has none: write {{}}"),
        ),
        ("{claims: [a/b], scale: {to: 0}}", "unknown field \"to\"".to_owned()),
        ("{scale: {}}", format!("{at} lacks claims")),
        ("{claims: [], scale: {}}", "claims is empty".to_owned()),
        ("{claims: [media], scale: {}}", "is not a claim as NAMESPACE/CLAIM".to_owned()),
        ("{claims: [a/b], command: {after: [x]}}", "lacks before".to_owned()),
        ("{claims: [a/b], command: {before: []}}", "before is empty".to_owned()),
        ("{claims: [a/b], command: {before: redis-cli save}}", "write [redis-cli, save]".to_owned()),
        ("{claims: [a/b], command: {before: [redis-cli save]}}", "would be the name of one program".to_owned()),
        (
            "{claims: [a/b], command: {before: [x], after: [./y]}}",
            "hooks.command.after: ./y is a relative path".to_owned(),
        ),
        ("{claims: [a/b], scale: {}, timeout: soon}", "timeout".to_owned()),
        ("scale", "fields are expected here, and this is text".to_owned()),
    ] {
        wrong(hook, &says);
    }
    let found = super::tests::wrong("sources: {a: {volumes: {image: x, hooks: [{claims: [a/b], scale: {}}]}}}\n");
    assert!(found[0].contains("sources.a.volumes.hooks needs a namespace"), "{found:?}");
    let found = super::tests::wrong("sources: {a: {volumes: {image: x, hooks: {scale: {}}}}}\n");
    assert!(found[0].contains("a list is expected here, and this is fields"), "{found:?}");
    let cnpg = "cnpg: [{clusters: [a/b], covered-by: dump}]";
    let found = super::tests::wrong(&format!("sources: {{a: {{volumes: {{image: x, {cnpg}}}}}}}\n"));
    assert!(found[0].contains("cnpg.covered-by: no command source above this one is called \"dump\""), "{found:?}");
    let dumps = "postgres-dump: [{claims: [a/b], covered-by: dump}]";
    let found = super::tests::wrong(&format!("sources: {{a: {{volumes: {{image: x, {dumps}}}}}}}\n"));
    assert!(found[0].contains("postgres-dump.covered-by: no command source above"), "{found:?}");
}

#[test]
fn all_findings_come_at_once_in_the_order_of_the_file() {
    let text = "\
repositories:
  home: {ulr: /mnt/backup, limit-upload: 2}
sources:
  photos:
    path: {pahts: [/srv/photos], one-file-system: yes}
retention:
  default: {daily: 0}
";
    let findings = wrong(text);
    assert_eq!(
        findings,
        [
            "2:9 repositories.home lacks url | add url: Its address, without credentials.",
            "2:10 unknown field \"ulr\" in repositories.home | did you mean \"url\"?",
            "2:42 repositories.home.limit-upload: a size a second, such as 2MiB/s is expected here, and this is a number | write a size a second, such as 2MiB/s",
            "5:11 sources.photos.path lacks paths | add paths: One folder becomes the top of the snapshot; several paths lie in it by their names.",
            "5:12 unknown field \"pahts\" in sources.photos.path | did you mean \"paths\"?",
            "5:51 sources.photos.path.one-file-system: true or false is expected here, and this is text | write true",
            "7:20 retention.default.daily: a rule that keeps 0 keeps nothing | leave it out, or write how many to keep",
        ]
    );
}

/// A text below `sources: {a: …}` and a part of what is said about it.
fn source(text: &str, says: &str) {
    let findings = wrong(&format!("sources:\n  a: {text}\n"));
    assert!(findings.iter().any(|finding| finding.contains(says)), "{text}: {says:?} is not in {findings:#?}");
}

#[test]
fn sources_that_are_wrong() {
    source("{}", "2:6 sources.a has no kind | give it one of: path, command");
    source("{path: {paths: [/a]}, command: {argv: [x], file: y}}", "sources.a is path and command at once");
    source(
        "{pvc: {namespace: media}}",
        "unknown field \"pvc\" in sources.a | fields here are: path, command, resources, volumes, datastore, block-size, tags",
    );
    for (volumes, says) in [
        ("{}", "sources.a.volumes lacks image"),
        ("{image: 'a b'}", "is not an image"),
        ("{image: x, movers: 0}", "0 is not a number from 1 to 64"),
        ("{image: x, movers: 65}", "65 is not a number from 1 to 64"),
        ("{image: x, movers: two}", "a number from 1 to 64 is expected here"),
        ("{image: x, mode: god}", "write app, root or privileged"),
        ("{image: x, exclude: [data]}", "one slash between the namespace and the claim"),
        ("{image: x, exclude: [a/b/c]}", "one slash"),
        ("{image: x, namespaces: [A]}", "small letters"),
        ("{image: x, namespace: A}", "small letters"),
        ("{image: x, timeout: 0s}", "a time of zero"),
        ("{folder: unpacked}", "\"unpacked\" is not an absolute path"),
    ] {
        source(&format!("{{volumes: {volumes}}}"), says);
    }
    source("{comand: {}}", "did you mean \"command\"?");
    source("/srv", "sources.a: fields are expected here, and this is text");
    source("", "sources.a: fields are expected here, and this is nothing | write them below, indented");
    source("{path: {paths: []}}", "sources.a.path.paths is empty");
    source("{path: {paths: /srv}}", "a list is expected here, and this is text | write [\"/srv\"]");
    source("{path: {paths: {b: 1}}}", "a list is expected here, and this is fields | write [one, two]");
    source("{path: {paths: [srv]}}", "\"srv\" is not an absolute path | a relative path means something else");
    source("{path: {paths: [~/x]}}", "~ is not understood here");
    source("{path: {paths: [7]}}", "an absolute path is expected here, and this is a number | put it in quotes");
    source("{path: {paths: [\"/a\\0\"]}}", "a path has no NUL");
    source("{path: {paths: [/x/a, /y/a]}}", "/x/a and /y/a have the same last name");
    source("{path: {paths: [/, /a]}}", "/ has no name of its own to lie under beside other paths");
    source("{path: {paths: [/a], scratch: /b}}", "sources.a.path.scratch means nothing without live | add live: true");
    source("{path: {paths: [/a], postgres: crash-consistent}}", "sources.a.path.postgres means nothing without live");
    source("{path: {paths: [/a], live: true, postgres: torn}}", "\"torn\" is not refuse or crash-consistent");
    source("{path: {paths: [/a], live: true, postgres-dump: pg}}", "no command source above this one is called \"pg\"");
    source(
        "{path: {paths: [/a], live: true, postgres: crash-consistent, postgres-dump: pg}}",
        "stored and left out at once",
    );
    source("{path: {paths: [/a], exclude: ['a[']}}", "sources.a.path.exclude: no pattern | write one");
    source("{command: {argv: [x]}}", "sources.a.command lacks file");
    source("{command: {argv: [], file: y}}", "sources.a.command.argv is empty");
    source("{command: {argv: pg_dump app, file: y}}", "a list is expected here");
    source("{command: {argv: [pg_dump app], file: y}}", "no shell takes it apart");
    source("{command: {argv: [bin/x], file: y}}", "bin/x is a relative path | write it from / on");
    source("{command: {argv: [''], file: y}}", "the program has no name");
    source("{command: {argv: [x, \"\\0\"], file: y}}", "a word has no NUL");
    source("{command: {argv: [x], file: a/b}}", "\"a/b\" is not the name of a file, without a folder");
    source("{command: {argv: [x], file: ..}}", "write a plain name of at most 255 bytes, such as app.sql");
    source("{command: {argv: [x], file: y, timeout: 5}}", "a time, such as 90s");
    source("{command: {argv: [x], file: y, timeout: 0s}}", "a time of zero means nothing here");
    source("{command: {argv: [x], file: y, timeout: soon}}", "write a number and s, m, h, d, w, mo or y");
    source("{path: {paths: [/a]}, tags: {'a=b': c}}", "\"a=b\" is not a name without =");
    source("{path: {paths: [/a]}, tags: {a: 1}}", "text on one line is expected here, and this is a number");
    source("{path: {paths: [/a]}, tags: {a: \"b\\nc\"}}", "write it on one line");
    source(
        "{path: {paths: [/a], exclude-caches: 1}}",
        "true or false is expected here, and this is a number | write true or false",
    );
    source(
        "{path: {paths: [/a]}}\n  a: {path: {paths: [/b]}}",
        "3:3 \"a\" is there twice in sources | the first is in line 2",
    );
    for name in ["/x", "\"a:b\"", "''"] {
        let findings = wrong(&format!("sources:\n  {name}: {{path: {{paths: [/a]}}}}\n"));
        assert!(
            findings[0].starts_with("2:3 sources: ") && findings[0].contains("a name has no colon"),
            "{findings:?}"
        );
    }
}

/// A text that is wrong and a part of what is said about it.
fn file(text: &str, says: &str) {
    let findings = wrong(text);
    assert!(findings.iter().any(|finding| finding.contains(says)), "{text}: {says:?} is not in {findings:#?}");
}

#[test]
fn repositories_retention_and_the_rest_that_are_wrong() {
    file("repositories: {home: {url: x}}", "1:28 repositories.home.url: no address | write one");
    file("repositories: {'a b': {url: /x}}", "\"a b\" is not a name of letters");
    file("repositories: {a: {url: /x, fingerprint: hdr1-7ur2}}", "write hdr1 and eight groups of four");
    file("repositories: {a: {url: /x, writer-key-file: writer.key}}", "is not an absolute path");
    file("repositories: {a: {url: /x, limit-upload: fast}}", "\"fast\" is not a size a second, such as 2MiB/s");
    file(
        "repositories: {a: {url: /x}, b: {url: /y}}",
        "there are several repositories, and none is the default | write default-repository: a",
    );
    file(
        "default-repository: hom\nrepositories: {home: {url: /x}}",
        "there is no repository \"hom\" | did you mean \"home\"?",
    );
    file("default-repository: home", "there is no repository \"home\" | there are");
    file("retention: {default: {}}", "retention.default keeps nothing");
    file("retention: {default: {daily: '7'}}", "a number from 1 to 100000 is expected here, and this is text");
    file("retention: {default: {daily: 1.5}}", "1.5 is not a number from 1 to 100000");
    file("retention: {default: {dayly: 7}}", "did you mean \"daily\"?");
    file("retention: {default: {within: 0d}}", "a time of zero");
    file("retention: {defaults: {daily: 7}}", "did you mean \"default\"?");
    file("replicate: {a: {object-lock: 30d}}", "replicate.a lacks to");
    file("check: {read-data: 10}", "did you mean 10%?");
    file("check: {read-data: 101%}", "\"101%\" is not a share from 0% to 100%");
    file(
        "schedule: daily",
        "unknown field \"schedule\" in the file | fields here are: repositories, default-repository",
    );
    file("- a", "the file: fields are expected here, and this is a list");
    file("sources: {a: {path: &x {paths: [/a]}}, b: {path: *x}}", "an alias (*name) is not understood");
}

#[test]
fn secrets_are_not_repeated() {
    let key = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQ";
    for text in [
        format!("repositories: {{a: {{url: /x, writer-key-file: {key}}}}}"),
        format!("repositories: {{a: {{url: /x, {key}: 1}}}}"),
        format!("sources: {{a: {{command: {{argv: [x, {key}], file: y}}}}}}"),
    ] {
        let findings = wrong(&text).join("\n");
        assert!(findings.contains("secret") && !findings.contains("QQQQ"), "{findings}");
    }
    let text = "sources: {a: {command: {argv: [mysqldump, --password=hunter2, 'pg://me:hunter2@db/x'], file: y}}}";
    let read = reading(text);
    assert_eq!(read.findings.iter().map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Warning; 2]);
    let config = read.config.expect("only doubtful");
    assert!(!format!("{}{}", config.yaml(), config.json()).contains("hunter2"), "{}", config.yaml());
    assert!(read.findings.iter().all(|finding| !finding.shown("f").contains("hunter2")));
}

#[test]
fn rules_for_a_source_that_is_not_here_are_warned_of() {
    let read = reading("sources: {photos: {path: {paths: [/a]}}}\nretention: {sources: {photo: {daily: 1}}}");
    assert!(read.config.is_some());
    assert_eq!(
        read.findings[0].shown("f.yaml"),
        "f.yaml:2:23: warning: retention.sources: no source here is called \"photo\"\n  help: did you mean \"photos\"?"
    );
}

fn many(range: std::ops::Range<u32>, text: impl Fn(u32) -> String) -> String {
    range.map(text).collect::<Vec<_>>().concat()
}

#[test]
fn findings_take_no_more_than_their_text() {
    let name = "n".repeat(100_000);
    let wrong_fields = many(0..9000, |at| format!(" x{at}: 1,"));
    let text = format!("sources: {{? {name} : {{path: {{{wrong_fields}}}}}}}");
    let read = reading(&text);
    assert!(read.findings.len() > 9000, "{}", read.findings.len());
    assert!(read.findings.iter().all(|finding| finding.what.len() + finding.help.len() < 600));
    let sources = many(0..5000, |at| format!(" s{at}: {{path: {{paths: [/x]}}}},"));
    assert!(reading(&format!("sources: {{{sources}}}")).findings[0].what.contains("more than"), "values are counted");
    let sources = many(0..2000, |at| format!(" s{at}: {{path: {{paths: [/x]}}}},"));
    let rules = many(0..1000, |at| format!(" other-{at}: {{daily: 1}},"));
    let read = reading(&format!("sources: {{{sources}}}\nretention: {{sources: {{{rules}}}}}"));
    assert_eq!(read.findings.len(), 1000);
    assert!(read.findings.iter().all(|finding| finding.help.len() < 300), "{:?}", read.findings[0]);
}
