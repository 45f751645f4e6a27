//! PUBLISH: the message is made, judged, routed and answered.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::codec::{PacketId, QoS, ReasonCode};
use crate::message::{Author, Message, Submitted};
use crate::policy::{Decision, Denial, DenyReason, RateAction};
use crate::session::{Incoming, Will};
use crate::store::StoredWill;

use super::cores::Core;
use super::driver::End;
use super::serving::Serving;

/// A message that waits for the client's budget.
pub(super) struct Throttled {
    pub(super) message: Message,
    pub(super) packet_id: Option<PacketId>,
    pub(super) until: Instant,
}

impl Serving {
    #[inline]
    pub(super) fn publish(
        &mut self,
        incoming: &Incoming<'_>,
        core: &mut Core,
        now: Instant,
    ) -> Result<(), End> {
        let publish = &incoming.publish;
        self.delta.received[usize::from(publish.qos.bits())] += 1;
        let topic = incoming.topic.as_str();
        let name = if self.listener.mount_point.is_empty() {
            self.last.name(&core.cache, topic)
        } else {
            let mounted = format!("{}{topic}", self.listener.mount_point);
            self.last.name(&core.cache, &mounted)
        };
        // The decoder has checked the name; with a mount point in front it may be too long.
        let Some(name) = name else {
            let text = Some("the Topic Name is too long with the listener's prefix");
            let reason = ReasonCode::TOPIC_NAME_INVALID;
            self.answer(publish.qos, publish.packet_id, reason, text, core);
            return Ok(());
        };
        if self.listener.message_size_limit != 0
            && publish.payload.len() > self.listener.message_size_limit
        {
            let denial = Denial::new(DenyReason::MessageSize);
            self.shared
                .broker
                .gate()
                .refuse_publish(&self.client, name.as_str(), &denial);
            return self.denied(publish.qos, publish.packet_id, &denial, core);
        }
        if let Some(topic) = publish.response_topic
            && self.listener.session.response_topic_guard
            && let Err(denial) = self.response_topic(topic)
        {
            return self.denied(publish.qos, publish.packet_id, &denial, core);
        }
        let mut properties = Vec::new();
        if !publish.properties.is_empty() {
            publish.properties.copy_forwardable(&mut properties);
        }
        let message = Message {
            topic: name,
            payload: Bytes::copy_from_slice(publish.payload),
            properties: properties.into_boxed_slice(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: publish
                .expiry_interval_s
                .and_then(|seconds| Message::expiry(seconds, now)),
            author: Arc::clone(&self.author),
            submitted: Submitted::default(),
        };
        self.admit(message, publish.packet_id, core, now)
    }

    fn response_topic(&mut self, topic: &str) -> Result<(), Denial> {
        let gate = self.shared.broker.gate();
        if self.listener.mount_point.is_empty() {
            return gate.response_topic(&mut self.client, topic);
        }
        let mounted = format!("{}{topic}", self.listener.mount_point);
        gate.response_topic(&mut self.client, &mounted)
    }

    fn admit(
        &mut self,
        message: Message,
        packet_id: Option<PacketId>,
        core: &mut Core,
        now: Instant,
    ) -> Result<(), End> {
        let qos = message.qos;
        let broker = &self.shared.broker;
        match broker.gate().publish(&mut self.client, message, now) {
            Decision::Admit(message) => {
                let fanout = broker.publish(
                    message,
                    &mut self.last,
                    &mut core.cache,
                    now,
                    &mut core.effects,
                );
                self.delta.dropped_queue_full += fanout.dropped_full;
                if let Some(receiver) = fanout.crowded {
                    self.crowded = Some((receiver, now));
                }
                if fanout.retain_full || fanout.store_full {
                    let denial = Denial::new(if fanout.store_full {
                        DenyReason::StoreFull
                    } else {
                        DenyReason::RetainQuota
                    });
                    return self.denied(qos, packet_id, &denial, core);
                }
                self.answer(qos, packet_id, ReasonCode::SUCCESS, None, core);
                Ok(())
            }
            Decision::Deny(denial) => self.denied(qos, packet_id, &denial, core),
            Decision::Wait { value, until } => {
                self.throttled = Some(Throttled {
                    message: value,
                    packet_id,
                    until,
                });
                Ok(())
            }
        }
    }

    fn answer(
        &mut self,
        qos: QoS,
        id: Option<PacketId>,
        reason: ReasonCode,
        text: Option<&str>,
        core: &mut Core,
    ) {
        // What it says must be kept before it is said; and answers keep their order [MQTT-4.6.0-2].
        let waits = core.effects.has_promises()
            || !self.held.is_empty()
            || (qos == QoS::ExactlyOnce && self.connection.is_kept());
        let out = if waits {
            &mut core.held
        } else {
            &mut core.output
        };
        self.connection.published(qos, id, reason, text, out);
    }

    /// A PUBLISH was refused: a 5.0 client is told, a 3.x client cannot be, and is acknowledged or
    /// disconnected as the operator chose [MQTT-3.3.5-2 in 3.1.1].
    #[cold]
    fn denied(
        &mut self,
        qos: QoS,
        packet_id: Option<PacketId>,
        denial: &Denial,
        core: &mut Core,
    ) -> Result<(), End> {
        let by_rate = matches!(
            denial.reason,
            DenyReason::MessageRate | DenyReason::ByteRate
        );
        if by_rate && self.client.rate_action() == RateAction::Disconnect {
            return Err(End::Rate);
        }
        let reason = denial.reason.reason_code();
        // An acknowledgement would say that it is kept [MQTT-4.8.0-2 in 3.1.1].
        let is_not_kept = matches!(
            denial.reason,
            DenyReason::RetainQuota | DenyReason::StoreFull
        );
        let would_lie = is_not_kept && qos != QoS::AtMostOnce;
        let ends = would_lie || self.listener.disconnect_denied_mqtt3;
        if !self.connection.version().is_v5() && ends {
            return Err(End::Denied(reason));
        }
        let text = Some(denial.reason.told());
        self.answer(qos, packet_id, reason.in_puback(), text, core);
        Ok(())
    }

    /// Tries again what waited for the budget. False if it still waits.
    pub(super) fn resume_throttled(&mut self, core: &mut Core, now: Instant) -> Result<bool, End> {
        let Some(waiting) = self.throttled.take() else {
            return Ok(true);
        };
        if waiting.until > now {
            self.throttled = Some(waiting);
            return Ok(false);
        }
        self.unparsed = true;
        self.admit(waiting.message, waiting.packet_id, core, now)?;
        Ok(self.throttled.is_none())
    }
}

/// The will as the store keeps it. `None` if its topic with the mount point is too long.
pub(crate) fn stored_will(
    will: &Will,
    mount_point: &str,
    author: &Arc<Author>,
) -> Option<StoredWill> {
    let topic = format!("{mount_point}{}", will.topic);
    Some(StoredWill {
        message: Arc::new(Message {
            topic: crate::topic::TopicName::parse(&topic).ok()?,
            payload: Bytes::copy_from_slice(&will.payload),
            properties: will.properties.clone(),
            qos: will.qos,
            retain: will.retain,
            // Its interval begins when it is published.
            expires_at: None,
            author: Arc::clone(author),
            submitted: Submitted::default(),
        }),
        expiry_interval_s: will.expiry_interval_s,
        delay_s: will.delay_s,
        due: None,
    })
}

/// The Application Message a will turns into. `None` if its topic with the mount point is too long.
pub(crate) fn will_message(
    will: &Will,
    mount_point: &str,
    author: &Arc<Author>,
    now: Instant,
) -> Option<Message> {
    let topic = format!("{mount_point}{}", will.topic);
    Some(Message {
        topic: crate::topic::TopicName::parse(&topic).ok()?,
        payload: Bytes::copy_from_slice(&will.payload),
        properties: will.properties.clone(),
        qos: will.qos,
        retain: will.retain,
        // Counted from when the will is published, which its delay puts off.
        expires_at: will
            .expiry_interval_s
            .and_then(|seconds| Message::expiry(seconds.saturating_add(will.delay_s), now)),
        author: Arc::clone(author),
        submitted: Submitted::default(),
    })
}
