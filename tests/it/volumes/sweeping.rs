//! What the sweep takes, and what it leaves alone.

use std::collections::BTreeSet;
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::{Clock as _, SystemClock};
use homelab_dr::volumes::choose::policy::Mode;
use homelab_dr::volumes::sweep::sweep;
use serde_json::json;

use super::{CLAIMS, CONTENTS, Lab, OURS, VOLUMES, later, prepare, run};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_alive_or_not_over_stays_and_what_is_over_goes() {
    let lab = Lab::that_retains().await;
    let before = lab.inventory();
    for (number, mode) in [(1, Mode::Snapshot), (2, Mode::Clone)] {
        let choice = lab.choice(mode).await;
        let run = run(number);
        std::mem::forget(prepare(&lab.api, &lab, &run, &choice, &Cancel::default()).await.unwrap());
        let during = lab.inventory();
        let alive = BTreeSet::from([run.id.clone()]);
        let swept = sweep(&lab.api, OURS, &BTreeSet::new(), SystemClock.now(), &lab.limits).await.unwrap();
        assert_eq!((swept.removed.len(), swept.left.len()), (0, 0), "its time is not over: {swept:?}");
        let swept = sweep(&lab.api, OURS, &alive, later(), &lab.limits).await.unwrap();
        assert_eq!((swept.removed.len(), swept.left.len()), (0, 0), "it is alive: {swept:?}");
        assert_eq!(lab.inventory(), during);
        let swept = sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits).await.unwrap();
        assert_eq!((swept.removed.len(), swept.left.len()), (1, 0), "{swept:?}");
        assert!(swept.removed[0].ends_with("(of media/data)"), "{swept:?}");
        lab.is_as_before(&before, "swept").await;
        let again = sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits).await.unwrap();
        assert_eq!((again.removed.len(), again.left.len()), (0, 0), "{again:?}");
    }
}

/// A run that takes longer than it said moves its end on, and nobody takes it for dead.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_renewed_is_not_over() {
    let lab = Lab::new().await;
    let before = lab.inventory();
    for (number, mode) in [(1, Mode::Snapshot), (2, Mode::Clone)] {
        let choice = lab.choice(mode).await;
        let prepared = prepare(&lab.api, &lab, &run(number), &choice, &Cancel::default()).await.unwrap();
        prepared.renew(&lab.api, later().after(Duration::from_secs(3600))).await.unwrap();
        let during = lab.inventory();
        let swept = sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits).await.unwrap();
        assert_eq!((swept.removed.len(), swept.left.len()), (0, 0), "{swept:?}");
        assert_eq!(lab.inventory(), during);
        let end = later().after(Duration::from_secs(7200));
        let swept = sweep(&lab.api, OURS, &BTreeSet::new(), end, &lab.limits).await.unwrap();
        assert_eq!(swept.removed.len(), 1, "{swept:?}");
        lab.is_as_before(&before, "swept").await;
        // Somebody else was faster: there is nothing to do any more.
        prepared.release(&lab.api, &lab.limits).await.unwrap();
    }
}

/// Somebody deleted our namespace, and the journal with it. The content is found by its label, the volume by the name of its claim.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_journal_labels_and_names_are_enough() {
    let lab = Lab::that_retains().await;
    let before = lab.inventory();
    let choice = lab.choice(Mode::Snapshot).await;
    std::mem::forget(prepare(&lab.api, &lab, &run(1), &choice, &Cancel::default()).await.unwrap());
    let path = format!("{}/api/v1/namespaces/{OURS}", lab.server.url());
    let request = http::Request::delete(path).body(Vec::new()).unwrap();
    crate::kube::client(&lab.server).request_text(request).await.unwrap();
    lab.server.until("our namespace is gone", |state| state.object("namespaces", "", OURS).is_none()).await;
    let left = lab.server.shared.with(|state| (state.objects(CONTENTS).len(), state.objects(VOLUMES).len()));
    assert_eq!(left, (1, 2), "what is in no namespace stays");
    let swept = sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits).await.unwrap();
    assert_eq!((swept.removed.len(), swept.left.len()), (1, 0), "{swept:?}");
    lab.is_as_before(&before, "swept").await;
}

/// What others made is not ours, whatever it is called or labelled with.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_others_is_touched() {
    let lab = Lab::new().await;
    let name = homelab_dr::volumes::run::name_for(&run(9).id, "media", "data");
    let labels = json!({"app.kubernetes.io/managed-by": "homelab-dr", "homelab-dr.io/run": run(9).id.as_str()});
    let mut labelled = super::claim("labelled-but-not-named", "csi-hostpath-sc");
    labelled["metadata"]["labels"] = labels;
    lab.server.make("media", labelled);
    let mut named = super::claim(&name, "csi-hostpath-sc");
    named["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    lab.server.make("default", named);
    super::bound(&lab.server, "media", "labelled-but-not-named").await;
    super::bound(&lab.server, "default", &name).await;
    let journal = json!({"data": {"somebody-wrote": "this", "data": "{}"}});
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "homelab-dr-volumes"}});
    map["data"] = journal["data"].clone();
    lab.server.make(OURS, map);
    let before = lab.inventory();
    let swept = sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits).await.unwrap();
    assert_eq!(swept.removed, Vec::<String>::new());
    let why: BTreeSet<&str> = swept.left.iter().map(|left| left.why.as_str()).collect();
    assert!(why.iter().any(|why| why.contains("cannot be understood")), "{swept:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(lab.inventory(), before);
    assert!(lab.server.object(CLAIMS, "default", &name).is_some());
}
