//! Keeps one warm child in reserve. All children start from one thread that lives as long as the
//! engine: the kernel ends a child with the *thread* that started it, and threads of a pool end
//! when they idle.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use ffrtmp_core::error::{Code, Error, Result};

use super::child::{Child, Recipe};

/// Whether a child waits in reserve for the next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserve {
    /// One does, from the first use on.
    Warm,
    /// Every task starts its own.
    None,
}

enum Order {
    /// Hand out a child.
    Take(SyncSender<Result<Child>>),
    /// Have a spare ready.
    Warm,
}

/// Where children come from.
#[derive(Debug)]
pub(super) struct Nursery(Mutex<mpsc::Sender<Order>>);

impl Nursery {
    /// Starts the thread; no child yet.
    pub(super) fn new(recipe: Recipe, reserve: Reserve) -> Self {
        let (orders, inbox) = channel();
        let started =
            thread::Builder::new().name("runner-nursery".into()).spawn(move || tend(&recipe, reserve, &inbox));
        if let Err(error) = started {
            // The inbox is gone with the closure, so that every `take` reports it.
            tracing::error!(%error, "cannot start the thread that starts runners");
        }
        Self(Mutex::new(orders))
    }

    /// A child that has not been used, the warm one if it lives.
    ///
    /// # Errors
    /// `engine_unavailable` if the program cannot be started.
    pub(super) fn take(&self) -> Result<Child> {
        let (reply, answer) = sync_channel(1);
        self.order(Order::Take(reply));
        answer.recv().map_err(|_| Error::new(Code::Internal, "the thread that starts runners has ended"))?
    }

    /// Has a spare started; returns at once.
    pub(super) fn warm(&self) {
        self.order(Order::Warm);
    }

    fn order(&self, order: Order) {
        // If the thread is gone, the reply channel inside the order tells.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(order);
    }
}

fn tend(recipe: &Recipe, reserve: Reserve, orders: &Receiver<Order>) {
    let mut spare: Option<Child> = None;
    while let Ok(order) = orders.recv() {
        if let Order::Take(reply) = order {
            let child = spare.take().filter(Child::is_alive).map_or_else(|| Child::start(recipe), Ok);
            // A caller that has gone away leaves the child to be killed by its drop.
            let _ = reply.send(child);
        }
        if reserve == Reserve::Warm && !spare.as_ref().is_some_and(Child::is_alive) {
            spare = Child::start(recipe).inspect_err(|error| tracing::warn!(%error, "no warm runner")).ok();
        }
    }
}
