//! The one place where decisions are made and told.
//!
//! [`Admitted`] cannot be made elsewhere, and the broker routes nothing else: a path that forgets
//! to ask does not compile. Order of a decision: budget (cheapest), topic levels, ACL.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::codec::QoS;
use crate::message::{Author, Delivery, Grants, Groups, Message, Subscription, Tokens};
use crate::topic::{TopicFilter, TopicName};

use super::containment::STEP_BUDGET;
use super::limits::{Budget, Rate, Spent, TokenBucket};
use super::request::{Action, Observer, Request, Who};
use super::rights::{Granted, Policy, Principal, Rights};
use super::{BudgetSettings, Denial, DenyReason, RateAction};

/// Something the gate let through.
#[derive(Debug)]
pub struct Admitted<T>(T);

impl<T> Admitted<T> {
    /// What was let through.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Admitted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The gate's answer.
#[derive(Debug)]
pub enum Decision<T> {
    /// Go on.
    Admit(Admitted<T>),
    /// Refused; the observer has been told.
    Deny(Denial),
    /// Not now: the client's budget is used up.
    Wait {
        /// What waits.
        value: T,
        /// When to ask again.
        until: Instant,
    },
}

/// A connected client as the gate sees it: who, by which rights, with what budget left. Owned by
/// the client's connection.
#[derive(Debug)]
pub struct Client {
    who: Arc<Who>,
    rights: Rights,
    budget: Budget,
    /// Steps of proofs.
    proofs: TokenBucket,
    /// Every subscription of this client is proved for the generation of `rights`.
    proved: bool,
    /// The topic the client published to last, if it was allowed to by `rights`.
    last_allowed: Option<TopicName>,
    /// The Response Topic it named last, if it was allowed to.
    last_response: Option<Box<str>>,
    /// A rate refusal was told already and no message has passed since.
    throttled: bool,
}

impl Client {
    /// Who it is.
    pub fn who(&self) -> &Arc<Who> {
        &self.who
    }

    /// What happens when it is over its rate.
    pub fn rate_action(&self) -> RateAction {
        self.budget.action
    }

    /// The operator has set other rates; what was spent is forgotten if they differ.
    pub fn set_budget(&mut self, settings: BudgetSettings) {
        self.budget.set(settings);
    }

    /// Its proof of identity names other groups, or brings other rules along, than before. Its
    /// rights are bound again at its next request. False if they are the same.
    pub fn set_identity(&mut self, groups: Groups, grants: Option<Arc<Grants>>) -> bool {
        if self.who.groups == groups && self.who.grants == grants {
            return false;
        }
        self.who = Arc::new(Who {
            groups,
            grants,
            ..Who::clone(&self.who)
        });
        // That of no policy.
        self.rights.generation = 0;
        true
    }

    /// The session has other topic tokens than before: rights are bound again at the next request.
    pub fn set_tokens(&mut self, tokens: Tokens) {
        self.who = Arc::new(Who {
            tokens,
            ..Who::clone(&self.who)
        });
        self.rights.generation = 0;
    }

    /// Whether it may be sent what waits for it.
    pub fn may_take(&self, delivery: &Delivery) -> bool {
        self.may_receive(delivery.message.topic.as_str()) || is_for_it_alone(delivery)
    }

    /// Whether it may be sent messages of this topic.
    pub fn may_receive(&self, topic: &str) -> bool {
        self.rights.may_receive(topic)
    }

    /// Judges a filter. Proofs cost time that others wait for, so a client has only so many steps.
    fn prove(&mut self, filter: &TopicFilter, qos: QoS, now: Instant) -> Result<Granted, Denial> {
        let steps = match self.proofs.check(1, now) {
            Ok(()) => STEP_BUDGET,
            Err(_) => 0,
        };
        let mut left = steps;
        let judged = self.rights.subscribe_within(filter, qos, &mut left);
        self.proofs.take((steps - left) as u64, now);
        judged
    }

    fn request<'a>(&'a self, action: Action, topic: &'a str) -> Request<'a> {
        Request {
            who: &self.who,
            action,
            topic,
        }
    }
}

/// Steps of proofs that one client may cause: with ordinary rules thousands of subscriptions at once,
/// with the worst ones some tens of milliseconds.
const PROOFS: Rate = Rate {
    per_second: 100_000,
    burst: 400_000,
};

/// What the broker tells one client and no other: nobody else can publish there, and it is routed to
/// nobody.
fn is_for_it_alone(delivery: &Delivery) -> bool {
    let message = &delivery.message;
    message.author.listener.is_none() && message.topic.as_str().ends_with("$me/token")
}

/// See the module.
pub struct Gate {
    policy: ArcSwap<Policy>,
    /// That of `policy`: one load tells a client that nothing has changed.
    generation: AtomicU64,
    observer: Arc<dyn Observer>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate with its first policy.
    pub fn new(mut policy: Policy, observer: Arc<dyn Observer>) -> Self {
        policy.generation = 1;
        Self {
            policy: ArcSwap::from_pointee(policy),
            generation: AtomicU64::new(1),
            observer,
        }
    }

    /// Puts a new policy in force. Clients notice at their next request.
    pub fn set_policy(&self, mut policy: Policy) {
        let generation = self.generation.load(Ordering::Acquire) + 1;
        policy.generation = generation;
        self.policy.store(Arc::new(policy));
        // After the policy: whoever sees the number finds the policy that belongs to it.
        self.generation.store(generation, Ordering::Release);
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Admits an authenticated client to be judged. It has no subscription yet; one that goes on
    /// with an earlier session needs [`Gate::recheck`] before anything is delivered to it.
    pub fn client(&self, who: Who, budget: BudgetSettings) -> Client {
        let rights = self.rights_of(&Principal::from(&who), who.listener);
        Client {
            who: Arc::new(who),
            rights,
            budget: Budget::new(budget),
            proofs: TokenBucket::new(PROOFS),
            proved: true,
            last_allowed: None,
            last_response: None,
            throttled: false,
        }
    }

    fn rights_of(&self, principal: &Principal<'_>, listener: u16) -> Rights {
        self.policy.load().bind(principal, listener)
    }

    /// Binds the client's rights again if the policy has changed.
    #[inline]
    fn refresh(&self, client: &mut Client) {
        if client.rights.generation() != self.generation.load(Ordering::Acquire) {
            self.rebind(client);
        }
    }

    #[cold]
    fn rebind(&self, client: &mut Client) {
        let who = &client.who;
        client.rights = self.rights_of(&Principal::from(&**who), who.listener);
        // Until its subscriptions are proved again each delivery is judged by itself.
        client.proved = false;
        client.last_allowed = None;
        client.last_response = None;
    }

    /// May the client publish this?
    #[inline]
    pub fn publish(
        &self,
        client: &mut Client,
        message: Message,
        now: Instant,
    ) -> Decision<Message> {
        self.refresh(client);
        if let Err(spent) = client.budget.pay(message.size_bytes(), now) {
            return self.over_budget(client, message, spent);
        }
        client.throttled = false;
        if client.last_allowed.as_ref() == Some(&message.topic) {
            return Decision::Admit(Admitted(message));
        }
        match client.rights.publish(message.topic.as_str(), message.qos) {
            Ok(_) => {
                // Where rules tell QoS apart, the next message may be another matter.
                if !client.rights.limits_qos() {
                    client.last_allowed = Some(message.topic.clone());
                }
                let request = client.request(Action::Publish, message.topic.as_str());
                self.observer.admitted(&request);
                if client.rights.is_reported() {
                    self.observer.used(&request);
                }
                Decision::Admit(Admitted(message))
            }
            Err(denial) => {
                let request = client.request(Action::Publish, message.topic.as_str());
                self.observer.denied(&request, &denial);
                Decision::Deny(denial)
            }
        }
    }

    #[cold]
    fn over_budget(
        &self,
        client: &mut Client,
        message: Message,
        spent: Spent,
    ) -> Decision<Message> {
        let (reason, until) = match spent {
            Spent::Messages(until) => (DenyReason::MessageRate, until),
            Spent::Bytes(until) => (DenyReason::ByteRate, until),
        };
        let denial = Denial::new(reason);
        // One event for each time the client runs into the limit, not for each try.
        if !client.throttled || client.budget.action != RateAction::Throttle {
            let request = client.request(Action::Publish, message.topic.as_str());
            self.observer.denied(&request, &denial);
            client.throttled = true;
        }
        match client.budget.action {
            RateAction::Throttle => Decision::Wait {
                value: message,
                until,
            },
            RateAction::Drop | RateAction::Disconnect => Decision::Deny(denial),
        }
    }

    /// A PUBLISH is refused for a reason found outside the gate: told like any other.
    pub fn refuse_publish(&self, client: &Client, topic: &str, denial: &Denial) {
        self.observer
            .denied(&client.request(Action::Publish, topic), denial);
    }

    /// A SUBSCRIBE is refused for a reason found outside the gate: told like any other.
    pub fn refuse_subscribe(&self, client: &Client, filter: &str, denial: &Denial) {
        self.observer
            .denied(&client.request(Action::Subscribe, filter), denial);
    }

    /// May the client subscribe? Shared subscriptions are judged by the filter they share.
    pub fn subscribe(
        &self,
        client: &mut Client,
        mut subscription: Subscription,
        now: Instant,
    ) -> Decision<Subscription> {
        self.refresh(client);
        match client.prove(&subscription.filter.filter, subscription.qos, now) {
            Ok(granted) => {
                subscription.qos = granted.qos;
                client.proved &= granted.proved;
                let text = subscription.filter.to_string();
                let request = client.request(Action::Subscribe, &text);
                self.observer.admitted(&request);
                if let Some(denial) = granted.would_deny {
                    self.observer.would_deny(&request, &denial);
                }
                Decision::Admit(Admitted(subscription))
            }
            Err(denial) => {
                let text = subscription.filter.to_string();
                self.observer
                    .denied(&client.request(Action::Subscribe, &text), &denial);
                Decision::Deny(denial)
            }
        }
    }

    /// May the client be sent this? Refused deliveries are no events: with `filter` they are the
    /// ordinary course of things.
    #[inline]
    pub fn deliver(&self, client: &mut Client, delivery: Delivery) -> Option<Admitted<Delivery>> {
        self.refresh(client);
        if client.proved || client.may_take(&delivery) {
            Some(Admitted(delivery))
        } else {
            None
        }
    }

    /// May the client name this topic as the one where answers to its message are to go? Only one that
    /// it may read itself: else it could have an answer sent into another's hands.
    ///
    /// # Errors
    /// The refusal; the observer has been told.
    pub fn response_topic(&self, client: &mut Client, topic: &str) -> Result<(), Denial> {
        self.refresh(client);
        if client.last_response.as_deref() == Some(topic) {
            return Ok(());
        }
        match client.rights.deliver(topic) {
            Ok(_) => {
                client.last_response = Some(topic.into());
                Ok(())
            }
            Err(denial) => {
                let denial = Denial {
                    reason: DenyReason::ResponseTopic,
                    ..denial
                };
                self.observer
                    .denied(&client.request(Action::Publish, topic), &denial);
                Err(denial)
            }
        }
    }

    /// Could a will for this topic ever be published? Asked at CONNECT, while its owner can still
    /// be told.
    ///
    /// # Errors
    /// The refusal; the observer has been told.
    pub fn check_will(&self, client: &mut Client, topic: &str, qos: QoS) -> Result<(), Denial> {
        self.refresh(client);
        let request = client.request(Action::Will, topic);
        match client.rights.publish(topic, qos) {
            Ok(_) => {
                self.observer.admitted(&request);
                Ok(())
            }
            Err(denial) => {
                self.observer.denied(&request, &denial);
                Err(denial)
            }
        }
    }

    /// May this will be published now? Rights may have changed since CONNECT.
    pub fn will(&self, client: &mut Client, message: Message) -> Decision<Message> {
        match self.check_will(client, message.topic.as_str(), message.qos) {
            Ok(()) => Decision::Admit(Admitted(message)),
            Err(denial) => Decision::Deny(denial),
        }
    }

    /// A message of the broker's own, under `$SYS`.
    pub fn own(&self, message: Message) -> Admitted<Message> {
        Admitted(message)
    }

    /// A will that is published after a restart: its client is known as the author of the message.
    pub fn will_of_author(&self, message: Message) -> Option<Admitted<Message>> {
        let rights = self.author_rights(&message.author)?;
        let topic = message.topic.as_str();
        let may = rights.publish(topic, message.qos).is_ok();
        may.then_some(Admitted(message))
    }

    /// May the author of a retained message still write its topic (`check_retain_source`)?
    pub fn author_rights(&self, author: &Author) -> Option<Rights> {
        let listener = author.listener?;
        Some(self.rights_of(&Principal::from(author), listener))
    }

    /// The policy has changed, or a session goes on with this client: judges the subscriptions again
    /// and gives those that are lost. Afterwards deliveries need no check of their own if none was
    /// lost and every one is proved.
    pub fn recheck<'a>(
        &self,
        client: &mut Client,
        subscriptions: impl Iterator<Item = &'a Subscription>,
        now: Instant,
    ) -> Vec<(Subscription, Denial)> {
        self.refresh(client);
        let mut lost = Vec::new();
        let mut proved = true;
        for subscription in subscriptions {
            if client.proofs.check(1, now).is_err() {
                // A client that comes back again and again with filters that take long to prove
                // pays for it: what is left is kept, and each delivery judged.
                proved = false;
                break;
            }
            match client.prove(&subscription.filter.filter, subscription.qos, now) {
                // To go on with a lower QoS would need the client to know.
                Ok(granted) if granted.qos < subscription.qos => {
                    lost.push((subscription.clone(), Denial::new(DenyReason::RuleQos)));
                }
                Ok(granted) => proved &= granted.proved,
                Err(denial) => lost.push((subscription.clone(), denial)),
            }
        }
        // A publisher that found its receivers before a subscription ended may deliver after it.
        client.proved = proved && lost.is_empty();
        for (subscription, denial) in &lost {
            let text = subscription.filter.to_string();
            self.observer
                .lost(&client.request(Action::Subscribe, &text), denial);
        }
        lost
    }
}
