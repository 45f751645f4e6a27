//! Build it, run it, reload it, stop it.
//!
//! `main` reads the command line and calls one of the commands. `generation` turns settings into
//! everything that can be exchanged while the broker runs; `broker` has the parts that stay.

pub mod cli;

mod abuse;
mod acl;
mod ban_file;
mod bans;
mod check;
mod denied;
mod generation;
mod keeping;
mod passwd;
mod password_rules;
mod process;
mod quickstart;
mod reading;
mod rehash;
mod remotes;
mod replace;
mod running;
mod serve;
mod store;
mod tokens;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use cli::{Command, Environment, INVALID, OK, Stop};

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let stop = match cli::parse(std::env::args_os()) {
        Ok(cli) => match dispatch(cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(stop) => stop,
        },
        Err(stop) => stop,
    };
    if stop.code == OK {
        out(&stop.text);
    } else {
        err(&stop.text);
    }
    ExitCode::from(stop.code)
}

fn dispatch(cli: cli::Cli) -> Result<(), Stop> {
    let environment = Environment::read();
    match cli.command {
        None if cli.run.test_config => check::test_config(&cli.run, environment),
        None => serve::run(&cli.run, environment),
        Some(Command::Quickstart(arguments)) => quickstart::run(&arguments),
        Some(Command::Passwd(arguments)) => passwd::run(&arguments),
        Some(Command::Bans(arguments)) => bans::run(&arguments),
        Some(Command::Check(arguments)) => check::check(&arguments, environment),
        Some(Command::Acl(command)) => acl::run(&command, environment),
        Some(Command::Store(command)) => store::run(&command, environment),
        Some(Command::Directives(arguments)) => {
            out(&match (arguments.markdown, arguments.conf) {
                (true, _) => crate::config::markdown(),
                (_, true) => crate::config::conf(),
                _ => crate::config::listing(),
            });
            Ok(())
        }
    }
}

/// Writes to standard output; whoever closed it does not want to read.
fn out(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Writes to standard error.
fn err(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn invalid(text: impl Into<String>) -> Stop {
    Stop {
        code: INVALID,
        text: text.into(),
    }
}
