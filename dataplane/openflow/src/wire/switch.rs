//! The switch itself: hello, errors, features, configuration.

use super::{Reader, Writer};
use crate::error::OfError;
use crate::msg::{ErrorMsg, Hello, SwitchConfig, SwitchFeatures};

/// OFPHET_VERSIONBITMAP.
const HELLO_VERSION_BITMAP: u16 = 1;

pub(super) fn read_hello(mut r: Reader<'_>) -> Result<Hello, OfError> {
    let mut hello = Hello::default();
    // Elements that are not known, or cut short, are passed over: a peer of a later version must
    // still find an agreement (OpenFlow 1.3.5, A.5.1).
    while r.len() >= 4 {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let Some(payload) = length.checked_sub(4).filter(|n| *n <= r.len()) else {
            break;
        };
        let mut element = r.sub(payload)?;
        if kind == HELLO_VERSION_BITMAP && payload >= 4 {
            hello.versions = Some(element.u32()?);
        }
        let padding = length.next_multiple_of(8) - length;
        r.skip(padding.min(r.len()))?;
    }
    Ok(hello)
}

pub(super) fn write_hello(w: &mut Writer<'_>, hello: &Hello) {
    if let Some(versions) = hello.versions {
        w.u16(HELLO_VERSION_BITMAP);
        w.u16(8);
        w.u32(versions);
    }
}

pub(super) fn read_error(mut r: Reader<'_>) -> Result<ErrorMsg, OfError> {
    let mut error = OfError::new(r.u16()?, r.u16()?);
    if error.kind == OfError::EXPERIMENTER_KIND {
        error.experimenter = r.u32()?;
    }
    Ok(ErrorMsg {
        error: error.from_version(r.version),
        data: r.rest().to_vec(),
    })
}

pub(super) fn write_error(w: &mut Writer<'_>, m: &ErrorMsg) {
    let error = m.error.for_version(w.version);
    w.u16(error.kind);
    w.u16(error.code);
    if error.kind == OfError::EXPERIMENTER_KIND {
        w.u32(error.experimenter);
    }
    w.bytes(&m.data);
}

pub(super) fn read_features(mut r: Reader<'_>) -> Result<SwitchFeatures, OfError> {
    let features = SwitchFeatures {
        datapath_id: r.u64()?,
        n_buffers: r.u32()?,
        n_tables: r.u8()?,
        auxiliary_id: r.u8()?,
        capabilities: {
            r.skip(2)?;
            r.u32()?
        },
    };
    r.skip(4)?;
    r.end()?;
    Ok(features)
}

pub(super) fn write_features(w: &mut Writer<'_>, m: &SwitchFeatures) {
    w.u64(m.datapath_id);
    w.u32(m.n_buffers);
    w.u8(m.n_tables);
    w.u8(m.auxiliary_id);
    w.zeros(2);
    w.u32(m.capabilities);
    w.zeros(4);
}

pub(super) fn read_config(mut r: Reader<'_>) -> Result<SwitchConfig, OfError> {
    let config = SwitchConfig {
        flags: r.u16()?,
        miss_send_len: r.u16()?,
    };
    r.end()?;
    Ok(config)
}

pub(super) fn write_config(w: &mut Writer<'_>, m: SwitchConfig) {
    w.u16(m.flags);
    w.u16(m.miss_send_len);
}
