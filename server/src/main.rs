//! The binary: reads the command line, runs the server.

#![forbid(unsafe_code)]

mod build;
mod flags;
mod log;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or("narthex").to_owned();
    match flags::parse(&program, args) {
        Ok(flags::Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(flags::Invocation::Run(flags)) => {
            log::init(flags.text("log.level"), flags.text("log.format"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", error.message);
            ExitCode::from(error.code)
        }
    }
}
