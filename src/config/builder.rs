//! Lines into settings: follows which listener and plugin is current and applies the table.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::changes::{Entry, Owner};
use crate::config::directive::{Directive, Repeat, Scope, Set, Structure, Support};
use crate::config::lexer::{self, Line};
use crate::config::settings::{
    Bind, DEFAULT_PORT, ListenerSettings, SecurityGroup, Settings, TlsVersion,
};
use crate::config::table;
use crate::config::value::{self, Value, ValueError};
use crate::config::{Diagnostic, LoadOptions, Located, Origin, ProfileSource, SecurityProfile};

/// A listener while its lines are read.
#[derive(Clone, Debug)]
pub(super) struct ListenerDraft {
    pub(super) settings: ListenerSettings,
    /// `listener_allow_anonymous` and its line.
    pub(super) allow_anonymous: Option<(bool, Origin)>,
    /// `listener_auto_id_prefix`.
    pub(super) auto_id_prefix: Option<String>,
    pub(super) tls: TlsParts,
    /// `plugin_use`.
    pub(super) plugins: Vec<Located<String>>,
}

/// TLS options as they were written, before it is known whether they make a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsParts {
    pub(super) certfile: Option<Located<PathBuf>>,
    pub(super) keyfile: Option<Located<PathBuf>>,
    pub(super) cafile: Option<Located<PathBuf>>,
    pub(super) capath: Option<Located<PathBuf>>,
    pub(super) crlfile: Option<Located<PathBuf>>,
    pub(super) require_certificate: bool,
    pub(super) use_identity: bool,
    pub(super) use_subject: bool,
    pub(super) minimum_version: TlsVersion,
    pub(super) ciphers: Option<Vec<&'static str>>,
    pub(super) ciphers_tls13: Option<Vec<&'static str>>,
}

/// A plugin that is really a file.
#[derive(Clone, Debug)]
pub(super) struct PluginDraft {
    pub(super) kind: PluginKind,
    pub(super) attached: Attached,
    pub(super) origin: Origin,
    pub(super) file: Option<Located<PathBuf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PluginKind {
    AclFile,
    PasswordFile,
    /// Refused already; its options are not reported again.
    Refused,
}

/// Which listeners a plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attached {
    Everywhere,
    To(Owner),
    /// To those that say `plugin_use` with this name.
    Named(String),
}

/// What the next line belongs to.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    listener: Option<usize>,
    plugin: Option<usize>,
}

/// Reads lines, one after the other, and reports everything it finds.
pub(super) struct Builder {
    pub(super) settings: Settings,
    pub(super) listeners: Vec<ListenerDraft>,
    /// Takes the listener directives that stand before any `listener`.
    pub(super) default_listener: ListenerDraft,
    /// The `port` or `bind_address` line that makes it a listener.
    pub(super) default_origin: Option<Origin>,
    /// Listener directives that stand before any `listener`.
    pub(super) homeless: Vec<(&'static str, Origin)>,
    pub(super) plugins: Vec<PluginDraft>,
    pub(super) problems: Vec<Diagnostic>,
    /// Owners with a line that could not be understood; what is missing from them may only be
    /// missing because of that.
    pub(super) tainted: BTreeSet<Owner>,
    context: Context,
    outer: Context,
    security_line: Option<Origin>,
    bridge_reported: bool,
    warned: BTreeSet<&'static str>,
}

impl Builder {
    pub(super) fn new(
        profile: SecurityProfile,
        source: ProfileSource,
        problems: Vec<Diagnostic>,
    ) -> Self {
        let mut settings = Settings::blank(profile, source);
        let mut security = SecurityGroup::default();
        for directive in table::directives() {
            if let Some(line) = default_line(directive, profile) {
                match &directive.set {
                    Set::Global(value) => {
                        default_applies(directive, value.read(&mut settings, &line))
                    }
                    Set::Security(value) => {
                        default_applies(directive, value.read(&mut security, &line))
                    }
                    _ => {}
                }
            }
        }
        settings.security = security;
        let bind = Bind::Tcp {
            host: None,
            port: DEFAULT_PORT,
        };
        Self {
            default_listener: draft(bind, Origin::default(), &settings),
            settings,
            listeners: Vec::new(),
            default_origin: None,
            homeless: Vec::new(),
            plugins: Vec::new(),
            problems,
            tainted: BTreeSet::new(),
            context: Context::default(),
            outer: Context::default(),
            security_line: None,
            bridge_reported: false,
            warned: BTreeSet::new(),
        }
    }

    /// An included file begins without a current listener or plugin.
    pub(super) fn enter_file(&mut self) {
        self.outer = std::mem::take(&mut self.context);
    }

    pub(super) fn leave_file(&mut self) {
        self.context = std::mem::take(&mut self.outer);
    }

    pub(super) fn line(&mut self, line: &Line) {
        let Some(directive) = table::directive(line.name()) else {
            self.unknown(line);
            return;
        };
        match directive.support {
            Support::Refused { .. } if matches!(directive.set, Set::Nothing) => {
                self.refused(directive, line)
            }
            Support::AcceptedWithWarning(warning) => self.ignored(directive, warning, line),
            _ => self.apply(directive, line),
        }
    }

    fn apply(&mut self, directive: &'static Directive, line: &Line) {
        let owner = self.owner(directive);
        if !self.may_stand_here(directive, owner, line) {
            return;
        }
        let result = match &directive.set {
            Set::Global(value) => {
                self.warn_ignored_text(value, line);
                value.read(&mut self.settings, line)
            }
            Set::Security(value) => {
                self.warn_ignored_text(value, line);
                let group = match owner {
                    Owner::Global => &mut self.settings.security,
                    owner => &mut self.draft(owner).settings.security,
                };
                let result = value.read(group, line);
                self.security_line
                    .get_or_insert_with(|| line.origin(line.name_at(), false));
                result
            }
            Set::Listener(value) => {
                self.warn_ignored_text(value, line);
                value.read(self.draft(owner), line)
            }
            Set::Structure(structure) => self.structure(*structure, directive, line),
            Set::Nothing => return,
        };
        match result {
            Ok(value) => self.note(owner, directive, value, line),
            Err(error) => self.value_error(owner, directive, error, line),
        }
    }

    /// Whose value a directive sets at this point.
    fn owner(&self, directive: &Directive) -> Owner {
        let listener = || {
            self.context
                .listener
                .map_or(Owner::DefaultListener, Owner::Listener)
        };
        match (&directive.set, directive.scope) {
            (Set::Listener(_) | Set::Structure(Structure::PluginUse), _) => listener(),
            (Set::Security(_), _) if self.settings.per_listener_settings => listener(),
            (Set::Structure(Structure::Port | Structure::BindAddress), _) => Owner::DefaultListener,
            (_, Scope::Listener) if matches!(directive.set, Set::Nothing) => listener(),
            _ => Owner::Global,
        }
    }

    pub(super) fn draft(&mut self, owner: Owner) -> &mut ListenerDraft {
        match owner {
            Owner::Listener(number) if number < self.listeners.len() => &mut self.listeners[number],
            _ => &mut self.default_listener,
        }
    }

    /// Repeats that are errors, and lines that need a listener which may never come.
    fn may_stand_here(&mut self, directive: &'static Directive, owner: Owner, line: &Line) -> bool {
        let at_name = line.origin(line.name_at(), directive.secret);
        if directive.repeat == Repeat::Error
            && let Some(first) = self.settings.written.entry(owner, directive.name)
        {
            let problem = Diagnostic::error(format!("`{}` is given twice", directive.name))
                .at(&at_name)
                .help(format!(
                    "it is first given at {}; keep one of the lines",
                    first.origin
                ));
            self.problems.push(problem);
            return false;
        }
        let structural = matches!(
            directive.set,
            Set::Structure(Structure::Port | Structure::BindAddress)
        );
        if owner == Owner::DefaultListener && !structural {
            self.homeless.push((directive.name, at_name));
        }
        true
    }

    /// mosquitto drops the rest of a line in silence; we say so.
    fn warn_ignored_text<T>(&mut self, value: &Value<T>, line: &Line) {
        let (word, message, help) = if let Some(read) = value.words_read() {
            let Some(word) = line
                .words()
                .nth(read)
                .filter(|word| !word.text.starts_with('#'))
            else {
                return;
            };
            (
                word,
                format!("`{}` and what follows is ignored", word.text),
                "remove it, or begin it with `#`",
            )
        } else if value.takes_comment_text() {
            let Some(word) = line.words().skip(1).find(|word| word.text.starts_with('#')) else {
                return;
            };
            (
                word,
                "this is part of the value, not a comment".to_owned(),
                "a comment has its `#` in the first column",
            )
        } else {
            return;
        };
        self.problems.push(
            Diagnostic::warning(message)
                .at(&line.origin(word.at, false))
                .help(help),
        );
    }

    fn note(&mut self, owner: Owner, directive: &'static Directive, value: String, line: &Line) {
        let origin = line.origin(line.name_at(), directive.secret);
        let entry = Entry {
            value: value.clone(),
            origin: origin.clone(),
        };
        let replaced = self
            .settings
            .written
            .note(owner, directive.name, directive.repeat, entry);
        if directive.repeat == Repeat::LastWins
            && let Some(replaced) = replaced
            && replaced.value != value
        {
            self.problems.push(
                Diagnostic::warning(format!(
                    "this replaces the `{}` of {}",
                    directive.name, replaced.origin
                ))
                .at(&origin)
                .help("remove one of the lines"),
            );
        }
    }

    fn value_error(&mut self, owner: Owner, directive: &Directive, error: ValueError, line: &Line) {
        self.tainted.insert(owner);
        let mut problem =
            Diagnostic::error(error.message).at(&line.origin(error.at, directive.secret));
        problem.help = error.help;
        self.problems.push(problem);
    }

    fn unknown(&mut self, line: &Line) {
        self.tainted.insert(Owner::Global);
        self.tainted.insert(
            self.context
                .listener
                .map_or(Owner::DefaultListener, Owner::Listener),
        );
        // The value may be a secret under a misspelt name, so only the name is shown.
        let origin = line.origin(line.name_at(), true);
        let name = line.name();
        let problem = Diagnostic::error(format!("unknown directive `{name}`")).at(&origin);
        self.problems.push(if name.starts_with('#') {
            Diagnostic::error("a comment has its `#` in the first column")
                .at(&origin)
                .help("remove the spaces before it")
        } else if name.starts_with('\u{feff}') {
            Diagnostic::error("the file begins with a byte order mark")
                .at(&origin)
                .help("save it as UTF-8 without one")
        } else if let Some((before, _)) = name.split_once('\t') {
            // What follows the TAB stands in the name, so even the name is cut.
            let mut origin = origin;
            origin.text = Arc::from(format!("{before} …"));
            Diagnostic::error(format!(
                "a TAB follows `{before}`; only spaces separate a name from its value"
            ))
            .at(&origin)
            .help("replace the TAB by a space")
        } else if let Some(known) = table::nearest(name) {
            problem.help(format!("did you mean `{known}`?"))
        } else {
            problem.help("`portcullis directives` lists every directive")
        });
    }

    fn refused(&mut self, directive: &'static Directive, line: &Line) {
        let Support::Refused {
            reason,
            alternative,
            harmless,
        } = directive.support
        else {
            return;
        };
        if line
            .words()
            .next()
            .is_some_and(|word| harmless.contains(&word.text))
        {
            return;
        }
        self.tainted.insert(self.owner(directive));
        self.problems.push(
            Diagnostic::error(format!("`{}` is refused: {reason}", line.name()))
                .at(&line.origin(line.name_at(), directive.secret))
                .help(alternative),
        );
    }

    fn ignored(&mut self, directive: &'static Directive, warning: &'static str, line: &Line) {
        let origin = line.origin(line.name_at(), directive.secret);
        if line.words().next().is_none() {
            self.problems
                .push(Diagnostic::error(format!("`{}` has no value", line.name())).at(&origin));
            return;
        }
        let asks_for_nothing = directive.value == "BOOL"
            && matches!(line.words().next(), Some(word) if matches!(word.text, "false" | "0"));
        // Five persistence lines have one thing to say.
        if !asks_for_nothing && self.warned.insert(warning) {
            self.problems.push(
                Diagnostic::warning(format!("`{}` has no effect: {warning}", line.name()))
                    .at(&origin),
            );
        }
    }

    fn structure(
        &mut self,
        structure: Structure,
        directive: &'static Directive,
        line: &Line,
    ) -> Result<String, ValueError> {
        match structure {
            Structure::Listener => self.listener(line),
            Structure::Port => self.port(line),
            Structure::BindAddress => self.bind_address(line),
            Structure::PerListenerSettings => self.per_listener_settings(line),
            Structure::Plugin => {
                let listener = self
                    .context
                    .listener
                    .map_or(Owner::DefaultListener, Owner::Listener);
                let attached = if self.settings.per_listener_settings {
                    Attached::To(listener)
                } else {
                    Attached::Everywhere
                };
                self.plugin(attached, value::text(line)?, line)
            }
            Structure::GlobalPlugin => self.plugin(Attached::Everywhere, value::text(line)?, line),
            Structure::PluginLoad => {
                let (name, path) = value::text(line)?.split_once(' ').ok_or_else(|| {
                    ValueError::new(line.value_at(), "a name and a path are needed")
                })?;
                self.plugin(Attached::Named(name.to_owned()), path.trim_start(), line)
            }
            Structure::PluginUse => {
                let name = value::first(line)?;
                let origin = line.origin(name.at, false);
                let owner = self.owner(directive);
                self.draft(owner)
                    .plugins
                    .push(Located::new(name.text.to_owned(), origin));
                Ok(name.text.to_owned())
            }
            Structure::PluginOption => self.plugin_option(line),
            Structure::Bridge => {
                self.bridge(directive, line);
                Ok(String::new())
            }
            // Both were read before any other line; their own errors are reported already.
            Structure::SecurityProfile => {
                Ok(value::first(line).map_or("", |word| word.text).to_owned())
            }
            Structure::IncludeDir => Ok(line.value().to_owned()),
        }
    }

    fn listener(&mut self, line: &Line) -> Result<String, ValueError> {
        let origin = line.origin(line.name_at(), false);
        let bind = bind(line).inspect_err(|_| {
            // The lines that follow are this listener's, whatever its address was meant to be.
            let bind = Bind::Tcp {
                host: None,
                port: DEFAULT_PORT,
            };
            self.listeners
                .push(draft(bind, origin.clone(), &self.settings));
            let number = self.listeners.len() - 1;
            self.context.listener = Some(number);
            self.tainted.insert(Owner::Listener(number));
        })?;
        if let Some(first) = self
            .listeners
            .iter()
            .find(|first| first.settings.bind == bind)
        {
            let help = format!("the listener of {} has it already", first.settings.origin);
            self.problems.push(
                Diagnostic::error(format!("listener {bind} is given twice"))
                    .at(&origin)
                    .help(help),
            );
        }
        let written = bind.to_string();
        self.listeners.push(draft(bind, origin, &self.settings));
        self.context.listener = Some(self.listeners.len() - 1);
        Ok(written)
    }

    fn port(&mut self, line: &Line) -> Result<String, ValueError> {
        let port = value::int(value::first(line)?, &(1..=65_535))?;
        if let Bind::Tcp { port: current, .. } = &mut self.default_listener.settings.bind {
            *current = u16::try_from(port).unwrap_or(DEFAULT_PORT);
        }
        self.deprecated_listener(line);
        Ok(port.to_string())
    }

    fn bind_address(&mut self, line: &Line) -> Result<String, ValueError> {
        let address = host(value::first(line)?)?;
        if let Bind::Tcp { host, .. } = &mut self.default_listener.settings.bind {
            *host = Some(address.clone());
        }
        self.deprecated_listener(line);
        Ok(address)
    }

    fn deprecated_listener(&mut self, line: &Line) {
        let origin = line.origin(line.name_at(), false);
        self.problems.push(
            Diagnostic::warning(format!("`{}` is deprecated", line.name()))
                .at(&origin)
                .help("write `listener PORT [ADDRESS]`, before the directives that belong to it"),
        );
        self.default_origin.get_or_insert(origin);
    }

    fn per_listener_settings(&mut self, line: &Line) -> Result<String, ValueError> {
        let word = value::first(line)?;
        let wanted = value::bool(word)?;
        if self.settings.per_listener_settings && !wanted {
            return Err(ValueError::new(
                word.at,
                "`per_listener_settings` cannot go back to false",
            ));
        }
        if wanted
            && !self.settings.per_listener_settings
            && let Some(first) = &self.security_line
        {
            return Err(ValueError::new(line.name_at(), "`per_listener_settings` comes too late").help(format!(
                "{first} is a directive it would have moved to a listener; write this line before it"
            )));
        }
        self.settings.per_listener_settings = wanted;
        Ok(wanted.to_string())
    }

    fn plugin(
        &mut self,
        attached: Attached,
        path: &str,
        line: &Line,
    ) -> Result<String, ValueError> {
        self.security_line
            .get_or_insert_with(|| line.origin(line.name_at(), false));
        let name = path.rsplit('/').next().unwrap_or(path);
        let kind = if name.starts_with("mosquitto_acl_file") {
            PluginKind::AclFile
        } else if name.starts_with("mosquitto_password_file") {
            PluginKind::PasswordFile
        } else {
            PluginKind::Refused
        };
        let origin = line.origin(line.name_at(), false);
        self.plugins.push(PluginDraft {
            kind,
            attached,
            origin,
            file: None,
        });
        self.context.plugin = Some(self.plugins.len() - 1);
        match kind {
            PluginKind::Refused if name.starts_with("mosquitto_dynamic_security") => {
                Err(ValueError::new(
                    line.value_at(),
                    "the dynamic security plugin is not available",
                )
                .help("write its users to a password_file and its roles to an acl_file"))
            }
            PluginKind::Refused => Err(ValueError::new(
                line.value_at(),
                "shared objects are not loaded",
            )
            .help("use password_file, acl_file or client certificates")),
            _ => Ok(path.to_owned()),
        }
    }

    fn plugin_option(&mut self, line: &Line) -> Result<String, ValueError> {
        let path = value::text(line)?;
        let key = line.name().split_once("_opt_").map_or("", |(_, key)| key);
        let Some(plugin) = self
            .context
            .plugin
            .and_then(|number| self.plugins.get_mut(number))
        else {
            return Err(ValueError::new(
                line.name_at(),
                "a plugin option stands before any plugin",
            ));
        };
        let expected = match plugin.kind {
            PluginKind::Refused => return Ok(String::new()),
            PluginKind::AclFile => "acl_file",
            PluginKind::PasswordFile => "password_file",
        };
        if key != expected {
            return Err(ValueError::new(
                line.name_at(),
                format!("the plugin has no option `{key}`"),
            )
            .help(format!("its option is `plugin_opt_{expected} PATH`")));
        }
        plugin.file = Some(Located::new(
            PathBuf::from(path),
            line.origin(line.value_at(), false),
        ));
        Ok(path.to_owned())
    }

    fn bridge(&mut self, directive: &Directive, line: &Line) {
        if !std::mem::replace(&mut self.bridge_reported, true) {
            self.problems.push(
                Diagnostic::error(format!(
                    "`{}` is refused: {}",
                    line.name(),
                    table::NO_BRIDGES
                ))
                .at(&line.origin(line.name_at(), directive.secret))
                .help(table::INSTEAD_OF_BRIDGES),
            );
        }
    }

    /// Everything that can only be said when all lines are read.
    pub(super) fn finish(mut self, options: &LoadOptions) -> (Settings, Vec<Diagnostic>) {
        self.check(options);
        (self.settings, self.problems)
    }
}

/// A listener with the defaults of the profile.
pub(super) fn draft(bind: Bind, origin: Origin, settings: &Settings) -> ListenerDraft {
    let mut draft = ListenerDraft {
        settings: ListenerSettings::blank(bind, origin),
        allow_anonymous: None,
        auto_id_prefix: None,
        tls: TlsParts::default(),
        plugins: Vec::new(),
    };
    for directive in table::directives() {
        if let Some(line) = default_line(directive, settings.profile) {
            match &directive.set {
                Set::Listener(value) => default_applies(directive, value.read(&mut draft, &line)),
                Set::Security(value) => {
                    default_applies(directive, value.read(&mut draft.settings.security, &line));
                }
                _ => {}
            }
        }
    }
    draft
}

/// The default of a directive as a line would write it.
fn default_line(directive: &Directive, profile: SecurityProfile) -> Option<Line> {
    let text = format!("{} {}", directive.name, directive.default.text(profile)?);
    let built_in = Arc::from(std::path::Path::new("default"));
    lexer::lex(&built_in, text.as_bytes(), &mut Vec::new()).pop()
}

fn default_applies(directive: &Directive, result: Result<String, ValueError>) {
    debug_assert!(
        result.is_ok(),
        "the default of {} does not parse: {result:?}",
        directive.name
    );
}

fn bind(line: &Line) -> Result<Bind, ValueError> {
    let port_word = value::first(line)?;
    let port = value::int(port_word, &(0..=65_535))?;
    let words = line.words_before_comment();
    let port = u16::try_from(port).unwrap_or(0);
    match (port, words.get(1)) {
        (0, Some(first)) => {
            // A path may hold spaces; it ends at a word that begins with `#`.
            let last = words[words.len() - 1];
            let path = &line.text[first.at..last.at + last.text.len()];
            Ok(Bind::Unix(PathBuf::from(path)))
        }
        (0, None) => Err(
            ValueError::new(port_word.at, "port 0 needs the path of a Unix socket")
                .help("write a port from 1 to 65535, or `listener 0 /path`"),
        ),
        (port, None) => Ok(Bind::Tcp { host: None, port }),
        (port, Some(word)) => {
            if let Some(extra) = words.get(2) {
                return Err(ValueError::new(
                    extra.at,
                    format!("`{}` is more than a listener takes", extra.text),
                )
                .help("listener PORT [ADDRESS]"));
            }
            Ok(Bind::Tcp {
                host: Some(host(*word)?),
                port,
            })
        }
    }
}

/// An address or host name; resolved when it is bound.
fn host(word: lexer::Word<'_>) -> Result<String, ValueError> {
    if word.text.starts_with('/') {
        return Err(ValueError::new(word.at, "a path is not an address")
            .help("for a Unix socket write `listener 0 /path`"));
    }
    let text = word
        .text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(word.text);
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if is_address
        || text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'%' | b':')
        })
    {
        return Ok(text.to_owned());
    }
    Err(ValueError::new(
        word.at,
        format!("`{}` is not an address or host name", word.text),
    ))
}
