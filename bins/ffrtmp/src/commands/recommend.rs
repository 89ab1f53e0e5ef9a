//! `ffrtmp config recommend`: settings of an agent for this machine.

use ffrtmp::governor::{self, HostFacts};

use crate::cli::{Environment, Format, local};
use crate::console::Console;
use crate::stop::Done;

pub(super) fn run(command: &local::Config, console: &Console) -> Done {
    let local::Config::Recommend(command) = command;
    let environment = match command.environment {
        Environment::Development => governor::Environment::Development,
        Environment::Staging => governor::Environment::Staging,
        Environment::Production => governor::Environment::Production,
    };
    let recommendation = governor::recommend(environment, &HostFacts::read());
    match console.format() {
        Format::Json => console.json(&recommendation),
        Format::Table | Format::Text | Format::Yaml | Format::Bash => console.json(&recommendation),
    }
}
