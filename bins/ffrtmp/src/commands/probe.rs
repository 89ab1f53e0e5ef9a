//! `ffrtmp probe`: the streams, format and duration of a file.

use crate::cli::local;
use crate::console::Console;
use crate::describe::media;
use crate::stop::Done;

pub(super) fn run(command: &local::Probe, console: &Console) -> Done {
    let info = crate::local::probe(&crate::local::engine()?, &command.input, "IN")?;
    if console.is_json() {
        return console.json(&info);
    }
    console.table(&media::facts(&info, console))?;
    console.line("")?;
    console.table(&media::streams(&info, console))
}
