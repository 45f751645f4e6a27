//! Files into one sequence of lines, `include_dir` expanded where it stands.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Diagnostic;
use crate::config::lexer::{self, Line};
use crate::config::value;

/// One step of reading.
#[derive(Debug)]
pub(super) enum Step {
    /// A line.
    Line(Line),
    /// An included file begins: nothing is current in it.
    Enter,
    /// It ends: what was current before is current again.
    Leave,
}

/// Where a configuration was read from.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Every file that could be read, in order.
    pub(super) files: Vec<PathBuf>,
    /// Every directory that is included, whether it could be read or not.
    pub(super) directories: Vec<PathBuf>,
}

/// A configuration file is written by people; beyond this something is wrong with the path.
const LARGEST_FILE_BYTES: u64 = 4 << 20;

/// Reads `path` and what it includes.
pub(super) fn read(path: &Path, places: &mut Places, problems: &mut Vec<Diagnostic>) -> Vec<Step> {
    match read_file(path) {
        Ok(bytes) => {
            places.files.push(path.to_owned());
            expand(path, &bytes, places, problems)
        }
        Err(error) => {
            problems.push(
                Diagnostic::error(format!("cannot read the configuration: {error}")).in_file(path),
            );
            Vec::new()
        }
    }
}

/// As [`read`] with the bytes of the main file at hand.
pub(super) fn expand(
    path: &Path,
    bytes: &[u8],
    places: &mut Places,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in lexer::lex(&Arc::from(path), bytes, problems) {
        if line.name() != INCLUDE_DIR {
            steps.push(Step::Line(line));
            continue;
        }
        match value::text(&line) {
            Ok(directory) => include(&line, Path::new(directory), places, problems, &mut steps),
            Err(error) => {
                problems.push(Diagnostic::error(error.message).at(&line.origin(error.at, false)));
            }
        }
    }
    steps
}

const INCLUDE_DIR: &str = "include_dir";

fn include(
    line: &Line,
    directory: &Path,
    places: &mut Places,
    problems: &mut Vec<Diagnostic>,
    steps: &mut Vec<Step>,
) {
    let origin = line.origin(line.value_at(), false);
    places.directories.push(directory.to_owned());
    let names = match included_names(directory) {
        Ok(names) => names,
        Err(error) => {
            problems
                .push(Diagnostic::error(format!("cannot read the directory: {error}")).at(&origin));
            return;
        }
    };
    for name in names {
        let path = directory.join(name);
        let bytes = match read_file(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                problems.push(
                    Diagnostic::error(format!("cannot include {}: {error}", path.display()))
                        .at(&origin),
                );
                continue;
            }
        };
        places.files.push(path.clone());
        steps.push(Step::Enter);
        for line in lexer::lex(&Arc::from(path.as_path()), &bytes, problems) {
            if line.name() == INCLUDE_DIR {
                problems.push(
                    Diagnostic::error("an included file cannot include others")
                        .at(&line.origin(line.name_at(), false))
                        .help("move the line to the main configuration file"),
                );
            } else {
                steps.push(Step::Line(line));
            }
        }
        steps.push(Step::Leave);
    }
}

/// The `.conf` names of `directory` in mosquitto's order, hidden ones included.
pub(crate) fn included_names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        // A name that is not UTF-8 could not be shown in a diagnostic; say so rather than skip it.
        let ends = name.as_encoded_bytes().ends_with(b".conf");
        if ends && name.as_encoded_bytes().len() > ".conf".len() {
            names.push(name.into_string().map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a file name in it is not valid UTF-8",
                )
            })?);
        }
    }
    names.sort_by(|a, b| mosquitto_order(a, b));
    Ok(names)
}

/// Byte by byte: first without regard to case, and where only the case differs upper before lower.
pub(super) fn mosquitto_order(a: &str, b: &str) -> Ordering {
    for (x, y) in a.bytes().zip(b.bytes()) {
        let order = x
            .to_ascii_uppercase()
            .cmp(&y.to_ascii_uppercase())
            .then(x.cmp(&y));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than 4 MiB",
        ));
    }
    Ok(bytes)
}
