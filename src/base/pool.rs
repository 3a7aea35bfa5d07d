//! Things that cost more to make than to keep, such as large buffers: a fresh one of 12 MiB costs 3000 page faults, and one in each of many threads
//! stays with the allocator of each.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps what was given back.
#[derive(Debug)]
pub struct Pool<T> {
    free: Mutex<Vec<T>>,
    keep: usize,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub struct Pooled<T: Default> {
    value: T,
    home: Arc<Pool<T>>,
}

impl<T: Default> Pool<T> {
    /// An empty one that keeps at most `keep`; what comes back beyond that is dropped.
    #[must_use]
    pub fn new(keep: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(Vec::new()), keep })
    }

    /// One that was given back, as it was left; or a fresh one.
    pub fn take(self: &Arc<Self>) -> Pooled<T> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Pooled { value: free.unwrap_or_default(), home: self.clone() }
    }
}

impl Pool<Vec<u8>> {
    /// A buffer of no bytes and at least this capacity.
    pub fn buffer(self: &Arc<Self>, capacity: usize) -> Pooled<Vec<u8>> {
        let mut buffer = self.take();
        buffer.clear();
        buffer.reserve_exact(capacity);
        buffer
    }
}

impl<T: Default> Deref for Pooled<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl AsRef<[u8]> for Pooled<Vec<u8>> {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

impl<T: Default> Drop for Pooled<T> {
    fn drop(&mut self) {
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.home.keep {
            free.push(std::mem::take(&mut self.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_lent_again_and_no_more_than_the_limit_is_kept() {
        let pool = Pool::new(1);
        let (mut first, second) = (pool.buffer(1000), pool.buffer(10));
        first.extend_from_slice(b"left over");
        let place = first.as_ptr();
        drop(first);
        drop(second);
        let again = pool.buffer(500);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(pool.free.lock().expect("no panic").len(), 0);
    }
}
