//! One generation of everything that a reload can exchange: rules, users, certificates, limits; made of
//! what was read.

use std::sync::Arc;

use crate::auth::jwt::Replays;
use crate::auth::{
    AlternativeName, Authenticator, AuthenticatorSettings, CertificateTrust, Identity, Provider,
    Verifier,
};
use crate::codec::{self, Version};
use crate::config::{
    self, CertificateIdentity, ClientIdFrom, DeniedPublish, DeniedSubscribe, DrainTo,
    ListenerSettings, SecurityGroup, Settings, SubscribeGuard,
};
use crate::net::Drain;
use crate::net::listener::{ClientIdSource, ListenerState};
use crate::net::tls::Tls;
use crate::net::websocket::WebSocketSettings;
use crate::policy::{
    self, AdmissionSettings, BudgetSettings, DenyReason, ListenerPolicy, Members, Policy, Rate,
    RateAction,
};
use crate::session::{self, ResponseInformation};

use super::reading::Files;

pub(crate) fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
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
        queue_overflow: listener.queue_overflow,
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
