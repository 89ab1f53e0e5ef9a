//! The network between agents, people and masters: it delays, loses, repeats and reorders calls and
//! answers, and can be cut in either direction.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ffrtmp::core::coordinator::Coordinator;
use ffrtmp::core::id::{JobId, NodeId};
use ffrtmp::core::node::Registration;
use ffrtmp::core::protocol::{
    AttemptState, ClaimRequest, Claimed, FinishRequest, Heartbeat, HeartbeatAnswer, Registered, StartRequest,
};
use ffrtmp::core::transport::Transport;
use ffrtmp::{Code, Error, Result};
use tokio::task::JoinHandle;

use crate::chance::Chance;
use crate::process::{Process, never};
use crate::world::{MasterLife, World};

/// How long a caller waits for an answer that the master gives at once.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a message leaves and reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Agent(usize),
    Master(usize),
    Database,
    People,
}

/// Faults under way.
pub(crate) struct Weather {
    cuts: Mutex<BTreeSet<(Place, Place)>>,
    calm: AtomicBool,
    /// Messages lost, and repeated, in a thousand.
    pub lossy: u64,
    /// Largest usual delay in milliseconds.
    pub slow: u64,
}

impl Weather {
    pub(crate) fn new(lossy: u64, slow: u64) -> Self {
        Self { cuts: Mutex::default(), calm: AtomicBool::new(false), lossy, slow }
    }

    pub(crate) fn cut(&self, from: Place, to: Place) {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).insert((from, to));
    }

    pub(crate) fn mend(&self, from: Place, to: Place) {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).remove(&(from, to));
    }

    pub(crate) fn is_cut(&self, from: Place, to: Place) -> bool {
        !self.is_calm() && self.cuts.lock().unwrap_or_else(PoisonError::into_inner).contains(&(from, to))
    }

    /// No more faults.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Release);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Acquire)
    }

    fn loses(&self, chance: &Chance) -> bool {
        chance.hits(self.lossy) && !self.is_calm()
    }

    fn delay(&self, chance: &Chance) -> Duration {
        let usual = chance.ms(1, self.slow.max(1));
        let rare = chance.ms(0, 4000);
        if chance.hits(self.lossy) && !self.is_calm() { rare } else { usual }
    }
}

type Answering<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Somebody who calls masters.
pub(crate) struct Caller {
    world: Arc<World>,
    place: Place,
    process: Arc<Process>,
    chance: Chance,
    favourite: AtomicUsize,
}

impl Caller {
    pub(crate) fn new(world: &Arc<World>, place: Place, process: &Arc<Process>, chance: Chance) -> Self {
        let favourite = AtomicUsize::new(chance.index(world.masters.len()));
        Self { world: Arc::clone(world), place, process: Arc::clone(process), chance, favourite }
    }

    /// Calls one of the masters; every answer or its absence takes some time.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        what: &str,
        timeout: Duration,
        serve: impl Fn(Arc<Coordinator>) -> Answering<T> + Send + Sync,
    ) -> Result<T> {
        self.process.step().await;
        let master = self.favourite.load(Ordering::Acquire);
        let answered = tokio::time::timeout(timeout, self.exchange(master, serve)).await;
        self.process.step().await;
        let answer = answered.unwrap_or_else(|_| Err(Error::new(Code::Network, "no answer in time")));
        let said = answer.as_ref().map_or_else(ToString::to_string, |_| "answered".to_owned());
        self.world.trace.whisper(format_args!("{:?} {what} at master {master}: {said}", self.place));
        let failed = matches!(&answer, Err(error) if matches!(error.code(), Code::Network | Code::Unavailable));
        if failed || self.chance.hits(50) {
            self.favourite.store(self.chance.index(self.world.masters.len()), Ordering::Release);
        }
        answer
    }

    async fn exchange<T: Send + 'static>(
        &self,
        master: usize,
        serve: impl Fn(Arc<Coordinator>) -> Answering<T> + Send + Sync,
    ) -> Result<T> {
        let (weather, chance) = (&self.world.weather, &self.chance);
        let there = weather.delay(chance);
        let back = weather.delay(chance);
        let (lost_there, lost_back) = (weather.loses(chance), weather.loses(chance));
        let again = chance.hits(weather.lossy).then(|| chance.ms(0, 3000));
        let hangs_up = chance.hits(500);
        tokio::time::sleep(there).await;
        if lost_there || weather.is_cut(self.place, Place::Master(master)) {
            return never().await;
        }
        let Some(life) = self.world.serving(master) else {
            return Err(Error::new(Code::Unavailable, "connection refused"));
        };
        if let Some(again) = again.filter(|_| !weather.is_calm()) {
            repeat(&life, again, serve(Arc::clone(&life.coordinator)));
        }
        let handler = Handler(life.serve(serve(Arc::clone(&life.coordinator))), hangs_up);
        let answer = handler.answer().await;
        if lost_back || weather.is_cut(Place::Master(master), self.place) {
            return never().await;
        }
        tokio::time::sleep(back).await;
        answer
    }
}

/// The same message arrives once more; nobody hears the answer.
fn repeat<T: Send + 'static>(life: &Arc<MasterLife>, after: Duration, serve: Answering<T>) {
    life.serve(async move {
        tokio::time::sleep(after).await;
        serve.await
    });
}

/// A request at a master. If its caller gives up, the server may hear of it and drop the request.
struct Handler<T>(JoinHandle<Result<T>>, bool);

impl<T> Handler<T> {
    async fn answer(mut self) -> Result<T> {
        match (&mut self.0).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(Code::Network, "connection reset")),
        }
    }
}

impl<T> Drop for Handler<T> {
    fn drop(&mut self) {
        if self.1 {
            self.0.abort();
        }
    }
}

#[async_trait]
impl Transport for Caller {
    async fn register(&self, registration: Registration) -> Result<Registered> {
        let call = move |master: Arc<Coordinator>| -> Answering<_> {
            let registration = registration.clone();
            Box::pin(async move { master.register(registration).await })
        };
        self.call("register", CALL_TIMEOUT, call).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        let patience = CALL_TIMEOUT + Duration::from_millis(request.wait_ms);
        let call = move |master: Arc<Coordinator>| -> Answering<_> {
            let request = request.clone();
            Box::pin(async move { master.claim(request).await })
        };
        self.call("claim", patience, call).await
    }

    async fn start(&self, job: JobId, request: StartRequest) -> Result<AttemptState> {
        let call = move |master: Arc<Coordinator>| -> Answering<_> {
            let request = request.clone();
            Box::pin(async move { Ok((&master.start(job, request).await?).into()) })
        };
        self.call("start", CALL_TIMEOUT, call).await
    }

    async fn heartbeat(&self, node: NodeId, heartbeat: Heartbeat) -> Result<HeartbeatAnswer> {
        let call = move |master: Arc<Coordinator>| -> Answering<_> {
            let heartbeat = heartbeat.clone();
            Box::pin(async move { master.heartbeat(node, heartbeat).await })
        };
        self.call("heartbeat", CALL_TIMEOUT, call).await
    }

    async fn finish(&self, request: FinishRequest) -> Result<AttemptState> {
        let call = move |master: Arc<Coordinator>| -> Answering<_> {
            let request = request.clone();
            Box::pin(async move { Ok((&master.finish(request).await?).into()) })
        };
        self.call("finish", CALL_TIMEOUT, call).await
    }
}
