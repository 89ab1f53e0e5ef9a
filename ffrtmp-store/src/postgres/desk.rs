//! A desk takes the questions of many callers and answers those that came together in one
//! transaction: while one is under way the next ones gather. Each question has its own answer; one
//! that is at fault is tried alone and does not fail its neighbours.

use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::{Error, Result};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::fault::{Cure, Fault};
use super::session::{Session, Tries};

/// Questions that may wait before callers have to.
const BACKLOG: usize = 4096;

/// What is done at a desk.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    type Question: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// Name for errors, such as `postgres.claim`.
    const NAME: &'static str;

    /// How much of a transaction the question takes, in jobs.
    fn weight(question: &Self::Question) -> usize;

    /// Answers all questions in one transaction; nothing is done if it fails.
    async fn answer(
        &self,
        session: &mut Session,
        questions: &[Self::Question],
    ) -> Result<Vec<Result<Self::Answer>>, Fault>;
}

/// Jobs in one transaction: beyond that it only gets slower to answer.
const FULL: usize = 500;

type Asked<W> = (<W as Work>::Question, oneshot::Sender<Result<<W as Work>::Answer>>);

/// Where questions are handed in.
pub(super) struct Desk<W: Work> {
    questions: std::sync::Mutex<Option<mpsc::Sender<Asked<W>>>>,
    clerks: Mutex<Vec<JoinHandle<()>>>,
}

impl<W: Work> Desk<W> {
    /// Opens a desk with as many clerks as there are sessions.
    pub(super) fn open(work: Arc<W>, sessions: Vec<Session>) -> Self {
        let (questions, queue) = mpsc::channel(BACKLOG);
        let queue = Arc::new(Mutex::new(queue));
        let clerks = sessions
            .into_iter()
            .map(|session| tokio::spawn(Clerk { work: Arc::clone(&work), session, queue: Arc::clone(&queue) }.serve()))
            .collect();
        Self { questions: std::sync::Mutex::new(Some(questions)), clerks: Mutex::new(clerks) }
    }

    /// Asks and waits for the answer. A caller that stops waiting does not undo the question.
    pub(super) async fn ask(&self, question: W::Question) -> Result<W::Answer> {
        let questions = self.questions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let questions = questions.ok_or_else(crate::closed)?;
        let (sender, answer) = oneshot::channel();
        questions.send((question, sender)).await.map_err(|_| crate::closed())?;
        drop(questions);
        answer.await.map_err(|_| crate::closed())?
    }

    /// Whether it still takes questions.
    pub(super) fn is_open(&self) -> Result<()> {
        let questions = self.questions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        questions.as_ref().map(|_| ()).ok_or_else(crate::closed)
    }

    /// Answers what was asked before, and nothing after.
    pub(super) async fn close(&self) {
        self.questions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        for clerk in self.clerks.lock().await.drain(..) {
            if clerk.await.is_err_and(|error| error.is_panic()) {
                tracing::error!(desk = W::NAME, "a task of the database panicked");
            }
        }
    }
}

struct Clerk<W: Work> {
    work: Arc<W>,
    session: Session,
    queue: Arc<Mutex<mpsc::Receiver<Asked<W>>>>,
}

impl<W: Work> Clerk<W> {
    async fn serve(mut self) {
        loop {
            let (questions, callers) = {
                let mut queue = self.queue.lock().await;
                match gather::<W>(&mut queue).await {
                    Some(gathered) => gathered,
                    None => break,
                }
            };
            let answers = self.answer_all(questions).await;
            for (caller, answer) in callers.into_iter().zip(answers) {
                // A caller that is gone has its answer in the database.
                let _ = caller.send(answer);
            }
        }
        self.session.close().await;
    }

    async fn answer_all(&mut self, questions: Vec<W::Question>) -> Vec<Result<W::Answer>> {
        match self.together(&questions).await {
            Ok(answers) => answers,
            Err(fault) if fault.cure() == Cure::Blame && questions.len() > 1 => {
                let mut answers = Vec::with_capacity(questions.len());
                for question in questions {
                    answers.push(match self.together(&[question]).await {
                        Ok(mut answer) => answer.pop().unwrap_or_else(|| Err(crate::closed())),
                        Err(fault) => Err(fault.into_error(W::NAME)),
                    });
                }
                answers
            }
            Err(fault) => same_for_all(fault.into_error(W::NAME), questions.len()),
        }
    }

    async fn together(&mut self, questions: &[W::Question]) -> Result<Vec<Result<W::Answer>>, Fault> {
        let mut tries = Tries::new();
        loop {
            let limit = self.session.limit();
            match Session::bounded(limit, self.work.answer(&mut self.session, questions)).await {
                Ok(answers) => return Ok(answers),
                Err(fault) => self.session.recover(fault, &mut tries).await?,
            }
        }
    }
}

/// Waits for a question and takes those that stand behind it.
async fn gather<W: Work>(
    queue: &mut mpsc::Receiver<Asked<W>>,
) -> Option<(Vec<W::Question>, Vec<oneshot::Sender<Result<W::Answer>>>)> {
    let mut next = Some(queue.recv().await?);
    let (mut questions, mut callers, mut weight) = (Vec::new(), Vec::new(), 0);
    while let Some((question, caller)) = next.take() {
        weight += W::weight(&question);
        questions.push(question);
        callers.push(caller);
        if weight < FULL {
            next = queue.try_recv().ok();
        }
    }
    Some((questions, callers))
}

/// The same error for everybody who shared the transaction.
fn same_for_all<T>(error: Error, callers: usize) -> Vec<Result<T>> {
    let shared = Arc::new(error);
    (0..callers)
        .map(|_| {
            let error = Error::new(shared.code(), shared.message()).hint(shared.hint_text());
            let error = match shared.operation_name() {
                Some(operation) => error.operation(operation),
                None => error,
            };
            Err(error.source(SharedSource(Arc::clone(&shared))))
        })
        .collect()
}

/// What was behind an error that several callers got.
#[derive(Debug)]
struct SharedSource(Arc<Error>);

impl std::fmt::Display for SharedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::error::Error::source(&*self.0) {
            Some(source) => std::fmt::Display::fmt(source, f),
            None => f.write_str(self.0.message()),
        }
    }
}

impl std::error::Error for SharedSource {}
