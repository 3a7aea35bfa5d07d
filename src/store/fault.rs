//! Fails the calls it is told to, by number, before or after they took effect; never at random.
//!
//! The tests worth most run one operation again and again, failing call 0, 1, 2 … until it succeeds, and look at what
//! each failure left behind. "After" is the lost answer: the store did it and the caller is told that it failed.

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::Time;
use crate::store::{Key, Listed, Operation, Put, Store, StoreError, Version};

/// Whether the store below still does what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It never hears of the call.
    Before,
    /// It does it, and the answer is lost.
    After,
}

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// `Failed`, transient: a retry wrapper above would try again.
    Transient,
    /// `Failed`, not transient.
    Permanent,
    /// Access denied, as when credentials expire in the middle.
    Denied,
    /// The bucket or the mount went away.
    Gone,
    /// No space left; for calls that name one object.
    Full,
}

/// One planned failure.
#[derive(Debug, Clone, Copy)]
struct Planned {
    /// Number of the first call it meets, counted from 0.
    first: u64,
    /// Whether every later call fails too.
    onwards: bool,
    when: When,
    failure: Failure,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    failed: u64,
    plan: Vec<Planned>,
}

/// The wrapper.
#[derive(Debug)]
pub struct Fault {
    inner: Arc<dyn Store>,
    /// Only calls of these methods are counted; empty for all.
    only: Vec<Operation>,
    state: Mutex<State>,
}

impl Fault {
    /// Wraps a store; fails nothing until told to.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::only(inner, &[])
    }

    /// The same, but counts and fails only calls of these methods.
    #[must_use]
    pub fn only(inner: Arc<dyn Store>, operations: &[Operation]) -> Self {
        Self { inner, only: operations.to_vec(), state: Mutex::default() }
    }

    /// Fails call number `call` (from 0, since the wrapper was made).
    pub fn fail(&self, call: u64, when: When, failure: Failure) {
        self.lock(|state| state.plan.push(Planned { first: call, onwards: false, when, failure }));
    }

    /// Fails call number `call` and every later one: the store dies there.
    pub fn fail_from(&self, call: u64, when: When, failure: Failure) {
        self.lock(|state| state.plan.push(Planned { first: call, onwards: true, when, failure }));
    }

    /// Calls counted so far.
    pub fn calls(&self) -> u64 {
        self.lock(|state| state.calls)
    }

    /// Calls failed so far.
    pub fn failed(&self) -> u64 {
        self.lock(|state| state.failed)
    }

    fn lock<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next(&self, operation: Operation) -> Option<(u64, When, Failure)> {
        if !self.only.is_empty() && !self.only.contains(&operation) {
            return None;
        }
        self.lock(|state| {
            let call = state.calls;
            state.calls += 1;
            let met = |p: &&Planned| p.first == call || (p.onwards && p.first < call);
            let planned = state.plan.iter().find(met).copied()?;
            state.failed += 1;
            Some((call, planned.when, planned.failure))
        })
    }

    fn error(&self, operation: Operation, object: &str, call: u64, failure: Failure) -> StoreError {
        let (store, object) = (self.address(), object.to_owned());
        let source = format!("planned failure of call {call}").into();
        match failure {
            Failure::Denied => StoreError::Denied { store, operation: operation.verb(), object, source },
            Failure::Gone => StoreError::Gone { store, source },
            Failure::Full if let Ok(key) = Key::new(object.as_str()) => StoreError::Full { store, key, source },
            Failure::Transient | Failure::Permanent | Failure::Full => StoreError::Failed {
                store,
                operation: operation.verb(),
                object,
                transient: failure == Failure::Transient,
                source,
            },
        }
    }

    async fn run<T: Send>(
        &self,
        operation: Operation,
        object: &str,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.next(operation) {
            None => act.await,
            Some((call, When::Before, failure)) => Err(self.error(operation, object, call, failure)),
            Some((call, When::After, failure)) => {
                // A call that fails by itself keeps its own error.
                act.await?;
                Err(self.error(operation, object, call, failure))
            }
        }
    }
}

#[async_trait]
impl Store for Fault {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.run(Operation::PutNew, key.as_str(), self.inner.put_new(key, bytes, retain_until)).await
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.run(Operation::PutOver, key.as_str(), self.inner.put_over(key, bytes, retain_until)).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.run(Operation::Get, key.as_str(), self.inner.get(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Operation::GetRange, key.as_str(), self.inner.get_range(key, range)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.run(Operation::List, prefix, self.inner.list(prefix)).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.run(Operation::Stat, key.as_str(), self.inner.stat(key)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run(Operation::Delete, key.as_str(), self.inner.delete(key)).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        self.run(Operation::Versions, prefix, self.inner.versions(prefix)).await
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        self.run(Operation::GetVersion, key.as_str(), self.inner.get_version(key, version)).await
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.run(Operation::Retention, key.as_str(), self.inner.retention(key)).await
    }

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.run(Operation::ExtendRetention, key.as_str(), self.inner.extend_retention(key, until)).await
    }
}
