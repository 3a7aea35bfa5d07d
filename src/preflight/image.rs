//! Whether an image is one and the same wherever a mover runs. That it can be pulled nobody knows from here, but by a probe.

use super::{Check, Finding, Findings, Severity};

/// The tag of an image, `None` if it is named by its digest, which nothing changes. The address of a registry may have a colon too.
fn tag(image: &str) -> Option<&str> {
    if image.contains('@') {
        return None;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    // Without one it is this.
    Some(last.split_once(':').map_or("latest", |(_, tag)| tag))
}

/// What is doubtful about it; nothing about one that is named by a digest, or by a tag that says a version.
pub(super) fn look(findings: &mut Findings, image: &str) {
    if tag(image) != Some("latest") {
        return;
    }
    let name = image.strip_suffix(":latest").unwrap_or(image);
    let finding = Finding::new(Severity::Doubtful, Check::Image, image, "is whatever was pushed last");
    let why = "nodes that have it already run another one than those that pull it, and a mover of another version may not understand its task";
    let mend = format!(
        "name it by its digest ({name}@sha256:…; `kubectl get pod POD -o jsonpath='{{.status.containerStatuses[0].imageID}}'` has that of one that runs), \
         or at least by the tag of this version: {name}:{}",
        env!("CARGO_PKG_VERSION")
    );
    findings.add(finding.because(why).mended_by(mend));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_version_is_doubtful() {
        let said = |image: &str| {
            let mut findings = Findings::default();
            look(&mut findings, image);
            findings.findings.pop().map(|finding| finding.mend)
        };
        for image in ["homelab-dr", "homelab-dr:latest", "nas.lan:5000/homelab-dr", "nas.lan:5000/a/homelab-dr:latest"]
        {
            let name = image.strip_suffix(":latest").unwrap_or(image);
            let mend = said(image).unwrap_or_else(|| panic!("{image}"));
            assert!(mend.contains(&format!("{name}@sha256:")) && mend.contains(&format!(": {name}:0.")), "{mend}");
        }
        for image in ["homelab-dr:0.1", "nas.lan:5000/homelab-dr:v1", "a/b@sha256:0123", "a/b:latest@sha256:0123"] {
            assert_eq!(said(image), None, "{image}");
        }
    }
}
