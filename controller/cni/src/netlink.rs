//! Interfaces, addresses and routes of one network namespace, over rtnetlink.
//!
//! The only user of the rtnetlink crate: blocking calls around one tiny runtime.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use net::MacAddr;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Error, Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

/// A netlink socket in the namespace of the thread that opened it.
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Ethernet address.
    pub mac: MacAddr,
    /// Bytes of L3 payload.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// What [`Netlink::configure`] wrote on it.
    pub alias: String,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// As the system says.
    pub fn open() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        drop(guard);
        runtime.spawn(connection);
        Ok(Netlink { runtime, handle })
    }

    /// Finds an interface by name.
    ///
    /// # Errors
    /// As the kernel says; that there is none is no error.
    pub fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match self.runtime.block_on(found.try_next()) {
            Ok(message) => Ok(message.as_ref().map(link)),
            Err(e) => match to_io(e) {
                e if e.raw_os_error() == Some(ENODEV) => Ok(None),
                e => Err(e),
            },
        }
    }

    /// Makes a veth pair.
    ///
    /// # Errors
    /// As the kernel says, `AlreadyExists` included.
    pub fn add_veth(&self, name: &str, peer: &str) -> io::Result<()> {
        let request = self.handle.link().add(LinkVeth::new(name, peer).build());
        self.runtime.block_on(request.execute()).map_err(to_io)
    }

    /// Removes an interface; false if there was none.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let Some(link) = self.link(name)? else {
            return Ok(false);
        };
        let request = self.handle.link().del(link.index).execute();
        self.runtime.block_on(request).map_err(to_io)?;
        Ok(true)
    }

    /// Moves an interface into another namespace and gives it its name there, in one step, so that
    /// it meets no interface of its old name.
    ///
    /// # Errors
    /// As the kernel says; `AlreadyExists` if the other namespace has that name.
    pub fn send_away(&self, index: u32, netns: BorrowedFd, name: &str) -> io::Result<()> {
        self.change(
            LinkUnspec::new_with_index(index)
                .setns_by_fd(netns.as_raw_fd())
                .name(name)
                .build(),
        )
    }

    /// Sets address, alias and MTU of an interface, and its state to up.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn configure(&self, index: u32, mac: MacAddr, mtu: u32, alias: &str) -> io::Result<()> {
        self.change(
            LinkUnspec::new_with_index(index)
                .address(mac.0.to_vec())
                .mtu(mtu)
                .alias(alias)
                .build(),
        )?;
        self.up(index)
    }

    /// Sets the MTU of an interface.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).mtu(mtu).build())
    }

    /// Sets the state of an interface to up.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn up(&self, index: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).up().build())
    }

    /// Gives an interface an address; one that is there already is no error. No duplicate address
    /// detection: the controller hands out each address once.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn add_address(&self, index: u32, address: IpNet) -> io::Result<()> {
        let mut request = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len())
            .replace();
        if address.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
        self.runtime.block_on(request.execute()).map_err(to_io)
    }

    /// Addresses of an interface.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn addresses(&self, index: u32) -> io::Result<Vec<IpNet>> {
        let request = self.handle.address().get();
        let request = request.set_link_index_filter(index);
        let messages: Vec<_> = self
            .runtime
            .block_on(request.execute().try_collect())
            .map_err(to_io)?;
        let address = |message: &rtnetlink::packet_route::address::AddressMessage| {
            message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => IpNet::new(*ip, message.header.prefix_len).ok(),
                _ => None,
            })
        };
        Ok(messages.iter().filter_map(address).collect())
    }

    /// Sets a route through a gateway, replacing the one to that destination. `onlink`: the gateway
    /// is a neighbour although no address of the interface shares its prefix.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_route(
        &self,
        index: u32,
        destination: IpNet,
        gateway: IpAddr,
        onlink: bool,
    ) -> io::Result<()> {
        let message = route(index, destination, gateway, onlink)?;
        let request = self.handle.route().add(message).replace();
        self.runtime.block_on(request.execute()).map_err(to_io)
    }

    fn change(&self, message: LinkMessage) -> io::Result<()> {
        let request = self.handle.link().change(message);
        self.runtime.block_on(request.execute()).map_err(to_io)
    }
}

fn route(index: u32, to: IpNet, gateway: IpAddr, onlink: bool) -> io::Result<RouteMessage> {
    let odd = |e| io::Error::new(io::ErrorKind::InvalidInput, format!("route to {to}: {e}"));
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .and_then(|b| b.gateway(gateway))
        .map_err(|e| odd(e.to_string()))?
        .output_interface(index);
    Ok(if onlink { builder.onlink() } else { builder }.build())
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        mac: MacAddr::ZERO,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        alias: String::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().map_or(MacAddr::ZERO, MacAddr);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            _ => {}
        }
    }
    link
}

const ENODEV: i32 = 19;

fn to_io(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
