//! What is said to a mover: its job, until it has a receipt for it, and that somebody still waits. A connection that is lost is made again; one that only seems
//! to be there is recognised by heartbeats that the mover, in its log, says it did not hear.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::start::Pod;
use super::{Crew, MoverError, expires};
use crate::cluster::streams::Input;
use crate::volumes::Prepared;
use crate::volumes::kinds::pods;
use crate::volumes::labels::EXPIRES;
use crate::volumes::pod::CONTAINER;
use crate::volumes::protocol::{self, Task};

/// The first wait before another attempt to attach; each is twice as long as the one before.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What the log says about what was said. Shared with whoever listens.
pub(super) struct Heard {
    state: Mutex<State>,
    /// Rings when the job was taken, or should be sent anew, or when there is something else to say.
    rings: Notify,
    /// Rings when the mover says that all was read.
    read: Notify,
    receipt: String,
}

struct State {
    accepted: bool,
    /// The job came in pieces that are none.
    rejected: bool,
    /// What was read becomes a snapshot.
    commit: bool,
    heartbeats: u64,
    /// When that number last grew.
    grown: Instant,
    /// When the last line came.
    line: Instant,
}

impl Heard {
    /// Of a mover that is told nothing.
    pub(super) fn of_nothing_said() -> Arc<Self> {
        let now = Instant::now();
        let state = State { accepted: true, rejected: false, commit: false, heartbeats: 0, grown: now, line: now };
        let (rings, read) = (Notify::new(), Notify::new());
        Arc::new(Self { state: Mutex::new(state), rings, read, receipt: String::new() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of the log came.
    pub(super) fn line(&self) {
        self.state().line = Instant::now();
    }

    /// For how long no line came.
    pub(super) fn quiet(&self) -> Duration {
        self.state().line.elapsed()
    }

    /// It has a job; whether it is ours.
    pub(super) fn accepted(&self, receipt: &str) -> bool {
        let ours = receipt == self.receipt;
        if ours {
            self.state().accepted = true;
            self.rings.notify_one();
        }
        ours
    }

    /// What came was no job.
    pub(super) fn rejected(&self) {
        self.state().rejected = true;
        self.rings.notify_one();
    }

    /// It says that all was read.
    pub(super) fn all_read(&self) {
        self.read.notify_one();
    }

    /// Returns when it says so; for one who waits.
    pub(super) async fn has_read(&self) {
        self.read.notified().await;
    }

    /// It is to be told that this becomes a snapshot.
    pub(super) fn commit(&self) {
        self.state().commit = true;
        self.rings.notify_one();
    }

    fn commits(&self) -> bool {
        self.state().commit
    }

    /// So many heartbeats arrived.
    pub(super) fn heartbeats(&self, number: u64) {
        let mut state = self.state();
        if number > state.heartbeats {
            state.heartbeats = number;
            state.grown = Instant::now();
        }
    }

    fn is_accepted(&self) -> bool {
        self.state().accepted
    }

    /// Whether the mover speaks and says that it hears nothing.
    fn is_deaf(&self, since: Instant, limit: Duration) -> bool {
        let state = self.state();
        state.line.elapsed() < limit && state.grown.max(since).elapsed() > limit
    }
}

/// See the module.
pub(super) struct Talk<'a> {
    crew: &'a Crew<'a>,
    pod: Pod<'a>,
    /// All that the task takes, in this order.
    task: &'a [Zeroizing<Vec<u8>>],
    heard: Arc<Heard>,
    /// What is read, if it was made for it.
    copy: Option<&'a Prepared>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(crew: &'a Crew<'a>, pod: Pod<'a>, task: &'a Task, copy: Option<&'a Prepared>) -> Self {
        let now = Instant::now();
        let state = State { accepted: false, rejected: false, commit: false, heartbeats: 0, grown: now, line: now };
        let heard = Heard {
            state: Mutex::new(state),
            rings: Notify::new(),
            read: Notify::new(),
            receipt: task.receipt.clone(),
        };
        Self { crew, pod, task: &task.messages, heard: Arc::new(heard), copy }
    }

    pub(super) fn heard(&self) -> Arc<Heard> {
        self.heard.clone()
    }

    /// Talks until it is dropped; returns only with what no other attempt would mend.
    pub(super) async fn run(&self) -> MoverError {
        let (mut wait, mut renewed) = (WAIT_FIRST, Instant::now());
        loop {
            // A name can change hands between this look and the next step, but not by chance. What it means that it is gone, whoever listens knows.
            if matches!(self.pod.look(self.crew.cluster).await, Ok(Some(_))) {
                match self.crew.streams.attach(self.pod.namespace, self.pod.name, CONTAINER).await {
                    Ok(mut input) => {
                        wait = WAIT_FIRST;
                        // Whatever ended it, another connection is the answer.
                        self.talk(&mut *input, &mut renewed).await;
                    }
                    Err(error) if error.is_denied() && !self.heard.is_accepted() => {
                        return MoverError::Unreachable(error);
                    }
                    // Not running any more, or the API server is away.
                    Err(_) => {}
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// By one connection, until it is broken or seems so.
    async fn talk(&self, input: &mut dyn Input, renewed: &mut Instant) {
        let (limits, begun) = (self.crew.limits, Instant::now());
        if !self.heard.is_accepted() {
            self.heard.state().rejected = false;
            for message in self.task {
                if send(input, message, limits.receipt).await.is_none() {
                    return;
                }
            }
            tokio::select! {
                () = self.heard.rings.notified() => {}
                () = input.closed() => {}
                () = sleep(limits.receipt) => {}
            }
            if !self.heard.is_accepted() {
                return;
            }
        }
        loop {
            if send(input, &protocol::heartbeat(self.pod.name), limits.heartbeat).await.is_none() {
                return;
            }
            // Again and again: what goes out may not arrive, and it is done when its log says so.
            if self.heard.commits() && send(input, &protocol::commit(self.pod.name), limits.heartbeat).await.is_none() {
                return;
            }
            tokio::select! {
                () = sleep(limits.heartbeat) => {}
                () = self.heard.rings.notified() => {}
                () = input.closed() => return,
            }
            if self.heard.is_deaf(begun, limits.heartbeat * 3) {
                return;
            }
            if renewed.elapsed() >= limits.renew {
                self.renew().await;
                *renewed = Instant::now();
            }
        }
    }

    /// Says that the pod, and what it reads, is not nobody's. If that fails, it is said again next time.
    async fn renew(&self) {
        if let Some(copy) = self.copy {
            let end = self.crew.clock.now().after(self.crew.limits.expiry);
            let _ = copy.renew(self.crew.cluster, end).await;
        }
        let expires = expires(self.crew.clock.now(), self.crew.limits.expiry);
        let patch = json!({"metadata": {"annotations": {EXPIRES: expires}}});
        let _ = self.crew.cluster.patch(&pods(), Some(self.pod.namespace), self.pod.name, &patch).await;
    }
}

/// `None` if it did not go out.
async fn send(input: &mut dyn Input, bytes: &[u8], limit: Duration) -> Option<()> {
    timeout(limit, input.send(bytes)).await.ok()?.ok()
}
