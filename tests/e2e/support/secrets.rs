//! Secrets that the tests use, looked for in everything the program wrote.
//!
//! Each test's site looks at the end of each broker, so the whole run is covered: passwords that
//! clients of the test sent, right or wrong, tokens, and what is in the site's files for secrets.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use super::site::PASSWORD;

/// A wrong password, for programs that are given one.
pub(crate) const WRONG: &str = "wrong battery";

/// Shorter ones stand in texts by chance.
const SHORTEST: usize = 10;

thread_local! {
    static USED: RefCell<BTreeSet<String>> =
        RefCell::new([PASSWORD, WRONG].map(str::to_owned).into());
}

/// From now on nothing that is written in this test may show it.
pub(crate) fn used(secret: &str) {
    // The header of a token is the same for everybody; its payload and its signature are not.
    let parts: Vec<&str> = match secret.split('.').collect::<Vec<_>>()[..] {
        [header, payload, signature] if header.starts_with("eyJ") => vec![payload, signature],
        _ => vec![secret],
    };
    USED.with_borrow_mut(|used| {
        for part in parts {
            let part = part.trim();
            if part.len() >= SHORTEST && !used.contains(part) {
                used.insert(part.to_owned());
            }
        }
    });
}

/// The secrets in a site's files: keys, secrets of their own, and hashes of passwords.
pub(crate) fn used_in_files(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = || std::fs::read(entry.path()).unwrap_or_default();
        let text = || String::from_utf8_lossy(&text()).into_owned();
        if entry.path().extension().is_some_and(|end| end == "key") {
            let text = text();
            let body = text.lines().filter(|line| !line.starts_with('-'));
            body.filter(|line| line.len() > 32).for_each(used);
        } else if name.starts_with("secret") {
            used(&text());
        } else if name.starts_with("passwd") {
            let text = text();
            let words = text.split([':', '"', ',', '\n']);
            words.filter(|word| word.starts_with('$')).for_each(used);
        }
    }
}

/// Fails if `text`, which was written as `what`, holds a secret in whatever form.
pub(crate) fn assert_none_in(what: &str, text: &str) {
    USED.with_borrow(|used| {
        for secret in used {
            if let Some(form) = form_in(text, secret) {
                panic!("{what} holds the secret {secret:?} {form}:\n{text}");
            }
        }
    });
}

/// In which form `text` holds it.
pub(crate) fn form_in(text: &str, secret: &str) -> Option<&'static str> {
    let found = forms(secret)
        .into_iter()
        .find(|(_, form)| text.contains(form));
    found.map(|(name, _)| name)
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let each = |write: &dyn Fn(u8) -> String| bytes.iter().map(|&byte| write(byte)).collect();
    let quoted = format!("{secret:?}");
    let percent = |upper: bool| {
        each(&|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        })
    };
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("quoted", quoted[1..quoted.len() - 1].to_owned()),
        ("as hexadecimal", each(&|byte| format!("{byte:02x}"))),
        ("as hexadecimal", each(&|byte| format!("{byte:02X}"))),
        ("as in an URL", percent(true)),
        ("as in an URL", percent(false)),
        ("as in a form", secret.replace(' ', "+")),
        ("as a list of bytes", {
            let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
            numbers.join(", ")
        }),
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        for offset in 0..3 {
            forms.push(("as Base64", base64_behind(offset, bytes, &alphabet)));
        }
    }
    forms
}

/// The characters that the bytes are written with behind `offset` other ones.
fn base64_behind(offset: usize, bytes: &[u8], alphabet: &Alphabet) -> String {
    let mut all = vec![0; offset];
    all.extend_from_slice(bytes);
    let text = GeneralPurpose::new(alphabet, NO_PAD).encode(&all);
    text[(offset * 8).div_ceil(6)..all.len() * 8 / 6].to_owned()
}
