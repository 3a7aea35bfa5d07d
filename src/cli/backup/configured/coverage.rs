//! Whether a run of all sources has taken all of each cluster that it is about: rows for what is left out, or is not covered.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reached::Reached;
use super::volumes::open_folder;
use super::{Outcome, Row};
use crate::backup::coverage::{self, Fate, Said, Taken, What};
use crate::cli::again::Again;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Told};
use crate::cli::output::{ErrorDocument, count, was};
use crate::cluster::Cluster;
use crate::cluster::api::Api;
use crate::cluster::choice::Choice;
use crate::config::{ClusterPlace, Source, SourceKind};
use crate::format::entry::escape;

/// Opens what a source is of.
pub(super) async fn open(place: &ClusterPlace) -> Result<Box<dyn Cluster>, Failure> {
    Ok(match place {
        ClusterPlace::Api { kubeconfig, context } => {
            Box::new(Api::open(kubeconfig.as_deref(), context.as_deref()).await?)
        }
        ClusterPlace::Folder(folder) => Box::new(open_folder(folder)?),
    })
}

/// A cluster, and what its sources have taken so far.
struct Watched {
    cluster: Box<dyn Cluster>,
    said: Said,
    taken: Taken,
    sources: Vec<String>,
    /// What sources of objects would take, in a dry run.
    would: Vec<Choice>,
    /// A source has come to its end, whatever it took.
    any: bool,
}

/// Many things of one kind that one word of the configuration leaves out.
#[derive(Serialize)]
pub(super) struct LeftOut {
    by: String,
    names: Vec<String>,
}

/// All clusters of a run.
#[derive(Default)]
pub(super) struct Watch(Vec<Watched>);

impl Watch {
    /// Which clusters there are. One that cannot be opened is left to its sources, which fail.
    pub async fn begin(sources: &[Source]) -> Self {
        let mut all: Vec<Watched> = Vec::new();
        for source in sources {
            let Some(place) = coverage::place_of(&source.kind) else { continue };
            let Ok(cluster) = open(&place).await else { continue };
            let known = all.iter().position(|known| known.cluster.name() == cluster.name());
            if known.is_none() {
                let (said, taken, sources) = (Said::default(), Taken::default(), Vec::new());
                all.push(Watched { cluster, said, taken, sources, would: Vec::new(), any: false });
            }
            let at = known.unwrap_or_else(|| all.len().saturating_sub(1));
            let Some(watched) = all.get_mut(at) else { continue };
            watched.said.add(&source.kind);
            watched.sources.push(source.name.clone());
        }
        Self(all)
    }

    fn of(&mut self, source: &Source) -> Option<&mut Watched> {
        self.0.iter_mut().find(|watched| watched.sources.contains(&source.name))
    }

    /// A source of objects has come to its end, with objects of these namespaces.
    pub fn objects(&mut self, source: &Source, namespaces: impl IntoIterator<Item = String>) {
        if let Some(watched) = self.of(source) {
            watched.any = true;
            watched.taken.namespaces.extend(namespaces);
        }
    }

    /// The same of one that would be run. Fails if its cluster is away, watched or not.
    pub async fn would(&mut self, source: &Source, reached: &mut Reached) -> Result<(), Failure> {
        let SourceKind::Resources(resources) = &source.kind else { return Ok(()) };
        reached.look(&*open(&resources.of).await?).await?;
        if let Some(watched) = self.of(source) {
            let choice = coverage::choice(&*watched.cluster, resources).await;
            watched.any = true;
            watched.would.push(choice);
        }
        Ok(())
    }

    /// A source of volumes has come to its end, with a row for each of these claims.
    pub fn volumes(&mut self, source: &Source, rows: &[Row]) {
        let claim = |row: &Row| {
            let (namespace, name) = row.source.strip_prefix("pvc/")?.split_once('/')?;
            Some((namespace.to_owned(), name.to_owned()))
        };
        if let Some(watched) = self.of(source) {
            watched.any = true;
            watched.taken.claims.extend(rows.iter().filter_map(claim));
        }
    }

    /// Rows for what no source has a row for: what is left out, and what is not covered.
    pub async fn end(self, context: &mut Context) -> Result<(Vec<Row>, Vec<LeftOut>), Failure> {
        let (mut rows, mut left_out) = (Vec::new(), Vec::new());
        // Of a cluster without any result its sources say enough.
        for watched in self.0.into_iter().filter(|watched| watched.any) {
            rows.extend(watched.end(&mut left_out, context).await?);
        }
        Ok((rows, left_out))
    }
}

impl Watched {
    async fn end(self, left_out: &mut Vec<LeftOut>, context: &mut Context) -> Result<Vec<Row>, Failure> {
        let Self { cluster, said, mut taken, would, .. } = self;
        let seen = match coverage::look(&*cluster).await {
            Ok(seen) => seen,
            Err(error) => {
                let what = format!("nobody knows whether all of {} is covered", escape(cluster.name().as_bytes()));
                let help =
                    "let the account list namespaces and persistentvolumeclaims (docs/cluster.md), and run again";
                let failure = Failure::because(Exit::Problems, what, error, help);
                return Ok(not_covered("all namespaces and claims".to_owned(), "cluster", failure, context));
            }
        };
        taken.namespaces.extend(seen.taken_by(&would));
        let (mut rows, mut missing) = (Vec::new(), Vec::<(String, String, Vec<String>)>::new());
        let mut of_all = BTreeMap::<(&'static str, String), Vec<String>>::new();
        for (what, fate) in coverage::judge(&seen, &said, &taken) {
            match fate {
                Fate::Taken => {}
                Fate::LeftOut { by, all: true } => of_all.entry((what.kind(), by)).or_default().push(what.name()),
                Fate::LeftOut { by, all: false } => {
                    rows.push(Row { left_out_by: Some(by), ..row(&what, Outcome::LeftOut) });
                }
                Fate::Not { why, mend } => {
                    let error = Failure::new(Exit::Problems, format!("{} is not covered: {why}", what.name()), &mend);
                    rows.push(Row { error: document(&error, context.talk.again()), ..row(&what, Outcome::NotCovered) });
                    let name = escape(what.name().as_bytes());
                    match missing.iter_mut().find(|(other, ..)| *other == why) {
                        Some((.., names)) => names.push(name),
                        None => missing.push((why, mend, vec![name])),
                    }
                }
            }
        }
        for ((kind, by), names) in of_all {
            let (of, number) = (if kind == "pvc" { "volume" } else { kind }, names.len() as u64);
            context.say(&format!("{} {} left out by {by}", count(number, of), was(number)))?;
            left_out.push(LeftOut { by, names });
        }
        for (why, mend, names) in missing {
            context.talk.warn(&format!("NOT COVERED: {}: {why}", names.join(", ")));
            context.talk.put(&format!("help: {mend}"));
        }
        Ok(rows)
    }
}

fn document(failure: &Failure, again: &Again) -> Option<ErrorDocument> {
    match failure {
        Failure::Told(told) => Some(ErrorDocument::of(told, again)),
        _ => None,
    }
}

fn row(what: &What, result: Outcome) -> Row {
    Row { kind: what.kind().into(), ..Row::bare(what.name(), result) }
}

fn not_covered(name: String, kind: &'static str, failure: Failure, context: &Context) -> Vec<Row> {
    let Failure::Told(told) = failure else { return Vec::new() };
    let Told { error, help, .. } = &*told;
    context.talk.error(&**error, help);
    let error = Some(ErrorDocument::of(&told, context.talk.again()));
    vec![Row { kind: kind.into(), error, ..Row::bare(name, Outcome::NotCovered) }]
}
