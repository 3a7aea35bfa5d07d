//! `parity` as a person types it, and what `check --repair` makes of it.

use super::Home;
use super::repair::{below, pack};

#[test]
fn a_lost_pack_comes_back_without_another_copy() {
    let home = Home::new();
    home.backup();
    std::fs::write(home.path("source/more"), "more").unwrap();
    home.backup();
    let planned = home.write(&["parity", "--dry-run"]).exits(0);
    assert!(planned.out.contains("make    1 parity object for 4 packs"), "{}", planned.out);
    assert!(!home.path("repo/parity").exists());
    let done = home.write(&["parity", "--json"]).exits(0).json();
    assert_eq!((&done["plan"]["packs"], &done["outcome"]["objects_written"]), (&4.into(), &1.into()));
    let again = home.write(&["parity"]).exits(0);
    assert!(again.out.contains("parity covers 4 of 4 packs"), "{}", again.out);
    assert!(home.write(&["check"]).exits(0).err.contains("parity covers 4 of 4 packs, in 1 group"));

    std::fs::remove_file(pack(&home, 1)).unwrap();
    let told = home.write(&["check"]).exits(4);
    assert!(told.out.contains("`homelab-dr check --repair` brings it back from parity"), "{}", told.out);
    let lost = home.write(&["parity"]).exits(4);
    assert!(lost.err.contains("its group stays as it is"), "{}", lost.err);
    let healed = home.write(&["check", "--repair"]).exits(0);
    assert!(healed.out.contains("brought from parity in "), "{}", healed.out);
    home.read(&["check", "--read-data"]).exits(0);
    home.read(&["restore", "latest", "--target", "back"]).exits(0);
    assert_eq!(std::fs::read(home.path("back/a/b/hello.txt")).unwrap(), b"hello\n");

    // Somebody's object among them is told and left.
    let strange = home.path("repo/parity").join(blake3::hash(b"strange").to_hex().as_str());
    std::fs::write(&strange, "strange").unwrap();
    let told = home.write(&["parity"]).exits(3);
    assert!(told.err.contains("it was left as it is"), "{}", told.err);
    std::fs::remove_file(&strange).unwrap();

    // It stays where it is: a copy gets parity of its own, or none.
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    assert!(!home.path("copy/parity").exists());
    let rotten = below(&home, "parity").pop().expect("a parity object");
    let length = std::fs::metadata(&rotten).unwrap().len();
    let mut bytes = std::fs::read(&rotten).unwrap();
    bytes[usize::try_from(length).unwrap() - 1] ^= 1;
    std::fs::remove_file(&rotten).unwrap();
    std::fs::write(&rotten, bytes).unwrap();
    let told = home.write(&["check", "--read-data"]).exits(0);
    assert!(told.out.contains("`homelab-dr parity --read-data` makes it anew"), "{}", told.out);
    home.write(&["parity", "--read-data"]).exits(0);
    assert!(!home.write(&["check", "--read-data"]).exits(0).out.contains("warning"));
    home.write(&["parity", "--share", "0%"]).exits(0);
    assert!(below(&home, "parity").is_empty());
    home.write(&["parity", "--share", "101%"]).exits(2);
}
