//! Users in JSON: `{"users": {NAME: {"password_hash": …, "groups": […], "enabled": true}}}`.
//!
//! Requirement C15. The hashes may be of any form that the password file takes.

use serde_json::{Map, Value};

use crate::message::{Groups, group_set};

use super::password_file::PasswordError;
use super::strict_json;

/// One user, and what is said of it or what is wrong with that.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) fields: Result<Fields, String>,
}

pub(super) struct Fields {
    pub(super) password_hash: String,
    pub(super) groups: Groups,
    pub(super) enabled: bool,
}

/// The users of a file, or why it is none.
pub(super) fn read(text: &[u8]) -> Result<Vec<Entry>, PasswordError> {
    let error = |line, column, message| PasswordError {
        line,
        column,
        message,
        help: Some(
            "expected {\"users\": {NAME: {\"password_hash\": …, \"groups\": […], \"enabled\": true}}}",
        ),
    };
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    let mut object = strict_json::object(text).map_err(|problem| {
        // Without its own "at line 1 column 2".
        let shown = problem.to_string();
        let shown = shown.split(" at line ").next().unwrap_or(&shown);
        let message = format!("the users cannot be read: {shown}");
        error(number(problem.line()), number(problem.column()), message)
    })?;
    let users = object.remove("users");
    if let Some(other) = object.keys().next() {
        let (line, column) = place(text, other);
        let message = format!("there is no field {other:?} beside \"users\"");
        return Err(error(line, column, message));
    }
    let Some(Value::Object(users)) = users else {
        return Err(error(1, 1, "there is no object \"users\"".to_owned()));
    };
    let entries = users.into_iter().map(|(name, value)| Entry {
        fields: match value {
            Value::Object(fields) => read_fields(fields),
            _ => Err("a user is an object".to_owned()),
        },
        name,
    });
    Ok(entries.collect())
}

fn read_fields(mut fields: Map<String, Value>) -> Result<Fields, String> {
    let password_hash = match fields.remove("password_hash") {
        Some(Value::String(hash)) => hash,
        Some(_) => return Err("\"password_hash\" is not text".to_owned()),
        None => return Err("there is no \"password_hash\"".to_owned()),
    };
    let groups = match fields.remove("groups") {
        None => Some(Groups::default()),
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            names.and_then(group_set)
        }
        Some(_) => None,
    };
    let enabled = match fields.remove("enabled") {
        None => true,
        Some(Value::Bool(enabled)) => enabled,
        Some(_) => return Err("\"enabled\" is neither true nor false".to_owned()),
    };
    if let Some(other) = fields.keys().next() {
        return Err(format!(
            "there is no field {other:?}; expected password_hash, groups, enabled"
        ));
    }
    Ok(Fields {
        password_hash,
        groups: groups.ok_or("\"groups\" is no list of names")?,
        enabled,
    })
}

/// Where a name stands in the text, as far as that can be told: line and column, from 1.
pub(super) fn place(text: &[u8], name: &str) -> (u32, u32) {
    let text = String::from_utf8_lossy(text);
    let quoted = Value::from(name).to_string();
    let is_name = |&(at, _): &(usize, &str)| {
        let behind = text.get(at + quoted.len()..).unwrap_or_default();
        behind.trim_start().starts_with(':')
    };
    let at = text.match_indices(&quoted).find(is_name);
    let before = at.and_then(|(at, _)| text.get(..at)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(begin..).unwrap_or_default().chars().count() + 1;
    let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
    (number(line), number(column))
}
