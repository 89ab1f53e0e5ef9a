//! People: they submit jobs, change their minds about them, and take nodes out of service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ffrtmp::core::coordinator::Coordinator;
use ffrtmp::core::id::{JobId, JobKey};
use ffrtmp::core::job::{Job, JobRequest, JobState, Priority, Queue, ResourceLimits};
use ffrtmp::{Code, Result};

use crate::chance::Chance;
use crate::network::{CALL_TIMEOUT, Caller, Place};
use crate::process::Process;
use crate::shop::Fate;
use crate::world::World;

type Answering<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

fn somebody(world: &Arc<World>, chance: &Chance) -> Caller {
    Caller::new(world, Place::People, &Arc::new(Process::start()), Chance::of(chance.next(), "desk"))
}

/// Submits so many jobs, each until it is answered.
pub(crate) async fn submit(world: Arc<World>, jobs: u64) -> Vec<JobId> {
    let chance = Chance::of(world.seed, "submitter");
    let desk = somebody(&world, &chance);
    let hurry = *chance.pick(&[20, 400, 2500]);
    let mut taken: Vec<JobId> = Vec::new();
    for number in 0..jobs {
        tokio::time::sleep(chance.ms(0, hurry)).await;
        let request = request(&chance, &taken);
        if chance.hits(80) {
            submit_batch(&desk, &chance, &mut taken).await;
        }
        taken.push(submit_one(&world, &desk, &chance, request, number).await);
    }
    taken
}

async fn submit_one(world: &World, desk: &Caller, chance: &Chance, request: JobRequest, number: u64) -> JobId {
    loop {
        let request = request.clone();
        let call = move |master: Arc<Coordinator>| -> Answering<JobId> {
            let (request, key) = (request.clone(), format!("key-{number}"));
            Box::pin(async move { master.submit(request, Some(key)).await.map(|submitted| submitted.job.id) })
        };
        match desk.call("submit", CALL_TIMEOUT, call).await {
            Ok(id) => return id,
            Err(error) if matches!(error.code(), Code::Network | Code::Unavailable | Code::Storage) => {
                tokio::time::sleep(chance.ms(100, 2000)).await;
            }
            Err(error) => world.trace.wrong(format_args!("submission {number} was refused: {error}")),
        }
    }
}

/// Without a key: an answer that is lost leaves jobs that nobody knows of. They run all the same.
async fn submit_batch(desk: &Caller, chance: &Chance, taken: &mut Vec<JobId>) {
    let requests: Vec<_> = (0..chance.between(2, 6)).map(|_| request(chance, taken)).collect();
    let call = move |master: Arc<Coordinator>| -> Answering<Vec<Job>> {
        let requests = requests.clone();
        Box::pin(async move { master.submit_batch(requests).await })
    };
    if let Ok(jobs) = desk.call("submit batch", CALL_TIMEOUT, call).await {
        taken.extend(jobs.iter().map(|job| job.id));
    }
}

fn request(chance: &Chance, known: &[JobId]) -> JobRequest {
    let fate = match chance.index(20) {
        0 | 1 => Fate::FailsAtFirst(chance.between(1, 3) as u32),
        2 => Fate::Terminal,
        3 => Fate::Poison,
        4 if chance.hits(300) => Fate::Endless,
        _ => Fate::Fine,
    };
    let work = chance.between(20, *chance.pick(&[100, 1500, 8000]));
    let mut labels = vec![("fate".to_owned(), fate.label()), ("work".to_owned(), work.to_string())];
    if chance.hits(100) {
        labels.push(("node.zone".to_owned(), "a".to_owned()));
    }
    let depends = if chance.hits(150) && !known.is_empty() { chance.between(1, 2) } else { 0 };
    let mut depends_on: Vec<_> = (0..depends).map(|_| *chance.pick(known)).collect();
    depends_on.dedup();
    JobRequest {
        scenario: "720p30-h264".into(),
        queue: Some(*chance.pick(&[Queue::Default, Queue::Default, Queue::Batch, Queue::Live])),
        priority: Some(*chance.pick(&[Priority::Medium, Priority::Medium, Priority::High, Priority::Low])),
        resource_limits: ResourceLimits { timeout_sec: Some(chance.between(5, 20)), ..ResourceLimits::default() },
        depends_on,
        labels: labels.into_iter().collect(),
        ..JobRequest::default()
    }
}

/// Changes things at random until faults stop.
pub(crate) async fn meddle(world: Arc<World>) {
    let chance = Chance::of(world.seed, "meddler");
    let desk = somebody(&world, &chance);
    let eager = *chance.pick(&[300, 1500, 6000]);
    while !world.weather.is_calm() {
        tokio::time::sleep(chance.ms(10, eager)).await;
        if chance.hits(120) {
            change_a_node(&world, &desk, &chance).await;
        } else {
            change_a_job(&world, &desk, &chance).await;
        }
    }
}

async fn change_a_job(world: &World, desk: &Caller, chance: &Chance) {
    let known: Vec<JobId> = world.witness.seen().jobs.keys().copied().collect();
    if known.is_empty() {
        return;
    }
    let (id, what) = (*chance.pick(&known), chance.index(8));
    let call = move |master: Arc<Coordinator>| -> Answering<Job> {
        let key = JobKey::from(id);
        Box::pin(async move {
            match what {
                0 => master.cancel(&key).await,
                1 | 2 => master.pause(&key).await,
                3..=5 => master.resume(&key).await,
                _ => master.retry(&key).await,
            }
        })
    };
    // Refusals are right answers here: the job may be in any state.
    let _ = desk.call("change", CALL_TIMEOUT, call).await;
}

async fn change_a_node(world: &World, desk: &Caller, chance: &Chance) {
    let (node, what) = (world.node(chance.index(world.agents.len())), chance.index(5));
    let call = move |master: Arc<Coordinator>| -> Answering<()> {
        Box::pin(async move {
            match what {
                0 | 1 => master.drain(node).await.map(drop),
                2 | 3 => master.activate(node).await.map(drop),
                _ => master.remove_node(node).await,
            }
        })
    };
    let _ = desk.call(["drain", "drain", "activate", "activate", "remove"][what], CALL_TIMEOUT, call).await;
}

/// Once faults have stopped: lets go of what people hold, and waits for every job to end.
pub(crate) async fn tidy_up(world: Arc<World>) {
    let chance = Chance::of(world.seed, "tidier");
    let desk = somebody(&world, &chance);
    loop {
        let open: Vec<(JobId, JobState)> = {
            let seen = world.witness.seen();
            let jobs = seen.jobs.values().map(|known| (known.job.id, known.job.state));
            jobs.filter(|(_, state)| !state.is_final()).collect()
        };
        if open.is_empty() {
            return;
        }
        for (id, _) in open.iter().filter(|(_, state)| *state == JobState::Paused) {
            let id = *id;
            let call = move |master: Arc<Coordinator>| -> Answering<Job> {
                Box::pin(async move { master.resume(&JobKey::from(id)).await })
            };
            let _ = desk.call("resume", CALL_TIMEOUT, call).await;
        }
        for agent in 0..world.agents.len() {
            let node = world.node(agent);
            let call = move |master: Arc<Coordinator>| -> Answering<()> {
                Box::pin(async move { master.activate(node).await.map(drop) })
            };
            let _ = desk.call("activate", CALL_TIMEOUT, call).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
