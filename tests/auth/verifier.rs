//! The hashing threads: one run for equal questions, bounds, and what is remembered.

use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::{
    CacheSettings, CredentialCache, HashAlgorithm, PasswordFile, Secret, StoredHash, Verifier,
    VerifyError,
};

/// Takes tens of milliseconds in a debug build: long enough for others to come while it runs.
const SLOW: HashAlgorithm = HashAlgorithm::Pbkdf2 { rounds: 20_000 };

fn file(users: &[(&str, &str)], algorithm: HashAlgorithm) -> Arc<PasswordFile> {
    let mut text = String::new();
    for (user, password) in users {
        let hash = StoredHash::create(password.as_bytes(), algorithm).expect("a hash");
        text.push_str(&format!("{user}:{}\n", hash.as_str()));
    }
    Arc::new(PasswordFile::parse(text).expect("a file").0)
}

fn verifier(workers: usize, queue: usize) -> Arc<Verifier> {
    let cache = CredentialCache::new(CacheSettings::default()).expect("random numbers");
    Arc::new(Verifier::start(workers, queue, Arc::new(cache)).expect("threads"))
}

async fn ask(
    verifier: &Verifier,
    file: &PasswordFile,
    user: &str,
    password: &str,
) -> Result<bool, VerifyError> {
    let answer = verifier.verify(file, user, Secret::from(password)).await;
    answer.map(|hash| hash.is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_come_back_at_once_cost_one_hash_run() {
    let verifier = verifier(2, 4);
    let file = file(&[("u", "pw")], SLOW);
    let mut tasks = Vec::new();
    for _ in 0..1_000 {
        let (verifier, file) = (Arc::clone(&verifier), Arc::clone(&file));
        tasks.push(tokio::spawn(async move {
            ask(&verifier, &file, "u", "pw").await
        }));
    }
    for task in tasks {
        assert_eq!(task.await.expect("task"), Ok(true));
    }
    let counts = verifier.counts();
    assert_eq!(counts.runs, 1);
    assert_eq!(counts.cached + counts.shared, 999);
    assert_eq!(counts.busy, 0);
}

#[tokio::test]
async fn a_verified_password_is_remembered_until_told_to_forget() {
    let verifier = verifier(1, 4);
    let file = file(&[("u", "pw")], HashAlgorithm::Sha512);
    for _ in 0..3 {
        assert_eq!(ask(&verifier, &file, "u", "pw").await, Ok(true));
    }
    assert_eq!(verifier.counts().runs, 1);
    verifier.forget();
    assert_eq!(ask(&verifier, &file, "u", "pw").await, Ok(true));
    assert_eq!(verifier.counts().runs, 2);
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_cost_a_run_each_time() {
    let verifier = verifier(1, 4);
    let file = file(&[("u", "pw")], HashAlgorithm::Sha512);
    for _ in 0..3 {
        assert_eq!(ask(&verifier, &file, "u", "no").await, Ok(false));
        assert_eq!(ask(&verifier, &file, "nobody", "pw").await, Ok(false));
    }
    assert_eq!(verifier.counts().runs, 6);
    assert_eq!(verifier.counts().cached, 0);
}

#[tokio::test]
async fn a_changed_password_is_not_found_in_the_cache() {
    let verifier = verifier(1, 4);
    let before = file(&[("u", "old")], HashAlgorithm::Sha512);
    let after = file(&[("u", "new")], HashAlgorithm::Sha512);
    let without = file(&[("v", "x")], HashAlgorithm::Sha512);
    assert_eq!(ask(&verifier, &before, "u", "old").await, Ok(true));
    assert_eq!(ask(&verifier, &after, "u", "old").await, Ok(false));
    assert_eq!(ask(&verifier, &without, "u", "old").await, Ok(false));
}

#[tokio::test]
async fn a_nul_in_a_password_is_refused_without_a_run() {
    let verifier = verifier(1, 4);
    let file = file(&[("u", "pw")], HashAlgorithm::Sha512);
    assert_eq!(ask(&verifier, &file, "u", "pw\0x").await, Ok(false));
    assert_eq!(ask(&verifier, &file, "nobody", "pw\0x").await, Ok(false));
    assert_eq!(verifier.counts().runs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_turns_strangers_away_and_lets_known_clients_in() {
    let verifier = verifier(1, 2);
    let file = file(&[("u", "pw")], SLOW);
    assert_eq!(ask(&verifier, &file, "u", "pw").await, Ok(true));
    let mut guesses = Vec::new();
    for number in 0..20 {
        let (verifier, file) = (Arc::clone(&verifier), Arc::clone(&file));
        guesses.push(tokio::spawn(async move {
            ask(&verifier, &file, "u", &format!("guess {number}")).await
        }));
    }
    // While the guesses are worked on, whoever is known costs no run.
    assert_eq!(ask(&verifier, &file, "u", "pw").await, Ok(true));
    let mut busy = 0;
    for guess in guesses {
        match guess.await.expect("task") {
            Err(VerifyError::Busy) => busy += 1,
            other => assert_eq!(other, Ok(false)),
        }
    }
    assert!(busy > 0);
    assert_eq!(verifier.counts().busy, busy);
    assert_eq!(verifier.counts().runs + busy, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_gave_up_keep_nobody_out() {
    let verifier = verifier(1, 2);
    let file = file(&[("u", "pw")], HashAlgorithm::Pbkdf2 { rounds: 60_000 });
    // One run is under way and two wait, for clients that go away at once.
    for number in 0..3 {
        let guess = format!("guess {number}");
        let asked = ask(&verifier, &file, "u", &guess);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), asked)
                .await
                .is_err()
        );
    }
    assert_eq!(ask(&verifier, &file, "u", "pw").await, Ok(true));
    let counts = verifier.counts();
    assert_eq!(counts.busy, 0);
    assert_eq!(counts.abandoned, 2);
    assert_eq!(counts.runs, 2);
}
