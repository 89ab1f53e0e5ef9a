//! What the crates say in words of the command line, in those of Python: an argument where a flag
//! stands, a method where a command does. Flags of programs elsewhere stay what they are.

use std::borrow::Cow;

/// What is said, and what it is called here. The longer come first.
const WORDS: &[(&str, &str)] = &[
    (
        "--api-key, --api-key-file, MASTER_API_KEY, or the header `Authorization: Bearer KEY`",
        "api_key=, or with the variable MASTER_API_KEY",
    ),
    (": --port for the API, --metrics-port for metrics", "; port=0 takes a free one"),
    (" with --port", ""),
    ("is --master (or MASTER_URL) its", "is url (or MASTER_URL) its"),
    ("give --cert and --key", "give cert= and key="),
    ("the file of --ca", "the file of ca="),
    ("--ca FILE", "ca=FILE"),
    ("with --ca;", "with ca=FILE;"),
    ("--insecure-skip-verify", "insecure_skip_verify=True"),
    ("--rate-limit and --rate-burst set", "--rate-limit and --rate-burst of the master set"),
    (
        "the agent with --allow-path DIR",
        "the Cluster with allow_paths=[DIR], or an agent elsewhere with --allow-path DIR,",
    ),
    ("the agent with --allow-host", "the Cluster with it in allow_hosts=, or an agent elsewhere with --allow-host"),
    ("--db FILE", "store=FILE"),
    ("--engine auto", "engine=\"auto\""),
    ("Raise --timeout,", "Raise timeout_sec in resource_limits=,"),
    ("Raise --memory-limit,", "Raise max_memory_mb in resource_limits=,"),
    ("Raise max_disk_mb,", "Raise max_disk_mb in resource_limits=,"),
    ("`ffrtmp probe FILE`", "`ffrtmp.probe(FILE)`"),
    ("`ffrtmp jobs list`", "`Client.list()`"),
    ("`ffrtmp jobs retry ID`", "`Client.retry(ID)`"),
    ("`ffrtmp nodes list`", "`Client.nodes()`"),
    ("`ffrtmp nodes describe`", "`Client.nodes()`"),
    ("the parameter container", "container"),
];
/// The group of a request that holds what are arguments here.
const GROUP: &str = "parameters.";

/// A text in the words of Python.
pub(crate) fn of_python(text: &str) -> Cow<'_, str> {
    let mut told = Cow::Borrowed(text);
    for (said, meant) in WORDS {
        if told.contains(said) {
            told = Cow::Owned(told.replace(said, meant));
        }
    }
    match told.contains(GROUP) {
        true => Cow::Owned(without_group(&told)),
        false => told,
    }
}

/// `parameters.crf` as `crf`; a sentence may end with the word.
fn without_group(text: &str) -> String {
    let mut parts = text.split(GROUP);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if !part.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            out.push_str(GROUP);
        }
        out.push_str(part);
    }
    out
}

/// The argument that a field of a request, a header or a flag is here; `None` where it has the same name.
pub(crate) fn argument(field: &str) -> Option<String> {
    if let Some(parameter) = field.strip_prefix(GROUP) {
        return Some(parameter.to_owned());
    }
    let known = match field.trim_start_matches("--") {
        "master" => "url",
        "db" => "store",
        "allow-path" => "allow_paths",
        "allow-host" => "allow_hosts",
        "max-concurrent-jobs" => "slots",
        "Authorization" => "api_key",
        "Idempotency-Key" => "idempotency_key",
        "job_id" => "job",
        _ => return field.strip_prefix("--").map(|flag| flag.replace('-', "_")),
    };
    Some(known.to_owned())
}
