//! What a reload changes, and what of it needs a restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::directive::{Reload, Repeat};
use crate::config::settings::Settings;
use crate::config::table;
use crate::config::{Origin, SecurityProfile};

/// One difference between the running configuration and a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The directive; `listener` for a listener that was added or removed.
    pub directive: &'static str,
    /// The listener it stands under, as [`Bind`](crate::config::Bind) prints it.
    pub listener: Option<String>,
    /// The value that ran, `None` if there was none.
    pub before: Option<String>,
    /// The value from now on.
    pub after: Option<String>,
    /// When it takes effect.
    pub effect: Reload,
}

/// Whose value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// The broker.
    Global,
    /// The listener of `port` and `bind_address`.
    DefaultListener,
    /// A `listener` line, by its number.
    Listener(usize),
}

/// A value as it was understood, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Every value that was written, by owner and directive.
#[derive(Clone, Debug, std::default::Default)]
pub(super) struct Written(BTreeMap<(Owner, &'static str), Entry>);

impl Written {
    /// Notes a value; what an accumulating directive had before stays in front. Gives back what
    /// was replaced.
    pub(super) fn note(
        &mut self,
        owner: Owner,
        directive: &'static str,
        repeat: Repeat,
        mut entry: Entry,
    ) -> Option<Entry> {
        let mut before = self.0.remove(&(owner, directive));
        if let (Some(before), Repeat::Accumulates) = (&mut before, repeat) {
            let mut value = std::mem::take(&mut before.value);
            value.push_str(", ");
            value.push_str(&entry.value);
            entry.value = value;
        }
        self.0.insert((owner, directive), entry);
        before
    }

    pub(super) fn entry(&self, owner: Owner, directive: &'static str) -> Option<&Entry> {
        self.0.get(&(owner, directive))
    }

    /// What `owner` was given.
    pub(super) fn of(&self, owner: Owner) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.0
            .iter()
            .filter(move |((whose, _), _)| *whose == owner)
            .map(|((_, name), entry)| (*name, entry))
    }

    /// The listener of `port` takes its number among the others.
    pub(super) fn adopt_default_listener(&mut self, number: usize) {
        let names: Vec<&'static str> = self
            .of(Owner::DefaultListener)
            .map(|(name, _)| name)
            .collect();
        for name in names {
            if let Some(entry) = self.0.remove(&(Owner::DefaultListener, name)) {
                self.0.insert((Owner::Listener(number), name), entry);
            }
        }
    }
}

impl Settings {
    /// What differs in `new`, in the order of the table and then of the listeners. The contents of
    /// ACL, password and certificate files are not compared: they are read again in any case.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = self.differences(new, (Owner::Global, Owner::Global), None);
        if self.profile != new.profile {
            changes.insert(
                0,
                Change {
                    directive: PROFILE,
                    listener: None,
                    before: Some(self.profile.to_string()),
                    after: Some(new.profile.to_string()),
                    effect: Reload::Applied,
                },
            );
        }
        let (before, after) = (self.listener_numbers(), new.listener_numbers());
        for (name, &number) in &before {
            match after.get(name) {
                Some(&other) => changes.extend(self.differences(
                    new,
                    (Owner::Listener(number), Owner::Listener(other)),
                    Some(name),
                )),
                None => changes.push(listener_change(name, Some(name.clone()), None)),
            }
        }
        for name in after.keys().filter(|name| !before.contains_key(*name)) {
            changes.push(listener_change(name, None, Some(name.clone())));
        }
        changes
    }

    fn listener_numbers(&self) -> BTreeMap<String, usize> {
        self.listeners
            .iter()
            .enumerate()
            .map(|(number, listener)| (listener.bind.to_string(), number))
            .collect()
    }

    fn differences(
        &self,
        new: &Self,
        (before_owner, after_owner): (Owner, Owner),
        listener: Option<&String>,
    ) -> Vec<Change> {
        let names: BTreeSet<&'static str> = self
            .written
            .of(before_owner)
            .chain(new.written.of(after_owner))
            .map(|(name, _)| name)
            .chain(profile_defaults(
                listener.is_some(),
                self.profile != new.profile,
            ))
            .collect();
        names
            .into_iter()
            // The command line may beat the line; only the profile in force counts.
            .filter(|name| *name != PROFILE)
            .filter_map(|name| {
                let directive = table::directive(name)?;
                let value = |settings: &Self, owner, profile: SecurityProfile| {
                    settings
                        .written
                        .entry(owner, name)
                        .map(|entry| entry.value.clone())
                        .or_else(|| directive.default.text(profile).map(str::to_owned))
                };
                let before = value(self, before_owner, self.profile);
                let after = value(new, after_owner, new.profile);
                (before != after).then(|| Change {
                    directive: directive.name,
                    listener: listener.cloned(),
                    before,
                    after,
                    effect: directive.reload,
                })
            })
            .collect()
    }
}

const PROFILE: &str = "security_profile";

/// Directives whose default moves with the profile.
fn profile_defaults(listener: bool, changed: bool) -> impl Iterator<Item = &'static str> {
    table::directives()
        .filter(move |directive| {
            changed
                && (directive.scope == crate::config::Scope::Listener) == listener
                && directive.default.text(SecurityProfile::Hardened)
                    != directive.default.text(SecurityProfile::Compatible)
        })
        .map(|directive| directive.name)
}

fn listener_change(name: &str, before: Option<String>, after: Option<String>) -> Change {
    Change {
        directive: "listener",
        listener: Some(name.to_owned()),
        before,
        after,
        effect: Reload::NeedsRestart,
    }
}
