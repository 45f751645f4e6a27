//! Plugins: shared objects are never loaded; the two that are files in disguise are native.

use crate::config::directive::{Directive, Reload, Scope, Section, Structure};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::structure("plugin", Scope::Plugin, "PATH", Structure::Plugin)
        .aliases(&["auth_plugin"])
        .section(Section::Plugins)
        .reload(Reload::Applied)
        .example("/usr/lib/mosquitto_acl_file.so")
    .meaning(
            "Shared objects are not loaded. A path whose file name begins with mosquitto_acl_file or \
             mosquitto_password_file is served by the native code; anything else is refused.",
        ),
    Directive::structure("global_plugin", Scope::Plugin, "PATH", Structure::GlobalPlugin)
        .section(Section::Plugins)
        .example("/usr/lib/mosquitto_acl_file.so")
    .meaning("As plugin, for every listener."),
    Directive::structure("plugin_load", Scope::Plugin, "NAME PATH", Structure::PluginLoad)
        .section(Section::Plugins)
        .example("acl /usr/lib/mosquitto_acl_file.so")
    .meaning("As plugin, for the listeners that name it with plugin_use."),
    Directive::structure("plugin_use", Scope::Listener, "NAME", Structure::PluginUse)
        .section(Section::Plugins)
        .example("acl")
    .meaning("Uses a plugin of plugin_load on this listener."),
    Directive::structure("plugin_opt_*", Scope::Plugin, "VALUE", Structure::PluginOption)
        .aliases(&["auth_opt_*"])
        .section(Section::Plugins)
        .secret()
        .example("/etc/portcullis/acl.conf")
    .meaning("Options of the plugin: plugin_opt_acl_file PATH or plugin_opt_password_file PATH."),
    Directive::ignored(
        "auth_plugin_deny_special_chars",
        Scope::Plugin,
        "BOOL",
        "`+`, `#`, `/` and control characters in a user name or client id are always refused where an \
         ACL pattern would use them",
    )
    .section(Section::Plugins)
    .meaning("Whether names with wildcard characters fail plugin checks."),
    Directive::ignored(
        "enable_control_api",
        Scope::Global,
        "BOOL",
        "there is no control interface over MQTT; $CONTROL topics are closed",
    )
    .section(Section::Plugins)
    .meaning("mosquitto's $CONTROL/broker/v1."),
];
