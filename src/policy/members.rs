//! The group file: who is in which group.
//!
//! ```text
//! group operators
//! user alice
//! user bob smith
//! ```
//!
//! Lines as in an ACL file: names run to the end of their line, and a `#` begins a comment only as
//! the first byte of a line. A group may be opened again; its users add up.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::{Groups, is_group_name};

use super::acl::AclError;

/// The groups of each user that has some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    groups: BTreeMap<Box<str>, Vec<Arc<str>>>,
}

impl Members {
    /// Reads a group file.
    ///
    /// # Errors
    /// Every line that is none.
    pub fn parse(text: &str) -> Result<Self, Vec<AclError>> {
        let mut members = Self::default();
        let mut errors = Vec::new();
        let mut group: Option<Arc<str>> = None;
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.trim_end();
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let (keyword, name) = line.split_once(' ').unwrap_or((line, ""));
            let name = name.trim_start_matches(' ');
            let message = match keyword {
                "group" if is_group_name(name) => {
                    group = Some(Arc::from(name));
                    continue;
                }
                "group" => "expected the name of a group, of at most 256 bytes, after group",
                "user" if name.is_empty() => "expected a user name after user",
                "user" => match &group {
                    Some(group) => {
                        members.add(name, group);
                        continue;
                    }
                    None => "no group line stands before this user",
                },
                _ => "expected `group NAME` or `user NAME` at the beginning of the line",
            };
            errors.push(AclError {
                file: None,
                line: number,
                column: 1,
                message: message.to_owned(),
            });
        }
        if errors.is_empty() {
            Ok(members)
        } else {
            Err(errors)
        }
    }

    /// Puts a user into a group.
    pub fn add(&mut self, user: &str, group: &Arc<str>) {
        let groups = self.groups.entry(user.into()).or_default();
        if let Err(at) = groups.binary_search(group) {
            groups.insert(at, Arc::clone(group));
        }
    }

    /// Every user and its groups, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Arc<str>])> {
        self.groups
            .iter()
            .map(|(user, groups)| (&**user, groups.as_slice()))
    }

    /// The groups of a user, sorted: those it has here and those that its proof of identity named.
    pub(crate) fn groups_of(&self, username: Option<&str>, proved: &Groups) -> Groups {
        let own = username.and_then(|name| self.groups.get(name));
        let Some(own) = own else {
            return Arc::clone(proved);
        };
        let mut all: Vec<Arc<str>> = own.iter().chain(proved.iter()).map(Arc::clone).collect();
        all.sort_unstable();
        all.dedup();
        all.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_in_the_groups_that_name_them_and_in_those_that_their_proof_names() {
        let text = "# staff\ngroup operators\nuser alice\nuser bob smith\n\ngroup night\nuser alice\n\
                    group operators\nuser carol\n";
        let members = Members::parse(text).expect("valid");
        let of = |user, proved: &[&str]| {
            let proved: Groups = proved.iter().map(|&group| Arc::from(group)).collect();
            let groups = members.groups_of(user, &proved);
            groups.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(Some("alice"), &[]), ["night", "operators"]);
        assert_eq!(
            of(Some("alice"), &["admin", "night"]),
            ["admin", "night", "operators"]
        );
        assert_eq!(of(Some("bob smith"), &[]), ["operators"]);
        assert_eq!(of(Some("carol"), &[]), ["operators"]);
        assert_eq!(of(Some("dave"), &["admin"]), ["admin"]);
        assert_eq!(of(None, &[]), [""; 0]);
    }

    #[test]
    fn every_bad_line_of_a_group_file_is_reported() {
        let errors = Members::parse("user early\ngroup\ngroup g\nuser\nmember x\n user y\n");
        let lines: Vec<u32> = errors.unwrap_err().iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6]);
    }
}
