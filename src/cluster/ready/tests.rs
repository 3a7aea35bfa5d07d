use serde_json::json;

use super::*;

/// How it stands, as one text: `ready`, `waiting: why`, `failed: why`.
fn told(group: &str, kind: &str, object: &Value) -> String {
    match readiness(&Kind::known(group, "v1", "x", kind, true), object) {
        Ready => "ready".to_owned(),
        Waiting(why) => format!("waiting: {why}"),
        Failed(why) => format!("failed: {why}"),
    }
}

#[track_caller]
fn table(group: &str, kind: &str, rows: &[(Value, &str)]) {
    for (object, expected) in rows {
        assert_eq!(told(group, kind, object), *expected, "{object}");
    }
}

fn conditions(list: &[(&str, &str, &str)]) -> Value {
    list.iter().map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason})).collect()
}

#[test]
fn what_holds_for_every_kind() {
    let of = |status: Value| json!({"metadata": {"generation": 3}, "status": status});
    table(
        "acme.example",
        "Anvil",
        &[
            (json!({}), "ready"),
            (of(json!({"observedGeneration": 3})), "ready"),
            (of(json!({"observedGeneration": 2})), "waiting: its controller has not seen it yet"),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "waiting: it is being deleted"),
            (
                of(json!({"conditions": conditions(&[("Stalled", "True", "Broken")])})),
                "failed: Stalled is True (Broken)",
            ),
            (of(json!({"conditions": conditions(&[("Stalled", "False", "")])})), "ready"),
            (
                of(json!({"conditions": conditions(&[("Reconciling", "True", "Working"), ("Ready", "True", "")])})),
                "waiting: Reconciling is True (Working)",
            ),
            (of(json!({"conditions": conditions(&[("Ready", "True", "")])})), "ready"),
            (
                of(json!({"conditions": conditions(&[("Ready", "False", "NoSecret")])})),
                "waiting: Ready is False (NoSecret)",
            ),
            (of(json!({"conditions": conditions(&[("Ready", "Unknown", "")])})), "waiting: Ready is Unknown"),
            (
                of(json!({"conditions": conditions(&[("Available", "False", "Away")])})),
                "waiting: Available is False (Away)",
            ),
            (of(json!({"conditions": conditions(&[("Available", "False", ""), ("Ready", "True", "")])})), "ready"),
            (of(json!({"conditions": conditions(&[("Synced", "False", "")])})), "ready"),
        ],
    );
    let message =
        json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "R", "message": "m"}]}});
    assert_eq!(told("acme.example", "Anvil", &message), "waiting: Ready is False (R): m");
}

#[test]
fn deployments() {
    let of = |replicas: i64, [all, updated, available, ready]: [i64; 4], list: &[(&str, &str, &str)]| {
        json!({"spec": {"replicas": replicas}, "status": {
            "replicas": all, "updatedReplicas": updated, "availableReplicas": available, "readyReplicas": ready,
            "conditions": conditions(list),
        }})
    };
    let well = [("Available", "True", ""), ("Progressing", "True", "NewReplicaSetAvailable")];
    table(
        "apps",
        "Deployment",
        &[
            (json!({"spec": {"replicas": 1}}), "waiting: replicas 0/1"),
            (json!({"spec": {}}), "waiting: replicas 0/1"),
            (json!({"spec": {"replicas": 0}}), "waiting: its controller says nothing of it yet"),
            (of(0, [0, 0, 0, 0], &well), "ready"),
            (of(2, [2, 2, 2, 2], &well), "ready"),
            (of(2, [2, 1, 1, 2], &well), "waiting: updated 1/2"),
            (of(2, [2, 2, 1, 2], &well), "waiting: available 1/2"),
            (of(2, [2, 2, 2, 1], &well), "waiting: ready 1/2"),
            (of(2, [3, 2, 2, 2], &well), "waiting: 1 old replicas are to end"),
            (
                of(1, [1, 1, 1, 1], &[("Available", "False", "MinimumReplicasUnavailable")]),
                "waiting: Available is False (MinimumReplicasUnavailable)",
            ),
            (
                of(1, [1, 1, 0, 0], &[("Progressing", "False", "ProgressDeadlineExceeded")]),
                "waiting: available 0/1: Progressing is False (ProgressDeadlineExceeded)",
            ),
        ],
    );
}

#[test]
fn stateful_sets_daemon_sets_and_replica_sets() {
    let set = |[all, ready, updated]: [i64; 3], spec: Value, revisions: [&str; 2]| {
        json!({"metadata": {"generation": 1}, "spec": spec, "status": {
            "observedGeneration": 1, "replicas": all, "readyReplicas": ready, "updatedReplicas": updated,
            "currentRevision": revisions[0], "updateRevision": revisions[1],
        }})
    };
    let partition = json!({"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}});
    let on_delete = json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}});
    table(
        "apps",
        "StatefulSet",
        &[
            (json!({"spec": {"replicas": 1}}), "waiting: its controller says nothing of it yet"),
            (set([2, 2, 2], json!({"replicas": 2}), ["a", "a"]), "ready"),
            (set([1, 1, 1], json!({"replicas": 2}), ["a", "a"]), "waiting: replicas 1/2"),
            (set([2, 1, 2], json!({"replicas": 2}), ["a", "a"]), "waiting: ready 1/2"),
            (set([3, 2, 2], json!({"replicas": 2}), ["a", "a"]), "waiting: 1 replicas are to end"),
            (
                set([2, 2, 1], json!({"replicas": 2}), ["a", "b"]),
                "waiting: pods of an earlier revision are to be replaced",
            ),
            (set([2, 2, 1], partition.clone(), ["a", "b"]), "ready"),
            (set([2, 2, 0], partition, ["a", "b"]), "waiting: updated 0/1"),
            (set([2, 2, 0], on_delete.clone(), ["a", "b"]), "ready"),
            (set([2, 1, 0], on_delete, ["a", "b"]), "waiting: ready 1/2"),
            (set([0, 0, 0], json!({"replicas": 0}), ["a", "a"]), "ready"),
        ],
    );
    let daemon = |[wanted, placed, updated, available, ready]: [i64; 5], spec: Value| {
        json!({"spec": spec, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": wanted, "currentNumberScheduled": placed,
            "updatedNumberScheduled": updated, "numberAvailable": available, "numberReady": ready,
        }})
    };
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    table(
        "apps",
        "DaemonSet",
        &[
            (json!({}), "waiting: its controller says nothing of it yet"),
            (json!({"status": {"observedGeneration": 1}}), "waiting: its controller says nothing of it yet"),
            (daemon([2, 2, 2, 2, 2], json!({})), "ready"),
            (daemon([2, 1, 2, 2, 2], json!({})), "waiting: placed 1/2"),
            (daemon([2, 2, 1, 2, 2], json!({})), "waiting: updated 1/2"),
            (daemon([2, 2, 1, 2, 2], on_delete), "ready"),
            (daemon([2, 2, 2, 1, 2], json!({})), "waiting: available 1/2"),
            (daemon([2, 2, 2, 2, 1], json!({})), "waiting: ready 1/2"),
            (daemon([0, 0, 0, 0, 0], json!({})), "ready"),
        ],
    );
    let replicas = |[all, available, ready]: [i64; 3], list: &[(&str, &str, &str)]| {
        json!({"spec": {"replicas": 1}, "status": {
            "replicas": all, "availableReplicas": available, "readyReplicas": ready, "conditions": conditions(list),
        }})
    };
    table(
        "apps",
        "ReplicaSet",
        &[
            (replicas([1, 1, 1], &[]), "ready"),
            (replicas([0, 0, 0], &[]), "waiting: replicas 0/1"),
            (replicas([1, 0, 1], &[]), "waiting: available 0/1"),
            (replicas([1, 1, 0], &[]), "waiting: ready 0/1"),
            (replicas([2, 2, 2], &[]), "waiting: 1 replicas are to end"),
            (
                replicas([0, 0, 0], &[("ReplicaFailure", "True", "FailedCreate")]),
                "waiting: ReplicaFailure is True (FailedCreate)",
            ),
        ],
    );
}

#[test]
fn jobs_claims_definitions_and_others() {
    let with = |list: &[(&str, &str, &str)]| json!({"status": {"conditions": conditions(list)}});
    table(
        "batch",
        "Job",
        &[
            (json!({}), "waiting: it has not started"),
            (json!({"status": {"startTime": "2026-01-01T00:00:00Z", "active": 1}}), "ready"),
            (json!({"spec": {"suspend": true}}), "ready"),
            (with(&[("Complete", "True", "")]), "ready"),
            (with(&[("Failed", "True", "BackoffLimitExceeded")]), "failed: Failed is True (BackoffLimitExceeded)"),
            (with(&[("Suspended", "True", "")]), "ready"),
        ],
    );
    table("batch", "CronJob", &[(json!({"spec": {"schedule": "* * * * *"}}), "ready")]);
    table(
        "",
        "PersistentVolumeClaim",
        &[
            (json!({"status": {"phase": "Bound"}}), "ready"),
            (json!({"status": {"phase": "Pending"}}), "waiting: it is Pending, and has no volume"),
            (json!({"status": {"phase": "Lost"}}), "failed: its volume is gone"),
            (json!({}), "waiting: nothing is known of it yet"),
        ],
    );
    table(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        &[
            (with(&[("NamesAccepted", "True", ""), ("Established", "True", "")]), "ready"),
            (with(&[("NamesAccepted", "False", "Conflict")]), "failed: NamesAccepted is False (Conflict)"),
            (with(&[("Established", "False", "Installing")]), "waiting: it is not established"),
            (with(&[("Established", "False", "NotAccepted")]), "failed: Established is False (NotAccepted)"),
            (json!({}), "waiting: it is not established"),
        ],
    );
    table(
        "policy",
        "PodDisruptionBudget",
        &[
            (json!({"status": {"currentHealthy": 1, "desiredHealthy": 2}}), "waiting: healthy 1/2"),
            (json!({"status": {"currentHealthy": 2, "desiredHealthy": 2}}), "ready"),
        ],
    );
    table(
        "",
        "Service",
        &[
            (json!({"spec": {"type": "LoadBalancer"}}), "waiting: it has no address"),
            (json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}}), "ready"),
            (json!({"spec": {"type": "ExternalName"}}), "ready"),
        ],
    );
    table(
        "apiregistration.k8s.io",
        "APIService",
        &[(with(&[("Available", "False", "MissingEndpoints")]), "waiting: Available is False (MissingEndpoints)")],
    );
}

#[test]
fn pods_say_why_they_are_not_ready() {
    let of = |phase: &str, more: Value| {
        let mut status = json!({"phase": phase});
        for (field, value) in more.as_object().into_iter().flatten() {
            status[field] = value.clone();
        }
        json!({"status": status})
    };
    let waiting = |reason: &str, message: &str| json!({"name": "app", "state": {"waiting": {"reason": reason, "message": message}}});
    let mut crashing = waiting("CrashLoopBackOff", "back-off 10s");
    crashing["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    table(
        "",
        "Pod",
        &[
            (json!({}), "waiting: nothing is known of it yet"),
            (of("Succeeded", json!({})), "ready"),
            (of("Running", json!({"conditions": conditions(&[("Ready", "True", "")])})), "ready"),
            (of("Failed", json!({"reason": "Evicted", "message": "low on memory"})), "failed: Evicted: low on memory"),
            (of("Pending", json!({})), "waiting: Pending"),
            (of("Pending", json!({"containerStatuses": [waiting("ContainerCreating", "")]})), "waiting: Pending"),
            (
                of(
                    "Pending",
                    json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
                ),
                "waiting: Unschedulable: 0/1 nodes",
            ),
            (
                of("Pending", json!({"containerStatuses": [waiting("ImagePullBackOff", "no such image")]})),
                "waiting: container app: ImagePullBackOff: no such image",
            ),
            (
                of("Running", json!({"containerStatuses": [crashing]})),
                "waiting: container app: CrashLoopBackOff: back-off 10s (it ended with 1, Error)",
            ),
            (
                of("Running", json!({"conditions": conditions(&[("ContainersReady", "False", "ContainersNotReady")])})),
                "waiting: ContainersReady is False (ContainersNotReady)",
            ),
        ],
    );
}
