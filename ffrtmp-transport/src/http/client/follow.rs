//! Reads server-sent events (WHATWG HTML, section 9.2) as far as a master sends them.

use std::collections::VecDeque;

use ffrtmp_core::coordinator::JobEvent;
use ffrtmp_core::{Code, Error, Result};
use futures::{Stream, StreamExt, stream};
use reqwest::{Response, Url};

use super::fault;

/// A line longer than this is no event of a master.
const MAX_LINE: usize = 1024 * 1024;

/// The events of a response, until it ends or breaks.
pub(super) fn events(response: Response, master: Url) -> impl Stream<Item = Result<JobEvent>> + Send + use<> {
    let chunks = response.bytes_stream().boxed();
    stream::unfold((chunks, Parser::default(), false), move |(mut chunks, mut parser, broken)| {
        let master = master.clone();
        async move {
            if broken {
                return None;
            }
            loop {
                if let Some(data) = parser.ready.pop_front() {
                    let event = serde_json::from_str(&data).map_err(|error| fault::foreign(&master, error));
                    return Some((event, (chunks, parser, false)));
                }
                let outcome = match chunks.next().await? {
                    Ok(chunk) => parser.feed(&chunk),
                    Err(error) => Err(fault::unreachable(&master, error)),
                };
                if let Err(error) = outcome {
                    return Some((Err(error), (chunks, parser, true)));
                }
            }
        }
    })
}

#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    data: String,
    ready: VecDeque<String>,
}

impl Parser {
    fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        for &byte in chunk {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.end_line(&line);
            } else {
                self.line.push(byte);
            }
            if self.line.len() + self.data.len() > MAX_LINE {
                return Err(Error::new(Code::Network, "the event stream is not one of a master"));
            }
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            if !self.data.is_empty() {
                self.ready.push_back(std::mem::take(&mut self.data));
            }
        } else if let Some(data) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_any_cut() {
        let text = ": alive\n\nid: 1-1\nevent: state\ndata: {\"a\":1}\n\ndata: x\r\ndata:y\r\n\r\ndata: unfinished";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            for chunk in text.as_bytes().chunks(size) {
                parser.feed(chunk).unwrap();
            }
            assert_eq!(parser.ready, ["{\"a\":1}", "x\ny"], "chunks of {size}");
        }
        assert!(Parser::default().feed(&vec![b'x'; MAX_LINE + 1]).is_err());
    }
}
