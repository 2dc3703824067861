//! The binary: reads the command line, runs the server.

#![forbid(unsafe_code)]

mod active_queries;
mod auto_reload;
mod build;
mod config_file;
mod environment;
mod features;
mod flags;
mod log;
mod memory;
mod observer;
mod process_metrics;
#[cfg(feature = "profile")]
mod profile;
mod run;
mod settings;
mod store;

use std::process::ExitCode;

use crate::environment::Environment;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

fn main() -> ExitCode {
    allocator::keep_free_memory_shortly();
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
            // An error means that a provider is set already, which none of ours does.
            let _ = rustls::crypto::ring::default_provider().install_default();
            run::run(&program, flags, Environment::read())
        }
        Err(error) => {
            print!("{}", error.usage);
            eprintln!("{}", error.message);
            ExitCode::from(error.code)
        }
    }
}
