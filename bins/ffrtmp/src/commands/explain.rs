//! `ffrtmp explain`: cause and cure of an error code.

use ffrtmp::core::error::nearest;
use ffrtmp::core::{Code, Error};
use serde_json::{Value, json};

use crate::cli::local;
use crate::console::Console;
use crate::stop::Done;

pub(super) fn run(command: &local::Explain, console: &Console) -> Done {
    match &command.code {
        None => list(console),
        Some(name) => explain(named(name)?, console),
    }
}

fn named(name: &str) -> Result<Code, Error> {
    let plain = name.trim().to_ascii_lowercase().replace('-', "_");
    Code::from_name(&plain).ok_or_else(|| {
        let hint = match nearest(&plain, Code::ALL.iter().map(|code| code.as_str())) {
            Some(near) => format!("did you mean {near}? `ffrtmp explain` lists all codes"),
            None => "`ffrtmp explain` lists all codes".to_owned(),
        };
        Error::new(Code::InvalidField, format!("no error has the code {name:?}")).hint(hint)
    })
}

fn list(console: &Console) -> Done {
    if console.is_json() {
        return console.json(&Code::ALL.iter().map(|code| facts(*code)).collect::<Vec<_>>());
    }
    let mut table = console.columns(&["code", "acts next", "exit", "http", "cause"]);
    for code in Code::ALL {
        table.add_row([
            code.to_string(),
            actor(*code).to_owned(),
            code.exit_code().to_string(),
            code.http_status().to_string(),
            code.explain().cause.to_owned(),
        ]);
    }
    console.table(&table)
}

fn explain(code: Code, console: &Console) -> Done {
    if console.is_json() {
        return console.json(&facts(code));
    }
    let mut table = console.facts();
    table.add_row(vec![console.heading("code"), code.as_str().into()]);
    table.add_row(vec![console.heading("cause"), code.explain().cause.into()]);
    table.add_row(vec![console.heading("cure"), code.explain().cure.into()]);
    table.add_row(vec![console.heading("acts next"), actor(code).into()]);
    table.add_row(vec![console.heading("exit code"), code.exit_code().into()]);
    table.add_row(vec![console.heading("HTTP status"), code.http_status().into()]);
    console.table(&table)
}

fn facts(code: Code) -> Value {
    json!({
        "code": code,
        "disposition": code.disposition(),
        "cause": code.explain().cause,
        "cure": code.explain().cure,
        "exit_code": code.exit_code(),
        "http_status": code.http_status(),
        "failure_reason": code.failure_reason(),
    })
}

fn actor(code: Code) -> &'static str {
    match code.disposition() {
        ffrtmp::core::Disposition::Transient => "ffrtmp retries",
        ffrtmp::core::Disposition::Terminal => "nobody: it is final",
        ffrtmp::core::Disposition::Caller => "you",
    }
}
