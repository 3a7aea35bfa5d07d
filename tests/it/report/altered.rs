//! What was changed since it was signed, what somebody else has signed, and what is no report.

use homelab_dr::base::secret::Secret;
use homelab_dr::crypto::report_key::ReportKey;
use homelab_dr::report::{VerifyError, verify};

use super::{Place, key};

const FORMATS: [(&str, &str); 3] = [("json", "r.json"), ("html", "r.html"), ("markdown", "r.md")];

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let place = Place::with_all();
    for (format, file) in FORMATS {
        let whole = place.shown("a1b2c3d4", format);
        place.verified(file, &whole).exits(0);
        let bytes = whole.as_bytes();
        // All of them would take long; every so many differ from one file to the next.
        for at in (0..bytes.len() - 1).step_by(41).chain(bytes.len() - 200..bytes.len() - 1) {
            let mut altered = bytes.to_vec();
            altered[at] ^= 1;
            assert!(
                matches!(verify(&altered), Err(VerifyError::Altered(_) | VerifyError::NoReport)),
                "{format} at {at}"
            );
        }
        for at in (0..bytes.len() - 1).step_by(997) {
            assert!(verify(&bytes[..at]).is_err(), "{format} cut off at {at}");
        }
    }
}

#[test]
fn an_altered_report_ends_with_4() {
    let place = Place::with_all();
    for (format, file) in FORMATS {
        let whole = place.shown("a1b2c3d4", format);
        for (from, to) in [("malformed", "as it was"), ("An upgrade", "A success")] {
            assert!(whole.contains(from), "{format}: {from}");
            place.verified(file, whole.replacen(from, to, 1)).exits(4).says(&["ALTERED", "do not rely on it"]);
        }
        // What is appended is not part of what was signed.
        place.verified(file, format!("{whole}<p>and more</p>")).exits(4).says(&["ALTERED"]);
    }
    // Written anew by a program, it means the same and is not what was signed.
    let json: serde_json::Value = serde_json::from_str(&place.shown("a1b2c3d4", "json")).unwrap();
    place
        .verified("pretty.json", serde_json::to_string_pretty(&json).unwrap())
        .exits(4)
        .says(&["not formed as it was written"]);
    // Its signature, too, has one form and no other.
    let whole = place.shown("a1b2c3d4", "json");
    let key = key().public().to_string();
    for (from, to) in [(key.clone(), key.to_uppercase()), (r#"","value":"#.to_owned(), "\",\n\"value\":".to_owned())] {
        let (report, signature) = whole.rsplit_once(",\"signature\":").unwrap();
        assert!(signature.contains(&from), "{signature}");
        let other = format!("{report},\"signature\":{}", signature.replace(&from, &to));
        place.verified("other.json", other).exits(4).says(&["its signature is damaged"]);
    }
    // A second report behind the first, which some readers would take in its place.
    let whole = place.shown("a1b2c3d4", "json");
    let twice = whole.trim_end().strip_suffix('}').unwrap().to_owned() + ",\"report\":{\"standing\":\"recovered\"}}\n";
    assert_eq!(serde_json::from_str::<serde_json::Value>(&twice).unwrap()["report"]["standing"], "recovered");
    place.verified("twice.json", twice).exits(4).says(&["ALTERED"]);
}

#[test]
fn the_json_of_another_run_in_a_page_is_found() {
    let place = Place::with_all();
    let (page, other) = (place.shown("a1b2c3d4", "html"), place.shown("5f0c1d2e", "json"));
    let own = place.shown("a1b2c3d4", "json");
    assert!(page.contains(own.trim_end()), "the page has the very JSON");
    place.verified("r.html", page.replace(own.trim_end(), other.trim_end())).exits(4).says(&["ALTERED"]);
}

#[test]
fn another_key_ends_with_6() {
    let place = Place::with_all();
    let public = key().public().to_string();
    let other = ReportKey::new(Secret::new([9; 32]));
    for (format, file) in FORMATS {
        let whole = place.shown("5f0c1d2e", format);
        place.verified(file, &whole).exits(0);
        let ran = place.ran(&["report", "verify", file, "--key", &public]).exits(0);
        assert!(ran.out.contains(&format!("signed with {public}, which is the key that was given")), "{}", ran.out);
        let ran = place.ran(&["report", "verify", file, "--key", &other.public().to_string()]).exits(6);
        ran.says(&["signed with another key", &public]);
        std::fs::write(place.path("runs/report.key"), other.to_text().as_bytes()).unwrap();
        place.ran(&["report", "verify", file]).exits(6).says(&["another key than the key of this machine"]);
        place.ran(&["report", "verify", file, "--key", &public]).exits(0);
        std::fs::remove_file(place.path("runs/report.key")).unwrap();
        place.ran(&["report", "verify", file]).exits(6).says(&["no key to compare", "report list"]);
        assert!(!place.path("runs/report.key").exists(), "who verifies makes no key");
        std::fs::write(place.path("runs/report.key"), key().to_text().as_bytes()).unwrap();
    }
    let ran = place.ran(&["report", "verify", "r.json", "--json"]).exits(0).json();
    assert_eq!((&ran["form"], &ran["run"], &ran["key"]), (&"json".into(), &"5f0c1d2e".into(), &public.into()));
}

#[test]
fn what_is_no_report_or_no_key_is_usage() {
    let place = Place::with_all();
    for (file, text) in
        [("a", ""), ("b", "{}"), ("c", "{\"report\":"), ("d", "# Report of run\n"), ("e", "<!DOCTYPE html>")]
    {
        let code = place.verified(file, text).code;
        assert!(code == 2 || (file == "c" && code == 4), "{text}: {code}");
    }
    place.verified("f", [0xff, 0xfe]).exits(2).says(&["no report", "report show"]);
    place.ran(&["report", "verify", "no-such-file"]).exits(2);
    place.verified("g", place.shown("5f0c1d2e", "json")).exits(0);
    let public = key().public().to_string();
    let slip = format!("{}{}", &public[..public.len() - 1], if public.ends_with('a') { 'b' } else { 'a' });
    for (bad, says) in [("hdr1-aaaa", "no public key"), (slip.as_str(), "slip")] {
        place.ran(&["report", "verify", "g", "--key", bad]).exits(2).says(&[says]);
    }
    // A private key where the public one belongs is not repeated.
    let ran = place.ran(&["report", "verify", "g", "--key", &key().to_text()]).exits(2).says(&["a secret was given"]);
    assert!(!(ran.err + &ran.out).contains("HOMELAB-DR-REPORT-KEY-1-"), "it is not repeated");
    std::fs::write(place.path("runs/report.key"), "HOMELAB-DR-REPORT-KEY-1-ABC").unwrap();
    place.ran(&["report", "show", "5f0c1d2e"]).exits(1).says(&["holds no key of reports", "move the file away"]);
}
