//! Calls that wait. A thread sleeps on a condition variable while another one moves the clock, and what it waits for is
//! done for it, at the moment it becomes possible, by whoever moves the clock: so nothing depends on how soon the
//! sleeper runs again. A thread that nobody else would wake moves the clock itself.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use stack::poll::{Errno, Told};

use crate::host::World;

/// What a call that waited returns.
#[derive(Debug)]
pub enum Answer {
    /// Nothing but that it is done.
    Done,
    /// A number of bytes or descriptors, or a descriptor.
    Count(usize),
    /// Bytes, how many there would have been, and who sent them.
    Bytes(Vec<u8>, usize, Option<Vec<u8>>),
    /// A connection's number, and its peer as C has it.
    Accepted(i32, Vec<u8>),
    /// What a set of descriptors tells.
    Told(Vec<Told>),
    /// What each of a list of descriptors is ready for.
    Ready(Vec<u32>),
}

/// How often a call is tried once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Try {
    /// It may say that it would wait.
    Once,
    /// Its time is over: it must answer.
    Last,
}

/// What a call does each time it is tried; `Again` and `InProgress` mean that it would wait.
pub type Attempt = Box<dyn FnMut(&mut World, Try) -> Result<Answer, Errno>>;

struct Waiter {
    attempt: Attempt,
    deadline: Option<u64>,
    answer: Option<Result<Answer, Errno>>,
    answered_at: u64,
}

/// The calls that wait.
#[derive(Default)]
pub struct Waiters {
    waiting: BTreeMap<u64, Waiter>,
    next: u64,
    /// An answer was found since this was last asked.
    news: bool,
}

impl Waiters {
    /// When the first of them has waited long enough.
    pub fn next_deadline(&self) -> Option<u64> {
        let open = self.waiting.values().filter(|waiter| waiter.answer.is_none());
        open.filter_map(|waiter| waiter.deadline).min()
    }
}

fn would_wait(result: &Result<Answer, Errno>) -> bool {
    matches!(result, Err(Errno::Again | Errno::InProgress))
}

impl World {
    /// Try every waiting call once more. True if one was answered, for then there may be more to do.
    pub fn serve_waiters(&mut self) -> bool {
        let mut served = false;
        let now = self.now();
        let mut waiting = core::mem::take(&mut self.waiters.waiting);
        for waiter in waiting.values_mut().filter(|waiter| waiter.answer.is_none()) {
            let late = waiter.deadline.is_some_and(|deadline| deadline <= now);
            let result = (waiter.attempt)(self, if late { Try::Last } else { Try::Once });
            // What was tried may have done something, though not all.
            served |= self.lane.has_ops();
            if late || !would_wait(&result) {
                waiter.answer = Some(result);
                waiter.answered_at = now;
                self.waiters.news = true;
                served = true;
            }
        }
        self.waiters.waiting = waiting;
        served
    }
}

struct Inner {
    world: World,
    /// The thread that moves the clock.
    mover: i32,
    /// Calls of all threads.
    calls: u64,
    /// Threads that were woken and have not looked at the clock since, and when they were.
    woken: BTreeMap<i32, u64>,
    over: bool,
}

// SAFETY: what counts references without atomics (lane, run, clock, received frames, pipes) is reached through the world
// alone, and whoever has the world has all of it: attempts of waiting calls keep numbers and copies, never parts of it.
// So the counts are never changed by two threads at once. None of it uses thread-local state.
unsafe impl Send for Inner {}

/// A host that several threads call.
pub struct Host {
    inner: Mutex<Inner>,
    answered: Condvar,
}

/// How long a sleeper believes, in real time, that somebody else moves the clock although nobody calls.
const SILENCE: Duration = Duration::from_secs(3);

/// How far a call that nobody can end moves the clock by itself.
const ALONE_NS: u64 = 3_600_000_000_000;

/// The calling thread's part in a host.
pub struct Guard<'a> {
    host: &'a Host,
    inner: MutexGuard<'a, Inner>,
    thread: i32,
}

impl Host {
    /// A host that the calling thread moves.
    pub fn new(world: World, thread: i32) -> Host {
        let inner = Inner { world, mover: thread, calls: 0, woken: BTreeMap::new(), over: false };
        Host { inner: Mutex::new(inner), answered: Condvar::new() }
    }

    /// Enter with a call of a thread. A call that panicked before has left nothing half done that later ones would trip
    /// over: they fail by themselves.
    pub fn enter(&self, thread: i32) -> Guard<'_> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.calls += 1;
        Guard { host: self, inner, thread }
    }

    /// Wake all who wait, for the host goes.
    pub fn end(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.answered.notify_all();
    }
}

impl Guard<'_> {
    /// The host's parts.
    pub fn world(&mut self) -> &mut World {
        &mut self.inner.world
    }

    /// Do something with the host, and let happen what follows from it.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut World) -> R) -> R {
        let world = self.world();
        let result = work(world);
        world.settle();
        self.tell();
        result
    }

    /// Do something that moves the clock: the caller is who does so from here on.
    pub fn moving<R>(&mut self, work: impl FnOnce(&mut World) -> R) -> R {
        self.inner.mover = self.thread;
        self.with(work)
    }

    fn tell(&mut self) {
        if core::mem::take(&mut self.world().waiters.news) {
            self.host.answered.notify_all();
        }
    }

    /// The time. A thread that was woken sees first when it was.
    pub fn time(&mut self) -> u64 {
        let thread = self.thread;
        if let Some(at) = self.inner.woken.remove(&thread) {
            return at;
        }
        let now = self.world().look();
        self.tell();
        now
    }

    /// Do a call, and wait until it can be done, for so long at most; `None`: for ever.
    ///
    /// Errors: the call's, or that nothing can ever end it.
    pub fn wait(mut self, at_most: Option<Duration>, mut attempt: Attempt) -> Result<Answer, Errno> {
        let result = self.with(|world| attempt(world, Try::Once));
        if !would_wait(&result) {
            return result;
        }
        if at_most.is_some_and(|at_most| at_most.is_zero()) {
            return self.with(|world| attempt(world, Try::Last));
        }
        let nanoseconds = |at_most: Duration| u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        let now = self.world().now();
        let deadline = at_most.map(|at_most| now.saturating_add(nanoseconds(at_most)));
        let waiters = &mut self.world().waiters;
        let number = waiters.next;
        waiters.next += 1;
        waiters.waiting.insert(number, Waiter { attempt, deadline, answer: None, answered_at: 0 });
        let waiter = if self.inner.mover == self.thread {
            self.step_until(number);
            self.world().waiters.waiting.remove(&number)
        } else {
            self.sleep_until(number)
        };
        let Waiter { answer, .. } = waiter.ok_or(Errno::Interrupted)?;
        answer.unwrap_or(Err(Errno::Deadlock))
    }

    fn is_answered(&mut self, number: u64) -> bool {
        self.world().waiters.waiting.get(&number).is_none_or(|waiter| waiter.answer.is_some())
    }

    /// Move the clock until the call is answered, or it is clear that it never will be.
    fn step_until(&mut self, number: u64) {
        let limit = self.world().now().saturating_add(ALONE_NS);
        while !self.is_answered(number) && self.world().step(limit) {}
        self.tell();
    }

    /// Sleep until the call is answered.
    fn sleep_until(mut self, number: u64) -> Option<Waiter> {
        loop {
            let calls = self.inner.calls;
            let (inner, timeout) =
                self.host.answered.wait_timeout(self.inner, SILENCE).unwrap_or_else(PoisonError::into_inner);
            self.inner = inner;
            if !self.is_answered(number) && !self.inner.over {
                if timeout.timed_out() && self.inner.calls == calls {
                    // Nobody has called meanwhile: whoever moved the clock waits for this very call.
                    self.step_until(number);
                } else {
                    continue;
                }
            }
            let waiter = self.world().waiters.waiting.remove(&number);
            let thread = self.thread;
            if let Some(at) = waiter.as_ref().filter(|waiter| waiter.answer.is_some()) {
                self.inner.woken.insert(thread, at.answered_at);
            }
            return waiter;
        }
    }
}
