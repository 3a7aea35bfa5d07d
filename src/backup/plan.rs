//! A dry run: what a backup would read, without writing anything anywhere.

use std::sync::Arc;

use futures::try_join;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::backup::assemble::Tally;
use crate::backup::scan::{Pending, Scan, Sink};
use crate::backup::{
    BackupError, BackupOptions, BackupReport, Context, Earlier, earlier, join, open_previous, snapshot_record,
};
use crate::base::id::BlobId;
use crate::format::entry::Content;
use crate::format::record::TreeRoot;
use crate::repo::index::Index;
use crate::repo::snapshots::Chain;

struct Counting(Tally);

impl Counting {
    fn count(&mut self, pending: Pending) {
        match pending {
            Pending::Problem(problem) => self.0.problem(problem),
            Pending::Ready(found, known) => self.0.count(&found.into_entry(known.size, known.content)),
            // Left out if the database can be captured, which a plan does not try.
            Pending::Beside(..) => {}
            Pending::Waiting(found, _) => {
                let size = found.size;
                self.0.statistics.files_read += 1;
                self.0.statistics.bytes_read += size;
                self.0.count(&found.into_entry(size, Content::Inline(Vec::new())));
            }
        }
    }
}

impl Sink for Counting {
    fn offer(&mut self, entries: Vec<Pending>) -> Result<bool, Vec<Pending>> {
        Ok(self.push(entries))
    }

    fn push(&mut self, entries: Vec<Pending>) -> bool {
        for pending in entries {
            self.count(pending);
        }
        true
    }
}

/// Counts what a backup would read, without writing anything anywhere.
pub async fn plan_backup(context: &Context, options: &BackupOptions) -> Result<BackupReport, BackupError> {
    let Context { repository, clock, progress, cancel } = context.clone();
    let started = clock.now();
    let source = options.open()?;
    let (index, chain) = try_join!(Index::load(&repository), Chain::load(&repository))?;
    let index = Arc::new(index);
    let looked_at = index.clone();
    let Earlier { newest: previous, held, missing } = earlier(&chain, options);
    let before = open_previous(&repository, &index, previous.as_ref(), started, options.reread);
    let live = options.live(&source, context);
    let (walk, handle) = (options.walk(), Handle::current());
    let counted = spawn_blocking(move || {
        let scan = Scan {
            repository: &repository,
            source,
            options: walk,
            live: live.as_deref(),
            previous: before,
            relies_on: &|id| index.find_usable(id).is_some(),
            queue: None,
            progress: &progress,
            cancel: &cancel,
            handle,
        };
        let mut counting = Counting(Tally::default());
        scan.run(&mut counting).map(|()| counting.0)
    });
    let Tally { statistics, problems, .. } = join(counted, "the scan").await?;
    let nothing = TreeRoot { blob: BlobId::new([0; 32]), level: 0 };
    let based_on = previous.filter(|_| !options.reread).map(|snapshot| snapshot.id);
    let record = snapshot_record(options, started, clock.now(), nothing, statistics, &problems, based_on);
    let broken_packs = looked_at.broken_packs();
    let databases = Vec::new();
    Ok(BackupReport { snapshot: None, record, problems, broken_packs, databases, before: held, missing })
}
