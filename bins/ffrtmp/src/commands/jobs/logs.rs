//! `ffrtmp jobs logs`: the lines that the attempts of a job wrote.

use std::time::Duration;

use ffrtmp::transport::http::{LogEntry, MasterClient};

use super::follow::Patience;
use crate::cli::jobs::Logs;
use crate::console::{Console, one_line};
use crate::stop::Done;

/// The master keeps lines but does not announce them: they are asked for this often.
const ASK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &MasterClient, command: &Logs, console: &Console) -> Done {
    let id = command.job.id.to_string();
    if command.follow {
        return follow(client, &id, command, console).await;
    }
    let mut lines = client.logs(&id).await?;
    lines.retain(|line| wanted(line, command));
    if console.is_json() { console.json(&lines) } else { lines.iter().try_for_each(|line| print(line, console)) }
}

fn wanted(line: &LogEntry, command: &Logs) -> bool {
    command.attempt.is_none_or(|attempt| line.attempt == attempt)
}

async fn follow(client: &MasterClient, id: &str, command: &Logs, console: &Console) -> Done {
    let mut patience = Patience::new();
    let mut log = client.follow_logs(id);
    loop {
        match log.next().await {
            Ok((lines, has_ended)) => {
                patience.renew();
                for line in lines.iter().filter(|line| wanted(line, command)) {
                    if console.is_json() { console.json_line(line)? } else { print(line, console)? }
                }
                if has_ended {
                    return Ok(());
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            Err(error) => patience.wait(error, console).await?,
        }
    }
}

fn print(line: &LogEntry, console: &Console) -> Done {
    console.line(format_args!("{} {} {:<7} {}", line.at, line.attempt, one_line(&line.level), one_line(&line.text)))
}
