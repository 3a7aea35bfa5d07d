//! Where the test server answers otherwise than the recording, and why. Each is needed, or the replay fails.

pub(super) struct Exception {
    pub(super) file: &'static str,
    pub(super) line: usize,
    /// The beginning of the path within the answer.
    pub(super) path: &'static str,
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(super) why: &'static str,
}

const fn exception(file: &'static str, line: usize, path: &'static str, why: &'static str) -> Exception {
    Exception { file, line, path, why }
}

const NO_LIMIT: &str = "that node wrote down a memory limit, next to 2^63, for a pod that has none; ours writes none";

pub(super) const EXCEPTIONS: [Exception; 4] = [
    exception(
        "list",
        16,
        "",
        "the recording of the YAML list was cut by the redaction of a certificate; line 2 has it as JSON",
    ),
    exception("pods", 12, ".status.resources.limits", NO_LIMIT),
    exception("pods", 12, ".metadata.managedFields[0].fieldsV1.f:status.f:resources", NO_LIMIT),
    exception(
        "volumes",
        17,
        ".spec.volumeSnapshotRef.resourceVersion",
        "the real controller reads the snapshot from a cache that is one change behind; ours sees the present",
    ),
];
