//! `acl check`: errors, and the traps of the grammar by their names.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::app::cli::{Environment, ProfileOption, Stop, UNREADABLE_FILE};
use crate::app::reading::{include, source_line};
use crate::app::{err, invalid, out};
use crate::config::{Diagnostic, SecurityProfile, Severity};
use crate::policy::acl::AclFile;

/// `acl check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The ACL files; what they include is read too.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object for a program to read.
    #[arg(long)]
    json: bool,
    /// The profile: hardened, the default, makes warnings errors.
    #[command(flatten)]
    profile: ProfileOption,
}

/// Something found; `name` is that of a warning.
struct Finding {
    name: Option<&'static str>,
    diagnostic: Diagnostic,
}

impl Finding {
    fn is_error(&self) -> bool {
        self.diagnostic.severity == Severity::Error
    }

    fn json(&self) -> Value {
        let Diagnostic {
            file,
            line,
            column,
            severity,
            message,
            ..
        } = &self.diagnostic;
        json!({
            "file": file.as_ref().map(|file| file.display().to_string()),
            "line": line,
            "column": column,
            "severity": severity.to_string(),
            "name": self.name.unwrap_or("syntax"),
            "message": message,
        })
    }
}

/// Runs it.
pub(super) fn run(arguments: &Check, environment: Environment) -> Result<(), Stop> {
    let options = arguments.profile.load_options(environment)?;
    let profile = options.profile.map(|(profile, _)| profile);
    let is_hardened = profile.unwrap_or_default() == SecurityProfile::Hardened;
    let mut findings = Vec::new();
    let mut is_unreadable = false;
    for file in &arguments.files {
        match super::read(file) {
            Ok(text) => findings.extend(examine(file, &text, is_hardened)),
            Err(stop) => {
                is_unreadable = true;
                let message = stop.text.trim_start_matches("error: ").trim_end();
                findings.push(Finding {
                    name: Some("unreadable"),
                    diagnostic: Diagnostic::error(message),
                });
            }
        }
    }
    let errors = findings.iter().filter(|found| found.is_error()).count();
    let warnings = findings.len() - errors;
    if arguments.json {
        let list: Vec<Value> = findings.iter().map(Finding::json).collect();
        let whole = json!({"errors": errors, "warnings": warnings, "findings": list});
        out(&format!("{whole:#}\n"));
    } else {
        for found in &findings {
            err(&format!("{}\n", found.diagnostic));
        }
        out(&format!(
            "{} file(s), {errors} error(s), {warnings} warning(s)\n",
            arguments.files.len()
        ));
    }
    // Everything is said already.
    let ended = |code| Stop {
        code,
        text: String::new(),
    };
    match (is_unreadable, errors) {
        (true, _) => Err(ended(UNREADABLE_FILE)),
        (false, 0) => Ok(()),
        (false, _) => Err(invalid("")),
    }
}

fn examine(file: &Path, text: &str, is_hardened: bool) -> Vec<Finding> {
    let name = super::shown_name(file);
    let place = |included: Option<&str>, line: u32| match included {
        None => (file.to_owned(), source_line(text, line)),
        Some(included) => (PathBuf::from(included), None),
    };
    let parsed = AclFile::parse_with(&name, text, &mut |from, path| include(file, from, path));
    let acl = match parsed {
        Ok(acl) => acl,
        Err(errors) => {
            return errors
                .into_iter()
                .map(|error| {
                    let (path, source) = place(error.file.as_deref(), error.line);
                    let column = Some(error.column);
                    let diagnostic = Diagnostic::error(error.message);
                    Finding {
                        name: None,
                        diagnostic: diagnostic.at_line(&path, error.line, column, source),
                    }
                })
                .collect();
        }
    };
    let mut warnings: Vec<_> = acl.warnings().iter().collect();
    warnings.sort_by_key(|warning| (&warning.file, warning.line));
    warnings
        .into_iter()
        .map(|warning| {
            let message = format!("{}: {}", warning.name, warning.message);
            let diagnostic = if is_hardened && warning.is_dangerous() {
                Diagnostic::error(message)
            } else {
                Diagnostic::warning(message)
            };
            let (path, source) = place(warning.file.as_deref(), warning.line);
            Finding {
                name: Some(warning.name),
                diagnostic: diagnostic.at_line(&path, warning.line, None, source),
            }
        })
        .collect()
}
