//! Shorthands for reading a configuration from a string.

use std::path::Path;

use portcullis::config::{
    Diagnostic, LoadOptions, Loaded, ProfileSource, SecurityProfile, Settings,
};

/// Reads `text` as `portcullis.conf` with no options.
pub(crate) fn read(text: &str) -> Loaded {
    portcullis::config::read_text(
        Path::new("portcullis.conf"),
        text.as_bytes(),
        &LoadOptions::default(),
    )
}

/// As [`read`] in the compatible profile.
pub(crate) fn read_compatible(text: &str) -> Loaded {
    let options = LoadOptions {
        profile: Some((SecurityProfile::Compatible, ProfileSource::CommandLine)),
        ..LoadOptions::default()
    };
    portcullis::config::read_text(Path::new("portcullis.conf"), text.as_bytes(), &options)
}

/// The settings of a text without errors.
pub(crate) fn settings(text: &str) -> Settings {
    let loaded = read(text);
    assert_eq!(errors(&loaded), Vec::<String>::new(), "in\n{text}");
    loaded.settings
}

/// The first lines of all errors.
pub(crate) fn errors(loaded: &Loaded) -> Vec<String> {
    loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .map(Diagnostic::headline)
        .collect()
}

/// The first lines of all warnings.
pub(crate) fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| !diagnostic.is_error())
        .map(Diagnostic::headline)
        .collect()
}

/// The only error of `text`, rendered whole.
pub(crate) fn only_error(text: &str) -> String {
    let loaded = read(text);
    let errors: Vec<String> = loaded
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors.len(), 1, "in\n{text}\n{errors:#?}");
    errors.into_iter().next().unwrap_or_default()
}
