use std::io::Write as _;
use std::sync::{Arc, Mutex};

use age::Encryptor;
use age::secrecy::SecretString;

use super::*;

const PUBLIC: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

/// Answers every passphrase question alike and remembers what was asked.
pub(super) struct Answering(pub Option<&'static str>, pub Mutex<Vec<String>>);

impl Prompt for Answering {
    fn passphrase(&self, what: &str) -> Option<SecretText> {
        self.1.lock().unwrap().push(what.to_owned());
        self.0.map(|text| SecretText::new(text.to_owned()))
    }
    fn message(&self, _: &str) {}
    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
    fn public(&self, _: &str) -> Option<String> {
        None
    }
}

pub(super) fn quiet() -> Arc<dyn Prompt> {
    Arc::new(NoPrompt)
}

fn fresh(name: &str) -> (IdentitySource, Recipient) {
    let made = generate_identity();
    (
        IdentitySource::parse(name, made.file_text(crate::base::clock::Time(0)).expose().as_bytes()).unwrap(),
        made.recipient,
    )
}

fn failure(bytes: &[u8], identities: &[IdentitySource]) -> UnwrapError {
    unwrap(bytes, identities, &quiet()).err().expect("stays closed")
}

/// An identity file encrypted to a passphrase, with little work so that the test is quick.
fn locked_file(passphrase: &str, text: &str) -> Vec<u8> {
    let mut key = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    key.set_work_factor(4);
    let encryptor = Encryptor::with_recipients(std::iter::once(&key as &dyn age::Recipient)).unwrap();
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn each_of_several_recipients_opens_and_is_named() {
    let (a, a_public) = fresh("a");
    let (b, b_public) = fresh("b");
    let (stranger, _) = fresh("stranger");
    let wrapped = wrap(b"keys", &[a_public.clone(), b_public.clone()]).unwrap();
    assert_eq!(unwrap(&wrapped, &[a], &quiet()).unwrap().by, a_public.as_str());
    let opened = unwrap(&wrapped, &[stranger, b], &quiet()).unwrap();
    assert_eq!((opened.plaintext.as_slice(), opened.by.as_str()), (&b"keys"[..], b_public.as_str()));
    assert_eq!(opened.source_name, "b");
}

#[test]
fn strangers_damage_and_excess_are_told_apart() {
    let (mine, public) = fresh("mine");
    let (stranger, _) = fresh("stranger");
    let wrapped = wrap(b"keys", std::slice::from_ref(&public)).unwrap();
    assert!(matches!(failure(&wrapped, &[]), UnwrapError::NoIdentities));
    assert!(failure(&wrapped, &[stranger]).to_string().contains("stranger"));
    let mine = [mine];
    assert!(matches!(failure(b"hello", &mine), UnwrapError::Damaged(_)));
    assert!(matches!(failure(&vec![0; AGE_BYTES_MAX], &mine), UnwrapError::Damaged(_)));
    assert!(matches!(failure(&vec![0; AGE_BYTES_MAX + 1], &mine), UnwrapError::TooLong { .. }));
    assert!(matches!(
        wrap(&vec![0; PLAINTEXT_BYTES_MAX + 1], std::slice::from_ref(&public)),
        Err(WrapError::TooLong { .. })
    ));
    assert!(matches!(wrap(b"", &[]), Err(WrapError::NoRecipients)));
    let longest = wrap(&vec![7; 1 << 20], &[public]).unwrap();
    assert_eq!(unwrap(&longest, &mine, &quiet()).unwrap().plaintext.len(), PLAINTEXT_BYTES_MAX);
}

#[test]
fn no_flipped_bit_and_no_cut_ever_opens() {
    let (mine, public) = fresh("mine");
    let mine = [mine];
    let wrapped = wrap(b"keys", &[public]).unwrap();
    for at in 0..wrapped.len() {
        let mut bad = wrapped.clone();
        bad[at] ^= 1;
        assert!(unwrap(&bad, &mine, &quiet()).is_err(), "bit in byte {at}");
        assert!(unwrap(&wrapped[..at], &mine, &quiet()).is_err(), "cut at {at}");
    }
    let mut longer = wrapped;
    longer.push(0);
    assert!(matches!(failure(&longer, &mine), UnwrapError::Damaged(_)));
}

#[test]
fn a_plaintext_bomb_from_a_stranger_is_not_swallowed() {
    let (mine, public) = fresh("mine");
    let key: x25519::Recipient = public.as_str().parse().unwrap();
    let huge = age::encrypt(&key, &vec![0; PLAINTEXT_BYTES_MAX + 1]).unwrap();
    assert!(matches!(failure(&huge, &[mine]), UnwrapError::TooLong { limit: PLAINTEXT_BYTES_MAX }));
}

#[test]
fn locked_identity_files_ask_once_and_tell_a_wrong_passphrase() {
    let wrapped = wrap(b"keys", &[Recipient::parse(PUBLIC).unwrap()]).unwrap();
    let file = locked_file("right", SECRET);
    for (answer, opens) in [(Some("right"), true), (Some("wrong"), false), (None, false)] {
        let asked = Arc::new(Answering(answer, Mutex::default()));
        let prompt: Arc<dyn Prompt> = asked.clone();
        let source = IdentitySource::parse("key.age", &file).unwrap();
        assert!(source.is_locked() && source.recipients().is_empty());
        let result = unwrap(&wrapped, &[source], &prompt);
        assert_eq!(result.is_ok(), opens);
        match result.err() {
            Some(UnwrapError::WrongPassphrase { name }) => {
                assert_eq!((name.as_str(), answer), ("key.age", Some("wrong")));
            }
            Some(UnwrapError::NoPassphrase { .. }) => assert_eq!(answer, None),
            Some(other) => panic!("{other}"),
            None => {}
        }
        assert_eq!(*asked.1.lock().unwrap(), ["key.age"]);
    }
}

#[test]
fn a_quiet_key_that_fits_asks_nobody_and_a_useless_one_does_not_get_in_the_way() {
    let wrapped = wrap(b"keys", &[Recipient::parse(PUBLIC).unwrap()]).unwrap();
    let asked = Arc::new(Answering(Some("wrong"), Mutex::default()));
    let prompt: Arc<dyn Prompt> = asked.clone();
    let locked = IdentitySource::parse("key.age", &locked_file("right", SECRET)).unwrap();
    let open = IdentitySource::parse("env", SECRET.as_bytes()).unwrap();
    assert_eq!(unwrap(&wrapped, &[locked, open], &prompt).unwrap().source_name, "env");
    assert!(asked.1.lock().unwrap().is_empty());
}

#[test]
fn what_a_passphrase_unlocks_must_be_identities() {
    let wrapped = wrap(b"keys", &[Recipient::parse(PUBLIC).unwrap()]).unwrap();
    let prompt: Arc<dyn Prompt> = Arc::new(Answering(Some("right"), Mutex::default()));
    let source = IdentitySource::parse("key.age", &locked_file("right", "a letter")).unwrap();
    assert!(matches!(unwrap(&wrapped, &[source], &prompt), Err(UnwrapError::Inside { .. })));
}

/// BIP 173, for recipients of plugins that nobody has installed.
pub(super) fn bech32(prefix: &str, values: &[u8]) -> String {
    fn polymod(values: impl Iterator<Item = u8>) -> u32 {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        values.fold(1, |sum, value| {
            let top = sum >> 25;
            let next = ((sum & 0x01ff_ffff) << 5) ^ u32::from(value);
            GENERATOR.iter().enumerate().fold(next, |s, (i, g)| if (top >> i) & 1 == 1 { s ^ g } else { s })
        })
    }
    let expanded = prefix.bytes().map(|b| b >> 5).chain([0]).chain(prefix.bytes().map(|b| b & 31));
    let sum = polymod(expanded.chain(values.iter().copied()).chain([0; 6])) ^ 1;
    let check = (0..6).map(|i| u8::try_from((sum >> (5 * (5 - i))) & 31).unwrap());
    let letter = |v: u8| char::from(b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"[usize::from(v)]);
    format!("{prefix}1{}", values.iter().copied().chain(check).map(letter).collect::<String>())
}

#[test]
fn a_missing_plugin_is_named_on_both_sides() {
    let text = bech32("age1homelabdrtest", &[3; 16]);
    let recipient = Recipient::parse(&text).unwrap();
    assert_eq!((recipient.as_str(), recipient.kind().as_str()), (text.as_str(), "plugin homelabdrtest"));
    match wrap(b"keys", &[recipient]) {
        Err(WrapError::PluginMissing { plugin, .. }) => assert_eq!(plugin, "homelabdrtest"),
        other => panic!("{other:?}"),
    }
    let identity = plugin::Identity::default_for_plugin("homelabdrtest").unwrap().to_string();
    let wrapped = wrap(b"keys", &[Recipient::parse(PUBLIC).unwrap()]).unwrap();
    let source = IdentitySource::parse("yubikey.txt", identity.as_bytes()).unwrap();
    let text = failure(&wrapped, &[source]).to_string();
    assert!(text.contains("age-plugin-homelabdrtest") && text.contains("yubikey.txt"), "{text}");
}

#[test]
fn private_keys_are_noticed_and_never_repeated() {
    let mangled = SECRET.replace("AGE-SECRET-KEY", "AGE-SECRET-KEy");
    let quoted = format!("\"{}\"", SECRET.to_lowercase());
    for text in [SECRET, &mangled, &quoted, "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk"] {
        assert_eq!(Recipient::parse(text).unwrap_err(), RecipientError::PrivateKey);
    }
    for text in [&SECRET[16..], "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "hunter2", ""] {
        let error = format!("{:?}", Recipient::parse(text).unwrap_err());
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
    let error = IdentitySource::parse("file", SECRET.replace("Y5J33", "Y5J34").as_bytes()).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("GQ9778"));
    let made = generate_identity();
    assert!(!format!("{made:?}").contains("SECRET-KEY"));
}

#[test]
fn damaged_and_foreign_recipients_say_what_they_are() {
    assert!(matches!(Recipient::parse(&PUBLIC[..40]), Err(RecipientError::Damaged { .. })));
    assert!(matches!(Recipient::parse(&PUBLIC.replace("pa", "qa")), Err(RecipientError::Damaged { .. })));
    // Well-formed for a plugin of that name, but `tag` is none.
    assert!(matches!(Recipient::parse(&bech32("age1tag", &[3; 16])), Err(RecipientError::Damaged { .. })));
    assert!(matches!(Recipient::parse("ssh-ed25519"), Err(RecipientError::Damaged { .. })));
    assert!(matches!(Recipient::parse("ssh-rsa AAAAB3NzaC1yc2E! x"), Err(RecipientError::Damaged { .. })));
    for kind in ["ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com", "ssh-dss"] {
        let error = Recipient::parse(&format!("{kind} AAAA me@host")).unwrap_err();
        assert_eq!(error, RecipientError::SshKind { kind: kind.to_owned() });
    }
}

#[test]
fn a_list_skips_comments_drops_doubles_and_counts_lines() {
    let list = format!("# mine\n\n  {PUBLIC}\r\n{PUBLIC}\n");
    assert_eq!(parse_recipients_file(&list).unwrap().len(), 1);
    let error = parse_recipients_file(&format!("# x\n{PUBLIC}\n{SECRET}\n")).unwrap_err();
    assert_eq!(error, RecipientsFileError::Line { line: 3, source: RecipientError::PrivateKey });
    assert_eq!(parse_recipients_file("# nobody\n").unwrap_err(), RecipientsFileError::Empty);
}

#[test]
fn identity_files_are_read_as_age_writes_them() {
    type Expected = fn(&IdentityError) -> bool;
    let source = IdentitySource::parse("f", format!("# created: x\n\n{SECRET}\r\n{SECRET}").as_bytes()).unwrap();
    assert_eq!(source.recipients()[0].as_str(), PUBLIC);
    let mut long = format!("{SECRET}\n").into_bytes();
    long.resize(256 << 10, b'#');
    assert!(IdentitySource::parse("f", &long).is_ok(), "as long as one may be");
    long.push(b'#');
    let wrong: [(&[u8], Expected); 7] = [
        (b"# nothing\n", |e| matches!(e, IdentityError::Empty { .. })),
        (b"\n\nnonsense", |e| matches!(e, IdentityError::Line { line: 3, .. })),
        (PUBLIC.as_bytes(), |e| matches!(e, IdentityError::Public { line: 1, .. })),
        (b"\xff\xfe", |e| matches!(e, IdentityError::Binary { .. })),
        (b"age-encryption.org/v1\nrubbish", |e| matches!(e, IdentityError::Binary { .. })),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", |e| matches!(e, IdentityError::SshDamaged { .. })),
        (&long, |e| matches!(e, IdentityError::TooLong { .. })),
    ];
    for (content, expected) in wrong {
        let error = IdentitySource::parse("f", content).unwrap_err();
        assert!(expected(&error), "{error}");
    }
    let to_a_key = wrap(b"x", &[Recipient::parse(PUBLIC).unwrap()]).unwrap();
    assert!(matches!(IdentitySource::parse("f", &to_a_key), Err(IdentityError::NotPassphrase { .. })));
}

#[test]
fn a_recipient_is_told_by_its_start_and_end_where_it_is_long() {
    // 24 characters, and 25.
    let (whole, long) = (bech32("age1abcde", &[3; 8]), bech32("age1abcdef", &[3; 8]));
    assert_eq!(Recipient::parse(&whole).unwrap().short(), whole);
    assert_eq!(Recipient::parse(&long).unwrap().short(), format!("{}…{}", &long[..12], &long[17..]));
    let [x25519, plugin] = [PUBLIC, &long].map(|text| Recipient::parse(text).unwrap());
    assert_eq!((x25519.common_chars(), plugin.common_chars()), ("age1".len(), "age1abcdef1".len()));
    assert!(x25519 != plugin);
}

/// Answers what a plugin asks, and remembers it.
#[derive(Default)]
struct Talking(Mutex<Vec<String>>);

impl Prompt for Talking {
    fn passphrase(&self, _: &str) -> Option<SecretText> {
        None
    }
    fn message(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.0.lock().unwrap().push(format!("{message} {yes} {no:?}"));
        Some(yes == "touch")
    }
    fn public(&self, description: &str) -> Option<String> {
        Some(format!("{description}: 7"))
    }
}

#[test]
fn what_a_plugin_asks_is_asked_and_nobody_answers_for_an_absent_person() {
    use age::Callbacks as _;
    let talking = Arc::new(Talking::default());
    let asking = prompt::Asking(talking.clone());
    asking.display_message("hello");
    assert_eq!(asking.confirm("which", "touch", Some("skip")), Some(true));
    assert_eq!(asking.confirm("which", "skip", None), Some(false));
    assert_eq!(asking.request_public_string("slot").as_deref(), Some("slot: 7"));
    assert_eq!(*talking.0.lock().unwrap(), ["hello", "which touch Some(\"skip\")", "which skip None"]);
    let nobody = prompt::Asking(quiet());
    assert_eq!((nobody.confirm("which", "touch", None), nobody.request_public_string("slot")), (None, None));
}
