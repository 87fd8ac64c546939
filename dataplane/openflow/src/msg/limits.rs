//! Our own messages about what connections and ports are held to. A controller sends what is to
//! hold and can ask for what holds; each message says only what it names.

use net::PortNo;

/// How many connections a zone of the tracker may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: u16,
    /// Most connections, 0: any number; none: the zone is nobody's any more. Connections that are
    /// there stay when the limit becomes smaller, and TCP connections whose beginning was not seen
    /// are counted and taken in whatever it is: they were there before it.
    pub limit: Option<u32>,
    /// Whose zone it is, a number of the controller's. When that changes, or the zone becomes
    /// nobody's, its connections are forgotten.
    pub owner: u64,
}

/// What a port does to what it sends, as a bad line would. All zero: nothing. Holds for the port's
/// number, whether or not there is such a port at the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// The port.
    pub port: PortNo,
    /// Microseconds for which each packet is held back.
    pub delay_us: u32,
    /// Microseconds that it may be more or less, each as likely.
    pub jitter_us: u32,
    /// Of a million packets, so many are lost, at random.
    pub loss_ppm: u32,
    /// Most packets that are held back at a time; 0: [`Impairment::LIMIT`].
    pub limit: u32,
}

impl Impairment {
    /// Packets held back at a time where nothing is said.
    pub const LIMIT: u32 = 1000;
    /// Most packets that can be held back at a time.
    pub const LIMIT_MAX: u32 = 65_536;
    /// Longest delay with its jitter, microseconds: a minute.
    pub const DELAY_MAX_US: u32 = 60_000_000;
    /// All packets, as [`Impairment::loss_ppm`].
    pub const ALL_PPM: u32 = 1_000_000;

    /// False where it asks for what cannot be.
    pub fn is_possible(&self) -> bool {
        let longest = self.delay_us.saturating_add(self.jitter_us);
        longest <= Self::DELAY_MAX_US
            && self.loss_ppm <= Self::ALL_PPM
            && self.limit <= Self::LIMIT_MAX
    }

    /// True if packets are to leave as if nothing was said.
    pub fn is_none(&self) -> bool {
        (self.delay_us, self.jitter_us, self.loss_ppm) == (0, 0, 0)
    }
}
