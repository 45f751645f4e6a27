//! Connections by address: how many at once, and how many a second. Judged before a byte is read.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::DenyReason;
use super::limits::{Rate, TokenBucket};

/// Addresses remembered at most. A table of this size is some megabytes.
const MAX_ADDRESSES: usize = 65_536;

/// The address that limits count by: IPv6 by its /64, because one host has all of it; an IPv4
/// address written as IPv6 as itself.
pub fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Limits for each address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// `max_connections_per_ip`.
    pub connections: Option<usize>,
    /// `connect_rate_per_ip`.
    pub rate: Option<Rate>,
}

#[derive(Debug)]
struct Entry {
    connections: usize,
    bucket: Option<TokenBucket>,
}

#[derive(Debug, Default)]
struct Inner {
    settings: AdmissionSettings,
    addresses: HashMap<IpAddr, Entry>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    inner: Arc<Mutex<Inner>>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct AddressPermit {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    /// With these limits.
    pub fn new(settings: AdmissionSettings) -> Self {
        let admission = Self::default();
        admission.set(settings);
        admission
    }

    /// Replaces the limits; what is counted stays.
    pub fn set(&self, settings: AdmissionSettings) {
        let mut inner = self.inner.lock();
        inner.settings = settings;
        for entry in inner.addresses.values_mut() {
            entry.bucket = settings.rate.map(TokenBucket::new);
        }
    }

    /// Lets a connection from `address` in, or says why not.
    ///
    /// # Errors
    /// The address has too many connections, or too many a second; or too many addresses are
    /// connected to remember another.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<AddressPermit, DenyReason> {
        let address = counted_address(address);
        let mut inner = self.inner.lock();
        let settings = inner.settings;
        if inner.addresses.len() >= MAX_ADDRESSES && !inner.addresses.contains_key(&address) {
            inner.addresses.retain(|_, entry| {
                entry.connections > 0 || entry.bucket.is_some_and(|bucket| !bucket.is_full(now))
            });
            if inner.addresses.len() >= MAX_ADDRESSES {
                return Err(DenyReason::MaxConnections);
            }
        }
        let entry = inner.addresses.entry(address).or_insert_with(|| Entry {
            connections: 0,
            bucket: settings.rate.map(TokenBucket::new),
        });
        if settings
            .connections
            .is_some_and(|maximum| entry.connections >= maximum)
        {
            return Err(DenyReason::ConnectionsPerAddress);
        }
        if let Some(bucket) = &mut entry.bucket {
            bucket.check(1, now).map_err(|_| DenyReason::ConnectRate)?;
            bucket.take(1, now);
        }
        entry.connections += 1;
        Ok(AddressPermit {
            admission: self.clone(),
            address,
        })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut inner = self.admission.inner.lock();
        if let Some(entry) = inner.addresses.get_mut(&self.address) {
            entry.connections = entry.connections.saturating_sub(1);
            // With a rate the entry stays until the table is full: forgetting it would refill the
            // bucket.
            if entry.connections == 0 && entry.bucket.is_none() {
                inner.addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn connections_of_one_address_are_counted_and_given_back() {
        let admission = Admission::new(AdmissionSettings {
            connections: Some(2),
            rate: None,
        });
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        let first = admission.admit(address, now).expect("first");
        let _second = admission.admit(address, now).expect("second");
        assert_eq!(
            admission.admit(address, now).err(),
            Some(DenyReason::ConnectionsPerAddress)
        );
        assert!(
            admission
                .admit("192.0.2.2".parse().expect("address"), now)
                .is_ok()
        );
        drop(first);
        assert!(admission.admit(address, now).is_ok());
    }

    #[test]
    fn all_of_a_slash_64_counts_as_one_address() {
        let admission = Admission::new(AdmissionSettings {
            connections: Some(1),
            rate: None,
        });
        let now = Instant::now();
        let _held = admission
            .admit("2001:db8::1".parse().expect("address"), now)
            .expect("first");
        assert!(
            admission
                .admit("2001:db8::2".parse().expect("address"), now)
                .is_err()
        );
        assert!(
            admission
                .admit("2001:db8:0:1::2".parse().expect("address"), now)
                .is_ok()
        );
    }

    #[test]
    fn connecting_too_often_is_refused_until_the_rate_allows_it() {
        let admission = Admission::new(AdmissionSettings {
            connections: None,
            rate: Some(Rate {
                per_second: 1,
                burst: 2,
            }),
        });
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        assert!(admission.admit(address, now).is_ok());
        assert!(admission.admit(address, now).is_ok());
        assert_eq!(
            admission.admit(address, now).err(),
            Some(DenyReason::ConnectRate)
        );
        assert!(
            admission
                .admit(address, now + Duration::from_secs(2))
                .is_ok()
        );
    }
}
