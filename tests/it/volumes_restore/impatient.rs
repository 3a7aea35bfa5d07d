//! What fills volumes as the program does, but waits for seconds where that waits for minutes.

use std::sync::Arc;

use homelab_dr::backup::volumes::Handed;
use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::base::progress::Progress;
use homelab_dr::cluster::api::{self, Api};
use homelab_dr::crypto::recipients::{IdentitySource, NoPrompt, Prompt};
use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::cluster::Identity;
use homelab_dr::recover::cluster::data::Data;
use homelab_dr::recover::cluster::movers::{ByMovers, Running};
use homelab_dr::repo::Repository;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::snapshots::Chain;
use homelab_dr::volumes::mover::Crew;
use homelab_dr::volumes::policy::Reach;
use homelab_dr::volumes::protocol::SecretText;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// For one claim, `media/data`, and the first snapshot of it.
pub(super) struct Impatient {
    pub(super) cluster: Api,
    pub(super) clock: SystemClock,
    pub(super) cancel: Arc<Cancel>,
    pub(super) data: Data,
    progress: Arc<Progress>,
    handed: Handed,
    reader: Arc<Reader>,
}

impl Impatient {
    pub(super) async fn new(world: &World, kubeconfig: &str, limit_download: Option<u64>) -> Self {
        let limits = api::Limits { answer: 5 * SECOND, tries: SECOND };
        let cluster = Api::open(Some(&world.lab.path(kubeconfig)), None).await.unwrap().with_limits(limits);
        let identity = IdentitySource::parse("key", &std::fs::read(world.lab.path("key")).unwrap()).unwrap();
        let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
        let store = world.s3.url("home").open().await.unwrap();
        let repository = Arc::new(Repository::open_with_identity(store, &[identity], &prompt, None).await.unwrap());
        let chain = Chain::load(&repository).await.unwrap();
        let index = Arc::new(Index::load(&repository).await.unwrap());
        let of_claim = chain.snapshots.iter().filter(|one| one.record.source == "pvc/media/data");
        let snapshot = of_claim.min_by_key(|one| one.record.started).unwrap();
        let data = Data::of(&chain, snapshot, snapshot.record.started);
        let over = world.s3.url("home").hand_over().await.unwrap();
        let credentials = over.credentials.into_iter();
        let handed = Handed {
            address: over.address,
            credentials: credentials.map(|(name, value)| (name.to_owned(), SecretText::new(value))).collect(),
            reach: Reach::Nowhere,
            writer_key: SecretText::new(repository.writer_key().to_text()),
            limit_upload: None,
            limit_download,
        };
        let reader = Arc::new(Reader::new(repository.clone(), index));
        let (progress, cancel) = (Arc::default(), Arc::default());
        Self { cluster, clock: SystemClock, cancel, data, progress, handed, reader }
    }

    pub(super) fn claim() -> Identity {
        let (kind, name) = ("persistentvolumeclaims".to_owned(), "data".to_owned());
        Identity { kind, namespace: Some("media".to_owned()), name }
    }

    pub(super) fn movers(&self) -> ByMovers<'_> {
        let crew = Crew {
            cluster: &self.cluster,
            streams: &self.cluster,
            clock: &self.clock,
            progress: &self.progress,
            cancel: &self.cancel,
            limits: crate::volumes_backup::faults::small(),
            start_timeout: 20 * SECOND,
            timeout: 300 * SECOND,
        };
        let running =
            Running { image: IMAGE.to_owned(), start_timeout: crew.start_timeout, timeout: crew.timeout, movers: 1 };
        ByMovers::new(crew, &self.handed, &running, self.reader.clone(), TreePath::root()).unwrap()
    }
}
