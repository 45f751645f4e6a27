//! One generation of everything that a reload can exchange: rules, users, certificates, limits.
//!
//! It is built whole before any of it is used, and reports every error of every file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::jwt::{JwtSettings, Replays};
use crate::auth::remote::Introspection;
use crate::auth::{
    AlternativeName, Authenticator, AuthenticatorSettings, CertificateTrust, Identity,
    PasswordFile, Provider, Verifier,
};
use crate::codec::{self, Version};
use crate::config::{
    self, CertificateIdentity, ClientIdFrom, DeniedPublish, DeniedSubscribe, Diagnostic, DrainTo,
    ListenerSettings, LoadOptions, Located, Origin, SecurityGroup, Settings, SubscribeGuard,
    TlsVersion,
};
use crate::net::Drain;
use crate::net::listener::{ClientIdSource, ListenerState};
use crate::net::tls::{self, Tls, TlsSettings};
use crate::net::websocket::WebSocketSettings;
use crate::policy::acl::{AclError, AclFile, Included};
use crate::policy::{
    self, AddressList, AdmissionSettings, BudgetSettings, DenyReason, ListenerPolicy, Members,
    Policy, Rate, RateAction,
};
use crate::session::{self, ResponseInformation};

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
    acls: HashMap<PathBuf, Arc<AclFile>>,
    passwords: HashMap<PathBuf, Arc<PasswordFile>>,
    members: HashMap<PathBuf, Arc<Members>>,
    tls: Vec<Option<Tls>>,
    tokens: Vec<Option<Arc<JwtSettings>>>,
    introspections: Vec<Option<Arc<Introspection>>>,
    pub(super) remotes: Remotes,
    /// Allowed and denied, of each listener.
    addresses: Vec<[Option<Arc<AddressList>>; 2]>,
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
    for listener in &settings.listeners {
        reader.listener(listener);
    }
    if let Some(file) = &settings.abuse.ban_file {
        diagnostics.extend(super::ban_file::problems(&file.value));
    }
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

pub(crate) fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
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

/// `auth_provider`, if there are such lines.
fn providers(group: &SecurityGroup) -> Option<Vec<Provider>> {
    let lines = &group.providers;
    (!lines.is_empty()).then(|| lines.iter().map(|line| line.value).collect())
}

/// The rules of a configuration.
pub(crate) fn policy(settings: &Settings, files: &Files) -> Policy {
    let guard = |listener: &ListenerSettings| {
        let own = listener.subscribe_guard.as_ref();
        match own.unwrap_or(&settings.access.subscribe_guard) {
            SubscribeGuard::Strict => policy::SubscribeGuard::Strict,
            SubscribeGuard::Filter => policy::SubscribeGuard::Filter,
            SubscribeGuard::Report => policy::SubscribeGuard::Report,
        }
    };
    let listeners = settings.listeners.iter().map(|listener| ListenerPolicy {
        acl: listener
            .security
            .acl_file
            .as_ref()
            .and_then(|file| files.acls.get(&file.value).cloned()),
        members: members(&listener.security, files),
        guard: guard(listener),
    });
    Policy::of(listeners.collect(), settings.limits.max_topic_levels)
}

/// Who is in which group: by the group file, and by the file of users if it says so.
fn members(group: &SecurityGroup, files: &Files) -> Arc<Members> {
    let file = group.group_file.as_ref();
    let members = file.and_then(|file| files.members.get(&file.value));
    let users = group.password_file.as_ref();
    let users = users.and_then(|file| files.passwords.get(&file.value));
    let mut of_users = users
        .into_iter()
        .flat_map(|users| users.groups())
        .peekable();
    if of_users.peek().is_none() {
        return members.cloned().unwrap_or_default();
    }
    let mut all = members
        .map(|members| Members::clone(members))
        .unwrap_or_default();
    for (user, groups) in of_users {
        for group in groups.iter() {
            all.add(user, group);
        }
    }
    Arc::new(all)
}

fn rate(rate: config::Rate) -> Rate {
    Rate {
        per_second: rate.per_second,
        burst: rate.burst,
    }
}

/// What each client may spend.
pub(crate) fn budget(settings: &Settings) -> BudgetSettings {
    BudgetSettings {
        messages: settings.limits.client_message_rate.map(rate),
        bytes: settings.limits.client_byte_rate.map(rate),
        action: match settings.limits.rate_action {
            config::RateAction::Throttle => RateAction::Throttle,
            config::RateAction::Drop => RateAction::Drop,
            config::RateAction::Disconnect => RateAction::Disconnect,
        },
    }
}

/// Limits of addresses.
pub(crate) fn admission(settings: &Settings) -> AdmissionSettings {
    AdmissionSettings {
        connections: settings.limits.max_connections_per_ip,
        rate: settings.limits.connect_rate_per_ip.map(rate),
    }
}

/// Whether clients are sent elsewhere.
pub(crate) fn drain(settings: &Settings) -> Option<Drain> {
    let drain = settings.protocol.drain.as_ref()?;
    Some(Drain {
        reason: match drain.to {
            DrainTo::Another => DenyReason::UseAnotherServer,
            DrainTo::Moved => DenyReason::ServerMoved,
        },
        reference: drain.reference.as_deref().map(Into::into),
        per_second: settings.protocol.drain_rate.unwrap_or(usize::MAX),
    })
}

/// What authentication needs that outlives a generation.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) replays: Arc<Replays>,
}

/// The settings of each listener, in order.
pub(crate) fn listeners(
    settings: &Settings,
    files: &Files,
    services: &Services,
) -> Vec<ListenerState> {
    settings
        .listeners
        .iter()
        .enumerate()
        .map(|(index, listener)| {
            let tls = files.tls.get(index).and_then(Option::as_ref);
            listener_state(settings, files, listener, index, tls, services)
        })
        .collect()
}

fn listener_state(
    settings: &Settings,
    files: &Files,
    listener: &ListenerSettings,
    index: usize,
    tls: Option<&Tls>,
    services: &Services,
) -> ListenerState {
    let limits = &settings.limits;
    let passwords = listener
        .security
        .password_file
        .as_ref()
        .and_then(|file| files.passwords.get(&file.value).cloned());
    let authenticator = AuthenticatorSettings {
        allow_anonymous: listener.security.allow_anonymous,
        providers: providers(&listener.security),
        pins: listener.security.pins.clone(),
        certificate_groups: listener.certificate_groups,
        identity: listener
            .certificate_identity
            .map(|identity| match identity {
                CertificateIdentity::CommonName => Identity::CommonName,
                CertificateIdentity::Subject => Identity::Subject,
                CertificateIdentity::Dns => Identity::Alternative(AlternativeName::Dns),
                CertificateIdentity::Email => Identity::Alternative(AlternativeName::Email),
                CertificateIdentity::Uri => Identity::Alternative(AlternativeName::Uri),
            }),
        passwords,
        tokens: files.tokens.get(index).cloned().flatten(),
        replays: Arc::clone(&services.replays),
        introspection: files.introspections.get(index).cloned().flatten(),
        certificates: tls
            .and_then(|tls| tls.clients.clone())
            .map(|clients| clients as Arc<dyn CertificateTrust>),
        certificate_is_optional: listener
            .tls
            .as_ref()
            .is_some_and(|tls| !tls.require_certificate),
    };
    let addresses = files.addresses.get(index);
    let codec_limits = codec::Limits {
        max_packet_bytes: limits.max_packet_bytes,
        ..codec::Limits::default()
    };
    ListenerState {
        id: u16::try_from(index).unwrap_or(u16::MAX),
        name: Arc::from(listener.bind.to_string()),
        session: session_settings(settings, listener),
        codec_limits,
        greet_limits: codec::Limits {
            max_packet_bytes: limits.connect_packet_max_bytes.min(limits.max_packet_bytes),
            ..codec_limits
        },
        websocket: listener.websockets.then(|| websocket_settings(listener)),
        tls: tls.map(|tls| Arc::clone(&tls.config)),
        authenticator: Arc::new(Authenticator::new(
            authenticator,
            Arc::clone(&services.verifier),
        )),
        mount_point: listener.mount_point.clone().unwrap_or_default().into(),
        max_connections: listener.max_connections,
        max_subscriptions: limits.max_subscriptions_per_client.unwrap_or(usize::MAX),
        message_size_limit: limits.message_size_limit.unwrap_or(0),
        disconnect_denied_mqtt31_subscribe: settings.access.mqtt31_denied_subscribe
            == DeniedSubscribe::Disconnect,
        disconnect_denied_mqtt3: settings.access.mqtt3_denied_publish == DeniedPublish::Disconnect,
        use_username_as_client_id: listener.use_username_as_clientid,
        allowed_addresses: addresses.and_then(|[allowed, _]| allowed.clone()),
        denied_addresses: addresses.and_then(|[_, denied]| denied.clone()),
        client_id_from: listener.clientid_from.as_ref().map(|from| match from {
            ClientIdFrom::User => ClientIdSource::User,
            ClientIdFrom::Certificate => ClientIdSource::Certificate,
            ClientIdFrom::Jwt(_) => ClientIdSource::Token,
        }),
        connect_timeout: limits.connect_timeout,
        packet_timeout: limits.packet_timeout,
        nodelay: settings.process.tcp_nodelay,
    }
}

fn websocket_settings(listener: &ListenerSettings) -> WebSocketSettings {
    let websocket = &listener.websocket;
    WebSocketSettings {
        origins: websocket
            .origins
            .iter()
            .map(|origin| origin.as_str().into())
            .collect(),
        require_origin: websocket.require_origin,
    }
}

fn session_settings(settings: &Settings, listener: &ListenerSettings) -> session::Settings {
    let limits = &settings.limits;
    let accepts = |version| listener.versions.contains(&version);
    session::Settings {
        versions: [
            accepts(Version::V31),
            accepts(Version::V311),
            accepts(Version::V5),
        ],
        max_inflight_messages: limits.max_inflight_messages.max(1),
        max_inflight_bytes: limits.max_inflight_bytes.unwrap_or(0),
        max_packet_bytes: u32::try_from(limits.max_packet_bytes).unwrap_or(u32::MAX),
        topic_alias_maximum: listener.max_topic_alias,
        topic_alias_maximum_broker: listener.max_topic_alias_broker,
        max_qos: listener.max_qos,
        retain_available: settings.protocol.retain_available,
        max_keep_alive_s: limits.max_keepalive.unwrap_or(0),
        allow_zero_length_client_id: listener.security.allow_zero_length_clientid,
        auto_id_prefix: listener.security.auto_id_prefix.as_str().into(),
        max_session_expiry_s: settings
            .protocol
            .persistent_client_expiration
            .map_or(u32::MAX, |time| {
                u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
            }),
        client_id_bytes: listener.clientid_min_length..=listener.clientid_max_length,
        client_id_pattern: listener
            .clientid_pattern
            .as_ref()
            .map(|pattern| pattern.0.clone()),
        client_id_prefix: settings.access.clientid_prefix.as_deref().map(Into::into),
        available: listener.available,
        reason_strings: listener.reason_strings,
        response_information: response_information(listener),
        topic_tokens: draws_tokens(listener).then_some(listener.topic_tokens),
        response_topic_guard: listener.response_topic_guard,
    }
}

fn draws_tokens(listener: &ListenerSettings) -> bool {
    let told = listener.response_information.as_ref();
    listener.topic_token_prefix.is_some() || told.is_some_and(ResponseInformation::tells_token)
}

fn response_information(listener: &ListenerSettings) -> Option<ResponseInformation> {
    let own = listener.response_information.clone();
    own.or_else(|| {
        let prefix = listener.topic_token_prefix.as_ref()?;
        ResponseInformation::parse(&format!("{prefix}/%t/%c")).ok()
    })
}

/// When the certificate of each listener with TLS expires.
pub(crate) fn certificates(settings: &Settings, files: &Files) -> Vec<(String, i64)> {
    settings
        .listeners
        .iter()
        .zip(&files.tls)
        .filter_map(|(listener, tls)| {
            Some((
                listener.bind.to_string(),
                tls.as_ref()?.certificate.not_after,
            ))
        })
        .collect()
}

/// When the OCSP response of each listener that has one is too old.
pub(crate) fn ocsp_responses(settings: &Settings, files: &Files) -> Vec<(String, i64)> {
    settings
        .listeners
        .iter()
        .zip(&files.tls)
        .filter_map(|(listener, tls)| {
            let until = tls.as_ref()?.certificate.ocsp_next_update?;
            Some((listener.bind.to_string(), until))
        })
        .collect()
}
