//! Limits of zones and impairments of ports, as a switch of ours tells them.

use openflow::msg::{Impairment, Message, ZoneLimit};

use crate::connection::{Connection, ConnectionError};

/// Reads both. A switch that is not ours knows neither: it has none then.
pub(crate) async fn read(
    connection: &mut Connection,
) -> Result<(Vec<ZoneLimit>, Vec<Impairment>), ConnectionError> {
    let (mut zones, mut impairments) = (Vec::new(), Vec::new());
    for request in [Message::ZoneLimitsRequest, Message::ImpairmentsRequest] {
        match connection.ask(request, "for its limits").await {
            Ok(Message::ZoneLimits(told)) => zones = told,
            Ok(Message::Impairments(told)) => impairments = told,
            Ok(_) | Err(ConnectionError::Refused { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok((zones, impairments))
}
