//! Who holds which address and which MAC at this moment: an index over the state, rebuilt when a
//! subnet moves to another segment, and kept up to date otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use net::MacAddr;

use super::book::Book;
use super::owner::Owner;
use crate::addr::{Family, bits};
use crate::map::Map;
use crate::state::Allocation;

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    block_bits: u8,
    /// The Ethernet segment that each subnet is on; one that is not in force has its own.
    segments: Arc<BTreeMap<String, String>>,
    books: Map<(String, Family), Book>,
    macs: Map<(String, MacAddr), Owner>,
    /// What was found full in this round: subnet, family, IPPool or nothing. Addresses are only
    /// ever taken while these are consulted.
    full: BTreeSet<(String, Family, String)>,
}

impl Ledger {
    pub(crate) fn new(segments: BTreeMap<String, String>, block_bits: u8) -> Self {
        Ledger {
            block_bits,
            segments: Arc::new(segments),
            ..Ledger::default()
        }
    }

    pub(crate) fn is_of(&self, segments: &BTreeMap<String, String>, block_bits: u8) -> bool {
        *self.segments == *segments && self.block_bits == block_bits
    }

    fn segment(&self, subnet: &str) -> String {
        match self.segments.get(subnet) {
            Some(segment) => segment.clone(),
            None => format!("subnet {subnet}"),
        }
    }

    /// Books an allocation. If somebody else holds a part of it, nothing is booked and the holder
    /// is returned.
    pub(crate) fn take(&mut self, allocation: &Allocation, owner: &Owner) -> Result<(), Owner> {
        let mac_key = (self.segment(&allocation.subnet), allocation.mac);
        let by_address = allocation
            .addresses()
            .find_map(|address| self.holder(&allocation.subnet, address));
        if let Some(other) = by_address.or(self.macs.get(&mac_key)) {
            return Err(other.clone());
        }
        for address in allocation.addresses() {
            let key = (allocation.subnet.clone(), Family::of(address));
            if !self.books.contains_key(&key) {
                self.books.insert(key.clone(), Book::new(self.block_bits));
            }
            if let Some(book) = self.books.get_mut(&key) {
                book.take(bits(address), owner.clone(), allocation.node.as_deref());
            }
        }
        self.macs.insert(mac_key, owner.clone());
        Ok(())
    }

    /// Takes an allocation out of the books.
    pub(crate) fn give_back(&mut self, allocation: &Allocation) {
        for address in allocation.addresses() {
            let family = Family::of(address);
            let key = (allocation.subnet.clone(), family);
            if let Some(book) = self.books.get_mut(&key) {
                book.give_back(bits(address), allocation.node.as_deref());
            }
            self.full
                .retain(|(subnet, of, _)| *subnet != allocation.subnet || *of != family);
        }
        let segment = self.segment(&allocation.subnet);
        self.macs.remove(&(segment, allocation.mac));
    }

    /// Remembers that an address was given unasked.
    pub(crate) fn note(&mut self, subnet: &str, address: IpAddr) {
        let key = (subnet.to_string(), Family::of(address));
        if let Some(book) = self.books.get_mut(&key) {
            book.note(bits(address));
        }
    }

    /// Who holds an address.
    pub(crate) fn holder(&self, subnet: &str, address: IpAddr) -> Option<&Owner> {
        self.book(subnet, Family::of(address))?
            .holder(bits(address))
    }

    /// Who holds what of one family of a subnet; `None` if nobody holds anything.
    pub(crate) fn book(&self, subnet: &str, family: Family) -> Option<&Book> {
        self.books.get(&(subnet.to_string(), family))
    }

    /// Who holds a MAC on the segment of a subnet.
    pub(crate) fn mac_holder(&self, subnet: &str, mac: MacAddr) -> Option<&Owner> {
        self.macs.get(&(self.segment(subnet), mac))
    }

    /// A new round begins: what was full may not be.
    pub(crate) fn forget_what_was_full(&mut self) {
        self.full.clear();
    }

    pub(crate) fn mark_full(&mut self, subnet: &str, family: Family, pool: &str) {
        let key = (subnet.to_string(), family, pool.to_string());
        self.full.insert(key);
    }

    pub(crate) fn is_full(&self, subnet: &str, family: Family, pool: &str) -> bool {
        let key = (subnet.to_string(), family, pool.to_string());
        self.full.contains(&key)
    }

    pub(crate) fn empty_book(&self) -> Book {
        Book::new(self.block_bits)
    }
}
