//! `acl convert`: a file of mosquitto's as version 2.

use std::path::PathBuf;

use clap::Args;

use crate::app::cli::Stop;
use crate::app::reading::source_line;
use crate::app::{err, invalid};
use crate::config::Diagnostic;
use crate::policy::acl::{ConvertError, convert};

/// `acl convert`.
#[derive(Clone, Debug, Args)]
pub struct Convert {
    /// The file in mosquitto's grammar.
    file: PathBuf,
    /// Write here instead of to standard output.
    #[arg(short = 'o', long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Write it although some lines mean something else then.
    #[arg(long)]
    force: bool,
}

/// Runs it.
pub(super) fn run(arguments: &Convert) -> Result<(), Stop> {
    let file = &arguments.file;
    let text = super::read(file)?;
    let at = |diagnostic: Diagnostic, line, column| {
        let diagnostic = diagnostic.at_line(file, line, column, source_line(&text, line));
        format!("{diagnostic}\n")
    };
    let converted = convert(&text).map_err(|error| match error {
        ConvertError::IsVersion2 => invalid(format!(
            "error: {} is of version 2 already\n",
            file.display()
        )),
        ConvertError::Invalid(errors) => {
            let errors = errors.into_iter();
            invalid(
                errors
                    .map(|error| {
                        at(
                            Diagnostic::error(error.message),
                            error.line,
                            Some(error.column),
                        )
                    })
                    .collect::<String>(),
            )
        }
    })?;
    let told = |(line, message): &(u32, String)| {
        let message = format!("means something else in version 2: {message}");
        let diagnostic = if arguments.force {
            Diagnostic::warning(message)
        } else {
            Diagnostic::error(message)
        };
        at(diagnostic, *line, None)
    };
    let conflicts: String = converted.conflicts.iter().map(told).collect();
    if !conflicts.is_empty() && !arguments.force {
        return Err(invalid(format!(
            "{conflicts}help: in version 2 every deny beats every grant; write these rules so that no deny \
             covers what is granted, or convert with --force and look at each of them\n"
        )));
    }
    err(&conflicts);
    for note in &converted.notes {
        err(&format!("note: {note}\n"));
    }
    super::write(arguments.output.as_deref(), &converted.text)
}
