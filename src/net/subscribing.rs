//! SUBSCRIBE and UNSUBSCRIBE: each filter judged and answered for itself.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::broker::{Effects, Session};
use crate::codec::{self, ReasonCode, SubscribeFilter, Version};
use crate::message::{RetainHandling, Subscription};
use crate::policy::{Client, Decision, Denial, DenyReason};
use crate::session::{Available, Connection};
use crate::topic::{SubscriptionFilter, check_filter, split_share};

use super::Shared;
use super::driver::End;
use super::listener::ListenerState;
use super::replay::Replay;
use super::report;
use super::token;

type Codes = SmallVec<[ReasonCode; 8]>;

/// Why a filter is refused, as the client is told.
struct Refusal {
    code: ReasonCode,
    text: &'static str,
}

const INVALID: Refusal = Refusal {
    code: ReasonCode::TOPIC_FILTER_INVALID,
    text: "it is no valid Topic Filter",
};

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self {
            code: denial.reason.reason_code().in_suback(),
            text: denial.reason.told(),
        }
    }
}

/// A version 5 client was told in CONNACK and is disconnected before it comes to this; older ones
/// are refused the filter.
fn not_offered(available: Available, filter: &str) -> Option<DenyReason> {
    let (share, filter) = split_share(filter).ok()?;
    if share.is_some() && !available.shared {
        return Some(DenyReason::SharedOff);
    }
    (!available.wildcards && filter.contains(['+', '#'])).then_some(DenyReason::WildcardsOff)
}

/// Everything a SUBSCRIBE touches.
pub(crate) struct Subscribing<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) listener: &'a ListenerState,
    pub(crate) client: &'a mut Client,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) effects: &'a mut Effects,
}

impl Subscribing<'_> {
    /// Makes the subscriptions that are granted and answers; `replay` is told whose retained messages
    /// are to be sent.
    ///
    /// # Errors
    /// The answer is too large for the client, or it is one of 3.1 that cannot be told of a refusal.
    pub(crate) fn subscribe(
        mut self,
        packet: &codec::Subscribe<'_>,
        connection: &mut Connection,
        now: Instant,
        replay: &mut Replay,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        let mut codes = Codes::new();
        let mut told = None;
        for wanted in packet.filters() {
            let code = match self.one(&wanted, packet.identifier, connection, now, replay) {
                Ok(code) => code,
                Err(refusal) => {
                    told = told.or(Some(refusal.text));
                    refusal.code
                }
            };
            if connection.version() != Version::V31 || !code.is_error() {
                codes.push(code);
            } else if self.listener.disconnect_denied_mqtt31_subscribe {
                return Err(End::Denied(code));
            } else {
                codes.push(ReasonCode::granted(wanted.qos));
            }
        }
        connection.subscribed(packet.packet_id, &codes, told, out)?;
        Ok(())
    }

    fn one(
        &mut self,
        wanted: &SubscribeFilter<'_>,
        identifier: Option<u32>,
        connection: &mut Connection,
        now: Instant,
        replay: &mut Replay,
    ) -> Result<ReasonCode, Refusal> {
        let state = connection.session_mut();
        if let Some(qos) = token::subscribe(wanted, identifier, state, self.listener) {
            report::subscribed(self.shared, self.client.who(), wanted.filter, qos);
            return Ok(ReasonCode::granted(qos));
        }
        let Some(filter) = mounted(wanted.filter, &self.listener.mount_point) else {
            return Err(INVALID);
        };
        let gate = self.shared.broker.gate();
        let state = connection.session_mut();
        let text = filter.to_string();
        let is_one_too_many = state.subscriptions.len() >= self.listener.max_subscriptions
            && !state.subscriptions.contains_key(&*text);
        let would_be_kept = state.number.is_some();
        let refused = if would_be_kept && self.shared.broker.is_store_short() {
            Some(DenyReason::StoreFull)
        } else if is_one_too_many {
            Some(DenyReason::MaxSubscriptions)
        } else {
            not_offered(self.listener.session.available, wanted.filter)
        };
        if let Some(reason) = refused {
            let denial = Denial::new(reason);
            gate.refuse_subscribe(self.client, &text, &denial);
            return Err(denial.into());
        }
        let subscription = Subscription {
            filter,
            qos: wanted.qos.min(self.listener.session.max_qos),
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            retain_handling: match wanted.retain_handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
            identifier,
        };
        match gate.subscribe(self.client, subscription, now) {
            Decision::Admit(subscription) => {
                let qos = subscription.qos;
                report::subscribed(self.shared, self.client.who(), &text, qos);
                let done =
                    self.shared
                        .broker
                        .subscribe(self.session, state, subscription, self.effects);
                if done.wants_retained
                    && let Some(made) = state.subscriptions.get(&*text)
                {
                    replay.want(&text, made.clone());
                }
                Ok(ReasonCode::granted(qos))
            }
            Decision::Deny(denial) => Err(denial.into()),
            // Subscriptions have no budget to wait for.
            Decision::Wait { .. } => Err(Denial::new(DenyReason::MessageRate).into()),
        }
    }

    /// Removes subscriptions and answers.
    ///
    /// # Errors
    /// The answer is too large for the client.
    pub(crate) fn unsubscribe(
        self,
        packet: &codec::Unsubscribe<'_>,
        connection: &mut Connection,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        let mut codes = Codes::new();
        let mut told = None;
        for text in packet.filters() {
            if let Some(existed) = token::unsubscribe(text, connection.session_mut()) {
                if existed {
                    report::unsubscribed(self.shared, self.client.who(), text);
                }
                codes.push(unsubscribed(existed));
                continue;
            }
            let Some(filter) = mounted(text, &self.listener.mount_point) else {
                told = Some(INVALID.text);
                codes.push(INVALID.code);
                continue;
            };
            let text = filter.to_string();
            let state = connection.session_mut();
            let existed = self
                .shared
                .broker
                .unsubscribe(self.session, state, &text, self.effects);
            if existed {
                report::unsubscribed(self.shared, self.client.who(), &text);
            }
            codes.push(unsubscribed(existed));
        }
        connection.unsubscribed(packet.packet_id, &codes, told, out)?;
        Ok(())
    }
}

fn unsubscribed(existed: bool) -> ReasonCode {
    if existed {
        ReasonCode::SUCCESS
    } else {
        ReasonCode::NO_SUBSCRIPTION_EXISTED
    }
}

/// The filter with the mount point in front of what is matched; `None` if it is no valid filter.
fn mounted(text: &str, mount_point: &str) -> Option<SubscriptionFilter> {
    if mount_point.is_empty() {
        return SubscriptionFilter::parse(text).ok();
    }
    let (share, filter) = split_share(text).ok()?;
    // What the client wrote must be a filter by itself: `+` glued to a prefix is not the client's.
    check_filter(filter).ok()?;
    let mounted = match share {
        Some(share) => format!("$share/{share}/{mount_point}{filter}"),
        None => format!("{mount_point}{filter}"),
    };
    SubscriptionFilter::parse(&mounted).ok()
}
