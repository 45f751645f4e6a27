//! The rules that hold for one client, with its names put in.

use std::net::IpAddr;
use std::sync::Arc;

use crate::message::Grants;
use crate::policy::{Denial, DenyReason, Principal, RuleId};

use super::file::{AclFile, Order};
use super::level::{BadName, Level, Name, Names};
use super::rule::{Access, Place, Rule, Wanted};

/// Most rules that may hold for one client after groups have been put in; above, it has no right.
const MAX_BOUND_RULES: usize = 50_000;
/// What the rules of a token are shown as, in place of a file.
const TOKEN: &str = "(token)";

#[derive(Clone, Debug)]
pub(crate) struct BoundRule {
    pub(crate) levels: Arc<[Level]>,
    pub(crate) access: Access,
    pub(crate) max_qos: u8,
    pub(crate) place: Place,
}

impl BoundRule {
    /// Whether it can have a say in what is wanted, if only as the reason why not.
    pub(crate) fn matters(&self, wanted: Wanted) -> bool {
        let is_subscribe = matches!(wanted, Wanted::Subscribe(_));
        !self.access.is_deny()
            || self.access.denies(wanted)
            || (is_subscribe && self.access == Access::ReadDeny)
    }

    /// Whether the rule's filter matches a Topic Name, as section 4.7 has it.
    fn matches(&self, topic: &str) -> bool {
        let mut names = topic.split('/');
        for (depth, level) in self.levels.iter().enumerate() {
            match (level, names.next()) {
                // `#` and `+` at the start do not reach `$…` [MQTT-4.7.2-1].
                (Level::Hash | Level::Plus, _) if depth == 0 && topic.starts_with('$') => {
                    return false;
                }
                (Level::Hash, _) => return true,
                (_, None) => return false,
                (level, Some(name)) => {
                    if !level.takes(name) {
                        return false;
                    }
                }
            }
        }
        names.next().is_none()
    }
}

/// What the rules say about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Allowed by the rule that stands here.
    Allowed(Place),
    /// Denied; by the rule that stands here if one did it.
    Denied(DenyReason, Option<Place>),
}

/// The rules for one client, in the order in which they are asked. In a file of mosquitto's there
/// are two lists, the client's own first, then the patterns; in one of version 2 all are in the
/// first. In each list denies come before grants.
#[derive(Clone, Debug)]
pub struct Rules {
    files: Arc<[Arc<str>]>,
    pub(crate) lists: [Box<[BoundRule]>; 2],
    /// A rule could not be bound because of a character in the client's names.
    unbindable: bool,
    /// Some rule names `max_qos`.
    pub(crate) limits_qos: bool,
    /// Some rule grants to subscribe alone.
    pub(crate) has_subscribe: bool,
}

impl Rules {
    /// Rules that grant nothing.
    pub(crate) fn closed(name: &str) -> Self {
        Self {
            files: [Arc::from(name)].into(),
            lists: [Box::default(), Box::default()],
            unbindable: false,
            limits_qos: false,
            has_subscribe: false,
        }
    }

    /// Rules of the broker's own that are asked in this order; no client's name is put in.
    pub(crate) fn of(rules: &[(&str, Access)]) -> Self {
        let rules = rules.iter().map(|(filter, access)| BoundRule {
            levels: filter.split('/').map(plain).collect(),
            access: *access,
            max_qos: 2,
            place: Place { file: 0, line: 0 },
        });
        Self {
            lists: [rules.collect(), Box::default()],
            ..Self::closed("(broker)")
        }
    }

    /// Binds the rules of `file` to a client that is in these `groups`. Without a file there are
    /// only those that the client's proof of identity brought along.
    pub(crate) fn bind(
        file: Option<&AclFile>,
        principal: &Principal<'_>,
        groups: &[Arc<str>],
    ) -> Self {
        let mut rules = Self::closed(TOKEN);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut lost_deny = false;
        if let Some(file) = file {
            rules.files = Arc::clone(&file.files);
            let mut binder = Binder {
                principal,
                groups,
                unbindable: false,
                void: false,
                lost_deny: false,
            };
            match file.order {
                Order::Mosquitto => {
                    first = binder.bind(file.own(principal.username));
                    second = binder.patterns(&file.everyone);
                }
                Order::DenyFirst => {
                    first = binder.bind(file.for_client(principal, groups));
                    if let Some(place) = file.default_allow {
                        first.push(allow_all(place));
                    }
                }
            }
            if binder.void || first.len() + second.len() > MAX_BOUND_RULES {
                (first, second) = (Vec::new(), Vec::new());
                (binder.unbindable, binder.lost_deny) = (true, true);
            }
            rules.unbindable = binder.unbindable;
            lost_deny = binder.lost_deny;
        }
        // What a token brings along must not reach what a deny would have kept from it.
        if let Some(grants) = principal.grants
            && !lost_deny
        {
            rules.add_grants(grants, &mut first);
        }
        rules.lists = [ordered(first), ordered(second)];
        let limits_qos = rules.in_order().any(|rule| rule.max_qos < 2);
        let has_subscribe = rules
            .in_order()
            .any(|rule| rule.access == Access::Subscribe);
        (rules.limits_qos, rules.has_subscribe) = (limits_qos, has_subscribe);
        rules
    }

    fn add_grants(&mut self, grants: &Grants, rules: &mut Vec<BoundRule>) {
        let is_named = self.files.last().is_some_and(|name| **name == *TOKEN);
        if !is_named {
            self.files = self.files.iter().cloned().chain([TOKEN.into()]).collect();
        }
        let file = u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX);
        let filters = grants.publish.iter().map(|filter| (filter, Access::Write));
        let filters = filters.chain(grants.subscribe.iter().map(|filter| (filter, Access::Read)));
        for ((filter, access), line) in filters.zip(1..) {
            rules.push(BoundRule {
                levels: filter.split('/').map(plain).collect(),
                access,
                max_qos: 2,
                place: Place { file, line },
            });
        }
    }

    /// Judges one topic.
    pub(crate) fn decide(&self, topic: &str, wanted: Wanted) -> Decided {
        let matching = self
            .in_order()
            .filter(|rule| rule.matters(wanted) && rule.matches(topic));
        self.decide_among(wanted, matching)
    }

    /// Every rule in the order of decision.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &BoundRule> {
        self.lists.iter().flat_map(|list| list.iter())
    }

    /// Judges what is matched by these rules, which are in the order of decision: containment asks
    /// with what is known of a set of topics.
    pub(crate) fn decide_among<'a>(
        &self,
        wanted: Wanted,
        matching: impl Iterator<Item = &'a BoundRule>,
    ) -> Decided {
        let mut almost = None;
        let mut is_read_denied = false;
        for rule in matching {
            let access = rule.access;
            if access.denies(wanted) {
                return Decided::Denied(DenyReason::DenyRule, Some(rule.place));
            }
            if access == Access::ReadDeny && matches!(wanted, Wanted::Subscribe(_)) {
                // Only a rule that grants to subscribe grants it here: what it brings is judged.
                is_read_denied = true;
                almost.get_or_insert((DenyReason::DenyRule, rule.place));
            }
            let is_enough = !is_read_denied || access == Access::Subscribe;
            if is_enough && access.grants(wanted) && rule.max_qos >= wanted.qos() {
                return Decided::Allowed(rule.place);
            }
            if !access.is_deny() {
                almost.get_or_insert((missing(access, wanted), rule.place));
            }
        }
        match almost {
            Some((reason, place)) => Decided::Denied(reason, Some(place)),
            None if self.unbindable => Decided::Denied(DenyReason::IdentityCharacters, None),
            None => Decided::Denied(DenyReason::NoRule, None),
        }
    }

    pub(crate) fn rule_id(&self, place: Place) -> RuleId {
        let file = self.files.get(usize::from(place.file));
        RuleId {
            file: file.map_or_else(|| Arc::from("(unknown)"), Arc::clone),
            line: place.line,
        }
    }

    pub(crate) fn denial(&self, reason: DenyReason, place: Option<Place>) -> Denial {
        Denial {
            reason,
            rule: place.map(|place| self.rule_id(place)),
        }
    }
}

/// What a grant lacks that matches and does not grant what is wanted.
fn missing(access: Access, wanted: Wanted) -> DenyReason {
    match access {
        access if access.grants(wanted) => DenyReason::RuleQos,
        Access::Read => DenyReason::ReadOnly,
        Access::Subscribe => DenyReason::SubscribeOnly,
        _ => DenyReason::WriteOnly,
    }
}

fn plain(text: &str) -> Level {
    match text {
        "+" => Level::Plus,
        "#" => Level::Hash,
        _ => Level::Literal(text.into()),
    }
}

/// `default allow`, as the last grant: it reaches no topic that begins with `$`.
fn allow_all(place: Place) -> BoundRule {
    BoundRule {
        levels: [Level::Hash].into(),
        access: Access::ReadWrite,
        max_qos: 2,
        place,
    }
}

/// Denies first, latest first; then the rest in the order of the file.
fn ordered(rules: Vec<BoundRule>) -> Box<[BoundRule]> {
    let (mut denies, grants): (Vec<_>, Vec<_>) =
        rules.into_iter().partition(|rule| rule.access.is_deny());
    denies.reverse();
    denies.extend(grants);
    denies.into()
}

struct Binder<'a> {
    principal: &'a Principal<'a>,
    groups: &'a [Arc<str>],
    unbindable: bool,
    /// A deny could not be bound: what it would have covered is not known.
    void: bool,
    /// As `void`, and what follows from it has been done.
    lost_deny: bool,
}

impl<'a> Binder<'a> {
    fn bind(&mut self, rules: impl IntoIterator<Item = &'a Rule>) -> Vec<BoundRule> {
        let mut bound = Vec::new();
        for rule in rules {
            if self.holds_here(rule) {
                self.rule(rule, &mut bound);
            }
            if bound.len() > MAX_BOUND_RULES {
                self.void = true;
                break;
            }
        }
        bound
    }

    /// The patterns of a file of mosquitto's: a name with a wildcard has no pattern at all, those
    /// without `%c` and `%u` included.
    fn patterns(&mut self, rules: &'a [Rule]) -> Vec<BoundRule> {
        let is_wild = |name: &str| name.contains(['+', '#']);
        let principal = self.principal;
        let names_are_wild =
            is_wild(principal.client_id) || principal.username.is_some_and(is_wild);
        if !rules.is_empty() && names_are_wild {
            self.unbindable = true;
            self.lost_deny = rules.iter().any(|rule| rule.access.is_deny());
            return Vec::new();
        }
        let bound = self.bind(rules);
        if std::mem::take(&mut self.void) {
            (self.unbindable, self.lost_deny) = (true, true);
            return Vec::new();
        }
        bound
    }

    /// Whether a rule for some addresses holds. Where the address is not known, as for the author
    /// of a message that was kept, it denies and does not grant.
    fn holds_here(&self, rule: &Rule) -> bool {
        match (&rule.addresses, self.principal.address.map(canonical)) {
            (None, _) => true,
            (Some(addresses), Some(address)) => addresses.contains(address),
            (Some(_), None) => rule.access.is_deny(),
        }
    }

    /// One rule, once for each group and each token that it names.
    fn rule(&mut self, rule: &Rule, bound: &mut Vec<BoundRule>) {
        let principal = self.principal;
        let names = Names {
            client_id: principal.client_id,
            username: principal.username,
            ..Names::default()
        };
        let by_group = rule.levels.names(Name::Group);
        let by_token = rule.levels.names(Name::Token);
        let groups = if by_group { self.groups.len() } else { 1 };
        let tokens = if by_token { principal.tokens.len() } else { 1 };
        for group in 0..groups {
            for token in 0..tokens {
                let names = Names {
                    group: self.groups.get(group).map(|name| &**name),
                    token: principal.tokens.get(token).map(|token| &**token),
                    ..names
                };
                match rule.levels.bind(&names) {
                    Ok(Some(levels)) => bound.push(BoundRule {
                        levels,
                        access: rule.access,
                        max_qos: rule.max_qos,
                        place: rule.place,
                    }),
                    Ok(None) => {}
                    Err(BadName) if rule.access.is_deny() => self.void = true,
                    Err(BadName) => self.unbindable = true,
                }
            }
        }
    }
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
