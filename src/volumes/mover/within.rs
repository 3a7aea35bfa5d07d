//! A mover from within: it waits for its task, says how far it is, and ends itself when nobody has asked for it for too long. The backup or restore itself is the
//! same as anywhere.
//!
//! It keeps nothing and knows nothing but what came through its standard input. What it says is in its log, which outlives every connection.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::crypto::content::HandedKey;
use crate::volumes::protocol::{Decoder, Job, KEY_MESSAGES_MAX, Keys, Message, RestoreJob, VerifyJob};
use crate::volumes::said::{self, Line, Said};

/// How often it says how far it is; whoever listens takes a minute without a word for a broken connection.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Broken messages that are answered; after that many it is not its orchestrator that speaks.
const REJECTED_MAX: u32 = 16;

/// Numbers what is said and writes it, a line at a time.
pub struct Voice {
    run: String,
    out: Mutex<(u64, Box<dyn Write + Send>)>,
}

impl Voice {
    /// For a run, to its log.
    #[must_use]
    pub fn new(run: impl Into<String>, out: Box<dyn Write + Send>) -> Self {
        Self { run: run.into(), out: Mutex::new((0, out)) }
    }

    /// Says something. A log that takes no more is nobody's loss: what was stored is stored.
    pub fn say(&self, said: Said) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line { run: self.run.clone(), n: out.0, said };
        out.0 += 1;
        let _ = writeln!(out.1, "{}", line.text()).and_then(|()| out.1.flush());
    }

    /// Says how far it is until this is dropped.
    #[must_use]
    pub fn tell_progress(self: &Arc<Self>, progress: Arc<Progress>, ears: Arc<Ears>) -> Telling {
        let voice = self.clone();
        Telling(tokio::spawn(async move {
            loop {
                tokio::time::sleep(SAY_EVERY).await;
                let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                voice.say(Said::Progress(said::Progress {
                    phase: progress.phase().name.to_owned(),
                    files: load(&progress.files_done),
                    bytes: load(&progress.bytes_done),
                    stored: load(&progress.bytes_stored),
                    heard: ears.heard.load(Ordering::Relaxed),
                }));
            }
        }))
    }
}

/// Ends the telling.
pub struct Telling(tokio::task::JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a mover is to do.
pub enum Wanted {
    /// Back its volume up.
    Backup(Box<Job>),
    /// Fill it, with these keys.
    Restore(Box<RestoreJob>, Vec<HandedKey>),
    /// Look at what is in it, with these keys.
    Verify(Box<VerifyJob>, Vec<HandedKey>),
}

/// A job that keys go with.
enum WithKeys {
    Restore(Box<RestoreJob>),
    Verify(Box<VerifyJob>),
}

impl WithKeys {
    fn run(&self) -> &str {
        match self {
            Self::Restore(job) => &job.run,
            Self::Verify(job) => &job.run,
        }
    }

    const fn salt(&self) -> [u8; 16] {
        match self {
            Self::Restore(job) => job.salt,
            Self::Verify(job) => job.salt,
        }
    }

    fn parts(&self) -> u32 {
        match self {
            Self::Restore(job) => job.parts,
            Self::Verify(job) => job.parts(),
        }
    }

    fn receipt(&self) -> String {
        match self {
            Self::Restore(job) => job.receipt(),
            Self::Verify(job) => job.receipt(),
        }
    }

    fn with(self, keys: Vec<HandedKey>) -> Wanted {
        match self {
            Self::Restore(job) => Wanted::Restore(job, keys),
            Self::Verify(job) => Wanted::Verify(job, keys),
        }
    }
}

/// A job that is not known whole yet. What it may hold is bounded by [`KEY_MESSAGES_MAX`].
struct Gathered {
    job: WithKeys,
    parts: BTreeMap<u32, Vec<HandedKey>>,
}

impl Gathered {
    fn add(&mut self, part: Keys) {
        if part.salt == self.job.salt() && part.number < self.job.parts() {
            self.parts.entry(part.number).or_insert(part.keys);
        }
    }

    fn is_whole(&self) -> bool {
        self.parts.len() == self.job.parts() as usize
    }
}

/// Gives the task as soon as it is whole, and says so.
fn begin(
    gathered: &mut Option<Gathered>,
    task: &mut Option<oneshot::Sender<Wanted>>,
    receipt: &mut Option<String>,
    voice: &Voice,
) {
    if let Some(Gathered { job, parts }) = gathered.take_if(|gathered| gathered.is_whole())
        && let Some(task) = task.take()
    {
        let of_job = job.receipt();
        voice.say(Said::Accepted { receipt: of_job.clone() });
        *receipt = Some(of_job);
        let _ = task.send(job.with(parts.into_values().flatten().collect()));
    }
}

/// A job of which keys may follow came, perhaps again.
fn with_keys(
    new: WithKeys,
    gathered: &mut Option<Gathered>,
    task: &mut Option<oneshot::Sender<Wanted>>,
    receipt: &mut Option<String>,
    voice: &Voice,
) {
    if task.is_none() {
        // It has begun: whoever sends it again lost the receipt.
        if receipt.as_ref() == Some(&new.receipt()) {
            voice.say(Said::Accepted { receipt: new.receipt() });
        }
    } else if gathered.is_none() {
        *gathered = Some(Gathered { job: new, parts: BTreeMap::new() });
    }
    begin(gathered, task, receipt, voice);
}

/// What a mover hears.
pub struct Ears {
    /// Heartbeats.
    heard: AtomicU64,
    last: Mutex<Instant>,
    silent: AtomicBool,
    /// It has said that all is read: before that nobody can have seen whether it held still until then.
    has_read: AtomicBool,
    /// Somebody has said so.
    commit: watch::Sender<bool>,
}

impl Default for Ears {
    fn default() -> Self {
        Self {
            heard: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            silent: AtomicBool::new(false),
            has_read: AtomicBool::new(false),
            commit: watch::Sender::new(false),
        }
    }
}

impl Ears {
    /// Whether it was given up because nobody spoke.
    #[must_use]
    pub fn were_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    /// Says that all was read, and waits until somebody says that it held still until then; false if nobody does in time.
    pub async fn may_commit(&self, voice: &Voice, limit: Duration) -> bool {
        let mut commit = self.commit.subscribe();
        self.has_read.store(true, Ordering::SeqCst);
        voice.say(Said::Read);
        tokio::time::timeout(limit, commit.wait_for(|said| *said)).await.is_ok_and(|said| said.is_ok())
    }

    fn heard_something(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Takes what comes: gives the first task of this run, counts heartbeats, answers to both. Returns when nothing can come any more.
    pub async fn listen(
        self: Arc<Self>,
        run: String,
        mut input: mpsc::Receiver<Zeroizing<Vec<u8>>>,
        voice: Arc<Voice>,
        task: oneshot::Sender<Wanted>,
    ) {
        let mut decoder = Decoder::new(run.clone());
        let (mut task, mut receipt, mut rejected) = (Some(task), None, 0);
        let mut gathered = None::<Gathered>;
        while let Some(bytes) = input.recv().await {
            for message in decoder.push(&bytes) {
                let mut taken = |new: WithKeys| {
                    if new.run() == run && new.parts() as usize <= KEY_MESSAGES_MAX {
                        self.heard_something();
                        with_keys(new, &mut gathered, &mut task, &mut receipt, &voice);
                    }
                };
                match message {
                    Ok(Message::Heartbeat) => {
                        self.heard.fetch_add(1, Ordering::Relaxed);
                        self.heard_something();
                    }
                    Ok(Message::Commit) if self.has_read.load(Ordering::SeqCst) => {
                        self.heard_something();
                        self.commit.send_replace(true);
                    }
                    Ok(Message::Job(new)) if new.run == run => {
                        self.heard_something();
                        let of_new = new.receipt();
                        // The same one again: its receipt got lost. Another one is nobody's who is known here.
                        if receipt.get_or_insert_with(|| of_new.clone()) == &of_new {
                            voice.say(Said::Accepted { receipt: of_new });
                        }
                        if let Some(task) = task.take() {
                            let _ = task.send(Wanted::Backup(new));
                        }
                    }
                    Ok(Message::Restore(new)) => taken(WithKeys::Restore(new)),
                    Ok(Message::Verify(new)) => taken(WithKeys::Verify(new)),
                    Ok(Message::Keys(part)) => {
                        self.heard_something();
                        if let Some(gathered) = &mut gathered {
                            gathered.add(part);
                        }
                        begin(&mut gathered, &mut task, &mut receipt, &voice);
                    }
                    Ok(Message::Job(_) | Message::Commit) => {}
                    Err(error) => {
                        rejected += 1;
                        if task.is_some() && rejected <= REJECTED_MAX {
                            voice.say(Said::Rejected { why: error.to_string() });
                        }
                    }
                }
            }
        }
    }

    /// Cancels when nothing was heard for so long.
    pub async fn watch(self: Arc<Self>, silence: Duration, cancel: Arc<Cancel>) {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= silence {
                self.silent.store(true, Ordering::SeqCst);
                cancel.cancel();
                return;
            }
            tokio::time::sleep_until(last + silence).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::protocol::{self, SecretText};

    const RUN: &str = "0123456789abcdef";

    #[derive(Clone, Default)]
    struct Said2(Arc<Mutex<Vec<u8>>>);

    impl Write for Said2 {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn job(salt: u8, run: &str) -> Zeroizing<Vec<u8>> {
        let job = Job {
            salt: [salt; 16],
            run: run.to_owned(),
            address: "/x".into(),
            credentials: Vec::new(),
            writer_key: SecretText::new("hunter2".to_owned()),
            source: format!("pvc/a/{salt}"),
            host: "h".into(),
            tags: BTreeMap::new(),
            exclude: Vec::new(),
            reread: false,
            limit_upload: None,
            limit_download: None,
            still: false,
            held: false,
            dumped: None,
            apart: false,
            together: None,
            blocks: None,
        };
        protocol::job(RUN, &job).expect("short")
    }

    /// What it says to messages, by kind, and the source of the job that it takes.
    async fn answers(messages: Vec<Zeroizing<Vec<u8>>>) -> (Vec<Said>, Option<String>, u64) {
        let out = Said2::default();
        let (sender, input) = mpsc::channel(64);
        for message in messages {
            sender.send(message).await.expect("there is room");
        }
        drop(sender);
        let (give, taken) = oneshot::channel();
        let ears = Arc::new(Ears::default());
        ears.clone().listen(RUN.into(), input, Arc::new(Voice::new(RUN, Box::new(out.clone()))), give).await;
        let text = String::from_utf8(out.0.lock().expect("no panic").clone()).expect("text");
        assert!(!text.contains("hunter2"), "{text}");
        let lines: Vec<Line> = text.lines().map(|line| Line::parse(line, RUN).expect("a line")).collect();
        assert!(lines.iter().zip(0..).all(|(line, n)| line.n == n), "{text}");
        let heard = ears.heard.load(Ordering::Relaxed);
        let source = taken.await.ok().map(|wanted| match wanted {
            Wanted::Backup(job) => job.source.clone(),
            Wanted::Restore(job, keys) => format!("{} with {} keys", job.snapshot.short(), keys.len()),
            Wanted::Verify(job, keys) => format!("{:?} with {} keys", job.question, keys.len()),
        });
        (lines.into_iter().map(|line| line.said).collect(), source, heard)
    }

    #[tokio::test]
    async fn the_first_job_of_the_run_is_taken_and_answered_each_time_it_comes() {
        let broken = Zeroizing::new(b"nonsense".to_vec());
        let messages = vec![broken.clone(), job(1, RUN), job(1, RUN), job(2, RUN), protocol::heartbeat(RUN), broken];
        let (said, source, heard) = answers(messages).await;
        assert_eq!((source.as_deref(), heard), (Some("pvc/a/1"), 1));
        let [Said::Rejected { .. }, Said::Accepted { receipt: first }, Said::Accepted { receipt: again }] = &said[..]
        else {
            unreachable!("{said:?}")
        };
        assert_eq!(first, again);
        let (said, source, _) = answers(vec![job(1, "another"), protocol::heartbeat("another")]).await;
        assert!(source.is_none() && matches!(&said[..], [Said::Rejected { .. }]), "{said:?}");
    }

    fn restore_job(parts: u32) -> RestoreJob {
        RestoreJob {
            salt: [9; 16],
            run: RUN.to_owned(),
            address: "/x".into(),
            credentials: Vec::new(),
            writer_key: SecretText::new("hunter2".to_owned()),
            snapshot: crate::base::id::ObjectId::new([0xab; 32]),
            within: Vec::new(),
            parts,
            limit_download: None,
            in_place: false,
            fresh: false,
        }
    }

    fn keys(number: usize) -> Vec<HandedKey> {
        let repository = crate::base::id::RepositoryId::new([1; 16]);
        let (private, public) = crate::crypto::content::epoch_key_pair().expect("random");
        let key = || {
            let made = crate::crypto::content::ContentSealer::new(repository, 1, &public).expect("random");
            crate::crypto::content::ContentKey::unwrap(repository, 1, &private, &made.1).expect("its own").handed()
        };
        (0..number).map(|_| key()).collect()
    }

    fn restore(number: usize) -> (String, Vec<Zeroizing<Vec<u8>>>) {
        let task = protocol::Task::restore(RUN, restore_job(0), keys(number)).expect("few enough");
        (task.receipt.clone(), task.messages)
    }

    /// It begins when it has the job and every key, whatever comes twice or in pieces; never before.
    #[tokio::test]
    async fn a_restore_is_taken_when_all_of_its_keys_are_there() {
        let (receipt, messages) = restore(600);
        assert_eq!(messages.len(), 3, "a job and two messages of keys");
        let [job, first, second] = [0, 1, 2].map(|at: usize| messages[at].clone());
        let (said, source, _) = answers(vec![job.clone(), first.clone(), first.clone()]).await;
        assert_eq!((said, source), (Vec::new(), None), "one is missing");
        let sent = vec![first.clone(), job.clone(), second.clone(), second, job, first];
        let (said, source, _) = answers(sent).await;
        assert_eq!(source.as_deref(), Some("abababab with 600 keys"));
        assert_eq!(said, [Said::Accepted { receipt }], "once: the job did not come again after it had begun");
        let (receipt, messages) = restore(0);
        let sent = vec![messages[0].clone(), messages[0].clone()];
        let (said, source, _) = answers(sent).await;
        let accepted = Said::Accepted { receipt };
        assert_eq!((source.as_deref(), said), (Some("abababab with 0 keys"), vec![accepted.clone(), accepted]));
    }

    /// A check that is compared with a snapshot waits for its keys, one that is not for none; and what another sending brings is not taken for them.
    #[tokio::test]
    async fn a_check_is_taken_when_its_keys_are_there() {
        let check = |against: Option<u32>| VerifyJob {
            salt: [5; 16],
            run: RUN.to_owned(),
            question: protocol::Question::NoEmpty(1),
            retries: Some(0),
            deadline: None,
            every: 1,
            against: against.map(restore_job),
        };
        let (_, of_another) = restore(1);
        let task = protocol::Task::verify(RUN, check(Some(0)), keys(513)).expect("few enough");
        let [job, first, second] = [0, 1, 2].map(|at: usize| task.messages[at].clone());
        let (said, source, _) = answers(vec![job.clone(), first.clone(), of_another[1].clone()]).await;
        assert_eq!((said, source), (Vec::new(), None), "one is missing");
        let (said, source, _) = answers(vec![second, job, first]).await;
        assert_eq!((said, source), (Vec::new(), None), "keys before their job are nobody's, and are sent anew with it");
        let (said, source, _) = answers(task.messages.clone()).await;
        assert_eq!(source.as_deref(), Some("NoEmpty(1) with 513 keys"));
        assert_eq!(said, [Said::Accepted { receipt: task.receipt }]);
        let task = protocol::Task::verify(RUN, check(None), Vec::new()).expect("short");
        let (_, source, _) = answers(task.messages).await;
        assert_eq!(source.as_deref(), Some("NoEmpty(1) with 0 keys"));
    }

    #[test]
    fn more_keys_than_a_mover_takes_are_not_sent() {
        let (_, messages) = restore(513);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() < 64 << 10));
    }

    /// Only what is said after it has said that all was read counts, and only for so long.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_committed_before_somebody_says_so() {
        let limit = Duration::from_mins(10);
        let voice = Arc::new(Voice::new(RUN, Box::new(Said2::default())));
        let start = || {
            let ears = Arc::new(Ears::default());
            let (sender, input) = mpsc::channel(8);
            tokio::spawn(ears.clone().listen(RUN.into(), input, voice.clone(), oneshot::channel().0));
            (ears, sender)
        };
        let (ears, sender) = start();
        sender.send(protocol::commit(RUN)).await.expect("there is room");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = ears.may_commit(&voice, limit);
        let heartbeats = async {
            loop {
                sender.send(protocol::heartbeat(RUN)).await.expect("there is room");
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        };
        let committed = tokio::select! { committed = waiting => committed, () = heartbeats => false };
        assert!(!committed && ears.heard.load(Ordering::Relaxed) >= 29, "said too early, and not again");
        let (ears, sender) = start();
        let said = async {
            tokio::time::sleep(Duration::from_mins(1)).await;
            sender.send(protocol::commit("another")).await.expect("there is room");
            sender.send(protocol::commit(RUN)).await.expect("there is room");
        };
        let (committed, ()) = tokio::join!(ears.may_commit(&voice, limit), said);
        assert!(committed);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_a_heartbeat_does_not() {
        let (ears, cancel) = (Arc::new(Ears::default()), Arc::new(Cancel::default()));
        let watching = tokio::spawn(ears.clone().watch(Duration::from_mins(10), cancel.clone()));
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_mins(9)).await;
            ears.heard_something();
        }
        assert!(!cancel.is_cancelled());
        tokio::time::sleep(Duration::from_mins(11)).await;
        assert!(cancel.is_cancelled() && ears.were_silent());
        watching.await.expect("ended");
    }
}
