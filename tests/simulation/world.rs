//! The world of one seed: masters and agents that are started again when they die, one store, people,
//! and a time of faults after which everything must come to an end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffrtmp::core::clock::Clock;
use ffrtmp::core::coordinator::{Coordinator, Settings};
use ffrtmp::core::id::NodeId;
use ffrtmp::core::job::Queue;
use ffrtmp::core::policy::fifo::PriorityFifo;
use ffrtmp::core::store::{Caps, Store};
use ffrtmp::governor::NoGovernor;
use ffrtmp::{Agent, AgentOptions, Master, MasterOptions};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::clock::DriftingClock;
use crate::network::{Caller, Place, Weather};
use crate::process::Process;
use crate::session::{Board, Session};
use crate::shop::Shop;
use crate::trace::Trace;
use crate::witness::Witness;

/// How wrong a wall clock may be when a process starts.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// Everything there is.
pub(crate) struct World {
    pub seed: u64,
    pub trace: Arc<Trace>,
    pub witness: Witness,
    pub board: Board,
    pub weather: Weather,
    pub settings: Settings,
    pub masters: Vec<Seat<MasterLife>>,
    pub agents: Vec<Seat<AgentLife>>,
    began: Instant,
    sessions: AtomicU64,
}

/// A place in the world where a process lives, one after the other.
pub(crate) struct Seat<T>(Mutex<Option<Arc<T>>>);

impl<T> Seat<T> {
    fn empty() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn now(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, life: Option<Arc<T>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = life;
    }
}

/// One life of a master.
pub(crate) struct MasterLife {
    pub process: Arc<Process>,
    pub coordinator: Arc<Coordinator>,
    pub stop: CancellationToken,
    session: u64,
    listens: AtomicBool,
    requests: Mutex<Vec<AbortHandle>>,
}

/// One life of an agent.
pub(crate) struct AgentLife {
    pub process: Arc<Process>,
    pub stop: CancellationToken,
}

impl MasterLife {
    /// Runs a request; it ends with the process.
    pub(crate) fn serve<T: Send + 'static>(&self, request: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = tokio::spawn(request);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|request| !request.is_finished());
        requests.push(task.abort_handle());
        task
    }

    fn die(&self) {
        self.process.kill();
        let requests = std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        requests.iter().for_each(AbortHandle::abort);
    }

    fn is_idle(&self) -> bool {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter().all(AbortHandle::is_finished)
    }
}

impl World {
    /// The world of this seed over this store, with nobody in it yet.
    pub(crate) fn new(seed: u64, store: Arc<dyn Store>, trace: Arc<Trace>) -> Arc<Self> {
        let chance = Chance::of(seed, "world");
        let seats = |of: u64| (0..of).map(|_| Seat::empty()).collect();
        let (masters, agents) = (chance.between(1, 3), chance.between(1, 4));
        Arc::new(Self {
            seed,
            witness: Witness::over(store, Arc::clone(&trace)),
            board: Board::default(),
            weather: Weather::new(*chance.pick(&[0, 4, 20, 80]), *chance.pick(&[3, 20, 200])),
            settings: settings(&chance),
            masters: seats(masters),
            agents: (0..agents).map(|_| Seat::empty()).collect(),
            began: Instant::now(),
            sessions: AtomicU64::new(0),
            trace,
        })
    }

    /// The master on this seat, if it answers requests.
    pub(crate) fn serving(&self, master: usize) -> Option<Arc<MasterLife>> {
        self.masters[master].now().filter(|life| life.listens.load(Ordering::Acquire) && !life.process.is_dead())
    }

    pub(crate) fn node(&self, agent: usize) -> NodeId {
        NodeId::from_u128(0xA0 + agent as u128)
    }

    /// Waits before somebody is started again.
    async fn rest(&self, chance: &Chance) {
        let rest = if self.weather.is_calm() { chance.ms(10, 500) } else { chance.ms(10, 9000) };
        tokio::time::sleep(rest).await;
    }
}

fn settings(chance: &Chance) -> Settings {
    let lease = *chance.pick(&[3, 6, 6, 15]);
    let mut caps = Caps::default();
    if chance.hits(300) {
        caps.queues.insert(Queue::Default, chance.between(1, 4) as u32);
    }
    if chance.hits(150) {
        caps.tenant = Some(chance.between(2, 5) as u32);
    }
    Settings {
        max_retries: chance.between(0, 3) as u32,
        heartbeat_interval: Duration::from_secs(lease) / 3,
        heartbeat_timeout: Duration::from_secs(lease),
        stall: Duration::from_secs(40),
        live_stall: Duration::from_secs(20),
        timeout_grace: Duration::from_secs(3),
        caps,
        ..Settings::default()
    }
}

/// Starts a master, again and again.
pub(crate) async fn keep_master(world: Arc<World>, seat: usize) {
    let chance = Chance::of(world.seed, &format!("master {seat}"));
    loop {
        live_as_master(&world, seat, &chance).await;
        world.masters[seat].put(None);
        world.rest(&chance).await;
    }
}

async fn live_as_master(world: &Arc<World>, seat: usize, chance: &Chance) {
    let process = Arc::new(Process::start());
    let session = Session {
        id: world.sessions.fetch_add(1, Ordering::Relaxed),
        master: seat,
        world: Arc::clone(world),
        process: Arc::clone(&process),
        chance: Chance::of(chance.next(), "session"),
        since: Instant::now(),
    };
    let id = session.id;
    let clock = Arc::new(DriftingClock::start(world.began, chance, SKEW));
    let wall = clock.now();
    let options = MasterOptions {
        api_address: None,
        scheduler_interval: Duration::from_secs(1),
        settings: world.settings.clone(),
        ..MasterOptions::default()
    };
    let composed = Master::with_clock(Arc::new(session), Arc::new(PriorityFifo::default()), clock, options).await;
    let master = match composed {
        Ok(master) => master,
        Err(error) => return world.trace.wrong(format_args!("a master cannot be composed: {error}")),
    };
    let life = Arc::new(MasterLife {
        process,
        coordinator: master.coordinator(),
        stop: CancellationToken::new(),
        session: id,
        listens: AtomicBool::new(false),
        requests: Mutex::default(),
    });
    world.masters[seat].put(Some(Arc::clone(&life)));
    // Its cluster clock is not read: before the master has found its place, it may be set back.
    world.trace.note(format_args!("master {seat} starts at {wall}"));
    let running = tokio::spawn(run_master(master, Arc::clone(&life)));
    let graceful = tokio::select! {
        biased;
        () = life.process.died() => false,
        ended = running => matches!(ended, Ok(true)),
    };
    life.listens.store(false, Ordering::Release);
    if graceful {
        let until = Instant::now() + Duration::from_secs(2);
        while !life.is_idle() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    world.trace.note(format_args!("master {seat} is gone, graceful={graceful}"));
    life.die();
    let (world, noticed) = (Arc::clone(world), if graceful { Duration::ZERO } else { chance.ms(0, 2500) });
    tokio::spawn(async move {
        tokio::time::sleep(noticed).await;
        world.board.leave(life.session);
    });
}

/// Serves once it has found its place among the masters; says whether it ended by itself.
async fn run_master(master: Master, life: Arc<MasterLife>) -> bool {
    if life.coordinator.join().await.is_err() {
        return false;
    }
    life.listens.store(true, Ordering::Release);
    master.run(life.stop.clone()).await.is_ok()
}

/// Starts an agent, again and again.
pub(crate) async fn keep_agent(world: Arc<World>, seat: usize) {
    let chance = Chance::of(world.seed, &format!("agent {seat}"));
    let slots = chance.between(1, 4) as u32;
    loop {
        live_as_agent(&world, seat, slots, &chance).await;
        world.agents[seat].put(None);
        world.rest(&chance).await;
    }
}

async fn live_as_agent(world: &Arc<World>, seat: usize, slots: u32, chance: &Chance) {
    let process = Arc::new(Process::start());
    let caller = Caller::new(world, Place::Agent(seat), &process, Chance::of(chance.next(), "link"));
    let shop = Shop {
        world: Arc::clone(world),
        node: world.node(seat),
        process: Arc::clone(&process),
        chance: Arc::new(Chance::of(chance.next(), "shop")),
    };
    let clock = Arc::new(DriftingClock::start(world.began, chance, SKEW));
    let zone = if seat == 0 { "a" } else { *chance.pick(&["a", "b"]) };
    let options = AgentOptions {
        name: Some(format!("agent-{seat}")),
        max_concurrent_jobs: Some(slots),
        labels: [("zone".to_owned(), zone.to_owned())].into(),
        drain_timeout: chance.ms(0, 8000),
        ..AgentOptions::default()
    };
    let governor = Arc::new(NoGovernor::default());
    let composed = Agent::with_workshop(Arc::new(caller), Arc::new(shop), governor, clock, options).await;
    let agent = match composed {
        Ok(agent) => agent,
        Err(error) => return world.trace.wrong(format_args!("an agent cannot be composed: {error}")),
    };
    let life = Arc::new(AgentLife { process, stop: CancellationToken::new() });
    world.agents[seat].put(Some(Arc::clone(&life)));
    world.trace.note(format_args!("agent {seat} starts in zone {zone}"));
    let running = tokio::spawn(agent.run(life.stop.clone()));
    tokio::select! {
        biased;
        () = life.process.died() => world.trace.note(format_args!("agent {seat} is dead")),
        ended = running => match ended {
            Ok(Ok(())) if life.stop.is_cancelled() => world.trace.note(format_args!("agent {seat} has stopped")),
            Ok(Ok(())) => world.trace.wrong(format_args!("agent {seat} stopped by itself")),
            Ok(Err(error)) => world.trace.wrong(format_args!("agent {seat} gave up: {error}")),
            Err(error) => world.trace.wrong(format_args!("agent {seat} broke: {error}")),
        },
    }
    life.process.kill();
}

/// What goes wrong, until `until`.
pub(crate) async fn trouble(world: Arc<World>, until: Instant) {
    let chance = Chance::of(world.seed, "trouble");
    let harshness = *chance.pick(&[400, 1500, 5000]);
    while Instant::now() < until {
        tokio::time::sleep(chance.ms(10, harshness)).await;
        match chance.index(9) {
            0 => kill(&world, &chance),
            1 | 2 => stop_gracefully(&world, &chance),
            3 | 4 => freeze(&world, &chance),
            _ => cut(&world, &chance),
        }
    }
}

fn kill(world: &World, chance: &Chance) {
    if chance.hits(500) {
        let seat = chance.index(world.masters.len());
        if let Some(life) = world.masters[seat].now() {
            world.trace.note(format_args!("kill -9 master {seat}"));
            life.process.kill();
        }
    } else {
        let seat = chance.index(world.agents.len());
        if let Some(life) = world.agents[seat].now() {
            world.trace.note(format_args!("kill -9 agent {seat}"));
            life.process.kill();
        }
    }
}

fn stop_gracefully(world: &World, chance: &Chance) {
    if chance.hits(500) {
        let seat = chance.index(world.masters.len());
        if let Some(life) = world.masters[seat].now() {
            world.trace.note(format_args!("stop master {seat}"));
            life.listens.store(false, Ordering::Release);
            life.stop.cancel();
        }
    } else {
        let seat = chance.index(world.agents.len());
        if let Some(life) = world.agents[seat].now() {
            world.trace.note(format_args!("stop agent {seat}"));
            life.stop.cancel();
        }
    }
}

fn freeze(world: &Arc<World>, chance: &Chance) {
    let lease = world.settings.heartbeat_timeout.as_millis() as u64;
    let (long, is_master) = (chance.ms(50, 3 * lease), chance.hits(350));
    let (process, name) = if is_master {
        let seat = chance.index(world.masters.len());
        (world.masters[seat].now().map(|life| Arc::clone(&life.process)), format!("master {seat}"))
    } else {
        let seat = chance.index(world.agents.len());
        (world.agents[seat].now().map(|life| Arc::clone(&life.process)), format!("agent {seat}"))
    };
    let Some(process) = process else { return };
    world.trace.note(format_args!("SIGSTOP {name} for {long:?}"));
    process.freeze();
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(long).await;
        process.thaw();
        world.trace.note(format_args!("SIGCONT {name}"));
    });
}

fn cut(world: &Arc<World>, chance: &Chance) {
    let lease = world.settings.heartbeat_timeout.as_millis() as u64;
    let master = Place::Master(chance.index(world.masters.len()));
    let other = match chance.index(5) {
        0 => Place::Database,
        1 => Place::People,
        _ => Place::Agent(chance.index(world.agents.len())),
    };
    let mut ways = vec![(master, other), (other, master)];
    if other == Place::Database {
        ways.truncate(1);
    } else if chance.hits(500) {
        ways.remove(chance.index(2));
    }
    let long = chance.ms(50, 3 * lease);
    for (from, to) in ways {
        world.trace.note(format_args!("cut {from:?} -> {to:?} for {long:?}"));
        world.weather.cut(from, to);
        let world = Arc::clone(world);
        tokio::spawn(async move {
            tokio::time::sleep(long).await;
            world.weather.mend(from, to);
        });
    }
}
