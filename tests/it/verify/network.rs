//! `http` and `tcp`, and whoever answers in the place of a database.

use super::*;

fn page(address: &str, status: u64, contains: Option<&str>) -> Probe {
    Probe::Http { url: format!("http://{address}/healthz?x=1"), status, contains: contains.map(str::to_owned) }
}

fn response(head: &str, body: &str) -> Does {
    Does::Says(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_answers_or_says_why_not() {
    let well = server(response("200 OK", "all is well, Grüße")).await;
    assert_eq!(holds(seen(page(&well, 200, None)).await), "it answers 200 OK");
    assert!(holds(seen(page(&well, 200, Some("well, Grüße"))).await).contains("with \"well"));
    not(seen(page(&well, 200, Some("alive"))).await, &["without \"alive\"", "begin with \"all is well"]);
    not(seen(page(&well, 204, None)).await, &["answers 200 OK, not 204"]);

    let busy = server(response("503 Service Unavailable", "all is well")).await;
    not(
        seen(page(&busy, 200, Some("well"))).await,
        &["503 Service Unavailable, not 200", "nothing that is ready behind it"],
    );
    holds(seen(page(&busy, 503, None)).await);

    let moved = server(response("302 Found\r\nLocation: https://elsewhere.example/", "")).await;
    not(seen(page(&moved, 200, None)).await, &["302", "sends to https://elsewhere.example/", "`status: 302`"]);
    holds(seen(page(&moved, 302, None)).await);
}

/// The request is what servers understand: a host, a path with its query, and nothing of a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_asked_for_as_it_should_be() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let count = stream.read(&mut asked).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8(asked[..count].to_vec()).unwrap()
    });
    holds(seen(page(&address, 204, None)).await);
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /healthz?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains(&format!("\r\nhost: {address}\r\n")), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_found_wherever_it_begins() {
    // Chunks of one sign each.
    let text = "a needle in it";
    let chunks: String = text.chars().map(|sign| format!("1\r\n{sign}\r\n")).collect();
    let body = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let address = server(Does::Says(body.into_bytes())).await;
    holds(seen(page(&address, 200, Some("needle"))).await);
    not(seen(page(&address, 200, Some("needles"))).await, &["without"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_and_bodies_without_an_end_are_no_answer() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let endless = server(Does::GoesOn(head.clone(), vec![b'x'; 65_536])).await;
    not(seen(page(&endless, 200, Some("needle"))).await, &["first 4 MiB"]);
    assert!(holds(seen(page(&endless, 200, None)).await).contains("200"), "what nobody wants is not read");
    let headers = server(Does::GoesOn(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(1000))).await;
    not(seen(page(&headers, 200, None)).await, &["no answer of HTTP came"]);
    for (does, part) in [
        (Does::Says(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "is it HTTP at all"),
        (Does::Says(Vec::new()), "no answer of HTTP came"),
        (Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec()), "then it is cut off"),
        (Does::Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec()), "then it is cut off"),
        (Does::Says(vec![0x15, 3, 1, 0, 2, 2, 70]), "is it HTTP at all"),
    ] {
        not(seen(page(&server(does).await, 200, Some("needle"))).await, &[part]);
    }
    let not_tls = server(response("200 OK", "")).await;
    let page = Probe::Http { url: format!("https://{not_tls}/"), status: 200, contains: None };
    not(seen(page).await, &["does not speak TLS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_takes_connections_or_not() {
    let open = server(Does::Begins(Vec::new())).await;
    assert_eq!(holds(seen(Probe::Tcp(open)).await), "it takes connections");
    let closed = nobody().await;
    not(seen(Probe::Tcp(closed.clone())).await, &["cannot connect to 127.0.0.1", "does the server run"]);
    not(seen(page(&closed, 200, None)).await, &["cannot connect"]);
    not(seen(Probe::Tcp("no-such-host.invalid:80".to_owned())).await, &["no-such-host.invalid"]);
}

/// Everything that goes over the network, to somebody who says nothing, or the beginning of something.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_is_waited_for_no_longer_than_the_limit() {
    let tls = vec![0x16, 3, 3, 0, 90, 2];
    let mysql = b"\x4a\0\0\0\x0a8.4".to_vec();
    let mut looks = Vec::new();
    for begun in [Vec::new(), b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), tls, mysql, b"R\0\0\0\x08\0".to_vec()] {
        let address = server(Does::Begins(begun)).await;
        let of = || query(Some(address.clone()), "select 1", Answer::Any);
        let url = format!("https://{address}/");
        looks.extend([
            page(&address, 200, None),
            Probe::Http { url, status: 200, contains: None },
            Probe::Tls { address: address.clone(), name: None, valid_for: Duration::from_secs(1) },
            Probe::Postgres(of()),
            Probe::Mysql(of()),
        ]);
    }
    // A body that begins, and stops.
    let stops = server(Does::Begins(Vec::new())).await;
    looks.push(page(&stops, 200, Some("x")));
    let late = futures::future::join_all(looks.iter().map(async |probe| {
        let around = impatient();
        let around = Surroundings { roots: homelab_dr::verify::Roots::of([trusted::root()]), ..around };
        let why = not(look(probe, &around).await, &[]);
        // What begins like something else than was asked for is told at once.
        let known = ["did not answer within 1s", "HTTP", "TLS", "PostgreSQL", "MySQL"];
        assert!(known.iter().any(|known| why.contains(known)), "{why}");
    }));
    tokio::time::timeout(Duration::from_secs(120), late).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_told() {
    for does in [
        response("400 Bad Request", ""),
        Does::Says(Vec::new()),
        Does::Says(vec![0xff; 300]),
        Does::GoesOn(vec![0; 5], vec![0; 65_536]),
        // A notice that is to be a gigabyte long.
        Does::GoesOn(vec![b'N', 0x40, 0, 0, 0], vec![b'x'; 65_536]),
    ] {
        let address = server(does).await;
        not(seen(Probe::Postgres(query(Some(address), "select 1", Answer::Any))).await, &["PostgreSQL"]);
    }
    // A server of MySQL speaks first.
    for (greeting, part) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "MySQL"),
        (b"", "cut off"),
        (&[0xff; 300], "MySQL"),
        (&[0; 5], "MySQL"),
        (b"\x4a\0\0\0\x0a8.4", "cut off"),
        (b"\x20\0\0\0\xff\x6a\x04Host 'x' is not allowed to co", "the server says: Host 'x' is not allowed"),
    ] {
        let address = server(Does::Greets(greeting.to_vec())).await;
        not(seen(Probe::Mysql(query(Some(address), "select 1", Answer::Any))).await, &[part]);
    }
    let closed = nobody().await;
    not(seen(Probe::Postgres(query(Some(closed.clone()), "select 1", Answer::Any))).await, &["cannot connect"]);
    not(seen(Probe::Mysql(query(Some(closed.clone()), "select 1", Answer::Any))).await, &["cannot connect"]);
    let locked = Query { password_file: Some("/no/such/file".into()), ..query(Some(closed), "select 1", Answer::Any) };
    not(seen(Probe::Postgres(locked.clone())).await, &["cannot read the password in /no/such/file"]);
    not(seen(Probe::Mysql(locked)).await, &["cannot read the password in /no/such/file"]);
}
