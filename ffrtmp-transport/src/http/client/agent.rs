//! What agents say through a client. Words about attempts that are said at the same time travel
//! together; to a master that does not know that, one by one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::JobView;
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{
    AttemptState, ClaimRequest, Claimed, FinishRequest, Heartbeat, HeartbeatAnswer, Registered, StartRequest,
};
use ffrtmp_core::transport::Transport;
use ffrtmp_core::{Code, Disposition, Error, Result};
use futures::FutureExt;
use futures::future::join_all;
use reqwest::Method;
use serde::Serialize;

use super::MasterClient;
use super::gather::Gather;
use super::masters::{Call, Masters};
use crate::http::wire::{AttemptAnswers, AttemptStart, ResultBatch, StartBatch};

/// How much longer than its own wait a claim may take.
const CLAIM_GRACE: Duration = Duration::from_secs(15);
/// How long a master that knows no batches is spoken to word by word.
const ONE_BY_ONE: Duration = Duration::from_secs(60);

/// Words about attempts on their way.
pub(super) struct Words {
    starts: Gather<AttemptStart, AttemptState>,
    results: Gather<FinishRequest, AttemptState>,
}

impl Words {
    pub(super) fn new(masters: &Arc<Masters>) -> Self {
        let line = Arc::new(Line { masters: Arc::clone(masters), one_by_one: Mutex::default() });
        let other = Arc::clone(&line);
        Self {
            starts: Gather::new(move |starts| Arc::clone(&line).starts(starts).boxed()),
            results: Gather::new(move |results| Arc::clone(&other).results(results).boxed()),
        }
    }
}

#[async_trait]
impl Transport for MasterClient {
    async fn register(&self, registration: Registration) -> Result<Registered> {
        self.post(&["nodes", "register"], &registration).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        let limit = Duration::from_millis(request.wait_ms) + CLAIM_GRACE;
        let call = Call::new(Method::POST, &["jobs", "claim"])?.json(&request)?.within(Some(limit));
        self.0.masters.answer(call.once(request.request_id.is_none())).await
    }

    async fn start(&self, job: JobId, request: StartRequest) -> Result<AttemptState> {
        self.0.words.starts.call((job, request).into()).await
    }

    async fn heartbeat(&self, node: NodeId, heartbeat: Heartbeat) -> Result<HeartbeatAnswer> {
        self.post(&["nodes", &node.to_string(), "heartbeat"], &heartbeat).await
    }

    async fn finish(&self, request: FinishRequest) -> Result<AttemptState> {
        self.0.words.results.call(request).await
    }
}

struct Line {
    masters: Arc<Masters>,
    /// Until when no batches are sent.
    one_by_one: Mutex<Option<Instant>>,
}

impl Line {
    async fn starts(self: Arc<Self>, starts: Vec<AttemptStart>) -> Vec<Result<AttemptState>> {
        let batch = StartBatch { starts };
        match self.together(&["jobs", "start"], &batch, batch.starts.len()).await {
            Some(answers) => answers,
            None => join_all(batch.starts.iter().map(|start| self.start(start))).await,
        }
    }

    async fn results(self: Arc<Self>, results: Vec<FinishRequest>) -> Vec<Result<AttemptState>> {
        let batch = ResultBatch { results };
        match self.together(&["results", "batch"], &batch, batch.results.len()).await {
            Some(answers) => answers,
            None => join_all(batch.results.iter().map(|result| self.alone(&["results"], result))).await,
        }
    }

    async fn start(&self, start: &AttemptStart) -> Result<AttemptState> {
        let request = StartRequest { node_id: start.node_id, fence: start.fence };
        self.alone(&["jobs", &start.job_id.to_string(), "start"], &request).await
    }

    async fn alone(&self, path: &[&str], body: &impl Serialize) -> Result<AttemptState> {
        let view: JobView = self.masters.answer(Call::new(Method::POST, path)?.json(body)?).await?;
        Ok((&view.job).into())
    }

    /// The answers to a batch; `None` if its parts must be sent one by one, because the master
    /// takes no batches or refuses this one, which may be the fault of one part.
    async fn together(&self, path: &[&str], body: &impl Serialize, len: usize) -> Option<Vec<Result<AttemptState>>> {
        if self.is_one_by_one() {
            return None;
        }
        let answered = async {
            let answers: AttemptAnswers = self.masters.answer(Call::new(Method::POST, path)?.json(body)?).await?;
            match answers.answers.len() {
                count if count == len => Ok(answers.answers),
                count => Err(Error::new(Code::Network, format!("the master gave {count} answers to {len} words"))),
            }
        };
        match answered.await {
            Ok(answers) => Some(answers.into_iter().map(Into::into).collect()),
            Err(error) if matches!(error.code(), Code::NotFound | Code::MethodNotAllowed) => {
                *self.one_by_one.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + ONE_BY_ONE);
                None
            }
            Err(error) if concerns_all(&error) => Some((0..len).map(|_| Err(copy(&error))).collect()),
            Err(_) => None,
        }
    }

    fn is_one_by_one(&self) -> bool {
        let mut until = self.one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.filter(|until| *until > Instant::now());
        until.is_some()
    }
}

/// Whether each part, sent alone, would hear the same.
fn concerns_all(error: &Error) -> bool {
    error.disposition() != Disposition::Caller
        || matches!(error.code(), Code::Unauthorized | Code::Forbidden | Code::RateLimited | Code::Tls)
}

fn copy(error: &Error) -> Error {
    let copy = Error::new(error.code(), error.message()).hint(error.hint_text());
    let copy = match error.field_name() {
        Some(field) => copy.field(field),
        None => copy,
    };
    match std::error::Error::source(error) {
        Some(source) => copy.source(source.to_string()),
        None => copy,
    }
}
