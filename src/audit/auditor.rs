//! Event in; counter, log line and audit line out.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::event::Event;
use super::flood::Floods;
use super::journal::Journal;
use super::metrics::Families;
use super::oplog::{LogClass, say};
use super::repeated::repeated;
use super::tell::tell;
use crate::policy::{Denial, Observer, Request};

/// See the module.
#[derive(Debug)]
pub struct Auditor {
    journal: Journal,
    families: Families,
    floods: Floods,
}

impl Auditor {
    /// Tells into `journal` and counts in `families`.
    pub fn new(journal: Journal, families: Families) -> Arc<Self> {
        Arc::new(Self {
            journal,
            families,
            floods: Floods::default(),
        })
    }

    /// The counters.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// The audit log.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Counts and tells one event.
    pub fn record(&self, event: &Event<'_>) {
        self.count(event);
        if let Some(what) = repeated(event) {
            let line = || Value::Object(tell(event).json).to_string();
            if !self.floods.is_new(&what, Instant::now(), line) {
                return;
            }
        }
        let told = tell(event);
        say(told.class, &told.sentence);
        if self.journal.is_on() {
            self.journal.write(&stamped(told.json));
        }
    }

    /// Ends flood windows that are over. To be called every second or so.
    pub fn tick(&self, now: Instant) {
        for summary in self.floods.over(now) {
            let Ok(Value::Object(mut json)) = serde_json::from_str(&summary.line) else {
                continue;
            };
            let repeated = summary.repeated;
            json.insert("repeated".into(), repeated.into());
            if summary.various {
                json.insert("various".into(), true.into());
            }
            let example = json
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let sentence = if summary.various {
                format!("{repeated} more of this source, for example: {example}")
            } else {
                format!("{repeated} more like: {example}")
            };
            say(LogClass::Notice, &sentence);
            if self.journal.is_on() {
                self.journal.write(&stamped(json));
            }
        }
    }

    fn count(&self, event: &Event<'_>) {
        let families = &self.families;
        match event {
            Event::Connected { who, .. } => families.connects("accepted", who.method),
            Event::ConnectRefused { who, denial } => {
                families.connects("refused", who.method);
                families.refused(denial.reason);
            }
            Event::RefusedEarly { reason, .. } => {
                families.connects("refused", "none");
                families.refused(*reason);
            }
            Event::TlsFailed { label, .. } => {
                families.tls_failures.with_label_values(&[label]).inc();
            }
            Event::GreetTimeout { stage, .. } => {
                families.connect_timeouts.with_label_values(&[stage]).inc();
            }
            Event::MalformedConnect { label, .. } | Event::ProtocolError { label, .. } => {
                families.malformed.with_label_values(&[label]).inc();
            }
            Event::Disconnected { cause, .. } => {
                families
                    .disconnects
                    .with_label_values(&[cause.label()])
                    .inc();
            }
            Event::Subscribed { .. } => families.subscribes.inc(),
            Event::Unsubscribed { .. } => families.unsubscribes.inc(),
            Event::SubscriptionLost { .. } => families.subscriptions_lost.inc(),
            Event::Denied { action, denial, .. } => families.denied(*action, denial.reason),
            Event::WouldDeny { denial, .. } => {
                families
                    .would_deny
                    .with_label_values(&[denial.reason.label()])
                    .inc();
            }
            Event::TakenOver { .. } => families.takeovers.inc(),
            Event::Canary { touched, .. } => families.canary(touched.label()),
            Event::Misuse { found, .. } => families.misuse(found.kind),
            Event::Banned { .. } => families.bans.inc(),
            Event::BanEnded { lifted, .. } => families.bans_lifted.inc_by(u64::from(*lifted)),
            Event::AcceptFailed { .. } => families.accept_failures.inc(),
            Event::Reloaded { .. } => families.reloads.with_label_values(&["applied"]).inc(),
            Event::ReloadFailed { .. } => families.reloads.with_label_values(&["failed"]).inc(),
            Event::PasswordRehashed { .. }
            | Event::Started { .. }
            | Event::Stopping
            | Event::Published { .. } => {}
        }
    }
}

impl Observer for Auditor {
    fn denied(&self, request: &Request<'_>, denial: &Denial) {
        self.record(&Event::Denied {
            who: request.who,
            action: request.action,
            topic: request.topic,
            denial,
        });
    }

    fn used(&self, request: &Request<'_>) {
        self.record(&Event::Published {
            who: request.who,
            topic: request.topic,
        });
    }

    fn would_deny(&self, request: &Request<'_>, denial: &Denial) {
        self.record(&Event::WouldDeny {
            who: request.who,
            topic: request.topic,
            denial,
        });
    }
}

fn stamped(mut json: Map<String, Value>) -> String {
    let now = Timestamp::now();
    json.insert("time".into(), format!("{now:.3}").into());
    Value::Object(json).to_string()
}
