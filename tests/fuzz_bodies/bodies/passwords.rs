//! Arbitrary bytes as a password file: problems have their place, and no word of the second field
//! of a line, which may be a password in clear, is in what is said about it.

use portcullis::auth::PasswordFile;

pub(super) fn run(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    match PasswordFile::parse(data) {
        Ok((file, warnings)) => {
            assert!(file.len() <= lines.len());
            // An empty name is a problem, so nobody has it.
            assert!(file.hash_of("").is_none());
            for warning in warnings {
                line_of(&lines, warning.line);
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let line = line_of(&lines, error.line);
                assert!(error.column > 0);
                let secret = line.split(|&byte| byte == b':').nth(1).unwrap_or_default();
                if let Some(marked) = marked(secret) {
                    assert!(!error.message.contains(&marked), "{}", error.message);
                    assert!(!format!("{:?}", error.help).contains(&marked));
                }
            }
        }
    }
}

/// A piece of the field around a `~`, which no message of ours holds.
fn marked(secret: &[u8]) -> Option<String> {
    let text = str::from_utf8(secret).ok()?;
    let at = text.find('~')?;
    let piece: String = text[at..].chars().take(3).collect();
    (piece.len() >= 3).then_some(piece)
}

fn line_of<'a>(lines: &[&'a [u8]], number: u32) -> &'a [u8] {
    let index = usize::try_from(number)
        .expect("a line number")
        .checked_sub(1);
    index
        .and_then(|index| lines.get(index))
        .expect("a line of the file")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "u:~secret~in~clear\n",
        "# comment\n\nno colon\nu:\n:x\nu:~a\nu:~b\n",
        "u:$7$101$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n",
        "v:$6$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==:more\n",
        "w:$2b$12$AAAAAAAAAAAAAAAAAAAAAOAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        "x:$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        "y:$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAA$AAAA\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
