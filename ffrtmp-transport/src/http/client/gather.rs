//! Group commit on the wire: calls that are made while requests are under way go together in the
//! next one. A call that is alone goes at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffrtmp_core::{Code, Error, Result};
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Requests under way at once. A second one keeps the line busy while the first is answered; more
/// would only make them smaller.
const REQUESTS: usize = 2;
/// Calls in one request.
const MOST: usize = 500;

/// Carries many calls; its answers stand in their order.
type Carry<Q, A> = Box<dyn Fn(Vec<Q>) -> BoxFuture<'static, Vec<Result<A>>> + Send + Sync>;

/// Gathers calls of one kind. Clones gather together.
pub(super) struct Gather<Q, A>(Arc<Shared<Q, A>>);

struct Shared<Q, A> {
    carry: Carry<Q, A>,
    queue: Mutex<Queue<Q, A>>,
}

struct Queue<Q, A> {
    calls: VecDeque<(Q, oneshot::Sender<Result<A>>)>,
    carriers: usize,
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    pub(super) fn new(carry: impl Fn(Vec<Q>) -> BoxFuture<'static, Vec<Result<A>>> + Send + Sync + 'static) -> Self {
        let queue = Mutex::new(Queue { calls: VecDeque::new(), carriers: 0 });
        Self(Arc::new(Shared { carry: Box::new(carry), queue }))
    }

    /// Makes a call.
    ///
    /// # Cancel safety
    /// A call that is dropped before its request is sent is not made; one that is dropped later may
    /// have its effect. The requests themselves belong to a task of their own, which ends with the
    /// last call: nobody who leaves takes the calls of others along.
    pub(super) async fn call(&self, question: Q) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        if self.0.queue().join(question, reply) {
            tokio::spawn(Carrier { shared: Arc::clone(&self.0), counted: true }.work());
        }
        answer.await.unwrap_or_else(|_| Err(Error::new(Code::Network, "the request was given up")))
    }
}

impl<Q, A> Shared<Q, A> {
    fn queue(&self) -> MutexGuard<'_, Queue<Q, A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Queue<Q, A> {
    /// Whether the call needs a carrier of its own, which is counted then.
    fn join(&mut self, question: Q, reply: oneshot::Sender<Result<A>>) -> bool {
        self.calls.push_back((question, reply));
        let another = self.carriers < REQUESTS;
        self.carriers += usize::from(another);
        another
    }
}

/// Where the answers go, in the order of the questions.
type Replies<A> = Vec<oneshot::Sender<Result<A>>>;

/// Sends requests one after the other as long as calls wait.
struct Carrier<Q, A> {
    shared: Arc<Shared<Q, A>>,
    counted: bool,
}

impl<Q, A> Carrier<Q, A> {
    async fn work(mut self) {
        while let Some((questions, replies)) = self.next() {
            let answers = (self.shared.carry)(questions).await;
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Whoever left does not care.
                let _ = reply.send(answer);
            }
        }
    }

    /// The calls that wait, without those whose callers left. Without any, the carrier no longer
    /// counts: whoever joins next needs another one.
    fn next(&mut self) -> Option<(Vec<Q>, Replies<A>)> {
        let mut queue = self.shared.queue();
        queue.calls.retain(|(_, reply)| !reply.is_closed());
        let many = queue.calls.len().min(MOST);
        if many == 0 {
            queue.carriers -= 1;
            self.counted = false;
            return None;
        }
        Some(queue.calls.drain(..many).unzip())
    }
}

impl<Q, A> Drop for Carrier<Q, A> {
    fn drop(&mut self) {
        if self.counted {
            self.shared.queue().carriers -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;
    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn calls_gather_while_requests_are_under_way_and_each_gets_its_own_answer() {
        let (gate, requests) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (inner_gate, inner_requests) = (Arc::clone(&gate), Arc::clone(&requests));
        let gather = Gather::new(move |numbers: Vec<u32>| {
            let gate = Arc::clone(&inner_gate);
            inner_requests.fetch_add(1, Ordering::Relaxed);
            async move {
                gate.acquire().await.unwrap().forget();
                let odd = |number| Error::new(Code::InvalidField, format!("{number} is odd"));
                numbers.iter().map(|number| if number % 2 == 0 { Ok(number * 10) } else { Err(odd(number)) }).collect()
            }
            .boxed()
        });
        let gather = Arc::new(gather);
        let call = |number| {
            let gather = Arc::clone(&gather);
            tokio::spawn(async move { gather.call(number).await })
        };
        let mut calls = Vec::new();
        for number in 0..10 {
            calls.push(call(number));
            tokio::task::yield_now().await;
        }
        let left = call(11);
        tokio::task::yield_now().await;
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        gate.add_permits(3);
        for (number, answer) in join_all(calls).await.into_iter().enumerate() {
            let answer = answer.unwrap();
            match number % 2 {
                0 => assert_eq!(answer.unwrap() as usize, number * 10),
                _ => assert_eq!(answer.unwrap_err().message(), format!("{number} is odd")),
            }
        }
        assert_eq!(requests.load(Ordering::Relaxed), 3, "two went alone, the rest together");
    }
}
