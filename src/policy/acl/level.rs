//! The levels of a rule's filter, and how names are put into them.
//!
//! A name is never pasted into a filter as text: what is bound is a literal part of one level, so
//! `#` as a user name stands for a level that is `#` literally, which no topic has (mosquitto
//! CVE-2017-7650 and its relatives).

use std::sync::Arc;

/// One level of a bound rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Literal(Box<str>),
    /// Every word that begins so: `name*` of version 2.
    Prefix(Box<str>),
    Plus,
    Hash,
}

impl Level {
    /// Whether a topic's level is one of those that this stands for.
    pub(crate) fn takes(&self, word: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *word,
            Self::Prefix(prefix) => word.starts_with(&**prefix),
            Self::Plus | Self::Hash => true,
        }
    }
}

/// What a rule may name without saying who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `%c`
    ClientId,
    /// `%u`
    Username,
    /// `%g`: the rule holds once for each group.
    Group,
    /// `%t`: once for each topic token.
    Token,
}

impl Name {
    pub(crate) fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'c' => Self::ClientId,
            'u' => Self::Username,
            'g' => Self::Group,
            't' => Self::Token,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Box<str>),
    Name(Name),
}

/// A level as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Fixed(Level),
    Parts { parts: Box<[Part]>, is_prefix: bool },
}

/// The levels of a rule: shared by all clients where nothing is to be bound.
#[derive(Clone, Debug)]
pub(crate) enum Levels {
    Fixed(Arc<[Level]>),
    Templates(Box<[Template]>),
}

impl Levels {
    pub(crate) fn new(templates: Vec<Template>) -> Self {
        let fixed: Option<Arc<[Level]>> = templates
            .iter()
            .map(|template| match template {
                Template::Fixed(level) => Some(level.clone()),
                Template::Parts { .. } => None,
            })
            .collect();
        fixed.map_or_else(|| Self::Templates(templates.into()), Self::Fixed)
    }

    pub(crate) fn names(&self, name: Name) -> bool {
        let Self::Templates(templates) = self else {
            return false;
        };
        templates.iter().any(|template| match template {
            Template::Fixed(_) => false,
            Template::Parts { parts, .. } => parts.contains(&Part::Name(name)),
        })
    }

    /// Puts names in. `Ok(None)` if one is asked for that there is not.
    pub(crate) fn bind(&self, names: &Names<'_>) -> Result<Option<Arc<[Level]>>, BadName> {
        let templates = match self {
            Self::Fixed(levels) => return Ok(Some(Arc::clone(levels))),
            Self::Templates(templates) => templates,
        };
        let mut levels = Vec::with_capacity(templates.len());
        for template in templates {
            let (parts, is_prefix) = match template {
                Template::Fixed(level) => {
                    levels.push(level.clone());
                    continue;
                }
                Template::Parts { parts, is_prefix } => (parts, *is_prefix),
            };
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text(part) => text.push_str(part),
                    Part::Name(name) => match names.get(*name) {
                        Some(name) => text.push_str(usable(name)?),
                        None => return Ok(None),
                    },
                }
            }
            // `$` at the start of a name would turn `%c/…` into a rule for reserved topics.
            let is_named = matches!(parts.first(), Some(Part::Name(_)));
            if levels.is_empty() && is_named && text.starts_with('$') {
                return Err(BadName);
            }
            levels.push(if is_prefix {
                Level::Prefix(text.into())
            } else {
                Level::Literal(text.into())
            });
        }
        Ok(Some(levels.into()))
    }
}

/// What stands for the names of one client.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) group: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn get(&self, name: Name) -> Option<&'a str> {
        match name {
            Name::ClientId => Some(self.client_id),
            Name::Username => self.username,
            Name::Group => self.group,
            Name::Token => self.token,
        }
    }
}

/// A name holds a character that would make it more than a part of one level.
#[derive(Debug)]
pub(crate) struct BadName;

fn usable(name: &str) -> Result<&str, BadName> {
    let is_bad = |character: char| matches!(character, '+' | '#' | '/') || character.is_control();
    if name.is_empty() || name.contains(is_bad) {
        return Err(BadName);
    }
    Ok(name)
}
