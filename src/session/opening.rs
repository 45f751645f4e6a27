//! CONNECT: what a client asks for, judged by the protocol and by the listener's settings.
//!
//! Who the client is, and whether it may connect at all, is decided elsewhere.

use std::ops::RangeInclusive;

use regex::Regex;

use crate::codec::{self, Connack, Connect, QoS, ReasonCode, Version};
use crate::message::ClientId;
use crate::policy::DenyReason;

use super::available::Available;
use super::response_information::ResponseInformation;
use super::topic_tokens::{self, TopicTokenSettings};
use super::will::Will;

/// What a listener offers its clients. Each field is one directive of the configuration.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a directive of the configuration"
)]
pub struct Settings {
    /// Versions that are accepted (`accept_protocol_versions`), as levels 3, 4, 5.
    pub versions: [bool; 3],
    /// `max_inflight_messages`: our window towards the client, and the Receive Maximum we announce.
    /// 1 to 65535.
    pub max_inflight_messages: u16,
    /// `max_inflight_bytes`; 0 is no limit.
    pub max_inflight_bytes: usize,
    /// `max_packet_size` in bytes, announced to 5.0 clients.
    pub max_packet_bytes: u32,
    /// `max_topic_alias`: aliases the client may set.
    pub topic_alias_maximum: u16,
    /// `max_topic_alias_broker`: aliases we may set.
    pub topic_alias_maximum_broker: u16,
    /// `max_qos`.
    pub max_qos: QoS,
    /// `retain_available`.
    pub retain_available: bool,
    /// `max_keepalive` in seconds; 0 is no limit.
    pub max_keep_alive_s: u16,
    /// `allow_zero_length_clientid`.
    pub allow_zero_length_client_id: bool,
    /// `auto_id_prefix`.
    pub auto_id_prefix: Box<str>,
    /// `persistent_client_expiration` in seconds; `u32::MAX` is never.
    pub max_session_expiry_s: u32,
    /// `clientid_prefixes`.
    pub client_id_prefix: Option<Box<str>>,
    /// `clientid_min_length` and `clientid_max_length`, in bytes of UTF-8.
    pub client_id_bytes: RangeInclusive<usize>,
    /// `clientid_pattern`, matched against the whole.
    pub client_id_pattern: Option<Regex>,
    /// Kinds of subscription that are offered.
    pub available: Available,
    /// `reason_strings`: send them where the client takes them.
    pub reason_strings: bool,
    /// `response_information`: what a client that asks for it is told.
    pub response_information: Option<ResponseInformation>,
    /// Draw topic tokens for sessions.
    pub topic_tokens: Option<TopicTokenSettings>,
    /// `response_topic_guard`: a Response Topic must be one that its client may read.
    pub response_topic_guard: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            versions: [true; 3],
            max_inflight_messages: 20,
            max_inflight_bytes: 0,
            max_packet_bytes: 2_000_000,
            topic_alias_maximum: 10,
            topic_alias_maximum_broker: 10,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            max_keep_alive_s: 0,
            allow_zero_length_client_id: true,
            auto_id_prefix: "auto-".into(),
            max_session_expiry_s: u32::MAX,
            client_id_prefix: None,
            client_id_bytes: 0..=usize::from(u16::MAX),
            client_id_pattern: None,
            available: Available::default(),
            reason_strings: false,
            response_information: None,
            topic_tokens: None,
            response_topic_guard: false,
        }
    }
}

impl Settings {
    /// Whether a Client Identifier begins as is asked for.
    ///
    /// # Errors
    /// It does not.
    pub fn check_client_id_prefix(&self, client_id: &str) -> Result<(), DenyReason> {
        match &self.client_id_prefix {
            Some(prefix) if !client_id.starts_with(&**prefix) => Err(DenyReason::ClientIdPrefix),
            _ => Ok(()),
        }
    }

    /// Whether a Client Identifier, sent or taken from who the client is, is one by length and pattern,
    /// and can be told in CONNACK [MQTT-1.5.4-2].
    ///
    /// # Errors
    /// It is none.
    pub fn check_client_id_form(&self, client_id: &str) -> Result<(), DenyReason> {
        let pattern = self.client_id_pattern.as_ref();
        let has_its_form = !client_id.is_empty()
            && !client_id.contains('\0')
            && self.client_id_bytes.contains(&client_id.len())
            && pattern.is_none_or(|pattern| pattern.is_match(client_id));
        if has_its_form {
            Ok(())
        } else {
            Err(DenyReason::ClientIdRefused)
        }
    }
}

/// A CONNECT that the protocol allows, as owned data: authentication may take a while.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the CONNECT packet"
)]
pub struct Opening {
    /// The protocol version.
    pub version: Version,
    /// The session's Client Identifier, ours if the client sent none.
    pub client_id: ClientId,
    /// Whether we made the Client Identifier up [MQTT-3.1.3-7].
    pub assigned_client_id: bool,
    /// Clean Start.
    pub clean_start: bool,
    /// Session Expiry Interval in seconds after our bound was applied.
    pub session_expiry_s: u32,
    /// Whether our bound changed the interval, so that CONNACK must tell.
    pub session_expiry_changed: bool,
    /// Keep Alive in seconds that is enforced.
    pub keep_alive_s: u16,
    /// Whether it differs from what the client asked for [MQTT-3.1.2-21].
    pub keep_alive_changed: bool,
    /// The client's Receive Maximum.
    pub receive_maximum: u16,
    /// The client's Maximum Packet Size.
    pub maximum_packet_bytes: u32,
    /// The client's Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// Whether Reason Strings may be sent with every packet [MQTT-3.1.2-29].
    pub problem_information: bool,
    /// Whether the client asked for Response Information.
    pub request_response_information: bool,
    /// What it is told, once it is known who it is.
    pub response_information: Option<Box<str>>,
    /// The Will Message.
    pub will: Option<Will>,
    /// A mosquitto bridge (bit 0x80 of the protocol level).
    pub bridge: bool,
    /// The Authentication Method of CONNECT, and what CONNACK says with it.
    pub authentication: Option<(Box<str>, Vec<u8>)>,
}

impl Opening {
    /// The CONNACK that accepts it.
    pub(crate) fn connack(&self, session_present: bool, settings: &Settings) -> Connack<'_> {
        Connack {
            session_present,
            session_expiry_interval_s: self.session_expiry_changed.then_some(self.session_expiry_s),
            receive_maximum: Some(settings.max_inflight_messages),
            maximum_qos: (settings.max_qos < QoS::ExactlyOnce).then_some(settings.max_qos),
            retain_available: (!settings.retain_available).then_some(false),
            maximum_packet_size: Some(settings.max_packet_bytes),
            assigned_client_identifier: self.assigned_client_id.then(|| self.client_id.as_str()),
            topic_alias_maximum: (settings.topic_alias_maximum > 0)
                .then_some(settings.topic_alias_maximum),
            authentication_method: self.authentication.as_ref().map(|(method, _)| &**method),
            authentication_data: self
                .authentication
                .as_ref()
                .map(|(_, data)| &**data)
                .filter(|data| !data.is_empty()),
            server_keep_alive_s: self.keep_alive_changed.then_some(self.keep_alive_s),
            wildcard_available: (!settings.available.wildcards).then_some(false),
            shared_available: (!settings.available.shared).then_some(false),
            identifiers_available: (!settings.available.identifiers).then_some(false),
            response_information: self.response_information.as_deref(),
            ..Connack::new(ReasonCode::SUCCESS)
        }
    }
}

impl Opening {
    /// The client is known by `username`: what it is told if it asked for Response Information
    /// [MQTT-3.1.2-28]. Asked again when its session has a topic token; until then one of the same
    /// length stands for it.
    pub fn identified(&mut self, username: Option<&str>, token: Option<&str>, settings: &Settings) {
        let placeholder;
        let token = match (token, settings.topic_tokens) {
            (None, Some(_)) => {
                placeholder = topic_tokens::placeholder();
                Some(&*placeholder)
            }
            (token, _) => token,
        };
        self.response_information = settings
            .response_information
            .as_ref()
            .filter(|_| self.request_response_information)
            .and_then(|information| information.bind(self.client_id.as_str(), username, token))
            .map(Into::into);
        // Nobody is kept out for it: it may be left out.
        if self.response_information.is_some() && !self.can_be_answered(settings) {
            self.response_information = None;
        }
    }

    /// Whether the CONNACK that accepts it is within the client's Maximum Packet Size
    /// [MQTT-3.1.2-24].
    pub fn can_be_answered(&self, settings: &Settings) -> bool {
        let mut out = Vec::new();
        codec::encode_connack(&mut out, self.version, &self.connack(true, settings));
        u32::try_from(out.len()).is_ok_and(|bytes| bytes <= self.maximum_packet_bytes)
    }
}

/// Judges a CONNECT packet by protocol and listener settings. `random` is used for an identifier
/// of our own: 16 unpredictable bytes, so that nobody can guess another's.
///
/// # Errors
/// The reason for a CONNACK that refuses; the caller closes after it.
pub fn open(
    connect: &Connect<'_>,
    settings: &Settings,
    random: [u8; 16],
) -> Result<Opening, DenyReason> {
    let version = connect.version;
    if !settings.versions[usize::from(version.level() - 3)] {
        return Err(DenyReason::ProtocolVersion);
    }
    let (client_id, assigned_client_id) = client_id(connect, settings, random)?;
    check_will(connect, settings)?;

    let (keep_alive_s, keep_alive_changed) = keep_alive(connect, settings)?;
    let wanted_expiry_s = match (version.is_v5(), connect.clean_start) {
        (true, _) => connect.session_expiry_interval_s.unwrap_or(0),
        // Clean Session 1 of 3.x is Clean Start with expiry 0, Clean Session 0 never expires.
        (false, true) => 0,
        (false, false) => u32::MAX,
    };
    let session_expiry_s = wanted_expiry_s.min(settings.max_session_expiry_s);
    Ok(Opening {
        version,
        client_id,
        assigned_client_id,
        clean_start: connect.clean_start,
        session_expiry_s,
        session_expiry_changed: session_expiry_s != wanted_expiry_s,
        keep_alive_s,
        keep_alive_changed,
        receive_maximum: connect.receive_maximum,
        maximum_packet_bytes: connect.maximum_packet_size,
        topic_alias_maximum: connect.topic_alias_maximum,
        problem_information: connect.request_problem_information,
        request_response_information: connect.request_response_information,
        response_information: None,
        will: connect.will.as_ref().map(Will::from_connect),
        bridge: connect.bridge,
        authentication: connect
            .authentication_method
            .map(|method| (method.into(), Vec::new())),
    })
}

fn client_id(
    connect: &Connect<'_>,
    settings: &Settings,
    random: [u8; 16],
) -> Result<(ClientId, bool), DenyReason> {
    if connect.client_id.is_empty() {
        let allowed = match connect.version {
            Version::V31 => false,
            // [MQTT-3.1.3-8 in 3.1.1]
            Version::V311 => settings.allow_zero_length_client_id && connect.clean_start,
            Version::V5 => settings.allow_zero_length_client_id,
        };
        if !allowed {
            return Err(DenyReason::ClientIdRefused);
        }
        let mut text = String::from(&*settings.auto_id_prefix);
        for (index, byte) in random.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
            text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        }
        return Ok((ClientId::new(&text), true));
    }
    settings.check_client_id_prefix(connect.client_id)?;
    settings.check_client_id_form(connect.client_id)?;
    Ok((ClientId::new(connect.client_id), false))
}

fn check_will(connect: &Connect<'_>, settings: &Settings) -> Result<(), DenyReason> {
    let Some(will) = &connect.will else {
        return Ok(());
    };
    if will.qos > settings.max_qos {
        return Err(DenyReason::QosNotSupported); // [MQTT-3.2.2-12]
    }
    if will.retain && !settings.retain_available {
        return Err(DenyReason::RetainNotSupported); // [MQTT-3.2.2-13]
    }
    Ok(())
}

/// A 5.0 client is told the Keep Alive we enforce; a 3.x client cannot be, so one that asks for
/// more, or for none at all, is refused (as mosquitto does with `max_keepalive`).
fn keep_alive(connect: &Connect<'_>, settings: &Settings) -> Result<(u16, bool), DenyReason> {
    let asked = connect.keep_alive_s;
    let maximum = settings.max_keep_alive_s;
    if maximum == 0 || (asked != 0 && asked <= maximum) {
        Ok((asked, false))
    } else if connect.version.is_v5() {
        Ok((maximum, true))
    } else {
        Err(DenyReason::KeepAlive)
    }
}
