//! Lists of addresses and networks that may, or may not, connect at all.

use std::net::IpAddr;
use std::str::FromStr;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong and what was expected.
    pub message: String,
}

/// First and last address.
type Range = (u128, u128);

/// Addresses as ranges that do not touch, so that one is found by halving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    v4: Vec<Range>,
    v6: Vec<Range>,
}

impl AddressList {
    /// Reads lines of addresses (`192.0.2.7`, `2001:db8::1`) and networks (`192.0.2.0/24`); `#` begins
    /// a comment.
    ///
    /// # Errors
    /// Every line that is neither.
    pub fn parse(text: &str) -> Result<Self, Vec<AddressError>> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut errors = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let word = content.split('#').next().unwrap_or_default().trim();
            if word.is_empty() {
                continue;
            }
            match network(word) {
                Ok((true, range)) => v4.push(range),
                Ok((false, range)) => v6.push(range),
                Err(message) => errors.push(AddressError { line, message }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            v4: merged(v4),
            v6: merged(v6),
        })
    }

    /// Whether the address is one of these. IPv4 written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, number) = match address.to_canonical() {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.v6, address.to_bits()),
        };
        let after = ranges.partition_point(|&(first, _)| first <= number);
        after
            .checked_sub(1)
            .and_then(|index| ranges.get(index))
            .is_some_and(|&(_, last)| number <= last)
    }
}

/// `ADDRESS` or `ADDRESS/BITS`: whether it is IPv4, and its range.
fn network(word: &str) -> Result<(bool, Range), String> {
    let (address, bits) = match word.split_once('/') {
        None => (word, None),
        Some((address, bits)) => (address, Some(bits)),
    };
    let address = IpAddr::from_str(address)
        .map_err(|_| format!("{address:?} is no address; write for example 192.0.2.0/24"))?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = match bits {
        None => most,
        Some(text) => text
            .parse()
            .ok()
            .filter(|&bits| bits <= most && !text.starts_with('+'))
            .ok_or_else(|| format!("the network has 0 to {most} bits, not {text:?}"))?,
    };
    // As many bits as are free at the end.
    let free = u32::from(most - length);
    let mask = 1_u128.checked_shl(free).map_or(u128::MAX, |one| one - 1);
    let first = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    if first & mask != 0 {
        return Err(format!(
            "{word} has bits behind its network; write {}/{length}",
            shown(first & !mask, address.is_ipv4())
        ));
    }
    Ok((address.is_ipv4(), (first, first | mask)))
}

fn shown(number: u128, is_ipv4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if is_ipv4 => IpAddr::V4(number.into()),
        _ => IpAddr::V6(number.into()),
    }
}

fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> AddressList {
        AddressList::parse(text).expect("valid")
    }

    fn holds(list: &AddressList, address: &str) -> bool {
        list.contains(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_and_networks_of_both_families_are_found() {
        let list = list("# inside\n192.0.2.0/24\n198.51.100.7 # one\n\n2001:db8::/32\n::1\n");
        for address in [
            "192.0.2.0",
            "192.0.2.255",
            "198.51.100.7",
            "2001:db8:ffff::1",
            "::1",
        ] {
            assert!(holds(&list, address), "{address}");
        }
        for address in [
            "192.0.1.255",
            "192.0.3.0",
            "198.51.100.8",
            "2001:db9::",
            "::2",
            "0.0.0.1",
        ] {
            assert!(!holds(&list, address), "{address}");
        }
        assert!(holds(&list, "::ffff:192.0.2.9"), "IPv4 written as IPv6");
        assert!(!holds(&AddressList::default(), "192.0.2.1"));
    }

    #[test]
    fn a_network_of_no_bits_is_all_of_its_family_and_nothing_else() {
        assert!(holds(&list("0.0.0.0/0"), "255.255.255.255"));
        assert!(!holds(&list("0.0.0.0/0"), "2001:db8::1"));
        assert!(holds(&list("::/0"), "2001:db8::1"));
        assert!(!holds(&list("::/0"), "192.0.2.1"));
    }

    #[test]
    fn every_wrong_line_is_told() {
        let errors =
            AddressList::parse("192.0.2.1/24\nhost\n10.0.0.0/33\n10.0.0.0/+8\n10.0.0.0/8\n")
                .expect_err("four are wrong");
        let told: Vec<(u32, &str)> = errors
            .iter()
            .map(|error| (error.line, error.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    1,
                    "192.0.2.1/24 has bits behind its network; write 192.0.2.0/24"
                ),
                (2, "\"host\" is no address; write for example 192.0.2.0/24"),
                (3, "the network has 0 to 32 bits, not \"33\""),
                (4, "the network has 0 to 32 bits, not \"+8\""),
            ]
        );
    }

    proptest! {
        /// The slow way is to ask each network by itself.
        #[test]
        fn halving_finds_what_looking_at_each_network_finds(
            networks in proptest::collection::vec((0_u32..64, 26_u8..=32), 0..12),
            wide in proptest::collection::vec((0_u128..64, 122_u8..=128), 0..12),
            asked in 0_u32..70,
        ) {
            let v4 = |number: u32| Ipv4Addr::from(number);
            let mut text = String::new();
            let masked = |number: u128, free: u8| number >> free << free;
            for (number, bits) in &networks {
                let first = masked(u128::from(*number), 32 - bits);
                text.push_str(&format!("{}/{bits}\n", v4(u32::try_from(first).unwrap())));
            }
            for (number, bits) in &wide {
                let first = masked(*number, 128 - bits);
                text.push_str(&format!("{}/{bits}\n", Ipv6Addr::from(first)));
            }
            let list = list(&text);
            let slow = networks.iter().any(|(number, bits)| {
                masked(u128::from(*number), 32 - bits) == masked(u128::from(asked), 32 - bits)
            });
            prop_assert_eq!(list.contains(v4(asked).into()), slow);
            let asked = u128::from(asked);
            let slow = wide.iter().any(|(number, bits)| {
                masked(*number, 128 - bits) == masked(asked, 128 - bits)
            });
            prop_assert_eq!(list.contains(Ipv6Addr::from(asked).into()), slow);
        }
    }
}
