//! Geneve options as fields of the flow key: which option is which field, read and written.
//!
//! Open vSwitch's `tun_metadata` fields have no place of their own on the wire: a controller says which
//! class and type of option each stands for (ovs-fields(7), "Tunnel Options").

use crate::FlowKey;
use crate::tunnel::TunnelFault;

/// How many fields there are: `tun_metadata0` and so on.
pub const FIELDS: usize = 8;
/// Longest value of an option that can be a field, in bytes.
pub const VALUE_BYTES: u8 = 8;
/// Most bytes that options take on the wire: all fields, each with its header.
pub const MAX_BYTES: usize = FIELDS * (HEADER + VALUE_BYTES as usize);
/// Bytes in front of an option's value.
const HEADER: usize = 4;
/// Bit of an option's type: who does not know it must drop the packet (RFC 8926 3.5).
pub(crate) const CRITICAL: u8 = 0x80;

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GeneveOption {
    /// Class: whose option it is.
    pub class: u16,
    /// Type.
    pub kind: u8,
    /// Bytes of its value: a multiple of 4, at most [`VALUE_BYTES`].
    pub len: u8,
}

/// Which option each field is.
pub type OptionMap = [Option<GeneveOption>; FIELDS];

/// Values of the fields that a packet has, each at the low end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// By field; zero where there is none.
    pub values: [u64; FIELDS],
    /// A bit for each field that is there.
    pub present: u8,
}

impl Options {
    /// Reads the options of a Geneve header. Those that are no field are passed over.
    ///
    /// # Errors
    /// The options are malformed, of another length than the field they are, or critical and no
    /// field: the packet is to be dropped.
    pub fn read(map: &OptionMap, mut bytes: &[u8]) -> Result<Self, TunnelFault> {
        let mut options = Options::default();
        while let Some((&[a, b, kind, units], rest)) = bytes.split_first_chunk::<HEADER>() {
            let len = usize::from(units & 0x1f) * 4;
            let (value, rest) = rest.split_at_checked(len).ok_or(TunnelFault::Malformed)?;
            bytes = rest;
            let class = u16::from_be_bytes([a, b]);
            let is_this = |o: &GeneveOption| (o.class, o.kind) == (class, kind);
            let found = map.iter().position(|o| o.as_ref().is_some_and(is_this));
            let Some(at) = found else {
                match kind & CRITICAL {
                    0 => continue,
                    _ => return Err(TunnelFault::CriticalOption),
                }
            };
            let expected = map.get(at).copied().flatten().map_or(0, |o| o.len);
            if usize::from(expected) != len {
                return Err(TunnelFault::Malformed);
            }
            if let Some(place) = options.values.get_mut(at) {
                *place = value
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                options.present |= 1 << at;
            }
        }
        match bytes {
            [] => Ok(options),
            _ => Err(TunnelFault::Malformed),
        }
    }

    /// Writes the options that are fields into `out` and says how many bytes they are.
    pub fn write(&self, map: &OptionMap, out: &mut [u8; MAX_BYTES]) -> usize {
        let mut len = 0;
        for (at, option) in map.iter().enumerate() {
            let (Some(option), Some(value)) = (option, self.values.get(at)) else {
                continue;
            };
            if self.present & 1 << at == 0 {
                continue;
            }
            let [a, b] = option.class.to_be_bytes();
            let value = value.to_be_bytes();
            let skip = value.len().saturating_sub(option.len.into());
            let value = value.get(skip..).unwrap_or_default();
            let place = out.get_mut(len..len + HEADER + value.len());
            let Some((header, rest)) = place.and_then(|p| p.split_first_chunk_mut()) else {
                break;
            };
            *header = [a, b, option.kind, option.len / 4];
            rest.copy_from_slice(value);
            len += HEADER + value.len();
        }
        len
    }

    /// The options that a flow key has.
    pub fn of(key: &FlowKey) -> Self {
        Options {
            values: key.tun_metadata.map(|value| value.get()),
            present: key.tun_present,
        }
    }

    /// Writes them into a flow key.
    pub fn apply(&self, key: &mut FlowKey) {
        key.tun_metadata = self.values.map(Into::into);
        key.tun_present = self.present;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVN: GeneveOption = GeneveOption {
        class: 0x0102,
        kind: 0x80,
        len: 4,
    };

    fn map() -> OptionMap {
        let mut map = OptionMap::default();
        map[0] = Some(OVN);
        map[7] = Some(GeneveOption {
            class: 0xffff,
            kind: 1,
            len: 8,
        });
        map
    }

    #[test]
    fn what_is_written_is_read() {
        let mut options = Options::default();
        (options.values[0], options.values[7]) = (0x0001_8003, 0x1122_3344_5566_7788);
        let mut out = [0; MAX_BYTES];
        for present in [0, 1, 0x80, 0x81] {
            options.present = present;
            let len = options.write(&map(), &mut out);
            let mut expected = options;
            for (at, value) in expected.values.iter_mut().enumerate() {
                *value *= u64::from(present >> at & 1);
            }
            assert_eq!(Options::read(&map(), &out[..len]), Ok(expected));
        }
        assert_eq!(out[..8], [0x01, 0x02, 0x80, 1, 0, 1, 0x80, 3]);
    }

    #[test]
    fn options_of_others_pass_unless_they_are_critical() {
        let foreign = |kind| [9, 9, kind, 2, 1, 2, 3, 4, 5, 6, 7, 8];
        let ours = [0x01, 0x02, 0x80, 1, 0, 0, 0, 5];
        let both = [&foreign(1)[..], &ours].concat();
        assert_eq!(Options::read(&map(), &both).unwrap().values[0], 5);
        let critical = Err(TunnelFault::CriticalOption);
        assert_eq!(Options::read(&map(), &foreign(0x81)), critical);
        assert_eq!(Options::read(&OptionMap::default(), &ours), critical);
        let malformed = Err(TunnelFault::Malformed);
        assert_eq!(Options::read(&map(), &[1, 2, 0x80, 0]), malformed);
        assert_eq!(Options::read(&map(), &ours[..6]), malformed);
        assert_eq!(Options::read(&map(), &both[..19]), malformed);
    }
}
