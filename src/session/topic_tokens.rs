//! Topic tokens: a word that nobody can guess, drawn by the broker for each session (requirements A4
//! to A6 and A24). Rules name it `%t`, so that a client has topics of its own that no other can
//! find, read or write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::QoS;
use crate::message::Tokens;

/// Where a client reads its token: a topic that is another one for each client, and that nobody can
/// publish to.
pub const TOKEN_TOPIC: &str = "$me/token";

/// 128 bits in base 32.
const CHARACTERS: usize = 26;

/// What a listener does about tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicTokenSettings {
    /// `topic_token_rotation`: how long a token is the current one; `None` for as long as the session.
    pub rotation: Option<Duration>,
    /// `topic_token_overlap`: how long the one before it still holds.
    pub overlap: Duration,
    /// `topic_token_generation`: another number is another token.
    pub generation: u32,
}

/// The tokens of one session.
#[derive(Clone, Debug)]
pub struct TopicTokens {
    pub(crate) current: Arc<str>,
    pub(crate) drawn_at: Instant,
    pub(crate) generation: u32,
    /// The one before, and until when it holds.
    pub(crate) previous: Option<(Arc<str>, Instant)>,
    /// The client's subscription to [`TOKEN_TOPIC`], if it has one: its QoS and its Subscription
    /// Identifier.
    pub subscribed: Option<(QoS, Option<u32>)>,
}

/// What became of tokens as time went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// They are what they were.
    No,
    /// One is over.
    Ended,
    /// There is a new one, which the client has to be told.
    Renewed,
}

impl TopicTokens {
    /// Draws the first. `random` is 16 unpredictable bytes.
    pub fn draw(settings: &TopicTokenSettings, random: [u8; 16], now: Instant) -> Self {
        Self {
            current: word(random),
            drawn_at: now,
            generation: settings.generation,
            previous: None,
            subscribed: None,
        }
    }

    /// The one that is told to the client.
    pub fn current(&self) -> &Arc<str> {
        &self.current
    }

    /// What `%t` stands for, the newest first.
    pub fn names(&self) -> Tokens {
        let previous = self.previous.iter().map(|(token, _)| Arc::clone(token));
        std::iter::once(Arc::clone(&self.current))
            .chain(previous)
            .collect()
    }

    /// When they change by themselves.
    pub fn due(&self, settings: &TopicTokenSettings) -> Option<Instant> {
        let renewed = settings
            .rotation
            .and_then(|time| self.drawn_at.checked_add(time));
        let ended = self.previous.as_ref().map(|(_, until)| *until);
        renewed.into_iter().chain(ended).min()
    }

    /// Does what is due. `random` is asked for 16 unpredictable bytes if a new one is drawn.
    pub fn turn(
        &mut self,
        settings: &TopicTokenSettings,
        now: Instant,
        random: impl FnOnce() -> [u8; 16],
    ) -> Turned {
        let is_old = settings
            .rotation
            .is_some_and(|time| now.saturating_duration_since(self.drawn_at) >= time);
        if is_old || self.generation != settings.generation {
            let old = std::mem::replace(&mut self.current, word(random()));
            // A third one never holds, however fast they change.
            self.previous = now
                .checked_add(settings.overlap)
                .filter(|until| *until > now)
                .map(|until| (old, until));
            self.drawn_at = now;
            self.generation = settings.generation;
            return Turned::Renewed;
        }
        if self
            .previous
            .as_ref()
            .is_some_and(|(_, until)| *until <= now)
        {
            self.previous = None;
            return Turned::Ended;
        }
        Turned::No
    }
}

/// A word as long as a token, for what must be measured before one is drawn.
pub(crate) fn placeholder() -> String {
    "a".repeat(CHARACTERS)
}

/// 128 bits in base 32 of small letters (RFC 4648), the last one of 3 bits.
fn word(random: [u8; 16]) -> Arc<str> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = u128::from_be_bytes(random);
    let letter = |index: usize| {
        let shift = 128_i32 - 5 * (i32::try_from(index).unwrap_or(0) + 1);
        let five = if shift >= 0 {
            bits >> shift
        } else {
            bits << -shift
        };
        let index = usize::try_from(five & 31).unwrap_or(0);
        char::from(ALPHABET[index])
    };
    (0..CHARACTERS).map(letter).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: TopicTokenSettings = TopicTokenSettings {
        rotation: Some(Duration::from_secs(3_600)),
        overlap: Duration::from_secs(60),
        generation: 0,
    };

    #[test]
    fn a_token_is_all_128_bits_in_26_letters_a4() {
        assert_eq!(&*word([0; 16]), "aaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(&*word([0xFF; 16]), "77777777777777777777777774");
        let tokens: std::collections::HashSet<_> = (0..128)
            .map(|bit| word((1_u128 << bit).to_be_bytes()))
            .collect();
        assert_eq!(tokens.len(), 128);
    }

    #[test]
    fn a_token_is_renewed_in_time_and_the_old_one_holds_a_while_longer_a24() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut tokens = TopicTokens::draw(&SETTINGS, [1; 16], begin);
        let first = Arc::clone(tokens.current());
        assert_eq!(tokens.turn(&SETTINGS, at(3_599), || [2; 16]), Turned::No);
        assert_eq!(tokens.due(&SETTINGS), Some(at(3_600)));
        assert_eq!(
            tokens.turn(&SETTINGS, at(3_600), || [2; 16]),
            Turned::Renewed
        );
        let second = Arc::clone(tokens.current());
        assert_ne!(first, second);
        assert_eq!(*tokens.names(), [Arc::clone(&second), first]);
        assert_eq!(tokens.due(&SETTINGS), Some(at(3_660)));
        assert_eq!(tokens.turn(&SETTINGS, at(3_660), || [3; 16]), Turned::Ended);
        assert_eq!(*tokens.names(), [second]);
    }

    #[test]
    fn another_generation_is_another_token_and_without_an_overlap_the_old_one_is_over() {
        let begin = Instant::now();
        let mut settings = TopicTokenSettings {
            rotation: None,
            overlap: Duration::ZERO,
            generation: 1,
        };
        let mut tokens = TopicTokens::draw(&settings, [1; 16], begin);
        assert_eq!(tokens.due(&settings), None);
        assert_eq!(tokens.turn(&settings, begin, || [2; 16]), Turned::No);
        settings.generation = 2;
        assert_eq!(tokens.turn(&settings, begin, || [2; 16]), Turned::Renewed);
        assert_eq!(*tokens.names(), [word([2; 16])]);
    }
}
