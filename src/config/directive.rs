//! What one directive is: the shape of an entry of the table.
//!
//! The entries are in [`crate::config::table`]. The parser, `portcullis directives`,
//! `docs/configuration.md` and `conf/portcullis.conf` are all made from them, so that a directive
//! cannot exist in one and not in another.

use crate::config::SecurityProfile;
use crate::config::builder::ListenerDraft;
use crate::config::settings::{SecurityGroup, Settings};
use crate::config::value::Value;

/// One directive.
pub struct Directive {
    /// Its name. A name that ends in `*` stands for every name that begins so.
    pub name: &'static str,
    /// Other names of the same directive.
    pub aliases: &'static [&'static str],
    /// The chapter it is documented in.
    pub section: Section,
    /// What it belongs to.
    pub scope: Scope,
    /// How its value is written, for example `PORT [ADDRESS]`.
    pub value: &'static str,
    /// Unit of the value; empty where there is none.
    pub unit: &'static str,
    /// What holds when the line is missing.
    pub default: Default,
    /// A value that could be written; empty where the default serves.
    pub example: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// When a change takes effect.
    pub reload: Reload,
    /// What a second line does.
    pub repeat: Repeat,
    /// Whether we do what it says.
    pub support: Support,
    /// A directive that mosquitto does not have.
    pub own: bool,
    /// The value is a secret, or may hold one, and is never shown.
    pub secret: bool,
    pub(super) set: Set,
}

/// Chapters of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Who may connect and what they may do.
    Access,
    /// Bounds and what happens at them.
    Limits,
    /// What MQTT leaves open.
    Protocol,
    /// What survives a restart.
    Persistence,
    /// Listeners.
    Listeners,
    /// TLS.
    Tls,
    /// Log, audit log and metrics.
    Observability,
    /// Process and files.
    Process,
    /// Plugins.
    Plugins,
    /// Bridges.
    Bridges,
}

impl Section {
    /// Every chapter in order.
    pub const ALL: [Self; 10] = [
        Self::Access,
        Self::Listeners,
        Self::Tls,
        Self::Limits,
        Self::Protocol,
        Self::Persistence,
        Self::Observability,
        Self::Process,
        Self::Plugins,
        Self::Bridges,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Access => "Who may connect, and what they may do",
            Self::Listeners => "Listeners",
            Self::Tls => "TLS",
            Self::Limits => "Limits",
            Self::Protocol => "Protocol behaviour",
            Self::Persistence => "What survives a restart",
            Self::Observability => "Log, audit log and metrics",
            Self::Process => "Process and files",
            Self::Plugins => "Plugins",
            Self::Bridges => "Bridges",
        }
    }
}

/// What a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The broker.
    Global,
    /// The listener whose `listener` line came last.
    Listener,
    /// The broker, or the current listener under `per_listener_settings true`.
    SecurityGroup,
    /// The bridge whose `connection` line came last.
    Bridge,
    /// The plugin whose line came last.
    Plugin,
}

impl Scope {
    /// The word in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Listener => "listener",
            Self::SecurityGroup => "security group",
            Self::Bridge => "bridge",
            Self::Plugin => "plugin",
        }
    }
}

/// What holds when the line is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// As if this value had been written.
    Value(&'static str),
    /// As if one of these had been written, by profile.
    ByProfile {
        /// In the hardened profile.
        hardened: &'static str,
        /// In the compatible profile.
        compatible: &'static str,
    },
    /// Nothing is set; the words say what that means.
    Unset(&'static str),
}

impl Default {
    /// The value as it would be written, `None` if there is none.
    pub fn text(self, profile: SecurityProfile) -> Option<&'static str> {
        match (self, profile) {
            (Self::Value(text), _)
            | (Self::ByProfile { hardened: text, .. }, SecurityProfile::Hardened)
            | (
                Self::ByProfile {
                    compatible: text, ..
                },
                SecurityProfile::Compatible,
            ) => Some(text),
            (Self::Unset(_), _) => None,
        }
    }

    /// For people.
    pub fn describe(self) -> String {
        match self {
            Self::Value(text) | Self::Unset(text) => text.to_owned(),
            Self::ByProfile {
                hardened,
                compatible,
            } => {
                format!("{hardened} (hardened), {compatible} (compatible)")
            }
        }
    }
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reload {
    /// At once, for connected clients too.
    Applied,
    /// For connections made from then on.
    NewConnections,
    /// At the next start.
    NeedsRestart,
}

impl Reload {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NewConnections => "new connections",
            Self::NeedsRestart => "needs a restart",
        }
    }
}

/// What a second line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// Adds to the first.
    Accumulates,
    /// Replaces the first; a warning says so.
    LastWins,
    /// Is an error.
    Error,
    /// May not take back `true`.
    OneWay,
}

impl Repeat {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Accumulates => "adds up",
            Self::LastWins => "last wins (warning)",
            Self::Error => "error",
            Self::OneWay => "cannot go back to false",
        }
    }
}

/// Whether we do what the directive says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Yes.
    Implemented,
    /// The line is accepted and a warning says what it means here.
    AcceptedWithWarning(&'static str),
    /// The line is an error.
    Refused {
        /// Why.
        reason: &'static str,
        /// What to do instead.
        alternative: &'static str,
        /// Values that ask for nothing and are accepted.
        harmless: &'static [&'static str],
    },
}

/// Where the value goes.
pub(super) enum Set {
    Global(Value<Settings>),
    Security(Value<SecurityGroup>),
    Listener(Value<ListenerDraft>),
    /// Changes the context or the profile; the builder knows how.
    Structure(Structure),
    /// Nowhere: ignored or refused.
    Nothing,
}

/// Lines that say what the following lines belong to, or where more lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Structure {
    Listener,
    Port,
    BindAddress,
    IncludeDir,
    PerListenerSettings,
    SecurityProfile,
    Plugin,
    GlobalPlugin,
    PluginLoad,
    PluginUse,
    PluginOption,
    Bridge,
}

impl Directive {
    const fn new(name: &'static str, scope: Scope, value: &'static str, set: Set) -> Self {
        Self {
            name,
            aliases: &[],
            section: Section::Process,
            scope,
            value,
            unit: "",
            default: Default::Unset("none"),
            example: "",
            meaning: "",
            reload: Reload::Applied,
            repeat: Repeat::LastWins,
            support: Support::Implemented,
            own: false,
            secret: false,
            set,
        }
    }

    pub(super) const fn global(
        name: &'static str,
        value: &'static str,
        set: Value<Settings>,
    ) -> Self {
        Self::new(name, Scope::Global, value, Set::Global(set))
    }

    pub(super) const fn security(
        name: &'static str,
        value: &'static str,
        set: Value<SecurityGroup>,
    ) -> Self {
        Self::new(name, Scope::SecurityGroup, value, Set::Security(set))
    }

    pub(super) const fn listener(
        name: &'static str,
        value: &'static str,
        set: Value<ListenerDraft>,
    ) -> Self {
        Self::new(name, Scope::Listener, value, Set::Listener(set)).reload(Reload::NewConnections)
    }

    pub(super) const fn structure(
        name: &'static str,
        scope: Scope,
        value: &'static str,
        structure: Structure,
    ) -> Self {
        Self::new(name, scope, value, Set::Structure(structure)).repeat(Repeat::Accumulates)
    }

    /// Accepted; `warning` says what it means here.
    pub(super) const fn ignored(
        name: &'static str,
        scope: Scope,
        value: &'static str,
        warning: &'static str,
    ) -> Self {
        let mut directive = Self::new(name, scope, value, Set::Nothing);
        directive.support = Support::AcceptedWithWarning(warning);
        directive.default = Default::Unset("no effect");
        directive
    }

    /// Refused.
    pub(super) const fn refused(
        name: &'static str,
        scope: Scope,
        value: &'static str,
        reason: &'static str,
        alternative: &'static str,
    ) -> Self {
        let mut directive = Self::new(name, scope, value, Set::Nothing);
        directive.support = Support::Refused {
            reason,
            alternative,
            harmless: &[],
        };
        directive.default = Default::Unset("refused");
        directive
    }

    pub(super) const fn harmless(mut self, words: &'static [&'static str]) -> Self {
        if let Support::Refused {
            reason,
            alternative,
            ..
        } = self.support
        {
            self.support = Support::Refused {
                reason,
                alternative,
                harmless: words,
            };
        }
        self
    }

    pub(super) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn section(mut self, section: Section) -> Self {
        self.section = section;
        self
    }

    pub(super) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Default::Value(value);
        self
    }

    pub(super) const fn profiles(
        mut self,
        hardened: &'static str,
        compatible: &'static str,
    ) -> Self {
        self.default = Default::ByProfile {
            hardened,
            compatible,
        };
        self
    }

    pub(super) const fn unset(mut self, words: &'static str) -> Self {
        self.default = Default::Unset(words);
        self
    }

    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = value;
        self
    }

    pub(super) const fn meaning(mut self, meaning: &'static str) -> Self {
        self.meaning = meaning;
        self
    }

    pub(super) const fn reload(mut self, reload: Reload) -> Self {
        self.reload = reload;
        self
    }

    pub(super) const fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    pub(super) const fn own(mut self) -> Self {
        self.own = true;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Whether `name` is this directive or one of its other names.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name
            || self.aliases.contains(&name)
            || std::iter::once(&self.name).chain(self.aliases).any(|own| {
                own.strip_suffix('*').is_some_and(|prefix| {
                    name.strip_prefix(prefix).is_some_and(|key| !key.is_empty())
                })
            })
    }

    /// Names that are written as they stand, without those that end in `*`.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}
