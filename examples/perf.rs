//! scratch, not committed
use std::path::PathBuf;
use std::sync::Arc;
use homelab_dr::backup::{BackupOptions, Context, run_backup};
use homelab_dr::base::{cancel::Cancel, clock::{Clock, SystemClock}, progress::Progress};
use homelab_dr::crypto::recipients::{IdentitySource, NoPrompt, Prompt, generate_identity};
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::{Overwrite, RestorePlan, run_restore};
use homelab_dr::repo::{Repository, create::create, fetch::Reader, index::Index, snapshots::Chain};
use homelab_dr::store::url::StoreUrl;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = PathBuf::from(&args[2]);
    let url = StoreUrl::parse(dir.join("repo").to_str().unwrap()).unwrap();
    match args[1].as_str() {
        "init" => {
            std::fs::create_dir_all(&dir).unwrap();
            let store = url.create().await.unwrap();
            let g = generate_identity();
            let key = create(&store, &[g.recipient], std::time::Duration::ZERO, &*clock).await.unwrap();
            std::fs::write(dir.join("key"), key.to_text().as_str()).unwrap();
            std::fs::write(dir.join("id"), g.secret.expose()).unwrap();
        }
        "backup" => {
            let store = url.open().await.unwrap();
            let key = WriterKey::parse(&std::fs::read_to_string(dir.join("key")).unwrap()).unwrap();
            let repository = Arc::new(Repository::open_with_writer(store, &key).await.unwrap());
            let context = Context { repository, clock, progress: Arc::new(Progress::default()), cancel: Arc::new(Cancel::default()) };
            let o = BackupOptions { source: "s".into(), paths: vec![PathBuf::from(&args[3])], walk: Default::default(), tags: Default::default(), host: "h".into(), reread: false, level: None, threads: None };
            let r = run_backup(&context, &o).await.unwrap();
            println!("{:?}", r.record.statistics);
        }
        _ => {
            let store = url.open().await.unwrap();
            let id = IdentitySource::parse("id", &std::fs::read(dir.join("id")).unwrap()).unwrap();
            let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
            let repository = Arc::new(Repository::open_with_identity(store, &[id], &prompt, None).await.unwrap());
            let chain = Chain::load(&repository).await.unwrap();
            let root = chain.snapshots.last().unwrap().record.root;
            let context = Context { repository: repository.clone(), clock, progress: Arc::new(Progress::default()), cancel: Arc::new(Cancel::default()) };
            let index = Arc::new(Index::load(&repository).await.unwrap());
            let reader = Arc::new(Reader::new(repository, index));
            let plan = RestorePlan { root, within: TreePath::root(), target: PathBuf::from(&args[3]), selection: Default::default(), overwrite: Overwrite::Changed, delete: false, sparse: false, dry_run: false, owner: true };
            let r = run_restore(&context, &reader, &plan).await.unwrap();
            println!("{} files {} bytes {:?}", r.files, r.bytes, r.problems.len());
        }
    }
}
