//! Stored hashes and the password file.

use std::sync::Arc;

use portcullis::auth::{HashAlgorithm, HashLimits, HashProblem, PasswordFile, StoredHash};
use proptest::prelude::*;

/// Made by `mosquitto_passwd` 2.1.2 for the password `secret`.
const ALICE: &str = "$7$1000$K+44jU4vjePDO4K0pRzQcDyPVqXUpucH8Dmr26S8VPOL+CVU2jqeCOod314klJEil1h+L/Ov3Uh/B6g4Swfrsg==$NleI+TM3zFqox52625SBubeGWZEvDV0MsFj/0A8toFU/EMQUlnDgzg8bbnzkzdgO914HXgmB38U71pflkJIenw==";
const CAROL: &str = "$6$TJda2N8D8cxJtQSSzHg+KnM4FJTZ33gfH4iO/5KcBaXp/E6Dw+ULXgPzX3iIn2JOWqNARYH8WyJblQSuryaEIw==$wG7rUbBr8p8VsSXdsINo11sMYu1kEkR/8pWUIDzGYAt8veLgnIFyoonwLYULksntnb//axBRR5RKpbAIapplTQ==";
const DAVE: &str = "$7$5000$1gD08RGINydTsJiJxqE9+/xUxKsdTY32QH7G67Ktggr94z7pfoV7/SwxTH8SnaN8vsAmJ6qRna9hh8derIVXrg==$VJt2/uTaPfOUsGf9mabMFMKEaTQnp5rtAaFSdXyoEz/u2G/iMKOIMA2If7fiJuv+CN5/9TuzDffYf2/GueHaNw==";

fn parse(text: &str) -> StoredHash {
    StoredHash::parse(text, &HashLimits::default()).expect("a hash")
}

fn problem(text: &str) -> (usize, HashProblem) {
    let error = StoredHash::parse(text, &HashLimits::default()).expect_err("no hash");
    (error.offset, error.problem)
}

fn errors(text: &str) -> Vec<(u32, u32, String)> {
    PasswordFile::parse(text)
        .expect_err("errors")
        .into_iter()
        .map(|error| (error.line, error.column, error.message))
        .collect()
}

#[test]
fn hashes_that_mosquitto_made_are_verified() {
    for stored in [ALICE, CAROL, DAVE] {
        let hash = parse(stored);
        assert_eq!(hash.verify(b"secret"), Ok(true), "{stored}");
        assert_eq!(hash.verify(b"Secret"), Ok(false), "{stored}");
        assert_eq!(hash.verify(b"secre"), Ok(false), "{stored}");
        assert_eq!(hash.verify(b""), Ok(false), "{stored}");
    }
}

#[test]
fn an_argon2id_hash_of_the_reference_implementation_is_verified() {
    // Of its test vectors: password `password`, salt `somesalt`.
    let hash = parse(
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    );
    assert_eq!(hash.verify(b"password"), Ok(true));
    assert_eq!(hash.verify(b"Password"), Ok(false));
}

#[test]
fn bcrypt_hashes_of_other_programs_are_verified_under_every_prefix() {
    // From the test vectors of the reference implementation.
    let vectors = [
        (
            "U*U",
            "$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ),
        (
            "U*U*",
            "$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
        ),
        (
            "U*U*U",
            "$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
        ),
    ];
    for (password, rest) in vectors {
        for prefix in ["$2a", "$2b", "$2y"] {
            let hash = parse(&format!("{prefix}{rest}"));
            assert_eq!(hash.verify(password.as_bytes()), Ok(true), "{prefix}{rest}");
            assert_eq!(hash.verify(b"U*V"), Ok(false), "{prefix}{rest}");
        }
    }
}

#[test]
fn what_follows_a_nul_is_not_ignored() {
    for stored in [ALICE, CAROL, DAVE] {
        assert_eq!(parse(stored).verify(b"secret\0"), Ok(false));
        assert_eq!(parse(stored).verify(b"secret\0anything"), Ok(false));
    }
    // bcrypt repeats its key with the NUL that ends it, so that these two are the same key.
    let hash = StoredHash::create(b"ab", HashAlgorithm::Bcrypt { cost: 4 }).expect("a hash");
    assert_eq!(hash.verify(b"ab"), Ok(true));
    assert_eq!(hash.verify(b"ab\0ab"), Ok(false));
}

#[test]
fn a_password_longer_than_bcrypt_reads_is_refused() {
    let algorithm = HashAlgorithm::Bcrypt { cost: 4 };
    let hash = StoredHash::create(&[b'x'; 72], algorithm).expect("a hash");
    assert_eq!(hash.verify(&[b'x'; 72]), Ok(true));
    assert_eq!(hash.verify(&[b'x'; 73]), Ok(false));
    assert!(StoredHash::create(&[b'x'; 73], algorithm).is_err());
}

#[test]
fn what_is_created_is_verified_after_it_was_written_and_read() {
    let algorithms = [
        HashAlgorithm::default(),
        HashAlgorithm::Argon2id {
            memory_kib: 64,
            passes: 3,
            lanes: 4,
        },
        HashAlgorithm::Pbkdf2 { rounds: 7 },
        HashAlgorithm::Sha512,
        HashAlgorithm::Bcrypt { cost: 4 },
    ];
    for algorithm in algorithms {
        let hash = StoredHash::create("pä ss".as_bytes(), algorithm).expect("a hash");
        let again = parse(hash.as_str());
        assert_eq!(again, hash);
        assert_eq!(again.algorithm(), algorithm);
        assert_eq!(again.verify("pä ss".as_bytes()), Ok(true));
        assert_eq!(again.verify(b"pa ss"), Ok(false));
    }
}

#[test]
fn the_default_is_argon2id_with_the_recommended_costs_and_no_weakness() {
    let hash = StoredHash::create(b"x", HashAlgorithm::default()).expect("a hash");
    assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_eq!(hash.weakness(), None);
}

#[test]
fn costs_above_the_bounds_are_refused_before_they_are_paid() {
    let salt = "c29tc2FsdA";
    let tag = "RdescudvJCsgt3ub+b27Hn/TAW9g+gYD";
    let cases = [
        format!("$argon2id$v=19$m=4294967295,t=1,p=1${salt}${tag}"),
        format!("$argon2id$v=19$m=1048577,t=1,p=1${salt}${tag}"),
        format!("$argon2id$v=19$m=64,t=65,p=1${salt}${tag}"),
        format!("$argon2id$v=19$m=1048576,t=64,p=1${salt}${tag}"),
        format!("$argon2id$v=19$m=4096,t=1,p=17${salt}${tag}"),
        ALICE.replace("$1000$", "$4294967295$"),
        "$2b$17$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
    ];
    for case in cases {
        let (_, problem) = problem(&case);
        assert!(
            matches!(problem, HashProblem::TooCostly { .. }),
            "{case}: {problem}"
        );
    }
}

#[test]
fn broken_hashes_are_refused_with_the_place_where_they_break() {
    let cases = [
        ("", 0, HashProblem::Empty),
        ("secret", 0, HashProblem::NotAHash),
        ("$ecret", 0, HashProblem::NotAHash),
        ("$1$abcd$efgh", 1, HashProblem::UnknownForm),
        ("$2x$05$abc", 1, HashProblem::UnknownForm),
        ("$argon2i$v=19$m=8,t=1,p=1$a$b", 1, HashProblem::UnknownForm),
        ("$6$AAAA", 7, HashProblem::Parts { expected: 3 }),
        ("$6$A?AA$AAAA", 3, HashProblem::Base64 { part: "salt" }),
        (
            "$6$AAAA$AAAA",
            3,
            HashProblem::Length {
                part: "salt",
                found: 3,
            },
        ),
        (
            "$7$0$AAAA$AAAA",
            3,
            HashProblem::Number {
                part: "number of rounds",
            },
        ),
        (
            "$7$-1$AAAA$AAAA",
            3,
            HashProblem::Number {
                part: "number of rounds",
            },
        ),
        (
            "$7$+1$AAAA$AAAA",
            3,
            HashProblem::Number {
                part: "number of rounds",
            },
        ),
        (
            "$7$99999999999$AAAA$AAAA",
            3,
            HashProblem::Number {
                part: "number of rounds",
            },
        ),
        ("$argon2id$v=18$m=8,t=1,p=1$a$b", 10, HashProblem::Version),
        ("$argon2id$v=19$m=8,t=1$a$b", 15, HashProblem::Parameter),
        (
            "$argon2id$v=19$m=8,t=1,p=1,p=1$a$b",
            15,
            HashProblem::Parameter,
        ),
        (
            "$argon2id$v=19$m=8,t=1,p=1,keyid=x$a$b",
            15,
            HashProblem::Parameter,
        ),
        (
            "$argon2id$v=19$m=8,t=0,p=1$a$b",
            15,
            HashProblem::Number {
                part: "number of passes (t)",
            },
        ),
        (
            "$argon2id$v=19$m=8,t=1,p=2$a$b",
            15,
            HashProblem::Number { part: "memory (m)" },
        ),
        (
            "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA",
            27,
            HashProblem::Length {
                part: "salt",
                found: 3,
            },
        ),
        ("$2b$5$x", 4, HashProblem::Number { part: "cost" }),
        ("$2b$03$x", 4, HashProblem::Number { part: "cost" }),
        (
            "$2b$05$x",
            7,
            HashProblem::Length {
                part: "hash",
                found: 1,
            },
        ),
    ];
    for (text, offset, expected) in cases {
        assert_eq!(problem(text), (offset, expected), "{text}");
    }
}

#[test]
fn neither_hashes_nor_passwords_are_printed() {
    assert_eq!(
        format!("{:?}", parse(ALICE)),
        "StoredHash(Pbkdf2 { rounds: 1000 }, …)"
    );
    let text = "alice:hunter2\nbob:$hunter2\ncarol:$6$hunter2$hunter2\n";
    for (_, _, message) in errors(text) {
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn line_rules_are_those_of_mosquitto() {
    let text = format!(
        "# a comment: with a colon\n\nno colon, ignored\n  alice \t: {ALICE} \r\nb ob:{CAROL}:ignored:too\nd+/#:{DAVE}"
    );
    let (file, _) = PasswordFile::parse(&text).expect("a file");
    assert_eq!(file.len(), 3);
    for user in ["alice", "b ob", "d+/#"] {
        let hash = file.hash_of(user).expect(user);
        assert_eq!(hash.verify(b"secret"), Ok(true), "{user}");
    }
    assert!(file.hash_of(" alice").is_none());
    assert!(file.hash_of("Alice").is_none());
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_name() {
    let (file, _) = PasswordFile::parse(format!("\u{feff}alice:{ALICE}\n")).expect("a file");
    assert!(file.hash_of("alice").is_some());
}

#[test]
fn every_problem_of_every_line_is_told_at_once() {
    let text = format!(
        "alice:{ALICE}\n:{ALICE}\nbob:\n  carol: secret\nalice:{CAROL}\nd\u{1}ve:$1$x$y\ne:$6$A?AA$AAAA\n"
    );
    assert_eq!(
        errors(&text),
        [
            (2, 1, "the user name is empty".to_owned()),
            (3, 5, "the hash is empty".to_owned()),
            (
                4,
                10,
                "this is not a password hash; is it a password in clear?".to_owned()
            ),
            (5, 1, "the user was already named in line 1".to_owned()),
            (6, 1, "the user name holds a control character".to_owned()),
            (
                6,
                7,
                "the form of this password hash is not known".to_owned()
            ),
            (
                7,
                6,
                "the salt of the password hash is not base64".to_owned()
            ),
        ]
    );
}

#[test]
fn a_name_is_named_twice_even_where_its_hash_is_wrong() {
    let found = errors(&format!("alice:x\nalice:{ALICE}\n"));
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].2, "the user was already named in line 1");
}

#[test]
fn names_that_are_not_utf_8_are_refused_with_their_place() {
    let mut text = b"a:".to_vec();
    text.extend(ALICE.as_bytes());
    text.extend(b"\n  \xff\xfe:");
    text.extend(ALICE.as_bytes());
    let found = PasswordFile::parse(&text).expect_err("an error");
    assert_eq!((found[0].line, found[0].column), (2, 3));
    assert_eq!(found[0].message, "the user name is not UTF-8");
}

#[test]
fn a_clear_password_comes_with_the_command_that_hashes_it() {
    let found = PasswordFile::parse("alice:secret").expect_err("an error");
    assert!(found[0].help.expect("help").contains("passwd -U"));
}

#[test]
fn weak_hashes_are_warned_of_once_for_each_way_to_be_weak() {
    let strong = StoredHash::create(b"x", HashAlgorithm::default()).expect("a hash");
    let text = format!("a:{}\nb:{ALICE}\nc:{CAROL}\nd:{DAVE}\n", strong.as_str());
    let (_, warnings) = PasswordFile::parse(text).expect("a file");
    let lines: Vec<u32> = warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [2, 3]);
    assert!(
        warnings[0].message.contains("2 of 4 users"),
        "{}",
        warnings[0].message
    );
}

#[test]
fn the_decoy_costs_what_most_users_cost_and_is_nobodys() {
    let text = format!("a:{ALICE}\nb:{CAROL}\nc:{ALICE}\n");
    let (file, _) = PasswordFile::parse(text).expect("a file");
    assert_eq!(
        file.decoy().algorithm(),
        HashAlgorithm::Pbkdf2 { rounds: 1_000 }
    );
    assert_eq!(file.decoy().verify(b"secret"), Ok(false));
    let (empty, warnings) = PasswordFile::parse("").expect("a file");
    assert!(empty.is_empty() && warnings.is_empty());
    assert_eq!(empty.decoy().algorithm(), HashAlgorithm::default());
}

#[test]
fn users_in_json_are_read_with_their_groups_and_whether_they_are_enabled_c15() {
    let json = format!(
        r#"{{
          "users": {{
            "sensor-001": {{"password_hash": "{CAROL}", "groups": ["zone-a", "sensors"], "enabled": true}},
            "admin": {{"password_hash": "{ALICE}", "enabled": false}}
          }}
        }}"#
    );
    let (file, _) = PasswordFile::parse(json).expect("a file");
    assert_eq!(file.len(), 2);
    let hash = file.hash_of("sensor-001").expect("a user");
    assert_eq!(hash.verify(b"secret"), Ok(true));
    assert!(file.is_disabled("admin") && !file.is_disabled("sensor-001"));
    let groups: Vec<_> = file.groups().collect();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].0, "sensor-001");
    assert_eq!(**groups[0].1, [Arc::from("sensors"), Arc::from("zone-a")]);
}

#[test]
fn what_is_wrong_with_users_in_json_is_told_with_its_place() {
    let errors = |text: &str| -> Vec<(u32, u32, String)> {
        let errors = PasswordFile::parse(text).expect_err("wrong");
        let told = errors.into_iter();
        told.map(|error| (error.line, error.column, error.message))
            .collect()
    };
    let text = format!(
        "{{\"users\": {{\n  \"a\": {{\"password_hash\": \"{CAROL}\"}},\n  \"b\": {{\"password_hash\": \"hunter2\"}},\n  \
         \"c\": {{\"password\": \"x\"}},\n  \"d\": {{\"password_hash\": \"{CAROL}\", \"enable\": true}}\n}}}}"
    );
    let found = errors(&text);
    let places: Vec<_> = found
        .iter()
        .map(|(line, column, _)| (*line, *column))
        .collect();
    assert_eq!(places, [(3, 3), (4, 3), (5, 3)]);
    assert!(found[1].2.contains("password_hash") && found[2].2.contains("\"enable\""));
    assert!(
        !found
            .iter()
            .any(|(.., message)| message.contains("hunter2"))
    );
    assert_eq!(errors("{\n \"users\": }")[0].0, 2);
    assert!(errors("{}")[0].2.contains("no object \"users\""));
    assert!(errors("{\"users\": {}, \"x\": 1}")[0].2.contains("\"x\""));
    let twice =
        format!("{{\"users\": {{\"a\": {{\"password_hash\": \"{CAROL}\"}}, \"a\": {{}}}}}}");
    assert_eq!(errors(&twice).len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = PasswordFile::parse(bytes);
    }

    #[test]
    fn no_text_that_looks_like_a_hash_makes_the_parser_panic(
        form in r"\$(6|7|argon2id|2a|2b|2y|argon2id\$v=19)\$",
        rest in r"[a-zA-Z0-9$=,+/.é-]{0,120}",
    ) {
        let _ = PasswordFile::parse(format!("u:{form}{rest}"));
    }

    #[test]
    fn what_a_changed_byte_leaves_is_not_the_same_password(index in 0_usize..6, bit in 0_u8..8) {
        let mut password = *b"secret";
        password[index] ^= 1 << bit;
        prop_assert_eq!(parse(CAROL).verify(&password), Ok(false));
    }
}
