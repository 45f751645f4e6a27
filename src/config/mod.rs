//! What did the operator ask for?
//!
//! Reads mosquitto's configuration grammar with directives of our own, and gives [`Settings`] or
//! every [`Diagnostic`] at once. It reads the configuration files themselves and nothing else: ACL,
//! password and certificate files are opened by those who use them, who add their diagnostics to
//! the same list.
//!
//! Start reading at [`table`]: one entry per directive. `lexer` finds lines, `value` reads words,
//! `builder` follows the contexts of `listener` and `plugin`, `checks` says what cannot stand,
//! `document` prints the table.

mod abuse;
mod builder;
mod changes;
mod checks;
mod contexts;
mod diagnostic;
mod directive;
mod document;
mod identity_checks;
mod lexer;
mod load;
mod origin;
pub mod permissions;
mod persistence_checks;
mod profile;
mod settings;
mod source;
pub mod table;
mod token_checks;
mod value;

pub use abuse::{AbuseSettings, AuthFailureLimit, CountLimit, MisuseLimit};
pub use changes::Change;
pub(crate) use diagnostic::printable;
pub use diagnostic::{Diagnostic, Severity};
pub use directive::{Default, Directive, Reload, Repeat, Scope, Section, Support};
pub use document::{conf, listing, markdown};
pub use load::{LoadOptions, Loaded, Verbosity, load, read, read_text};
pub use origin::{Located, Origin};
pub use profile::{FindingKind, HardenedFinding, ProfileSource, SecurityProfile};
pub use settings::{
    AccessSettings, AuditLog, Bind, CertificateIdentity, ClientIdFrom, DEFAULT_PORT, DeniedPublish,
    DeniedSubscribe, DrainSettings, DrainTo, HashingSettings, IntrospectionConfig, LimitSettings,
    ListenerSettings, LogDestination, LogSettings, LogType, MetricsListener, Pattern,
    ProcessSettings, ProtocolSettings, Rate, RateAction, SecurityGroup, Settings, SocketDomain,
    SubscribeGuard, TlsSettings, TlsVersion, TokenSettings, WebSockets,
};
pub(crate) use source::included_names;
