//! Jobs that go on arriving, whatever happens to the masters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ffrtmp::core::job::{JobRequest, JobState};
use ffrtmp::transport::http::{JobQuery, MasterClient};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::PATIENCE;
use crate::fleet::Fleet;

/// Jobs that wait or run at once.
const OPEN: usize = 40;

/// Two people who submit as fast as the cluster works.
pub(crate) struct Load {
    people: Vec<JoinHandle<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn begin(fleet: &Fleet) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(0));
        let person = |_| {
            let (client, over, number) = (fleet.client_of_all(), over.clone(), number.clone());
            let out = fleet.path("files/out");
            std::thread::spawn(move || {
                let runtime = Runtime::new().expect("a runtime");
                let mut submitted = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    runtime.block_on(room(&client, &over));
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let output = out.join(format!("{number}.mp4")).display().to_string();
                    submitted.push(runtime.block_on(submit(&client, number, &output)));
                }
                submitted
            })
        };
        let people = (0..2).map(person).collect();
        Self { people, over }
    }

    /// The ids of all jobs.
    pub(crate) fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.people.into_iter().flat_map(|person| person.join().expect("the load goes on")).collect()
    }
}

/// Waits until fewer jobs are open. A master that is away is no reason to wait.
async fn room(client: &MasterClient, over: &AtomicBool) {
    let state = Some(JobState::Queued.to_string());
    let query = JobQuery { state, limit: Some(OPEN), ..JobQuery::default() };
    while !over.load(Ordering::Relaxed) {
        match client.jobs(&query).await {
            Ok(list) if list.jobs.len() >= OPEN => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => return,
        }
    }
}

/// Submits until it is answered: the key makes it one job.
async fn submit(client: &MasterClient, number: usize, output: &str) -> String {
    let request = json!({
        "scenario": "144p-h264", "output": output, "max_retries": 100,
        "parameters": {"duration": 0.4 + 0.2 * (number % 7) as f64},
    });
    let request: JobRequest = serde_json::from_value(request).expect("a request");
    let begun = Instant::now();
    loop {
        match client.submit(&request, Some(&format!("job-{number}"))).await {
            Ok(view) => return view.job.id.to_string(),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "job {number} cannot be submitted: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
