//! A rule as it was written, whatever the version of its file.

use std::sync::Arc;

use crate::policy::AddressList;

use super::level::Levels;

/// What a rule grants or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    ReadWrite,
    /// To subscribe, and to be sent nothing for it: version 2.
    Subscribe,
    Deny,
    /// Version 2.
    ReadDeny,
    /// Version 2.
    WriteDeny,
}

/// What is asked of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To publish with this QoS.
    Write(u8),
    /// To be sent messages with this QoS.
    Read(u8),
    /// To subscribe with this QoS, whether or not anything may be sent.
    Subscribe(u8),
}

impl Wanted {
    pub(crate) fn qos(self) -> u8 {
        match self {
            Self::Write(qos) | Self::Read(qos) | Self::Subscribe(qos) => qos,
        }
    }
}

impl Access {
    /// Its word in a file.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
            Self::Subscribe => "subscribe",
            Self::Deny => "deny",
            Self::ReadDeny => "readdeny",
            Self::WriteDeny => "writedeny",
        }
    }

    pub(crate) fn is_deny(self) -> bool {
        matches!(self, Self::Deny | Self::ReadDeny | Self::WriteDeny)
    }

    pub(crate) fn denies(self, wanted: Wanted) -> bool {
        match self {
            Self::Deny => true,
            // Who subscribes without a right to read has each delivery judged.
            Self::ReadDeny => matches!(wanted, Wanted::Read(_)),
            Self::WriteDeny => matches!(wanted, Wanted::Write(_)),
            _ => false,
        }
    }

    /// Whether it grants what is wanted, the QoS aside.
    pub(crate) fn grants(self, wanted: Wanted) -> bool {
        matches!(
            (self, wanted),
            (Self::ReadWrite, _)
                | (Self::Write, Wanted::Write(_))
                | (Self::Read, Wanted::Read(_) | Wanted::Subscribe(_))
                | (Self::Subscribe, Wanted::Subscribe(_))
        )
    }
}

/// Where a rule stands: the file, as a number, and the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index into the names of the files.
    pub(crate) file: u16,
    /// Line, from 1.
    pub(crate) line: u32,
}

/// One line that grants or denies.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// As it was written.
    pub(crate) filter: Box<str>,
    pub(crate) levels: Levels,
    pub(crate) access: Access,
    /// Grants no more than this QoS: 2 where nothing was said.
    pub(crate) max_qos: u8,
    /// Holds for clients from these addresses alone.
    pub(crate) addresses: Option<Arc<AddressList>>,
    pub(crate) place: Place,
}
