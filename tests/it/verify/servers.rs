//! `postgres`, `mysql` and `dns` against the servers of Debian, each started for one test: lane `servers`.

use std::fs;
use std::net::TcpListener as Port;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::select::Selection;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::verify::{Origin, Restored};

use super::*;
use crate::support::repository::TestRepository;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> String {
    Port::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A user that is not root, if we are: servers want that.
fn user(name: &str) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{name}:"))).expect("the package makes its user");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn as_user(program: &str, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("LC_ALL", "C").current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder that a user owns, with a path that is short enough for a socket.
fn room(user: Option<(u32, u32)>) -> tempfile::TempDir {
    let room = tempfile::Builder::new().prefix("hdr-").tempdir_in("/tmp").unwrap();
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(room.path(), Some(uid), Some(gid)).unwrap();
    }
    room
}

/// A look that is repeated until the server is up; what it is then.
async fn up(probe: &Probe) {
    let check = homelab_dr::runbook::Check {
        probe: probe.clone(),
        retries: None,
        deadline: Some(Duration::from_secs(120)),
        every: Duration::from_millis(100),
    };
    holds(homelab_dr::verify::hold(&check, &around()).await);
}

/// The newest PostgreSQL of this machine.
fn postgres() -> (PathBuf, String) {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL of Debian: the lane installs it");
    let mut versions: Vec<String> = versions.map(|dir| dir.unwrap().file_name().into_string().unwrap()).collect();
    versions.sort_by_key(|version| version.parse::<u32>().unwrap_or(0));
    let newest = versions.pop().expect("a version");
    (PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin")), newest)
}

struct Cluster {
    room: tempfile::TempDir,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    port: String,
    server: Option<Running>,
}

impl Cluster {
    /// A server with a table of three photographs, whose owner `app` has a password.
    async fn new() -> Self {
        let (bin, _) = postgres();
        let user = user("postgres");
        let room = room(user);
        let data = room.path().join("data");
        let password = room.path().join("password");
        fs::write(&password, "top secret\n").unwrap();
        let initdb = bin.join("initdb");
        done(
            as_user(initdb.to_str().unwrap(), user)
                .args(["-A", "scram-sha-256", "-U", "app", "--no-sync", "-E", "UTF8", "--locale=C"])
                .arg("--pwfile")
                .arg(&password)
                .arg("-D")
                .arg(&data),
        );
        let mut cluster = Self { room, bin, user, port: free_port(), server: None };
        cluster.start();
        up(&Probe::Postgres(cluster.query("select 1", Answer::Any))).await;
        let mut psql = as_user("psql", user);
        psql.env("PGPASSWORD", "top secret").args([
            "-h",
            "127.0.0.1",
            "-p",
            &cluster.port,
            "-U",
            "app",
            "-d",
            "postgres",
            "-c",
        ]);
        done(
            psql.arg("create table assets(id int, name text); insert into assets values (1, 'a'), (2, null), (3, 'c')"),
        );
        cluster
    }

    fn start(&mut self) {
        let postgres = self.bin.join("postgres");
        let mut command = as_user(postgres.to_str().unwrap(), self.user);
        command.arg("-D").arg(self.room.path().join("data")).args(["-p", &self.port, "-F", "-h", "127.0.0.1", "-k"]);
        command.arg(self.room.path()).stderr(Stdio::null());
        self.server = Some(Running(command.spawn().unwrap()));
    }

    fn query(&self, text: &str, answer: Answer) -> Query {
        Query {
            database: Some("postgres".to_owned()),
            user: Some("app".to_owned()),
            password_file: Some(self.room.path().join("password")),
            ..query(Some(format!("127.0.0.1:{}", self.port)), text, answer)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: lane servers"]
async fn lane_servers_postgres_answers_a_query() {
    let cluster = Cluster::new().await;
    let asked = async |text: &str, answer: Answer| seen(Probe::Postgres(cluster.query(text, answer))).await;
    assert_eq!(holds(asked("select count(*) from assets", Answer::AtLeast(3)).await), "the query gives \"3\"");
    not(asked("select count(*) from assets", Answer::AtLeast(4)).await, &["less than 4"]);
    holds(asked("select count(*) > 2 from assets", Answer::Equals("true".to_owned())).await);
    holds(asked("select name from assets where id = 1; ", Answer::Equals("a".to_owned())).await);
    not(asked("select name from assets where id = 2", Answer::Any).await, &["gives NULL"]);
    not(asked("select name from assets where id = 9", Answer::Any).await, &["no row"]);
    not(asked("select", Answer::Any).await, &["no row"]);
    not(asked("selekt", Answer::Any).await, &["the server says: syntax error"]);
    not(asked("delete from assets", Answer::Any).await, &["read-only transaction", "a check only reads"]);
    let long = holds(asked("select repeat('x', 100000)", Answer::Any).await);
    assert!(long.len() < 400, "{long}");
    not(asked("select repeat('x', 100000000)", Answer::Any).await, &["more than 16 MiB"]);
    holds(asked("select i from generate_series(1, 100000000) i", Answer::Equals("1".to_owned())).await);
    holds(asked("select count(*) from assets", Answer::AtLeast(3)).await);

    let of = |change: fn(&mut Query)| {
        let mut query = cluster.query("select 1", Answer::Any);
        change(&mut query);
        seen(Probe::Postgres(query))
    };
    let why = not(
        of(|query| query.password_file = Some("/etc/hostname".into())).await,
        &["password authentication failed", "password_file"],
    );
    assert!(!why.contains("secret"));
    not(of(|query| query.password_file = None).await, &["password"]);
    not(of(|query| query.database = Some("gone".to_owned())).await, &["\"gone\" does not exist"]);
    // The server itself gives up, too.
    let slow = look(&Probe::Postgres(cluster.query("select pg_sleep(60)", Answer::Any)), &impatient()).await;
    let why = not(slow, &[]);
    assert!(why.contains("did not answer within 1s") || why.contains("the query took too long"), "{why}");
}

/// What `restored` has to look at: a folder, and a repository that it came from.
async fn restored(folder: &Path) -> Surroundings {
    let repository = TestRepository::in_memory().await;
    let report = repository.backup(folder, "s").await;
    let owner = repository.owner().await;
    let reader = Arc::new(Reader::new(owner.clone(), Arc::new(Index::load(&owner).await.unwrap())));
    let (root, within) = (report.record.root, TreePath::root());
    let restored = Restored {
        folder: folder.to_owned(),
        from: Some(Origin { reader, root, within, selection: Selection::default() }),
    };
    Surroundings { restored: vec![restored], scratch: "/tmp".into(), ..around() }
}

fn processes_in(folder: &Path) -> usize {
    let wanted = folder.to_str().unwrap();
    let of = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).unwrap_or_default();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|_| true)
        .map(of)
        .filter(|line| String::from_utf8_lossy(line).contains(wanted))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: lane servers"]
async fn lane_servers_a_restored_data_directory_is_tried_out_on_a_copy() {
    let mut cluster = Cluster::new().await;
    // Killed in the middle: the copy has to go through its log.
    drop(cluster.server.take());
    let data = cluster.room.path().join("data");
    let volume = cluster.room.path().join("volume");
    fs::create_dir_all(volume.join("pgdata")).unwrap();
    done(Command::new("cp").arg("-a").arg(&data).arg(volume.join("pgdata/data")));
    let own = volume.join("pgdata/data");
    // What belongs to another machine.
    fs::write(own.join("postgresql.auto.conf"), "shared_preload_libraries = 'no_such_library'\n").unwrap();
    fs::write(own.join("standby.signal"), "").unwrap();
    let copies = tempfile::Builder::new().prefix("hdr-").tempdir_in("/tmp").unwrap();
    if cluster.user.is_some() {
        fs::set_permissions(copies.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut around = restored(&volume).await;
    around.scratch = copies.path().to_owned();
    let before = crate::support::files::picture(&volume);
    let of = |text: &str, answer: Answer| {
        Probe::Postgres(Query { address: None, password_file: None, ..cluster.query(text, answer) })
    };
    assert_eq!(
        holds(look(&of("select count(*) from assets", Answer::AtLeast(3)), &around).await),
        "the query gives \"3\""
    );
    not(look(&of("select count(*) from assets", Answer::AtLeast(4)), &around).await, &["less than 4"]);
    not(look(&of("select * from gone", Answer::Any), &around).await, &["\"gone\" does not exist"]);
    let mut nobody = of("select 1", Answer::Any);
    if let Probe::Postgres(query) = &mut nobody {
        query.user = Some("nobody".to_owned());
    }
    not(look(&nobody, &around).await, &["\"nobody\" does not exist"]);

    // Somebody wants it to stop while it waits for an answer; and somebody stops waiting for it.
    let cancel = around.cancel.clone();
    let stop = async {
        while processes_in(copies.path()) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cancel.cancel();
    };
    let slow = of("select pg_sleep(600)", Answer::Any);
    let (stopped, ()) = tokio::join!(look(&slow, &around), stop);
    not(stopped, &["stopped"]);
    around.cancel = Arc::default();
    let dropped = tokio::time::timeout(Duration::from_secs(3), look(&slow, &around)).await;
    assert!(dropped.is_err());
    let gone = async {
        while processes_in(copies.path()) > 0 || fs::read_dir(copies.path()).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("no server and no copy stays");
    assert!(crate::support::files::picture(&volume) == before, "what was restored is as it was");

    fs::write(own.join("PG_VERSION"), "9.6\n").unwrap();
    not(look(&slow, &around).await, &["the data are of PostgreSQL 9.6", "install postgresql-9.6"]);
    let (_, version) = postgres();
    fs::write(own.join("PG_VERSION"), format!("{version}\n")).unwrap();
    fs::write(own.join("global/pg_control"), "rubbish").unwrap();
    not(look(&slow, &around).await, &["the server did not start", "pg_control"]);
    fs::create_dir_all(volume.join("other/global")).unwrap();
    fs::write(volume.join("other/PG_VERSION"), "15\n").unwrap();
    fs::write(volume.join("other/global/pg_control"), "").unwrap();
    not(look(&slow, &around).await, &["several data directories"]);
    fs::remove_dir_all(&volume).unwrap();
    fs::create_dir(&volume).unwrap();
    not(look(&slow, &around).await, &["no data directory of PostgreSQL"]);
    assert_eq!(fs::read_dir(copies.path()).unwrap().count(), 0);
}

struct MariaDb {
    room: tempfile::TempDir,
    port: String,
    _server: Running,
}

impl MariaDb {
    async fn new() -> Self {
        let user = user("mysql");
        let room = room(user);
        let path = |name: &str| room.path().join(name).display().to_string();
        done(
            as_user("mariadb-install-db", user)
                .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
                .arg(format!("--datadir={}", path("data")))
                .arg(format!("--innodb-log-file-size={}", 4 << 20)),
        );
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(path("cert"), certificate.cert.pem()).unwrap();
        fs::write(path("key"), certificate.signing_key.serialize_pem()).unwrap();
        fs::write(path("password"), "top secret").unwrap();
        let setup = "DELETE FROM mysql.global_priv WHERE User = ''; FLUSH PRIVILEGES; CREATE DATABASE photos; CREATE TABLE photos.assets(id int, name longtext); \
            INSERT INTO photos.assets VALUES (1, 'a'), (2, NULL), (3, REPEAT('x', 100000)); \
            CREATE USER app@'%' IDENTIFIED BY 'top secret'; GRANT ALL ON photos.* TO app@'%'; \
            CREATE USER secure@'%' IDENTIFIED BY 'top secret' REQUIRE SSL; GRANT SELECT ON photos.* TO secure@'%'; \
            CREATE USER odd@'%' IDENTIFIED VIA ed25519 USING PASSWORD('top secret'); CREATE USER open@'%';\n";
        fs::write(path("setup"), setup.replace("; ", ";\n")).unwrap();
        let port = free_port();
        let mut command = as_user("mariadbd", user);
        command.args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-log-bin",
            "--innodb-flush-method=nosync",
            "--plugin-load-add=auth_ed25519",
        ]);
        for (option, value) in [
            ("datadir", path("data")),
            ("socket", path("socket")),
            ("pid-file", path("pid")),
            ("port", port.clone()),
            ("ssl-cert", path("cert")),
            ("ssl-key", path("key")),
            ("init-file", path("setup")),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        let log = fs::File::create(path("log")).unwrap();
        let server = Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let made = Self { room, port, _server: server };
        up(&Probe::Mysql(made.query("select 1", Answer::Any))).await;
        made
    }

    fn query(&self, text: &str, answer: Answer) -> Query {
        Query {
            database: Some("photos".to_owned()),
            user: Some("app".to_owned()),
            password_file: Some(self.room.path().join("password")),
            ..query(Some(format!("127.0.0.1:{}", self.port)), text, answer)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB: lane servers"]
async fn lane_servers_mariadb_answers_a_query() {
    let server = MariaDb::new().await;
    let asked = async |text: &str, answer: Answer| seen(Probe::Mysql(server.query(text, answer))).await;
    assert_eq!(holds(asked("select count(*) from assets", Answer::AtLeast(3)).await), "the query gives \"3\"");
    not(asked("select count(*) from assets", Answer::AtLeast(4)).await, &["less than 4"]);
    holds(asked("select count(*) > 2 from assets", Answer::Equals("true".to_owned())).await);
    holds(asked("select name, id from assets order by id", Answer::Equals("a".to_owned())).await);
    not(asked("select name from assets where id = 2", Answer::Any).await, &["gives NULL"]);
    not(asked("select name from assets where id = 9", Answer::Any).await, &["no row"]);
    not(asked("set @a = 1", Answer::Any).await, &["no row"]);
    not(asked("selekt", Answer::Any).await, &["the server says: You have an error in your SQL syntax", "(1064)"]);
    not(asked("delete from assets", Answer::Any).await, &["READ ONLY", "a check only reads"]);
    not(asked("load data local infile '/etc/passwd' into table assets", Answer::Any).await, &[]);
    assert!(holds(asked("select name from assets where id = 3", Answer::Any).await).len() < 400);
    holds(asked("select seq from seq_1_to_1000000", Answer::Equals("1".to_owned())).await);
    not(
        look(&Probe::Mysql(server.query("select sleep(60)", Answer::Any)), &impatient()).await,
        &["did not answer within 1s"],
    );

    let of = |change: fn(&mut Query)| {
        let mut query = server.query("select 1", Answer::Any);
        change(&mut query);
        seen(Probe::Mysql(query))
    };
    holds(of(|query| query.user = Some("secure".to_owned())).await);
    holds(of(|query| (query.user, query.password_file, query.database) = (Some("open".to_owned()), None, None)).await);
    not(of(|query| query.password_file = Some("/etc/hostname".into())).await, &["Access denied", "password_file"]);
    not(of(|query| query.password_file = None).await, &["Access denied"]);
    not(of(|query| query.database = Some("gone".to_owned())).await, &["gone"]);
    not(of(|query| query.user = Some("odd".to_owned())).await, &["client_ed25519", "does not know"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs dnsmasq: lane servers"]
async fn lane_servers_dnsmasq_is_asked_by_udp_and_by_tcp() {
    let room = room(None);
    let port = free_port();
    // More than 512 bytes hold.
    let many: String = (0..100).map(|n| format!("host-record=many.example.org,192.0.2.{n}\n")).collect();
    let config = format!(
        "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/example.org/\npid-file=\n\
         host-record=photos.example.org,192.0.2.7,2001:db8::7\ncname=www.example.org,photos.example.org\n\
         txt-record=text.example.org,nothing else\n{many}"
    );
    fs::write(room.path().join("config"), config).unwrap();
    let mut command = as_user("/usr/sbin/dnsmasq", None);
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", room.path().join("config").display()));
    let user = if rustix::process::geteuid().is_root() { "root" } else { "" };
    let _server = Running(command.arg(format!("--user={user}")).stderr(Stdio::null()).spawn().unwrap());
    let dns = |name: &str, addresses: &[&str]| Probe::Dns {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        server: Some(format!("127.0.0.1:{port}")),
    };
    up(&dns("photos.example.org", &[])).await;
    let said = holds(seen(dns("photos.example.org", &["2001:db8::7", "192.0.2.7"])).await);
    assert_eq!(said, "photos.example.org has 192.0.2.7, 2001:db8::7");
    holds(seen(dns("www.example.org.", &["192.0.2.7"])).await);
    not(seen(dns("photos.example.org", &["192.0.2.8"])).await, &["not 192.0.2.8"]);
    not(seen(dns("gone.example.org", &[])).await, &["says that there is no gone.example.org"]);
    not(seen(dns("text.example.org", &[])).await, &["knows no address of it"]);
    not(seen(dns("elsewhere.example.net", &[])).await, &["refuses"]);
    assert!(holds(seen(dns("many.example.org", &["192.0.2.0", "192.0.2.99"])).await).contains("192.0.2.50"));
}
