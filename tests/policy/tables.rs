//! Tables of what ACL files mean: file, client, question, answer, and the line that gave it.
//!
//! The tables stand in `tables/*.toml`. Each case is one question, `publish`, `deliver`, `subscribe`
//! or `will` with its topic. `by` is the line of the rule that decided; `denied` the reason of a
//! refusal, and without it the answer is yes.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use portcullis::codec::{QoS, Version};
use portcullis::message::{ClientId, Grants, group_set};
use portcullis::policy::acl::AclFile;
use portcullis::policy::{
    BudgetSettings, Denial, Gate, Granted, Observer, Policy, Principal, Request, Rights, RuleId,
    SubscribeGuard, Who,
};
use portcullis::topic::{SubscriptionFilter, check_name, matches};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    table: Vec<Table>,
    #[serde(default)]
    refused: Vec<Refused>,
    #[serde(default)]
    warned: Vec<Warned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rule: String,
    /// Without it the listener has no ACL.
    acl: Option<String>,
    #[serde(default)]
    guard: Guard,
    levels: Option<usize>,
    cases: Vec<Case>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Guard {
    #[default]
    Strict,
    Filter,
    Report,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    user: Option<String>,
    #[serde(default = "client")]
    client: String,
    /// The groups that its proof of identity names.
    #[serde(default)]
    groups: Vec<String>,
    address: Option<IpAddr>,
    #[serde(default)]
    tokens: Vec<String>,
    /// What its proof of identity lets it publish and subscribe to.
    may_publish: Option<Vec<String>>,
    may_subscribe: Option<Vec<String>>,
    #[serde(default)]
    qos: u8,
    /// The QoS of the subscription, where it is not what was asked for.
    granted: Option<u8>,
    publish: Option<String>,
    deliver: Option<String>,
    subscribe: Option<String>,
    will: Option<String>,
    denied: Option<String>,
    by: Option<u32>,
    /// A topic that the filter matches and that is not granted.
    witness: Option<String>,
    /// Accepted, and each delivery is judged.
    #[serde(default)]
    unproved: bool,
    /// What the strict guard would have said.
    would: Option<String>,
}

fn client() -> String {
    "c".into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    rule: String,
    acl: String,
    at: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Warned {
    rule: String,
    acl: String,
    names: Vec<String>,
}

struct Silent;

impl Observer for Silent {
    fn denied(&self, _: &Request<'_>, _: &Denial) {}
    fn would_deny(&self, _: &Request<'_>, _: &Denial) {}
}

/// What came of a question, in the words of the tables.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    denied: Option<String>,
    by: Option<u32>,
    unproved: bool,
    would: Option<String>,
}

impl Answer {
    fn of(decided: Result<Option<RuleId>, Denial>) -> Self {
        match decided {
            Ok(rule) => Self {
                by: rule.map(|rule| rule.line),
                ..Self::default()
            },
            Err(denial) => Self {
                denied: Some(denial.reason.label().into()),
                by: denial.rule.map(|rule| rule.line),
                ..Self::default()
            },
        }
    }

    fn expected(case: &Case) -> Self {
        Self {
            denied: case.denied.clone(),
            by: case.by,
            unproved: case.unproved,
            would: case.would.clone(),
        }
    }
}

impl Case {
    fn qos(&self) -> QoS {
        QoS::from_bits(self.qos).expect("0, 1 or 2")
    }

    fn rights(&self, policy: &Policy) -> Rights {
        let groups = group_set(self.groups.iter().map(String::as_str)).expect("names");
        let tokens: Vec<Arc<str>> = self.tokens.iter().map(|token| (**token).into()).collect();
        let list = |filters: &Option<Vec<String>>| {
            let filters = filters.iter().flatten();
            filters.map(|filter| (**filter).into()).collect()
        };
        let grants = Grants {
            publish: list(&self.may_publish),
            subscribe: list(&self.may_subscribe),
        };
        let has_grants = self.may_publish.is_some() || self.may_subscribe.is_some();
        let principal = Principal {
            groups: Some(&groups),
            grants: has_grants.then_some(&grants),
            address: self.address,
            tokens: &tokens,
            ..Principal::new(self.user.as_deref(), &self.client)
        };
        policy.bind(&principal, 0)
    }
}

impl Table {
    fn policy(&self) -> Policy {
        let acl = self.acl.as_ref().map(|text| {
            Arc::new(AclFile::parse("acl", text).unwrap_or_else(|errors| {
                panic!("{}: {errors:?}", self.rule);
            }))
        });
        let guard = match self.guard {
            Guard::Strict => SubscribeGuard::Strict,
            Guard::Filter => SubscribeGuard::Filter,
            Guard::Report => SubscribeGuard::Report,
        };
        Policy::new(vec![acl], guard, self.levels.unwrap_or(200))
    }

    fn check(&self, wrong: &mut String) {
        for case in &self.cases {
            let rights = case.rights(&self.policy());
            let answer = self.answer(case, &rights);
            let expected = Answer::expected(case);
            if answer != expected {
                let _ = writeln!(
                    wrong,
                    "{}\n  {case:?}\n  expected {expected:?}\n  found    {answer:?}",
                    self.rule
                );
            }
        }
    }

    fn answer(&self, case: &Case, rights: &Rights) -> Answer {
        match (&case.publish, &case.deliver, &case.subscribe, &case.will) {
            (Some(topic), None, None, None) => Answer::of(rights.publish(name(topic), case.qos())),
            (None, Some(topic), None, None) => Answer::of(rights.deliver(name(topic))),
            (None, None, Some(filter), None) => self.subscribe(case, rights, filter),
            (None, None, None, Some(topic)) => self.will(case, rights, name(topic)),
            _ => panic!("{}: one question in each case: {case:?}", self.rule),
        }
    }

    fn subscribe(&self, case: &Case, rights: &Rights, filter: &str) -> Answer {
        let filter = SubscriptionFilter::parse(filter)
            .expect("a valid filter")
            .filter;
        let explained = rights.explain_subscribe(&filter, QoS::AtMostOnce);
        if let Some(witness) = &explained.witness {
            // What it shows is so: the filter matches it, and it may not be read.
            assert!(matches(filter.as_str(), witness), "{witness}");
            assert!(rights.deliver(witness).is_err(), "{witness}");
        }
        if case.witness.is_some() {
            assert_eq!(explained.witness, case.witness, "{}: {case:?}", self.rule);
        }
        match rights.subscribe(&filter, case.qos()) {
            Ok(Granted {
                proved,
                would_deny,
                qos,
            }) => {
                assert!(explained.allowed);
                assert_eq!(
                    qos.bits(),
                    case.granted.unwrap_or(case.qos),
                    "{}: {case:?}",
                    self.rule
                );
                Answer {
                    denied: None,
                    by: explained.rule.map(|rule| rule.line),
                    unproved: !proved,
                    would: would_deny.map(|denial| denial.reason.label().into()),
                }
            }
            Err(denial) => {
                assert!(!explained.allowed && explained.rule == denial.rule);
                Answer::of(Err(denial))
            }
        }
    }

    /// Through the gate, which is asked at CONNECT and again when the will is sent.
    fn will(&self, case: &Case, rights: &Rights, topic: &str) -> Answer {
        let gate = Gate::new(self.policy(), Arc::new(Silent));
        let who = Who {
            groups: Arc::default(),
            tokens: Arc::default(),
            grants: None,
            client_id: ClientId::new(&case.client),
            username: case.user.as_deref().map(Arc::from),
            address: None,
            listener: 0,
            listener_name: "test".into(),
            protocol: Version::V5,
            method: "password",
        };
        let mut client = gate.client(who, BudgetSettings::default());
        match gate.check_will(&mut client, topic, QoS::AtMostOnce) {
            Ok(()) => Answer::of(rights.publish(topic, QoS::AtMostOnce)),
            Err(denial) => Answer::of(Err(denial)),
        }
    }
}

fn name(topic: &str) -> &str {
    check_name(topic).expect("a valid Topic Name");
    topic
}

impl Refused {
    fn check(&self, wrong: &mut String) {
        let errors = AclFile::parse("acl", &self.acl).err().unwrap_or_default();
        let at: Vec<String> = errors
            .iter()
            .map(|error| format!("{}:{}", error.line, error.column))
            .collect();
        if at != self.at {
            let _ = writeln!(
                wrong,
                "{}\n  expected {:?}\n  found    {at:?}",
                self.rule, self.at
            );
        }
    }
}

impl Warned {
    fn check(&self, wrong: &mut String) {
        let file = AclFile::parse("acl", &self.acl).expect("legal");
        let names: Vec<String> = file
            .warnings()
            .iter()
            .map(|warning| format!("{} {}", warning.line, warning.name))
            .collect();
        if names != self.names {
            let _ = writeln!(
                wrong,
                "{}\n  expected {:?}\n  found    {names:?}",
                self.rule, self.names
            );
        }
    }
}

/// Checks every table of a file and says all that is wrong at once. `least` keeps a file that was
/// not read, or read in part, from passing.
fn check(file: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/policy/tables")
        .join(file);
    let text = std::fs::read_to_string(path).expect("readable");
    let tables: Tables = toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut wrong = String::new();
    let mut cases = tables.refused.len() + tables.warned.len();
    for table in &tables.table {
        cases += table.cases.len();
        table.check(&mut wrong);
    }
    for table in &tables.refused {
        table.check(&mut wrong);
    }
    for table in &tables.warned {
        table.check(&mut wrong);
    }
    assert!(wrong.is_empty(), "{file}\n{wrong}");
    assert!(cases >= least, "{file}: only {cases} cases");
}

#[test]
fn acl_files_are_read_by_mosquittos_grammar() {
    check("grammar.toml", 45);
}

#[test]
fn a_rule_is_for_those_it_is_for_and_names_bind_as_whole_levels() {
    check("meaning.toml", 70);
}

#[test]
fn the_first_rule_that_decides_is_the_one_mosquitto_would_take() {
    check("order.toml", 40);
}

#[test]
fn each_moment_has_its_check() {
    check("moments.toml", 25);
}

#[test]
fn no_wildcard_enumerates_what_is_not_granted() {
    check("wildcards.toml", 85);
}

#[test]
fn files_of_version_2_say_what_mosquittos_cannot() {
    check("version2.toml", 90);
}
