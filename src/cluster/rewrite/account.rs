//! Service accounts and their tokens: tokens of another cluster open nothing here.

use serde_json::Value;

use crate::cluster::object::{at, items, name_of, take_fields, take_items, text};

/// The kind of secret that holds a service account's token.
pub(super) const TOKEN: &str = "kubernetes.io/service-account-token";
/// The account that such a secret is of.
pub(super) const TOKEN_OF: &str = "kubernetes.io/service-account.name";
const TOKEN_OF_UID: &str = "kubernetes.io/service-account.uid";
/// The account that every namespace gets.
const DEFAULT: &str = "default";

/// Secrets that the cluster made for the account.
pub(super) fn account(object: &mut Value) {
    let (tokens, pulls) = (format!("{}-token-", name_of(object)), format!("{}-dockercfg-", name_of(object)));
    let is_made = |entry: &Value| {
        let name = text(entry, &["name"]);
        name.starts_with(&tokens) || name.starts_with(&pulls)
    };
    take_items(object, &["secrets"], is_made);
    take_items(object, &["imagePullSecrets"], |entry| text(entry, &["name"]).starts_with(&pulls));
}

/// A token secret that a person made is filled by the cluster.
pub(super) fn secret(object: &mut Value) {
    if text(object, &["type"]) != TOKEN {
        return;
    }
    take_fields(object, &["metadata", "annotations"], |name| name == TOKEN_OF_UID);
    take_fields(object, &["data"], |name| ["token", "ca.crt", "namespace"].contains(&name));
}

/// Whether it is the account that the cluster makes in every namespace, and nobody has put anything into it: as good as not there.
#[must_use]
pub fn is_untouched_account(kind: &crate::cluster::Kind, live: &Value) -> bool {
    kind.is("", "ServiceAccount")
        && name_of(live) == DEFAULT
        && ["labels", "annotations"].iter().all(|field| at(live, &["metadata", field]).is_null())
        && ["secrets", "imagePullSecrets"].iter().all(|field| items(live, &[field]).is_empty())
        && at(live, &["automountServiceAccountToken"]).is_null()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_keeps_the_secrets_that_a_person_gave_it() {
        let mut object = json!({
            "metadata": {"name": "app"}, "secrets": [{"name": "app-token-x2x2x"}, {"name": "mine"}], "imagePullSecrets": [{"name": "registry"}],
        });
        account(&mut object);
        let expected = json!({"metadata": {"name": "app"}, "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "registry"}]});
        assert_eq!(object, expected);
    }

    #[test]
    fn a_token_secret_of_a_persons_making_loses_the_token_and_keeps_its_account() {
        let annotations =
            json!({"kubernetes.io/service-account.name": "app", "kubernetes.io/service-account.uid": "u"});
        let data = json!({"token": "dA==", "ca.crt": "Yw==", "namespace": "bg==", "extra": "eA=="});
        let mut object = json!({"metadata": {"annotations": annotations}, "type": TOKEN, "data": data});
        secret(&mut object);
        let annotations = json!({"kubernetes.io/service-account.name": "app"});
        assert_eq!(object, json!({"metadata": {"annotations": annotations}, "type": TOKEN, "data": {"extra": "eA=="}}));
        let mut plain = json!({"type": "Opaque", "data": {"token": "dA=="}});
        secret(&mut plain);
        assert_eq!(plain, json!({"type": "Opaque", "data": {"token": "dA=="}}));
    }
}
