//! `ffrtmp jobs`: submit, follow and steer the jobs of a master.

mod file;
pub(super) mod follow;
mod logs;
mod resolve;
mod submit;

use ffrtmp::core::id::JobKey;
use ffrtmp::core::job::JobView;
use ffrtmp::transport::http::{JobList, JobQuery, MasterClient};

use super::converse;
use crate::cli::Globals;
use crate::cli::jobs::{Filter, Jobs, Status};
use crate::console::Console;
use crate::describe;
use crate::stop::Done;

/// Most jobs of a page.
const MAX_PAGE: usize = 500;

pub(super) fn run(command: Jobs, globals: &Globals, console: &Console) -> Done {
    match command {
        Jobs::Submit(submit) => submit::run(&submit, globals, console),
        Jobs::Status(status) => show(status, globals, console),
        Jobs::List(filter) => converse(globals, async |client| list(&client, filter, console).await),
        Jobs::Cancel(one) => {
            converse(globals, async |client| changed(&client.cancel(&one.id.to_string()).await?, console))
        }
        Jobs::Pause(one) => {
            converse(globals, async |client| changed(&client.pause(&one.id.to_string()).await?, console))
        }
        Jobs::Resume(one) => {
            converse(globals, async |client| changed(&client.resume(&one.id.to_string()).await?, console))
        }
        Jobs::Retry(one) => {
            converse(globals, async |client| changed(&client.retry(&one.id.to_string()).await?, console))
        }
        Jobs::Logs(command) => converse(globals, async |client| logs::run(&client, &command, console).await),
        Jobs::Events(one) => converse(globals, async |client| events(&client, &one.id, console).await),
    }
}

fn show(command: Status, globals: &Globals, console: &Console) -> Done {
    converse(globals, async |client| match &command.id {
        None => list(&client, command.filter, console).await,
        Some(id) if command.follow => follow::one(&client, id, console).await,
        Some(id) => describe_one(&client.job(&id.to_string()).await?, console),
    })
}

async fn list(client: &MasterClient, filter: Filter, console: &Console) -> Done {
    let mut query = query(&filter);
    let mut page = client.jobs(&query).await?;
    if filter.all {
        while let Some(cursor) = page.next_cursor.take() {
            query.cursor = Some(cursor);
            let next = client.jobs(&query).await?;
            page.jobs.extend(next.jobs);
            page.next_cursor = next.next_cursor;
        }
        page.count = page.jobs.len();
    }
    show_page(&page, console)
}

fn query(filter: &Filter) -> JobQuery {
    let limit = if filter.all { MAX_PAGE } else { usize::try_from(filter.limit).unwrap_or(MAX_PAGE) };
    JobQuery {
        limit: Some(limit),
        cursor: filter.cursor.clone(),
        state: filter.state.map(|state| state.to_string()),
        queue: filter.queue.map(|queue| queue.to_string()),
        priority: filter.priority.map(|priority| priority.to_string()),
        tenant: filter.tenant.as_ref().map(ToString::to_string),
        node_id: filter.node.clone(),
        scenario: filter.scenario.clone(),
        label: filter.label.clone(),
        created_after: filter.created_after.clone(),
        created_before: filter.created_before.clone(),
        ..JobQuery::default()
    }
}

fn show_page(page: &JobList, console: &Console) -> Done {
    if console.is_json() {
        return console.json(page);
    }
    if page.jobs.is_empty() {
        console.note("no jobs");
        return Ok(());
    }
    console.table(&describe::job::list(&page.jobs, console))?;
    if let Some(cursor) = &page.next_cursor {
        console.note(format_args!("more jobs: --cursor {cursor}, or --all"));
    }
    Ok(())
}

/// Everything about one job.
fn describe_one(view: &JobView, console: &Console) -> Done {
    if console.is_json() {
        return console.json(view);
    }
    console.table(&describe::job::facts(&view.job, console))?;
    if view.job.attempts.is_empty() {
        return Ok(());
    }
    console.line("")?;
    console.table(&describe::job::attempts(&view.job.attempts, console))
}

/// The state that a job has come to.
fn changed(view: &JobView, console: &Console) -> Done {
    if console.is_json() {
        return console.json(view);
    }
    console.line(format_args!("{} {}", view.job.id, view.job.state))
}

async fn events(client: &MasterClient, id: &JobKey, console: &Console) -> Done {
    let events = client.job_events(&id.to_string()).await?;
    if console.is_json() { console.json(&events) } else { console.table(&describe::job::events(&events, console)) }
}
