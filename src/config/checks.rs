//! What can only be judged when every line is read: listeners as wholes, and the profile.
//!
//! Where mosquitto would throw options away without a word (TLS options without a certificate,
//! listener options without a listener) the configuration is refused: whoever wrote
//! `require_certificate true` means it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::auth::Provider;
use crate::config::builder::{
    Attached, Builder, ListenerDraft, MOST_PROBLEMS, PluginKind, TlsParts, draft,
};
use crate::config::changes::Owner;
use crate::config::directive::Section;
use crate::config::load::Verbosity;
use crate::config::settings::{
    Bind, CertificateIdentity, DEFAULT_PORT, ListenerSettings, LogDestination, LogType,
    SecurityGroup, SubscribeGuard, TlsSettings, WebSockets, is_loopback,
};
use crate::config::table;
use crate::config::{
    Diagnostic, FindingKind, HardenedFinding, LoadOptions, Origin, SecurityProfile,
};

impl Builder {
    pub(super) fn check(&mut self, options: &LoadOptions) {
        self.settle_log(options.verbosity);
        self.settle_listeners(options);
        self.settle_plugins();
        self.settle_persistence(options);
        for number in 0..self.listeners.len() {
            self.settle_security(number);
            self.settle_tls(number);
        }
        self.settings.listeners = self
            .listeners
            .iter()
            .map(|draft| draft.settings.clone())
            .collect();
        self.judge_globals();
        self.judge_providers();
        for number in 0..self.listeners.len() {
            self.judge_listener(number);
        }
    }

    fn settle_log(&mut self, verbosity: Verbosity) {
        let log = &mut self.settings.log;
        // The first explicit line drops the built-in default, `none` included.
        if self
            .settings
            .written
            .entry(Owner::Global, "log_dest")
            .is_none()
        {
            log.destinations.push(LogDestination::Stderr);
        }
        if self
            .settings
            .written
            .entry(Owner::Global, "log_type")
            .is_none()
        {
            log.types.extend([
                LogType::Error,
                LogType::Warning,
                LogType::Notice,
                LogType::Information,
            ]);
        }
        match verbosity {
            Verbosity::FromFile => {}
            Verbosity::Verbose => log.types.extend(LogType::ALL),
            Verbosity::Quiet => log.types.clear(),
        }
    }

    /// Which listeners there are (mosquitto's rules, except that nothing is thrown away).
    fn settle_listeners(&mut self, options: &LoadOptions) {
        if let Some(origin) = self.default_origin.clone() {
            let mut listener = self.default_listener.clone();
            listener.settings.origin = origin;
            let number = self.listeners.len();
            self.settings.written.adopt_default_listener(number);
            for plugin in &mut self.plugins {
                if plugin.attached == Attached::To(Owner::DefaultListener) {
                    plugin.attached = Attached::To(Owner::Listener(number));
                }
            }
            if self.tainted.remove(&Owner::DefaultListener) {
                self.tainted.insert(Owner::Listener(number));
            }
            self.listeners.push(listener);
        } else {
            self.refuse_homeless();
        }
        if self.listeners.is_empty() {
            self.local_only(&options.ports);
        } else if !options.ports.is_empty() {
            self.problems.push(
                Diagnostic::warning("`-p` is ignored: the configuration has a listener")
                    .help("change the `listener` line instead"),
            );
        }
    }

    /// mosquitto wipes these options: `certfile` and `keyfile` alone gave a plaintext broker.
    fn refuse_homeless(&mut self) {
        for (name, origin) in std::mem::take(&mut self.homeless)
            .into_iter()
            .take(MOST_PROBLEMS)
        {
            self.problems.push(
                Diagnostic::error(format!("`{name}` stands before any listener"))
                    .at(&origin)
                    .help("write `listener PORT [ADDRESS]` in a line above it, in the same file"),
            );
        }
    }

    fn local_only(&mut self, ports: &[u16]) {
        self.settings.local_only = true;
        let default = [DEFAULT_PORT];
        for &port in if ports.is_empty() { &default } else { ports } {
            for (address, optional) in [
                (IpAddr::V4(Ipv4Addr::LOCALHOST), false),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), true),
            ] {
                let bind = Bind::Tcp {
                    host: Some(address.to_string()),
                    port,
                };
                let origin = Origin::built_in("local-only mode");
                let mut listener = draft(bind, origin, &self.settings);
                listener.settings.optional = optional;
                self.listeners.push(listener);
            }
        }
    }

    /// Plugins that are files become `acl_file` and `password_file`.
    fn settle_plugins(&mut self) {
        for used in self.listeners.iter().flat_map(|listener| &listener.plugins) {
            let known = self
                .plugins
                .iter()
                .any(|plugin| plugin.attached == Attached::Named(used.value.clone()));
            if !known {
                self.problems.push(
                    Diagnostic::error(format!("no plugin is called `{}`", used.value))
                        .at(&used.origin)
                        .help("write `plugin_load NAME PATH` for it"),
                );
            }
        }
        for plugin in std::mem::take(&mut self.plugins) {
            let Some(file) = plugin.file.clone() else {
                if plugin.kind != PluginKind::Refused {
                    self.problems.push(
                        Diagnostic::error("the plugin has no file")
                            .at(&plugin.origin)
                            .help("write `plugin_opt_acl_file PATH` or `plugin_opt_password_file PATH` below it"),
                    );
                }
                continue;
            };
            let everywhere =
                !self.settings.per_listener_settings && plugin.attached == Attached::Everywhere;
            let mut groups: Vec<&mut SecurityGroup> = Vec::new();
            if everywhere {
                groups.push(&mut self.settings.security);
            }
            for (number, listener) in self.listeners.iter_mut().enumerate() {
                let used = match &plugin.attached {
                    Attached::Everywhere => !everywhere,
                    Attached::To(owner) => *owner == Owner::Listener(number),
                    Attached::Named(name) => {
                        listener.plugins.iter().any(|used| used.value == *name)
                    }
                };
                if used {
                    groups.push(&mut listener.settings.security);
                }
            }
            for group in groups {
                let slot = match plugin.kind {
                    PluginKind::AclFile => &mut group.acl_file,
                    PluginKind::PasswordFile => &mut group.password_file,
                    PluginKind::Refused => continue,
                };
                if let Some(first) = slot {
                    self.problems.push(
                        Diagnostic::error(
                            "the plugin and another line name a file for the same thing",
                        )
                        .at(&file.origin)
                        .help(format!(
                            "the other line is {}; keep one of them",
                            first.origin
                        )),
                    );
                }
                *slot = Some(file.clone());
            }
        }
    }

    fn settle_tls(&mut self, number: usize) {
        let draft = &self.listeners[number];
        let tls = draft.tls.clone();
        let (settings, problems) = assemble_tls(draft, &tls, &self.tls_lines(number));
        // A certificate may be missing only because its line was misspelt; say that alone.
        if !self.tainted.contains(&Owner::Listener(number)) {
            self.problems.extend(problems);
        }
        let draft = &mut self.listeners[number];
        draft.settings.tls = settings;
        draft.settings.certificate_identity = match (tls.use_identity, tls.use_subject) {
            (true, _) => Some(CertificateIdentity::CommonName),
            (false, true) => Some(CertificateIdentity::Subject),
            (false, false) => tls.identity,
        };
    }

    /// The lines of a listener that only make sense with TLS.
    fn tls_lines(&self, number: usize) -> Vec<(&'static str, Origin)> {
        self.settings
            .written
            .of(Owner::Listener(number))
            .filter(|(name, entry)| {
                // A line that repeats the default asks for nothing.
                table::directive(name).is_some_and(|directive| {
                    directive.section == Section::Tls
                        && directive.default.text(self.settings.profile) != Some(&entry.value)
                })
            })
            .map(|(name, entry)| (name, entry.origin.clone()))
            .collect()
    }

    /// Gives the listener the security group that holds for it.
    fn settle_security(&mut self, number: usize) {
        let local_only = self.settings.local_only;
        let global = self.settings.security.clone();
        let per_listener = self.settings.per_listener_settings;
        let draft = &mut self.listeners[number];
        let group = &mut draft.settings.security;
        if !per_listener || local_only {
            // A plugin of `plugin_use` is the listener's own; the rest is the broker's.
            for (own, shared) in [
                (&mut group.acl_file, &global.acl_file),
                (&mut group.password_file, &global.password_file),
            ] {
                if let (Some(own), Some(shared)) = (&*own, shared)
                    && own != shared
                {
                    self.problems.push(
                        Diagnostic::error("the listener would have two files for the same thing")
                            .at(&own.origin)
                            .help(format!(
                                "the other line is {}; keep one of them",
                                shared.origin
                            )),
                    );
                }
                if own.is_none() {
                    own.clone_from(shared);
                }
            }
            group.allow_anonymous = global.allow_anonymous;
            group.allow_anonymous_origin = global.allow_anonymous_origin;
            group.allow_zero_length_clientid = global.allow_zero_length_clientid;
            group.auto_id_prefix = global.auto_id_prefix;
            group.tokens = global.tokens;
            group.introspection = global.introspection;
            group.group_file = global.group_file;
            group.providers = global.providers;
            group.pins = global.pins;
        }
        if group.allow_anonymous_origin.is_none() {
            group.allow_anonymous = local_only;
        }
        if let Some((allow, origin)) = draft.allow_anonymous.take() {
            group.allow_anonymous = allow;
            group.allow_anonymous_origin = Some(origin);
        }
        if let Some(prefix) = draft.auto_id_prefix.take() {
            group.auto_id_prefix = prefix;
        }
    }

    fn judge_globals(&mut self) {
        let line = |settings: &crate::config::Settings, name| {
            settings
                .written
                .entry(Owner::Global, name)
                .map(|entry| entry.origin.clone())
        };
        if self.settings.limits.max_queued_messages.is_none()
            && let Some(origin) = line(&self.settings, "max_queued_messages")
        {
            self.judge(
                FindingKind::UnboundedQueue,
                &origin,
                "a client that does not read can fill the memory".to_owned(),
                "write `max_queued_messages 1000`".to_owned(),
            );
        }
        self.judge_persistence();
        let mut origins = Vec::new();
        if self.settings.access.subscribe_guard != SubscribeGuard::Strict {
            origins.push(line(&self.settings, "subscribe_guard"));
        }
        for (number, listener) in self.settings.listeners.iter().enumerate() {
            if listener
                .subscribe_guard
                .is_some_and(|guard| guard != SubscribeGuard::Strict)
            {
                let entry = self
                    .settings
                    .written
                    .entry(Owner::Listener(number), "listener_subscribe_guard");
                origins.push(entry.map(|entry| entry.origin.clone()));
            }
        }
        for origin in origins {
            let message = "a client may subscribe to topics outside its grants; what it may not read is \
                           only held back message by message";
            // Local-only mode has no configuration that anybody could be told to change.
            if origin.is_some() || !self.settings.local_only {
                let warning = Diagnostic::warning(message).help("write `subscribe_guard strict`");
                self.problems.push(match &origin {
                    Some(origin) => warning.at(origin),
                    None => warning,
                });
            }
            self.settings.findings.push(HardenedFinding {
                kind: FindingKind::GuardNotStrict,
                origin: origin.unwrap_or_default(),
                message: message.to_owned(),
                remedy: "write `subscribe_guard strict`".to_owned(),
            });
        }
        if let Some(metrics) = &self.settings.metrics_listener
            && !is_loopback(metrics.address)
        {
            self.problems.push(
                Diagnostic::warning("metrics are served without TLS or password to other hosts")
                    .at(&metrics.origin)
                    .help("leave the address out for loopback, or see to it that only the collector can reach it"),
            );
        }
    }

    fn judge_listener(&mut self, number: usize) {
        let listener = self.listeners[number].settings.clone();
        let own_taint = self.tainted.contains(&Owner::Listener(number));
        if own_taint {
            return;
        }
        if !listener.bind.is_loopback() {
            self.judge_exposed(&listener);
        }
        if !listener.websockets && listener.websocket != WebSockets::default() {
            self.problems.push(
                Diagnostic::warning(format!(
                    "origins are checked for WebSockets, and listener {} has none",
                    listener.bind
                ))
                .at(&listener.origin)
                .help("write `protocol websockets`"),
            );
        }
        if self.tainted.contains(&Owner::Global) {
            return;
        }
        self.judge_tokens(number, &listener);
        self.judge_client_id(number, &listener);
        self.judge_certificate_names(&listener);
        let group = &listener.security;
        let identified = group.password_file.is_some()
            || group.tokens.is_on()
            || group.introspection.url.is_some()
            || listener.certificate_identity.is_some()
            || !group.providers.is_empty();
        if !group.allow_anonymous && !identified {
            self.problems.push(
                Diagnostic::warning(format!("nobody can connect to listener {}", listener.bind))
                    .at(&listener.origin)
                    .help("write `password_file PATH`, or `use_identity_as_username true` with client certificates"),
            );
        }
        if group.allow_anonymous && !identified && group.acl_file.is_some() {
            self.problems.push(
                Diagnostic::warning(format!(
                    "clients of listener {} can claim any user name of the ACL file",
                    listener.bind
                ))
                .at(&listener.origin)
                .help("write `password_file PATH`; without one, user names are not checked"),
            );
        }
    }

    /// A listener that other hosts can reach.
    fn judge_exposed(&mut self, listener: &ListenerSettings) {
        let bind = &listener.bind;
        let group = &listener.security;
        let loopback = "bind to loopback (`listener PORT 127.0.0.1`)";
        if listener.tls.is_none() {
            let message = format!("listener {bind} can be reached by other hosts and has no TLS");
            if listener.allow_insecure {
                self.report(
                    FindingKind::PlaintextListener,
                    &listener.origin,
                    message,
                    "write `certfile` and `keyfile`, and remove `allow_insecure_listener`"
                        .to_owned(),
                );
            } else {
                self.judge(
                    FindingKind::PlaintextListener,
                    &listener.origin,
                    message,
                    format!("write `certfile` and `keyfile` below it, or {loopback}, or `allow_insecure_listener true` below it"),
                );
            }
        }
        if group.allow_anonymous {
            let origin = group
                .allow_anonymous_origin
                .clone()
                .unwrap_or_else(|| listener.origin.clone());
            self.judge(
                FindingKind::AnonymousListener,
                &origin,
                format!("listener {bind} can be reached by other hosts and allows anonymous clients"),
                format!("write `allow_anonymous false` (or `listener_allow_anonymous false` below the listener), or {loopback}"),
            );
        }
        if group.acl_file.is_none() && !self.tainted.contains(&Owner::Global) {
            self.judge(
                FindingKind::ListenerWithoutAcl,
                &listener.origin,
                format!("listener {bind} can be reached by other hosts and has no ACL: every client may read and write everything"),
                format!("write `acl_file PATH`, or {loopback}"),
            );
        }
    }

    /// Refuses in hardened; warns and remembers in compatible.
    pub(super) fn judge(
        &mut self,
        kind: FindingKind,
        origin: &Origin,
        message: String,
        remedy: String,
    ) {
        if self.settings.profile == SecurityProfile::Compatible {
            self.report(kind, origin, message, remedy);
            return;
        }
        self.problems
            .push(Diagnostic::error(message).at(origin).help(format!(
                "{remedy}; `security_profile compatible` would only warn"
            )));
    }

    pub(super) fn report(
        &mut self,
        kind: FindingKind,
        origin: &Origin,
        message: String,
        remedy: String,
    ) {
        self.problems.push(
            Diagnostic::warning(message.clone())
                .at(origin)
                .help(remedy.clone()),
        );
        self.settings.findings.push(HardenedFinding {
            kind,
            origin: origin.clone(),
            message,
            remedy,
        });
    }
}

/// TLS options into a whole, or what keeps them from being one.
fn assemble_tls(
    draft: &ListenerDraft,
    tls: &TlsParts,
    lines: &[(&'static str, Origin)],
) -> (Option<TlsSettings>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let (certfile, keyfile) = match (&tls.certfile, &tls.keyfile) {
        (Some(certfile), Some(keyfile)) => (certfile.clone(), keyfile.clone()),
        (Some(one), None) | (None, Some(one)) => {
            let missing = if tls.certfile.is_some() {
                "keyfile"
            } else {
                "certfile"
            };
            problems.push(
                Diagnostic::error(format!("`{missing}` is missing"))
                    .at(&one.origin)
                    .help("TLS needs both `certfile` and `keyfile`"),
            );
            return (None, problems);
        }
        (None, None) => {
            problems.extend(lines.iter().map(|(name, origin)| {
                Diagnostic::error(format!(
                    "`{name}` needs TLS, which listener {} does not have",
                    draft.settings.bind
                ))
                .at(origin)
                .help("write `certfile` and `keyfile` below the listener, or remove this line")
            }));
            return (None, problems);
        }
    };
    let line = |name: &str| {
        lines
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, origin)| origin.clone())
            .unwrap_or_default()
    };
    if tls.require_certificate && tls.cafile.is_none() && tls.capath.is_none() {
        problems.push(
            Diagnostic::error(
                "no certificate authority is given that client certificates could be checked with",
            )
            .at(&line("require_certificate"))
            .help("write `cafile PATH` or `capath DIRECTORY`"),
        );
    }
    // `auth_provider certificate` beside others: whoever has one shows it.
    let providers = &draft.settings.security.providers;
    let asks = !tls.require_certificate
        && (tls.cafile.is_some() || tls.capath.is_some())
        && providers
            .iter()
            .any(|one| one.value == Provider::Certificate);
    for name in [
        "crlfile",
        "use_identity_as_username",
        "use_subject_as_username",
        "certificate_identity",
    ] {
        let set = match name {
            "crlfile" => tls.crlfile.is_some(),
            "use_identity_as_username" => tls.use_identity,
            "use_subject_as_username" => tls.use_subject,
            _ => tls.identity.is_some(),
        };
        if set && !tls.require_certificate && !asks {
            let consequence = if name == "crlfile" {
                "so nothing is checked against the list"
            } else {
                "so every client of this listener is refused"
            };
            problems.push(
                Diagnostic::warning(format!(
                    "clients are not asked for a certificate, {consequence}"
                ))
                .at(&line(name))
                .help("write `require_certificate true`"),
            );
        }
    }
    if tls.identity.is_some() && (tls.use_identity || tls.use_subject) {
        problems.push(
            Diagnostic::error("two lines say which name of a certificate is the user name")
                .at(&line("certificate_identity"))
                .help("keep `certificate_identity`, which can say all that the others do"),
        );
    }
    let settings = TlsSettings {
        certfile,
        keyfile,
        cafile: tls.cafile.clone(),
        capath: tls.capath.clone(),
        crlfile: tls.crlfile.clone(),
        ocsp_file: tls.ocsp_file.clone(),
        require_certificate: tls.require_certificate,
        request_certificate: asks,
        minimum_version: tls.minimum_version,
        ciphers: tls.ciphers.clone(),
        ciphers_tls13: tls.ciphers_tls13.clone(),
    };
    (Some(settings), problems)
}
