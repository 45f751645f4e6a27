//! `security_profile`: which defaults hold, and what is refused.

use std::fmt;

use crate::config::Origin;

/// Decides every default in one place and whether an unsafe configuration starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SecurityProfile {
    /// Unsafe configurations are refused. The default.
    #[default]
    Hardened,
    /// What mosquitto would do, with a warning and a finding for each thing that
    /// [`SecurityProfile::Hardened`] would have refused.
    Compatible,
}

impl SecurityProfile {
    /// Both profiles, in the order of [`SecurityProfile::NAMES`].
    pub const ALL: [Self; 2] = [Self::Hardened, Self::Compatible];
    /// The words of the directive, the option and the environment variable.
    pub const NAMES: [&'static str; 2] = ["hardened", "compatible"];

    /// The word of the profile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hardened => "hardened",
            Self::Compatible => "compatible",
        }
    }

    /// The profile that `word` names.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == word)
    }
}

impl fmt::Display for SecurityProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the profile in force was chosen; a later variant beats an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProfileSource {
    /// Nothing chose it.
    #[default]
    Default,
    /// A `security_profile` line.
    Configuration,
    /// The environment variable `PORTCULLIS_SECURITY_PROFILE`.
    Environment,
    /// The option `--security-profile`.
    CommandLine,
}

impl fmt::Display for ProfileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "by default",
            Self::Configuration => "by the configuration file",
            Self::Environment => "by PORTCULLIS_SECURITY_PROFILE",
            Self::CommandLine => "by --security-profile",
        })
    }
}

macro_rules! findings {
    ($($name:ident, $label:literal, $sentence:literal;)*) => {
        /// What hardened would have refused. Labels are a closed set: they are metric label values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FindingKind {
            $(#[doc = concat!("Label `", $label, "`: ", $sentence, ".")] $name,)*
        }

        impl FindingKind {
            /// Every kind, for metrics that start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The metric label value.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What it means.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

findings! {
    PlaintextListener, "plaintext_listener", "a listener off loopback has no TLS";
    AnonymousListener, "anonymous_listener", "a listener off loopback allows anonymous clients";
    ListenerWithoutAcl, "listener_without_acl", "a listener off loopback has no ACL";
    UnboundedQueue, "unbounded_queue", "the queue of a slow client has no bound";
    StoreNotSynced, "store_not_synced", "a power cut takes what was acknowledged";
    GuardNotStrict, "guard_not_strict", "subscriptions are not proved to lie inside the grants";
    TokenWithoutAudience, "token_without_audience", "tokens that were issued for other services are taken";
    SecretReadable, "secret_readable", "a key, a password file or the store is readable by group or world";
    AclWritable, "acl_writable", "an ACL file is writable by others";
    ForeignOwner, "foreign_owner", "a sensitive file belongs to another account";
}

/// One thing that stands between this configuration and the hardened profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardenedFinding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The line that causes it.
    pub origin: Origin,
    /// What is wrong, with names.
    pub message: String,
    /// The directive or command that would change it.
    pub remedy: String,
}
