//! `acl explain`: may this client do this, and by which rule.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::app::cli::{DENIED, Environment, ProfileOption, Stop};
use crate::app::serve::refused;
use crate::app::{generation, reading};
use crate::app::{invalid, out};
use crate::codec::QoS;
use crate::message::group_set;
use crate::policy::{DenyReason, Explanation, Principal};
use crate::topic::{SubscriptionFilter, TopicName};

/// `acl explain`.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// The configuration file.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_file: PathBuf,
    /// The user name; without it an anonymous client.
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// The client id.
    #[arg(short = 'i', long, value_name = "CLIENT", default_value = "")]
    pub client: String,
    /// A group that the client's certificate or token names; those of the configuration count anyway.
    #[arg(short = 'g', long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Where the client connects from.
    #[arg(short = 'a', long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
    /// A topic token of its session.
    #[arg(short = 't', long = "token", value_name = "TOKEN")]
    pub tokens: Vec<String>,
    /// The QoS of the message or subscription.
    #[arg(short = 'q', long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// One JSON object for a program to read.
    #[arg(long)]
    pub json: bool,
    /// Which listener, counted from 1 in the order of the file.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub listener: u16,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileOption,
    /// What the client asks for.
    #[command(subcommand)]
    pub action: ExplainAction,
}

/// What the client asks for.
#[derive(Clone, Debug, Subcommand)]
pub enum ExplainAction {
    /// To publish to a topic.
    Publish {
        /// The Topic Name.
        topic: String,
    },
    /// To subscribe to a filter.
    Subscribe {
        /// The Topic Filter.
        filter: String,
    },
}

/// Asks the same rules the gate asks.
pub(super) fn run(arguments: &Explain, environment: Environment) -> Result<(), Stop> {
    let options = arguments.profile.load_options(environment)?;
    let loaded = reading::load(Some(&arguments.config_file), &options);
    if !loaded.is_ok() {
        return Err(refused(&loaded));
    }
    let settings = &loaded.settings;
    let index = arguments.listener - 1;
    let Some(listener) = settings.listeners.get(usize::from(index)) else {
        return Err(invalid(format!(
            "error: there is no listener {}; the configuration has {}\n",
            arguments.listener,
            settings.listeners.len()
        )));
    };
    let policy = generation::policy(settings, &loaded.files);
    let groups = group_set(arguments.groups.iter().map(String::as_str))
        .ok_or_else(|| invalid("error: a group cannot be called so\n"))?;
    let tokens: Vec<Arc<str>> = arguments
        .tokens
        .iter()
        .map(|token| (**token).into())
        .collect();
    let principal = Principal {
        groups: Some(&groups),
        address: arguments.address,
        tokens: &tokens,
        ..Principal::new(arguments.user.as_deref(), &arguments.client)
    };
    let rights = policy.bind(&principal, index);
    let qos = QoS::from_bits(arguments.qos).unwrap_or_default();
    let mount = listener.mount_point.as_deref().unwrap_or_default();
    let (what, explanation) = match &arguments.action {
        ExplainAction::Publish { topic } => {
            let topic = TopicName::parse(&format!("{mount}{topic}")).map_err(|error| {
                invalid(format!("error: {topic:?} is no Topic Name: {error}\n"))
            })?;
            let explanation = rights.explain_publish(topic.as_str(), qos);
            (format!("publish to {}", topic.as_str()), explanation)
        }
        ExplainAction::Subscribe { filter } => {
            let parsed = SubscriptionFilter::parse(filter).map_err(|error| {
                invalid(format!("error: {filter:?} is no Topic Filter: {error}\n"))
            })?;
            let inner =
                crate::topic::TopicFilter::parse(&format!("{mount}{}", parsed.filter.as_str()))
                    .map_err(|error| {
                        invalid(format!("error: {filter:?} is no Topic Filter: {error}\n"))
                    })?;
            let explanation = rights.explain_subscribe(&inner, qos);
            (format!("subscribe to {}", inner.as_str()), explanation)
        }
    };
    let text = if arguments.json {
        format!("{:#}\n", json(arguments, &what, &explanation))
    } else {
        sentence(arguments, &what, &explanation)
    };
    if !explanation.allowed {
        out(&text);
        // So that a script can ask; everything is said already.
        return Err(Stop {
            code: DENIED,
            text: String::new(),
        });
    }
    out(&text);
    Ok(())
}

fn sentence(arguments: &Explain, what: &str, explanation: &Explanation) -> String {
    let who = match &arguments.user {
        Some(user) => format!("user {user:?}"),
        None => "an anonymous client".to_owned(),
    };
    let mut text = format!(
        "{}: {who} (client id {:?}) {} {what}\n",
        if explanation.allowed {
            "allowed"
        } else {
            "denied"
        },
        arguments.client,
        if explanation.allowed {
            "may"
        } else {
            "may not"
        },
    );
    if let Some(rule) = &explanation.rule {
        text.push_str(&format!("rule:   {rule}\n"));
    }
    if let Some(reason) = explanation.reason {
        text.push_str(&format!("reason: {reason} [{}]\n", reason.label()));
        let code = reason.reason_code();
        let code = match &arguments.action {
            ExplainAction::Publish { .. } => code.in_puback(),
            ExplainAction::Subscribe { .. } => code.in_suback(),
        };
        text.push_str(&format!("code:   {code}\n"));
    }
    if let Some(witness) = &explanation.witness {
        text.push_str(&format!(
            "example: the filter also matches {witness}, which this client may not read\n"
        ));
    }
    text
}

fn json(arguments: &Explain, what: &str, explanation: &Explanation) -> Value {
    json!({
        "user": arguments.user,
        "client_id": arguments.client,
        "asked": what,
        "allowed": explanation.allowed,
        "rule": explanation.rule.as_ref().map(ToString::to_string),
        "reason": explanation.reason.map(DenyReason::label),
        "witness": explanation.witness,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Acl;
    use super::*;
    use crate::app::cli::{Command, parse};

    #[test]
    fn whoever_asks_says_who_where_and_what() {
        let cli = parse([
            "portcullis",
            "acl",
            "explain",
            "-c",
            "f",
            "--user",
            "u",
            "--client",
            "c",
            "--listener",
            "2",
            "--group",
            "g",
            "--qos",
            "1",
            "subscribe",
            "#",
        ])
        .expect("it is right");
        let Some(Command::Acl(Acl::Explain(explain))) = cli.command else {
            panic!("it is explain")
        };
        assert_eq!(
            (
                explain.user.as_deref(),
                explain.client.as_str(),
                explain.listener
            ),
            (Some("u"), "c", 2)
        );
        assert_eq!(
            (explain.groups.as_slice(), explain.qos),
            (&["g".to_owned()][..], 1)
        );
        assert!(matches!(explain.action, ExplainAction::Subscribe { filter } if filter == "#"));
    }
}
