//! What waits for the workers: bounded, shared, and closed at the end.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// A bounded queue. Whoever brings more than it holds waits.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    waiting_max: usize,
    /// There is something, or there will be nothing any more.
    filled: Condvar,
    /// There is room.
    emptied: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

impl<T> Queue<T> {
    /// A queue in which so many may wait.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), is_closed: false }),
            waiting_max,
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing can be half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one at the end. Waits while there is no room.
    pub(super) fn push(&self, item: T) {
        let is_full = |state: &mut State<T>| state.waiting.len() >= self.waiting_max;
        let state = self.emptied.wait_while(self.state(), is_full);
        state.unwrap_or_else(PoisonError::into_inner).waiting.push_back(item);
        self.filled.notify_one();
    }

    /// Takes the first, and as many of those behind it as `goes_with` says, in turn. Waits while
    /// there is none. `None`: the queue is closed and empty.
    ///
    /// Nobody waits for more to come: where little is to be done it is done at once, and where much
    /// waits it goes together.
    pub(super) fn take(&self, mut goes_with: impl FnMut(&[T], &T) -> bool) -> Option<Vec<T>> {
        let is_idle = |state: &mut State<T>| state.waiting.is_empty() && !state.is_closed;
        let state = self.filled.wait_while(self.state(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let mut taken = vec![state.waiting.pop_front()?];
        while state.waiting.front().is_some_and(|next| goes_with(&taken, next)) {
            taken.extend(state.waiting.pop_front());
        }
        drop(state);
        self.emptied.notify_all();
        Some(taken)
    }

    /// Lets those who take have what is left, and then nothing.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.filled.notify_all();
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    #[test]
    fn what_goes_together_is_taken_together() {
        let queue = Queue::new(8);
        (1..=6).for_each(|n| queue.push(n));
        let up_to_six = |taken: &[u32], next: &u32| taken.iter().sum::<u32>() + next <= 6;
        assert_eq!(queue.take(up_to_six), Some(vec![1, 2, 3]));
        assert_eq!(queue.take(up_to_six), Some(vec![4]));
        queue.close();
        assert_eq!(queue.take(|_, _| true), Some(vec![5, 6]));
        assert_eq!(queue.take(|_, _| true), None);
    }

    #[test]
    fn whoever_brings_too_much_waits() {
        let queue = Queue::new(2);
        let (said, heard) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..100 {
                    queue.push(n);
                    said.send(()).unwrap();
                }
                queue.close();
            });
            // As many as may wait are there; no more come before some are taken.
            (0..2).for_each(|_| heard.recv().unwrap());
            let mut found = Vec::new();
            while let Some(taken) = queue.take(|_, _| false) {
                assert!(queue.len() <= 2);
                found.extend(taken);
            }
            assert!(found.into_iter().eq(0..100));
        });
    }
}
