use crate::base::clock::Time;
use crate::base::id::RepositoryId;
use crate::crypto::recipients::{Recipient, SecretText};

use super::*;

const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

fn step(what: &str, command: &str) -> Step {
    Step { what: what.to_owned(), command: command.to_owned() }
}

fn kit(identity: Identity) -> Kit {
    let address = "s3:https://s3.eu-central-003.backblazeb2.com/example-homelab-dr/cluster";
    let named =
        |name: &str, text: &str| NamedRecipient { name: name.to_owned(), recipient: Recipient::parse(text).unwrap() };
    Kit {
        addresses: vec![address.to_owned(), "file:/mnt/nas/homelab-dr".to_owned()],
        repository: RepositoryId::new([0x5a; 16]),
        fingerprint: "3f9a11c07e52d8b4906b7c21fa4e8d3305b7c9e1d2746f80a1b2c3d4e5f60718".to_owned(),
        recipients: vec![
            named("paper in the safe", "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"),
            named("", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@laptop"),
        ],
        identity,
        program_version: "0.1.0".to_owned(),
        format_version: 1,
        created: Time(1_795_000_000_000),
        steps: [
            step(
                "Get the program (one file, Linux) from any of the copies that you keep, or from its releases:",
                "chmod +x homelab-dr && ./homelab-dr --version",
            ),
            step(
                "Prove that the identity opens the repository. The fingerprint must be the one above:",
                &format!("homelab-dr --repo {address} \\\n  --identity key.txt keys drill"),
            ),
            step("See what there is:", &format!("homelab-dr --repo {address} \\\n  --identity key.txt snapshots")),
            step(
                "Bring it back into an empty folder:",
                &format!("homelab-dr --repo {address} \\\n  --identity key.txt restore latest --to ./restored"),
            ),
            step(
                "Check all that the repository holds:",
                &format!("homelab-dr --repo {address} \\\n  --identity key.txt check --read-data"),
            ),
        ],
    }
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = render(&kit(Identity::Printed(SecretText::new(SECRET.to_owned()))));
    for word in ["<script", "<link", "<img", " src=", " href=", "@import", "url(", "<?xml"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.matches("<svg ").count(), 4, "two addresses, fingerprint, identity");
    assert_eq!(page.matches("<li>").count(), 5);
}

/// Not a test: writes a page to look at, `HOMELAB_DR_PAPER_SAMPLE=kit.html cargo test --lib paper_sample -- --ignored`.
#[test]
#[ignore = "writes a sample to look at"]
fn paper_sample() {
    let path = std::env::var("HOMELAB_DR_PAPER_SAMPLE").unwrap();
    std::fs::write(&path, render(&kit(Identity::Printed(SecretText::new(SECRET.to_owned())))).as_bytes()).unwrap();
    let mut other = kit(Identity::Elsewhere(String::new()));
    other.addresses.truncate(1);
    other.recipients.extend(other.recipients.clone());
    other.recipients.extend(other.recipients.clone());
    std::fs::write(path + ".elsewhere.html", render(&other).as_bytes()).unwrap();
}

#[test]
fn the_secret_is_there_only_when_asked_for() {
    let text = |page: &str| page.replace("</span><span>", "");
    let with = render(&kit(Identity::Printed(SecretText::new(format!("{SECRET}\n")))));
    assert!(text(&with).contains(SECRET) && with.contains("class=\"warning\""));
    let elsewhere = render(&kit(Identity::Elsewhere("password manager, entry <backup>".to_owned())));
    assert!(!text(&elsewhere).contains("AGE-SECRET") && !elsewhere.contains("class=\"warning\""));
    assert!(elsewhere.contains("password manager, entry &lt;backup&gt;"));
    assert_eq!(elsewhere.matches("<svg ").count(), 3);
    assert!(render(&kit(Identity::Elsewhere(String::new()))).contains("class=\"blank\""));
    assert!(!format!("{:?}", kit(Identity::Printed(SecretText::new(SECRET.to_owned())))).contains("GQ9778"));
}

/// What a reader sees: the groups, and nothing between the cells of a table.
fn groups(page: &str, start: &str) -> Vec<String> {
    let at = page.find(&format!("<span>{start}</span>")).unwrap_or_else(|| panic!("no group {start:?}"));
    let end = page[at..].find("</div>").into_iter().chain(page[at..].find("</code>")).min().unwrap();
    page[at..at + end]
        .split("</span>")
        .filter_map(|part| part.rsplit_once('>').map(|(_, text)| text.to_owned()))
        .filter(|text| !text.is_empty())
        .collect()
}

#[test]
fn keys_are_grouped_after_what_their_kind_begins_with() {
    let page = render(&kit(Identity::Printed(SecretText::new(SECRET.to_owned()))));
    let secret = groups(&page, "AGE-SECRET-KEY-1");
    assert_eq!(secret.concat(), SECRET);
    assert_eq!(secret[1..3], ["GQ97", "78VQ"]);
    assert!(secret[1..15].iter().all(|group| group.len() == 4), "{secret:?}");
    let public = groups(&page, "age1");
    assert_eq!(public.concat(), "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa");
    assert_eq!(public[1], "t7rx");
    // A copy of the page's text has the space that belongs to an SSH key.
    assert!(page.contains("<span>ssh-ed25519</span> <span>AAAA</span>"), "type and key");
    assert!(page.contains("<td class=\"name\">alice@laptop</td>"));
    // What the groups are typed in as, with spaces or without, is the key.
    let typed = secret.join(" ");
    let back = crate::crypto::recipients::IdentitySource::parse("typed", typed.as_bytes()).unwrap();
    assert_eq!(back.recipients(), [Recipient::parse(&public.join(" ")).unwrap()]);
}

#[test]
fn a_fingerprint_keeps_its_own_groups() {
    let mut kit = kit(Identity::Elsewhere(String::new()));
    kit.fingerprint = "hdr1-4i57-b5bp-7t6z-fqvi-irmd-bn2r-z7oi-scxi".to_owned();
    let page = render(&kit);
    let shown = page.replace("</span><span class=\"own\">", "");
    assert!(shown.contains("<span class=\"own\">hdr1-4i57-b5bp-7t6z-fqvi-irmd-bn2r-z7oi-scxi</span>"));
    assert!(page.contains("<span class=\"own\">hdr1-</span><span class=\"own\">4i57-</span>"));
}

#[test]
fn hostile_text_stays_text() {
    let hostile = "s3:\"><script>alert('x')</script>&amp;\u{202e}evil\u{0}</style><svg onload=x>";
    let mut kit = kit(Identity::Elsewhere(hostile.to_owned()));
    kit.addresses = vec![hostile.to_owned()];
    kit.fingerprint = hostile.to_owned();
    kit.program_version = hostile.to_owned();
    kit.recipients[0].name = hostile.to_owned();
    kit.steps[1] = step(hostile, hostile);
    let page = render(&kit);
    assert!(!page.contains("<script") && !page.contains("<svg onload") && !page.contains('\u{202e}'));
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.contains("\\u{202e}evil\\u{0}"));
}

#[test]
fn what_is_too_long_for_a_code_says_so() {
    let key = format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}-----END OPENSSH PRIVATE KEY-----\n",
        format!("{}\n", "Q".repeat(70)).repeat(37)
    );
    let page = render(&kit(Identity::Printed(SecretText::new(key))));
    assert!(page.contains("Too long for a QR code") && page.contains("-----END OPENSSH"));
    assert_eq!(page.matches("<svg ").count(), 3);
}
