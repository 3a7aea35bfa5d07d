//! Commands in containers.

use homelab_dr::cluster::ClusterError;
use homelab_dr::cluster::exec::{Exec as _, Room};
use homelab_dr::hooks::command::{CommandPlan, begin, plan};
use homelab_dr::hooks::hold::Released;
use homelab_dr::hooks::release::release;

use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A pod `host` with a volume at `/data`.
async fn host() -> KubeServer {
    let server = bare().await;
    server.make("media", claim("data"));
    let mut pod = template("host", Some("data"));
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "host".into();
    server.make("media", pod);
    server
        .until("it runs", |state| {
            state.object("pods", "media", "host").is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await;
    server
}

const LIMIT: Duration = Duration::from_secs(20);

fn planned(server: &KubeServer, before: &[&str], after: &[&str]) -> CommandPlan {
    let pod = server.object("pods", "media", "host").unwrap();
    plan(&pod, Some("c"), (words(before), LIMIT), (words(after), LIMIT)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_words_the_code_is_told_and_the_output_is_bounded() {
    let server = host().await;
    let api = api(&server).await;
    let room = Room { namespace: "media", pod: "host", container: "c", output_bytes_max: 1000 };
    let said = api.exec(&room, &words(&["echo", "a  b", "$(id)", ";", "`x`", "*"]), LIMIT).await.unwrap();
    assert_eq!((said.code, said.stdout.as_slice(), said.is_cut), (0, &b"a  b $(id) ; `x` *\n"[..], false));
    let said = api.exec(&room, &words(&["head", "-c", "3000000", "/dev/zero"]), LIMIT).await.unwrap();
    assert_eq!((said.code, said.stdout.len(), said.is_cut), (0, 1000, true), "and the command came to its end");
    let said = api.exec(&room, &words(&["sh", "-c", "echo oh >&2; exit 7"]), LIMIT).await.unwrap();
    assert_eq!((said.code, said.stderr.as_slice()), (7, &b"oh\n"[..]));

    let begun = std::time::Instant::now();
    let late = api.exec(&room, &words(&["sleep", "60"]), Duration::from_secs(1)).await;
    assert!(matches!(late, Err(ClusterError::Silent { .. })) && begun.elapsed() < Duration::from_secs(10), "{late:?}");
    for wrong in [Room { pod: "nobody", ..room }, Room { container: "nobody", ..room }] {
        let refused = api.exec(&wrong, &words(&["true"]), LIMIT).await;
        assert!(matches!(refused, Err(ClusterError::Refused { .. })), "{refused:?}");
    }
    let none = api.exec(&room, &words(&["/no/such/program"]), LIMIT).await;
    assert!(none.is_err() || none.as_ref().is_ok_and(|said| said.code != 0), "{none:?}");
    let breaking = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart();
    };
    let sleep = words(&["sleep", "60"]);
    let (broken, ()) = tokio::join!(api.exec(&room, &sleep, LIMIT), breaking);
    assert!(matches!(broken, Err(ClusterError::Answer { .. })), "nobody says that it went well: {broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_by_a_command_is_released_by_one() {
    let server = host().await;
    let api = api(&server).await;
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let held = server.volume("media", "data").unwrap().join("held");
    let made = planned(&server, &["touch", "/data/held"], &["rm", "/data/held"]);

    let mut ours = journal();
    begin(&acting, &made, &mut ours).await.unwrap();
    assert!(held.exists() && journals(&server) == 1);
    assert!(release(&acting, &mut ours).await.is_well());
    assert!(!held.exists() && journals(&server) == 0);

    // Killed in between.
    begin(&acting, &made, &mut journal()).await.unwrap();
    assert!(held.exists());
    let reports = swept(&api).await;
    assert!(reports.len() == 1 && reports[0].is_well() && !held.exists(), "{reports:?}");
    assert!(swept(&api).await.is_empty());

    // It failed when half of it was done.
    let half = planned(&server, &["sh", "-c", "touch /data/held; echo no room; exit 3"], &["rm", "/data/held"]);
    let mut ours = journal();
    let error = begin(&acting, &half, &mut ours).await.expect_err("failed");
    assert!(matches!(&error, HookError::Failed { code: 3, said, .. } if said == "no room"), "{error:?}");
    assert!(release(&acting, &mut ours).await.is_well() && !held.exists());

    // What cannot be released stays in the journal.
    let stuck = planned(&server, &["true"], &["rm", "/data/held"]);
    let mut ours = journal();
    begin(&acting, &stuck, &mut ours).await.unwrap();
    let report = release(&acting, &mut ours).await;
    assert!(matches!(&report.rows[0].outcome, Released::Failed { why } if why.contains("ended with 1")), "{report:?}");
    assert_eq!(journals(&server), 1);
    std::fs::write(&held, "").unwrap();
    assert!(swept(&api).await[0].is_well() && journals(&server) == 0);

    // The pod is another one by now: what was held is gone with it.
    let mut ours = journal();
    begin(&acting, &made, &mut ours).await.unwrap();
    let kind = api.kinds().await.unwrap().kinds.into_iter().find(|kind| kind.name == "Pod").unwrap();
    let pod = server.object("pods", "media", "host").unwrap();
    api.delete(&kind, Some("media"), "host", pod["metadata"]["uid"].as_str().unwrap()).await.unwrap();
    server.until("it is gone", |state| state.object("pods", "media", "host").is_none()).await;
    let report = release(&acting, &mut ours).await;
    assert!(report.rows[0].outcome == Released::Gone && journals(&server) == 0, "{report:?}");
    // Another of its name would be held and never let go.
    let mut ours = journal();
    let gone = begin(&acting, &made, &mut ours).await;
    assert!(matches!(gone, Err(HookError::Changed { .. })) && journals(&server) == 0, "{gone:?}");
}

#[test]
fn the_container_is_the_named_one_or_the_only_one() {
    let pod = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"namespace": "media", "name": "host"}, "spec": {"containers": containers}})
    };
    let chosen = |names: &[&str], wanted: Option<&str>| {
        let made = plan(&pod(names), wanted, (words(&["x"]), LIMIT), (Vec::new(), LIMIT));
        made.map(|plan| plan.release.container).map_err(|error| error.to_string())
    };
    assert_eq!(chosen(&["db"], None).as_deref(), Ok("db"));
    assert_eq!(chosen(&["proxy", "db"], Some("db")).as_deref(), Ok("db"));
    for (names, wanted, says) in [
        (&["proxy", "db"][..], None, "several containers, proxy, db"),
        (&["proxy"], Some("db"), "no container db, but proxy"),
        (&[], None, "several containers"),
    ] {
        let error = chosen(names, wanted).unwrap_err();
        assert!(error.contains(says) && error.starts_with("in pod media/host"), "{error}");
    }
}
