//! Handshakes by annotations of a claim.

use homelab_dr::hooks::handshake::{QUIESCE, QUIESCED, begin, plan};
use homelab_dr::hooks::release::release;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_answered_and_let_go_and_without_an_answer_it_is_late() {
    let server = bare().await;
    server.make("media", claim("data"));
    let (api, before) = (api(&server).await, all(&server));
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = plan(&api, "media", "data", RUN).await.unwrap();

    let mut unanswered = journal();
    let error = begin(&acting, &made, &mut unanswered).await.expect_err("nobody answers");
    assert!(matches!(&error, HookError::Late { what, .. } if what.contains(QUIESCED)), "{error:?}");
    assert_eq!(server.object(CLAIMS, "media", "data").unwrap()["metadata"]["annotations"][QUIESCE], RUN);
    assert!(release(&acting, &mut unanswered).await.is_well());
    assert_eq!(all(&server), before);

    // An operator that answers with what it was asked, and takes the answer away when nobody asks any more.
    let shared = std::sync::Arc::clone(&server.shared);
    let operator = tokio::spawn(async move {
        loop {
            shared.with(|state| {
                let claim = state.object(CLAIMS, "media", "data").unwrap();
                let notes = &claim["metadata"]["annotations"];
                if notes[QUIESCE] != notes[QUIESCED] {
                    let asked = notes[QUIESCE].clone();
                    state.edit(&claim, |claim| match asked {
                        Value::Null => {
                            claim["metadata"].as_object_mut().unwrap().remove("annotations");
                        }
                        asked => claim["metadata"]["annotations"][QUIESCED] = asked,
                    });
                }
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answered = journal();
    begin(&acting, &made, &mut answered).await.unwrap();
    // Killed here; somebody sweeps.
    let reports = swept(&api).await;
    assert!(reports[0].is_well(), "{reports:?}");
    server
        .until("the answer is taken away", |state| {
            state.object(CLAIMS, "media", "data").unwrap()["metadata"]["annotations"].is_null()
        })
        .await;
    operator.abort();
    assert_eq!(all(&server), before);
    assert!(matches!(plan(&api, "media", "nobody", RUN).await, Err(HookError::Changed { .. })));
}
