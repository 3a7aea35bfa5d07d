//! The configuration's documents: the published schema and the table of fields are those of the program, the example is right by both, and the program is
//! never laxer than the schema says. `HOMELAB_DR_BLESS=1 cargo test --test it configuration` writes the schema and the table.

use homelab_dr::config::{self, Config};
use homelab_dr::language::Judges;
use jsonschema::Validator;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/homelab-dr.schema.json");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

/// Reads with addresses and patterns taken as they are.
pub fn read(bytes: &[u8]) -> config::Read {
    config::read(bytes, &Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) })
}

fn good(text: &str) -> Config {
    let read = read(text.as_bytes());
    read.config.unwrap_or_else(|| panic!("{:#?}", read.findings))
}

pub fn validator() -> Validator {
    jsonschema::draft202012::new(&config::schema()).expect("the schema is one")
}

/// The example of docs/configuration.md.
pub fn example() -> String {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let (_, rest) = page.split_once("```yaml example\n").expect("the example has lost its mark");
    rest.split_once("\n```").expect("closed").0.to_owned()
}

#[test]
fn the_published_schema_is_the_programs() {
    let schema = format!("{:#}\n", config::schema());
    if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
        std::fs::write(SCHEMA, &schema).unwrap();
    }
    assert!(
        std::fs::read_to_string(SCHEMA).unwrap_or_default() == schema,
        "docs/homelab-dr.schema.json: review, then bless"
    );
    jsonschema::meta::validate(&config::schema()).expect("a schema by the rules of schemas");
}

#[test]
fn the_table_of_fields_is_the_programs() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let (before, rest) = page.split_once("<!-- fields: ").expect("marked");
    let (note, rest) = rest.split_once(" -->\n").expect("marked");
    let (_, after) = rest.split_once("<!-- end of fields -->").expect("marked");
    let wanted = format!("{before}<!-- fields: {note} -->\n{}<!-- end of fields -->{after}", config::table());
    if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
        std::fs::write(PAGE, &wanted).unwrap();
    }
    assert!(std::fs::read_to_string(PAGE).unwrap() == wanted, "docs/configuration.md: review the table, then bless");
}

#[test]
fn the_example_is_right_by_the_program_and_by_the_schema() {
    let config = good(&example());
    assert_eq!((config.repositories.len(), config.sources.len(), config.check_read_data), (1, 3, 5));
    let errors: Vec<String> = validator().iter_errors(&config.json()).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(read(example().as_bytes()).findings.is_empty());
}

/// Every block of YAML in the pages that is a configuration, as whoever copies it has it.
#[test]
fn every_example_of_the_pages_is_right_by_the_program_and_by_the_schema() {
    let mut seen = Vec::new();
    for page in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap() {
        let (name, path) = page.map(|page| (page.file_name().into_string().unwrap(), page.path())).unwrap();
        if path.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for block in text.split("\n```yaml").skip(1) {
            let block = block.split_once('\n').and_then(|(_, rest)| rest.split_once("\n```")).expect("closed").0;
            if !block.lines().any(|line| line.starts_with("sources:")) {
                continue;
            }
            seen.push(name.clone());
            good(block);
            let value: serde_json::Value = serde_saphyr::from_str(block).unwrap();
            let errors: Vec<String> = validator().iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{name}: {block}");
        }
    }
    seen.sort();
    seen.dedup();
    let pages = ["cluster", "configuration", "datastore", "hooks", "live-databases", "operations", "volumes"];
    assert_eq!(seen, pages.map(|page| format!("{page}.md")), "pages with examples");
}

#[test]
fn the_schema_refuses_what_the_program_refuses() {
    // JSON is YAML, so both can read the same text.
    for text in [
        r#"{"repositories": {"home": {}}}"#,
        r#"{"repositories": {"a b": {"url": "/x"}}}"#,
        r#"{"repositories": {"a": {"url": "/x", "fingerprint": "hdr1-abc"}}}"#,
        r#"{"sources": {"a": {}}}"#,
        r#"{"sources": {"/a": {"path": {"paths": ["/x"]}}}}"#,
        r#"{"sources": {"a": {"path": {"paths": []}}}}"#,
        r#"{"sources": {"a": {"path": {"paths": ["x"]}}}}"#,
        r#"{"sources": {"a": {"path": {"paths": ["/x"]}, "command": {"argv": ["x"], "file": "y"}}}}"#,
        r#"{"sources": {"a": {"pvc": {}}}}"#,
        r#"{"sources": {"a": {"command": {"argv": ["x"], "file": "a/b"}}}}"#,
        r#"{"sources": {"a": {"command": {"argv": "x", "file": "y"}}}}"#,
        r#"{"retention": {"default": {}}}"#,
        r#"{"retention": {"default": {"daily": 0}}}"#,
        r#"{"retention": {"default": {"daily": "7"}}}"#,
        r#"{"retention": {"default": {"within": "soon"}}}"#,
        r#"{"check": {"read-data": 10}}"#,
        r#"{"sources": {"a": {"path": {"paths": ["/x"], "live": "yes"}}}}"#,
        r#"{"sources": {"a": {"path": {"paths": ["/x"], "live": true, "postgres": "torn"}}}}"#,
        r#"{"sources": {"a": {"volumes": {"image": "x", "namespace": "b", "hooks": [{"claims": ["a/b"]}]}}}}"#,
        r#"{"sources": {"a": {"volumes": {"image": "x", "namespace": "b", "hooks": {"scale": {}}}}}}"#,
        r#"{"sources": {"a": {"volumes": {"image": "x", "namespace": "b", "hooks": [{"claims": ["a/b"], "scale": {"to": 0}}]}}}}"#,
        r#"{"sources": {"a": {"volumes": {"image": "x", "namespace": "b", "hooks": [{"claims": ["a/b"], "scale": {}, "handshake": {}}]}}}}"#,
        r#"{"sources": {"a": {"volumes": {"image": "x", "namespace": "b", "hooks": [{"claims": ["a/b"], "command": {"before": []}}]}}}}"#,
        r#"{"schedule": "daily"}"#,
    ] {
        assert!(read(text.as_bytes()).config.is_none(), "the program takes {text}");
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(!validator().is_valid(&json), "the schema takes {text}");
    }
}
