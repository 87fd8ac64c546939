//! Which messages a controller wants unasked (OpenFlow 1.4.1, 7.3.10).

use openflow::Version;
use openflow::error::{OFPACFC_INVALID, OFPACFC_UNSUPPORTED, OfError};
use openflow::msg::{AsyncConfig, AsyncKind, AsyncSettings};

/// The configuration with a message's settings. 1.3 has no error for reasons that nobody knows.
pub(super) fn applied(
    mut wants: AsyncConfig,
    version: Version,
    settings: &AsyncSettings,
) -> Result<AsyncConfig, OfError> {
    if version >= Version::V1_4 {
        for entry in &settings.entries {
            if entry.kind.since() > version {
                return Err(OFPACFC_UNSUPPORTED);
            }
            if entry.mask & !reasons(entry.kind) != 0 {
                return Err(OFPACFC_INVALID);
            }
        }
    }
    wants.apply(settings);
    Ok(wants)
}

/// Bits of the reasons that there are.
const fn reasons(kind: AsyncKind) -> u32 {
    match kind {
        AsyncKind::PacketIn | AsyncKind::FlowRemoved => 0b11_1111,
        AsyncKind::PortStatus | AsyncKind::RoleStatus => 0b111,
        AsyncKind::TableStatus => 0b1_1000,
        AsyncKind::RequestForward | AsyncKind::FlowStats => 0b11,
        AsyncKind::ControllerStatus => 0b111_1111,
    }
}
