//! Who holds which address and which MAC at this moment; rebuilt from the state for each round.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::MacAddr;

use super::pool::Holders;
use crate::addr::{Family, bits};
use crate::name::NamespacedName;
use crate::state::Allocation;

#[derive(Default)]
pub(crate) struct Ledger {
    addresses: BTreeMap<(String, Family), Holders>,
    macs: BTreeMap<(String, MacAddr), NamespacedName>,
    /// Pools found full in this round. Addresses are only ever taken while these are consulted.
    full: BTreeSet<(String, Family)>,
}

impl Ledger {
    /// Books an allocation. If somebody else holds a part of it, nothing is booked and the holder
    /// is returned.
    pub(crate) fn take(
        &mut self,
        segment: &str,
        allocation: &Allocation,
        pod: &NamespacedName,
    ) -> Result<(), NamespacedName> {
        let mac_key = (segment.to_string(), allocation.mac);
        let by_address = allocation
            .addresses()
            .find_map(|address| self.holder(&allocation.subnet, address));
        if let Some(other) = by_address.or(self.macs.get(&mac_key)) {
            return Err(other.clone());
        }
        for address in allocation.addresses() {
            let key = (allocation.subnet.clone(), Family::of(address));
            let holders = self.addresses.entry(key).or_default();
            holders.insert(bits(address), pod.clone());
        }
        self.macs.insert(mac_key, pod.clone());
        Ok(())
    }

    /// Takes an allocation out of the books.
    pub(crate) fn give_back(&mut self, segment: &str, allocation: &Allocation) {
        for address in allocation.addresses() {
            let key = (allocation.subnet.clone(), Family::of(address));
            if let Some(holders) = self.addresses.get_mut(&key) {
                holders.remove(&bits(address));
            }
            self.full.remove(&key);
        }
        self.macs.remove(&(segment.to_string(), allocation.mac));
    }

    /// Who holds an address.
    pub(crate) fn holder(&self, subnet: &str, address: IpAddr) -> Option<&NamespacedName> {
        self.holders(subnet, Family::of(address))?
            .get(&bits(address))
    }

    /// Who holds what of one family of a subnet; `None` if nobody holds anything.
    pub(crate) fn holders(&self, subnet: &str, family: Family) -> Option<&Holders> {
        self.addresses.get(&(subnet.to_string(), family))
    }

    /// Who holds a MAC.
    pub(crate) fn mac_holder(&self, segment: &str, mac: MacAddr) -> Option<&NamespacedName> {
        self.macs.get(&(segment.to_string(), mac))
    }

    pub(crate) fn mark_full(&mut self, subnet: &str, family: Family) {
        self.full.insert((subnet.to_string(), family));
    }

    pub(crate) fn is_full(&self, subnet: &str, family: Family) -> bool {
        self.full.contains(&(subnet.to_string(), family))
    }
}
