//! One generation of the policy, and what it means for one client.

use std::net::IpAddr;
use std::sync::Arc;

use crate::codec::QoS;
use crate::message::{Author, Grants, Groups};
use crate::topic::{TopicFilter, level_count};

use super::acl::{Access, AclFile, Decided, Rules, Wanted};
use super::containment::{self, NotContained, STEP_BUDGET};
use super::members::Members;
use super::request::Who;
use super::{Denial, DenyReason, RuleId};

/// `subscribe_guard`: what a subscription that is not wholly granted meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscribeGuard {
    /// Refused.
    #[default]
    Strict,
    /// Accepted; each delivery is judged, as mosquitto does.
    Filter,
    /// As `Filter`, and the refusal it would have been is reported.
    Report,
}

/// What holds for the clients of one listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerPolicy {
    /// `acl_file`; `None` means that none is configured and all is allowed.
    pub acl: Option<Arc<AclFile>>,
    /// `group_file`, and the groups of the users file.
    pub members: Arc<Members>,
    /// `subscribe_guard`.
    pub guard: SubscribeGuard,
}

/// Somebody, as far as rules ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct Principal<'a> {
    /// Authenticated user name; `None` for an anonymous client.
    pub username: Option<&'a str>,
    /// Client Identifier.
    pub client_id: &'a str,
    /// The groups that its proof of identity named.
    pub groups: Option<&'a Groups>,
    /// The rules that its proof of identity brought along.
    pub grants: Option<&'a Grants>,
    /// Where it connects from.
    pub address: Option<IpAddr>,
    /// Its topic tokens, the newest first: what `%t` stands for.
    pub tokens: &'a [Arc<str>],
}

impl<'a> Principal<'a> {
    /// Somebody without anything that a proof of identity adds.
    pub fn new(username: Option<&'a str>, client_id: &'a str) -> Self {
        Self {
            username,
            client_id,
            ..Self::default()
        }
    }
}

impl<'a> From<&'a Who> for Principal<'a> {
    fn from(who: &'a Who) -> Self {
        Self {
            username: who.username.as_deref(),
            client_id: who.client_id.as_str(),
            groups: Some(&who.groups),
            grants: who.grants.as_deref(),
            address: who.address.map(|peer| peer.ip()),
            tokens: &who.tokens,
        }
    }
}

impl<'a> From<&'a Author> for Principal<'a> {
    fn from(author: &'a Author) -> Self {
        Self {
            username: author.username.as_deref(),
            client_id: author.client_id.as_str(),
            groups: Some(&author.groups),
            grants: author.grants.as_deref(),
            address: author.address,
            tokens: &author.tokens,
        }
    }
}

/// One immutable generation of all rules.
#[derive(Debug)]
pub struct Policy {
    /// By the number of the listener.
    pub listeners: Vec<ListenerPolicy>,
    /// `max_topic_levels`.
    pub max_topic_levels: usize,
    /// Set by the gate; every change makes it larger.
    pub(super) generation: u64,
}

impl Policy {
    /// A policy for listeners with these ACLs.
    pub fn new(
        acls: Vec<Option<Arc<AclFile>>>,
        guard: SubscribeGuard,
        max_topic_levels: usize,
    ) -> Self {
        let listeners = acls.into_iter().map(|acl| ListenerPolicy {
            acl,
            guard,
            ..ListenerPolicy::default()
        });
        Self::of(listeners.collect(), max_topic_levels)
    }

    /// A policy for listeners each with its own rules, groups and guard.
    pub fn of(listeners: Vec<ListenerPolicy>, max_topic_levels: usize) -> Self {
        Self {
            listeners,
            max_topic_levels,
            generation: 0,
        }
    }

    /// What this policy means for a client.
    pub fn bind(&self, principal: &Principal<'_>, listener: u16) -> Rights {
        let listener = self.listeners.get(usize::from(listener));
        let guard = listener.map(|listener| listener.guard);
        let rules = match listener {
            Some(ListenerPolicy { acl: None, .. }) if principal.grants.is_none() => None,
            Some(ListenerPolicy { acl, members, .. }) => {
                let none = Groups::default();
                let proved = principal.groups.unwrap_or(&none);
                let groups = members.groups_of(principal.username, proved);
                Some(Rules::bind(acl.as_deref(), principal, &groups))
            }
            // A listener that is not configured any more: closed.
            None => Some(Rules::closed("(no listener)")),
        };
        Rights {
            rules,
            guard: guard.unwrap_or_default(),
            max_topic_levels: self.max_topic_levels,
            generation: self.generation,
        }
    }
}

/// The rules of one policy generation bound to one client.
#[derive(Clone, Debug)]
pub struct Rights {
    rules: Option<Rules>,
    guard: SubscribeGuard,
    max_topic_levels: usize,
    pub(super) generation: u64,
}

/// How a subscription was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Every topic of the filter is allowed: deliveries need no check while the generation holds.
    pub proved: bool,
    /// With at most this QoS (`max_qos` of rules).
    pub qos: QoS,
    /// What `strict` would have said.
    pub would_deny: Option<Denial>,
}

/// An answer with its reasons, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that decided.
    pub rule: Option<RuleId>,
    /// Why not.
    pub reason: Option<DenyReason>,
    /// A topic the filter matches and the rules do not grant.
    pub witness: Option<String>,
}

impl Rights {
    /// The policy generation they come from.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the client may publish to the valid Topic Name with this QoS; names the rule that
    /// says so.
    ///
    /// # Errors
    /// The refusal.
    pub fn publish(&self, topic: &str, qos: QoS) -> Result<Option<RuleId>, Denial> {
        if level_count(topic) > self.max_topic_levels {
            return Err(Denial::new(DenyReason::TopicLevels));
        }
        if is_closed_for_writing(topic) {
            return Err(Denial::new(DenyReason::Reserved));
        }
        self.decide(topic, Wanted::Write(qos.bits()))
    }

    /// Whether the client may be sent a message of this topic.
    ///
    /// # Errors
    /// The refusal.
    pub fn deliver(&self, topic: &str) -> Result<Option<RuleId>, Denial> {
        self.decide(topic, Wanted::Read(0))
    }

    fn decide(&self, topic: &str, wanted: Wanted) -> Result<Option<RuleId>, Denial> {
        let Some(rules) = &self.rules else {
            return Ok(None);
        };
        match rules.decide(topic, wanted) {
            Decided::Allowed(place) => Ok(Some(rules.rule_id(place))),
            Decided::Denied(reason, place) => Err(rules.denial(reserved(reason, topic), place)),
        }
    }

    /// The rules; `None` if no ACL is configured, so that all is granted.
    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// Whether some rule grants to subscribe alone.
    pub(crate) fn has_subscribe(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.has_subscribe)
    }

    /// Whether the operator wants to know what is used.
    pub(super) fn is_reported(&self) -> bool {
        self.guard == SubscribeGuard::Report
    }

    /// Whether what may be published to a topic depends on the QoS.
    pub(super) fn limits_qos(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.limits_qos)
    }

    /// As [`Rights::deliver`], when only the answer is wanted.
    pub(crate) fn may_receive(&self, topic: &str) -> bool {
        self.rules
            .as_ref()
            .is_none_or(|rules| matches!(rules.decide(topic, Wanted::Read(0)), Decided::Allowed(_)))
    }

    /// Whether the client may subscribe with this QoS, or a lower one.
    ///
    /// # Errors
    /// The refusal; only under the strict guard, or if the filter has too many levels.
    pub fn subscribe(&self, filter: &TopicFilter, qos: QoS) -> Result<Granted, Denial> {
        self.subscribe_within(filter, qos, &mut { STEP_BUDGET })
    }

    /// As [`Rights::subscribe`], taking the steps of the proof off `budget`.
    pub(crate) fn subscribe_within(
        &self,
        filter: &TopicFilter,
        qos: QoS,
        budget: &mut usize,
    ) -> Result<Granted, Denial> {
        let text = filter.as_str();
        if level_count(text) > self.max_topic_levels {
            return Err(Denial::new(DenyReason::TopicLevels));
        }
        let denial = match self.prove(text, qos, budget) {
            Ok(granted) => return Ok(granted),
            Err(found) => found.denial,
        };
        let denial = Denial {
            reason: reserved(denial.reason, text),
            ..denial
        };
        let granted = Granted {
            proved: false,
            qos,
            would_deny: None,
        };
        match self.guard {
            SubscribeGuard::Strict => Err(denial),
            SubscribeGuard::Filter => Ok(granted),
            SubscribeGuard::Report => Ok(Granted {
                would_deny: Some(denial),
                ..granted
            }),
        }
    }

    /// The highest QoS, up to this one, with which every topic of the filter may be read, or at least
    /// subscribed to; or why there is none.
    fn prove(&self, filter: &str, qos: QoS, budget: &mut usize) -> Result<Granted, NotContained> {
        let granted = |proved, qos| Granted {
            proved,
            qos,
            would_deny: None,
        };
        let Some(rules) = &self.rules else {
            return Ok(granted(true, qos));
        };
        let mut first = None;
        let lowest = if rules.limits_qos { 0 } else { qos.bits() };
        for level in (lowest..=qos.bits()).rev() {
            let level_qos = QoS::from_bits(level).unwrap_or(qos);
            match containment::contained(rules, filter, Wanted::Read(level), budget) {
                Ok(()) => return Ok(granted(true, level_qos)),
                // Of the QoS that asks least the reason is the one that counts.
                Err(found) => first = Some(found),
            }
            // Each delivery will be judged by itself.
            if rules.has_subscribe {
                match containment::contained(rules, filter, Wanted::Subscribe(level), budget) {
                    Ok(()) => return Ok(granted(false, level_qos)),
                    Err(found) => first = Some(found),
                }
            }
        }
        match first {
            Some(found) => Err(found),
            None => Ok(granted(true, qos)),
        }
    }

    /// The same decision as [`Rights::publish`], with its reasons.
    pub fn explain_publish(&self, topic: &str, qos: QoS) -> Explanation {
        match self.publish(topic, qos) {
            Ok(rule) => Explanation {
                allowed: true,
                rule,
                reason: None,
                witness: None,
            },
            Err(denial) => Explanation {
                allowed: false,
                rule: denial.rule,
                reason: Some(denial.reason),
                witness: None,
            },
        }
    }

    /// The same decision as [`Rights::subscribe`], with its reasons and, for a refusal, a topic that
    /// would have been read without a right.
    pub fn explain_subscribe(&self, filter: &TopicFilter, qos: QoS) -> Explanation {
        let proof = self.prove(filter.as_str(), qos, &mut { STEP_BUDGET });
        let witness = proof.err().and_then(|found| found.witness);
        match self.subscribe(filter, qos) {
            Ok(granted) => Explanation {
                allowed: true,
                // For a filter without wildcards one rule decides; else it may be several.
                rule: if filter.has_wildcard() || !granted.proved {
                    None
                } else {
                    self.decide(filter.as_str(), Wanted::Read(0)).ok().flatten()
                },
                reason: granted.would_deny.map(|denial| denial.reason),
                witness,
            },
            Err(denial) => Explanation {
                allowed: false,
                rule: denial.rule,
                reason: Some(denial.reason),
                witness,
            },
        }
    }
}

/// `$SYS` is the broker's own, `$CONTROL` is not served, `$share` is no place to publish to, and under
/// `$me` the broker tells each client what is for it alone.
/// A bridge of mosquitto announces its state under `$SYS/broker/connection/<name>/state`.
pub(super) fn is_closed_for_writing(topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix('$') else {
        return false;
    };
    let first = rest.split('/').next().unwrap_or(rest);
    match first {
        "SYS" => !is_bridge_state(topic),
        "CONTROL" | "share" | "me" => true,
        _ => false,
    }
}

const BRIDGE_STATE: &str = "$SYS/broker/connection/+/state";

fn is_bridge_state(topic: &str) -> bool {
    crate::topic::matches(BRIDGE_STATE, topic)
}

/// [`is_closed_for_writing`] as rules that deny.
pub(super) fn closed_for_writing() -> Rules {
    let grants = [BRIDGE_STATE].map(|filter| (filter, Access::ReadWrite));
    let denies = ["$SYS/#", "$CONTROL/#", "$share/#", "$me/#"].map(|filter| (filter, Access::Deny));
    Rules::of(&[&grants[..], &denies].concat())
}

/// Says more than "no rule" where the reason is that the topic is the broker's own.
fn reserved(reason: DenyReason, topic: &str) -> DenyReason {
    let own = matches!(topic.split('/').next(), Some("$SYS" | "$CONTROL"));
    match reason {
        DenyReason::NoRule | DenyReason::Wildcard if own => DenyReason::Reserved,
        reason => reason,
    }
}
