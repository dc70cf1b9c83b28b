//! Threads that do one thing at a time, each on its turn.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

pub struct Threads(Vec<(Sender<Job>, Receiver<()>)>);

impl Threads {
    pub fn start(count: usize) -> Self {
        let start = |_| {
            let (jobs, todo) = channel::<Job>();
            let (tell, done) = channel();
            thread::spawn(move || {
                for job in todo {
                    job();
                    let _ = tell.send(());
                }
            });
            (jobs, done)
        };
        Self((0..count).map(start).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Runs `work` on a thread, and returns when it has.
    pub fn run<R: Send + 'static>(
        &self,
        thread: usize,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        let (send, result) = channel();
        let (jobs, done) = &self.0[thread];
        let job = Box::new(move || drop(send.send(work())));
        jobs.send(job).expect("the thread lives");
        done.recv().expect("the work does not panic");
        result.recv().expect("the work has a result")
    }
}
