//! A configuration and every file it names, read whole: every error of every file is reported.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::PasswordFile;
use crate::auth::jwt::JwtSettings;
use crate::auth::remote::Introspection;
use crate::config::{
    self, Diagnostic, ListenerSettings, LoadOptions, Located, Origin, Settings, TlsVersion,
};
use crate::net::tls::{self, Tls, TlsSettings};
use crate::policy::acl::{AclError, AclFile, Included};
use crate::policy::{AddressList, Members};

use super::rehash::{Digests, digest_of};
use super::remotes::Remotes;

/// What was read and whether it can be used.
pub(crate) struct Loaded {
    /// As far as it could be understood, if there are errors.
    pub(crate) settings: Settings,
    pub(crate) files: Files,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// An ACL or password file could not be opened at all.
    pub(crate) unreadable: bool,
}

impl Loaded {
    pub(crate) fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
    }

    /// The users of a listener's password file.
    pub(crate) fn users(&self, listener: usize) -> Vec<String> {
        let listener = self.settings.listeners.get(listener);
        let file = listener.and_then(|listener| listener.security.password_file.as_ref());
        let users = file.and_then(|file| self.files.passwords.get(&file.value));
        let names = users.into_iter().flat_map(|users| users.names());
        names.map(str::to_owned).collect()
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.errors().next().is_none()
    }
}

/// The contents of every file a configuration names.
#[derive(Default)]
pub(crate) struct Files {
    pub(super) acls: HashMap<PathBuf, Arc<AclFile>>,
    pub(super) passwords: HashMap<PathBuf, Arc<PasswordFile>>,
    pub(super) password_digests: Digests,
    pub(super) members: HashMap<PathBuf, Arc<Members>>,
    pub(super) tls: Vec<Option<Tls>>,
    pub(super) tokens: Vec<Option<Arc<JwtSettings>>>,
    pub(super) introspections: Vec<Option<Arc<Introspection>>>,
    pub(super) remotes: Remotes,
    /// Allowed and denied, of each listener.
    pub(super) addresses: Vec<[Option<Arc<AddressList>>; 2]>,
}

/// Reads a configuration and every file it names.
pub(crate) fn load(path: Option<&Path>, options: &LoadOptions) -> Loaded {
    let read = config::read(path, options);
    let mut diagnostics = read.diagnostics;
    let mut settings = read.settings;
    let mut reader = Reader {
        files: Files::default(),
        diagnostics: Vec::new(),
        unreadable: false,
    };
    diagnostics.extend(settings.check_permissions());
    diagnostics.extend(settings.check_store_place());
    for listener in &settings.listeners {
        reader.listener(listener);
    }
    if let Some(file) = &settings.abuse.ban_file {
        diagnostics.extend(super::ban_file::problems(&file.value));
    }
    // What ACL files include is watched like what the configuration includes.
    let included = reader.files.acls.values().flat_map(|acl| acl.included());
    let included = included.map(|path| PathBuf::from(&**path));
    settings.files.extend(included);
    // Listeners may share a file; what is wrong in it is told once.
    for diagnostic in reader.diagnostics {
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }
    Loaded {
        settings,
        files: reader.files,
        diagnostics,
        unreadable: reader.unreadable,
    }
}

pub(super) struct Reader {
    files: Files,
    diagnostics: Vec<Diagnostic>,
    unreadable: bool,
}

impl Reader {
    fn listener(&mut self, listener: &ListenerSettings) {
        if let Some(file) = &listener.security.acl_file {
            self.acl(file);
        }
        if let Some(file) = &listener.security.password_file {
            self.passwords(file);
        }
        if let Some(file) = &listener.security.group_file {
            self.members(file);
        }
        let loaded = listener
            .tls
            .as_ref()
            .and_then(|settings| self.tls(settings));
        self.files.tls.push(loaded);
        let tokens = self.tokens(&listener.security.tokens, listener.clientid_from.as_ref());
        self.files.tokens.push(tokens);
        let introspection = self.introspection(
            &listener.security.introspection,
            &listener.security.tokens,
            listener.clientid_from.as_ref(),
        );
        self.files.introspections.push(introspection);
        let addresses = [
            &listener.allow_addresses_file,
            &listener.deny_addresses_file,
        ]
        .map(|file| self.addresses(file.as_ref()?));
        self.files.addresses.push(addresses);
    }

    pub(super) fn bytes(&mut self, file: &Located<PathBuf>, what: &str) -> Option<Vec<u8>> {
        match fs::read(&file.value) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.unreadable = true;
                let (path, error) = (file.value.display(), plain(&error));
                self.error(
                    &file.origin,
                    format!("{what} {path} cannot be read: {error}"),
                );
                None
            }
        }
    }

    pub(super) fn text(&mut self, file: &Located<PathBuf>, what: &str) -> Option<String> {
        let bytes = self.bytes(file, what)?;
        // Errors show the line they are about, and a key's are nobody's to see.
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN ") {
            let message = format!("{} is PEM, not {what}", file.value.display());
            self.error(&file.origin, message);
            return None;
        }
        let text = String::from_utf8(bytes).ok();
        if text.is_none() {
            self.error(
                &file.origin,
                format!("{} is not UTF-8", file.value.display()),
            );
        }
        text
    }

    pub(super) fn remotes(&mut self) -> &mut Remotes {
        &mut self.files.remotes
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn error(&mut self, origin: &Origin, message: String) {
        self.push(Diagnostic::error(message).at(origin));
    }

    fn acl(&mut self, file: &Located<PathBuf>) {
        if self.files.acls.contains_key(&file.value) {
            return;
        }
        let Some(text) = self.text(file, "the ACL file") else {
            return;
        };
        let name = file.value.file_name().map_or_else(
            || file.value.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let path = file.value.clone();
        match AclFile::parse_with(&name, &text, &mut |from, written| {
            include(&path, from, written)
        }) {
            Ok(acl) => {
                for warning in acl.warnings() {
                    let (path, source) = match &warning.file {
                        None => (file.value.as_path(), source_line(&text, warning.line)),
                        Some(included) => (Path::new(&**included), None),
                    };
                    self.diagnostics.push(
                        Diagnostic::warning(format!("{}: {}", warning.name, warning.message))
                            .at_line(path, warning.line, None, source),
                    );
                }
                self.files.acls.insert(file.value.clone(), Arc::new(acl));
            }
            Err(errors) => self.acl_errors(file, &text, errors),
        }
    }

    fn members(&mut self, file: &Located<PathBuf>) {
        if self.files.members.contains_key(&file.value) {
            return;
        }
        let Some(text) = self.text(file, "the group file") else {
            return;
        };
        match Members::parse(&text) {
            Ok(members) => {
                let members = Arc::new(members);
                self.files.members.insert(file.value.clone(), members);
            }
            Err(errors) => self.acl_errors(file, &text, errors),
        }
    }

    fn acl_errors(&mut self, file: &Located<PathBuf>, text: &str, errors: Vec<AclError>) {
        for error in errors {
            let (path, source) = match &error.file {
                None => (file.value.as_path(), source_line(text, error.line)),
                Some(included) => (Path::new(&**included), None),
            };
            self.diagnostics
                .push(Diagnostic::error(error.message).at_line(
                    path,
                    error.line,
                    Some(error.column),
                    source,
                ));
        }
    }

    fn addresses(&mut self, file: &Located<PathBuf>) -> Option<Arc<AddressList>> {
        let text = self.text(file, "the list of addresses")?;
        match AddressList::parse(&text) {
            Ok(list) => Some(Arc::new(list)),
            Err(errors) => {
                for error in errors {
                    let source = source_line(&text, error.line);
                    self.push(Diagnostic::error(error.message).at_line(
                        &file.value,
                        error.line,
                        None,
                        source,
                    ));
                }
                None
            }
        }
    }

    fn passwords(&mut self, file: &Located<PathBuf>) {
        if self.files.passwords.contains_key(&file.value) {
            return;
        }
        let Some(text) = self.bytes(file, "the password file") else {
            return;
        };
        let text = zeroize::Zeroizing::new(text);
        let digest = digest_of(&text);
        self.files
            .password_digests
            .insert(file.value.clone(), digest);
        match PasswordFile::parse(&text) {
            Ok((passwords, warnings)) => {
                for warning in warnings {
                    self.diagnostics
                        .push(Diagnostic::warning(warning.message).at_line(
                            &file.value,
                            warning.line,
                            None,
                            None,
                        ));
                }
                self.files
                    .passwords
                    .insert(file.value.clone(), Arc::new(passwords));
            }
            Err(errors) => {
                for error in errors {
                    // Without the line itself: it may be a password in clear.
                    let mut diagnostic = Diagnostic::error(error.message).at_line(
                        &file.value,
                        error.line,
                        Some(error.column),
                        None,
                    );
                    if let Some(help) = error.help {
                        diagnostic = diagnostic.help(help);
                    }
                    self.diagnostics.push(diagnostic);
                }
            }
        }
    }

    fn tls_problem(
        &mut self,
        settings: &config::TlsSettings,
        problem: &tls::TlsError,
        diagnostic: impl FnOnce(String) -> Diagnostic,
    ) {
        let message = format!("{}: {}", problem.file.display(), problem.message);
        let mut diagnostic = diagnostic(message).at(origin_of(settings, &problem.file));
        if let Some(help) = &problem.help {
            diagnostic = diagnostic.help(help);
        }
        self.diagnostics.push(diagnostic);
    }

    fn tls(&mut self, settings: &config::TlsSettings) -> Option<Tls> {
        match tls::load(&tls_settings(settings)) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    self.tls_problem(settings, warning, Diagnostic::warning);
                }
                Some(loaded)
            }
            Err(errors) => {
                for error in &errors {
                    self.tls_problem(settings, error, Diagnostic::error);
                }
                None
            }
        }
    }
}

/// The directive that names `file`, or the directory it is in.
fn origin_of<'a>(settings: &'a config::TlsSettings, file: &Path) -> &'a Origin {
    let named = [
        Some(&settings.certfile),
        Some(&settings.keyfile),
        settings.cafile.as_ref(),
        settings.crlfile.as_ref(),
        settings.ocsp_file.as_ref(),
        settings.capath.as_ref(),
    ];
    named
        .into_iter()
        .flatten()
        .find(|located| file.starts_with(&located.value))
        .map_or(&settings.certfile.origin, |located| &located.origin)
}

/// Reads a file that an ACL file includes: a relative path begins where the including file is.
pub(super) fn include(main: &Path, from: Option<&str>, written: &str) -> Result<Included, String> {
    let from = from.map_or(main, Path::new);
    let path = from.parent().unwrap_or(Path::new("")).join(written);
    let shown = path.display();
    let bytes =
        fs::read(&path).map_err(|error| format!("{shown} cannot be read: {}", plain(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(Included {
        path: path
            .to_str()
            .ok_or_else(|| format!("{shown} is not UTF-8"))?
            .into(),
        name: name.to_string_lossy().into_owned(),
        text,
    })
}

pub(super) fn source_line(text: &str, line: u32) -> Option<&str> {
    text.lines()
        .nth(usize::try_from(line).ok()?.checked_sub(1)?)
}

/// The system's words without the number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn tls_settings(settings: &config::TlsSettings) -> TlsSettings {
    let names = |names: &Option<Vec<&'static str>>| {
        names
            .as_ref()
            .map(|names| names.iter().map(|&name| name.to_owned()).collect())
    };
    let path = |file: &Option<Located<PathBuf>>| file.as_ref().map(|file| file.value.clone());
    TlsSettings {
        certfile: settings.certfile.value.clone(),
        keyfile: settings.keyfile.value.clone(),
        cafile: path(&settings.cafile),
        capath: path(&settings.capath),
        crlfile: path(&settings.crlfile),
        ocsp_file: path(&settings.ocsp_file),
        require_certificate: settings.require_certificate,
        request_certificate: settings.request_certificate,
        tls12: settings.minimum_version == TlsVersion::Tls12,
        ciphers: names(&settings.ciphers),
        ciphers_tls13: names(&settings.ciphers_tls13),
    }
}
