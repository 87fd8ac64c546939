//! How commands reach workers: also from a worker's thread, when it answers one of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;

use crate::{Command, Reply, Shared};

/// The way to all workers.
#[derive(Clone)]
pub(super) struct Link {
    pub shared: Arc<Shared>,
    pub commands: Arc<[Sender<Command>]>,
}

impl Link {
    /// Sends a worker a command; false if there is no such worker, or it has ended.
    pub fn send(&self, worker: usize, command: Command) -> bool {
        let sent = self
            .commands
            .get(worker)
            .is_some_and(|commands| commands.send(command).is_ok());
        self.shared.wake(worker);
        sent
    }

    /// Sends all workers a command; answers when the last of them has.
    pub fn ask_all(&self, done: Reply<()>, command: impl Fn(Reply<()>) -> Command) {
        let all: Vec<usize> = (0..self.commands.len()).collect();
        self.ask(&all, done, command);
    }

    /// Likewise, some workers.
    pub fn ask(&self, workers: &[usize], done: Reply<()>, command: impl Fn(Reply<()>) -> Command) {
        self.gather(workers, Reply::to(|_: Vec<()>| done.send(())), command);
    }

    /// Likewise, with all that they answered.
    pub fn gather<T: Send + 'static>(
        &self,
        workers: &[usize],
        done: Reply<Vec<T>>,
        command: impl Fn(Reply<T>) -> Command,
    ) {
        if workers.is_empty() {
            return done.send(Vec::new());
        }
        let left = Arc::new(AtomicUsize::new(workers.len()));
        let state = Arc::new(Mutex::new((Some(done), Vec::new())));
        for &worker in workers {
            let (left, state) = (left.clone(), state.clone());
            let reply = Reply::to(move |answer| {
                let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
                lock().1.push(answer);
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let (done, answers) = {
                        let mut state = lock();
                        (state.0.take(), std::mem::take(&mut state.1))
                    };
                    if let Some(done) = done {
                        done.send(answers);
                    }
                }
            });
            self.send(worker, command(reply));
        }
    }
}
