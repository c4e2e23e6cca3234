//! Lets doctors on several devices check kernels at the same time, and gives the one that times a kernel the machine to
//! itself.

use std::sync::{Condvar, Mutex, MutexGuard};

/// Counts the doctors at work. A doctor is at work from the beginning of a check to its end, except where it steps aside.
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

    /// Begins to work, once no doctor times a kernel.
    pub(super) fn enter(&self) -> Working<'_> {
        self.wait(|state| state.timing == 0).working += 1;
        Working(self)
    }

    /// Steps aside while another doctor times a kernel. The caller is at work, and has nothing in flight on its device.
    pub(super) fn step_aside(&self) {
        if self.wait(|_| true).timing > 0 {
            self.change(|state| state.working -= 1);
            self.wait(|state| state.timing == 0).working += 1;
        }
    }
}

/// A doctor's right to use its device.
pub(super) struct Working<'a>(&'a Gate);

impl Working<'_> {
    /// Waits until all other doctors have stepped aside, and holds them there until the result is dropped.
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

/// The right to have the machine to oneself.
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

    /// Three threads check and time in turn; the one that times finds no other at work.
    #[test]
    fn the_one_that_times_is_alone() {
        let (gate, at_work, timed) = (Gate::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let working = gate.enter();
                    for turn in 0..200 {
                        at_work.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        gate.step_aside();
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
