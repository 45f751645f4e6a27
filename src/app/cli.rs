//! The command line: what mosquitto's says, and subcommands of our own.
//!
//! Only parsing. Unknown options end with [`INVALID`], as in mosquitto; `--help` and `--version`
//! end with [`OK`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use super::acl::Acl;
use super::store::Store;
use crate::config::{LoadOptions, ProfileSource, SecurityProfile, Verbosity};

/// A normal stop, help, version, or a configuration that is in order.
pub const OK: u8 = 0;
/// A listener could not be opened, or no memory was left.
pub const CANNOT_LISTEN: u8 = 1;
/// `acl explain`: the client may not; `acl diff`: there is a difference.
pub const DENIED: u8 = 1;
/// The configuration or the arguments are wrong.
pub const INVALID: u8 = 3;
/// An ACL or password file could not be opened.
pub const UNREADABLE_FILE: u8 = 13;
/// The pid file or the change of account failed.
pub const PROCESS: u8 = 14;

/// The store cannot be opened, or has failed.
pub const STORAGE: u8 = 15;

/// The environment variable that chooses the security profile.
pub const PROFILE_VARIABLE: &str = "PORTCULLIS_SECURITY_PROFILE";
/// The environment variable that says where the store is, as mosquitto has it.
pub const LOCATION_VARIABLE: &str = "MOSQUITTO_PERSISTENCE_LOCATION";

/// What the environment says of the configuration. A variable that is empty says nothing.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The value of [`PROFILE_VARIABLE`].
    pub profile: Option<OsString>,
    /// The value of [`LOCATION_VARIABLE`].
    pub location: Option<OsString>,
}

impl Environment {
    /// That of the process.
    pub fn read() -> Self {
        let said = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            profile: said(PROFILE_VARIABLE),
            location: said(LOCATION_VARIABLE),
        }
    }
}

/// The end of `--help`.
const ENVIRONMENT: &str = "\
Environment:
  PORTCULLIS_SECURITY_PROFILE     hardened or compatible; beats `security_profile` of the file
  MOSQUITTO_PERSISTENCE_LOCATION  where the store is made; beats `persistence_location` of the file

Sessions, messages that wait and retained messages survive a restart if the file says `persistence true`.";

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about = "A secure MQTT broker for the DMZ",
    after_help = ENVIRONMENT,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Options of the broker itself.
    #[command(flatten)]
    pub run: Run,
    /// Anything but running the broker.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of the broker itself.
#[derive(Clone, Debug, Default, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub struct Run {
    /// Read this configuration file. Without it: local-only mode, which keeps nothing over a restart.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Listen on this loopback port; up to ten times. Ignored if the file has a listener.
    #[arg(short = 'p', long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub ports: Vec<u16>,
    /// Run in the background.
    #[arg(short = 'd', long)]
    pub daemon: bool,
    /// Log everything; beats the file.
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Log nothing; beats the file and -v.
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Read the configuration file, say whether it is in order, and stop.
    #[arg(long, requires = "config_file")]
    pub test_config: bool,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileOption,
    /// Refused: it would write the secrets of every connection to a file.
    #[arg(long, value_name = "FILE", hide = true)]
    tls_keylog: Option<PathBuf>,
}

/// The choice of the security profile.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ProfileOption {
    /// Choose the security profile; beats the variable `PORTCULLIS_SECURITY_PROFILE`, which
    /// beats the file.
    #[arg(long, value_name = "hardened|compatible", value_parser = profile_from_word)]
    pub security_profile: Option<SecurityProfile>,
}

/// Anything but running the broker.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make certificates, users, an ACL and a configuration for trying out, and run with them.
    Quickstart(Quickstart),
    /// Manage a password file, with the options of `mosquitto_passwd`.
    Passwd(Passwd),
    /// List the bans in force, lift them, or add one (`ban_file`).
    Bans(Bans),
    /// Check a configuration and every file it names, and say where its store is; nothing is changed.
    Check(Check),
    /// List every directive.
    Directives(Directives),
    /// Check rules, and make them out of others or of what was used.
    #[command(subcommand)]
    Acl(Acl),
    /// Look into what `persistence true` has kept, mend it, or import what mosquitto has kept; the broker
    /// must be stopped.
    #[command(subcommand)]
    Store(Store),
}

/// `quickstart`.
#[derive(Clone, Debug, Args)]
pub struct Quickstart {
    /// Where the files are made, once.
    #[arg(long, value_name = "DIR", default_value = "./portcullis-quickstart")]
    pub dir: PathBuf,
    /// Port for MQTT over TLS, written into the configuration when it is made.
    #[arg(long, value_name = "PORT", default_value_t = 8883, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Port for metrics, written into the configuration when it is made.
    #[arg(long, value_name = "PORT", default_value_t = 9883, value_parser = clap::value_parser!(u16).range(1..))]
    pub metrics_port: u16,
}

/// `passwd`.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "portcullis passwd [-H HASH] [-I N] [-c | -D] FILE USER\n       \
                            portcullis passwd [-H HASH] [-I N] -b [-c] FILE USER PASSWORD\n       \
                            portcullis passwd [-H HASH] [-I N] -U FILE\n       \
                            portcullis passwd --disable | --enable FILE USER\n       \
                            portcullis passwd --import JSON [-c] FILE"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub struct Passwd {
    /// How new passwords are hashed.
    #[arg(short = 'H', long, value_name = "HASH", default_value = "argon2id",
          value_parser = ["argon2id", "scram-sha-256", "sha512-pbkdf2", "sha512"])]
    pub hash: String,
    /// Rounds of sha512-pbkdf2, iterations of scram-sha-256.
    #[arg(short = 'I', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: Option<u32>,
    /// Create the file; an existing one is replaced. `-` is standard output.
    #[arg(short = 'c', conflicts_with_all = ["delete", "upgrade"])]
    pub create: bool,
    /// Delete the user.
    #[arg(short = 'D', conflicts_with_all = ["upgrade", "batch"])]
    pub delete: bool,
    /// Take the password from the command line, where other users of this host can see it.
    #[arg(short = 'b', requires = "password", conflicts_with = "upgrade")]
    pub batch: bool,
    /// Hash the passwords of a file that has them in clear.
    #[arg(short = 'U', conflicts_with = "user")]
    pub upgrade: bool,
    /// Switch the user off: the password stays, and nobody comes in by the name, by whatever means.
    #[arg(long, conflicts_with_all = ["create", "delete", "upgrade", "batch", "enable"])]
    pub disable: bool,
    /// Switch a user on again.
    #[arg(long, conflicts_with_all = ["create", "delete", "upgrade", "batch"])]
    pub enable: bool,
    /// Take the users of a file of users in JSON, with their hashes; groups are left to `group_file`.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["user", "delete", "upgrade", "batch", "disable", "enable"])]
    pub import: Option<PathBuf>,
    /// Refuse passwords with fewer characters.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub min_length: u16,
    /// Refuse passwords of this list: a line each, as they are or as SHA-1 (Have I Been Pwned's form).
    #[arg(long, value_name = "FILE")]
    pub breached: Option<PathBuf>,
    /// The password file.
    pub file: PathBuf,
    /// The user.
    #[arg(required_unless_present_any = ["upgrade", "import"])]
    pub user: Option<String>,
    /// The password, with -b.
    #[arg(requires = "batch", allow_hyphen_values = true)]
    pub password: Option<Password>,
}

/// A password given on the command line; it prints nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub zeroize::Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl std::str::FromStr for Password {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(zeroize::Zeroizing::new(text.to_owned())))
    }
}

/// `bans`.
#[derive(Clone, Debug, Args)]
pub struct Bans {
    /// The configuration file, which names the `ban_file`.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_file: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub action: BanAction,
}

/// What to do with bans. A running broker follows within about a second.
#[derive(Clone, Debug, Subcommand)]
pub enum BanAction {
    /// Who is banned, why and for how long.
    List {
        /// The lines of the file as they are.
        #[arg(long)]
        json: bool,
    },
    /// End bans before their time.
    Lift {
        /// The address, with the bans of its users; or `all`.
        #[arg(value_name = "ADDRESS|all")]
        who: String,
        /// Only the ban of this user.
        #[arg(short = 'u', long, value_name = "USER")]
        user: Option<String>,
    },
    /// Ban somebody.
    Add {
        /// The address.
        #[arg(value_name = "ADDRESS")]
        who: String,
        /// For how long.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
        seconds: u32,
        /// Only this user.
        #[arg(short = 'u', long, value_name = "USER")]
        user: Option<String>,
    },
}

/// `check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The configuration file.
    #[arg(short = 'c', long, value_name = "FILE", required = true)]
    pub config_file: PathBuf,
    /// Print what stands between this configuration and the hardened profile.
    #[arg(long)]
    pub security: bool,
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileOption,
}

/// `directives`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Directives {
    /// As docs/configuration.md.
    #[arg(long, conflicts_with = "conf")]
    pub markdown: bool,
    /// As conf/portcullis.conf.
    #[arg(long)]
    pub conf: bool,
}

/// The process is to end before it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Exit code.
    pub code: u8,
    /// What to print: to standard output if the code is [`OK`], else to standard error.
    pub text: String,
}

impl Stop {
    fn invalid(text: impl Into<String>) -> Self {
        Self {
            code: INVALID,
            text: text.into(),
        }
    }
}

/// Reads the arguments, the program's name first.
pub fn parse<I>(arguments: I) -> Result<Cli, Stop>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop {
            code: OK,
            text: error.to_string(),
        },
        _ => Stop::invalid(error.to_string()),
    })?;
    if cli.run.tls_keylog.is_some() {
        return Err(Stop::invalid(
            "error: --tls-keylog is refused: it would write the secrets of every connection to a \
             file, and whoever reads it reads all traffic\n\
             help: to see packets, use `log_type debug` or capture on a plaintext loopback listener\n",
        ));
    }
    if cli.run.ports.len() > MOST_PORTS {
        return Err(Stop::invalid(format!(
            "error: --port can be given {MOST_PORTS} times\n"
        )));
    }
    Ok(cli)
}

/// As in mosquitto.
const MOST_PORTS: usize = 10;

impl Run {
    /// What the configuration is read with.
    pub fn load_options(&self, environment: Environment) -> Result<LoadOptions, Stop> {
        Ok(LoadOptions {
            ports: self.ports.clone(),
            verbosity: match (self.quiet, self.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, true) => Verbosity::Verbose,
                (false, false) => Verbosity::FromFile,
            },
            ..self.profile.load_options(environment)?
        })
    }
}

impl ProfileOption {
    /// What `check` and `acl explain` read the configuration with.
    pub fn load_options(self, environment: Environment) -> Result<LoadOptions, Stop> {
        Ok(LoadOptions {
            profile: profile(self.security_profile, environment.profile)?,
            persistence_location: environment.location.map(PathBuf::from),
            ..LoadOptions::default()
        })
    }
}

/// The command line beats the environment; the file is asked only if both are silent.
fn profile(
    option: Option<SecurityProfile>,
    variable: Option<OsString>,
) -> Result<Option<(SecurityProfile, ProfileSource)>, Stop> {
    if let Some(profile) = option {
        return Ok(Some((profile, ProfileSource::CommandLine)));
    }
    let Some(word) = variable else {
        return Ok(None);
    };
    word.to_str()
        .and_then(SecurityProfile::from_name)
        .map(|profile| Some((profile, ProfileSource::Environment)))
        .ok_or_else(|| {
            Stop::invalid(format!(
                "error: {PROFILE_VARIABLE} is `{}`\nhelp: it can be hardened or compatible\n",
                word.display()
            ))
        })
}

fn profile_from_word(word: &str) -> Result<SecurityProfile, String> {
    SecurityProfile::from_name(word).ok_or_else(|| "it can be hardened or compatible".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Result<Cli, Stop> {
        parse(std::iter::once("portcullis").chain(arguments.iter().copied()))
    }

    fn chosen(profile: &str) -> Environment {
        Environment {
            profile: Some(profile.into()),
            ..Environment::default()
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn mosquittos_options_are_read() {
        let cli = run(&[
            "-c",
            "/a",
            "-p",
            "1884",
            "-p",
            "1885",
            "-v",
            "-d",
            "--test-config",
        ])
        .expect("they are all known");
        assert_eq!(cli.run.config_file, Some(PathBuf::from("/a")));
        assert_eq!(cli.run.ports, [1884, 1885]);
        assert!(cli.run.verbose && cli.run.daemon && cli.run.test_config && !cli.run.quiet);
        assert!(cli.command.is_none());
    }

    #[test]
    fn wrong_arguments_end_with_3() {
        for arguments in [
            &["-t"][..],
            &["--unknown"],
            &["-p", "0"],
            &["-p", "65536"],
            &["--test-config"],
            &["nonsense"],
            &["--security-profile", "safe"],
            &["passwd", "-c", "-D", "f", "u"],
            &["passwd", "-b", "f", "u"],
            &["passwd", "f"],
            &["passwd", "f", "u", "p"],
            &["check"],
            &["acl", "explain", "-c", "f"],
            &["-c", "f", "check", "-c", "f"],
        ] {
            assert_eq!(
                run(arguments).expect_err("it is wrong").code,
                INVALID,
                "{arguments:?}"
            );
        }
        let eleven = ["-p", "1"].repeat(11);
        assert_eq!(run(&eleven).expect_err("ten are allowed").code, INVALID);
        assert!(run(&["-p", "1"].repeat(10)).is_ok());
    }

    #[test]
    fn help_and_version_end_with_0() {
        for arguments in [
            &["-h"][..],
            &["--help"],
            &["--version"],
            &["passwd", "--help"],
        ] {
            assert_eq!(
                run(arguments).expect_err("it stops").code,
                OK,
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn help_names_the_environment_and_what_makes_sessions_survive() {
        // The lines are as long as the terminal is wide.
        let help = |arguments: &[&str]| {
            let text = run(arguments).expect_err("it stops").text;
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let all = help(&["--help"]);
        for word in [PROFILE_VARIABLE, LOCATION_VARIABLE, "`persistence true`"] {
            assert!(all.contains(word), "{word} is not in {all}");
        }
        let store = help(&["store", "--help"]);
        assert!(store.contains("`persistence true`"), "{store}");
        assert!(store.contains("the broker must be stopped"), "{store}");
        let import = help(&["store", "import-mosquitto", "--help"]);
        assert!(import.contains("chown"), "{import}");
    }

    #[test]
    fn a_key_log_is_refused_with_its_reason() {
        let stop = run(&["--tls-keylog", "/k"]).expect_err("it is refused");
        assert_eq!(stop.code, INVALID);
        assert!(
            stop.text.contains("whoever reads it reads all traffic"),
            "{}",
            stop.text
        );
    }

    #[test]
    fn the_subcommands_are_read() {
        let cli = run(&["quickstart", "--dir", "/q"]).expect("it is right");
        assert!(
            matches!(cli.command, Some(Command::Quickstart(Quickstart { dir, .. })) if dir.as_os_str() == "/q")
        );
        let cli =
            run(&["passwd", "-H", "sha512", "-b", "-c", "f", "u", "secret"]).expect("it is right");
        assert!(!format!("{cli:?}").contains("secret"));
        let Some(Command::Passwd(passwd)) = cli.command else {
            panic!("it is passwd")
        };
        assert!(passwd.batch && passwd.create);
        assert_eq!(passwd.user.as_deref(), Some("u"));
        assert!(run(&["passwd", "-U", "f"]).is_ok());
        assert!(run(&["passwd", "-D", "f", "u"]).is_ok());
        assert!(run(&["directives", "--conf"]).is_ok());
        assert!(run(&["check", "-c", "f", "--security"]).is_ok());
    }

    #[test]
    fn the_option_beats_the_variable_and_a_wrong_variable_ends_with_3() {
        let cli = run(&["--security-profile", "compatible"]).expect("it is right");
        let options = cli
            .run
            .load_options(chosen("hardened"))
            .expect("the option decides");
        assert_eq!(
            options.profile,
            Some((SecurityProfile::Compatible, ProfileSource::CommandLine))
        );
        let cli = run(&["-q", "-v"]).expect("it is right");
        let options = cli
            .run
            .load_options(chosen("compatible"))
            .expect("it is a profile");
        assert_eq!(
            options.profile,
            Some((SecurityProfile::Compatible, ProfileSource::Environment))
        );
        assert_eq!(options.verbosity, Verbosity::Quiet);
        assert_eq!(
            cli.run
                .load_options(chosen("safe"))
                .expect_err("it is wrong")
                .code,
            INVALID
        );
        let nothing = cli.run.load_options(Environment::default());
        let nothing = nothing.expect("nothing to read");
        assert_eq!(nothing.profile, None);
        assert_eq!(nothing.persistence_location, None);
    }
}
