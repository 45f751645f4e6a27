//! What can be wrong with a file, and where.

use std::fmt;

use crate::codec::MalformedKind;
use crate::topic::TopicError;

/// A kind of chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// 1: about the file.
    Config,
    /// 2: a message.
    BaseMessage,
    /// 3: a message on its way.
    ClientMessage,
    /// 4: that a message is retained.
    Retained,
    /// 5: a subscription.
    Subscription,
    /// 6: a session.
    Client,
}

impl Chunk {
    pub(super) fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Config,
            2 => Self::BaseMessage,
            3 => Self::ClientMessage,
            4 => Self::Retained,
            5 => Self::Subscription,
            6 => Self::Client,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Config => "configuration",
            Self::BaseMessage => "message",
            Self::ClientMessage => "message of a client",
            Self::Retained => "retained message",
            Self::Subscription => "subscription",
            Self::Client => "client",
        }
    }
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// It begins with something else.
    #[error("expected the magic of a mosquitto.db: this is not mosquitto's persistence file")]
    Magic,
    /// A format nobody needs any more.
    #[error(
        "expected format 4, 5 or 6, found {0}, which is older: start mosquitto 1.6 or later with it once, and it \
         is written anew"
    )]
    Older(u32),
    /// A format of the future.
    #[error("expected format 4, 5 or 6, found {0}: it was written by a newer mosquitto")]
    Newer(u32),
    /// A kind of chunk of the future, or damage before it.
    #[error(
        "expected a chunk of kind 1 to 6, found {0}: the file is damaged or of a newer mosquitto"
    )]
    Kind(u32),
    /// The file or the chunk is over too early.
    #[error("expected {wanted} more bytes, and there are {left}")]
    Short {
        /// How many it should be.
        wanted: usize,
        /// How many there are.
        left: usize,
    },
    /// The chunk goes on.
    #[error("expected the end of the chunk, and {0} bytes are left in it")]
    Surplus(usize),
    /// The configuration is not where it must be.
    #[error("expected one configuration chunk, and that the first")]
    Config,
    /// The configuration is as long as nowhere.
    #[error(
        "expected a configuration chunk of 10 bytes in format 4, of 12 or 16 in later ones, found {0}"
    )]
    ConfigLength(usize),
    /// Numbers of messages are not eight bytes long.
    #[error("expected numbers of messages of 8 bytes, found {0}")]
    IdSize(u8),
    /// A byte that is neither 0 nor 1.
    #[error("expected 0 or 1 for {field}, found {found}")]
    Flag {
        /// Which.
        field: &'static str,
        /// Its value.
        found: u8,
    },
    /// QoS 3 or more.
    #[error("expected a QoS of 0, 1 or 2, found {0}")]
    QoS(u8),
    /// A state that a message cannot be in.
    #[error("expected a state that an {direction} message can be in, found {state}")]
    State {
        /// `incoming` or `outgoing`.
        direction: &'static str,
        /// The state.
        state: u8,
    },
    /// It was sent or received, and without a Packet Identifier.
    #[error(
        "expected a Packet Identifier of a message of QoS 1 or 2 that was sent or received, found 0"
    )]
    PacketId,
    /// QoS 0 or 1 where there can be QoS 2 only.
    #[error("expected QoS {expected} in state {state}, found {found}")]
    StateQoS {
        /// Which QoS that state has.
        expected: &'static str,
        /// The state.
        state: u8,
        /// The QoS.
        found: u8,
    },
    /// A text that is none.
    #[error("expected {0} in UTF-8 without NUL")]
    Text(&'static str),
    /// A name that must be there.
    #[error("expected {0}, found nothing")]
    Empty(&'static str),
    /// A Topic Name that is none.
    #[error("expected a Topic Name: {0}")]
    Topic(TopicError),
    /// A Topic Filter that is none.
    #[error("expected a Topic Filter: {0}")]
    Filter(TopicError),
    /// Options that a subscription cannot have.
    #[error("expected the options of a subscription, found {0:#04x}")]
    Options(u8),
    /// A Subscription Identifier above 268,435,455.
    #[error("expected a Subscription Identifier of at most 268435455, found {0}")]
    Identifier(u32),
    /// Properties that a PUBLISH cannot have.
    #[error("expected properties of a PUBLISH: {}", .0.label())]
    Properties(MalformedKind),
    /// A payload longer than a packet can be.
    #[error("expected a payload of at most 268435455 bytes, found {0}")]
    Payload(u32),
    /// A time that cannot be.
    #[error(
        "expected a time in seconds since 1970, found {0:#x}: the file is damaged, or of a machine with the other \
         byte order"
    )]
    Time(u64),
    /// Two messages have one number.
    #[error("expected each message once, and {0} has come before")]
    Twice(u64),
    /// A message is named that is not there.
    #[error("expected message {0} to have come before, and it has not")]
    NoMessage(u64),
}

impl Wrong {
    pub(super) fn at(self, at: usize) -> Located {
        Located { at, wrong: self }
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Located {
    at: usize,
    wrong: Wrong,
}

impl Located {
    pub(super) fn in_chunk(self, chunk: Option<Chunk>) -> Problem {
        Problem {
            at: self.at,
            chunk,
            wrong: self.wrong,
        }
    }
}

/// One thing that is wrong with a file. What it shows of the file are numbers, so it can be printed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where in the file, in bytes.
    pub(crate) at: usize,
    /// In which kind of chunk, if in one.
    pub(crate) chunk: Option<Chunk>,
    /// What is wrong.
    pub(crate) wrong: Wrong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}", self.at)?;
        if let Some(chunk) = self.chunk {
            write!(f, " ({} chunk)", chunk.name())?;
        }
        write!(f, ": {}", self.wrong)
    }
}
