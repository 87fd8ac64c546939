//! `sluice-dataplane`: the switch of a node.
//!
//! Configuration ([`config`]), start and stop order ([`run`]), and what the system around wants:
//! `/metrics` ([`http`]) and systemd's notifications ([`notify`]). Everything else is in `agent`
//! and `worker`.

mod balance;
mod config;
mod connections;
mod cpus;
mod eal;
mod fragments;
mod http;
mod notify;
mod run;
mod sizes;
mod tracking;

use std::process::ExitCode;

use config::Usage;

fn main() -> ExitCode {
    let config = match config::read(std::env::args_os()) {
        Ok(config) => config,
        Err(Usage::Help(text)) => {
            #[allow(clippy::print_stdout)] // what was asked for
            {
                print!("{text}");
            }
            return ExitCode::SUCCESS;
        }
        Err(Usage::Wrong(why)) => {
            say(&why);
            return ExitCode::from(2);
        }
    };
    run::log_to_stderr();
    match run::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, however the causes are nested.
            say(&format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)] // errors go to stderr, by contract
fn say(error: &str) {
    eprintln!("sluice-dataplane: {error}");
}
