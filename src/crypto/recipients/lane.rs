//! The same files through Debian's `age`, `age-keygen` and `ssh-keygen`. Needs those programs, so `tests/run` runs it:
//! `cargo test --lib lane_age -- --ignored`. Without them it fails, it does not skip.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::tests::{Answering, quiet};
use super::*;

fn run(program: &str, args: &[&str], dir: &Path) -> (bool, Vec<u8>) {
    let out = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed for this lane: {error}"));
    eprintln!("{program} {args:?}: {} {}", out.status, String::from_utf8_lossy(&out.stderr));
    (out.status.success(), out.stdout)
}

/// What we wrap to `public` age opens with the key file, and the other way round; damage is refused by both.
fn both_ways(dir: &Path, public: &str, key_file: &str, prompt: &Arc<dyn Prompt>) {
    let recipient = Recipient::parse(public).unwrap();
    let source = [IdentitySource::parse(key_file, &fs::read(dir.join(key_file)).unwrap()).unwrap()];
    for length in [0_usize, 1, 65_535, 65_536, 65_537, 200_000] {
        let plaintext = vec![42; length];
        fs::write(dir.join("ours.age"), wrap(&plaintext, std::slice::from_ref(&recipient)).unwrap()).unwrap();
        if !source[0].is_locked() {
            let (ok, out) = run("age", &["-d", "-i", key_file, "ours.age"], dir);
            assert!(ok && out == plaintext, "age did not open {length} bytes to {public}");
        }
        fs::write(dir.join("plain"), &plaintext).unwrap();
        assert!(run("age", &["-r", public.trim(), "-o", "theirs.age", "plain"], dir).0);
        let theirs = fs::read(dir.join("theirs.age")).unwrap();
        let opened = unwrap(&theirs, &source, prompt).unwrap();
        assert!(*opened.plaintext == plaintext, "we did not open {length} bytes of age's to {public}");
        assert_eq!(opened.by, recipient.as_str());
    }
}

fn ssh_key(dir: &Path, kind: &[&str], passphrase: &str) -> String {
    assert!(run("ssh-keygen", &[kind, &["-q", "-N", passphrase, "-C", "me@laptop", "-f", "key"]].concat(), dir).0);
    fs::read_to_string(dir.join("key.pub")).unwrap()
}

#[test]
#[ignore = "needs the program age"]
fn lane_age_x25519_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run("age-keygen", &["-o", "key.txt"], dir.path()).0);
    let (_, public) = run("age-keygen", &["-y", "key.txt"], dir.path());
    both_ways(dir.path(), &String::from_utf8(public).unwrap(), "key.txt", &quiet());
}

#[test]
#[ignore = "needs the program age"]
fn lane_age_takes_the_identities_that_we_make() {
    let dir = tempfile::tempdir().unwrap();
    let made = generate_identity();
    fs::write(dir.path().join("key.txt"), made.file_text(crate::base::clock::Time(0)).expose()).unwrap();
    let (_, public) = run("age-keygen", &["-y", "key.txt"], dir.path());
    assert_eq!(String::from_utf8(public).unwrap().trim(), made.recipient.as_str());
    both_ways(dir.path(), made.recipient.as_str(), "key.txt", &quiet());
}

#[test]
#[ignore = "needs the programs age and ssh-keygen"]
fn lane_age_ssh_keys_both_ways() {
    for kind in [&["-t", "ed25519"][..], &["-t", "rsa", "-b", "3072"], &["-t", "rsa", "-m", "PEM"]] {
        let dir = tempfile::tempdir().unwrap();
        let public = ssh_key(dir.path(), kind, "");
        assert_eq!(Recipient::parse(&public).unwrap().comment(), Some("me@laptop"));
        both_ways(dir.path(), &public, "key", &quiet());
    }
}

#[test]
#[ignore = "needs the programs age and ssh-keygen"]
fn lane_age_locked_ssh_keys_ask_only_when_the_file_is_theirs() {
    for kind in [&["-t", "ed25519"][..], &["-t", "rsa", "-b", "2048"]] {
        let dir = tempfile::tempdir().unwrap();
        let public = ssh_key(dir.path(), kind, "correct horse");
        both_ways(dir.path(), &public, "key", &(Arc::new(Answering(Some("correct horse"), Mutex::default())) as _));

        let source = [IdentitySource::parse("key", &fs::read(dir.path().join("key")).unwrap()).unwrap()];
        let asked = Arc::new(Answering(Some("wrong"), Mutex::default()));
        let prompt: Arc<dyn Prompt> = asked.clone();
        let to_other = wrap(b"x", &[generate_identity().recipient]).unwrap();
        assert!(matches!(unwrap(&to_other, &source, &prompt), Err(UnwrapError::NoMatch { .. })));
        let other = tempfile::tempdir().unwrap();
        let to_other_ssh = wrap(b"x", &[Recipient::parse(&ssh_key(other.path(), kind, "")).unwrap()]).unwrap();
        assert!(matches!(unwrap(&to_other_ssh, &source, &prompt), Err(UnwrapError::NoMatch { .. })));
        assert!(asked.1.lock().unwrap().is_empty(), "asked for a key that cannot help");

        let to_us = wrap(b"x", &[Recipient::parse(&public).unwrap()]).unwrap();
        assert!(matches!(unwrap(&to_us, &source, &prompt), Err(UnwrapError::WrongPassphrase { .. })));
        assert_eq!(asked.1.lock().unwrap().len(), 1);
        assert!(matches!(unwrap(&to_us, &source, &quiet()), Err(UnwrapError::NoPassphrase { .. })));
    }
}

#[test]
#[ignore = "needs the programs age and ssh-keygen"]
fn lane_age_weak_and_foreign_ssh_keys_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let public = ssh_key(dir.path(), &["-t", "rsa", "-b", "1024"], "");
    assert!(matches!(Recipient::parse(&public), Err(RecipientError::RsaSize { .. })));
    let dir = tempfile::tempdir().unwrap();
    let public = ssh_key(dir.path(), &["-t", "ecdsa"], "");
    assert!(matches!(Recipient::parse(&public), Err(RecipientError::SshKind { .. })));
    let private = fs::read(dir.path().join("key")).unwrap();
    let error = IdentitySource::parse("key", &private).unwrap_err();
    assert!(matches!(error, IdentityError::SshUnsupported { .. }), "{error}");
}

/// A plugin as age runs it, in shell: it wraps by writing the file key into its stanza, which is of course no secret.
const PLUGIN: &str = r#"#!/bin/sh
body() { body= ; while read -r line; do body=$body$line; [ ${#line} -lt 64 ] && break; done; }
while read -r arrow command rest; do
  body
  case "$command $rest" in
    wrap-file-key*) key=$body ;;
    recipient-stanza*homelabdrlane) key=$body ;;
    done*) break ;;
  esac
done
case "$1" in
  --age-plugin=recipient-v1) printf -- '-> recipient-stanza 0 homelabdrlane\n%s\n' "$key" ;;
  --age-plugin=identity-v1) [ -z "$key" ] || printf -- '-> file-key 0\n%s\n' "$key" ;;
esac
[ -z "$key" ] || { read -r answer; body; }
printf -- '-> done\n\n'
"#;

#[test]
#[ignore = "needs the program age"]
fn lane_age_plugins_both_ways() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("age-plugin-homelabdrlane");
    fs::write(&program, PLUGIN).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // The search path is the process's; the test runs itself again with another.
    if std::env::var_os("HOMELAB_DR_LANE_PLUGIN").is_none() {
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crypto::recipients::lane::lane_age_plugins_both_ways"])
            .env("PATH", path)
            .env("HOMELAB_DR_LANE_PLUGIN", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let recipient = Recipient::parse(&tests::bech32("age1homelabdrlane", &[1; 16])).unwrap();
    let identity = plugin::Identity::default_for_plugin("homelabdrlane").unwrap().to_string();
    fs::write(dir.path().join("id.txt"), &identity).unwrap();
    let source = [IdentitySource::parse("id.txt", identity.as_bytes()).unwrap()];
    let wrapped = wrap(b"keys", &[generate_identity().recipient, recipient.clone()]).unwrap();
    let opened = unwrap(&wrapped, &source, &quiet()).unwrap();
    assert_eq!((opened.plaintext.as_slice(), opened.by.as_str()), (&b"keys"[..], "plugin homelabdrlane"));
    fs::write(dir.path().join("ours.age"), wrap(b"keys", &[recipient]).unwrap()).unwrap();
    let (ok, out) = run("age", &["-d", "-i", "id.txt", "ours.age"], dir.path());
    assert!(ok && out == b"keys");
}
