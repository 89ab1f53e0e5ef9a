//! `ffrtmp scenarios`: the grammar, its words, and what the examples resolve to.

use ffrtmp::core::Result;
use ffrtmp::core::plan::{OutputRequest, Plan};
use ffrtmp::core::scenario::{EXAMPLES, GRAMMAR, Scenario, WORDS, WordKind};
use serde_json::json;

use crate::console::Console;
use crate::describe;
use crate::stop::Done;

pub(super) fn run(console: &Console) -> Done {
    let examples = EXAMPLES.iter().map(|text| example(text)).collect::<Result<Vec<_>>>()?;
    if console.is_json() {
        return json(&examples, console);
    }
    console.line(format!("{GRAMMAR}, case-insensitive; a rate of 1 to 240 may follow the size: 1080p30\n"))?;
    let mut words = console.columns(&["word", "decides", "meaning"]);
    for word in WORDS {
        words.add_row([word.word, decides(word.kind), word.meaning]);
    }
    console.table(&words)?;
    console.line("other words are labels\n")?;
    let mut table = console.columns(&["example", "queue", "for", "makes, without an input"]);
    for (scenario, plan) in &examples {
        let class = scenario.classification().map_or("production".to_owned(), |class| class.to_string());
        let queue = if scenario.is_live_hint() { "live" } else { "default" };
        table.add_row([scenario.as_str(), queue, &class, &describe::plan::video(plan.video.as_ref()).join("; ")]);
    }
    console.table(&table)
}

fn example(text: &str) -> Result<(Scenario, Plan)> {
    let scenario: Scenario = text.parse()?;
    let request = OutputRequest { scenario: scenario.clone(), ..OutputRequest::default() };
    Ok((scenario, Plan::resolve(&request, None)?))
}

fn json(examples: &[(Scenario, Plan)], console: &Console) -> Done {
    let words: Vec<_> = WORDS
        .iter()
        .map(|word| json!({ "word": word.word, "decides": decides(word.kind), "meaning": word.meaning }))
        .collect();
    let examples: Vec<_> =
        examples.iter().map(|(scenario, plan)| json!({ "scenario": scenario, "plan": plan })).collect();
    console.json(&json!({ "grammar": GRAMMAR, "words": words, "examples": examples }))
}

const fn decides(kind: WordKind) -> &'static str {
    match kind {
        WordKind::Size => "size",
        WordKind::Codec => "codec",
        WordKind::Hint => "queue, engine",
        WordKind::Classification => "classification",
    }
}
