//! What a switch without experimenters' extensions refuses.

use super::{Message, RawProperty, RequestBody};
use crate::error::{self, OfError};

impl Message {
    /// The error for a request whose properties mean nothing to this model. A codec keeps them;
    /// a switch that acted without them would do something else than it was asked to (OpenFlow
    /// 1.5.1, 7.5.4.15).
    pub fn unsupported(&self) -> Result<(), OfError> {
        match self {
            Message::PortMod(m) => known(&m.properties),
            Message::TableMod(m) => known(&m.properties),
            Message::SetAsync(m) => known(&m.properties),
            Message::GroupMod(m) => {
                known(&m.properties)?;
                m.buckets.iter().try_for_each(|b| known(&b.properties))
            }
            Message::BundleControl(m) => known(&m.properties),
            Message::BundleAdd(m) => known(&m.properties).and_then(|()| m.message.unsupported()),
            Message::MultipartRequest(m) => match &m.body {
                RequestBody::TableFeatures(tables) => {
                    tables.iter().try_for_each(|t| known(&t.properties))
                }
                RequestBody::BundleFeatures(m) => known(&m.properties),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn known(properties: &[RawProperty]) -> Result<(), OfError> {
    match properties.first() {
        None => Ok(()),
        Some(property) if property.experimenter().is_some() => Err(error::OFPBPC_BAD_EXPERIMENTER),
        Some(_) => Err(error::OFPBPC_BAD_TYPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::TableMod;

    #[test]
    fn a_request_with_a_property_of_a_stranger_is_refused() {
        let with = |kind: u16, data: &[u8]| {
            Message::TableMod(TableMod {
                properties: vec![RawProperty {
                    kind,
                    data: data.to_vec(),
                }],
                ..TableMod::default()
            })
        };
        let own = Message::TableMod(TableMod::default());
        assert_eq!(own.unsupported(), Ok(()));
        let stranger = with(RawProperty::EXPERIMENTER, &[0, 0, 0, 101, 0, 0, 0, 1]);
        let error = Err(error::OFPBPC_BAD_EXPERIMENTER);
        assert_eq!(stranger.unsupported(), error);
        assert_eq!(with(1, &[0; 20]).unsupported(), Err(error::OFPBPC_BAD_TYPE));
    }
}
