//! JSON Web Tokens as user names and passwords.

use crate::auth::jwt::{self, Replay};
use crate::config::Located;
use crate::config::directive::{Directive, Repeat, Section};
use crate::config::lexer::Line;
use crate::config::settings::SecurityGroup;
use crate::config::table::limits::seconds;
use crate::config::value::{Value, ValueError, choice, first, text};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive::security("jwt_public_key", "PATH", Value::Path(|group, path| {
        group.tokens.public_keys.push(path);
    }))
    .own()
    .section(Section::Access)
    .repeat(Repeat::Accumulates)
    .example("/etc/portcullis/jwt.pem")
    .meaning(
        "Public keys, or certificates with them, in PEM that tokens are verified with: RSA of 2048 bits or \
         more, P-256, P-384, Ed25519. A client sends its token as the password; the token names the user. \
         Re-read on reload.",
    ),
    Directive::security("jwt_jwks_file", "PATH", Value::Path(|group, path| {
        group.tokens.jwks_file = Some(path);
    }))
    .own()
    .section(Section::Access)
    .example("/etc/portcullis/jwks.json")
    .meaning("As jwt_public_key: a JSON Web Key Set, whose keys are chosen by `kid`. Re-read on reload."),
    Directive::security("jwt_jwks_url", "URL", Value::Text(|group, url| group.tokens.jwks_url = Some(url)))
        .own()
        .section(Section::Access)
        .example("https://issuer.example.org/.well-known/jwks.json")
    .meaning(
            "As jwt_jwks_file, read over HTTPS in the background. Until it was read once, and when it is older than \
             jwt_jwks_stale, tokens are refused as not available (0x88). A token with an unknown `kid` has it read \
             again, at most each ten seconds. The connections of a key that disappears from it end.",
        ),
    Directive::security("jwt_jwks_cafile", "PATH", Value::Path(|group, path| group.tokens.jwks_cafile = Some(path)))
        .own()
        .section(Section::Access)
        .unset("the system's CA certificates")
        .example("/etc/portcullis/issuer-ca.crt")
        .meaning("Who may have signed the certificate of the key set's server."),
    Directive::security("jwt_jwks_refresh", "SECONDS", Value::Int(10..=86_400, |group, value| {
        group.tokens.jwks_refresh = seconds(value);
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("300")
    .meaning("How often the key set at a URL is read again."),
    Directive::security("jwt_jwks_stale", "SECONDS", Value::Int(60..=2_592_000, |group, value| {
        group.tokens.jwks_stale = seconds(value);
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("86400")
    .meaning("How old the last good key set may be while its server does not answer."),
    Directive::security("introspection_url", "URL", Value::Text(|group, url| group.introspection.url = Some(url)))
        .own()
        .section(Section::Access)
        .example("https://issuer.example.org/oauth2/introspect")
    .meaning(
            "OAuth 2.0 Token Introspection (RFC 7662): the issuer is asked what the password of a client is worth, if \
             no provider before knows it. Whatever is not a definite yes refuses the client. Issuer, audience, groups \
             and rules are looked at as in tokens (jwt_issuer and so on).",
        ),
    Directive::security("introspection_client_id", "TEXT", Value::Parsed(|group, line| {
        let id = text(line)?;
        id.clone_into(&mut group.introspection.client_id);
        Ok(id.to_owned())
    }))
    .own()
    .section(Section::Access)
    .default("portcullis")
    .meaning("As whom the broker asks, in HTTP Basic."),
    Directive::security("introspection_client_secret_file", "PATH", Value::Path(|group, path| {
        group.introspection.client_secret_file = Some(path);
    }))
    .own()
    .section(Section::Access)
    .example("/etc/portcullis/introspection.secret")
    .meaning("The broker's own secret. Hardened refuses a file that group or world can read. Re-read on reload."),
    Directive::security("introspection_client_secret_env", "NAME", Value::Parsed(|group, line| {
        group.introspection.client_secret_env = Some(environment_variable(line)?);
        Ok(line.value().to_owned())
    }))
    .own()
    .secret()
    .section(Section::Access)
    .example("INTROSPECTION_SECRET")
    .meaning("As introspection_client_secret_file: the environment variable that holds it."),
    Directive::security("introspection_cafile", "PATH", Value::Path(|group, path| {
        group.introspection.cafile = Some(path);
    }))
    .own()
    .section(Section::Access)
    .unset("the system's CA certificates")
    .example("/etc/portcullis/issuer-ca.crt")
    .meaning("Who may have signed the certificate of the issuer's server."),
    Directive::security("introspection_cache", "SECONDS", Value::Int(0..=86_400, |group, value| {
        group.introspection.cache = seconds(value);
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("300")
    .meaning(
        "How long a yes is remembered, never past the token's end; a no for ten seconds at most. The connection of a \
         token whose answer names no end is over after this time, or after five minutes where it is 0.",
    ),
    Directive::security("introspection_timeout", "SECONDS", Value::Int(1..=60, |group, value| {
        group.introspection.timeout = seconds(value);
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("5")
    .meaning("How long an answer may take. After five failures in a row nobody is asked for half a minute."),
    Directive::security("introspection_username_claim", "NAME", Value::Parsed(|group, line| {
        let name = text(line)?;
        name.clone_into(&mut group.introspection.username_claim);
        Ok(name.to_owned())
    }))
    .own()
    .section(Section::Access)
    .default("username")
    .meaning("The field of the answer that is the user name."),
    Directive::security("jwt_secret_file", "PATH", Value::Path(|group, path| {
        group.tokens.secret_file = Some(path);
    }))
    .own()
    .section(Section::Access)
    .example("/etc/portcullis/jwt.secret")
    .meaning(
        "Secret of 32 bytes or more for HS256, HS384 and HS512, in place of public keys. Hardened refuses a \
         file that group or world can read. Re-read on reload.",
    ),
    Directive::security("jwt_secret_env", "NAME", Value::Parsed(|group, line| {
        group.tokens.secret_env = Some(environment_variable(line)?);
        Ok(line.value().to_owned())
    }))
    .own()
    .secret()
    .section(Section::Access)
    .example("JWT_SECRET")
    .meaning("As jwt_secret_file: the environment variable that holds the secret."),
    Directive::security("jwt_algorithms", "LIST", Value::Parsed(algorithms))
        .own()
        .section(Section::Access)
        .unset("those that the keys allow")
        .example("ES256 EdDSA")
    .meaning(
            "Algorithms a token may be signed with: HS256-512, RS256-512, PS256-512, ES256, ES384, EdDSA. The \
             token itself never decides.",
        ),
    Directive::security("jwt_issuer", "TEXT", Value::Parsed(|group, line| {
        let issuer = text(line)?;
        group.tokens.issuer = Some(issuer.to_owned());
        Ok(issuer.to_owned())
    }))
    .own()
    .section(Section::Access)
    .unset("not looked at")
    .example("https://issuer.example.org")
    .meaning("What `iss` must be, byte for byte."),
    Directive::security("jwt_audience", "TEXT", Value::Parsed(|group, line| {
        let audience = text(line)?;
        group.tokens.audience.push(audience.to_owned());
        Ok(audience.to_owned())
    }))
    .own()
    .section(Section::Access)
    .repeat(Repeat::Accumulates)
    .unset("not looked at")
    .example("mqtt.example.org")
    .meaning("What `aud` must be or hold; one of them, where there are several lines."),
    Directive::security("jwt_username_claim", "NAME", Value::Parsed(|group, line| {
        let name = text(line)?;
        name.clone_into(&mut group.tokens.username_claim);
        Ok(name.to_owned())
    }))
    .own()
    .section(Section::Access)
    .default("sub")
    .meaning("The claim that is the user name; what CONNECT says does not count. `+`, `#`, `/` and control characters in it refuse the token."),
    Directive::security("jwt_groups_claim", "NAME", Value::Parsed(|group, line| {
        let name = text(line)?;
        group.tokens.groups_claim = Some(name.to_owned());
        Ok(name.to_owned())
    }))
    .own()
    .section(Section::Access)
    .unset("tokens name no groups")
    .example("realm_access.roles")
    .meaning(
        "The claim, or the path to it, that holds the user's groups: a name or a list of them. They add to \
         those of group_file.",
    ),
    Directive::security("jwt_acl_claim", "NAME", Value::Parsed(|group, line| {
        let name = text(line)?;
        group.tokens.acl_claim = Some(name.to_owned());
        Ok(name.to_owned())
    }))
    .own()
    .section(Section::Access)
    .unset("tokens bring no rules")
    .example("mqtt")
    .meaning(
        "The claim, or the path to it, with rules of the token: `{\"publish\": [FILTER, …], \"subscribe\": [FILTER, \
         …]}`. They add to the grants of the ACL file, whose denies beat them; without an ACL file they are all \
         that the client may.",
    ),
    Directive::security("jwt_clock_skew", "SECONDS", Value::Int(0..=300, |group, value| {
        group.tokens.clock_skew = seconds(value);
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("60")
    .meaning("How far the clocks of issuer and broker may be apart: added once to `exp`, `nbf` and `iat`."),
    Directive::security("jwt_max_lifetime", "SECONDS", Value::Int(0..=31_536_000, |group, value| {
        group.tokens.max_lifetime = (value > 0).then(|| seconds(value));
    }))
    .own()
    .section(Section::Access)
    .unit("seconds")
    .default("0")
    .meaning("Longest time from `iat`, which is then needed, to `exp`; 0 is no limit."),
    Directive::security("jwt_require_jti", "BOOL", Value::Bool(|group, value| {
        group.tokens.require_jti = value;
    }))
    .own()
    .section(Section::Access)
    .default("false")
    .meaning("true: a token without `jti` is refused, so that each can be revoked by itself."),
    Directive::security("jwt_replay", "off|per_connection|single_use", Value::Choice(
        &["off", "per_connection", "single_use"],
        |group, index| {
            group.tokens.replay = [Replay::Off, Replay::PerConnection, Replay::SingleUse][index];
        },
    ))
    .own()
    .section(Section::Access)
    .default("off")
    .meaning(
        "How often a token may be used: as often as one likes, by one client id at a time, or once until it is over. \
         Tokens then need a `jti`. At most 100000 are remembered; above, new ones are refused as busy.",
    ),
    Directive::security("jwt_revoked_file", "PATH", Value::Path(|group, path| {
        group.tokens.revoked_file = Some(path);
    }))
    .own()
    .section(Section::Access)
    .example("/etc/portcullis/jwt.revoked")
    .meaning(
        "Lines of `jti VALUE` and `sub VALUE`: tokens that are refused although they are good, and whose \
         clients are disconnected at the reload that adds them.",
    ),
];

/// The name of an environment variable, which is not shown: it is easily taken for the place of the
/// secret itself.
fn environment_variable(line: &Line) -> Result<Located<String>, ValueError> {
    let word = first(line)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if word.text.len() != line.value().len() || !word.text.chars().all(fits) {
        let problem = "it is the name of an environment variable that belongs here";
        return Err(ValueError::new(word.at, problem).help("for example `JWT_SECRET`"));
    }
    Ok(Located::new(
        word.text.to_owned(),
        line.origin(word.at, true),
    ))
}

fn algorithms(group: &mut SecurityGroup, line: &Line) -> Result<String, ValueError> {
    first(line)?;
    let names = jwt::ALGORITHMS.map(jwt::name);
    let mut chosen = Vec::new();
    for word in line.words_before_comment() {
        let index = choice(word, &names)?;
        if !chosen.contains(&jwt::ALGORITHMS[index]) {
            chosen.push(jwt::ALGORITHMS[index]);
        }
    }
    let written: Vec<&str> = chosen
        .iter()
        .map(|&algorithm| jwt::name(algorithm))
        .collect();
    let written = written.join(" ");
    group.tokens.algorithms = chosen;
    Ok(written)
}
