//! What a run has restored is removed before it is taken up: it goes on only when somebody says what becomes of that.

use super::{run_of, runbook};
use crate::cli::{Home, Ran};

fn recover(home: &Home, args: &[&str]) -> Ran {
    let mut command = home.command(&[&["recover"][..], args].concat());
    command.env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_RUNS", "runs").env("USER", "somebody");
    Ran::of(&command.output().expect("it runs"))
}

/// Two steps that restore, and one that fails until its file is there; the run of it.
fn begun(home: &Home) -> String {
    let of = |id: &str, more: &str| {
        let target = home.path(id);
        format!(
            "id: {id}\nneeds: []\nrestore.files: {{source: files, target: {}{more}}}\nverify: [no-empty: {{at_least: 0}}]",
            target.display()
        )
    };
    let switch = format!("id: switch\nneeds: [whole, part]\nrun: {{argv: [cat, {}]}}", home.path("switch").display());
    let book = runbook(home.dir(), "", &[&of("whole", ""), &of("part", ", path: a"), &switch]);
    run_of(&recover(home, &[&book, "--yes"]).exits(1).out)
}

#[test]
fn what_is_not_there_any_more_is_restored_again_or_gone_on_without_and_never_taken_for_there() {
    let home = Home::new();
    home.backup();
    let run = begun(&home);
    let resume = |args: &[&str]| recover(&home, &[&["--resume", &run][..], args].concat());
    let journal = || std::fs::read_to_string(home.path("runs").join(&run).join("journal.jsonl")).unwrap();
    // As long as all is there nobody is asked.
    let ran = resume(&[]).exits(1);
    assert!(ran.err.contains("[switch] FAILED") && !ran.err.contains("[whole] begins"), "{}", ran.err);
    let before = journal();
    std::fs::remove_dir_all(home.path("whole")).unwrap();
    std::fs::remove_dir_all(home.path("part")).unwrap();
    std::fs::create_dir(home.path("part")).unwrap();
    std::fs::write(home.path("switch"), "on").unwrap();
    let ran = resume(&[]).exits(7);
    ran.says(&[
        &format!("what step whole had restored is not there any more: {} cannot be read", home.path("whole").display()),
        &format!("what step part had restored is not there any more: {} is empty", home.path("part").display()),
        "nothing was changed; --again whole restores it once more, --confirm whole goes on without it",
    ]);
    assert_eq!(journal(), before, "the run was not taken up");
    resume(&["--again", "whole"]).exits(7).says(&["what step part had restored"]);
    resume(&["--again", "switch"]).exits(2).says(&["step switch is not done"]);
    resume(&["--again", "hole"]).exits(2).says(&["has no step \"hole\"", "did you mean \"whole\""]);
    recover(&home, &["book.md", "--again", "whole"]).exits(2);
    let ran = resume(&["--again", "whole", "--confirm", "part"]).exits(0);
    assert!(ran.err.contains("[whole] begins") && !ran.err.contains("[part] begins"), "{}", ran.err);
    assert!(home.path("whole/a/b/hello.txt").exists() && !home.path("part/b").exists());
    let journal = journal();
    for said in ["\"said\":\"--again whole\",\"by\":\"somebody\"", "\"said\":\"--confirm part\",\"by\":\"somebody\""] {
        assert!(journal.contains(said), "{said}: {journal}");
    }
    // A run that is over is over, unless somebody wants something of it anew.
    resume(&[]).exits(0);
    std::fs::remove_dir_all(home.path("whole")).unwrap();
    let ran = resume(&["--again", "whole"]).exits(0);
    assert!(ran.err.contains("[whole] begins") && !ran.err.contains("[switch] begins"), "{}", ran.err);
    assert!(home.path("whole/a/b/hello.txt").exists());
}

/// What was restored is damaged before its checks hold: they are made again by themselves, and it is restored again only when somebody says so.
#[test]
fn what_acted_and_did_not_verify_is_restored_again_if_somebody_says_so() {
    let home = Home::new();
    home.backup();
    let (target, flag) = (home.path("whole"), home.path("flag"));
    let step = format!(
        "id: whole\nneeds: []\nrestore.files: {{source: files, target: {}}}\nverify: [run: {{argv: [cat, {}]}}, files: {{compare: snapshot}}]",
        target.display(),
        flag.display()
    );
    let book = runbook(home.dir(), "", &[&step]);
    let run = run_of(&recover(&home, &[&book, "--yes"]).exits(1).out);
    let resume = |args: &[&str]| recover(&home, &[&["--resume", &run][..], args].concat());
    std::fs::write(&flag, "up").unwrap();
    std::fs::remove_dir_all(target.join("a")).unwrap();
    for _ in 0..2 {
        let ran = resume(&[]).exits(1);
        assert!(ran.err.contains("does NOT hold: files"), "{}", ran.err);
    }
    // What is gone whole is told before anything is begun, verified or not.
    std::fs::remove_dir_all(&target).unwrap();
    resume(&[]).exits(7).says(&["what step whole had restored is not there any more"]);
    resume(&["--again", "whole"]).exits(0);
    assert!(target.join("a/b/hello.txt").exists());
}
