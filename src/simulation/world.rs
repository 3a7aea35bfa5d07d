//! A simulated store and the processes that use it. Every request takes its time, and may be lost, answered too late, carried out twice or long after it was
//! given up; lists may show the past; a process may stop for days between two requests, or for ever in the middle of one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::random::Random;
use crate::base::clock::{Clock, Time};
use crate::store::{Key, Listed, Put, Store, StoreError, Version};

/// When simulations begin.
const BEGINNING: Time = Time(1_700_000_000_000);
/// A request that is carried out after it was given up is carried out within this time (that of a signature of S3).
const LATE_MAX: Duration = Duration::from_mins(15);

/// One object, from when it was put until it was removed.
#[derive(Clone)]
struct Life {
    bytes: Bytes,
    from: Time,
    until: Option<Time>,
}

/// What a store holds and held.
#[derive(Clone, Default)]
pub struct Objects(BTreeMap<Key, Vec<Life>>);

impl Objects {
    fn get(&self, key: &Key) -> Option<&Life> {
        self.0.get(key)?.last().filter(|life| life.until.is_none())
    }

    fn put(&mut self, key: &Key, bytes: Bytes, now: Time) -> Option<Put> {
        if let Some(life) = self.get(key) {
            return (life.bytes == bytes).then_some(Put::AlreadyThere);
        }
        self.0.entry(key.clone()).or_default().push(Life { bytes, from: now, until: None });
        Some(Put::Created)
    }

    fn remove(&mut self, key: &Key, now: Time) {
        if let Some(life) = self.0.get_mut(key).and_then(|lives| lives.last_mut()) {
            life.until.get_or_insert(now);
        }
    }

    /// What was there at a time.
    fn list(&self, prefix: &str, at: Time) -> Vec<Listed> {
        let alive = |life: &&Life| life.from <= at && life.until.is_none_or(|until| at < until);
        let of = |(key, lives): (&Key, &Vec<Life>)| {
            let life = lives.iter().find(alive)?;
            Some(Listed { key: key.clone(), size: life.bytes.len() as u64, modified: life.from })
        };
        self.0.iter().filter(|(key, _)| key.as_str().starts_with(prefix)).filter_map(of).collect()
    }
}

/// One store, its clock, and what has happened.
pub struct World {
    name: &'static str,
    begun: Instant,
    objects: Mutex<Objects>,
    random: Arc<Mutex<Random>>,
    trace: Arc<Trace>,
}

/// What was asked, in order: two runs of one seed give the same.
pub struct Trace {
    print: bool,
    begun: Instant,
    hash: Mutex<blake3::Hasher>,
}

impl Trace {
    pub fn new(print: bool) -> Self {
        Self { print, begun: Instant::now(), hash: Mutex::default() }
    }

    pub fn tell(&self, who: &str, what: &str) {
        let at = self.begun.elapsed().as_millis();
        let mut line = format!("{:>5}.{:03} h  {who}: {what}\n", at / 3_600_000, at % 3_600_000 / 3600);
        // What age seals has random numbers of its own, and its name with it.
        if let Some(at) = line.find("access/").map(|at| at + 7)
            && line.get(at..at + 64).is_some_and(|name| !name.contains(' '))
        {
            line.replace_range(at..at + 64, "…");
        }
        if self.print {
            print!("{line}");
        }
        lock(&self.hash).update(line.as_bytes());
    }

    pub fn hash(&self) -> blake3::Hash {
        lock(&self.hash).finalize()
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(name: &'static str, objects: Objects, random: Arc<Mutex<Random>>, trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self { name, begun: trace.begun, objects: Mutex::new(objects), random, trace })
    }

    /// The true time, which is the store's.
    pub fn now(&self) -> Time {
        BEGINNING.after(self.begun.elapsed())
    }

    /// What it holds now, to begin another world with.
    pub fn objects(&self) -> Objects {
        lock(&self.objects).clone()
    }

    /// The names of what it holds.
    pub fn names(&self, prefix: &str) -> Vec<Key> {
        lock(&self.objects).list(prefix, self.now()).into_iter().map(|listed| listed.key).collect()
    }
}

/// What may happen to the requests of a process; rates in a thousand.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Not carried out, and an error.
    pub refused: u64,
    /// Carried out, and an error.
    pub answer_lost: u64,
    /// An error, and carried out later all the same.
    pub late: u64,
    /// Carried out, and once more later.
    pub again: u64,
    /// The process stops for a while before it.
    pub pause: u64,
    /// … for up to so long.
    pub pause_max: Duration,
    /// An error, and half of the object lies there: what stores promise not to do, and broken ones do.
    pub torn: u64,
    /// A list shows the past.
    pub stale: u64,
    /// … of up to so long ago.
    pub stale_max: Duration,
    /// The process ends for ever with this request, whether or not it is carried out.
    pub crash_at: Option<u64>,
    /// The process's clock is wrong by so many milliseconds.
    pub skew: i64,
    /// Nothing of this happens, and every request takes just so long.
    pub steady: Option<Duration>,
}

/// What a running process has of the world.
pub struct Process {
    pub name: String,
    world: Arc<World>,
    faults: Faults,
    life: Arc<Lifeline>,
}

/// Ends with the process.
#[derive(Default)]
pub struct Lifeline {
    requests: AtomicU64,
    dead: AtomicBool,
    died: Notify,
}

impl Lifeline {
    /// Returns when the process is dead.
    pub async fn ended(&self) {
        self.died.notified().await;
    }
}

/// A clock that is wrong by a fixed time.
pub struct SkewedClock {
    world: Arc<World>,
    skew: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Time {
        Time(self.world.now().0 + self.skew)
    }
}

/// A record of the chain, a mark or a key of which only half is there stops everybody until somebody gives it up by hand; the others heal.
fn may_tear(key: &str) -> bool {
    ["packs/", "sessions/", "index/", "checkpoints/"].iter().any(|prefix| key.starts_with(prefix))
}

/// What leaves half an object behind.
fn half_put(key: &Key, bytes: &Bytes) -> impl Fn(&World) + Send + use<> {
    let (key, half) = (key.clone(), bytes.slice(..bytes.len() / 2));
    move |world| {
        let now = world.now();
        lock(&world.objects).put(&key, half.clone(), now);
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Done,
    Refused,
    AnswerLost,
    Late(Duration),
    Again(Duration),
    Torn,
    Crash { carried_out: bool },
}

impl Process {
    /// One that nothing happens to, and whose requests take no time.
    pub fn calm(name: &str, world: &Arc<World>) -> Self {
        Self::new(name, world, Faults::default(), Arc::default())
    }

    pub fn new(name: &str, world: &Arc<World>, faults: Faults, life: Arc<Lifeline>) -> Self {
        Self { name: name.to_owned(), world: world.clone(), faults, life }
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SkewedClock { world: self.world.clone(), skew: self.faults.skew })
    }

    fn is_calm(&self) -> bool {
        self.faults.pause_max.is_zero()
    }

    /// Waits for as long as a request takes, and says what becomes of it.
    async fn begin(&self, what: &str, key: &str) -> Fate {
        if let Some(wait) = self.faults.steady {
            sleep(wait).await;
            self.world.trace.tell(&self.name, &format!("{what} {}:{key}", self.world.name));
            return Fate::Done;
        }
        if self.is_calm() {
            return Fate::Done;
        }
        if self.life.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let number = self.life.requests.fetch_add(1, Ordering::Relaxed);
        let (wait, fate) = {
            let mut random = lock(&self.world.random);
            let mut wait = Duration::from_millis(1 + random.below(200));
            if random.per_mille(self.faults.pause) {
                wait += random.up_to(self.faults.pause_max);
            }
            let Faults { refused, answer_lost, late, again, torn, .. } = self.faults;
            let later = random.up_to(LATE_MAX);
            let fate = match random.below(1000) {
                _ if self.faults.crash_at == Some(number) => Fate::Crash { carried_out: random.below(2) == 0 },
                n if n < refused => Fate::Refused,
                n if n < refused + answer_lost => Fate::AnswerLost,
                n if n < refused + answer_lost + late => Fate::Late(later),
                n if n < refused + answer_lost + late + again => Fate::Again(later),
                n if n < refused + answer_lost + late + again + torn && what == "put" && may_tear(key) => Fate::Torn,
                _ => Fate::Done,
            };
            (wait, fate)
        };
        sleep(wait).await;
        if self.life.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.world.trace.tell(&self.name, &format!("{what} {}:{key} {fate:?}", self.world.name));
        fate
    }

    fn failed<T>(&self, operation: &'static str, object: &str) -> Result<T, StoreError> {
        Err(StoreError::Failed {
            store: self.address(),
            operation,
            object: object.to_owned(),
            transient: true,
            source: "simulated".into(),
        })
    }

    /// Reads, or writes in a way that may be done again and later.
    async fn act<T: Send>(
        &self,
        operation: &'static str,
        object: &str,
        may_be_late: bool,
        act: impl Fn(&World) -> T + Clone + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        self.act_or_tear(operation, object, may_be_late, act, |_| ()).await
    }

    /// The same, and `half` is what is done when the write tears.
    async fn act_or_tear<T: Send>(
        &self,
        operation: &'static str,
        object: &str,
        may_be_late: bool,
        act: impl Fn(&World) -> T + Clone + Send + Sync + 'static,
        half: impl Fn(&World) + Send,
    ) -> Result<T, StoreError> {
        let later = |after: Duration| {
            let (world, act) = (self.world.clone(), act.clone());
            if may_be_late {
                tokio::spawn(async move {
                    sleep(after).await;
                    act(&world);
                });
            }
        };
        match self.begin(operation, object).await {
            Fate::Done => Ok(act(&self.world)),
            Fate::Refused => self.failed(operation, object),
            Fate::Torn => {
                half(&self.world);
                self.failed(operation, object)
            }
            Fate::AnswerLost => {
                act(&self.world);
                self.failed(operation, object)
            }
            Fate::Late(after) => {
                later(after);
                self.failed(operation, object)
            }
            Fate::Again(after) => {
                later(after);
                Ok(act(&self.world))
            }
            Fate::Crash { carried_out } => {
                if carried_out {
                    act(&self.world);
                }
                self.life.dead.store(true, Ordering::Relaxed);
                self.life.died.notify_one();
                std::future::pending().await
            }
        }
    }

    fn not_found(&self, key: &Key) -> StoreError {
        StoreError::NotFound { store: self.address(), key: key.clone() }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
impl Store for Process {
    fn address(&self) -> String {
        self.world.name.to_owned()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, _retain_until: Option<Time>) -> Result<Put, StoreError> {
        let (bytes, name) = (Bytes::copy_from_slice(&bytes), key.clone());
        let half = half_put(key, &bytes);
        let put = move |world: &World| {
            let now = world.now();
            lock(&world.objects).put(&name, bytes.clone(), now)
        };
        let conflict = || StoreError::Conflict { store: self.address(), key: key.clone() };
        self.act_or_tear("put", key.as_str(), true, put, half).await?.ok_or_else(conflict)
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, _retain_until: Option<Time>) -> Result<(), StoreError> {
        let (bytes, name) = (Bytes::copy_from_slice(&bytes), key.clone());
        let put = move |world: &World| {
            let (now, mut objects) = (world.now(), lock(&world.objects));
            objects.remove(&name, now);
            objects.put(&name, bytes.clone(), now);
        };
        self.act("over", key.as_str(), true, put).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let name = key.clone();
        let get = move |world: &World| lock(&world.objects).get(&name).map(|life| life.bytes.clone());
        self.act("get", key.as_str(), false, get).await?.ok_or_else(|| self.not_found(key))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let name = key.clone();
        let get = move |world: &World| lock(&world.objects).get(&name).map(|life| life.bytes.clone());
        let bytes = self.act("range", key.as_str(), false, get).await?.ok_or_else(|| self.not_found(key))?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(at(range.start)..at(range.end).max(at(range.start))))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let ago = {
            let mut random = lock(&self.world.random);
            let stale = !self.is_calm() && random.per_mille(self.faults.stale);
            if stale { random.up_to(self.faults.stale_max) } else { Duration::ZERO }
        };
        let prefix_owned = prefix.to_owned();
        let list = move |world: &World| lock(&world.objects).list(&prefix_owned, world.now().before(ago));
        self.act("list", prefix, false, list).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let name = key.clone();
        let stat = move |world: &World| {
            let objects = lock(&world.objects);
            let life = objects.get(&name)?;
            Some(Listed { key: name.clone(), size: life.bytes.len() as u64, modified: life.from })
        };
        self.act("stat", key.as_str(), false, stat).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let name = key.clone();
        let delete = move |world: &World| {
            let now = world.now();
            lock(&world.objects).remove(&name, now);
        };
        self.act("delete", key.as_str(), true, delete).await
    }

    async fn versions(&self, _prefix: &str) -> Result<Vec<Version>, StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: "list versions" })
    }

    async fn get_version(&self, _key: &Key, _version: &str) -> Result<Bytes, StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: "read a version" })
    }

    async fn retention(&self, _key: &Key) -> Result<Option<Time>, StoreError> {
        Ok(None)
    }

    async fn extend_retention(&self, _key: &Key, _until: Time) -> Result<(), StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: "lock objects" })
    }
}
