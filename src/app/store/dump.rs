//! `portcullis store dump`.

use clap::Args;
use serde_json::{Value, json};

use crate::app::cli::{Environment, Stop};
use crate::app::out;
use crate::message::{Message, Subscription};
use crate::store::{Inspected, RecoveredSession, Stage};

use super::{Which, stop};

/// `store dump`. Topic tokens are not shown: they are secrets.
#[derive(Clone, Debug, Args)]
pub struct Dump {
    #[command(flatten)]
    which: Which,
    /// Only the session of this client id.
    #[arg(long, value_name = "CLIENT_ID")]
    session: Option<String>,
    /// Payloads too, in base64.
    #[arg(long)]
    payloads: bool,
}

/// Runs it.
pub(super) fn run(arguments: &Dump, environment: Environment) -> Result<(), Stop> {
    let mut store = super::inspect(&arguments.which, environment)?;
    let found = store.take();
    let mut any = false;
    for session in &found.sessions {
        let client_id = session.facts.client_id.as_str();
        if arguments
            .session
            .as_ref()
            .is_some_and(|wanted| wanted != client_id)
        {
            continue;
        }
        any = true;
        out(&format!("{}\n", facts(session)));
        for queued in &session.queue {
            let line = waiting(&store, session, queued, arguments.payloads);
            out(&format!("{line}\n"));
        }
    }
    if let Some(wanted) = &arguments.session {
        if any {
            return Ok(());
        }
        return Err(stop(format!("there is no session {wanted:?}")));
    }
    for message in &found.retained {
        let mut line = described(message, arguments.payloads);
        line["retained"] = json!(message.topic.as_str());
        out(&format!("{line}\n"));
    }
    for (session, will) in &found.wills {
        let mut line = described(&will.message, arguments.payloads);
        line["will_of_session"] = json!(session.0);
        line["delay_s"] = json!(will.delay_s);
        out(&format!("{line}\n"));
    }
    Ok(())
}

fn facts(session: &RecoveredSession) -> Value {
    let facts = &session.facts;
    let subscriptions: Vec<Value> = session.subscriptions.iter().map(subscribed).collect();
    json!({
        "session": facts.client_id.as_str(),
        "number": session.session.0,
        "user": facts.username.as_deref(),
        "expiry_interval_s": facts.expiry_interval_s,
        "away_s": facts.away_since.map(|since| since.elapsed().as_secs()),
        "has_topic_token": facts.tokens.is_some(),
        "subscriptions": subscriptions,
        "received": session.received,
        "queued": session.queue.len(),
    })
}

fn subscribed(subscription: &Subscription) -> Value {
    json!({
        "filter": subscription.filter.to_string(),
        "qos": subscription.qos.bits(),
        "no_local": subscription.no_local,
        "retain_as_published": subscription.retain_as_published,
        "identifier": subscription.identifier,
    })
}

fn waiting(
    store: &Inspected,
    session: &RecoveredSession,
    queued: &crate::store::QueuedMessage,
    payloads: bool,
) -> Value {
    let (stage, id) = match queued.stage {
        Stage::Queued => ("queued", None),
        Stage::Sent(id) => ("sent", Some(id)),
        Stage::Released(id) => ("released", Some(id)),
    };
    let mut line = match queued.stage {
        Stage::Released(_) => json!({}),
        _ => match store.message(session.session, queued) {
            Ok(stored) => described(&stored.delivery.message, payloads),
            Err(damage) => json!({ "unreadable": damage.to_string() }),
        },
    };
    line["for"] = json!(session.facts.client_id.as_str());
    line["place"] = json!(queued.seq);
    line["qos"] = json!(queued.qos.bits());
    line["stage"] = json!(stage);
    line["packet_id"] = json!(id);
    line
}

fn described(message: &Message, payloads: bool) -> Value {
    let mut line = json!({
        "topic": message.topic.as_str(),
        "published_qos": message.qos.bits(),
        "bytes": message.payload.len(),
        "by": message.author.client_id.as_str(),
    });
    if payloads {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(&message.payload);
        line["payload"] = json!(text);
    }
    line
}
