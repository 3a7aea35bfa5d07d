//! The person at the terminal who follows a run: is told what happens, and asked what only a person can say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::base::units;
use crate::cli::context::Context;
use crate::cli::progress::{self, Display};
use crate::cli::prompt;
use crate::cli::recover::show;
use crate::cli::runbook::prose;
use crate::format::entry::escape;
use crate::runbook::{Action, Runbook, Step};
use crate::runs::board::Board;
use crate::runs::drive::{Answer, Person};
use crate::runs::event::{Event, Question};
use crate::runs::machine::Machine;
use crate::runs::plan::RunPlan;

/// What ends the wait for what has to be typed.
const STOP: &str = "stop";

/// How the system calls who runs this.
pub(crate) fn account() -> String {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let uid = rustix::process::getuid().as_raw();
    named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME")).unwrap_or_else(|| format!("uid {uid}"))
}

/// See the module.
pub(crate) struct Following<'a> {
    runbook: &'a Runbook,
    plan: &'a RunPlan,
    context: &'a Context,
    yes: bool,
    confirmed: BTreeSet<&'a str>,
    /// Where the run is, and who shows that.
    machine: Machine<'a>,
    board: Arc<Board>,
    /// There while nobody is asked.
    display: Option<Display>,
}

impl<'a> Following<'a> {
    pub(crate) fn new(
        (runbook, plan): (&'a Runbook, &'a RunPlan),
        (yes, confirmed): (bool, &'a [String]),
        (machine, board): (Machine<'a>, Arc<Board>),
        context: &'a Context,
    ) -> Self {
        let confirmed = confirmed.iter().map(String::as_str).collect();
        board.stands(&machine);
        let display = Some(progress::show_steps(context, &board));
        Self { runbook, plan, context, yes, confirmed, machine, board, display }
    }

    /// Shows where the run is by now.
    fn moves(&mut self, event: &Event) {
        self.machine.apply(event);
        match event {
            Event::Begun { step } => self.board.begins(step, Instant::now()),
            Event::Done { step, .. } | Event::Failed { step, .. } | Event::CutOff { step } => self.board.ends(step),
            _ => {}
        }
        self.board.stands(&self.machine);
    }

    /// What was made for the run is taken away.
    pub(crate) fn clears(&self, what: String) {
        self.board.clears(what);
    }

    /// Takes the display away.
    pub(crate) fn finish(&mut self) {
        self.display = None;
    }

    fn put(&self, text: &str) {
        self.context.talk.put(&escape(text.as_bytes()));
    }

    /// The heading and the prose of a step: what a person is to do, or what is about to happen.
    fn explain(&self, step: &Step) {
        self.context.talk.put("");
        self.context.talk.put(&format!("## {}", escape(step.title.as_bytes())));
        for line in prose(self.runbook, &step.id) {
            self.context.talk.put(&line);
        }
    }

    async fn typed(step: &Step, question: Question, text: &str) -> Answer {
        let wanted = match (question, &step.action) {
            (Question::Manual, Action::Manual(confirm)) => confirm.clone(),
            (Question::GoOn, _) => "go on".to_owned(),
            _ => step.id.clone(),
        };
        loop {
            let asked = prompt::line(format!("{text}\ntype `{wanted}`, or `{STOP}` to stop here: "));
            match asked.await {
                None => return Answer::Nobody,
                Some(said) if said == wanted => return Answer::Yes(said),
                Some(said) if said.eq_ignore_ascii_case(STOP) => return Answer::No(said),
                Some(_) => {}
            }
        }
    }
}

#[async_trait(?Send)]
impl Person for Following<'_> {
    async fn ask(&mut self, step: &Step, question: Question) -> Answer {
        // It was said once, of what was known then: it answers one question.
        if self.confirmed.remove(step.id.as_str()) {
            return Answer::Yes(format!("--confirm {}", step.id));
        }
        if self.yes && question == Question::Destructive {
            return Answer::Yes("--yes".to_owned());
        }
        self.display = None;
        let text = match question {
            Question::Manual => {
                self.explain(step);
                "\nWhen this is done".to_owned()
            }
            Question::Destructive => {
                self.explain(step);
                self.put("");
                self.put(&show::line_of(self.runbook, self.plan, &step.id).0);
                if let Some(chosen) = self.plan.chosen.get(&step.id) {
                    self.put(&format!("from snapshot {} of {}, {}", chosen.snapshot, chosen.source, chosen.started));
                }
                self.plan.cluster.iter().for_each(|cluster| self.put(&format!("in {}", cluster.place())));
                "This step replaces or removes what is there. To carry it out".to_owned()
            }
            Question::Doubtful => {
                for doubt in self.plan.doubts.get(&step.id).into_iter().flatten() {
                    self.put(doubt);
                }
                format!(
                    "\nWhat step {} brings back is perhaps not all that was there. To take it all the same",
                    step.id
                )
            }
            Question::Again => {
                format!(
                    "\nWhether step {} came to its end in an earlier try is not known; a program of it may still run. To carry it out again",
                    step.id
                )
            }
            Question::GoOn => format!("\nStep {} has failed. To go on with the others", step.id),
        };
        let answer = Self::typed(step, question, &text).await;
        self.display = Some(progress::show_steps(self.context, &self.board));
        answer
    }

    fn told(&mut self, event: &Event) {
        // Before it is not under way any more.
        let seen = match event {
            Event::CutOff { step } => self.board.of(step).seen(),
            _ => None,
        };
        self.moves(event);
        match event {
            Event::Begun { step } => {
                let title = self.runbook.title_of(step);
                self.put(&format!("[{step}] begins: {title}"));
            }
            // Several are under way: whose it is has to be said.
            Event::Acted { step, said } => {
                for line in said {
                    self.put(&format!("[{step}] {line}"));
                }
            }
            Event::Done { step, said, took } => {
                self.put(&format!("[{step}] done in {}", units::span_ms(*took)));
                for line in said {
                    self.put(&format!("    {line}"));
                }
            }
            Event::Failed { step, why, help, took, .. } => {
                self.put(&format!("[{step}] FAILED after {}: {why}", units::span_ms(*took)));
                if !help.is_empty() {
                    self.put(&format!("    {help}"));
                }
            }
            Event::LettingGo { step } => self.put(&format!("[{step}] lets go what it holds")),
            Event::LetGo { step, said, is_well } => {
                let word = if *is_well { "lets go" } else { "could NOT let go" };
                self.put(&format!("[{step}] {word}: {}", said.join("; ")));
            }
            Event::CutOff { step } => {
                let seen = seen.map(|seen| format!("; seen last: {}", seen.what)).unwrap_or_default();
                self.put(&format!("[{step}] stopped before its end{seen}"));
            }
            Event::Skipped { step } => self.put(&format!("[{step}] left out, as asked")),
            Event::Prepared { said } => {
                for line in said {
                    self.put(line);
                }
            }
            Event::Refused { why, help } => {
                self.put(&format!("NOTHING WAS BEGUN: {why}"));
                self.put(&format!("    {help}"));
            }
            Event::Cleared { said, left, .. } => {
                for line in said {
                    self.put(line);
                }
                for line in left {
                    self.put(&format!("LEFT BEHIND: {line}"));
                }
            }
            Event::TakenUp { .. }
            | Event::Opened { .. }
            | Event::Checked { .. }
            | Event::Asked { .. }
            | Event::Agreed { .. }
            | Event::Declined { .. }
            | Event::Paused { .. }
            | Event::Ended { .. } => {}
        }
    }

    fn name(&self) -> String {
        account()
    }
}
