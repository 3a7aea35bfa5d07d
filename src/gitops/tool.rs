//! What can be paused, and by which fields.
//!
//! Sources: Argo CD's documents on skip-reconcile, on automated sync and on how an `ApplicationSet` modifies its Applications; Flux' `spec.suspend`; flux-operator's
//! `fluxcd.controlplane.io/reconcile`.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::cluster::object::{annotation, at, text};

/// Whose object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `argoproj.io`.
    Argocd,
    /// `*.toolkit.fluxcd.io`.
    Flux,
    /// `fluxcd.controlplane.io`: the operator that installs Flux, and makes objects of Flux.
    FluxOperator,
}

/// How an object is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An ArgoCD Application.
    Application,
    /// An ArgoCD `ApplicationSet`. There is no pausing it: it is told to leave the Applications alone that it has made. It still makes new ones.
    ApplicationSet,
    /// A Kustomization or `HelmRelease` of Flux.
    Suspended,
    /// An object of flux-operator.
    Operated,
}

/// A kind that can be paused.
struct Known {
    group: &'static str,
    kind: &'static str,
    role: Role,
    tool: Tool,
}

const KNOWN: [Known; 6] = [
    Known { group: ARGOCD, kind: "ApplicationSet", role: Role::ApplicationSet, tool: Tool::Argocd },
    Known { group: ARGOCD, kind: "Application", role: Role::Application, tool: Tool::Argocd },
    Known { group: KUSTOMIZE, kind: "Kustomization", role: Role::Suspended, tool: Tool::Flux },
    Known { group: HELM, kind: "HelmRelease", role: Role::Suspended, tool: Tool::Flux },
    Known { group: OPERATOR, kind: "FluxInstance", role: Role::Operated, tool: Tool::FluxOperator },
    Known { group: OPERATOR, kind: "ResourceSet", role: Role::Operated, tool: Tool::FluxOperator },
];

/// ArgoCD's group.
pub const ARGOCD: &str = "argoproj.io";
/// The group of Flux' Kustomizations.
pub const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io";
/// The group of Flux' `HelmRelease`s.
pub const HELM: &str = "helm.toolkit.fluxcd.io";
/// The group of flux-operator.
pub const OPERATOR: &str = "fluxcd.controlplane.io";

/// ArgoCD's application controller leaves an Application alone that has this with `"true"`.
pub const SKIP_RECONCILE: &str = "argocd.argoproj.io/skip-reconcile";
/// flux-operator leaves an object alone that has this with `disabled`.
pub const RECONCILE: &str = "fluxcd.controlplane.io/reconcile";
const CREATE_ONLY: &str = "create-only";

/// Whether a group has kinds that can be paused.
#[must_use]
pub fn is_known_group(group: &str) -> bool {
    KNOWN.iter().any(|known| known.group == group)
}

/// How objects of a kind are paused, and whose they are; nothing for all other kinds.
#[must_use]
pub fn role_of(kind: &Kind) -> Option<(Role, Tool)> {
    KNOWN.iter().find(|known| kind.is(known.group, known.kind)).map(|known| (known.role, known.tool))
}

/// How the automatic sync of an Application is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Automated {
    /// By `automated.enabled: false`, which ArgoCD has since 3.1.
    Disabled,
    /// By taking `automated` out: an API server that does not know `enabled` drops it without a word.
    TakenOut,
}

/// A field and what it has to be; nothing if it has to be absent.
pub type Wanted = (Vec<&'static str>, Option<Value>);

impl Role {
    /// What makes an object paused. An Application is switched off twice: skip-reconcile is called alpha, and `automated` alone would still let a sync by hand or a retry through.
    #[must_use]
    pub fn wanted(self, object: &Value, automated: Automated) -> Vec<Wanted> {
        const AUTOMATED: [&str; 3] = ["spec", "syncPolicy", "automated"];
        match self {
            Self::Application => {
                let mut wanted = vec![(vec!["metadata", "annotations", SKIP_RECONCILE], Some(json!("true")))];
                if at(object, &AUTOMATED).is_object() {
                    wanted.push(match automated {
                        Automated::Disabled => ([&AUTOMATED[..], &["enabled"]].concat(), Some(json!(false))),
                        Automated::TakenOut => (AUTOMATED.to_vec(), None),
                    });
                }
                wanted
            }
            Self::ApplicationSet => vec![(vec!["spec", "syncPolicy", "applicationsSync"], Some(json!(CREATE_ONLY)))],
            Self::Suspended => vec![(vec!["spec", "suspend"], Some(json!(true)))],
            Self::Operated => vec![(vec!["metadata", "annotations", RECONCILE], Some(json!("disabled")))],
        }
    }

    /// Whether its controller leaves it alone, whoever said so.
    #[must_use]
    pub fn is_paused(self, object: &Value) -> bool {
        match self {
            Self::Application => annotation(object, SKIP_RECONCILE) == "true",
            Self::ApplicationSet => text(object, &["spec", "syncPolicy", "applicationsSync"]) == CREATE_ONLY,
            Self::Suspended => at(object, &["spec", "suspend"]) == true,
            Self::Operated => annotation(object, RECONCILE) == "disabled",
        }
    }
}
