//! From a path to [`Settings`].

use std::path::{Path, PathBuf};

use crate::config::builder::Builder;
use crate::config::source::{self, Places, Step};
use crate::config::value;
use crate::config::{Diagnostic, ProfileSource, SecurityProfile, Settings};

/// What the command line and the environment say beside the file.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// A profile that beats the file's, and where it comes from.
    pub profile: Option<(SecurityProfile, ProfileSource)>,
    /// `-p`: loopback ports for local-only mode; ignored when the file has a listener.
    pub ports: Vec<u16>,
    /// `-v` and `-q`.
    pub verbosity: Verbosity,
    /// A location that beats `persistence_location`, as mosquitto has it.
    pub persistence_location: Option<PathBuf>,
}

/// What `-v` and `-q` make of `log_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// The file decides.
    #[default]
    FromFile,
    /// `-v`: everything is logged.
    Verbose,
    /// `-q`: nothing is logged.
    Quiet,
}

/// What came of reading: settings as far as they could be understood, and everything to say.
///
/// With an error among the diagnostics the settings must not be run; they are there so that the
/// files they name can be checked in the same pass.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, whole only if no diagnostic is an error.
    pub settings: Settings,
    /// Errors and warnings, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether nothing prevents these settings from running.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The settings and the warnings, or everything there is to say.
    pub fn into_result(self) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
        if self.is_ok() {
            Ok((self.settings, self.diagnostics))
        } else {
            Err(self.diagnostics)
        }
    }
}

/// Reads `path` and what it includes; without a path, local-only mode.
pub fn load(
    path: Option<&Path>,
    options: &LoadOptions,
) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
    read(path, options).into_result()
}

/// As [`load`], with settings even where there are errors: the files they name can be checked in
/// the same pass, so that every error is reported at once.
pub fn read(path: Option<&Path>, options: &LoadOptions) -> Loaded {
    let (mut places, mut problems) = (Places::default(), Vec::new());
    let steps = path
        .map(|path| source::read(path, &mut places, &mut problems))
        .unwrap_or_default();
    build(&steps, places, problems, options)
}

/// As [`read`] with the main file's bytes at hand; `name` is what diagnostics call it.
pub fn read_text(name: &Path, bytes: &[u8], options: &LoadOptions) -> Loaded {
    let (mut places, mut problems) = (Places::default(), Vec::new());
    places.files.push(name.to_owned());
    let steps = source::expand(name, bytes, &mut places, &mut problems);
    build(&steps, places, problems, options)
}

fn build(
    steps: &[Step],
    places: Places,
    mut problems: Vec<Diagnostic>,
    options: &LoadOptions,
) -> Loaded {
    let (profile, source) = profile(steps, options, &mut problems);
    let mut builder = Builder::new(profile, source, problems);
    for step in steps {
        match step {
            Step::Line(line) => builder.line(line),
            Step::Enter => builder.enter_file(),
            Step::Leave => builder.leave_file(),
        }
    }
    let (mut settings, mut diagnostics) = builder.finish(options);
    settings.files = places.files;
    settings.include_dirs = places.directories;
    let order = |diagnostic: &Diagnostic| {
        let file = diagnostic.file.as_deref();
        let position = settings
            .files
            .iter()
            .position(|known| Some(known.as_path()) == file);
        (position.unwrap_or(usize::MAX), diagnostic.line)
    };
    diagnostics.sort_by_key(order);
    Loaded {
        settings,
        diagnostics,
    }
}

/// The profile decides the defaults, so it is looked for before any other line is read.
fn profile(
    steps: &[Step],
    options: &LoadOptions,
    problems: &mut Vec<Diagnostic>,
) -> (SecurityProfile, ProfileSource) {
    let mut chosen = None;
    for step in steps {
        let Step::Line(line) = step else { continue };
        if line.name() != "security_profile" {
            continue;
        }
        let word = value::first(line).and_then(|word| value::choice(word, &SecurityProfile::NAMES));
        match word {
            // A second line is reported when the lines are read.
            Ok(index) => chosen = chosen.or(Some((SecurityProfile::ALL[index], line))),
            Err(error) => {
                let mut problem =
                    Diagnostic::error(error.message).at(&line.origin(error.at, false));
                problem.help = error.help;
                problems.push(problem);
            }
        }
    }
    let Some((profile, source)) = options.profile else {
        return chosen.map_or_else(Default::default, |(profile, _)| {
            (profile, ProfileSource::Configuration)
        });
    };
    if let Some((written, line)) = chosen
        && written != profile
    {
        problems.push(
            Diagnostic::warning(format!("the profile is {profile}, {source}"))
                .at(&line.origin(line.name_at(), false))
                .help("the command line and the environment beat this line"),
        );
    }
    (profile, source)
}
