//! Lines into settings: follows which listener and plugin is current and applies the table.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::changes::{Entry, Owner};
use crate::config::directive::{Directive, Repeat, Scope, Section, Set, Structure, Support};
use crate::config::lexer::{self, Line};
use crate::config::settings::{
    Bind, CertificateIdentity, DEFAULT_PORT, ListenerSettings, SecurityGroup, Settings, TlsVersion,
};
use crate::config::table;
use crate::config::value::{Value, ValueError};
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
    pub(super) ocsp_file: Option<Located<PathBuf>>,
    pub(super) require_certificate: bool,
    pub(super) use_identity: bool,
    pub(super) use_subject: bool,
    pub(super) identity: Option<CertificateIdentity>,
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

/// Nobody reads further, and a file that is not a configuration must not fill the memory.
pub(super) const MOST_PROBLEMS: usize = 1000;

/// What the next line belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    pub(super) listener: Option<usize>,
    pub(super) plugin: Option<usize>,
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
    pub(super) context: Context,
    outer: Context,
    pub(super) security_line: Option<Origin>,
    pub(super) bridge_reported: bool,
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
                        default_applies(directive, &value.read(&mut settings, &line));
                    }
                    Set::Security(value) => {
                        default_applies(directive, &value.read(&mut security, &line));
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
        if self.problems.len() > MOST_PROBLEMS {
            return;
        }
        if self.problems.len() == MOST_PROBLEMS {
            self.problems.push(
                Diagnostic::error("too many problems; the lines from here on were not read")
                    .at(&line.origin(line.name_at(), true)),
            );
            return;
        }
        let Some(directive) = table::directive(line.name()) else {
            self.unknown(line);
            return;
        };
        match directive.support {
            Support::Refused { .. } if matches!(directive.set, Set::Nothing) => {
                self.refused(directive, line);
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
            // Listeners are compared by where they bind.
            Ok(_) if matches!(directive.set, Set::Structure(Structure::Listener)) => {}
            Ok(value) => self.note(owner, directive, &value, line),
            Err(error) => self.value_error(owner, directive, error, line),
        }
    }

    /// Whose value a directive sets at this point.
    pub(super) fn owner(&self, directive: &Directive) -> Owner {
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
            let Some(&word) = line.words_before_comment().get(read) else {
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

    fn note(&mut self, owner: Owner, directive: &'static Directive, value: &str, line: &Line) {
        let origin = line.origin(line.name_at(), directive.secret);
        let entry = Entry {
            value: value.to_owned(),
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
        // A bad `listener` line has made a listener of its own, and that one is tainted.
        if !matches!(directive.set, Set::Structure(Structure::Listener)) {
            self.tainted.insert(owner);
        }
        let mut problem =
            Diagnostic::error(error.message).at(&line.origin(error.at, directive.secret));
        problem.help = error.help;
        self.problems.push(problem);
    }

    /// Notes whose settings an unknown directive may have been meant for.
    fn taint_by(&mut self, meant: Option<&'static Directive>) {
        let listener = self
            .context
            .listener
            .map_or(Owner::DefaultListener, Owner::Listener);
        match meant.map(|directive| (directive.section, directive.scope)) {
            Some((Section::Tls, _) | (Section::Access, Scope::Listener)) => {
                self.tainted.insert(listener);
            }
            Some((Section::Access | Section::Plugins, _))
                if !self.settings.per_listener_settings =>
            {
                self.tainted.insert(Owner::Global);
            }
            Some((
                Section::Limits | Section::Protocol | Section::Observability | Section::Process,
                _,
            )) => {}
            _ => {
                self.tainted.extend([Owner::Global, listener]);
            }
        }
    }

    fn unknown(&mut self, line: &Line) {
        let nearest = table::nearest(line.name());
        self.taint_by(nearest.and_then(table::directive));
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
        } else if let Some(known) = nearest {
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
                Set::Listener(value) => default_applies(directive, &value.read(&mut draft, &line)),
                Set::Security(value) => {
                    default_applies(directive, &value.read(&mut draft.settings.security, &line));
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

fn default_applies(directive: &Directive, result: &Result<String, ValueError>) {
    debug_assert!(
        result.is_ok(),
        "the default of {} does not parse: {result:?}",
        directive.name
    );
}
