//! The rules of a file, for people.

use crate::policy::RuleId;

use super::file::{AclFile, Order};
use super::rule::{Place, Rule};

/// One rule, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it stands.
    pub place: Place,
    /// As it is shown.
    pub id: RuleId,
    /// `user alice`, `all`, …
    pub section: String,
    /// `read fleet/#`
    pub text: String,
    /// Whether it holds for some addresses alone.
    pub by_address: bool,
}

impl AclFile {
    /// Every rule, in the order of the lines.
    pub fn listed(&self) -> Vec<Listed> {
        let mut all = Vec::new();
        let everyone = match self.order {
            Order::Mosquitto => "pattern",
            Order::DenyFirst => "all",
        };
        self.list(&mut all, "anonymous", &self.anonymous);
        self.list(&mut all, everyone, &self.everyone);
        for (user, rules) in &self.users {
            self.list(&mut all, &format!("user {user}"), rules);
        }
        for (group, rules) in &self.groups {
            self.list(&mut all, &format!("group {group}"), rules);
        }
        for client in &self.clients {
            let star = if client.is_prefix { "*" } else { "" };
            self.list(
                &mut all,
                &format!("client {}{star}", client.id),
                &client.rules,
            );
        }
        all.sort_by_key(|rule| rule.place);
        all
    }

    fn list(&self, all: &mut Vec<Listed>, section: &str, rules: &[Rule]) {
        all.extend(rules.iter().map(|rule| {
            let file = self.files.get(usize::from(rule.place.file));
            Listed {
                place: rule.place,
                id: RuleId {
                    file: file.cloned().unwrap_or_default(),
                    line: rule.place.line,
                },
                section: section.to_owned(),
                text: format!("{} {}", rule.access.word(), rule.filter),
                by_address: rule.addresses.is_some(),
            }
        }));
    }
}
