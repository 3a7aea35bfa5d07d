//! SSH keys as recipients and identities, with keys made by `ssh-keygen` for these tests alone.

use std::sync::{Arc, Mutex};

use super::tests::{Answering, quiet};
use super::*;

const PLAIN: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACCJKjlG807isZTtR6IR0nmlQQ/V+hMpLzxIEBpxBaoeiAAAAJj/VJNE/1ST
RAAAAAtzc2gtZWQyNTUxOQAAACCJKjlG807isZTtR6IR0nmlQQ/V+hMpLzxIEBpxBaoeiA
AAAEAm+JaoC1SDW2u7Z0Fyo2UcZY49c0LKVhc+lTduQ6IyA4kqOUbzTuKxlO1HohHSeaVB
D9X6EykvPEgQGnEFqh6IAAAAD21lQG5hcyBhbmQgbW9yZQECAwQFBg==
-----END OPENSSH PRIVATE KEY-----
";
const PLAIN_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkqOUbzTuKxlO1HohHSeaVBD9X6EykvPEgQGnEFqh6I";
/// Its passphrase is `right`.
const LOCKED: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBL0+c/VI
4z0qYrRCycFx60AAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIO4eDCKVvDj21J/1
i2aaVK7mAsDtO6Rwgp2ALEbId/j9AAAAkAc6kyvUAfLAPx3Fhnj1DeWSjiRn8uu/WuLnMY
loczb4Y/xUVv/SsgpfVcGNnZABKG/+rsaG1V0iPNhglHRmI7voIU4Hjw1rLSTK24MmgkzY
llCFUxnNe7FCBSHSIegalpRwk+DdFQWtxEtMd8A76o0TFi/sZG6cSmjMpNFFD2WpOjsH86
CPSuetI8NdGzGonQ==
-----END OPENSSH PRIVATE KEY-----
";
const LOCKED_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO4eDCKVvDj21J/1i2aaVK7mAsDtO6Rwgp2ALEbId/j9";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDVjb8t32NGWM5nFpyLwyP5uI9alShtxM5GMdxNL3Hv4+Iw+mWT+9A06HG/3WDVUuQc2zYrLTFkJORgDKn5WdRrqr+ylqQRzjUd9I+q2vcwgyHzCF0FUym2RlsoMKlnM7dbZfrBTzaArrN1p5KMyac1+0UHpwIARBIXWqlRFF+H1czURHiqg8++Y7npV5wdm0ONFgw3zno+xbrbCdSVvVBt+v44FrQFvVHtSJzc+Xi1+WbEuywJWCxRPKCNmuDhv1zzSktp8bI9v2vcoLNYy7hqigKKRoTwB5rnKt+ATxVPOUgKwZ7TlKkroKuCpHuj6pCEpzT+515NQzQH9FLfqpQ9";
/// Of 1024 bits.
const SHORT_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCp1StGw0UgzRVRN0u4t+r26hmzP2es3xB5XXHyqLqLWDEGiH2oP2AGkhosSO1Jb9zD/oTE+nqKSOiPKdreQaITpZK1STBbFckR+45cXf88a1PNFsG77ExMut4iknjPJNU7vQ06FRGV41eZs9NnrIcfBM2b2yyLj6eXju85tITIHQ==";

fn recipient(text: &str) -> Recipient {
    Recipient::parse(text).unwrap()
}

#[test]
fn an_ssh_key_opens_what_is_wrapped_to_its_public_half() {
    let public = recipient(&format!("{PLAIN_PUBLIC}  me@nas  and more"));
    assert_eq!((public.as_str(), public.comment()), (PLAIN_PUBLIC, Some("me@nas and more")));
    assert_eq!((public.kind().as_str(), recipient(PLAIN_PUBLIC).comment()), ("ssh-ed25519", None));
    assert!(public == recipient(PLAIN_PUBLIC) && public != recipient(LOCKED_PUBLIC), "comments do not count");
    let source = IdentitySource::parse("plain", PLAIN.as_bytes()).unwrap();
    assert_eq!((source.name(), source.is_locked(), source.recipients()), ("plain", false, vec![public.clone()]));
    let opened = unwrap(&wrap(b"keys", &[public]).unwrap(), &[source], &quiet()).unwrap();
    assert_eq!((opened.plaintext.as_slice(), opened.by.as_str()), (&b"keys"[..], PLAIN_PUBLIC));
}

/// Whoever has an SSH key that the file is not for is not asked for its passphrase.
#[test]
fn a_locked_ssh_key_asks_only_for_what_is_addressed_to_it() {
    let (mine, other) = (recipient(LOCKED_PUBLIC), recipient(PLAIN_PUBLIC));
    let to_both = wrap(b"keys", &[other.clone(), mine]).unwrap();
    let to_other = wrap(b"keys", &[other]).unwrap();
    for (bytes, answer) in
        [(&to_both, Some("right")), (&to_both, Some("wrong")), (&to_both, None), (&to_other, Some("right"))]
    {
        let asked = Arc::new(Answering(answer, Mutex::default()));
        let prompt: Arc<dyn Prompt> = asked.clone();
        let source = IdentitySource::parse("locked", LOCKED.as_bytes()).unwrap();
        assert_eq!((source.is_locked(), source.recipients()), (true, vec![recipient(LOCKED_PUBLIC)]));
        let result = unwrap(bytes, &[source], &prompt);
        let addressed = bytes == &to_both;
        match (addressed, answer) {
            (true, Some("right")) => assert_eq!(result.unwrap().by, LOCKED_PUBLIC),
            (true, Some(_)) => assert!(matches!(result, Err(UnwrapError::WrongPassphrase { .. }))),
            (true, None) => assert!(matches!(result, Err(UnwrapError::NoPassphrase { .. }))),
            (false, _) => assert!(matches!(result, Err(UnwrapError::NoMatch { .. }))),
        }
        assert_eq!(asked.1.lock().unwrap().len(), usize::from(addressed));
    }
}

#[test]
fn ssh_keys_that_are_cut_or_too_weak_say_so() {
    let kept = Recipient::parse(RSA).unwrap();
    assert_eq!((kept.as_str(), kept.kind().as_str()), (RSA, "ssh-rsa"));
    let weak = Recipient::parse(SHORT_RSA).unwrap_err();
    assert_eq!(weak, RecipientError::RsaSize { start: "ssh-rsa AAAAB3Nz".to_owned() });
    for damaged in [&PLAIN_PUBLIC[..60], &format!("{PLAIN_PUBLIC}!"), &format!("{PLAIN_PUBLIC}!more")] {
        let start = "ssh-ed25519 AAAA".to_owned();
        assert_eq!(Recipient::parse(damaged).unwrap_err(), RecipientError::Damaged { start }, "{damaged}");
    }
}

#[test]
fn what_ssh_keys_have_in_common_is_left_out_of_their_short_names() {
    let (ed25519, rsa) = (recipient(PLAIN_PUBLIC), recipient(RSA));
    assert_eq!(ed25519.short(), format!("ssh-ed25519 …{}", &PLAIN_PUBLIC[PLAIN_PUBLIC.len() - 8..]));
    assert_eq!(rsa.short(), format!("ssh-rsa …{}", &RSA[RSA.len() - 8..]));
    assert_eq!((ed25519.common_chars(), rsa.common_chars()), (37, 38));
    assert_eq!(PLAIN_PUBLIC[..37], LOCKED_PUBLIC[..37]);
}

/// The parser's time grows with the square of the length.
#[test]
fn an_ssh_key_longer_than_any_is_not_parsed() {
    let mut text = PLAIN.to_owned();
    text.extend(std::iter::repeat_n('\n', (16 << 10) - PLAIN.len()));
    assert!(IdentitySource::parse("long", text.as_bytes()).is_ok());
    text.push('\n');
    let error = IdentitySource::parse("long", text.as_bytes()).unwrap_err();
    assert!(matches!(error, IdentityError::SshDamaged { .. }), "{error}");
}
