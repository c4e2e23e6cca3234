//! Lets doctors on several devices check kernels at once, while whoever times a kernel has the machine to itself.

use std::sync::{Condvar, Mutex, MutexGuard};

/// Counts who works. A doctor works from the beginning of a check to its end, except where it steps aside.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Doctors that may have work on a device.
    working: usize,
    /// Doctors that time a kernel or wait to do so.
    timing: usize,
    /// Whether one of them does so now.
    timed: bool,
}

impl Gate {
    fn wait(&self, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.changed.wait_while(state, |state| !until(state)).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.wait(|_| true));
        self.changed.notify_all();
    }

    /// Begins to work, when nobody times.
    pub(super) fn enter(&self) -> Working<'_> {
        self.wait(|state| state.timing == 0).working += 1;
        Working(self)
    }
}

/// A doctor's right to use its device.
pub(super) struct Working<'a>(&'a Gate);

impl Working<'_> {
    /// Steps aside while somebody times; the caller has nothing in flight on its device.
    pub(super) fn step_aside(&self) {
        if self.0.wait(|_| true).timing > 0 {
            self.0.change(|state| state.working -= 1);
            self.0.wait(|state| state.timing == 0).working += 1;
        }
    }

    /// Waits until everybody else has stepped aside, and keeps them there until the result is dropped.
    pub(super) fn alone(&self) -> Alone<'_> {
        self.0.change(|state| {
            state.working -= 1;
            state.timing += 1;
        });
        self.0.wait(|state| state.working == 0 && !state.timed).timed = true;
        Alone(self.0)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.working -= 1);
    }
}

/// The right to have the machine alone.
pub(super) struct Alone<'a>(&'a Gate);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.timed = false;
            state.timing -= 1;
            state.working += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    /// Three threads check and time in turns: whoever times finds nobody else at work.
    #[test]
    fn whoever_times_is_alone() {
        let (gate, at_work, timed) = (Gate::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let working = gate.enter();
                    for turn in 0..200 {
                        at_work.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        working.step_aside();
                        if turn % 3 == 0 {
                            let alone = working.alone();
                            assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
                            thread::yield_now();
                            assert_eq!(at_work.fetch_sub(1, Ordering::SeqCst), 1);
                            timed.fetch_add(1, Ordering::SeqCst);
                            drop(alone);
                        }
                    }
                });
            }
        });
        assert_eq!(timed.into_inner(), 3 * 67);
    }
}
