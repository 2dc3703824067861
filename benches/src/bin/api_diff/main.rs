//! Sends two servers the same requests and tells where their answers differ:
//! status, headers that mean something, and body.
//!
//! ```sh
//! cargo run --release -p benches --bin api_diff -- FILE PORT_A PORT_B [T=SECONDS] [-v] [-c CHANGES]
//! ```
//!
//! `CHANGES` tells what an older server does otherwise, see [`changes`].
//!
//! `FILE` has one request a line, see [`script`]. Lists of objects are sorted
//! before they are compared, for they have no order; everything else is
//! compared as it was written, down to the escapes of a text and the digits of
//! a number. What changes with time is masked by a rule of the request that
//! names it; a difference on purpose is told by a rule too, and counted apart.

#![forbid(unsafe_code)]

mod changes;
mod client;
mod compare;
mod json;
mod script;

use std::collections::BTreeMap;
use std::process::ExitCode;

use changes::Changes;
use script::Request;

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let verbose = args.iter().position(|arg| arg == "-v").map(|at| args.remove(at)).is_some();
    let changes = args.iter().position(|arg| arg == "-c").and_then(|at| {
        let end = args.len().min(at + 2);
        args.drain(at..end).next_back()
    });
    let changes = match changes.map(|file| Changes::read(&file)) {
        None => Changes::default(),
        Some(Ok(changes)) => changes,
        Some(Err(error)) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let [file, port_a, port_b, rest @ ..] = args.as_slice() else {
        eprintln!("usage: api_diff FILE PORT_A PORT_B [T=SECONDS] [-v] [-c CHANGES]");
        return ExitCode::from(2);
    };
    let (Ok(a), Ok(b)) = (port_a.parse::<u16>(), port_b.parse::<u16>()) else {
        eprintln!("ports are numbers");
        return ExitCode::from(2);
    };
    let time = rest.iter().find_map(|arg| arg.strip_prefix("T=")).and_then(|text| text.parse().ok());
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    let requests = match script::parse(&text, time.unwrap_or(0)) {
        Ok(requests) => requests,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    let mut tally = Tally::default();
    for request in &requests {
        tally.ask(request, a, b, &changes, verbose);
    }
    for (reason, count) in &tally.reasons {
        println!("{count:5} {reason}");
    }
    println!(
        "requests: {}, equal: {}, explained: {}, different: {}, explanations without a difference: {}",
        requests.len(),
        tally.equal,
        tally.explained,
        tally.different,
        tally.stale
    );
    ExitCode::from(u8::from(tally.different + tally.stale > 0))
}

#[derive(Default)]
struct Tally {
    equal: usize,
    explained: usize,
    different: usize,
    stale: usize,
    /// How many differences each reason explains.
    reasons: BTreeMap<String, usize>,
}

impl Tally {
    fn ask(&mut self, request: &Request, a: u16, b: u16, changes: &Changes, verbose: bool) {
        let difference = match (client::send(a, request), client::send(b, request)) {
            (Ok(from_a), Ok(from_b)) => {
                if verbose {
                    println!("{}\n    {}\n    {}", request.line, from_a.short(), from_b.short());
                }
                compare::difference(&from_a, &from_b, &request.rules, changes.headers())
            }
            (from_a, from_b) => {
                let show = |answer: std::io::Result<client::Answer>| match answer {
                    Ok(answer) => answer.status.to_string(),
                    Err(error) => error.to_string(),
                };
                Some(format!("{} / {}", show(from_a), show(from_b)))
            }
        };
        let reason = match &difference {
            Some(difference) => {
                request.reason().or_else(|| changes.reason(&request.line, difference)).map(str::to_owned)
            }
            None => request.reason().filter(|_| changes.is_empty()).map(str::to_owned),
        };
        match (difference, reason) {
            (None, None) => self.equal += 1,
            (Some(_), Some(reason)) => {
                self.explained += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
            (None, Some(reason)) => {
                self.stale += 1;
                println!("EQUAL {}\n    though it says: {reason}", request.line);
            }
            (Some(difference), None) => {
                self.different += 1;
                println!("DIFFERENT {}\n    {difference}", request.line);
            }
        }
    }
}
