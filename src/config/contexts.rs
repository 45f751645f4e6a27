//! Lines that say what the following lines belong to: `listener`, `port`, plugins, bridges.

use std::path::PathBuf;

use crate::config::builder::{Attached, Builder, PluginDraft, PluginKind, draft};
use crate::config::changes::Owner;
use crate::config::directive::{Directive, Structure};
use crate::config::lexer::{Line, Word};
use crate::config::settings::{Bind, DEFAULT_PORT};
use crate::config::table;
use crate::config::value::{self, ValueError};
use crate::config::{Diagnostic, Located};

/// The listener's number is 16 bits wide elsewhere, and nobody has so many ports to watch.
const MOST_LISTENERS: usize = 1024;

/// One for each kind and listener is all that can be of use.
const MOST_PLUGINS: usize = 64;

impl Builder {
    pub(super) fn structure(
        &mut self,
        structure: Structure,
        directive: &'static Directive,
        line: &Line,
    ) -> Result<String, ValueError> {
        match structure {
            Structure::Listener => self.listener(line),
            Structure::Port => self.port(line),
            Structure::BindAddress => self.bind_address(line),
            Structure::PerListenerSettings => self.per_listener_settings(line),
            Structure::Plugin => {
                let listener = self
                    .context
                    .listener
                    .map_or(Owner::DefaultListener, Owner::Listener);
                let attached = if self.settings.per_listener_settings {
                    Attached::To(listener)
                } else {
                    Attached::Everywhere
                };
                self.plugin(attached, value::text(line)?, line)
            }
            Structure::GlobalPlugin => self.plugin(Attached::Everywhere, value::text(line)?, line),
            Structure::PluginLoad => {
                let (name, path) = value::text(line)?.split_once(' ').ok_or_else(|| {
                    ValueError::new(line.value_at(), "a name and a path are needed")
                })?;
                self.plugin(Attached::Named(name.to_owned()), path.trim_start(), line)
            }
            Structure::PluginUse => {
                let name = value::first(line)?;
                let origin = line.origin(name.at, false);
                let owner = self.owner(directive);
                let used = &mut self.draft(owner).plugins;
                if used.len() >= MOST_PLUGINS {
                    return Err(ValueError::new(
                        line.name_at(),
                        "there are too many plugins",
                    ));
                }
                used.push(Located::new(name.text.to_owned(), origin));
                Ok(name.text.to_owned())
            }
            Structure::PluginOption => self.plugin_option(line),
            Structure::Bridge => {
                self.bridge(directive, line);
                Ok(String::new())
            }
            // Both were read before any other line; their own errors are reported already.
            Structure::SecurityProfile => {
                Ok(value::first(line).map_or("", |word| word.text).to_owned())
            }
            Structure::IncludeDir => Ok(line.value().to_owned()),
        }
    }

    fn listener(&mut self, line: &Line) -> Result<String, ValueError> {
        let origin = line.origin(line.name_at(), false);
        let bind = bind(line).inspect_err(|_| {
            if self.listeners.len() >= MOST_LISTENERS {
                return;
            }
            // The lines that follow are this listener's, whatever its address was meant to be.
            let bind = Bind::Tcp {
                host: None,
                port: DEFAULT_PORT,
            };
            self.listeners
                .push(draft(bind, origin.clone(), &self.settings));
            let number = self.listeners.len() - 1;
            self.context.listener = Some(number);
            self.tainted.insert(Owner::Listener(number));
        })?;
        if self.listeners.len() >= MOST_LISTENERS {
            return Err(
                ValueError::new(line.name_at(), "there are too many listeners")
                    .help(format!("there can be {MOST_LISTENERS}")),
            );
        }
        if let Some(first) = self
            .listeners
            .iter()
            .find(|first| first.settings.bind == bind)
        {
            let help = format!("the listener of {} has it already", first.settings.origin);
            self.problems.push(
                Diagnostic::error(format!("listener {bind} is given twice"))
                    .at(&origin)
                    .help(help),
            );
        }
        let written = bind.to_string();
        self.listeners.push(draft(bind, origin, &self.settings));
        self.context.listener = Some(self.listeners.len() - 1);
        Ok(written)
    }

    fn port(&mut self, line: &Line) -> Result<String, ValueError> {
        let port = value::int(value::first(line)?, &(1..=65_535))?;
        if let Bind::Tcp { port: current, .. } = &mut self.default_listener.settings.bind {
            *current = u16::try_from(port).unwrap_or(DEFAULT_PORT);
        }
        self.deprecated_listener(line);
        Ok(port.to_string())
    }

    fn bind_address(&mut self, line: &Line) -> Result<String, ValueError> {
        let address = host(value::first(line)?)?;
        if let Bind::Tcp { host, .. } = &mut self.default_listener.settings.bind {
            *host = Some(address.clone());
        }
        self.deprecated_listener(line);
        Ok(address)
    }

    fn deprecated_listener(&mut self, line: &Line) {
        let origin = line.origin(line.name_at(), false);
        self.problems.push(
            Diagnostic::warning(format!("`{}` is deprecated", line.name()))
                .at(&origin)
                .help("write `listener PORT [ADDRESS]`, before the directives that belong to it"),
        );
        self.default_origin.get_or_insert(origin);
    }

    fn per_listener_settings(&mut self, line: &Line) -> Result<String, ValueError> {
        let word = value::first(line)?;
        let wanted = value::bool(word)?;
        if self.settings.per_listener_settings && !wanted {
            return Err(ValueError::new(
                word.at,
                "`per_listener_settings` cannot go back to false",
            ));
        }
        if wanted
            && !self.settings.per_listener_settings
            && let Some(first) = &self.security_line
        {
            return Err(ValueError::new(line.name_at(), "`per_listener_settings` comes too late").help(format!(
                "{first} is a directive it would have moved to a listener; write this line before it"
            )));
        }
        self.settings.per_listener_settings = wanted;
        Ok(wanted.to_string())
    }

    fn plugin(
        &mut self,
        attached: Attached,
        path: &str,
        line: &Line,
    ) -> Result<String, ValueError> {
        self.security_line
            .get_or_insert_with(|| line.origin(line.name_at(), false));
        if self.plugins.len() >= MOST_PLUGINS {
            return Err(ValueError::new(
                line.name_at(),
                "there are too many plugins",
            ));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let kind = if name.starts_with("mosquitto_acl_file") {
            PluginKind::AclFile
        } else if name.starts_with("mosquitto_password_file") {
            PluginKind::PasswordFile
        } else {
            PluginKind::Refused
        };
        let origin = line.origin(line.name_at(), false);
        self.plugins.push(PluginDraft {
            kind,
            attached,
            origin,
            file: None,
        });
        self.context.plugin = Some(self.plugins.len() - 1);
        match kind {
            PluginKind::Refused if name.starts_with("mosquitto_dynamic_security") => {
                Err(ValueError::new(
                    line.value_at(),
                    "the dynamic security plugin is not available",
                )
                .help("write its users to a password_file and its roles to an acl_file"))
            }
            PluginKind::Refused => Err(ValueError::new(
                line.value_at(),
                "shared objects are not loaded",
            )
            .help("use password_file, acl_file or client certificates")),
            _ => Ok(path.to_owned()),
        }
    }

    fn plugin_option(&mut self, line: &Line) -> Result<String, ValueError> {
        let path = value::text(line)?;
        let key = line.name().split_once("_opt_").map_or("", |(_, key)| key);
        let Some(plugin) = self
            .context
            .plugin
            .and_then(|number| self.plugins.get_mut(number))
        else {
            return Err(ValueError::new(
                line.name_at(),
                "a plugin option stands before any plugin",
            ));
        };
        let expected = match plugin.kind {
            PluginKind::Refused => return Ok(String::new()),
            PluginKind::AclFile => "acl_file",
            PluginKind::PasswordFile => "password_file",
        };
        if key != expected {
            return Err(ValueError::new(
                line.name_at(),
                format!("the plugin has no option `{key}`"),
            )
            .help(format!("its option is `plugin_opt_{expected} PATH`")));
        }
        plugin.file = Some(Located::new(
            PathBuf::from(path),
            line.origin(line.value_at(), false),
        ));
        Ok(path.to_owned())
    }

    fn bridge(&mut self, directive: &Directive, line: &Line) {
        if !std::mem::replace(&mut self.bridge_reported, true) {
            self.problems.push(
                Diagnostic::error(format!(
                    "`{}` is refused: {}",
                    line.name(),
                    table::NO_BRIDGES
                ))
                .at(&line.origin(line.name_at(), directive.secret))
                .help(table::INSTEAD_OF_BRIDGES),
            );
        }
    }
}

fn bind(line: &Line) -> Result<Bind, ValueError> {
    let port_word = value::first(line)?;
    let port = value::int(port_word, &(0..=65_535))?;
    let words = line.words_before_comment();
    let port = u16::try_from(port).unwrap_or(0);
    match (port, words.get(1)) {
        (0, Some(first)) => {
            // A path may hold spaces; it ends at a word that begins with `#`.
            let last = words[words.len() - 1];
            let path = &line.text[first.at..last.at + last.text.len()];
            Ok(Bind::Unix(PathBuf::from(path)))
        }
        (0, None) => Err(
            ValueError::new(port_word.at, "port 0 needs the path of a Unix socket")
                .help("write a port from 1 to 65535, or `listener 0 /path`"),
        ),
        (port, None) => Ok(Bind::Tcp { host: None, port }),
        (port, Some(word)) => {
            if let Some(extra) = words.get(2) {
                return Err(ValueError::new(
                    extra.at,
                    format!("`{}` is more than a listener takes", extra.text),
                )
                .help("listener PORT [ADDRESS]"));
            }
            Ok(Bind::Tcp {
                host: Some(host(*word)?),
                port,
            })
        }
    }
}

/// An address or host name; resolved when it is bound.
fn host(word: Word<'_>) -> Result<String, ValueError> {
    if word.text.starts_with('/') {
        return Err(ValueError::new(word.at, "a path is not an address")
            .help("for a Unix socket write `listener 0 /path`"));
    }
    let text = word
        .text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(word.text);
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if is_address
        || text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'%' | b':')
        })
    {
        return Ok(text.to_owned());
    }
    Err(ValueError::new(
        word.at,
        format!("`{}` is not an address or host name", word.text),
    ))
}
