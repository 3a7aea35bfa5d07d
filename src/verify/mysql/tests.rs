//! Logging in by known answers, and what a server may say that is none.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[test]
fn passwords_are_answered_as_the_protocol_says() {
    let scramble: Vec<u8> = (1..=20).collect();
    let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
    // Made with Python's hashlib from the formulas in the documentation of MySQL.
    let native = auth::answer("mysql_native_password", "secret", &scramble).expect("known");
    assert_eq!(hex(native), "b32bb3a583e1340c0a1108d58b1be49781ad8c2f");
    let sha2 = auth::answer("caching_sha2_password", "secret", &scramble).expect("known");
    assert_eq!(hex(sha2), "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9");
    assert_eq!(auth::answer("whatever", "", &scramble), Ok(Vec::new()));
    let unknown = auth::answer("client_ed25519", "secret", &scramble).expect_err("not known");
    assert!(unknown.contains("client_ed25519") && !unknown.contains("secret"), "{unknown}");
}

/// A greeting of MySQL 8 without TLS.
fn greeting() -> Vec<u8> {
    let mut greeting = b"\x0a8.4.0\0\x01\0\0\0AAAAAAAA\0".to_vec();
    greeting.extend_from_slice(&[0xff, 0xf7, 45, 2, 0, 0xff, 0xff, 21]);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(b"BBBBBBBBBBBB\0caching_sha2_password\0");
    greeting
}

/// What a check of a server comes to that answers each packet with the next of these.
async fn seen(packets: &[&[u8]]) -> Result<Given, String> {
    let (own, mut other) = tokio::io::duplex(1 << 16);
    let packets: Vec<Vec<u8>> = packets.iter().map(|packet| packet.to_vec()).collect();
    let server = tokio::spawn(async move {
        let mut said = Wire::new(&mut other);
        for (turn, packet) in packets.into_iter().enumerate() {
            // The first answers the login, every other a command.
            if turn > 0 {
                said.begin();
            }
            let _ = said.packet().await;
            let _ = said.send(&packet).await;
        }
        drop(other);
    });
    let mut wire = Wire::new(own);
    let greeting = Greeting::read(&greeting())?;
    let login = auth::Login { user: "app", password: "secret", database: Some("photos") };
    let seen = tokio::time::timeout(Duration::from_secs(30), async {
        login.run(&greeting, &mut wire).await?;
        first(&mut wire, "select 1").await
    });
    let seen = seen.await.expect("no end");
    server.abort();
    seen
}

#[tokio::test]
async fn a_password_is_never_given_in_clear_without_tls() {
    let why = seen(&[&[1, 4]]).await.expect_err("it wants the password");
    assert!(why.contains("in clear"), "{why}");
}

#[tokio::test]
async fn rubbish_is_no_answer() {
    let cut = "the connection was cut off";
    for (packets, said) in [
        (&[&b""[..]][..], "lets somebody in"),
        (&[b"\x07"], "lets somebody in"),
        (&[b"\xfe"], "lets somebody in"),
        (&[b"\xfe\0"], "does not know"),
        (&[b"\xff"], "an error without a number"),
        (&[b"\xff\x15\x04#28000Access denied"], "the server says: Access denied (1045); see user"),
        (&[b"\x01\x09"], "lets somebody in"),
        (&[b"\x01\x03"], cut),
        (&[b"\0", b""], "no number of columns"),
        (&[b"\0", b"\xfb/etc/passwd"], "a file of this machine"),
        (&[b"\0", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"], "no number of columns"),
        (&[b"\0", b"\xfc"], "no number of columns"),
        (&[b"\0", b"\x01"], cut),
        (&[b"\0", b"\xff\x28\x04#42000You have an error"], "the server says: You have an error (1064)"),
    ] {
        let why = seen(packets).await.expect_err("no answer");
        assert!(why.contains(said) && !why.contains("secret"), "{packets:?}: {why}");
    }
    for bytes in [&b""[..], b"\x0a", b"\x0aabc", b"\xff", b"HTTP/1.1 400 Bad Request", b"\x0a5\0\0\0\0\0"] {
        assert!(Greeting::read(bytes).is_err());
    }
    // A length that nothing follows.
    let (own, mut other) = tokio::io::duplex(64);
    other.write_all(&[0xff, 0xff, 0x3f, 0]).await.expect("sent");
    drop(other);
    assert!(Wire::new(own).packet().await.is_err());
    let (own, mut other) = tokio::io::duplex(64);
    other.write_all(&[0xff, 0xff, 0xff, 0]).await.expect("sent");
    assert!(Wire::new(own).packet().await.is_err(), "nobody waits for 16 MiB");
    let mut nothing = [0; 1];
    assert!(other.read(&mut nothing).await.is_ok_and(|count| count == 0));
}
