//! Every variant of every error is made once and has advice.

use super::*;
use crate::base::id::{BlobId, ObjectId};
use crate::cluster::ClusterError;
use crate::crypto::content::ContentError;
use crate::crypto::recipients::{IdentityError, RecipientError, RecipientsFileError, UnwrapError, WrapError};
use crate::crypto::writer_key::WriterKeyError;
use crate::format::record::RecordError;
use crate::gitops::GitopsError;
use crate::hooks::HookError;
use crate::repo::RepoError;
use crate::store::{Key, StoreError};

fn s() -> String {
    "x".into()
}

fn key() -> Key {
    Key::new("packs/ab").expect("plain")
}

fn store_errors() -> Vec<StoreError> {
    let object = s;
    vec![
        StoreError::NotFound { store: s(), key: key() },
        StoreError::Conflict { store: s(), key: key() },
        StoreError::Denied { store: s(), operation: "write", object: object(), source: "no".into() },
        StoreError::Gone { store: s(), source: "no".into() },
        StoreError::Full { store: s(), key: key(), source: "no".into() },
        StoreError::Locked { store: s(), key: key(), until: None },
        StoreError::Unsupported { store: s(), operation: "lock" },
        StoreError::ReadOnly { store: s(), operation: "write", key: key() },
        StoreError::ShortWrite { store: s(), key: key(), expected: 2, found: 1 },
        StoreError::Failed { store: s(), operation: "write", object: object(), transient: true, source: "no".into() },
        StoreError::Failed { store: s(), operation: "write", object: object(), transient: false, source: "no".into() },
    ]
}

fn unwrap_errors() -> Vec<UnwrapError> {
    vec![
        UnwrapError::TooLong { limit: 1 },
        UnwrapError::NoIdentities,
        UnwrapError::NoMatch { tried: vec![s()] },
        UnwrapError::WrongPassphrase { name: s() },
        UnwrapError::NoPassphrase { name: s() },
        UnwrapError::ExcessiveWork { name: s(), required: 30, limit: 20 },
        UnwrapError::Inside { name: s(), source: IdentityError::Empty { name: s() } },
        UnwrapError::PluginMissing { name: s(), plugin: s() },
    ]
}

fn repo_errors() -> Vec<RepoError> {
    let (blob, pack) = (BlobId::new([1; 32]), ObjectId::new([2; 32]));
    let print = "hdr1-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa".parse().expect("a fingerprint");
    let mut all = vec![
        RepoError::NoRepository { store: s() },
        RepoError::NotEmpty { store: s(), example: key() },
        RepoError::Format { store: s(), reason: s() },
        RepoError::Version { store: s(), reason: s() },
        RepoError::OtherRepository { store: s(), expected: s(), found: s() },
        RepoError::Forged { store: s(), expected: print, found: print },
        RepoError::Epoch { store: s(), epoch: 1, reason: s() },
        RepoError::Retired { store: s(), held: 1, found: 2 },
        RepoError::Unfinished { store: s(), epoch: 2 },
        RepoError::Wrap(WrapError::NoRecipients),
        RepoError::NoAccess { store: s() },
        RepoError::IdentityNeeded,
        RepoError::Damaged { key: key() },
        RepoError::Record { key: key(), source: RecordError::Short },
        RepoError::Pack { key: key(), source: crate::format::pack::PackError::Short },
        RepoError::Missing { blob },
        RepoError::Blob { blob, pack, reason: s() },
        RepoError::Session { pack, source: ContentError::Broken },
        RepoError::Tree { at: s(), reason: s() },
        RepoError::Vanished { pack },
        RepoError::Worker { what: "x" },
    ];
    all.extend(store_errors().into_iter().map(RepoError::Store));
    all.extend(unwrap_errors().into_iter().map(|source| RepoError::NoIdentity { store: s(), source }));
    all
}

fn useful(error: &(impl Advise + std::error::Error)) {
    let advice = error.advice().expect("an error");
    assert!(advice.help.len() > 20, "{error:?}: {advice:?}");
    assert!(!advice.help.ends_with('.') && !advice.help.contains('\n'), "{error:?}: {advice:?}");
    assert!(advice.exit != Exit::Done && advice.exit != Exit::Interrupted, "{error:?}");
    assert!(!advice.help.contains(&error.to_string()), "advice that repeats the error: {error:?}");
}

#[test]
fn every_error_has_advice_that_is_not_the_error_again() {
    repo_errors().iter().for_each(useful);
    store_errors().iter().for_each(useful);
    unwrap_errors().iter().for_each(useful);
    let identity: [IdentityError; 9] = [
        IdentityError::TooLong { name: s(), bytes: 1 },
        IdentityError::Binary { name: s() },
        IdentityError::Empty { name: s() },
        IdentityError::Line { name: s(), line: 1 },
        IdentityError::Public { name: s(), line: 1 },
        IdentityError::SshDamaged { name: s() },
        IdentityError::SshUnsupported { name: s(), kind: s() },
        IdentityError::NotPassphrase { name: s() },
        IdentityError::Empty { name: s() },
    ];
    identity.iter().for_each(useful);
    let recipients = [
        RecipientError::PrivateKey,
        RecipientError::Unknown { chars: 1 },
        RecipientError::Damaged { start: s() },
        RecipientError::SshKind { kind: s() },
        RecipientError::RsaSize { start: s() },
    ];
    recipients.iter().for_each(useful);
    for source in recipients {
        useful(&RecipientsFileError::Line { line: 1, source });
    }
    useful(&RecipientsFileError::Empty);
    [WriterKeyError::Prefix, WriterKeyError::Checksum, WriterKeyError::Version(9)].iter().for_each(useful);
    [WrapError::NoRecipients, WrapError::TooLong { bytes: 1, limit: 1 }].iter().for_each(useful);
    useful(&WrapError::PluginMissing { plugin: s(), recipient: s() });
    useful(&crate::crypto::fingerprint::FingerprintError(s()));
    for error in [StoreUrlError::Empty, StoreUrlError::Scheme(s()), StoreUrlError::Slashes(s()), StoreUrlError::Region]
    {
        useful(&error);
    }
    useful(&StoreUrlError::Credentials);
    let refused = |status| ClusterError::Refused { request: s(), status, message: s() };
    let look = [
        ClusterError::Config { what: s(), source: "no".into() },
        ClusterError::Unreachable { server: s(), source: "no".into() },
        refused(401),
        refused(403),
        refused(500),
        ClusterError::NotBegun { request: s(), message: s() },
    ];
    look.map(GitopsError::Look).iter().for_each(useful);
    useful(&GitopsError::Silent { group: s(), why: s() });
    useful(&GitopsError::Randomness(getrandom::Error::UNSUPPORTED));
    let limit = std::time::Duration::from_secs(1);
    let hooks = [
        HookError::Cluster { what: s(), source: refused(403) },
        HookError::Cluster { what: s(), source: refused(500) },
        HookError::Cluster { what: s(), source: ClusterError::NotBegun { request: s(), message: s() } },
        HookError::Cluster { what: s(), source: ClusterError::Config { what: s(), source: "no".into() } },
        HookError::Refused { what: s(), why: s() },
        HookError::Changed { what: s(), why: s() },
        HookError::Container { pod: s(), why: s() },
        HookError::Stirred { what: s(), why: s() },
        HookError::Held { what: s(), run: s() },
        HookError::Failed { what: s(), code: 1, said: s() },
        HookError::Late { what: s(), limit },
        HookError::Journal { name: s(), why: s() },
    ];
    hooks.iter().for_each(useful);
    assert!(HookError::Cancelled.advice().is_none());
    useful(&SelectError::NoSnapshots);
    useful(&SelectError::NoSuchSource { source_name: s(), known: vec![s()] });
    useful(&SelectorError::Unknown { text: s() });
}

#[test]
fn stopping_as_asked_is_no_error() {
    assert!(RepoError::Cancelled.advice().is_none());
}

#[test]
fn what_scripts_tell_apart_has_its_own_code() {
    let exit = |error: RepoError| error.advice().map(|advice| advice.exit);
    assert_eq!(exit(RepoError::NoRepository { store: s() }), Some(Exit::Unreachable));
    assert_eq!(exit(RepoError::NotEmpty { store: s(), example: key() }), Some(Exit::Refused));
    assert_eq!(exit(RepoError::Damaged { key: key() }), Some(Exit::Damaged));
    assert_eq!(exit(RepoError::Retired { store: s(), held: 1, found: 2 }), Some(Exit::Key));
}
